//! Predictors of a block: the five fixed ones of FLAC, and a linear prediction by Levinson and Durbin (N. Levinson, 1947; J. Durbin,
//! "The fitting of time-series models", 1960) with its coefficients rounded to integers.
//!
//! Whatever is predicted, the residual is computed with the integers that the decoder will use, so a bad prediction costs bits and
//! never sound. It may not know how a residual is written.

/// Highest order of the linear prediction; the subset allows 12 up to 48 kHz.
pub(super) const MAX_LPC_ORDER: usize = 12;
/// Bits of a coefficient, with its sign.
pub(super) const PRECISION: u32 = 14;
/// Largest shift of the sum to the right.
const MAX_SHIFT: i32 = 15;

/// Coefficients of the fixed predictors, the nearest sample first (RFC 9639, 9.2.5).
const FIXED: [&[i64]; 5] = [&[], &[1], &[2, -1], &[3, -3, 1], &[4, -6, 4, -1]];

/// A linear prediction in integers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lpc {
    /// The nearest sample first.
    pub(super) coefficients: Vec<i64>,
    pub(super) shift: u32,
}

/// Each sample less its prediction from those before it, without the warm-up; `None` if one does not fit into 32 bits.
pub(super) fn residual(samples: &[i32], coefficients: &[i64], shift: u32) -> Option<Vec<i32>> {
    let order = coefficients.len();
    let mut out = Vec::with_capacity(samples.len().saturating_sub(order));
    for at in order..samples.len() {
        let before = samples[at - order..at].iter().rev();
        let sum: i64 = coefficients.iter().zip(before).map(|(c, &s)| c * i64::from(s)).sum();
        let rest = i32::try_from(i64::from(samples[at]) - (sum >> shift)).ok()?;
        // The most negative number is not allowed: its fold does not exist.
        if rest == i32::MIN {
            return None;
        }
        out.push(rest);
    }
    Some(out)
}

/// The fixed predictor that leaves the least, by the sum of magnitudes: its order and its residual.
pub(super) fn best_fixed(samples: &[i32]) -> Option<(usize, Vec<i32>)> {
    let usable = FIXED.iter().enumerate().take_while(|(order, _)| *order < samples.len());
    let all = usable.filter_map(|(order, coefficients)| Some((order, residual(samples, coefficients, 0)?)));
    all.min_by_key(|(_, rest)| rest.iter().map(|r| u64::from(r.unsigned_abs())).sum::<u64>())
}

/// The linear prediction whose order promises the fewest bits; `None` for blocks that are short, silent or not predictable.
pub(super) fn linear(samples: &[i32], sample_bits: u32) -> Option<Lpc> {
    if samples.len() < 4 * MAX_LPC_ORDER {
        return None;
    }
    let correlation = autocorrelation(samples);
    let orders = levinson(&correlation);
    let n = samples.len() as f64;
    let bits = |order: usize, error: f64| {
        // The entropy of a Laplace-like residual of this power, and what its predictor costs.
        let each = (0.5 * (error / n).max(1e-9).log2()).max(0.0);
        each * (n - order as f64) + order as f64 * f64::from(PRECISION + sample_bits)
    };
    let best = orders.into_iter().min_by(|a, b| bits(a.0.len(), a.1).total_cmp(&bits(b.0.len(), b.1)))?;
    rounded(&best.0)
}

/// Of the block under a Tukey window with a half of it flat.
fn autocorrelation(samples: &[i32]) -> [f64; MAX_LPC_ORDER + 1] {
    let n = samples.len();
    let ramp = n / 4;
    let windowed: Vec<f64> = samples
        .iter()
        .enumerate()
        .map(|(i, &s)| {
            let edge = i.min(n - 1 - i);
            let gain = if edge >= ramp { 1.0 } else { 0.5 - 0.5 * (std::f64::consts::PI * (edge as f64 + 0.5) / ramp as f64).cos() };
            f64::from(s) * gain
        })
        .collect();
    std::array::from_fn(|lag| windowed[lag..].iter().zip(&windowed).map(|(a, b)| a * b).sum())
}

/// The predictors of every order that has one, each with the power of what it leaves.
fn levinson(correlation: &[f64; MAX_LPC_ORDER + 1]) -> Vec<(Vec<f64>, f64)> {
    let mut error = correlation[0];
    let mut coefficients: Vec<f64> = Vec::new();
    let mut all = Vec::new();
    for order in 0..MAX_LPC_ORDER {
        if error <= correlation[0] * 1e-12 || !error.is_finite() {
            break;
        }
        let known: f64 = coefficients.iter().enumerate().map(|(i, c)| c * correlation[order - i]).sum();
        let reflection = (correlation[order + 1] - known) / error;
        let mirrored: Vec<f64> = coefficients.iter().rev().copied().collect();
        for (c, m) in coefficients.iter_mut().zip(mirrored) {
            *c -= reflection * m;
        }
        coefficients.push(reflection);
        error *= 1.0 - reflection * reflection;
        all.push((coefficients.clone(), error));
    }
    all
}

/// Integers of `PRECISION` bits; each carries the rounding error of the one before, which keeps the sum right.
fn rounded(coefficients: &[f64]) -> Option<Lpc> {
    let largest = coefficients.iter().fold(0.0f64, |a, c| a.max(c.abs()));
    if largest <= 0.0 || !largest.is_finite() {
        return None;
    }
    let whole_bits = largest.log2().floor() as i32 + 1;
    let shift = (PRECISION as i32 - 1 - whole_bits).min(MAX_SHIFT);
    // A shift to the left is not allowed, and coefficients as large as that predict nothing.
    let shift = u32::try_from(shift).ok()?;
    let limit = f64::from(1 << (PRECISION - 1));
    let mut carried = 0.0;
    let coefficients = coefficients
        .iter()
        .map(|c| {
            let exact = c * f64::from(1 << shift) + carried;
            let value = exact.round().clamp(-limit, limit - 1.0);
            carried = exact - value;
            value as i64
        })
        .collect();
    Some(Lpc { coefficients, shift })
}
