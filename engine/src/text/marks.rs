//! Marks in the user's text: `[pause]`, `[pause:1.5s]`, `<break time="1s"/>`, `[voice:x]`, `[lang:fr]`.
//!
//! Whatever is not exactly a mark is text, so that no input is refused. A backslash before a mark makes it text. This file may not
//! know what a voice or a language is: it hands names on as they were written.

use std::ops::Range;

use super::language::canonical_tag;

/// What `[pause]` and `<break/>` mean.
pub const PAUSE_DEFAULT_MS: u32 = 500;
/// Longer pauses are cut down to this.
pub const PAUSE_LIMIT_MS: u32 = 10_000;
/// Brackets that close later than this are text.
const MARK_LIMIT_CHARS: usize = 160;

/// A stretch of the text; `range` is its place in bytes. `Text::text` is always `&source[range]`: an escaped mark shows up as a text
/// span of its own, without the backslash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Span<'a> {
    Text { text: &'a str, range: Range<usize> },
    Pause { ms: u32, range: Range<usize> },
    Voice { name: String, range: Range<usize> },
    Language { tag: String, range: Range<usize> },
}

/// What must not be cut in the middle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AtomKind {
    Pause(u32),
    Voice(String),
    Language(String),
    /// A backslash and the mark that it turns into text.
    Escaped,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Atom {
    pub(crate) range: Range<usize>,
    pub(crate) kind: AtomKind,
}

impl Atom {
    /// A mark is not spoken; an escaped one is.
    pub(crate) fn is_mark(&self) -> bool {
        self.kind != AtomKind::Escaped
    }
}

/// The text in order, as text and marks; the ranges cover everything but backslashes that escape.
pub fn parse(text: &str) -> Vec<Span<'_>> {
    let mut spans = Vec::new();
    let mut at = 0;
    for atom in atoms(text) {
        push_text(&mut spans, text, at..atom.range.start);
        at = atom.range.end;
        let range = atom.range;
        match atom.kind {
            AtomKind::Pause(ms) => spans.push(Span::Pause { ms, range }),
            AtomKind::Voice(name) => spans.push(Span::Voice { name, range }),
            AtomKind::Language(tag) => spans.push(Span::Language { tag, range }),
            AtomKind::Escaped => push_text(&mut spans, text, range.start + 1..range.end),
        }
    }
    push_text(&mut spans, text, at..text.len());
    spans
}

/// The text as it is shown: marks are gone, and so is the double space or the space before a comma that they would leave behind.
pub fn strip(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut after_mark = false;
    for span in parse(text) {
        let Span::Text { text: part, .. } = span else {
            after_mark = true;
            continue;
        };
        if after_mark {
            push_after_mark(&mut out, part);
        } else {
            out.push_str(part);
        }
        // A text of spaces only, between two marks, does not end the gap.
        after_mark = after_mark && part.trim().is_empty();
    }
    if after_mark {
        out.truncate(out.trim_end().len());
    }
    out
}

fn push_after_mark(out: &mut String, part: &str) {
    let left_is_open = out.is_empty() || out.ends_with(char::is_whitespace);
    if part.starts_with([',', '.', ';', ':', '!', '?']) {
        out.truncate(out.trim_end().len());
        out.push_str(part);
    } else if left_is_open {
        out.push_str(part.trim_start());
    } else {
        let joins_words = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() && (c as u32) < 0x2E80);
        if joins_words(out.chars().next_back()) && joins_words(part.chars().next()) {
            out.push(' ');
        }
        out.push_str(part);
    }
}

fn push_text<'a>(spans: &mut Vec<Span<'a>>, source: &'a str, range: Range<usize>) {
    if range.is_empty() {
        return;
    }
    if let Some(Span::Text { text, range: last }) = spans.last_mut()
        && last.end == range.start
    {
        last.end = range.end;
        *text = &source[last.clone()];
        return;
    }
    spans.push(Span::Text { text: &source[range.clone()], range });
}

/// All marks and escaped marks in order. Linear: a bracket is given up at the next bracket, at a control character or after
/// [`MARK_LIMIT_CHARS`].
pub(crate) fn atoms(text: &str) -> Vec<Atom> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    let mut seen = 0;
    while let Some(offset) = bytes[at..].iter().position(|b| matches!(b, b'[' | b'<')) {
        let start = at + offset;
        let mark = if bytes[start] == b'[' { bracket_mark(text, start) } else { break_tag(text, start) };
        let Some((end, kind)) = mark else {
            at = start + 1;
            continue;
        };
        if bytes[seen..start].ends_with(b"\\") {
            found.push(Atom { range: start - 1..end, kind: AtomKind::Escaped });
        } else {
            found.push(Atom { range: start..end, kind });
        }
        (at, seen) = (end, end);
    }
    found
}

