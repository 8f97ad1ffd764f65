//! One batch for many callers: requests that come on several threads share its steps, so that two cost little more than one.
//!
//! There is no thread of its own. Whoever waits for a frame and finds the batch free takes one step for everybody, and the others sleep
//! until it is back. A caller that stops or dies takes its slot with it. This file may not know texts or samples.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::ModelError;
use super::batch::{Batch, End, Progress, SlotConfig, SlotId};
use super::model::Model;
use super::prompt::Prompt;
use crate::speech::EngineError;

/// A sleeper looks up this often to ask whether it is still wanted; a frame wakes it earlier.
const LOOK_UP: Duration = Duration::from_millis(100);

/// The batch of one model.
#[derive(Debug)]
pub(super) struct SharedBatch {
    pub(super) model: Arc<Model>,
    state: Mutex<State>,
    bell: Condvar,
    /// Steps of more slots end as they do where memory is short.
    #[cfg(test)]
    roomy_slots: std::sync::atomic::AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    /// Falls where memory is short, and stays there until the model is loaded again.
    max_slots: usize,
    /// Away while somebody steps it.
    batch: Option<Batch>,
    waiting: VecDeque<Joining>,
    inboxes: HashMap<u64, Inbox>,
    tickets: HashMap<SlotId, u64>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Joining {
    ticket: u64,
    prompt: Prompt,
    slot: SlotConfig,
}

#[derive(Debug, Default)]
struct Inbox {
    frames: VecDeque<Vec<u32>>,
    end: Option<Result<End, Lost>>,
}

/// Why a request has lost what was made of it.
#[derive(Debug)]
pub(super) enum Lost {
    /// There was not memory enough for so many at once. There will be fewer: ask again.
    SmallerBatch,
    For(EngineError),
}

/// What the model's error means for a caller.
pub(super) fn failure(error: &ModelError) -> EngineError {
    match error {
        ModelError::Request(detail) => EngineError::Refused(detail.clone()),
        ModelError::Folder { .. } => EngineError::Refused(error.to_string()),
        // The device's own words are all that tells it.
        ModelError::Compute(error) if error.to_string().to_lowercase().contains("out of memory") => EngineError::OutOfMemory,
        ModelError::Compute(error) => EngineError::Failed(error.to_string()),
    }
}

impl SharedBatch {
    /// At most `max_slots` speak at once; the others wait for a slot.
    pub(super) fn new(model: Arc<Model>, max_slots: usize) -> Self {
        let state = State { max_slots: max_slots.max(1), batch: Some(model.batch()), ..State::default() };
        Self {
            model,
            state: Mutex::new(state),
            bell: Condvar::new(),
            #[cfg(test)]
            roomy_slots: std::sync::atomic::AtomicUsize::new(usize::MAX),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Speaks one prompt. `heed` gets each frame, and `None` now and then while there is none; `Break` gives [`EngineError::Stopped`].
    pub(super) fn speak(
        &self,
        prompt: Prompt,
        slot: SlotConfig,
        heed: &mut dyn FnMut(Option<Vec<u32>>) -> ControlFlow<()>,
    ) -> Result<End, Lost> {
        let place = Place { shared: self, ticket: self.enrol(prompt, slot) };
        loop {
            let mut state = self.lock();
            let Some(inbox) = state.inboxes.get_mut(&place.ticket) else {
                return Err(Lost::For(EngineError::Failed("the request was lost".to_owned())));
            };
            let next = inbox.frames.pop_front();
            if next.is_none() {
                if let Some(end) = inbox.end.take() {
                    return end;
                }
                if let Some(batch) = state.batch.take() {
                    drop(state);
                    Lead { shared: self, batch: Some(batch), joining: Vec::new() }.step();
                    continue;
                }
                drop(self.bell.wait_timeout(state, LOOK_UP).unwrap_or_else(PoisonError::into_inner));
            } else {
                drop(state);
            }
            if heed(next).is_break() {
                return Err(Lost::For(EngineError::Stopped));
            }
        }
    }

    fn stepped(&self, batch: &mut Batch) -> Result<Vec<Progress>, ModelError> {
        #[cfg(test)]
        if batch.len() > self.roomy_slots.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(ModelError::Compute(candle_core::Error::Msg("out of memory".to_owned())));
        }
        batch.step()
    }

    fn enrol(&self, prompt: Prompt, slot: SlotConfig) -> u64 {
        let mut state = self.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.inboxes.insert(ticket, Inbox::default());
        state.waiting.push_back(Joining { ticket, prompt, slot });
        ticket
    }
}

/// A caller's place; whatever ends the call gives it back.
struct Place<'s> {
    shared: &'s SharedBatch,
    ticket: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.inboxes.remove(&self.ticket);
        state.waiting.retain(|joining| joining.ticket != self.ticket);
        // A slot that was stopped holds much memory, and there may be no next step for long.
        if let Some(mut batch) = state.batch.take() {
            state.sweep(&mut batch);
            state.batch = Some(batch);
        }
    }
}

