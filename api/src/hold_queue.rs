//! `clonyvoice queue pause|resume`: whoever may touch the data folder may hold its queues. There is no endpoint for it: a key must not stop
//! the work of other keys.

use jobs::clock::SystemClock;
use jobs::pause;
use storage::StorageError;

use crate::cli::QueueCommand;
use crate::config::Config;
use crate::create_key::open_rows;

pub async fn hold(config: &Config, command: &QueueCommand) -> Result<(), StorageError> {
    let (queue, paused) = match command {
        QueueCommand::Pause { queue } => (queue, true),
        QueueCommand::Resume { queue } => (queue, false),
    };
    let rows = open_rows(config).await?;
    let found = pause::set_paused(&rows, queue.as_deref(), paused, &SystemClock).await?;
    rows.close().await;
    if found {
        return Ok(());
    }
    Err(StorageError::DataFolder(format!("there is no queue {}: there are cpu and io", queue.as_deref().unwrap_or_default())))
}
