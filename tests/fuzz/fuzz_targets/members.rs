//! Archives whose outside is right and whose members are anything: a ZIP and a manifest with true sizes and hashes around them, so that the
//! JSON and the sound inside are reached. The first byte chooses how they are packed.
#![no_main]

mod sealed;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use sha2::{Digest, Sha256};

const ID: &str = "0197f000-0000-7000-8000-00000000000a";
const PARTS: [&str; 6] = ["voice.json", "samples.json", "samples/001.wav", "profile.json", "preview.wav", "consent.json"];

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let members: Vec<(String, &[u8])> = PARTS.iter().zip(parts(bytes)).map(|(name, part)| (format!("voices/{ID}/{name}"), part)).collect();
    let listed: Vec<_> = members
        .iter()
        .map(|(path, bytes)| json!({"path": path, "size_bytes": bytes.len(), "sha256": hex::encode(Sha256::digest(bytes))}))
        .collect();
    let manifest = json!({"format": "clonyvoice", "version": 1, "members": listed}).to_string();
    let mut all = vec![("manifest.json".to_owned(), manifest.as_bytes())];
    all.extend(members);
    let method = if choice % 16 == 0 { 8 } else { 0 };
    sealed::read(&zip(&all, method));
});

/// The members one after the other, with a mark between two.
fn parts(bytes: &[u8]) -> Vec<&[u8]> {
    const MARK: &[u8] = b"\n--\n";
    let (mut parts, mut rest) = (Vec::new(), bytes);
    while let Some(at) = rest.windows(MARK.len()).position(|window| window == MARK) {
        parts.push(&rest[..at]);
        rest = &rest[at + MARK.len()..];
    }
    parts.push(rest);
    parts
}

/// Stored members (or such that only claim to be packed), by the layout of APPNOTE.TXT 4.3.
fn zip(members: &[(String, &[u8])], method: u16) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let start = bytes.len() as u32;
        let mut fields = Vec::new();
        fields.extend_from_slice(&[20, 0, 0, 8]);
        fields.extend_from_slice(&method.to_le_bytes());
        fields.extend_from_slice(&[0; 4]);
        fields.extend_from_slice(&crc32fast::hash(content).to_le_bytes());
        fields.extend_from_slice(&(content.len() as u32).to_le_bytes());
        fields.extend_from_slice(&(content.len() as u32).to_le_bytes());
        fields.extend_from_slice(&(name.len() as u16).to_le_bytes());
        fields.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(b"PK\x03\x04");
        bytes.extend_from_slice(&fields);
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(content);
        directory.extend_from_slice(b"PK\x01\x02\x14\x03");
        directory.extend_from_slice(&fields);
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&start.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let (start, size, count) = (bytes.len() as u32, directory.len() as u32, members.len() as u16);
    bytes.extend(directory);
    bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&size.to_le_bytes());
    bytes.extend_from_slice(&start.to_le_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes
}
