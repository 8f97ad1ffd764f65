//! Speech of the base voice made into speech of the model, frame by frame.
//!
//! T. Toda, A. W. Black, K. Tokuda 2007 and T. Masuda, M. Shozakai 2007 describe the family: analysis, a map of the parameters, synthesis.
//! Ours needs no parallel recordings and no training: the pitch is mapped on its logarithm, the tract is stretched, mean envelopes are
//! matched with and without voice apart, and each sound is drawn towards the model's most similar sounds. Length and timing stay.
//! It may not know how a profile was found.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::bands::{self, Bands, Mel, SHAPE, Shape};
use super::codebook;
use super::observe::{Frames, NOISE_HZ, config, logit};
use super::profile::CloneProfile;
use crate::speech::SAMPLE_RATE_HZ;
use crate::world::{Analysis, Frame, synthesise};

/// Weights of a frame and its neighbours when changes are made smooth: 35 ms in all.
const SMOOTHING: [f64; 4] = [0.25, 0.1875, 0.125, 0.0625];
const REACH: usize = SMOOTHING.len() - 1;
const PITCH_HZ: std::ops::RangeInclusive<f64> = 45.0..=700.0;
/// An envelope is not raised from nothing, nor above what a sample can hold.
const LOG_POWER: std::ops::RangeInclusive<f64> = -36.0..=8.0;

/// The converted samples, as many as `samples`; mono, 24 kHz. `pitch_semitones` come on top of the model's pitch. `None` when `wanted` breaks.
pub fn convert(
    profile: &CloneProfile,
    samples: &[f32],
    pitch_semitones: f32,
    wanted: &mut dyn FnMut() -> ControlFlow<()>,
) -> Option<Vec<f32>> {
    if samples.is_empty() {
        return Some(Vec::new());
    }
    let mut analysis = Analysis::new(config(), samples, wanted)?;
    let f0_hz: Vec<f64> = analysis.f0_hz().iter().map(|f0_hz| mapped_pitch(profile, *f0_hz, pitch_semitones)).collect();
    let converter = Converter::new(profile, &f0_hz);
    converter.run(samples.len(), &mut |number, frame| analysis.frame(number, frame), wanted)
}

/// As [`convert`], of speech that was taken apart before.
pub(super) fn convert_frames(
    profile: &CloneProfile,
    frames: &Frames,
    samples: usize,
    wanted: &mut dyn FnMut() -> ControlFlow<()>,
) -> Option<Vec<f32>> {
    let f0_hz: Vec<f64> = frames.0.iter().map(|frame| mapped_pitch(profile, frame.f0_hz, 0.0)).collect();
    Converter::new(profile, &f0_hz).run(samples, &mut |number, frame| frame.clone_from(&frames.0[number]), wanted)
}

/// Gives a frame of the base voice.
type Source<'a> = &'a mut dyn FnMut(usize, &mut Frame);

/// Below 0.8 untouched, above bent so that 1 is never reached.
fn bounded(sample: f32) -> f32 {
    const KNEE: f32 = 0.8;
    let over = sample.abs() - KNEE;
    if over <= 0.0 { sample } else { (KNEE + (1.0 - KNEE) * (over / (1.0 - KNEE)).tanh()).copysign(sample) }
}

fn mapped_pitch(profile: &CloneProfile, f0_hz: f64, pitch_semitones: f32) -> f64 {
    if f0_hz <= 0.0 {
        return 0.0;
    }
    let pitch = &profile.pitch;
    let octaves = (f0_hz / f64::from(pitch.from_hz)).log2() * f64::from(pitch.spread) + f64::from(pitch_semitones) / 12.0;
    (f64::from(pitch.to_hz) * octaves.exp2()).clamp(*PITCH_HZ.start(), *PITCH_HZ.end())
}

/// A frame of the base voice and what shall be done to it.
struct Planned {
    frame: Frame,
    /// Logarithms of the stretched envelope.
    log_envelope: Vec<f64>,
    voiced: f64,
    towards: Shape,
}

struct Converter<'a> {
    gain: f32,
    f0_hz: &'a [f64],
    mel: Mel,
    tract_ratio: f64,
    /// Gains of each bin, as natural logarithms of power.
    voiced_gain: Vec<f64>,
    unvoiced_gain: Vec<f64>,
    noise_shift: Vec<f64>,
    blend: f64,
    top: usize,
    base_mean: Shape,
    base_spread: Shape,
    model_spread: Shape,
    examples: Vec<Shape>,
    /// Frames from `first` on.
    planned: VecDeque<Planned>,
    first: usize,
    scratch: Vec<f64>,
}

