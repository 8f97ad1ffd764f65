//! Events as a connection is told them: each stored one once and in order, whatever is asked for when, and however often the connection is
//! lost.

#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::VecDeque;

use api::event_feed::{EventFeed, Subscribed};
use api::wire::socket::Wish;
use bed::Bed;
use bed::line::{LIMIT, append_chunk};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::json;
use storage::Rows;
use storage::events::{self, NewEvent};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use uuid::Uuid;

fn wish(task_ids: &[Uuid], after_seq: Option<i64>) -> Wish {
    Wish { topics: Vec::new(), task_ids: task_ids.to_vec(), after_seq }
}

async fn next_seqs(feed: &mut EventFeed, count: usize) -> Vec<i64> {
    let mut seqs = Vec::new();
    for _ in 0..count {
        seqs.push(timeout(LIMIT, feed.next()).await.expect("an event").unwrap().event.seq);
    }
    seqs
}

const TASKS: [Uuid; 3] = [Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3)];

fn a_runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn chosen(tasks: &[usize]) -> Vec<Uuid> {
    tasks.iter().map(|task| TASKS[*task]).collect()
}

/// What one step of a connection's life may be.
#[derive(Debug, Clone)]
enum Step {
    Append { task: usize, other_owner: bool },
    Subscribe { reference: u8, tasks: Vec<usize>, back: Option<i64> },
    Unsubscribe { reference: u8 },
    Read(usize),
}

fn steps() -> impl Strategy<Value = (bool, Vec<Step>)> {
    let step = prop_oneof![
        4 => (0_usize..3, prop::bool::weighted(0.2)).prop_map(|(task, other_owner)| Step::Append { task, other_owner }),
        2 => (0_u8..3, prop::collection::vec(0_usize..3, 0..2), prop::option::of(0_i64..12))
            .prop_map(|(reference, tasks, back)| Step::Subscribe { reference, tasks, back }),
        1 => (0_u8..3).prop_map(|reference| Step::Unsubscribe { reference }),
        3 => (1_usize..6).prop_map(Step::Read),
    ];
    (any::<bool>(), prop::collection::vec(step, 1..50))
}

/// What the feed must tell, event by event over everything that is stored.
#[derive(Default, Clone)]
struct Model {
    stored: Vec<(i64, Uuid)>,
    /// Everything up to here was told or passed over in the live order.
    cursor: i64,
    /// Told all jobs since here, until the first request.
    by_default: Option<i64>,
    /// In the order in which they were made.
    subscriptions: Vec<ModelSubscription>,
    /// Of the subscription with this reference, up to here; its events once it has begun.
    replays: VecDeque<(u8, i64, Option<VecDeque<i64>>)>,
}

#[derive(Clone)]
struct ModelSubscription {
    reference: u8,
    tasks: Vec<Uuid>,
    from: i64,
    /// Told before it, by default.
    before: (i64, i64),
}

impl ModelSubscription {
    fn is_told(&self, (seq, task): (i64, Uuid)) -> bool {
        seq > self.from && (self.tasks.is_empty() || self.tasks.contains(&task))
    }

    fn was_told_before(&self, seq: i64) -> bool {
        seq > self.before.0 && seq <= self.before.1
    }
}

impl Model {
    fn subscribe(&mut self, reference: u8, tasks: &[Uuid], after: Option<i64>) -> u64 {
        let before = self.by_default.take().map_or((0, 0), |since| (since, self.cursor));
        self.end(reference);
        let from = after.unwrap_or(self.cursor);
        self.subscriptions.push(ModelSubscription { reference, tasks: tasks.to_vec(), from, before });
        let replayed = self.replayed(reference, self.cursor).len() as u64;
        if from < self.cursor {
            self.replays.push_back((reference, self.cursor, None));
        }
        replayed
    }

    /// The feed has read on: it must not have passed anything that is wanted.
    fn pass_over(&mut self, position: i64) {
        let passed = self.stored.iter().filter(|event| event.0 > self.cursor && event.0 <= position && self.is_wanted(**event));
        assert_eq!(passed.count(), 0, "up to {position}");
        assert!(position >= self.cursor);
        self.cursor = position;
    }

    fn is_wanted(&self, event: (i64, Uuid)) -> bool {
        self.by_default.is_some() || self.subscriptions.iter().any(|known| known.is_told(event))
    }

