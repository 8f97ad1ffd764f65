//! Speech from frames: at each beat of the pitch the minimum-phase response of the envelope, and noise shaped by it in between.
//!
//! M. Morise, F. Yokomori, K. Ozawa 2016 (see `world`), section on synthesis: the periodic part is one response a beat, the
//! aperiodic part noise as long as the beat under the response of its share. Where there is no pitch the beats come at 500 Hz.
//! The noise is drawn from splitmix64, so that equal frames give equal samples.

use std::f64::consts::PI;
use std::ops::ControlFlow;

use super::fourier::Fourier;
use super::{ASK_EVERY_FRAMES, FRAME_MS, Frame, WorldConfig};

/// Beats where there is no pitch.
const UNVOICED_HZ: f64 = 500.0;
const FLOOR: f64 = 1e-16;

/// The speech of frames, `samples` long. `frame` is asked for each frame once, in order, and fills it; `f0_hz` is the pitch of all of them,
/// which must be that of the frames. `None` when `wanted` breaks.
pub fn synthesise(
    config: &WorldConfig,
    f0_hz: &[f64],
    samples: usize,
    frame: &mut dyn FnMut(usize, &mut Frame),
    wanted: &mut dyn FnMut() -> ControlFlow<()>,
) -> Option<Vec<f32>> {
    let mut out = vec![0.0f64; samples];
    if f0_hz.is_empty() {
        return Some(vec![0.0; samples]);
    }
    let mut beats = Beats::new(config, f0_hz, samples);
    let mut voice = Voice::new(config);
    let mut window = TwoFrames::default();
    let Some(mut beat) = beats.next() else { return Some(vec![0.0; samples]) };
    let mut count = 0usize;
    loop {
        if count.is_multiple_of(ASK_EVERY_FRAMES) && wanted().is_break() {
            return None;
        }
        count += 1;
        let following = beats.next();
        let gap = following.as_ref().map_or(samples, |next| next.sample) - beat.sample;
        let at = (beat.sample as f64 + beat.late) * 1000.0 / f64::from(config.rate_hz) / FRAME_MS;
        window.move_to(at as usize, f0_hz.len(), frame);
        voice.speak(&beat, gap, &window, at.fract(), &mut out);
        match following {
            Some(next) => beat = next,
            None => break,
        }
    }
    Some(out.into_iter().map(|sample| sample as f32).collect())
}

/// One beat: the sample it falls before, and how much later it really is, in samples.
struct Beat {
    sample: usize,
    late: f64,
    voiced: bool,
}

/// Walks the samples and counts turns of the pitch.
struct Beats<'a> {
    f0_hz: &'a [f64],
    rate_hz: f64,
    samples: usize,
    at: usize,
    phase: f64,
}

impl<'a> Beats<'a> {
    fn new(config: &WorldConfig, f0_hz: &'a [f64], samples: usize) -> Self {
        // The first beat comes with the first sample.
        Self { f0_hz, rate_hz: f64::from(config.rate_hz), samples, at: 0, phase: 1.0 }
    }

    /// Pitch at a sample: straight lines between voiced frames, the nearer frame decides whether there is one.
    fn pitch(&self, sample: usize) -> (f64, bool) {
        let at = sample as f64 * 1000.0 / self.rate_hz / FRAME_MS;
        let last = self.f0_hz.len() - 1;
        let (left, right) = ((at as usize).min(last), (at as usize + 1).min(last));
        let (a, b) = (self.f0_hz[left], self.f0_hz[right]);
        let near = if at.fract() < 0.5 { a } else { b };
        match (near > 0.0, a > 0.0 && b > 0.0) {
            (false, _) => (UNVOICED_HZ, false),
            (true, true) => (a + (b - a) * at.fract(), true),
            (true, false) => (near, true),
        }
    }
}

impl Iterator for Beats<'_> {
    type Item = Beat;

    fn next(&mut self) -> Option<Beat> {
        while self.at < self.samples {
            let (pitch_hz, voiced) = self.pitch(self.at);
            let (sample, step) = (self.at, pitch_hz / self.rate_hz);
            let before = self.phase;
            self.at += 1;
            self.phase += step;
            if before >= 1.0 {
                self.phase -= 1.0;
                // The turn was full a little before this sample; the beat is given to the one before.
                let early = ((before - 1.0) / step).clamp(0.0, 1.0);
                let (sample, late) = if sample == 0 { (0, 0.0) } else { (sample - 1, 1.0 - early) };
                return Some(Beat { sample, late, voiced });
            }
        }
        None
    }
}

/// The frames at both sides of a beat.
#[derive(Default)]
struct TwoFrames {
    left: Frame,
    right: Frame,
    /// Number of `left`, when both are filled.
    number: Option<usize>,
}

impl TwoFrames {
    fn move_to(&mut self, number: usize, frames: usize, fill: &mut dyn FnMut(usize, &mut Frame)) {
        let number = number.min(frames - 1);
        let mut have = match self.number {
            Some(have) => have,
            None => {
                fill(0, &mut self.left);
                self.fill_right(1, frames, fill);
                0
            }
        };
        while have < number {
            std::mem::swap(&mut self.left, &mut self.right);
            have += 1;
            self.fill_right(have + 1, frames, fill);
        }
        self.number = Some(have);
    }

