//! A voice like that of some recordings, by signal processing: no model, no training, a few seconds of work.
//!
//! [`analyse`] listens, [`Heard::rehearsal`] says what the base voice shall speak once, [`Heard::fit`] compares the two, and [`convert`]
//! makes any speech of the base voice speech of the clone. What is matched is pitch, tract length, mean spectra, breath and the colour of
//! single sounds; melody, accent and habits of the model are not: the API calls this fidelity "timbre".
//! Pure but for `wanted`, which may stop the work. It may not know files, engines or jobs.

mod bands;
mod codebook;
mod convert;
mod fit;
mod observe;
mod profile;
mod quality;
mod tempo;
mod tract;

use std::ops::ControlFlow;

use audio::measure::{LTAS_BANDS, ltas_db, speaking_ms};

use crate::builtin::{BuiltinVoice, preset};
use crate::speech::{SAMPLE_RATE_HZ, SynthesisRequest, VoiceProfile};
use bands::Mel;
use codebook::Codebook;
use observe::{Observed, Statistics};

pub use convert::convert;
pub use profile::{CLONE_VERSION, CloneProfile, PitchMap};
pub use quality::{CloneQuality, CloneWarning, GOOD_SPEECH_MS};

/// Less speech than this cannot be cloned.
pub const MIN_SPEECH_MS: u64 = 3_000;
/// What comes after this much sound is not listened to.
pub const MAX_HEARD_MS: u64 = 90_000;
/// Less voice than this is no voice.
const MIN_VOICED_MS: u64 = 500;
/// Transcripts shorter than this hold too few sounds to rehearse with, longer ones are cut, in characters.
const TRANSCRIPT_CHARS: std::ops::RangeInclusive<usize> = 60..=400;

/// What the base voice rehearses without a transcript: every sound of English, as often as texts have it.
const REHEARSAL: &str = "The quick brown fox jumps over the lazy dog near the river bank. Usually she measures both pleasure and joy \
    by the youth of her oldest friends. Five boys thought that the water was too hot, but Jane took a good look and chose to go in.";

/// Base voices: plain ones, whose F0 and tract lie far enough apart.
const BASES: [&str; 5] = ["oskar", "elias", "nora", "finn", "pia"];

/// One recording, or a region of one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recording<'a> {
    /// Mono, 24 kHz.
    pub samples: &'a [f32],
    /// How much it counts beside the others, 0.01 to 100; 1 is usual.
    pub weight: f32,
    /// What is said in it, where that is known.
    pub transcript: Option<&'a str>,
}

/// Sorted by what the caller does next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloneError {
    /// `wanted` broke.
    #[error("stopped on request")]
    Stopped,
    /// More must be recorded.
    #[error("{speech_ms} ms of speech; at least {MIN_SPEECH_MS} ms are needed")]
    TooShort { speech_ms: u64 },
    /// Another recording is needed.
    #[error("there is no voice in the recordings")]
    NoSpeech,
    /// The caller's mistake.
    #[error("{0}")]
    Invalid(String),
}

/// What is known of a model: some hundred kilobytes, to be made into a profile and thrown away.
#[derive(Clone)]
pub struct Heard {
    pub quality: CloneQuality,
    statistics: Statistics,
    sounds: Codebook,
    spectrum_db: [f32; LTAS_BANDS],
    syllables_per_second: Option<f64>,
    transcript: Option<String>,
    /// Speaking time of the recordings whose words are `transcript`.
    transcript_ms: u64,
}

