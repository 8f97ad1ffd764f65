//! A mixed load on a server under the recorder, over several starts, and what its clients were told, each with the length of the log at that
//! moment. The clients are honest: they keep what was answered, and nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Recorder;
use super::disk::{Disk, Lie};
use super::log::{self, Kind, Record};
use crate::{Answer, Client, Engine, Envelope, Socket, TestServer, script};

/// What one client does in one start of the server.
#[derive(Debug, Clone, Copy)]
enum Habit {
    /// Several chunks and a merge, one at a time; one chunk of each is the same, and is copied.
    Book,
    /// One sentence at a time.
    Sentence,
    /// Five sentences at once, which share a commit.
    Crowd,
    /// Changes its mind.
    Cancel,
}

const HABITS: [Habit; 4] = [Habit::Book, Habit::Sentence, Habit::Crowd, Habit::Cancel];

/// How a start of the server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Killed,
    Stopped,
    /// Everything is awaited first.
    Finished,
}

const STARTS: [End; 4] = [End::Killed, End::Stopped, End::Killed, End::Finished];
const CHUNKS_OF_BOOK: usize = 4;
const SEED: u64 = 5;

#[derive(Debug, Clone)]
pub struct Cancelled {
    /// The log when it was asked for: from here on both ends are right.
    pub asked_at: u64,
    /// The log when it was granted.
    pub told_at: Option<u64>,
}

/// A request as it was sent, so that it can be sent again.
#[derive(Debug, Clone)]
pub struct Asked {
    pub path: &'static str,
    pub body: Value,
    /// The `Idempotency-Key`.
    pub key: String,
}

impl Asked {
    pub async fn send(&self, client: &Client) -> Answer {
        Answer::to(client.request(Method::POST, self.path).header("idempotency-key", &self.key).json(&self.body)).await
    }
}

#[derive(Debug, Clone)]
pub struct AcceptedJob {
    pub asked: Asked,
    pub task: String,
    pub chunks: usize,
    /// The log when the 202 was there.
    pub told_at: u64,
    pub cancelled: Option<Cancelled>,
}

/// An event and the log when it was read.
#[derive(Debug, Clone)]
pub struct Heard {
    pub event: Envelope,
    pub told_at: u64,
}

/// What the undisturbed server had in the end. Hashes are SHA-256, in hex.
#[derive(Debug, Clone, Default)]
pub struct Made {
    pub statuses: BTreeMap<String, String>,
    pub chunks: BTreeMap<(String, u64), String>,
    pub audio: BTreeMap<String, String>,
}

#[derive(Debug)]
pub struct Recording {
    pub records: Vec<Record>,
    /// Where the records say that everything happened.
    pub data_folder: PathBuf,
    pub key: String,
    pub key_told_at: u64,
    pub jobs: Vec<AcceptedJob>,
    pub heard: Vec<Heard>,
    pub made: Made,
    /// Killed; keeps the folder.
    _server: TestServer,
}

/// The engine of the run and of all servers that come after.
pub fn engine() -> Engine {
    let slow = json!({"needle": "slowly", "act": {"slow": {"ms_per_step": 30}}});
    Engine::Scripted(json!({"ms_per_char": 25, "steps": 1, "rules": [slow]}))
}

