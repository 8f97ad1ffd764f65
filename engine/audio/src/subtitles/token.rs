//! The pieces of text between which a caption may be broken, each with its width and its time.
//!
//! Pieces are words where words are spaced, single characters in CJK scripts (with the punctuation that must not begin or end a
//! line), and slices of words that are wider than a line. It may not know cues.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::{SpokenChunk, TimedWord};

/// How good a place for a break the end of a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum BreakAfter {
    Anywhere,
    Clause,
    Sentence,
}

/// One piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) columns: usize,
    pub(super) space_after: bool,
    pub(super) break_after: BreakAfter,
    pub(super) start_ms: u64,
    pub(super) end_ms: u64,
    char_start: usize,
    char_end: usize,
}

/// Cuts a chunk's text into pieces of at most `max_columns` columns with rising times.
pub(super) fn tokens(chunk: &SpokenChunk, max_columns: usize) -> Vec<Token> {
    let mut tokens = pieces(chunk, max_columns);
    for token in &mut tokens {
        token.break_after = break_after(&token.text);
    }
    time(&mut tokens, chunk);
    tokens
}

fn pieces(chunk: &SpokenChunk, max_columns: usize) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    // Whether the last piece ends in a spaced script, with no space behind it.
    let mut open = false;
    // A space at which no line may end; it is written only between two pieces that it joins.
    let mut glue = None;
    let mut at = 0;
    for grapheme in chunk.text.graphemes(true) {
        let hidden = chunk.hidden_chars.iter().any(|r| r.contains(&(at as u32)));
        // A mark may sit on a space and make one grapheme with it: the space still counts.
        let visible = if hidden { "" } else { grapheme.trim_start_matches(|c: char| c.is_whitespace() || c.is_control()) };
        let space = &grapheme[..grapheme.len() - visible.len()];
        let end = at + grapheme.chars().count();
        let start = end - visible.chars().count();
        at = end;
        if hidden || space.contains(separates) {
            space_after(&mut tokens);
            open = false;
            glue = None;
        } else if let Some(c) = space.chars().next() {
            glue = Some(c);
        }
        if visible.is_empty() {
            continue;
        }
        let columns = visible.width();
        let between = glue.take();
        match tokens.last_mut() {
            Some(last)
                if (joins(last, visible, open) || (between.is_some() && !last.space_after))
                    && last.columns + usize::from(last.space_after || between.is_some()) + columns <= max_columns =>
            {
                let plain = if std::mem::take(&mut last.space_after) { Some(' ') } else { None };
                if let Some(space) = between.or(plain) {
                    last.text.push(space);
                    last.columns += 1;
                }
                last.text.push_str(visible);
                last.columns += columns;
                last.char_end = end;
            }
            _ => {
                if between.is_some() {
                    space_after(&mut tokens);
                }
                tokens.push(Token {
                    text: visible.to_owned(),
                    columns,
                    space_after: false,
                    break_after: BreakAfter::Anywhere,
                    start_ms: 0,
                    end_ms: 0,
                    char_start: start,
                    char_end: end,
                });
            }
        }
        open = !unspaced(visible);
    }
    tokens
}

fn space_after(tokens: &mut [Token]) {
    if let Some(last) = tokens.last_mut() {
        last.space_after = true;
    }
}

fn separates(c: char) -> bool {
    c.is_control() || (c.is_whitespace() && !NO_BREAK_SPACES.contains(c))
}

/// Whether `grapheme` must stand on the line of the piece before it. `open`: that piece ends in a spaced script, without a space.
fn joins(last: &Token, grapheme: &str, open: bool) -> bool {
    let never_first = grapheme.chars().next().is_some_and(|c| NEVER_FIRST.contains(c));
    if last.space_after {
        // French puts a space inside its quotation marks and before ? ! : ; and not everybody types it as unbreakable.
        return never_first || last.text == "«";
    }
    never_first || (open && !unspaced(grapheme)) || last.text.chars().last().is_some_and(|c| OPENING.contains(c))
}

