//! A new secret for a key: its id, rights and children stay, and the old form works on for a while, so that nothing stands still while the
//! new one is brought to where it is used.

use storage::api_keys::{self, ApiKey};
use storage::{StorageError, Tx, audit};

use crate::key_audit::{self, Actor};
use crate::keys::Key;
use crate::wire::time::rfc3339;

/// In the caller's transaction; `None` when the key was revoked or is gone.
pub async fn rotate(
    tx: &mut Tx,
    row: ApiKey,
    overlap_ms: i64,
    actor: Actor<'_>,
    now_ms: i64,
) -> Result<Option<(Key, ApiKey)>, StorageError> {
    let key = Key::of_id(&row.id, rand::random());
    let until_ms = now_ms + overlap_ms;
    if !api_keys::rotate(tx, &row.id, &key.hash(), until_ms, now_ms).await? {
        return Ok(None);
    }
    let entry = key_audit::entry(actor, "rotated", &row.id, format!("the old form works until {}", rfc3339(until_ms)), now_ms);
    audit::add(tx, &entry).await?;
    let row = ApiKey { previous_until_ms: Some(until_ms), rotated_at_ms: Some(now_ms), ..row };
    Ok(Some((key, row)))
}
