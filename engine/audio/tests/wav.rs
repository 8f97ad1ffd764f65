//! WAV and RF64: what is written is read back by our reader and by hound, header fields are checked one by one.
#![allow(clippy::unwrap_used)]

use std::io::{Cursor, Write};

use audio::blocks::{SampleBlocks, SampleFormat};
use audio::wav::{BitDepth, Dither, Tags, WavEncoding, WavError, WavLayout, WavReader, WavSpec, WavWriter, wav_size_bytes};
use proptest::prelude::*;

fn spec(channels: u16, depth: BitDepth) -> WavSpec {
    WavSpec { rate_hz: 24_000, channels, depth }
}

fn read_all(bytes: &[u8]) -> Result<(SampleFormat, Vec<f32>), WavError> {
    let mut reader = WavReader::new(bytes)?;
    let format = reader.format();
    let mut samples = Vec::new();
    let mut block = vec![0.0; 1000];
    loop {
        let n = reader.read(&mut block).map_err(|e| *e.into_inner().unwrap().downcast::<WavError>().unwrap())?;
        if n == 0 {
            return Ok((format, samples));
        }
        samples.extend_from_slice(&block[..n]);
    }
}

fn known(spec: WavSpec, layout: &WavLayout, samples: &[f32]) -> Vec<u8> {
    let frames = samples.len() as u64 / u64::from(spec.channels);
    let mut writer = WavWriter::with_length(Vec::new(), spec, layout.clone(), frames).unwrap();
    writer.write(samples).unwrap();
    let bytes = writer.finish().unwrap();
    assert_eq!(bytes.len() as u64, wav_size_bytes(&spec, layout, frames));
    bytes
}

