//! The merge from outside: lengths, times, levels, determinism, stopping and what it does with broken chunks.
#![allow(clippy::unwrap_used)]

mod sounds;

use std::cell::Cell;
use std::io;
use std::ops::ControlFlow;
use std::rc::Rc;

use audio::blocks::{MAX_BLOCK_SAMPLES, MemoryBlocks, SampleBlocks, SampleFormat};
use audio::loudness::LoudnessMeter;
use audio::merge::{MergeChunk, MergeConfig, MergeError, MergeReport, Normalize, TrimSilence, merge};
use audio::resample::resampled_frames;
use audio::wav::{BitDepth, WavLayout, WavReader};
use proptest::prelude::*;
use sounds::{noise, sine, speech};

const MONO: SampleFormat = SampleFormat { rate_hz: 24_000, channels: 1 };

/// A chunk in memory that delivers blocks of odd sizes.
#[derive(Clone)]
struct Chunk {
    format: SampleFormat,
    samples: Rc<Vec<f32>>,
    cut: usize,
}

impl Chunk {
    fn mono(samples: Vec<f32>) -> Self {
        Self { format: MONO, samples: Rc::new(samples), cut: usize::MAX }
    }
}

struct Shared(Rc<Vec<f32>>);

impl AsRef<[f32]> for Shared {
    fn as_ref(&self) -> &[f32] {
        &self.0
    }
}

struct CutBlocks {
    inner: MemoryBlocks<Shared>,
    cut: usize,
}

impl SampleBlocks for CutBlocks {
    fn format(&self) -> SampleFormat {
        self.inner.format()
    }
    fn read(&mut self, block: &mut [f32]) -> io::Result<usize> {
        assert!(block.len() <= MAX_BLOCK_SAMPLES);
        let most = block.len().min(self.cut.max(2));
        self.inner.read(&mut block[..most])
    }
}

fn run(chunks: &[Chunk], pauses: &[Option<u64>], config: &MergeConfig) -> Result<(Vec<u8>, MergeReport), MergeError> {
    let merged: Vec<MergeChunk> = (0..chunks.len()).map(|i| MergeChunk { pause_after_ms: pauses.get(i).copied().flatten() }).collect();
    let mut open = |i: usize| -> io::Result<Box<dyn SampleBlocks>> {
        let chunk = &chunks[i];
        Ok(Box::new(CutBlocks { inner: MemoryBlocks::new(Shared(chunk.samples.clone()), chunk.format), cut: chunk.cut }))
    };
    let mut last = 0.0;
    merge(&merged, &mut open, config, Vec::new(), &mut |part| {
        assert!((0.0..=1.0).contains(&part) && part >= last);
        last = part;
        ControlFlow::Continue(())
    })
}

fn plain() -> MergeConfig {
    MergeConfig { trim_silence: None, normalize: None, bit_depth: BitDepth::Pcm24, ..MergeConfig::default() }
}

fn samples(bytes: &[u8]) -> Vec<f32> {
    let mut reader = WavReader::new(bytes).unwrap();
    let mut all = Vec::new();
    let mut block = vec![0.0; 8192];
    loop {
        let n = reader.read(&mut block).unwrap();
        if n == 0 {
            return all;
        }
        all.extend_from_slice(&block[..n]);
    }
}

fn power(samples: &[f32]) -> f64 {
    samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / samples.len() as f64
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn total_length_is_the_sum_of_the_parts(
        parts in prop::collection::vec(
            (0usize..9_000, prop::sample::select(vec![8_000u32, 22_050, 24_000, 48_000]), 1u16..=2, prop::option::of(0u64..40), 1usize..5_000),
            1..8,
        ),
        gap_ms in 0u64..20,
        rate in prop::sample::select(vec![16_000u32, 24_000, 44_100]),
    ) {
        let chunks: Vec<Chunk> = parts
            .iter()
            .map(|&(frames, rate_hz, channels, _, cut)| Chunk {
                format: SampleFormat { rate_hz, channels },
                samples: Rc::new(noise(frames * usize::from(channels), 5)),
                cut,
            })
            .collect();
        let pauses: Vec<Option<u64>> = parts.iter().map(|p| p.3).collect();
        let config = MergeConfig { gap_ms, sample_rate_hz: rate, ..plain() };
        let (bytes, report) = run(&chunks, &pauses, &config).unwrap();
        let out = SampleFormat { rate_hz: rate, channels: report.channels };
        let last = parts.len() - 1;
        let mut at = 0;
        for (i, (part, chunk)) in parts.iter().zip(&report.chunks).enumerate() {
            let frames = resampled_frames(part.0 as u64, part.1, rate);
            prop_assert_eq!((chunk.index, chunk.start_sample, chunk.end_sample), (i, at, at + frames));
            prop_assert_eq!((chunk.start_ms, chunk.end_ms), (out.frames_to_ms(at), out.frames_to_ms(at + frames)));
            at += frames + out.ms_to_frames(part.3.unwrap_or(if i == last { 0 } else { gap_ms }));
        }
        prop_assert_eq!(report.samples, at);
        prop_assert_eq!(report.duration_ms, out.frames_to_ms(at));
        prop_assert_eq!(samples(&bytes).len() as u64, at * u64::from(report.channels));
        prop_assert_eq!(report.channels, parts.iter().map(|p| p.2).max().unwrap());
    }

    #[test]
    fn cuts_of_the_sources_do_not_show(cuts in prop::collection::vec(1usize..3_000, 3), gap_ms in 0u64..2) {
        let config = MergeConfig { gap_ms, crossfade_ms: 30, sample_rate_hz: 44_100, ..MergeConfig::default() };
        let whole: Vec<Chunk> = (0..3).map(|i| Chunk::mono(speech(i, 700))).collect();
        let cut: Vec<Chunk> = whole.iter().zip(&cuts).map(|(c, &cut)| Chunk { cut, ..c.clone() }).collect();
        prop_assert!(run(&whole, &[], &config).unwrap() == run(&cut, &[], &config).unwrap());
    }
}

