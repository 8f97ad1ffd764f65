//! The parts of a T5: attention without scaling, biases by distance, RMS norms, a gated feed-forward.
//!
//! Source: T5 (arXiv 1910.10683) version 1.1 and `transformers` 4.57.3's T5. The decoder's biases are unidirectional: all buckets are for the
//! past, the first half of them for one distance each. This file may not know vocabularies.

use candle_core::{D, Result, Tensor};
use candle_nn::ops;

use super::t5::T5Config;
use crate::qwen3_tts::ModelError;
use crate::qwen3_tts::kv::KvCache;
use crate::qwen3_tts::linear::{Linear, Precision};
use crate::qwen3_tts::weights::At;

/// Which positions a stack may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// The encoder: before and behind.
    Both,
    /// The decoder: itself and before.
    Past,
}

/// The table of biases: buckets x heads.
#[derive(Debug)]
pub(super) struct DistanceBias {
    table: Tensor,
    buckets: usize,
    max_distance: usize,
    direction: Direction,
}

impl DistanceBias {
    /// `at` holds the table as `relative_attention_bias`.
    pub(super) fn load(at: &At<'_>, config: &T5Config, direction: Direction) -> std::result::Result<Self, ModelError> {
        let buckets = config.relative_attention_num_buckets;
        Ok(Self {
            table: at.at("relative_attention_bias").get("weight", (buckets, config.num_heads))?,
            buckets,
            max_distance: config.relative_attention_max_distance,
            direction,
        })
    }

    /// heads x rows x length, for the last `rows` positions of `length`. What may not be seen is minus infinity.
    pub(super) fn of(&self, rows: usize, length: usize) -> Result<Tensor> {
        let before = length - rows;
        let ids: Vec<u32> =
            (before..length).flat_map(|at| (0..length).map(move |seen| (at, seen))).map(|(at, seen)| self.bucket(at, seen)).collect();
        let ids = Tensor::new(ids, self.table.device())?;
        let biases = self.table.index_select(&ids, 0)?.reshape((rows, length, self.table.dim(1)?))?.permute((2, 0, 1))?.contiguous()?;
        if self.direction == Direction::Both || rows == 1 {
            return Ok(biases);
        }
        let seen = |row: usize| (0..length).map(move |at| if at <= before + row { 0.0 } else { f32::NEG_INFINITY });
        let mask = Tensor::from_vec((0..rows).flat_map(seen).collect::<Vec<f32>>(), (1, rows, length), self.table.device())?;
        biases.broadcast_add(&mask)
    }

    fn bucket(&self, at: usize, seen: usize) -> u32 {
        bucket(at, seen, self.buckets, self.max_distance, self.direction) as u32
    }
}

/// Small distances have a bucket each; larger ones share buckets that grow with the logarithm, up to `max_distance`.
fn bucket(at: usize, seen: usize, buckets: usize, max_distance: usize, direction: Direction) -> usize {
    let (first, buckets, distance) = match direction {
        Direction::Both => (if seen > at { buckets / 2 } else { 0 }, buckets / 2, at.abs_diff(seen)),
        Direction::Past => (0, buckets, at.saturating_sub(seen)),
    };
    let exact = buckets / 2;
    if distance < exact {
        return first + distance;
    }
    // In f32, as the reference has it.
    let share = (distance as f32 / exact as f32).ln() / (max_distance as f32 / exact as f32).ln();
    let large = exact + (share * (buckets - exact) as f32) as usize;
    first + large.min(buckets - 1)
}

#[derive(Debug)]
pub(super) struct Attention {
    q: Box<dyn Linear>,
    k: Box<dyn Linear>,
    v: Box<dyn Linear>,
    o: Box<dyn Linear>,
    heads: usize,
    head_dim: usize,
}

impl Attention {
    pub(super) fn load(at: &At<'_>, config: &T5Config, precision: Precision) -> std::result::Result<Self, ModelError> {
        let (hidden, wide) = (config.d_model, config.num_heads * config.d_kv);
        Ok(Self {
            q: at.at("q").linear(hidden, wide, precision)?,
            k: at.at("k").linear(hidden, wide, precision)?,
            v: at.at("v").linear(hidden, wide, precision)?,
            o: at.at("o").linear(wide, hidden, precision)?,
            heads: config.num_heads,
            head_dim: config.d_kv,
        })
    }

    /// rows x heads x head_dim.
    fn heads_of(&self, linear: &dyn Linear, x: &Tensor) -> Result<Tensor> {
        linear.block(x)?.reshape((x.dim(0)?, self.heads, self.head_dim))
    }

