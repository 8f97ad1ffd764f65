//! The mixer against a naive one in f64 that looks at every clip for every frame, and what the naive one does not say: ducking,
//! other rates, trouble.
#![allow(clippy::unwrap_used)]

mod sounds;

use std::cell::Cell;
use std::io;
use std::ops::ControlFlow;
use std::ops::Range;
use std::rc::Rc;

use audio::blocks::{MemoryBlocks, SampleBlocks, SampleFormat};
use audio::merge::{MergeChunk, MergeConfig, merge};
use audio::mix::{Clip, FadeShape, Mix, MixTrack, Mixer};
use proptest::prelude::*;
use sounds::{noise, sine, speech};

/// 8 kHz: a frame is an eighth of a millisecond, so milliseconds are whole frames.
const RATE_HZ: u32 = 8_000;

type Source = (SampleFormat, Vec<f32>);

fn opener(sources: &[Source]) -> Box<audio::mix::OpenSource> {
    let sources = Rc::new(sources.to_vec());
    Box::new(move |i| {
        let (format, samples) = sources[i].clone();
        Ok(Box::new(MemoryBlocks::new(samples, format)))
    })
}

fn render(mix: &Mix, sources: &[Source], cut: usize) -> Vec<f32> {
    let mut mixer = Mixer::new(mix.clone(), opener(sources)).unwrap();
    let frames = mixer.frames_left();
    let mut out = Vec::new();
    let mut block = vec![0.0; cut * usize::from(mix.format.channels)];
    loop {
        let n = mixer.read(&mut block).unwrap();
        if n == 0 {
            assert_eq!(out.len() as u64, frames * u64::from(mix.format.channels));
            assert_eq!(mixer.frames_left(), 0);
            return out;
        }
        out.extend_from_slice(&block[..n]);
    }
}

/// One channel of one frame of one clip, by the definition.
fn heard(clip: &Clip, source: &Source, at: i64, channel: usize, channels: usize) -> f64 {
    let (format, samples) = source;
    let from = usize::from(format.channels);
    let frames = samples.len() / from;
    let part = (clip.part_ms.start * 8).min(frames as u64) as usize..clip.part_ms.end.saturating_mul(8).min(frames as u64) as usize;
    let k = at - clip.start;
    if k < 0 || k >= clip.frames as i64 || part.is_empty() || (!clip.looped && k as usize >= part.len()) {
        return 0.0;
    }
    let frame = part.start + k as usize % part.len();
    let sample = |c: usize| f64::from(samples[frame * from + c]);
    let value = match (from, channels) {
        (2, 1) => (sample(0) + sample(1)) / 2.0,
        (1, _) => sample(0),
        _ => sample(channel),
    };
    let rise = |k: i64, len: u64| {
        let part = (k as f64 + 0.5) / len as f64;
        match clip.fade_shape {
            _ if k as u64 >= len => 1.0,
            FadeShape::Linear => part,
            FadeShape::EqualPower => (std::f64::consts::FRAC_PI_2 * part).sin(),
        }
    };
    value * rise(k, clip.fade_in) * rise(clip.frames as i64 - 1 - k, clip.fade_out) * 10f64.powf(f64::from(clip.gain_db) / 20.0)
}

fn naive(mix: &Mix, sources: &[Source], range: Range<i64>) -> Vec<f64> {
    let solo = mix.tracks.iter().any(|t| t.solo);
    let channels = usize::from(mix.format.channels);
    range
        .flat_map(|at| (0..channels).map(move |c| (at, c)))
        .map(|(at, channel)| {
            mix.clips
                .iter()
                .filter(|c| !c.muted)
                .map(|clip| {
                    let track = &mix.tracks[clip.track];
                    let on = !track.muted && (track.solo || !solo);
                    let gain = if on { 10f64.powf(f64::from(track.gain_db) / 20.0) } else { 0.0 };
                    gain * heard(clip, &sources[clip.source], at, channel, channels)
                })
                .sum()
        })
        .collect()
}

fn clip() -> impl Strategy<Value = Clip> {
    (
        (0usize..4, 0usize..4, -3_000i64..12_000, 0u64..9_000),
        (0u64..400, prop::option::of(0u64..800)),
        (any::<bool>(), -30.0f32..6.0, 0u64..3_000, 0u64..3_000, any::<bool>(), prop::bool::weighted(0.1)),
    )
        .prop_map(|((track, source, start, frames), (from, length), (looped, gain_db, fade_in, fade_out, power, muted))| Clip {
            part_ms: from..length.map_or(u64::MAX, |l| from + l),
            looped,
            gain_db,
            fade_in,
            fade_out,
            fade_shape: if power { FadeShape::EqualPower } else { FadeShape::Linear },
            muted,
            ..Clip::new(track, source, start, frames)
        })
}

