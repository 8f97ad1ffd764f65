//! Qwen3 as llama.cpp writes it: one file with the configuration, the tokenizer and quantised weights under other names.
//!
//! Source: the GGUF description of ggml and llama.cpp's names of tensors. Weights keep the precision that the file has. This file may not
//! know what is computed with them.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Result, Tensor};

use super::qwen3_lm::Qwen3Config;
use super::tokens::BpeParts;
use crate::qwen3_tts::ModelError;
use crate::qwen3_tts::config::LayersConfig;
use crate::qwen3_tts::weights::TensorFile;

/// Of llama.cpp's `token_type`: control tokens and those that users defined are no pieces of text.
const KINDS_OF_CONTROL: [i64; 2] = [3, 4];
/// The context that is used of the model's, in tokens.
const POSITIONS_MAX: usize = 8_192;

/// A file of which only the head was read.
pub(super) struct Gguf {
    file: PathBuf,
    content: Content,
    reader: Mutex<File>,
}

impl Gguf {
    pub(super) fn open(file: &Path) -> std::result::Result<Self, ModelError> {
        let bad = |detail: String| ModelError::Folder { file: file.to_owned(), detail };
        let mut reader = File::open(file).map_err(|error| bad(error.to_string()))?;
        let content = Content::read(&mut reader).map_err(|error| bad(error.to_string()))?;
        Ok(Self { file: file.to_owned(), content, reader: Mutex::new(reader) })
    }

    fn bad(&self, detail: String) -> ModelError {
        ModelError::Folder { file: self.file.clone(), detail }
    }

    fn value(&self, name: &str) -> std::result::Result<&Value, ModelError> {
        self.content.metadata.get(name).ok_or_else(|| self.bad(format!("says nothing of {name}")))
    }

    fn number(&self, name: &str) -> std::result::Result<usize, ModelError> {
        let value = self.value(name)?;
        whole(value).and_then(|number| usize::try_from(number).ok()).ok_or_else(|| self.bad(format!("{name} is no number")))
    }

    fn strings(&self, name: &str) -> std::result::Result<Vec<String>, ModelError> {
        let list = self.value(name)?.to_vec().map_err(|error| self.bad(error.to_string()))?;
        let text = |value: &Value| value.to_string().cloned().map_err(|error| self.bad(format!("{name}: {error}")));
        list.iter().map(text).collect()
    }

    pub(super) fn config(&self) -> std::result::Result<Qwen3Config, ModelError> {
        let architecture = self.value("general.architecture")?.to_string().map_err(|error| self.bad(error.to_string()))?;
        if architecture != "qwen3" {
            return Err(self.bad(format!("is a model of the architecture {architecture}, not qwen3")));
        }
        let float = |name: &str| match self.value(name)? {
            Value::F32(value) => Ok(f64::from(*value)),
            Value::F64(value) => Ok(*value),
            _ => Err(self.bad(format!("{name} is no number with a point"))),
        };
        let heads = self.number("qwen3.attention.head_count")?;
        let hidden_size = self.number("qwen3.embedding_length")?;
        Ok(Qwen3Config {
            layers: LayersConfig {
                hidden_size,
                intermediate_size: self.number("qwen3.feed_forward_length")?,
                num_hidden_layers: self.number("qwen3.block_count")?,
                num_attention_heads: heads,
                num_key_value_heads: self.number("qwen3.attention.head_count_kv")?,
                head_dim: self.number("qwen3.attention.key_length")?,
                rms_norm_eps: float("qwen3.attention.layer_norm_rms_epsilon")? as f32,
                rope_theta: float("qwen3.rope.freq_base")?,
                max_position_embeddings: self.number("qwen3.context_length")?.min(POSITIONS_MAX),
                attention_bias: false,
                sliding_window: None,
                hidden_act: "silu".to_owned(),
            },
            vocab_size: self.shape("model.embed_tokens.weight").and_then(|shape| shape.first().copied()).unwrap_or(0),
            tie_word_embeddings: self.shape("lm_head.weight").is_none(),
        })
    }

    pub(super) fn tokenizer(&self) -> std::result::Result<BpeParts, ModelError> {
        let model = self.value("tokenizer.ggml.model")?.to_string().map_err(|error| self.bad(error.to_string()))?;
        if model != "gpt2" {
            return Err(self.bad(format!("has a tokenizer of the kind {model}, not gpt2")));
        }
        let kinds = self.value("tokenizer.ggml.token_type")?.to_vec().map_err(|error| self.bad(error.to_string()))?;
        let control = (0_u32..).zip(kinds).filter(|(_, kind)| whole(kind).is_some_and(|kind| KINDS_OF_CONTROL.contains(&kind)));
        Ok(BpeParts {
            tokens: self.strings("tokenizer.ggml.tokens")?,
            merges: self.strings("tokenizer.ggml.merges")?,
            control: control.map(|(id, _)| id).collect(),
        })
    }

    /// The template of a chat, if the file has one.
    pub(super) fn template(&self) -> Option<&str> {
        self.content.metadata.get("tokenizer.chat_template").and_then(|value| value.to_string().ok()).map(String::as_str)
    }

    fn read(&self, name: &str, device: &Device) -> Result<QTensor> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        self.content.tensor(&mut *reader, &gguf_name(name), device)
    }
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::U8(value) => Some(i64::from(*value)),
        Value::I8(value) => Some(i64::from(*value)),
        Value::U16(value) => Some(i64::from(*value)),
        Value::I16(value) => Some(i64::from(*value)),
        Value::U32(value) => Some(i64::from(*value)),
        Value::I32(value) => Some(i64::from(*value)),
        Value::U64(value) => i64::try_from(*value).ok(),
        Value::I64(value) => Some(*value),
        _ => None,
    }
}

/// What llama.cpp calls a tensor of the published files.
fn gguf_name(name: &str) -> String {
    let parts: HashMap<&str, &str> = HashMap::from([
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ]);
    match name {
        "model.embed_tokens.weight" => "token_embd.weight".to_owned(),
        "model.norm.weight" => "output_norm.weight".to_owned(),
        "lm_head.weight" => "output.weight".to_owned(),
        _ => {
            let renamed = || {
                let (index, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
                let part = parts.get(rest.strip_suffix(".weight")?)?;
                Some(format!("blk.{index}.{part}.weight"))
            };
            renamed().unwrap_or_else(|| name.to_owned())
        }
    }
}

impl TensorFile for Gguf {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.content.tensor_infos.get(&gguf_name(name)).map(|info| info.shape.dims().to_vec())
    }

    fn load(&self, name: &str, device: &Device) -> Result<Tensor> {
        self.read(name, device)?.dequantize(device)
    }

    fn load_quantised(&self, name: &str, device: &Device) -> Result<Option<QTensor>> {
        let kind = self.content.tensor_infos.get(&gguf_name(name)).map(|info| info.ggml_dtype);
        match kind {
            Some(GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16) | None => Ok(None),
            Some(_) => self.read(name, device).map(Some),
        }
    }
}
