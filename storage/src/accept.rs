//! Accepting as data: all rows that a request becomes, so that those of many requests can be written together. Each is accepted as a whole or
//! refused as a whole, whoever its neighbours are.
//!
//! This file says what is written; when it is committed, and with whom, is [`crate::group_commit`]'s.

use uuid::Uuid;

use crate::chunks::{self, NewChunk};
use crate::events::{self, NewEvent};
use crate::generations::{self, Generation};
use crate::idempotency::{self, IdempotencyKey};
use crate::jobs::{self, NewJob};
use crate::montages;
use crate::search::SearchText;
use crate::statement::Script;

/// A request on its way into the database.
#[derive(Debug)]
pub struct Accept {
    pub generation: Generation,
    pub search: SearchText,
    pub chunks: Vec<NewChunk>,
    /// At least one; of one queue and the generation's priority and owner.
    pub jobs: Vec<NewJob>,
    /// What the owner is told: the event's type and its data.
    pub told: (&'static str, serde_json::Value),
    /// It becomes the montage's last, if there is such a montage.
    pub montage_id: Option<Uuid>,
    /// Noted with the generation under this key.
    pub idempotency: Option<IdempotencyKey>,
    pub now_ms: i64,
    /// Called before the trip that commits, where a test may stop.
    pub before_commit: fn(),
}

/// What has been accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    pub generation: Generation,
    /// 1 for the next one to start, as of the commit.
    pub queue_position: i64,
}

/// Accepts of one shape become the same SQL, which SQLite has prepared then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    /// The most urgent first: each part counts who is ahead of it.
    priority: std::cmp::Reverse<i64>,
    chunks: usize,
    jobs: usize,
    montage: bool,
    idempotency: bool,
}

impl Accept {
    /// What [`parts`] wants accepts to be sorted by.
    pub(crate) fn shape(&self) -> Shape {
        Shape {
            priority: std::cmp::Reverse(self.generation.priority),
            chunks: self.chunks.len(),
            jobs: self.jobs.len(),
            montage: self.montage_id.is_some(),
            idempotency: self.idempotency.is_some(),
        }
    }
}

/// How many of one shape are written in one trip: few sizes, so that few texts are to be prepared.
const PART_SIZES: [usize; 3] = [16, 4, 1];
/// Longer plans are written one by one: what they cost is their rows.
const CHUNKS_TOGETHER_MAX: usize = 4;

/// Sorted accepts in runs that are each written in one trip.
pub(crate) fn parts(sorted: &[Accept]) -> impl Iterator<Item = &[Accept]> {
    let alike = sorted.chunk_by(|one, next| one.shape() == next.shape());
    alike.flat_map(|alike| {
        let mut rest = alike;
        std::iter::from_fn(move || {
            let first = rest.first()?;
            let most = if first.chunks.len() > CHUNKS_TOGETHER_MAX { 1 } else { rest.len() };
            let size = PART_SIZES.into_iter().find(|size| *size <= most)?;
            let (part, others) = rest.split_at(size);
            rest = others;
            Some(part)
        })
    })
}

/// The rows of accepts of one shape.
pub(crate) fn push(script: &mut Script, part: &[Accept]) {
    let Some(first) = part.first() else { return };
    // One time for all; with an earlier one than its own, what may start now would be scheduled.
    let now_ms = part.iter().map(|accept| accept.now_ms).fold(first.now_ms, i64::max);
    generations::push_ahead(script, first.generation.priority);
    generations::push_insert(script, &part.iter().map(|accept| (&accept.generation, &accept.search)).collect::<Vec<_>>());
    chunks::push_insert(script, part.iter().flat_map(|accept| accept.chunks.iter().map(|chunk| (accept.generation.id, chunk))));
    let jobs: Vec<&[NewJob]> = part.iter().map(|accept| accept.jobs.as_slice()).collect();
    jobs::push_enqueue(script, &jobs, now_ms);
    for accept in part {
        let Generation { id, owner_id, .. } = &accept.generation;
        if let Some(montage_id) = accept.montage_id {
            montages::push_append(script, owner_id, montage_id, *id);
        }
        if let Some(key) = &accept.idempotency {
            idempotency::push_note_job(script, key, *id);
        }
    }
    // Last, as every transaction does: the counter's row is held from here on.
    let told = part.iter().map(|accept| {
        let (kind, data) = &accept.told;
        NewEvent { owner_id: &accept.generation.owner_id, generation_id: Some(accept.generation.id), kind, data: data.clone() }
    });
    events::push_append(script, &told.collect::<Vec<_>>(), now_ms);
}
