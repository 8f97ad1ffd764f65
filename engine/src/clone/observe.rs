//! What somebody's speech is made of, frame by frame, and its statistics: the pitch, the mean envelope with and without voice, the noise in
//! the voice.
//!
//! It may not know who is the model and who speaks; both sides of a conversion are observed alike.

use std::ops::ControlFlow;

use super::bands::{self, BANDS, Bands, Mel, Shape};
use crate::speech::SAMPLE_RATE_HZ;
use crate::world::{Analysis, Frame, WorldConfig};

/// The noise is looked at here.
pub(super) const NOISE_HZ: [f64; 3] = [3_000.0, 6_000.0, 9_000.0];
/// Frames this far under the loudest twentieth are a pause, in dB.
const PAUSE_DB: f64 = -38.0;
/// Bands whose mean lies this far under the loudest hold nothing of a voice.
const NOTHING: f64 = -62.0 * std::f64::consts::LN_10 / 10.0;
/// Between two questions whether to go on.
const ASK_EVERY_FRAMES: usize = 32;
/// Logarithms of an envelope do not go below this.
const SILENCE_LOG: f64 = -32.0;

pub(super) fn config() -> WorldConfig {
    WorldConfig { f0_floor_hz: 55.0, ..WorldConfig::new(SAMPLE_RATE_HZ) }
}

#[derive(Debug, Clone)]
pub(super) struct Observed {
    pub(super) weight: f64,
    /// 0 without voice.
    pub(super) f0_hz: f64,
    pub(super) bands: Bands,
    /// Logits of the aperiodicity at [`NOISE_HZ`].
    pub(super) noise: [f64; 3],
    level: f64,
}

pub(super) fn logit(share: f64) -> f64 {
    let share = share.clamp(1e-3, 1.0 - 1e-3);
    (share / (1.0 - share)).ln()
}

/// All frames of some speech, to be looked at more than once: 8 kB for each.
pub(super) struct Frames(pub(super) Vec<Frame>);

impl Frames {
    /// `None` when `wanted` breaks.
    pub(super) fn of(samples: &[f32], wanted: &mut dyn FnMut() -> ControlFlow<()>) -> Option<Self> {
        let mut analysis = Analysis::new(config(), samples, wanted)?;
        let mut frames = vec![Frame::default(); analysis.f0_hz().len()];
        for (number, frame) in frames.iter_mut().enumerate() {
            if number % ASK_EVERY_FRAMES == 0 && wanted().is_break() {
                return None;
            }
            analysis.frame(number, frame);
        }
        Some(Self(frames))
    }

    pub(super) fn observe(&self, tract_ratio: f64) -> Vec<Observed> {
        let mut observer = Observer::new(1.0, tract_ratio);
        self.0.iter().for_each(|frame| observer.see(frame));
        observer.finish()
    }
}

/// The frames of `samples` that are no pause, with the noise in them only if `noise`. `None` when `wanted` breaks.
pub(super) fn observe(samples: &[f32], weight: f64, noise: bool, wanted: &mut dyn FnMut() -> ControlFlow<()>) -> Option<Vec<Observed>> {
    let mut analysis = Analysis::new(config(), samples, wanted)?;
    let mut observer = Observer::new(weight, 1.0);
    let mut frame = Frame::default();
    for number in 0..analysis.f0_hz().len() {
        if number % ASK_EVERY_FRAMES == 0 && wanted().is_break() {
            return None;
        }
        if noise {
            analysis.frame(number, &mut frame)
        } else {
            analysis.frame_without_noise(number, &mut frame)
        }
        observer.see(&frame);
    }
    Some(observer.finish())
}

struct Observer {
    weight: f64,
    tract_ratio: f64,
    mel: Mel,
    observed: Vec<Observed>,
    logs: Vec<f64>,
    scratch: Vec<f64>,
}

impl Observer {
    fn new(weight: f64, tract_ratio: f64) -> Self {
        Self { weight, tract_ratio, mel: Mel::new(config().bins()), observed: Vec::new(), logs: Vec::new(), scratch: Vec::new() }
    }

    fn see(&mut self, frame: &Frame) {
        let config = config();
        let bin_of = |hz: f64| ((hz / f64::from(SAMPLE_RATE_HZ) * config.fft_len() as f64).round() as usize).min(config.bins() - 1);
        let level = frame.envelope.iter().sum::<f64>().max(1e-30).ln();
        self.logs.clear();
        self.logs.extend(frame.envelope.iter().map(|power| power.ln().max(SILENCE_LOG)));
        bands::warp(&mut self.logs, self.tract_ratio, &mut self.scratch);
        let noise = NOISE_HZ.map(|hz| logit(frame.aperiodicity[bin_of(hz)]));
        self.observed.push(Observed { weight: self.weight, f0_hz: frame.f0_hz, bands: self.mel.bands(&self.logs), noise, level });
    }

