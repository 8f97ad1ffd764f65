//! What is sent to an engine: the text without what cannot be spoken, and the way back from each character to the one it came from,
//! so that word times fit the text the user wrote.
//!
//! Composes accents (NFC), drops invisible characters, calms repeated punctuation, forgets Markdown's ornaments. It does not spell out
//! numbers or abbreviations: engines do that by language, and this file may not know languages.

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};
use unicode_segmentation::UnicodeSegmentation;

use super::marks::{Span, parse};

/// Text for an engine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cleaned {
    pub text: String,
    /// For each character of `text` the place, in characters, of the one it came from in the original. Never falls.
    pub original_chars: Vec<u32>,
}

impl Cleaned {
    /// A stretch of `text` (start and length in characters) as start and length in the original. Out of range: cut to what there is.
    pub fn original_range(&self, char_start: u32, char_len: u32) -> (u32, u32) {
        let last = self.original_chars.len().saturating_sub(1);
        let first = (char_start as usize).min(last);
        let final_char = first.saturating_add((char_len as usize).saturating_sub(1)).min(last);
        match (self.original_chars.get(first), self.original_chars.get(final_char)) {
            (Some(start), Some(end)) => (*start, if char_len == 0 { 0 } else { end - start + 1 }),
            _ => (0, 0),
        }
    }
}

/// What an engine does with a text: speak or wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spoken {
    /// Never empty. `original_chars` are places in the whole text, marks included.
    Words(Cleaned),
    Pause {
        ms: u32,
    },
}

/// A chunk's text for an engine: words cleaned, pause marks as pauses (neighbours added up), other marks ignored, backslashes in front
/// of escaped marks gone. Nothing to speak and no pause: empty.
pub fn speakable(text: &str) -> Vec<Spoken> {
    let mut spoken = Vec::new();
    let mut words = String::new();
    let mut places: Vec<u32> = Vec::new();
    let (mut counted_bytes, mut counted_chars) = (0, 0_u32);
    for span in parse(text) {
        match span {
            Span::Text { text: part, range } => {
                counted_chars += text[counted_bytes..range.start].chars().count() as u32;
                places.extend(part.chars().map(|_| {
                    counted_chars += 1;
                    counted_chars - 1
                }));
                words.push_str(part);
                counted_bytes = range.end;
            }
            Span::Pause { ms, .. } => {
                push_words(&mut spoken, &mut words, &mut places);
                match spoken.last_mut() {
                    Some(Spoken::Pause { ms: before }) => *before = before.saturating_add(ms),
                    _ => spoken.push(Spoken::Pause { ms }),
                }
            }
            Span::Voice { range, .. } | Span::Language { range, .. } => {
                counted_chars += text[counted_bytes..range.start].chars().count() as u32;
                counted_bytes = range.start;
                words.push(' ');
                places.push(counted_chars);
            }
        }
    }
    push_words(&mut spoken, &mut words, &mut places);
    spoken
}

fn push_words(spoken: &mut Vec<Spoken>, words: &mut String, places: &mut Vec<u32>) {
    let mut cleaned = normalize(words);
    for place in &mut cleaned.original_chars {
        *place = places.get(*place as usize).copied().unwrap_or(*place);
    }
    if !cleaned.text.is_empty() {
        spoken.push(Spoken::Words(cleaned));
    }
    words.clear();
    places.clear();
}

/// The text cleaned, with the way back. Cleaning a cleaned text changes nothing. Marks are not looked for: see [`speakable`].
pub fn normalize(text: &str) -> Cleaned {
    // What goes may bring together what then goes or composes as well; text that people wrote is done after the first round.
    const ROUNDS: usize = 8;
    let mut cleaned = Cleaned { text: text.to_owned(), original_chars: (0..).take(text.chars().count()).collect() };
    for _ in 0..ROUNDS {
        let chars = composed(&cleaned.text, &cleaned.original_chars);
        let next = spaced(calm(&visible(&chars)));
        if next.text == cleaned.text {
            break;
        }
        cleaned = next;
    }
    cleaned
}

