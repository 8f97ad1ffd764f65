//! The bytes before the samples: which chunks, in which order, of which size.
//!
//! Pure: a header is computed from its numbers. It may not write, read or seek.

use super::WavError;
use crate::blocks::{MAX_RATE_HZ, MIN_RATE_HZ};

/// How a sample lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BitDepth {
    /// Two bytes, little-endian.
    Pcm16,
    /// Three bytes, little-endian.
    Pcm24,
}

impl BitDepth {
    /// 16 or 24.
    pub fn bits(self) -> u16 {
        match self {
            Self::Pcm16 => 16,
            Self::Pcm24 => 24,
        }
    }

    /// 2 or 3.
    pub fn bytes(self) -> u16 {
        self.bits() / 8
    }

    /// The depth of that many bits, if it is one of ours.
    pub fn from_bits(bits: u16) -> Option<Self> {
        match bits {
            16 => Some(Self::Pcm16),
            24 => Some(Self::Pcm24),
            _ => None,
        }
    }
}

/// What the file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WavSpec {
    /// 4,000 to 384,000.
    pub rate_hz: u32,
    /// 1 or 2.
    pub channels: u16,
    /// Bits of a sample.
    pub depth: BitDepth,
}

impl WavSpec {
    /// Bytes of one frame.
    pub fn frame_bytes(&self) -> u64 {
        u64::from(self.channels) * u64::from(self.depth.bytes())
    }

    pub(super) fn check(&self) -> Result<(), WavError> {
        if !(MIN_RATE_HZ..=MAX_RATE_HZ).contains(&self.rate_hz) {
            return Err(WavError::Invalid(format!("sample rate of {} hz", self.rate_hz)));
        }
        if !(1..=2).contains(&self.channels) {
            return Err(WavError::Invalid(format!("{} channels", self.channels)));
        }
        Ok(())
    }
}

/// Text for the `LIST`/`INFO` chunk, UTF-8; empty fields are left out, longer ones than 4 KiB are cut at a character.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags {
    /// `INAM`
    pub title: Option<String>,
    /// `IART`
    pub artist: Option<String>,
    /// `ISFT`: the program that made the file.
    pub software: Option<String>,
    /// `ICMT`: ours says that the speech is synthetic.
    pub comment: Option<String>,
}

/// Longest tag in bytes.
const MAX_TAG_BYTES: usize = 4096;

/// What a caller may want of the file beside its samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WavLayout {
    /// Text in front of the samples.
    pub tags: Tags,
    /// A file whose RIFF size (all but its first eight bytes) is larger than this becomes RF64. The default, 4 GiB less two bytes,
    /// is the most a 32-bit size can say; tests lower it to see RF64 with little data.
    pub rf64_above_bytes: u64,
}

impl Default for WavLayout {
    fn default() -> Self {
        Self { tags: Tags::default(), rf64_above_bytes: u64::from(u32::MAX) - 1 }
    }
}

/// Payload of a `ds64` chunk without a table: RIFF size, data size, frame count (8 bytes each), table length (4 bytes).
pub(super) const DS64_BYTES: u32 = 28;
/// Where the `ds64` chunk, or the `JUNK` that keeps its place, begins.
pub(super) const DS64_AT: u64 = 12;
/// Stands in a 32-bit size field whose real value is in `ds64`.
pub(super) const SIZE_IN_DS64: u32 = u32::MAX;

/// KSDATAFORMAT_SUBTYPE_PCM and _IEEE_FLOAT share these last 14 bytes; the first two are the plain format tag.
pub(super) const SUBFORMAT_TAIL: [u8; 14] = [0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x80, 0x00, 0x00, 0xAA, 0x00, 0x38, 0x9B, 0x71];

/// Whether there is a place for 64-bit sizes at [`DS64_AT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The file is known to be small: no place, the shortest header.
    None,
    /// Unknown yet: `JUNK` of the size of `ds64`.
    Junk,
    /// RF64.
    Ds64,
}

