//! As much of ZIP (PKWARE APPNOTE 6.3) as an archive of voices needs: members stored or deflated, no encryption, no ZIP64, one disk, nothing
//! in front of the first member or behind the last record. Every number of a file is taken for a lie until it was checked.
//!
//! Our own because the well-kept crate keeps one of several members of a name, and because what is not read can't be attacked. It may not
//! know what members mean.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use crc32fast::Hasher;
use flate2::read::DeflateDecoder;

use super::ArchiveFault;

const LOCAL: [u8; 4] = *b"PK\x03\x04";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const END: [u8; 4] = *b"PK\x05\x06";
const LOCAL_BYTES: u64 = 30;
const CENTRAL_BYTES: usize = 46;
const END_BYTES: u64 = 22;
/// Longer names than ours are.
const NAME_BYTES_MAX: usize = 512;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// General purpose bits: encrypted, strongly encrypted, patched, masked.
const STRANGE_FLAGS: u16 = 1 | 1 << 5 | 1 << 6 | 1 << 13;
const MADE_BY_UNIX: u8 = 3;

/// A member, as the directory tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) packed_bytes: u64,
    /// By its word.
    pub(super) real_bytes: u64,
    /// A folder, a link, a device, or something else that is no plain file.
    pub(super) special: bool,
    deflated: bool,
    crc32: u32,
    header_at: u64,
}

fn wrong(detail: impl Into<String>) -> ArchiveFault {
    ArchiveFault::Wrong(detail.into())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|pair| pair.try_into().ok()).map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// The directory of an archive: the record at the very end, and what it points to. At most `members_max` members.
pub(super) fn entries(file: &mut File, members_max: usize) -> Result<Vec<Entry>, ArchiveFault> {
    let size_bytes = file.seek(SeekFrom::End(0))?;
    let mut start = [0; 4];
    file.seek(SeekFrom::Start(0))?;
    if size_bytes < END_BYTES || file.read_exact(&mut start).is_err() || !start.starts_with(b"PK") {
        return Err(ArchiveFault::NoArchive("no .clonyvoice archive".into()));
    }
    let mut end = [0; END_BYTES as usize];
    file.seek(SeekFrom::Start(size_bytes - END_BYTES))?;
    file.read_exact(&mut end)?;
    if !end.starts_with(&END) {
        return Err(wrong("the archive is cut off, or something follows it"));
    }
    let count = usize::from(u16_at(&end, 10));
    if count > members_max {
        return Err(ArchiveFault::TooLarge(format!("the archive has more than {members_max} members")));
    }
    let (directory_bytes, directory_at) = (u64::from(u32_at(&end, 12)), u64::from(u32_at(&end, 16)));
    let one_disk = u16_at(&end, 4) == 0 && u16_at(&end, 6) == 0 && usize::from(u16_at(&end, 8)) == count;
    if !one_disk || u16_at(&end, 20) != 0 || directory_at + directory_bytes + END_BYTES != size_bytes {
        return Err(wrong("the archive is cut off, or its directory is not where it should be"));
    }
    if directory_bytes > (count * (CENTRAL_BYTES + 4 * NAME_BYTES_MAX)) as u64 {
        return Err(wrong("the directory of the archive is too large for its members"));
    }
    file.seek(SeekFrom::Start(directory_at))?;
    let mut directory = vec![0; directory_bytes as usize];
    file.read_exact(&mut directory)?;
    let mut entries = Vec::with_capacity(count);
    let mut rest = directory.as_slice();
    for _ in 0..count {
        let (entry, behind) = entry(rest)?;
        entries.push(entry);
        rest = behind;
    }
    if !rest.is_empty() {
        return Err(wrong("the directory of the archive has more than its members"));
    }
    check_places(&entries, directory_at)?;
    Ok(entries)
}

