//! The way from async code to engines: a bounded mailbox in front of a few std threads, each owning one engine.
//!
//! Async code waits here and never computes. This file may not know which engine it drives, nor jobs or retries; a panic in an engine
//! costs one request, and the thread goes on with a new engine.

use std::any::Any;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, mpsc};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::speech::{Availability, Capabilities, EngineError, Speech, SpeechEngine, SynthesisRequest};

/// Limits of one handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// Name of the threads.
    pub name: String,
    /// Engines that work at the same time, 1 to 256. For a device that can do one thing at a time: 1.
    pub threads: usize,
    /// Requests that wait for a free engine before further callers have to, 1 to 65,536.
    pub mailbox_len: usize,
    /// While an engine says that something is missing, it is asked again after this long.
    pub recheck_ms: u64,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { name: "engine".to_owned(), threads: 1, mailbox_len: 64, recheck_ms: 3_000 }
    }
}

type Factory = dyn Fn() -> Result<Box<dyn SpeechEngine>, EngineError> + Send + Sync;

/// A clone is the same mailbox. When the last one is dropped the threads end as [`EngineHandle::shutdown`] makes them.
#[derive(Clone)]
pub struct EngineHandle {
    shared: Arc<Shared>,
    _close: Arc<CloseWhenDropped>,
}

impl std::fmt::Debug for EngineHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineHandle").field("config", &self.shared.config).field("busy", &self.busy()).finish_non_exhaustive()
    }
}

struct CloseWhenDropped(Arc<Shared>);

impl Drop for CloseWhenDropped {
    fn drop(&mut self) {
        self.0.close();
    }
}

struct Work {
    id: u64,
    request: SynthesisRequest,
    stop: CancellationToken,
    reply: oneshot::Sender<Result<Speech, EngineError>>,
    /// Place in the mailbox; given back when a thread takes the work.
    _place: OwnedSemaphorePermit,
}

struct Mailbox {
    waiting: VecDeque<Work>,
    closed: bool,
}

/// What the engine last said about itself.
struct Published {
    capabilities: Capabilities,
    availability: Availability,
}

struct Shared {
    config: EngineConfig,
    mailbox: Mutex<Mailbox>,
    /// Rung when work comes, a look at the availability is wanted, or the mailbox closes.
    bell: Condvar,
    places: Arc<Semaphore>,
    /// Cancelled when the handle shuts down.
    stopping: CancellationToken,
    published: RwLock<Option<Published>>,
    next_id: AtomicU64,
    calls: AtomicU64,
    busy: AtomicUsize,
    threads_alive: watch::Sender<usize>,
}

impl EngineHandle {
    /// Starts the threads and waits until the first engine is made, so `factory` should load nothing heavy. The other engines are made
    /// with their first request. The error is the factory's, or says why there is no thread.
    pub fn start(
        config: EngineConfig,
        factory: impl Fn() -> Result<Box<dyn SpeechEngine>, EngineError> + Send + Sync + 'static,
    ) -> Result<Self, EngineError> {
        let config = EngineConfig { threads: config.threads.clamp(1, 256), mailbox_len: config.mailbox_len.clamp(1, 65_536), ..config };
        let shared = Arc::new(Shared {
            places: Arc::new(Semaphore::new(config.mailbox_len)),
            mailbox: Mutex::new(Mailbox { waiting: VecDeque::new(), closed: false }),
            bell: Condvar::new(),
            stopping: CancellationToken::new(),
            published: RwLock::new(None),
            next_id: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
            threads_alive: watch::Sender::new(0),
            config,
        });
        let handle = Self { _close: Arc::new(CloseWhenDropped(Arc::clone(&shared))), shared: Arc::clone(&shared) };
        let factory: Arc<Factory> = Arc::new(factory);
        let (first, made) = mpsc::sync_channel(1);
        for index in 0..shared.config.threads {
            let (shared, factory) = (Arc::clone(&shared), Arc::clone(&factory));
            let first = (index == 0).then(|| first.clone());
            let body = {
                let shared = Arc::clone(&shared);
                move || EngineThread { shared, factory, engine: None }.run(first)
            };
            shared.threads_alive.send_modify(|alive| *alive += 1);
            let name = format!("{}-{index}", shared.config.name);
            if let Err(error) = std::thread::Builder::new().name(name).spawn(body) {
                shared.threads_alive.send_modify(|alive| *alive -= 1);
                return Err(EngineError::Failed(format!("no thread for the engine: {error}")));
            }
        }
        drop(first);
        match made.recv() {
            Ok(Ok(())) => Ok(handle),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(EngineError::Failed("the engine thread ended".to_owned())),
        }
    }

