//! How much shorter or longer the model's vocal tract is than the speaker's: the ratio at which the speaker's sounds are most like the
//! model's.
//!
//! Whatever is smooth over all frequencies (a microphone, a breathy voice) is taken out first, as a parabola; a tract moves peaks. It may
//! not know how a tract is changed.

use super::bands::{self, BANDS, Bands, Mel, Shape};
use super::codebook;
use super::observe::{Observed, Statistics};

/// Beyond these nobody's voice is.
pub(super) const RATIOS: std::ops::RangeInclusive<f64> = 0.82..=1.22;
const STEPS: usize = 30;
/// The distance grows by this share for a ratio of 1.1: in doubt the tract stays.
const STAY: f64 = 0.03;
const MOST_FRAMES: usize = 200;

/// `speaker` are the frames that will be converted, `model` what they shall become.
pub(super) fn ratio(speaker: &[Observed], model: &Statistics, examples: &[Shape], mel: &Mel) -> f64 {
    let voiced: Vec<&Observed> = speaker.iter().filter(|frame| frame.f0_hz > 0.0).collect();
    let step = voiced.len().div_ceil(MOST_FRAMES).max(1);
    let frames: Vec<&Bands> = voiced.into_iter().step_by(step).map(|frame| &frame.bands).collect();
    if frames.is_empty() || examples.is_empty() {
        return 1.0;
    }
    let cost = |ratio: f64| {
        let warped: Vec<Bands> = frames.iter().map(|bands| warped(bands, ratio)).collect();
        let mean: Bands = std::array::from_fn(|band| warped.iter().map(|bands| bands[band]).sum::<f64>() / warped.len() as f64);
        let channel = parabola(&std::array::from_fn(|band| mean[band] - model.voiced[band]), model.top);
        let shapes: Vec<Shape> = warped
            .iter()
            .map(|bands| {
                let shape = mel.shape(&std::array::from_fn(|band| bands[band] - channel[band]), model.top);
                std::array::from_fn(|k| shape[k] - model.shape_mean[k])
            })
            .collect();
        // Each side in its own spread: a tract that flattens all sounds is no better for it.
        let spread: Shape = std::array::from_fn(|k| {
            let mean = shapes.iter().map(|shape| shape[k]).sum::<f64>() / shapes.len() as f64;
            (shapes.iter().map(|shape| (shape[k] - mean).powi(2)).sum::<f64>() / shapes.len() as f64).sqrt().max(0.05)
        });
        let total: f64 = shapes.iter().map(|shape| codebook::distance(examples, &model.shape_spread, shape, &spread)).sum();
        total * (1.0 + STAY * (ratio.ln() / 1.1f64.ln()).powi(2))
    };
    let span = RATIOS.end() / RATIOS.start();
    let ratios = (0..=STEPS).map(|step| RATIOS.start() * span.powf(step as f64 / STEPS as f64));
    ratios.map(|ratio| (ratio, cost(ratio))).min_by(|a, b| a.1.total_cmp(&b.1)).map_or(1.0, |(ratio, _)| ratio)
}

fn warped(values: &Bands, ratio: f64) -> Bands {
    std::array::from_fn(|band| bands::at_hz(values, bands::centre_hz(band) / ratio))
}

/// The parabola that is nearest to the values up to the band `top`, by orthogonal polynomials.
fn parabola(values: &Bands, top: usize) -> Bands {
    let count = (top + 1) as f64;
    let x = |band: usize| band as f64 - top as f64 / 2.0;
    let mean_square = (0..=top).map(|band| x(band).powi(2)).sum::<f64>() / count;
    let bases: [Bands; 3] = [[1.0; BANDS], std::array::from_fn(x), std::array::from_fn(|band| x(band).powi(2) - mean_square)];
    let mut fitted = [0.0; BANDS];
    for basis in &bases {
        let (within, values) = (&basis[..=top], &values[..=top]);
        let share = within.iter().zip(values).map(|(b, v)| b * v).sum::<f64>() / within.iter().map(|b| b * b).sum::<f64>();
        fitted.iter_mut().zip(basis).for_each(|(fitted, basis)| *fitted += share * basis);
    }
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parabola_is_its_own_parabola() {
        let values: Bands = std::array::from_fn(|band| 0.3 - 0.1 * band as f64 + 0.002 * (band * band) as f64);
        assert!(parabola(&values, 40).iter().zip(&values).all(|(a, b)| (a - b).abs() < 1e-9));
    }
}
