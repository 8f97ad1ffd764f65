//! How a sleeper learns that rows have changed: a signal without data, raised after the commit in this process, and by a watcher for commits
//! of other processes (LISTEN on Postgres, `PRAGMA data_version` on SQLite). Whoever wakes reads the rows; a signal too many is harmless.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgListener;
use sqlx::{AnyConnection, Connection};
use tokio::sync::watch;

use crate::StorageError;
use crate::rows::{Dialect, Rows};

/// The channel of NOTIFY; its payload is one of [`Changed::payload`].
pub(crate) const CHANNEL: &str = "clonyvoice";
/// How often SQLite is asked whether another process has committed.
const SQLITE_POLL_MS: u64 = 100;
/// How long the watcher waits before it connects again.
const RECONNECT_MS: u64 = 1_000;

/// What a transaction changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    pub jobs: bool,
    pub events: bool,
    pub keys: bool,
}

impl Changed {
    /// For what can't be told apart. Keys are left out: they change seldom, and everybody who has one open looks at it every few seconds.
    pub(crate) const ALL: Self = Self { jobs: true, events: true, keys: false };

    /// What NOTIFY carries; `None` where nobody needs to wake.
    pub(crate) fn payload(self) -> Option<String> {
        let names = [(self.jobs, "jobs"), (self.events, "events"), (self.keys, "keys")];
        let changed: Vec<&str> = names.into_iter().filter(|(changed, _)| *changed).map(|(_, name)| name).collect();
        (!changed.is_empty()).then(|| changed.join(","))
    }

    fn of_payload(payload: &str) -> Self {
        Self { jobs: payload.contains("jobs"), events: payload.contains("events"), keys: payload.contains("keys") }
    }
}

#[derive(Debug)]
pub(crate) struct Signals {
    pub jobs: watch::Sender<u64>,
    pub events: watch::Sender<u64>,
    pub keys: watch::Sender<u64>,
}

impl Signals {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { jobs: watch::Sender::new(0), events: watch::Sender::new(0), keys: watch::Sender::new(0) })
    }

    pub(crate) fn raise(&self, changed: Changed) {
        if changed.jobs {
            self.jobs.send_modify(|n| *n = n.wrapping_add(1));
        }
        if changed.events {
            self.events.send_modify(|n| *n = n.wrapping_add(1));
        }
        if changed.keys {
            self.keys.send_modify(|n| *n = n.wrapping_add(1));
        }
    }
}

impl Rows {
    /// Raises the signals of this process for what other processes commit; runs until it is dropped. Needed where several processes share
    /// a database; harmless where they don't.
    pub async fn watch_other_processes(self) {
        loop {
            let ended = match self.dialect() {
                Dialect::Sqlite => self.watch_sqlite().await,
                Dialect::Postgres => self.watch_postgres().await,
            };
            if let Err(error) = ended {
                tracing::warn!(error = %error, "lost sight of other processes, will connect again");
            }
            sleep(RECONNECT_MS).await;
        }
    }

    async fn watch_sqlite(&self) -> Result<(), StorageError> {
        let mut connection = AnyConnection::connect(self.database_url()).await?;
        let mut seen: Option<i64> = None;
        loop {
            // Changes only by commits of other connections; those of this process raise their signal anyway.
            let version: i64 = sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut connection).await?;
            if seen.is_some_and(|seen| seen != version) {
                self.signals().raise(Changed::ALL);
            }
            seen = Some(version);
            sleep(SQLITE_POLL_MS).await;
        }
    }

    async fn watch_postgres(&self) -> Result<(), StorageError> {
        let mut listener = PgListener::connect(self.database_url()).await?;
        listener.listen(CHANNEL).await?;
        // Whatever was committed before we listened.
        self.signals().raise(Changed::ALL);
        loop {
            match listener.try_recv().await? {
                Some(notification) => self.signals().raise(Changed::of_payload(notification.payload())),
                // The connection broke and was made anew: something may have been missed.
                None => self.signals().raise(Changed::ALL),
            }
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "nothing is decided by this time: it only spaces polls")]
async fn sleep(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
