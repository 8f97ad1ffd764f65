//! The machine's figures, read by one task for all who want them, while anybody does and a while longer: a thousand subscribers cost as much
//! as one, and nobody costs nothing.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobs::clock::Clock;
use tokio::sync::watch;

use crate::machine::{Facts, Machine, Sample};

/// Between two readings.
const PERIOD_MS: u64 = 2_000;
/// The load of the processors needs two looks that lie so far apart.
const FIRST_MS: u64 = 250;
/// So many readings nobody wanted, then it stops.
const UNWANTED_MAX: u32 = 15;

/// `None` until the first reading.
pub type Latest = Option<Arc<Sample>>;

#[derive(Debug)]
pub struct MachineWatch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    latest: watch::Sender<Latest>,
    is_watched: Mutex<bool>,
    /// Opened with the first use: the driver may take its time.
    machine: Mutex<Option<Machine>>,
}

impl MachineWatch {
    pub fn new(folder: PathBuf, clock: Arc<dyn Clock>) -> Self {
        let latest = watch::Sender::new(None);
        Self(Arc::new(Inner { folder, clock, latest, is_watched: Mutex::new(false), machine: Mutex::new(None) }))
    }

    /// Readings begin with the first listener.
    pub fn listen(&self) -> watch::Receiver<Latest> {
        let mut is_watched = lock(&self.0.is_watched);
        let mut latest = self.0.latest.subscribe();
        if *is_watched {
            latest.mark_changed();
        } else {
            *is_watched = true;
            tokio::spawn(follow(self.0.clone()));
        }
        latest
    }

    /// The newest reading; where nobody has asked for long, one made now.
    pub async fn now(&self) -> Option<Arc<Sample>> {
        let mut latest = self.listen();
        latest.wait_for(Option::is_some).await.ok()?.clone()
    }

    pub async fn facts(&self) -> io::Result<Facts> {
        self.0.with_machine(|machine| machine.facts()).await
    }
}

impl Inner {
    /// On a thread that may wait.
    async fn with_machine<T: Send + 'static>(self: &Arc<Self>, ask: impl FnOnce(&mut Machine) -> T + Send + 'static) -> io::Result<T> {
        let inner = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let mut machine = lock(&inner.machine);
            ask(machine.get_or_insert_with(|| Machine::open(&inner.folder)))
        });
        asked.await.map_err(io::Error::other)
    }
}

async fn follow(watch: Arc<Inner>) {
    let mut unwanted = 0;
    // Opens it, and begins to measure.
    let now_ms = watch.clock.now_ms();
    let _ = watch.with_machine(move |machine| machine.read(now_ms)).await;
    watch.clock.sleep(FIRST_MS).await;
    loop {
        let now_ms = watch.clock.now_ms();
        match watch.with_machine(move |machine| machine.read(now_ms)).await {
            Ok(sample) => {
                watch.latest.send_replace(Some(Arc::new(sample)));
            }
            Err(error) => tracing::warn!(%error, "the machine's figures were not read, will be repeated"),
        }
        watch.clock.sleep(PERIOD_MS).await;
        let mut is_watched = lock(&watch.is_watched);
        unwanted = if watch.latest.receiver_count() == 0 { unwanted + 1 } else { 0 };
        if unwanted > UNWANTED_MAX {
            watch.latest.send_replace(None);
            *is_watched = false;
            return;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
