//! T5 version 1.1 as a translator needs it: the encoder once a sentence, the decoder with a cache of what was said.
//!
//! Source: `transformers` 4.57.3's T5, which MADLAD-400 is published for; parity in `examples/parity`. Shapes (MADLAD-400-3B): hidden 1024,
//! feed-forward 8192, 16 heads of 128, 32 + 32 layers, vocabulary 256,000. This file may not know text.

use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};
use serde::Deserialize;

use super::t5_layers::{Attention, Direction, DistanceBias, FeedForward, Norm, last_row};
use crate::qwen3_tts::config::{read, sizes_within};
use crate::qwen3_tts::kv::KvCache;
use crate::qwen3_tts::linear::{Linear, Precision, load as linear_of};
use crate::qwen3_tts::weights::{At, Weights};
use crate::qwen3_tts::{LoadConfig, ModelError};

/// `config.json`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct T5Config {
    pub vocab_size: usize,
    pub d_model: usize,
    pub d_kv: usize,
    pub d_ff: usize,
    pub num_layers: usize,
    #[serde(default)]
    pub num_decoder_layers: Option<usize>,
    pub num_heads: usize,
    pub relative_attention_num_buckets: usize,
    #[serde(default = "max_distance")]
    pub relative_attention_max_distance: usize,
    #[serde(default = "epsilon")]
    pub layer_norm_epsilon: f32,
    pub feed_forward_proj: String,
    #[serde(default = "yes")]
    pub tie_word_embeddings: bool,
    pub eos_token_id: u32,
    pub pad_token_id: u32,
    #[serde(default)]
    pub decoder_start_token_id: Option<u32>,
}

fn max_distance() -> usize {
    128
}

fn epsilon() -> f32 {
    1e-6
}

fn yes() -> bool {
    true
}

impl T5Config {
    fn check(&self) -> std::result::Result<(), String> {
        sizes_within(&[
            ("vocab_size", self.vocab_size),
            ("d_model", self.d_model),
            ("d_kv", self.d_kv),
            ("d_ff", self.d_ff),
            ("num_layers", self.num_layers),
            ("num_decoder_layers", self.decoder_layers()),
            ("num_heads", self.num_heads),
            ("relative_attention_max_distance", self.relative_attention_max_distance),
        ])?;
        if self.relative_attention_num_buckets < 4 || self.relative_attention_num_buckets >= self.relative_attention_max_distance {
            return Err(format!("relative_attention_num_buckets is {}", self.relative_attention_num_buckets));
        }
        if self.feed_forward_proj != "gated-gelu" {
            return Err(format!("feed_forward_proj {} is not known", self.feed_forward_proj));
        }
        let ids = [self.eos_token_id, self.pad_token_id, self.start_id()];
        if ids.iter().any(|id| *id as usize >= self.vocab_size) {
            return Err("a special token lies outside of the vocabulary".to_owned());
        }
        Ok(())
    }

    fn decoder_layers(&self) -> usize {
        self.num_decoder_layers.unwrap_or(self.num_layers)
    }

    pub(super) fn start_id(&self) -> u32 {
        self.decoder_start_token_id.unwrap_or(self.pad_token_id)
    }
}

#[derive(Debug)]
struct EncoderLayer {
    attention_norm: Norm,
    attention: Attention,
    feed_forward_norm: Norm,
    feed_forward: FeedForward,
}

#[derive(Debug)]
struct DecoderLayer {
    attention_norm: Norm,
    attention: Attention,
    cross_norm: Norm,
    cross: Attention,
    feed_forward_norm: Norm,
    feed_forward: FeedForward,
}

/// A loaded checkpoint.
#[derive(Debug)]
pub struct T5 {
    pub(super) config: T5Config,
    embedding: Tensor,
    encoder: Vec<EncoderLayer>,
    encoder_bias: DistanceBias,
    encoder_norm: Norm,
    decoder: Vec<DecoderLayer>,
    decoder_bias: DistanceBias,
    decoder_norm: Norm,
    head: Box<dyn Linear>,
    bytes: u64,
}

/// What was said of one answer so far, and what it is about.
#[derive(Debug)]
pub struct T5State {
    cache: KvCache,
    /// For each layer, of the encoder's states.
    cross: Vec<(Tensor, Tensor)>,
}

impl T5 {
    /// # Errors
    /// [`ModelError::Folder`] where the folder holds no such checkpoint.
    pub fn load(load: &LoadConfig) -> std::result::Result<Self, ModelError> {
        let config: T5Config = read(&load.folder.join("config.json"))?;
        config.check().map_err(|detail| ModelError::Folder { file: load.folder.join("config.json"), detail })?;
        let weights = Weights::open(&weights_file(&load.folder), &Device::Cpu)?;
        let root = weights.root();
        let shared = ["shared", "decoder.embed_tokens", "encoder.embed_tokens"].into_iter().map(|name| root.at(name));
        let shared = shared.into_iter().find(|at| at.has("weight")).unwrap_or_else(|| root.at("shared"));
        let embedding = shared.get_as_stored("weight", (config.vocab_size, config.d_model))?;
        let (encoder, decoder) = (root.at("encoder"), root.at("decoder"));
        let bias = |at: &At<'_>, direction| DistanceBias::load(&at.at("block.0.layer.0.SelfAttention"), &config, direction);
        let precision = load.precision;
        let head = if config.tie_word_embeddings {
            linear_of(embedding.to_dtype(DType::F32)?, None, precision)?
        } else {
            root.at("lm_head").linear(config.d_model, config.vocab_size, precision)?
        };
        Ok(Self {
            encoder_bias: bias(&encoder, Direction::Both)?,
            decoder_bias: bias(&decoder, Direction::Past)?,
            encoder: (0..config.num_layers)
                .map(|index| EncoderLayer::load(&block(&encoder, index), &config, precision))
                .collect::<std::result::Result<_, _>>()?,
            decoder: (0..config.decoder_layers())
                .map(|index| DecoderLayer::load(&block(&decoder, index), &config, precision))
                .collect::<std::result::Result<_, _>>()?,
            encoder_norm: Norm::load(&encoder.at("final_layer_norm"), &config)?,
            decoder_norm: Norm::load(&decoder.at("final_layer_norm"), &config)?,
            bytes: weights.held_bytes(),
            embedding,
            head,
            config,
        })
    }

