//! Every golden tensor of the three variants, and that the comparison itself can fail.

use candle_core::{Device, Tensor, safetensors};

use crate::cases::{self, Line};
use crate::folders::{copy, fixture};

fn out(lines: &[Line]) -> Vec<String> {
    lines.iter().filter(|line| !line.ok()).map(ToString::to_string).collect()
}

fn holds(variant: &str, least: usize) {
    let lines = cases::run(&fixture(variant)).unwrap();
    assert_eq!(out(&lines), Vec::<String>::new());
    assert!(lines.len() >= least, "only {} tensors were compared", lines.len());
}

#[test]
fn base_clones_as_the_reference_does() {
    holds("base", 60);
}

#[test]
fn custom_voice_speaks_as_the_reference_does() {
    holds("custom_voice", 50);
}

#[test]
fn voice_design_speaks_as_the_reference_does() {
    holds("voice_design", 40);
}

#[test]
fn a_golden_value_that_differs_is_out_and_so_is_one_that_nobody_computes() {
    let folder = copy("voice_design");
    let path = folder.path().join("golden.safetensors");
    let mut golden = safetensors::load(&path, &Device::Cpu).unwrap();
    let logits = &golden["design_auto_full.talker_logits"];
    golden.insert("design_auto_full.talker_logits".to_owned(), (logits + 3e-4).unwrap());
    golden.insert("design_auto_full.unheard_of".to_owned(), Tensor::new(&[1_f32], &Device::Cpu).unwrap());
    safetensors::save(&golden, &path).unwrap();
    let lines = cases::run(folder.path()).unwrap();
    let names: Vec<_> = lines.iter().filter(|line| !line.ok()).map(|line| line.name.as_str()).collect();
    assert_eq!(names, ["design_auto_full.talker_logits", "design_auto_full.unheard_of"]);
    let logits = lines.iter().find(|line| line.name == "design_auto_full.talker_logits").unwrap();
    assert!(logits.difference > logits.tolerance && logits.difference < 2.0 * logits.tolerance);
}