#[test]
fn joined_samples_are_the_chunks_with_silence_between() {
    let (a, b) = (speech(1, 300), speech(2, 400));
    let config = MergeConfig { gap_ms: 10, ..plain() };
    let (bytes, _) = run(&[Chunk::mono(a.clone()), Chunk::mono(b.clone())], &[], &config).unwrap();
    let expected = [&a[..], &[0.0; 240], &b].concat();
    let got = samples(&bytes);
    assert_eq!(got.len(), expected.len());
    assert!(got.iter().zip(&expected).all(|(g, e)| (g - e).abs() <= 0.5 / 8_388_608.0));
}

#[test]
fn a_crossfade_overlaps_at_equal_power() {
    let (a, b) = (noise(24_000, 1), noise(24_000, 2));
    let config = MergeConfig { crossfade_ms: 200, ..plain() };
    let half = |s: &[f32]| s.iter().map(|s| s * 0.5).collect::<Vec<_>>();
    let (bytes, report) = run(&[Chunk::mono(half(&a)), Chunk::mono(half(&b))], &[], &config).unwrap();
    let got = samples(&bytes);
    let overlap = 4_800;
    assert_eq!(got.len(), 48_000 - overlap);
    assert_eq!((report.chunks[0].end_sample, report.chunks[1].start_sample), (24_000, 24_000 - overlap as u64));
    let reference = power(&got[..19_000]);
    for part in got[19_200..24_000].chunks(1_200) {
        let change_db = 10.0 * (power(part) / reference).log10();
        assert!(change_db.abs() < 0.5, "the level changes by {change_db} dB inside the crossfade");
    }
    // With silence under it only the fade is left, and its squares with those of the other side add up to one.
    let silent = run(&[Chunk::mono(vec![0.5; 24_000]), Chunk::mono(vec![0.0; 24_000])], &[], &config).unwrap();
    let other = run(&[Chunk::mono(vec![0.0; 24_000]), Chunk::mono(vec![0.5; 24_000])], &[], &config).unwrap();
    for (x, y) in samples(&silent.0)[19_200..24_000].iter().zip(&samples(&other.0)[19_200..24_000]) {
        assert!((x * x + y * y - 0.25).abs() < 1e-5);
    }
    // A pause between the two leaves no crossfade.
    let paused = run(&[Chunk::mono(a), Chunk::mono(b)], &[Some(1)], &config).unwrap();
    assert_eq!(paused.1.samples, 48_000 + 24);
}

#[test]
fn silence_is_trimmed_and_told() {
    let sound = sine(440.0, 0.5, 24_000, 12_000);
    let chunk = [&vec![0.0; 4_800][..], &sound, &vec![0.0; 7_200]].concat();
    let config = MergeConfig { trim_silence: Some(TrimSilence { threshold_db: -50.0, keep_ms: 20 }), gap_ms: 100, ..plain() };
    let (bytes, report) = run(&[Chunk::mono(chunk.clone()), Chunk::mono(chunk)], &[], &config).unwrap();
    assert_eq!(report.chunks[0].trimmed_lead_ms, 180);
    // 20 ms on both sides of 500 ms, and the window of 5 ms in which the sound ends.
    let length = report.chunks[0].end_sample;
    assert!((540 * 24..=545 * 24).contains(&length), "{length}");
    assert_eq!(report.chunks[1].start_sample, length + 2_400);
    let got = samples(&bytes);
    assert!(got[..480].iter().all(|&s| s == 0.0) && got[481] != 0.0, "the sound begins after the 20 ms that are kept");
    let silent = run(&[Chunk::mono(vec![0.0; 5_000])], &[], &config).unwrap().1;
    assert_eq!((silent.samples, silent.chunks[0].trimmed_lead_ms), (5_000, 0));
    assert_eq!((silent.loudness.integrated_lufs, silent.loudness.true_peak_db), (None, None));
}

