//! Which frames hold speech and how long somebody spoke: an energy gate, no model.
//!
//! It may not know words; a loud fan counts as speech here.

use super::{HOP_MS, mean_square, measured, ms_to_samples, rate_fits};

/// A frame this far under the loud frames is a pause.
const GATE_DB: f64 = -35.0;
/// And whatever lies under this is silence in any recording (dBFS, RMS).
const FLOOR_DBFS: f64 = -65.0;
/// Shorter gaps belong to the speech: the closures of p, t, k last 50-150 ms.
const KEPT_GAP_MS: u32 = 200;

/// Mean square above which a frame counts, or `None` when all of it is silence.
///
/// Relative to the 95th percentile of the frames and not to the loudest, so that one click does not close the gate.
pub(super) fn gate(samples: &[f32], rate_hz: u32) -> Option<f64> {
    let hop = ms_to_samples(HOP_MS, rate_hz).max(1);
    let mut levels: Vec<f64> = samples.chunks(hop).map(mean_square).collect();
    if levels.is_empty() {
        return None;
    }
    let at = (levels.len() - 1) * 95 / 100;
    let (_, loud, _) = levels.select_nth_unstable_by(at, f64::total_cmp);
    let floor = 10f64.powf(FLOOR_DBFS / 10.0);
    if *loud <= floor { None } else { Some((*loud * 10f64.powf(GATE_DB / 10.0)).max(floor)) }
}

/// Time spent speaking: the 10 ms frames above the gate plus the gaps between them of at most 200 ms.
///
/// The gate lies 35 dB under the 95th percentile of the frames' levels and never under -65 dBFS. Silence, and rates outside
/// 16-384 kHz, give 0.
pub fn speaking_ms(samples: &[f32], rate_hz: u32) -> u64 {
    if !rate_fits(rate_hz) {
        return 0;
    }
    let samples = measured(samples, rate_hz);
    let Some(gate) = gate(samples, rate_hz) else { return 0 };
    let hop = ms_to_samples(HOP_MS, rate_hz).max(1);
    let kept_gap = (KEPT_GAP_MS / HOP_MS) as usize;
    let mut frames = 0usize;
    let mut last_active: Option<usize> = None;
    for (i, frame) in samples.chunks(hop).enumerate() {
        if mean_square(frame) <= gate {
            continue;
        }
        frames += match last_active {
            Some(last) if i - last - 1 <= kept_gap => i - last,
            _ => 1,
        };
        last_active = Some(i);
    }
    frames as u64 * u64::from(HOP_MS)
}
