//! What the tests need of the machine: the host program, built from this checkout, and the speech library.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::SystemTime;

use engine::builtin::{BuiltinConfig, BuiltinEngine, BuiltinVoice, Installation};
use engine::speech::{Availability, EngineError, Speech, SpeechEngine as _, SynthesisRequest, VoiceProfile};
use tempfile::TempDir;

pub(crate) struct Installed {
    pub(crate) installation: Arc<Installation>,
    pub(crate) folder: TempDir,
}

impl Installed {
    pub(crate) fn engine(&self) -> BuiltinEngine {
        BuiltinEngine::new(Arc::clone(&self.installation))
    }
}

/// `None`, and a line on stderr, when the test cannot be made here.
pub(crate) fn installed(test: &str) -> Option<Installed> {
    let folder = tempfile::tempdir().unwrap();
    let config = BuiltinConfig { host_program: Some(host_program()), ..BuiltinConfig::new(folder.path().join("variants")) };
    let installation = Installation::new(config);
    match installation.availability() {
        Availability::Ready => Some(Installed { installation, folder }),
        Availability::Missing { what, command } => {
            skip(test, &format!("{what} missing ({command})"));
            None
        }
    }
}

/// `false`, and a line on stderr, when kanji cannot be read here.
pub(crate) fn mecab_installed(test: &str) -> bool {
    let installed = Command::new("mecab").arg("--version").output().is_ok_and(|output| output.status.success());
    if !installed {
        skip(test, "mecab missing");
    }
    installed
}

pub(crate) fn skip(test: &str, why: &str) {
    assert!(std::env::var_os("CLONYVOICE_TESTS_REQUIRE_TOOLS").is_none_or(|value| value != "1"), "{test}: {why}");
    eprintln!("SKIPPED {test}: {why}");
}

/// The host that cargo has built beside the tests; built now where it is missing or older than its source.
pub(crate) fn host_program() -> PathBuf {
    let name = format!("clonyvoice-espeak-host{}", std::env::consts::EXE_SUFFIX);
    let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("espeak-host");
    let newest = fs::read_dir(source.join("src")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().modified().unwrap()).max();
    let built = fs::metadata(&program).and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    if Some(built) < newest {
        let cargo = Command::new(env!("CARGO")).args(["build", "--quiet", "-p", "espeak-host"]).current_dir(source).status().unwrap();
        assert!(cargo.success(), "the speech host cannot be built");
    }
    program
}

pub(crate) fn request(text: &str, language: &str, voice: &BuiltinVoice) -> SynthesisRequest {
    SynthesisRequest {
        text: text.to_owned(),
        voice: VoiceProfile::Builtin(voice.clone()),
        language: language.to_owned(),
        speed: 1.0,
        pitch_semitones: 0.0,
        seed: 0,
        instruct: None,
    }
}

pub(crate) fn speak(engine: &mut BuiltinEngine, request: &SynthesisRequest) -> Result<Speech, EngineError> {
    engine.synthesize(request, &mut |_| ControlFlow::Continue(()))
}

pub(crate) fn seconds(speech: &Speech) -> f64 {
    speech.samples.len() as f64 / f64::from(engine::speech::SAMPLE_RATE_HZ)
}
