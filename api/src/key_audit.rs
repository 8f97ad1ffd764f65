//! What is noted about keys: who did what to which, when and from where. Entries about a change are written in its transaction.

use storage::audit::{self, Entry};
use storage::{Rows, StorageError};

use crate::app::App;
use crate::authenticate::Caller;
use crate::peer::Peer;
use crate::wire::time::rfc3339;

/// Who acts.
#[derive(Debug, Clone, Copy)]
pub enum Actor<'a> {
    CommandLine,
    Key(&'a Caller, &'a Peer),
}

/// An entry about a key.
pub fn entry(actor: Actor<'_>, action: &str, key_id: &str, detail: String, at_ms: i64) -> Entry {
    let (actor_key_id, address) = match actor {
        Actor::CommandLine => (None, None),
        Actor::Key(caller, peer) => (Some(caller.key_id.clone()), peer.address.map(|address| address.to_string())),
    };
    Entry { at_ms, action: action.into(), key_id: Some(key_id.into()), actor_key_id, address, detail }
}

/// Notes in the background that an address has used up its failures: once, and not for each of them.
pub fn throttled(app: &App, peer: &Peer, at_ms: i64) {
    let address = peer.address.map(|address| address.to_string());
    tracing::warn!(peer.address = address, "too many requests without a valid key, the next ones have to wait");
    let detail = "too many requests without a valid key".to_owned();
    let entry = Entry { at_ms, action: "throttled".into(), address, detail, ..Entry::default() };
    let rows = app.storage.rows.clone();
    tokio::spawn(async move {
        if let Err(error) = write(&rows, &entry).await {
            tracing::warn!(%error, "an entry of the audit was not written");
        }
    });
}

async fn write(rows: &Rows, entry: &Entry) -> Result<(), StorageError> {
    let mut tx = rows.begin().await?;
    audit::add(&mut tx, entry).await?;
    tx.commit().await
}

/// The newest entries, oldest first, one line each, for people.
pub async fn lines(rows: &Rows, limit: u32) -> Result<Vec<String>, StorageError> {
    let mut entries = audit::newest(rows.read(), limit).await?;
    entries.reverse();
    Ok(entries.iter().map(line).collect())
}

fn line(entry: &Entry) -> String {
    let who = match (&entry.actor_key_id, &entry.key_id) {
        (Some(actor), _) => format!("by {actor}"),
        (None, Some(_)) => "on the command line".into(),
        (None, None) => "by somebody".into(),
    };
    let from = entry.address.as_ref().map(|address| format!(" from {address}")).unwrap_or_default();
    format!("{}  {}  {}  {who}{from}  {}", rfc3339(entry.at_ms), entry.action, entry.key_id.as_deref().unwrap_or("-"), entry.detail)
}
