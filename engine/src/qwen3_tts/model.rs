//! A checkpoint folder as one model: loading, prompts from recordings, and batches of utterances.
//!
//! The only file that knows all parts. It may not know requests of the server, jobs or where a folder comes from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::ModelError;
use super::batch::{Batch, End, Record, SlotConfig, SlotId};
use super::codec::{DecodeStream, Decoder, DecoderStages, Encoder, EncoderStages};
use super::config::{self, CodecConfig, GenerationConfig, ModelConfig, Variant};
use super::device;
use super::linear::Precision;
use super::prompt::{Builder, ClonePrompt, Prompt, PromptRequest, Reference};
use super::sampling::Sampling;
use super::speaker::{Ecapa, LogMel};
use super::talker::Talker;
use super::text_ids::TextIds;
use super::weights::Weights;

/// What to load, and how.
#[derive(Debug, Clone)]
pub struct LoadConfig {
    /// Laid out as the published repositories.
    pub folder: PathBuf,
    pub precision: Precision,
}

/// Recordings longer than this are cut by the caller, in seconds: attention over it grows with its square.
pub const MAX_REFERENCE_S: usize = 120;

/// A loaded checkpoint.
#[derive(Debug)]
pub struct Model {
    config: ModelConfig,
    generation: GenerationConfig,
    codec_config: CodecConfig,
    text_ids: TextIds,
    talker: Arc<Talker>,
    decoder: Arc<Decoder>,
    encoder: Encoder,
    speaker: Option<(LogMel, Ecapa)>,
    weight_bytes: u64,
}

/// One utterance, all of it at once.
#[derive(Debug, Clone)]
pub struct Utterance {
    pub frames: Vec<Vec<u32>>,
    pub end: End,
    /// With [`SlotConfig::record`].
    pub record: Option<Record>,
}

impl Model {
    pub fn load(load: &LoadConfig) -> Result<Self, ModelError> {
        Self::load_from(load, &|file, device| Weights::open(file, device))
    }

    /// Of the folder's sizes, with weights that mean nothing and need no file: to be measured where the real ones are not at hand.
    pub fn made_up(load: &LoadConfig) -> Result<Self, ModelError> {
        Self::load_from(load, &|_, device| Ok(Weights::made_up(device)))
    }

    fn load_from(load: &LoadConfig, open: &dyn Fn(&Path, &Device) -> Result<Weights, ModelError>) -> Result<Self, ModelError> {
        let device = device::best();
        let folder = &load.folder;
        let bad = |file: PathBuf| move |detail: String| ModelError::Folder { file, detail };
        let config: ModelConfig = config::read(&folder.join("config.json"))?;
        config.check().map_err(bad(folder.join("config.json")))?;
        let generation = folder.join("generation_config.json");
        let generation = if generation.exists() { config::read(&generation)? } else { GenerationConfig::default() };
        let codec_folder = folder.join("speech_tokenizer");
        let codec_config: CodecConfig = config::read(&codec_folder.join("config.json"))?;
        codec_config.check().map_err(bad(codec_folder.join("config.json")))?;
        let weights = open(&folder.join("model.safetensors"), &device)?;
        let codec = open(&codec_folder.join("model.safetensors"), &device)?;
        let speaker = match (&config.speaker_encoder_config, config.tts_model_type) {
            (Some(speaker), Variant::Base) => {
                let mel = LogMel::new(speaker.sample_rate, speaker.mel_dim);
                Some((mel, Ecapa::load(&weights.root().at("speaker_encoder"), speaker)?))
            }
            _ => None,
        };
        let text_ids = TextIds::load(folder)?;
        let talker = Arc::new(Talker::load(&weights.root().at("talker"), &config.talker_config, load.precision)?);
        let decoder = Arc::new(Decoder::load(&codec.root().at("decoder"), &codec_config.decoder_config)?);
        let encoder = Encoder::load(&codec.root().at("encoder"), &codec_config)?;
        let weight_bytes = weights.held_bytes() + codec.held_bytes();
        Ok(Self { config, generation, codec_config, text_ids, talker, decoder, encoder, speaker, weight_bytes })
    }

    /// What the weights take in memory; caches and activations come on top.
    pub fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    pub fn generation(&self) -> &GenerationConfig {
        &self.generation
    }

