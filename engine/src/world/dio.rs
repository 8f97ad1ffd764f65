//! A rough pitch for each frame: where a signal that holds only its fundamental crosses zero, the distances of the crossings are its period.
//!
//! M. Morise, H. Kawahara, T. Nishiura, "Rapid F0 estimation for high-SNR speech based on fundamental component extraction", IEICE Trans.
//! J93-D(2), 2010 (DIO): the signal goes through low-passes half an octave apart; each band whose four kinds of distances agree gives a
//! candidate. Ours: the candidates are joined by the cheapest path (Viterbi) and not by the paper's rules of thumb.

use std::f64::consts::PI;
use std::ops::ControlFlow;

use super::{FRAME_MS, WorldConfig};

/// Rate at which bands are made; low enough to be quick, high enough for the tenth of a sample that StoneMask starts from.
const BAND_RATE_HZ: f64 = 4_000.0;
const BANDS_PER_OCTAVE: f64 = 2.0;
/// Rumble below this is taken away.
const RUMBLE_HZ: f64 = 50.0;
/// Costs of the path: disagreement of a candidate counts as it is.
const UNVOICED_COST: f64 = 0.22;
const TURN_COST: f64 = 0.1;
const OCTAVE_COST: f64 = 2.5;
/// A candidate that is not the lowest harmonic agrees with itself as well; a little is added for each octave up.
const HEIGHT_COST: f64 = 0.01;
/// Runs of a pitch shorter than this are no voice.
const SHORTEST_RUN_MS: f64 = 25.0;
/// Below this level of the loudest tenth of a second nothing is voiced: -55 dB.
const QUIET: f64 = 1.8e-3;

#[derive(Debug, Clone, Copy)]
struct Candidate {
    hz: f64,
    /// Standard deviation of the four estimates as a share of their mean.
    disagreement: f64,
}

/// In Hz for each frame, 0 where nothing is periodic. `None` when `wanted` breaks.
pub(super) fn track(config: &WorldConfig, samples: &[f32], wanted: &mut dyn FnMut() -> ControlFlow<()>) -> Option<Vec<f64>> {
    let frames = config.frames(samples.len());
    let step = (f64::from(config.rate_hz) / BAND_RATE_HZ).round().max(1.0) as usize;
    let rate_hz = f64::from(config.rate_hz) / step as f64;
    let slow = without_rumble(&decimate(samples, step), rate_hz);
    let loud = loud_frames(&slow, rate_hz, frames);
    let mut candidates: Vec<Vec<Candidate>> = vec![Vec::new(); frames];
    let octaves = (config.f0_ceil_hz / config.f0_floor_hz).log2();
    for band in 0..=(octaves * BANDS_PER_OCTAVE).ceil() as i32 {
        if wanted().is_break() {
            return None;
        }
        let edge_hz = config.f0_floor_hz * 2f64.powf(f64::from(band + 1) / BANDS_PER_OCTAVE);
        let signal = low_pass(&slow, rate_hz, edge_hz);
        let range = (edge_hz / 2.0).max(config.f0_floor_hz)..=edge_hz.min(config.f0_ceil_hz);
        for (frame, candidate) in band_candidates(&signal, rate_hz, frames) {
            if range.contains(&candidate.hz) && loud[frame] {
                candidates[frame].push(candidate);
            }
        }
    }
    Some(cheapest_path(&candidates, config.f0_floor_hz))
}

/// Takes away runs of pitch that are too short to be a voice.
pub(super) fn without_short_runs(f0_hz: &mut [f64]) {
    let shortest = (SHORTEST_RUN_MS / FRAME_MS) as usize;
    for run in f0_hz.chunk_by_mut(|a, b| (*a > 0.0) == (*b > 0.0)) {
        if run.len() < shortest {
            run.fill(0.0);
        }
    }
}