/// Spaces at which no line may end.
const NO_BREAK_SPACES: &str = "\u{a0}\u{202f}\u{2007}";
/// Brackets and quotes that must not end a line.
const OPENING: &str = "([{«“‘„‚「『（【〈《〔［｛¿¡";
/// What must not begin a line (the core of the Japanese rules JIS X 4051, and what closes in other scripts).
const NEVER_FIRST: &str = ")]}»”’」』）】〉》〕］｝、。，．：；？！・…‥ー〜～々ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ,.;:!?%";
const SENTENCE_END: &str = ".!?…。！？．؟۔।॥";
const CLAUSE_END: &str = ",;:、，；：،؛–—";
/// May stand between the end of a sentence and the space after it.
const CLOSING: &str = "\"')]}»«”“’‘」』）】〉》";

/// Han, kana and their punctuation are written without spaces: a line may end after each character.
fn unspaced(grapheme: &str) -> bool {
    grapheme.chars().next().is_some_and(|c| {
        matches!(u32::from(c),
            0x2E80..=0x2FDF | 0x3001..=0x30FF | 0x3100..=0x312F | 0x31A0..=0x31FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF
            | 0xF900..=0xFAFF | 0xFF01..=0xFF60 | 0x20000..=0x323AF)
    })
}

fn break_after(text: &str) -> BreakAfter {
    match text.trim_end_matches(|c| CLOSING.contains(c)).chars().last() {
        Some(c) if SENTENCE_END.contains(c) => BreakAfter::Sentence,
        Some(c) if CLAUSE_END.contains(c) => BreakAfter::Clause,
        _ => BreakAfter::Anywhere,
    }
}

/// Gives each piece the time of the words it covers; pieces without any share the time between their neighbours by width.
fn time(tokens: &mut [Token], chunk: &SpokenChunk) {
    let mut words: Vec<&TimedWord> = chunk.words.iter().filter(|w| w.char_len > 0).collect();
    words.sort_by_key(|w| (w.char_start, w.start_ms));
    let mut times: Vec<Option<(u64, u64)>> = Vec::with_capacity(tokens.len());
    let mut from = 0;
    for token in tokens.iter() {
        let end_of = |w: &TimedWord| w.char_start as usize + w.char_len as usize;
        while from < words.len() && end_of(words[from]) <= token.char_start {
            from += 1;
        }
        let count = words[from..].iter().take_while(|w| (w.char_start as usize) < token.char_end).count();
        let covered = &words[from..from + count];
        let ends = covered.first().zip(covered.last());
        times.push(ends.map(|(first, last)| (inside(first, token.char_start), inside(last, token.char_end))));
    }
    let mut at = chunk.start_ms;
    let mut i = 0;
    while i < tokens.len() {
        if let Some((start, end)) = times[i] {
            tokens[i].start_ms = start.clamp(at, chunk.end_ms.max(at));
            tokens[i].end_ms = end.clamp(tokens[i].start_ms, chunk.end_ms.max(tokens[i].start_ms));
            at = tokens[i].end_ms;
            i += 1;
            continue;
        }
        let run = times[i..].iter().take_while(|t| t.is_none()).count();
        let until = times.get(i + run).copied().flatten().map_or(chunk.end_ms, |(start, _)| start).clamp(at, chunk.end_ms.max(at));
        share(&mut tokens[i..i + run], at, until);
        at = until;
        i += run;
    }
}

/// The moment at which the character `at` of the text begins, if it lies in `word`; its nearer end otherwise.
fn inside(word: &TimedWord, at: usize) -> u64 {
    let offset = at.saturating_sub(word.char_start as usize).min(word.char_len as usize) as u64;
    word.start_ms + word.end_ms.saturating_sub(word.start_ms) * offset / u64::from(word.char_len).max(1)
}

fn share(tokens: &mut [Token], from_ms: u64, to_ms: u64) {
    let total: u64 = tokens.iter().map(|t| t.columns.max(1) as u64).sum();
    let mut passed = 0;
    for token in tokens {
        token.start_ms = from_ms + (to_ms - from_ms) * passed / total.max(1);
        passed += token.columns.max(1) as u64;
        token.end_ms = from_ms + (to_ms - from_ms) * passed / total.max(1);
    }
}
