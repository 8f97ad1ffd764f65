//! A request becomes speech: words with times, pauses, speed, pitch, and text that is only ever text.

use std::ops::ControlFlow;
use std::sync::Arc;

use audio::measure::{median_f0_hz, semitones};
use engine::builtin::{BuiltinEngine, BuiltinVoice};
use engine::handle::{EngineConfig, EngineHandle};
use engine::speech::{Availability, EngineError, SAMPLE_RATE_HZ, SpeechEngine, SynthesisRequest};
use tokio_util::sync::CancellationToken;

use super::installed::{installed, request, seconds, speak};

const SENTENCE: &str = "The quick brown fox jumps over the lazy dog near the river bank, because the day is long and warm.";

fn plain(text: &str) -> SynthesisRequest {
    request(text, "en-US", &BuiltinVoice::default())
}

#[tokio::test]
async fn a_sentence_is_spoken_through_the_handle() {
    let Some(installed) = installed("a_sentence_is_spoken_through_the_handle") else { return };
    let installation = Arc::clone(&installed.installation);
    let handle = EngineHandle::start(EngineConfig::default(), move || {
        Ok(Box::new(BuiltinEngine::new(Arc::clone(&installation))) as Box<dyn SpeechEngine>)
    })
    .unwrap();
    assert_eq!(handle.availability(), Availability::Ready);
    assert!(handle.capabilities().languages.len() > 100);
    let request = plain("Hello world, this is a voice.");
    let speech = handle.synthesize(request.clone(), CancellationToken::new()).await.unwrap();
    assert!((1.5..3.0).contains(&seconds(&speech)), "{} s", seconds(&speech));
    let words: Vec<&str> = speech.words.iter().map(|word| word.word.as_str()).collect();
    assert_eq!(words, ["Hello", "world", "this", "is", "a", "voice"]);
    for pair in speech.words.windows(2) {
        assert!(pair[0].start_ms < pair[0].end_ms && pair[0].end_ms <= pair[1].start_ms, "{pair:?}");
    }
    assert_eq!(handle.synthesize(request, CancellationToken::new()).await.unwrap(), speech);
    assert_eq!((handle.calls(), handle.busy()), (2, 0));
    handle.shutdown().await;
}

#[test]
fn pauses_are_exact_silence_and_shift_the_words() {
    let Some(installed) = installed("pauses_are_exact_silence_and_shift_the_words") else { return };
    let mut engine = installed.engine();
    let first = speak(&mut engine, &plain("Öne ")).unwrap();
    let second = speak(&mut engine, &plain(" two")).unwrap();
    let both = speak(&mut engine, &plain("Öne [pause:1.5s] two<break time=\"20ms\"/>")).unwrap();
    let pause = 36_000;
    let joined = [first.samples.as_slice(), &vec![0.0; pause], &second.samples, &[0.0; 480]].concat();
    assert!(both.samples == joined);
    let shift_ms = ((first.samples.len() + pause) / 24) as u32;
    assert_eq!(both.words[0], first.words[0]);
    assert_eq!((both.words[1].word.as_str(), both.words[1].char_start, both.words[1].char_len), ("two", 17, 3));
    assert!(both.words[1].start_ms.abs_diff(second.words[0].start_ms + shift_ms) <= 1);
}

#[test]
fn only_pauses_are_only_silence() {
    let Some(installed) = installed("only_pauses_are_only_silence") else { return };
    let speech = speak(&mut installed.engine(), &plain(" [pause:1s] ")).unwrap();
    assert!(speech.samples == vec![0.0; 24_000] && speech.words.is_empty());
}

#[test]
fn duration_follows_the_speed() {
    let Some(installed) = installed("duration_follows_the_speed") else { return };
    let mut engine = installed.engine();
    for rate_wpm in [130.0, 175.0, 220.0] {
        let voice = BuiltinVoice { rate_wpm, ..BuiltinVoice::default() };
        let normal = seconds(&speak(&mut engine, &request(SENTENCE, "en-US", &voice)).unwrap());
        for speed in [0.25, 0.4, 0.5, 0.8, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0] {
            let speech = speak(&mut engine, &SynthesisRequest { speed, ..request(SENTENCE, "en-US", &voice) }).unwrap();
            let kept = seconds(&speech) * f64::from(speed) / normal;
            eprintln!("{rate_wpm} wpm, speed {speed}: {:.2} s, {kept:.3} of the ideal", seconds(&speech));
            assert!((0.9..1.1).contains(&kept), "{rate_wpm} wpm, speed {speed}: {kept} of the ideal duration");
            let last = speech.words.last().unwrap();
            assert!(f64::from(last.end_ms) / 1000.0 <= seconds(&speech), "words go beyond the end");
            assert!(f64::from(last.end_ms) / 1000.0 > seconds(&speech) * 0.85, "words end too early at speed {speed}");
        }
    }
}

