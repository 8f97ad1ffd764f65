//! The database: who writes, a pool of readers, transactions, and the signals that tell sleepers what a commit changed.
//!
//! The same SQL text runs on SQLite and Postgres through sqlx's `Any` driver; what differs between them sits in [`Dialect`]. This file may
//! not know any table but `counters`.

use std::sync::Arc;
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::any::AnyRow;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, Row, SqlSafeStr};
use tokio::sync::{mpsc, watch};

use crate::group_commit::{self, Command};
use crate::signals::{CHANNEL, Changed, Signals};
use crate::statement::Script;
use crate::writer::{Writer, Writing};
use crate::{StorageError, search};

/// SQLite before this one can corrupt a database in WAL mode.
const SQLITE_VERSION_MIN: [u32; 3] = [3, 51, 3];

#[derive(Debug, Clone)]
pub struct RowsConfig {
    /// `sqlite:///path/to/file?mode=rwc` or `postgres://...`.
    pub database_url: String,
    pub readers_max: u32,
    /// How long a call waits for a connection of the pool.
    pub acquire_timeout_ms: u64,
    /// How long SQLite waits for another process' lock.
    pub busy_timeout_ms: u64,
    /// Postgres ends the session of a process that stands still in the middle of a transaction: it holds rows that all others need. Less
    /// than a lease, so that they go on before its jobs are taken over.
    pub stalled_transaction_ms: u64,
}

impl RowsConfig {
    pub fn new(database_url: impl Into<String>) -> Self {
        Self {
            database_url: database_url.into(),
            readers_max: 4,
            acquire_timeout_ms: 30_000,
            busy_timeout_ms: 10_000,
            stalled_transaction_ms: 20_000,
        }
    }
}

/// Where the two databases differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    fn of_url(url: &str) -> Result<Self, StorageError> {
        match url.split(':').next() {
            Some("sqlite") => Ok(Self::Sqlite),
            Some("postgres" | "postgresql") => Ok(Self::Postgres),
            _ => Err(StorageError::DataFolder("database_url must start with sqlite: or postgres:".into())),
        }
    }
}

/// Connections for reads.
pub type Pool = AnyPool;

/// The handle to the database; cheap to clone.
#[derive(Debug, Clone)]
pub struct Rows {
    writer: Writer,
    readers: AnyPool,
    dialect: Dialect,
    config: Arc<RowsConfig>,
    signals: Arc<Signals>,
    /// `None` for the writer itself, which ends when all others are gone.
    commands: Option<mpsc::Sender<Command>>,
}

