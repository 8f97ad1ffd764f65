//! A stack of Qwen3 decoder layers with a cache for each slot; the talker and the predictor are one such stack each.
//!
//! Source: Qwen3 technical report (arXiv 2505.09388): RMS norm before attention and before SwiGLU, RMS norm of each head's query and key,
//! rotate-half RoPE, grouped keys. The talker's three interleaved rotary sections are always at the same position, which is plain RoPE.
//! This file may not know embeddings, codes or sampling.

use candle_core::{D, Device, Result, Tensor};
use candle_nn::{ops, rotary_emb};

use super::ModelError;
use super::config::LayersConfig;
use super::kv::KvCache;
use super::linear::{Linear, Precision};
use super::weights::At;

/// How the rows of a call are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Steps of slots: no row may feel another.
    Rows,
    /// The prompt of one slot.
    Block,
}

/// Consecutive rows of a call that belong to one slot; they are appended to its cache.
#[derive(Debug)]
pub(crate) struct Segment<'c> {
    pub cache: &'c mut KvCache,
    pub rows: usize,
}

#[derive(Debug)]
pub(crate) struct Layers {
    layers: Vec<Layer>,
    norm: Tensor,
    rope: Rope,
    eps: f32,
}

#[derive(Debug)]
struct Layer {
    input_norm: Tensor,
    attention: Attention,
    post_norm: Tensor,
    gate: Box<dyn Linear>,
    up: Box<dyn Linear>,
    down: Box<dyn Linear>,
}