impl<'a> Converter<'a> {
    fn new(profile: &CloneProfile, f0_hz: &'a [f64]) -> Self {
        let bins = config().bins();
        let mel = Mel::new(bins);
        let gain = |db: &[f32]| {
            let bands: Bands = std::array::from_fn(|band| f64::from(db.get(band).copied().unwrap_or(0.0)) * std::f64::consts::LN_10 / 10.0);
            mel.spread(&bands).collect::<Vec<f64>>()
        };
        let shape = |values: &[f32], missing: f64| -> Shape { std::array::from_fn(|k| values.get(k).map_or(missing, |v| f64::from(*v))) };
        let sounds = &profile.sounds;
        let bin_hz = f64::from(SAMPLE_RATE_HZ) / 2.0 / (bins - 1) as f64;
        Self {
            voiced_gain: gain(&profile.voiced_gain_db),
            unvoiced_gain: gain(&profile.unvoiced_gain_db),
            noise_shift: (0..bins).map(|bin| noise_shift(&profile.noise_shift, bin as f64 * bin_hz)).collect(),
            tract_ratio: f64::from(profile.tract_ratio),
            blend: f64::from(sounds.blend),
            top: usize::from(sounds.top_band),
            base_mean: shape(&sounds.base_mean, 0.0),
            base_spread: shape(&sounds.base_spread, 1.0),
            model_spread: shape(&sounds.model_spread, 1.0),
            examples: sounds.model.shapes(),
            gain: 10f32.powf(profile.gain_db / 20.0),
            f0_hz,
            mel,
            planned: VecDeque::new(),
            first: 0,
            scratch: Vec::new(),
        }
    }

    fn run(mut self, samples: usize, source: Source<'_>, wanted: &mut dyn FnMut() -> ControlFlow<()>) -> Option<Vec<f32>> {
        let mut out = synthesise(&config(), self.f0_hz, samples, &mut |number, frame| self.frame(number, source, frame), wanted)?;
        out.iter_mut().for_each(|sample| *sample = bounded(*sample * self.gain));
        Some(out)
    }

    /// Asked in order.
    fn frame(&mut self, number: usize, source: Source<'_>, into: &mut Frame) {
        let last = (number + REACH).min(self.f0_hz.len() - 1);
        while self.first + self.planned.len() <= last {
            let planned = self.plan(self.first + self.planned.len(), source);
            self.planned.push_back(planned);
        }
        while self.first + REACH < number {
            self.planned.pop_front();
            self.first += 1;
        }
        let (mut voiced, mut towards, mut weights) = (0.0, [0.0; SHAPE], 0.0);
        for (place, planned) in self.planned.iter().enumerate() {
            let Some(weight) = SMOOTHING.get((self.first + place).abs_diff(number)) else { continue };
            voiced += weight * planned.voiced;
            towards.iter_mut().zip(&planned.towards).for_each(|(sum, value)| *sum += weight * value);
            weights += weight;
        }
        towards.iter_mut().for_each(|value| *value /= weights);
        let voiced = voiced / weights;
        let here = &self.planned[number - self.first];
        into.f0_hz = self.f0_hz[number];
        into.envelope.clear();
        let drawn = self.mel.unshape(&towards);
        let gains = self.voiced_gain.iter().zip(&self.unvoiced_gain).map(|(with, without)| without + (with - without) * voiced);
        let logs = here.log_envelope.iter().zip(gains).zip(self.mel.spread(&drawn)).map(|((log, gain), drawn)| log + gain + drawn);
        into.envelope.extend(logs.map(|log| log.clamp(*LOG_POWER.start(), *LOG_POWER.end()).exp()));
        into.aperiodicity.clone_from(&here.frame.aperiodicity);
        if here.frame.f0_hz > 0.0 {
            for (share, shift) in into.aperiodicity.iter_mut().zip(&self.noise_shift) {
                *share = 1.0 / (1.0 + (-(logit(*share) + shift)).exp());
            }
        }
    }

    fn plan(&mut self, number: usize, source: Source<'_>) -> Planned {
        let mut frame = Frame::default();
        source(number, &mut frame);
        let mut log_envelope: Vec<f64> = frame.envelope.iter().map(|power| power.ln().max(*LOG_POWER.start())).collect();
        bands::warp(&mut log_envelope, self.tract_ratio, &mut self.scratch);
        let voiced = if frame.f0_hz > 0.0 { 1.0 } else { 0.0 };
        let towards = if frame.f0_hz > 0.0 && self.blend > 0.0 { self.towards(&log_envelope) } else { [0.0; SHAPE] };
        Planned { frame, log_envelope, voiced, towards }
    }

    /// The way to the model's most similar sounds, as far as it is gone.
    fn towards(&self, log_envelope: &[f64]) -> Shape {
        let shape = self.mel.shape(&self.mel.bands(log_envelope), self.top);
        let centred: Shape = std::array::from_fn(|k| shape[k] - self.base_mean[k]);
        let like = codebook::like(&self.examples, &self.model_spread, &centred, &self.base_spread);
        std::array::from_fn(|k| self.blend * (like[k] - centred[k]))
    }
}

/// Straight lines between the points; nothing at 0 Hz, where a voice holds no noise.
fn noise_shift(shifts: &[f32; 3], hz: f64) -> f64 {
    let points = [(0.0, 0.0), (NOISE_HZ[0], shifts[0]), (NOISE_HZ[1], shifts[1]), (NOISE_HZ[2], shifts[2])];
    let after = points.iter().position(|(at, _)| *at >= hz);
    match after {
        Some(0) => 0.0,
        Some(after) => {
            let (left, right) = (points[after - 1], points[after]);
            f64::from(left.1) + f64::from(right.1 - left.1) * (hz - left.0) / (right.0 - left.0)
        }
        None => f64::from(shifts[2]),
    }
}
