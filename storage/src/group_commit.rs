//! Many accepts in one commit. On SQLite every commit waits for the disk, and there is one writer: sixty-four clients that each commit alone
//! wait sixty-four times. Here whoever comes while a commit is under way shares the next one. Their rows are written together, as if none
//! could fail; where one does, all is undone and each is written in a savepoint of its own, so that its error undoes nothing of its
//! neighbours. Nobody is answered before the disk has everything.
//!
//! For accepts only: claims and verdicts go past it, on the same connection, between two batches. On Postgres, which shares commits by
//! itself, each is a plain transaction.

use sqlx::Row;
use sqlx::any::AnyRow;
use tokio::sync::{mpsc, oneshot};

use crate::StorageError;
use crate::accept::{self, Accept, Accepted};
use crate::generations;
use crate::rows::{Dialect, Rows, Tx};
use crate::statement::Script;

/// More wait for the next batch.
const BATCH_MAX: usize = 256;
/// More wait for a place in the queue.
pub(crate) const QUEUE_MAX: usize = 1_024;

type Answer = Result<Accepted, StorageError>;

/// A request and who waits for it.
#[derive(Debug)]
pub(crate) struct Command {
    accept: Accept,
    answer: oneshot::Sender<Answer>,
}

impl Rows {
    /// Accepts a request, in a transaction that it may share with others. A caller that goes away after its writing has begun does not undo it.
    pub async fn accept(&self, accept: Accept) -> Answer {
        let Some(commands) = self.commands().filter(|_| self.dialect() == Dialect::Sqlite) else {
            let places = write_together(self, std::slice::from_ref(&accept)).await?;
            return answer_of(accept, places.first().copied());
        };
        let (answer, answered) = oneshot::channel();
        let gone = || StorageError::Unreachable("the writer has ended".into());
        commands.send(Command { accept, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

fn answer_of(accept: Accept, queue_position: Option<i64>) -> Answer {
    let queue_position = queue_position.ok_or_else(|| StorageError::Internal("an accept without a place in the queue".into()))?;
    Ok(Accepted { generation: accept.generation, queue_position })
}

/// The writer; ends with the last handle to the database.
pub(crate) async fn write_batches(rows: Rows, mut commands: mpsc::Receiver<Command>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while commands.recv_many(&mut batch, BATCH_MAX).await > 0 {
        batch.retain(|command: &Command| !command.answer.is_closed());
        write_batch(&rows, std::mem::take(&mut batch)).await;
    }
}

async fn write_batch(rows: &Rows, mut batch: Vec<Command>) {
    batch.sort_by_key(|command| command.accept.shape());
    let (accepts, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|command| (command.accept, command.answer)).unzip();
    match write_together(rows, &accepts).await {
        Ok(places) => {
            for ((accept, answer), place) in accepts.into_iter().zip(answers).zip(places) {
                let _ = answer.send(answer_of(accept, Some(place)));
            }
        }
        Err(error) if accepts.len() < 2 || error.is_transient() => refuse(answers, &error),
        // One of them can't be accepted; which one shows when each is on its own.
        Err(_) => write_apart(rows, accepts, answers).await,
    }
}

/// The places in the queue, in the order of the accepts.
async fn write_together(rows: &Rows, accepts: &[Accept]) -> Result<Vec<i64>, StorageError> {
    let parts: Vec<&[Accept]> = accept::parts(accepts).collect();
    let Some((last, others)) = parts.split_last() else { return Ok(Vec::new()) };
    let script_of = |part: &[Accept]| {
        let mut script = rows.script();
        accept::push(&mut script, part);
        script
    };
    let mut places = Vec::with_capacity(accepts.len());
    let mut tx = rows.turn().await?;
    for part in others {
        places.extend(places_of(part, &tx.run(script_of(part)).await?)?);
    }
    let written = commit_with(tx, script_of(last), accepts).await?;
    places.extend(places_of(last, &written)?);
    Ok(places)
}

async fn write_apart(rows: &Rows, accepts: Vec<Accept>, answers: Vec<oneshot::Sender<Answer>>) {
    let mut tx = match rows.begin().await {
        Ok(tx) => tx,
        Err(error) => return refuse(answers, &error),
    };
    let mut written = Vec::with_capacity(accepts.len());
    for (accept, answer) in accepts.into_iter().zip(answers) {
        match write_in_savepoint(&mut tx, &accept).await {
            Ok(place) => written.push((accept, answer, place)),
            Err(error) => drop(answer.send(Err(error))),
        }
    }
    let (accepts, waiting): (Vec<_>, Vec<_>) = written.into_iter().map(|(accept, answer, place)| (accept, (answer, place))).unzip();
    let script = tx.script();
    match commit_with(tx, script, &accepts).await {
        Ok(_) => {
            for (accept, (answer, place)) in accepts.into_iter().zip(waiting) {
                let _ = answer.send(answer_of(accept, place));
            }
        }
        Err(error) => refuse(waiting.into_iter().map(|(answer, _)| answer), &error),
    }
}

async fn write_in_savepoint(tx: &mut Tx, accept: &Accept) -> Result<Option<i64>, StorageError> {
    sqlx::query("SAVEPOINT one").execute(tx.connection()).await?;
    let part = std::slice::from_ref(accept);
    let mut script = tx.script();
    accept::push(&mut script, part);
    let written = script.run(tx.connection()).await.and_then(|written| places_of(part, &written));
    let end = if written.is_ok() { "RELEASE one" } else { "ROLLBACK TO one" };
    sqlx::query(end).execute(tx.connection()).await?;
    written.map(|places| places.first().copied())
}

/// Each stands behind those that were there before, and behind its neighbours before it.
fn places_of(part: &[Accept], written: &[AnyRow]) -> Result<Vec<i64>, StorageError> {
    let row = written.first().ok_or_else(|| StorageError::Internal("nobody counted who is ahead".into()))?;
    let ahead: i64 = row.try_get("ahead")?;
    Ok((ahead..).take(part.len()).map(generations::place_behind).collect())
}

async fn commit_with(mut tx: Tx, script: Script, accepts: &[Accept]) -> Result<Vec<AnyRow>, StorageError> {
    tx.wakes_jobs();
    tx.wakes_events();
    accepts.iter().for_each(|accept| (accept.before_commit)());
    tx.commit_with(script).await
}

fn refuse(answers: impl IntoIterator<Item = oneshot::Sender<Answer>>, error: &StorageError) {
    for answer in answers {
        let _ = answer.send(Err(error.clone()));
    }
}
