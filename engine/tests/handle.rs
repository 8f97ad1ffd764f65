//! The handle in front of engines that go wrong: limits, cancelling, panics, closing. No speech library is needed.
#![cfg(debug_assertions)]
#![allow(clippy::unwrap_used)]

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};

use engine::builtin::BuiltinVoice;
use engine::handle::{EngineConfig, EngineHandle};
use engine::scripted::{Act, Rule, Script, ScriptedEngines};
use engine::speech::{Availability, Capabilities, EngineError, Speech, SpeechEngine, SynthesisRequest, VoiceProfile};
use tokio_util::sync::CancellationToken;

fn request(text: &str) -> SynthesisRequest {
    SynthesisRequest {
        text: text.to_owned(),
        voice: VoiceProfile::Builtin(BuiltinVoice::default()),
        language: "en-US".to_owned(),
        speed: 1.0,
        pitch_semitones: 0.0,
        seed: 7,
        instruct: None,
    }
}

fn config(threads: usize, mailbox_len: usize) -> EngineConfig {
    EngineConfig { name: "test".to_owned(), threads, mailbox_len, recheck_ms: 1 }
}

fn scripted(config: EngineConfig, rules: &[(&str, Act, Option<u32>)]) -> EngineHandle {
    let rule = |(needle, act, times): &(&str, Act, Option<u32>)| Rule {
        needle: (*needle).to_owned(),
        act: act.clone(),
        times: *times,
        after_steps: 2,
    };
    let engines = ScriptedEngines::new(Script { rules: rules.iter().map(rule).collect(), ..Script::default() });
    EngineHandle::start(config, move || Ok(Box::new(engines.engine()) as Box<dyn SpeechEngine>)).unwrap()
}

async fn say(handle: &EngineHandle, text: &str) -> Result<Speech, EngineError> {
    handle.synthesize(request(text), CancellationToken::new()).await
}

/// Speaks nothing, but tells when it is in a call, and stays there until it is let go or asked to stop.
struct Gate {
    entered: mpsc::Sender<String>,
    open: Arc<AtomicBool>,
    stopped: Arc<AtomicU32>,
}

impl SpeechEngine for Gate {
    fn capabilities(&self) -> Capabilities {
        ScriptedEngines::new(Script::default()).engine().capabilities()
    }

    fn availability(&self) -> Availability {
        Availability::Ready
    }

    fn synthesize(&mut self, request: &SynthesisRequest, on_step: &mut dyn FnMut(f32) -> ControlFlow<()>) -> Result<Speech, EngineError> {
        self.entered.send(request.text.clone()).unwrap();
        while !self.open.load(Ordering::SeqCst) {
            if on_step(0.5).is_break() {
                self.stopped.fetch_add(1, Ordering::SeqCst);
                return Err(EngineError::Stopped);
            }
            std::thread::yield_now();
        }
        Ok(Speech { samples: Vec::new(), words: Vec::new() })
    }
}

struct Gated {
    handle: EngineHandle,
    entered: mpsc::Receiver<String>,
    open: Arc<AtomicBool>,
    stopped: Arc<AtomicU32>,
}

fn gated(config: EngineConfig) -> Gated {
    let (sender, entered) = mpsc::channel();
    let (open, stopped) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let (gate, count) = (Arc::clone(&open), Arc::clone(&stopped));
    let factory = move || {
        let gate = Gate { entered: sender.clone(), open: Arc::clone(&gate), stopped: Arc::clone(&count) };
        Ok(Box::new(gate) as Box<dyn SpeechEngine>)
    };
    Gated { handle: EngineHandle::start(config, factory).unwrap(), entered, open, stopped }
}

/// Lets a future go as far as it can without waiting.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn equal_requests_give_equal_speech_on_any_thread() {
    let handle = scripted(config(3, 8), &[]);
    let first = say(&handle, "one two three").await.unwrap();
    assert_eq!(first.words.len(), 3);
    let many = futures::future::join_all((0..20).map(|_| say(&handle, "one two three"))).await;
    assert!(many.into_iter().all(|speech| speech.unwrap() == first));
    assert_ne!(say(&handle, "one two four").await.unwrap().samples, first.samples);
    let seeded = SynthesisRequest { seed: 8, ..request("one two three") };
    assert_ne!(handle.synthesize(seeded, CancellationToken::new()).await.unwrap().samples, first.samples);
    assert_eq!(handle.calls(), 23);
    assert_eq!(handle.busy(), 0);
    assert_eq!(handle.capabilities().engine, "scripted");
    assert_eq!(handle.availability(), Availability::Ready);
}

