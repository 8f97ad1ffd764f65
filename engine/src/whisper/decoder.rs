//! The decoder: ids that are written so far to the scores of the next, with a cache of its own keys and values, and those of the encoder's
//! states computed once for each window. This file may not know what ids mean.

use candle_core::{Device, Result, Tensor};

use super::attention::{Attention, FeedForward, Norm};
use super::config::ModelConfig;
use super::{ModelError, Precision};
use crate::qwen3_tts::kv::KvCache;
use crate::qwen3_tts::linear::{self, Linear};
use crate::qwen3_tts::weights::At;

#[derive(Debug)]
pub(super) struct Decoder {
    tokens: Tensor,
    positions: Tensor,
    layers: Vec<Layer>,
    norm: Norm,
    /// The embedding, turned around.
    scores: Box<dyn Linear>,
    heads: usize,
    width: usize,
    capacity: usize,
}

#[derive(Debug)]
struct Layer {
    norm: Norm,
    own: Attention,
    cross_norm: Norm,
    cross: Attention,
    feed_norm: Norm,
    feed: FeedForward,
}

/// One window as every layer looks at it: keys and values of shape heads x positions x width of a head.
#[derive(Debug)]
pub(super) struct Heard(Vec<(Tensor, Tensor)>);

/// Where heads looked: layer and head, and their weights (ids x positions).
pub(super) type Looks = Vec<((usize, usize), Tensor)>;

impl Decoder {
    pub(super) fn load(at: &At<'_>, config: &ModelConfig, precision: Precision) -> std::result::Result<Self, ModelError> {
        let (width, heads) = (config.d_model, config.decoder_attention_heads);
        let layer = |index: usize| -> std::result::Result<_, ModelError> {
            let at = at.at("layers").at(index);
            Ok(Layer {
                norm: Norm::load(&at.at("self_attn_layer_norm"), width)?,
                own: Attention::load(&at.at("self_attn"), width, heads, precision)?,
                cross_norm: Norm::load(&at.at("encoder_attn_layer_norm"), width)?,
                cross: Attention::load(&at.at("encoder_attn"), width, heads, precision)?,
                feed_norm: Norm::load(&at.at("final_layer_norm"), width)?,
                feed: FeedForward::load(&at, width, config.decoder_ffn_dim, precision)?,
            })
        };
        let tokens = at.at("embed_tokens").get("weight", (config.vocab_size, width))?;
        Ok(Self {
            scores: linear::load(tokens.clone(), None, precision)?,
            tokens,
            positions: at.at("embed_positions").get("weight", (config.max_target_positions, width))?,
            layers: (0..config.decoder_layers).map(layer).collect::<std::result::Result<_, _>>()?,
            norm: Norm::load(&at.at("layer_norm"), width)?,
            heads,
            width,
            capacity: config.max_target_positions,
        })
    }

    /// `states`: positions x width, of the encoder.
    pub(super) fn hear(&self, states: &Tensor) -> Result<Heard> {
        let each = self.layers.iter().map(|layer| {
            let (k, v) = layer.cross.keys_values(states)?;
            Ok((k.transpose(0, 1)?.contiguous()?, v.transpose(0, 1)?.contiguous()?))
        });
        each.collect::<Result<_>>().map(Heard)
    }

    /// Empty, for one text.
    pub(super) fn cache(&self) -> Result<KvCache> {
        KvCache::new(self.layers.len(), self.heads, self.width / self.heads, self.capacity, self.tokens.device())
    }

    /// Appends ids to the text in `cache` and gives the scores after each: ids x vocabulary. What the `wanted` heads looked at goes to
    /// `looks`.
    pub(super) fn run(
        &self,
        ids: &[u32],
        heard: &Heard,
        cache: &mut KvCache,
        wanted: &[(usize, usize)],
        looks: &mut Looks,
    ) -> Result<Tensor> {
        let x = self.states(ids, heard, cache, wanted, looks)?;
        self.scores.block(&x)
    }

    /// As [`Decoder::run`], with the scores after the last id only.
    pub(super) fn next(&self, ids: &[u32], heard: &Heard, cache: &mut KvCache) -> Result<Vec<f32>> {
        let x = self.states(ids, heard, cache, &[], &mut Vec::new())?;
        let last = x.narrow(0, x.dim(0)?.saturating_sub(1), 1)?;
        self.scores.block(&last)?.squeeze(0)?.to_vec1()
    }

    fn states(&self, ids: &[u32], heard: &Heard, cache: &mut KvCache, wanted: &[(usize, usize)], looks: &mut Looks) -> Result<Tensor> {
        let (rows, before) = (ids.len(), cache.len());
        let device = self.tokens.device();
        let embedded = self.tokens.index_select(&Tensor::new(ids, device)?, 0)?;
        let mut x = (embedded + self.positions.narrow(0, before, rows)?)?;
        let mask = if rows > 1 { Some(causal(rows, before, device)?) } else { None };
        for (index, (layer, (keys, values))) in self.layers.iter().zip(&heard.0).enumerate() {
            let normed = layer.norm.run(&x)?;
            let (k, v) = layer.own.keys_values(&normed)?;
            let (k, v) = cache.append(index, &k, &v)?;
            x = (&x + layer.own.attend(&layer.own.queries(&normed)?, (&k, &v), mask.as_ref(), &mut |_, _| {})?)?;
            let normed = layer.cross_norm.run(&x)?;
            let mut seen = |head: usize, weights: &Tensor| {
                if wanted.contains(&(index, head)) {
                    looks.push(((index, head), weights.clone()));
                }
            };
            x = (&x + layer.cross.attend(&layer.cross.queries(&normed)?, (keys, values), None, &mut seen)?)?;
            x = (&x + layer.feed.run(&layer.feed_norm.run(&x)?)?)?;
        }
        cache.advance(rows);
        self.norm.run(&x)
    }
}

/// Rows x (before + rows): nothing that comes later is seen.
fn causal(rows: usize, before: usize, device: &Device) -> Result<Tensor> {
    let values: Vec<f32> =
        (0..rows).flat_map(|row| (0..before + rows).map(move |at| if at > before + row { f32::NEG_INFINITY } else { 0.0 })).collect();
    Tensor::from_vec(values, (rows, before + rows), device)
}
