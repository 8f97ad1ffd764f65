//! A mixed load for a server that is killed again and again: users who submit, cancel, merge and listen, and who come back after each kill
//! with what they still have to ask. They keep what they were told, and nothing else. This file may not know when the server dies.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{Client, Envelope, Socket, wait};

/// So many generations of a user are open at the same time.
const OPEN_MAX: usize = 2;
const CHUNKS_MAX: u64 = 6;
/// In the texts of generations that will be cancelled, and in no other.
pub const CANCELLED_WORD: &str = "Unwanted";

/// Random numbers from a seed: SplitMix64.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 0 to `end`, without `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// A generation that a user wants. Its number is its `Idempotency-Key`.
#[derive(Debug, Clone)]
pub struct Wish {
    pub number: u64,
    pub body: Value,
    pub chunks: u64,
    /// It is cancelled as soon as it is accepted.
    pub unwanted: bool,
    /// It is merged by hand, not by itself.
    pub by_hand: bool,
}

/// A generation that was answered with 202.
#[derive(Debug, Clone)]
pub struct Accepted {
    pub task: String,
    pub wish: Wish,
    pub cancel_asked: bool,
}

/// One user with a key of its own.
#[derive(Debug)]
pub struct User {
    pub client: Client,
    base: String,
    key: String,
    name: String,
    voice: String,
    dice: Dice,
    wishes: u64,
    /// Asked for, and never answered: asked again with the same `Idempotency-Key`.
    unanswered: Vec<Wish>,
    /// Not known to have ended.
    open: Vec<usize>,
    pub accepted: Vec<Accepted>,
    /// Merges by hand that were answered with 202.
    pub merges: Vec<String>,
    /// All stored events, as they came over all connections.
    pub heard: Vec<Envelope>,
    /// How often a wish was sent again, and was found accepted already.
    pub repeated: u64,
    pub replayed: u64,
}

/// The server does not answer any more.
#[derive(Debug)]
struct Gone;

impl User {
    pub fn new(base: String, key: String, name: &str, voice: String, seed: u64) -> Self {
        let client = Client::new(base.clone(), Some(key.clone()));
        let name = name.to_owned();
        Self {
            client,
            base,
            key,
            name,
            voice,
            dice: Dice::new(seed),
            wishes: 0,
            unanswered: Vec::new(),
            open: Vec::new(),
            accepted: Vec::new(),
            merges: Vec::new(),
            heard: Vec::new(),
            repeated: 0,
            replayed: 0,
        }
    }

    /// Works and listens until the server is gone.
    pub async fn live(&mut self) {
        let after_seq = self.last_seq();
        let (base, key) = (self.base.clone(), self.key.clone());
        let (heard, _) = join(listen(&base, &key, after_seq), self.work()).await;
        self.heard.extend(heard);
    }

    /// Waits for the end of everything, on a server that stays, and reads the events to their end.
    pub async fn finish(&mut self) {
        wait::until("an answer to every wish", async || {
            self.repeat_wishes().await.expect("the server stays");
            self.unanswered.is_empty().then_some(())
        })
        .await;
        for job in self.accepted.iter().map(|accepted| &accepted.task).chain(&self.merges) {
            self.client.ended(job).await;
        }
        self.heard.extend(stored_events(&self.base, &self.key, self.last_seq()).await);
    }

    /// Everything that the server has stored for this user.
    pub async fn all_events(&self) -> Vec<Envelope> {
        stored_events(&self.base, &self.key, 0).await
    }

    fn last_seq(&self) -> i64 {
        self.heard.last().and_then(|event| event.seq).unwrap_or(0)
    }

    async fn work(&mut self) -> Result<(), Gone> {
        let mut again = tokio::time::interval(Duration::from_millis(10));
        self.repeat_wishes().await?;
        loop {
            while self.open.len() < OPEN_MAX {
                let wish = self.next_wish();
                self.unanswered.push(wish.clone());
                if !self.ask(&wish).await? {
                    break;
                }
            }
            again.tick().await;
            self.look().await?;
        }
    }

    fn next_wish(&mut self) -> Wish {
        let number = self.wishes;
        self.wishes += 1;
        let (unwanted, by_hand) = (number % 4 == 3, number % 4 == 2);
        let chunks = 2 + self.dice.below(CHUNKS_MAX - 1);
        let word = if unwanted { CANCELLED_WORD } else { "Wanted" };
        // No text twice: equal chunks would be copied, not made.
        let texts: Vec<Value> = (0..chunks).map(|chunk| json!({"text": format!("{word} {} {number} {chunk}.", self.name)})).collect();
        let body = json!({"chunks": texts, "voice_id": self.voice, "seed": 5, "auto_merge": !by_hand});
        Wish { number, body, chunks, unwanted, by_hand }
    }

