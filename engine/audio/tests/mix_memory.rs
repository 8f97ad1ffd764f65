//! A mix holds what sounds at the moment, however long the whole is: ten hours in the memory of ten minutes, loudness and limiter included.
#![allow(clippy::unwrap_used, unsafe_code)] // A counting allocator cannot be written without unsafe.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use audio::blocks::{SampleBlocks, SampleFormat};
use audio::merge::{MergeChunk, MergeConfig, merge};
use audio::mix::{Clip, Mix, MixTrack, Mixer};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; only sizes are added up beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `pointer` came from `alloc` above with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The lowest rate there is: ten hours are ten hours.
const FORMAT: SampleFormat = SampleFormat { rate_hz: 8_000, channels: 1 };
const BLOCKS: i64 = 200;
const TRACKS: usize = 8;

/// Sound without an end, made while it is read.
struct Endless(u32);

impl SampleBlocks for Endless {
    fn format(&self) -> SampleFormat {
        FORMAT
    }
    fn read(&mut self, block: &mut [f32]) -> io::Result<usize> {
        for sample in block.iter_mut() {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *sample = (self.0 >> 8) as f32 / (1 << 24) as f32 - 0.5;
        }
        Ok(block.len())
    }
}

/// Peak of the bytes held while 200 blocks on 8 tracks, each over the next one's beginning, are mixed, measured and limited.
fn peak_bytes(minutes: u64) -> usize {
    let step = FORMAT.ms_to_frames(minutes * 60_000) as i64 / BLOCKS;
    let clip = |i: i64| Clip { fade_in: 400, fade_out: 400, ..Clip::new(i as usize % TRACKS, 0, i * step, (step + step / 10) as u64) };
    let tracks = vec![MixTrack { gain_db: -3.0, ..MixTrack::default() }; TRACKS];
    let mix = Mix { format: FORMAT, tracks, clips: (0..BLOCKS).map(clip).collect(), range: None };
    let mut open = |_: usize| -> io::Result<Box<dyn SampleBlocks>> {
        let mixer = Mixer::new(mix.clone(), Box::new(|_| Ok(Box::new(Endless(1)) as Box<dyn SampleBlocks>))).map_err(io::Error::other)?;
        Ok(Box::new(mixer))
    };
    let config = MergeConfig { trim_silence: None, sample_rate_hz: FORMAT.rate_hz, ..MergeConfig::default() };
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let (_, report) = merge(&[MergeChunk::default()], &mut open, &config, io::sink(), &mut |_| ControlFlow::Continue(())).unwrap();
    let peak = PEAK.load(Ordering::Relaxed) - before;
    assert!(report.duration_ms >= minutes * 60_000, "{report:?}");
    peak
}

#[test]
fn ten_hours_fit_where_ten_minutes_fit() {
    // Once for what is made once in a process.
    peak_bytes(1);
    let short = peak_bytes(10);
    let long = peak_bytes(600);
    assert!(long as f64 <= short as f64 * 1.05, "{short} bytes for 10 minutes, {long} for 10 hours");
}
