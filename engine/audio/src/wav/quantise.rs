//! From `f32` to integers, the same way on every machine.
//!
//! It may not know files; dither comes from a seed that the caller gives.

use super::BitDepth;

/// Noise added before rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dither {
    /// Rounding alone. Speech at a normal level hides it.
    #[default]
    None,
    /// Triangular noise of ±1 step, drawn from this seed (S. P. Lipshitz, R. A. Wannamaker, J. Vanderkooy, "Quantization and dither:
    /// a theoretical survey", J. Audio Eng. Soc. 40(5), 1992). The same seed gives the same bytes.
    Triangular(u64),
}

/// Turns samples into integers of one depth. Holds the state of the dither, so one stream needs one quantiser.
#[derive(Debug, Clone)]
pub struct Quantiser {
    depth: BitDepth,
    noise: Option<u64>,
}

impl Quantiser {
    /// A quantiser at the start of a stream.
    pub fn new(depth: BitDepth, dither: Dither) -> Self {
        let noise = match dither {
            Dither::None => None,
            Dither::Triangular(seed) => Some(seed),
        };
        Self { depth, noise }
    }

    /// Full scale: 1.0 is this many steps.
    pub fn full_scale(depth: BitDepth) -> f32 {
        match depth {
            BitDepth::Pcm16 => 32_768.0,
            BitDepth::Pcm24 => 8_388_608.0,
        }
    }

    /// The nearest step, halves away from zero, clamped to the depth; NaN is 0.
    ///
    /// 1.0 itself is one step beyond the top and is clamped: that keeps -1.0 exact and reading back a plain division.
    pub fn quantise(&mut self, sample: f32) -> i32 {
        let full_scale = Self::full_scale(self.depth);
        // Exact: the factor is a power of two.
        let mut scaled = f64::from(sample * full_scale);
        if let Some(state) = &mut self.noise {
            scaled += uniform(state) - uniform(state);
        }
        let top = f64::from(full_scale);
        // `as` turns NaN into 0, which is what is wanted.
        scaled.round().clamp(-top, top - 1.0) as i32
    }
}

/// Uniform in 0..1 by SplitMix64 (G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators", 2014).
fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}
