//! The codec's decoder: frames of codes to 24 kHz samples, whole or as a stream that keeps its state.
//!
//! Codes -> 512 -> causal conv to 1,024 -> 8 windowed transformer layers -> twice doubled with ConvNeXt (arXiv 2201.03545) -> conv to 1,536
//! -> four blocks that widen by 8, 5, 4, 3 and halve the channels -> one channel, clamped: 1,920 samples a frame. Reference:
//! `qwen_tts/core/tokenizer_12hz`. This file may not know where codes come from.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use candle_nn::ops;

use super::attention::{Affine, AttentionConfig, POSITIONS, Place, SelfAttention, scaled};
use super::conv::{Carry, Conv, ConvConfig, Depthwise, Widen};
use super::quantizer::Dequantizer;
use super::snake::Snake;
use crate::qwen3_tts::ModelError;
use crate::qwen3_tts::config::DecoderConfig;
use crate::qwen3_tts::layers::Rope;
use crate::qwen3_tts::weights::At;

/// Dilations of a block's residual units.
const DILATIONS: [usize; 3] = [1, 3, 9];
/// The reference's ConvNeXt has its own epsilon.
const CONVNEXT_EPS: f32 = 1e-6;
/// Chunks as large as these stay in the cache of a CPU; larger ones are slower a frame.
const CHUNK_FRAMES: usize = 24;

#[derive(Debug)]
pub(in crate::qwen3_tts) struct Decoder {
    config: DecoderConfig,
    quantizer: Dequantizer,
    pre_conv: Conv,
    input: Affine,
    layers: Vec<Layer>,
    norm: Tensor,
    output: Affine,
    rope: Rope,
    doubling: Vec<(Widen, ConvNext)>,
    first: Conv,
    blocks: Vec<Block>,
    last_snake: Snake,
    last: Conv,
}

/// What parity looks at, each of a whole decode.
#[derive(Debug, Clone)]
pub(in crate::qwen3_tts) struct Stages {
    /// codebook_dim x frames.
    pub quantized: Tensor,
    /// frames x latent.
    pub pre_conv: Tensor,
    /// frames x latent.
    pub pre_transformer: Tensor,
    /// Samples.
    pub wav: Vec<f32>,
}

impl Decoder {
    pub(in crate::qwen3_tts) fn load(at: &At<'_>, config: &DecoderConfig) -> std::result::Result<Self, ModelError> {
        let (latent, hidden) = (config.latent_dim, config.hidden_size);
        let transformer = at.at("pre_transformer");
        let layers = (0..config.num_hidden_layers).map(|index| Layer::load(&transformer.at("layers").at(index), config));
        let doubling = config.upsampling_ratios.iter().enumerate().map(|(index, ratio)| {
            let at = at.at("upsample").at(index);
            Ok((Widen::load(&at.at("0.conv"), latent, latent, *ratio, *ratio)?, ConvNext::load(&at.at("1"), latent)?))
        });
        let convs = at.at("decoder");
        let count = config.upsample_rates.len();
        let blocks = (0..count).map(|index| Block::load(&convs.at(index + 1).at("block"), config, index));
        let channels = config.decoder_dim >> count;
        Ok(Self {
            quantizer: Dequantizer::load(&at.at("quantizer"), config)?,
            pre_conv: Conv::load(&at.at("pre_conv.conv"), ConvConfig::new(config.codebook_dim, latent, 3))?,
            input: Affine::load(&transformer.at("input_proj"), latent, hidden)?,
            layers: layers.collect::<std::result::Result<_, _>>()?,
            norm: transformer.at("norm").get("weight", hidden)?,
            output: Affine::load(&transformer.at("output_proj"), hidden, latent)?,
            rope: Rope::new(config.head_dim(), config.rope_theta, POSITIONS, at.device())?,
            doubling: doubling.collect::<std::result::Result<_, ModelError>>()?,
            first: Conv::load(&convs.at("0.conv"), ConvConfig::new(latent, config.decoder_dim, 7))?,
            blocks: blocks.collect::<std::result::Result<_, _>>()?,
            last_snake: Snake::load(&convs.at(count + 1), channels)?,
            last: Conv::load(&convs.at(count + 2).at("conv"), ConvConfig::new(channels, 1, 7))?,
            config: config.clone(),
        })
    }

    /// Every frame has one code a codebook, each below its size.
    fn check(&self, frames: &[Vec<u32>]) -> std::result::Result<(), ModelError> {
        let (groups, size) = (self.config.num_quantizers, self.config.codebook_size);
        if frames.iter().any(|frame| frame.len() != groups || frame.iter().any(|code| *code as usize >= size)) {
            return Err(ModelError::Request(format!("the frames are not {groups} codes below {size} each")));
        }
        Ok(())
    }

