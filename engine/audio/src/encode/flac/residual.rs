//! What a prediction leaves, as Rice codes in partitions (RFC 9639, 9.2.7). It may not know predictors.

use super::bits::BitWriter;

/// At most 64 partitions of a block; the subset allows 256, speech gains nothing from them.
const MAX_PARTITION_ORDER: u32 = 6;
/// The largest parameter of the coding with five bits.
const MAX_PARAMETER: u32 = 30;
/// The largest parameter of the coding with four bits.
const MAX_SHORT_PARAMETER: u32 = 14;

/// How the residual of one subframe is coded.
#[derive(Debug, Clone)]
pub(super) struct RicePlan {
    partition_order: u32,
    parameters: Vec<u32>,
    /// At most this many bits.
    pub(super) bits: u64,
}

/// Non-negative numbers for signed ones: 0, -1, 1, -2, 2, ...
fn folded(residual: i32) -> u64 {
    u64::from((residual << 1 ^ residual >> 31).cast_unsigned())
}

/// The cheapest of the partitions, for a residual that lacks the `order` warm-up samples of its block.
pub(super) fn plan(residual: &[i32], order: usize) -> RicePlan {
    let block = residual.len() + order;
    let fits = |p: u32| block.is_multiple_of(1 << p) && block >> p > order;
    let finest = (0..=MAX_PARTITION_ORDER).rev().find(|&p| fits(p)).unwrap_or(0);
    let mut sums: Vec<(u64, u64)> =
        partitions(residual, order, finest).map(|part| (part.len() as u64, part.iter().map(|&r| folded(r)).sum())).collect();
    let mut best = coarse(&sums, finest);
    for partition_order in (0..finest).rev() {
        sums = sums.chunks(2).map(|pair| pair.iter().fold((0, 0), |(n, s), &(m, t)| (n + m, s + t))).collect();
        let next = coarse(&sums, partition_order);
        if next.bits < best.bits {
            best = next;
        }
    }
    best
}

/// The partitions of a residual: equal parts of the block, the first of them without the warm-up.
fn partitions(residual: &[i32], order: usize, partition_order: u32) -> impl Iterator<Item = &[i32]> {
    let part = (residual.len() + order) >> partition_order;
    let (first, rest) = residual.split_at(part - order);
    std::iter::once(first).chain(rest.chunks(part.max(1)))
}

/// A plan from the count and the sum of each partition. The sum of the quotients is at most the quotient of the sum, so the true
/// size is at most what is computed here.
fn coarse(sums: &[(u64, u64)], partition_order: u32) -> RicePlan {
    let size = |count: u64, sum: u64, k: u32| count * u64::from(k + 1) + (sum >> k);
    let mut bits = 6;
    let mut parameters = Vec::with_capacity(sums.len());
    for &(count, sum) in sums {
        let mut k = 0;
        // The size falls and then rises with k.
        while k < MAX_PARAMETER && size(count, sum, k + 1) < size(count, sum, k) {
            k += 1;
        }
        bits += size(count, sum, k);
        parameters.push(k);
    }
    bits += parameters.len() as u64 * u64::from(parameter_bits(&parameters));
    RicePlan { partition_order, parameters, bits }
}

fn parameter_bits(parameters: &[u32]) -> u32 {
    if parameters.iter().all(|&k| k <= MAX_SHORT_PARAMETER) { 4 } else { 5 }
}

pub(super) fn write(residual: &[i32], order: usize, plan: &RicePlan, out: &mut BitWriter) {
    let parameter_bits = parameter_bits(&plan.parameters);
    out.put(u64::from(parameter_bits == 5), 2);
    out.put(u64::from(plan.partition_order), 4);
    for (part, &k) in partitions(residual, order, plan.partition_order).zip(&plan.parameters) {
        out.put(u64::from(k), parameter_bits);
        for &value in part {
            let value = folded(value);
            out.put_unary(value >> k);
            out.put(value, k);
        }
    }
}