    /// Samples in a second, in and out.
    pub fn sample_rate_hz(&self) -> u32 {
        self.codec_config.output_sample_rate
    }

    pub fn samples_per_frame(&self) -> usize {
        self.codec_config.decode_upsample_rate
    }

    /// As `generation_config.json` says, with a seed and a limit.
    pub fn slot_config(&self, seed: u64, max_frames: usize) -> SlotConfig {
        let generation = &self.generation;
        let first = Sampling {
            sample: generation.do_sample,
            temperature: generation.temperature.max(1e-4),
            top_k: generation.top_k,
            top_p: generation.top_p,
        };
        let others = Sampling {
            sample: generation.subtalker_dosample,
            temperature: generation.subtalker_temperature.max(1e-4),
            top_k: generation.subtalker_top_k,
            top_p: generation.subtalker_top_p,
        };
        let repetition_penalty = generation.repetition_penalty;
        SlotConfig { seed, first, others, repetition_penalty, max_frames, watch: true, record: false }
    }

    fn builder(&self) -> Builder<'_> {
        Builder { config: &self.config, text_ids: &self.text_ids, talker: &self.talker }
    }

    /// What a recording (24 kHz mono) becomes, to be kept with the voice. With the text that is said in it the likeness is better.
    pub fn clone_prompt(&self, samples: &[f32], text: Option<&str>) -> Result<ClonePrompt, ModelError> {
        let reference = match text {
            Some(text) => Some(Reference { text: text.to_owned(), codes: self.encode(samples)? }),
            None => None,
        };
        Ok(ClonePrompt { x_vector: self.x_vector(samples)?, reference })
    }

    fn check_length(&self, samples: &[f32]) -> Result<(), ModelError> {
        if samples.len() > MAX_REFERENCE_S * self.sample_rate_hz() as usize {
            return Err(ModelError::Request(format!("the recording is longer than {MAX_REFERENCE_S} s")));
        }
        Ok(())
    }

    /// The speaker of a recording.
    pub fn x_vector(&self, samples: &[f32]) -> Result<Vec<f32>, ModelError> {
        let Some((_, ecapa)) = &self.speaker else {
            return Err(ModelError::Request("this checkpoint cannot clone".to_owned()));
        };
        let mel = self.mel(samples)?;
        if mel.len() < ecapa.least_frames() {
            return Err(ModelError::Request("the recording is too short".to_owned()));
        }
        let bands = mel.first().map_or(0, Vec::len);
        let flat: Vec<f32> = mel.concat();
        let mel = Tensor::from_vec(flat, (mel.len(), bands), self.talker.device())?.t()?.contiguous()?;
        Ok(ecapa.run(&mel)?)
    }

    /// Log-mel frames of a recording.
    pub fn mel(&self, samples: &[f32]) -> Result<Vec<Vec<f32>>, ModelError> {
        self.check_length(samples)?;
        let Some((mel, _)) = &self.speaker else {
            return Err(ModelError::Request("this checkpoint cannot clone".to_owned()));
        };
        mel.frames(samples)
    }

    /// Frames of codes of a recording.
    pub fn encode(&self, samples: &[f32]) -> Result<Vec<Vec<u32>>, ModelError> {
        self.check_length(samples)?;
        self.encoder.encode(samples)
    }

    /// Samples of frames.
    pub fn decode(&self, frames: &[Vec<u32>]) -> Result<Vec<f32>, ModelError> {
        self.decoder.decode(frames)
    }

    /// Samples as frames come.
    pub fn decode_stream(&self) -> DecodeStream {
        DecodeStream::new(Arc::clone(&self.decoder))
    }

    /// Slots over this model, none yet.
    pub fn batch(&self) -> Batch {
        Batch::new(Arc::clone(&self.talker), self.config.talker_config.codec_eos_token_id)
    }

    /// Reads a prompt into a new slot of a batch of this model.
    pub fn join(&self, batch: &mut Batch, request: &PromptRequest<'_>, slot: SlotConfig) -> Result<SlotId, ModelError> {
        batch.join(&self.builder().build(request)?, slot)
    }

    /// A prompt, to be joined later.
    pub(super) fn prompt(&self, request: &PromptRequest<'_>) -> Result<Prompt, ModelError> {
        self.builder().build(request)
    }

    /// One utterance by itself.
    pub fn utter(&self, request: &PromptRequest<'_>, slot: SlotConfig) -> Result<Utterance, ModelError> {
        self.utter_prompt(&self.builder().build(request)?, slot)
    }

    fn utter_prompt(&self, prompt: &Prompt, slot: SlotConfig) -> Result<Utterance, ModelError> {
        let mut batch = self.batch();
        let id = batch.join(prompt, slot)?;
        let mut frames = Vec::new();
        loop {
            for progress in batch.step()? {
                frames.extend(progress.frame);
                if let Some(end) = progress.end {
                    return Ok(Utterance { frames, end, record: batch.leave(id) });
                }
            }
        }
    }
}

