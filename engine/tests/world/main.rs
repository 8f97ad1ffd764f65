//! Our WORLD against the reference implementation, on sounds whose analysis by it is kept beside this file (golden.py made them), and
//! speech taken apart and put together against itself.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::BufReader;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use audio::blocks::SampleBlocks as _;
use audio::measure::{ltas_db, ltas_distance_db, mean_mfcc, median_f0_hz, mfcc_distance, semitones};
use engine::world::{Analysis, Frame, WorldConfig, synthesise};

const SOUNDS: [&str; 3] = ["woman", "man", "machine"];

#[derive(serde::Deserialize)]
struct Golden {
    rate_hz: u32,
    f0_hz: Vec<f64>,
    /// Tenths of a dB, every 16th bin of every 8th frame.
    envelope_db10: Vec<Vec<i32>>,
    /// Thousandths, likewise.
    aperiodicity_1000: Vec<Vec<i32>>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/world")
}

fn golden(name: &str) -> (Golden, Vec<f32>) {
    let golden: Golden = serde_json::from_reader(BufReader::new(File::open(folder().join(format!("{name}.json"))).unwrap())).unwrap();
    let mut wav = audio::wav::WavReader::new(BufReader::new(File::open(folder().join(format!("{name}.wav"))).unwrap())).unwrap();
    let mut samples = Vec::new();
    let mut block = vec![0.0; 4096];
    loop {
        let got = wav.read(&mut block).unwrap();
        if got == 0 {
            return (golden, samples);
        }
        samples.extend_from_slice(&block[..got]);
    }
}

fn go_on() -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    sum / count.max(1) as f64
}

fn percentile(mut values: Vec<f64>, percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) * percent / 100]
}

#[test]
fn pitch_envelope_and_aperiodicity_are_the_references() {
    for name in SOUNDS {
        let (golden, samples) = golden(name);
        let mut analysis = Analysis::new(WorldConfig::new(golden.rate_hz), &samples, &mut go_on).unwrap();
        let f0_hz = analysis.f0_hz().to_vec();
        assert!(f0_hz.len().abs_diff(golden.f0_hz.len()) <= 1);
        let pairs = || f0_hz.iter().copied().zip(golden.f0_hz.iter().copied());
        let only_ours = pairs().filter(|(ours, theirs)| *ours > 0.0 && *theirs == 0.0).count();
        let only_theirs = pairs().filter(|(ours, theirs)| *ours == 0.0 && *theirs > 0.0).count();
        eprintln!("{name}: of {} frames, {only_ours} are voiced for us alone, {only_theirs} for the reference alone", f0_hz.len());
        let agreed = pairs().filter(|(ours, theirs)| (*ours > 0.0) == (*theirs > 0.0)).count() as f64 / f0_hz.len() as f64;
        let cents: Vec<f64> = pairs().filter(|(a, b)| *a > 0.0 && *b > 0.0).map(|(a, b)| 1200.0 * (a / b).log2().abs()).collect();
        let gross = cents.iter().filter(|c| **c > 100.0).count() as f64 / cents.len() as f64;
        let (middle, most) = (percentile(cents.clone(), 50), percentile(cents, 90));

        let (mut voiced_db, mut unvoiced_db, mut noise) = (Vec::new(), Vec::new(), Vec::new());
        let mut frame = Frame::default();
        for (row, (envelope, aperiodicity)) in golden.envelope_db10.iter().zip(&golden.aperiodicity_1000).enumerate() {
            let number = row * 8;
            let (Some(&ours), theirs) = (f0_hz.get(number), golden.f0_hz[number]) else { continue };
            if (ours > 0.0) != (theirs > 0.0) || (ours > 0.0 && (ours / theirs - 1.0).abs() > 0.03) {
                continue;
            }
            analysis.frame(number, &mut frame);
            // Silence is noise of the number format.
            let audible = |db10: i32| db10 > -700;
            let differences = envelope.iter().zip(frame.envelope.iter().step_by(16)).filter(|(theirs, _)| audible(**theirs));
            let here = differences.map(|(theirs, ours)| (f64::from(*theirs) / 10.0 - 10.0 * ours.log10()).abs());
            if ours > 0.0 {
                voiced_db.extend(here)
            } else {
                unvoiced_db.extend(here)
            }
            if ours > 0.0 {
                let pairs = aperiodicity.iter().zip(frame.aperiodicity.iter().step_by(16));
                // Where its own test of the energies finds no voice, the reference answers 1 everywhere; ours is not as strict.
                let pairs = pairs.filter(|_| aperiodicity[0] < 999);
                noise.extend(pairs.map(|(theirs, ours)| (f64::from(*theirs) / 1000.0 - ours).abs()));
            }
        }
        let (voiced_mean, unvoiced_mean, noise_mean) =
            (mean(voiced_db.iter().copied()), mean(unvoiced_db.iter().copied()), mean(noise.iter().copied()));
        eprintln!(
            "{name}: voicing agrees in {:.1} %, pitch median {middle:.1} cents, 90 % within {most:.1}, gross {:.1} %; envelope off by {voiced_mean:.2} dB (90 %: {:.2}) voiced, {unvoiced_mean:.2} dB unvoiced; aperiodicity by {noise_mean:.3}",
            agreed * 100.0,
            gross * 100.0,
            percentile(voiced_db, 90),
        );
        // We take no voice for granted that the reference does not hear.
        assert!(only_ours * 50 <= f0_hz.len() && agreed > 0.65);
        assert!(middle < 1.0 && most < 10.0 && gross < 0.02);
        assert!(voiced_mean < 0.2 && unvoiced_mean < 0.2 && noise_mean < 0.03);
    }
}

