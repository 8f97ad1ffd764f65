//! The log of `tests/power-cut/record.c`: every change below a data folder, in order. This file knows the format and not what a change does.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;

/// The numbers of the C source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Create,
    Unnamed,
    Truncate,
    Write,
    Allocate,
    SyncBegin,
    SyncEnd,
    SyncRange,
    Rename,
    Link,
    Unlink,
    Mkdir,
    Rmdir,
    SharedMap,
}

const KINDS: [Kind; 14] = [
    Kind::Create,
    Kind::Unnamed,
    Kind::Truncate,
    Kind::Write,
    Kind::Allocate,
    Kind::SyncBegin,
    Kind::SyncEnd,
    Kind::SyncRange,
    Kind::Rename,
    Kind::Link,
    Kind::Unlink,
    Kind::Mkdir,
    Kind::Rmdir,
    Kind::SharedMap,
];

impl Kind {
    /// Of the C source.
    pub fn number(self) -> usize {
        self as usize + 1
    }
}

/// Something that the recorder can't follow.
const UNFOLLOWED: u32 = 15;
const HEADER_BYTES: usize = 32;

#[derive(Debug, Clone)]
pub struct Record {
    pub kind: Kind,
    pub inode: u64,
    /// Offset, length or number of a sync.
    pub position: u64,
    /// A path, where the kind has one.
    pub first: String,
    /// A path or the bytes of a write.
    pub second: Bytes,
    /// Length of the log with this record.
    pub end: u64,
}

impl Record {
    pub fn second_path(&self) -> &str {
        std::str::from_utf8(&self.second).unwrap()
    }
}

/// # Panics
/// When the log breaks off inside a record, or tells of something that the recorder can't follow.
pub fn read(path: &Path) -> Vec<Record> {
    let log = Bytes::from(std::fs::read(path).unwrap());
    let mut records = Vec::new();
    let mut at = 0;
    while at < log.len() {
        assert!(log.len() - at >= HEADER_BYTES, "the log ends in a header");
        let u32_at = |offset: usize| u32::from_le_bytes(log[at + offset..at + offset + 4].try_into().unwrap());
        let u64_at = |offset: usize| u64::from_le_bytes(log[at + offset..at + offset + 8].try_into().unwrap());
        let (kind, first_bytes, second_bytes) = (u32_at(0), u32_at(4) as usize, usize::try_from(u64_at(8)).unwrap());
        let first_at = at + HEADER_BYTES;
        let second_at = first_at + first_bytes;
        let end = second_at + second_bytes;
        assert!(end <= log.len(), "the log ends in a record");
        let first = String::from_utf8(log[first_at..second_at].to_vec()).unwrap();
        assert_ne!(kind, UNFOLLOWED, "the recorder can't follow: {first}");
        let kind = KINDS[kind as usize - 1];
        records.push(Record { kind, inode: u64_at(16), position: u64_at(24), first, second: log.slice(second_at..end), end: end as u64 });
        at = end;
    }
    records
}

/// How many records of each kind.
pub fn census(records: &[Record]) -> BTreeMap<Kind, usize> {
    let mut counts = BTreeMap::new();
    for record in records {
        *counts.entry(record.kind).or_default() += 1;
    }
    counts
}
