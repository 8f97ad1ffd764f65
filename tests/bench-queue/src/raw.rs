//! The yardstick below everything: SQLite's own C interface in a loop, prepared statements, WAL and `synchronous=FULL`, nothing around it.
//!
//! [`Rows::One`] inserts one row of the size of a job; [`Rows::Alike`] makes the very rows of an accepted request of one chunk (generation,
//! what it is found by, chunk, lane, job, event number, event), in a database with our schema and our indexes.

use std::ffi::{CStr, CString, c_int};
use std::path::Path;
use std::ptr;
use std::time::Instant;

use libsqlite3_sys as ffi;
use uuid::Uuid;

use crate::report::Sample;
use crate::{folder, syncs};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    One,
    Alike,
}

const SCHEMA: &str = concat!(
    include_str!("../../../migrations/0001_main_job.sql"),
    include_str!("../../../migrations/0002_keys.sql"),
    include_str!("../../../migrations/0003_voices.sql"),
    include_str!("../../../migrations/0004_history.sql"),
    include_str!("../../../migrations/0005_sound.sql"),
    include_str!("../../../migrations/0006_lone_jobs.sql"),
    include_str!("../../../migrations/0007_queue_order.sql"),
);
/// Of the size of a job of ours with its payload.
const PAYLOAD: &str = r#"{"generation_id":"019abcde-0000-7000-8000-000000000000","index":0,"take":1,"and":"three hundred bytes in all, as jobs of queues tend to have: an id, a place, some options, and what was asked for; the rest is here to fill the row up to that size, which it now does with these last words of no meaning"}"#;

const ONE_TABLE: &str = "CREATE TABLE rows (id TEXT PRIMARY KEY, state TEXT NOT NULL, run_at_ms BIGINT NOT NULL, payload TEXT NOT NULL)";
const ONE: &[&str] = &["INSERT INTO rows (id, state, run_at_ms, payload) VALUES (?1, 'queued', 0, ?2)"];

/// As `storage` writes them.
const ALIKE: &[&str] = &[
    "INSERT INTO generations (id, owner_id, kind, status, title, text, voice_id, voice_name, language, params, voices, metadata, \
     priority, chunks_total, chunks_done, attempt, cancel_requested, created_at_ms, traceparent, tracestate) \
     VALUES (?1, 'owner', 'generate.preset', 'queued', NULL, 'a sentence', 'nora', 'Nora', 'en-US', ?2, ?2, NULL, 0, 1, 0, 0, 0, 0, NULL, NULL)",
    "INSERT INTO generation_search (generation_id, folded) VALUES (?1, 'a sentence')",
    "INSERT INTO chunks (generation_id, idx, take, text, voice_id, language, spec, params_hash, status, attempt, cached, suspect) \
     VALUES (?1, 0, 1, 'a sentence', 'nora', 'en-US', ?2, ?1, 'queued', 0, 0, 0)",
    "INSERT INTO lanes (queue, priority, owner_id, served_no, served_at_ms, turn) VALUES ('cpu', 0, 'owner', 0, 0, 0) \
     ON CONFLICT (queue, priority, owner_id) DO UPDATE SET turn = lanes.turn RETURNING turn",
    "INSERT INTO jobs (id, kind, queue, state, priority, owner_id, generation_id, turn, payload, attempt, attempts_max, crashes, \
     run_at_ms, lease_no, cancel_requested, dedupe_key, traceparent, tracestate, created_at_ms) \
     VALUES (?1, 'speak_chunk', 'cpu', 'queued', 0, 'owner', ?1, 1, ?2, 0, 3, 0, 0, 0, 0, NULL, NULL, NULL, 0)",
    "UPDATE counters SET value = value + 1 WHERE name = 'event_seq' RETURNING value",
    "INSERT INTO events (seq, owner_id, generation_id, type, data, at_ms) \
     VALUES ((SELECT value FROM counters WHERE name = 'event_seq'), 'owner', ?1, 'job.queued', '{\"chunks_total\":1}', 0)",
];

