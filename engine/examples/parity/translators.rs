//! The golden tensors of a T5 and of a Qwen3, computed here and compared. Used by the example and by the tests.
//!
//! Each is computed twice: all tokens at once, and token by token with the cache, which must be the same.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use engine::qwen3_tts::{LoadConfig, Precision};
use engine::translate::{Qwen3Lm, T5};

type Failure = Box<dyn std::error::Error>;

/// Largest absolute differences that are float noise (`../shared/reference/README.md`).
const HIDDEN: f32 = 1e-4;
const LOGITS: f32 = 2e-4;
const EXACT: f32 = 0.0;

/// Name, largest absolute difference, tolerance.
pub(crate) type Compared = (String, f32, f32);

/// `None` where the folder holds neither.
pub(crate) fn run(folder: &Path) -> Result<Option<Vec<Compared>>, Failure> {
    let config: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(folder.join("config.json"))?)?;
    match config["model_type"].as_str() {
        Some("t5") => t5(folder, config["eos_token_id"].as_u64().unwrap_or(1) as u32).map(Some),
        Some("qwen3") => qwen3(folder).map(Some),
        _ => Ok(None),
    }
}

fn golden(folder: &Path) -> Result<HashMap<String, Tensor>, Failure> {
    Ok(candle_core::safetensors::load(folder.join("golden.safetensors"), &Device::Cpu)?)
}

fn ids(tensor: &Tensor) -> Result<Vec<u32>, Failure> {
    Ok(tensor.flatten_all()?.to_dtype(DType::U32)?.to_vec1()?)
}

fn difference(ours: &Tensor, golden: &Tensor) -> Result<f32, Failure> {
    let golden = golden.squeeze(0)?;
    if ours.dims() != golden.dims() {
        return Ok(f32::INFINITY);
    }
    let worst = (ours - golden)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
    Ok(if worst.is_nan() { f32::INFINITY } else { worst })
}

/// How many tokens are not the likeliest behind the ones before.
fn wrong_choices(logits: &Tensor, said: &[u32]) -> Result<f32, Failure> {
    let best: Vec<u32> = logits.argmax(1)?.to_vec1()?;
    Ok(best.iter().zip(&said[1..]).filter(|(ours, golden)| ours != golden).count() as f32)
}

fn t5(folder: &Path, eos: u32) -> Result<Vec<Compared>, Failure> {
    let golden = golden(folder)?;
    let model = T5::load(&LoadConfig { folder: folder.to_owned(), precision: Precision::F32 })?;
    let (source, said) = (ids(&golden["src"])?, ids(&golden["dec_ids"])?);
    let encoded = model.encode(&source)?;
    let whole = model.step(&mut model.begin(&encoded, said.len())?, &said)?;
    let mut state = model.begin(&encoded, said.len())?;
    let steps = said.iter().map(|id| model.step(&mut state, &[*id])).collect::<candle_core::Result<Vec<_>>>()?;
    let stepped = Tensor::cat(&steps, 0)?;
    let named = |name: &str, difference: f32, tolerance: f32| (name.to_owned(), difference, tolerance);
    Ok(vec![
        named("src ends with the end of text", f32::from(u8::from(source.last() != Some(&eos))), EXACT),
        named("encoder", difference(&encoded, &golden["encoder"])?, HIDDEN),
        named("logits, all at once", difference(&whole, &golden["logits"])?, LOGITS),
        named("logits, step by step", difference(&stepped, &golden["logits"])?, LOGITS),
        named("greedy ids", wrong_choices(&stepped, &said)?, EXACT),
    ])
}

fn qwen3(folder: &Path) -> Result<Vec<Compared>, Failure> {
    let golden = golden(folder)?;
    let model = Qwen3Lm::load(&LoadConfig { folder: folder.to_owned(), precision: Precision::F32 })?;
    let ids = ids(&golden["ids"])?;
    let whole = model.step(&mut model.begin(ids.len())?, &ids)?;
    let mut state = model.begin(ids.len())?;
    let steps = ids.iter().map(|id| model.step(&mut state, &[*id])).collect::<candle_core::Result<Vec<_>>>()?;
    let stepped = Tensor::cat(&steps, 0)?;
    Ok(vec![
        ("logits, all at once".to_owned(), difference(&whole, &golden["logits"])?, LOGITS),
        ("logits, step by step".to_owned(), difference(&stepped, &golden["logits"])?, LOGITS),
    ])
}
