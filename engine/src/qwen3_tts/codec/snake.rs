//! SnakeBeta, `x + sin^2(x e^alpha) / (e^beta + 1e-9)` for each channel, in one pass.
//!
//! Source: Snake (arXiv 2006.08195), with the magnitude of its own that BigVGAN (arXiv 2206.04658) gave it. Written with tensor operations
//! it takes a quarter of a second for a second of audio. This file may not know where it is used.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use crate::qwen3_tts::ModelError;
use crate::qwen3_tts::weights::At;

/// Keeps the magnitude finite.
const NO_DIVISION_BY_ZERO: f64 = 1e-9;

#[derive(Debug)]
pub(super) struct Snake {
    /// e^alpha, channels.
    rate: Tensor,
    /// 1 / (e^beta + 1e-9), channels.
    size: Tensor,
}

impl Snake {
    pub(super) fn load(at: &At<'_>, channels: usize) -> std::result::Result<Self, ModelError> {
        let size = (at.get("beta", channels)?.exp()? + NO_DIVISION_BY_ZERO)?.recip()?;
        Ok(Self { rate: at.get("alpha", channels)?.exp()?, size })
    }

    /// channels x length.
    pub(super) fn run(&self, x: &Tensor) -> Result<Tensor> {
        if x.device().is_cpu() {
            return x.contiguous()?.apply_op3_no_bwd(&self.rate, &self.size, &OnePass);
        }
        let bent = x.broadcast_mul(&self.rate.unsqueeze(1)?)?.sin()?.sqr()?;
        x + bent.broadcast_mul(&self.size.unsqueeze(1)?)?
    }
}

struct OnePass;

impl CustomOp3 for OnePass {
    fn name(&self) -> &'static str {
        "snake"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        rate: &CpuStorage,
        _: &Layout,
        size: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (channels, length) = x_layout.shape().dims2()?;
        let Some((from, to)) = x_layout.contiguous_offsets() else { bail!("snake needs a contiguous input") };
        let (x, rate, size) = (&x.as_slice::<f32>()?[from..to], rate.as_slice::<f32>()?, size.as_slice::<f32>()?);
        let mut y = Vec::with_capacity(channels * length);
        for ((row, rate), size) in x.chunks_exact(length.max(1)).zip(rate).zip(size) {
            y.extend(row.iter().map(|x| x + size * sin_squared(x * rate)));
        }
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }
}

/// Pi in three parts, the first two short enough that a whole number of them is exact (Cody and Waite 1980).
const PI_PARTS: [f32; 3] = [3.140_625, 9.675_026e-4, 1.509_958e-7];
/// Added and taken away again it rounds to a whole number, without a branch: 1.5 * 2^23.
const ROUND: f32 = 12_582_912.0;

/// sin^2(x) within 4e-7 for |x| below 10,000. The series of sin up to the eleventh power, over half a turn.
fn sin_squared(x: f32) -> f32 {
    let turns = (x * std::f32::consts::FRAC_1_PI + ROUND) - ROUND;
    let r = ((x - turns * PI_PARTS[0]) - turns * PI_PARTS[1]) - turns * PI_PARTS[2];
    let s = r * r;
    let series = -1.0 / 39_916_800.0_f32;
    let series = series * s + 1.0 / 362_880.0;
    let series = series * s - 1.0 / 5_040.0;
    let series = series * s + 1.0 / 120.0;
    let series = series * s - 1.0 / 6.0;
    let sin = r + r * s * series;
    sin * sin
}

#[cfg(test)]
mod tests {
    use super::sin_squared;

    #[test]
    fn equals_the_library() {
        let mut worst = 0_f64;
        for step in -200_000..200_000 {
            let x = step as f32 * 0.001;
            worst = worst.max((f64::from(sin_squared(x)) - f64::from(x).sin().powi(2)).abs());
        }
        assert!(worst < 4e-7, "{worst}");
        for x in [1_000.0_f32, -5_000.3, 9_999.0] {
            assert!((f64::from(sin_squared(x)) - f64::from(x).sin().powi(2)).abs() < 1e-5, "{x}");
        }
    }
}