    /// What its weights take in memory.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        self.embedding.index_select(&Tensor::new(ids, self.embedding.device())?, 0)?.to_dtype(DType::F32)
    }

    /// States of a source, ids x hidden.
    ///
    /// # Errors
    /// For an id outside of the vocabulary.
    pub fn encode(&self, ids: &[u32]) -> Result<Tensor> {
        let mut x = self.embed(ids)?;
        let bias = self.encoder_bias.of(ids.len(), ids.len())?;
        for layer in &self.encoder {
            let normed = layer.attention_norm.of(&x)?;
            let (k, v) = layer.attention.keys_and_values(&normed)?;
            x = (&x + layer.attention.attend(&normed, &k, &v, Some(&bias))?)?;
            x = (&x + layer.feed_forward.of(&layer.feed_forward_norm.of(&x)?)?)?;
        }
        self.encoder_norm.of(&x)
    }

    /// An answer about `encoded` of at most `capacity` tokens, not begun.
    ///
    /// # Errors
    /// Those of the arithmetic.
    pub fn begin(&self, encoded: &Tensor, capacity: usize) -> Result<T5State> {
        let cross = self.decoder.iter().map(|layer| layer.cross.keys_and_values(encoded)).collect::<Result<_>>()?;
        let (heads, head_dim) = (self.config.num_heads, self.config.d_kv);
        Ok(T5State { cache: KvCache::new(self.decoder.len(), heads, head_dim, capacity, encoded.device())?, cross })
    }

    /// Logits behind each of these tokens, tokens x vocabulary; the first of an answer is the decoder's start token.
    ///
    /// # Errors
    /// Beyond the capacity of the state.
    pub fn step(&self, state: &mut T5State, ids: &[u32]) -> Result<Tensor> {
        self.head.block(&self.states(state, ids)?)
    }

    /// Logits behind the last of these tokens, 1 x vocabulary.
    pub(super) fn last_logits(&self, state: &mut T5State, ids: &[u32]) -> Result<Tensor> {
        self.head.block(&last_row(&self.states(state, ids)?)?)
    }

    fn states(&self, state: &mut T5State, ids: &[u32]) -> Result<Tensor> {
        let mut x = self.embed(ids)?;
        let bias = self.decoder_bias.of(ids.len(), state.cache.len() + ids.len())?;
        for (index, (layer, (k, v))) in self.decoder.iter().zip(&state.cross).enumerate() {
            x = (&x + layer.attention.with_cache(&layer.attention_norm.of(&x)?, &mut state.cache, index, &bias)?)?;
            x = (&x + layer.cross.attend(&layer.cross_norm.of(&x)?, k, v, None)?)?;
            x = (&x + layer.feed_forward.of(&layer.feed_forward_norm.of(&x)?)?)?;
        }
        state.cache.advance(ids.len());
        let x = self.decoder_norm.of(&x)?;
        // T5 1.0 ties the head to the embeddings, and then scales.
        if self.config.tie_word_embeddings { x * (self.config.d_model as f64).powf(-0.5) } else { Ok(x) }
    }

    /// Forgets what was said of an answer.
    pub(super) fn restart(state: &mut T5State) {
        state.cache.clear();
    }
}

fn block<'w>(at: &At<'w>, index: usize) -> At<'w> {
    at.at("block").at(index).at("layer")
}

fn weights_file(folder: &Path) -> std::path::PathBuf {
    folder.join("model.safetensors")
}

impl EncoderLayer {
    fn load(at: &At<'_>, config: &T5Config, precision: Precision) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            attention_norm: Norm::load(&at.at("0.layer_norm"), config)?,
            attention: Attention::load(&at.at("0.SelfAttention"), config, precision)?,
            feed_forward_norm: Norm::load(&at.at("1.layer_norm"), config)?,
            feed_forward: FeedForward::load(&at.at(1), config, precision)?,
        })
    }
}

impl DecoderLayer {
    fn load(at: &At<'_>, config: &T5Config, precision: Precision) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            attention_norm: Norm::load(&at.at("0.layer_norm"), config)?,
            attention: Attention::load(&at.at("0.SelfAttention"), config, precision)?,
            cross_norm: Norm::load(&at.at("1.layer_norm"), config)?,
            cross: Attention::load(&at.at("1.EncDecAttention"), config, precision)?,
            feed_forward_norm: Norm::load(&at.at("2.layer_norm"), config)?,
            feed_forward: FeedForward::load(&at.at(2), config, precision)?,
        })
    }
}