fn seeked(spec: WavSpec, layout: &WavLayout, samples: &[f32]) -> Vec<u8> {
    let mut writer = WavWriter::new(Cursor::new(Vec::new()), spec, layout.clone()).unwrap();
    for part in samples.chunks(777) {
        writer.write(part).unwrap();
    }
    writer.finish_seek().unwrap().into_inner()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn depth() -> impl Strategy<Value = BitDepth> {
    prop_oneof![Just(BitDepth::Pcm16), Just(BitDepth::Pcm24)]
}

proptest! {
    #[test]
    fn both_writers_round_trip(
        steps in prop::collection::vec(-8_388_608i32..8_388_608, 0..3000),
        channels in 1u16..=2,
        depth in depth(),
        rf64 in any::<bool>(),
    ) {
        let step = match depth { BitDepth::Pcm16 => 256, BitDepth::Pcm24 => 1 };
        let mut samples: Vec<f32> = steps.iter().map(|s| (s / step * step) as f32 / 8_388_608.0).collect();
        samples.truncate(samples.len() / usize::from(channels) * usize::from(channels));
        let layout = WavLayout { rf64_above_bytes: if rf64 { 0 } else { u64::MAX }, ..WavLayout::default() };
        for bytes in [known(spec(channels, depth), &layout, &samples), seeked(spec(channels, depth), &layout, &samples)] {
            prop_assert_eq!(&bytes[..4], if rf64 { b"RF64" } else { b"RIFF" });
            prop_assert_eq!(bytes.len() % 2, 0);
            let (format, back) = read_all(&bytes).unwrap();
            prop_assert_eq!(format, SampleFormat { rate_hz: 24_000, channels });
            prop_assert_eq!(&back, &samples);
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_step(samples in prop::collection::vec(-1.5f32..1.5, 1..500), depth in depth()) {
        let (_, back) = read_all(&known(spec(1, depth), &WavLayout::default(), &samples)).unwrap();
        let step = match depth { BitDepth::Pcm16 => 1.0 / 32_768.0, BitDepth::Pcm24 => 1.0 / 8_388_608.0 };
        for (&sample, &read) in samples.iter().zip(&back) {
            let clamped = f64::from(sample).clamp(-1.0, 1.0 - step);
            prop_assert!((clamped - f64::from(read)).abs() <= step / 2.0 + 1e-12, "{} became {}", sample, read);
        }
    }

    #[test]
    fn cuts_between_calls_do_not_show(samples in prop::collection::vec(-1.0f32..1.0, 1..2000), cut in 0usize..2000, seed in any::<u64>()) {
        let write = |parts: [&[f32]; 2]| {
            let frames = samples.len() as u64;
            let writer = WavWriter::with_length(Vec::new(), spec(1, BitDepth::Pcm16), WavLayout::default(), frames).unwrap();
            let mut writer = writer.with_dither(Dither::Triangular(seed));
            for part in parts {
                writer.write(part).unwrap();
            }
            writer.finish().unwrap()
        };
        let (a, b) = samples.split_at(cut.min(samples.len()));
        prop_assert_eq!(write([&samples, &[]]), write([a, b]));
    }

    #[test]
    fn broken_bytes_are_refused_without_panic_or_large_allocation(
        samples in prop::collection::vec(-1.0f32..1.0, 0..50),
        at in 0usize..200,
        patch in prop::collection::vec(any::<u8>(), 1..9),
        cut in 0usize..300,
        rf64 in any::<bool>(),
    ) {
        let layout = WavLayout { rf64_above_bytes: if rf64 { 0 } else { u64::MAX }, ..tagged() };
        let mut bytes = known(spec(1, BitDepth::Pcm24), &layout, &samples);
        for (i, b) in patch.iter().enumerate() {
            if let Some(to) = bytes.get_mut(at + i) {
                *to = *b;
            }
        }
        bytes.truncate(bytes.len().saturating_sub(cut));
        if let Ok((_, back)) = read_all(&bytes) {
            prop_assert!(back.len() <= bytes.len());
        }
    }
}

fn tagged() -> WavLayout {
    WavLayout {
        tags: Tags {
            title: Some("The lighthouse".to_owned()),
            artist: Some("Möwe".to_owned()),
            software: Some("ClonyVoice".to_owned()),
            comment: Some("synthetic speech".to_owned()),
        },
        ..WavLayout::default()
    }
}

#[test]
fn halves_go_away_from_zero_and_nan_is_silence() {
    let s = 1.0 / 32_768.0;
    let samples = [0.5 * s, -0.5 * s, 1.5 * s, -1.5 * s, 0.49 * s, 1.0, 7.0, -1.0, -7.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    let bytes = known(spec(1, BitDepth::Pcm16), &WavLayout::default(), &samples);
    let steps: Vec<i16> = hound::WavReader::new(&bytes[..]).unwrap().samples().map(Result::unwrap).collect();
    assert_eq!(steps, [1, -1, 2, -2, 0, 32_767, 32_767, -32_768, -32_768, 0, 32_767, -32_768]);
}

#[test]
fn a_small_known_file_has_the_canonical_header() {
    let bytes = known(spec(2, BitDepth::Pcm16), &WavLayout::default(), &[0.25, -0.25, 0.5, -0.5]);
    assert_eq!(bytes.len(), 44 + 8);
    assert_eq!((&bytes[..4], u32_at(&bytes, 4), &bytes[8..16]), (&b"RIFF"[..], 44, &b"WAVEfmt "[..]));
    assert_eq!(u32_at(&bytes, 16), 16);
    assert_eq!(bytes[20..24], [1, 0, 2, 0]);
    assert_eq!((u32_at(&bytes, 24), u32_at(&bytes, 28)), (24_000, 96_000));
    assert_eq!(bytes[32..36], [4, 0, 16, 0]);
    assert_eq!((&bytes[36..40], u32_at(&bytes, 40)), (&b"data"[..], 8));
    assert_eq!(bytes[44..52], [0x00, 0x20, 0x00, 0xE0, 0x00, 0x40, 0x00, 0xC0]);
}

#[test]
fn rf64_fields_are_those_of_tech_3306() {
    // Three mono frames of 24 bit: nine bytes of data and one of padding.
    let layout = WavLayout { rf64_above_bytes: 60, ..WavLayout::default() };
    for bytes in [known(spec(1, BitDepth::Pcm24), &layout, &[0.5; 3]), seeked(spec(1, BitDepth::Pcm24), &layout, &[0.5; 3])] {
        assert_eq!((&bytes[..4], u32_at(&bytes, 4), &bytes[8..16]), (&b"RF64"[..], u32::MAX, &b"WAVEds64"[..]));
        assert_eq!(u32_at(&bytes, 16), 28, "size of ds64");
        assert_eq!(u64_at(&bytes, 20), bytes.len() as u64 - 8, "riff size");
        assert_eq!(u64_at(&bytes, 28), 9, "data size without the padding");
        assert_eq!(u64_at(&bytes, 36), 3, "sample count in frames");
        assert_eq!(u32_at(&bytes, 44), 0, "table length");
        assert_eq!((&bytes[48..52], u32_at(&bytes, 52)), (&b"fmt "[..], 40));
        assert_eq!(bytes[56..58], [0xFE, 0xFF]);
        assert_eq!((&bytes[96..100], u32_at(&bytes, 100)), (&b"data"[..], u32::MAX));
        assert_eq!(bytes.len(), 104 + 10);
        assert_eq!(read_all(&bytes).unwrap().1, [0.5; 3]);
    }
}

#[test]
fn an_unknown_length_keeps_room_for_ds64() {
    let bytes = seeked(spec(1, BitDepth::Pcm16), &WavLayout::default(), &[0.5; 3]);
    assert_eq!((&bytes[12..16], u32_at(&bytes, 16)), (&b"JUNK"[..], 28));
    assert_eq!(u32_at(&bytes, 4) as usize, bytes.len() - 8);
    assert_eq!((&bytes[72..76], u32_at(&bytes, 76)), (&b"data"[..], 6));
}

#[test]
fn the_default_threshold_is_the_largest_size_that_32_bits_can_say() {
    let mono = spec(1, BitDepth::Pcm16);
    let layout = WavLayout::default();
    // 36 bytes of header count for the RIFF size; its limit is 0xFFFFFFFE.
    let most = (0xFFFF_FFFE - 36) / 2;
    let head = |frames| WavWriter::with_length(HeaderOnly(Vec::new()), mono, layout.clone(), frames);
    let mut small = HeaderOnly(Vec::new());
    WavWriter::with_length(&mut small, mono, layout.clone(), most).unwrap();
    assert_eq!((&small.0[..4], u32_at(&small.0, 4), u32_at(&small.0, 40)), (&b"RIFF"[..], 0xFFFF_FFFE, 0xFFFF_FFFE - 36));
    let mut large = HeaderOnly(Vec::new());
    WavWriter::with_length(&mut large, mono, layout.clone(), most + 1).unwrap();
    assert_eq!((&large.0[..4], u64_at(&large.0, 28)), (&b"RF64"[..], (most + 1) * 2));
    assert_eq!(wav_size_bytes(&mono, &layout, most + 1), 80 + (most + 1) * 2);
    assert!(matches!(head(u64::MAX).unwrap_err(), WavError::Invalid(_)));
}

#[derive(Debug)]
struct HeaderOnly(Vec<u8>);

impl Write for HeaderOnly {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn hound_reads_what_we_write() {
    let samples: Vec<f32> = (0..999).map(|i| (i as f32 * 0.05).sin() * 0.9).collect();
    for (channels, depth) in [(1, BitDepth::Pcm16), (1, BitDepth::Pcm24), (2, BitDepth::Pcm16), (2, BitDepth::Pcm24)] {
        let samples = &samples[..998];
        for bytes in [known(spec(channels, depth), &tagged(), samples), seeked(spec(channels, depth), &tagged(), samples)] {
            let mut reader = hound::WavReader::new(&bytes[..]).unwrap();
            let read = reader.spec();
            assert_eq!((read.channels, read.sample_rate, read.bits_per_sample), (channels, 24_000, depth.bits()));
            let scale = f64::from(2u32.pow(u32::from(depth.bits()) - 1));
            let steps: Vec<i32> = reader.samples().map(Result::unwrap).collect();
            let expected: Vec<i32> = samples.iter().map(|&s| (f64::from(s) * scale).round() as i32).collect();
            assert_eq!(steps, expected);
        }
    }
}

#[test]
fn we_read_what_hound_writes() {
    for (bits, sample_format, encoding) in [
        (16, hound::SampleFormat::Int, WavEncoding::I16),
        (24, hound::SampleFormat::Int, WavEncoding::I24),
        (32, hound::SampleFormat::Float, WavEncoding::F32),
    ] {
        let mut bytes = Cursor::new(Vec::new());
        let spec = hound::WavSpec { channels: 2, sample_rate: 44_100, bits_per_sample: bits, sample_format };
        let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
        let samples: Vec<f32> = (0..200).map(|i| (i - 100) as f32 / 128.0).collect();
        for &s in &samples {
            match sample_format {
                hound::SampleFormat::Float => writer.write_sample(s).unwrap(),
                hound::SampleFormat::Int => writer.write_sample((s * 2f32.powi(i32::from(bits) - 1)) as i32).unwrap(),
            }
        }
        writer.finalize().unwrap();
        let bytes = bytes.into_inner();
        let reader = WavReader::new(&bytes[..]).unwrap();
        assert_eq!((reader.encoding(), reader.declared_frames()), (encoding, Some(100)));
        let (format, back) = read_all(&bytes).unwrap();
        assert_eq!(format, SampleFormat { rate_hz: 44_100, channels: 2 });
        assert_eq!(back, samples);
    }
}

#[test]
fn tags_are_written_and_read_back() {
    let bytes = known(spec(1, BitDepth::Pcm16), &tagged(), &[0.0; 4]);
    assert_eq!(WavReader::new(&bytes[..]).unwrap().tags(), &tagged().tags);
    let long = Tags { comment: Some("ü".repeat(5000)), title: Some(String::new()), ..Tags::default() };
    let bytes = known(spec(1, BitDepth::Pcm16), &WavLayout { tags: long, ..WavLayout::default() }, &[]);
    let tags = WavReader::new(&bytes[..]).unwrap().tags().clone();
    assert_eq!(tags, Tags { comment: Some("ü".repeat(2048)), ..Tags::default() });
}

#[test]
fn a_wrong_number_of_frames_is_an_error() {
    let start = |frames| WavWriter::with_length(Vec::new(), spec(2, BitDepth::Pcm16), WavLayout::default(), frames).unwrap();
    assert!(matches!(start(2).write(&[0.0; 5]).unwrap_err(), WavError::Invalid(_)));
    let mut short = start(2);
    short.write(&[0.0; 2]).unwrap();
    assert!(matches!(short.finish().unwrap_err(), WavError::Invalid(_)));
    let mut half = WavWriter::new(Cursor::new(Vec::new()), spec(2, BitDepth::Pcm16), WavLayout::default()).unwrap();
    half.write(&[0.0; 3]).unwrap();
    assert!(matches!(half.finish_seek().unwrap_err(), WavError::Invalid(_)));
    for broken in [WavSpec { channels: 3, ..spec(1, BitDepth::Pcm16) }, WavSpec { rate_hz: 0, ..spec(1, BitDepth::Pcm16) }] {
        assert!(matches!(WavWriter::with_length(Vec::new(), broken, WavLayout::default(), 0).unwrap_err(), WavError::Invalid(_)));
    }
}

#[test]
fn malformed_files_say_what_is_wrong() {
    let good = known(spec(1, BitDepth::Pcm16), &WavLayout::default(), &[0.5; 100]);
    let patched = |at: usize, patch: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + patch.len()].copy_from_slice(patch);
        bytes
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "ends inside the riff header"),
        (b"OggS00000000".to_vec(), "does not begin with RIFF"),
        (patched(8, b"AVI "), "not of type WAVE"),
        (good[..20].to_vec(), "ends inside the fmt chunk"),
        (good[..38].to_vec(), "ends inside a chunk header"),
        (good[..200].to_vec(), "truncated: 44 bytes of sound are missing"),
        (patched(16, &2000u32.to_le_bytes()), "fmt chunk of 2000 bytes"),
        (patched(16, &8u32.to_le_bytes()), "shorter than 16 bytes"),
        (patched(12, b"free"), "no fmt chunk"),
        (patched(24, &1u32.to_le_bytes()), "sample rate of 1 hz"),
        (patched(32, &[3]), "frames of 3 bytes"),
        (patched(40, &199u32.to_le_bytes()), "ends inside a frame"),
        (patched(40, &0xFFFF_FFFEu32.to_le_bytes()), "truncated: 4294967094 bytes"),
    ];
    for (bytes, expected) in cases {
        let error = read_all(&bytes).unwrap_err();
        assert!(matches!(error, WavError::Malformed(_)) && error.to_string().contains(expected), "{error} instead of {expected}");
    }
    for (at, patch) in [(20, [85u8, 0]), (22, [6, 0]), (34, [8, 0])] {
        assert!(matches!(read_all(&patched(at, &patch)).unwrap_err(), WavError::Unsupported(_)));
    }
}

#[test]
fn a_file_from_a_pipe_is_read_to_its_end() {
    let mut bytes = known(spec(2, BitDepth::Pcm16), &WavLayout::default(), &[0.5; 100]);
    bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    bytes[40..44].copy_from_slice(&u32::MAX.to_le_bytes());
    bytes.truncate(bytes.len() - 3);
    assert_eq!(read_all(&bytes).unwrap().1, [0.5; 98]);
}

#[test]
fn triangular_dither_is_repeatable_small_and_unbiased() {
    let samples = vec![0.3 / 32_768.0; 100_000];
    let write = |seed| {
        let writer = WavWriter::with_length(Vec::new(), spec(1, BitDepth::Pcm16), WavLayout::default(), 100_000).unwrap();
        let mut writer = writer.with_dither(Dither::Triangular(seed));
        writer.write(&samples).unwrap();
        writer.finish().unwrap()
    };
    assert_eq!(write(1), write(1));
    assert_ne!(write(1), write(2));
    let steps: Vec<f64> = read_all(&write(1)).unwrap().1.iter().map(|&s| f64::from(s) * 32_768.0).collect();
    let mean = steps.iter().sum::<f64>() / steps.len() as f64;
    assert!((mean - 0.3).abs() < 0.01, "without dither it would be 0, with it {mean}");
    assert!(steps.iter().all(|s| (-1.0..=2.0).contains(s)));
}
