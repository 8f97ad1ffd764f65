//! Whisper on the reference's tiny checkpoint: equal to golden outputs, and true to what it promises of itself.
#![allow(clippy::unwrap_used)]

#[path = "../../examples/parity/whisper.rs"]
mod parity;

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor, safetensors};
use engine::whisper::{LogMel, ModelError, Parts, Precision};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/whisper")
}

fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

fn out(compared: &[parity::Compared]) -> Vec<String> {
    compared.iter().filter(|(_, difference, tolerance)| difference > tolerance).map(|line| format!("{line:?}")).collect()
}

#[test]
fn it_hears_and_writes_as_the_reference_does() {
    let compared = parity::run(&fixture()).unwrap().unwrap();
    assert_eq!(out(&compared), Vec::<String>::new());
    assert_eq!(compared.len(), 8);
}

#[test]
fn a_golden_value_that_differs_is_out() {
    let folder = copy();
    let path = folder.path().join("golden.safetensors");
    let mut golden = safetensors::load(&path, &Device::Cpu).unwrap();
    let mel = (&golden["mel"] + 1e-3).unwrap();
    golden.insert("mel".to_owned(), mel);
    safetensors::save(&golden, &path).unwrap();
    let compared = parity::run(folder.path()).unwrap().unwrap();
    assert!(out(&compared).iter().any(|line| line.starts_with("(\"mel\"")), "{compared:?}");
}

#[test]
fn quantised_weights_say_nearly_the_same() {
    let golden = safetensors::load(fixture().join("golden.safetensors"), &Device::Cpu).unwrap();
    let states = golden["encoder"].squeeze(0).unwrap();
    let ids = [190, 191, 192, 5, 9, 44];
    let logits = |precision| {
        let parts = Parts::load(&fixture(), precision).unwrap();
        parts.read(&states, &ids, 6).unwrap().logits.concat()
    };
    let (full, small) = (logits(Precision::F32), logits(Precision::Q8));
    let largest = full.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let worst = full.iter().zip(&small).fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs()));
    assert!(worst > 0.0 && worst < 0.05 * largest, "{worst} of {largest}");
}

/// A tone is loudest in its own band, whatever the number of bands, and everything lies within two units of the loudest.
#[test]
fn bands_of_both_sizes_hear_a_tone_where_it_is() {
    for bands in [80, 128] {
        let mel = LogMel::new(bands, 16_000);
        let tone: Vec<f32> = (0..16_000).map(|at| (at as f32 * 1_000.0 * std::f32::consts::TAU / 16_000.0).sin() * 0.5).collect();
        let frames = mel.frames(&tone).unwrap();
        assert_eq!(frames.len(), bands * 100);
        let at_half: Vec<f32> = (0..bands).map(|band| frames[band * 100 + 50]).collect();
        let loudest = (0..bands).max_by(|a, b| at_half[*a].total_cmp(&at_half[*b])).unwrap();
        let filters = mel.filters();
        let own = (0..bands).max_by(|a, b| filters[*a][25].total_cmp(&filters[*b][25])).unwrap();
        assert_eq!(loudest, own, "{bands} bands");
        let (least, most) = frames.iter().fold((f32::MAX, f32::MIN), |(least, most), value| (least.min(*value), most.max(*value)));
        assert!(most - least <= 2.0 + 1e-5);
    }
}

#[test]
fn folders_that_are_none_say_what_is_wrong() {
    let wrong = |change: &dyn Fn(&Path)| {
        let folder = copy();
        change(folder.path());
        match Parts::load(folder.path(), Precision::F32).unwrap_err() {
            ModelError::Folder { detail, .. } => detail,
            other => panic!("{other}"),
        }
    };
    let replaced = |from: &str, to: &str| {
        let (from, to) = (from.to_owned(), to.to_owned());
        wrong(&move |folder: &Path| {
            let config = folder.join("config.json");
            let text = std::fs::read_to_string(&config).unwrap();
            assert!(text.contains(&from));
            std::fs::write(&config, text.replace(&from, &to)).unwrap();
        })
    };
    assert!(replaced("\"d_model\": 32", "\"d_model\": 0").contains("d_model is 0"));
    assert!(replaced("\"decoder_attention_heads\": 4", "\"decoder_attention_heads\": 5").contains("cannot be shared by 5 heads"));
    assert!(replaced("\"max_source_positions\": 1500", "\"max_source_positions\": 99999").contains("max_source_positions"));
    assert!(replaced("\"vocab_size\": 200", "\"vocab_size\": 201").contains("the configuration says [201, 32]"));
    assert!(!wrong(&|folder| std::fs::remove_file(folder.join("model.safetensors")).unwrap()).is_empty());
    let without_norm = wrong(&|folder| {
        let path = folder.join("model.safetensors");
        let mut tensors: std::collections::HashMap<String, Tensor> = safetensors::load(&path, &Device::Cpu).unwrap();
        tensors.remove("model.encoder.layer_norm.weight").unwrap();
        safetensors::save(&tensors, &path).unwrap();
    });
    assert!(without_norm.contains("encoder.layer_norm.weight"), "{without_norm}");
}