/// Listens to recordings of one voice. Ninety seconds of sound take about three seconds of work.
///
/// Errors: see [`CloneError`].
pub fn analyse(recordings: &[Recording<'_>], wanted: &mut dyn FnMut() -> ControlFlow<()>) -> Result<Heard, CloneError> {
    if let Some(recording) = recordings.iter().find(|recording| !(0.01..=100.0).contains(&recording.weight)) {
        return Err(CloneError::Invalid(format!("weight {} is not within 0.01 to 100", recording.weight)));
    }
    let recordings = within_limit(recordings);
    let speech_ms: u64 = recordings.iter().map(|recording| speaking_ms(recording.samples, SAMPLE_RATE_HZ)).sum();
    let pitches = quality::pitches(&recordings);
    let voiced_ms = pitches.iter().filter(|f0_hz| **f0_hz > 0.0).count() as u64 * 10;
    if voiced_ms < MIN_VOICED_MS {
        return Err(if speech_ms > MIN_SPEECH_MS { CloneError::NoSpeech } else { CloneError::TooShort { speech_ms } });
    }
    if speech_ms < MIN_SPEECH_MS {
        return Err(CloneError::TooShort { speech_ms });
    }
    let mut observed: Vec<Observed> = Vec::new();
    for recording in &recordings {
        let weight = f64::from(recording.weight);
        let levelled: Vec<f32> = to_level(recording.samples);
        observed.extend(observe::observe(&levelled, weight, true, wanted).ok_or(CloneError::Stopped)?);
    }
    let mel = Mel::new(observe::config().bins());
    let statistics = Statistics::of(&observed, &mel, None).ok_or(CloneError::NoSpeech)?;
    let together: Vec<f32> = recordings.iter().flat_map(|recording| recording.samples).copied().collect();
    let syllables_per_second = tempo::syllables_per_second(&together);
    if varies_too_little(&statistics, syllables_per_second) {
        return Err(CloneError::NoSpeech);
    }
    let spectrum_db = mean_spectrum(&recordings).ok_or(CloneError::TooShort { speech_ms })?;
    let (transcript, transcript_ms) = transcript(&recordings);
    Ok(Heard {
        quality: quality::judge(&recordings, &pitches, &spectrum_db),
        sounds: fit::sounds(&observed, &statistics, &mel),
        statistics,
        spectrum_db,
        syllables_per_second,
        transcript,
        transcript_ms,
    })
}

impl std::fmt::Debug for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heard").field("quality", &self.quality).field("f0_hz", &self.f0_hz()).finish_non_exhaustive()
    }
}

impl Heard {
    /// Median pitch.
    pub fn f0_hz(&self) -> f32 {
        self.statistics.log_f0.exp() as f32
    }

    /// What the built-in engine shall speak once for [`Heard::fit`]. The words are those of the recordings where they are known, so that
    /// the same sounds are compared; `language` is theirs.
    pub fn rehearsal(&self, language: &str) -> SynthesisRequest {
        let (text, language) = match &self.transcript {
            Some(transcript) => (transcript.clone(), language.to_owned()),
            None => (REHEARSAL.to_owned(), "en-US".to_owned()),
        };
        let voice = VoiceProfile::Builtin(self.base());
        SynthesisRequest { text, voice, language, speed: 1.0, pitch_semitones: 0.0, seed: 0, instruct: None }
    }

    /// The profile of the clone. `rehearsal` are the samples of [`Heard::rehearsal`].
    ///
    /// Errors: `NoSpeech` where the rehearsal is silent, `Stopped`.
    pub fn fit(&self, rehearsal: &[f32], wanted: &mut dyn FnMut() -> ControlFlow<()>) -> Result<CloneProfile, CloneError> {
        let mut stopped = false;
        let mut asked = || {
            let answer = wanted();
            stopped |= answer.is_break();
            answer
        };
        let base = BuiltinVoice { rate_wpm: self.rate_wpm(rehearsal), ..self.base() };
        let fitted = fit::fit(self, base, rehearsal, &mut asked);
        fitted.ok_or(if stopped { CloneError::Stopped } else { CloneError::NoSpeech })
    }

