//! What of the built-in engine is installed on this machine: the host program, the speech library, its voices and languages.
//!
//! One value is shared by all engine threads. What is missing is looked for again every few seconds, so that installing it helps without
//! a restart; what is found stays found until a host says otherwise. It may not know requests or samples.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::BuiltinConfig;
use super::host::{self, Host, HostError};
use super::install::{self, ESPEAK_NG, MECAB, Packages};
use super::language::{Language, Languages};
use super::overlay::Overlay;
use crate::speech::{Availability, EngineError};

/// Far above the 20 ms that a greeting and a list of voices take, for machines under load.
pub(super) const GREETING_LIMIT: Duration = Duration::from_secs(10);

const OS_RELEASE: &str = "/etc/os-release";

/// All that an engine thread needs to start a host and to name a voice.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) program: PathBuf,
    pub(super) library: String,
    pub(super) languages: Languages,
    pub(super) overlay: Overlay,
    /// Differs when the library's data does.
    pub(super) data_size_bytes: u64,
}

#[derive(Debug, Clone)]
struct Missing {
    what: String,
    command: String,
}

#[derive(Debug)]
enum State {
    Unknown,
    Found(Arc<Found>),
    Missing { missing: Missing, looked_at: Instant },
}

/// The built-in engine's share of this machine. Cheap to ask; the first question, and one now and then while something is missing,
/// start a process for some 20 ms.
#[derive(Debug)]
pub struct Installation {
    config: BuiltinConfig,
    state: Mutex<State>,
}

impl Installation {
    /// Looks for nothing yet.
    pub fn new(config: BuiltinConfig) -> Arc<Self> {
        Arc::new(Self { config, state: Mutex::new(State::Unknown) })
    }

    pub fn availability(&self) -> Availability {
        match self.look() {
            Ok(_) => Availability::Ready,
            Err(Missing { what, command }) => Availability::Missing { what, command },
        }
    }

    /// All languages that can be spoken, in the order of tags; empty while something is missing.
    pub fn languages(&self) -> Vec<Language> {
        self.look().map(|found| found.languages.list()).unwrap_or_default()
    }

    /// The error says which command helps.
    pub(super) fn found(&self) -> Result<Arc<Found>, EngineError> {
        self.look().map_err(|Missing { what, command }| EngineError::Unavailable { what, command })
    }

    pub(super) fn config(&self) -> &BuiltinConfig {
        &self.config
    }

    /// The next question looks anew: a host could not be started, or found another library.
    pub(super) fn doubt(&self) {
        *self.state() = State::Unknown;
    }

    /// Text cannot be read without this tool.
    pub(super) fn without_mecab(&self) -> EngineError {
        EngineError::Unavailable { what: "mecab".to_owned(), command: install_command(MECAB) }
    }

    fn look(&self) -> Result<Arc<Found>, Missing> {
        let recheck = Duration::from_millis(self.config.recheck_ms);
        let mut state = self.state();
        match &*state {
            State::Found(found) => return Ok(Arc::clone(found)),
            State::Missing { missing, looked_at } if looked_at.elapsed() < recheck => return Err(missing.clone()),
            _ => {}
        }
        match probe(&self.config) {
            Ok(found) => {
                let found = Arc::new(found);
                tracing::info!(espeak.version = found.library, espeak.languages = found.languages.list().len(), "speech library found");
                *state = State::Found(Arc::clone(&found));
                Ok(found)
            }
            Err(missing) => {
                #[allow(clippy::disallowed_methods, reason = "the age of a look at the machine, which no result depends on")]
                let looked_at = Instant::now();
                *state = State::Missing { missing: missing.clone(), looked_at };
                Err(missing)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn probe(config: &BuiltinConfig) -> Result<Found, Missing> {
    let program = host::find_program(config.host_program.as_deref());
    let patient: &mut dyn FnMut() -> ControlFlow<()> = &mut || ControlFlow::Continue(());
    let listed = Host::start(&program, None, GREETING_LIMIT, patient).and_then(|mut host| {
        let voices = host.voices(GREETING_LIMIT, patient)?;
        Ok((host.hello.clone(), voices))
    });
    let (hello, voices) = listed.map_err(|error| missing(&program, &error))?;
    let data_path = fs::canonicalize(&hello.data_path).unwrap_or_else(|_| hello.data_path.clone());
    let overlay = Overlay::create(&config.variants_folder, &data_path, &hello.library).map_err(|error| {
        tracing::error!(folder = %config.variants_folder.display(), %error, "the folder for voice variants cannot be made");
        let folder = config.variants_folder.display();
        Missing { what: format!("a writable folder {folder}"), command: format!("mkdir -p {folder} && chown $(id -u) {folder}") }
    })?;
    Ok(Found {
        program,
        languages: Languages::from_voices(&voices),
        overlay,
        data_size_bytes: size_bytes(&data_path),
        library: hello.library,
    })
}

fn missing(program: &Path, error: &HostError) -> Missing {
    match error {
        HostError::NoLibrary(_) => Missing { what: "espeak-ng".to_owned(), command: install_command(ESPEAK_NG) },
        _ => {
            tracing::warn!(program = %program.display(), %error, "the speech host does not answer");
            Missing { what: "clonyvoice-espeak-host".to_owned(), command: "cargo install --locked --path engine/espeak-host".to_owned() }
        }
    }
}

fn install_command(packages: Packages) -> String {
    let os_release = fs::read_to_string(OS_RELEASE).unwrap_or_default();
    install::command(packages, &os_release, cfg!(target_os = "macos"))
}

/// Of the files right in the folder: phonemes, intonation and dictionaries. Unreadable files count nothing.
fn size_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries.filter_map(|entry| entry.ok()?.metadata().ok()).filter(fs::Metadata::is_file).map(|file| file.len()).sum()
}
