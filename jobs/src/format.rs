//! The file formats that callers may ask for, and finished sound in another of them: a merged file is converted once and kept beside the
//! merged one, a chunk each time. This file may not know how a codec works.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Cursor, Seek, Write};
use std::ops::ControlFlow;
use std::path::Path;

use audio::blocks::SampleBlocks;
use audio::decode::{DecodeLimits, MediaDecoder};
use audio::encode::{EncodeConfig, EncodeError, Encoded, Encoding, encode};
use audio::wav::{BitDepth, Tags, WavReader};
use bytes::Bytes;
use storage::blobs::{RenderPart, StoredBlob};
use storage::generations::Generation;
use storage::renders::Render;
use storage::{BlobKey, StorageError};

use crate::Jobs;

/// Good for one voice.
const OPUS_BPS: u32 = 48_000;
/// The smallest that is transparent for speech at 24 kHz.
const MP3_KBPS: u16 = 96;
/// Longer files are merged in the wanted format by a job, and not while a caller waits.
const CONVERTED_MS_MAX: i64 = 2 * 3_600_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AudioFormat {
    Wav,
    Flac,
    /// In Ogg.
    Opus,
    /// With the feature `mp3`.
    Mp3,
}

impl AudioFormat {
    pub const ALL: [Self; 4] = [Self::Wav, Self::Flac, Self::Opus, Self::Mp3];

    /// By the name that callers use; `None` for what this program does not write.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name && format.is_built_in())
    }

    /// What can be asked for, for the text of a refusal.
    pub fn names() -> String {
        let names: Vec<_> = Self::ALL.into_iter().filter(|format| format.is_built_in()).map(Self::name).collect();
        names.join(", ")
    }

    fn of_content_type(content_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.content_type() == content_type)
    }

    /// The name, which is the file's ending too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Flac => "flac",
            Self::Opus => "opus",
            Self::Mp3 => "mp3",
        }
    }

    pub fn content_type(self) -> &'static str {
        self.encoding(BitDepth::Pcm16).content_type()
    }

    /// Where a file of this format stands beside its render.
    pub fn part(self) -> RenderPart {
        match self {
            Self::Wav => RenderPart::Wav,
            Self::Flac => RenderPart::Flac,
            Self::Opus => RenderPart::Opus,
            Self::Mp3 => RenderPart::Mp3,
        }
    }

    pub(crate) fn encoding(self, depth: BitDepth) -> Encoding {
        match self {
            Self::Wav => Encoding::Wav(depth),
            Self::Flac => Encoding::Flac(depth),
            Self::Opus => Encoding::Opus { bitrate_bps: OPUS_BPS },
            Self::Mp3 => Encoding::Mp3 { bitrate_kbps: MP3_KBPS },
        }
    }

    fn is_built_in(self) -> bool {
        self != Self::Mp3 || cfg!(feature = "mp3")
    }
}

/// A file that can be sent as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioFile {
    pub key: BlobKey,
    /// Changes whenever the bytes do.
    pub tag: String,
    pub size_bytes: u64,
    pub format: AudioFormat,
}

/// Why there is no such file.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    #[error("longer than {limit_ms} ms")]
    TooLong { limit_ms: i64 },
    #[error("convert: {0}")]
    Failed(String),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<EncodeError> for ConvertError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::Source(error) | EncodeError::Write(error) => Self::Storage(error.into()),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<io::Error> for ConvertError {
    fn from(error: io::Error) -> Self {
        Self::Storage(error.into())
    }
}

