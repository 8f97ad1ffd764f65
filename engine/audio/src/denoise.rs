//! Steady noise taken out of a recording of speech, by a spectral gate.
//!
//! S. F. Boll, "Suppression of acoustic noise in speech using spectral subtraction", IEEE Trans. ASSP 27(2), 1979, with the floor of
//! M. Berouti, R. Schwartz, J. Makhoul 1979, so that no tones are left behind: what the quietest tenth of the frames hold is taken from
//! all, down to 15 dB. A hum and a fan go, a second speaker stays. It may not know why it should be quiet.

use realfft::RealFftPlanner;
use realfft::num_complex::Complex32;

/// Of a frame; the next one begins a quarter of it later.
const FRAME_MS: u32 = 40;
/// Noise varies about its mean; this much of it is taken.
const OVER: f32 = 2.5;
/// Least gain: 15 dB down.
const FLOOR: f32 = 0.178;
/// Share of the frames that are held for noise alone.
const QUIET_PERCENT: usize = 10;
/// The gain falls no faster from frame to frame, so that word ends stay.
const RELEASE: f32 = 0.6;
/// With fewer frames nothing is known of the noise.
const MIN_FRAMES: usize = 20;

/// As many samples as come in; mono. Less than 0.2 s of sound comes back as it is.
pub fn denoise(samples: &[f32], rate_hz: u32) -> Vec<f32> {
    let size = ((rate_hz as usize * FRAME_MS as usize / 1000).next_power_of_two()).max(64);
    let hop = size / 4;
    let frames = samples.len().div_ceil(hop) + 3;
    if samples.len() < MIN_FRAMES * hop {
        return samples.to_vec();
    }
    let mut planner = RealFftPlanner::<f32>::new();
    let (forward, inverse) = (planner.plan_fft_forward(size), planner.plan_fft_inverse(size));
    let window: Vec<f32> = (0..size).map(|i| (std::f32::consts::PI * (i as f32 + 0.5) / size as f32).sin()).collect();
    let (mut time, mut spectrum) = (forward.make_input_vec(), forward.make_output_vec());
    let mut transform = |frame: usize, spectrum: &mut Vec<Complex32>| {
        for (i, (out, weight)) in time.iter_mut().zip(&window).enumerate() {
            // The first frame begins three hops before the sound.
            let at = (frame * hop + i).checked_sub(3 * hop);
            *out = at.and_then(|at| samples.get(at)).copied().unwrap_or(0.0) * weight;
        }
        // The lengths are the plan's own.
        let done = forward.process(&mut time, spectrum);
        debug_assert!(done.is_ok());
    };
    let mut levels: Vec<(f32, usize)> = Vec::with_capacity(frames);
    for frame in 3..frames.saturating_sub(3) {
        transform(frame, &mut spectrum);
        levels.push((spectrum.iter().map(Complex32::norm_sqr).sum(), frame));
    }
    levels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let quiet = &levels[..(levels.len() * QUIET_PERCENT / 100).max(1)];
    let mut noise = vec![0.0f32; spectrum.len()];
    for (_, frame) in quiet {
        transform(*frame, &mut spectrum);
        noise.iter_mut().zip(&spectrum).for_each(|(noise, bin)| *noise += bin.norm_sqr() / quiet.len() as f32);
    }
    let mut out = vec![0.0f32; (frames + 4) * hop];
    let mut gains = vec![FLOOR; spectrum.len()];
    let mut back = inverse.make_output_vec();
    for frame in 0..frames {
        transform(frame, &mut spectrum);
        for ((bin, noise), gain) in spectrum.iter_mut().zip(&noise).zip(&mut gains) {
            let wanted = (1.0 - OVER * noise / bin.norm_sqr().max(1e-20)).max(0.0).sqrt().max(FLOOR);
            *gain = wanted.max(*gain * RELEASE);
            *bin *= *gain;
        }
        spectrum[0].im = 0.0;
        spectrum[size / 2].im = 0.0;
        let done = inverse.process(&mut spectrum, &mut back);
        debug_assert!(done.is_ok());
        // Four squared sine windows add up to two.
        let scale = 0.5 / size as f32;
        for (i, (value, weight)) in back.iter().zip(&window).enumerate() {
            out[frame * hop + i] += value * weight * scale;
        }
    }
    out.drain(..3 * hop);
    out.truncate(samples.len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE_HZ: u32 = 24_000;

    fn noise() -> impl FnMut() -> f32 {
        let mut state = 1u32;
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state as f32 / u32::MAX as f32 - 0.5
        }
    }

    /// Half a second of a voice, half a second of nothing, in turn.
    fn speech() -> Vec<f32> {
        let sample = |i: usize| {
            let t = i as f32 / RATE_HZ as f32;
            let on = (i / (RATE_HZ as usize / 2)).is_multiple_of(2);
            if on { (1..20).map(|n| (t * 150.0 * n as f32 * std::f32::consts::TAU).sin() / n as f32).sum::<f32>() * 0.2 } else { 0.0 }
        };
        (0..RATE_HZ as usize * 4).map(sample).collect()
    }

    fn power(samples: impl Iterator<Item = f32>) -> f32 {
        let (sum, count) = samples.fold((0.0, 0usize), |(sum, count), s| (sum + s * s, count + 1));
        sum / count as f32
    }

    #[test]
    fn noise_goes_and_the_voice_stays() {
        let clean = speech();
        let mut noise = noise();
        let noisy: Vec<f32> = clean.iter().map(|s| s + 0.05 * noise()).collect();
        let after = denoise(&noisy, RATE_HZ);
        assert_eq!(after.len(), noisy.len());
        let pause = 13_000..23_000;
        let quieter_db = 10.0 * (power(noisy[pause.clone()].iter().copied()) / power(after[pause].iter().copied())).log10();
        assert!(quieter_db > 9.0, "pauses are {quieter_db} dB quieter");
        let error_db = 10.0 * (power(after.iter().zip(&clean).map(|(a, b)| a - b)) / power(clean.iter().copied())).log10();
        let before_db = 10.0 * (power(noisy.iter().zip(&clean).map(|(a, b)| a - b)) / power(clean.iter().copied())).log10();
        assert!(error_db < before_db - 3.0, "{error_db} dB of error, {before_db} before");
    }

    #[test]
    fn what_is_clean_or_tiny_is_not_touched() {
        let clean = speech();
        let after = denoise(&clean, RATE_HZ);
        let error_db = 10.0 * (power(after.iter().zip(&clean).map(|(a, b)| a - b)) / power(clean.iter().copied())).log10();
        assert!(error_db < -40.0, "{error_db} dB");
        assert_eq!(denoise(&clean[..100], RATE_HZ), clean[..100]);
        assert!(denoise(&[], RATE_HZ).is_empty());
        assert!(denoise(&vec![0.0; 48_000], RATE_HZ).iter().all(|s| *s == 0.0));
    }
}