    fn end(&mut self, reference: u8) {
        self.by_default = None;
        self.subscriptions.retain(|known| known.reference != reference);
        self.replays.retain(|replay| replay.0 != reference);
    }

    fn replayed(&self, reference: u8, up_to: i64) -> VecDeque<i64> {
        let place = self.subscriptions.iter().position(|known| known.reference == reference).unwrap();
        let own = &self.subscriptions[place];
        let earlier = &self.subscriptions[..place];
        let told = |event| earlier.iter().any(|other| other.is_told(event));
        let told_before = |seq| self.subscriptions.iter().any(|other| other.was_told_before(seq));
        let stored = self.stored.iter().copied();
        stored
            .filter(|event| event.0 <= up_to && own.is_told(*event) && !told(*event) && !told_before(event.0))
            .map(|event| event.0)
            .collect()
    }

    /// `None`, and nothing is changed, where the feed would wait.
    fn next(&mut self) -> Option<i64> {
        let mut tried = self.clone();
        let next = tried.step();
        if next.is_some() {
            *self = tried;
        }
        next
    }

    fn step(&mut self) -> Option<i64> {
        while let Some((reference, up_to, begun)) = self.replays.front().cloned() {
            let mut left = begun.unwrap_or_else(|| self.replayed(reference, up_to));
            match left.pop_front() {
                Some(seq) => {
                    self.replays[0].2 = Some(left);
                    return Some(seq);
                }
                None => self.replays.pop_front(),
            };
        }
        let next = self.stored.iter().copied().find(|event| event.0 > self.cursor && self.is_wanted(*event))?;
        self.cursor = next.0;
        Some(next.0)
    }
}

#[test]
fn a_feed_tells_what_was_asked_for_once_and_in_order() {
    let runtime = a_runtime();
    let bed = runtime.block_on(Bed::without_workers());
    let mut runner = TestRunner::new(ProptestConfig::with_cases(96));
    let outcome = runner.run(&steps(), |(listens, steps)| {
        runtime.block_on(live_through(&bed, listens, steps));
        Ok(())
    });
    outcome.unwrap();
}

async fn live_through(bed: &Bed, listens: bool, steps: Vec<Step>) {
    let rows = &bed.app.storage.rows;
    // Each life has an owner of its own in the same table.
    let me = Uuid::now_v7().to_string();
    for task in TASKS {
        append_chunk(rows, &me, task, 0).await;
    }
    let (mut feed, range) = EventFeed::open(rows, &bed.app.tails, &me).await.unwrap();
    let stored = events::after(rows.read(), &me, 0, 100).await.unwrap();
    let stored = stored.iter().map(|event| (event.seq, event.generation_id.unwrap())).collect();
    let mut model = Model { stored, cursor: range.last, ..Model::default() };
    if listens {
        feed.listen_by_default();
        model.by_default = Some(range.last);
    }
    for step in steps {
        match step {
            Step::Append { task, other_owner } => {
                let seq = append_chunk(rows, if other_owner { "other" } else { &me }, TASKS[task], 1).await;
                if !other_owner {
                    model.stored.push((seq, TASKS[task]));
                }
            }
            Step::Subscribe { reference, tasks, back } => {
                let last = events::seq_range(rows.read()).await.unwrap().last;
                let after = back.map(|back| (last - back).max(0));
                model.pass_over(feed.position());
                let subscribed = feed.subscribe(Some(reference.to_string()), wish(&chosen(&tasks), after)).await.unwrap();
                assert_eq!(subscribed, Subscribed { replayed: model.subscribe(reference, &chosen(&tasks), after), gap: false });
            }
            Step::Unsubscribe { reference } => {
                model.pass_over(feed.position());
                feed.unsubscribe(Some(&reference.to_string()));
                model.end(reference);
            }
            Step::Read(count) => {
                for _ in 0..count {
                    let Some(expected) = model.next() else { break };
                    assert_eq!(next_seqs(&mut feed, 1).await, [expected]);
                }
            }
        }
    }
    while let Some(expected) = model.next() {
        assert_eq!(next_seqs(&mut feed, 1).await, [expected]);
    }
}