impl Rows {
    /// Connects and brings the schema up to date.
    pub async fn open(config: &RowsConfig) -> Result<Self, StorageError> {
        sqlx::any::install_default_drivers();
        let dialect = Dialect::of_url(&config.database_url)?;
        let writer = Writer::connect(config, dialect).await?;
        let readers = connect_pool(config, dialect, config.readers_max).await?;
        if dialect == Dialect::Sqlite {
            check_sqlite_version(&readers).await?;
        }
        migrator(i64::MAX)?.run(&readers).await.map_err(|error| StorageError::Internal(format!("migrate: {error}")))?;
        if dialect == Dialect::Sqlite {
            // A commit that a killed process wrote but did not sync is read as committed from here on: it must be on the disk before anybody
            // is told of it.
            sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&readers).await?;
        }
        let rows = Self { writer, readers, dialect, config: Arc::new(config.clone()), signals: Signals::new(), commands: None };
        let folded = search::backfill(&rows).await?;
        if folded > 0 {
            tracing::info!(generations = folded, "made older generations searchable");
        }
        let (commands, waiting) = mpsc::channel(group_commit::QUEUE_MAX);
        tokio::spawn(group_commit::write_batches(rows.clone(), waiting));
        Ok(Self { commands: Some(commands), ..rows })
    }

    /// A second handle with connections of its own (for a runtime of its own), sharing the signals.
    pub async fn reopen_single(&self, busy_timeout_ms: u64) -> Result<Self, StorageError> {
        let config = RowsConfig { busy_timeout_ms, readers_max: 1, ..(*self.config).clone() };
        let readers = connect_pool(&config, self.dialect, 1).await?;
        let writer = Writer::connect_beside(&config, self.dialect, &readers).await?;
        Ok(Self { readers, writer, config: Arc::new(config), ..self.clone() })
    }

    /// Starts a write transaction. On SQLite it has the write lock from here on: only rows may be touched until it ends.
    pub async fn begin(&self) -> Result<Tx, StorageError> {
        let (tx, _) = self.begin_with(self.script()).await?;
        Ok(tx)
    }

    /// Starts a write transaction with what it does first, for which SQLite makes no second trip. The answer is the script's rows.
    pub(crate) async fn begin_with(&self, script: Script) -> Result<(Tx, Vec<AnyRow>), StorageError> {
        let mut tx = self.turn().await?;
        let rows = tx.run(script).await?;
        Ok((tx, rows))
    }

    /// The turn to write. The transaction begins with the first script, and with nothing else.
    pub(crate) async fn turn(&self) -> Result<Tx, StorageError> {
        let writing = self.writer.turn().await?;
        Ok(Tx { writing, dialect: self.dialect, changed: Changed::default(), signals: self.signals.clone() })
    }

    pub(crate) fn script(&self) -> Script {
        Script::new(self.dialect)
    }

    /// Connections for reads outside a transaction.
    pub fn read(&self) -> &Pool {
        &self.readers
    }

    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(crate) fn database_url(&self) -> &str {
        &self.config.database_url
    }

    pub(crate) fn commands(&self) -> Option<&mpsc::Sender<Command>> {
        self.commands.as_ref()
    }

    pub(crate) fn signals(&self) -> &Signals {
        &self.signals
    }

    /// Changes whenever a job may have become claimable, in this process.
    pub fn jobs_changed(&self) -> watch::Receiver<u64> {
        self.signals.jobs.subscribe()
    }

    /// Changes whenever an event was stored, in this process.
    pub fn events_changed(&self) -> watch::Receiver<u64> {
        self.signals.events.subscribe()
    }

    /// Changes whenever a key stopped being good or got a new secret: in this process, and on Postgres in any.
    pub fn keys_changed(&self) -> watch::Receiver<u64> {
        self.signals.keys.subscribe()
    }

    /// One round trip; an error means that the database does not answer.
    pub async fn ping(&self) -> Result<(), StorageError> {
        sqlx::query("SELECT 1").execute(&self.readers).await?;
        Ok(())
    }

    /// How far the database's clock is ahead of one that says `now_ms`, the time of the question included; 0 on SQLite, which has none.
    pub async fn clock_skew_ms(&self, now_ms: i64) -> Result<i64, StorageError> {
        if self.dialect != Dialect::Postgres {
            return Ok(0);
        }
        let theirs_ms: i64 =
            sqlx::query_scalar("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)").fetch_one(&self.readers).await?;
        Ok(theirs_ms - now_ms)
    }

    /// SQLite's own check of its file; no rows wrong gives an empty list.
    pub async fn quick_check(&self) -> Result<Vec<String>, StorageError> {
        if self.dialect != Dialect::Sqlite {
            return Ok(Vec::new());
        }
        let rows = sqlx::query("PRAGMA quick_check(20)").fetch_all(&self.readers).await?;
        let lines = rows.iter().map(|row| row.try_get::<String, _>(0)).collect::<Result<Vec<_>, _>>()?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }

    /// Lets running statements end and closes the files; a WAL is checkpointed by the last connection.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

pub(crate) async fn connect_pool(config: &RowsConfig, dialect: Dialect, connections: u32) -> Result<AnyPool, StorageError> {
    let (busy_timeout_ms, stalled_transaction_ms) = (config.busy_timeout_ms, config.stalled_transaction_ms);
    AnyPoolOptions::new()
        .max_connections(connections.max(1))
        .acquire_timeout(Duration::from_millis(config.acquire_timeout_ms))
        .test_before_acquire(dialect == Dialect::Postgres)
        .after_connect(move |connection, _| Box::pin(prepare_connection(connection, dialect, busy_timeout_ms, stalled_transaction_ms)))
        .connect(&config.database_url)
        .await
        .map_err(StorageError::from)
}

