//! Encoders and decoders against each other: lengths to the sample, lossless where it is promised, and broken bytes that stay harmless.
#![allow(clippy::unwrap_used)]

mod sounds;

use std::io::Cursor;
use std::ops::ControlFlow;

use audio::blocks::{MemoryBlocks, SampleBlocks, SampleFormat};
use audio::decode::{DecodeError, DecodeLimits, MediaDecoder};
use audio::encode::{EncodeConfig, EncodeError, Encoded, Encoding, encode};
use audio::probe::{LengthFrom, probe};
use audio::wav::{BitDepth, Tags};
use proptest::prelude::*;
use sounds::{noise, sine, speech};

const ALL: &[Encoding] = &[
    Encoding::Wav(BitDepth::Pcm16),
    Encoding::Wav(BitDepth::Pcm24),
    Encoding::Flac(BitDepth::Pcm16),
    Encoding::Flac(BitDepth::Pcm24),
    Encoding::Opus { bitrate_bps: 64_000 },
    #[cfg(feature = "mp3")]
    Encoding::Mp3 { bitrate_kbps: 128 },
];

fn write(samples: &[f32], format: SampleFormat, encoding: Encoding) -> (Vec<u8>, Encoded) {
    let config = EncodeConfig { encoding, sample_rate_hz: None, tags: Tags { title: Some("Die Möwe".to_owned()), ..Tags::default() } };
    let source = Box::new(MemoryBlocks::new(samples.to_vec(), format));
    let (bytes, encoded) = encode(source, &config, Cursor::new(Vec::new()), &mut |_| ControlFlow::Continue(())).unwrap();
    (bytes.into_inner(), encoded)
}

fn read(bytes: &[u8], limits: DecodeLimits) -> Result<(SampleFormat, Vec<f32>), DecodeError> {
    let mut decoder = MediaDecoder::open(Box::new(Cursor::new(bytes.to_vec())), limits)?;
    let format = decoder.format();
    let mut samples = Vec::new();
    let mut block = vec![0.0; 3_000];
    loop {
        match decoder.read(&mut block) {
            Ok(0) => return Ok((format, samples)),
            Ok(n) => samples.extend_from_slice(&block[..n]),
            Err(error) => return Err(error.downcast::<DecodeError>().unwrap()),
        }
    }
}

