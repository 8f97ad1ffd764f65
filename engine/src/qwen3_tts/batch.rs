//! The frame loop: slots that each speak one text, in lockstep over one set of weights. Slots join and leave between frames.
//!
//! A slot has its own caches and random numbers, and no row of a step feels another, so what a slot says does not depend on who is beside
//! it. This file may not know text, audio or where requests come from.

use std::sync::Arc;

use candle_core::Tensor;

use super::ModelError;
use super::kv::KvCache;
use super::limits;
use super::prompt::Prompt;
use super::sampling::{self, Draws, Rules, Sampling};
use super::talker::{Heard, Talker};

/// How a slot chooses and when it stops.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlotConfig {
    pub seed: u64,
    pub first: Sampling,
    pub others: Sampling,
    /// For codes of the first codebook that the slot has chosen before; 1 is none.
    pub repetition_penalty: f32,
    /// The slot ends after so many frames.
    pub max_frames: usize,
    /// End when the speech goes in a circle.
    pub watch: bool,
    /// Keep the logits of every step: for parity, not for work.
    pub record: bool,
}

/// Why a slot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The model said so.
    Said,
    /// [`SlotConfig::max_frames`] was reached.
    Capped,
    /// The same sounds again and again.
    Stuck,
}

/// A place in a [`Batch`]; never used again after its slot has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(u64);

/// What a step brought for one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub slot: SlotId,
    /// One code for each codebook.
    pub frame: Option<Vec<u32>>,
    /// There will be no more frames; the slot has left.
    pub end: Option<End>,
}

/// What parity looks at; filled with [`SlotConfig::record`].
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Of every step, the prompt's first.
    pub logits: Vec<Vec<f32>>,
    pub hidden: Vec<Vec<f32>>,
    /// Frames x codebooks after the first.
    pub predictor_logits: Vec<Vec<Vec<f32>>>,
    /// Chosen first codes, the end included.
    pub first_codes: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    id: SlotId,
    config: SlotConfig,
    draws: Draws,
    cache: KvCache,
    predictor_cache: KvCache,
    /// The talker's last state, 1 x hidden.
    hidden: Tensor,
    /// Chosen so far; the last one waits for the rest of its frame.
    first_codes: Vec<u32>,
    trailing: Tensor,
    pad: Tensor,
    frames: usize,
    record: Option<Record>,
}

/// Slots in lockstep.
#[derive(Debug)]
pub struct Batch {
    talker: Arc<Talker>,
    end_code: u32,
    slots: Vec<Slot>,
    next_id: u64,
}

impl Batch {
    pub(super) fn new(talker: Arc<Talker>, end_code: u32) -> Self {
        Self { talker, end_code, slots: Vec::new(), next_id: 0 }
    }

    /// Slots that speak.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Reads the prompt. The slot's first frame comes with the next step.
    pub(super) fn join(&mut self, prompt: &Prompt, config: SlotConfig) -> Result<SlotId, ModelError> {
        let rows = prompt.prefill.dim(0)?;
        let positions = rows + config.max_frames + 1;
        if positions > self.talker.max_positions() {
            let most = self.talker.max_positions();
            return Err(ModelError::Request(format!("text, reference and {} frames are more than {most} positions", config.max_frames)));
        }
        let id = SlotId(self.next_id);
        self.next_id += 1;
        let mut cache = self.talker.cache(positions)?;
        let heard = self.talker.prefill(&prompt.prefill, &mut cache)?;
        let mut slot = Slot {
            id,
            draws: Draws::new(config.seed),
            cache,
            predictor_cache: self.talker.predictor.cache()?,
            hidden: heard.hidden.clone(),
            first_codes: Vec::new(),
            trailing: prompt.trailing.clone(),
            pad: prompt.pad.clone(),
            frames: 0,
            record: config.record.then(Record::default),
            config,
        };
        slot.hear(&heard, 0, self.end_code)?;
        self.slots.push(slot);
        Ok(id)
    }

    /// Drops a slot, its frames unfinished or not. Gives its record where one was kept.
    pub fn leave(&mut self, id: SlotId) -> Option<Record> {
        let at = self.slots.iter().position(|slot| slot.id == id)?;
        self.slots.swap_remove(at).record
    }

