//! What was promised before a power cut, asked for after it: of the folder itself, before a server touches it, and of a server started on it.
//! Every broken promise is one line; nothing here panics over one.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::disk::Dice;
use super::load::{AcceptedJob, Heard, Recording, audio_path, chunk_path, hash_at};
use crate::{Client, Envelope, TestServer};

/// Chunks that are fetched from the server after a cut: the last that were told of, and as many of all others. The folder is searched for all.
const CHUNKS_FETCHED: usize = 8;

/// Requests that are sent again after a cut: the last that were accepted, and as many of all.
const REPEATED: usize = 3;

/// Those of one moment.
#[derive(Debug)]
pub struct Promises<'r> {
    recording: &'r Recording,
    cut_at: u64,
    key: bool,
    jobs: Vec<&'r AcceptedJob>,
    heard: Vec<&'r Envelope>,
}

/// What was looked at, and what was missing.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Changes that the cut may have lost.
    pub unsynced: usize,
    pub jobs: usize,
    pub open_jobs: usize,
    pub events: usize,
    pub chunks: usize,
    /// Requests that were sent again with their keys.
    pub repeated: usize,
    pub broken: Vec<String>,
}

impl<'r> Promises<'r> {
    /// Those given while the log had at most `cut_at` bytes.
    pub fn before(recording: &'r Recording, cut_at: u64) -> Self {
        let jobs = recording.jobs.iter().filter(|job| job.told_at <= cut_at).collect();
        let heard = recording.heard.iter().filter(|heard: &&Heard| heard.told_at <= cut_at).map(|heard| &heard.event).collect();
        Self { recording, cut_at, key: recording.key_told_at <= cut_at, jobs, heard }
    }

    /// Whether anything was promised at all.
    pub fn any(&self) -> bool {
        self.key
    }

    fn ready_chunks(&self) -> Vec<(String, u64)> {
        let ready = self.heard.iter().filter(|event| event.kind == "chunk.ready");
        ready.map(|event| (event.task_id.clone().unwrap(), event.data["index"].as_u64().unwrap())).collect()
    }

    /// Every chunk that a reader was told of is in a file of the folder, whatever the rows say; merged files too.
    pub fn look_into(&self, data_folder: &Path, verdict: &mut Verdict) {
        let mut there = HashSet::new();
        if data_folder.is_dir() {
            hash_files(data_folder, &mut there);
        }
        for chunk in self.ready_chunks() {
            verdict.chunks += 1;
            // A job of which the client has not heard has no reference; the rows speak for it.
            if self.recording.made.chunks.get(&chunk).is_some_and(|hash| !there.contains(hash)) {
                verdict.broken.push(format!("no file holds chunk {} of {}, told as ready", chunk.1, chunk.0));
            }
        }
        for event in self.heard.iter().filter(|event| event.kind == "job.completed") {
            let task = event.task_id.as_ref().unwrap();
            if self.recording.made.audio.get(task).is_some_and(|hash| !there.contains(hash)) {
                verdict.broken.push(format!("no file holds the audio of {task}, told as completed"));
            }
        }
    }

    /// Waits for all accepted jobs and asks for everything that was promised.
    pub async fn ask(&self, server: &TestServer, verdict: &mut Verdict) {
        if !self.key {
            return;
        }
        let client = server.client_with(Some(&self.recording.key));
        if client.get("/api/jobs").await.status != 200 {
            verdict.jobs += self.jobs.len();
            verdict.broken.push(format!("the key is lost, and with it {} jobs", self.jobs.len()));
            return;
        }
        let known = statuses(&client).await;
        let (found, lost): (Vec<&AcceptedJob>, Vec<&AcceptedJob>) = self.jobs.iter().partition(|job| known.contains_key(&job.task));
        verdict.jobs += self.jobs.len();
        verdict.broken.extend(lost.iter().map(|job| format!("job {} is lost, accepted at {}", job.task, job.told_at)));
        let open: Vec<&&AcceptedJob> = found.iter().filter(|job| !is_end(&known[&job.task])).collect();
        verdict.open_jobs += open.len();
        for job in &found {
            let status = if is_end(&known[&job.task]) {
                known[&job.task].clone()
            } else {
                client.ended(&job.task).await["status"].as_str().unwrap().to_owned()
            };
            self.judge_end(job, &status, verdict);
        }
        let stored = read_events(server, &self.recording.key).await;
        self.judge_events(&found, &stored, verdict);
        self.fetch(&client, &open, verdict).await;
        self.repeat(&client, &found, verdict).await;
    }

    /// The newest requests and some older ones once more, under the keys they had: each is the job that it was.
    async fn repeat(&self, client: &Client, jobs: &[&AcceptedJob], verdict: &mut Verdict) {
        if jobs.is_empty() {
            return;
        }
        let mut dice = Dice::new(self.cut_at);
        let newest = jobs.iter().rev().take(REPEATED).copied();
        let chosen: Vec<&AcceptedJob> = newest.chain((0..REPEATED).map(|_| jobs[dice.below(jobs.len())])).collect();
        for job in chosen {
            verdict.repeated += 1;
            let answer = job.asked.send(client).await;
            let task = if answer.status == 202 { answer.json()["task_id"].as_str().map(str::to_owned) } else { None };
            if task.as_ref() != Some(&job.task) {
                let said = String::from_utf8_lossy(&answer.body);
                verdict.broken.push(format!("job {}, asked for again with its key, gives {}: {said}", job.task, answer.status));
            }
        }
    }