/// Every `step`th sample behind a low-pass (windowed sinc) at 0.4 of the new rate.
fn decimate(samples: &[f32], step: usize) -> Vec<f64> {
    let half = 6 * step as isize;
    let cut = 0.8 / step as f64;
    let mut taps: Vec<f64> = (-half..=half)
        .map(|at| {
            let x = PI * cut * at as f64;
            let sinc = if at == 0 { 1.0 } else { x.sin() / x };
            sinc * (0.5 + 0.5 * (PI * at as f64 / (half as f64 + 1.0)).cos())
        })
        .collect();
    let sum: f64 = taps.iter().sum();
    taps.iter_mut().for_each(|tap| *tap /= sum);
    let at = |middle: usize| filtered_at(samples, &taps, middle, |sample| f64::from(*sample));
    (0..samples.len()).step_by(step).map(at).collect()
}

/// One value of a signal under a symmetric filter; beyond its ends the signal is silent.
fn filtered_at<T>(samples: &[T], taps: &[f64], middle: usize, value: impl Fn(&T) -> f64) -> f64 {
    let half = taps.len() / 2;
    let (first, end) = (middle.saturating_sub(half), (middle + half + 1).min(samples.len()));
    let taps = &taps[first + half - middle..];
    samples[first..end].iter().zip(taps).map(|(sample, tap)| value(sample) * tap).sum()
}

fn without_rumble(signal: &[f64], rate_hz: f64) -> Vec<f64> {
    let half = (rate_hz / RUMBLE_HZ).round() as isize;
    let mut taps: Vec<f64> = (-half..=half).map(|at| 0.5 + 0.5 * (PI * at as f64 / (half as f64 + 1.0)).cos()).collect();
    let sum: f64 = taps.iter().sum();
    taps.iter_mut().for_each(|tap| *tap /= -sum);
    taps[half as usize] += 1.0;
    (0..signal.len()).map(|middle| filtered_at(signal, &taps, middle, |value| *value)).collect()
}

/// A Nuttall window of two periods of `edge_hz` as a filter: little of it is left an octave above.
fn low_pass(signal: &[f64], rate_hz: f64, edge_hz: f64) -> Vec<f64> {
    let half = (rate_hz / edge_hz).round().max(2.0) as isize;
    let mut taps: Vec<f64> = (-half..=half)
        .map(|at| {
            let phase = PI * (at as f64 / (half as f64 + 1.0) + 1.0);
            0.355_768 - 0.487_396 * phase.cos() + 0.144_232 * (2.0 * phase).cos() - 0.012_604 * (3.0 * phase).cos()
        })
        .collect();
    let sum: f64 = taps.iter().sum();
    taps.iter_mut().for_each(|tap| *tap /= sum);
    (0..signal.len()).map(|middle| filtered_at(signal, &taps, middle, |value| *value)).collect()
}

/// Whether each frame is loud enough beside the loudest.
fn loud_frames(signal: &[f64], rate_hz: f64, frames: usize) -> Vec<bool> {
    let reach = (rate_hz * 0.0125) as usize;
    let level = |frame: usize| {
        let middle = (frame as f64 * FRAME_MS / 1000.0 * rate_hz) as usize;
        let part = &signal[middle.saturating_sub(reach).min(signal.len())..(middle + reach).min(signal.len())];
        (part.iter().map(|s| s * s).sum::<f64>() / part.len().max(1) as f64).sqrt()
    };
    let levels: Vec<f64> = (0..frames).map(level).collect();
    let loudest = levels.iter().copied().fold(0.0, f64::max);
    levels.iter().map(|level| *level > loudest * QUIET && *level > 1e-6).collect()
}

