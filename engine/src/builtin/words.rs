//! From the library's word events to words with times.
//!
//! The library splits words as it pronounces them ("2024" is four events, "don't" may be half of one), so the words are those of the text
//! (Unicode, UAX 29), and events only give them their times. Pure; it may not know rates other than as numbers.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation as _;

use super::host::{HostEvent, HostEventKind};

/// A sample below this is silence: -50 dB under full scale.
const SILENCE: u16 = 104;

/// A word's characters in the spoken text and its samples at the library's rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SpokenWord {
    pub(super) chars: Range<usize>,
    pub(super) samples: Range<usize>,
}

/// In order of time. Words that the library does not announce are left out.
pub(super) fn spoken_words(text: &str, events: &[HostEvent], samples: &[i16]) -> Vec<SpokenWord> {
    let tokens = tokens(text);
    let mut words: Vec<SpokenWord> = Vec::new();
    for event in events {
        let at = event.sample.min(samples.len());
        // Whatever comes next ends the word before.
        if let Some(last) = words.last_mut()
            && last.samples.end > at
        {
            last.samples.end = at.max(last.samples.start);
        }
        if event.kind != HostEventKind::Word {
            continue;
        }
        let Some(chars) = token_at(&tokens, event.text_position, event.length) else { continue };
        match words.last_mut() {
            // Another part of the same word, or a step back inside it: one word, up to the next event.
            Some(last) if chars.start <= last.chars.start => last.samples.end = samples.len(),
            _ => words.push(SpokenWord { chars, samples: at..samples.len() }),
        }
    }
    for word in &mut words {
        let audible = samples[word.samples.clone()].iter().rposition(|sample| sample.unsigned_abs() > SILENCE);
        word.samples.end = word.samples.start + audible.map_or(0, |last| last + 1);
    }
    words
}

/// Character ranges of the words of a text. Words joined by a hyphen are one.
fn tokens(text: &str) -> Vec<Range<usize>> {
    let mut tokens: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    let mut joined = false;
    for piece in text.split_word_bounds() {
        let range = at..at + piece.chars().count();
        at = range.end;
        if piece.chars().any(char::is_alphanumeric) {
            match tokens.last_mut() {
                Some(last) if joined => last.end = range.end,
                _ => tokens.push(range),
            }
            joined = false;
        } else {
            let after_word = tokens.last().is_some_and(|last| last.end == range.start);
            joined = after_word && matches!(piece, "-" | "\u{2010}" | "\u{2011}" | "'" | "\u{2019}");
        }
    }
    tokens
}

/// The word that an event is about: the one around its first character, else the first one that begins within it.
fn token_at(tokens: &[Range<usize>], position: usize, length: usize) -> Option<Range<usize>> {
    let next = tokens.partition_point(|token| token.end <= position);
    let token = tokens.get(next)?;
    (token.start < position + length.max(1)).then(|| token.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: HostEventKind, text_position: usize, length: usize, sample: usize) -> HostEvent {
        HostEvent { kind, text_position, length, sample }
    }

    #[test]
    fn parts_of_a_number_are_one_word_and_trailing_silence_is_not_in_it() {
        let text = "In 2024, well-known dogs don't.";
        let word = |position, length, sample| event(HostEventKind::Word, position, length, sample);
        let events = [
            event(HostEventKind::Sentence, 0, 0, 0),
            word(0, 2, 0),
            word(3, 4, 100),
            word(4, 4, 200),
            word(4, 4, 300),
            event(HostEventKind::End, 8, 0, 400),
            word(9, 4, 400),
            word(20, 4, 500),
            word(25, 3, 600),
            event(HostEventKind::End, 30, 0, 800),
        ];
        let mut samples = vec![1000i16; 700];
        samples.resize(800, 3);
        let words = spoken_words(text, &events, &samples);
        let found: Vec<(String, Range<usize>)> =
            words.iter().map(|word| (text.chars().skip(word.chars.start).take(word.chars.len()).collect(), word.samples.clone())).collect();
        let expected = [("In", 0..100), ("2024", 100..400), ("well-known", 400..500), ("dogs", 500..600), ("don't", 600..700)];
        assert_eq!(found, expected.map(|(word, samples)| (word.to_owned(), samples)));
    }

    #[test]
    fn events_beyond_the_text_or_the_samples_do_no_harm() {
        let events = [event(HostEventKind::Word, 0, 1, 0), event(HostEventKind::Word, 7, 4, 999), event(HostEventKind::Word, 1, 2, 50)];
        let words = spoken_words("a b", &events, &[500; 20]);
        assert_eq!(words, [SpokenWord { chars: 0..1, samples: 0..20 }, SpokenWord { chars: 2..3, samples: 20..20 }]);
        assert!(spoken_words("", &events, &[]).is_empty());
    }
}