    /// Keys and values of what is looked at: heads x length x head_dim each.
    pub(super) fn keys_and_values(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let turned = |linear: &dyn Linear| self.heads_of(linear, x)?.transpose(0, 1)?.contiguous();
        Ok((turned(self.k.as_ref())?, turned(self.v.as_ref())?))
    }

    /// `x`: rows x hidden, appended to the cache of this layer.
    pub(super) fn with_cache(&self, x: &Tensor, cache: &mut KvCache, layer: usize, bias: &Tensor) -> Result<Tensor> {
        let (k, v) = (self.heads_of(self.k.as_ref(), x)?, self.heads_of(self.v.as_ref(), x)?);
        let (k, v) = cache.append(layer, &k, &v)?;
        self.attend(x, &k, &v, Some(bias))
    }

    /// `x`: rows x hidden; `bias`: heads x rows x length.
    pub(super) fn attend(&self, x: &Tensor, k: &Tensor, v: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let rows = x.dim(0)?;
        let q = self.heads_of(self.q.as_ref(), x)?.transpose(0, 1)?.contiguous()?;
        let scores = q.matmul(&k.transpose(1, 2)?)?;
        let scores = bias.map_or_else(|| Ok(scores.clone()), |bias| scores.broadcast_add(bias))?;
        let mixed = ops::softmax_last_dim(&scores)?.matmul(v)?;
        self.o.block(&mixed.transpose(0, 1)?.contiguous()?.reshape((rows, self.heads * self.head_dim))?)
    }
}

/// A norm, and what comes behind it is added to what was in front.
#[derive(Debug)]
pub(super) struct Norm {
    weight: Tensor,
    eps: f32,
}

impl Norm {
    /// `at` holds `weight`.
    pub(super) fn load(at: &At<'_>, config: &T5Config) -> std::result::Result<Self, ModelError> {
        Ok(Self { weight: at.get("weight", config.d_model)?, eps: config.layer_norm_epsilon })
    }

    pub(super) fn of(&self, x: &Tensor) -> Result<Tensor> {
        ops::rms_norm(&x.contiguous()?, &self.weight, self.eps)
    }
}

#[derive(Debug)]
pub(super) struct FeedForward {
    gate: Box<dyn Linear>,
    up: Box<dyn Linear>,
    down: Box<dyn Linear>,
}

impl FeedForward {
    /// `at` holds `DenseReluDense`, whose name is older than its gate.
    pub(super) fn load(at: &At<'_>, config: &T5Config, precision: Precision) -> std::result::Result<Self, ModelError> {
        let (hidden, wide) = (config.d_model, config.d_ff);
        let at = at.at("DenseReluDense");
        Ok(Self {
            gate: at.at("wi_0").linear(hidden, wide, precision)?,
            up: at.at("wi_1").linear(hidden, wide, precision)?,
            down: at.at("wo").linear(wide, hidden, precision)?,
        })
    }

    pub(super) fn of(&self, x: &Tensor) -> Result<Tensor> {
        // The tanh form of GELU, "gelu_new".
        let gate = self.gate.block(x)?.gelu()?;
        self.down.block(&(gate * self.up.block(x)?)?)
    }
}

/// The last row of rows x hidden, as one row.
pub(super) fn last_row(x: &Tensor) -> Result<Tensor> {
    let rows = x.dim(D::Minus2)?;
    x.narrow(D::Minus2, rows - 1, 1)?.contiguous()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_the_reference() {
        // `T5Attention._relative_position_bucket(torch.arange(-20, 1), bidirectional=False, num_buckets=8, max_distance=16)`, from distance 0.
        let past: Vec<usize> = (0..=20).map(|distance| bucket(20, 20 - distance, 8, 16, Direction::Past)).collect();
        assert_eq!(past, [0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7]);
        let both: Vec<usize> = (0..=12).map(|seen| bucket(6, seen, 8, 16, Direction::Both)).collect();
        assert_eq!(both, [3, 2, 2, 2, 2, 1, 0, 5, 6, 6, 6, 6, 7]);
        // The published 32 buckets: both directions agree up to a distance of 8 only.
        let differ = (0..40)
            .find(|distance| bucket(40, 40 - distance, 32, 128, Direction::Past) != bucket(40, 40 - distance, 32, 128, Direction::Both));
        assert_eq!(differ, Some(9));
    }
}