fn sources() -> Vec<Source> {
    let format = |channels| SampleFormat { rate_hz: RATE_HZ, channels };
    vec![(format(1), noise(5_000, 1)), (format(2), noise(9_000, 2)), (format(1), noise(300, 3)), (format(2), Vec::new())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn it_mixes_what_the_naive_mixer_mixes(
        clips in prop::collection::vec(clip(), 0..12),
        tracks in prop::collection::vec((-20.0f32..6.0, prop::bool::weighted(0.15), prop::bool::weighted(0.15)), 4),
        channels in 1u16..=2,
        range in prop::option::of((-4_000i64..9_000, 0i64..9_000)),
        cut in 1usize..4_000,
    ) {
        let tracks = tracks.into_iter().map(|(gain_db, muted, solo)| MixTrack { gain_db, muted, solo, duck_db: None }).collect();
        let range = range.map(|(start, len)| start..start + len);
        let mix = Mix { format: SampleFormat { rate_hz: RATE_HZ, channels }, tracks, clips, range: range.clone() };
        let end = mix.clips.iter().map(|c| c.start + c.frames as i64).fold(0, i64::max);
        let expected = naive(&mix, &sources(), range.unwrap_or(0..end));
        let got = render(&mix, &sources(), cut);
        prop_assert_eq!(got.len(), expected.len());
        for (i, (g, e)) in got.iter().zip(&expected).enumerate() {
            prop_assert!((f64::from(*g) - e).abs() < 2e-5, "sample {}: {} instead of {}", i, g, e);
        }
    }
}

const MONO: SampleFormat = SampleFormat { rate_hz: 24_000, channels: 1 };

fn ducked() -> (Mix, Vec<Source>) {
    let mut voice = vec![0.0; 24_000];
    voice.extend(sine(200.0, 0.3, 24_000, 24_000));
    let mix = Mix {
        format: MONO,
        tracks: vec![MixTrack::default(), MixTrack { duck_db: Some(-12.0), ..MixTrack::default() }],
        clips: vec![Clip::new(0, 0, 0, 48_000), Clip { looped: true, ..Clip::new(1, 1, 0, 120_000) }],
        range: None,
    };
    (mix, vec![(MONO, voice), (MONO, vec![0.1; 1_000])])
}

#[test]
fn music_steps_back_before_the_voice_and_returns_after_it() {
    let (mix, sources) = ducked();
    let all = render(&mix, &sources, 1_000);
    let voice = &sources[0].1;
    let gain: Vec<f32> = all.iter().enumerate().map(|(i, s)| (s - voice.get(i).copied().unwrap_or(0.0)) / 0.1).collect();
    let at = |ms: usize| gain[ms * 24];
    let down = 10f32.powf(-12.0 / 20.0);
    assert_eq!(gain[..24 * 840], vec![1.0; 24 * 840], "untouched until 150 ms before the voice");
    assert!(at(930) < 0.75 && at(930) > down, "on its way: {}", at(930));
    for ms in [1_005, 1_500, 1_990, 2_400] {
        assert!((at(ms) - down).abs() < 0.01, "{} at {ms} ms", at(ms));
    }
    assert!(at(2_900) > down + 0.1 && at(2_900) < 0.95, "coming back: {}", at(2_900));
    assert!(at(4_900) > 0.99, "{}", at(4_900));
    assert!(gain.windows(2).all(|w| (w[1] - w[0]).abs() < 0.002), "no step in the gain");
    assert!(render(&mix, &sources, 77) == all);
}

#[test]
fn a_short_mix_with_ducking_is_whole() {
    let (mut mix, sources) = ducked();
    mix.range = Some(100..1_100);
    assert_eq!(render(&mix, &sources, 64), vec![0.1; 1_000]);
}

#[test]
fn other_rates_keep_their_place_and_their_length() {
    let clicks = |rate_hz: u32| {
        let mut samples = sine(300.0, 0.5, rate_hz, rate_hz as usize / 2);
        samples.extend(vec![0.0; rate_hz as usize / 2]);
        (SampleFormat { rate_hz, channels: 1 }, samples)
    };
    let sources = [clicks(24_000), clicks(48_000), clicks(22_050)];
    let one = |source| Mix {
        format: MONO,
        tracks: vec![MixTrack::default()],
        clips: vec![Clip { part_ms: 100..900, looped: true, ..Clip::new(0, source, 1_234, 40_000) }],
        range: None,
    };
    let expected = render(&one(0), &sources, 5_000);
    for source in [1, 2] {
        let got = render(&one(source), &sources, 5_000);
        let energy = |s: &[f32]| s.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
        let off: Vec<f32> = got.iter().zip(&expected).map(|(a, b)| a - b).collect();
        // Half a frame of the lower rate of shift in each turn of the loop and the ringing at its cuts are what is left.
        assert!(energy(&off) < 0.005 * energy(&expected), "source {source}: {}", energy(&off) / energy(&expected));
    }
}

#[test]
fn merge_gives_a_mix_its_loudness() {
    let mix = Mix {
        format: MONO,
        tracks: vec![MixTrack::default(), MixTrack { gain_db: -20.0, duck_db: Some(-6.0), ..MixTrack::default() }],
        clips: vec![Clip::new(0, 0, 2_400, 72_000), Clip { looped: true, ..Clip::new(1, 1, 0, 90_000) }],
        range: None,
    };
    let sources = [(MONO, speech(1, 3_000)), (MONO, noise(7_000, 4))];
    let mut open = |_: usize| -> io::Result<Box<dyn SampleBlocks>> { Ok(Box::new(Mixer::new(mix.clone(), opener(&sources)).unwrap())) };
    let config = MergeConfig { trim_silence: None, ..MergeConfig::default() };
    let (_, report) = merge(&[MergeChunk::default()], &mut open, &config, io::sink(), &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(report.samples, 90_000);
    assert!((report.loudness.integrated_lufs.unwrap() + 16.0).abs() < 0.3);
}

#[test]
fn sources_are_open_only_while_they_are_heard() {
    struct Counted(MemoryBlocks<Vec<f32>>, Rc<Cell<usize>>);
    impl SampleBlocks for Counted {
        fn format(&self) -> SampleFormat {
            self.0.format()
        }
        fn read(&mut self, block: &mut [f32]) -> io::Result<usize> {
            self.0.read(block)
        }
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            self.1.set(self.1.get() - 1);
        }
    }
    let open = Rc::new(Cell::new(0));
    let most = Rc::new(Cell::new(0));
    let (counter, largest) = (open.clone(), most.clone());
    let clips = (0..200).map(|i| Clip::new(0, 0, i * 4_000, 5_000)).collect();
    let mix = Mix { format: MONO, tracks: vec![MixTrack::default()], clips, range: None };
    let opener = move |_: usize| -> io::Result<Box<dyn SampleBlocks>> {
        counter.set(counter.get() + 1);
        largest.set(largest.get().max(counter.get()));
        Ok(Box::new(Counted(MemoryBlocks::new(vec![0.1; 5_000], MONO), counter.clone())))
    };
    let mut mixer = Mixer::new(mix, Box::new(opener)).unwrap();
    let mut block = vec![0.0; 4_096];
    while mixer.read(&mut block).unwrap() > 0 {}
    assert_eq!(open.get(), 0, "all closed at the end");
    assert!(most.get() <= 3, "{} open at once", most.get());
}

#[test]
fn trouble_is_told() {
    let track = || vec![MixTrack::default()];
    let mix = |tracks, clips| Mix { format: MONO, tracks, clips, range: None };
    let refused = |mix: Mix| Mixer::new(mix, opener(&[])).is_err();
    assert!(refused(mix(vec![], vec![Clip::new(0, 0, 0, 1)])));
    assert!(refused(mix(track(), vec![Clip { gain_db: f32::NAN, ..Clip::new(0, 0, 0, 1) }])));
    assert!(refused(mix(track(), vec![Clip { gain_db: 61.0, ..Clip::new(0, 0, 0, 1) }])));
    #[allow(clippy::reversed_empty_ranges)]
    let backwards = Clip { part_ms: 5..4, ..Clip::new(0, 0, 0, 1) };
    assert!(refused(mix(track(), vec![backwards])));
    assert!(refused(mix(vec![MixTrack { duck_db: Some(3.0), ..MixTrack::default() }], vec![])));
    assert!(refused(mix(track(), vec![Clip::new(0, 0, 0, u64::MAX)])));
    assert!(refused(Mix { format: SampleFormat { rate_hz: 24_000, channels: 3 }, ..mix(track(), vec![]) }));

    let mut gone = Mixer::new(mix(track(), vec![Clip::new(0, 7, 0, 10)]), Box::new(|_| Err(io::ErrorKind::NotFound.into()))).unwrap();
    let error = gone.read(&mut [0.0; 10]).unwrap_err();
    assert!(error.kind() == io::ErrorKind::NotFound && error.to_string().starts_with("source 7: "), "{error}");
    let many = (0..200).map(|_| Clip::new(0, 0, 0, 10)).collect();
    let mut crowded = Mixer::new(mix(track(), many), opener(&[(MONO, vec![0.0; 10])])).unwrap();
    assert_eq!(crowded.read(&mut [0.0; 10]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    let silent =
        Mixer::new(mix(track(), vec![Clip { gain_db: f32::NEG_INFINITY, ..Clip::new(0, 0, 0, 10) }]), opener(&[(MONO, vec![1.0; 10])]));
    let mut block = [1.0; 20];
    assert_eq!(silent.unwrap().read(&mut block).unwrap(), 10);
    assert_eq!(block[..10], [0.0; 10]);
}

/// 200 blocks on 8 tracks, half a minute, with everything that a block may have but ducking, which the naive mixer does not know.
fn crowded() -> (Mix, Vec<Source>) {
    let format = |channels| SampleFormat { rate_hz: RATE_HZ, channels };
    let quiet = |len, seed| -> Vec<f32> { noise(len, seed).into_iter().map(|s| s * 0.2).collect() };
    let sources: Vec<Source> = (0..10).map(|i| (format(1 + i % 2), quiet(16_000 + 1_000 * usize::from(i), u64::from(i)))).collect();
    let mut seed = 7u64;
    let mut next = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let clips = (0..200).map(|i| Clip {
        part_ms: next(200)..400 + next(1_500),
        looped: next(4) == 0,
        gain_db: next(24) as f32 - 20.0,
        fade_in: next(800),
        fade_out: next(800),
        fade_shape: if next(2) == 0 { FadeShape::Linear } else { FadeShape::EqualPower },
        ..Clip::new(i % 8, next(10) as usize, next(30 * 8_000) as i64, 800 + next(16_000))
    });
    let tracks = (0..8).map(|i| MixTrack { gain_db: -(i as f32), muted: i == 5, ..MixTrack::default() }).collect();
    (Mix { format: format(2), tracks, clips: clips.collect(), range: None }, sources)
}

#[test]
fn two_hundred_blocks_on_eight_tracks_are_within_one_step_of_16_bits() {
    let (mix, sources) = crowded();
    let end = mix.clips.iter().map(|clip| clip.start + clip.frames as i64).fold(0, i64::max);
    let expected = naive(&mix, &sources, 0..end);
    let got = render(&mix, &sources, 2_000);
    assert_eq!(got.len(), expected.len());
    let farthest = got.iter().zip(&expected).map(|(got, wanted)| (f64::from(*got) - wanted).abs()).fold(0.0, f64::max);
    assert!(expected.iter().any(|sample| sample.abs() > 0.3), "there is something to hear");
    assert!(farthest * 32_768.0 <= 1.0, "{} steps", farthest * 32_768.0);
    // As the file has it: rounded to 16 bits, before any limiter.
    let plain = MergeConfig { trim_silence: None, normalize: None, sample_rate_hz: RATE_HZ, ..MergeConfig::default() };
    let (file, _) = merged(&mix, &sources, &plain);
    assert_eq!(file.len(), expected.len());
    for (sample, wanted) in file.iter().zip(&expected) {
        let wanted = (wanted * 32_768.0).clamp(-32_768.0, 32_767.0);
        assert!((f64::from(*sample) - wanted).abs() <= 1.0, "{sample} instead of {wanted}");
    }
}

fn merged(mix: &Mix, sources: &[Source], config: &MergeConfig) -> (Vec<i16>, audio::merge::MergeReport) {
    let mut open = |_: usize| -> io::Result<Box<dyn SampleBlocks>> { Ok(Box::new(Mixer::new(mix.clone(), opener(sources)).unwrap())) };
    let (bytes, report) = merge(&[MergeChunk::default()], &mut open, config, Vec::new(), &mut |_| ControlFlow::Continue(())).unwrap();
    let reader = hound::WavReader::new(io::Cursor::new(bytes)).unwrap();
    (reader.into_samples::<i16>().map(Result::unwrap).collect(), report)
}

#[test]
fn a_crowded_mix_meets_its_loudness_and_its_peak() {
    let (mix, sources) = crowded();
    for target_lufs in [-23.0, -16.0, -12.0] {
        let normalize = Some(audio::merge::Normalize { target_lufs, true_peak_db: -1.0 });
        let config = MergeConfig { trim_silence: None, normalize, sample_rate_hz: 48_000, ..MergeConfig::default() };
        let (file, report) = merged(&mix, &sources, &config);
        let mut meter = ebur128::EbuR128::new(2, 48_000, ebur128::Mode::I | ebur128::Mode::TRUE_PEAK).unwrap();
        meter.add_frames_i16(&file).unwrap();
        let lufs = meter.loudness_global().unwrap();
        let peak = meter.true_peak(0).unwrap().max(meter.true_peak(1).unwrap());
        assert!((lufs - target_lufs).abs() <= 0.3, "{lufs} LUFS instead of {target_lufs}: {report:?}");
        assert!(20.0 * peak.log10() <= -1.0 + 0.01, "{} dB: {report:?}", 20.0 * peak.log10());
    }
}
