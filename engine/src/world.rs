//! A voice taken apart and put together again: pitch, spectral envelope and aperiodicity every 5 ms, and speech made from them.
//!
//! The WORLD vocoder, written anew from its papers: M. Morise, F. Yokomori, K. Ozawa, "WORLD: a vocoder-based high-quality speech
//! synthesis system for real-time applications", IEICE Trans. Inf. Syst. E99-D(7), 2016; each file names the paper of its part.
//! Computed in f64, frame by frame, so that memory does not grow with the length of the speech but for the samples and the pitch.
//! It may not know voices, texts or why anything is converted.

mod cheaptrick;
mod d4c;
mod dio;
mod fourier;
mod smooth;
mod stonemask;
mod synthesis;

use std::ops::ControlFlow;

pub use synthesis::synthesise;

/// Distance of two frames.
pub const FRAME_MS: f64 = 5.0;

/// Rates that can be taken apart.
pub const RATES_HZ: std::ops::RangeInclusive<u32> = 16_000..=48_000;

/// Between two questions whether to go on: some milliseconds of work.
const ASK_EVERY_FRAMES: usize = 32;

/// How a voice is taken apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WorldConfig {
    /// One of [`RATES_HZ`].
    pub rate_hz: u32,
    /// The pitch is looked for from here, at least 40 Hz.
    pub f0_floor_hz: f64,
    /// To here, at most 1,000 Hz.
    pub f0_ceil_hz: f64,
}

impl WorldConfig {
    /// 60 to 600 Hz.
    pub fn new(rate_hz: u32) -> Self {
        Self { rate_hz, f0_floor_hz: 60.0, f0_ceil_hz: 600.0 }
    }

    /// Length of the transforms, and of one response when speech is made: the shortest power of two that holds 42 ms.
    pub fn fft_len(&self) -> usize {
        (self.rate_hz as usize * 3 / 71 + 1).next_power_of_two()
    }

    /// Values of an envelope, from 0 Hz to half the rate.
    pub fn bins(&self) -> usize {
        self.fft_len() / 2 + 1
    }

    /// Frames of a signal; the middle of frame i lies at i · 5 ms.
    pub fn frames(&self, samples: usize) -> usize {
        (samples as f64 * 1000.0 / f64::from(self.rate_hz) / FRAME_MS).floor() as usize + 1
    }
}

/// A voice around one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Frame {
    /// 0 where there is no pitch.
    pub f0_hz: f64,
    /// Power spectrum without the harmonics, [`WorldConfig::bins`] values above 0.
    pub envelope: Vec<f64>,
    /// Share of noise in the amplitude at each bin, 0 to 1; all 1 where there is no pitch.
    pub aperiodicity: Vec<f64>,
}

/// What has been found about a signal: its pitch at once, its frames when asked for.
pub struct Analysis<'a> {
    config: WorldConfig,
    samples: &'a [f32],
    f0_hz: Vec<f64>,
    envelope: cheaptrick::CheapTrick,
    aperiodicity: d4c::D4c,
}

impl std::fmt::Debug for Analysis<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Analysis").field("config", &self.config).field("frames", &self.f0_hz.len()).finish_non_exhaustive()
    }
}

impl<'a> Analysis<'a> {
    /// Mono samples; finds the pitch of all of them. `None` when `wanted` breaks.
    ///
    /// Numbers of the configuration that are out of their range are brought into it.
    pub fn new(config: WorldConfig, samples: &'a [f32], wanted: &mut dyn FnMut() -> ControlFlow<()>) -> Option<Self> {
        let config = WorldConfig {
            rate_hz: config.rate_hz.clamp(*RATES_HZ.start(), *RATES_HZ.end()),
            f0_floor_hz: config.f0_floor_hz.clamp(40.0, 400.0),
            f0_ceil_hz: config.f0_ceil_hz.clamp(450.0, 1_000.0),
        };
        let rough = dio::track(&config, samples, wanted)?;
        let mut stonemask = stonemask::StoneMask::new(&config);
        let mut aperiodicity = d4c::D4c::new(&config);
        let mut f0_hz = Vec::with_capacity(rough.len());
        for (frame, &rough_hz) in rough.iter().enumerate() {
            if frame % ASK_EVERY_FRAMES == 0 && wanted().is_break() {
                return None;
            }
            let refined = if rough_hz > 0.0 { stonemask.refine(samples, frame, rough_hz) } else { 0.0 };
            let voiced = refined > 0.0 && aperiodicity.is_voiced(samples, frame, refined);
            f0_hz.push(if voiced { refined } else { 0.0 });
        }
        dio::without_short_runs(&mut f0_hz);
        Some(Self { config, samples, f0_hz, envelope: cheaptrick::CheapTrick::new(&config), aperiodicity })
    }

    pub fn config(&self) -> &WorldConfig {
        &self.config
    }

    /// In Hz for each frame, 0 where there is none.
    pub fn f0_hz(&self) -> &[f64] {
        &self.f0_hz
    }

    /// Computes one frame into `into`. Beyond the end the last sample goes on.
    pub fn frame(&mut self, frame: usize, into: &mut Frame) {
        self.frame_without_noise(frame, into);
        self.aperiodicity.aperiodicity(self.samples, frame, into.f0_hz, &mut into.aperiodicity);
    }

    /// As [`Analysis::frame`], at half the cost, with an aperiodicity of 1 everywhere.
    pub fn frame_without_noise(&mut self, frame: usize, into: &mut Frame) {
        into.f0_hz = self.f0_hz.get(frame).copied().unwrap_or(0.0);
        into.envelope.resize(self.config.bins(), 0.0);
        into.aperiodicity.clear();
        into.aperiodicity.resize(self.config.bins(), 1.0);
        self.envelope.envelope(self.samples, frame, into.f0_hz, &mut into.envelope);
    }
}
