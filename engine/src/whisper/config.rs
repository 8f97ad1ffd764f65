//! What a Whisper folder says of itself: `config.json` and `generation_config.json`. Every size and id is read; nothing is a constant of the
//! published models. This file may not know tensors.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::ModelError;
use crate::qwen3_tts::config::read;

/// No size of a network is larger: what is above is a broken file.
const MAX_SIZE: usize = 1 << 20;
/// Ten minutes; the published windows are 30 s.
const MAX_SOURCE_POSITIONS: usize = 30_000;
/// Milliseconds that one position of the encoder stands for: two frames of 10 ms.
pub(super) const POSITION_MS: u64 = 20;
/// Samples between two mel frames.
pub(super) const HOP: usize = 160;

/// `config.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct ModelConfig {
    pub vocab_size: usize,
    pub num_mel_bins: usize,
    pub d_model: usize,
    pub encoder_layers: usize,
    pub decoder_layers: usize,
    pub encoder_attention_heads: usize,
    pub decoder_attention_heads: usize,
    pub encoder_ffn_dim: usize,
    pub decoder_ffn_dim: usize,
    pub max_source_positions: usize,
    pub max_target_positions: usize,
    pub decoder_start_token_id: u32,
    pub eos_token_id: u32,
    #[serde(default = "gelu")]
    pub activation_function: String,
    #[serde(default)]
    pub scale_embedding: bool,
    #[serde(default)]
    pub suppress_tokens: Option<Vec<i64>>,
    #[serde(default)]
    pub begin_suppress_tokens: Option<Vec<i64>>,
    #[serde(default = "seven")]
    pub median_filter_width: usize,
}

fn gelu() -> String {
    "gelu".to_owned()
}

fn seven() -> usize {
    7
}

/// `generation_config.json`, as far as it is there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct GenerationConfig {
    /// Layer and head of each head of the decoder that looks where its word is said.
    pub alignment_heads: Option<Vec<(usize, usize)>>,
    pub suppress_tokens: Option<Vec<i64>>,
    pub begin_suppress_tokens: Option<Vec<i64>>,
    pub no_timestamps_token_id: Option<u32>,
    pub prev_sot_token_id: Option<u32>,
    /// `<|en|>` and so on.
    pub lang_to_id: Option<HashMap<String, u32>>,
    /// `transcribe` and `translate`.
    pub task_to_id: Option<HashMap<String, u32>>,
    pub is_multilingual: Option<bool>,
    pub max_initial_timestamp_index: Option<usize>,
}

impl ModelConfig {
    pub(super) fn load(folder: &Path) -> Result<Self, ModelError> {
        let file = folder.join("config.json");
        let config: Self = read(&file)?;
        config.check().map_err(|detail| ModelError::Folder { file, detail })?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("num_mel_bins", self.num_mel_bins),
            ("d_model", self.d_model),
            ("encoder_layers", self.encoder_layers),
            ("decoder_layers", self.decoder_layers),
            ("encoder_attention_heads", self.encoder_attention_heads),
            ("decoder_attention_heads", self.decoder_attention_heads),
            ("encoder_ffn_dim", self.encoder_ffn_dim),
            ("decoder_ffn_dim", self.decoder_ffn_dim),
            ("max_source_positions", self.max_source_positions),
            ("max_target_positions", self.max_target_positions),
        ];
        if let Some((name, size)) = sizes.iter().find(|(_, size)| *size == 0 || *size > MAX_SIZE) {
            return Err(format!("{name} is {size}"));
        }
        let heads = [self.encoder_attention_heads, self.decoder_attention_heads];
        if let Some(heads) = heads.into_iter().find(|heads| !self.d_model.is_multiple_of(*heads)) {
            return Err(format!("d_model {} cannot be shared by {heads} heads", self.d_model));
        }
        if self.max_source_positions > MAX_SOURCE_POSITIONS {
            return Err(format!("max_source_positions is {}", self.max_source_positions));
        }
        if self.max_target_positions < 16 {
            return Err(format!("max_target_positions is {}, too few to write anything", self.max_target_positions));
        }
        if self.activation_function != "gelu" || self.scale_embedding {
            return Err("an activation other than gelu, and scaled embeddings, are in no published Whisper, and not known here".to_owned());
        }
        Ok(())
    }

    /// Mel frames of a window.
    pub fn window_frames(&self) -> usize {
        2 * self.max_source_positions
    }

    pub fn window_samples(&self) -> usize {
        self.window_frames() * HOP
    }
}

impl GenerationConfig {
    pub(super) fn load(folder: &Path) -> Result<Self, ModelError> {
        let file = folder.join("generation_config.json");
        if file.exists() { read(&file) } else { Ok(Self::default()) }
    }

    /// Those of the file that exist in the model, or else every head of the upper half of the decoder, as the reference does.
    pub(super) fn alignment_heads(&self, config: &ModelConfig) -> Vec<(usize, usize)> {
        let exists = |(layer, head): &(usize, usize)| *layer < config.decoder_layers && *head < config.decoder_attention_heads;
        let named: Vec<_> = self.alignment_heads.iter().flatten().copied().filter(exists).collect();
        if !named.is_empty() {
            return named;
        }
        let upper = config.decoder_layers / 2..config.decoder_layers;
        upper.flat_map(|layer| (0..config.decoder_attention_heads).map(move |head| (layer, head))).collect()
    }
}