    /// The preset whose pitch is nearest, plain and with the model's pitch: what the voice does itself need not be converted.
    fn base(&self) -> BuiltinVoice {
        let f0_hz = self.f0_hz();
        let middle = |voice: &BuiltinVoice| (voice.pitch_low_hz * voice.pitch_high_hz).sqrt();
        let presets = BASES.iter().filter_map(|id| preset(id)).map(|preset| &preset.voice);
        let distance = |voice: &&BuiltinVoice| (middle(voice) / f0_hz).ln().abs();
        let nearest = presets.min_by(|a, b| distance(a).total_cmp(&distance(b)));
        let plain = BuiltinVoice::default();
        let nearest = nearest.unwrap_or(&plain);
        let factor = f0_hz / middle(nearest);
        BuiltinVoice {
            pitch_low_hz: (nearest.pitch_low_hz * factor).clamp(40.0, 500.0),
            pitch_high_hz: (nearest.pitch_high_hz * factor).clamp(50.0, 600.0),
            formant_scale: nearest.formant_scale,
            ..plain
        }
    }

    /// As fast as the model: by the length of the same words, else by the syllables.
    fn rate_wpm(&self, rehearsal: &[f32]) -> f32 {
        let plain = self.base().rate_wpm;
        let faster = match &self.transcript {
            Some(_) if self.transcript_ms > 0 => Some(speaking_ms(rehearsal, SAMPLE_RATE_HZ) as f64 / self.transcript_ms as f64),
            _ => self.syllables_per_second.zip(tempo::syllables_per_second(rehearsal)).map(|(model, base)| model / base),
        };
        (f64::from(plain) * faster.unwrap_or(1.0)).clamp(125.0, 235.0).round() as f32
    }
}

/// The first ninety seconds.
fn within_limit<'a>(recordings: &[Recording<'a>]) -> Vec<Recording<'a>> {
    let mut left = (MAX_HEARD_MS * u64::from(SAMPLE_RATE_HZ) / 1000) as usize;
    let mut kept = Vec::new();
    for recording in recordings {
        let samples = &recording.samples[..recording.samples.len().min(left)];
        left -= samples.len();
        if !samples.is_empty() {
            // Half a text belongs to half a recording.
            let whole = samples.len() == recording.samples.len();
            kept.push(Recording { samples, transcript: recording.transcript.filter(|_| whole), ..*recording });
        }
    }
    kept
}

/// The same loudness for all recordings of a voice.
fn to_level(samples: &[f32]) -> Vec<f32> {
    let mean_square = samples.iter().map(|s| f64::from(s * s)).sum::<f64>() / samples.len().max(1) as f64;
    let gain = (0.1 / (mean_square.sqrt() + 1e-9)) as f32;
    samples.iter().map(|sample| sample * gain).collect()
}

/// A hum or a whistle has a pitch, but no syllables and no melody, or all of its sounds are one.
fn varies_too_little(statistics: &Statistics, syllables_per_second: Option<f64>) -> bool {
    let one_sound = statistics.shape_spread.iter().take(4).all(|spread| *spread < 0.5);
    one_sound || (syllables_per_second.is_none() && statistics.log_f0_spread < 0.01)
}

fn mean_spectrum(recordings: &[Recording<'_>]) -> Option<[f32; LTAS_BANDS]> {
    let mut sum = [0.0f64; LTAS_BANDS];
    let mut weights = 0.0;
    for recording in recordings {
        let Some(spectrum) = ltas_db(recording.samples, SAMPLE_RATE_HZ) else { continue };
        let weight = f64::from(recording.weight) * recording.samples.len() as f64;
        sum.iter_mut().zip(spectrum).for_each(|(sum, level)| *sum += weight * f64::from(level));
        weights += weight;
    }
    (weights > 0.0).then(|| sum.map(|level| (level / weights) as f32))
}

/// Words of the recordings up to the limit, and how long they take; nothing where too few are known.
fn transcript(recordings: &[Recording<'_>]) -> (Option<String>, u64) {
    let (mut text, mut ms, mut chars) = (String::new(), 0, 0);
    for recording in recordings {
        let Some(words) = recording.transcript.map(str::trim).filter(|words| !words.is_empty()) else { continue };
        let more = words.chars().count();
        if chars + more > *TRANSCRIPT_CHARS.end() {
            continue;
        }
        text.push_str(words);
        text.push(' ');
        chars += more;
        ms += speaking_ms(recording.samples, SAMPLE_RATE_HZ);
    }
    if chars < *TRANSCRIPT_CHARS.start() { (None, 0) } else { (Some(text), ms) }
}