/// Each frame between the first and the last crossing of all four kinds, with what the distances say there.
fn band_candidates(signal: &[f64], rate_hz: f64, frames: usize) -> impl Iterator<Item = (usize, Candidate)> {
    let slope: Vec<f64> = signal.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let estimates = [
        Distances::of(signal, rate_hz, 0.0, 1.0),
        Distances::of(signal, rate_hz, 0.0, -1.0),
        Distances::of(&slope, rate_hz, 0.5, 1.0),
        Distances::of(&slope, rate_hz, 0.5, -1.0),
    ];
    let mut cursors = [0usize; 4];
    (0..frames).filter_map(move |frame| {
        let at_s = frame as f64 * FRAME_MS / 1000.0;
        let mut found = [0.0; 4];
        for ((found, distances), cursor) in found.iter_mut().zip(&estimates).zip(&mut cursors) {
            *found = distances.hz_at(at_s, cursor)?;
        }
        let mean = found.iter().sum::<f64>() / 4.0;
        let variance = found.iter().map(|hz| (hz - mean) * (hz - mean)).sum::<f64>() / 3.0;
        Some((frame, Candidate { hz: mean, disagreement: variance.sqrt() / mean }))
    })
}

/// Frequencies by the distances of crossings in one direction, each at the middle of its two crossings.
struct Distances {
    points: Vec<(f64, f64)>,
}

impl Distances {
    /// `direction` is 1 for crossings upwards, -1 for those downwards; `offset` is that of the first value in samples.
    fn of(signal: &[f64], rate_hz: f64, offset: f64, direction: f64) -> Self {
        let crossing = |(index, pair): (usize, &[f64])| {
            let (from, to) = (pair[0] * direction, pair[1] * direction);
            (from < 0.0 && to >= 0.0).then(|| (index as f64 + offset + from / (from - to)) / rate_hz)
        };
        let times: Vec<f64> = signal.windows(2).enumerate().filter_map(crossing).collect();
        Self { points: times.windows(2).map(|pair| ((pair[0] + pair[1]) / 2.0, 1.0 / (pair[1] - pair[0]))).collect() }
    }

    /// `cursor` only moves forward, as times do.
    fn hz_at(&self, at_s: f64, cursor: &mut usize) -> Option<f64> {
        while self.points.get(*cursor + 1).is_some_and(|(time, _)| *time <= at_s) {
            *cursor += 1;
        }
        let (left, right) = (self.points.get(*cursor)?, self.points.get(*cursor + 1)?);
        if at_s < left.0 {
            return None;
        }
        Some(left.1 + (right.1 - left.1) * (at_s - left.0) / (right.0 - left.0))
    }
}

/// The path through the candidates, or through none, that costs least.
fn cheapest_path(candidates: &[Vec<Candidate>], floor_hz: f64) -> Vec<f64> {
    // State 0 of a frame is "unvoiced", state n its candidate n - 1.
    let local = |candidate: &Candidate| candidate.disagreement + HEIGHT_COST * (candidate.hz / floor_hz).log2();
    let mut costs = vec![0.0];
    let mut previous: &[Candidate] = &[];
    let mut back: Vec<Vec<u32>> = Vec::with_capacity(candidates.len());
    for here in candidates {
        let mut next = Vec::with_capacity(here.len() + 1);
        let mut from = Vec::with_capacity(here.len() + 1);
        for state in 0..=here.len() {
            let candidate = state.checked_sub(1).map(|index| &here[index]);
            let step = |(index, cost): (usize, &f64)| {
                let before = index.checked_sub(1).map(|index| &previous[index]);
                let turn = match (before, candidate) {
                    (None, None) => 0.0,
                    (Some(a), Some(b)) => OCTAVE_COST * (a.hz / b.hz).log2().abs(),
                    _ => TURN_COST,
                };
                (index as u32, cost + turn)
            };
            let best = costs.iter().enumerate().map(step).min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0));
            next.push(best.1 + candidate.map_or(UNVOICED_COST, local));
            from.push(best.0);
        }
        costs = next;
        back.push(from);
        previous = here;
    }
    let mut state = costs.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(state, _)| state);
    let mut path = vec![0.0; candidates.len()];
    for frame in (0..candidates.len()).rev() {
        path[frame] = state.checked_sub(1).map_or(0.0, |index| candidates[frame][index].hz);
        state = back[frame][state] as usize;
    }
    path
}
