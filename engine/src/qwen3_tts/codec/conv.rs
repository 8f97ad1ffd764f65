//! Convolutions of the codec: how a kernel is padded, and what a stream keeps between two chunks.
//!
//! Causal ones see only what came before: a stream keeps the last columns of its input, and an empty stream keeps zeros, which is the
//! reference's padding. Tensors are channels x length. This file may not know which network it serves.

use candle_core::{DType, Result, Tensor};

use super::tap_product::{Taps, product};
use crate::qwen3_tts::ModelError;
use crate::qwen3_tts::weights::At;

/// What a stream keeps of one layer; `None` before the first chunk.
pub(super) type Kept = Option<Tensor>;

/// What a stream keeps of all its layers, handed out in the order in which a chunk passes them.
#[derive(Debug, Default)]
pub(super) struct Carry {
    kept: Vec<Kept>,
    next: usize,
}

impl Carry {
    /// Call before each chunk.
    pub(super) fn rewind(&mut self) {
        self.next = 0;
    }

    pub(super) fn next(&mut self) -> &mut Kept {
        if self.next == self.kept.len() {
            self.kept.push(None);
        }
        self.next += 1;
        &mut self.kept[self.next - 1]
    }
}

/// Sizes of a [`Conv`].
#[derive(Debug, Clone, Copy)]
pub(in crate::qwen3_tts) struct ConvConfig {
    pub inputs: usize,
    pub outputs: usize,
    pub kernel: usize,
    pub dilation: usize,
    pub stride: usize,
    pub bias: bool,
}

impl ConvConfig {
    pub(in crate::qwen3_tts) fn new(inputs: usize, outputs: usize, kernel: usize) -> Self {
        Self { inputs, outputs, kernel, dilation: 1, stride: 1, bias: true }
    }
}

/// A dense convolution. Its stored weight is outputs x inputs x kernel; it is kept as kernel x outputs x inputs.
#[derive(Debug)]
pub(in crate::qwen3_tts) struct Conv {
    weight: Tensor,
    bias: Tensor,
    config: ConvConfig,
}

impl Conv {
    pub(in crate::qwen3_tts) fn load(at: &At<'_>, config: ConvConfig) -> std::result::Result<Self, ModelError> {
        let weight = at.get("weight", (config.outputs, config.inputs, config.kernel))?.permute((2, 0, 1))?.contiguous()?;
        let bias = if config.bias { at.get("bias", config.outputs)? } else { Tensor::zeros(config.outputs, DType::F32, at.device())? };
        Ok(Self { weight, bias, config })
    }

    /// Columns before a result that it sees.
    fn span(&self) -> usize {
        (self.config.kernel - 1) * self.config.dilation
    }

    /// Over an input that was padded by the caller.
    pub(in crate::qwen3_tts) fn run(&self, padded: &Tensor) -> Result<Tensor> {
        let outputs = (padded.dim(1)?.saturating_sub(self.span() + 1)) / self.config.stride + 1;
        product(padded, &self.weight, &self.bias, Taps { dilation: self.config.dilation, stride: self.config.stride, outputs })
    }

    /// The next chunk of a stream; stride 1.
    pub(super) fn push(&self, x: &Tensor, kept: &mut Kept) -> Result<Tensor> {
        self.run(&behind(x, self.span(), kept)?)
    }

    /// A whole signal, padded before it as Mimi does: by the span less what the stride leaves, and behind it until the last step is full.
    pub(super) fn whole(&self, x: &Tensor, pad: Pad) -> Result<Tensor> {
        let before = (self.span() + 1).saturating_sub(self.config.stride);
        let length = x.dim(1)?;
        let steps = length.div_ceil(self.config.stride).max(1);
        let after = (steps - 1) * self.config.stride + self.span() + 1 - before;
        self.run(&padded(x, before, after.saturating_sub(length), pad)?)
    }
}

/// With what a signal is made longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pad {
    Zeros,
    /// The first and the last column again.
    Edge,
}