    /// Waits for a place in the mailbox, then for an engine, then for the speech.
    ///
    /// `cancel` answers [`EngineError::Stopped`]: at once while waiting, and as soon as the engine asks while it works. Dropping the
    /// future does the same without an answer.
    pub async fn synthesize(&self, request: SynthesisRequest, cancel: CancellationToken) -> Result<Speech, EngineError> {
        let stop = cancel.child_token();
        let _stop_when_dropped = stop.clone().drop_guard();
        let place = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(EngineError::Stopped),
            place = Arc::clone(&self.shared.places).acquire_owned() => place.map_err(|_| EngineError::Stopped)?,
        };
        let (reply, mut answer) = oneshot::channel();
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        self.shared.put(Work { id, request, stop: stop.clone(), reply, _place: place })?;
        // Answers are never lost while threads live: an engine that panics answers, and so does a thread that closes.
        let gone = |_| EngineError::Failed("the engine thread ended".to_owned());
        tokio::select! {
            biased;
            answered = &mut answer => return answered.map_err(gone)?,
            () = stop.cancelled() => {}
        }
        if self.shared.take_back(id) {
            return Err(EngineError::Stopped);
        }
        answer.await.map_err(gone)?
    }

    /// As the engine last said; never waits. Where something is missing, an idle engine is asked again every `recheck_ms`.
    pub fn availability(&self) -> Availability {
        let published = self.shared.published.read().unwrap_or_else(PoisonError::into_inner);
        match published.as_ref() {
            Some(published) => published.availability.clone(),
            None => Availability::Missing { what: self.shared.config.name.clone(), command: String::new() },
        }
    }

    /// As the engine last said.
    pub fn capabilities(&self) -> Capabilities {
        let published = self.shared.published.read().unwrap_or_else(PoisonError::into_inner);
        match published.as_ref() {
            Some(published) => published.capabilities.clone(),
            None => Capabilities {
                engine: self.shared.config.name.clone(),
                revision: String::new(),
                languages: Vec::new(),
                instruct: false,
                word_timings: false,
                uses_seed: false,
            },
        }
    }

    /// Requests that have reached an engine since the start.
    pub fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::Relaxed)
    }

    /// Engines that work now.
    pub fn busy(&self) -> usize {
        self.shared.busy.load(Ordering::Relaxed)
    }

    /// Answers [`EngineError::Stopped`] to all that wait or run, and from now on; returns when every thread has ended. An engine that
    /// does not ask whether it should stop holds it up: set a time limit around it.
    pub async fn shutdown(&self) {
        self.shared.close();
        let mut alive = self.shared.threads_alive.subscribe();
        // The sender lives in `shared`, so the channel cannot close.
        let _ = alive.wait_for(|alive| *alive == 0).await;
    }
}

impl Shared {
    fn put(&self, work: Work) -> Result<(), EngineError> {
        let mut mailbox = self.mailbox();
        if mailbox.closed {
            return Err(EngineError::Stopped);
        }
        mailbox.waiting.push_back(work);
        self.bell.notify_one();
        Ok(())
    }

    /// `false` when an engine has it already.
    fn take_back(&self, id: u64) -> bool {
        let mut mailbox = self.mailbox();
        let place = mailbox.waiting.iter().position(|work| work.id == id);
        place.and_then(|place| mailbox.waiting.remove(place)).is_some()
    }

    fn close(&self) {
        self.stopping.cancel();
        self.places.close();
        let abandoned = {
            let mut mailbox = self.mailbox();
            mailbox.closed = true;
            std::mem::take(&mut mailbox.waiting)
        };
        self.bell.notify_all();
        for work in abandoned {
            // The caller may be gone.
            let _ = work.reply.send(Err(EngineError::Stopped));
        }
    }

    fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_missing_something(&self) -> bool {
        let published = self.published.read().unwrap_or_else(PoisonError::into_inner);
        published.as_ref().is_some_and(|published| published.availability != Availability::Ready)
    }
}

