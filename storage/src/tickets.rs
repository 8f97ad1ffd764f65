//! One-time tickets for event connections of browsers, which can send no header: whoever takes one has it, and nobody after. Only hashes are
//! kept. A table, so that any node of several takes a ticket that another one gave.

use sqlx::Row;

use crate::StorageError;
use crate::rows::Tx;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Lower-case hex.
    pub ticket_sha256: String,
    pub key_id: String,
    /// Of the secret that asked for it.
    pub secret_sha256: String,
    pub expires_at_ms: i64,
}

/// Stores a new ticket, and forgets those that are over.
pub async fn insert(tx: &mut Tx, ticket: &Ticket, now_ms: i64) -> Result<(), StorageError> {
    sqlx::query("DELETE FROM ws_tickets WHERE expires_at_ms <= $1").bind(now_ms).execute(tx.connection()).await?;
    sqlx::query("INSERT INTO ws_tickets (ticket_sha256, key_id, secret_sha256, expires_at_ms) VALUES ($1, $2, $3, $4)")
        .bind(&ticket.ticket_sha256)
        .bind(&ticket.key_id)
        .bind(&ticket.secret_sha256)
        .bind(ticket.expires_at_ms)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Takes a ticket away; `None` when there is none, it was taken before, or its time is over.
pub async fn take(tx: &mut Tx, ticket_sha256: &str, now_ms: i64) -> Result<Option<Ticket>, StorageError> {
    let row = sqlx::query(
        "DELETE FROM ws_tickets WHERE ticket_sha256 = $1 AND expires_at_ms > $2 RETURNING key_id, secret_sha256, expires_at_ms",
    )
    .bind(ticket_sha256)
    .bind(now_ms)
    .fetch_optional(tx.connection())
    .await?;
    let ticket = row.map(|row| -> Result<Ticket, StorageError> {
        Ok(Ticket {
            ticket_sha256: ticket_sha256.to_owned(),
            key_id: row.try_get("key_id")?,
            secret_sha256: row.try_get("secret_sha256")?,
            expires_at_ms: row.try_get("expires_at_ms")?,
        })
    });
    ticket.transpose()
}
