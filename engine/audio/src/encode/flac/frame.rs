//! One frame: a header, a subframe for each channel, two checksums (RFC 9639, 9). Of the ways to code a channel the smallest is taken,
//! and plain samples are among them, so no frame is larger than its sound.
//!
//! It may not know files or what came before.

use super::BLOCK;
use super::bits::{BitWriter, crc8, crc16};
use super::predict::{self, Lpc, PRECISION};
use super::residual::{self, RicePlan};

/// What the header says.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameSpec {
    pub(super) rate_hz: u32,
    pub(super) bits: u32,
    /// Counts frames from 0, under 2^31.
    pub(super) number: u64,
}

/// Encodes one or two channels of equal, non-zero length.
pub(super) fn encode(planes: &[Vec<i32>], spec: &FrameSpec) -> Vec<u8> {
    let length = planes.first().map_or(0, Vec::len);
    let (assignment, subframes) = match planes {
        [left, right] => stereo(left, right, spec.bits),
        _ => (planes.len() as u64 - 1, planes.iter().map(|p| Subframe::new(p, spec.bits)).collect()),
    };
    let mut out = BitWriter::default();
    header(&mut out, length, assignment, spec);
    subframes.iter().for_each(|s| s.write(&mut out));
    out.align();
    let crc = crc16(out.bytes());
    out.put(u64::from(crc), 16);
    out.into_bytes()
}

/// The cheapest of left and right, left and side, side and right, mid and side, with its number.
fn stereo(left: &[i32], right: &[i32], bits: u32) -> (u64, Vec<Subframe>) {
    let mid: Vec<i32> = left.iter().zip(right).map(|(l, r)| (l + r) >> 1).collect();
    let side: Vec<i32> = left.iter().zip(right).map(|(l, r)| l - r).collect();
    let [l, r, m] = [left, right, &mid].map(|plane| Subframe::new(plane, bits));
    let s = Subframe::new(&side, bits + 1);
    let pairs = [(1, l.bits + r.bits), (8, l.bits + s.bits), (9, s.bits + r.bits), (10, m.bits + s.bits)];
    let best = pairs.into_iter().min_by_key(|(_, bits)| *bits).map_or(1, |(assignment, _)| assignment);
    let chosen = match best {
        8 => vec![l, s],
        9 => vec![s, r],
        10 => vec![m, s],
        _ => vec![l, r],
    };
    (best, chosen)
}

fn header(out: &mut BitWriter, length: usize, assignment: u64, spec: &FrameSpec) {
    // Sync code, then fixed block size.
    out.put(0b11_1111_1111_1110, 14);
    out.put(0, 2);
    // 1100 is 4,096; 0111 says that 16 bits follow.
    out.put(if length == BLOCK { 0b1100 } else { 0b0111 }, 4);
    let (rate_code, rate_extra) = rate(spec.rate_hz);
    out.put(rate_code, 4);
    out.put(assignment, 4);
    out.put(if spec.bits == 16 { 0b100 } else { 0b110 }, 3);
    out.put(0, 1);
    number(out, spec.number);
    if length != BLOCK {
        out.put(length as u64 - 1, 16);
    }
    if let Some(extra) = rate_extra {
        out.put(extra, 16);
    }
    let crc = crc8(out.bytes());
    out.put(u64::from(crc), 8);
}

/// Code of a rate and what follows the number for it.
fn rate(rate_hz: u32) -> (u64, Option<u64>) {
    let known = [88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000];
    if let Some(at) = known.iter().position(|&hz| hz == rate_hz) {
        return (at as u64 + 1, None);
    }
    match rate_hz {
        0..=0xFFFF => (0b1101, Some(u64::from(rate_hz))),
        _ if rate_hz.is_multiple_of(10) && rate_hz / 10 <= 0xFFFF => (0b1110, Some(u64::from(rate_hz / 10))),
        // From the stream info.
        _ => (0, None),
    }
}

