//! Where every chunk comes to lie: arithmetic on lengths, in frames of the file.
//!
//! Pure: it may not read, and knows nothing of samples but how many there are.

use super::{MAX_MERGED_MS, MergeChunk, MergeConfig, MergeError, MergedChunk};
use crate::blocks::SampleFormat;
use crate::resample::resampled_frames;

/// What the first walk found; `start` and `end` are frames of the chunk's own rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ScannedChunk {
    pub(super) format: SampleFormat,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// One chunk in the file, in frames of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlannedChunk {
    pub(super) source: ScannedChunk,
    pub(super) start: u64,
    pub(super) frames: u64,
    /// Shared with the end of the chunk before.
    pub(super) fade_in: u64,
    /// Shared with the beginning of the chunk after.
    pub(super) fade_out: u64,
    /// Silence after it.
    pub(super) pause: u64,
}

/// The whole file.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) format: SampleFormat,
    pub(super) frames: u64,
    pub(super) chunks: Vec<PlannedChunk>,
}

impl Plan {
    pub(super) fn new(chunks: &[MergeChunk], scanned: Vec<ScannedChunk>, config: &MergeConfig) -> Result<Self, MergeError> {
        let channels = scanned.iter().map(|c| c.format.channels).max().unwrap_or(1);
        let format = SampleFormat { rate_hz: config.sample_rate_hz, channels };
        let crossfade = format.ms_to_frames(config.crossfade_ms);
        let last = chunks.len().saturating_sub(1);
        let mut planned: Vec<PlannedChunk> = Vec::with_capacity(scanned.len());
        let mut at = 0u64;
        for (i, (chunk, source)) in chunks.iter().zip(scanned).enumerate() {
            let frames = resampled_frames(source.end - source.start, source.format.rate_hz, format.rate_hz);
            let mut fade_in = 0;
            if let Some(before) = planned.last_mut()
                && before.pause == 0
            {
                fade_in = crossfade.min(before.frames / 2).min(frames / 2);
                before.fade_out = fade_in;
            }
            let start = at - fade_in;
            let gap_ms = chunk.pause_after_ms.unwrap_or(if i == last { 0 } else { config.gap_ms });
            let pause = format.ms_to_frames(gap_ms);
            planned.push(PlannedChunk { source, start, frames, fade_in, fade_out: 0, pause });
            at = start + frames + pause;
            if format.frames_to_ms(at) > MAX_MERGED_MS {
                return Err(MergeError::Refused(format!("longer than {MAX_MERGED_MS} ms")));
            }
        }
        Ok(Self { format, frames: at, chunks: planned })
    }

    pub(super) fn report(&self) -> Vec<MergedChunk> {
        let place = |(index, chunk): (usize, &PlannedChunk)| MergedChunk {
            index,
            start_ms: self.format.frames_to_ms(chunk.start),
            end_ms: self.format.frames_to_ms(chunk.start + chunk.frames),
            start_sample: chunk.start,
            end_sample: chunk.start + chunk.frames,
            trimmed_lead_ms: chunk.source.format.frames_to_ms(chunk.source.start),
        };
        self.chunks.iter().enumerate().map(place).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_add_up_and_overlap_only_where_they_fade(
            lengths in prop::collection::vec((0u64..200_000, prop::option::of(0u64..3), prop::sample::select(vec![8_000u32, 24_000, 44_100])), 1..40),
            gap_ms in 0u64..2,
            crossfade_ms in 0u64..500,
        ) {
            let chunks: Vec<MergeChunk> = lengths.iter().map(|&(_, pause_after_ms, _)| MergeChunk { pause_after_ms }).collect();
            let scanned: Vec<ScannedChunk> = lengths
                .iter()
                .map(|&(end, _, rate_hz)| ScannedChunk { format: SampleFormat { rate_hz, channels: 1 }, start: end / 3, end })
                .collect();
            let config = MergeConfig { gap_ms, crossfade_ms, ..MergeConfig::default() };
            let plan = Plan::new(&chunks, scanned, &config).unwrap();
            let sum = |f: fn(&PlannedChunk) -> u64| plan.chunks.iter().map(f).sum::<u64>();
            prop_assert_eq!(plan.frames, sum(|c| c.frames) + sum(|c| c.pause) - sum(|c| c.fade_in));
            prop_assert_eq!(sum(|c| c.fade_in), sum(|c| c.fade_out));
            for pair in plan.chunks.windows(2) {
                prop_assert_eq!(pair[1].start, pair[0].start + pair[0].frames + pair[0].pause - pair[1].fade_in);
                prop_assert_eq!(pair[0].fade_out, pair[1].fade_in);
                prop_assert!(pair[1].fade_in == 0 || pair[0].pause == 0);
                prop_assert!(pair[1].start >= pair[0].start);
            }
            prop_assert!(plan.chunks.iter().all(|c| c.fade_in + c.fade_out <= c.frames));
        }
    }

    #[test]
    fn pauses_override_the_gap_and_the_last_gap_is_none() {
        let second = ScannedChunk { format: SampleFormat { rate_hz: 24_000, channels: 1 }, start: 0, end: 24_000 };
        let config = MergeConfig { gap_ms: 100, crossfade_ms: 50, ..MergeConfig::default() };
        let pauses = |all: &[Option<u64>]| {
            let chunks: Vec<MergeChunk> = all.iter().map(|&pause_after_ms| MergeChunk { pause_after_ms }).collect();
            let plan = Plan::new(&chunks, vec![second; all.len()], &config).unwrap();
            (plan.report().iter().map(|c| c.start_ms).collect::<Vec<_>>(), plan.format.frames_to_ms(plan.frames))
        };
        assert_eq!(pauses(&[None, None]), (vec![0, 1100], 2100));
        assert_eq!(pauses(&[Some(500), Some(250)]), (vec![0, 1500], 2750));
        assert_eq!(pauses(&[Some(0), None]), (vec![0, 950], 1950));
    }
}