fn measured(bytes: &[u8], format: SampleFormat) -> (f64, f64) {
    let mut meter = LoudnessMeter::new(format).unwrap();
    meter.push(&samples(bytes)).unwrap();
    let loudness = meter.loudness();
    (loudness.integrated_lufs.unwrap(), loudness.true_peak_db.unwrap())
}

#[test]
fn loudness_meets_the_target_and_the_peak_stays_under_its_ceiling() {
    let quiet = |s: Vec<f32>| s.into_iter().map(|s| s * 0.05).collect::<Vec<_>>();
    let mut clicks = speech(4, 4_000);
    for i in (500..clicks.len()).step_by(9_000) {
        clicks[i] = if i % 2 == 0 { 0.99 } else { -0.99 };
    }
    let square: Vec<f32> = sine(5_987.0, 1.0, 24_000, 96_000).iter().map(|s| s.signum() * 0.3).collect();
    let cases = [
        ("speech", vec![speech(1, 3_000), speech(2, 4_000)]),
        ("quiet speech", vec![quiet(speech(1, 3_000)), quiet(speech(3, 2_000))]),
        ("clicks", vec![clicks]),
        ("noise", vec![noise(96_000, 9)]),
        ("square wave", vec![square]),
    ];
    for (name, parts) in cases {
        let chunks: Vec<Chunk> = parts.into_iter().map(Chunk::mono).collect();
        for (target_lufs, true_peak_db, rate, depth) in
            [(-16.0, -1.0, 24_000, BitDepth::Pcm16), (-23.0, -2.0, 48_000, BitDepth::Pcm24), (-14.0, -1.0, 44_100, BitDepth::Pcm16)]
        {
            let normalize = Some(Normalize { target_lufs, true_peak_db });
            let config = MergeConfig { normalize, sample_rate_hz: rate, bit_depth: depth, gap_ms: 200, ..MergeConfig::default() };
            let (bytes, report) = run(&chunks, &[], &config).unwrap();
            let (lufs, peak) = measured(&bytes, SampleFormat { rate_hz: rate, channels: 1 });
            assert!((lufs - target_lufs).abs() <= 0.3, "{name}: {lufs} LUFS instead of {target_lufs}");
            assert!(peak <= true_peak_db, "{name}: {peak} dB above the ceiling of {true_peak_db}");
            assert_eq!(
                (report.loudness.integrated_lufs, report.loudness.true_peak_db),
                (Some(lufs), Some(peak)),
                "the report tells the file"
            );
        }
    }
}

#[test]
fn near_silence_is_not_pumped_up() {
    let faint: Vec<f32> = noise(48_000, 3).iter().map(|s| s * 1e-3).collect();
    let config = MergeConfig { trim_silence: None, bit_depth: BitDepth::Pcm24, ..MergeConfig::default() };
    let (_, report) = run(&[Chunk::mono(faint)], &[], &config).unwrap();
    assert_eq!(report.gain_db, 40.0);
    assert!((-23.0..-21.0).contains(&report.loudness.integrated_lufs.unwrap()));
    // Under 400 ms there is no loudness, so no gain, but the ceiling holds.
    let (_, short) = run(&[Chunk::mono(vec![1.0; 2_400])], &[], &config).unwrap();
    assert_eq!((short.gain_db, short.loudness.integrated_lufs), (0.0, None));
    assert!(short.loudness.true_peak_db.unwrap() <= -1.0);
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let chunks: Vec<Chunk> = (0..4).map(|i| Chunk::mono(speech(i, 900))).collect();
    let config = MergeConfig { gap_ms: 0, crossfade_ms: 20, sample_rate_hz: 48_000, ..MergeConfig::default() };
    let first = run(&chunks, &[Some(300)], &config).unwrap();
    assert!(first == run(&chunks, &[Some(300)], &config).unwrap());
}