/// Speech taken apart and put together again.
fn copy(rate_hz: u32, samples: &[f32]) -> Vec<f32> {
    let config = WorldConfig::new(rate_hz);
    let mut analysis = Analysis::new(config, samples, &mut go_on).unwrap();
    let f0_hz = analysis.f0_hz().to_vec();
    let copied = synthesise(&config, &f0_hz, samples.len(), &mut |number, frame| analysis.frame(number, frame), &mut go_on);
    copied.unwrap()
}

#[test]
fn speech_put_together_again_is_the_same_voice() {
    for name in SOUNDS {
        let (golden, samples) = golden(name);
        let rate_hz = golden.rate_hz;
        let copied = copy(rate_hz, &samples);
        assert_eq!(copied.len(), samples.len());
        let pitch = semitones(median_f0_hz(&copied, rate_hz).unwrap(), median_f0_hz(&samples, rate_hz).unwrap());
        let timbre = mfcc_distance(&mean_mfcc(&copied, rate_hz).unwrap(), &mean_mfcc(&samples, rate_hz).unwrap());
        let spectrum_db = ltas_distance_db(&ltas_db(&copied, rate_hz).unwrap(), &ltas_db(&samples, rate_hz).unwrap());
        let level = |samples: &[f32]| 10.0 * mean(samples.iter().map(|s| f64::from(s * s))).log10();
        let louder_db = level(&copied) - level(&samples);
        eprintln!("{name}: {pitch:+.2} semitones, MFCC {timbre:.2}, spectrum {spectrum_db:.2} dB, level {louder_db:+.2} dB");
        // The reference's own copies are 0.6 to 1.3 dB louder, too.
        assert!(pitch.abs() < 0.5 && timbre < 2.3 && spectrum_db < 1.5 && (-0.5..2.0).contains(&louder_db));
        assert!(copy(rate_hz, &samples) == copied, "{name} is another one the second time");
    }
}

#[test]
fn silence_and_scraps_are_taken() {
    for samples in [vec![], vec![0.3], vec![0.0; 12_000], vec![1.0; 300], vec![f32::MIN_POSITIVE; 5_000]] {
        let copied = copy(24_000, &samples);
        assert_eq!(copied.len(), samples.len());
        assert!(copied.iter().all(|sample| sample.is_finite() && sample.abs() < 2.0));
    }
}

#[test]
fn work_stops_when_it_is_asked_to() {
    let (golden, samples) = golden("man");
    let stop_after = |mut questions: usize| {
        move || {
            questions = questions.saturating_sub(1);
            if questions == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    };
    let config = WorldConfig::new(golden.rate_hz);
    assert!(Analysis::new(config, &samples, &mut stop_after(1)).is_none());
    assert!(Analysis::new(config, &samples, &mut stop_after(10)).is_none());
    let frame = Frame { f0_hz: 0.0, envelope: vec![1e-6; config.bins()], aperiodicity: vec![1.0; config.bins()] };
    let made = synthesise(&config, &[0.0; 200], 24_000, &mut |_, into| into.clone_from(&frame), &mut stop_after(3));
    assert!(made.is_none());
}

/// Prints the cost of each part; nothing hangs on it.
#[test]
fn speed() {
    let (golden, samples) = golden("woman");
    let long = samples.repeat(12);
    let seconds = long.len() as f64 / f64::from(golden.rate_hz);
    let config = WorldConfig::new(golden.rate_hz);
    #[allow(clippy::disallowed_methods, reason = "a figure to read, nothing hangs on it")]
    let started = std::time::Instant::now();
    let mut analysis = Analysis::new(config, &long, &mut go_on).unwrap();
    let pitch = started.elapsed().as_secs_f64();
    let f0_hz = analysis.f0_hz().to_vec();
    let mut frames = vec![Frame::default(); f0_hz.len()];
    for (number, frame) in frames.iter_mut().enumerate() {
        analysis.frame(number, frame);
    }
    let taken_apart = started.elapsed().as_secs_f64();
    synthesise(&config, &f0_hz, long.len(), &mut |number, frame| frame.clone_from(&frames[number]), &mut go_on).unwrap();
    let made = started.elapsed().as_secs_f64() - taken_apart;
    eprintln!(
        "{seconds:.1} s: pitch {pitch:.2} s, frames {:.2} s, speech {made:.2} s: {:.3} of real time",
        taken_apart - pitch,
        (taken_apart + made) / seconds
    );
}
