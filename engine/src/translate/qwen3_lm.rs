//! Qwen3 as a language model: ids in, logits out, with a cache. The layers are those that Qwen3-TTS has too.
//!
//! Source: Qwen3 technical report (arXiv 2505.09388) and `transformers` 4.57.3; parity in `examples/parity`. Reads published safetensors,
//! whole or in parts, and one GGUF. This file may not know text.

use std::path::{Path, PathBuf};

use candle_core::quantized::QTensor;
use candle_core::{DType, Device, Result, Tensor};
use serde::Deserialize;

use super::gguf::Gguf;
use super::t5_layers::last_row;
use crate::qwen3_tts::config::{LayersConfig, read, sizes_within};
use crate::qwen3_tts::kv::KvCache;
use crate::qwen3_tts::layers::{How, Layers, Segment};
use crate::qwen3_tts::linear::{Linear, Precision, load as linear_of, of_quantised};
use crate::qwen3_tts::weights::Weights;
use crate::qwen3_tts::{LoadConfig, ModelError};

/// Files in so many parts at most.
const PARTS_MAX: usize = 64;

/// `config.json`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Qwen3Config {
    #[serde(flatten)]
    pub layers: LayersConfig,
    pub vocab_size: usize,
    #[serde(default)]
    pub tie_word_embeddings: bool,
}

impl Qwen3Config {
    fn check(&self) -> std::result::Result<(), String> {
        sizes_within(&[("vocab_size", self.vocab_size), ("max_position_embeddings", self.layers.max_position_embeddings)])?;
        self.layers.check()
    }
}

#[derive(Debug)]
enum Embedding {
    /// As published: rows are widened when they are used.
    Stored(Tensor),
    Blocks(QTensor),
}

/// A loaded checkpoint.
#[derive(Debug)]
pub struct Qwen3Lm {
    pub(super) config: Qwen3Config,
    embedding: Embedding,
    layers: Layers,
    head: Box<dyn Linear>,
    bytes: u64,
}

/// What was read and said of one conversation.
#[derive(Debug)]
pub struct Qwen3State(KvCache);

impl Qwen3Lm {
    /// The folder holds one GGUF, or safetensors with `config.json`.
    ///
    /// # Errors
    /// [`ModelError::Folder`] where the folder holds no such checkpoint.
    pub fn load(load: &LoadConfig) -> std::result::Result<Self, ModelError> {
        match gguf_in(&load.folder)? {
            Some(file) => Self::of_gguf(&file, Gguf::open(&file)?, load.precision),
            None => Self::of_safetensors(&load.folder, load.precision),
        }
    }

    pub(super) fn of_gguf(file: &Path, gguf: Gguf, precision: Precision) -> std::result::Result<Self, ModelError> {
        let config = gguf.config()?;
        Self::of(config, file, Weights::of(file, Box::new(gguf), &Device::Cpu), precision)
    }

    fn of_safetensors(folder: &Path, precision: Precision) -> std::result::Result<Self, ModelError> {
        let mut config: Qwen3Config = read(&folder.join("config.json"))?;
        // A sentence and its prompt are short, and the table of angles need not be long.
        config.layers.max_position_embeddings = config.layers.max_position_embeddings.min(8_192);
        let file = folder.join("model.safetensors");
        let parts = if file.exists() { vec![file.clone()] } else { parts_of(folder)? };
        let weights = Weights::open_parts(&file, &parts, &Device::Cpu)?;
        Self::of(config, &folder.join("config.json"), weights, precision)
    }