/// Set on every connection, since SQLite keeps all but the journal mode with the connection and not with the file, and Postgres what it does
/// with sessions that stand still. Who waits for such a session's rows waits longer than it is let live; a node that vanished without a word
/// is noticed by keep-alives (of TCP; a socket on the same machine needs none).
pub(crate) async fn prepare_connection(
    connection: &mut AnyConnection,
    dialect: Dialect,
    busy_timeout_ms: u64,
    stalled_transaction_ms: u64,
) -> Result<(), sqlx::Error> {
    let settings = match dialect {
        Dialect::Sqlite => format!(
            "PRAGMA busy_timeout = {busy_timeout_ms}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
             PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 1000; PRAGMA cache_size = -16384"
        ),
        Dialect::Postgres => format!(
            "SET idle_in_transaction_session_timeout = {stalled_transaction_ms}; SET lock_timeout = {}; \
             SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3",
            stalled_transaction_ms + stalled_transaction_ms / 2
        ),
    };
    for setting in settings.split("; ") {
        sqlx::query(AssertSqlSafe(setting)).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn check_sqlite_version(pool: &AnyPool) -> Result<(), StorageError> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(pool).await?;
    let numbers: Vec<u32> = version.split('.').map(|part| part.parse().unwrap_or(0)).collect();
    if numbers.as_slice() < SQLITE_VERSION_MIN.as_slice() {
        return Err(StorageError::DataFolder(format!("SQLite {version} can corrupt a WAL database: 3.51.3 or newer is needed")));
    }
    Ok(())
}

/// Forward only: a file that was released is never edited, a change is a new file.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "main job", include_str!("../../migrations/0001_main_job.sql")),
    (2, "keys", include_str!("../../migrations/0002_keys.sql")),
    (3, "voices", include_str!("../../migrations/0003_voices.sql")),
    (4, "history", include_str!("../../migrations/0004_history.sql")),
    (5, "sound", include_str!("../../migrations/0005_sound.sql")),
    (6, "lone jobs", include_str!("../../migrations/0006_lone_jobs.sql")),
    (7, "queue order", include_str!("../../migrations/0007_queue_order.sql")),
    (8, "job parts", include_str!("../../migrations/0008_job_parts.sql")),
];

/// All of them up to a version, as an older program would have them.
pub(crate) fn migrator(up_to: i64) -> Result<Migrator, StorageError> {
    let migrations = MIGRATIONS
        .iter()
        .filter(|(version, ..)| *version <= up_to)
        .map(|&(version, name, sql)| Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false))
        .collect();
    Ok(Migrator::with_migrations(migrations))
}

/// A write transaction. Dropped without [`Tx::commit`] it changes nothing.
#[derive(Debug)]
pub struct Tx {
    writing: Writing,
    dialect: Dialect,
    changed: Changed,
    signals: Arc<Signals>,
}

impl Tx {
    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(crate) fn script(&self) -> Script {
        Script::new(self.dialect)
    }

    pub(crate) fn connection(&mut self) -> &mut AnyConnection {
        self.writing.connection()
    }

    /// The rows of a script. Where it fails, the whole transaction is undone.
    pub(crate) async fn run(&mut self, script: Script) -> Result<Vec<AnyRow>, StorageError> {
        self.writing.run(script).await
    }

    /// To be called by whoever makes a job claimable in this transaction.
    pub(crate) fn wakes_jobs(&mut self) {
        self.changed.jobs = true;
    }

    pub(crate) fn wakes_events(&mut self) {
        self.changed.events = true;
    }

    pub(crate) fn wakes_keys(&mut self) {
        self.changed.keys = true;
    }

    /// Makes everything durable, then wakes those who wait for it.
    pub async fn commit(self) -> Result<(), StorageError> {
        let script = self.script();
        self.commit_with(script).await.map(drop)
    }

    /// Commits with what it does last, for which SQLite makes no trip of its own. The answer is the script's rows.
    pub(crate) async fn commit_with(self, mut script: Script) -> Result<Vec<AnyRow>, StorageError> {
        if let (Dialect::Postgres, Some(payload)) = (self.dialect, self.changed.payload()) {
            script.next("SELECT pg_notify(").push_bind(CHANNEL.to_owned()).push(", ").push_bind(payload).push(")");
        }
        let rows = self.writing.commit_with(script).await?;
        self.signals.raise(self.changed);
        Ok(rows)
    }
}

pub(crate) fn parse_uuid(text: &str) -> Result<uuid::Uuid, StorageError> {
    uuid::Uuid::parse_str(text).map_err(|_| StorageError::Malformed(format!("not a UUID: {text}")))
}