/// What an engine thread does next.
enum Next {
    Work(Work),
    /// Nothing came for a while and something is missing.
    LookAgain,
    Closed,
}

struct EngineThread {
    shared: Arc<Shared>,
    factory: Arc<Factory>,
    engine: Option<Box<dyn SpeechEngine>>,
}

impl EngineThread {
    fn run(mut self, first: Option<mpsc::SyncSender<Result<(), EngineError>>>) {
        if let Some(first) = first {
            let made = self.make();
            let failed = made.is_err();
            // `start` waits for this.
            let _ = first.send(made);
            if failed {
                self.shared.close();
            }
        }
        loop {
            match self.next() {
                Next::Work(work) => self.work(work),
                Next::LookAgain => self.publish(),
                Next::Closed => break,
            }
        }
        self.discard();
        self.shared.threads_alive.send_modify(|alive| *alive -= 1);
    }

    fn next(&self) -> Next {
        let recheck = Duration::from_millis(self.shared.config.recheck_ms.max(1));
        let mut mailbox = self.shared.mailbox();
        loop {
            if let Some(work) = mailbox.waiting.pop_front() {
                return Next::Work(work);
            }
            if mailbox.closed {
                return Next::Closed;
            }
            if self.engine.is_some() && self.shared.is_missing_something() {
                let (guard, waited) = self.shared.bell.wait_timeout(mailbox, recheck).unwrap_or_else(PoisonError::into_inner);
                mailbox = guard;
                if waited.timed_out() && mailbox.waiting.is_empty() && !mailbox.closed {
                    return Next::LookAgain;
                }
            } else {
                mailbox = self.shared.bell.wait(mailbox).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn work(&mut self, work: Work) {
        let Work { request, stop, reply, _place: place, .. } = work;
        drop(place);
        let stopped = || stop.is_cancelled() || self.shared.stopping.is_cancelled();
        if stopped() {
            let _ = reply.send(Err(EngineError::Stopped));
            return;
        }
        self.shared.busy.fetch_add(1, Ordering::Relaxed);
        let answer = self.make().and_then(|()| {
            self.shared.calls.fetch_add(1, Ordering::Relaxed);
            self.synthesize(&request, &stop)
        });
        self.shared.busy.fetch_sub(1, Ordering::Relaxed);
        let look = matches!(answer, Err(EngineError::Unavailable { .. })) || self.shared.is_missing_something();
        // The caller may be gone.
        let _ = reply.send(answer);
        if look {
            self.publish();
        }
    }

    fn synthesize(&mut self, request: &SynthesisRequest, stop: &CancellationToken) -> Result<Speech, EngineError> {
        let stopping = self.shared.stopping.clone();
        let Some(engine) = self.engine.as_mut() else { return Err(EngineError::Failed("no engine".to_owned())) };
        let mut on_step = |_fraction: f32| match stop.is_cancelled() || stopping.is_cancelled() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        // A broken engine is thrown away below, so nothing half-changed is seen again.
        catch_unwind(AssertUnwindSafe(|| engine.synthesize(request, &mut on_step))).unwrap_or_else(|panic| {
            self.discard();
            Err(EngineError::Failed(format!("engine panicked: {}", message(panic.as_ref()))))
        })
    }

    /// Makes the engine if there is none.
    fn make(&mut self) -> Result<(), EngineError> {
        if self.engine.is_some() {
            return Ok(());
        }
        let made = catch_unwind(AssertUnwindSafe(|| (self.factory)()));
        let made = made.unwrap_or_else(|panic| Err(EngineError::Failed(format!("engine panicked: {}", message(panic.as_ref())))));
        self.engine = Some(made?);
        self.publish();
        Ok(())
    }

    fn publish(&mut self) {
        let Some(engine) = &self.engine else { return };
        let said =
            catch_unwind(AssertUnwindSafe(|| Published { capabilities: engine.capabilities(), availability: engine.availability() }));
        match said {
            Ok(said) => *self.shared.published.write().unwrap_or_else(PoisonError::into_inner) = Some(said),
            Err(_) => self.discard(),
        }
    }

    /// An engine that has panicked may panic again while it is dropped.
    fn discard(&mut self) {
        if let Some(engine) = self.engine.take() {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(engine)));
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
