//! Writes down what was drawn from limits, every few seconds and at the stop, and reads it at the start: a restart fills no bucket. A process
//! that is killed forgets what was drawn since it wrote last (`limits_write_ms`).
//!
//! Several nodes on one database share the buckets with that delay: each adds what it drew to the row and takes over what the others did, so
//! together they let in at most what they let in between two writes beyond the limit.

use std::time::Duration;

use storage::rate_buckets::{self, BucketName as Row};
use storage::{Rows, StorageError};
use tokio::time::{MissedTickBehavior, interval};

use crate::app::App;
use crate::limits::{BUCKETS_MAX, BucketName, Drawn, Limits, Weight};
use crate::scopes::Scope;

/// Rows a transaction, so that others are not held up.
const ROWS_MAX: usize = 500;

/// Takes over what was drawn before the start.
pub async fn restore(rows: &Rows, limits: &Limits, now_us: u64) -> Result<(), StorageError> {
    for bucket in rate_buckets::load(rows.read(), now_us, BUCKETS_MAX as u32).await? {
        if let Some(name) = of_row(bucket.name) {
            limits.written(&name, bucket.arrival_us);
        }
    }
    Ok(())
}

/// Writes now. What does not arrive is kept for the next time.
pub async fn write(rows: &Rows, limits: &Limits, now_us: u64) -> Result<(), StorageError> {
    let drawn = limits.drawn();
    let mut written = Ok(());
    for part in drawn.chunks(ROWS_MAX) {
        if written.is_ok() {
            written = write_part(rows, limits, part, now_us).await;
        }
        if written.is_err() {
            part.iter().for_each(|drawn| limits.not_written(drawn));
        }
    }
    written
}

async fn write_part(rows: &Rows, limits: &Limits, part: &[Drawn], now_us: u64) -> Result<(), StorageError> {
    let mut tx = rows.begin().await?;
    rate_buckets::prune(&mut tx, now_us).await?;
    let mut arrivals = Vec::with_capacity(part.len());
    // In one order, so that two nodes do not wait for each other in a circle.
    let mut sorted: Vec<(Row, &Drawn)> = part.iter().map(|drawn| (to_row(&drawn.name), drawn)).collect();
    sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (row, drawn) in sorted {
        arrivals.push((&drawn.name, rate_buckets::draw(&mut tx, &row, drawn.since_us, drawn.drawn_us).await?));
    }
    tx.commit().await?;
    arrivals.into_iter().for_each(|(name, arrival_us)| limits.written(name, arrival_us));
    Ok(())
}

/// Writes until the server has stopped.
pub async fn run(app: App) {
    let mut ticks = interval(Duration::from_millis(app.config.limits_write_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.closing.cancelled() => return,
            _ = ticks.tick() => {
                if let Err(error) = write(&app.storage.rows, &app.limits, app.limits_us()).await {
                    tracing::warn!(%error, "what was drawn from limits was not written, will be repeated");
                }
            }
        }
    }
}

fn to_row(name: &BucketName) -> Row {
    Row { key_id: name.key_id.clone(), scope: name.scope.as_str().into(), light: name.weight == Weight::Light }
}

/// `None` for a scope of a newer version.
fn of_row(row: Row) -> Option<BucketName> {
    let scope: Scope = row.scope.parse().ok()?;
    Some(BucketName { key_id: row.key_id, scope, weight: if row.light { Weight::Light } else { Weight::Normal } })
}