fn padded(x: &Tensor, before: usize, after: usize, pad: Pad) -> Result<Tensor> {
    match pad {
        Pad::Zeros => x.pad_with_zeros(1, before, after),
        Pad::Edge => x.pad_with_same(1, before, after),
    }
}

/// `x` with the `span` columns that came before it, which are replaced by its own last ones.
fn behind(x: &Tensor, span: usize, kept: &mut Kept) -> Result<Tensor> {
    if span == 0 {
        return Ok(x.clone());
    }
    let joined = match kept.take() {
        Some(before) => Tensor::cat(&[&before, x], 1)?,
        None => x.pad_with_zeros(1, span, 0)?,
    };
    *kept = Some(joined.narrow(1, joined.dim(1)? - span, span)?.contiguous()?);
    Ok(joined)
}

/// A causal transposed convolution: each column becomes `stride` columns, and what a kernel longer than that would add behind the end is
/// left away. The kernel is a whole number of strides.
#[derive(Debug)]
pub(super) struct Widen {
    /// (kernel / stride) x (outputs * stride) x inputs, the latest column's part last.
    weight: Tensor,
    /// outputs * stride.
    bias: Tensor,
    outputs: usize,
    stride: usize,
}

impl Widen {
    /// Its stored weight is inputs x outputs x kernel.
    pub(super) fn load(at: &At<'_>, inputs: usize, outputs: usize, kernel: usize, stride: usize) -> std::result::Result<Self, ModelError> {
        let parts = kernel / stride;
        let weight = at.get("weight", (inputs, outputs, kernel))?.reshape((inputs, outputs, parts, stride))?;
        // Part p meets the column p steps ago: reversed, so that the kernel runs forward like every other.
        let order: Vec<u32> = (0..parts as u32).rev().collect();
        let weight = weight.permute((2, 1, 3, 0))?.contiguous()?.index_select(&Tensor::new(order, at.device())?, 0)?;
        let bias = at.get("bias", outputs)?.unsqueeze(1)?.broadcast_as((outputs, stride))?.contiguous()?.flatten_all()?;
        Ok(Self { weight: weight.reshape((parts, outputs * stride, inputs))?.contiguous()?, bias, outputs, stride })
    }

    pub(super) fn push(&self, x: &Tensor, kept: &mut Kept) -> Result<Tensor> {
        let length = x.dim(1)?;
        let parts = self.weight.dim(0)?;
        let joined = behind(x, parts - 1, kept)?;
        let y = product(&joined, &self.weight, &self.bias, Taps { dilation: 1, stride: 1, outputs: length })?;
        let y = y.reshape((self.outputs, self.stride, length))?.transpose(1, 2)?;
        y.contiguous()?.reshape((self.outputs, self.stride * length))
    }
}

/// A causal convolution of each channel by itself.
#[derive(Debug)]
pub(super) struct Depthwise {
    /// kernel x channels x 1.
    weight: Tensor,
    /// channels x 1.
    bias: Tensor,
}

impl Depthwise {
    pub(super) fn load(at: &At<'_>, channels: usize, kernel: usize) -> std::result::Result<Self, ModelError> {
        let weight = at.get("weight", (channels, 1, kernel))?.permute((2, 0, 1))?.contiguous()?;
        Ok(Self { weight, bias: at.get("bias", channels)?.unsqueeze(1)? })
    }

    pub(super) fn push(&self, x: &Tensor, kept: &mut Kept) -> Result<Tensor> {
        let (kernel, length) = (self.weight.dim(0)?, x.dim(1)?);
        let joined = behind(x, kernel - 1, kept)?;
        let mut sum = self.bias.broadcast_as(x.shape())?.contiguous()?;
        for tap in 0..kernel {
            sum = (sum + joined.narrow(1, tap, length)?.broadcast_mul(&self.weight.get(tap)?)?)?;
        }
        Ok(sum)
    }
}
