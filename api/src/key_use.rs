//! How often a key was used and when last, written at most once a minute for each key: an exact time is not worth a transaction for each
//! request. What is not written yet is known here, and written when the server stops; a killed process forgets it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use storage::{Storage, StorageError, api_keys};

const WRITE_EVERY_MS: i64 = 60_000;

#[derive(Debug, Default)]
pub struct KeyUse {
    uses: Mutex<HashMap<String, Use>>,
}

/// What is not in the row yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Use {
    pub requests: i64,
    pub last_ms: i64,
    written_ms: i64,
}

impl KeyUse {
    /// Notes a use; the row is written in the background when it is due.
    pub fn note(&self, storage: &Storage, key_id: &str, now_ms: i64) {
        if let Some(due) = self.count(key_id, now_ms) {
            let (storage, key_id) = (storage.clone(), key_id.to_owned());
            tokio::spawn(async move {
                if let Err(error) = write(&storage, &[(key_id, due)]).await {
                    tracing::debug!(%error, "the last use of a key was not written");
                }
            });
        }
    }

    /// Uses that the row does not tell yet.
    pub fn unwritten(&self, key_id: &str) -> Option<Use> {
        self.uses().get(key_id).copied()
    }

    /// Writes all that is left.
    pub async fn write_all(&self, storage: &Storage) -> Result<(), StorageError> {
        let left: Vec<(String, Use)> = self.uses().drain().filter(|(_, used)| used.requests > 0).collect();
        if left.is_empty() { Ok(()) } else { write(storage, &left).await }
    }

    fn count(&self, key_id: &str, now_ms: i64) -> Option<Use> {
        let mut uses = self.uses();
        let used = uses.entry(key_id.to_owned()).or_insert(Use { written_ms: i64::MIN, ..Use::default() });
        used.requests += 1;
        used.last_ms = used.last_ms.max(now_ms);
        if now_ms.saturating_sub(used.written_ms) < WRITE_EVERY_MS {
            return None;
        }
        let due = *used;
        *used = Use { requests: 0, written_ms: now_ms, ..due };
        Some(due)
    }

    fn uses(&self) -> MutexGuard<'_, HashMap<String, Use>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write(storage: &Storage, uses: &[(String, Use)]) -> Result<(), StorageError> {
    let mut tx = storage.rows.begin().await?;
    for (key_id, used) in uses {
        api_keys::touch(&mut tx, key_id, used.requests, used.last_ms).await?;
    }
    tx.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_minute_for_each_key_and_none_is_lost() {
        let uses = KeyUse::default();
        let counted = |key_id: &str, now_ms: i64| uses.count(key_id, now_ms).map(|due| due.requests);
        assert_eq!((counted("a", 0), counted("b", 0)), (Some(1), Some(1)));
        assert_eq!((counted("a", 30_000), counted("a", 59_999)), (None, None));
        assert_eq!(uses.unwritten("a").map(|used| (used.requests, used.last_ms)), Some((2, 59_999)));
        assert_eq!(counted("a", 60_000), Some(3));
        assert_eq!(counted("a", 60_001), None);
    }
}