/// Where the mark that opens at `start` ends, and what it is.
fn bracket_mark(text: &str, start: usize) -> Option<(usize, AtomKind)> {
    let inner = enclosed(text, start + 1, '[', ']')?;
    let end = start + 1 + inner.len() + 1;
    let (name, value) = match inner.split_once(':') {
        Some((name, value)) => (name.trim(), Some(value.trim())),
        None => (inner.trim(), None),
    };
    let is = |word: &str| name.eq_ignore_ascii_case(word);
    let kind = match value {
        None if is("pause") => AtomKind::Pause(PAUSE_DEFAULT_MS),
        Some(value) if is("pause") => AtomKind::Pause(duration_ms(value)?),
        Some(value) if is("voice") && !value.is_empty() => AtomKind::Voice(value.split_whitespace().collect::<Vec<_>>().join(" ")),
        Some(value) if is("lang") => AtomKind::Language(canonical_tag(value)?),
        _ => return None,
    };
    Some((end, kind))
}

/// The subset of SSML that is worth having: `<break/>`, with `time` or `strength`.
fn break_tag(text: &str, start: usize) -> Option<(usize, AtomKind)> {
    let inner = enclosed(text, start + 1, '<', '>')?;
    let rest = inner.get(..5).filter(|tag| tag.eq_ignore_ascii_case("break")).map(|_| &inner[5..])?;
    if !rest.is_empty() && !rest.starts_with('/') && !rest.starts_with(char::is_whitespace) {
        return None;
    }
    let mut end = start + 1 + inner.len() + 1;
    let rest = match rest.strip_suffix('/') {
        Some(rest) => rest,
        None => {
            if text.as_bytes()[end..].get(..8).is_some_and(|close| close.eq_ignore_ascii_case(b"</break>")) {
                end += 8;
            }
            rest
        }
    };
    Some((end, AtomKind::Pause(break_ms(rest)?)))
}

fn break_ms(attributes: &str) -> Option<u32> {
    let mut rest = attributes.trim();
    let mut time_ms = None;
    let mut strength_ms = None;
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (value, after) = after[1..].split_once(quote)?;
        match name.trim().to_ascii_lowercase().as_str() {
            "time" => time_ms = Some(duration_ms(value.trim().trim_start_matches('+'))?),
            "strength" => strength_ms = Some(strength(value.trim())?),
            _ => {}
        }
        rest = after.trim_start();
    }
    Some(time_ms.or(strength_ms).unwrap_or(PAUSE_DEFAULT_MS))
}

/// The words of SSML 1.1, section 3.2.3; the lengths are ours, since the standard leaves them open.
fn strength(word: &str) -> Option<u32> {
    Some(match word.to_ascii_lowercase().as_str() {
        "none" => 0,
        "x-weak" => 100,
        "weak" => 250,
        "medium" => PAUSE_DEFAULT_MS,
        "strong" => 1_000,
        "x-strong" => 2_000,
        _ => return None,
    })
}

/// `1.5s`, `300ms`, `1,5 s`. A bare number is seconds up to the limit and milliseconds above it.
fn duration_ms(value: &str) -> Option<u32> {
    let value = value.to_ascii_lowercase();
    let (number, per_unit) = if let Some(number) = value.strip_suffix("ms") {
        (number, Some(1.0))
    } else if let Some(number) = value.strip_suffix("sec").or_else(|| value.strip_suffix('s')) {
        (number, Some(1_000.0))
    } else {
        (value.as_str(), None)
    };
    let number = number.trim_end().replace(',', ".");
    // `parse` alone would take "inf", "1e9" and "-1".
    if number.is_empty() || number.len() > 12 || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    let limit_ms = f64::from(PAUSE_LIMIT_MS);
    let per_unit = per_unit.unwrap_or(if number * 1_000.0 <= limit_ms { 1_000.0 } else { 1.0 });
    Some((number * per_unit).round().min(limit_ms) as u32)
}

