//! A text with `[voice:x]` and `[lang:x]` marks as the turns of its speakers: what multivoice and multilang generations plan from.
//!
//! A voice holds until the next voice mark and a language until the next language mark, each on its own. Lines like `NAME: text` mean
//! nothing here: too much prose looks like that. This file may not know whether a voice or a language exists.

use super::marks::{Span, parse};
use super::split::has_sound;

/// One speaker's stretch in one language, trimmed. Offsets are those of the whole text; pause marks are still in `text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// As written in the mark; `None` before the first one.
    pub voice: Option<String>,
    /// BCP 47 tag; `None` before the first mark and after `[lang:auto]`.
    pub language: Option<String>,
    pub text: String,
    pub byte_start: usize,
    pub byte_end: usize,
    pub char_start: usize,
    pub char_end: usize,
    /// Pauses of a stretch in front that had nothing else in it.
    pub pause_before_ms: u32,
    /// The same behind the last turn.
    pub pause_after_ms: u32,
}

/// The turns in order. Stretches without anything to speak are left out; their pauses are kept beside the neighbour.
pub fn turns(text: &str) -> Vec<Turn> {
    let mut builder =
        Builder { text, turns: Vec::new(), voice: None, language: None, open: None, pause_ms: 0, speaks: false, waiting_ms: 0 };
    for span in parse(text) {
        match span {
            Span::Text { text, range } => {
                builder.speaks |= text.contains(has_sound);
                builder.extend(range.start, range.end);
            }
            Span::Pause { ms, range } => {
                builder.pause_ms = builder.pause_ms.saturating_add(ms);
                builder.extend(range.start, range.end);
            }
            Span::Voice { name, .. } => {
                builder.close();
                builder.voice = Some(name);
            }
            Span::Language { tag, .. } => {
                builder.close();
                builder.language = (tag != "auto").then_some(tag);
            }
        }
    }
    builder.finish()
}

struct Builder<'a> {
    text: &'a str,
    turns: Vec<Turn>,
    voice: Option<String>,
    language: Option<String>,
    /// The bytes since the last voice or language mark.
    open: Option<(usize, usize)>,
    /// Pauses in them.
    pause_ms: u32,
    /// There is something to speak in them.
    speaks: bool,
    /// Pauses of silent stretches since the last turn.
    waiting_ms: u32,
}

impl Builder<'_> {
    fn extend(&mut self, start: usize, end: usize) {
        self.open = Some((self.open.map_or(start, |open| open.0), end));
    }

    fn close(&mut self) {
        let pause_ms = std::mem::take(&mut self.pause_ms);
        let speaks = std::mem::take(&mut self.speaks);
        let Some((start, end)) = self.open.take() else {
            return;
        };
        if !speaks {
            self.waiting_ms = self.waiting_ms.saturating_add(pause_ms);
            return;
        }
        // An escaping backslash in front of a mark belongs to the text, or the mark would come alive.
        let start = start - usize::from(self.text[..start].ends_with('\\'));
        let part = &self.text[start..end];
        let byte_start = start + part.len() - part.trim_start().len();
        let byte_end = start + part.trim_end().len();
        let (counted_bytes, counted_chars) = self.turns.last().map_or((0, 0), |last| (last.byte_end, last.char_end));
        let char_start = counted_chars + self.text[counted_bytes..byte_start].chars().count();
        let text = self.text[byte_start..byte_end].to_owned();
        self.turns.push(Turn {
            voice: self.voice.clone(),
            language: self.language.clone(),
            char_start,
            char_end: char_start + text.chars().count(),
            text,
            byte_start,
            byte_end,
            pause_before_ms: std::mem::take(&mut self.waiting_ms),
            pause_after_ms: 0,
        });
    }

    fn finish(mut self) -> Vec<Turn> {
        self.close();
        if let Some(last) = self.turns.last_mut() {
            last.pause_after_ms = self.waiting_ms;
        }
        self.turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brief(text: &str) -> Vec<(Option<String>, Option<String>, String)> {
        turns(text).into_iter().map(|turn| (turn.voice, turn.language, turn.text)).collect()
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_voice_holds_until_the_next_and_a_language_on_its_own() {
        let text = "Intro. [voice:ann] Hello there. [lang:fr] Bonjour. [voice:bob] Salut ! [lang:auto] Bye.";
        assert_eq!(
            brief(text),
            [
                (None, None, "Intro.".to_owned()),
                (some("ann"), None, "Hello there.".to_owned()),
                (some("ann"), some("fr"), "Bonjour.".to_owned()),
                (some("bob"), some("fr"), "Salut !".to_owned()),
                (some("bob"), None, "Bye.".to_owned()),
            ]
        );
    }

    #[test]
    fn names_with_colons_are_prose() {
        assert_eq!(brief("ANN: Hello.\nBOB: Hi."), [(None, None, "ANN: Hello.\nBOB: Hi.".to_owned())]);
    }

    #[test]
    fn silent_stretches_leave_their_pauses_to_the_neighbours() {
        let turns = turns("[voice:a][pause:1s][voice:b] Hi [pause] you. [voice:c] [pause:2s] … ");
        assert_eq!(turns.len(), 1);
        assert_eq!((turns[0].voice.as_deref(), turns[0].text.as_str()), (Some("b"), "Hi [pause] you."));
        assert_eq!((turns[0].pause_before_ms, turns[0].pause_after_ms), (1_000, 2_000));
    }

    #[test]
    fn offsets_are_those_of_the_whole_text() {
        let text = "Übung… [voice:ä] «Größe» zählt.\n[voice:b]\\[pause] bleibt.";
        let chars: Vec<char> = text.chars().collect();
        let turns = turns(text);
        assert_eq!(turns.len(), 3);
        assert_eq!(turns[2].text, "\\[pause] bleibt.");
        for turn in turns {
            assert_eq!(&text[turn.byte_start..turn.byte_end], turn.text);
            assert_eq!(chars[turn.char_start..turn.char_end].iter().collect::<String>(), turn.text);
        }
    }

    #[test]
    fn nothing_to_say_is_no_turn() {
        for text in ["", "  \n", "[voice:a]", "[pause]", "[lang:fr] ... [voice:x]"] {
            assert!(turns(text).is_empty(), "{text}");
        }
    }
}
