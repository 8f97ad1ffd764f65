//! A recording as it is drawn: lowest, highest and root mean square of every 256 frames, and coarser levels above for zooming out.
//!
//! Computed while the samples pass; it holds the bins (about 4 bytes for 256 frames) and never the samples. It may not know files:
//! [`Peaks::write`] and [`Peaks::read`] are the form in which it is kept beside one.

use std::io::{self, Read, Write};

use crate::blocks::{MAX_RATE_HZ, MIN_RATE_HZ, SampleFormat};

/// Frames of a bin of the finest level.
pub const FRAMES_PER_BIN: u32 = 256;
/// Bins of one level that make a bin of the next.
pub const BINS_PER_BIN: usize = 4;
/// A level this short is the last: it fits on a screen.
const SHORTEST_LEVEL: usize = 512;
/// Most levels: 256 · 4^15 frames are longer than anything.
const MAX_LEVELS: usize = 16;
/// Most bins of a level that are read back: 100 hours at 384 kHz.
const MAX_BINS: u64 = 600_000_000;

/// One bin. 127 is full scale; lowest and highest are rounded outwards, so that no sample is drawn too small, and clamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bin {
    pub min: i8,
    pub max: i8,
    /// Of the frames of the bin, 0 to 127, rounded to the nearest.
    pub rms: i8,
}

/// All levels of one recording. Channels are drawn as one: the extremes of both, the mean of their powers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peaks {
    pub rate_hz: u32,
    /// Frames of the recording.
    pub frames: u64,
    /// Level `n` has a bin for each `256 · 4^n` frames; the last bin of a level may cover fewer. There is always a first level.
    pub levels: Vec<Vec<Bin>>,
}

/// Takes the samples.
#[derive(Debug)]
pub struct PeakBuilder {
    format: SampleFormat,
    frames: u64,
    /// One for each level; the first counts samples, the others bins of the level below.
    open: Vec<Extent>,
    levels: Vec<Vec<Bin>>,
}

/// A bin that is being filled.
#[derive(Debug, Clone, Copy)]
struct Extent {
    min: f32,
    max: f32,
    energy: f64,
    samples: u64,
    parts: usize,
}

const EMPTY: Extent = Extent { min: f32::INFINITY, max: f32::NEG_INFINITY, energy: 0.0, samples: 0, parts: 0 };

impl Extent {
    fn join(&mut self, other: &Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.energy += other.energy;
        self.samples += other.samples;
        self.parts += 1;
    }

    fn bin(&self) -> Bin {
        let step = |value: f32| value.clamp(-127.0, 127.0) as i8;
        // `as` makes 0 of the NaN that an empty bin would give.
        let rms = (self.energy / self.samples as f64).sqrt();
        Bin { min: step((self.min * 127.0).floor()), max: step((self.max * 127.0).ceil()), rms: step((rms * 127.0).round() as f32) }
    }
}

impl PeakBuilder {
    /// Bins of the finest level hold 256 frames of `format`.
    pub fn new(format: SampleFormat) -> Self {
        Self { format, frames: 0, open: vec![EMPTY], levels: vec![Vec::new()] }
    }

    /// Takes whole interleaved frames; NaN is silence.
    pub fn push(&mut self, samples: &[f32]) {
        let channels = usize::from(self.format.channels.max(1));
        for frame in samples.chunks_exact(channels) {
            let open = &mut self.open[0];
            for &sample in frame {
                let sample = if sample.is_nan() { 0.0 } else { sample };
                open.min = open.min.min(sample);
                open.max = open.max.max(sample);
                open.energy += f64::from(sample) * f64::from(sample);
            }
            open.samples += channels as u64;
            open.parts += 1;
            self.frames += 1;
            if open.parts == FRAMES_PER_BIN as usize {
                self.close(0);
            }
        }
    }