fn entry(bytes: &[u8]) -> Result<(Entry, &[u8]), ArchiveFault> {
    let broken = || wrong("the directory of the archive is damaged");
    let head = bytes.get(..CENTRAL_BYTES).filter(|head| head.starts_with(&CENTRAL)).ok_or_else(broken)?;
    let (name_bytes, extra_bytes, comment_bytes) =
        (usize::from(u16_at(head, 28)), usize::from(u16_at(head, 30)), usize::from(u16_at(head, 32)));
    let name = bytes.get(CENTRAL_BYTES..CENTRAL_BYTES + name_bytes).filter(|name| name.len() <= NAME_BYTES_MAX).ok_or_else(broken)?;
    let behind = bytes.get(CENTRAL_BYTES + name_bytes + extra_bytes + comment_bytes..).ok_or_else(broken)?;
    let shown = String::from_utf8_lossy(name).chars().take(80).collect::<String>();
    let (flags, method) = (u16_at(head, 8), u16_at(head, 10));
    if flags & STRANGE_FLAGS != 0 || ![STORED, DEFLATED].contains(&method) || u16_at(head, 34) != 0 {
        return Err(wrong(format!("{shown} is packed in a way that is not read here")));
    }
    let (packed, real, header_at) = (u32_at(head, 20), u32_at(head, 24), u32_at(head, 42));
    if [packed, real, header_at].contains(&u32::MAX) {
        return Err(ArchiveFault::TooLarge(format!("{shown} has 4 GiB or more")));
    }
    if method == STORED && packed != real {
        return Err(wrong(format!("{shown} has two lengths")));
    }
    let kind = if head[5] == MADE_BY_UNIX { (u32_at(head, 38) >> 16) & 0o170_000 } else { 0 };
    let entry = Entry {
        name: name.to_vec(),
        packed_bytes: packed.into(),
        real_bytes: real.into(),
        special: !matches!(kind, 0 | 0o100_000) || name.ends_with(b"/"),
        deflated: method == DEFLATED,
        crc32: u32_at(head, 16),
        header_at: header_at.into(),
    };
    Ok((entry, behind))
}

/// Members that share bytes make a small archive a large one (Fifield, "A better zip bomb", 2019).
fn check_places(entries: &[Entry], directory_at: u64) -> Result<(), ArchiveFault> {
    let mut places: Vec<(u64, u64)> = entries
        .iter()
        .map(|entry| (entry.header_at, entry.header_at + LOCAL_BYTES + entry.name.len() as u64 + entry.packed_bytes))
        .collect();
    places.sort_unstable();
    let ends = places.iter().map(|(_, end)| *end);
    let starts = places.iter().skip(1).map(|(start, _)| *start).chain([directory_at]);
    if ends.zip(starts).any(|(end, next)| end > next) || places.first().is_some_and(|(start, _)| *start != 0) {
        return Err(wrong("members of the archive overlap, or are not where they should be"));
    }
    Ok(())
}

/// All bytes of a member, if they are what the directory says and at most `bytes_max`.
pub(super) fn read(file: &mut File, entry: &Entry, bytes_max: u64) -> Result<Vec<u8>, ArchiveFault> {
    let shown = String::from_utf8_lossy(&entry.name).into_owned();
    let damaged = || wrong(format!("{shown} is damaged"));
    if entry.real_bytes > bytes_max {
        return Err(ArchiveFault::TooLarge(format!("{shown} has more than {bytes_max} bytes")));
    }
    file.seek(SeekFrom::Start(entry.header_at))?;
    let mut head = [0; LOCAL_BYTES as usize];
    file.read_exact(&mut head).map_err(|_| damaged())?;
    let mut name = vec![0; usize::from(u16_at(&head, 26))];
    file.read_exact(&mut name).map_err(|_| damaged())?;
    if !head.starts_with(&LOCAL) || name != entry.name || (u16_at(&head, 8) == DEFLATED) != entry.deflated {
        return Err(wrong(format!("{shown} is another member than the directory says")));
    }
    file.seek(SeekFrom::Current(u16_at(&head, 28).into()))?;
    let packed = file.take(entry.packed_bytes);
    let mut bytes = Vec::new();
    // One more than there should be shows what has more.
    let read = if entry.deflated {
        DeflateDecoder::new(packed).take(entry.real_bytes + 1).read_to_end(&mut bytes)
    } else {
        packed.take(entry.real_bytes + 1).read_to_end(&mut bytes)
    };
    read.map_err(|_| damaged())?;
    if bytes.len() as u64 != entry.real_bytes || crc32fast::hash(&bytes) != entry.crc32 {
        return Err(damaged());
    }
    Ok(bytes)
}