    fn of(config: Qwen3Config, file: &Path, weights: Weights, precision: Precision) -> std::result::Result<Self, ModelError> {
        config.check().map_err(|detail| ModelError::Folder { file: file.to_owned(), detail })?;
        let (root, model) = (weights.root(), weights.root().at("model"));
        let (hidden, shape) = (config.layers.hidden_size, (config.vocab_size, config.layers.hidden_size));
        let table = model.at("embed_tokens");
        let (embedding, tied) = match table.get_quantised("weight", shape)? {
            Some(blocks) => (Embedding::Blocks(blocks), None),
            None => {
                let stored = table.get_as_stored("weight", shape)?;
                (Embedding::Stored(stored.clone()), Some(stored))
            }
        };
        let head = match (config.tie_word_embeddings, tied) {
            (false, _) => root.at("lm_head").linear(hidden, config.vocab_size, precision)?,
            (true, Some(stored)) => linear_of(stored.to_dtype(DType::F32)?, None, precision)?,
            (true, None) => match table.get_quantised("weight", shape)? {
                Some(blocks) => of_quantised(blocks)?,
                None => return Err(ModelError::Folder { file: file.to_owned(), detail: "has no head".to_owned() }),
            },
        };
        let layers = Layers::load(&model, &config.layers, precision)?;
        Ok(Self { embedding, layers, head, bytes: weights.held_bytes(), config })
    }

    /// What its weights take in memory.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The longest conversation, in tokens.
    pub fn max_positions(&self) -> usize {
        self.layers.max_positions()
    }

    /// A conversation of at most `capacity` tokens, not begun.
    ///
    /// # Errors
    /// Those of the arithmetic.
    pub fn begin(&self, capacity: usize) -> Result<Qwen3State> {
        self.layers.cache(capacity).map(Qwen3State)
    }

    /// Logits behind each of these tokens, tokens x vocabulary.
    ///
    /// # Errors
    /// Beyond the capacity of the state, and for an id outside of the vocabulary.
    pub fn step(&self, state: &mut Qwen3State, ids: &[u32]) -> Result<Tensor> {
        self.head.block(&self.states(state, ids)?)
    }

    /// Logits behind the last of these tokens, 1 x vocabulary.
    pub(super) fn last_logits(&self, state: &mut Qwen3State, ids: &[u32]) -> Result<Tensor> {
        self.head.rows(&last_row(&self.states(state, ids)?)?)
    }

    /// Forgets what was read and said.
    pub(super) fn restart(state: &mut Qwen3State) {
        state.0.clear();
    }

    fn states(&self, state: &mut Qwen3State, ids: &[u32]) -> Result<Tensor> {
        let at = Tensor::new(ids, &Device::Cpu)?;
        let x = match &self.embedding {
            Embedding::Stored(table) => table.index_select(&at, 0)?.to_dtype(DType::F32)?,
            Embedding::Blocks(table) => table.embedding(&at)?,
        };
        let how = if ids.len() == 1 { How::Rows } else { How::Block };
        self.layers.forward(&x, &mut [Segment { cache: &mut state.0, rows: ids.len() }], how)
    }
}

/// The one GGUF of a folder, if it has one.
pub(super) fn gguf_in(folder: &Path) -> std::result::Result<Option<PathBuf>, ModelError> {
    let mut found = with_ending(folder, "gguf")?;
    found.sort();
    match found.len() {
        0 | 1 => Ok(found.pop()),
        count => {
            Err(ModelError::Folder { file: folder.to_owned(), detail: format!("holds {count} GGUF files, and only one can be loaded") })
        }
    }
}

/// The parts of a model that was published in parts.
fn parts_of(folder: &Path) -> std::result::Result<Vec<PathBuf>, ModelError> {
    let mut parts = with_ending(folder, "safetensors")?;
    parts.sort();
    if parts.is_empty() || parts.len() > PARTS_MAX {
        return Err(ModelError::Folder { file: folder.to_owned(), detail: format!("holds {} files of weights", parts.len()) });
    }
    Ok(parts)
}

fn with_ending(folder: &Path, ending: &str) -> std::result::Result<Vec<PathBuf>, ModelError> {
    let bad = |error: std::io::Error| ModelError::Folder { file: folder.to_owned(), detail: error.to_string() };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(bad)? {
        let path = entry.map_err(bad)?.path();
        if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    Ok(found)
}
