//! What a Qwen3-TTS folder says about itself: `config.json`, `generation_config.json` and `speech_tokenizer/config.json`.
//!
//! Every size and id is read, because the reference's class defaults differ from the published values; only the speaker encoder's channels
//! are class defaults that the published files leave out. This file may not know tensors.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::ModelError;

/// No size of a network is larger: what is above is a broken file, and would only end in arithmetic that overflows.
const MAX_SIZE: usize = 1 << 20;
/// Nor a list of rates or kernels, a rate or a dilation.
const MAX_LIST: usize = 16;
const MAX_RATE: usize = 64;

/// Names the first size that is zero or absurd.
pub(crate) fn sizes_within(sizes: &[(&str, usize)]) -> Result<(), String> {
    match sizes.iter().find(|(_, size)| *size == 0 || *size > MAX_SIZE) {
        Some((name, size)) => Err(format!("{name} is {size}")),
        None => Ok(()),
    }
}

fn rates_within(name: &str, rates: &[usize]) -> Result<(), String> {
    let sound = !rates.is_empty() && rates.len() <= MAX_LIST && rates.iter().all(|rate| (1..=MAX_RATE).contains(rate));
    if sound { Ok(()) } else { Err(format!("{name} is {rates:?}")) }
}

/// No configuration is larger than this, in bytes.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// Which voices a checkpoint can speak with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// Clones from a recording.
    Base,
    /// Named speakers.
    CustomVoice,
    /// Voices made from a description.
    VoiceDesign,
}

/// `config.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct ModelConfig {
    pub tts_model_type: Variant,
    /// `0b6` or `1b7`; the small one takes no style instruction for its named speakers.
    pub tts_model_size: String,
    #[serde(default)]
    pub tokenizer_type: Option<String>,
    pub tts_pad_token_id: u32,
    pub tts_bos_token_id: u32,
    pub tts_eos_token_id: u32,
    pub talker_config: TalkerConfig,
    #[serde(default)]
    pub speaker_encoder_config: Option<SpeakerConfig>,
}

/// Sizes of one stack of Qwen3 layers; the talker and the predictor have one each.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LayersConfig {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub head_dim: usize,
    pub rms_norm_eps: f32,
    pub rope_theta: f64,
    pub max_position_embeddings: usize,
    #[serde(default)]
    pub attention_bias: bool,
    #[serde(default)]
    pub sliding_window: Option<usize>,
    #[serde(default = "silu")]
    pub hidden_act: String,
}

fn silu() -> String {
    "silu".to_owned()
}

/// `talker_config`: the model of the first codebook.
#[derive(Debug, Clone, Deserialize)]
pub struct TalkerConfig {
    #[serde(flatten)]
    pub layers: LayersConfig,
    pub vocab_size: usize,
    pub text_hidden_size: usize,
    pub text_vocab_size: usize,
    pub num_code_groups: usize,
    pub codec_bos_id: u32,
    pub codec_pad_id: u32,
    pub codec_eos_token_id: u32,
    pub codec_think_id: u32,
    pub codec_nothink_id: u32,
    pub codec_think_bos_id: u32,
    pub codec_think_eos_id: u32,
    pub codec_language_id: HashMap<String, u32>,
    #[serde(default)]
    pub spk_id: HashMap<String, u32>,
    #[serde(default)]
    pub spk_is_dialect: HashMap<String, Dialect>,
    pub code_predictor_config: PredictorConfig,
}

/// `false`, or the name of the dialect that a speaker speaks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Dialect {
    Flag(bool),
    Named(String),
}

/// `code_predictor_config`: the model of the other codebooks.
#[derive(Debug, Clone, Deserialize)]
pub struct PredictorConfig {
    #[serde(flatten)]
    pub layers: LayersConfig,
    pub vocab_size: usize,
    pub num_code_groups: usize,
}

/// `speaker_encoder_config` (Base only). Defaults are those of the reference's class.
#[derive(Debug, Clone, Deserialize)]
pub struct SpeakerConfig {
    pub enc_dim: usize,
    #[serde(default = "speaker_defaults::sample_rate")]
    pub sample_rate: u32,
    #[serde(default = "speaker_defaults::mel_dim")]
    pub mel_dim: usize,
    #[serde(default = "speaker_defaults::enc_channels")]
    pub enc_channels: Vec<usize>,
    #[serde(default = "speaker_defaults::enc_kernel_sizes")]
    pub enc_kernel_sizes: Vec<usize>,
    #[serde(default = "speaker_defaults::enc_dilations")]
    pub enc_dilations: Vec<usize>,
    #[serde(default = "speaker_defaults::narrow")]
    pub enc_attention_channels: usize,
    #[serde(default = "speaker_defaults::scale")]
    pub enc_res2net_scale: usize,
    #[serde(default = "speaker_defaults::narrow")]
    pub enc_se_channels: usize,
}

