//! `make demo` as a newcomer runs it, with the kill in the middle: it ends well, and its files are whole.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Stdio};

use tests::server::program_path;
use tests::tools::{self, Tool};

#[test]
fn the_whole_story_across_a_killed_server() {
    if !tools::has("demo::the_whole_story_across_a_killed_server", &[Tool::Espeak]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(program_path("demo"));
    command.current_dir(folder.path()).env("DEMO_EXIT", "1").env("KILL", "20").env_remove("DEMO_DATA_DIR");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(told.matches("killed by signal 9 and has been started again").count(), 1, "{told}");
    for figure in ["LUFS", "real-time factor", "/docs", "X-API-Key: cvk_"] {
        assert!(told.contains(figure), "{figure} is not in:\n{told}");
    }

    let wav = hound::WavReader::open(folder.path().join("demo.wav")).unwrap();
    let minutes = f64::from(wav.duration()) / f64::from(wav.spec().sample_rate) / 60.0;
    assert!((8.0..14.0).contains(&minutes), "1,900 words take ten minutes or so, not {minutes:.1}");
    let srt = std::fs::read_to_string(folder.path().join("demo.srt")).unwrap();
    assert!(srt.contains("Three Minutes of Silence.") && srt.contains("nobody said a word."));
    assert!(!folder.path().join("data/demo-unfinished.json").exists(), "it is finished, and its key is not left behind");
}
