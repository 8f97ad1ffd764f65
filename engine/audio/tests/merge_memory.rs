//! The merge holds a few blocks however long the whole is: counted in the allocator and in the sources.
#![allow(clippy::unwrap_used, unsafe_code)] // A counting allocator cannot be written without unsafe.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use audio::blocks::{MAX_BLOCK_SAMPLES, SampleBlocks, SampleFormat};
use audio::merge::{MergeChunk, MergeConfig, merge};

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

/// A chunk that is computed while it is read; it knows how many of its kind are open and how much was asked of them at once.
struct Computed {
    at: u64,
    frames: u64,
    open: Rc<Cell<usize>>,
    largest: Rc<Cell<usize>>,
}

impl SampleBlocks for Computed {
    fn format(&self) -> SampleFormat {
        SampleFormat { rate_hz: 22_050, channels: 1 }
    }
    fn read(&mut self, block: &mut [f32]) -> io::Result<usize> {
        self.largest.set(self.largest.get().max(block.len()));
        let count = (self.frames - self.at).min(block.len() as u64);
        for (i, sample) in block[..count as usize].iter_mut().enumerate() {
            let at = self.at + i as u64;
            *sample = (((at * 7_919) % 4_001) as f32 / 2_000.0 - 1.0) * if (at / 4_000).is_multiple_of(3) { 0.0 } else { 0.6 };
        }
        self.at += count;
        Ok(count as usize)
    }
}

impl Drop for Computed {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
    }
}

/// Peak of the bytes held while `chunks` chunks of `frames` frames are merged.
fn peak_bytes(chunks: usize, frames: u64) -> usize {
    let (open, largest) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let mut opener = |_: usize| -> io::Result<Box<dyn SampleBlocks>> {
        open.set(open.get() + 1);
        assert_eq!(open.get(), 1, "one chunk is open at a time");
        Ok(Box::new(Computed { at: 0, frames, open: open.clone(), largest: largest.clone() }))
    };
    let list = vec![MergeChunk::default(); chunks];
    let config = MergeConfig { crossfade_ms: 50, ..MergeConfig::default() };
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let (_, report) = merge(&list, &mut opener, &config, io::sink(), &mut |_| ControlFlow::Continue(())).unwrap();
    let peak = PEAK.load(Ordering::Relaxed) - before;
    assert_eq!(report.chunks.len(), chunks);
    assert!(largest.get() <= MAX_BLOCK_SAMPLES);
    assert_eq!(open.get(), 0);
    peak
}

#[test]
fn memory_is_flat() {
    // Once for what is made once in a process.
    peak_bytes(2, 30_000);
    let few = peak_bytes(4, 30_000);
    let long = peak_bytes(4, 600_000);
    let many = peak_bytes(400, 30_000);
    // 20 times the sound in the same memory: the lengths of blocks differ by a few samples, no more.
    assert!(long < few + few / 4, "{few} bytes for 5 s, {long} for 109 s");
    // 100 times the chunks cost the list of their places alone.
    let listed = 400 * 400;
    assert!(many < few + few / 4 + listed, "{few} bytes for 4 chunks, {many} for 400");
    assert!(few < 2_000_000, "{few} bytes");
}
