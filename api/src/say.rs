//! `clonyvoice say`: one text into one file, with the engine in this process and neither server nor database.

use std::fs::File;
use std::io::{self, BufWriter};
use std::ops::ControlFlow;
use std::path::Path;

use audio::blocks::{MemoryBlocks, SampleBlocks, SampleFormat};
use audio::merge::{MergeChunk, MergeConfig, MergeError, merge};
use engine::engines::Engines;
use engine::neural_models::Offer;
use engine::speech::{EngineError, SAMPLE_RATE_HZ};
use jobs::choose_engine::EngineWish;
use jobs::plan::{self, Plan, PlanLimits, request_of};
use jobs::submission::{GenerationKind, GenerationOptions, Source, Submission, SubmitError, TraceContext};
use jobs::voices::{self, Voice};
use storage::StorageError;
use storage::data_folder::DataFolder;
use tokio_util::sync::CancellationToken;

use crate::cli::Say;
use crate::config::Config;
use crate::{manage_models, speech};

/// The text is for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum SayError {
    #[error("no voice \"{wanted}\"; there are {known}")]
    NoVoice { wanted: String, known: String },
    #[error("{what} is not installed; this installs it: {command}")]
    NotInstalled { what: String, command: String },
    #[error("{0}")]
    Engine(String),
    #[error("{0}")]
    Text(String),
    #[error("write {path}: {reason}")]
    File { path: String, reason: String },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<EngineError> for SayError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Unavailable { what, command } => Self::NotInstalled { what, command },
            other => Self::Engine(other.to_string()),
        }
    }
}

/// What was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    pub duration_ms: u64,
    pub voice: String,
}

pub async fn say(config: &Config, wish: &Say) -> Result<Said, SayError> {
    let folder = DataFolder::create(&config.data_dir)?;
    let library = manage_models::library(config).map_err(|error| SayError::Engine(error.to_string()))?;
    let engines = speech::start(config, &folder, &library, speech::residents())?;
    let offer = engines.offer();
    let voice = voice_of(&offer, wish.voice.as_deref())?;
    let plan = plan_of(wish, &voice, speech::wish(config), &offer)?;
    let spoken = speak(&engines, &plan).await?;
    let duration_ms = write(&plan, &spoken, &wish.output)?;
    engines.shutdown().await;
    Ok(Said { duration_ms, voice: voice.name })
}

fn voice_of(offer: &Offer, wanted: Option<&str>) -> Result<Voice, SayError> {
    let all = voices::presets(offer);
    let known = || all.iter().map(|voice| voice.id.as_str()).collect::<Vec<_>>().join(", ");
    let found = match wanted {
        Some(wanted) => voices::preset(offer, wanted),
        None => all.first().cloned(),
    };
    found.ok_or_else(|| SayError::NoVoice { wanted: wanted.unwrap_or_default().into(), known: known() })
}

fn plan_of(wish: &Say, voice: &Voice, engine: EngineWish, offer: &Offer) -> Result<Plan, SayError> {
    let options = GenerationOptions {
        language: wish.lang.clone().unwrap_or_else(|| "auto".into()),
        speed: wish.speed,
        engine: Some(engine),
        ..GenerationOptions::default()
    };
    let submission = Submission {
        kind: GenerationKind::Preset,
        source: Source::Text(wish.text.clone()),
        voice_id: Some(voice.id.clone()),
        voices: Default::default(),
        languages: Vec::new(),
        translate: false,
        translator: None,
        options,
        title: None,
        metadata: None,
        montage_id: None,
        priority: 0,
        not_before_ms: None,
        idempotency: None,
        trace: TraceContext::default(),
    };
    plan::plan(&submission, |name| voices::preset(offer, name), &PlanLimits::default(), offer, 0).map_err(|error| match error {
        SubmitError::Invalid(errors) => {
            SayError::Text(errors.iter().map(|error| format!("{} {}", error.field, error.message)).collect::<Vec<_>>().join("; "))
        }
        SubmitError::ModelNotInstalled { what, command } => SayError::NotInstalled { what, command },
        other => SayError::Text(other.to_string()),
    })
}

async fn speak(engines: &Engines, plan: &Plan) -> Result<Vec<Vec<f32>>, SayError> {
    let mut spoken = Vec::with_capacity(plan.chunks.len());
    for chunk in &plan.chunks {
        let voice = &plan.voices[&chunk.voice_id];
        let request = request_of(&chunk.text, &chunk.language, &chunk.spec, voice);
        spoken.push(engines.of(chunk.spec.model.as_deref())?.synthesize(request, CancellationToken::new()).await?.samples);
    }
    Ok(spoken)
}

/// Merges as the server does: pauses, trimmed silence, loudness. Returns the length in milliseconds.
fn write(plan: &Plan, spoken: &[Vec<f32>], path: &Path) -> Result<u64, SayError> {
    let failed = |reason: &dyn std::fmt::Display| SayError::File { path: path.display().to_string(), reason: reason.to_string() };
    let last = plan.chunks.len().saturating_sub(1);
    let pause = |place: usize| (place != last).then(|| u64::from(plan.chunks[place].spec.pause_after_ms));
    let chunks: Vec<MergeChunk> = (0..plan.chunks.len()).map(|place| MergeChunk { pause_after_ms: pause(place) }).collect();
    let format = SampleFormat { rate_hz: SAMPLE_RATE_HZ, channels: 1 };
    let mut open = |index: usize| -> io::Result<Box<dyn SampleBlocks>> { Ok(Box::new(MemoryBlocks::new(spoken[index].clone(), format))) };
    let file = File::create(path).map_err(|error| failed(&error))?;
    let merged = merge(&chunks, &mut open, &MergeConfig::default(), BufWriter::new(file), &mut |_| ControlFlow::Continue(()));
    let (_, report) = merged.map_err(|error: MergeError| failed(&error))?;
    Ok(report.duration_ms)
}