mod speaker_defaults {
    pub(super) fn sample_rate() -> u32 {
        24_000
    }
    pub(super) fn mel_dim() -> usize {
        128
    }
    pub(super) fn enc_channels() -> Vec<usize> {
        vec![512, 512, 512, 512, 1536]
    }
    pub(super) fn enc_kernel_sizes() -> Vec<usize> {
        vec![5, 3, 3, 3, 1]
    }
    pub(super) fn enc_dilations() -> Vec<usize> {
        vec![1, 2, 3, 4, 1]
    }
    pub(super) fn narrow() -> usize {
        128
    }
    pub(super) fn scale() -> usize {
        8
    }
}

/// `generation_config.json`: how the reference samples when nobody says otherwise.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct GenerationConfig {
    pub do_sample: bool,
    pub temperature: f32,
    pub top_k: usize,
    pub top_p: f32,
    pub repetition_penalty: f32,
    pub subtalker_dosample: bool,
    pub subtalker_temperature: f32,
    pub subtalker_top_k: usize,
    pub subtalker_top_p: f32,
    pub max_new_tokens: usize,
}

impl Default for GenerationConfig {
    fn default() -> Self {
        Self {
            do_sample: true,
            temperature: 0.9,
            top_k: 50,
            top_p: 1.0,
            repetition_penalty: 1.05,
            subtalker_dosample: true,
            subtalker_temperature: 0.9,
            subtalker_top_k: 50,
            subtalker_top_p: 1.0,
            max_new_tokens: 2048,
        }
    }
}

/// `speech_tokenizer/config.json`: the 12.5 Hz codec.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct CodecConfig {
    pub encoder_config: EncoderConfig,
    pub decoder_config: DecoderConfig,
    pub encoder_valid_num_quantizers: usize,
    pub output_sample_rate: u32,
    /// Samples in a frame.
    pub decode_upsample_rate: usize,
    pub encode_downsample_rate: usize,
}

/// The codec's decoder.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct DecoderConfig {
    pub codebook_dim: usize,
    pub codebook_size: usize,
    pub latent_dim: usize,
    pub decoder_dim: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    #[serde(default)]
    pub head_dim: Option<usize>,
    pub num_quantizers: usize,
    pub rms_norm_eps: f32,
    pub rope_theta: f64,
    pub sliding_window: usize,
    pub upsample_rates: Vec<usize>,
    pub upsampling_ratios: Vec<usize>,
    #[serde(default)]
    pub attention_bias: bool,
}

impl DecoderConfig {
    pub(super) fn head_dim(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads.max(1))
    }
}

/// The codec's encoder: the encoder half of Mimi.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct EncoderConfig {
    pub audio_channels: usize,
    pub num_filters: usize,
    pub num_residual_layers: usize,
    pub upsampling_ratios: Vec<usize>,
    pub dilation_growth_rate: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    #[serde(default)]
    pub head_dim: Option<usize>,
    pub norm_eps: f32,
    pub rope_theta: f64,
    pub num_quantizers: usize,
    pub num_semantic_quantizers: usize,
    pub codebook_size: usize,
    pub codebook_dim: usize,
    pub intermediate_size: usize,
    pub kernel_size: usize,
    pub last_kernel_size: usize,
    pub residual_kernel_size: usize,
    /// A residual unit is this much narrower inside.
    pub compress: usize,
    #[serde(default)]
    pub use_conv_shortcut: bool,
}

impl EncoderConfig {
    pub(super) fn head_dim(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads.max(1))
    }
}

/// Reads a JSON file of the folder. The error names the file and, for a wrong field, the field.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, ModelError> {
    let bad = |detail: String| ModelError::Folder { file: path.to_owned(), detail };
    let bytes = std::fs::metadata(path).map_err(|error| bad(error.to_string()))?.len();
    if bytes > MAX_CONFIG_BYTES {
        return Err(bad(format!("{bytes} bytes, more than a configuration may have")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| bad(error.to_string()))
}

impl LayersConfig {
    pub(crate) fn check(&self) -> Result<(), String> {
        sizes_within(&[
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
        ])?;
        if self.head_dim % 2 == 1 {
            return Err("head_dim is odd".to_owned());
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            return Err("num_attention_heads is no multiple of num_key_value_heads".to_owned());
        }
        if self.attention_bias || self.sliding_window.is_some() {
            return Err("attention_bias and sliding_window are in no published model of this kind, and not known here".to_owned());
        }
        if self.hidden_act != "silu" {
            return Err(format!("hidden_act {} is not known", self.hidden_act));
        }
        Ok(())
    }
}

impl ModelConfig {
    /// What the shapes of the weights cannot show.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(kind) = self.tokenizer_type.as_deref().filter(|kind| *kind != "qwen3_tts_tokenizer_12hz") {
            return Err(format!("tokenizer_type {kind} is not the 12 Hz codec"));
        }
        if let Some(speaker) = &self.speaker_encoder_config {
            speaker.check().map_err(|detail| format!("speaker_encoder_config: {detail}"))?;
        }
        let talker = &self.talker_config;
        talker.layers.check().map_err(|detail| format!("talker_config: {detail}"))?;
        talker.code_predictor_config.layers.check().map_err(|detail| format!("code_predictor_config: {detail}"))?;
        sizes_within(&[
            ("num_code_groups", talker.num_code_groups),
            ("vocab_size", talker.vocab_size),
            ("text_vocab_size", talker.text_vocab_size),
            ("text_hidden_size", talker.text_hidden_size),
        ])?;
        if talker.num_code_groups < 2 || talker.num_code_groups != talker.code_predictor_config.num_code_groups {
            return Err("num_code_groups of the talker and of the predictor differ, or are below 2".to_owned());
        }
        if talker.vocab_size <= super::sampling::SUPPRESSED_TAIL || talker.codec_eos_token_id as usize >= talker.vocab_size {
            return Err("vocab_size is too small for its control codes".to_owned());
        }
        Ok(())
    }
}

