//! Which engine speaks: the wiring between the configuration and the `engine` crate, for the server, for `say` and for `doctor`.

use std::num::NonZero;
use std::path::PathBuf;
use std::thread::available_parallelism;

use engine::builtin::{BuiltinConfig, BuiltinEngine, Installation};
use engine::handle::{EngineConfig, EngineHandle};
use engine::speech::{EngineError, SpeechEngine};
use storage::data_folder::DataFolder;

use crate::config::{Config, EngineChoice};

/// How many chunks are spoken at the same time.
pub fn workers(config: &Config) -> usize {
    match config.speech_workers {
        0 => available_parallelism().map_or(1, NonZero::get).saturating_sub(1).max(1),
        workers => workers as usize,
    }
}

/// Starts the threads; blocks until the first engine is there, some tens of milliseconds.
pub fn start(config: &Config, folder: &DataFolder) -> Result<EngineHandle, EngineError> {
    let threads = workers(config);
    let handle = EngineConfig { name: "speech".into(), threads, ..EngineConfig::default() };
    match config.engine {
        EngineChoice::Builtin => {
            let installation = Installation::new(builtin_config(config, folder.engine()));
            EngineHandle::start(handle, move || Ok(Box::new(BuiltinEngine::new(installation.clone())) as Box<dyn SpeechEngine>))
        }
        EngineChoice::Scripted => scripted(config, handle),
    }
}

/// Where the built-in engine looks for its parts.
pub fn builtin_config(config: &Config, engine_folder: PathBuf) -> BuiltinConfig {
    BuiltinConfig { host_program: config.espeak_host.clone(), ..BuiltinConfig::new(engine_folder) }
}

#[cfg(debug_assertions)]
fn scripted(config: &Config, handle: EngineConfig) -> Result<EngineHandle, EngineError> {
    use engine::scripted::{Script, ScriptedEngines};

    let script = config.engine_script.as_deref().unwrap_or("{}");
    let script: Script = serde_json::from_str(script).map_err(|error| EngineError::Refused(format!("engine_script: {error}")))?;
    let engines = ScriptedEngines::new(script);
    EngineHandle::start(handle, move || Ok(Box::new(engines.engine()) as Box<dyn SpeechEngine>))
}

#[cfg(not(debug_assertions))]
fn scripted(_config: &Config, _handle: EngineConfig) -> Result<EngineHandle, EngineError> {
    Err(EngineError::Refused("engine: the scripted engine is for tests and not in this build".into()))
}
