//! A text as what is translated and what is not: sentences, and around them marks, line ends, bullets and spaces, which stay where they are.
//!
//! Pure. A mark cuts a sentence in two, because where it would stand in another language's order of words is nobody's knowledge. This file
//! may not know models.

use super::SENTENCE_CHARS_MAX;
use super::escape::escape_marks;
use super::language::same_language;
use crate::text::language::detect;
use crate::text::marks::atoms;
use crate::text::split::{SplitConfig, split};

/// What a text is taken for that gives no hint of its language.
const LANGUAGE_OF_NOTHING: &str = "en";
/// Longer sentences are cut at a clause: models were made of sentences, and forget the middle of long ones.
const CUT_CHARS: usize = 600;
/// Written without spaces between sentences.
const WITHOUT_SPACES: [&str; 3] = ["zh", "ja", "yue"];

/// A stretch of the text, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Stays as it is.
    Keep(String),
    /// A sentence or a piece of one, with its language.
    Say { text: String, language: String },
    /// Between two sentences of a line.
    Between(Gap),
}

/// White space, which another language may not have, or none, where another may want some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap(pub String);

/// A text, cut up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The text is these, one behind the other.
    pub segments: Vec<Segment>,
    /// BCP 47: as it was told, or that of the text as a whole.
    pub source: String,
}

impl Document {
    /// `source` is a BCP 47 tag; `None`: found sentence by sentence.
    pub fn of(text: &str, source: Option<&str>) -> Self {
        let whole = source.map_or_else(|| detect(text, LANGUAGE_OF_NOTHING), str::to_owned);
        let mut document = Self { segments: Vec::new(), source: whole };
        let mut at = 0;
        for atom in atoms(text) {
            document.add_text(&text[at..atom.range.start], source);
            // An escaped mark is spoken, but it is also one word that no model may change.
            document.keep(&text[atom.range.clone()]);
            at = atom.range.end;
        }
        document.add_text(&text[at..], source);
        document
    }

