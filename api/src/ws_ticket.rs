//! One-time tickets: a browser can send no header with a WebSocket or an event stream, and a key must not be in a URL. A ticket may be: it
//! works once, for a minute, and only while the key that asked for it does.

use sha2::{Digest, Sha256};
use storage::tickets::{self, Ticket};
use storage::{Storage, StorageError};

use crate::authenticate::{self, Caller};
use crate::keys;
use crate::problem::{Code, Problem};

pub const PREFIX: &str = "cvt_";
pub const LIFE_MS: i64 = 60_000;
const CHARS_MAX: usize = 100;

/// Makes a ticket for a caller from 32 random bytes. It is told once and only its hash is kept.
pub async fn create(storage: &Storage, caller: &Caller, random: [u8; 32], now_ms: i64) -> Result<String, StorageError> {
    let ticket = format!("{PREFIX}{}", keys::base62(&random, keys::SECRET_CHARS));
    let row = Ticket {
        ticket_sha256: hash(&ticket),
        key_id: caller.key_id.clone(),
        secret_sha256: caller.secret_sha256.clone(),
        expires_at_ms: now_ms + LIFE_MS,
    };
    let mut tx = storage.rows.begin().await?;
    tickets::insert(&mut tx, &row, now_ms).await?;
    tx.commit().await?;
    Ok(ticket)
}

/// The caller behind a ticket, which is gone with this.
pub async fn caller(storage: &Storage, ticket: &str, now_ms: i64) -> Result<Caller, Problem> {
    let refused = || Problem::new(Code::Unauthenticated, "the ticket is unknown, was used, or is over; POST /api/ws-ticket gives one");
    if !ticket.starts_with(PREFIX) || ticket.len() > CHARS_MAX {
        return Err(refused());
    }
    let mut tx = storage.rows.begin().await?;
    let found = tickets::take(&mut tx, &hash(ticket), now_ms).await?;
    tx.commit().await?;
    let found = found.ok_or_else(refused)?;
    authenticate::known(storage, &found.key_id, &found.secret_sha256, now_ms).await?.map_err(Problem::from)
}

fn hash(ticket: &str) -> String {
    hex::encode(Sha256::digest(ticket.as_bytes()))
}
