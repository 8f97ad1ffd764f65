//! A model in memory: loaded with its first use, shared by all that use it, freed when nobody has for a while.
//!
//! Whoever owns a [`Resident`] says how to load; the process lists them as [`ResidentModel`]s, shows them and calls
//! [`ResidentModel::unload_idle`] now and then. This file may not know what a model is, nor the clock: times are arguments, in milliseconds
//! of any clock that does not go back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A place for one model.
#[derive(Debug)]
pub struct Resident<M> {
    name: String,
    /// Unused for so long, it goes; 0 keeps it for ever.
    idle_ms: u64,
    place: Mutex<Option<Loaded<M>>>,
}

#[derive(Debug)]
struct Loaded<M> {
    model: Arc<M>,
    bytes: u64,
    last_used_ms: u64,
}

/// A model as the status shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResidentReport {
    pub name: String,
    /// What its weights take; `None` while it is not loaded.
    pub loaded_bytes: Option<u64>,
    pub in_use: bool,
}

/// What the process does with every model alike.
pub trait ResidentModel: Send + Sync + std::fmt::Debug {
    /// Waits while the model loads.
    fn report(&self) -> ResidentReport;

    /// Frees the model if nobody uses it and its idle time is over. Returns whether it went.
    fn unload_idle(&self, now_ms: u64) -> bool;
}

impl<M> Resident<M> {
    /// Loads nothing yet.
    pub fn new(name: impl Into<String>, idle_ms: u64) -> Self {
        Self { name: name.into(), idle_ms, place: Mutex::new(None) }
    }

    /// The model, loaded by `load` (which says its bytes too) if it is not there; others wait meanwhile. It counts as used as long as
    /// the answer is held.
    ///
    /// # Errors
    /// Those of `load`; the next call tries again.
    pub fn get<E>(&self, now_ms: u64, load: impl FnOnce() -> Result<(M, u64), E>) -> Result<Arc<M>, E> {
        let mut place = self.place();
        if let Some(loaded) = place.as_mut() {
            loaded.last_used_ms = loaded.last_used_ms.max(now_ms);
            return Ok(Arc::clone(&loaded.model));
        }
        let (model, bytes) = load()?;
        let loaded = place.insert(Loaded { model: Arc::new(model), bytes, last_used_ms: now_ms });
        Ok(Arc::clone(&loaded.model))
    }

    /// Whoever holds the model keeps it; the next [`Resident::get`] loads another.
    pub fn unload(&self) {
        self.place().take();
    }

    fn place(&self) -> MutexGuard<'_, Option<Loaded<M>>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Send + Sync + std::fmt::Debug> ResidentModel for Resident<M> {
    fn report(&self) -> ResidentReport {
        let place = self.place();
        ResidentReport {
            name: self.name.clone(),
            loaded_bytes: place.as_ref().map(|loaded| loaded.bytes),
            in_use: place.as_ref().is_some_and(|loaded| Arc::strong_count(&loaded.model) > 1),
        }
    }

    fn unload_idle(&self, now_ms: u64) -> bool {
        let mut place = self.place();
        let Some(loaded) = place.as_mut() else { return false };
        if Arc::strong_count(&loaded.model) > 1 {
            // In use until now at least.
            loaded.last_used_ms = loaded.last_used_ms.max(now_ms);
            return false;
        }
        if self.idle_ms == 0 || now_ms.saturating_sub(loaded.last_used_ms) < self.idle_ms {
            return false;
        }
        *place = None;
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn seven() -> Result<(u8, u64), &'static str> {
        Ok((7, 100))
    }

    #[test]
    fn it_is_loaded_once_and_freed_after_its_idle_time() {
        let resident = Resident::new("seven", 1_000);
        assert_eq!(resident.report().loaded_bytes, None);
        assert_eq!(resident.get(0, || Err::<(u8, u64), _>("no file")).unwrap_err(), "no file");
        let held = resident.get(5_000, seven).unwrap();
        let again = resident.get(5_500, || Err("loaded twice")).unwrap();
        assert!(Arc::ptr_eq(&held, &again));
        assert_eq!(resident.report(), ResidentReport { name: "seven".into(), loaded_bytes: Some(100), in_use: true });
        // A long use is no idle time.
        assert!(!resident.unload_idle(60_000));
        drop((held, again));
        assert!(!resident.unload_idle(60_999));
        assert!(resident.unload_idle(61_000));
        assert!(!resident.unload_idle(62_000));
        assert_eq!(resident.report().loaded_bytes, None);
    }

    #[test]
    fn without_an_idle_time_it_stays() {
        let resident = Resident::new("seven", 0);
        drop(resident.get(0, seven).unwrap());
        assert!(!resident.unload_idle(u64::MAX));
        resident.unload();
        assert_eq!(resident.report().loaded_bytes, None);
    }
}