#[tokio::test]
async fn a_panic_costs_one_request_and_the_engine_is_made_anew() {
    let made = Arc::new(AtomicU32::new(0));
    let rule = Rule { needle: "boom".to_owned(), act: Act::Panic, times: Some(2), after_steps: 0 };
    let engines = ScriptedEngines::new(Script { rules: vec![rule], ..Script::default() });
    let count = Arc::clone(&made);
    let handle = EngineHandle::start(config(1, 4), move || {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(engines.engine()) as Box<dyn SpeechEngine>)
    })
    .unwrap();
    for _ in 0..2 {
        let Err(EngineError::Failed(message)) = say(&handle, "boom").await else { panic!("it did not fail") };
        assert!(message.starts_with("engine panicked: script says panic"), "{message}");
    }
    assert!(say(&handle, "boom").await.is_ok());
    assert_eq!(made.load(Ordering::SeqCst), 3);
    assert_eq!((handle.calls(), handle.busy()), (3, 0));
}

#[tokio::test]
async fn each_error_arrives_as_it_is() {
    let acts = [("fail", Act::Fail), ("refuse", Act::Refuse), ("gone", Act::Unavailable), ("memory", Act::OutOfMemory)];
    let rules: Vec<(&str, Act, Option<u32>)> = acts.clone().map(|(needle, act)| (needle, act, Some(1))).to_vec();
    let handle = scripted(config(1, 4), &rules);
    assert!(matches!(say(&handle, "fail").await, Err(EngineError::Failed(_))));
    assert!(matches!(say(&handle, "refuse").await, Err(EngineError::Refused(_))));
    assert!(matches!(say(&handle, "gone").await, Err(EngineError::Unavailable { .. })));
    assert!(matches!(say(&handle, "memory").await, Err(EngineError::OutOfMemory)));
    for (needle, _) in acts {
        assert!(say(&handle, needle).await.is_ok(), "{needle} happened twice");
    }
    let silent = scripted(config(1, 4), &[("hush", Act::Silence, None)]);
    assert!(say(&silent, "hush").await.unwrap().samples.iter().all(|sample| *sample == 0.0));
}

