//! One request to samples: text to stretches and pauses, each stretch through the speech host, and all of it put together.
//!
//! It may not know how a host is started by the system or where data lies; it decides what is asked of the host and what is made of the
//! answer.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use audio::resample::{ResampleConfig, ResampleError, Resampler, resampled_frames};

use super::MAX_TEXT_CHARS;
use super::host::{Host, HostError, HostRequest, HostSpeech};
use super::installation::{Found, GREETING_LIMIT, Installation};
use super::japanese::{self, ReadingError};
use super::sayable::{Part, Sayable, parts};
use super::stretch::stretch;
use super::voice::BuiltinVoice;
use super::words::{SpokenWord, spoken_words};
use crate::clone::{CloneProfile, convert};
use crate::speech::{
    Availability, Capabilities, EngineError, SAMPLE_RATE_HZ, Speech, SpeechEngine, SynthesisRequest, VoiceProfile, WordTiming,
};

/// Raised by hand whenever anything in this module changes the samples of an equal request.
const REVISION: u32 = 1;

/// Where the library's own rate is even: above, it drops sounds.
const RATE_WPM: std::ops::RangeInclusive<f32> = 80.0..=400.0;
/// Of 0 to 100, for pitch and melody: as the variant file says.
const OWN_PITCH: i32 = 50;
/// Of 100: leaves the library room for the loudest vowels of the brightest voices, where it would clip. The samples are raised after.
const LIBRARY_VOLUME: i32 = 50;
/// The library speaks some 1,000 times faster than time runs; this is for machines under load.
const LIMIT_BASE: Duration = Duration::from_secs(10);
const LIMIT_PER_CHAR: Duration = Duration::from_millis(20);

/// Samples between two questions whether to go on: milliseconds of work.
const AT_ONCE: usize = 65_536;

const MIN_SPEED: f32 = 0.25;
const MAX_SPEED: f32 = 4.0;
const MAX_PITCH_SEMITONES: f32 = 12.0;

type OnStep<'a> = &'a mut dyn FnMut(f32) -> ControlFlow<()>;

/// A speech host process and what is kept between requests. Nothing of it changes the samples of a request.
#[derive(Debug)]
pub struct BuiltinEngine {
    installation: Arc<Installation>,
    host: Option<Host>,
    /// Kept, with the rate it takes, since making one costs more than a sentence.
    resampler: Option<(u32, Resampler)>,
}

impl BuiltinEngine {
    /// Starts nothing yet.
    pub fn new(installation: Arc<Installation>) -> Self {
        Self { installation, host: None, resampler: None }
    }

    fn host(&mut self, found: &Found, wanted: &mut dyn FnMut() -> ControlFlow<()>) -> Result<&mut Host, HostError> {
        let alive = self.host.take().and_then(|mut host| host.is_alive().then_some(host));
        let host = match alive {
            Some(host) => host,
            None => Host::start(&found.program, Some(found.overlay.root()), GREETING_LIMIT, wanted)?,
        };
        if host.hello.library != found.library {
            // Upgraded under our feet: what was found no longer holds.
            self.installation.doubt();
            return Err(HostError::Broken("the speech library was replaced".to_owned()));
        }
        Ok(self.host.insert(host))
    }

