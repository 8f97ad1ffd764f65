//! Real Fourier transforms of one length with their buffers, and the minimum-phase spectrum of a given power.
//!
//! It may not know what is transformed.

use std::sync::Arc;

use realfft::num_complex::Complex64;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

pub(super) struct Fourier {
    forward: Arc<dyn RealToComplex<f64>>,
    inverse: Arc<dyn ComplexToReal<f64>>,
    /// What goes into [`Fourier::forward`], and what comes out of [`Fourier::inverse`].
    pub(super) time: Vec<f64>,
    /// The other way about; both transforms destroy what they take.
    pub(super) spectrum: Vec<Complex64>,
    scratch: Vec<Complex64>,
}

impl Fourier {
    /// `len` is even.
    pub(super) fn new(len: usize) -> Self {
        let mut planner = RealFftPlanner::new();
        let (forward, inverse) = (planner.plan_fft_forward(len), planner.plan_fft_inverse(len));
        let scratch = vec![Complex64::default(); forward.get_scratch_len().max(inverse.get_scratch_len())];
        Self { time: forward.make_input_vec(), spectrum: forward.make_output_vec(), scratch, forward, inverse }
    }

    pub(super) fn len(&self) -> usize {
        self.time.len()
    }

    pub(super) fn forward(&mut self) {
        // The lengths are the plan's own, which is all that it can refuse.
        let done = self.forward.process_with_scratch(&mut self.time, &mut self.spectrum, &mut self.scratch);
        debug_assert!(done.is_ok());
    }

    /// Not divided by the length. The imaginary parts at both ends do not count.
    pub(super) fn inverse(&mut self) {
        if let (Some(first), last) = (self.spectrum.first_mut(), self.time.len() / 2) {
            first.im = 0.0;
            self.spectrum[last].im = 0.0;
        }
        let done = self.inverse.process_with_scratch(&mut self.spectrum, &mut self.time, &mut self.scratch);
        debug_assert!(done.is_ok());
    }

    /// Leaves in `spectrum` the minimum-phase spectrum whose power has the natural logarithms `log_power`.
    ///
    /// By the cepstrum (A. V. Oppenheim, R. W. Schafer, "Discrete-Time Signal Processing", chapter on the complex cepstrum): what lies at
    /// negative quefrencies is folded onto the positive ones.
    pub(super) fn minimum_phase(&mut self, log_power: impl Iterator<Item = f64>) {
        for (bin, log) in self.spectrum.iter_mut().zip(log_power) {
            // Half the logarithm of the power is that of the amplitude.
            *bin = Complex64::new(0.5 * log, 0.0);
        }
        self.inverse();
        let (len, half) = (self.time.len(), self.time.len() / 2);
        let scale = 1.0 / len as f64;
        self.time[0] *= scale;
        self.time[1..half].iter_mut().for_each(|c| *c *= 2.0 * scale);
        self.time[half] *= scale;
        self.time[half + 1..].fill(0.0);
        self.forward();
        for bin in &mut self.spectrum {
            let (sin, cos) = bin.im.sin_cos();
            let amplitude = bin.re.exp();
            *bin = Complex64::new(amplitude * cos, amplitude * sin);
        }
    }
}

/// The sample at `index`, and those at the ends for what lies beyond.
pub(super) fn sample_at(samples: &[f32], index: isize) -> f64 {
    let last = samples.len().saturating_sub(1);
    let index = usize::try_from(index).unwrap_or(0).min(last);
    samples.get(index).copied().map_or(0.0, f64::from)
}

/// The sample in the middle of a frame.
pub(super) fn middle_of(frame: usize, rate_hz: f64) -> isize {
    (frame as f64 * super::FRAME_MS / 1000.0 * rate_hz).round() as isize
}
