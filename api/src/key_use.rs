//! When a key was last used, written at most once a minute for each key: an exact time is not worth a transaction for each request.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use storage::{Storage, StorageError, api_keys};

const WRITE_EVERY_MS: i64 = 60_000;

#[derive(Debug, Default)]
pub struct KeyUse {
    written_ms: Mutex<HashMap<String, i64>>,
}

impl KeyUse {
    /// Notes a use; the row is written in the background when it is due.
    pub fn note(&self, storage: &Storage, key_id: &str, now_ms: i64) {
        if self.is_due(key_id, now_ms) {
            let (storage, key_id) = (storage.clone(), key_id.to_owned());
            tokio::spawn(async move {
                if let Err(error) = write(&storage, &key_id, now_ms).await {
                    tracing::debug!(key.id = key_id, %error, "the last use of a key was not written");
                }
            });
        }
    }

    fn is_due(&self, key_id: &str, now_ms: i64) -> bool {
        let mut written_ms = self.written_ms.lock().unwrap_or_else(PoisonError::into_inner);
        match written_ms.get(key_id) {
            Some(written) if now_ms - written < WRITE_EVERY_MS => false,
            _ => {
                written_ms.insert(key_id.to_owned(), now_ms);
                true
            }
        }
    }
}

async fn write(storage: &Storage, key_id: &str, now_ms: i64) -> Result<(), StorageError> {
    let mut tx = storage.rows.begin().await?;
    api_keys::touch(&mut tx, key_id, now_ms).await?;
    tx.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_minute_for_each_key() {
        let uses = KeyUse::default();
        assert!(uses.is_due("a", 0) && uses.is_due("b", 0));
        assert!(!uses.is_due("a", 59_999));
        assert!(uses.is_due("a", 60_000));
        assert!(!uses.is_due("a", 60_001));
    }
}