    /// What a model is asked for: the place among the segments, the sentence and its language. What is in the target's language is not.
    pub fn to_translate<'d>(&'d self, target: &'d str) -> impl Iterator<Item = (usize, &'d str, &'d str)> {
        self.segments.iter().enumerate().filter_map(move |(place, segment)| match segment {
            Segment::Say { text, language } if !same_language(language, target) => Some((place, text.as_str(), language.as_str())),
            _ => None,
        })
    }

    /// The text in the target's language: `translated` gives what came of the segment at a place, `None` leaves it as it is. What a model
    /// wrote can't become a mark.
    pub fn put_together<'t>(&self, target: &str, translated: impl Fn(usize) -> Option<&'t str>) -> String {
        let is_dense = WITHOUT_SPACES.iter().any(|tag| same_language(tag, target));
        let mut out = String::new();
        let mut last_was_translated = false;
        for (place, segment) in self.segments.iter().enumerate() {
            match segment {
                Segment::Keep(text) => out.push_str(text),
                Segment::Say { text, .. } => {
                    let found = translated(place);
                    last_was_translated = found.is_some();
                    out.push_str(&found.map_or_else(|| text.clone(), escape_marks));
                }
                Segment::Between(Gap(gap)) => match last_was_translated {
                    true if is_dense && gap.chars().all(|c| c == ' ') => {}
                    true if !is_dense && gap.is_empty() => out.push(' '),
                    _ => out.push_str(gap),
                },
            }
        }
        out
    }

    fn keep(&mut self, text: &str) {
        match self.segments.last_mut() {
            _ if text.is_empty() => {}
            Some(Segment::Keep(last)) => last.push_str(text),
            _ => self.segments.push(Segment::Keep(text.to_owned())),
        }
    }

    /// Text without marks.
    fn add_text(&mut self, text: &str, source: Option<&str>) {
        for line in text.split_inclusive(is_line_end) {
            let content = line.trim_end_matches(is_line_end);
            let begin = bullet_bytes(content);
            self.keep(&content[..begin]);
            self.add_line(&content[begin..], source);
            self.keep(&line[content.len()..]);
        }
    }

    fn add_line(&mut self, line: &str, source: Option<&str>) {
        let config = SplitConfig {
            language: source.map(str::to_owned),
            fallback_language: self.source.clone(),
            max_chars: CUT_CHARS.min(SENTENCE_CHARS_MAX),
            min_chars: 1,
            ..SplitConfig::default()
        };
        let mut at = 0;
        for piece in split(line, &config) {
            let gap = &line[at..piece.byte_start];
            if at > 0 && matches!(self.segments.last(), Some(Segment::Say { .. })) {
                self.segments.push(Segment::Between(Gap(gap.to_owned())));
            } else {
                self.keep(gap);
            }
            let text = &line[piece.byte_start..piece.byte_end];
            if text.chars().any(char::is_alphabetic) {
                self.segments.push(Segment::Say { text: text.to_owned(), language: piece.language });
            } else {
                self.keep(text);
            }
            at = piece.byte_end;
        }
        self.keep(&line[at..]);
    }
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{B}' | '\u{C}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// White space, and signs of lists, headings and quotations with white space behind them, at the beginning of a line.
fn bullet_bytes(line: &str) -> usize {
    let mut begin = 0;
    loop {
        let rest = &line[begin..];
        let spaces = rest.len() - rest.trim_start().len();
        let signs = rest.trim_start().len() - rest.trim_start().trim_start_matches(['-', '*', '•', '>', '#', '–', '—', '·']).len();
        let is_bullet = signs > 0 && rest[spaces + signs..].starts_with(char::is_whitespace);
        if !is_bullet {
            return begin + spaces;
        }
        begin += spaces + signs;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(text: &str, source: Option<&str>, target: &str) -> String {
        let document = Document::of(text, source);
        let made: Vec<(usize, String)> =
            document.to_translate(target).map(|(place, text, _)| (place, format!("<{}>", text.to_uppercase()))).collect();
        document.put_together(target, |place| made.iter().find(|(at, _)| *at == place).map(|(_, text)| text.as_str()))
    }

    #[test]
    fn everything_but_sentences_stays_where_it_is() {
        for (text, expected) in [
            ("Good day. How are you?", "<GOOD DAY.> <HOW ARE YOU?>"),
            ("One line.\n\n  - a point\r\n> 12 %\n", "<ONE LINE.>\n\n  - <A POINT>\r\n> 12 %\n"),
            ("Wait [pause:1s] here. [voice:bob]Yes.", "<WAIT> [pause:1s] <HERE.> [voice:bob]<YES.>"),
            ("Say \\[pause] now", "<SAY> \\[pause] <NOW>"),
            ("", ""),
            (" \n ", " \n "),
            ("...", "..."),
        ] {
            assert_eq!(translated(text, Some("en"), "fr"), expected);
        }
    }

    #[test]
    fn nothing_is_lost_where_nothing_is_translated() {
        for text in ["A b. C d!\n[pause] «E» 你好。再见。 x", "\u{2028}\t* #x", "\\[voice:a][voice:b]"] {
            assert_eq!(Document::of(text, None).put_together("xx", |_| None), text);
        }
    }

    #[test]
    fn what_is_in_the_language_already_is_not_asked_for() {
        let text =
            "This sentence is plain English, as anyone can hear. Cette phrase est écrite en français, et tout le monde le voit bien.";
        let made = translated(text, None, "fr");
        assert!(
            made.starts_with("<THIS") && made.ends_with(" Cette phrase est écrite en français, et tout le monde le voit bien."),
            "{made}"
        );
        assert_eq!(translated("Hello there.", Some("en"), "en-GB"), "Hello there.");
        assert_eq!(Document::of("This sentence is plain English, as anyone can hear.", None).source, "en");
    }

    #[test]
    fn spaces_come_and_go_with_the_script() {
        assert_eq!(translated("One. Two.", Some("en"), "zh"), "<ONE.><TWO.>");
        assert_eq!(translated("你好。再见。", Some("zh"), "en"), "<你好。> <再见。>");
    }

    #[test]
    fn a_translation_cannot_write_a_mark() {
        let document = Document::of("Hello.", Some("en"));
        assert_eq!(document.put_together("fr", |_| Some("[voice:bob] Salut")), "\\[voice:bob] Salut");
    }
}
