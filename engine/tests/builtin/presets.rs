//! Presets: each sounds as its description says, and no two sound alike.

use audio::measure::{MFCC_LEN, mean_mfcc, median_f0_hz, mfcc_distance, semitones};
use engine::builtin::{Gender, Preset, presets};
use engine::speech::SAMPLE_RATE_HZ;

use super::installed::{Installed, installed, request, seconds, speak};

/// Holds every vowel of English and voiced stretches long enough to measure.
const SENTENCE: &str = "The quick brown fox jumps over the lazy dog near the river bank. Then it rests, because the day was long and warm.";

/// What makes two voices different people.
const FAR_SEMITONES: f32 = 2.0;
const FAR_MFCC: f32 = 3.0;

struct Heard {
    preset: &'static Preset,
    /// Both `None` where there is no pitch to hear: a whisper.
    f0_hz: Option<f32>,
    mfcc: Option<[f32; MFCC_LEN]>,
    seconds: f64,
    level_db: f32,
    peak: f32,
}

fn hear(installed: &Installed) -> Vec<Heard> {
    let mut engine = installed.engine();
    presets()
        .iter()
        .map(|preset| {
            let speech = speak(&mut engine, &request(SENTENCE, "en-US", &preset.voice)).unwrap();
            let mean_square = speech.samples.iter().map(|s| s * s).sum::<f32>() / speech.samples.len() as f32;
            Heard {
                preset,
                f0_hz: median_f0_hz(&speech.samples, SAMPLE_RATE_HZ),
                mfcc: mean_mfcc(&speech.samples, SAMPLE_RATE_HZ),
                seconds: seconds(&speech),
                level_db: 10.0 * mean_square.log10(),
                peak: speech.samples.iter().fold(0.0, |peak, s| peak.max(s.abs())),
            }
        })
        .collect()
}

/// Semitones and MFCC distance; `None` between a whisper and a voice, which nobody takes for one another.
fn between(a: &Heard, b: &Heard) -> Option<(f32, f32)> {
    match ((a.f0_hz, &a.mfcc), (b.f0_hz, &b.mfcc)) {
        ((Some(a_hz), Some(a)), (Some(b_hz), Some(b))) => Some((semitones(a_hz, b_hz).abs(), mfcc_distance(a, b))),
        ((None, None), (None, None)) => Some((0.0, 0.0)),
        _ => None,
    }
}

#[test]
fn no_two_presets_sound_alike() {
    let Some(installed) = installed("no_two_presets_sound_alike") else { return };
    let heard = hear(&installed);
    for voice in &heard {
        let f0 = voice.f0_hz.map_or_else(|| "   none".to_owned(), |hz| format!("{hz:7.1}"));
        eprintln!("{:10} F0 {f0} Hz {:6.2} s {:6.1} dB peak {:.2}", voice.preset.id, voice.seconds, voice.level_db, voice.peak);
    }
    let mut pairs: Vec<(f32, String)> = Vec::new();
    for (index, a) in heard.iter().enumerate() {
        for b in &heard[index + 1..] {
            let Some((pitch, timbre)) = between(a, b) else { continue };
            // 1 is just far enough, by pitch or by timbre, whichever is further.
            let apart = (pitch / FAR_SEMITONES).max(timbre / FAR_MFCC);
            pairs.push((apart, format!("{} and {}: {pitch:.2} semitones, MFCC {timbre:.2}", a.preset.id, b.preset.id)));
        }
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (apart, pair) in pairs.iter().take(8) {
        eprintln!("{apart:.2} apart: {pair}");
    }
    assert!(heard.len() >= 14);
    assert!(pairs[0].0 >= 1.0, "{}", pairs[0].1);
}

#[test]
fn each_preset_is_what_it_is_called() {
    let Some(installed) = installed("each_preset_is_what_it_is_called") else { return };
    for voice in hear(&installed) {
        let Preset { id, tags, gender, .. } = voice.preset;
        let has = |tag: &str| tags.contains(&tag);
        let quiet = has("whisper") || has("hushed");
        let level_db = if quiet { -29.0..-23.0 } else { -24.5..-20.0 };
        assert!(level_db.contains(&voice.level_db) && voice.peak < 1.0, "{id}: {} dB, peak {}", voice.level_db, voice.peak);
        let pitch_hz = match (has("whisper"), has("child"), gender) {
            (true, ..) => {
                assert_eq!(voice.f0_hz, None, "{id} has a voice");
                continue;
            }
            (_, true, _) => 250.0..450.0,
            (.., Gender::Male) => 55.0..180.0,
            (.., Gender::Female) => 160.0..330.0,
            (.., Gender::Neutral) => 55.0..330.0,
        };
        let f0_hz = voice.f0_hz.unwrap();
        assert!(pitch_hz.contains(&f0_hz), "{id}: {f0_hz} Hz");
    }
}

#[test]
fn ids_are_slugs_and_every_number_is_in_range() {
    let mut ids: Vec<&str> = presets().iter().map(|preset| preset.id).collect();
    for preset in presets() {
        assert_eq!(preset.voice.check(), Ok(()), "{}", preset.id);
        assert!(preset.id.bytes().all(|byte| byte.is_ascii_lowercase()), "{}", preset.id);
        assert_eq!(engine::builtin::preset(preset.id), Some(preset));
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), presets().len());
    assert_eq!(engine::builtin::preset("nobody"), None);
}

#[test]
fn every_preset_speaks_every_kind_of_language() {
    let Some(installed) = installed("every_preset_speaks_every_kind_of_language") else { return };
    let mut engine = installed.engine();
    for preset in presets() {
        for (language, text) in [("zh", "你好世界"), ("ja", "こんにちは"), ("ar", "مرحبا"), ("de", "Guten Tag"), (preset.language, "1 2 3")]
        {
            let speech = speak(&mut engine, &request(text, language, &preset.voice)).unwrap();
            let mean_square = speech.samples.iter().map(|s| s * s).sum::<f32>() / speech.samples.len() as f32;
            assert!(10.0 * mean_square.log10() > -36.0, "{} is silent in {language}", preset.id);
        }
    }
}