    fn judge_end(&self, job: &AcceptedJob, status: &str, verdict: &mut Verdict) {
        let right = match &job.cancelled {
            Some(cancelled) if cancelled.told_at.is_some_and(|at| at <= self.cut_at) => status == self.recording.made.statuses[&job.task],
            Some(cancelled) if cancelled.asked_at <= self.cut_at => matches!(status, "completed" | "cancelled"),
            _ => status == "completed",
        };
        if !right {
            verdict.broken.push(format!("job {} ended as {status}: {job:?}", job.task));
        }
    }

    /// What was read is stored as it was read, numbers rise, and no chunk was made twice.
    fn judge_events(&self, jobs: &[&AcceptedJob], stored: &[Envelope], verdict: &mut Verdict) {
        if !stored.is_sorted_by(|one, next| one.seq < next.seq) {
            verdict.broken.push("the numbers of the events do not rise".into());
        }
        let by_seq: BTreeMap<i64, &Envelope> = stored.iter().filter_map(|event| Some((event.seq?, event))).collect();
        verdict.events += self.heard.len();
        for event in &self.heard {
            if by_seq.get(&event.seq.unwrap()) != Some(event) {
                verdict.broken.push(format!("event {:?} {} of {:?} is lost", event.seq, event.kind, event.task_id));
            }
        }
        let mut ready: BTreeMap<(&str, u64), usize> = BTreeMap::new();
        for event in stored.iter().filter(|event| event.kind == "chunk.ready") {
            *ready.entry((event.task_id.as_deref().unwrap(), event.data["index"].as_u64().unwrap())).or_default() += 1;
        }
        let doubled = ready.iter().filter(|(_, count)| **count > 1);
        verdict.broken.extend(doubled.map(|((task, index), count)| format!("chunk {index} of {task} was ready {count} times")));
        let completed: BTreeSet<&str> =
            stored.iter().filter(|event| event.kind == "job.completed").filter_map(|event| event.task_id.as_deref()).collect();
        for job in jobs.iter().filter(|job| completed.contains(job.task.as_str())) {
            let missing: Vec<u64> = (0..job.chunks as u64).filter(|index| !ready.contains_key(&(job.task.as_str(), *index))).collect();
            if !missing.is_empty() {
                verdict.broken.push(format!("job {} is completed without chunks {missing:?}", job.task));
            }
        }
    }

    /// The bytes that the recorded server had, for the newest and some older chunks and for what was made after the cut.
    async fn fetch(&self, client: &Client, open: &[&&AcceptedJob], verdict: &mut Verdict) {
        let ready = self.ready_chunks();
        let mut dice = Dice::new(self.cut_at);
        let mut chosen: BTreeSet<(String, u64)> = ready.iter().rev().take(CHUNKS_FETCHED).cloned().collect();
        if !ready.is_empty() {
            chosen.extend((0..CHUNKS_FETCHED).map(|_| ready[dice.below(ready.len())].clone()));
        }
        let told = self.heard.iter().rev().filter(|event| event.kind == "job.completed").take(CHUNKS_FETCHED);
        let told = told.filter_map(|event| event.task_id.as_ref());
        let made = &self.recording.made;
        let chunks = chosen.iter().map(|(task, index)| (chunk_path(task, *index), made.chunks.get(&(task.clone(), *index))));
        let audio = told.chain(open.iter().map(|job| &job.task)).map(|task| (audio_path(task), made.audio.get(task)));
        // What was cancelled in the recorded run may be complete here; then there is nothing to compare with.
        let expected = chunks.chain(audio).filter_map(|(path, hash)| Some((path, hash?)));
        let looked = expected.map(async |(path, expected)| (hash_at(client, &path).await.as_ref() != Some(expected)).then_some(path));
        let wrong = futures::future::join_all(looked).await.into_iter().flatten();
        verdict.broken.extend(wrong.map(|path| format!("{path} does not give what it gave")));
    }
}

fn is_end(status: &str) -> bool {
    matches!(status, "completed" | "failed" | "cancelled")
}

fn hash_files(folder: &Path, hashes: &mut HashSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            hash_files(&path, hashes);
        } else if path.extension().is_some_and(|ending| ending == "wav") {
            hashes.insert(hex::encode(Sha256::digest(fs::read(&path).unwrap())));
        }
    }
}

/// All jobs of the key.
async fn statuses(client: &Client) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("/api/jobs?limit=200{cursor}")).await.expect(200).json();
        for job in page["items"].as_array().unwrap() {
            found.insert(job["task_id"].as_str().unwrap().to_owned(), job["status"].as_str().unwrap().to_owned());
        }
        match &page["next_cursor"] {
            Value::String(next) => cursor = format!("&cursor={next}"),
            _ => return found,
        }
    }
}

/// All that is stored now.
async fn read_events(server: &TestServer, key: &str) -> Vec<Envelope> {
    let Ok(mut socket) = crate::Socket::connect(&server.base(), Some(key)).await else {
        return Vec::new();
    };
    let subscribed = socket.subscribe(Some(0)).await;
    let count = usize::try_from(subscribed.data["replayed"].as_u64().unwrap()).unwrap();
    let mut stored = Vec::with_capacity(count);
    while stored.len() < count {
        match socket.next().await {
            Ok(event) if event.seq.is_some() => stored.push(event),
            Ok(_) => {}
            Err(gone) => panic!("the websocket ended after {} events of {count}: {gone:?}", stored.len()),
        }
    }
    stored
}
