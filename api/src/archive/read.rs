//! Reading an archive that a stranger sent, in a process of its own. Nothing is taken from it that its manifest does not name, every byte is
//! counted and hashed before anything is believed, and files are written by names of ours.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor};
use std::path::PathBuf;

use audio::decode::DecodeLimits;
use audio::probe::probe;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::names::{Name, Part};
use super::zip::{self, Entry};
use super::{
    ArchiveContents, ArchiveFault, ArchiveLimits, ArchivedVoice, FORMAT, FoundFile, FoundSample, FoundVoice, Manifest, Member, Samples,
    VERSION,
};

/// Small members may be packed as well as they like.
const RATIO_FREE_BYTES: u64 = 64 * 1024;

/// Where to write the files of which voices.
#[derive(Debug)]
pub struct Extraction {
    pub folder: PathBuf,
    /// Ids in the archive.
    pub voices: Vec<String>,
}

fn wrong(detail: impl Into<String>) -> ArchiveFault {
    ArchiveFault::Wrong(detail.into())
}

/// Checks all of it; with an [`Extraction`] writes what is wanted.
///
/// # Errors
/// An [`ArchiveFault`]; nothing of the archive is to be believed then, and what was written is the caller's to delete.
pub fn read(mut file: File, limits: &ArchiveLimits, extraction: Option<&Extraction>) -> Result<ArchiveContents, ArchiveFault> {
    let places = places(zip::entries(&mut file, limits.members_max)?, limits)?;
    let mut reader = Reader { file, places, limits };
    let manifest = reader.manifest()?;
    reader.check_names(&manifest)?;
    let mut by_voice: BTreeMap<Uuid, BTreeMap<Part, &Member>> = BTreeMap::new();
    for member in &manifest.members {
        if let Some(Name::Of(id, part)) = Name::parse(&member.path) {
            by_voice.entry(id).or_default().insert(part, member);
        }
    }
    if by_voice.len() > limits.voices_max {
        return Err(ArchiveFault::TooLarge(format!("the archive has more than {} voices", limits.voices_max)));
    }
    let mut voices = Vec::new();
    for (id, members) in by_voice {
        let folder = extraction.filter(|wanted| wanted.voices.contains(&id.to_string())).map(|wanted| &wanted.folder);
        voices.push(reader.voice(id, &members, folder)?);
    }
    if voices.is_empty() {
        return Err(wrong("the archive has no voices"));
    }
    Ok(ArchiveContents { version: manifest.version, voices })
}

/// The place of each member, once its kind is known to be harmless.
fn places(entries: Vec<Entry>, limits: &ArchiveLimits) -> Result<BTreeMap<Name, Entry>, ArchiveFault> {
    let mut places = BTreeMap::new();
    let mut real_bytes: u64 = 0;
    for entry in entries {
        let shown: String = String::from_utf8_lossy(&entry.name).chars().take(80).collect();
        let name = std::str::from_utf8(&entry.name).ok().and_then(Name::parse);
        let name = name.ok_or_else(|| wrong(format!("\"{shown}\" is no name of a member")))?;
        if entry.special {
            return Err(wrong(format!("{shown} is no plain file")));
        }
        if entry.real_bytes > limits.member_bytes_max {
            return Err(ArchiveFault::TooLarge(format!("{shown} has more than {} bytes", limits.member_bytes_max)));
        }
        if entry.real_bytes > RATIO_FREE_BYTES && entry.real_bytes / limits.ratio_max > entry.packed_bytes {
            return Err(ArchiveFault::TooLarge(format!("{shown} is more than {} times as large as it was packed", limits.ratio_max)));
        }
        real_bytes = real_bytes.saturating_add(entry.real_bytes);
        if real_bytes > limits.real_bytes_max {
            return Err(ArchiveFault::TooLarge(format!("the archive holds more than {} bytes", limits.real_bytes_max)));
        }
        if places.insert(name, entry).is_some() {
            return Err(wrong(format!("{shown} is there twice")));
        }
    }
    Ok(places)
}

struct Reader<'l> {
    file: File,
    /// Together within the limit; each is read only as far as the directory says.
    places: BTreeMap<Name, Entry>,
    limits: &'l ArchiveLimits,
}