/// One space between words, none at the ends.
fn spaced(chars: Vec<Placed>) -> Cleaned {
    let mut cleaned = Cleaned { text: String::with_capacity(chars.len()), original_chars: Vec::with_capacity(chars.len()) };
    for (c, place) in chars {
        if c == ' ' && (cleaned.text.is_empty() || cleaned.text.ends_with(' ')) {
            continue;
        }
        cleaned.text.push(c);
        cleaned.original_chars.push(place);
    }
    if cleaned.text.ends_with(' ') {
        cleaned.text.pop();
        cleaned.original_chars.pop();
    }
    cleaned
}

/// A character and the place of the one it came from.
type Placed = (char, u32);

/// NFC, one grapheme at a time, so that the places stay known.
fn composed(text: &str, places: &[u32]) -> Vec<Placed> {
    let mut composed = Vec::with_capacity(places.len());
    let mut rest = places;
    for grapheme in text.graphemes(true) {
        let (own, after) = rest.split_at(grapheme.chars().count().min(rest.len()));
        rest = after;
        if is_nfc_quick(grapheme.chars()) == IsNormalized::Yes {
            composed.extend(grapheme.chars().zip(own.iter().copied()));
        } else if let Some(last) = own.last() {
            composed.extend(grapheme.nfc().zip(own.iter().copied().chain(std::iter::repeat(*last))));
        }
    }
    composed
}

/// Without what has no sound and no meaning; every white space a space; full-width letters and ligatures as plain ones.
fn visible(chars: &[Placed]) -> Vec<Placed> {
    let mut visible: Vec<Placed> = Vec::with_capacity(chars.len());
    for (index, &(c, place)) in chars.iter().enumerate() {
        let before = visible.last().map(|(c, _)| *c);
        let after = chars.get(index + 1).map(|(c, _)| *c);
        let mut keep = |c: char| visible.push((c, place));
        match c {
            c if c.is_whitespace() || c == '\u{2800}' => keep(' '),
            '\u{200C}' | '\u{200D}' if before.is_some_and(joins) && after.is_some_and(joins) => keep(c),
            c if is_invisible(c) => {}
            '\u{FF10}'..='\u{FF19}' | '\u{FF21}'..='\u{FF3A}' | '\u{FF41}'..='\u{FF5A}' => {
                keep(char::from_u32(c as u32 - 0xFEE0).unwrap_or(c));
            }
            '\u{FB00}'..='\u{FB06}' => ["ff", "fi", "fl", "ffi", "ffl", "st", "st"][c as usize - 0xFB00].chars().for_each(keep),
            '’' if between_letters(before, after) => keep('\''),
            '`' => {
                if between_letters(before, after) {
                    keep('\'');
                }
            }
            // Emphasis and bullets; in `2*3` it is a word.
            '*' if !(before.is_some_and(char::is_alphanumeric) && after.is_some_and(char::is_alphanumeric)) => {}
            '•' | '◦' | '▪' | '‣' | '●' | '○' | '■' | '□' => keep(' '),
            '#' | '~' | '_' | '|' if before.is_none_or(|c| c == ' ') && after.is_none_or(char::is_whitespace) => {}
            c => keep(c),
        }
    }
    visible
}

fn between_letters(before: Option<char>, after: Option<char>) -> bool {
    before.is_some_and(char::is_alphabetic) && after.is_some_and(char::is_alphabetic)
}

/// Joiners shape words in Arabic and Indic scripts and faces in emoji.
fn joins(c: char) -> bool {
    matches!(c as u32, 0x0600..=0x08FF | 0x0900..=0x0DFF | 0x2190..=0x2BFF | 0x1F000..=0x1FAFF)
}

fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c as u32,
            0xAD | 0x34F | 0x61C | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x206F
            | 0x3164 | 0xE000..=0xF8FF | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFF | 0xE0000..=0x10FFFF)
}

