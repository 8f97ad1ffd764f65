//! ECAPA-TDNN: mel frames to one vector of the speaker, as wide as the talker.
//!
//! Source: arXiv 2005.07143. TDNN 128 -> 512 (kernel 5) -> three SE-Res2Net blocks (512, 8 parts, kernel 3, dilation 2, 3, 4) -> their
//! outputs together 1,536 -> attentive mean and deviation -> 3,072 -> enc_dim. Every convolution keeps its length by reflection. The
//! vector is not normalised. Tensors are channels x frames. This file may not know how frames were made.

use candle_core::{D, Result, Tensor};
use candle_nn::ops;

use crate::qwen3_tts::ModelError;
use crate::qwen3_tts::codec::{Conv, ConvConfig};
use crate::qwen3_tts::config::SpeakerConfig;
use crate::qwen3_tts::weights::At;

/// Under the root of a variance.
const LEAST_VARIANCE: f32 = 1e-12;

#[derive(Debug)]
pub(in crate::qwen3_tts) struct Ecapa {
    first: Tdnn,
    blocks: Vec<Block>,
    together: Tdnn,
    attend: Tdnn,
    attention: Conv,
    last: Conv,
}

/// A convolution that keeps the length, then ReLU.
#[derive(Debug)]
struct Tdnn {
    conv: Conv,
    span: usize,
}

#[derive(Debug)]
struct Block {
    before: Tdnn,
    parts: Vec<Tdnn>,
    after: Tdnn,
    squeeze: Conv,
    excite: Conv,
}

fn one_tap(at: &At<'_>, inputs: usize, outputs: usize) -> std::result::Result<Conv, ModelError> {
    Conv::load(at, ConvConfig::new(inputs, outputs, 1))
}

impl Tdnn {
    fn load(at: &At<'_>, config: ConvConfig) -> std::result::Result<Self, ModelError> {
        Ok(Self { conv: Conv::load(&at.at("conv"), config)?, span: (config.kernel - 1) * config.dilation })
    }

    fn run(&self, x: &Tensor) -> Result<Tensor> {
        self.conv.run(&reflected(x, self.span)?)?.relu()
    }
}

/// `span` more columns, mirrored at the ends without doubling them; the odd one behind.
fn reflected(x: &Tensor, span: usize) -> Result<Tensor> {
    if span == 0 {
        return Ok(x.clone());
    }
    let length = x.dim(1)?;
    let before = span / 2;
    let at = |column: usize| {
        let from_start = column as i64 - before as i64;
        let mirrored = from_start.abs();
        (if mirrored >= length as i64 { 2 * (length as i64 - 1) - mirrored } else { mirrored }) as u32
    };
    let columns: Vec<u32> = (0..length + span).map(at).collect();
    x.index_select(&Tensor::new(columns, x.device())?, 1)
}

impl Block {
    fn load(at: &At<'_>, config: &SpeakerConfig, index: usize) -> std::result::Result<Self, ModelError> {
        let (inputs, width) = (config.enc_channels[index - 1], config.enc_channels[index]);
        let part = width / config.enc_res2net_scale;
        let narrow = ConvConfig { dilation: config.enc_dilations[index], ..ConvConfig::new(part, part, config.enc_kernel_sizes[index]) };
        let parts = (0..config.enc_res2net_scale - 1).map(|each| Tdnn::load(&at.at("res2net_block.blocks").at(each), narrow));
        let squeezed = config.enc_se_channels;
        Ok(Self {
            before: Tdnn::load(&at.at("tdnn1"), ConvConfig::new(inputs, width, 1))?,
            parts: parts.collect::<std::result::Result<_, _>>()?,
            after: Tdnn::load(&at.at("tdnn2"), ConvConfig::new(width, width, 1))?,
            squeeze: one_tap(&at.at("se_block.conv1"), width, squeezed)?,
            excite: one_tap(&at.at("se_block.conv2"), squeezed, width)?,
        })
    }

