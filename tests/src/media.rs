//! Files of sound and pictures for the tests, made here or by ffmpeg.

use std::io::Cursor;
use std::path::Path;
use std::process::{Command, Stdio};

/// A sine of 440 Hz as 16-bit WAV.
pub fn tone_wav(rate_hz: u32, channels: u16, ms: u32) -> Vec<u8> {
    let spec = hound::WavSpec { channels, sample_rate: rate_hz, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut bytes = Vec::new();
    let mut writer = hound::WavWriter::new(Cursor::new(&mut bytes), spec).unwrap();
    for frame in 0..rate_hz / 1_000 * ms + rate_hz % 1_000 * ms / 1_000 {
        let value = (f64::from(frame) * 440.0 * std::f64::consts::TAU / f64::from(rate_hz)).sin();
        for channel in 0..channels {
            writer.write_sample((value * 8_000.0 / f64::from(channel + 1)) as i16).unwrap();
        }
    }
    writer.finalize().unwrap();
    bytes
}

/// The samples of a 16-bit WAV file.
pub fn samples(wav: &[u8]) -> Vec<i16> {
    hound::WavReader::new(Cursor::new(wav)).unwrap().into_samples::<i16>().map(Result::unwrap).collect()
}

/// What ffmpeg makes of these arguments, as a file with this ending.
///
/// # Panics
/// With what it says, when it fails.
pub fn made_by_ffmpeg(arguments: &[&str], ending: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join(format!("made.{ending}"));
    let output =
        Command::new("ffmpeg").args(["-nostdin", "-v", "error", "-y"]).args(arguments).arg(&target).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "ffmpeg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(target).unwrap()
}

/// How many files are in a folder and those in it.
pub fn files_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| if entry.file_type().unwrap().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}

/// The middle pixel of a film at a time, as red, green and blue.
pub fn pixel(film: &Path, at: &str) -> [u8; 3] {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-ss", at, "-i"])
        .arg(film)
        .args(["-frames:v", "1", "-vf", "crop=2:2", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout[..3].try_into().unwrap()
}

/// What ffprobe, which shares no code with us, finds in a file.
pub fn ffprobe(file: &Path) -> serde_json::Value {
    let arguments = ["-v", "error", "-show_streams", "-show_format", "-of", "json"];
    let output = Command::new("ffprobe").args(arguments).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