/// `count` accepts, `batch` of them in each commit.
pub fn insert(place: &Path, count: usize, batch: usize, rows: Rows) -> Sample {
    let folder = folder(place);
    let database = Database::open(&folder.path().join("raw.sqlite"));
    let (schema, statements) = match rows {
        Rows::One => (ONE_TABLE, ONE),
        Rows::Alike => (SCHEMA, ALIKE),
    };
    database.execute(schema);
    let (begin, commit) = (database.prepare("BEGIN IMMEDIATE"), database.prepare("COMMIT"));
    let statements: Vec<Statement> = statements.iter().map(|sql| database.prepare(sql)).collect();
    let (before, started) = (syncs::so_far(), Instant::now());
    let mut done = 0;
    while done < count {
        begin.run(&[]);
        for _ in 0..batch {
            let id = Uuid::now_v7().to_string();
            statements.iter().for_each(|statement| statement.run(&[&id, PAYLOAD]));
            done += 1;
        }
        commit.run(&[]);
    }
    Sample { done, took: started.elapsed(), syncs: syncs::so_far().since(before) }
}

struct Database(*mut ffi::sqlite3);

impl Database {
    fn open(path: &Path) -> Self {
        let name = CString::new(path.display().to_string()).expect("a path without zero bytes");
        let mut handle = ptr::null_mut();
        // SAFETY: the name lives through the call; the handle is closed in drop.
        let code = unsafe { ffi::sqlite3_open(name.as_ptr(), &mut handle) };
        assert_eq!(code, ffi::SQLITE_OK, "open");
        let database = Self(handle);
        for pragma in ["journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "wal_autocheckpoint = 1000", "cache_size = -16384"] {
            database.execute(&format!("PRAGMA {pragma}"));
        }
        database
    }

    fn execute(&self, sql: &str) {
        let sql = CString::new(sql).expect("SQL without zero bytes");
        // SAFETY: the handle is open and the text lives through the call.
        let code = unsafe { ffi::sqlite3_exec(self.0, sql.as_ptr(), None, ptr::null_mut(), ptr::null_mut()) };
        assert_eq!(code, ffi::SQLITE_OK, "{}", self.message());
    }

    fn prepare(&self, sql: &str) -> Statement {
        let sql = CString::new(sql).expect("SQL without zero bytes");
        let mut handle = ptr::null_mut();
        // SAFETY: the handle is open and the text lives through the call; the statement is finalised in drop, before the database.
        let code = unsafe { ffi::sqlite3_prepare_v2(self.0, sql.as_ptr(), -1, &mut handle, ptr::null_mut()) };
        assert_eq!(code, ffi::SQLITE_OK, "{}", self.message());
        Statement(handle)
    }

    fn message(&self) -> String {
        // SAFETY: SQLite keeps the text until the next call on the handle.
        unsafe { CStr::from_ptr(ffi::sqlite3_errmsg(self.0)) }.to_string_lossy().into_owned()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // SAFETY: opened once, closed once, and its statements were dropped before it.
        unsafe { ffi::sqlite3_close(self.0) };
    }
}

struct Statement(*mut ffi::sqlite3_stmt);

impl Statement {
    /// Binds as many of the values as the statement asks for.
    fn run(&self, values: &[&str]) {
        // SAFETY: the statement is alive; SQLite copies the text (SQLITE_TRANSIENT).
        unsafe {
            let wanted = ffi::sqlite3_bind_parameter_count(self.0) as usize;
            for (place, value) in (1..).zip(&values[..wanted]) {
                let code = ffi::sqlite3_bind_text(self.0, place, value.as_ptr().cast(), value.len() as c_int, ffi::SQLITE_TRANSIENT());
                assert_eq!(code, ffi::SQLITE_OK, "bind");
            }
            loop {
                match ffi::sqlite3_step(self.0) {
                    ffi::SQLITE_ROW => {}
                    code => {
                        assert_eq!(code, ffi::SQLITE_DONE, "step");
                        break;
                    }
                }
            }
            ffi::sqlite3_reset(self.0);
        }
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: prepared once, finalised once.
        unsafe { ffi::sqlite3_finalize(self.0) };
    }
}
