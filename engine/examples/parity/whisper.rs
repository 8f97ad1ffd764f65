//! The golden tensors of a Whisper, computed here and compared. Used by the example and by the tests.
//!
//! The decoder is computed twice: all tokens at once, and token by token with the cache, which must be the same.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use engine::whisper::{Parts, Precision};

type Failure = Box<dyn std::error::Error>;

/// Largest absolute differences that are float noise (`../shared/reference/README.md`).
const FILTERS: f32 = 1e-5;
/// The reference's transform is in f32.
const MEL: f32 = 5e-5;
const HIDDEN: f32 = 1e-4;
const LOGITS: f32 = 2e-4;

/// Name, largest absolute difference, tolerance.
pub(crate) type Compared = (String, f32, f32);

/// `None` where the folder holds no Whisper.
pub(crate) fn run(folder: &Path) -> Result<Option<Vec<Compared>>, Failure> {
    let config: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(folder.join("config.json"))?)?;
    if config["model_type"] != "whisper" {
        return Ok(None);
    }
    let golden: HashMap<String, Tensor> = candle_core::safetensors::load(folder.join("golden.safetensors"), &Device::Cpu)?;
    let parts = Parts::load(folder, Precision::F32)?;
    let samples: Vec<f32> = golden["pcm"].to_vec1()?;
    let mel = parts.mel(&samples)?;
    // Each stage from the reference's own input, so that it is held to its own tolerance; and all of them, end to end.
    let states = parts.encode(&golden["mel"].squeeze(0)?)?;
    let end_to_end = parts.encode(&mel)?;
    let ids: Vec<u32> = golden["dec_ids"].flatten_all()?.to_dtype(DType::U32)?.to_vec1()?;
    let golden_states = golden["encoder"].squeeze(0)?;
    let mut compared = vec![
        named("mel filters", &parts.mel_filters().concat(), &golden["mel_filters"], FILTERS)?,
        named("mel", &flat(&mel)?, &golden["mel"], MEL)?,
        named("encoder", &flat(&states)?, &golden["encoder"], HIDDEN)?,
        named("encoder, from the sound", &flat(&end_to_end)?, &golden["encoder"], HIDDEN)?,
    ];
    for (how, at_once) in [("all at once", ids.len()), ("step by step", 1)] {
        let read = parts.read(&golden_states, &ids, at_once)?;
        compared.push(named(&format!("logits, {how}"), &read.logits.concat(), &golden["logits"], LOGITS)?);
        let looks = read.looks.concat().concat().concat();
        compared.push(named(&format!("cross attention, {how}"), &looks, &golden["cross_attn"], HIDDEN)?);
    }
    Ok(Some(compared))
}

fn flat(tensor: &Tensor) -> Result<Vec<f32>, Failure> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

fn named(name: &str, ours: &[f32], golden: &Tensor, tolerance: f32) -> Result<Compared, Failure> {
    let golden = flat(&golden.to_dtype(DType::F32)?)?;
    if ours.len() != golden.len() {
        return Ok((format!("{name} ({} values, not {})", ours.len(), golden.len()), f32::INFINITY, tolerance));
    }
    let difference = |(a, b): (&f32, &f32)| (a - b).abs();
    let worst = |worst: f32, next: f32| if next.is_nan() { f32::INFINITY } else { worst.max(next) };
    Ok((name.to_owned(), ours.iter().zip(&golden).map(difference).fold(0.0, worst), tolerance))
}
