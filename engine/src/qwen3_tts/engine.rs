//! Requests of the server to speech of this model: text in parts, attempts until the length is believable, samples beside the frames.
//!
//! Every thread of the handle has a [`NeuralEngine`]; they share one model and one batch. Equal requests give equal samples whoever else
//! speaks: slots do not feel each other, and attempts draw from seeds made of the request's. This file may not know tensors or shapes.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use audio::resample::{ResampleConfig, Resampler};

use super::batch::End;
use super::config::{ModelConfig, Variant};
use super::fingerprint::fingerprint;
use super::limits::FrameLimits;
use super::linear::Precision;
use super::model::{LoadConfig, Model, describe};
use super::prompt::{ClonePrompt, Pace, PromptRequest, Speaker};
use super::shared_batch::{Lost, SharedBatch, failure};
use super::voice::{MAX_DESCRIPTION_CHARS, NeuralVoice, language_name};
use super::{DecodeStream, ModelError};
use crate::builtin::{Part, parts, stretch};
use crate::resident::{Resident, ResidentModel, Residents};
use crate::speech::{Availability, Capabilities, EngineError, SAMPLE_RATE_HZ, Speech, SpeechEngine, SynthesisRequest, VoiceProfile};

/// Raised by hand whenever anything in this module changes the samples of an equal request.
const REVISION: u32 = 1;
/// The reference's own limit where nobody says otherwise: 164 s.
const MAX_FRAMES: usize = 2_048;
/// Frames decoded at a time: fast, and the first sound comes early.
const DECODE_FRAMES: usize = 8;
/// Of a clone's recording, decoded before the first frame so that the voice goes on where it was; the reference takes as many.
const CONTEXT_FRAMES: usize = 25;
/// A speech that ran away or stopped early is made again with another seed, so many times in all.
const ATTEMPTS: u64 = 3;

type OnStep<'a> = &'a mut dyn FnMut(f32) -> ControlFlow<()>;

/// Which checkpoint, and how.
#[derive(Debug, Clone)]
pub struct NeuralConfig {
    /// What the model is called where it is shown.
    pub name: String,
    /// Laid out as the published repositories.
    pub folder: PathBuf,
    pub precision: Precision,
    /// Requests that share a step; 1 to 64. More than the handle has threads are of no use.
    pub max_slots: usize,
    /// Unused for so long, the weights are freed; 0 keeps them.
    pub idle_ms: u64,
    /// What fetches the folder, for a person to type.
    pub command: String,
}

/// One checkpoint for all threads of a handle. Its weights are loaded with the first request.
#[derive(Debug)]
pub struct NeuralEngines {
    config: NeuralConfig,
    resident: Arc<Resident<SharedBatch>>,
    residents: Residents,
}

impl NeuralEngines {
    /// Reads nothing yet.
    pub fn new(config: NeuralConfig, residents: &Residents) -> Arc<Self> {
        let resident = Arc::new(Resident::new(config.name.clone(), config.idle_ms));
        residents.add(resident.clone());
        Arc::new(Self { config, resident, residents: residents.clone() })
    }

    /// One for each thread.
    pub fn engine(self: &Arc<Self>) -> NeuralEngine {
        NeuralEngine { engines: Arc::clone(self), resampler: None }
    }

    /// Frees the weights when the last request that speaks now has ended; the next request loads them again.
    pub fn unload(&self) {
        self.resident.unload();
    }

    /// Whether the next request can speak without waiting for weights.
    pub fn is_loaded(&self) -> bool {
        self.resident.report().loaded_bytes.is_some()
    }

    /// What a recording (24 kHz mono, at most [`super::MAX_REFERENCE_S`]) becomes, for Base checkpoints; with what is said in it, where that
    /// is known. Computes for seconds.
    ///
    /// # Errors
    /// As those of [`SpeechEngine::synthesize`].
    pub fn clone_prompt(&self, samples: &[f32], text: Option<&str>) -> Result<ClonePrompt, EngineError> {
        self.shared()?.model.clone_prompt(samples, text).map_err(|error| failure(&error))
    }

    /// The others wait while one loads.
    fn shared(&self) -> Result<Arc<SharedBatch>, EngineError> {
        self.resident.get(self.residents.now_ms(), || self.load())
    }

    fn load(&self) -> Result<(SharedBatch, u64), EngineError> {
        let load = LoadConfig { folder: self.config.folder.clone(), precision: self.config.precision };
        let model = Model::load(&load).map_err(|error| self.not_loaded(&error))?;
        if model.sample_rate_hz() != SAMPLE_RATE_HZ {
            return Err(EngineError::Refused(format!("the codec gives {} Hz, not {SAMPLE_RATE_HZ}", model.sample_rate_hz())));
        }
        let bytes = model.weight_bytes();
        tracing::info!(model.name = %self.config.name, model.bytes = bytes, "a neural model is loaded");
        Ok((SharedBatch::new(Arc::new(model), self.config.max_slots.clamp(1, 64)), bytes))
    }

