//! The codec's encoder: 24 kHz samples to frames of codes, once for each recording that a voice is cloned from.
//!
//! SEANet (arXiv 2009.02095) with ELU, ratios 4, 5, 6, 8 to 25 Hz -> 8 transformer layers, which see all that came before (the reference
//! ignores the configured window) -> a convolution to 12.5 Hz, padded with its edge -> codes. Reference: Mimi of transformers 4.57.
//! This file may not know what the codes are for.

use candle_core::{Result, Tensor};
use candle_nn::ops;

use super::attention::{Affine, AttentionConfig, POSITIONS, Place, SelfAttention, scaled};
use super::conv::{Carry, Conv, ConvConfig, Pad};
use super::quantizer::{Quantizer, QuantizerConfig};
use crate::qwen3_tts::ModelError;
use crate::qwen3_tts::config::{CodecConfig, EncoderConfig};
use crate::qwen3_tts::layers::Rope;
use crate::qwen3_tts::weights::At;

#[derive(Debug)]
pub(in crate::qwen3_tts) struct Encoder {
    seanet: Vec<Part>,
    layers: Vec<Layer>,
    rope: Rope,
    downsample: Conv,
    semantic: Quantizer,
    acoustic: Quantizer,
    samples_per_frame: usize,
}

/// One entry of SEANet's list.
#[derive(Debug)]
enum Part {
    Elu,
    Conv(Conv),
    /// ELU, conv, ELU, conv of one tap; added to its input.
    Residual(Conv, Conv),
}

/// What parity looks at.
#[derive(Debug, Clone)]
pub(in crate::qwen3_tts) struct Stages {
    /// hidden x steps of 25 Hz, as the next.
    pub seanet: Tensor,
    pub transformer: Tensor,
    /// hidden x frames.
    pub downsample: Tensor,
    /// Frames x codebooks.
    pub codes: Vec<Vec<u32>>,
}

impl Encoder {
    pub(in crate::qwen3_tts) fn load(at: &At<'_>, codec: &CodecConfig) -> std::result::Result<Self, ModelError> {
        let config = &codec.encoder_config;
        let hidden = config.hidden_size;
        let layers = (0..config.num_hidden_layers).map(|index| Layer::load(&at.at("encoder_transformer.layers").at(index), config));
        let hop: usize = config.upsampling_ratios.iter().product();
        let stride = (codec.encode_downsample_rate / hop.max(1)).max(1);
        let downsample = ConvConfig { stride, bias: false, ..ConvConfig::new(hidden, hidden, 2 * stride) };
        let quantizer = |name: &str, books: usize| {
            let sizes = QuantizerConfig { books, size: config.codebook_size, dim: config.codebook_dim, inputs: hidden };
            Quantizer::load(&at.at("quantizer").at(name), sizes)
        };
        let semantic = config.num_semantic_quantizers;
        Ok(Self {
            seanet: seanet(&at.at("encoder.layers"), config)?,
            layers: layers.collect::<std::result::Result<_, _>>()?,
            rope: Rope::new(config.head_dim(), config.rope_theta, POSITIONS, at.device())?,
            downsample: Conv::load(&at.at("downsample.conv"), downsample)?,
            semantic: quantizer("semantic_residual_vector_quantizer", semantic)?,
            acoustic: quantizer("acoustic_residual_vector_quantizer", codec.encoder_valid_num_quantizers - semantic)?,
            samples_per_frame: codec.encode_downsample_rate,
        })
    }

    /// Frames x codebooks; a frame for every 1,920 samples begun.
    pub(in crate::qwen3_tts) fn encode(&self, samples: &[f32]) -> std::result::Result<Vec<Vec<u32>>, ModelError> {
        Ok(self.stages(samples)?.codes)
    }

    pub(in crate::qwen3_tts) fn stages(&self, samples: &[f32]) -> std::result::Result<Stages, ModelError> {
        if samples.is_empty() {
            return Err(ModelError::Request("the recording is empty".to_owned()));
        }
        let steps = POSITIONS;
        if samples.len() / self.samples_per_frame.max(1) * 2 >= steps {
            return Err(ModelError::Request(format!("the recording is longer than {} frames", steps / 2)));
        }
        Ok(self.run(samples)?)
    }