    /// Without the pauses.
    fn finish(mut self) -> Vec<Observed> {
        let mut levels: Vec<f64> = self.observed.iter().map(|frame| frame.level).collect();
        levels.sort_by(f64::total_cmp);
        let loud = levels.get(levels.len().saturating_sub(1) * 95 / 100).copied().unwrap_or(f64::MIN);
        let pause = loud + PAUSE_DB * std::f64::consts::LN_10 / 10.0;
        self.observed.retain(|frame| frame.level > pause && frame.level > -20.0);
        self.observed
    }
}

/// Statistics of a voice. Bands are relative to its own level: the weighted mean over voiced frames and bands up to `top` is 0.
#[derive(Debug, Clone)]
pub(super) struct Statistics {
    /// The last band that the recordings reach.
    pub(super) top: usize,
    pub(super) voiced: Bands,
    pub(super) unvoiced: Bands,
    /// Spread of the shape over voiced frames, and its mean.
    pub(super) shape_mean: Shape,
    pub(super) shape_spread: Shape,
    /// Median of the natural logarithm of the pitch, and the distance of its quartiles.
    pub(super) log_f0: f64,
    pub(super) log_f0_spread: f64,
    pub(super) noise: [f64; 3],
}

impl Statistics {
    /// `None` where there is no voice at all. `top`, where it is not to be found in the recordings.
    pub(super) fn of(observed: &[Observed], mel: &Mel, top: Option<usize>) -> Option<Self> {
        let voiced: Vec<&Observed> = observed.iter().filter(|frame| frame.f0_hz > 0.0).collect();
        let unvoiced: Vec<&Observed> = observed.iter().filter(|frame| frame.f0_hz <= 0.0).collect();
        let weight: f64 = voiced.iter().map(|frame| frame.weight).sum();
        if weight <= 0.0 {
            return None;
        }
        let mut voiced_mean = mean_bands(&voiced);
        // Without breathed sounds nothing is known of them but that they follow the voice.
        let mut unvoiced_mean = if unvoiced.len() < 10 { voiced_mean } else { mean_bands(&unvoiced) };
        let top = top.unwrap_or_else(|| top_band(&voiced_mean, &unvoiced_mean));
        let level = voiced_mean[..=top].iter().sum::<f64>() / (top + 1) as f64;
        voiced_mean.iter_mut().for_each(|band| *band -= level);
        unvoiced_mean.iter_mut().for_each(|band| *band -= level);
        let shapes: Vec<(f64, Shape)> = voiced.iter().map(|frame| (frame.weight, mel.shape(&frame.bands, top))).collect();
        let mean: Shape = std::array::from_fn(|k| shapes.iter().map(|(w, shape)| w * shape[k]).sum::<f64>() / weight);
        let spread: Shape = std::array::from_fn(|k| {
            let variance = shapes.iter().map(|(w, shape)| w * (shape[k] - mean[k]).powi(2)).sum::<f64>() / weight;
            variance.sqrt().max(0.05)
        });
        let mut pitches: Vec<(f64, f64)> = voiced.iter().map(|frame| (frame.f0_hz.ln(), frame.weight)).collect();
        pitches.sort_by(|a, b| a.0.total_cmp(&b.0));
        let noise = std::array::from_fn(|band| voiced.iter().map(|f| f.weight * f.noise[band]).sum::<f64>() / weight);
        Some(Self {
            top,
            voiced: voiced_mean,
            unvoiced: unvoiced_mean,
            shape_mean: mean,
            shape_spread: spread,
            log_f0: quantile(&pitches, weight, 0.5),
            log_f0_spread: quantile(&pitches, weight, 0.75) - quantile(&pitches, weight, 0.25),
            noise,
        })
    }
}

/// Where a recording ends: beyond lies nothing but the noise of numbers.
fn top_band(voiced: &Bands, unvoiced: &Bands) -> usize {
    let loudest = voiced.iter().copied().fold(f64::MIN, f64::max);
    let reached = voiced.iter().zip(unvoiced).rposition(|(with, without)| with.max(*without) > loudest + NOTHING);
    // One less: the edge of a filter lies in the last one.
    reached.map_or(BANDS - 1, |band| if band == BANDS - 1 { band } else { band.saturating_sub(1) }).max(BANDS / 2)
}

fn mean_bands(frames: &[&Observed]) -> Bands {
    let weight: f64 = frames.iter().map(|frame| frame.weight).sum();
    std::array::from_fn(|band| frames.iter().map(|frame| frame.weight * frame.bands[band]).sum::<f64>() / weight)
}

/// Of values with weights, in order.
fn quantile(values: &[(f64, f64)], weight: f64, share: f64) -> f64 {
    let mut sum = 0.0;
    let reached = values.iter().find(|(_, weight_of)| {
        sum += weight_of;
        sum >= weight * share
    });
    reached.or(values.last()).map_or(0.0, |(value, _)| *value)
}

/// Frames of shapes without their mean, for those that are voiced.
pub(super) fn centred_shapes(observed: &[Observed], mel: &Mel, statistics: &Statistics) -> Vec<(f64, Shape)> {
    let centred = |frame: &Observed| {
        let shape = mel.shape(&frame.bands, statistics.top);
        (frame.weight, std::array::from_fn(|k| shape[k] - statistics.shape_mean[k]))
    };
    observed.iter().filter(|frame| frame.f0_hz > 0.0).map(centred).collect()
}
