//! apalis-sqlite 1.0 as its documentation shows it, on the same settings of SQLite as ours: WAL and `synchronous=FULL` on every connection
//! (its own `setup` would set `OFF`), one connection that writes, a batch of 1 (with more it runs jobs twice, see
//! `shared/design/queue.md`).

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use apalis::prelude::*;
use apalis_sqlite::{Config, SqlitePool, SqliteStorage};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::sync::Notify;

use crate::report::Sample;
use crate::{folder, syncs};

const PAYLOAD: &str = "three hundred bytes in all, as jobs of queues tend to have: an id, a place, some options, and what was asked for; the rest is here to fill the row up to that size, which it now does with these last words of no meaning, and some more of them";

type Args = (usize, String);

fn args(index: usize) -> Args {
    (index, PAYLOAD.to_owned())
}

async fn pool(folder: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(folder.join("theirs.sqlite"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(10));
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.expect("a pool");
    SqliteStorage::migrations().run(&pool).await.expect("a schema");
    pool
}

fn storage(pool: &SqlitePool) -> SqliteStorage<Args> {
    SqliteStorage::new(pool).with_config(Config::default().queue("bench").batch_size(1))
}

pub async fn push(place: &Path, count: usize, clients: usize) -> Sample {
    let folder = folder(place);
    let pool = pool(folder.path()).await;
    let (before, started) = (syncs::so_far(), Instant::now());
    push_all(&pool, count, clients).await;
    let sample = Sample { done: count, took: started.elapsed(), syncs: syncs::so_far().since(before) };
    pool.close().await;
    sample
}

async fn push_all(pool: &SqlitePool, count: usize, clients: usize) {
    let client = |client: usize| {
        let mut storage = storage(pool);
        tokio::spawn(async move {
            for index in (client..count).step_by(clients) {
                storage.push(args(index)).await.expect("pushed");
            }
        })
    };
    for client in futures::future::join_all((0..clients).map(client)).await {
        client.expect("no panic");
    }
}

/// Counts runs and says when all are through.
#[derive(Debug, Default)]
struct Runs {
    started: Mutex<Vec<(usize, Instant)>>,
    count: AtomicUsize,
    changed: Notify,
}

async fn note(task: Args, runs: Data<Arc<Runs>>) -> Result<(), BoxDynError> {
    runs.started.lock().expect("no panic").push((task.0, Instant::now()));
    runs.count.fetch_add(1, Ordering::SeqCst);
    runs.changed.notify_one();
    Ok(())
}

fn work(pool: &SqlitePool, runs: &Arc<Runs>) -> tokio::task::JoinHandle<()> {
    // Its own strategy of polling each 25 ms; a run that ends asks for the next job at once.
    let backend = storage(pool).poll_with_interval(Duration::from_millis(25));
    let worker = WorkerBuilder::new("bench").backend(backend).data(runs.clone()).concurrency(1).build(note);
    tokio::spawn(async move {
        if let Err(error) = worker.run().await {
            eprintln!("the apalis-sqlite worker ended: {error}");
        }
    })
}

/// Done is what its row says.
async fn until_done(pool: &SqlitePool, runs: &Runs, count: usize) {
    loop {
        if runs.count.load(Ordering::SeqCst) >= count {
            let done: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM Jobs WHERE status = 'Done'").fetch_one(pool).await.expect("a count");
            if done >= count as i64 {
                return;
            }
        }
        let _ = tokio::time::timeout(Duration::from_millis(2), runs.changed.notified()).await;
    }
}

pub async fn lives(place: &Path, count: usize) -> Sample {
    let folder = folder(place);
    let pool = pool(folder.path()).await;
    let runs = Arc::new(Runs::default());
    let (before, started) = (syncs::so_far(), Instant::now());
    push_all(&pool, count, 1).await;
    let worker = work(&pool, &runs);
    until_done(&pool, &runs, count).await;
    let sample = Sample { done: count, took: started.elapsed(), syncs: syncs::so_far().since(before) };
    worker.abort();
    let _ = worker.await;
    pool.close().await;
    sample
}

pub async fn starts(place: &Path, count: usize, pause: Duration) -> Vec<Duration> {
    let folder = folder(place);
    let pool = pool(folder.path()).await;
    let runs = Arc::new(Runs::default());
    let worker = work(&pool, &runs);
    let mut storage = storage(&pool);
    let mut asked = Vec::new();
    for index in 0..count {
        asked.push(Instant::now());
        storage.push(args(index)).await.expect("pushed");
        until_done(&pool, &runs, index + 1).await;
        tokio::time::sleep(pause).await;
    }
    worker.abort();
    let _ = worker.await;
    pool.close().await;
    let mut started = runs.started.lock().expect("no panic").clone();
    started.sort_unstable();
    started.iter().map(|(index, at)| at.duration_since(asked[*index])).collect()
}