impl Jobs {
    /// A merged file as it was made, or in another format: made on the first call and kept.
    pub async fn audio_file(
        &self,
        generation: &Generation,
        render: &Render,
        wanted: Option<AudioFormat>,
    ) -> Result<AudioFile, ConvertError> {
        let made = AudioFormat::of_content_type(&render.content_type).unwrap_or(AudioFormat::Wav);
        let key = |format: AudioFormat| BlobKey::Render { generation_id: generation.id, render_id: render.id, part: format.part() };
        let StoredBlob { sha256, size_bytes } = &render.blob;
        let wanted = wanted.unwrap_or(made);
        if wanted == made {
            return Ok(AudioFile { key: key(made), tag: sha256.clone(), size_bytes: *size_bytes, format: made });
        }
        // The encoder gives the same bytes for the same samples: the tag needs no second hash.
        let tag = format!("{sha256}-{}", wanted.name());
        let kept = self.storage.blobs.size_bytes(key(wanted)).await;
        let size_bytes = match kept {
            Ok(size_bytes) => size_bytes,
            Err(StorageError::BlobNotFound(_)) if render.duration_ms > CONVERTED_MS_MAX => {
                return Err(ConvertError::TooLong { limit_ms: CONVERTED_MS_MAX });
            }
            Err(StorageError::BlobNotFound(_)) => {
                self.convert_render(key(made), key(wanted), &render.blob, wanted, tags_of(generation)).await?
            }
            Err(error) => return Err(error.into()),
        };
        Ok(AudioFile { key: key(wanted), tag, size_bytes, format: wanted })
    }

    async fn convert_render(
        &self,
        from: BlobKey,
        to: BlobKey,
        stored: &StoredBlob,
        wanted: AudioFormat,
        tags: Tags,
    ) -> Result<u64, ConvertError> {
        // Each holds a thread and two files; who comes later waits, and may find it made.
        let _place = self.converting.acquire().await.map_err(|error| ConvertError::Failed(error.to_string()))?;
        if let Ok(size_bytes) = self.storage.blobs.size_bytes(to).await {
            return Ok(size_bytes);
        }
        let folder = tempfile::tempdir_in(&self.config.temporary_folder)?;
        let (source, target) = (folder.path().join("source"), folder.path().join("target"));
        self.storage.blobs.get_file(from, stored, &source).await?;
        let written = target.clone();
        let converting = tokio::task::spawn_blocking(move || convert_file(&source, &written, wanted, tags));
        converting.await.map_err(|error| ConvertError::Failed(error.to_string()))??;
        Ok(self.storage.blobs.put_file(to, &target).await?.size_bytes)
    }
}

fn convert_file(source: &Path, target: &Path, wanted: AudioFormat, tags: Tags) -> Result<Encoded, ConvertError> {
    let limits = DecodeLimits { max_decoded_ms: CONVERTED_MS_MAX as u64 + 60_000, ..DecodeLimits::default() };
    let input = Box::new(BufReader::with_capacity(256 * 1024, File::open(source)?));
    let decoder = MediaDecoder::open(input, limits).map_err(|error| ConvertError::Failed(error.to_string()))?;
    let writer = BufWriter::with_capacity(256 * 1024, File::create(target)?);
    write_as(Box::new(decoder), wanted, BitDepth::Pcm16, tags, writer, &mut || ControlFlow::Continue(())).map(|(_, encoded)| encoded)
}

/// One chunk's WAV in another format.
pub fn convert_chunk(wav: Bytes, wanted: AudioFormat, tags: Tags) -> Result<Bytes, ConvertError> {
    let reader = WavReader::new(Cursor::new(wav)).map_err(|error| ConvertError::Failed(error.to_string()))?;
    let go_on = &mut || ControlFlow::Continue(());
    let (target, _) = write_as(Box::new(reader), wanted, BitDepth::Pcm16, tags, Cursor::new(Vec::new()), go_on)?;
    Ok(target.into_inner().into())
}

pub(crate) fn write_as<W: Write + Seek>(
    source: Box<dyn SampleBlocks + '_>,
    wanted: AudioFormat,
    depth: BitDepth,
    tags: Tags,
    writer: W,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<(W, Encoded), ConvertError> {
    let config = EncodeConfig { encoding: wanted.encoding(depth), sample_rate_hz: None, tags };
    encode(source, &config, writer, &mut |_| go_on()).map_err(ConvertError::from)
}

/// Who speaks, with what, and that nobody did.
pub fn tags_of(generation: &Generation) -> Tags {
    Tags {
        title: generation.title.clone(),
        artist: generation.voice_name.clone(),
        software: Some(concat!("ClonyVoice ", env!("CARGO_PKG_VERSION")).into()),
        comment: Some("synthetic speech".into()),
    }
}
