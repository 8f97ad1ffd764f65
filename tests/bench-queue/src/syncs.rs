//! How often this process asks the disk to keep something, by kind of file. SQLite, the blob store and the standard library all call libc:
//! a definition of the same name in the program takes their place and counts.
//!
//! In WAL mode with `synchronous=FULL` every commit syncs the log once, so syncs of the log count write transactions.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, Ordering};

static LOG: AtomicU64 = AtomicU64::new(0);
static OTHER: AtomicU64 = AtomicU64::new(0);

#[derive(Debug, Clone, Copy, Default)]
pub struct Syncs {
    /// Of the write-ahead log: one for each write transaction, and one when the log starts again.
    pub log: u64,
    /// Of everything else: the database at a checkpoint, blobs, folders.
    pub other: u64,
}

pub fn so_far() -> Syncs {
    Syncs { log: LOG.load(Ordering::Relaxed), other: OTHER.load(Ordering::Relaxed) }
}

impl Syncs {
    pub fn since(self, before: Self) -> Self {
        Self { log: self.log - before.log, other: self.other - before.other }
    }
}

fn count(fd: c_int) {
    let path = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
    let counter = if path.to_string_lossy().ends_with("-wal") { &LOG } else { &OTHER };
    counter.fetch_add(1, Ordering::Relaxed);
}

/// # Safety
/// As libc's, which takes any number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    count(fd);
    // SAFETY: the system call that libc's function of this name makes.
    unsafe { libc::syscall(libc::SYS_fdatasync, fd) as c_int }
}

/// # Safety
/// As libc's, which takes any number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    count(fd);
    // SAFETY: the system call that libc's function of this name makes.
    unsafe { libc::syscall(libc::SYS_fsync, fd) as c_int }
}
