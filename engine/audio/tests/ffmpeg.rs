//! Files from ffmpeg are read here, and files from here are read by ffmpeg. Skipped by name where ffmpeg is not installed.
#![allow(clippy::unwrap_used)]

mod sounds;

use std::io::{Cursor, Write};
use std::ops::ControlFlow;
use std::process::{Command, Stdio};

use audio::blocks::{MemoryBlocks, SampleBlocks, SampleFormat};
use audio::decode::{DecodeLimits, MediaDecoder};
use audio::encode::{EncodeConfig, Encoding, encode};
use audio::merge::{MergeChunk, MergeConfig, merge};
use audio::wav::{BitDepth, Tags};
use sounds::speech;

fn has_ffmpeg(test: &str) -> bool {
    if Command::new("ffmpeg").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success()) {
        return true;
    }
    #[allow(clippy::disallowed_methods, reason = "the switch is for the test run, no configuration of the program")]
    let required = std::env::var("CLONYVOICE_TESTS_REQUIRE_TOOLS").is_ok_and(|value| value == "1");
    assert!(!required, "{test} needs ffmpeg, and CLONYVOICE_TESTS_REQUIRE_TOOLS=1 allows no skip");
    eprintln!("SKIPPED {test}: ffmpeg is not installed");
    false
}

/// Runs a program with `input` on its standard input and returns both outputs.
fn run(program: &str, args: &[&str], input: &[u8]) -> (Vec<u8>, String) {
    let mut child = Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // It may close its input when it has seen enough.
        scope.spawn(move || stdin.write_all(input).is_ok());
        child.wait_with_output().unwrap()
    });
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {said}");
    (output.stdout, said)
}

fn wav(samples: &[f32], rate_hz: u32, channels: u16) -> Vec<u8> {
    ours(samples, SampleFormat { rate_hz, channels }, Encoding::Wav(BitDepth::Pcm24))
}

fn ours(samples: &[f32], format: SampleFormat, encoding: Encoding) -> Vec<u8> {
    let tags = Tags { title: Some("Die Möwe".to_owned()), comment: Some("synthetic speech".to_owned()), ..Tags::default() };
    let config = EncodeConfig { encoding, sample_rate_hz: None, tags };
    let source = Box::new(MemoryBlocks::new(samples.to_vec(), format));
    encode(source, &config, Cursor::new(Vec::new()), &mut |_| ControlFlow::Continue(())).unwrap().0.into_inner()
}

/// The best likeness of the first half second of `b` to that of `a` when one is moved by up to `most` frames; and that move.
fn likeness(a: &[f32], b: &[f32], most: usize) -> (f64, i64) {
    let score = |a: &[f32], b: &[f32]| {
        let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
        // Half a second tells, and all of it for every move would take long.
        let len = a.len().min(b.len()).min(12_000);
        dot(a, b) / (dot(&a[..len], &a[..len]) * dot(&b[..len], &b[..len])).sqrt().max(1e-9)
    };
    let late = (0..most).map(|lag| (score(a, &b[lag.min(b.len())..]), lag as i64));
    let early = (1..most).map(|lag| (score(&a[lag.min(a.len())..], b), -(lag as i64)));
    late.chain(early).fold((-1.0, 0), |best, next| if next.0 > best.0 { next } else { best })
}

fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("clonyvoice-audio-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn files_of_others_are_read() {
    if !has_ffmpeg("files_of_others_are_read") {
        return;
    }
    let folder = folder("read");
    let sound = speech(2, 1_500);
    let source = wav(&sound, 24_000, 1);
    // Encoder's arguments, extension, codec as we call it, likeness, frames that the codec may add at the front.
    let cases: [(&str, &str, &str, f64, usize); 17] = [
        ("-c:a pcm_u8", "wav", "pcm_u8", 0.95, 0),
        ("-c:a pcm_f32le", "wav", "pcm_f32le", 0.999, 0),
        ("-c:a pcm_mulaw", "wav", "pcm_mulaw", 0.95, 0),
        ("-c:a adpcm_ms", "wav", "adpcm_ms", 0.95, 1_000),
        ("-c:a pcm_s24be", "aiff", "pcm_s24be", 0.999, 0),
        ("-c:a alac", "caf", "alac", 0.999, 0),
        ("-c:a flac", "flac", "flac", 0.999, 0),
        ("-c:a flac", "mkv", "flac", 0.999, 0),
        ("-c:a libmp3lame -b:a 64k", "mp3", "mp3", 0.98, 0),
        ("-c:a mp2 -b:a 96k", "mp2", "mp2", 0.98, 1_200),
        ("-c:a libvorbis -q:a 4", "ogg", "vorbis", 0.95, 0),
        ("-c:a libopus -b:a 48k", "opus", "opus", 0.95, 0),
        ("-c:a libopus -b:a 48k", "webm", "opus", 0.95, 960),
        ("-c:a libopus -b:a 48k", "mp4", "opus", 0.95, 960),
        ("-c:a aac -b:a 64k", "m4a", "aac", 0.95, 2_200),
        ("-c:a aac -b:a 64k", "aac", "aac", 0.95, 2_200),
        ("-c:a alac", "m4a", "alac", 0.999, 0),
    ];
    for (args, extension, codec, least, delay) in cases {
        let path = folder.join(format!("a.{extension}"));
        let mut all = vec!["-y", "-v", "error", "-i", "pipe:0"];
        all.extend(args.split(' '));
        all.push(path.to_str().unwrap());
        run("ffmpeg", &all, &source);
        let mut decoder = MediaDecoder::open(Box::new(std::fs::File::open(&path).unwrap()), DecodeLimits::default())
            .unwrap_or_else(|e| panic!("{args} in {extension}: {e}"));
        let media = decoder.media().clone();
        assert_eq!((media.codec.as_str(), media.channels), (codec, 1), "{args} in {extension}");
        let step = (media.rate_hz / 24_000) as usize;
        assert_eq!(media.rate_hz as usize, 24_000 * step, "{args} in {extension}");
        let mut samples = Vec::new();
        let mut block = vec![0.0; 4_096];
        loop {
            let n = decoder.read(&mut block).unwrap();
            if n == 0 {
                break;
            }
            samples.extend_from_slice(&block[..n]);
        }
        assert_eq!(decoder.damaged_packets(), 0, "{args} in {extension}");
        let samples: Vec<f32> = samples.iter().step_by(step).copied().collect();
        let more = samples.len() as i64 - sound.len() as i64;
        let allowed = if delay == 0 { 0..=0 } else { -64..=delay as i64 + 1_100 };
        assert!(allowed.contains(&more), "{args} in {extension}: {more} frames too many");
        let (same, lag) = likeness(&sound, &samples, delay + 1);
        assert!(same > least, "{args} in {extension}: likeness {same} at a lag of {lag}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn others_read_our_files() {
    if !has_ffmpeg("others_read_our_files") {
        return;
    }
    // A file and no pipe: of MP3 in a pipe ffmpeg says that it is broken, of its own too.
    let folder = folder("write");
    let path = folder.join("ours");
    let path = path.to_str().unwrap();
    let mono = speech(4, 1_200);
    let stereo: Vec<f32> = mono.iter().flat_map(|&s| [s, -0.5 * s]).collect();
    for (encoding, name) in [
        (Encoding::Wav(BitDepth::Pcm16), "wav"),
        (Encoding::Wav(BitDepth::Pcm24), "wav"),
        (Encoding::Flac(BitDepth::Pcm16), "flac"),
        (Encoding::Flac(BitDepth::Pcm24), "flac"),
        (Encoding::Opus { bitrate_bps: 64_000 }, "ogg"),
        (Encoding::Mp3 { bitrate_kbps: 96 }, "mp3"),
    ] {
        if matches!(encoding, Encoding::Mp3 { .. }) && !cfg!(feature = "mp3") {
            continue;
        }
        for (samples, channels) in [(&mono, 1u16), (&stereo, 2)] {
            std::fs::write(path, ours(samples, SampleFormat { rate_hz: 24_000, channels }, encoding)).unwrap();
            // -xerror: any complaint of the decoder is a failure, a wrong checksum of FLAC included.
            let args = [
                "-v",
                "warning",
                "-guess_layout_max",
                "0",
                "-xerror",
                "-err_detect",
                "explode",
                "-f",
                name,
                "-i",
                path,
                "-f",
                "f32le",
                "-",
            ];
            let (raw, said) = run("ffmpeg", &args, &[]);
            assert!(said.is_empty(), "{encoding:?}: {said}");
            let got: Vec<f32> = raw.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            let step = if matches!(encoding, Encoding::Opus { .. }) { 2 } else { 1 };
            let got: Vec<f32> = got.chunks_exact(usize::from(channels)).step_by(step).flat_map(|f| f.iter().copied()).collect();
            assert_eq!(got.len(), samples.len(), "{encoding:?}, {channels} channels");
            let (same, _) = likeness(samples, &got, 1);
            assert!(same > 0.98, "{encoding:?}, {channels} channels: {same}");
            let (tags, _) = run("ffprobe", &["-v", "error", "-show_entries", "format_tags:stream_tags", "-f", name, path], &[]);
            let tags = String::from_utf8(tags).unwrap().to_lowercase();
            assert!(tags.contains("title=die möwe") && tags.contains("=synthetic speech"), "{encoding:?}: {tags}");
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn others_measure_what_the_merge_reports() {
    if !has_ffmpeg("others_measure_what_the_merge_reports") {
        return;
    }
    let format = SampleFormat { rate_hz: 24_000, channels: 1 };
    let mut open =
        |i: usize| -> std::io::Result<Box<dyn SampleBlocks>> { Ok(Box::new(MemoryBlocks::new(speech(i as u64, 4_000), format))) };
    let config = MergeConfig { sample_rate_hz: 48_000, gap_ms: 300, ..MergeConfig::default() };
    let (bytes, report) = merge(&[MergeChunk::default(); 3], &mut open, &config, Vec::new(), &mut |_| ControlFlow::Continue(())).unwrap();
    let (_, said) = run("ffmpeg", &["-nostats", "-i", "pipe:0", "-af", "ebur128=peak=true", "-f", "null", "-"], &bytes);
    let summary = said.rsplit_once("Summary:").unwrap().1;
    let number = |label: &str| summary.split_once(label).unwrap().1.split_whitespace().next().unwrap().parse::<f64>().unwrap();
    let (lufs, peak) = (number("I:"), number("Peak:"));
    assert!((lufs - report.loudness.integrated_lufs.unwrap()).abs() <= 0.2 && (lufs + 16.0).abs() <= 0.3, "{lufs} LUFS: {report:?}");
    assert!((peak - report.loudness.true_peak_db.unwrap()).abs() <= 0.2 && peak <= -1.0 + 0.05, "{peak} dB: {report:?}");
}
