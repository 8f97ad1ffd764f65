//! An engine for tests that does what a script says: a tone for each text, and on demand the ways in which engines go wrong.
//!
//! Only in builds with debug assertions. It may not know which test drives it.

use std::collections::HashMap;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::speech::{Availability, Capabilities, EngineError, SAMPLE_RATE_HZ, Speech, SpeechEngine, SynthesisRequest, WordTiming};

/// What the engine does; an empty script speaks everything as a tone, at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// The first rule whose needle is in the text, and that is not used up, is followed.
    pub rules: Vec<Rule>,
    /// Length of the tone for each character of the text at speed 1.
    pub ms_per_char: u32,
    /// How often `on_step` is asked while a chunk is made.
    pub steps: u32,
    /// Where uses of rules are counted, one file each, so that "the first two times" outlives the process. `None`: in memory, shared
    /// by the engines of one [`ScriptedEngines`].
    pub counts_folder: Option<PathBuf>,
    pub languages: Vec<String>,
    /// What the engine says is missing, and the command for it.
    pub missing: Option<(String, String)>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            ms_per_char: 60,
            steps: 10,
            counts_folder: None,
            languages: ["de", "en-US", "es", "fr", "it", "ja", "ko", "pt-BR", "ru", "zh"].map(str::to_owned).to_vec(),
            missing: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Part of the text; empty for every text.
    pub needle: String,
    pub act: Act,
    /// Followed this many times, `None`: always.
    #[serde(default)]
    pub times: Option<u32>,
    /// How many steps of the chunk are made before it happens.
    #[serde(default)]
    pub after_steps: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    Fail,
    Refuse,
    Unavailable,
    OutOfMemory,
    Panic,
    /// Ends the process as a crash does, without running anything more.
    Abort,
    /// Makes no progress until it is asked to stop.
    Stall,
    /// Works so long without asking whether to stop, then goes on.
    Hang {
        ms: u32,
    },
    /// Waits so long at every step.
    Slow {
        ms_per_step: u32,
    },
    /// Samples of the right length without sound.
    Silence,
    /// Speaks as without a rule; for a rule before a wider one.
    Speak,
}

/// Makes engines that follow one script and count the uses of its rules together.
#[derive(Debug, Clone)]
pub struct ScriptedEngines {
    script: Arc<Script>,
    counts: Arc<Mutex<HashMap<usize, u32>>>,
}

impl ScriptedEngines {
    pub fn new(script: Script) -> Self {
        Self { script: Arc::new(script), counts: Arc::default() }
    }

    pub fn engine(&self) -> ScriptedEngine {
        ScriptedEngine { engines: self.clone() }
    }

    /// The act for a text, counted as used, and the step at which it happens.
    fn act(&self, text: &str) -> (Act, u32) {
        for (index, rule) in self.script.rules.iter().enumerate() {
            if text.contains(&rule.needle) && rule.times.is_none_or(|times| self.use_rule(index, times)) {
                return (rule.act.clone(), rule.after_steps);
            }
        }
        (Act::Speak, 0)
    }

    /// `false` when the rule is used up. The count is on disk before the act, which may be the end of the process.
    fn use_rule(&self, index: usize, times: u32) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(folder) = &self.script.counts_folder else {
            let used = counts.entry(index).or_default();
            *used = used.saturating_add(1);
            return *used <= times;
        };
        let file = folder.join(format!("rule-{index}"));
        let appended = std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::OpenOptions::new().create(true).append(true).open(&file))
            .and_then(|mut file| {
                file.write_all(b"x")?;
                file.sync_all()?;
                file.metadata()
            });
        // A test whose counts cannot be kept must not go on as if nothing were wrong.
        let used = appended.unwrap_or_else(|error| panic!("counts of the script cannot be kept in {}: {error}", file.display())).len();
        used <= u64::from(times)
    }
}

/// One engine of a script.
#[derive(Debug)]
pub struct ScriptedEngine {
    engines: ScriptedEngines,
}

impl ScriptedEngine {
    /// An engine with counts of its own.
    pub fn new(script: Script) -> Self {
        ScriptedEngines::new(script).engine()
    }

