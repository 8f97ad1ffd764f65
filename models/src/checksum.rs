//! What tells that a file is the right one: SHA-256, and the id that git gives a file, which is what the hub says of small ones. Pure but for
//! [`of_file`].

use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};
use sha2::Sha256;

const BLOCK_BYTES: usize = 1024 * 1024;

/// 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Hex(String);

impl TryFrom<String> for Sha256Hex {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if is_hex(&text, 64) { Ok(Self(text.to_ascii_lowercase())) } else { Err("a SHA-256 has 64 hexadecimal digits") }
    }
}

impl From<Sha256Hex> for String {
    fn from(sha256: Sha256Hex) -> Self {
        sha256.0
    }
}

impl fmt::Display for Sha256Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What a hub's `ETag` says of the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checksum {
    /// Of large files.
    Sha256(String),
    /// SHA-1 of `blob {length}\0` and the bytes: git's id of a small file.
    GitBlob(String),
}

impl Checksum {
    /// `None` for an `ETag` that says nothing of the content.
    pub fn of_etag(etag: &str) -> Option<Self> {
        let bare = etag.trim().trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
        match bare.len() {
            64 if is_hex(&bare, 64) => Some(Self::Sha256(bare)),
            40 if is_hex(&bare, 40) => Some(Self::GitBlob(bare)),
            _ => None,
        }
    }

    pub fn matches(&self, found: &Found) -> bool {
        match self {
            Self::Sha256(sha256) => found.sha256.0 == *sha256,
            Self::GitBlob(id) => found.git_blob == *id,
        }
    }
}

/// What was found of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub size_bytes: u64,
    pub sha256: Sha256Hex,
    /// git's id of these bytes.
    pub git_blob: String,
}

/// Both sums as the bytes go by. git's begins with the length, so that must be known.
#[derive(Clone)]
pub struct Summing {
    size_bytes: u64,
    sha256: Sha256,
    git_blob: Sha1,
}

impl fmt::Debug for Summing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Summing").field("size_bytes", &self.size_bytes).finish_non_exhaustive()
    }
}

impl Summing {
    /// `length_bytes` is how many bytes there will be.
    pub fn new(length_bytes: u64) -> Self {
        let mut git_blob = Sha1::new();
        git_blob.update(format!("blob {length_bytes}\0"));
        Self { size_bytes: 0, sha256: Sha256::new(), git_blob }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.size_bytes += bytes.len() as u64;
        self.sha256.update(bytes);
        self.git_blob.update(bytes);
    }

    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    pub fn finish(self) -> Found {
        Found {
            size_bytes: self.size_bytes,
            sha256: Sha256Hex(hex::encode(self.sha256.finalize())),
            git_blob: hex::encode(self.git_blob.finalize()),
        }
    }
}

/// Reads a whole file. Blocks.
///
/// # Errors
/// Those of the disk.
pub fn of_file(path: &Path) -> io::Result<Found> {
    let mut file = std::fs::File::open(path)?;
    let mut summing = Summing::new(file.metadata()?.len());
    feed(&mut file, &mut summing)?;
    Ok(summing.finish())
}

/// The bytes of a reader to its end.
pub(crate) fn feed(reader: &mut dyn Read, summing: &mut Summing) -> io::Result<()> {
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        match reader.read(&mut block)? {
            0 => return Ok(()),
            bytes => summing.update(&block[..bytes]),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn found(bytes: &[u8]) -> Found {
        let mut summing = Summing::new(bytes.len() as u64);
        bytes.chunks(3).for_each(|part| summing.update(part));
        summing.finish()
    }

    #[test]
    fn sums_are_those_of_git_and_of_everybody() {
        // `printf 'hello\n' | git hash-object --stdin`, and `| sha256sum`.
        let hello = found(b"hello\n");
        assert!(Checksum::GitBlob("ce013625030ba8dba906f756967f9e9ca394464a".into()).matches(&hello));
        assert_eq!(hello.sha256.to_string(), "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
        assert!(!Checksum::GitBlob("ce013625030ba8dba906f756967f9e9ca394464b".into()).matches(&hello));
    }

    #[test]
    fn an_etag_is_taken_in_the_forms_that_hubs_send() {
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        assert_eq!(Checksum::of_etag(&format!("\"{sha256}\"")), Some(Checksum::Sha256(sha256.into())));
        assert_eq!(Checksum::of_etag(&format!("W/\"{}\"", &sha256[..40])), Some(Checksum::GitBlob(sha256[..40].into())));
        for etag in ["", "\"abc\"", "\"5891b5b522d5df086d0ff0b110fbd9d2-12\"", "zz91b5b522d5df086d0ff0b110fbd9d21bb4fc71"] {
            assert_eq!(Checksum::of_etag(etag), None, "{etag}");
        }
    }
}