    async fn repeat_wishes(&mut self) -> Result<(), Gone> {
        for wish in self.unanswered.clone() {
            self.repeated += 1;
            self.ask(&wish).await?;
        }
        Ok(())
    }

    /// `false` when the server says that it is still at it.
    async fn ask(&mut self, wish: &Wish) -> Result<bool, Gone> {
        let request = self.client.request(Method::POST, "/api/generate/clone-chunked");
        let request = request.header("Idempotency-Key", format!("wish-{}", wish.number)).json(&wish.body);
        let response = request.send().await.map_err(|_| Gone)?;
        let (status, replayed) = (response.status().as_u16(), response.headers().contains_key("idempotency-replayed"));
        let answer: Value = response.json().await.map_err(|_| Gone)?;
        if status == 409 && answer["code"] == "idempotency_in_flight" {
            return Ok(false);
        }
        // A wish that had been fulfilled before its answer was lost is answered as what it is by now.
        assert!(status == 202 || (replayed && status == 200), "{status} {answer}");
        let task = answer["task_id"].as_str().unwrap().to_owned();
        self.replayed += u64::from(replayed);
        self.unanswered.retain(|unanswered| unanswered.number != wish.number);
        self.open.push(self.accepted.len());
        self.accepted.push(Accepted { task: task.clone(), wish: wish.clone(), cancel_asked: wish.unwanted });
        if wish.unwanted {
            let cancel = self.client.request(Method::POST, "/api/generation/cancel").json(&json!({"task_id": task}));
            let status = cancel.send().await.map_err(|_| Gone)?.status().as_u16();
            assert!(status == 200 || status == 409, "cancel: {status}");
        }
        Ok(true)
    }

    /// Looks at what is open; what has ended makes room, and is merged where that was left to us.
    async fn look(&mut self) -> Result<(), Gone> {
        for place in self.open.clone() {
            let accepted = self.accepted[place].clone();
            let job = self.client.request(Method::GET, &format!("/api/jobs/{}", accepted.task)).send().await.map_err(|_| Gone)?;
            assert_eq!(job.status(), 200, "accepted job {} is lost", accepted.task);
            let job: Value = job.json().await.map_err(|_| Gone)?;
            if !matches!(job["status"].as_str(), Some("completed" | "failed" | "cancelled")) {
                continue;
            }
            self.open.retain(|open| *open != place);
            if accepted.wish.by_hand && job["status"] == "completed" {
                let merge = self.client.request(Method::POST, "/api/generate/merge-chunks").json(&json!({"task_id": accepted.task}));
                let response = merge.send().await.map_err(|_| Gone)?;
                let status = response.status().as_u16();
                let answer: Value = response.json().await.map_err(|_| Gone)?;
                assert_eq!(status, 202, "{answer}");
                self.merges.push(answer["task_id"].as_str().unwrap().to_owned());
            }
        }
        Ok(())
    }
}

/// Reads stored events until the server is gone. A server that is asked late tells live events in the meantime; what counts begins with its
/// confirmation.
async fn listen(base: &str, key: &str, after_seq: i64) -> Vec<Envelope> {
    let mut heard = Vec::new();
    let Some(mut socket) = Socket::try_connect(base, key).await else { return heard };
    if !socket.try_subscribe(after_seq).await {
        return heard;
    }
    let mut subscribed = false;
    while let Ok(event) = socket.next().await {
        if event.kind == "subscribed" {
            assert_eq!(event.data["gap"], false, "events are missing: {event:?}");
            subscribed = true;
        } else if subscribed && event.seq.is_some() {
            heard.push(event);
        }
    }
    heard
}

/// All that the server has stored for a key after `after_seq`.
pub async fn stored_events(base: &str, key: &str, after_seq: i64) -> Vec<Envelope> {
    let mut socket = Socket::connect(base, Some(key)).await.unwrap();
    let subscribed = socket.subscribe(Some(after_seq)).await;
    let count = subscribed.data["replayed"].as_u64().unwrap();
    let mut events = Vec::new();
    while (events.len() as u64) < count {
        let event = socket.next().await.unwrap();
        events.extend(Some(event).filter(|event| event.seq.is_some()));
    }
    events
}

/// How often each chunk of a task was announced, by index and take.
pub fn announced(events: &[Envelope]) -> BTreeMap<(String, u64, u64), u64> {
    let mut announced = BTreeMap::new();
    for event in events.iter().filter(|event| event.kind == "chunk.ready") {
        let chunk = (event.task_id.clone().unwrap(), event.data["index"].as_u64().unwrap(), event.data["take"].as_u64().unwrap());
        *announced.entry(chunk).or_default() += 1;
    }
    announced
}
