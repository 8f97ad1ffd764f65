//! The checkpoints of `tests/fixtures`, and copies of them to be spoilt.

use std::fs;
use std::path::{Path, PathBuf};

use engine::qwen3_tts::{LoadConfig, Model, Precision};
use tempfile::TempDir;

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/qwen3_tts").join(name)
}

pub(crate) fn model(name: &str, precision: Precision) -> Model {
    Model::load(&LoadConfig { folder: fixture(name), precision }).unwrap()
}

/// A copy that a test may change.
pub(crate) fn copy(name: &str) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(&fixture(name), copy.path());
    copy
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