    /// Asks the host once; a host that is of no use afterwards is put away.
    fn ask(
        &mut self,
        found: &Found,
        request: &HostRequest<'_>,
        limit: Duration,
        wanted: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<HostSpeech, HostError> {
        let answer = self.host(found, wanted).and_then(|host| host.speak(request, limit, wanted));
        if !matches!(answer, Ok(_) | Err(HostError::Answered(_) | HostError::UnknownVoice(_))) {
            self.host = None;
        }
        answer
    }

    fn speak(
        &mut self,
        found: &Found,
        task: &Task<'_>,
        text: &str,
        wanted: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<HostSpeech, EngineError> {
        let limit = LIMIT_BASE + LIMIT_PER_CHAR * text.chars().count() as u32;
        let mut last = None;
        // Twice, for a variant file that somebody took away.
        for _ in 0..2 {
            let variant = found.overlay.variant(&task.variant).map_err(|error| EngineError::Failed(format!("voice variant: {error}")))?;
            let voice = format!("{}+{variant}", task.voice_file);
            let rate_wpm = task.manner.rate_wpm;
            let request = HostRequest::Speak { voice: &voice, text, rate_wpm, pitch: OWN_PITCH, range: OWN_PITCH, volume: LIBRARY_VOLUME };
            match self.ask(found, &request, limit, wanted) {
                Err(error @ HostError::UnknownVoice(_)) => {
                    found.overlay.forget();
                    last = Some(error);
                }
                Ok(speech) => return Ok(speech),
                Err(error) => return Err(self.engine_error(error)),
            }
        }
        Err(EngineError::Failed(last.map_or_else(String::new, |error| error.to_string())))
    }

    fn engine_error(&self, error: HostError) -> EngineError {
        match error {
            HostError::Stopped => EngineError::Stopped,
            HostError::NoProgram(..) | HostError::NoLibrary(_) => {
                self.installation.doubt();
                self.installation.found().err().unwrap_or_else(|| EngineError::Failed(error.to_string()))
            }
            HostError::UnknownVoice(_) | HostError::Answered(_) | HostError::Broken(_) => EngineError::Failed(error.to_string()),
        }
    }

    /// Kanji cannot be spoken as they are; everything else can.
    fn readable(&self, task: &Task<'_>, say: Sayable, wanted: &mut dyn FnMut() -> ControlFlow<()>) -> Result<Sayable, EngineError> {
        if !task.japanese || !japanese::has_kanji(&say.text) {
            return Ok(say);
        }
        japanese::reading(&self.installation.config().mecab_program, &say, wanted).map_err(|error| match error {
            ReadingError::Stopped => EngineError::Stopped,
            ReadingError::Failed(message) => EngineError::Failed(message),
            ReadingError::NotInstalled(reason) => {
                tracing::warn!(reason, "kanji cannot be read");
                self.installation.without_mecab()
            }
        })
    }

    /// One stretch of text as samples at the engine's rate, and its words.
    fn say(
        &mut self,
        found: &Found,
        task: &Task<'_>,
        say: Sayable,
        wanted: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Said, EngineError> {
        let say = self.readable(task, say, wanted)?;
        let speech = self.speak(found, task, &say.text, wanted)?;
        let words = spoken_words(&say.text, &speech.events, &speech.samples);
        let (rate_hz, longer) = (speech.sample_rate_hz, task.manner.longer);
        let gain = task.manner.gain / 32_768.0;
        let mut samples = Vec::with_capacity(speech.samples.len());
        for block in speech.samples.chunks(AT_ONCE) {
            if wanted().is_break() {
                return Err(EngineError::Stopped);
            }
            samples.extend(block.iter().map(|&sample| f32::from(sample) * gain));
        }
        let samples = stretch(samples, rate_hz, longer, wanted).ok_or(EngineError::Stopped)?;
        let mut samples = self.resample(&samples, rate_hz, wanted)?;
        if let Some((profile, pitch_semitones)) = task.clone {
            samples = convert(profile, &samples, pitch_semitones, wanted).ok_or(EngineError::Stopped)?;
        }
        Ok(Said { text: say, samples, words, rate_hz, longer })
    }

    fn resample(&mut self, samples: &[f32], rate_hz: u32, wanted: &mut dyn FnMut() -> ControlFlow<()>) -> Result<Vec<f32>, EngineError> {
        let failed = |error: ResampleError| EngineError::Failed(error.to_string());
        // Put back only when it is ready for the next stream.
        let mut resampler = match self.resampler.take() {
            Some((from_hz, resampler)) if from_hz == rate_hz => resampler,
            _ => Resampler::new(ResampleConfig { from_hz: rate_hz, to_hz: SAMPLE_RATE_HZ, channels: 1 }).map_err(failed)?,
        };
        let mut out = Vec::with_capacity(samples.len() * 2);
        for block in samples.chunks(AT_ONCE) {
            if wanted().is_break() {
                return Err(EngineError::Stopped);
            }
            resampler.push(block, &mut out).map_err(failed)?;
        }
        resampler.finish(&mut out).map_err(failed)?;
        self.resampler = Some((rate_hz, resampler));
        Ok(out)
    }
}

/// One stretch of speech; `words` are still at the library's rate and speed.
struct Said {
    text: Sayable,
    samples: Vec<f32>,
    words: Vec<SpokenWord>,
    rate_hz: u32,
    longer: f64,
}

impl Said {
    fn timings(&self, request_chars: &[char], before: usize, out: &mut Vec<WordTiming>) {
        let ms = |sample: usize| {
            let stretched = (sample as f64 * self.longer) as u64;
            let here = resampled_frames(stretched, self.rate_hz, SAMPLE_RATE_HZ).min(self.samples.len() as u64);
            ((before as u64 + here) * 1000 / u64::from(SAMPLE_RATE_HZ)) as u32
        };
        for word in &self.words {
            let Some(place) = self.text.origin(word.chars.clone()) else { continue };
            let Some(chars) = request_chars.get(place.start as usize..place.end as usize) else { continue };
            out.push(WordTiming {
                word: chars.iter().collect(),
                char_start: place.start,
                char_len: place.end - place.start,
                start_ms: ms(word.samples.start),
                end_ms: ms(word.samples.end),
            });
        }
    }
}

/// What stays the same through a request.
struct Task<'a> {
    voice_file: &'a str,
    variant: String,
    /// With the semitones above its own pitch.
    clone: Option<(&'a CloneProfile, f32)>,
    manner: Manner,
    japanese: bool,
}

/// The library's parameters for a request, and what is done to its samples for what it cannot do itself.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Manner {
    rate_wpm: i32,
    gain: f32,
    /// The samples are made this much longer.
    longer: f64,
}

impl Manner {
    fn of(voice: &BuiltinVoice, speed: f32) -> Self {
        let wanted_wpm = voice.rate_wpm * speed;
        let rate_wpm = wanted_wpm.clamp(*RATE_WPM.start(), *RATE_WPM.end()).round();
        let reached = (*RATE_WPM.start()..=*RATE_WPM.end()).contains(&wanted_wpm);
        let longer = if reached { 1.0 } else { f64::from(rate_wpm) / f64::from(wanted_wpm) };
        Self { rate_wpm: rate_wpm as i32, gain: 10f32.powf(voice.volume_db / 20.0) * 100.0 / LIBRARY_VOLUME as f32, longer }
    }
}

fn check(request: &SynthesisRequest, voice: &BuiltinVoice, max_text_chars: usize) -> Result<(), String> {
    if request.text.chars().nth(max_text_chars).is_some() {
        return Err(format!("text is longer than {max_text_chars} characters"));
    }
    if !(MIN_SPEED..=MAX_SPEED).contains(&request.speed) {
        return Err(format!("speed {} is not within {MIN_SPEED} to {MAX_SPEED}", request.speed));
    }
    if !(-MAX_PITCH_SEMITONES..=MAX_PITCH_SEMITONES).contains(&request.pitch_semitones) {
        return Err(format!("pitch {} is not within {MAX_PITCH_SEMITONES} semitones", request.pitch_semitones));
    }
    voice.check()
}

impl SpeechEngine for BuiltinEngine {
    fn capabilities(&self) -> Capabilities {
        let found = self.installation.found().ok();
        let library = found.map_or_else(|| "none".to_owned(), |found| format!("{}-{:x}", found.library, found.data_size_bytes));
        Capabilities {
            engine: "builtin".to_owned(),
            revision: format!("{REVISION}-espeak-ng-{library}"),
            languages: self.installation.languages().into_iter().map(|language| language.tag).collect(),
            instruct: false,
            word_timings: true,
            uses_seed: false,
        }
    }

    fn availability(&self) -> Availability {
        self.installation.availability()
    }

    fn synthesize(&mut self, request: &SynthesisRequest, on_step: OnStep<'_>) -> Result<Speech, EngineError> {
        let (voice, clone) = match &request.voice {
            VoiceProfile::Builtin(voice) => (voice, None),
            VoiceProfile::Converted(clone) => {
                clone.check().map_err(EngineError::Refused)?;
                (&clone.base, Some(clone.as_ref()))
            }
            VoiceProfile::Neural(_) => return Err(EngineError::Refused("the voice is one of the neural engine".to_owned())),
        };
        check(request, voice, self.installation.config().max_text_chars.min(MAX_TEXT_CHARS)).map_err(EngineError::Refused)?;
        let found = self.installation.found()?;
        let voice_file = found.languages.voice_file(&request.language).map_err(EngineError::Refused)?;
        let task = Task {
            voice_file,
            // A clone's pitch is set when it is converted; its base voice always speaks alike.
            variant: voice.variant(if clone.is_some() { 0.0 } else { request.pitch_semitones }),
            clone: clone.map(|profile| (profile, request.pitch_semitones)),
            manner: Manner::of(voice, request.speed),
            japanese: voice_file.ends_with("/ja"),
        };
        let parts = parts(&request.text);
        let total: usize = parts.iter().map(weight).sum();
        let request_chars: Vec<char> = request.text.chars().collect();
        let mut speech = Speech { samples: Vec::new(), words: Vec::new() };
        let mut done = 0;
        for part in parts {
            let fraction = done as f32 / total.max(1) as f32;
            if on_step(fraction).is_break() {
                return Err(EngineError::Stopped);
            }
            done += weight(&part);
            match part {
                Part::Pause { ms } => {
                    let silence = u64::from(ms) * u64::from(SAMPLE_RATE_HZ) / 1000;
                    speech.samples.resize(speech.samples.len() + silence as usize, 0.0);
                }
                Part::Say(say) => {
                    let said = self.say(&found, &task, say, &mut || on_step(fraction))?;
                    said.timings(&request_chars, speech.samples.len(), &mut speech.words);
                    speech.samples.extend_from_slice(&said.samples);
                }
            }
        }
        // The end of the work; a stop that comes now is too late.
        let _ = on_step(1.0);
        Ok(speech)
    }
}

/// Share of the work, in characters.
fn weight(part: &Part) -> usize {
    match part {
        Part::Say(say) => say.chars(),
        Part::Pause { .. } => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_that_the_library_lacks_are_made_by_stretching() {
        let manner = |rate_wpm: f32, speed| Manner::of(&BuiltinVoice { rate_wpm, ..BuiltinVoice::default() }, speed);
        let plain = manner(175.0, 1.0);
        assert_eq!((plain.rate_wpm, plain.longer, plain.gain), (175, 1.0, 2.0));
        assert_eq!((manner(175.0, 2.0).rate_wpm, manner(175.0, 2.0).longer), (350, 1.0));
        let slow = manner(160.0, 0.25);
        assert_eq!((slow.rate_wpm, slow.longer), (80, 2.0));
        let fast = manner(200.0, 4.0);
        assert_eq!((fast.rate_wpm, fast.longer), (400, 0.5));
    }
}