/// Runs the load; `rounds` is how often each client asks in each start of the server.
///
/// # Panics
/// When the server does not do its work, or the log does not tell all that was done to the folder.
pub async fn record(recorder: &Recorder, rounds: usize) -> Recording {
    let mut server = TestServer::start(recorder.options(engine())).await;
    let data_folder = server.data_folder().canonicalize().unwrap();
    let key_told_at = recorder.now();
    let (mut jobs, mut heard): (Vec<AcceptedJob>, Vec<Heard>) = (Vec::new(), Vec::new());
    let (mut made, mut records) = (Made::default(), Vec::new());
    for (start, end) in STARTS.into_iter().enumerate() {
        let last_seq = heard.last().and_then(|heard| heard.event.seq).unwrap_or(0);
        let reader = listen(&server, recorder.clone(), last_seq).await;
        let voice = server.client().preset(0).await;
        let clients = HABITS.map(async |habit| {
            let name = format!("{habit:?} {start}");
            Work { client: server.client(), recorder: recorder.clone(), voice: voice.clone(), name }.run(habit, rounds).await
        });
        jobs.extend(join_all(clients).await.into_iter().flatten());
        match end {
            End::Killed => recorder.kill(&mut server).await,
            End::Stopped => assert!(server.stop().await.success()),
            End::Finished => {
                made = look(&server.client(), &jobs).await;
                recorder.kill(&mut server).await;
            }
        }
        heard.extend(reader.await.unwrap());
        records = assert_complete(recorder, &data_folder);
        if end != End::Finished {
            server.restart().await;
        }
    }
    Recording { records, data_folder, key: server.key().to_owned(), key_told_at, jobs, heard, made, _server: server }
}

/// One sentence on a server that is killed at `steps`. The next process brings it to its end, or finds it there, and the client hears of it.
///
/// # Panics
/// When the steps do not come.
pub async fn record_a_kill(recorder: &Recorder, steps: &[(Kind, &str)]) -> Recording {
    let mut options = recorder.options(Engine::Scripted(script::slow(200)));
    options.environment.push(recorder.kill_at(steps));
    let mut server = TestServer::start(options).await;
    let data_folder = server.data_folder().canonicalize().unwrap();
    let key_told_at = recorder.now();
    let mut socket = server.socket().await;
    socket.subscribe(None).await;
    let voice = server.client().preset(0).await;
    let work = Work { client: server.client(), recorder: recorder.clone(), voice, name: "Once".into() };
    let jobs = vec![work.sentence(0, 0).await];
    while let Ok(event) = socket.next().await {
        assert_ne!(event.kind, "job.completed", "nothing was killed");
    }
    // It is dead already; this takes leave of it.
    server.kill().await;
    server.restart().await;
    let mut socket = server.socket().await;
    socket.subscribe(Some(0)).await;
    let mut heard: Vec<Heard> = Vec::new();
    while heard.last().is_none_or(|last| last.event.kind != "job.completed") {
        let event = socket.next().await.unwrap();
        if event.seq.is_some() {
            heard.push(Heard { event, told_at: recorder.now() });
        }
    }
    let made = look(&server.client(), &jobs).await;
    recorder.kill(&mut server).await;
    let records = assert_complete(recorder, &data_folder);
    Recording { records, data_folder, key: server.key().to_owned(), key_told_at, jobs, heard, made, _server: server }
}

/// Follows the whole log and compares, byte for byte.
fn assert_complete(recorder: &Recorder, data_folder: &Path) -> Vec<Record> {
    let records = log::read(&recorder.log_path());
    let mut disk = Disk::new(data_folder, Lie::None);
    records.iter().for_each(|record| disk.follow(record));
    let differences = disk.differences();
    assert!(differences.is_empty(), "the log does not tell everything:\n{}", differences.join("\n"));
    records
}

/// Reads events until the server is gone.
async fn listen(server: &TestServer, recorder: Recorder, after_seq: i64) -> tokio::task::JoinHandle<Vec<Heard>> {
    let mut socket: Socket = server.socket().await;
    socket.subscribe(Some(after_seq)).await;
    tokio::spawn(async move {
        let mut heard = Vec::new();
        while let Ok(event) = socket.next().await {
            if event.seq.is_some() {
                heard.push(Heard { event, told_at: recorder.now() });
            }
        }
        heard
    })
}

struct Work {
    client: Client,
    recorder: Recorder,
    voice: String,
    /// Part of every text, so that no two are the same.
    name: String,
}

