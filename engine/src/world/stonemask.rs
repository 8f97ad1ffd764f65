//! A rough pitch made exact by the instantaneous frequency of its first harmonics.
//!
//! M. Morise, H. Kawahara, H. Katayose, "Fast and reliable F0 estimation method based on the period extraction of vocal fold vibration of
//! singing voice and speech", AES 35th conference, 2009; the instantaneous frequency by J. L. Flanagan, R. M. Golden, "Phase vocoder",
//! Bell Syst. Tech. J. 45, 1966: with X the transform under a window and D that under its derivative, ω - Im(D/X).

use std::f64::consts::PI;

use realfft::num_complex::Complex64;

use super::WorldConfig;
use super::fourier::{Fourier, middle_of, sample_at};

/// A window of three periods.
const PERIODS: f64 = 3.0;
/// First with the two that are strongest, to know where the others lie.
const HARMONICS: [usize; 2] = [2, 6];
/// A pitch that would be moved further than this is left as it was.
const FURTHEST: f64 = 0.2;

pub(super) struct StoneMask {
    rate_hz: f64,
    /// Twice: for the window and for its derivative. By length, shortest first.
    fouriers: Vec<Fourier>,
    plain: Vec<Complex64>,
}

impl StoneMask {
    pub(super) fn new(config: &WorldConfig) -> Self {
        let rate_hz = f64::from(config.rate_hz);
        let longest = ((PERIODS * rate_hz / config.f0_floor_hz) as usize * 2).next_power_of_two();
        let shortest = ((PERIODS * rate_hz / config.f0_ceil_hz) as usize * 2).next_power_of_two();
        let lengths = std::iter::successors(Some(shortest.max(256)), |len| (*len < longest).then_some(len * 2));
        Self { rate_hz, fouriers: lengths.map(Fourier::new).collect(), plain: Vec::new() }
    }

    pub(super) fn refine(&mut self, samples: &[f32], frame: usize, f0_hz: f64) -> f64 {
        let half = (PERIODS / 2.0 * self.rate_hz / f0_hz).round() as isize;
        let wanted = (4 * half + 2) as usize;
        let last = self.fouriers.len() - 1;
        let which = self.fouriers.iter().position(|fourier| fourier.len() >= wanted).unwrap_or(last);
        let half = half.min(self.fouriers[which].len() as isize / 2 - 1);
        let middle = middle_of(frame, self.rate_hz);
        self.transform(which, |at, (window, _)| window * sample_at(samples, middle + at), half);
        std::mem::swap(&mut self.plain, &mut self.fouriers[which].spectrum);
        let bins = self.plain.len();
        self.fouriers[which].spectrum.resize(bins, Complex64::default());
        self.transform(which, |at, (_, slope)| slope * sample_at(samples, middle + at), half);
        let mut refined = f0_hz;
        for harmonics in HARMONICS {
            refined = self.by_harmonics(which, refined, harmonics).unwrap_or(refined);
        }
        if (refined / f0_hz - 1.0).abs() > FURTHEST { f0_hz } else { refined }
    }

    /// A Blackman window over `-half..=half` and its derivative by time.
    fn transform(&mut self, which: usize, value: impl Fn(isize, (f64, f64)) -> f64, half: isize) {
        let fourier = &mut self.fouriers[which];
        fourier.time.fill(0.0);
        let turn = PI / (half as f64 + 1.0);
        for (at, out) in (-half..=half).zip(&mut fourier.time) {
            let phase = turn * at as f64;
            let window = 0.42 + 0.5 * phase.cos() + 0.08 * (2.0 * phase).cos();
            let slope = -turn * (0.5 * phase.sin() + 0.16 * (2.0 * phase).sin());
            *out = value(at, (window, slope));
        }
        fourier.forward();
    }

    /// The mean of the harmonics' frequencies, each divided by its number, the strong ones counting more.
    fn by_harmonics(&self, which: usize, f0_hz: f64, harmonics: usize) -> Option<f64> {
        let slope = &self.fouriers[which].spectrum;
        let bin_hz = self.rate_hz / self.fouriers[which].len() as f64;
        let (mut sum, mut weights) = (0.0, 0.0);
        for harmonic in 1..=harmonics {
            let bin = (f0_hz * harmonic as f64 / bin_hz).round() as usize;
            let (Some(x), Some(d)) = (self.plain.get(bin), slope.get(bin)) else { break };
            let power = x.norm_sqr();
            if power <= 0.0 {
                continue;
            }
            let hz = bin as f64 * bin_hz - (d * x.conj()).im / power * self.rate_hz / (2.0 * PI);
            let amplitude = power.sqrt();
            sum += amplitude * hz;
            weights += amplitude * harmonic as f64;
        }
        let found = sum / weights;
        (weights > 0.0 && found > 0.0).then_some(found)
    }
}