#[test]
fn pitch_moves_by_semitones_and_leaves_the_duration() {
    let Some(installed) = installed("pitch_moves_by_semitones_and_leaves_the_duration") else { return };
    let mut engine = installed.engine();
    let voice = BuiltinVoice { pitch_low_hz: 150.0, pitch_high_hz: 220.0, ..BuiltinVoice::default() };
    let normal = speak(&mut engine, &request(SENTENCE, "en-US", &voice)).unwrap();
    let f0_hz = median_f0_hz(&normal.samples, SAMPLE_RATE_HZ).unwrap();
    for pitch_semitones in [-12.0, -7.0, -3.0, -1.0, -0.5, 0.5, 1.0, 4.0, 8.0, 12.0] {
        let asked = SynthesisRequest { pitch_semitones, ..request(SENTENCE, "en-US", &voice) };
        let speech = speak(&mut engine, &asked).unwrap();
        let moved = semitones(median_f0_hz(&speech.samples, SAMPLE_RATE_HZ).unwrap(), f0_hz);
        eprintln!("{pitch_semitones:+} semitones asked: {moved:+.2}");
        assert!((moved - pitch_semitones).abs() < 0.25, "{pitch_semitones} semitones asked: {moved}");
        assert!((seconds(&speech) / seconds(&normal) - 1.0).abs() < 0.03);
    }
}

#[test]
fn text_is_never_an_instruction() {
    let Some(installed) = installed("text_is_never_an_instruction") else { return };
    let mut engine = installed.engine();
    let mut samples = |text: &str| speak(&mut engine, &plain(text)).unwrap().samples;
    let hello = samples("hello");
    assert!(samples("[[h@l'oU]]").len() > hello.len() * 2, "phonemes are spelled");
    assert!(samples("<voice name=\"f2\">hello</voice>").len() > hello.len() * 2, "tags are read out");
    assert!(samples("\u{1}80P hello") == samples(" 80P hello"), "a command of the library is no command");
    assert!(samples("hello\u{0}there\u{7f}") == samples("hello there "));
    assert!(samples("one\u{557}two") == samples("one two"));
}

#[test]
fn text_without_words_is_short_and_silent() {
    let Some(installed) = installed("text_without_words_is_short_and_silent") else { return };
    let mut engine = installed.engine();
    for text in ["", " \n ", "...", "—", "\u{200b}"] {
        let speech = speak(&mut engine, &plain(text)).unwrap();
        assert!(seconds(&speech) < 0.1 && speech.words.is_empty(), "{text:?}: {} s", seconds(&speech));
        assert!(speech.samples.iter().all(|sample| sample.abs() < 0.01), "{text:?} is heard");
    }
}

#[test]
fn what_is_out_of_range_is_refused() {
    let Some(installed) = installed("what_is_out_of_range_is_refused") else { return };
    let mut engine = installed.engine();
    let bad_voice = BuiltinVoice { formant_scale: 9.0, ..BuiltinVoice::default() };
    for (asked, word) in [
        (SynthesisRequest { speed: 0.2, ..plain("hi") }, "speed"),
        (SynthesisRequest { speed: f32::NAN, ..plain("hi") }, "speed"),
        (SynthesisRequest { pitch_semitones: 13.0, ..plain("hi") }, "pitch"),
        (plain(&"a".repeat(5_001)), "characters"),
        (request("hi", "en-US", &bad_voice), "formant_scale"),
    ] {
        let refused = speak(&mut engine, &asked);
        assert!(matches!(&refused, Err(EngineError::Refused(message)) if message.contains(word)), "{word}: {refused:?}");
    }
}

#[test]
fn the_longest_text_is_taken_even_when_every_character_is_wide() {
    let Some(installed) = installed("the_longest_text_is_taken_even_when_every_character_is_wide") else { return };
    let text = "\"😀 é\"".repeat(1_000);
    assert!(seconds(&speak(&mut installed.engine(), &plain(&text)).unwrap()) > 60.0);
}

#[test]
fn progress_rises_and_a_break_stops() {
    let Some(installed) = installed("progress_rises_and_a_break_stops") else { return };
    let mut engine = installed.engine();
    let text = "One. [pause:10ms] Two. [pause:10ms] Three.";
    let mut steps = Vec::new();
    let whole = engine.synthesize(&plain(text), &mut |fraction| {
        steps.push(fraction);
        ControlFlow::Continue(())
    });
    assert!(steps.is_sorted() && steps.first() == Some(&0.0) && steps.last() == Some(&1.0), "{steps:?}");
    let mut left = 3;
    let stopped = engine.synthesize(&plain(text), &mut |_| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(EngineError::Stopped)), "{stopped:?}");
    assert_eq!(speak(&mut engine, &plain(text)).unwrap(), whole.unwrap());
}
