//! The encoder: mel frames to one state for every 20 ms. This file may not know text.

use candle_core::{Result, Tensor};

use super::attention::{Attention, FeedForward, Norm};
use super::config::ModelConfig;
use super::{ModelError, Precision};
use crate::qwen3_tts::weights::At;

const KERNEL: usize = 3;

#[derive(Debug)]
pub(super) struct Encoder {
    /// Weight and bias.
    convs: [(Tensor, Tensor); 2],
    positions: Tensor,
    layers: Vec<Layer>,
    norm: Norm,
}

#[derive(Debug)]
struct Layer {
    norm: Norm,
    attention: Attention,
    feed_norm: Norm,
    feed: FeedForward,
}

impl Encoder {
    pub(super) fn load(at: &At<'_>, config: &ModelConfig, precision: Precision) -> std::result::Result<Self, ModelError> {
        let width = config.d_model;
        let conv = |name: &str, inputs: usize| -> std::result::Result<_, ModelError> {
            Ok((at.at(name).get("weight", (width, inputs, KERNEL))?, at.at(name).get("bias", width)?.reshape((1, width, 1))?))
        };
        let layer = |index: usize| -> std::result::Result<_, ModelError> {
            let at = at.at("layers").at(index);
            Ok(Layer {
                norm: Norm::load(&at.at("self_attn_layer_norm"), width)?,
                attention: Attention::load(&at.at("self_attn"), width, config.encoder_attention_heads, precision)?,
                feed_norm: Norm::load(&at.at("final_layer_norm"), width)?,
                feed: FeedForward::load(&at, width, config.encoder_ffn_dim, precision)?,
            })
        };
        Ok(Self {
            convs: [conv("conv1", config.num_mel_bins)?, conv("conv2", width)?],
            positions: at.at("embed_positions").get("weight", (config.max_source_positions, width))?,
            layers: (0..config.encoder_layers).map(layer).collect::<std::result::Result<_, _>>()?,
            norm: Norm::load(&at.at("layer_norm"), width)?,
        })
    }

    /// `mel`: bands x frames, of a whole window. Gives positions x width. `go_on` is asked before each layer; its error ends the run.
    pub(super) fn run<E: From<candle_core::Error>>(
        &self,
        mel: &Tensor,
        go_on: &mut dyn FnMut() -> std::result::Result<(), E>,
    ) -> std::result::Result<Tensor, E> {
        let mut x = self.listen(mel)?;
        for layer in &self.layers {
            go_on()?;
            x = layer.run(&x)?;
        }
        Ok(self.norm.run(&x)?)
    }

    fn listen(&self, mel: &Tensor) -> Result<Tensor> {
        let [(first, first_bias), (second, second_bias)] = &self.convs;
        let x = mel.unsqueeze(0)?.conv1d(first, 1, 1, 1, 1)?.broadcast_add(first_bias)?.gelu_erf()?;
        let x = x.conv1d(second, 1, 2, 1, 1)?.broadcast_add(second_bias)?.gelu_erf()?;
        x.squeeze(0)?.t()?.contiguous()? + &self.positions
    }
}

impl Layer {
    fn run(&self, x: &Tensor) -> Result<Tensor> {
        let normed = self.norm.run(x)?;
        let (k, v) = self.attention.keys_values(&normed)?;
        let (k, v) = (k.transpose(0, 1)?.contiguous()?, v.transpose(0, 1)?.contiguous()?);
        let x = (x + self.attention.attend(&self.attention.queries(&normed)?, (&k, &v), None, &mut |_, _| {})?)?;
        &x + self.feed.run(&self.feed_norm.run(&x)?)?
    }
}
