//! Whether samples can be the speech of a text at all: not silent, and of a plausible length. Pure.

use engine::speech::{SAMPLE_RATE_HZ, Speech, SynthesisRequest};

/// Letters a second at speed 1. Fast and slow voices and languages lie well inside: measured with the built-in engine over its presets and
/// eleven languages, alphabets take 9 to 22, scripts of syllables and words 3 to 8.
const LETTERS_PER_S: (f64, f64) = (4.0, 45.0);
const SYLLABLES_PER_S: (f64, f64) = (1.0, 16.0);
/// Numbers are read as words: a digit may take as long as several letters.
const DIGIT_LETTERS: f64 = 5.0;
/// Below that a chunk is too short to judge its length.
const JUDGED_LETTERS_MIN: f64 = 8.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suspicion {
    Silent,
    TooShort,
    TooLong,
}

/// `None` where nothing speaks against it.
pub(crate) fn suspicion(request: &SynthesisRequest, speech: &Speech) -> Option<Suspicion> {
    let text = engine::text::marks::strip(&request.text);
    if !text.chars().any(char::is_alphanumeric) {
        return None;
    }
    if audio::silence::is_silent(&speech.samples) {
        return Some(Suspicion::Silent);
    }
    let (letters, digits) = weigh(&text);
    if letters + digits < JUDGED_LETTERS_MIN {
        return None;
    }
    let band = if is_syllabic(&text) { SYLLABLES_PER_S } else { LETTERS_PER_S };
    let duration_s = speech.samples.len() as f64 / f64::from(SAMPLE_RATE_HZ);
    let (shortest_s, longest_s) = (letters / band.1, (letters + digits * DIGIT_LETTERS) / band.0);
    let speed = f64::from(request.speed);
    if duration_s * speed < shortest_s {
        Some(Suspicion::TooShort)
    } else if duration_s * speed > longest_s + pauses_s(&request.text) * speed + 2.0 {
        Some(Suspicion::TooLong)
    } else {
        None
    }
}

fn weigh(text: &str) -> (f64, f64) {
    let letters = text.chars().filter(|c| c.is_alphabetic()).count() as f64;
    let digits = text.chars().filter(|c| c.is_numeric()).count() as f64;
    (letters, digits)
}

/// Scripts whose letters are syllables or words: Han, Kana, Hangul.
fn is_syllabic(text: &str) -> bool {
    let syllables = text.chars().filter(|c| matches!(*c as u32, 0x3040..=0x30ff | 0x3400..=0x9fff | 0xac00..=0xd7af)).count();
    syllables * 2 > text.chars().filter(|c| c.is_alphabetic()).count()
}

fn pauses_s(text: &str) -> f64 {
    let spans = engine::text::marks::parse(text);
    spans.iter().map(|span| if let engine::text::marks::Span::Pause { ms, .. } = span { f64::from(*ms) / 1_000.0 } else { 0.0 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str, duration_s: f64, level: f32) -> Option<Suspicion> {
        let voice = engine::speech::VoiceProfile::Builtin(engine::builtin::presets()[0].voice.clone());
        let language = "en-US".into();
        let request = SynthesisRequest { text: text.into(), voice, language, speed: 1.0, pitch_semitones: 0.0, seed: 0, instruct: None };
        let samples = (0..(duration_s * 24_000.0) as usize).map(|n| level * (n as f32 * 0.05).sin()).collect();
        suspicion(&request, &Speech { samples, words: Vec::new() })
    }

    #[test]
    fn speech_of_plausible_length_is_not_suspect() {
        let text = "The lighthouse keeper counted every wave.";
        assert_eq!(judged(text, 2.5, 0.3), None);
        assert_eq!(judged("灯塔的看守人数着每一个浪头。", 3.0, 0.3), None);
        assert_eq!(judged("Call 1234567890 now, please.", 9.0, 0.3), None);
        assert_eq!(judged("Wait here. [pause:9s] Go.", 12.0, 0.3), None);
        assert_eq!(judged("?!", 0.0, 0.0), None);
    }

    #[test]
    fn silence_and_implausible_lengths_are() {
        let text = "The lighthouse keeper counted every wave.";
        assert_eq!(judged(text, 2.5, 0.0), Some(Suspicion::Silent));
        assert_eq!(judged(text, 0.3, 0.3), Some(Suspicion::TooShort));
        assert_eq!(judged(text, 40.0, 0.3), Some(Suspicion::TooLong));
    }
}