    fn run(&self, x: &Tensor) -> Result<Tensor> {
        let wide = self.before.run(x)?;
        // The first part passes; each other goes through its own layer, after the one before it was added.
        let part = wide.dim(0)? / (self.parts.len() + 1);
        let mut outputs = vec![wide.narrow(0, 0, part)?];
        for (index, layer) in self.parts.iter().enumerate() {
            let own = wide.narrow(0, (index + 1) * part, part)?;
            let input = if index == 0 { own.contiguous()? } else { (own + &outputs[index])? };
            outputs.push(layer.run(&input)?);
        }
        let mixed = self.after.run(&Tensor::cat(&outputs, 0)?)?;
        let mean = mixed.mean_keepdim(D::Minus1)?;
        let weight = ops::sigmoid(&self.excite.run(&self.squeeze.run(&mean)?.relu()?)?)?;
        mixed.broadcast_mul(&weight)? + x
    }
}

impl Ecapa {
    pub(in crate::qwen3_tts) fn load(at: &At<'_>, config: &SpeakerConfig) -> std::result::Result<Self, ModelError> {
        let (channels, kernels, dilations) = (&config.enc_channels, &config.enc_kernel_sizes, &config.enc_dilations);
        // The configuration was checked: three lists of equal length.
        let last = channels.len() - 1;
        let first = ConvConfig { dilation: dilations[0], ..ConvConfig::new(config.mel_dim, channels[0], kernels[0]) };
        let together = ConvConfig { dilation: dilations[last], ..ConvConfig::new(channels[last], channels[last], kernels[last]) };
        let wide = channels[last];
        let attend = ConvConfig::new(3 * wide, config.enc_attention_channels, 1);
        let blocks = (1..last).map(|index| Block::load(&at.at("blocks").at(index), config, index));
        Ok(Self {
            first: Tdnn::load(&at.at("blocks.0"), first)?,
            blocks: blocks.collect::<std::result::Result<_, _>>()?,
            together: Tdnn::load(&at.at("mfa"), together)?,
            attend: Tdnn::load(&at.at("asp.tdnn"), attend)?,
            attention: one_tap(&at.at("asp.conv"), config.enc_attention_channels, wide)?,
            last: one_tap(&at.at("fc"), 2 * wide, config.enc_dim)?,
        })
    }

    /// Fewer frames leave nothing to reflect.
    pub(in crate::qwen3_tts) fn least_frames(&self) -> usize {
        let tdnns = self.blocks.iter().flat_map(|block| &block.parts).chain([&self.first, &self.together]);
        tdnns.map(|tdnn| tdnn.span.div_ceil(2) + 1).max().unwrap_or(1)
    }

    /// `mel`: bands x frames. Gives enc_dim values.
    pub(in crate::qwen3_tts) fn run(&self, mel: &Tensor) -> Result<Vec<f32>> {
        let mut x = self.first.run(mel)?;
        let mut outputs = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            x = block.run(&x)?;
            outputs.push(x.clone());
        }
        let x = self.together.run(&Tensor::cat(&outputs, 0)?)?;
        let length = x.dim(1)?;
        let even = Tensor::full(1.0 / length as f32, x.shape(), x.device())?;
        let (mean, deviation) = statistics(&x, &even)?;
        let context = Tensor::cat(&[x.clone(), mean.broadcast_as(x.shape())?, deviation.broadcast_as(x.shape())?], 0)?;
        let attention = self.attention.run(&self.attend.run(&context)?.tanh()?)?;
        let (mean, deviation) = statistics(&x, &ops::softmax_last_dim(&attention)?)?;
        self.last.run(&Tensor::cat(&[mean, deviation], 0)?)?.squeeze(1)?.to_vec1()
    }
}

/// Weighted mean and deviation of each channel, channels x 1.
fn statistics(x: &Tensor, weight: &Tensor) -> Result<(Tensor, Tensor)> {
    let mean = (weight * x)?.sum_keepdim(D::Minus1)?;
    let variance = (weight * x.broadcast_sub(&mean)?.sqr()?)?.sum_keepdim(D::Minus1)?;
    Ok((mean, variance.maximum(LEAST_VARIANCE)?.sqrt()?))
}
