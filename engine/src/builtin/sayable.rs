//! What is handed to the speech library: text without anything that steers it, and where each character stood in the request.
//!
//! Pure. It may not know the library's processes; it knows which characters the library does not read as text.

use std::ops::Range;

use crate::text::marks::{self, Span};

/// A stretch of text, with the index in the request's characters of each of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Sayable {
    pub(crate) text: String,
    /// As long as `text` has characters.
    pub(crate) origins: Vec<u32>,
}

impl Sayable {
    pub(crate) fn push(&mut self, c: char, origin: u32) {
        self.text.push(c);
        self.origins.push(origin);
    }

    pub(crate) fn chars(&self) -> usize {
        self.origins.len()
    }

    /// The characters of the request behind a range of characters of this text.
    pub(crate) fn origin(&self, chars: Range<usize>) -> Option<Range<u32>> {
        let origins = self.origins.get(chars)?;
        Some(*origins.iter().min()?..origins.iter().max()? + 1)
    }
}

/// One thing after the other, as the request asks for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Say(Sayable),
    Pause { ms: u32 },
}

/// Stretches of text and pauses, in order; no two stretches stand side by side and none is blank.
pub(crate) fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut say = Sayable::default();
    let mut chars_before = CharCount::default();
    for span in marks::parse(text) {
        match span {
            Span::Text { text: stretch, range } => {
                let first = chars_before.up_to(text, range.start);
                for (index, c) in stretch.chars().enumerate() {
                    say.push(tamed(c), first + index as u32);
                }
            }
            Span::Pause { ms, .. } => {
                push_say(&mut parts, &mut say);
                parts.push(Part::Pause { ms });
            }
            // The planner has cut the text at these; a stray one changes nothing and is not spoken.
            Span::Voice { .. } | Span::Language { .. } => {}
        }
    }
    push_say(&mut parts, &mut say);
    parts
}

fn push_say(parts: &mut Vec<Part>, say: &mut Sayable) {
    let say = std::mem::take(say);
    if !say.text.trim().is_empty() {
        parts.push(Part::Say(say));
    }
}

/// How many characters stand before a byte, asked for rising bytes only, so that a text is walked once.
#[derive(Debug, Default)]
struct CharCount {
    bytes: usize,
    chars: u32,
}

impl CharCount {
    fn up_to(&mut self, text: &str, byte: usize) -> u32 {
        self.chars += text.get(self.bytes..byte).map_or(0, |between| between.chars().count() as u32);
        self.bytes = byte;
        self.chars
    }
}

/// The character itself; for full-width letters and digits the plain ones, since the library skips digits of that kind; or a space for one that the library takes as an instruction: control characters (U+0001 starts an embedded
/// command), two unassigned letters that it uses for emphasis and breaks (U+0530, U+0557), the private use that it makes of
/// U+E000 and on, noncharacters and the byte order mark.
fn tamed(c: char) -> char {
    match c {
        '\u{530}' | '\u{557}' | '\u{e000}'..='\u{e1ff}' | '\u{feff}' | '\u{fdd0}'..='\u{fdef}' | '\u{f0000}'.. => ' ',
        '０'..='９' | 'Ａ'..='Ｚ' | 'ａ'..='ｚ' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        c if c.is_control() => ' ',
        c if u32::from(c) & 0xfffe == 0xfffe => ' ',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(text: &str, origins: impl IntoIterator<Item = u32>) -> Part {
        Part::Say(Sayable { text: text.to_owned(), origins: origins.into_iter().collect() })
    }

    #[test]
    fn pauses_cut_and_positions_are_those_of_the_request() {
        let found = parts("Öl [pause:1.5s]é.<break time=\"20ms\"/>  ");
        assert_eq!(found, [say("Öl ", 0..3), Part::Pause { ms: 1500 }, say("é.", 15..17), Part::Pause { ms: 20 }]);
    }

    #[test]
    fn an_escaped_mark_is_text_in_one_stretch() {
        let found = parts("a \\[pause] b");
        assert_eq!(found, [say("a [pause] b", (0..2).chain(3..12))]);
    }

    #[test]
    fn what_steers_the_library_becomes_a_space() {
        let found = parts("a\u{1}50P\u{557}b\u{0}\u{e001}\nc\u{feff}\u{10ffff}[[h]]<b>");
        assert_eq!(found, [say("a 50P b   c  [[h]]<b>", 0..21)]);
        assert!(parts(" \u{1} \n").is_empty());
    }

    #[test]
    fn full_width_letters_and_digits_become_plain() {
        assert_eq!(parts("２０ＡＢｚ！"), [say("20ABz！", 0..6)]);
    }

    #[test]
    fn a_range_goes_back_to_the_request() {
        let text = Sayable { text: "ニホン".to_owned(), origins: vec![4, 4, 5] };
        assert_eq!(text.origin(0..2), Some(4..5));
        assert_eq!(text.origin(0..3), Some(4..6));
        assert_eq!(text.origin(2..4), None);
    }
}