    /// Lengths and pitch follow from the text, the seed and the speed alone.
    fn tone(&self, request: &SynthesisRequest, silent: bool) -> Speech {
        let chars = request.text.chars().count();
        let length_ms = chars as f32 * self.engines.script.ms_per_char as f32 / request.speed.clamp(0.25, 4.0);
        let count = (length_ms * SAMPLE_RATE_HZ as f32 / 1000.0) as usize;
        // 110 to 366 Hz.
        let pitch_hz = 110.0 + (fnv1a(&request.text, request.seed) % 256) as f32;
        let pitch_hz = pitch_hz * 2f32.powf(request.pitch_semitones / 12.0);
        let sample = |i: usize| 0.3 * (std::f32::consts::TAU * (pitch_hz * i as f32 / SAMPLE_RATE_HZ as f32).fract()).sin();
        let samples = if silent { vec![0.0; count] } else { (0..count).map(sample).collect() };
        Speech { samples, words: words(&request.text, length_ms) }
    }
}

impl SpeechEngine for ScriptedEngine {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            engine: "scripted".to_owned(),
            revision: "1".to_owned(),
            languages: self.engines.script.languages.clone(),
            instruct: true,
            word_timings: true,
            uses_seed: true,
        }
    }

    fn availability(&self) -> Availability {
        match self.engines.script.missing.clone() {
            Some((what, command)) => Availability::Missing { what, command },
            None => Availability::Ready,
        }
    }

    fn synthesize(&mut self, request: &SynthesisRequest, on_step: &mut dyn FnMut(f32) -> ControlFlow<()>) -> Result<Speech, EngineError> {
        if let Availability::Missing { what, command } = self.availability() {
            return Err(EngineError::Unavailable { what, command });
        }
        let (act, after_steps) = self.engines.act(&request.text);
        let steps = self.engines.script.steps.max(after_steps + 1);
        for step in 0..steps {
            let fraction = step as f32 / steps as f32;
            if on_step(fraction).is_break() {
                return Err(EngineError::Stopped);
            }
            if step == after_steps {
                go_wrong(&act, &request.text, fraction, on_step)?;
            }
            if let Act::Slow { ms_per_step } = act {
                wait(ms_per_step, fraction, on_step)?;
            }
        }
        let _ = on_step(1.0);
        Ok(self.tone(request, act == Act::Silence))
    }
}

fn go_wrong(act: &Act, text: &str, fraction: f32, on_step: &mut dyn FnMut(f32) -> ControlFlow<()>) -> Result<(), EngineError> {
    match act {
        Act::Fail => Err(EngineError::Failed(format!("script says fail at {text:?}"))),
        Act::Refuse => Err(EngineError::Refused(format!("script says refuse at {text:?}"))),
        Act::Unavailable => Err(EngineError::Unavailable { what: "scripted".to_owned(), command: "true".to_owned() }),
        Act::OutOfMemory => Err(EngineError::OutOfMemory),
        Act::Panic => panic!("script says panic at {text:?}"),
        Act::Abort => std::process::abort(),
        Act::Stall => loop {
            wait(1_000, fraction, on_step)?;
        },
        Act::Hang { ms } => wait(*ms, fraction, &mut |_| ControlFlow::Continue(())),
        Act::Slow { .. } | Act::Silence | Act::Speak => Ok(()),
    }
}

/// Work that takes time, in pieces short enough to be stopped.
fn wait(ms: u32, fraction: f32, on_step: &mut dyn FnMut(f32) -> ControlFlow<()>) -> Result<(), EngineError> {
    const PIECE_MS: u32 = 10;
    let mut left = ms;
    while left > 0 {
        let piece = left.min(PIECE_MS);
        #[allow(clippy::disallowed_methods, reason = "being slow is what the script asks for")]
        std::thread::sleep(Duration::from_millis(u64::from(piece)));
        left -= piece;
        if on_step(fraction).is_break() {
            return Err(EngineError::Stopped);
        }
    }
    Ok(())
}

/// Each word takes its share of the length by characters.
fn words(text: &str, length_ms: f32) -> Vec<WordTiming> {
    let total = text.chars().count().max(1) as f32;
    let mut words = Vec::new();
    let mut at = 0u32;
    for piece in text.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end();
        let length = word.chars().count() as u32;
        if length > 0 {
            let ms = |chars: u32| (chars as f32 / total * length_ms) as u32;
            let (start_ms, end_ms) = (ms(at), ms(at + length));
            words.push(WordTiming { word: word.to_owned(), char_start: at, char_len: length, start_ms, end_ms });
        }
        at += piece.chars().count() as u32;
    }
    words
}

/// FNV-1a: the same on every machine and in every build.
fn fnv1a(text: &str, seed: u64) -> u64 {
    text.bytes().chain(seed.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
