//! Who writes: a pool on Postgres; on SQLite the one write connection, which belongs to whoever has begun. (With several, SQLite's waiters
//! poll and starve each other; a lock is a fair queue. sqlx's pool of one would be that too, at the price of a task and another trip to the
//! database's thread each time a connection is given back.)
//!
//! Transactions are kept by hand there, so that BEGIN and COMMIT travel with the statements next to them. This file may not know any table.

use std::sync::Arc;
use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::{Any, AnyConnection, AnyPool, Connection};
use tokio::sync::{Mutex, OwnedMappedMutexGuard, OwnedMutexGuard};

use crate::StorageError;
use crate::rows::{Dialect, RowsConfig, connect_pool, prepare_connection};
use crate::statement::Script;

/// Takes the write lock at once: with a plain BEGIN the first write takes it, and can then fail in the middle.
const BEGIN_SQLITE: &str = "BEGIN IMMEDIATE";

#[derive(Debug, Clone)]
pub(crate) enum Writer {
    Sqlite(Single),
    Postgres(AnyPool),
}

impl Writer {
    pub(crate) async fn connect(config: &RowsConfig, dialect: Dialect) -> Result<Self, StorageError> {
        match dialect {
            Dialect::Sqlite => Single::connect(config).await.map(Self::Sqlite),
            Dialect::Postgres => connect_pool(config, dialect, config.readers_max).await.map(Self::Postgres),
        }
    }

    /// With no more connections than there are where one serves for both.
    pub(crate) async fn connect_beside(config: &RowsConfig, dialect: Dialect, readers: &AnyPool) -> Result<Self, StorageError> {
        match dialect {
            Dialect::Sqlite => Single::connect(config).await.map(Self::Sqlite),
            Dialect::Postgres => Ok(Self::Postgres(readers.clone())),
        }
    }

    pub(crate) async fn turn(&self) -> Result<Writing, StorageError> {
        match self {
            Self::Sqlite(single) => single.lock().await.map(Writing::Sqlite),
            Self::Postgres(pool) => Ok(Writing::Postgres(pool.begin().await?)),
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(single) => single.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// The turn to write: a transaction that began, or is to begin with its first script. Dropped, it is undone.
#[derive(Debug)]
pub(crate) enum Writing {
    Sqlite(Held),
    Postgres(sqlx::Transaction<'static, Any>),
}

impl Writing {
    pub(crate) fn connection(&mut self) -> &mut AnyConnection {
        match self {
            Self::Sqlite(held) => held.connection(),
            Self::Postgres(transaction) => transaction,
        }
    }

    pub(crate) async fn run(&mut self, script: Script) -> Result<Vec<AnyRow>, StorageError> {
        match self {
            Self::Sqlite(held) => held.run(script).await,
            Self::Postgres(transaction) => script.run(transaction).await,
        }
    }

    pub(crate) async fn commit_with(self, script: Script) -> Result<Vec<AnyRow>, StorageError> {
        match self {
            Self::Sqlite(held) => held.commit_with(script).await,
            Self::Postgres(mut transaction) => {
                let rows = script.run(&mut transaction).await?;
                transaction.commit().await?;
                Ok(rows)
            }
        }
    }
}

/// SQLite's one write connection; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Single {
    seat: Arc<Mutex<Seat>>,
    config: Arc<RowsConfig>,
}

#[derive(Debug, Default)]
struct Seat {
    open: Option<Open>,
    closed: bool,
}

#[derive(Debug)]
struct Open {
    connection: AnyConnection,
    /// Maybe: what is not known to have ended is undone by whoever comes next.
    in_transaction: bool,
}

impl Single {
    async fn connect(config: &RowsConfig) -> Result<Self, StorageError> {
        let seat = Seat { open: Some(Open::connect(config).await?), closed: false };
        Ok(Self { seat: Arc::new(Mutex::new(seat)), config: Arc::new(config.clone()) })
    }

    /// First come, first served.
    async fn lock(&self) -> Result<Held, StorageError> {
        let longest = Duration::from_millis(self.config.acquire_timeout_ms);
        let waited = tokio::time::timeout(longest, self.seat.clone().lock_owned()).await;
        let mut seat = waited.map_err(|_| StorageError::Unreachable("others write for too long".into()))?;
        if seat.closed {
            return Err(StorageError::Unreachable("the database was closed".into()));
        }
        if let Some(open) = &mut seat.open
            && open.in_transaction
            && let Err(error) = open.roll_back().await
        {
            tracing::warn!(%error, "the write connection is broken, making another");
            seat.open = None;
        }
        if seat.open.is_none() {
            seat.open = Some(Open::connect(&self.config).await?);
        }
        let open = OwnedMutexGuard::try_map(seat, |seat| seat.open.as_mut());
        let open = open.map_err(|_| StorageError::Internal("no write connection".into()))?;
        Ok(Held { open, single: self.clone() })
    }

    async fn close(&self) {
        let mut seat = self.seat.lock().await;
        seat.closed = true;
        if let Some(open) = seat.open.take()
            && let Err(error) = open.connection.close().await
        {
            tracing::warn!(%error, "the write connection was not closed");
        }
    }
}

impl Open {
    async fn connect(config: &RowsConfig) -> Result<Self, StorageError> {
        let mut connection = AnyConnection::connect(&config.database_url).await?;
        prepare_connection(&mut connection, Dialect::Sqlite, config.busy_timeout_ms, config.stalled_transaction_ms).await?;
        Ok(Self { connection, in_transaction: false })
    }

    async fn roll_back(&mut self) -> Result<(), sqlx::Error> {
        /// "No transaction is active": it never began, has ended, or was undone by SQLite itself.
        const NOTHING_TO_UNDO: &str = "1";
        let ended = sqlx::query("ROLLBACK").execute(&mut self.connection).await;
        let nothing = matches!(&ended, Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(NOTHING_TO_UNDO));
        if !nothing {
            ended?;
        }
        self.in_transaction = false;
        Ok(())
    }

    /// What fails is undone; where that fails too, it is left to the next one.
    async fn undo_failed<T>(&mut self, ran: Result<T, StorageError>) -> Result<T, StorageError> {
        if ran.is_err()
            && let Err(error) = self.roll_back().await
        {
            tracing::warn!(%error, "a failed transaction was not undone");
        }
        ran
    }
}

/// The turn to write; the transaction that was begun with it is undone if it is dropped before the commit.
#[derive(Debug)]
pub(crate) struct Held {
    open: OwnedMappedMutexGuard<Seat, Open>,
    single: Single,
}

impl Held {
    fn connection(&mut self) -> &mut AnyConnection {
        &mut self.open.connection
    }

    async fn run(&mut self, mut script: Script) -> Result<Vec<AnyRow>, StorageError> {
        if !self.open.in_transaction {
            script.put_first(BEGIN_SQLITE);
        }
        self.open.in_transaction = true;
        let ran = script.run(&mut self.open.connection).await;
        self.open.undo_failed(ran).await
    }

    async fn commit_with(mut self, mut script: Script) -> Result<Vec<AnyRow>, StorageError> {
        script.next("COMMIT");
        let rows = self.run(script).await?;
        self.open.in_transaction = false;
        Ok(rows)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.open.in_transaction {
            return;
        }
        // The next one undoes it, but there may be none for long, and other processes wait for the lock.
        let single = self.single.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { single.lock().await.map(drop) });
        }
    }
}