    fn not_loaded(&self, error: &ModelError) -> EngineError {
        match error {
            ModelError::Folder { .. } => {
                tracing::warn!(error = %error, "the neural model cannot be loaded");
                EngineError::Unavailable { what: error.to_string(), command: self.config.command.clone() }
            }
            other => failure(other),
        }
    }
}

/// A thread's own hand on the shared model.
#[derive(Debug)]
pub struct NeuralEngine {
    engines: Arc<NeuralEngines>,
    /// Kept, with the rate it takes.
    resampler: Option<(u32, Resampler)>,
}

/// What a request asks for, in the model's words.
struct Task<'r> {
    speaker: Speaker<'r>,
    language: &'static str,
    instruct: String,
    pace: Pace,
    seed: u64,
    context: &'r [Vec<u32>],
}

impl<'r> Task<'r> {
    fn of(request: &'r SynthesisRequest) -> Result<Self, EngineError> {
        let VoiceProfile::Neural(voice) = &request.voice else {
            return Err(EngineError::Refused("the voice is not one of the neural engine".to_owned()));
        };
        voice.check().map_err(EngineError::Refused)?;
        let language = language_name(&request.language)
            .ok_or_else(|| EngineError::Refused(format!("the neural engine does not speak {}", request.language)))?;
        let style = request.instruct.as_deref().unwrap_or_default().trim();
        let (speaker, instruct, pace) = match voice.as_ref() {
            NeuralVoice::Named { speaker } => (Speaker::Named(speaker), style.to_owned(), Pace::Whole),
            // The model has one place for both.
            NeuralVoice::Described { description } => (Speaker::Described, format!("{description} {style}").trim().to_owned(), Pace::Whole),
            NeuralVoice::Cloned(clone) => (Speaker::Cloned(clone), String::new(), Pace::Stepwise),
        };
        if instruct.chars().count() > 2 * MAX_DESCRIPTION_CHARS {
            return Err(EngineError::Refused(format!("the instruction is longer than {MAX_DESCRIPTION_CHARS} characters")));
        }
        Ok(Self { speaker, language, instruct, pace, seed: request.seed, context: context(voice) })
    }
}

/// The last frames of a clone's recording.
fn context(voice: &NeuralVoice) -> &[Vec<u32>] {
    match voice {
        NeuralVoice::Cloned(ClonePrompt { reference: Some(reference), .. }) => {
            &reference.codes[reference.codes.len().saturating_sub(CONTEXT_FRAMES)..]
        }
        _ => &[],
    }
}

