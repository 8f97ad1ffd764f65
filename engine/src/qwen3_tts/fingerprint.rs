//! Which weights lie in a folder, told without reading gigabytes: its configurations, and pieces of its weights.
//!
//! Two folders of one fingerprint give the same samples, unless somebody changed a few weights between the pieces by hand. This file may
//! not know what is in the files.

use std::fs::File;
use std::io::{Read, Result, Seek, SeekFrom};
use std::path::Path;

use sha2::{Digest, Sha256};

const FILES: [&str; 7] = [
    "config.json",
    "generation_config.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "speech_tokenizer/config.json",
    "model.safetensors",
];
const CODEC: &str = "speech_tokenizer/model.safetensors";
/// Up to this size a file is read whole.
const PIECES: u64 = 64;
const PIECE_BYTES: u64 = 64 << 10;

/// Twelve hexadecimal digits.
pub(super) fn fingerprint(folder: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    for name in FILES.into_iter().chain([CODEC]) {
        let file = folder.join(name);
        digest.update(name.as_bytes());
        if file.exists() {
            add(&mut digest, &file)?;
        }
    }
    Ok(digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect())
}

fn add(digest: &mut Sha256, path: &Path) -> Result<()> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    digest.update(bytes.to_le_bytes());
    let step = (bytes / PIECES).max(PIECE_BYTES);
    let mut piece = Vec::new();
    let mut at = 0;
    while at < bytes {
        file.seek(SeekFrom::Start(at))?;
        piece.clear();
        file.by_ref().take(PIECE_BYTES).read_to_end(&mut piece)?;
        digest.update(&piece);
        at += step;
    }
    Ok(())
}