impl Reader<'_> {
    fn manifest(&mut self) -> Result<Manifest, ArchiveFault> {
        let bytes = self.bytes(Name::Manifest, self.limits.json_bytes_max)?;
        let manifest: Manifest = json("manifest.json", &bytes)?;
        if manifest.format != FORMAT {
            return Err(ArchiveFault::NoArchive("the manifest is of another format".into()));
        }
        if manifest.version != VERSION {
            return Err(ArchiveFault::NoArchive(format!("the archive is of version {}; version {VERSION} is read here", manifest.version)));
        }
        Ok(manifest)
    }

    /// The manifest and the directory must tell of the same members.
    fn check_names(&self, manifest: &Manifest) -> Result<(), ArchiveFault> {
        let mut told = std::collections::BTreeSet::new();
        for member in &manifest.members {
            let shown: String = member.path.chars().take(80).collect();
            let name = Name::parse(&member.path).filter(|name| *name != Name::Manifest);
            let name = name.ok_or_else(|| wrong(format!("the manifest names \"{shown}\", which is no name of a member")))?;
            if !self.places.contains_key(&name) {
                return Err(wrong(format!("{shown} is missing")));
            }
            if !told.insert(name) {
                return Err(wrong(format!("the manifest names {shown} twice")));
            }
        }
        match self.places.keys().find(|name| **name != Name::Manifest && !told.contains(name)) {
            Some(extra) => Err(wrong(format!("{extra} is not in the manifest"))),
            None => Ok(()),
        }
    }

    /// All of a member, at most `bytes_max`.
    fn bytes(&mut self, name: Name, bytes_max: u64) -> Result<Vec<u8>, ArchiveFault> {
        let entry = self.places.get(&name).ok_or_else(|| wrong(format!("{name} is missing")))?;
        zip::read(&mut self.file, entry, bytes_max)
    }

    /// The same for what the manifest tells the hash of.
    fn verified(&mut self, id: Uuid, part: Part, member: &Member, bytes_max: u64) -> Result<Vec<u8>, ArchiveFault> {
        let bytes = self.bytes(Name::Of(id, part), bytes_max)?;
        if bytes.len() as u64 != member.size_bytes || hex::encode(Sha256::digest(&bytes)) != member.sha256 {
            return Err(wrong(format!("{} is not what the manifest says", member.path)));
        }
        Ok(bytes)
    }

    fn voice(&mut self, id: Uuid, members: &BTreeMap<Part, &Member>, folder: Option<&PathBuf>) -> Result<FoundVoice, ArchiveFault> {
        let json_max = self.limits.json_bytes_max;
        let told = |part: Part| members.get(&part).copied();
        let member = told(Part::Voice).ok_or_else(|| wrong(format!("{} is missing", Name::Of(id, Part::Voice))))?;
        let voice: ArchivedVoice = json(&member.path, &self.verified(id, Part::Voice, member, json_max)?)?;
        if voice.id != id.to_string() {
            return Err(wrong(format!("{} has another id than its folder", member.path)));
        }
        let described = match told(Part::Samples) {
            Some(member) => json::<Samples>(&member.path, &self.verified(id, Part::Samples, member, json_max)?)?.samples,
            None => Vec::new(),
        };
        let recordings = members.keys().filter(|part| matches!(part, Part::Sample(_))).count();
        if described.len() > self.limits.samples_max {
            return Err(ArchiveFault::TooLarge(format!("a voice has more than {} recordings", self.limits.samples_max)));
        }
        if recordings != described.len() {
            return Err(wrong(format!("voice {id} has {recordings} recordings and describes {}", described.len())));
        }
        let mut samples = Vec::new();
        for (index, sample) in described.into_iter().enumerate() {
            let part = Part::Sample(index as u32 + 1);
            let member = told(part).filter(|_| sample.file == part.to_string());
            let member = member.ok_or_else(|| wrong(format!("recording {} of voice {id} is not {part}", index + 1)))?;
            let (file, duration_ms) = self.recording(id, part, member, folder)?;
            samples.push(FoundSample { sample, duration_ms, file });
        }
        let preview = match told(Part::Preview) {
            Some(member) => Some(self.recording(id, Part::Preview, member, folder)?.0),
            None => None,
        };
        let mut text = |part: Part| -> Result<Option<String>, ArchiveFault> {
            let Some(member) = told(part) else { return Ok(None) };
            let bytes = self.verified(id, part, member, json_max)?;
            json::<serde::de::IgnoredAny>(&member.path, &bytes)?;
            String::from_utf8(bytes).map(Some).map_err(|_| wrong(format!("{} is no UTF-8", member.path)))
        };
        let (profiles, consent) = (text(Part::Profile)?, text(Part::Consent)?);
        let size_bytes = members.values().map(|member| member.size_bytes).sum();
        Ok(FoundVoice { voice, samples, profiles, consent, preview, size_bytes })
    }

    /// A WAV file, and how long it is.
    fn recording(&mut self, id: Uuid, part: Part, member: &Member, folder: Option<&PathBuf>) -> Result<(FoundFile, i64), ArchiveFault> {
        let bytes = self.verified(id, part, member, self.limits.member_bytes_max)?;
        // Names of ours: ids and numbers only.
        let kind = if part == Part::Preview { 0 } else { 1 };
        let number = if let Part::Sample(number) = part { number } else { 0 };
        let file = FoundFile { name: format!("{id}-{kind}-{number}.wav"), size_bytes: bytes.len() as u64, sha256: member.sha256.clone() };
        if let Some(folder) = folder {
            let mut output = File::create_new(folder.join(&file.name))?;
            io::copy(&mut bytes.as_slice(), &mut output)?;
        }
        let limits = DecodeLimits { max_decoded_ms: self.limits.audio_ms_max, ..DecodeLimits::default() };
        let info = probe(Box::new(Cursor::new(bytes)), limits).map_err(|error| wrong(format!("{}: {error}", member.path)))?;
        if info.container != "wave" {
            return Err(wrong(format!("{} is no WAV file", member.path)));
        }
        if info.duration_ms > self.limits.audio_ms_max {
            return Err(ArchiveFault::TooLarge(format!("{} is longer than {} ms", member.path, self.limits.audio_ms_max)));
        }
        Ok((file, info.duration_ms.cast_signed()))
    }
}

fn json<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T, ArchiveFault> {
    serde_json::from_slice(bytes).map_err(|error| wrong(format!("{path}: {error}")))
}
