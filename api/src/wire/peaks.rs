//! Peaks of a recording as a page draws them.

use audio::peaks::{BINS_PER_BIN, FRAMES_PER_BIN, Peaks as Stored};
use salvo::oapi::{ToParameters, ToSchema};
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

const BINS_DEFAULT: u32 = 2_000;
/// The coarsest level of a recording has at most 512 bins.
const BINS_MIN: u32 = 512;
const BINS_MAX: u32 = 200_000;

#[derive(Debug, Clone, Default, Deserialize, ToParameters)]
pub struct PeaksQuery {
    /// The finest level with at most so many bins is given.
    #[salvo(parameter(minimum = 512, maximum = 200000, default = json!(2000)))]
    pub max_bins: Option<u32>,
}

impl PeaksQuery {
    pub fn max_bins(&self) -> Result<usize, Problem> {
        match self.max_bins.unwrap_or(BINS_DEFAULT) {
            bins @ BINS_MIN..=BINS_MAX => Ok(bins as usize),
            _ => Err(Problem::invalid_field("max_bins", format!("must be between {BINS_MIN} and {BINS_MAX}"))),
        }
    }
}

/// Lowest, highest and root mean square of each bin; 127 is full scale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Peaks {
    /// In hertz.
    pub sample_rate: u32,
    /// Of the recording.
    pub frames: u64,
    pub duration_ms: u64,
    /// The last bin may have fewer.
    pub frames_per_bin: u64,
    pub min: Vec<i8>,
    pub max: Vec<i8>,
    pub rms: Vec<i8>,
}

impl Peaks {
    pub fn of(stored: &Stored, max_bins: usize) -> Self {
        let fitting = stored.levels.iter().position(|level| level.len() <= max_bins);
        let level = fitting.unwrap_or(stored.levels.len().saturating_sub(1));
        let bins = stored.levels.get(level).map_or(&[][..], Vec::as_slice);
        Self {
            sample_rate: stored.rate_hz,
            frames: stored.frames,
            duration_ms: stored.frames.saturating_mul(1_000) / u64::from(stored.rate_hz.max(1)),
            frames_per_bin: u64::from(FRAMES_PER_BIN) * (BINS_PER_BIN as u64).pow(level as u32),
            min: bins.iter().map(|bin| bin.min).collect(),
            max: bins.iter().map(|bin| bin.max).collect(),
            rms: bins.iter().map(|bin| bin.rms).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use audio::blocks::SampleFormat;
    use audio::peaks::PeakBuilder;

    use super::*;

    #[test]
    fn the_finest_level_that_fits() {
        let mut builder = PeakBuilder::new(SampleFormat { rate_hz: 24_000, channels: 1 });
        builder.push(&vec![0.5; 24_000 * 60]);
        let stored = builder.finish();
        let fine = Peaks::of(&stored, 10_000);
        assert_eq!((fine.frames_per_bin, fine.max.len(), fine.duration_ms), (256, 5_625, 60_000));
        let coarse = Peaks::of(&stored, 2_000);
        assert_eq!((coarse.frames_per_bin, coarse.max.len()), (1_024, 1_407));
        assert!(coarse.rms.iter().all(|rms| (60..68).contains(rms)));
        assert_eq!(Peaks::of(&stored, 512).rms.len(), 352);
    }
}
