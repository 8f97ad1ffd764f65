//! `make bench-mix`: joining and mixing beside ffmpeg's `concat` and `amix`, each as a process of its own, in turns, in one run. It prints
//! medians and their ratio, and judges nothing. `measured` is the mix with its loudness and true peak on both sides.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "measuring time is what this is for")]

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use audio::blocks::{SampleBlocks, SampleFormat};
use audio::merge::{MergeChunk, MergeConfig, merge};
use audio::mix::{Clip, Mix, MixTrack, Mixer};
use audio::wav::{BitDepth, WavLayout, WavReader, WavSpec, WavWriter};

const ROUNDS: usize = 7;
/// Chunks of speech, as a long text has them.
const PIECES: usize = 200;
const PIECE: SampleFormat = SampleFormat { rate_hz: 24_000, channels: 1 };
const PIECE_FRAMES: usize = 72_000;
/// Tracks of a timeline.
const TRACKS: usize = 8;
const TRACK: SampleFormat = SampleFormat { rate_hz: 48_000, channels: 2 };
const TRACK_FRAMES: usize = 120 * 48_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("concat") => concat(Path::new(&arguments[2])),
        Some("amix") => amix(Path::new(&arguments[2])),
        Some("measured") => measured(Path::new(&arguments[2])),
        _ => compare(),
    }
}

fn piece(folder: &Path, i: usize) -> PathBuf {
    folder.join(format!("piece-{i}.wav"))
}

fn track(folder: &Path, i: usize) -> PathBuf {
    folder.join(format!("track-{i}.wav"))
}

fn write_noise(path: &Path, format: SampleFormat, frames: usize, mut seed: u32) {
    let spec = WavSpec { rate_hz: format.rate_hz, channels: format.channels, depth: BitDepth::Pcm16 };
    let mut writer = WavWriter::new(BufWriter::new(File::create(path).unwrap()), spec, WavLayout::default()).unwrap();
    let samples = (0..frames * usize::from(format.channels)).map(|_| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((seed >> 8) as f32 / (1 << 24) as f32 - 0.5) * 0.1
    });
    writer.write(&samples.collect::<Vec<f32>>()).unwrap();
    writer.finish_seek().unwrap();
}

fn open(path: &Path) -> io::Result<Box<dyn SampleBlocks>> {
    let file = BufReader::with_capacity(256 * 1024, File::open(path)?);
    Ok(Box::new(WavReader::new(file).map_err(io::Error::other)?))
}

/// Joins without measuring or limiting, as ffmpeg does.
fn plain(rate_hz: u32) -> MergeConfig {
    MergeConfig { trim_silence: None, normalize: None, gap_ms: 0, crossfade_ms: 0, sample_rate_hz: rate_hz, ..MergeConfig::default() }
}

fn concat(folder: &Path) {
    let mut source = |i: usize| open(&piece(folder, i));
    let target = BufWriter::with_capacity(256 * 1024, File::create(folder.join("ours.wav")).unwrap());
    merge(&[MergeChunk::default(); PIECES], &mut source, &plain(PIECE.rate_hz), target, &mut |_| ControlFlow::Continue(())).unwrap();
}

fn mixer(folder: &Path) -> io::Result<Mixer> {
    let clips = (0..TRACKS).map(|i| Clip::new(i, i, 0, TRACK_FRAMES as u64)).collect();
    let mix = Mix { format: TRACK, tracks: vec![MixTrack::default(); TRACKS], clips, range: None };
    let folder = folder.to_owned();
    Mixer::new(mix, Box::new(move |i| open(&track(&folder, i)))).map_err(io::Error::other)
}

/// The mix alone.
fn amix(folder: &Path) {
    let spec = WavSpec { rate_hz: TRACK.rate_hz, channels: TRACK.channels, depth: BitDepth::Pcm16 };
    let target = BufWriter::with_capacity(256 * 1024, File::create(folder.join("ours.wav")).unwrap());
    let mut writer = WavWriter::new(target, spec, WavLayout::default()).unwrap();
    let (mut mixer, mut block) = (mixer(folder).unwrap(), vec![0.0; 16 * 1024]);
    loop {
        let read = mixer.read(&mut block).unwrap();
        if read == 0 {
            break;
        }
        writer.write(&block[..read]).unwrap();
    }
    writer.finish_seek().unwrap();
}

/// The mix with its loudness and true peak measured.
fn measured(folder: &Path) {
    let mut source = |_: usize| -> io::Result<Box<dyn SampleBlocks>> { Ok(Box::new(mixer(folder)?)) };
    let target = BufWriter::with_capacity(256 * 1024, File::create(folder.join("ours.wav")).unwrap());
    merge(&[MergeChunk::default()], &mut source, &plain(TRACK.rate_hz), target, &mut |_| ControlFlow::Continue(())).unwrap();
}

fn timed(command: &mut Command) -> Duration {
    let started = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}");
    started.elapsed()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn compare() {
    let folder = std::env::temp_dir().join(format!("clonyvoice-bench-mix-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let list: String = (0..PIECES).map(|i| format!("file '{}'\n", piece(&folder, i).display())).collect();
    std::fs::write(folder.join("list.txt"), list).unwrap();
    (0..PIECES).for_each(|i| write_noise(&piece(&folder, i), PIECE, PIECE_FRAMES, i as u32));
    (0..TRACKS).for_each(|i| write_noise(&track(&folder, i), TRACK, TRACK_FRAMES, i as u32));
    let text = |path: PathBuf| path.display().to_string();
    let theirs = text(folder.join("theirs.wav"));
    let concat = ["-f", "concat", "-safe", "0", "-i"].map(str::to_owned).into_iter().chain([text(folder.join("list.txt"))]).collect();
    let inputs = (0..TRACKS).flat_map(|i| ["-i".to_owned(), text(track(&folder, i))]);
    let filter = |then: &str| ["-filter_complex".to_owned(), format!("amix=inputs={TRACKS}:normalize=0{then}")];
    let amix: Vec<String> = inputs.clone().chain(filter("")).collect();
    let measured = inputs.chain(filter(",ebur128=peak=true:framelog=verbose")).collect();
    for (name, arguments) in [("concat", concat), ("amix", amix), ("measured", measured)] as [(&str, Vec<String>); 3] {
        let (mut ours, mut others) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(timed(Command::new(std::env::current_exe().unwrap()).arg(name).arg(&folder)));
            let mut ffmpeg = Command::new("ffmpeg");
            others.push(timed(ffmpeg.args(["-v", "error", "-nostats", "-y"]).args(&arguments).args(["-c:a", "pcm_s16le", &theirs])));
        }
        let (ours, others) = (median(ours), median(others));
        println!("{name:<8} ours {ours:>7.1} ms   ffmpeg {others:>7.1} ms   {:.2} times as fast", others / ours);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