/// Writes members as they are, with no times and no owners: the same members give the same bytes.
pub(super) struct Writer<W> {
    output: W,
    at: u64,
    directory: Vec<u8>,
    count: u16,
}

impl<W: Write + Seek> Writer<W> {
    pub(super) fn new(output: W) -> Self {
        Self { output, at: 0, directory: Vec::new(), count: 0 }
    }

    /// Appends a member of which the length is known.
    pub(super) fn add(&mut self, name: &str, size_bytes: u64, content: &mut impl Read) -> io::Result<()> {
        let too_large = || io::Error::other("the archive is too large for a ZIP");
        let (size, header_at) = (u32::try_from(size_bytes).map_err(|_| too_large())?, u32::try_from(self.at).map_err(|_| too_large())?);
        let name_bytes = u16::try_from(name.len()).map_err(|_| too_large())?;
        // Its check sum is known only afterwards.
        self.output.write_all(&[&LOCAL[..], &common(0, size, name_bytes), name.as_bytes()].concat())?;
        let (crc32, written) = copy(content, &mut self.output)?;
        if written != size_bytes {
            return Err(io::Error::other("a member has another length than was said"));
        }
        let head = common(crc32, size, name_bytes);
        self.output.seek(SeekFrom::Start(self.at))?;
        self.output.write_all(&[&LOCAL[..], &head].concat())?;
        self.at += LOCAL_BYTES + u64::from(name_bytes) + size_bytes;
        self.output.seek(SeekFrom::Start(self.at))?;
        self.directory.extend_from_slice(&CENTRAL);
        // Made by version 2.0 on Unix, where the mode of a file is known.
        self.directory.extend_from_slice(&[20, MADE_BY_UNIX]);
        self.directory.extend_from_slice(&head);
        // No comment, disk 0, no internal attributes; a plain file.
        self.directory.extend_from_slice(&[0; 6]);
        self.directory.extend_from_slice(&(0o100_644_u32 << 16).to_le_bytes());
        self.directory.extend_from_slice(&header_at.to_le_bytes());
        self.directory.extend_from_slice(name.as_bytes());
        self.count = self.count.checked_add(1).filter(|count| *count < u16::MAX).ok_or_else(too_large)?;
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        let too_large = |_| io::Error::other("the archive is too large for a ZIP");
        let directory_bytes = u32::try_from(self.directory.len()).map_err(too_large)?;
        let directory_at = u32::try_from(self.at).map_err(too_large)?;
        self.output.write_all(&self.directory)?;
        let mut end = END.to_vec();
        end.extend_from_slice(&[0; 4]);
        end.extend_from_slice(&self.count.to_le_bytes());
        end.extend_from_slice(&self.count.to_le_bytes());
        end.extend_from_slice(&directory_bytes.to_le_bytes());
        end.extend_from_slice(&directory_at.to_le_bytes());
        end.extend_from_slice(&[0; 2]);
        self.output.write_all(&end)?;
        self.output.flush()?;
        Ok(self.output)
    }
}

/// What both headers of a member say: version 2.0, names in UTF-8, stored, 1980-01-01, lengths.
fn common(crc32: u32, size: u32, name_bytes: u16) -> Vec<u8> {
    let mut head = Vec::with_capacity(26);
    for value in [20_u16, 1 << 11, STORED, 0, 33] {
        head.extend_from_slice(&value.to_le_bytes());
    }
    for value in [crc32, size, size] {
        head.extend_from_slice(&value.to_le_bytes());
    }
    head.extend_from_slice(&name_bytes.to_le_bytes());
    head.extend_from_slice(&[0; 2]);
    head
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<(u32, u64)> {
    let mut crc32 = Hasher::new();
    let mut block = vec![0; 64 * 1024];
    let mut written = 0;
    loop {
        let read = from.read(&mut block)?;
        if read == 0 {
            return Ok((crc32.finalize(), written));
        }
        crc32.update(&block[..read]);
        to.write_all(&block[..read])?;
        written += read as u64;
    }
}