    /// Closes the bins that are not full.
    pub fn finish(mut self) -> Peaks {
        let mut level = 0;
        // Closing a bin may open one above, so the count is read anew each time.
        while level < self.open.len() {
            if self.open[level].parts > 0 {
                self.close(level);
            }
            level += 1;
        }
        let needed = self.levels.iter().take_while(|l| l.len() > SHORTEST_LEVEL).count() + 1;
        self.levels.truncate(needed);
        Peaks { rate_hz: self.format.rate_hz, frames: self.frames, levels: self.levels }
    }

    fn close(&mut self, level: usize) {
        let full = std::mem::replace(&mut self.open[level], EMPTY);
        self.levels[level].push(full.bin());
        let above = level + 1;
        if above == MAX_LEVELS {
            return;
        }
        if above == self.open.len() {
            self.open.push(EMPTY);
            self.levels.push(Vec::new());
        }
        self.open[above].join(&full);
        if self.open[above].parts == BINS_PER_BIN {
            self.close(above);
        }
    }
}

/// First bytes of the stored form.
const MAGIC: &[u8; 8] = b"CVPEAKS1";

impl Peaks {
    /// The finest level, which is always there.
    pub fn finest(&self) -> &[Bin] {
        self.levels.first().map_or(&[], Vec::as_slice)
    }

    /// The stored form, little-endian: `CVPEAKS1`, rate (u32), frames (u64), number of levels (u32), then for each level the number
    /// of bins (u64) and the bins, each as lowest, highest, root mean square (three i8).
    pub fn write(&self, writer: &mut dyn Write) -> io::Result<()> {
        writer.write_all(MAGIC)?;
        writer.write_all(&self.rate_hz.to_le_bytes())?;
        writer.write_all(&self.frames.to_le_bytes())?;
        writer.write_all(&(self.levels.len() as u32).to_le_bytes())?;
        for level in &self.levels {
            writer.write_all(&(level.len() as u64).to_le_bytes())?;
            for part in level.chunks(4096) {
                let bytes: Vec<u8> = part.iter().flat_map(|b| [b.min, b.max, b.rms]).map(i8::cast_unsigned).collect();
                writer.write_all(&bytes)?;
            }
        }
        Ok(())
    }

    /// Reads the stored form. Errors: those of the reader, `UnexpectedEof`, and `InvalidData` for other bytes.
    pub fn read(reader: &mut dyn Read) -> io::Result<Self> {
        let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("peaks: {what}"));
        if &array::<8>(reader)? != MAGIC {
            return Err(broken("other bytes"));
        }
        let rate_hz = u32::from_le_bytes(array(reader)?);
        let frames = u64::from_le_bytes(array(reader)?);
        let count = u32::from_le_bytes(array(reader)?);
        if !(MIN_RATE_HZ..=MAX_RATE_HZ).contains(&rate_hz) || !(1..=MAX_LEVELS as u32).contains(&count) {
            return Err(broken("impossible rate or number of levels"));
        }
        let mut levels = Vec::new();
        let mut expected = frames.div_ceil(u64::from(FRAMES_PER_BIN));
        for _ in 0..count {
            let bins = u64::from_le_bytes(array(reader)?);
            if bins != expected || bins > MAX_BINS {
                return Err(broken("a level of another length"));
            }
            let mut bytes = Vec::new();
            // Grows with what is there, not with what is claimed.
            reader.take(bins * 3).read_to_end(&mut bytes)?;
            if (bytes.len() as u64) < bins * 3 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let bin = |b: &[u8; 3]| Bin { min: b[0].cast_signed(), max: b[1].cast_signed(), rms: b[2].cast_signed() };
            levels.push(bytes.as_chunks::<3>().0.iter().map(bin).collect());
            expected = expected.div_ceil(BINS_PER_BIN as u64);
        }
        Ok(Self { rate_hz, frames, levels })
    }
}

fn array<const N: usize>(reader: &mut dyn Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}
