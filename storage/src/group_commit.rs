//! Many small transactions in one commit. On SQLite every commit waits for the disk, and there is one writer: sixty-four clients that each
//! commit alone wait sixty-four times. Here whoever comes while a commit is under way shares the next one, each in a savepoint of its own, so
//! that one's error undoes nothing of its neighbours. Nobody is answered before the disk has everything.
//!
//! For accepts only: claims and verdicts go past it, on the same connection, between two batches. On Postgres, which shares commits by
//! itself, the work gets a plain transaction.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::StorageError;
use crate::rows::{Dialect, Rows, Tx};

/// More wait for the next batch.
const BATCH_MAX: usize = 256;
/// More wait for a place in the queue.
pub(crate) const QUEUE_MAX: usize = 1_024;

type Made = Box<dyn Any + Send>;
type Run = Box<dyn for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<Made, StorageError>> + Send>;

/// One piece of work and who waits for it.
pub(crate) struct Command {
    run: Run,
    answer: oneshot::Sender<Result<Made, StorageError>>,
}

impl Rows {
    /// Runs `work` in a transaction that it may share with others. `work` may only touch rows: whatever else it waits for, all writers wait
    /// for. A caller that goes away after the work has begun does not undo it.
    pub async fn commit_in_group<T, F>(&self, work: F) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, StorageError>> + Send + 'static,
    {
        let Some(commands) = self.commands().filter(|_| self.dialect() == Dialect::Sqlite) else {
            let mut tx = self.begin().await?;
            let made = work(&mut tx).await?;
            tx.commit().await?;
            return Ok(made);
        };
        let (answer, answered) = oneshot::channel();
        let run: Run = Box::new(move |tx| work(tx).map(|made| made.map(|made| Box::new(made) as Made)).boxed());
        let gone = || StorageError::Unreachable("the writer has ended".into());
        commands.send(Command { run, answer }).await.map_err(|_| gone())?;
        let made = answered.await.map_err(|_| gone())??;
        made.downcast::<T>().map(|made| *made).map_err(|_| StorageError::Internal("a group commit answered with another type".into()))
    }
}

/// The writer; ends with the last handle to the database.
pub(crate) async fn write_batches(rows: Rows, mut commands: mpsc::Receiver<Command>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while commands.recv_many(&mut batch, BATCH_MAX).await > 0 {
        batch.retain(|command: &Command| !command.answer.is_closed());
        write_batch(&rows, std::mem::take(&mut batch)).await;
    }
}

async fn write_batch(rows: &Rows, batch: Vec<Command>) {
    let mut tx = match rows.begin().await {
        Ok(tx) => tx,
        Err(error) => return refuse(batch.into_iter().map(|command| command.answer), &error),
    };
    let alone = batch.len() == 1;
    let mut done = Vec::with_capacity(batch.len());
    for command in batch {
        let result = if alone { run(&mut tx, command.run).await } else { run_in_savepoint(&mut tx, command.run).await };
        match result {
            Ok(made) => done.push((command.answer, made)),
            Err(error) => {
                let _ = command.answer.send(Err(error));
            }
        }
    }
    if done.is_empty() {
        return;
    }
    match tx.commit().await {
        Ok(()) => {
            for (answer, made) in done {
                let _ = answer.send(Ok(made));
            }
        }
        Err(error) => refuse(done.into_iter().map(|(answer, _)| answer), &error),
    }
}

async fn run_in_savepoint(tx: &mut Tx, work: Run) -> Result<Made, StorageError> {
    sqlx::query("SAVEPOINT one").execute(tx.connection()).await?;
    let result = run(tx, work).await;
    let end = if result.is_ok() { "RELEASE one" } else { "ROLLBACK TO one" };
    sqlx::query(end).execute(tx.connection()).await?;
    result
}

/// A panic in one piece of work must not end the writer.
async fn run(tx: &mut Tx, work: Run) -> Result<Made, StorageError> {
    let run = AssertUnwindSafe(async { work(tx).await });
    run.catch_unwind().await.unwrap_or_else(|_| Err(StorageError::Internal("panicked inside a transaction".into())))
}

fn refuse(answers: impl Iterator<Item = oneshot::Sender<Result<Made, StorageError>>>, error: &StorageError) {
    for answer in answers {
        let _ = answer.send(Err(error.clone()));
    }
}