impl CodecConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        let decoder = &self.decoder_config;
        decoder.check_sizes().map_err(|detail| format!("decoder_config: {detail}"))?;
        self.encoder_config.check_sizes().map_err(|detail| format!("encoder_config: {detail}"))?;
        let up: usize = decoder.upsample_rates.iter().chain(&decoder.upsampling_ratios).product();
        if up != self.decode_upsample_rate || up == 0 {
            return Err(format!("the decoder makes {up} samples a frame, decode_upsample_rate says {}", self.decode_upsample_rate));
        }
        if decoder.sliding_window == 0 || decoder.num_quantizers < 2 || decoder.num_key_value_heads != decoder.num_attention_heads {
            return Err("decoder_config: sliding_window, num_quantizers or num_key_value_heads is not known here".to_owned());
        }
        if decoder.attention_bias || self.encoder_config.use_conv_shortcut || self.encoder_config.audio_channels != 1 {
            return Err("attention_bias, use_conv_shortcut and stereo are in no published codec, and not known here".to_owned());
        }
        if self.encoder_config.num_key_value_heads != self.encoder_config.num_attention_heads || self.encode_downsample_rate == 0 {
            return Err("encoder_config: num_key_value_heads or encode_downsample_rate is not known here".to_owned());
        }
        let (asked, has) = (self.encoder_valid_num_quantizers, self.encoder_config.num_quantizers);
        if asked > has || self.encoder_config.num_semantic_quantizers >= asked {
            return Err(format!("encoder_valid_num_quantizers is {asked} of {has}"));
        }
        Ok(())
    }
}

impl DecoderConfig {
    fn check_sizes(&self) -> Result<(), String> {
        sizes_within(&[
            ("codebook_dim", self.codebook_dim / 2),
            ("codebook_size", self.codebook_size),
            ("latent_dim", self.latent_dim),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_attention_heads),
            ("head_dim", self.head_dim()),
            ("sliding_window", self.sliding_window),
        ])?;
        rates_within("upsample_rates", &self.upsample_rates)?;
        rates_within("upsampling_ratios", &self.upsampling_ratios)?;
        sizes_within(&[("decoder_dim, halved by each rate,", self.decoder_dim >> self.upsample_rates.len())])
    }
}

impl EncoderConfig {
    fn check_sizes(&self) -> Result<(), String> {
        sizes_within(&[
            ("num_filters", self.num_filters),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_attention_heads),
            ("head_dim", self.head_dim()),
            ("codebook_size", self.codebook_size),
            ("codebook_dim", self.codebook_dim),
            ("num_filters, divided by compress,", self.num_filters.checked_div(self.compress).unwrap_or(0)),
        ])?;
        rates_within("upsampling_ratios", &self.upsampling_ratios)?;
        let kernels = [self.kernel_size, self.last_kernel_size, self.residual_kernel_size];
        rates_within("a kernel size", &kernels)?;
        let residuals = [self.num_residual_layers.max(1), self.dilation_growth_rate];
        rates_within("num_residual_layers or dilation_growth_rate", &residuals)?;
        if self.num_residual_layers > 4 { Err(format!("num_residual_layers is {}", self.num_residual_layers)) } else { Ok(()) }
    }
}

impl SpeakerConfig {
    fn check(&self) -> Result<(), String> {
        let (channels, kernels, dilations) = (&self.enc_channels, &self.enc_kernel_sizes, &self.enc_dilations);
        rates_within("enc_kernel_sizes", kernels)?;
        rates_within("enc_dilations", dilations)?;
        if channels.len() < 3 || channels.len() != kernels.len() || channels.len() != dilations.len() {
            return Err("enc_channels, enc_kernel_sizes and enc_dilations are not three numbers or more each".to_owned());
        }
        let scale = self.enc_res2net_scale;
        if !(2..=MAX_RATE).contains(&scale) {
            return Err(format!("enc_res2net_scale is {scale}"));
        }
        let inner = &channels[..channels.len() - 1];
        if channels.iter().any(|width| *width == 0 || *width > MAX_SIZE) || inner.iter().any(|width| !width.is_multiple_of(scale)) {
            return Err(format!("enc_channels {channels:?} are not divided by {scale}"));
        }
        sizes_within(&[
            ("enc_dim", self.enc_dim),
            ("mel_dim", self.mel_dim),
            ("sample_rate", self.sample_rate as usize),
            ("enc_attention_channels", self.enc_attention_channels),
            ("enc_se_channels", self.enc_se_channels),
        ])
    }
}
