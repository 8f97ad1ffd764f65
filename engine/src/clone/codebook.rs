//! The sounds of a voice as a few dozen examples, and which of them are like a given sound.
//!
//! Examples by k-means (S. P. Lloyd, "Least squares quantization in PCM", 1982) from evenly spaced beginnings, so that equal frames give
//! equal examples. It may not know frames or times.

use serde::{Deserialize, Serialize};

use super::bands::{SHAPE, Shape};

pub(super) const MAX_EXAMPLES: usize = 96;
const ROUNDS: usize = 8;
/// Coefficients by which sounds are compared; the finer ones are of the speaker, not of the sound.
const COMPARED: usize = 14;
/// The mean of this many examples is taken.
const NEAREST: usize = 4;
/// Unit of the stored numbers, which are whole and of -127 to 127.
const STEP: f64 = 0.12;

/// Shapes relative to the speaker's mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Codebook {
    /// Units of 0.12.
    examples: Vec<Vec<i8>>,
}

impl Codebook {
    pub(super) fn of(frames: &[(f64, Shape)]) -> Self {
        let count = MAX_EXAMPLES.min(frames.len());
        let mut centres: Vec<Shape> = (0..count).map(|i| frames[i * frames.len() / count].1).collect();
        for _ in 0..ROUNDS {
            let mut sums = vec![([0.0; SHAPE], 0.0); count];
            for (weight, shape) in frames {
                let nearest = nearest(&centres, shape);
                let (sum, weights) = &mut sums[nearest];
                sum.iter_mut().zip(shape).for_each(|(sum, value)| *sum += weight * value);
                *weights += weight;
            }
            for (centre, (sum, weight)) in centres.iter_mut().zip(&sums) {
                if *weight > 0.0 {
                    *centre = sum.map(|value| value / weight);
                }
            }
        }
        let quantised = |shape: &Shape| shape.iter().map(|value| (value / STEP).round().clamp(-127.0, 127.0) as i8).collect();
        Self { examples: centres.iter().map(quantised).collect() }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.examples.is_empty() || self.examples.len() > MAX_EXAMPLES || self.examples.iter().any(|example| example.len() != SHAPE) {
            return Err(format!("the voice profile does not have 1 to {MAX_EXAMPLES} examples of {SHAPE} numbers"));
        }
        Ok(())
    }

    pub(super) fn shapes(&self) -> Vec<Shape> {
        let shape = |example: &Vec<i8>| std::array::from_fn(|k| example.get(k).map_or(0.0, |value| f64::from(*value) * STEP));
        self.examples.iter().map(shape).collect()
    }
}

fn nearest(centres: &[Shape], shape: &Shape) -> usize {
    let distances = centres.iter().map(|centre| centre.iter().zip(shape).map(|(a, b)| (a - b) * (a - b)).sum::<f64>());
    distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(index, _)| index)
}

/// Mean of the examples that are nearest to `shape`, each side counted in its own spread.
pub(super) fn like(examples: &[Shape], spread: &Shape, shape: &Shape, shape_spread: &Shape) -> Shape {
    let mut found: [(f64, usize); NEAREST] = [(f64::INFINITY, 0); NEAREST];
    for (index, example) in examples.iter().enumerate() {
        let distance: f64 = (0..COMPARED).map(|k| (example[k] / spread[k] - shape[k] / shape_spread[k]).powi(2)).sum();
        if distance < found[NEAREST - 1].0 {
            found[NEAREST - 1] = (distance, index);
            found.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
    }
    let used = found.iter().filter(|(distance, _)| distance.is_finite());
    let count = used.clone().count().max(1) as f64;
    std::array::from_fn(|k| used.clone().map(|(_, index)| examples[*index][k]).sum::<f64>() / count)
}

/// Squared distance of `shape` to the nearest example, each side counted in its own spread.
pub(super) fn distance(examples: &[Shape], spread: &Shape, shape: &Shape, shape_spread: &Shape) -> f64 {
    let between = |example: &Shape| (0..COMPARED).map(|k| (example[k] / spread[k] - shape[k] / shape_spread[k]).powi(2)).sum::<f64>();
    examples.iter().map(between).fold(f64::INFINITY, f64::min)
}