/// Seeds of a part's attempts: far from each other and from those of other parts (SplitMix64's increment).
fn seed_of(seed: u64, part: usize, attempt: u64) -> u64 {
    seed.wrapping_add((part as u64 * ATTEMPTS + attempt).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

impl NeuralEngine {
    /// One stretch of text.
    fn say(&self, shared: &SharedBatch, task: &Task<'_>, text: &str, part: usize, on_step: OnStep<'_>) -> Result<Vec<f32>, EngineError> {
        let limits = FrameLimits::of(text, MAX_FRAMES);
        let mut best = 0.0_f32;
        let mut why = String::new();
        for attempt in 0..ATTEMPTS {
            let mut slot = shared.model.slot_config(seed_of(task.seed, part, attempt), limits.max_frames);
            slot.watch = true;
            // A second attempt begins behind the first one's place, and progress does not go back.
            let mut told = |fraction: f32| {
                best = best.max(fraction);
                on_step(best)
            };
            let (samples, frames, end) = loop {
                match self.attempt(shared, task, text, slot, &mut told) {
                    // The same again, with fewer beside it; there is an end to that.
                    Err(Lost::SmallerBatch) => {}
                    Err(Lost::For(error)) => return Err(error),
                    Ok(made) => break made,
                }
            };
            why = match end {
                End::Said if frames >= limits.min_frames => return Ok(samples),
                End::Said => format!("the speech ended after {frames} frames, at least {} are needed", limits.min_frames),
                End::Capped => format!("the speech ran away and was cut at {frames} frames"),
                End::Stuck => format!("the speech went in a circle after {frames} frames"),
            };
            tracing::warn!(attempt, frames, reason = why, "a neural attempt failed");
            if !slot.first.sample {
                break;
            }
        }
        Err(EngineError::Failed(why))
    }

    /// Frames here, samples in a thread beside. Gives the samples, the number of frames and how they ended.
    fn attempt(
        &self,
        shared: &SharedBatch,
        task: &Task<'_>,
        text: &str,
        slot: super::SlotConfig,
        on_step: OnStep<'_>,
    ) -> Result<(Vec<f32>, usize, End), Lost> {
        let request = PromptRequest { text, language: task.language, speaker: task.speaker, instruct: &task.instruct, pace: task.pace };
        let prompt = shared.model.prompt(&request).map_err(|error| Lost::For(failure(&error)))?;
        let stream = shared.model.decode_stream();
        let (send, frames_made) = mpsc::channel();
        std::thread::scope(|scope| {
            let decoder = scope.spawn(move || decode(stream, task.context, &frames_made));
            let mut frames = 0;
            let spoken = shared.speak(prompt, slot, &mut |frame| {
                if let Some(frame) = frame {
                    frames += 1;
                    // A decoder that has failed says why below.
                    let _ = send.send(frame);
                }
                on_step((frames as f32 / slot.max_frames as f32).min(0.99))
            });
            drop(send);
            let samples = decoder.join().map_err(|_| Lost::For(EngineError::Failed("the decoder ended in a panic".to_owned())))?;
            let end = spoken?;
            Ok((samples.map_err(|error| Lost::For(failure(&error)))?, frames, end))
        })
    }

    /// Faster or slower, higher or lower: by the samples, because the model has no say in it.
    fn bent(
        &mut self,
        samples: Vec<f32>,
        request: &SynthesisRequest,
        wanted: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Vec<f32>, EngineError> {
        let higher = 2_f64.powf(f64::from(request.pitch_semitones.clamp(-12.0, 12.0)) / 12.0);
        let factor = higher / f64::from(request.speed.clamp(0.25, 4.0));
        let longer = stretch(samples, SAMPLE_RATE_HZ, factor, wanted).ok_or(EngineError::Stopped)?;
        let from_hz = (f64::from(SAMPLE_RATE_HZ) * higher).round() as u32;
        if from_hz == SAMPLE_RATE_HZ {
            return Ok(longer);
        }
        let failed = |error: audio::resample::ResampleError| EngineError::Failed(error.to_string());
        let mut resampler = match self.resampler.take() {
            Some((hz, resampler)) if hz == from_hz => resampler,
            _ => Resampler::new(ResampleConfig { from_hz, to_hz: SAMPLE_RATE_HZ, channels: 1 }).map_err(failed)?,
        };
        let mut out = Vec::with_capacity(longer.len());
        resampler.push(&longer, &mut out).map_err(failed)?;
        resampler.finish(&mut out).map_err(failed)?;
        self.resampler = Some((from_hz, resampler));
        Ok(out)
    }
}

/// Samples of the frames that come, after the context's, which only sets the decoder going.
fn decode(mut stream: DecodeStream, context: &[Vec<u32>], frames: &mpsc::Receiver<Vec<u32>>) -> Result<Vec<f32>, ModelError> {
    stream.push(context)?;
    let mut samples = Vec::new();
    loop {
        let chunk: Vec<_> = frames.iter().take(DECODE_FRAMES).collect();
        if chunk.is_empty() {
            return Ok(samples);
        }
        samples.extend(stream.push(&chunk)?);
    }
}

impl SpeechEngine for NeuralEngine {
    fn capabilities(&self) -> Capabilities {
        let NeuralConfig { folder, precision, .. } = &self.engines.config;
        let model = describe(folder).ok();
        let heeds = |model: &ModelConfig| match model.tts_model_type {
            Variant::Base => false,
            Variant::CustomVoice => model.tts_model_size != "0b6",
            Variant::VoiceDesign => true,
        };
        let weights = fingerprint(folder).unwrap_or_else(|_| "none".to_owned());
        Capabilities {
            engine: "qwen3-tts".to_owned(),
            revision: format!("{REVISION}-{precision:?}-{weights}"),
            languages: model.as_ref().map_or_else(Vec::new, super::spoken_tags),
            instruct: model.as_ref().is_some_and(heeds),
            word_timings: false,
            uses_seed: true,
        }
    }

    fn availability(&self) -> Availability {
        match describe(&self.engines.config.folder) {
            Ok(_) => Availability::Ready,
            Err(error) => Availability::Missing { what: error.to_string(), command: self.engines.config.command.clone() },
        }
    }

    fn synthesize(&mut self, request: &SynthesisRequest, on_step: OnStep<'_>) -> Result<Speech, EngineError> {
        let task = Task::of(request)?;
        let shared = self.engines.shared()?;
        let parts = parts(&request.text);
        let count = parts.len().max(1) as f32;
        let mut samples = Vec::new();
        for (index, part) in parts.into_iter().enumerate() {
            match part {
                Part::Pause { ms } => samples.resize(samples.len() + ms as usize * SAMPLE_RATE_HZ as usize / 1_000, 0.0),
                Part::Say(say) => {
                    let spoken = self.say(&shared, &task, &say.text, index, &mut |fraction| on_step((index as f32 + fraction) / count))?;
                    samples.extend(self.bent(spoken, request, &mut || on_step((index as f32 + 0.99) / count))?);
                }
            }
        }
        Ok(Speech { samples, words: Vec::new() })
    }
}