impl Work {
    /// The last round is not waited for: the end of the server finds it open.
    async fn run(&self, habit: Habit, rounds: usize) -> Vec<AcceptedJob> {
        let mut jobs = Vec::new();
        for round in 0..rounds {
            let asked = match habit {
                Habit::Book => vec![self.book(round).await],
                Habit::Sentence => vec![self.sentence(round, 0).await],
                Habit::Crowd => join_all((0..5).map(|place| self.sentence(round, place))).await,
                Habit::Cancel => vec![self.cancelled(round).await],
            };
            if round + 1 < rounds {
                join_all(asked.iter().map(async |job| self.client.ended(&job.task).await)).await;
            }
            jobs.extend(asked);
        }
        jobs
    }

    async fn ask(&self, path: &'static str, body: Value, chunks: usize) -> AcceptedJob {
        // No two of them are the same.
        let asked = Asked { path, key: hex::encode(Sha256::digest(body.to_string())), body };
        let task = asked.send(&self.client).await.expect(202).json()["task_id"].as_str().unwrap().to_owned();
        AcceptedJob { asked, task, chunks, told_at: self.recorder.now(), cancelled: None }
    }

    async fn chunked(&self, texts: Vec<String>) -> AcceptedJob {
        let count = texts.len();
        let chunks: Vec<Value> = texts.into_iter().map(|text| json!({"text": text})).collect();
        self.ask("/api/generate/clone-chunked", json!({"chunks": chunks, "voice_id": self.voice, "seed": SEED}), count).await
    }

    async fn book(&self, round: usize) -> AcceptedJob {
        let mut texts: Vec<String> = (1..CHUNKS_OF_BOOK).map(|chunk| format!("{} {round} {chunk}.", self.name)).collect();
        texts.insert(1, "The end.".into());
        self.chunked(texts).await
    }

    async fn sentence(&self, round: usize, place: usize) -> AcceptedJob {
        let text = format!("{} {round} {place}.", self.name);
        self.ask("/api/generate/preset", json!({"text": text, "voice_id": self.voice, "seed": SEED}), 1).await
    }

    async fn cancelled(&self, round: usize) -> AcceptedJob {
        let texts = (0..CHUNKS_OF_BOOK).map(|chunk| format!("{} slowly {round} {chunk}.", self.name)).collect();
        let mut job = self.chunked(texts).await;
        let asked_at = self.recorder.now();
        let answer = self.client.post("/api/generation/cancel", &json!({"task_id": job.task})).await;
        let told_at = (answer.status == 200).then(|| self.recorder.now());
        job.cancelled = Some(Cancelled { asked_at, told_at });
        job
    }
}

async fn look(client: &Client, jobs: &[AcceptedJob]) -> Made {
    let mut made = Made::default();
    for job in jobs {
        let status = client.ended(&job.task).await["status"].as_str().unwrap().to_owned();
        assert!(status == "completed" || (status == "cancelled" && job.cancelled.is_some()), "{job:?}: {status}");
        for index in 0..job.chunks as u64 {
            if let Some(hash) = hash_at(client, &chunk_path(&job.task, index)).await {
                made.chunks.insert((job.task.clone(), index), hash);
            }
        }
        if status == "completed" {
            made.audio.insert(job.task.clone(), hash_at(client, &audio_path(&job.task)).await.unwrap());
        }
        made.statuses.insert(job.task.clone(), status);
    }
    made
}

pub fn chunk_path(task: &str, index: u64) -> String {
    format!("/api/audio/chunk/{task}/{index}")
}

pub fn audio_path(task: &str) -> String {
    format!("/api/generations/{task}/audio")
}

/// SHA-256 of what is there, in hex; `None` where there is nothing (yet).
pub async fn hash_at(client: &Client, path: &str) -> Option<String> {
    let answer = client.get(path).await;
    (answer.status == 200).then(|| hex::encode(Sha256::digest(&answer.body)))
}
