//! Designed voices as they are heard: each word moves what is measured in the direction that it names, and a stronger word further.

use audio::measure::{ltas_db, mean_mfcc, median_f0_hz, mfcc_distance};
use engine::builtin::{BuiltinEngine, BuiltinVoice};
use engine::design::{DesignRequest, design};
use engine::speech::{SAMPLE_RATE_HZ, VoiceProfile};

use super::installed::{installed, request, seconds, speak};

const SENTENCE: &str = "The quick brown fox jumps over the lazy dog near the river bank, because the day is long and warm.";

fn voice(description: &str, variant: u32) -> BuiltinVoice {
    match design(DesignRequest { description, seed: 5, variant }).unwrap().profile {
        VoiceProfile::Builtin(voice) => voice,
        VoiceProfile::Converted(_) | VoiceProfile::Neural(_) => panic!("a designed voice is no clone"),
    }
}

struct Heard {
    f0_hz: f32,
    seconds: f64,
    /// Of the bands above 2 kHz against those below, in dB.
    brightness_db: f32,
    samples: Vec<f32>,
}

fn hear(engine: &mut BuiltinEngine, voice: &BuiltinVoice) -> Heard {
    let speech = speak(engine, &request(SENTENCE, "en-US", voice)).unwrap();
    let spectrum = ltas_db(&speech.samples, SAMPLE_RATE_HZ).unwrap();
    let mean = |bands: &[f32]| bands.iter().sum::<f32>() / bands.len() as f32;
    Heard {
        f0_hz: median_f0_hz(&speech.samples, SAMPLE_RATE_HZ).unwrap(),
        seconds: seconds(&speech),
        brightness_db: mean(&spectrum[13..]) - mean(&spectrum[..13]),
        samples: speech.samples,
    }
}

#[test]
fn pitch_tempo_and_brightness_follow_the_words() {
    let Some(installed) = installed("pitch_tempo_and_brightness_follow_the_words") else { return };
    let mut engine = installed.engine();
    let mut rising = |descriptions: &[&str], what: &str, value: fn(&Heard) -> f64| {
        let heard: Vec<f64> = descriptions.iter().map(|description| value(&hear(&mut engine, &voice(description, 0)))).collect();
        eprintln!("{what}: {}", descriptions.iter().zip(&heard).map(|(d, v)| format!("{d} {v:.1}")).collect::<Vec<_>>().join(", "));
        assert!(heard.is_sorted_by(|a, b| a < b), "{what}: {heard:?}");
    };
    let f0 = |heard: &Heard| f64::from(heard.f0_hz);
    rising(&["very deep man", "deep man", "man", "high man", "very high man"], "F0 in Hz", f0);
    rising(&["very deep woman", "deep woman", "slightly deep woman", "woman", "slightly high woman", "high woman"], "F0 in Hz", f0);
    rising(&["big man", "man", "young man", "woman", "young woman", "girl"], "F0 in Hz", f0);
    rising(&["very slow man", "slow man", "calm man", "man", "energetic man", "fast man", "very fast man"], "words", |heard| {
        1.0 / heard.seconds * 100.0
    });
    rising(&["very dark man", "dark man", "man", "bright man", "very bright man"], "brightness in dB", |heard| {
        f64::from(heard.brightness_db)
    });
}

#[test]
fn variants_of_a_description_are_heard_apart() {
    let Some(installed) = installed("variants_of_a_description_are_heard_apart") else { return };
    let mut engine = installed.engine();
    for description in ["a warm man", "a cheerful young woman"] {
        let heard: Vec<Heard> = (0..4).map(|variant| hear(&mut engine, &voice(description, variant))).collect();
        for (index, a) in heard.iter().enumerate() {
            for b in &heard[index + 1..] {
                let semitones = audio::measure::semitones(a.f0_hz, b.f0_hz).abs();
                let timbre =
                    mfcc_distance(&mean_mfcc(&a.samples, SAMPLE_RATE_HZ).unwrap(), &mean_mfcc(&b.samples, SAMPLE_RATE_HZ).unwrap());
                eprintln!("{description}: {semitones:.2} semitones, MFCC {timbre:.2}");
                assert!(semitones > 0.5 || timbre > 0.7, "{description}: {semitones} semitones, MFCC {timbre}");
            }
        }
    }
}
