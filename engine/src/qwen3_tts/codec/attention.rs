//! Self-attention of the codec's two small transformers: causal, without biases, rotate-half RoPE, with or without a window.
//!
//! A stream keeps the keys and values that the window can still see. Tensors are length x hidden. This file may not know norms or
//! feed-forward layers, in which the two differ.

use candle_core::{Device, Result, Tensor};
use candle_nn::{ops, rotary_emb};

use super::conv::{Carry, Kept};
use crate::qwen3_tts::ModelError;
use crate::qwen3_tts::layers::Rope;
use crate::qwen3_tts::weights::At;

/// Sizes of a [`SelfAttention`].
#[derive(Debug, Clone, Copy)]
pub(super) struct AttentionConfig {
    pub hidden: usize,
    pub heads: usize,
    pub head_dim: usize,
    /// A position sees so many, itself included.
    pub window: Option<usize>,
}

#[derive(Debug)]
pub(super) struct SelfAttention {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    config: AttentionConfig,
}

/// Where a chunk is in its stream.
#[derive(Debug)]
pub(super) struct Place<'r> {
    pub rope: &'r Rope,
    /// Of the chunk's first row.
    pub position: usize,
}

impl SelfAttention {
    pub(super) fn load(at: &At<'_>, config: AttentionConfig) -> std::result::Result<Self, ModelError> {
        let (hidden, wide) = (config.hidden, config.heads * config.head_dim);
        Ok(Self {
            q: at.at("q_proj").get("weight", (wide, hidden))?,
            k: at.at("k_proj").get("weight", (wide, hidden))?,
            v: at.at("v_proj").get("weight", (wide, hidden))?,
            o: at.at("o_proj").get("weight", (hidden, wide))?,
            config,
        })
    }

    pub(super) fn push(&self, x: &Tensor, place: &Place<'_>, carry: &mut Carry) -> Result<Tensor> {
        let rows = x.dim(0)?;
        let AttentionConfig { heads, head_dim, .. } = self.config;
        let positions: Vec<u32> = (place.position..place.position + rows).map(|at| at as u32).collect();
        let rotary = place.rope.at(&positions)?;
        let split = |weight: &Tensor| x.matmul(&weight.t()?)?.reshape((1, rows, heads, head_dim));
        let turned = |heads: Tensor| rotary_emb::rope_thd(&heads.contiguous()?, &rotary.cos, &rotary.sin);
        let upright = |heads: Tensor| heads.squeeze(0)?.transpose(0, 1)?.contiguous();
        let q = upright(turned(split(&self.q)?)?)?;
        let k = self.seen(upright(turned(split(&self.k)?)?)?, carry.next())?;
        let v = self.seen(upright(split(&self.v)?)?, carry.next())?;
        let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? * (head_dim as f64).powf(-0.5))?;
        let scores = scores.broadcast_add(&self.mask(rows, k.dim(1)?, x.device())?)?;
        let mixed = ops::softmax_last_dim(&scores)?.matmul(&v)?;
        mixed.transpose(0, 1)?.contiguous()?.reshape((rows, heads * head_dim))?.matmul(&self.o.t()?)
    }

    /// The chunk's keys or values (heads x rows x head_dim) behind those that are still seen.
    fn seen(&self, new: Tensor, kept: &mut Kept) -> Result<Tensor> {
        let joined = match kept.take() {
            Some(before) => Tensor::cat(&[&before, &new], 1)?,
            None => new,
        };
        let length = joined.dim(1)?;
        let keep = self.config.window.map_or(length, |window| (window - 1).min(length));
        *kept = if keep == 0 { None } else { Some(joined.narrow(1, length - keep, keep)?.contiguous()?) };
        Ok(joined)
    }

    /// rows x length; the rows are the last of the keys.
    fn mask(&self, rows: usize, length: usize, device: &Device) -> Result<Tensor> {
        let window = self.config.window.unwrap_or(usize::MAX);
        let hidden = |row: usize| {
            let own = length - rows + row;
            (0..length).map(move |at| if at <= own && own - at < window { 0.0 } else { f32::NEG_INFINITY })
        };
        Tensor::from_vec((0..rows).flat_map(hidden).collect::<Vec<f32>>(), (rows, length), device)
    }
}

/// The scale of a residual, as wide as the network.
pub(super) fn scaled(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    x.broadcast_mul(scale)
}

/// Positions of a codec's rotary table: 21 minutes of frames, 10 of the encoder's steps.
pub(super) const POSITIONS: usize = 16_384;

/// `x W^T + b` for the few layers that have a bias.
#[derive(Debug)]
pub(super) struct Affine {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Affine {
    pub(super) fn load(at: &At<'_>, inputs: usize, outputs: usize) -> std::result::Result<Self, ModelError> {
        Ok(Self { weight: at.get("weight", (outputs, inputs))?, bias: Some(at.get("bias", outputs)?) })
    }

    pub(super) fn without_bias(at: &At<'_>, inputs: usize, outputs: usize) -> std::result::Result<Self, ModelError> {
        Ok(Self { weight: at.get("weight", (outputs, inputs))?, bias: None })
    }

    pub(super) fn run(&self, x: &Tensor) -> Result<Tensor> {
        let y = x.matmul(&self.weight.t()?)?;
        self.bias.as_ref().map_or_else(|| Ok(y.clone()), |bias| y.broadcast_add(bias))
    }
}