    /// All frames of one utterance; the same samples as a stream in any chunks.
    pub(in crate::qwen3_tts) fn decode(&self, frames: &[Vec<u32>]) -> std::result::Result<Vec<f32>, ModelError> {
        self.check(frames)?;
        let (mut carry, mut position) = (Carry::default(), 0);
        let mut samples = Vec::with_capacity(frames.len() * self.samples_per_frame());
        for chunk in frames.chunks(CHUNK_FRAMES) {
            samples.extend(self.chunk(chunk, position, &mut carry)?.wav);
            position += chunk.len();
        }
        Ok(samples)
    }

    /// As the reference decodes: chunks by themselves, each after the last frames before it, whose samples are cut away. The reference
    /// takes 300 and 25; from the first chunk's end on it differs from a whole decode.
    pub(in crate::qwen3_tts) fn decode_chunked(
        &self,
        frames: &[Vec<u32>],
        chunk_frames: usize,
        context_frames: usize,
    ) -> std::result::Result<Vec<f32>, ModelError> {
        let samples_per_frame = self.samples_per_frame();
        let mut samples = Vec::new();
        for start in (0..frames.len()).step_by(chunk_frames.max(1)) {
            let end = (start + chunk_frames).min(frames.len());
            let context = if start > context_frames { context_frames } else { start };
            let decoded = self.decode(&frames[start - context..end])?;
            samples.extend_from_slice(&decoded[context * samples_per_frame..]);
        }
        Ok(samples)
    }

    pub(in crate::qwen3_tts) fn samples_per_frame(&self) -> usize {
        self.config.upsample_rates.iter().chain(&self.config.upsampling_ratios).product()
    }

    /// One pass over all frames at once.
    pub(in crate::qwen3_tts) fn stages(&self, frames: &[Vec<u32>]) -> std::result::Result<Stages, ModelError> {
        self.check(frames)?;
        Ok(self.chunk(frames, 0, &mut Carry::default())?)
    }

    fn chunk(&self, frames: &[Vec<u32>], position: usize, carry: &mut Carry) -> Result<Stages> {
        carry.rewind();
        let quantized = self.quantizer.decode(frames)?;
        let pre_conv = self.pre_conv.push(&quantized, carry.next())?.t()?.contiguous()?;
        let mut x = self.input.run(&pre_conv)?;
        let place = Place { rope: &self.rope, position };
        for layer in &self.layers {
            x = layer.push(&x, &place, carry)?;
        }
        let pre_transformer = self.output.run(&ops::rms_norm(&x, &self.norm, self.config.rms_norm_eps)?)?;
        let mut x = pre_transformer.t()?.contiguous()?;
        for (widen, next) in &self.doubling {
            x = widen.push(&x, carry.next())?;
            x = next.push(&x, carry)?;
        }
        x = self.first.push(&x, carry.next())?;
        for block in &self.blocks {
            x = block.push(&x, carry)?;
        }
        x = self.last.push(&self.last_snake.run(&x)?, carry.next())?;
        let wav = x.clamp(-1_f32, 1_f32)?.squeeze(0)?.to_vec1()?;
        Ok(Stages { quantized, pre_conv, pre_transformer, wav })
    }
}

/// One utterance, decoded as its frames come.
#[derive(Debug)]
pub struct DecodeStream {
    decoder: Arc<Decoder>,
    carry: Carry,
    position: usize,
}

impl DecodeStream {
    pub(in crate::qwen3_tts) fn new(decoder: Arc<Decoder>) -> Self {
        Self { decoder, carry: Carry::default(), position: 0 }
    }

    /// The samples of these frames, 1,920 each. 8 to 25 frames at a time are fastest.
    pub fn push(&mut self, frames: &[Vec<u32>]) -> std::result::Result<Vec<f32>, ModelError> {
        if frames.is_empty() {
            return Ok(Vec::new());
        }
        self.decoder.check(frames)?;
        let stages = self.decoder.chunk(frames, self.position, &mut self.carry)?;
        self.position += frames.len();
        Ok(stages.wav)
    }
}

/// A transformer layer with SwiGLU and scaled residuals.
#[derive(Debug)]
struct Layer {
    attention: SelfAttention,
    attention_scale: Tensor,
    input_norm: Tensor,
    post_norm: Tensor,
    gate: Affine,
    up: Affine,
    down: Affine,
    mlp_scale: Tensor,
    eps: f32,
}

