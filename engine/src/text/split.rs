//! A text as the pieces that are spoken one by one: the plan of a chunked generation and the answer of `POST /api/text/split`.
//!
//! Paragraphs, then the stretches between voice and language marks, then sentences; silent bits join a neighbour, long stretches are
//! cut, crumbs are merged. No piece crosses a paragraph, a voice mark or a language, except that silent bits may cross a paragraph.
//! This file may not know what a piece sounds like.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::cut::Stretch;
use super::language::guess;
use super::marks::{Atom, AtomKind, atoms};
use super::sentences::{Quotes, sentence_starts, stretches};

/// Upper bound of [`SplitConfig::max_chars`]; more is taken as this.
pub const MAX_CHARS_LIMIT: usize = 5_000;
/// The default of [`SplitConfig::fallback_language`].
const LANGUAGE_OF_NOTHING: &str = "en";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitConfig {
    /// BCP 47 tag of the whole text; `None` or `auto`: found sentence by sentence. A `[lang:x]` mark overrules it from there on.
    pub language: Option<String>,
    /// What a text is taken for that gives no hint of its language; usually the voice's own.
    pub fallback_language: String,
    /// The longest piece, 1 to [`MAX_CHARS_LIMIT`]. Only a single mark or grapheme may be longer.
    pub max_chars: usize,
    /// Shorter pieces are merged with a neighbour where the result fits. Here a Chinese, Japanese or Korean character counts as two,
    /// since it takes about as long to say, and marks do not count.
    pub min_chars: usize,
    pub mode: Mode,
}

impl Default for SplitConfig {
    fn default() -> Self {
        SplitConfig {
            language: None,
            fallback_language: LANGUAGE_OF_NOTHING.to_owned(),
            max_chars: 250,
            min_chars: 20,
            mode: Mode::Sentence,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A piece is a sentence.
    #[default]
    Sentence,
    /// A piece is a paragraph, or as many whole sentences of it as fit.
    Paragraph,
}

/// One piece. Byte and character offsets are those of the input; `text` is the input between them, with line ends as spaces (one
/// character for one), marks included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    pub text: String,
    pub byte_start: usize,
    pub byte_end: usize,
    pub char_start: usize,
    pub char_end: usize,
    /// `char_end - char_start`.
    pub chars: usize,
    pub language: String,
    /// The last piece of its paragraph.
    pub paragraph_end: bool,
    /// The pause marks in front of the first word, added up. They are in `text` as well: this is for callers that trim silence.
    pub pause_before_ms: u32,
    /// The pause marks behind the last word, added up; 0 where there is no word at all.
    pub pause_after_ms: u32,
}

/// The pieces in order. Every character that is not white space is in exactly one of them. Nothing but white space: no piece.
pub fn split(text: &str, config: &SplitConfig) -> Vec<Piece> {
    let max_chars = config.max_chars.clamp(1, MAX_CHARS_LIMIT);
    let atoms = atoms(text);
    let source = Source { text, atoms: &atoms };
    let mut parts = fold_silent(source.parts(config));
    if config.mode == Mode::Paragraph {
        parts = merge(parts, max_chars, |_, _| true);
    }
    let mut pieces = Vec::with_capacity(parts.len());
    for part in parts {
        source.cut(part, max_chars, &mut pieces);
    }
    let min_chars = config.min_chars.min(max_chars);
    let pieces = merge(pieces, max_chars, |piece, _| piece.is_crumb(min_chars));
    let pieces = merge_back(pieces, max_chars, min_chars);
    source.finish(pieces)
}

/// A piece in the making.
#[derive(Debug, Clone)]
struct Part {
    /// In bytes, trimmed.
    range: Range<usize>,
    char_range: Range<usize>,
    language: String,
    paragraph: usize,
    /// Counts voice and language marks: parts of different turns are never merged.
    turn: usize,
    /// From the first to behind the last character that is spoken; `None`: marks and punctuation only.
    spoken: Option<Range<usize>>,
    /// Characters of marks.
    mark_chars: usize,
    /// Characters of East Asian scripts.
    wide_chars: usize,
}

impl Part {
    fn chars(&self) -> usize {
        self.char_range.len()
    }