    /// After the last frame it goes on.
    fn fill_right(&mut self, number: usize, frames: usize, fill: &mut dyn FnMut(usize, &mut Frame)) {
        if number < frames { fill(number, &mut self.right) } else { self.right.clone_from(&self.left) }
    }
}

struct Voice {
    fourier: Fourier,
    noise: Fourier,
    envelope: Vec<f64>,
    share: Vec<f64>,
    /// Takes away the mean that a response of a whole period must not have.
    without_mean: Vec<f64>,
    seed: u64,
}

impl Voice {
    fn new(config: &WorldConfig) -> Self {
        let len = config.fft_len();
        let mut without_mean: Vec<f64> = (0..len).map(|at| 0.5 - 0.5 * (2.0 * PI * (at as f64 + 1.0) / (len as f64 + 1.0)).cos()).collect();
        let sum: f64 = without_mean.iter().sum();
        without_mean.iter_mut().for_each(|weight| *weight /= sum);
        Self {
            fourier: Fourier::new(len),
            noise: Fourier::new(len),
            envelope: vec![0.0; config.bins()],
            share: vec![0.0; config.bins()],
            without_mean,
            seed: 0x636c_6f6e_7976_6f69,
        }
    }

    fn speak(&mut self, beat: &Beat, gap: usize, frames: &TwoFrames, between: f64, out: &mut [f64]) {
        let (left, right) = (&frames.left, &frames.right);
        let mixed = |a: &[f64], b: &[f64], into: &mut [f64]| {
            into.iter_mut().zip(a.iter().zip(b)).for_each(|(into, (a, b))| *into = a + (b - a) * between);
        };
        mixed(&left.envelope, &right.envelope, &mut self.envelope);
        mixed(&left.aperiodicity, &right.aperiodicity, &mut self.share);
        // Shares are of the amplitude; the power is what is divided.
        self.share.iter_mut().for_each(|share| *share = (*share * *share).clamp(0.0, 1.0));
        if beat.voiced {
            self.periodic(beat, gap, out);
        } else {
            self.share.fill(1.0);
        }
        self.aperiodic(beat, gap, out);
    }

    fn periodic(&mut self, beat: &Beat, gap: usize, out: &mut [f64]) {
        self.fourier.minimum_phase(self.envelope.iter().zip(&self.share).map(|(power, share)| (power * (1.0 - share) + FLOOR).ln()));
        let turn = -2.0 * PI * beat.late / self.fourier.len() as f64;
        for (bin, value) in self.fourier.spectrum.iter_mut().enumerate() {
            let (sin, cos) = (turn * bin as f64).sin_cos();
            *value *= realfft::num_complex::Complex64::new(cos, sin);
        }
        self.fourier.inverse();
        let mean: f64 = self.fourier.time.iter().sum();
        let time = &mut self.fourier.time;
        // Laid around the response, whose beginning lies in the middle of the weights.
        let half = time.len() / 2;
        for (at, weight) in self.without_mean.iter().enumerate() {
            time[(at + half) % (2 * half)] -= mean * weight;
        }
        let gain = (gap as f64).sqrt() / self.fourier.len() as f64;
        add(&self.fourier.time, beat.sample, gain, out);
    }

    fn aperiodic(&mut self, beat: &Beat, gap: usize, out: &mut [f64]) {
        let len = gap.min(self.noise.len() / 2);
        if len == 0 {
            return;
        }
        self.noise.time.fill(0.0);
        let mut sum = 0.0;
        for at in 0..len {
            let drawn = self.draw();
            self.noise.time[at] = drawn;
            sum += drawn;
        }
        let mean = if len > 1 { sum / len as f64 } else { 0.0 };
        self.noise.time[..len].iter_mut().for_each(|sample| *sample -= mean);
        self.noise.forward();
        self.fourier.minimum_phase(self.envelope.iter().zip(&self.share).map(|(power, share)| (power * share + FLOOR).ln()));
        self.fourier.spectrum.iter_mut().zip(&self.noise.spectrum).for_each(|(response, noise)| *response *= noise);
        self.fourier.inverse();
        add(&self.fourier.time, beat.sample, 1.0 / self.fourier.len() as f64, out);
    }

    /// White noise of variance 1: evenly between ±√3 (splitmix64: Steele, Lea, Flood, OOPSLA 2014).
    fn draw(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let unit = ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
        (2.0 * unit - 1.0) * 3f64.sqrt()
    }
}

/// Adds a circular response: its first three quarters lie from `at` on, its last quarter before.
fn add(response: &[f64], at: usize, gain: f64, out: &mut [f64]) {
    let (after, before) = response.split_at(response.len() * 3 / 4);
    if let Some(out) = out.get_mut(at..) {
        out.iter_mut().zip(after).for_each(|(out, value)| *out += value * gain);
    }
    let skipped = before.len().saturating_sub(at);
    let from = at.saturating_sub(before.len());
    out[from..].iter_mut().zip(&before[skipped..]).take(before.len() - skipped).for_each(|(out, value)| *out += value * gain);
}