/// The coding of UTF-8, stretched to 36 bits.
fn number(out: &mut BitWriter, value: u64) {
    if value < 0x80 {
        out.put(value, 8);
        return;
    }
    // With n bytes after the first there are 6n + (6 - n) bits.
    let after = (1..6u32).find(|n| value < 1 << (5 * n + 6)).unwrap_or(6);
    let lead = 0xFF << (7 - after) & 0xFF;
    out.put(lead | value >> (6 * after), 8);
    for i in (0..after).rev() {
        out.put(0x80 | (value >> (6 * i) & 0x3F), 8);
    }
}

/// One channel, ready to be written.
struct Subframe {
    samples: Vec<i32>,
    /// Bits of a sample, without the wasted ones.
    depth: u32,
    /// Zeros at the end of every sample.
    wasted: u32,
    coding: Coding,
    /// At most this many.
    bits: u64,
}

enum Coding {
    Constant,
    Verbatim,
    Fixed { order: usize, residual: Vec<i32>, rice: RicePlan },
    Linear { lpc: Lpc, residual: Vec<i32>, rice: RicePlan },
}

impl Subframe {
    fn new(plane: &[i32], bits: u32) -> Self {
        let used = plane.iter().fold(0, |all, s| all | s);
        let wasted = if used == 0 { 0 } else { used.trailing_zeros() };
        let samples: Vec<i32> = plane.iter().map(|s| s >> wasted).collect();
        let depth = bits - wasted;
        let (coding, size) = coding(&samples, depth);
        Self { samples, depth, wasted, coding, bits: 8 + u64::from(wasted) + size }
    }

    fn write(&self, out: &mut BitWriter) {
        let kind = match &self.coding {
            Coding::Constant => 0,
            Coding::Verbatim => 1,
            Coding::Fixed { order, .. } => 8 + *order as u64,
            Coding::Linear { lpc, .. } => 32 + lpc.coefficients.len() as u64 - 1,
        };
        out.put(kind, 7);
        out.put(u64::from(self.wasted > 0), 1);
        if self.wasted > 0 {
            out.put_unary(u64::from(self.wasted) - 1);
        }
        let plain = |out: &mut BitWriter, samples: &[i32]| samples.iter().for_each(|&s| out.put_signed(i64::from(s), self.depth));
        match &self.coding {
            Coding::Constant => plain(out, &self.samples[..1]),
            Coding::Verbatim => plain(out, &self.samples),
            Coding::Fixed { order, residual, rice } => {
                plain(out, &self.samples[..*order]);
                residual::write(residual, *order, rice, out);
            }
            Coding::Linear { lpc, residual, rice } => {
                let order = lpc.coefficients.len();
                plain(out, &self.samples[..order]);
                out.put(u64::from(PRECISION) - 1, 4);
                out.put(u64::from(lpc.shift), 5);
                lpc.coefficients.iter().for_each(|&c| out.put_signed(c, PRECISION));
                residual::write(residual, order, rice, out);
            }
        }
    }
}

/// The smallest coding and at most how many bits it takes behind the subframe's header.
fn coding(samples: &[i32], depth: u32) -> (Coding, u64) {
    let depth_bits = u64::from(depth);
    if samples.windows(2).all(|w| w[0] == w[1]) {
        return (Coding::Constant, depth_bits);
    }
    let mut best = (Coding::Verbatim, depth_bits * samples.len() as u64);
    if let Some((order, residual)) = predict::best_fixed(samples) {
        let rice = residual::plan(&residual, order);
        let bits = order as u64 * depth_bits + rice.bits;
        if bits < best.1 {
            best = (Coding::Fixed { order, residual, rice }, bits);
        }
    }
    if let Some(lpc) = predict::linear(samples, depth)
        && let Some(residual) = predict::residual(samples, &lpc.coefficients, lpc.shift)
    {
        let order = lpc.coefficients.len();
        let rice = residual::plan(&residual, order);
        let bits = order as u64 * (depth_bits + u64::from(PRECISION)) + 9 + rice.bits;
        if bits < best.1 {
            best = (Coding::Linear { lpc, residual, rice }, bits);
        }
    }
    best
}
