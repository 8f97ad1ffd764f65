//! Which engines there are: the wiring between the configuration and the `engine` crate, for the server, for `say` and for `doctor`.

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Instant;

use engine::builtin::{BuiltinConfig, BuiltinEngine, Installation};
use engine::engines::Engines;
use engine::handle::{EngineConfig, EngineHandle};
use engine::neural_models::NeuralModelsConfig;
use engine::qwen3_tts::Precision;
use engine::resident::Residents;
use engine::speech::{EngineError, SpeechEngine};
use jobs::choose_engine::EngineWish;
use jobs::clock::Clock;
use models::library::Library;
use storage::data_folder::DataFolder;

use crate::config::{Config, EngineChoice, ModelsPrecision};

/// How often it is looked whether a model has been idle for too long.
const UNLOAD_EVERY_MS: u64 = 10_000;

/// How many chunks are spoken at the same time.
pub fn workers(config: &Config) -> usize {
    match config.speech_workers {
        0 => available_parallelism().map_or(1, NonZero::get).saturating_sub(1).max(1),
        workers => workers as usize,
    }
}

/// Jobs of speech at the same time: neural models speak several in the time of one, the built-in engine lets them wait in its mailbox.
pub fn slots(config: &Config, engines: &Engines) -> usize {
    let neural = if engines.offer().installed.is_empty() { 0 } else { config.neural_slots as usize };
    workers(config).max(neural)
}

/// What requests get that name no engine.
pub fn wish(config: &Config) -> EngineWish {
    match config.engine {
        EngineChoice::Auto | EngineChoice::Scripted => EngineWish::Auto,
        EngineChoice::Builtin => EngineWish::Builtin,
        EngineChoice::Qwen3Tts => EngineWish::Neural,
    }
}

/// The models in memory of a process, none yet.
#[allow(clippy::disallowed_methods, reason = "the zero of the steady clock")]
pub fn residents() -> Residents {
    let started = Instant::now();
    Residents::new(move || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// After how long an unused model is freed; 0 for never.
pub fn idle_ms(config: &Config) -> u64 {
    u64::from(config.models_idle_minutes) * 60_000
}

/// How the large matrices of models are kept.
pub fn precision(config: &Config) -> Precision {
    match config.models_precision {
        ModelsPrecision::F32 => Precision::F32,
        ModelsPrecision::Q8_0 => Precision::Q8,
        ModelsPrecision::Q4_0 => Precision::Q4,
    }
}

/// Frees models that nobody uses, for ever.
pub async fn unload_idle(residents: Residents, clock: Arc<dyn Clock>) {
    loop {
        clock.sleep(UNLOAD_EVERY_MS).await;
        let residents = residents.clone();
        if let Ok(gone) = tokio::task::spawn_blocking(move || residents.unload_idle()).await
            && !gone.is_empty()
        {
            tracing::info!(models = gone.join(", "), "freed: nobody used them for a while");
        }
    }
}

/// Starts the threads; blocks until the first engine is there, some tens of milliseconds. Neural models are looked at, and not loaded.
pub fn start(config: &Config, folder: &DataFolder, library: &Library, residents: Residents) -> Result<Engines, EngineError> {
    let neural = NeuralModelsConfig {
        library: library.clone(),
        precision: precision(config),
        slots: config.neural_slots as usize,
        idle_ms: idle_ms(config),
    };
    let engines = Engines::new(start_builtin(config, folder)?, neural, residents);
    // What lies there already is read now, and not while the first request waits.
    engines.offer();
    Ok(engines)
}

fn start_builtin(config: &Config, folder: &DataFolder) -> Result<EngineHandle, EngineError> {
    let handle = EngineConfig { name: "speech".into(), threads: workers(config), ..EngineConfig::default() };
    match config.engine {
        EngineChoice::Scripted => scripted(config, handle),
        EngineChoice::Auto | EngineChoice::Builtin | EngineChoice::Qwen3Tts => {
            let installation = Installation::new(builtin_config(config, folder.engine()));
            EngineHandle::start(handle, move || Ok(Box::new(BuiltinEngine::new(installation.clone())) as Box<dyn SpeechEngine>))
        }
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