    fn is_crumb(&self, min_chars: usize) -> bool {
        self.chars() - self.mark_chars + self.wide_chars < min_chars
    }

    fn is_beside(&self, next: &Part) -> bool {
        self.paragraph == next.paragraph && self.turn == next.turn && self.language == next.language
    }

    /// Takes the next part in; language, paragraph and turn are those of the part that speaks.
    fn absorb(&mut self, next: Part) {
        if self.spoken.is_none() && next.spoken.is_some() {
            (self.language, self.paragraph, self.turn) = (next.language, next.paragraph, next.turn);
        }
        self.range.end = next.range.end;
        self.char_range.end = next.char_range.end;
        self.mark_chars += next.mark_chars;
        self.wide_chars += next.wide_chars;
        self.spoken = match (self.spoken.take(), next.spoken) {
            (Some(first), Some(last)) => Some(first.start..last.end),
            (first, last) => first.or(last),
        };
    }
}

struct Source<'a> {
    text: &'a str,
    atoms: &'a [Atom],
}

impl Source<'_> {
    /// The marks that lie in `range`.
    fn atoms_in(&self, range: &Range<usize>) -> &[Atom] {
        let first = self.atoms.partition_point(|atom| atom.range.start < range.start);
        let last = self.atoms.partition_point(|atom| atom.range.start < range.end);
        &self.atoms[first..last.max(first)]
    }

    /// The sentences of the text.
    fn parts(&self, config: &SplitConfig) -> Vec<Part> {
        let fixed = config.language.as_deref().filter(|tag| !tag.is_empty() && *tag != "auto");
        let mut parts = Vec::new();
        let mut turn = 0;
        let mut marked: Option<String> = None;
        let mut previous = fixed.map_or_else(|| guess(self.text, &[], &config.fallback_language).tag, str::to_owned);
        let mut count = CharCount { text: self.text, byte: 0, chars: 0 };
        for (paragraph, range) in paragraphs(self.text, self.atoms).into_iter().enumerate() {
            for stretch in self.turns_in(&range) {
                if let Some(change) = self.atoms.get(self.atoms.partition_point(|atom| atom.range.start < stretch.start)) {
                    turn += usize::from(change.range.start == stretch.start && is_turn(change));
                    if let (true, AtomKind::Language(tag)) = (change.range.start == stretch.start, &change.kind) {
                        marked = (tag != "auto").then(|| tag.clone());
                    }
                }
                let told = marked.as_deref().or(fixed);
                let base = told.map_or_else(|| self.language_of(&stretch, &previous), str::to_owned);
                for range in self.sentences(&stretch, &base, Quotes::Whole) {
                    let language = if told.is_some() { base.clone() } else { self.language_of(&range, &base) };
                    parts.push(self.part(range, &mut count, language, (paragraph, turn)));
                }
                previous = base;
            }
        }
        parts
    }

    fn part(&self, range: Range<usize>, count: &mut CharCount<'_>, language: String, (paragraph, turn): (usize, usize)) -> Part {
        let char_range = count.at(range.start)..count.at(range.end);
        let spoken = self.spoken(&range);
        let marks = self.atoms_in(&range).iter().filter(|atom| atom.is_mark());
        let mark_chars = marks.map(|mark| self.text[mark.range.clone()].chars().count()).sum();
        let wide_chars = self.text[range.clone()].chars().filter(|c| is_wide(*c)).count();
        Part { range, char_range, language, paragraph, turn, spoken, mark_chars, wide_chars }
    }

    /// `range` cut in front of voice and language marks.
    fn turns_in(&self, range: &Range<usize>) -> Vec<Range<usize>> {
        let starts: Vec<usize> = self.atoms_in(range).iter().filter(|atom| is_turn(atom)).map(|atom| atom.range.start).collect();
        stretches(self.text, range.clone(), &starts)
    }

    fn sentences(&self, range: &Range<usize>, language: &str, quotes: Quotes) -> Vec<Range<usize>> {
        stretches(self.text, range.clone(), &self.sentence_starts(range, language, quotes))
    }

    fn sentence_starts(&self, range: &Range<usize>, language: &str, quotes: Quotes) -> Vec<usize> {
        let shift = |atom: &Atom| Atom { range: atom.range.start - range.start..atom.range.end - range.start, kind: atom.kind.clone() };
        let atoms: Vec<Atom> = self.atoms_in(range).iter().map(shift).collect();
        let starts = sentence_starts(&self.text[range.clone()], &atoms, language, quotes);
        starts.into_iter().map(|start| range.start + start).collect()
    }

    /// A sentence may be in another language than its paragraph, and a paragraph in another than the one before, but only where that
    /// is beyond doubt: a foreign voice for one sentence is worse than a foreign word in the right voice.
    fn language_of(&self, range: &Range<usize>, base: &str) -> String {
        let guess = guess(&self.text[range.clone()], &[], base);
        if guess.sure { guess.tag } else { base.to_owned() }
    }

    /// From the first to behind the last character outside of marks that an engine has a sound for.
    fn spoken(&self, range: &Range<usize>) -> Option<Range<usize>> {
        let mut spoken: Option<Range<usize>> = None;
        let mut see = |from: usize, to: usize| {
            let part = &self.text[from..to];
            if let Some(first) = part.find(has_sound) {
                let last = part.rfind(has_sound).unwrap_or(first);
                let end = from + last + part[last..].chars().next().map_or(0, char::len_utf8);
                spoken = Some(spoken.as_ref().map_or(from + first, |known| known.start)..end);
            }
        };
        let mut at = range.start;
        for atom in self.atoms_in(range).iter().filter(|atom| atom.is_mark()) {
            see(at, atom.range.start);
            at = atom.range.end;
        }
        see(at, range.end);
        spoken
    }

    fn cut(&self, part: Part, max_chars: usize, pieces: &mut Vec<Part>) {
        if part.chars() <= max_chars {
            pieces.push(part);
            return;
        }
        let sentence_starts = self.sentence_starts(&part.range, &part.language, Quotes::Open);
        let stretch = Stretch {
            text: self.text,
            range: part.range.clone(),
            chars: part.chars(),
            atoms: self.atoms_in(&part.range),
            sentence_starts: &sentence_starts,
            max_chars,
            spoken: part.spoken.clone().unwrap_or(part.range.clone()),
        };
        let mut count = CharCount { text: self.text, byte: part.range.start, chars: part.char_range.start };
        for range in stretch.cut() {
            pieces.push(self.part(range, &mut count, part.language.clone(), (part.paragraph, part.turn)));
        }
    }

    fn finish(&self, parts: Vec<Part>) -> Vec<Piece> {
        let mut pieces = Vec::with_capacity(parts.len());
        let mut parts = parts.into_iter().peekable();
        while let Some(part) = parts.next() {
            let paragraph_end = parts.peek().is_none_or(|next| next.paragraph != part.paragraph);
            let (pause_before_ms, pause_after_ms) = match &part.spoken {
                Some(spoken) => (self.pauses_ms(part.range.start..spoken.start), self.pauses_ms(spoken.end..part.range.end)),
                None => (self.pauses_ms(part.range.clone()), 0),
            };
            pieces.push(Piece {
                text: self.text[part.range.clone()].replace(is_line_end, " "),
                byte_start: part.range.start,
                byte_end: part.range.end,
                char_start: part.char_range.start,
                char_end: part.char_range.end,
                chars: part.chars(),
                language: part.language,
                paragraph_end,
                pause_before_ms,
                pause_after_ms,
            });
        }
        pieces
    }

    fn pauses_ms(&self, range: Range<usize>) -> u32 {
        let pause = |atom: &Atom| if let AtomKind::Pause(ms) = atom.kind { ms } else { 0 };
        self.atoms_in(&range).iter().map(pause).fold(0, u32::saturating_add)
    }
}