/// Everything up to and with the size field of `data`.
///
/// With `frames` of sound the sizes are right as they stand; a writer that does not know passes 0 and patches them at the end.
pub(super) fn header(spec: &WavSpec, tags: &Tags, place: Place, frames: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(if place == Place::Ds64 { b"RF64" } else { b"RIFF" });
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(b"WAVE");
    match place {
        Place::None => {}
        Place::Junk => chunk(&mut out, b"JUNK", &[0; DS64_BYTES as usize]),
        Place::Ds64 => chunk(&mut out, b"ds64", &[0; DS64_BYTES as usize]),
    }
    chunk(&mut out, b"fmt ", &format_payload(spec));
    let info = info_payload(tags);
    if !info.is_empty() {
        chunk(&mut out, b"LIST", &info);
    }
    out.extend_from_slice(b"data");
    out.extend_from_slice(&[0; 4]);
    for (at, bytes) in sizes(spec, out.len() as u64, place, frames) {
        // Every place lies inside the header just built.
        let at = at as usize;
        out[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    out
}

/// The size fields of a file of `frames` frames: where each stands and its bytes.
pub(super) fn sizes(spec: &WavSpec, header_bytes: u64, place: Place, frames: u64) -> Vec<(u64, Vec<u8>)> {
    let data = frames * spec.frame_bytes();
    let riff = riff_bytes(spec, header_bytes, frames);
    let data_size_at = header_bytes - 4;
    if place != Place::Ds64 {
        // A caller that leaves Place::Ds64 out has checked that both fit; saturating keeps a broken promise readable.
        let field = |size: u64| u32::try_from(size).unwrap_or(SIZE_IN_DS64).to_le_bytes().to_vec();
        return vec![(4, field(riff)), (data_size_at, field(data))];
    }
    let mut ds64 = Vec::with_capacity(DS64_BYTES as usize);
    for value in [riff, data, frames] {
        ds64.extend_from_slice(&value.to_le_bytes());
    }
    ds64.extend_from_slice(&0u32.to_le_bytes());
    let marker = SIZE_IN_DS64.to_le_bytes().to_vec();
    vec![(4, marker.clone()), (DS64_AT + 8, ds64), (data_size_at, marker)]
}

/// The RIFF size: the file without its first eight bytes, with the pad byte after odd data.
pub(super) fn riff_bytes(spec: &WavSpec, header_bytes: u64, frames: u64) -> u64 {
    let data = frames * spec.frame_bytes();
    header_bytes - 8 + data + data % 2
}

/// WAVEFORMATEX for 16 bit; for more than 16 the format's authors ask for WAVEFORMATEXTENSIBLE.
fn format_payload(spec: &WavSpec) -> Vec<u8> {
    let extensible = spec.depth != BitDepth::Pcm16;
    let frame_bytes = spec.channels * spec.depth.bytes();
    let mut out = Vec::with_capacity(40);
    out.extend_from_slice(&if extensible { 0xFFFEu16 } else { 1 }.to_le_bytes());
    out.extend_from_slice(&spec.channels.to_le_bytes());
    out.extend_from_slice(&spec.rate_hz.to_le_bytes());
    out.extend_from_slice(&(spec.rate_hz * u32::from(frame_bytes)).to_le_bytes());
    out.extend_from_slice(&frame_bytes.to_le_bytes());
    out.extend_from_slice(&spec.depth.bits().to_le_bytes());
    if extensible {
        out.extend_from_slice(&22u16.to_le_bytes());
        out.extend_from_slice(&spec.depth.bits().to_le_bytes());
        // Speaker positions: front centre, or front left and front right.
        out.extend_from_slice(&if spec.channels == 1 { 4u32 } else { 3 }.to_le_bytes());
        out.extend_from_slice(&1u16.to_le_bytes());
        out.extend_from_slice(&SUBFORMAT_TAIL);
    }
    out
}

fn info_payload(tags: &Tags) -> Vec<u8> {
    let fields = [(b"INAM", &tags.title), (b"IART", &tags.artist), (b"ISFT", &tags.software), (b"ICMT", &tags.comment)];
    let mut out = Vec::new();
    for (id, text) in fields {
        let text = text.as_deref().unwrap_or_default();
        // The value ends at its first zero byte, so none may stand inside.
        let text = text.split('\0').next().unwrap_or_default();
        let text = &text[..text.floor_char_boundary(MAX_TAG_BYTES)];
        if text.is_empty() {
            continue;
        }
        if out.is_empty() {
            out.extend_from_slice(b"INFO");
        }
        let mut value = text.as_bytes().to_vec();
        value.push(0);
        chunk(&mut out, id, &value);
    }
    out
}

/// Id, size, payload, and a pad byte after an odd payload that the size does not count.
fn chunk(out: &mut Vec<u8>, id: &[u8; 4], payload: &[u8]) {
    out.extend_from_slice(id);
    // Payloads here are a few kilobytes at most: four tags of MAX_TAG_BYTES.
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(payload);
    if payload.len() % 2 == 1 {
        out.push(0);
    }
}