    fn run(&self, samples: &[f32]) -> Result<Stages> {
        let mut x = Tensor::from_slice(samples, (1, samples.len()), self.device())?;
        for part in &self.seanet {
            x = part.run(&x)?;
        }
        let seanet = x;
        let mut x = seanet.t()?.contiguous()?;
        let (place, mut carry) = (Place { rope: &self.rope, position: 0 }, Carry::default());
        for layer in &self.layers {
            x = layer.run(&x, &place, &mut carry)?;
        }
        let transformer = x.t()?.contiguous()?;
        let downsample = self.downsample.whole(&transformer, Pad::Edge)?;
        let frames = samples.len().div_ceil(self.samples_per_frame);
        let both = self.semantic.encode(&downsample)?.into_iter().zip(self.acoustic.encode(&downsample)?);
        let codes = both.map(|(semantic, acoustic)| [semantic, acoustic].concat()).take(frames).collect();
        Ok(Stages { seanet, transformer, downsample, codes })
    }

    fn device(&self) -> &candle_core::Device {
        self.rope.device()
    }
}

/// The list as the reference numbers it: conv; for each ratio its residuals, ELU, a conv that shortens; ELU, conv.
fn seanet(at: &At<'_>, config: &EncoderConfig) -> std::result::Result<Vec<Part>, ModelError> {
    let conv = |index: usize, config: ConvConfig| Ok::<_, ModelError>(Part::Conv(Conv::load(&at.at(index).at("conv"), config)?));
    let mut width = config.num_filters;
    let mut parts = vec![conv(0, ConvConfig::new(config.audio_channels, width, config.kernel_size))?];
    for ratio in config.upsampling_ratios.iter().rev() {
        for unit in 0..config.num_residual_layers {
            let block = at.at(parts.len()).at("block");
            let inner = width / config.compress.max(1);
            let dilation = config.dilation_growth_rate.pow(unit as u32);
            let first = ConvConfig { dilation, ..ConvConfig::new(width, inner, config.residual_kernel_size) };
            let second = ConvConfig::new(inner, width, 1);
            parts.push(Part::Residual(Conv::load(&block.at("1.conv"), first)?, Conv::load(&block.at("3.conv"), second)?));
        }
        parts.push(Part::Elu);
        let shorten = ConvConfig { stride: *ratio, ..ConvConfig::new(width, 2 * width, 2 * ratio) };
        parts.push(conv(parts.len(), shorten)?);
        width *= 2;
    }
    parts.push(Part::Elu);
    parts.push(conv(parts.len(), ConvConfig::new(width, config.hidden_size, config.last_kernel_size))?);
    Ok(parts)
}

impl Part {
    fn run(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Elu => x.elu(1.0),
            Self::Conv(conv) => conv.whole(x, Pad::Zeros),
            Self::Residual(first, second) => {
                let inner = first.whole(&x.elu(1.0)?, Pad::Zeros)?;
                x + second.whole(&inner.elu(1.0)?, Pad::Zeros)?
            }
        }
    }
}

/// A transformer layer with LayerNorm, GELU and scaled residuals.
#[derive(Debug)]
struct Layer {
    attention: SelfAttention,
    attention_scale: Tensor,
    input_norm: (Tensor, Tensor),
    post_norm: (Tensor, Tensor),
    widen: Affine,
    narrow: Affine,
    mlp_scale: Tensor,
    eps: f32,
}

impl Layer {
    fn load(at: &At<'_>, config: &EncoderConfig) -> std::result::Result<Self, ModelError> {
        let hidden = config.hidden_size;
        let attention = AttentionConfig { hidden, heads: config.num_attention_heads, head_dim: config.head_dim(), window: None };
        let norm = |name: &str| Ok::<_, ModelError>((at.at(name).get("weight", hidden)?, at.at(name).get("bias", hidden)?));
        Ok(Self {
            attention: SelfAttention::load(&at.at("self_attn"), attention)?,
            attention_scale: at.at("self_attn_layer_scale").get("scale", hidden)?,
            input_norm: norm("input_layernorm")?,
            post_norm: norm("post_attention_layernorm")?,
            widen: Affine::without_bias(&at.at("mlp.fc1"), hidden, config.intermediate_size)?,
            narrow: Affine::without_bias(&at.at("mlp.fc2"), config.intermediate_size, hidden)?,
            mlp_scale: at.at("mlp_layer_scale").get("scale", hidden)?,
            eps: config.norm_eps,
        })
    }

    fn run(&self, x: &Tensor, place: &Place<'_>, carry: &mut Carry) -> Result<Tensor> {
        let normed = ops::layer_norm(x, &self.input_norm.0, &self.input_norm.1, self.eps)?;
        let x = (x + scaled(&self.attention.push(&normed, place, carry)?, &self.attention_scale)?)?;
        let normed = ops::layer_norm(&x, &self.post_norm.0, &self.post_norm.1, self.eps)?;
        let mixed = self.narrow.run(&self.widen.run(&normed)?.gelu_erf()?)?;
        &x + scaled(&mixed, &self.mlp_scale)?
    }
}