    /// One frame for every slot that has not ended. Slots without [`SlotConfig::record`] leave with their end by themselves; the others
    /// stay to be asked for it, and must be made to leave before the next step.
    pub fn step(&mut self) -> Result<Vec<Progress>, ModelError> {
        let mut progress = self.ended();
        self.slots.retain(|slot| slot.record.is_some() || !progress.iter().any(|ended| ended.slot == slot.id));
        let mut active: Vec<&mut Slot> = self.slots.iter_mut().filter(|slot| !progress.iter().any(|ended| ended.slot == slot.id)).collect();
        if active.is_empty() {
            return Ok(progress);
        }
        let frames = complete(&self.talker, &mut active)?;
        let heard = advance(&self.talker, &mut active, &frames)?;
        for (row, (slot, frame)) in active.iter_mut().zip(frames).enumerate() {
            slot.frames += 1;
            slot.hear(&heard, row, self.end_code)?;
            progress.push(Progress { slot: slot.id, frame: Some(frame), end: None });
        }
        for item in &mut progress {
            if let Some(slot) = self.slots.iter().find(|slot| slot.id == item.slot) {
                item.end = item.end.or(slot.end(self.end_code));
            }
        }
        self.slots.retain(|slot| slot.record.is_some() || slot.end(self.end_code).is_none());
        Ok(progress)
    }

    /// Slots whose first choice already was the end.
    fn ended(&self) -> Vec<Progress> {
        let over = |slot: &Slot| slot.end(self.end_code).map(|end| Progress { slot: slot.id, frame: None, end: Some(end) });
        self.slots.iter().filter_map(over).collect()
    }
}

impl Slot {
    /// Chooses the first code of the next frame.
    fn hear(&mut self, heard: &Heard, row: usize, end: u32) -> Result<(), ModelError> {
        self.hidden = heard.hidden.narrow(0, row, 1)?.contiguous()?;
        let logits = heard.logits.narrow(0, row, 1)?.squeeze(0)?.to_vec1::<f32>()?;
        if let Some(record) = &mut self.record {
            record.hidden.push(self.hidden.squeeze(0)?.to_vec1()?);
            record.logits.push(logits.clone());
        }
        let rules = Rules { repetition_penalty: self.config.repetition_penalty, end, chosen: &self.first_codes };
        let code = sampling::first_code(logits, rules, self.config.first, &mut self.draws);
        self.first_codes.push(code);
        if let Some(record) = &mut self.record {
            record.first_codes.push(code);
        }
        Ok(())
    }

    fn end(&self, end_code: u32) -> Option<End> {
        if self.first_codes.last() == Some(&end_code) {
            Some(End::Said)
        } else if self.frames >= self.config.max_frames {
            Some(End::Capped)
        } else if self.config.watch && limits::is_stuck(&self.first_codes) {
            Some(End::Stuck)
        } else {
            None
        }
    }

    /// The text that goes with the frame just made, 1 x hidden.
    fn text(&self) -> candle_core::Result<Tensor> {
        if self.frames < self.trailing.dim(0)? { self.trailing.narrow(0, self.frames, 1) } else { Ok(self.pad.clone()) }
    }
}

/// The other codes of every slot's frame.
fn complete(talker: &Talker, slots: &mut [&mut Slot]) -> Result<Vec<Vec<u32>>, ModelError> {
    let firsts: Vec<u32> = slots.iter().map(|slot| slot.first_codes.last().copied().unwrap_or_default()).collect();
    let hidden = Tensor::cat(&slots.iter().map(|slot| &slot.hidden).collect::<Vec<_>>(), 0)?;
    let mut caches = Vec::with_capacity(slots.len());
    let mut choosers = Vec::with_capacity(slots.len());
    for slot in slots.iter_mut() {
        let slot = &mut **slot;
        if let Some(record) = &mut slot.record {
            record.predictor_logits.push(Vec::new());
        }
        caches.push(&mut slot.predictor_cache);
        choosers.push((&mut slot.draws, slot.config.others, &mut slot.record));
    }
    let mut choose = |row: usize, _group: usize, logits: Vec<f32>| {
        let (draws, sampling, record) = &mut choosers[row];
        if let Some(frame) = record.as_mut().and_then(|record| record.predictor_logits.last_mut()) {
            frame.push(logits.clone());
        }
        sampling::choose(logits, *sampling, draws)
    };
    let others = talker.predictor.frame(&hidden, &talker.codes(&firsts)?, &mut caches, &mut choose)?;
    Ok(firsts.into_iter().zip(others).map(|(first, others)| std::iter::once(first).chain(others).collect()).collect())
}

/// Feeds every slot's frame to the talker.
fn advance(talker: &Talker, slots: &mut [&mut Slot], frames: &[Vec<u32>]) -> Result<Heard, ModelError> {
    let codes = talker.frames(&frames.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
    let text = slots.iter().map(|slot| slot.text()).collect::<candle_core::Result<Vec<_>>>()?;
    let inputs = (codes + Tensor::cat(&text, 0)?)?;
    let mut caches: Vec<_> = slots.iter_mut().map(|slot| &mut slot.cache).collect();
    Ok(talker.step(&inputs, &mut caches)?)
}