#[tokio::test]
async fn cancelling_stops_a_running_request() {
    let gated = gated(config(1, 4));
    let cancel = CancellationToken::new();
    let running = tokio::spawn({
        let (handle, cancel) = (gated.handle.clone(), cancel.clone());
        async move { handle.synthesize(request("first"), cancel).await }
    });
    let entered = tokio::task::spawn_blocking(move || gated.entered.recv().unwrap()).await.unwrap();
    assert_eq!(entered, "first");
    assert_eq!(gated.handle.busy(), 1);
    cancel.cancel();
    assert!(matches!(running.await.unwrap(), Err(EngineError::Stopped)));
    assert_eq!(gated.stopped.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn cancelling_takes_a_waiting_request_out_at_once() {
    let gated = gated(config(1, 1));
    let mut running = pin!(say(&gated.handle, "running"));
    assert!(poll_once(running.as_mut()).is_pending());
    assert_eq!(gated.entered.recv().unwrap(), "running");
    let (in_mailbox, outside) = (CancellationToken::new(), CancellationToken::new());
    let mut second = pin!(gated.handle.synthesize(request("in the mailbox"), in_mailbox.clone()));
    let mut third = pin!(gated.handle.synthesize(request("for a place"), outside.clone()));
    assert!(poll_once(second.as_mut()).is_pending());
    assert!(poll_once(third.as_mut()).is_pending(), "the mailbox holds one");
    outside.cancel();
    assert!(matches!(poll_once(third.as_mut()), Poll::Ready(Err(EngineError::Stopped))));
    in_mailbox.cancel();
    assert!(matches!(poll_once(second.as_mut()), Poll::Ready(Err(EngineError::Stopped))));
    // Its place is free again while the engine still works.
    let mut fourth = pin!(say(&gated.handle, "after"));
    assert!(poll_once(fourth.as_mut()).is_pending());
    gated.open.store(true, Ordering::SeqCst);
    assert!(running.await.is_ok() && fourth.await.is_ok());
    assert_eq!(gated.handle.calls(), 2, "cancelled requests never reached the engine");
}

#[tokio::test]
async fn a_full_mailbox_makes_callers_wait_and_loses_nobody() {
    let gated = gated(config(2, 3));
    let calls = (0..30).map(|index| say(&gated.handle, if index % 2 == 0 { "even" } else { "odd" }));
    let mut all = pin!(futures::future::join_all(calls));
    assert!(poll_once(all.as_mut()).is_pending());
    let mut entered = [gated.entered.recv().unwrap(), gated.entered.recv().unwrap()];
    entered.sort_unstable();
    assert_eq!((entered, gated.handle.busy()), (["even".to_owned(), "odd".to_owned()], 2));
    assert_eq!(gated.handle.calls(), 2);
    gated.open.store(true, Ordering::SeqCst);
    assert!(all.await.into_iter().all(|speech| speech.is_ok()));
    assert_eq!((gated.handle.calls(), gated.handle.busy()), (30, 0));
}

#[tokio::test]
async fn dropping_the_future_stops_the_work() {
    let gated = gated(config(1, 4));
    {
        let mut dropped = pin!(say(&gated.handle, "dropped"));
        assert!(poll_once(dropped.as_mut()).is_pending());
        assert_eq!(gated.entered.recv().unwrap(), "dropped");
    }
    // The gate is shut: the thread can only take the next request because the first was stopped.
    let mut next = pin!(say(&gated.handle, "next"));
    assert!(poll_once(next.as_mut()).is_pending());
    assert_eq!(gated.entered.recv().unwrap(), "next");
    assert_eq!(gated.stopped.load(Ordering::SeqCst), 1);
    gated.open.store(true, Ordering::SeqCst);
    assert!(next.await.is_ok());
}

#[tokio::test]
async fn shutdown_stops_what_runs_and_what_waits() {
    let gated = gated(config(1, 1));
    let mut running = pin!(say(&gated.handle, "running"));
    assert!(poll_once(running.as_mut()).is_pending());
    assert_eq!(gated.entered.recv().unwrap(), "running");
    let mut waiting = pin!(say(&gated.handle, "waiting"));
    let mut outside = pin!(say(&gated.handle, "outside"));
    assert!(poll_once(waiting.as_mut()).is_pending() && poll_once(outside.as_mut()).is_pending());
    gated.handle.shutdown().await;
    for stopped in [running.await, waiting.await, outside.await, say(&gated.handle, "late").await] {
        assert!(matches!(stopped, Err(EngineError::Stopped)), "{stopped:?}");
    }
    gated.handle.shutdown().await;
    assert_eq!((gated.handle.calls(), gated.handle.busy()), (1, 0));
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_threads() {
    let gated = gated(config(2, 1));
    drop(gated.handle);
    // The factory holds the other end and lives as long as the threads do.
    let ended = tokio::task::spawn_blocking(move || gated.entered.recv().is_err());
    assert!(ended.await.unwrap());
}

#[tokio::test]
async fn a_factory_that_fails_is_told_and_one_that_panics_does_not_kill() {
    let refused = EngineHandle::start(config(2, 1), || Err(EngineError::OutOfMemory));
    assert!(matches!(refused, Err(EngineError::OutOfMemory)), "{refused:?}");
    let panicked = EngineHandle::start(config(1, 1), || panic!("no device"));
    assert!(matches!(&panicked, Err(EngineError::Failed(message)) if message == "engine panicked: no device"), "{panicked:?}");
}

/// Missing until it has been asked a few times.
struct Late(Arc<AtomicU32>);

impl SpeechEngine for Late {
    fn capabilities(&self) -> Capabilities {
        ScriptedEngines::new(Script::default()).engine().capabilities()
    }

    fn availability(&self) -> Availability {
        match self.0.fetch_add(1, Ordering::SeqCst) {
            0..5 => Availability::Missing { what: "a library".to_owned(), command: "install it".to_owned() },
            _ => Availability::Ready,
        }
    }

    fn synthesize(&mut self, _: &SynthesisRequest, _: &mut dyn FnMut(f32) -> ControlFlow<()>) -> Result<Speech, EngineError> {
        Err(EngineError::Stopped)
    }
}

#[test]
fn what_is_installed_later_is_noticed_by_an_idle_engine() {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let handle = EngineHandle::start(config(1, 1), move || Ok(Box::new(Late(Arc::clone(&count))) as Box<dyn SpeechEngine>)).unwrap();
    assert!(matches!(handle.availability(), Availability::Missing { .. }));
    while handle.availability() != Availability::Ready {
        std::thread::yield_now();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 6, "an engine that is ready is left alone");
}

#[tokio::test]
async fn counts_of_a_script_outlive_its_engines() {
    let folder = tempfile::tempdir().unwrap();
    let rule = Rule { needle: "once".to_owned(), act: Act::Fail, times: Some(1), after_steps: 0 };
    let script = Script { rules: vec![rule], counts_folder: Some(folder.path().to_owned()), ..Script::default() };
    let text = serde_json::to_string(&script).unwrap();
    for expected in [false, true, true] {
        let engines = ScriptedEngines::new(serde_json::from_str(&text).unwrap());
        let handle = EngineHandle::start(config(1, 1), move || Ok(Box::new(engines.engine()) as Box<dyn SpeechEngine>)).unwrap();
        assert_eq!(say(&handle, "once").await.is_ok(), expected);
    }
}
