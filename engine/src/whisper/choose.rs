//! The next id from its scores: the best, or one drawn with a temperature from a seed. Pure.

/// Logarithm of the sum of exponentials.
pub(super) fn log_sum_exp(scores: &[f32]) -> f32 {
    let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if top == f32::NEG_INFINITY {
        return top;
    }
    let sum: f64 = scores.iter().map(|score| f64::from(score - top).exp()).sum();
    top + sum.ln() as f32
}

/// Share of one id in all.
pub(super) fn probability(scores: &[f32], id: u32) -> f32 {
    scores.get(id as usize).map_or(0.0, |score| (score - log_sum_exp(scores)).exp())
}

/// Draws numbers between 0 and 1 (SplitMix64, Steele et al. 2014).
#[derive(Debug, Clone)]
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// An id and the logarithm of its probability at temperature 1. `None` where every score is minus infinity or none is a number.
pub(super) fn choose(scores: &[f32], temperature: f32, draw: &mut Draw) -> Option<(u32, f32)> {
    let total = log_sum_exp(scores);
    if !total.is_finite() {
        return None;
    }
    let id = if temperature > 0.0 { drawn(scores, temperature, draw) } else { best(scores) };
    Some((id as u32, scores[id] - total))
}

fn best(scores: &[f32]) -> usize {
    let mut best = 0;
    for (at, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = at;
        }
    }
    best
}

fn drawn(scores: &[f32], temperature: f32, draw: &mut Draw) -> usize {
    let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let share = |score: &f32| f64::from((score - top) / temperature).exp();
    let mut left = draw.next() * scores.iter().map(share).sum::<f64>();
    for (at, score) in scores.iter().enumerate() {
        left -= share(score);
        if left < 0.0 {
            return at;
        }
    }
    best(scores)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn equal_seeds_draw_alike_and_zero_is_the_best() {
        let scores = [0.0, 2.0, f32::NEG_INFINITY, 1.9];
        assert_eq!(choose(&scores, 0.0, &mut Draw::new(1)).unwrap().0, 1);
        let drawn = |seed| {
            let mut draw = Draw::new(seed);
            (0..200).map(|_| choose(&scores, 1.0, &mut draw).unwrap().0).collect::<Vec<_>>()
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        let ids: std::collections::BTreeSet<u32> = drawn(7).into_iter().collect();
        assert_eq!(ids, [0, 1, 3].into());
        assert!(choose(&[f32::NEG_INFINITY; 3], 0.0, &mut Draw::new(1)).is_none());
        assert!(choose(&[f32::NAN; 3], 0.0, &mut Draw::new(1)).is_none());
    }
}
