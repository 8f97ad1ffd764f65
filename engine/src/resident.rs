//! A model in memory: loaded with its first use, shared by all that use it, freed when nobody has for a while.
//!
//! Whoever owns a [`Resident`] says how to load; the process lists them in its [`Residents`], shows them and calls
//! [`Residents::unload_idle`] now and then. This file may not know what a model is, nor the clock: times are arguments, or come from the
//! clock that the wiring gave, in milliseconds of any clock that does not go back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// A place for one model.
#[derive(Debug)]
pub struct Resident<M> {
    name: String,
    /// Unused for so long, it goes; 0 keeps it for ever.
    idle_ms: u64,
    place: Mutex<Option<Loaded<M>>>,
    /// Set while the place is locked for long.
    loading: AtomicBool,
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
    pub loading: bool,
    pub in_use: bool,
}

/// What the process does with every model alike.
pub trait ResidentModel: Send + Sync + std::fmt::Debug {
    /// Never waits for long: a model that loads is one that says so.
    fn report(&self) -> ResidentReport;

    /// Frees the model if nobody uses it and its idle time is over. Returns whether it went.
    fn unload_idle(&self, now_ms: u64) -> bool;
}

/// All models of a process; a clone is the same list.
#[derive(Clone)]
pub struct Residents(Arc<List>);

struct List {
    now_ms: Box<dyn Fn() -> u64 + Send + Sync>,
    models: Mutex<Vec<Arc<dyn ResidentModel>>>,
}

impl std::fmt::Debug for Residents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Residents").field(&*self.models()).finish()
    }
}

impl Residents {
    /// `now_ms`: a clock that does not go back.
    pub fn new(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(List { now_ms: Box::new(now_ms), models: Mutex::default() }))
    }

    /// For [`Resident::get`].
    pub fn now_ms(&self) -> u64 {
        (self.0.now_ms)()
    }

    pub fn add(&self, model: Arc<dyn ResidentModel>) {
        self.models().push(model);
    }

    /// A model that is no longer on the disk.
    pub fn remove(&self, name: &str) {
        self.models().retain(|model| model.report().name != name);
    }

    /// In the order in which they were added.
    pub fn reports(&self) -> Vec<ResidentReport> {
        let models = self.models().clone();
        models.iter().map(|model| model.report()).collect()
    }

    /// To be called now and then; gives the names of those that went. Freeing takes time: not from an async thread.
    pub fn unload_idle(&self) -> Vec<String> {
        let (models, now_ms) = (self.models().clone(), self.now_ms());
        models.iter().filter(|model| model.unload_idle(now_ms)).map(|model| model.report().name).collect()
    }

    fn models(&self) -> MutexGuard<'_, Vec<Arc<dyn ResidentModel>>> {
        self.0.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> Resident<M> {
    /// Loads nothing yet.
    pub fn new(name: impl Into<String>, idle_ms: u64) -> Self {
        Self { name: name.into(), idle_ms, place: Mutex::new(None), loading: AtomicBool::new(false) }
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
        let _flag = Flag::set(&self.loading);
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

    /// `None` while it loads. Otherwise the place is locked for a moment at most.
    fn place_unless_loading(&self) -> Option<MutexGuard<'_, Option<Loaded<M>>>> {
        loop {
            match self.place.try_lock() {
                Ok(place) => return Some(place),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if self.loading.load(Ordering::Acquire) => return None,
                Err(TryLockError::WouldBlock) => std::thread::yield_now(),
            }
        }
    }
}

/// Up for as long as it lives.
struct Flag<'f>(&'f AtomicBool);

impl<'f> Flag<'f> {
    fn set(flag: &'f AtomicBool) -> Self {
        flag.store(true, Ordering::Release);
        Self(flag)
    }
}

impl Drop for Flag<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl<M: Send + Sync + std::fmt::Debug> ResidentModel for Resident<M> {
    fn report(&self) -> ResidentReport {
        let name = self.name.clone();
        let Some(place) = self.place_unless_loading() else {
            return ResidentReport { name, loaded_bytes: None, loading: true, in_use: true };
        };
        ResidentReport {
            name,
            loaded_bytes: place.as_ref().map(|loaded| loaded.bytes),
            loading: false,
            in_use: place.as_ref().is_some_and(|loaded| Arc::strong_count(&loaded.model) > 1),
        }
    }

    fn unload_idle(&self, now_ms: u64) -> bool {
        let Some(mut place) = self.place_unless_loading() else { return false };
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
        assert_eq!(resident.report(), ResidentReport { name: "seven".into(), loaded_bytes: Some(100), loading: false, in_use: true });
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

    #[test]
    fn who_asks_while_it_loads_does_not_wait() {
        let resident = Arc::new(Resident::new("seven", 1));
        let loaded = resident.get(0, || {
            // The place is locked here: an answer that waited would never come.
            let report = resident.report();
            assert_eq!((report.loaded_bytes, report.loading, report.in_use), (None, true, true));
            assert!(!resident.unload_idle(1_000));
            seven()
        });
        assert_eq!(*loaded.unwrap(), 7);
        assert!(!resident.report().loading);
        assert_eq!(resident.get(0, || Err::<(u8, u64), _>("loaded twice")).map(|seven| *seven), Ok(7));
    }

    #[test]
    fn a_process_lists_its_models_and_frees_the_idle_ones() {
        let clock = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let ticks = Arc::clone(&clock);
        let residents = Residents::new(move || ticks.load(Ordering::Relaxed));
        let (short, long) = (Arc::new(Resident::new("short", 100)), Arc::new(Resident::new("long", 10_000)));
        residents.add(short.clone());
        residents.add(long.clone());
        drop((short.get(residents.now_ms(), seven).unwrap(), long.get(residents.now_ms(), seven).unwrap()));
        let loaded = || residents.reports().into_iter().filter(|report| report.loaded_bytes.is_some()).map(|report| report.name);
        assert_eq!(loaded().collect::<Vec<_>>(), ["short", "long"]);
        clock.store(100, Ordering::Relaxed);
        assert_eq!(residents.unload_idle(), ["short"]);
        assert_eq!(loaded().collect::<Vec<_>>(), ["long"]);
        residents.remove("short");
        assert_eq!(residents.reports().len(), 1);
    }
}
