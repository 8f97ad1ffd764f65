//! The long-term average spectrum in third octaves: what an equaliser would have to do to make one voice sound like another.
//!
//! Bands by IEC 61260-1 (base ten), power by Welch's method (P. Welch, IEEE Trans. Audio Electroacoust. 15(2), 1967).
//! It may not know pitch or voicing; pauses are left out by level alone.

use realfft::RealFftPlanner;

use super::{active::gate, mean_square, measured, rate_fits};

/// Third octaves from 100 Hz to 6,300 Hz; the upper edge of the last one, 7,079 Hz, fits under 16 kHz sampling.
pub const LTAS_BANDS: usize = 19;

/// Bands more than 80 dB under the loudest are held at that, or digital silence in one band would outweigh all others.
const DEPTH_DB: f64 = -80.0;
/// At least this much sound above the gate.
const MIN_FRAMES: usize = 4;

/// The middle of a band: 1000 · 10^((band - 10)/10) Hz, that is 100, 125.9, … 6,309.6.
pub fn ltas_centre_hz(band: usize) -> f32 {
    centre(band) as f32
}

/// Power of each third octave in dB, with the mean over the bands at 0 dB, so that loudness does not count.
///
/// Welch's method: Hann windows of about 85 ms with half overlap, those louder than the speech gate of
/// [`speaking_ms`](super::speaking_ms). `None` with fewer than four such windows or a rate outside 16-384 kHz.
pub fn ltas_db(samples: &[f32], rate_hz: u32) -> Option<[f32; LTAS_BANDS]> {
    if !rate_fits(rate_hz) {
        return None;
    }
    let samples = measured(samples, rate_hz);
    let gate = gate(samples, rate_hz)?;
    let size = ((f64::from(rate_hz) * 0.06) as usize).next_power_of_two();
    let fft = RealFftPlanner::<f32>::new().plan_fft_forward(size);
    let (mut input, mut spectrum, mut scratch) = (fft.make_input_vec(), fft.make_output_vec(), fft.make_scratch_vec());
    let mut power = vec![0.0f64; spectrum.len()];
    let mut frames = 0usize;
    for frame in samples.windows(size).step_by(size / 2).filter(|f| mean_square(f) > gate) {
        for (i, (to, &from)) in input.iter_mut().zip(frame).enumerate() {
            *to = from * (0.5 - 0.5 * (std::f64::consts::TAU * (i as f64 + 0.5) / size as f64).cos()) as f32;
        }
        if fft.process_with_scratch(&mut input, &mut spectrum, &mut scratch).is_err() {
            return None;
        }
        for (sum, bin) in power.iter_mut().zip(&spectrum) {
            *sum += f64::from(bin.norm_sqr());
        }
        frames += 1;
    }
    if frames < MIN_FRAMES {
        return None;
    }
    let bin_hz = f64::from(rate_hz) / size as f64;
    let mut bands = [0.0f64; LTAS_BANDS];
    for (i, band) in bands.iter_mut().enumerate() {
        *band = band_power(&power, bin_hz, centre(i) * 10f64.powf(-0.05), centre(i) * 10f64.powf(0.05));
    }
    let loudest = bands.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let levels = bands.map(|b| (10.0 * (b / loudest).max(f64::MIN_POSITIVE).log10()).max(DEPTH_DB));
    let mean = levels.iter().sum::<f64>() / LTAS_BANDS as f64;
    Some(levels.map(|l| (l - mean) as f32))
}

/// Root mean square over the bands of the difference of two spectra, in dB.
pub fn ltas_distance_db(a: &[f32; LTAS_BANDS], b: &[f32; LTAS_BANDS]) -> f32 {
    (a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f32>() / LTAS_BANDS as f32).sqrt()
}

fn centre(band: usize) -> f64 {
    1000.0 * 10f64.powf((band as f64 - 10.0) / 10.0)
}

/// Sum of the bins in [low, high); a bin that an edge cuts counts by the share of it inside.
fn band_power(power: &[f64], bin_hz: f64, low_hz: f64, high_hz: f64) -> f64 {
    power
        .iter()
        .enumerate()
        .map(|(i, p)| {
            let (from, to) = ((i as f64 - 0.5) * bin_hz, (i as f64 + 0.5) * bin_hz);
            let inside = (to.min(high_hz) - from.max(low_hz)).max(0.0);
            p * inside / bin_hz
        })
        .sum()
}