/// What stands between `from` and the closing byte, where nothing in it opens again. One white space is as good as another, line ends
/// too: pieces have spaces for them, and must hold the same marks.
fn enclosed(text: &str, from: usize, open: char, close: char) -> Option<&str> {
    let ends = |c: char| c == close || c == open || (c.is_control() && !c.is_whitespace());
    let (stop, end) = text[from..].char_indices().take(MARK_LIMIT_CHARS).find(|(_, c)| ends(*c))?;
    (end == close).then(|| &text[from..from + stop])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(text: &str) -> Vec<u32> {
        parse(text).into_iter().filter_map(|span| if let Span::Pause { ms, .. } = span { Some(ms) } else { None }).collect()
    }

    #[test]
    fn every_form_of_a_pause_has_its_length() {
        for (text, ms) in [
            ("[pause]", 500),
            ("[PAUSE]", 500),
            ("[pause:1.5s]", 1_500),
            ("[pause: 1,5 s ]", 1_500),
            ("[pause:\r\n1s\n]", 1_000),
            ("<break\ntime=\"1s\"/>", 1_000),
            ("[pause:300ms]", 300),
            ("[pause:2]", 2_000),
            ("[pause:750]", 750),
            ("[pause:0s]", 0),
            ("[pause:.5s]", 500),
            ("[pause:99s]", PAUSE_LIMIT_MS),
            ("[pause:99999999999s]", PAUSE_LIMIT_MS),
            ("<break/>", 500),
            ("<break>", 500),
            ("<break />", 500),
            ("<BREAK time='250ms'/>", 250),
            ("<break time=\"1s\"></break>", 1_000),
            ("<break strength=\"none\"/>", 0),
            ("<break strength=\"x-strong\"/>", 2_000),
            ("<break strength=\"weak\" time=\"+2s\"/>", 2_000),
        ] {
            assert_eq!(pauses(text), [ms], "{text}");
            assert_eq!(strip(text), "", "{text}");
        }
    }

    #[test]
    fn what_is_not_quite_a_mark_is_text() {
        for text in [
            "[paus]",
            "[pause:]",
            "[pause:soon]",
            "[pause:-1s]",
            "[pause:1e9s]",
            "[pause:1.2.3s]",
            "[pause",
            "[pause\u{0}]",
            "[voice:]",
            "[lang:]",
            "[lang:not a tag]",
            "[1]",
            "[applause]",
            "<breakfast/>",
            "<break time=1s/>",
            "<break time=\"1s/>",
            "<break time=\"soon\"/>",
            "<b>bold</b>",
            "a < b > c",
        ] {
            assert_eq!(parse(text), [Span::Text { text, range: 0..text.len() }], "{text}");
            assert_eq!(strip(text), text);
        }
    }

    #[test]
    fn spans_come_in_order_with_their_places() {
        let text = "Hi [pause:1s]you [voice: Anna Maria ]and [lang:pt_br]eu";
        assert_eq!(
            parse(text),
            [
                Span::Text { text: "Hi ", range: 0..3 },
                Span::Pause { ms: 1_000, range: 3..13 },
                Span::Text { text: "you ", range: 13..17 },
                Span::Voice { name: "Anna Maria".into(), range: 17..37 },
                Span::Text { text: "and ", range: 37..41 },
                Span::Language { tag: "pt-BR".into(), range: 41..53 },
                Span::Text { text: "eu", range: 53..55 },
            ]
        );
    }

    #[test]
    fn a_backslash_makes_a_mark_text() {
        assert_eq!(strip(r"Write \[pause] here"), "Write [pause] here");
        assert_eq!(strip(r#"\<break time="1s"/>"#), r#"<break time="1s"/>"#);
        assert_eq!(strip(r"a\\[pause]b"), r"a\[pause]b");
        assert_eq!(pauses(r"a\\[pause]b"), [0; 0]);
        assert_eq!(strip(r"C:\new\[folder]"), r"C:\new\[folder]");
        assert_eq!(pauses(r"[pause]\[pause][pause]"), [500, 500]);
        assert_eq!(parse(r"a\[pause]b"), [Span::Text { text: "a", range: 0..1 }, Span::Text { text: "[pause]b", range: 2..10 }]);
    }

    #[test]
    fn stripped_text_reads_as_if_the_mark_had_not_been_there() {
        assert_eq!(strip("Hello [pause] world"), "Hello world");
        assert_eq!(strip("Hello[pause]world"), "Hello world");
        assert_eq!(strip("Hello [pause], world"), "Hello, world");
        assert_eq!(strip("[voice:a] Hello [pause] [pause:2s] "), "Hello");
        assert_eq!(strip("你好[pause]世界"), "你好世界");
    }

    #[test]
    fn a_broken_mark_does_not_hide_the_next_one() {
        assert_eq!(pauses("[[[[pause:1s]"), [1_000]);
        assert_eq!(pauses("[pause[pause]"), [500]);
        assert_eq!(pauses("<break <break/>"), [500]);
        assert_eq!(pauses(&format!("[{}[pause]", "x".repeat(10_000))), [500]);
    }
}
