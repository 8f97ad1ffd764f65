//! Attention with several heads, and the layer norm around it. Keys have no bias in any Whisper. This file may not know which of the encoder
//! and the decoder it is part of.

use candle_core::{D, Result, Tensor};
use candle_nn::ops;

use super::{ModelError, Precision};
use crate::qwen3_tts::linear::Linear;
use crate::qwen3_tts::weights::At;

const NORM_EPS: f32 = 1e-5;

#[derive(Debug)]
pub(super) struct Norm {
    weight: Tensor,
    bias: Tensor,
}

impl Norm {
    pub(super) fn load(at: &At<'_>, width: usize) -> std::result::Result<Self, ModelError> {
        Ok(Self { weight: at.get("weight", width)?, bias: at.get("bias", width)? })
    }

    pub(super) fn run(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm(&x.contiguous()?, &self.weight, &self.bias, NORM_EPS)
    }
}

#[derive(Debug)]
pub(super) struct Attention {
    q: Box<dyn Linear>,
    k: Box<dyn Linear>,
    v: Box<dyn Linear>,
    out: Box<dyn Linear>,
    heads: usize,
    scale: f64,
}

impl Attention {
    pub(super) fn load(at: &At<'_>, width: usize, heads: usize, precision: Precision) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            q: at.at("q_proj").linear_with_bias(width, width, precision)?,
            k: at.at("k_proj").linear(width, width, precision)?,
            v: at.at("v_proj").linear_with_bias(width, width, precision)?,
            out: at.at("out_proj").linear_with_bias(width, width, precision)?,
            heads,
            scale: ((width / heads) as f64).powf(-0.5),
        })
    }

    /// Rows x width to rows x heads x width of a head.
    fn parted(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        x.reshape((rows, self.heads, width / self.heads))
    }

    /// Queries of `x`, scaled: heads x rows x width of a head.
    pub(super) fn queries(&self, x: &Tensor) -> Result<Tensor> {
        self.parted(&(self.q.block(x)? * self.scale)?)?.transpose(0, 1)?.contiguous()
    }

    /// Keys and values of `x`: rows x heads x width of a head.
    pub(super) fn keys_values(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        Ok((self.parted(&self.k.block(x)?)?, self.parted(&self.v.block(x)?)?))
    }

    /// Queries, keys and values of shape heads x rows x width of a head, to rows x width. One head at a time: all weights of a long window at
    /// once are hundreds of megabytes. `mask` is added to each head's scores; `seen` gets each head's weights (queries x keys).
    pub(super) fn attend(
        &self,
        q: &Tensor,
        (k, v): (&Tensor, &Tensor),
        mask: Option<&Tensor>,
        seen: &mut dyn FnMut(usize, &Tensor),
    ) -> Result<Tensor> {
        let head = |head: usize| -> Result<(Tensor, Tensor)> {
            let scores = q.get(head)?.matmul(&k.get(head)?.t()?)?;
            let scores = mask.map_or_else(|| Ok(scores.clone()), |mask| scores.broadcast_add(mask))?;
            let weights = ops::softmax_last_dim(&scores)?;
            Ok((weights.matmul(&v.get(head)?.contiguous()?)?, weights))
        };
        let mut each = Vec::with_capacity(self.heads);
        for at in 0..self.heads {
            let (made, weights) = head(at)?;
            seen(at, &weights);
            each.push(made);
        }
        self.out.block(&Tensor::cat(&each, D::Minus1)?)
    }
}

/// `fc1`, GELU by the error function, `fc2`.
#[derive(Debug)]
pub(super) struct FeedForward {
    widen: Box<dyn Linear>,
    narrow: Box<dyn Linear>,
}

impl FeedForward {
    pub(super) fn load(at: &At<'_>, width: usize, inner: usize, precision: Precision) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            widen: at.at("fc1").linear_with_bias(width, inner, precision)?,
            narrow: at.at("fc2").linear_with_bias(inner, width, precision)?,
        })
    }

    pub(super) fn run(&self, x: &Tensor) -> Result<Tensor> {
        self.narrow.block(&self.widen.block(x)?.gelu_erf()?)
    }
}