/// The batch while it is away. However the step ends, a batch comes back, and everybody is woken.
struct Lead<'s> {
    shared: &'s SharedBatch,
    batch: Option<Batch>,
    /// Those that join with this step, in the batch or not yet.
    joining: Vec<u64>,
}

impl Lead<'_> {
    fn step(mut self) {
        let Some(mut batch) = self.batch.take() else { return };
        let joining = self.admitted(&mut batch);
        for Joining { ticket, prompt, slot } in joining {
            let joined = batch.join(&prompt, slot);
            let mut state = self.shared.lock();
            match joined {
                Ok(id) => {
                    state.tickets.insert(id, ticket);
                }
                Err(error) => {
                    let lost = state.lost(batch.len() + 1, &error);
                    state.finish(ticket, Err(lost));
                }
            }
        }
        let slots = batch.len();
        match self.shared.stepped(&mut batch) {
            Ok(progress) => {
                let mut state = self.shared.lock();
                for progress in progress {
                    state.pass_on(progress.slot, progress.frame, progress.end);
                }
                drop(state);
                self.batch = Some(batch);
            }
            Err(error) => {
                // What the slots hold is free before anybody asks again.
                drop(batch);
                self.fail(|state| state.lost(slots, &error));
            }
        }
        self.joining.clear();
    }

    /// Those that get a slot with this step.
    fn admitted(&mut self, batch: &mut Batch) -> Vec<Joining> {
        let mut state = self.shared.lock();
        state.sweep(batch);
        let free = state.max_slots.saturating_sub(batch.len()).min(state.waiting.len());
        let joining: Vec<Joining> = state.waiting.drain(..free).collect();
        self.joining = joining.iter().map(|joining| joining.ticket).collect();
        joining
    }

    /// Everybody in the batch has lost what it had.
    fn fail(&self, why: impl Fn(&mut State) -> Lost) {
        let mut state = self.shared.lock();
        let lost: Vec<u64> = state.tickets.drain().map(|(_, ticket)| ticket).collect();
        for ticket in lost.into_iter().chain(self.joining.iter().copied()) {
            let why = why(&mut state);
            state.finish(ticket, Err(why));
        }
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let batch = self.batch.take().unwrap_or_else(|| {
            // Empty after an error that was passed on; after a panic this is what tells the others.
            self.fail(|_| Lost::For(EngineError::Failed("the step of another request ended in a panic".to_owned())));
            self.shared.model.batch()
        });
        self.shared.lock().batch = Some(batch);
        self.shared.bell.notify_all();
    }
}

impl State {
    /// What an error of so many slots means for one of them. Memory that did not suffice may for half as many.
    fn lost(&mut self, slots: usize, error: &ModelError) -> Lost {
        let error = failure(error);
        if !matches!(error, EngineError::OutOfMemory) || slots < 2 {
            return Lost::For(error);
        }
        if self.max_slots > slots / 2 {
            self.max_slots = slots / 2;
            tracing::warn!(
                batch.slots = slots,
                batch.max_slots = self.max_slots,
                "memory is short: fewer requests share a step from now on"
            );
        }
        Lost::SmallerBatch
    }

    /// The first end counts.
    fn finish(&mut self, ticket: u64, end: Result<End, Lost>) {
        if let Some(inbox) = self.inboxes.get_mut(&ticket)
            && inbox.end.is_none()
        {
            inbox.end = Some(end);
        }
    }