#[derive(Debug)]
struct Attention {
    q: Box<dyn Linear>,
    k: Box<dyn Linear>,
    v: Box<dyn Linear>,
    o: Box<dyn Linear>,
    q_norm: Tensor,
    k_norm: Tensor,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Layers {
    /// `at` holds `layers.N` and `norm`.
    pub(crate) fn load(at: &At<'_>, config: &LayersConfig, precision: Precision) -> std::result::Result<Self, ModelError> {
        let layers = (0..config.num_hidden_layers).map(|index| Layer::load(&at.at("layers").at(index), config, precision));
        Ok(Self {
            layers: layers.collect::<std::result::Result<_, _>>()?,
            norm: at.at("norm").get("weight", config.hidden_size)?,
            rope: Rope::new(config.head_dim, config.rope_theta, config.max_position_embeddings, at.device())?,
            eps: config.rms_norm_eps,
        })
    }

    /// Positions that the rotary table holds.
    pub(crate) fn max_positions(&self) -> usize {
        self.rope.positions
    }

    /// An empty cache for one slot.
    pub(crate) fn cache(&self, capacity: usize) -> Result<KvCache> {
        let attention = self.layers.first().map(|layer| &layer.attention);
        let (kv_heads, head_dim) = attention.map_or((1, 1), |attention| (attention.kv_heads, attention.head_dim));
        KvCache::new(self.layers.len(), kv_heads, head_dim, capacity.min(self.max_positions()), self.norm.device())
    }

    /// `x`: rows x hidden, the segments' rows one after another; gives the normed hidden states of the same shape.
    pub(crate) fn forward(&self, x: &Tensor, segments: &mut [Segment<'_>], how: How) -> Result<Tensor> {
        let positions: Vec<u32> =
            segments.iter().flat_map(|segment| segment.cache.len()..segment.cache.len() + segment.rows).map(|at| at as u32).collect();
        let rotary = self.rope.at(&positions)?;
        let mut x = x.clone();
        for (index, layer) in self.layers.iter().enumerate() {
            let normed = ops::rms_norm(&x, &layer.input_norm, self.eps)?;
            x = (x + layer.attention.forward(&normed, index, segments, &rotary, self.eps, how)?)?;
            let normed = ops::rms_norm(&x, &layer.post_norm, self.eps)?;
            x = (x + layer.feed_forward(&normed, how)?)?;
        }
        for segment in segments {
            segment.cache.advance(segment.rows);
        }
        ops::rms_norm(&x, &self.norm, self.eps)
    }
}

fn multiply(linear: &dyn Linear, x: &Tensor, how: How) -> Result<Tensor> {
    match how {
        How::Rows => linear.rows(x),
        How::Block => linear.block(x),
    }
}

impl Layer {
    fn load(at: &At<'_>, config: &LayersConfig, precision: Precision) -> std::result::Result<Self, ModelError> {
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let mlp = at.at("mlp");
        Ok(Self {
            input_norm: at.at("input_layernorm").get("weight", hidden)?,
            attention: Attention::load(&at.at("self_attn"), config, precision)?,
            post_norm: at.at("post_attention_layernorm").get("weight", hidden)?,
            gate: mlp.at("gate_proj").linear(hidden, wide, precision)?,
            up: mlp.at("up_proj").linear(hidden, wide, precision)?,
            down: mlp.at("down_proj").linear(wide, hidden, precision)?,
        })
    }

    fn feed_forward(&self, x: &Tensor, how: How) -> Result<Tensor> {
        let gate = multiply(self.gate.as_ref(), x, how)?.silu()?;
        let up = multiply(self.up.as_ref(), x, how)?;
        multiply(self.down.as_ref(), &(gate * up)?, how)
    }
}

impl Attention {
    fn load(at: &At<'_>, config: &LayersConfig, precision: Precision) -> std::result::Result<Self, ModelError> {
        let (hidden, head_dim) = (config.hidden_size, config.head_dim);
        let (wide, narrow) = (config.num_attention_heads * head_dim, config.num_key_value_heads * head_dim);
        Ok(Self {
            q: at.at("q_proj").linear(hidden, wide, precision)?,
            k: at.at("k_proj").linear(hidden, narrow, precision)?,
            v: at.at("v_proj").linear(hidden, narrow, precision)?,
            o: at.at("o_proj").linear(wide, hidden, precision)?,
            q_norm: at.at("q_norm").get("weight", head_dim)?,
            k_norm: at.at("k_norm").get("weight", head_dim)?,
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim,
        })
    }

    fn forward(&self, x: &Tensor, layer: usize, segments: &mut [Segment<'_>], rotary: &Rotary, eps: f32, how: How) -> Result<Tensor> {
        let rows = x.dim(0)?;
        let turned = |linear: &dyn Linear, norm: &Tensor, heads: usize| -> Result<Tensor> {
            let heads = multiply(linear, x, how)?.reshape((1, rows, heads, self.head_dim))?;
            rotary_emb::rope_thd(&ops::rms_norm(&heads, norm, eps)?, &rotary.cos, &rotary.sin)?.squeeze(0)
        };
        let q = turned(self.q.as_ref(), &self.q_norm, self.heads)?;
        let k = turned(self.k.as_ref(), &self.k_norm, self.kv_heads)?;
        let v = multiply(self.v.as_ref(), x, how)?.reshape((rows, self.kv_heads, self.head_dim))?;
        let mut mixed = Vec::with_capacity(segments.len());
        let mut start = 0;
        for segment in segments {
            let part = |tensor: &Tensor| tensor.narrow(0, start, segment.rows);
            let (q, k, v) = (part(&q)?, part(&k)?, part(&v)?);
            let (k, v) = segment.cache.append(layer, &k, &v)?;
            mixed.push(self.attend(&q, &k, &v)?);
            start += segment.rows;
        }
        multiply(self.o.as_ref(), &Tensor::cat(&mixed, 0)?, how)
    }

    /// `q`: rows x heads x head_dim, the last rows of the sequence; `k`, `v`: kv_heads x length x head_dim. Heads that share a key sit
    /// beside each other, so they become rows of one product. Gives rows x (heads * head_dim).
    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        let (rows, length) = (q.dim(0)?, k.dim(1)?);
        let group = self.heads / self.kv_heads;
        let q = q.reshape((rows, self.kv_heads, group, self.head_dim))?.permute((1, 2, 0, 3))?;
        let q = q.contiguous()?.reshape((self.kv_heads, group * rows, self.head_dim))?;
        let scores = (q.matmul(&k.transpose(1, 2)?)? * (self.head_dim as f64).powf(-0.5))?;
        let scores = if rows == 1 {
            scores
        } else {
            let scores = scores.reshape((self.kv_heads, group, rows, length))?;
            scores.broadcast_add(&causal_mask(rows, length, q.device())?)?.reshape((self.kv_heads, group * rows, length))?
        };
        let mixed = ops::softmax_last_dim(&scores)?.matmul(v)?;
        let mixed = mixed.reshape((self.kv_heads, group, rows, self.head_dim))?.permute((2, 0, 1, 3))?;
        mixed.contiguous()?.reshape((rows, self.heads * self.head_dim))
    }
}

/// rows x length: the rows are the last of the sequence, and see themselves and what came before.
fn causal_mask(rows: usize, length: usize, device: &Device) -> Result<Tensor> {
    let before = length - rows;
    let seen = |row: usize| (0..length).map(move |at| if at <= before + row { 0.0 } else { f32::NEG_INFINITY });
    Tensor::from_vec((0..rows).flat_map(seen).collect::<Vec<f32>>(), (rows, length), device)
}

/// Cosines and sines of every position, positions x head_dim/2.
#[derive(Debug)]
pub(crate) struct Rope {
    cos: Tensor,
    sin: Tensor,
    positions: usize,
}

/// Those of the rows of one call.
#[derive(Debug)]
pub(crate) struct Rotary {
    pub cos: Tensor,
    pub sin: Tensor,
}

/// No sequence is longer: 65,536 positions are an hour and a half of frames.
const MAX_POSITIONS: usize = 65_536;

impl Rope {
    /// Source: RoFormer (arXiv 2104.09864), angle = position / theta^(2i / head_dim), in f32 as the reference has it.
    pub(crate) fn new(head_dim: usize, theta: f64, positions: usize, device: &Device) -> Result<Self> {
        let positions = positions.clamp(1, MAX_POSITIONS);
        let half = head_dim / 2;
        let rate = |i: usize| 1.0 / (theta as f32).powf((2 * i) as f32 / head_dim as f32);
        let rates: Vec<f32> = (0..half).map(rate).collect();
        let angles: Vec<f32> = (0..positions).flat_map(|at| rates.iter().map(move |rate| at as f32 * rate)).collect();
        let angles = Tensor::from_vec(angles, (positions, half), device)?;
        Ok(Self { cos: angles.cos()?, sin: angles.sin()?, positions })
    }

    pub(crate) fn device(&self) -> &Device {
        self.cos.device()
    }

    /// Fails for a position that the table does not hold.
    pub(crate) fn at(&self, positions: &[u32]) -> Result<Rotary> {
        let at = Tensor::new(positions, self.cos.device())?;
        Ok(Rotary { cos: self.cos.index_select(&at, D::Minus2)?, sin: self.sin.index_select(&at, D::Minus2)? })
    }
}