impl Layer {
    fn load(at: &At<'_>, config: &DecoderConfig) -> std::result::Result<Self, ModelError> {
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let attention =
            AttentionConfig { hidden, heads: config.num_attention_heads, head_dim: config.head_dim(), window: Some(config.sliding_window) };
        let mlp = at.at("mlp");
        Ok(Self {
            attention: SelfAttention::load(&at.at("self_attn"), attention)?,
            attention_scale: at.at("self_attn_layer_scale").get("scale", hidden)?,
            input_norm: at.at("input_layernorm").get("weight", hidden)?,
            post_norm: at.at("post_attention_layernorm").get("weight", hidden)?,
            gate: Affine::without_bias(&mlp.at("gate_proj"), hidden, wide)?,
            up: Affine::without_bias(&mlp.at("up_proj"), hidden, wide)?,
            down: Affine::without_bias(&mlp.at("down_proj"), wide, hidden)?,
            mlp_scale: at.at("mlp_layer_scale").get("scale", hidden)?,
            eps: config.rms_norm_eps,
        })
    }

    fn push(&self, x: &Tensor, place: &Place<'_>, carry: &mut Carry) -> Result<Tensor> {
        let mixed = self.attention.push(&ops::rms_norm(x, &self.input_norm, self.eps)?, place, carry)?;
        let x = (x + scaled(&mixed, &self.attention_scale)?)?;
        let normed = ops::rms_norm(&x, &self.post_norm, self.eps)?;
        let wide = (self.gate.run(&normed)?.silu()? * self.up.run(&normed)?)?;
        &x + scaled(&self.down.run(&wide)?, &self.mlp_scale)?
    }
}

/// Each channel by itself over time, then each moment by itself over channels.
#[derive(Debug)]
struct ConvNext {
    depthwise: Depthwise,
    norm_weight: Tensor,
    norm_bias: Tensor,
    widen: Affine,
    narrow: Affine,
    gamma: Tensor,
}

impl ConvNext {
    fn load(at: &At<'_>, channels: usize) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            depthwise: Depthwise::load(&at.at("dwconv.conv"), channels, 7)?,
            norm_weight: at.at("norm").get("weight", channels)?,
            norm_bias: at.at("norm").get("bias", channels)?,
            widen: Affine::load(&at.at("pwconv1"), channels, 4 * channels)?,
            narrow: Affine::load(&at.at("pwconv2"), 4 * channels, channels)?,
            gamma: at.get("gamma", channels)?,
        })
    }

    fn push(&self, x: &Tensor, carry: &mut Carry) -> Result<Tensor> {
        let moments = self.depthwise.push(x, carry.next())?.t()?.contiguous()?;
        let normed = ops::layer_norm(&moments, &self.norm_weight, &self.norm_bias, CONVNEXT_EPS)?;
        let mixed = self.narrow.run(&self.widen.run(&normed)?.gelu_erf()?)?;
        x + scaled(&mixed, &self.gamma)?.t()?.contiguous()?
    }
}

#[derive(Debug)]
struct Block {
    snake: Snake,
    widen: Widen,
    units: Vec<Unit>,
}

/// Snake, conv, snake, conv of one tap; added to its input.
#[derive(Debug)]
struct Unit {
    first_snake: Snake,
    first: Conv,
    second_snake: Snake,
    second: Conv,
}

impl Block {
    fn load(at: &At<'_>, config: &DecoderConfig, index: usize) -> std::result::Result<Self, ModelError> {
        let (inputs, outputs) = (config.decoder_dim >> index, config.decoder_dim >> (index + 1));
        let rate = config.upsample_rates[index];
        let units = DILATIONS.iter().enumerate().map(|(unit, dilation)| Unit::load(&at.at(unit + 2), outputs, *dilation));
        Ok(Self {
            snake: Snake::load(&at.at("0"), inputs)?,
            widen: Widen::load(&at.at("1.conv"), inputs, outputs, 2 * rate, rate)?,
            units: units.collect::<std::result::Result<_, _>>()?,
        })
    }

    fn push(&self, x: &Tensor, carry: &mut Carry) -> Result<Tensor> {
        let mut x = self.widen.push(&self.snake.run(x)?, carry.next())?;
        for unit in &self.units {
            let inner = unit.first.push(&unit.first_snake.run(&x)?, carry.next())?;
            x = (unit.second.push(&unit.second_snake.run(&inner)?, carry.next())? + x)?;
        }
        Ok(x)
    }
}

impl Unit {
    fn load(at: &At<'_>, channels: usize, dilation: usize) -> std::result::Result<Self, ModelError> {
        let config = ConvConfig { dilation, ..ConvConfig::new(channels, channels, 7) };
        Ok(Self {
            first_snake: Snake::load(&at.at("act1"), channels)?,
            first: Conv::load(&at.at("conv1.conv"), config)?,
            second_snake: Snake::load(&at.at("act2"), channels)?,
            second: Conv::load(&at.at("conv2.conv"), ConvConfig::new(channels, channels, 1))?,
        })
    }
}