/// How much of `b` is `a`, at the same place: 1 is all of it.
fn likeness(a: &[f32], b: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn every_encoding_gives_back_what_went_in() {
    let mono = speech(3, 1_500);
    let stereo: Vec<f32> = mono.iter().zip(sine(330.0, 0.2, 24_000, mono.len())).flat_map(|(l, r)| [*l, r]).collect();
    for &encoding in ALL {
        for (samples, channels) in [(&mono, 1), (&stereo, 2)] {
            let format = SampleFormat { rate_hz: 24_000, channels };
            let (bytes, encoded) = write(samples, format, encoding);
            assert_eq!((encoded.frames, encoded.duration_ms, encoded.rate_hz), (36_000, 1_500, 24_000));
            let (got_format, got) = read(&bytes, DecodeLimits::default()).unwrap();
            // Opus always comes out at 48 kHz: every second frame is one of ours.
            let at_48 = matches!(encoding, Encoding::Opus { .. });
            assert_eq!(got_format, SampleFormat { rate_hz: if at_48 { 48_000 } else { 24_000 }, channels });
            let got: Vec<f32> =
                if at_48 { got.chunks_exact(2 * usize::from(channels)).flat_map(|f| f[..channels.into()].to_vec()).collect() } else { got };
            assert_eq!(got.len(), samples.len(), "{encoding:?}, {channels} channels: length");
            let same = likeness(samples, &got);
            assert!(same > 0.98, "{encoding:?}, {channels} channels: {same}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn lossless_is_lossless_and_lengths_are_exact(frames in 0usize..12_000, channels in 1u16..=2, deep in any::<bool>(), seed in any::<u64>(), loud in 0.0f32..1.2) {
        let depth = if deep { BitDepth::Pcm24 } else { BitDepth::Pcm16 };
        let samples: Vec<f32> = noise(frames * usize::from(channels), seed).iter().map(|s| s * loud).collect();
        let format = SampleFormat { rate_hz: 16_000, channels };
        if frames == 0 {
            for &encoding in ALL {
                // An empty file can be written; there is no sound in it to be read.
                prop_assert!(!write(&samples, format, encoding).0.is_empty());
            }
            return Ok(());
        }
        let (wav, _) = write(&samples, format, Encoding::Wav(depth));
        let (flac, _) = write(&samples, format, Encoding::Flac(depth));
        prop_assert!(flac == write(&samples, format, Encoding::Flac(depth)).0);
        prop_assert!(flac.len() <= wav.len() + 200 + frames / 100, "flac of {} bytes for a wav of {}", flac.len(), wav.len());
        let expected = read(&wav, DecodeLimits::default()).unwrap();
        prop_assert_eq!(expected.1.len(), samples.len());
        prop_assert!(read(&flac, DecodeLimits::default()).unwrap() == expected);
        for &encoding in &ALL[4..] {
            let (bytes, _) = write(&samples, format, encoding);
            let (got, all) = read(&bytes, DecodeLimits::default()).unwrap();
            let scale = if got.rate_hz == 48_000 { 3 } else { 1 };
            prop_assert_eq!(all.len(), samples.len() * scale, "{:?}", encoding);
            let info = probe(Box::new(Cursor::new(bytes)), DecodeLimits::default()).unwrap();
            prop_assert_eq!(info.frames, (frames * scale) as u64, "{:?}", encoding);
        }
    }

    #[test]
    fn broken_files_do_no_harm(
        which in 0usize..ALL.len(),
        hits in prop::collection::vec((0usize..20_000, any::<u8>()), 1..20),
        cut in prop::option::of(0usize..20_000),
    ) {
        let (mut bytes, _) = write(&speech(5, 700), SampleFormat { rate_hz: 24_000, channels: 1 }, ALL[which]);
        for (at, value) in hits {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        bytes.truncate(cut.unwrap_or(usize::MAX));
        let limits = DecodeLimits { max_decoded_ms: 60_000, ..DecodeLimits::default() };
        match read(&bytes, limits) {
            Ok((format, samples)) => {
                prop_assert!(samples.iter().all(|s| s.is_finite()));
                prop_assert!(samples.len() as u64 <= format.ms_to_frames(60_001) * u64::from(format.channels));
            }
            Err(error) => prop_assert!(!matches!(error, DecodeError::Io(_)), "memory does not fail: {}", error),
        }
        let _ = probe(Box::new(Cursor::new(bytes)), limits);
    }
}

#[test]
fn codecs_take_the_next_rate_they_know() {
    let cases = [
        (Encoding::Opus { bitrate_bps: 32_000 }, 22_050, 24_000),
        (Encoding::Opus { bitrate_bps: 32_000 }, 44_100, 48_000),
        (Encoding::Mp3 { bitrate_kbps: 64 }, 96_000, 48_000),
        (Encoding::Mp3 { bitrate_kbps: 64 }, 20_000, 22_050),
        (Encoding::Flac(BitDepth::Pcm16), 384_000, 192_000),
        (Encoding::Wav(BitDepth::Pcm16), 37_800, 37_800),
    ];
    for (encoding, from_hz, to_hz) in cases {
        assert_eq!(encoding.rate_for(from_hz), to_hz);
        if matches!(encoding, Encoding::Mp3 { .. }) && !cfg!(feature = "mp3") {
            continue;
        }
        let format = SampleFormat { rate_hz: from_hz, channels: 1 };
        let (_, encoded) = write(&sine(200.0, 0.3, from_hz, from_hz as usize), format, encoding);
        assert_eq!((encoded.rate_hz, encoded.frames, encoded.duration_ms), (to_hz, u64::from(to_hz), 1_000), "{encoding:?}");
    }
}

#[test]
fn length_comes_from_the_header_where_that_is_exact() {
    let format = SampleFormat { rate_hz: 24_000, channels: 1 };
    for (encoding, codec, container, from) in [
        (ALL[0], "pcm_s16le", "wave", LengthFrom::Header),
        (ALL[1], "pcm_s24le", "wave", LengthFrom::Header),
        (ALL[2], "flac", "flac", LengthFrom::Header),
        (ALL[4], "opus", "ogg", LengthFrom::Header),
        #[cfg(feature = "mp3")]
        (ALL[5], "mp3", "mp3", LengthFrom::Decoding),
    ] {
        let (bytes, _) = write(&speech(1, 1_234), format, encoding);
        let info = probe(Box::new(Cursor::new(bytes.clone())), DecodeLimits::default()).unwrap();
        assert_eq!((info.duration_ms, info.channels, info.length_from), (1_234, 1, from), "{encoding:?}");
        assert_eq!((info.codec.as_str(), info.container.as_str()), (codec, container));
    }
    // A recording that was cut off says more than it has.
    let (mut wav, _) = write(&speech(1, 1_000), format, ALL[0]);
    wav.truncate(wav.len() - 24_000);
    let info = probe(Box::new(Cursor::new(wav)), DecodeLimits::default()).unwrap();
    assert_eq!((info.duration_ms, info.length_from), (500, LengthFrom::Decoding));
}

#[test]
fn a_file_that_was_cut_off_gives_what_is_there() {
    let format = SampleFormat { rate_hz: 24_000, channels: 1 };
    for &encoding in ALL {
        let (bytes, _) = write(&speech(6, 3_000), format, encoding);
        let (got, whole) = read(&bytes, DecodeLimits::default()).unwrap();
        let (_, part) = read(&bytes[..bytes.len() * 7 / 10], DecodeLimits::default()).unwrap_or_else(|e| panic!("{encoding:?}: {e}"));
        let least = got.ms_to_frames(1_500) as usize;
        assert!(part.len() >= least && part.len() < whole.len(), "{encoding:?}: {} of {}", part.len(), whole.len());
        assert!(likeness(&whole[..least], &part[..least]) > 0.999, "{encoding:?}");
    }
}

#[test]
fn limits_hold() {
    let format = SampleFormat { rate_hz: 24_000, channels: 1 };
    for &encoding in ALL {
        let (bytes, _) = write(&speech(1, 2_000), format, encoding);
        let short = DecodeLimits { max_decoded_ms: 1_500, ..DecodeLimits::default() };
        assert!(matches!(read(&bytes, short), Err(DecodeError::TooLong { limit_ms: 1_500 })), "{encoding:?}");
        let slow = DecodeLimits { max_rate_hz: 22_050, ..DecodeLimits::default() };
        assert!(matches!(read(&bytes, slow), Err(DecodeError::Unsupported(_))), "{encoding:?}");
        let none = DecodeLimits { max_channels: 0, ..DecodeLimits::default() };
        assert!(matches!(read(&bytes, none), Err(DecodeError::Unsupported(_))), "{encoding:?}");
    }
    for junk in [
        Vec::new(),
        b"hello".to_vec(),
        vec![0; 100_000],
        b"%PDF-1.7\n".repeat(1000),
        noise(50_000, 1).iter().map(|s| (s * 127.0) as u8).collect(),
    ] {
        assert!(matches!(read(&junk, DecodeLimits::default()), Err(DecodeError::Unsupported(_) | DecodeError::Malformed(_))));
    }
}

#[test]
fn more_channels_become_one() {
    let mut bytes = Cursor::new(Vec::new());
    let spec = hound::WavSpec { channels: 6, sample_rate: 8_000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    for _ in 0..1_000 {
        for channel in 0..6i16 {
            writer.write_sample(channel * 1_000).unwrap();
        }
    }
    writer.finalize().unwrap();
    let (format, samples) = read(&bytes.into_inner(), DecodeLimits::default()).unwrap();
    assert_eq!(format, SampleFormat { rate_hz: 8_000, channels: 1 });
    assert_eq!(samples.len(), 1_000);
    assert!(samples.iter().all(|s| (s - 2_500.0 / 32_768.0).abs() < 1e-6));
}

#[test]
fn encoding_can_be_stopped_and_refused() {
    let format = SampleFormat { rate_hz: 24_000, channels: 1 };
    let attempt = |encoding, channels, stop_at: u64| {
        let source = Box::new(MemoryBlocks::new(vec![0.1; 100_000 * usize::from(channels)], SampleFormat { channels, ..format }));
        let config = EncodeConfig { encoding, sample_rate_hz: None, tags: Tags::default() };
        let mut stop = |frames: u64| if frames >= stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        encode(source, &config, Cursor::new(Vec::new()), &mut stop).map(|(_, encoded)| encoded.frames)
    };
    for &encoding in ALL {
        assert!(matches!(attempt(encoding, 1, 50_000), Err(EncodeError::Stopped)));
        assert!(matches!(attempt(encoding, 3, u64::MAX), Err(EncodeError::Refused(_))));
        assert_eq!(attempt(encoding, 1, u64::MAX).unwrap(), 100_000);
    }
    for bitrate_bps in [0, 5_999, 256_001] {
        assert!(matches!(attempt(Encoding::Opus { bitrate_bps }, 1, u64::MAX), Err(EncodeError::Refused(_))));
    }
}