    /// Lets slots go whose callers went.
    fn sweep(&mut self, batch: &mut Batch) {
        let Self { tickets, inboxes, .. } = self;
        tickets.retain(|id, ticket| {
            let here = inboxes.contains_key(ticket);
            if !here {
                batch.leave(*id);
            }
            here
        });
    }

    fn pass_on(&mut self, slot: SlotId, frame: Option<Vec<u32>>, end: Option<End>) {
        let Some(ticket) = self.tickets.get(&slot).copied() else { return };
        if let Some(inbox) = self.inboxes.get_mut(&ticket) {
            inbox.frames.extend(frame);
        }
        if let Some(end) = end {
            self.tickets.remove(&slot);
            self.finish(ticket, Ok(end));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;
    use std::sync::Barrier;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::qwen3_tts::{LoadConfig, Pace, Precision, PromptRequest, Speaker};

    fn shared(max_slots: usize) -> SharedBatch {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/qwen3_tts/custom_voice");
        SharedBatch::new(Arc::new(Model::load(&LoadConfig { folder, precision: Precision::F32 }).unwrap()), max_slots)
    }

    /// The frames of one request, however often it has to ask.
    fn frames(shared: &SharedBatch, seed: u64, meet: Option<&Barrier>) -> Result<(Vec<Vec<u32>>, usize), EngineError> {
        let speaker = Speaker::Named("ryan");
        let request = PromptRequest { text: "hello world", language: "english", speaker, instruct: "", pace: Pace::Whole };
        let slot = SlotConfig { watch: false, ..shared.model.slot_config(seed, 12) };
        let mut meet = meet;
        for lost in 0..10 {
            let mut frames = Vec::new();
            let prompt = shared.model.prompt(&request).unwrap();
            if let Some(meet) = meet.take() {
                meet.wait();
            }
            let spoken = shared.speak(prompt, slot, &mut |frame| {
                frames.extend(frame);
                ControlFlow::Continue(())
            });
            match spoken {
                Ok(_) => return Ok((frames, lost)),
                Err(Lost::SmallerBatch) => {}
                Err(Lost::For(error)) => return Err(error),
            }
        }
        panic!("asked again and again");
    }

    #[test]
    fn short_memory_makes_the_batch_smaller_and_changes_nothing_that_is_said() {
        let alone: Vec<_> = (0..4).map(|seed| frames(&shared(1), seed, None).unwrap().0).collect();
        let (shared, meet) = (shared(4), Barrier::new(4));
        shared.roomy_slots.store(2, Ordering::Relaxed);
        std::thread::scope(|scope| {
            let said: Vec<_> = (0..4)
                .map(|seed| {
                    scope.spawn({
                        let (shared, meet) = (&shared, &meet);
                        move || frames(shared, seed, Some(meet))
                    })
                })
                .collect();
            for (said, alone) in said.into_iter().zip(&alone) {
                assert_eq!(&said.join().unwrap().unwrap().0, alone);
            }
        });
        assert!(shared.lock().max_slots <= 4);
        // Where even one is too many, that is told.
        shared.roomy_slots.store(0, Ordering::Relaxed);
        assert!(matches!(frames(&shared, 1, None), Err(EngineError::OutOfMemory)));
    }

    #[test]
    fn a_batch_that_is_too_large_is_halved() {
        let mut state = State { max_slots: 8, ..State::default() };
        let short = ModelError::Compute(candle_core::Error::Msg("CUDA_ERROR_OUT_OF_MEMORY: out of memory".to_owned()));
        assert!(matches!(state.lost(6, &short), Lost::SmallerBatch));
        assert_eq!(state.max_slots, 3);
        // The others of the same step.
        assert!(matches!(state.lost(6, &short), Lost::SmallerBatch));
        assert_eq!(state.max_slots, 3);
        assert!(matches!(state.lost(1, &short), Lost::For(EngineError::OutOfMemory)));
        let other = ModelError::Compute(candle_core::Error::Msg("shape".to_owned()));
        assert!(matches!(state.lost(3, &other), Lost::For(EngineError::Failed(_))));
    }
}