/// Runs of one kind of punctuation as no more than what a voice can make of them.
fn calm(chars: &[Placed]) -> Vec<Placed> {
    let mut calm: Vec<Placed> = Vec::with_capacity(chars.len());
    let mut at = 0;
    while at < chars.len() {
        let (c, place) = chars[at];
        let same = |other: char| other == c || (matches!(c, '!' | '?') && matches!(other, '!' | '?'));
        let run = chars[at..].iter().take_while(|(other, _)| same(*other)).count();
        match c {
            '!' | '?' | '.' | '！' | '？' => calm.extend(&chars[at..at + run.min(3)]),
            '…' | ',' | ';' | ':' | '—' | '–' | '、' | '，' | '。' | '؟' | '،' | '।' | '"' => calm.push((c, place)),
            // Typists write a dash as two hyphens, and a line as many.
            '-' if run > 1 => calm.push(('—', place)),
            '_' | '=' | '~' | '#' | '|' | '*' | '+' if run > 2 => calm.push((' ', place)),
            _ => calm.extend(&chars[at..at + run]),
        }
        at += run;
    }
    calm
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_spoken_goes_and_what_can_stays() {
        for (text, clean) in [
            ("plain text, as it was.", "plain text, as it was."),
            ("\u{FEFF}Hello\u{200B} wor\u{AD}ld\u{0}\u{7}", "Hello world"),
            ("a\u{A0}b\u{3000}c\t\r\n d", "a b c d"),
            ("Stop!!!!!! What?!?!?!? Well......", "Stop!!! What?!? Well..."),
            ("Wait…… no,, yes", "Wait… no, yes"),
            ("one -- two --- three", "one — two — three"),
            ("* * *", ""),
            ("=====", ""),
            ("**bold** and *soft* and `code`", "bold and soft and code"),
            ("2*3 = 6, C# and a_b", "2*3 = 6, C# and a_b"),
            ("# Title", "Title"),
            ("don’t ‘quote’", "don't ‘quote’"),
            ("e\u{301}te\u{301}", "été"),
            ("ﬁne ﬂow", "fine flow"),
            ("Ｈｅｌｌｏ１２", "Hello12"),
            ("\u{1112}\u{1161}\u{11AB}", "한"),
            ("می\u{200C}خواهم", "می\u{200C}خواهم"),
            ("no\u{200D}join", "nojoin"),
            ("👩\u{200D}🚀 flies", "👩\u{200D}🚀 flies"),
            ("10\u{202F}000 €", "10 000 €"),
            ("   ", ""),
        ] {
            assert_eq!(normalize(text).text, clean, "{text:?}");
        }
    }

    #[test]
    fn every_character_knows_where_it_came_from() {
        let text = "\u{FEFF}Ｏui !!!!!  e\u{301}te\u{301} ﬁn";
        let cleaned = normalize(text);
        assert_eq!(cleaned.text, "Oui !!! été fin");
        assert_eq!(cleaned.original_chars, [1, 2, 3, 4, 5, 6, 7, 10, 12, 14, 15, 17, 18, 18, 19]);
        let (start, len) = cleaned.original_range(8, 3);
        let original: String = text.chars().skip(start as usize).take(len as usize).collect();
        assert_eq!(original, "e\u{301}te");
        assert_eq!(cleaned.original_range(0, 3), (1, 3));
        assert_eq!(cleaned.original_range(900, 9), (19, 1));
        assert_eq!(Cleaned::default().original_range(0, 4), (0, 0));
    }

    #[test]
    fn a_chunk_is_words_and_pauses_with_places_in_the_whole_chunk() {
        let text = "Hé [pause:1s][pause] you,  \\[pause] too[voice:x]now [pause:2s]";
        let spoken = speakable(text);
        let [Spoken::Words(first), Spoken::Pause { ms: 1_500 }, Spoken::Words(second), Spoken::Pause { ms: 2_000 }] = &spoken[..] else {
            panic!("{spoken:?}");
        };
        assert_eq!(first.text, "Hé");
        assert_eq!(second.text, "you, [pause] too now");
        let chars: Vec<char> = text.chars().collect();
        for (c, place) in second.text.chars().zip(&second.original_chars) {
            assert!(c == ' ' || chars[*place as usize] == c, "{c} is not at {place}");
        }
        assert_eq!(speakable("[pause]"), [Spoken::Pause { ms: 500 }]);
        assert!(speakable(" \u{200B} ").is_empty());
    }
}