fn is_turn(atom: &Atom) -> bool {
    matches!(atom.kind, AtomKind::Voice(_) | AtomKind::Language(_))
}

fn is_wide(c: char) -> bool {
    matches!(c as u32, 0x1100..=0x11FF | 0x3040..=0x30FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xAC00..=0xD7FF | 0xF900..=0xFAFF | 0x20000..=0x3FFFF)
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{B}' | '\u{C}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Not white space, not punctuation, not invisible.
pub(super) fn has_sound(c: char) -> bool {
    match c as u32 {
        0..=0xBF => {
            c.is_alphanumeric()
                || matches!(c, '$' | '%' | '&' | '+' | '=' | '@' | '£' | '€' | '¥' | '§' | '°' | '²' | '³' | '¢' | '©' | '®')
        }
        0x2000..=0x206F | 0x2E00..=0x2E7F | 0x3000..=0x3004 | 0x3008..=0x3020 | 0x3030 | 0x30FB => false,
        0xFE00..=0xFE6F | 0xFEFF | 0xFF01..=0xFF0F | 0xFF1A..=0xFF20 | 0xFF3B..=0xFF40 | 0xFF5B..=0xFF65 | 0xFFF0..=0xFFFF => false,
        0x60C | 0x61B..=0x61F | 0x66A..=0x66D | 0x6D4 | 0x964 | 0x965 | 0xE0000..=0xE0FFF => false,
        _ => !c.is_whitespace() && !c.is_control(),
    }
}

/// Paragraphs, trimmed: what stands between blank lines. A blank line inside of a mark is none.
fn paragraphs(text: &str, atoms: &[Atom]) -> Vec<Range<usize>> {
    let mut paragraphs = Vec::new();
    let mut open: Option<Range<usize>> = None;
    let mut at = 0;
    let mut next_atom = 0;
    for line in text.split_inclusive(['\n', '\u{2029}']) {
        let content = line.trim();
        if !content.is_empty() {
            let begin = at + (line.len() - line.trim_start().len());
            open = Some(open.map_or(begin, |open| open.start)..begin + content.len());
        }
        at += line.len();
        while atoms.get(next_atom).is_some_and(|atom| atom.range.end <= at) {
            next_atom += 1;
        }
        let inside_mark = atoms.get(next_atom).is_some_and(|atom| atom.range.start < at);
        if (content.is_empty() || line.ends_with('\u{2029}')) && !inside_mark {
            paragraphs.extend(open.take());
        }
    }
    paragraphs.extend(open);
    paragraphs
}

/// A part that is only marks or punctuation joins a part that speaks: marks go to what follows them in the paragraph, punctuation to
/// what it follows; across paragraphs only where there is no other way.
fn fold_silent(parts: Vec<Part>) -> Vec<Part> {
    let mut folded: Vec<Part> = Vec::with_capacity(parts.len());
    let mut parts = parts.into_iter().peekable();
    while let Some(mut part) = parts.next() {
        while part.spoken.is_none() {
            let same = |other: &Part| other.paragraph == part.paragraph;
            let back_fits = folded.last().is_some_and(same);
            let forward_fits = parts.peek().is_some_and(same);
            let back = back_fits && (part.mark_chars == 0 || !forward_fits);
            if back || (parts.peek().is_none() && !folded.is_empty()) {
                break;
            }
            let Some(next) = parts.next() else {
                break;
            };
            part.absorb(next);
        }
        match folded.last_mut() {
            Some(last) if part.spoken.is_none() => last.absorb(part),
            _ => folded.push(part),
        }
    }
    folded
}

/// Merges each part with those after it while `wants(part, next)`, they are beside each other, and the result fits.
fn merge(parts: Vec<Part>, max_chars: usize, wants: impl Fn(&Part, &Part) -> bool) -> Vec<Part> {
    let mut merged: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts {
        match merged.last_mut() {
            Some(last) if wants(last, &part) && last.is_beside(&part) && fits(last, &part, max_chars) => last.absorb(part),
            _ => merged.push(part),
        }
    }
    merged
}

/// Merges what is still too short with the part before it.
fn merge_back(parts: Vec<Part>, max_chars: usize, min_chars: usize) -> Vec<Part> {
    merge(parts, max_chars, |_, next| next.is_crumb(min_chars))
}

fn fits(part: &Part, next: &Part, max_chars: usize) -> bool {
    next.char_range.end - part.char_range.start <= max_chars
}

/// Byte offsets to character offsets, for offsets that only grow.
struct CharCount<'a> {
    text: &'a str,
    byte: usize,
    chars: usize,
}

impl CharCount<'_> {
    fn at(&mut self, byte: usize) -> usize {
        debug_assert!(byte >= self.byte);
        self.chars += self.text[self.byte..byte].chars().count();
        self.byte = byte;
        self.chars
    }
}
