//! What is outside fails: the blob store answers with errors, with silence after success, with half a file, with a full disk; the database
//! is held by somebody else. Work waits or is repeated, nothing is lost, and it goes on by itself.
#![allow(clippy::unwrap_used)]

mod bed;

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bed::{Bed, Database, OWNER, rule, script};
use bytes::Bytes;
use engine::scripted::Act;
use futures::StreamExt;
use futures::stream::BoxStream;
use jobs::clock::{Clock, SystemClock};
use jobs::lease::LeaseConfig;
use jobs::submission::{MergeOptions, MergeOrder, TraceContext};
use jobs::worker::WorkerConfig;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use storage::StorageError;
use storage::events::NewEvent;
use storage::leases::Claim;
use storage::rows::{Rows, RowsConfig};

/// What goes wrong at the next puts or gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The store refuses.
    PutRefused,
    /// The store did it, but the answer was lost.
    PutDoneThenLost,
    DiskFull,
    GetRefused,
    /// Half of the bytes arrive, and no error.
    GetHalf,
}

#[derive(Debug)]
struct Faulty {
    inner: Arc<dyn ObjectStore>,
    fault: Mutex<Option<Fault>>,
    left: AtomicU32,
    seen: AtomicU32,
}

impl Faulty {
    fn arm(&self, fault: Fault, times: u32) {
        *self.fault.lock().unwrap() = Some(fault);
        self.left.store(times, Ordering::SeqCst);
        self.seen.store(0, Ordering::SeqCst);
    }

    /// The fault, if it is one of `kinds` and not used up.
    fn strikes(&self, kinds: &[Fault]) -> Option<Fault> {
        let fault = (*self.fault.lock().unwrap()).filter(|fault| kinds.contains(fault))?;
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.is_ok().then(|| {
            self.seen.fetch_add(1, Ordering::SeqCst);
            fault
        })
    }
}

fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: source.into() }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        match self.strikes(&[Fault::PutRefused, Fault::PutDoneThenLost, Fault::DiskFull]) {
            Some(Fault::PutDoneThenLost) => {
                self.inner.put_opts(location, payload, opts).await?;
                Err(failed("503 after the bytes were stored"))
            }
            Some(Fault::DiskFull) => Err(failed(io::Error::from(io::ErrorKind::StorageFull))),
            Some(_) => Err(failed("500")),
            None => self.inner.put_opts(location, payload, opts).await,
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        match self.strikes(&[Fault::PutRefused, Fault::DiskFull]) {
            Some(Fault::DiskFull) => Err(failed(io::Error::from(io::ErrorKind::StorageFull))),
            Some(_) => Err(failed("500")),
            None => self.inner.put_multipart_opts(location, opts).await,
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.strikes(&[Fault::GetRefused, Fault::GetHalf]) {
            Some(Fault::GetHalf) => {
                let whole = self.inner.get_opts(location, options).await?;
                let (meta, attributes, range) = (whole.meta.clone(), whole.attributes.clone(), whole.range.clone());
                let bytes = whole.bytes().await?;
                let half: Bytes = bytes.slice(Range { start: 0, end: bytes.len() / 2 });
                let payload = GetResultPayload::Stream(futures::stream::once(async { Ok(half) }).boxed());
                Ok(GetResult { payload, meta, range, attributes, extensions: Default::default() })
            }
            Some(_) => Err(failed("500")),
            None => self.inner.get_opts(location, options).await,
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

async fn bed_with_faults(database: Database) -> (Bed, Arc<Faulty>) {
    let kept: Arc<Mutex<Option<Arc<Faulty>>>> = Arc::default();
    let keep = kept.clone();
    let bed = Bed::with_store(database, script(vec![]), move |inner| {
        let faulty = Arc::new(Faulty { inner, fault: Mutex::new(None), left: AtomicU32::new(0), seen: AtomicU32::new(0) });
        *keep.lock().unwrap() = Some(faulty.clone());
        faulty
    })
    .await;
    let faulty = kept.lock().unwrap().take().unwrap();
    (bed, faulty)
}

/// More failures than a job has attempts: waiting for something outside must not use them up.
const FAILURES: u32 = 5;

async fn survives(database: Database, fault: Fault) {
    let (bed, faulty) = bed_with_faults(database).await;
    let worker = bed.start().await;
    let undisturbed = bed.submit(&["The very same words.", "And some more of them."]).await;
    let expected = bed.end_of(undisturbed).await.result.unwrap()["sha256"].clone();
    faulty.arm(fault, FAILURES);
    let id = bed.submit_as("somebody else", 0, &["The very same words.", "And some more of them."]).await;
    let job = bed.jobs.wait("somebody else", id, 30_000).await.unwrap().unwrap();
    assert_eq!((job.status.as_str(), job.chunks_done), ("completed", 2), "{:?}", job.error);
    assert_eq!(job.result.unwrap()["sha256"], expected, "the same bytes as undisturbed");
    assert_eq!(faulty.seen.load(Ordering::SeqCst), FAILURES, "the fault did strike");
    let ready = bed.events("somebody else").await.iter().filter(|event| event.kind == "chunk.ready").count();
    assert_eq!(ready, 2);
    worker.stop(1_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_is_waited_for() {
    survives(Database::Sqlite, Fault::PutRefused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_whose_answer_is_lost_is_put_again() {
    survives(Database::Sqlite, Fault::PutDoneThenLost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_waited_for() {
    survives(Database::Sqlite, Fault::DiskFull).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_give_back_is_waited_for() {
    survives(Database::Sqlite, Fault::GetRefused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_blob_is_never_merged() {
    survives(Database::Sqlite, Fault::GetHalf).await;
}

on_both! {
    a_chunk_that_the_disk_has_spoilt_is_made_again,
    a_spoilt_chunk_is_made_again_for_a_merge_by_hand,
    a_merged_file_that_is_gone_can_be_made_again,
    a_job_whose_verdict_was_never_written_comes_back,
}

#[derive(Debug, Clone, Copy)]
enum Damage {
    Truncated,
    Gone,
    /// As long as before.
    OtherBytes,
}

/// As a disk does it: behind the store's back.
fn spoil(bed: &Bed, name: &str, damage: Damage) {
    let path = bed.folder.path().join("blobs/generations").join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    match damage {
        Damage::Gone => return std::fs::remove_file(&path).unwrap(),
        Damage::Truncated => bytes.truncate(bytes.len() / 2),
        Damage::OtherBytes => *bytes.last_mut().unwrap() ^= 1,
    }
    std::fs::write(&path, bytes).unwrap();
}

const TEXTS: [&str; 4] = ["The first words.", "The second.", "The third words.", "And the last."];

async fn a_chunk_that_the_disk_has_spoilt_is_made_again(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let worker = bed.start().await;
    let undisturbed = bed.end_of(bed.submit(&TEXTS).await).await.result.unwrap()["sha256"].clone();
    // Another owner's, so that nothing is copied.
    let pause = async |paused| jobs::pause::set_paused(&bed.storage.rows, Some("io"), paused, &SystemClock).await.unwrap();
    for (round, damage) in [Damage::Truncated, Damage::Gone, Damage::OtherBytes].into_iter().enumerate() {
        let owner = format!("owner {round}");
        pause(true).await;
        let id = bed.submit_as(&owner, 0, &TEXTS).await;
        bed.until_status(&owner, id, "merging").await;
        let calls = bed.engine.calls();
        spoil(&bed, &format!("{id}/chunks/000001-1.wav"), damage);
        spoil(&bed, &format!("{id}/chunks/000003-1.wav"), damage);
        pause(false).await;
        let job = bed.jobs.wait(&owner, id, 30_000).await.unwrap().unwrap();
        assert_eq!((job.status.as_str(), job.chunks_done), ("completed", 4), "{damage:?}: {:?}", job.error);
        assert_eq!(job.result.unwrap()["sha256"], undisturbed, "{damage:?}: the same bytes as undisturbed");
        assert_eq!(bed.engine.calls() - calls, 2, "{damage:?}: only what was spoilt is spoken again");
        let events = bed.events(&owner).await;
        let of =
            |kind: &str| events.iter().filter(|event| event.kind == kind).map(|event| event.data["index"].as_u64().unwrap_or(9)).collect();
        let (mut failed, merged): (Vec<u64>, Vec<u64>) = (of("chunk.failed"), of("job.completed"));
        failed.sort_unstable();
        assert_eq!((failed, merged.len()), (vec![1, 3], 1), "{damage:?}");
        // The merge that waited went on: no second one was made beside it.
        bed.until_idle().await;
        let files = std::fs::read_dir(bed.folder.path().join(format!("blobs/generations/{id}/renders"))).unwrap();
        let merged = files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|ending| ending == "wav"));
        assert_eq!(merged.count(), 1, "{damage:?}");
    }
    worker.stop(1_000).await;
}

async fn a_spoilt_chunk_is_made_again_for_a_merge_by_hand(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let worker = bed.start().await;
    let id = bed.submit(&TEXTS).await;
    let before = bed.end_of(id).await;
    spoil(&bed, &format!("{id}/chunks/000002-1.wav"), Damage::Truncated);
    let merge = bed.jobs.request_merge(OWNER, order(id)).await.unwrap();
    let merged = bed.end_of(merge.id).await;
    assert_eq!(merged.status, "completed", "{:?}", merged.error);
    assert_eq!(merged.result.unwrap()["sha256"], before.result.unwrap()["sha256"]);
    let after = bed.job(id).await;
    assert_eq!((after.status.as_str(), after.chunks_done), ("completed", 4));
    worker.stop(1_000).await;
}

async fn a_merged_file_that_is_gone_can_be_made_again(database: Database) {
    let bed = Bed::new(database, script(vec![])).await;
    let worker = bed.start().await;
    let id = bed.submit(&TEXTS).await;
    let result = bed.end_of(id).await.result.unwrap();
    for damage in [Damage::Gone, Damage::Truncated] {
        spoil(&bed, &format!("{id}/renders/{}.wav", result["render_id"].as_str().unwrap()), damage);
        let merge = bed.jobs.request_merge(OWNER, order(id)).await.unwrap();
        let merged = bed.end_of(merge.id).await.result.unwrap();
        assert_eq!(merged["sha256"], result["sha256"]);
        let path = bed.folder.path().join(format!("blobs/generations/{id}/renders/{}.wav", merged["render_id"].as_str().unwrap()));
        assert_eq!(std::fs::metadata(path).unwrap().len(), merged["size_bytes"].as_u64().unwrap());
        if let Damage::Gone = damage {
            // The next round spoils a file that is there.
            let restored = bed.folder.path().join(format!("blobs/generations/{id}/renders/{}.wav", result["render_id"].as_str().unwrap()));
            std::fs::write(restored, [0; 64]).unwrap();
        }
    }
    worker.stop(1_000).await;
}

fn order(task_id: uuid::Uuid) -> MergeOrder {
    MergeOrder { task_id, options: MergeOptions::default(), idempotency: None, trace: TraceContext::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_held_by_somebody_else_is_waited_for() {
    let bed = Bed::new(Database::Sqlite, script(vec![])).await;
    let worker = bed.start().await;
    let id = bed.submit(&["One.", "Two.", "Three.", "Four."]).await;
    bed.told_of("chunk.ready").await;
    // Another process takes the write lock for longer than anybody's patience.
    let other = bed.storage.rows.reopen_single(5_000).await.unwrap();
    let held = other.begin().await.unwrap();
    let refused = bed.jobs.submit(OWNER, bed::submission(&["Five."])).await;
    assert!(refused.is_err(), "an accept that can't be made durable is not acknowledged");
    SystemClock.sleep(1_500).await;
    assert!(bed.jobs.job(OWNER, id).await.unwrap().is_some(), "reading goes on");
    drop(held);
    assert_eq!(bed.end_of(id).await.status, "completed");
    let next = bed.submit(&["Six."]).await;
    assert_eq!(bed.end_of(next).await.status, "completed");
    worker.stop(1_000).await;
}

/// The row is leased by a process that lives and knows nothing of it: as when the database was gone for longer than a verdict waits.
async fn a_job_whose_verdict_was_never_written_comes_back(database: Database) {
    let bed = Bed::new(database, script(vec![rule("Busy", Act::Stall, None)])).await;
    let lease = LeaseConfig { beat_ms: 50, ..LeaseConfig::default() };
    let worker = bed.start_with(WorkerConfig { cpu_slots: 1, lease, ..bed.worker_config() }).await;
    let busy = bed.submit(&["Busy."]).await;
    bed.calls_reach(1).await;
    let forgotten = bed.submit(&["Forgotten."]).await;
    let now_ms = SystemClock.now_ms();
    let lease_owner = worker.lease_owner();
    let claim = Claim { queue: "cpu", lease_owner, now_ms, lease_until_ms: now_ms + 3_600_000, ageing_ms: 60_000 };
    let claimed = storage::leases::claim(&bed.storage.rows, &claim).await.unwrap().unwrap();
    assert_eq!(claimed.generation_id, Some(forgotten));
    bed.jobs.cancel(OWNER, busy).await.unwrap();
    assert_eq!(bed.end_of(busy).await.status, "cancelled");
    // Something must run for a beat to come.
    bed.submit(&["Busy again."]).await;
    bed.calls_reach(2).await;
    for _ in 0..6_000 {
        let row = storage::jobs::find(bed.storage.rows.read(), claimed.fence.job_id).await.unwrap().unwrap();
        if row.state != storage::jobs::JobState::Running {
            assert_eq!((row.state, row.attempt, row.crashes), (storage::jobs::JobState::Queued, 0, 0), "as if it had not been claimed");
            worker.stop(100).await;
            return;
        }
        SystemClock.sleep(5).await;
    }
    panic!("it never came back");
}

/// As a process that was stopped (SIGSTOP) looks from the server: a session in the middle of a transaction that says nothing more.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stands_still_in_a_transaction_holds_nobody_up() {
    if !bed::has_postgres("faults::a_process_that_stands_still_in_a_transaction_holds_nobody_up") {
        return;
    }
    let bed = Bed::new(Database::Postgres, script(vec![])).await;
    let config = RowsConfig { stalled_transaction_ms: 300, ..RowsConfig::new(bed.database_url()) };
    let stopped = Rows::open(&config).await.unwrap();
    let mut tx = stopped.begin().await.unwrap();
    let event = || NewEvent { owner_id: OWNER, generation_id: None, kind: "queue.changed", data: serde_json::Value::Null };
    // Every accept and every end of a job needs this row.
    storage::events::append(&mut tx, event(), 0).await.unwrap();
    let worker = bed.start().await;
    let id = bed.submit(&TEXTS).await;
    assert_eq!(bed.end_of(id).await.status, "completed");
    let late = tx.commit().await;
    assert!(late.as_ref().is_err_and(StorageError::is_transient), "{late:?}");
    let mut tx = stopped.begin().await.unwrap();
    storage::events::append(&mut tx, event(), 0).await.unwrap();
    tx.commit().await.unwrap();
    let seqs: Vec<i64> = bed.events(OWNER).await.iter().map(|event| event.seq).collect();
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "no number is lost with a transaction: {seqs:?}");
    worker.stop(1_000).await;
}
