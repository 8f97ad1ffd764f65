//! The talker: text and codes in, the first codebook's logits out; and the embeddings that prompts and frames are made of.
//!
//! Shapes (0.6B / 1.7B): hidden 1024 / 2048, 28 layers, 3,072 codes with the control codes, text 151,936 x 2048 projected to hidden.
//! Reference: `qwen_tts/core/models/modeling_qwen3_tts.py`. This file may not know prompts, sampling or slots.

use candle_core::{DType, Device, Result, Tensor};

use super::ModelError;
use super::config::TalkerConfig;
use super::kv::KvCache;
use super::layers::{How, Layers, Segment};
use super::linear::{Linear, Precision};
use super::predictor::Predictor;
use super::weights::At;

#[derive(Debug)]
pub(super) struct Talker {
    text_embedding: Tensor,
    text_fc1: Box<dyn Linear>,
    text_fc2: Box<dyn Linear>,
    codec_embedding: Tensor,
    layers: Layers,
    codec_head: Box<dyn Linear>,
    pub(super) predictor: Predictor,
}

/// What a pass leaves for the next choice, one row a slot.
#[derive(Debug)]
pub(super) struct Heard {
    /// Last hidden state, normed: slots x hidden.
    pub hidden: Tensor,
    /// Logits of the first codebook: slots x vocab.
    pub logits: Tensor,
}

impl Talker {
    pub(super) fn load(at: &At<'_>, config: &TalkerConfig, precision: Precision) -> std::result::Result<Self, ModelError> {
        let (hidden, text) = (config.layers.hidden_size, config.text_hidden_size);
        let model = at.at("model");
        let projection = at.at("text_projection");
        Ok(Self {
            text_embedding: model.at("text_embedding").get_as_stored("weight", (config.text_vocab_size, text))?,
            // Used once a request, not once a frame: exact costs nothing that is felt.
            text_fc1: projection.at("linear_fc1").linear_with_bias(text, text, Precision::F32)?,
            text_fc2: projection.at("linear_fc2").linear_with_bias(text, hidden, Precision::F32)?,
            codec_embedding: model.at("codec_embedding").get("weight", (config.vocab_size, hidden))?,
            layers: Layers::load(&model, &config.layers, precision)?,
            codec_head: at.at("codec_head").linear(hidden, config.vocab_size, precision)?,
            predictor: Predictor::load(&at.at("code_predictor"), config, precision)?,
        })
    }

    pub(super) fn device(&self) -> &Device {
        self.codec_embedding.device()
    }

    pub(super) fn max_positions(&self) -> usize {
        self.layers.max_positions()
    }

    /// Embeds text ids: ids x hidden.
    pub(super) fn text(&self, ids: &[u32]) -> Result<Tensor> {
        // The table is a third of the small model's weights: it stays as small as it was published.
        let x = self.text_embedding.index_select(&Tensor::new(ids, self.device())?, 0)?.to_dtype(DType::F32)?;
        self.text_fc2.block(&self.text_fc1.block(&x)?.silu()?)
    }

    /// Embeds codes of the first codebook, speakers and control codes: ids x hidden.
    pub(super) fn codes(&self, ids: &[u32]) -> Result<Tensor> {
        self.codec_embedding.index_select(&Tensor::new(ids, self.device())?, 0)
    }

    /// Embeds whole frames (each one code for each codebook): frames x hidden. The embeddings of a frame are added one after another, as
    /// in the reference: another order of the sum changes greedy choices.
    pub(super) fn frames(&self, frames: &[&[u32]]) -> Result<Tensor> {
        let column = |group: usize| frames.iter().map(|frame| frame[group]).collect::<Vec<u32>>();
        let mut sum = self.codes(&column(0))?;
        for group in 1..frames.first().map_or(1, |frame| frame.len()) {
            sum = (sum + self.predictor.embed(group - 1, &column(group))?)?;
        }
        Ok(sum)
    }

    pub(super) fn cache(&self, capacity: usize) -> Result<KvCache> {
        self.layers.cache(capacity)
    }

    /// The prompt of one slot, positions x hidden.
    pub(super) fn prefill(&self, prompt: &Tensor, cache: &mut KvCache) -> Result<Heard> {
        let rows = prompt.dim(0)?;
        let hidden = self.layers.forward(prompt, &mut [Segment { cache, rows }], How::Block)?;
        self.head(hidden.narrow(0, rows - 1, 1)?)
    }

    /// One position of each slot, slots x hidden.
    pub(super) fn step(&self, inputs: &Tensor, caches: &mut [&mut KvCache]) -> Result<Heard> {
        let mut segments: Vec<_> = caches.iter_mut().map(|cache| Segment { cache, rows: 1 }).collect();
        let hidden = self.layers.forward(inputs, &mut segments, How::Rows)?;
        self.head(hidden)
    }

    fn head(&self, hidden: Tensor) -> Result<Heard> {
        let hidden = hidden.contiguous()?;
        Ok(Heard { logits: self.codec_head.rows(&hidden)?, hidden })
    }
}