/// What happens to a client that wants every event of its tasks once, whatever becomes of its connections.
#[derive(Debug, Clone)]
enum Turn {
    Append {
        task: usize,
        other_owner: bool,
    },
    Read(usize),
    /// A second subscription to a part of the same.
    AskAlso {
        task: usize,
        back: i64,
    },
    /// The line breaks. It comes back with the last number seen, or with what a heartbeat said; perhaps it asks only after some events.
    ComeBack {
        by_heartbeat: bool,
        late_after: usize,
    },
}

fn turns() -> impl Strategy<Value = (Vec<usize>, Vec<Turn>)> {
    let turn = prop_oneof![
        5 => (0_usize..3, prop::bool::weighted(0.2)).prop_map(|(task, other_owner)| Turn::Append { task, other_owner }),
        3 => (1_usize..6).prop_map(Turn::Read),
        1 => (0_usize..3, 0_i64..10).prop_map(|(task, back)| Turn::AskAlso { task, back }),
        1 => (any::<bool>(), 0_usize..3).prop_map(|(by_heartbeat, late_after)| Turn::ComeBack { by_heartbeat, late_after }),
    ];
    (prop::collection::vec(0_usize..3, 0..3), prop::collection::vec(turn, 1..50))
}

#[test]
fn a_client_that_comes_back_again_and_again_has_everything_once() {
    let runtime = a_runtime();
    let bed = runtime.block_on(Bed::without_workers());
    let mut runner = TestRunner::new(ProptestConfig::with_cases(96));
    let outcome = runner.run(&turns(), |(tasks, turns)| {
        runtime.block_on(follow_through(&bed, &chosen(&tasks), turns));
        Ok(())
    });
    outcome.unwrap();
}

/// A client, and what it has been told of its tasks, over all its connections.
struct Follower {
    feed: EventFeed,
    tasks: Vec<Uuid>,
    /// From here on this connection was asked to tell.
    asked_from: i64,
    /// It was told the newest first: a number says nothing of what it has before it has the rest.
    was_late: bool,
    seen: Vec<i64>,
}

impl Follower {
    /// Is told by default of so many tasks that say something.
    async fn be_late(&mut self, rows: &Rows, owner: &str, tasks: usize) {
        self.was_late = tasks > 0;
        for task in TASKS.iter().take(tasks) {
            self.feed.listen_by_default();
            let seq = append_chunk(rows, owner, *task, 1).await;
            assert_eq!(next_seqs(&mut self.feed, 1).await, [seq]);
            if self.tasks.is_empty() || self.tasks.contains(task) {
                self.seen.push(seq);
            }
        }
    }

    /// Reads up to `count` events of those that are stored and it has not seen.
    async fn read(&mut self, rows: &Rows, owner: &str, count: usize) {
        let stored = wanted(rows, owner, &self.tasks).await;
        for _ in 0..count.min(stored.len() - self.seen.len()) {
            let told = timeout(LIMIT, self.feed.next()).await.expect("an event").unwrap();
            self.seen.push(told.event.seq);
        }
    }
}

async fn wanted(rows: &Rows, owner: &str, tasks: &[Uuid]) -> Vec<i64> {
    let stored = events::after(rows.read(), owner, 0, 200).await.unwrap();
    let wanted = stored.iter().filter(|event| tasks.is_empty() || tasks.contains(&event.generation_id.unwrap()));
    wanted.map(|event| event.seq).collect()
}