/// What parity looks at: the parts by themselves.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'m>(&'m Model);

/// Embeddings of a prompt, rows x hidden each.
#[derive(Debug, Clone)]
pub struct PromptParts {
    pub prefill: Tensor,
    pub trailing: Tensor,
    pub pad: Tensor,
}

impl Model {
    pub fn parts(&self) -> Parts<'_> {
        Parts(self)
    }
}

impl Parts<'_> {
    pub fn text_ids(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        self.0.builder().text_ids(text)
    }

    pub fn reference_ids(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        self.0.builder().reference_ids(text)
    }

    pub fn instruct_ids(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        self.0.builder().instruct_ids(text)
    }

    pub fn prompt(&self, request: &PromptRequest<'_>) -> Result<PromptParts, ModelError> {
        let Prompt { prefill, trailing, pad } = self.0.builder().build(request)?;
        Ok(PromptParts { prefill, trailing, pad })
    }

    /// The talker's logits after a prompt and these frames, in one pass without what earlier steps left in a cache.
    pub fn logits(&self, request: &PromptRequest<'_>, frames: &[Vec<u32>]) -> Result<Vec<f32>, ModelError> {
        let talker = &self.0.talker;
        let Prompt { prefill, trailing, pad } = self.0.builder().build(request)?;
        let mut rows = vec![prefill];
        for (at, frame) in frames.iter().enumerate() {
            let text = if at < trailing.dim(0)? { trailing.narrow(0, at, 1)? } else { pad.clone() };
            rows.push((talker.frames(&[frame.as_slice()])? + text)?);
        }
        let all = Tensor::cat(&rows, 0)?;
        let mut cache = talker.cache(all.dim(0)?)?;
        Ok(talker.prefill(&all, &mut cache)?.logits.squeeze(0)?.to_vec1()?)
    }

    /// What SEANet, the transformer and the downsampling of the codec's encoder give, hidden x steps each.
    pub fn encoder(&self, samples: &[f32]) -> Result<[Tensor; 3], ModelError> {
        let EncoderStages { seanet, transformer, downsample, .. } = self.0.encoder.stages(samples)?;
        Ok([seanet, transformer, downsample])
    }

    /// What the codec's decoder gives after its codebooks (dim x frames), its first convolution and its transformer (frames x latent), and
    /// the samples of one pass over all frames.
    pub fn decoder(&self, frames: &[Vec<u32>]) -> Result<([Tensor; 3], Vec<f32>), ModelError> {
        let DecoderStages { quantized, pre_conv, pre_transformer, wav } = self.0.decoder.stages(frames)?;
        Ok(([quantized, pre_conv, pre_transformer], wav))
    }

    /// Samples in the reference's way of decoding, chunk by chunk with a context; the reference takes 300 frames and 25.
    pub fn decode_chunked(&self, frames: &[Vec<u32>], chunk: usize, context: usize) -> Result<Vec<f32>, ModelError> {
        self.0.decoder.decode_chunked(frames, chunk, context)
    }
}

/// Whether a folder looks like a checkpoint of this family, without reading weights.
pub fn describe(folder: &Path) -> Result<ModelConfig, ModelError> {
    let config: ModelConfig = config::read(&folder.join("config.json"))?;
    config.check().map_err(|detail| ModelError::Folder { file: folder.join("config.json"), detail })?;
    Ok(config)
}
