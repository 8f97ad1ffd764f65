//! The code predictor: from the talker's state and a first code to the other codes of the frame, one after another.
//!
//! Shapes: hidden 1024, 5 layers, 15 heads of 2,048 codes, 15 embeddings as wide as the talker. Where the talker is wider (1.7B) a
//! projection with a bias narrows its vectors. Reference: `qwen_tts/core/models/modeling_qwen3_tts.py`.
//! This file may not know how a code is chosen from its logits.

use candle_core::{Device, Result, Tensor};

use super::ModelError;
use super::config::TalkerConfig;
use super::kv::KvCache;
use super::layers::{How, Layers, Segment};
use super::linear::{Linear, Precision};
use super::weights::At;

#[derive(Debug)]
pub(super) struct Predictor {
    embeddings: Vec<Tensor>,
    heads: Vec<Box<dyn Linear>>,
    narrow: Option<Box<dyn Linear>>,
    layers: Layers,
}

impl Predictor {
    pub(super) fn load(at: &At<'_>, talker: &TalkerConfig, precision: Precision) -> std::result::Result<Self, ModelError> {
        let config = &talker.code_predictor_config;
        let (hidden, outer) = (config.layers.hidden_size, talker.layers.hidden_size);
        let model = at.at("model");
        let groups = config.num_code_groups - 1;
        let embeddings = (0..groups).map(|group| model.at("codec_embedding").at(group).get("weight", (config.vocab_size, outer)));
        let heads = (0..groups).map(|group| at.at("lm_head").at(group).linear(hidden, config.vocab_size, precision));
        let projection = at.at("small_to_mtp_projection");
        let narrow = projection.has("weight").then(|| projection.linear_with_bias(outer, hidden, precision)).transpose()?;
        if narrow.is_none() && hidden != outer {
            // Loading it names the file and the tensor that is missing.
            projection.linear_with_bias(outer, hidden, precision)?;
        }
        Ok(Self {
            embeddings: embeddings.collect::<std::result::Result<_, _>>()?,
            heads: heads.collect::<std::result::Result<_, _>>()?,
            narrow,
            layers: Layers::load(&model, &config.layers, precision)?,
        })
    }

    fn device(&self) -> Option<&Device> {
        self.embeddings.first().map(Tensor::device)
    }

    /// Embeds codes of the codebook after the first and `group` more: ids x talker hidden.
    pub(super) fn embed(&self, group: usize, ids: &[u32]) -> Result<Tensor> {
        self.embeddings[group].index_select(&Tensor::new(ids, self.device().unwrap_or(&Device::Cpu))?, 0)
    }

    /// A cache for one slot; it holds one frame and is used again for the next.
    pub(super) fn cache(&self) -> Result<KvCache> {
        self.layers.cache(self.heads.len() + 1)
    }

    /// `hidden` and `first` (the embedded first codes): slots x talker hidden, rows in the order of `caches`. `choose` gets the row, the
    /// codebook after the first, and its logits. Gives for each slot the codes after the first.
    pub(super) fn frame(
        &self,
        hidden: &Tensor,
        first: &Tensor,
        caches: &mut [&mut KvCache],
        choose: &mut dyn FnMut(usize, usize, Vec<f32>) -> u32,
    ) -> Result<Vec<Vec<u32>>> {
        let slots = caches.len();
        let mut frames = vec![Vec::with_capacity(self.heads.len()); slots];
        caches.iter_mut().for_each(|cache| cache.clear());
        // Two rows a slot, the slot's rows beside each other: slots x 2 x hidden, flattened.
        let mut input = Tensor::stack(&[hidden, first], 1)?.flatten_to(1)?;
        for (group, head) in self.heads.iter().enumerate() {
            let rows = input.dim(0)? / slots;
            let input_rows = self.narrow.as_ref().map_or_else(|| Ok(input.clone()), |narrow| narrow.rows(&input))?;
            let mut segments: Vec<_> = caches.iter_mut().map(|cache| Segment { cache, rows }).collect();
            let out = self.layers.forward(&input_rows, &mut segments, How::Rows)?;
            let last = out.reshape((slots, rows, ()))?.narrow(1, rows - 1, 1)?.squeeze(1)?.contiguous()?;
            let logits = head.rows(&last)?.to_vec2::<f32>()?;
            let codes: Vec<u32> = logits.into_iter().enumerate().map(|(row, logits)| choose(row, group, logits)).collect();
            frames.iter_mut().zip(&codes).for_each(|(frame, code)| frame.push(*code));
            input = self.embed(group, &codes)?;
        }
        Ok(frames)
    }
}