async fn follow_through(bed: &Bed, tasks: &[Uuid], turns: Vec<Turn>) {
    let rows = &bed.app.storage.rows;
    let me = Uuid::now_v7().to_string();
    append_chunk(rows, &me, TASKS[0], 0).await;
    let (mut feed, _) = EventFeed::open(rows, &bed.app.tails, &me).await.unwrap();
    feed.subscribe(None, wish(tasks, Some(0))).await.unwrap();
    let mut client = Follower { feed, tasks: tasks.to_vec(), asked_from: 0, was_late: false, seen: Vec::new() };
    for turn in turns {
        match turn {
            Turn::Append { task, other_owner } => {
                append_chunk(rows, if other_owner { "other" } else { &me }, TASKS[task], 1).await;
            }
            Turn::Read(count) => client.read(rows, &me, count).await,
            Turn::AskAlso { task, back } => {
                let task = *tasks.get(task).unwrap_or(&TASKS[task]);
                if tasks.is_empty() || tasks.contains(&task) {
                    let after = (client.seen.last().unwrap_or(&0) - back).max(client.asked_from);
                    client.feed.subscribe(Some("also".into()), wish(&[task], Some(after))).await.unwrap();
                }
            }
            Turn::ComeBack { by_heartbeat, late_after } => {
                if client.was_late {
                    client.read(rows, &me, usize::MAX).await;
                    client.seen.sort_unstable();
                }
                // In order and without gaps, so that the last one says what it has; a heartbeat may say that there was nothing more.
                let last = client.seen.last().copied().unwrap_or(0);
                let after = if by_heartbeat { client.feed.told_to().max(last) } else { last };
                client.asked_from = after;
                client.feed = EventFeed::open(rows, &bed.app.tails, &me).await.unwrap().0;
                client.be_late(rows, &me, late_after).await;
                client.feed.subscribe(None, wish(tasks, Some(after))).await.unwrap();
            }
        }
    }
    client.read(rows, &me, usize::MAX).await;
    client.seen.sort_unstable();
    assert_eq!(client.seen, wanted(rows, &me, tasks).await);
}

#[tokio::test]
async fn a_long_replay_is_whole_and_goes_over_into_the_live_order() {
    let bed = Bed::without_workers().await;
    let rows = &bed.app.storage.rows;
    let task = Uuid::from_u128(1);
    for index in 0..1_203 {
        append_chunk(rows, "me", task, index).await;
    }
    let (mut feed, range) = EventFeed::open(rows, &bed.app.tails, "me").await.unwrap();
    let subscribed = feed.subscribe(None, wish(&[], Some(0))).await.unwrap();
    assert_eq!(subscribed, Subscribed { replayed: 1_203, gap: false });
    let live = append_chunk(rows, "me", task, 9).await;
    let seqs = next_seqs(&mut feed, 1_204).await;
    assert!(seqs.is_sorted_by(|one, next| one < next));
    assert_eq!((seqs[0], seqs[1_202], seqs[1_203]), (range.oldest, range.last, live));
}

#[tokio::test]
async fn a_feed_far_behind_its_tail_reads_the_table() {
    let bed = Bed::without_workers().await;
    let rows = &bed.app.storage.rows;
    let task = Uuid::from_u128(1);
    let (mut slow, _) = EventFeed::open(rows, &bed.app.tails, "me").await.unwrap();
    slow.subscribe(None, wish(&[], None)).await.unwrap();
    // More than a tail keeps.
    let mut tx = rows.begin().await.unwrap();
    for _ in 0..2_600 {
        let event = NewEvent { owner_id: "me", generation_id: Some(task), kind: "chunk.ready", data: json!({}) };
        events::append(&mut tx, event, 0).await.unwrap();
    }
    tx.commit().await.unwrap();
    let (mut quick, range) = EventFeed::open(rows, &bed.app.tails, "me").await.unwrap();
    quick.subscribe(None, wish(&[], None)).await.unwrap();
    let last = append_chunk(rows, "me", task, 1).await;
    // Once the quick one has it, the tail has read everything.
    assert_eq!(next_seqs(&mut quick, 1).await, [last]);
    let seqs = next_seqs(&mut slow, 2_601).await;
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert_eq!((seqs[2_600], range.last + 1), (last, last));
}

#[tokio::test]
async fn a_gap_is_told_when_events_are_gone() {
    let bed = Bed::without_workers().await;
    let rows = &bed.app.storage.rows;
    for index in 0..5 {
        append_chunk(rows, "me", Uuid::from_u128(1), index).await;
    }
    let mut tx = rows.begin().await.unwrap();
    events::purge(&mut tx, 1, 3).await.unwrap();
    tx.commit().await.unwrap();
    let (mut feed, range) = EventFeed::open(rows, &bed.app.tails, "me").await.unwrap();
    assert_eq!((range.oldest, range.last), (4, 5));
    assert_eq!(feed.subscribe(None, wish(&[], Some(2))).await.unwrap(), Subscribed { replayed: 2, gap: true });
    assert_eq!(feed.subscribe(None, wish(&[], Some(3))).await.unwrap(), Subscribed { replayed: 2, gap: false });
    assert_eq!(feed.subscribe(None, wish(&[], Some(99))).await.unwrap(), Subscribed { replayed: 0, gap: true });
}
