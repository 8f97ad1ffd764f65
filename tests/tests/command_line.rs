//! The program without its server: `say`, `doctor`, `keys`, and what a wrong call is told.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use tests::TestServer;
use tests::script;
use tests::server::{SCOPES, program_path};
use tests::tools::{self, Tool};

#[test]
fn say_writes_a_file() {
    if !tools::has("command_line::say_writes_a_file", &[Tool::Espeak]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.wav");
    let mut command = Command::new(program_path("clonyvoice"));
    command.args(["say", "Good evening, Skarv Radio.", "--voice", "harold", "-o"]).arg(&file);
    command.arg("--data-dir").arg(folder.path().join("data"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut wav = hound::WavReader::open(&file).unwrap();
    assert_eq!((wav.spec().sample_rate, wav.spec().channels), (24_000, 1));
    let samples: Vec<i32> = wav.samples::<i32>().map(Result::unwrap).collect();
    assert!((12_000..240_000).contains(&samples.len()), "half a second to ten: {}", samples.len());
    assert!(samples.iter().any(|sample| sample.abs() > 1_000), "not silence");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_the_scopes_it_was_given() {
    let server = TestServer::scripted(script::at_once()).await;
    let with = |key: &str| server.client_with(Some(key));
    let all = server.run(&["keys", "create", "--name", "all"]).await;
    with(all.trim()).get("/api/queue/status").await.expect(200);
    let few = server.new_key("few", &SCOPES[..1]).await;
    with(&few).get("/api/queue/status").await.problem(403, "insufficient_scope");
}

#[test]
fn a_wrong_call_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(program_path("clonyvoice"));
        command.args(arguments).arg("--data-dir").arg(folder.path().join("data"));
        command.output().unwrap()
    };
    for (arguments, reason) in [
        (["keys", "create", "--name", "x", "--scopes", "tts:sing"].as_slice(), "tts:sing"),
        (["keys", "create", "--name", "x", "--limits", "tts:generate"].as_slice(), "limit"),
        (["say", "Hello.", "--voice", "nobody", "-o", "/dev/null"].as_slice(), "nobody"),
        (["serve", "--listen", "everywhere"].as_slice(), "everywhere"),
        (["sing"].as_slice(), "sing"),
    ] {
        let output = run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(said.contains(reason), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

/// A manifest of the operator's, its files in a folder, and all verbs on them.
#[test]
fn a_model_comes_from_a_folder_is_checked_and_goes() {
    let folder = tempfile::tempdir().unwrap();
    let (catalogue, files) = (folder.path().join("catalogue"), folder.path().join("files"));
    std::fs::create_dir_all(&catalogue).unwrap();
    std::fs::create_dir_all(&files).unwrap();
    let manifest = r#"
        id = "pocket"
        name = "Pocket"
        family = "qwen3-tts"
        abilities = ["clone"]
        languages = ["en"]
        parameters_millions = 1
        licence = "CC0-1.0"
        hub = { repo = "nobody/pocket", revision = "main" }
        files = [{ path = "config.json" }, { path = "model.safetensors" }]
        memory_mb = { f32 = 4 }
    "#;
    std::fs::write(catalogue.join("pocket.toml"), manifest).unwrap();
    std::fs::write(files.join("config.json"), "{}").unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(program_path("clonyvoice"));
        command.arg("models").args(arguments).arg("--data-dir").arg(folder.path().join("data"));
        // A port where nobody listens.
        command.env("CLONYVOICE_MODELS_CATALOGUE_DIR", &catalogue).env("CLONYVOICE_MODELS_ENDPOINT", "http://127.0.0.1:9");
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let from = files.to_str().unwrap();
    let (code, _, told) = run(&["pull", "pocket", "--from", from]);
    assert!(code == 1 && told.contains("model.safetensors"), "what is missing is named: {told}");
    std::fs::write(files.join("model.safetensors"), "weights").unwrap();
    let (code, said, told) = run(&["pull", "pocket", "--from", from]);
    assert!(code == 0 && said.starts_with("pocket: "), "{said} {told}");
    let (_, listed, _) = run(&["list"]);
    let line = listed.lines().find(|line| line.starts_with("pocket ")).unwrap();
    assert!(line.contains("installed from a folder") && line.contains("CC0-1.0"), "{line}");
    assert!(listed.contains("qwen3-tts-0.6b-base") && listed.contains("can be pulled"), "{listed}");
    assert_eq!(run(&["verify"]).0, 0);
    std::fs::write(folder.path().join("data/models/pocket/model.safetensors"), "wEights").unwrap();
    let (code, _, told) = run(&["verify", "pocket"]);
    assert!(code == 1 && told.contains("model.safetensors has other bytes"), "{told}");
    assert_eq!((run(&["remove", "pocket"]).0, run(&["remove", "pocket"]).0), (0, 1));
    let (code, _, told) = run(&["verify", "pocket"]);
    assert!(code == 1 && told.contains("not installed"), "{told}");
    let (code, _, told) = run(&["pull", "unheard-of"]);
    assert!(code == 1 && told.contains("qwen3-tts-0.6b-base"), "what there is is named: {told}");
}
