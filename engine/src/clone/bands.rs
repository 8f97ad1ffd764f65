//! An envelope as a few numbers: the mean of its logarithm in bands of the mel scale, and their cosine transform.
//!
//! Means of logarithms, because a gain then is a sum, whatever the spectrum below it. Mel: S. S. Stevens et al. 1937, in the form
//! 2595·log10(1 + f/700). It may not know whose voice it is.

use crate::speech::SAMPLE_RATE_HZ;

/// Bands of an envelope.
pub(super) const BANDS: usize = 48;
/// Coefficients that describe the shape of the bands: c1 to c24, without the level.
pub(super) const SHAPE: usize = 24;

const LOWEST_HZ: f64 = 60.0;
const HIGHEST_HZ: f64 = 11_400.0;

/// Natural logarithms of power.
pub(super) type Bands = [f64; BANDS];
pub(super) type Shape = [f64; SHAPE];

pub(super) fn mel(hz: f64) -> f64 {
    2595.0 * (1.0 + hz / 700.0).log10()
}

fn hz(mel: f64) -> f64 {
    700.0 * (10f64.powf(mel / 2595.0) - 1.0)
}

/// Place of a frequency among the bands: 0 is the middle of the first one.
fn place(at_hz: f64) -> f64 {
    let step = (mel(HIGHEST_HZ) - mel(LOWEST_HZ)) / (BANDS - 1) as f64;
    ((mel(at_hz) - mel(LOWEST_HZ)) / step).clamp(0.0, (BANDS - 1) as f64)
}

pub(super) fn centre_hz(band: usize) -> f64 {
    let step = (mel(HIGHEST_HZ) - mel(LOWEST_HZ)) / (BANDS - 1) as f64;
    hz(mel(LOWEST_HZ) + step * band as f64)
}

/// The value at a frequency: straight lines between the middles.
pub(super) fn at_hz(bands: &Bands, hz: f64) -> f64 {
    between(bands, place(hz))
}

fn between(values: &[f64], place: f64) -> f64 {
    let left = (place as usize).min(values.len() - 2);
    values[left] + (values[left + 1] - values[left]) * (place - left as f64)
}

/// The tables of one length of envelope at [`SAMPLE_RATE_HZ`].
#[derive(Debug)]
pub(super) struct Mel {
    filters: Vec<(usize, Vec<f64>)>,
    /// Place of each bin among the bands.
    places: Vec<f64>,
    cosines: Vec<Shape>,
}

impl Mel {
    pub(super) fn new(bins: usize) -> Self {
        let bin_hz = f64::from(SAMPLE_RATE_HZ) / 2.0 / (bins - 1) as f64;
        let places: Vec<f64> = (0..bins).map(|bin| place(bin as f64 * bin_hz)).collect();
        let filter = |band: usize| {
            let weight = |bin: usize| (1.0 - (places[bin] - band as f64).abs()).max(0.0);
            let centre = ((centre_hz(band) / bin_hz).round() as usize).min(bins - 1);
            let first = (0..centre).rev().take_while(|bin| weight(*bin) > 0.0).last().unwrap_or(centre);
            let last = (centre + 1..bins).take_while(|bin| weight(*bin) > 0.0).last().unwrap_or(centre);
            let weights: Vec<f64> = (first..=last).map(|bin| weight(bin).max(1e-3)).collect();
            let sum: f64 = weights.iter().sum();
            (first, weights.into_iter().map(|weight| weight / sum).collect())
        };
        let filters = (0..BANDS).map(filter).collect();
        let scale = (2.0 / BANDS as f64).sqrt();
        let cosine = |band: usize, k: usize| scale * (std::f64::consts::PI * (k + 1) as f64 * (band as f64 + 0.5) / BANDS as f64).cos();
        let cosines = (0..BANDS).map(|band| std::array::from_fn(|k| cosine(band, k))).collect();
        Self { filters, places, cosines }
    }

    /// Of the logarithms of an envelope.
    pub(super) fn bands(&self, log_envelope: &[f64]) -> Bands {
        std::array::from_fn(|band| {
            let (first, weights) = &self.filters[band];
            weights.iter().zip(&log_envelope[*first..]).map(|(weight, log)| weight * log).sum()
        })
    }

    /// Bands above `top` count as if they were like it.
    pub(super) fn shape(&self, bands: &Bands, top: usize) -> Shape {
        let mut shape = [0.0; SHAPE];
        for (band, cosines) in self.cosines.iter().enumerate() {
            let level = bands[band.min(top)];
            shape.iter_mut().zip(cosines).for_each(|(sum, cosine)| *sum += cosine * level);
        }
        shape
    }

    /// Bands of a shape, with level 0.
    pub(super) fn unshape(&self, shape: &Shape) -> Bands {
        std::array::from_fn(|band| self.cosines[band].iter().zip(shape).map(|(cosine, value)| cosine * value).sum())
    }

    /// The value of each bin.
    pub(super) fn spread<'a>(&'a self, bands: &'a Bands) -> impl Iterator<Item = f64> + 'a {
        self.places.iter().map(|place| between(bands, *place))
    }
}

/// The envelope of a vocal tract whose resonances lie at `ratio` times the frequencies.
pub(super) fn warp(log_envelope: &mut [f64], ratio: f64, scratch: &mut Vec<f64>) {
    if (ratio - 1.0).abs() < 1e-9 {
        return;
    }
    scratch.clear();
    scratch.extend_from_slice(log_envelope);
    let last = (scratch.len() - 1) as f64;
    for (bin, value) in log_envelope.iter_mut().enumerate() {
        *value = between(scratch, (bin as f64 / ratio).min(last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gain_comes_back_as_it_went_in() {
        let mel = Mel::new(513);
        let gains: Bands = std::array::from_fn(|band| (band as f64 / 5.0).sin());
        let spread: Vec<f64> = mel.spread(&gains).collect();
        for (band, (back, gain)) in mel.bands(&spread).iter().zip(&gains).enumerate() {
            assert!((back - gain).abs() < 0.05, "band {band}: {back} instead of {gain}");
        }
        let smooth: Bands = std::array::from_fn(|band| (std::f64::consts::PI * 3.0 * (band as f64 + 0.5) / BANDS as f64).cos());
        let shape = mel.shape(&smooth, BANDS - 1);
        assert!(mel.unshape(&shape).iter().zip(&smooth).all(|(a, b)| (a - b).abs() < 1e-9));
    }
}
