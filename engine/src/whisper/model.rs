//! A Whisper folder as one model: `config.json`, `generation_config.json`, `tokenizer.json` and `model.safetensors` as published. It may not
//! know where a folder comes from.

use std::path::Path;

use candle_core::{Device, Tensor};

use super::config::{GenerationConfig, ModelConfig};
use super::decoder::{Decoder, Heard, Looks};
use super::encoder::Encoder;
use super::mel::LogMel;
use super::tokens::Tokens;
use super::{GoOn, ModelError, Precision, TranscribeError};
use crate::qwen3_tts::weights::Weights;

/// A loaded checkpoint.
#[derive(Debug)]
pub struct Whisper {
    pub(super) parts: Parts,
    pub(super) tokens: Tokens,
}

/// The arithmetic alone, for comparisons.
#[derive(Debug)]
pub struct Parts {
    pub config: ModelConfig,
    pub(super) alignment_heads: Vec<(usize, usize)>,
    pub(super) mel: LogMel,
    pub(super) encoder: Encoder,
    pub(super) decoder: Decoder,
    bytes: u64,
}

/// Scores of a text, and where all heads looked.
#[derive(Debug)]
pub struct Read {
    /// Ids x vocabulary.
    pub logits: Vec<Vec<f32>>,
    /// For each layer, head and id, the weights over the encoder's positions.
    pub looks: Vec<Vec<Vec<Vec<f32>>>>,
}

impl Whisper {
    /// # Errors
    /// [`ModelError::Folder`] for what is no such folder.
    pub fn load(folder: &Path, precision: Precision) -> Result<Self, ModelError> {
        let parts = Parts::load(folder, precision)?;
        let generation = GenerationConfig::load(folder)?;
        Ok(Self { tokens: Tokens::load(folder, &parts.config, &generation)?, parts })
    }

    /// Samples of one window.
    pub fn window_samples(&self) -> usize {
        self.parts.config.window_samples()
    }

    /// What its weights take in memory.
    pub fn bytes(&self) -> u64 {
        self.parts.bytes
    }

    /// As the model calls them; empty for a model of one language.
    pub fn languages(&self) -> Vec<String> {
        self.tokens.languages.keys().cloned().collect()
    }
}

impl Parts {
    /// Needs no tokenizer.
    ///
    /// # Errors
    /// [`ModelError::Folder`].
    pub fn load(folder: &Path, precision: Precision) -> Result<Self, ModelError> {
        let config = ModelConfig::load(folder)?;
        let generation = GenerationConfig::load(folder)?;
        let weights = Weights::open(&folder.join("model.safetensors"), &Device::Cpu)?;
        let model = weights.root().at("model");
        let encoder = Encoder::load(&model.at("encoder"), &config, precision)?;
        let decoder = Decoder::load(&model.at("decoder"), &config, precision)?;
        Ok(Self {
            alignment_heads: generation.alignment_heads(&config),
            mel: LogMel::new(config.num_mel_bins, config.window_samples()),
            encoder,
            decoder,
            bytes: weights.held_bytes(),
            config,
        })
    }

    /// Bands x frames of one window.
    pub fn mel(&self, samples: &[f32]) -> Result<Tensor, ModelError> {
        let mel = self.mel.frames(samples).map_err(|error| ModelError::Request(format!("the sound cannot be analysed: {error}")))?;
        Ok(Tensor::from_vec(mel, (self.config.num_mel_bins, self.config.window_frames()), &Device::Cpu)?)
    }

    pub fn mel_filters(&self) -> Vec<Vec<f32>> {
        self.mel.filters()
    }

    /// Positions x width.
    pub fn encode(&self, mel: &Tensor) -> Result<Tensor, ModelError> {
        let mut go_on = || Ok(());
        self.encoder.run::<ModelError>(mel, &mut go_on)
    }

    /// A text over the encoder's states, its ids in calls of `at_once`: the result does not depend on it but for rounding.
    pub fn read(&self, states: &Tensor, ids: &[u32], at_once: usize) -> Result<Read, ModelError> {
        let heard = self.decoder.hear(states)?;
        let mut cache = self.decoder.cache()?;
        let heads = self.config.decoder_attention_heads;
        let all: Vec<(usize, usize)> =
            (0..self.config.decoder_layers).flat_map(|layer| (0..heads).map(move |head| (layer, head))).collect();
        let mut read = Read { logits: Vec::new(), looks: vec![vec![Vec::new(); heads]; self.config.decoder_layers] };
        for part in ids.chunks(at_once.max(1)) {
            let mut looks = Looks::new();
            read.logits.extend(self.decoder.run(part, &heard, &mut cache, &all, &mut looks)?.to_vec2::<f32>()?);
            for ((layer, head), weights) in looks {
                read.looks[layer][head].extend(weights.to_vec2::<f32>()?);
            }
        }
        Ok(read)
    }

    pub(super) fn listen(&self, samples: &[f32], go_on: GoOn<'_>) -> Result<Heard, TranscribeError> {
        let mel = self.mel(samples)?;
        let mut each = || if go_on().is_break() { Err(TranscribeError::Stopped) } else { Ok(()) };
        let states = self.encoder.run(&mel, &mut each)?;
        Ok(self.decoder.hear(&states)?)
    }
}
