//! Writing an archive: the same voices give the same bytes. It may not know where the bytes of a recording come from.

use std::io::{self, Read, Seek, Write};

use serde::Serialize;
use sha2::{Digest, Sha256};
use storage::voices::{Voice, VoiceSample};

use super::names::{MANIFEST, Name, Part};
use super::zip::Writer;
use super::{ArchivedCategory, ArchivedSample, ArchivedVoice, FORMAT, Manifest, Member, Samples, VERSION};
use crate::wire::time::rfc3339;

/// Where the bytes of a member come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Json(Vec<u8>),
    Blob { key: storage::BlobKey, sha256: String, size_bytes: u64 },
}

/// What is to be written, in its order; without the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    path: String,
    pub(crate) content: Content,
}

impl Planned {
    fn member(&self) -> Member {
        let (size_bytes, sha256) = match &self.content {
            Content::Json(bytes) => (bytes.len() as u64, hex::encode(Sha256::digest(bytes))),
            Content::Blob { sha256, size_bytes, .. } => (*size_bytes, sha256.clone()),
        };
        Member { path: self.path.clone(), size_bytes, sha256 }
    }
}

/// Pretty, with a line end: people open these.
fn json<T: Serialize>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The members of one voice. `samples` is empty where they are not wanted.
pub(crate) fn plan(voice: &Voice, samples: &[VoiceSample], with_preview: bool) -> serde_json::Result<Vec<Planned>> {
    let id = voice.id;
    let mut planned = Vec::new();
    let mut add = |part, content| planned.push(Planned { path: Name::Of(id, part).to_string(), content });
    let category = voice.category.as_ref().map(|category| ArchivedCategory { name: category.name.clone(), color: category.color.clone() });
    add(Part::Voice, Content::Json(json(&archived(voice, category))?));
    if !samples.is_empty() {
        let described = samples.iter().enumerate().map(|(index, sample)| describe(index, sample)).collect();
        add(Part::Samples, Content::Json(json(&Samples { samples: described })?));
    }
    for (index, sample) in samples.iter().enumerate() {
        let key = storage::BlobKey::VoiceSample { voice_id: id, sample_id: sample.id };
        let (sha256, size_bytes) = (sample.blob.sha256.clone(), sample.blob.size_bytes);
        add(Part::Sample(index as u32 + 1), Content::Blob { key, sha256, size_bytes });
    }
    for (part, text) in [(Part::Profile, &voice.profiles), (Part::Consent, &voice.consent)] {
        if let Some(text) = text {
            add(part, Content::Json(text.clone().into_bytes()));
        }
    }
    if let Some(preview) = voice.preview.as_ref().filter(|_| with_preview) {
        let key = storage::BlobKey::VoicePreview { voice_id: id, preview_id: preview.id };
        let (sha256, size_bytes) = (preview.blob.sha256.clone(), preview.blob.size_bytes);
        add(Part::Preview, Content::Blob { key, sha256, size_bytes });
    }
    Ok(planned)
}

fn archived(voice: &Voice, category: Option<ArchivedCategory>) -> ArchivedVoice {
    ArchivedVoice {
        id: voice.id.to_string(),
        kind: voice.kind.clone(),
        name: voice.name.clone(),
        description: voice.description.clone(),
        language: voice.language.clone(),
        gender: voice.gender.clone(),
        category,
        tags: voice.tags.clone(),
        color: voice.color.clone(),
        settings: voice.settings.as_object().cloned().unwrap_or_default(),
        private: voice.private,
        created_at: Some(rfc3339(voice.created_at_ms)),
    }
}

fn describe(index: usize, sample: &VoiceSample) -> ArchivedSample {
    ArchivedSample {
        file: Part::Sample(index as u32 + 1).to_string(),
        duration_ms: sample.duration_ms,
        transcript: sample.transcript.clone(),
        start_ms: sample.start_ms,
        end_ms: sample.end_ms,
        weight: sample.weight,
    }
}

/// Writes the manifest and what was planned; `open` gives the bytes of a blob.
pub(crate) fn write<W: Write + Seek, R: Read>(
    output: W,
    mut planned: Vec<Planned>,
    mut open: impl FnMut(storage::BlobKey, u64) -> io::Result<R>,
) -> io::Result<W> {
    planned.sort_by(|one, other| one.path.cmp(&other.path));
    let members = planned.iter().map(Planned::member).collect();
    let manifest = json(&Manifest { format: FORMAT.into(), version: VERSION, members })?;
    let mut zip = Writer::new(output);
    zip.add(MANIFEST, manifest.len() as u64, &mut manifest.as_slice())?;
    for member in planned {
        match member.content {
            Content::Json(bytes) => zip.add(&member.path, bytes.len() as u64, &mut bytes.as_slice())?,
            Content::Blob { key, sha256, size_bytes } => {
                let mut content = Hashed { content: open(key, size_bytes)?, hash: Sha256::new() };
                zip.add(&member.path, size_bytes, &mut content)?;
                if hex::encode(content.hash.finalize()) != sha256 {
                    // It must not get a manifest that says so.
                    return Err(io::Error::other("a recording is not what its row says"));
                }
            }
        }
    }
    zip.finish()
}

struct Hashed<R> {
    content: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(bytes)?;
        self.hash.update(&bytes[..read]);
        Ok(read)
    }
}
