//! How much of the disk uploads may hold at a time, for one owner and for all together: whoever keeps bytes in temporary files reserves them
//! first, and gives them back by dropping the reservation. Counts only; this file may not know files or HTTP beyond its refusals.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::problem::{Code, Problem};

/// When a refused upload may be tried again: others take seconds.
const RETRY_AFTER_S: u64 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TemporaryBytesConfig {
    pub per_owner_bytes_max: u64,
    pub total_bytes_max: u64,
}

/// What is reserved in this process; cheap to clone.
#[derive(Debug, Clone)]
pub struct TemporaryBytes {
    config: TemporaryBytesConfig,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    total_bytes: u64,
    /// Without those who hold nothing.
    by_owner: HashMap<String, u64>,
}

/// Bytes that count against an owner until this is dropped.
#[derive(Debug)]
pub struct Reservation {
    of: TemporaryBytes,
    owner_id: String,
    bytes: u64,
}

impl TemporaryBytes {
    pub fn new(config: TemporaryBytesConfig) -> Self {
        Self { config, held: Arc::default() }
    }

    /// Reserves `bytes` for an owner; 0 is a beginning for a body whose length is not known, see [`Reservation::grow`].
    ///
    /// # Errors
    /// 413 for what could never fit, 429 while other uploads of the owner hold the space, 503 while those of others do.
    pub fn reserve(&self, owner_id: &str, bytes: u64) -> Result<Reservation, Problem> {
        self.take(owner_id, 0, bytes)?;
        Ok(Reservation { of: self.clone(), owner_id: owner_id.to_owned(), bytes })
    }

    /// Adds `bytes` for a reservation that holds `already`.
    fn take(&self, owner_id: &str, already: u64, bytes: u64) -> Result<(), Problem> {
        let max = self.config.per_owner_bytes_max.min(self.config.total_bytes_max);
        if exceeds(already, bytes, max) {
            return Err(Problem::new(Code::PayloadTooLarge, format!("an upload may hold at most {max} bytes on this server")));
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let owned = held.by_owner.get(owner_id).copied().unwrap_or(0);
        if exceeds(owned, bytes, self.config.per_owner_bytes_max) {
            let detail = format!(
                "uploads of this key in progress hold {owned} of {} bytes; wait for one of them to end",
                self.config.per_owner_bytes_max
            );
            return Err(Problem::new(Code::RateLimited, detail).retry_after(RETRY_AFTER_S));
        }
        if exceeds(held.total_bytes, bytes, self.config.total_bytes_max) {
            return Err(Problem::new(Code::NotReady, "too many uploads are in progress").retry_after(RETRY_AFTER_S));
        }
        held.total_bytes += bytes;
        if bytes > 0 {
            *held.by_owner.entry(owner_id.to_owned()).or_insert(0) += bytes;
        }
        Ok(())
    }

    fn give_back(&self, owner_id: &str, bytes: u64) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.total_bytes = held.total_bytes.saturating_sub(bytes);
        if let Some(owned) = held.by_owner.get_mut(owner_id) {
            *owned = owned.saturating_sub(bytes);
            if *owned == 0 {
                held.by_owner.remove(owner_id);
            }
        }
    }
}

fn exceeds(held: u64, more: u64, max: u64) -> bool {
    held.checked_add(more).is_none_or(|sum| sum > max)
}

impl Reservation {
    /// Reserves more for the same upload, as its bytes arrive. A refusal leaves what is held as it was.
    pub fn grow(&mut self, bytes: u64) -> Result<(), Problem> {
        self.of.take(&self.owner_id, self.bytes, bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.of.give_back(&self.owner_id, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn bytes() -> TemporaryBytes {
        TemporaryBytes::new(TemporaryBytesConfig { per_owner_bytes_max: 100, total_bytes_max: 150 })
    }

    #[test]
    fn an_owner_and_all_together_have_a_limit() {
        let bytes = bytes();
        let mut first = bytes.reserve("a", 60).unwrap();
        let own = bytes.reserve("a", 41).unwrap_err();
        assert_eq!((own.code, own.retry_after_s), (Code::RateLimited, Some(5)));
        let second = bytes.reserve("b", 90).unwrap();
        let all = bytes.reserve("c", 1).unwrap_err();
        assert_eq!((all.code, all.retry_after_s), (Code::NotReady, Some(5)));
        assert_eq!(bytes.reserve("c", 101).unwrap_err().code, Code::PayloadTooLarge);
        drop(second);
        first.grow(40).unwrap();
        assert_eq!((first.grow(1).unwrap_err().code, first.bytes()), (Code::PayloadTooLarge, 100));
        drop(first);
        assert!(bytes.reserve("a", 100).is_ok());
    }

    #[test]
    fn huge_numbers_do_not_wrap() {
        let bytes = TemporaryBytes::new(TemporaryBytesConfig { per_owner_bytes_max: u64::MAX, total_bytes_max: u64::MAX });
        let mut first = bytes.reserve("a", u64::MAX).unwrap();
        assert!(first.grow(u64::MAX).is_err());
        drop(first);
        assert!(bytes.reserve("a", u64::MAX).is_ok());
    }

    proptest! {
        /// What is held is never over a limit, and all comes back.
        #[test]
        fn all_comes_back(steps in proptest::collection::vec((0_usize..3, 0_u64..80, any::<bool>()), 1..60)) {
            let bytes = bytes();
            let mut open: Vec<Reservation> = Vec::new();
            for (owner, size, end) in steps {
                if end && !open.is_empty() {
                    open.remove(0);
                } else if let Ok(reservation) = bytes.reserve(["a", "b", "c"][owner], size) {
                    open.push(reservation);
                }
                let held: u64 = open.iter().map(Reservation::bytes).sum();
                prop_assert!(held <= 150);
                prop_assert_eq!(bytes.held.lock().unwrap().total_bytes, held);
            }
            drop(open);
            let held = bytes.held.lock().unwrap();
            prop_assert!(held.total_bytes == 0 && held.by_owner.is_empty());
        }
    }
}