#[test]
fn rf64_is_written_when_the_file_is_long() {
    let chunks = [Chunk::mono(speech(1, 500))];
    let long = MergeConfig { layout: WavLayout { rf64_above_bytes: 1_000, ..WavLayout::default() }, ..MergeConfig::default() };
    let (rf64, report) = run(&chunks, &[], &long).unwrap();
    let (riff, _) = run(&chunks, &[], &MergeConfig::default()).unwrap();
    assert_eq!((&rf64[..4], &riff[..4]), (&b"RF64"[..], &b"RIFF"[..]));
    assert_eq!(samples(&rf64), samples(&riff));
    assert_eq!(WavReader::new(&rf64[..]).unwrap().declared_frames(), Some(report.samples));
}

#[test]
fn it_stops_when_it_is_told() {
    let chunks: Vec<Chunk> = (0..5).map(|i| Chunk::mono(speech(i, 400))).collect();
    let plain: Vec<MergeChunk> = vec![MergeChunk::default(); 5];
    let count = Cell::new(0);
    let attempt = |stop_at: usize| {
        count.set(0);
        let mut open =
            |i: usize| -> io::Result<Box<dyn SampleBlocks>> { Ok(Box::new(MemoryBlocks::new(Shared(chunks[i].samples.clone()), MONO))) };
        merge(&plain, &mut open, &MergeConfig::default(), io::sink(), &mut |_| {
            count.set(count.get() + 1);
            if count.get() > stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .map(|_| ())
    };
    attempt(usize::MAX).unwrap();
    let asked = count.get();
    assert!(asked >= 15, "asked at every block of every walk, {asked} times");
    for stop_at in 0..asked {
        assert!(matches!(attempt(stop_at), Err(MergeError::Stopped)));
        assert_eq!(count.get(), stop_at + 1, "nothing is asked after a stop");
    }
}

#[test]
fn trouble_names_the_chunk() {
    let whole = Shared(Rc::new(speech(1, 300)));
    let calls = Cell::new(0);
    let attempt = |second: &dyn Fn(usize) -> io::Result<Box<dyn SampleBlocks>>| {
        calls.set(0);
        let mut open = |i: usize| -> io::Result<Box<dyn SampleBlocks>> {
            if i == 0 {
                return Ok(Box::new(MemoryBlocks::new(Shared(whole.0.clone()), MONO)));
            }
            calls.set(calls.get() + 1);
            second(calls.get())
        };
        merge(&[MergeChunk::default(); 2], &mut open, &plain(), io::sink(), &mut |_| ControlFlow::Continue(())).unwrap_err()
    };
    let gone = attempt(&|_| Err(io::ErrorKind::NotFound.into()));
    assert!(matches!(&gone, MergeError::Chunk { index: 1, source } if source.kind() == io::ErrorKind::NotFound));
    let broken = attempt(&|_| Ok(Box::new(WavReader::new(&b"RIFF\0\0\0\0WAVE"[..])?)));
    assert!(matches!(&broken, MergeError::Chunk { index: 1, source } if source.kind() == io::ErrorKind::InvalidData));
    let wide = attempt(&|_| Ok(Box::new(MemoryBlocks::new(vec![0.0; 6], SampleFormat { rate_hz: 24_000, channels: 6 }))));
    assert!(matches!(&wide, MergeError::Chunk { index: 1, source } if source.kind() == io::ErrorKind::InvalidData));
    let shrunk = attempt(&|call| Ok(Box::new(MemoryBlocks::new(vec![0.1; 1_000 / call], MONO))));
    assert!(matches!(shrunk, MergeError::Changed { index: 1 }));
}

#[test]
fn impossible_requests_are_refused() {
    let chunk = [Chunk::mono(vec![0.0; 10])];
    let refused = |config: &MergeConfig| matches!(run(&chunk, &[], config), Err(MergeError::Refused(_)));
    assert!(matches!(run(&[], &[], &plain()), Err(MergeError::Refused(_))));
    assert!(refused(&MergeConfig { gap_ms: 600_001, ..plain() }));
    assert!(refused(&MergeConfig { crossfade_ms: 2_001, ..plain() }));
    assert!(refused(&MergeConfig { sample_rate_hz: 100, ..plain() }));
    assert!(refused(&MergeConfig { normalize: Some(Normalize { target_lufs: 1.0, true_peak_db: -1.0 }), ..plain() }));
    assert!(refused(&MergeConfig { normalize: Some(Normalize { target_lufs: f64::NAN, true_peak_db: -1.0 }), ..plain() }));
    assert!(refused(&MergeConfig { trim_silence: Some(TrimSilence { threshold_db: f32::NAN, keep_ms: 0 }), ..plain() }));
    let endless: Vec<Option<u64>> = vec![Some(600_000); 700];
    let many = vec![chunk[0].clone(); 700];
    assert!(matches!(run(&many, &endless, &plain()), Err(MergeError::Refused(_))));
}
