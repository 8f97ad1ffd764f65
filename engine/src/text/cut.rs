//! Cuts a stretch that is too long for one piece: at a sentence inside a quotation, at a clause, at a word, at last between graphemes.
//!
//! Looks ahead by one piece only, so work and memory are bounded by the piece's length. This file may not know languages; where
//! sentences end it is told.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use super::marks::Atom;

/// A "letter" of more characters than this is a stack of accents, and is cut like anything else.
const GRAPHEME_LIMIT_CHARS: usize = 64;

/// What to cut and where it may be cut; byte offsets are those of the whole text.
pub(super) struct Stretch<'a> {
    pub(super) text: &'a str,
    /// Begins and ends with something other than white space.
    pub(super) range: Range<usize>,
    pub(super) chars: usize,
    /// In order; none reaches over the ends of `range`.
    pub(super) atoms: &'a [Atom],
    /// In order: places at which a sentence begins.
    pub(super) sentence_starts: &'a [usize],
    pub(super) max_chars: usize,
    /// Where there is something to speak: no cut may leave a side without it.
    pub(super) spoken: Range<usize>,
}

/// How good a place is, the best last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Grapheme,
    /// At a space that holds together what is beside it.
    TightSpace,
    Word,
    /// After a comma, before a bracket, before a mark.
    Comma,
    /// After a semicolon, colon or dash.
    Clause,
    Sentence,
}

/// The piece would end at `end`, and the next begin at `next`, behind the white space.
#[derive(Debug, Clone, Copy)]
struct Place {
    end: usize,
    end_chars: usize,
    next: usize,
    next_chars: usize,
    level: Level,
}

impl Stretch<'_> {
    /// The pieces in order, trimmed, none empty. Longer than `max_chars` only where one grapheme or one mark is.
    pub(super) fn cut(&self) -> Vec<Range<usize>> {
        let mut pieces = Vec::new();
        let mut from = self.range.start;
        let mut remaining = self.chars;
        let mut atom = 0;
        while remaining > self.max_chars {
            while self.atoms.get(atom).is_some_and(|atom| atom.range.end <= from) {
                atom += 1;
            }
            let Some(place) = self.best_place(from, remaining, &self.atoms[atom..]) else {
                break;
            };
            pieces.push(from..place.end);
            from = place.next;
            remaining = remaining.saturating_sub(place.next_chars);
        }
        if from < self.range.end {
            pieces.push(from..self.range.end);
        }
        pieces
    }

    /// Where to end the piece that begins at `from`. Pieces are meant to come out about equally long, so that no crumb is left over.
    fn best_place(&self, from: usize, remaining: usize, atoms: &[Atom]) -> Option<Place> {
        let places = self.places(from, atoms);
        let target = remaining / remaining.div_ceil(self.max_chars);
        let nearest = |level: Level, least: usize| {
            let fits = |place: &&Place| place.level >= level && place.end_chars >= least && self.leaves_speech(from, place);
            places.iter().filter(fits).min_by_key(|place| place.end_chars.abs_diff(target)).copied()
        };
        [Level::Sentence, Level::Clause, Level::Comma, Level::Word, Level::TightSpace]
            .into_iter()
            .find_map(|level| nearest(level, target / 2))
            .or_else(|| nearest(Level::Word, 1))
            .or_else(|| nearest(Level::Grapheme, 1))
            .or_else(|| places.last().copied())
    }

    fn leaves_speech(&self, from: usize, place: &Place) -> bool {
        let has_left = place.end > self.spoken.start || from > self.spoken.start;
        has_left && place.next < self.spoken.end
    }

    /// Every place within reach of `from`, in order. At least one, unless the stretch ends first.
    fn places(&self, from: usize, atoms: &[Atom]) -> Vec<Place> {
        let mut walk = Walk { places: Vec::new(), after: After::default(), chars: 0, space: None, has_text: false };
        let mut at = from;
        let mut atoms = atoms.iter().peekable();
        while at < self.range.end && walk.within(self.max_chars) {
            let next_atom = atoms.peek().map_or(self.range.end, |atom| atom.range.start.max(at));
            if let Some(atom) = atoms.next_if(|atom| atom.range.start <= at) {
                let is_mark = atom.is_mark();
                walk.arrive(at, if is_mark { Level::Comma } else { Level::Grapheme }, self.begins_sentence(at));
                walk.pass(&self.text[at..atom.range.end]);
                at = atom.range.end;
                continue;
            }
            at = self.walk_text(&mut walk, at, next_atom);
        }
        walk.places.retain(|place| place.end_chars <= self.max_chars);
        if walk.places.is_empty() { self.emergency(from, at) } else { walk.places }
    }

    /// From `at` towards `to`, as far as a piece can reach.
    fn walk_text(&self, walk: &mut Walk, at: usize, to: usize) -> usize {
        let reach = self.max_chars.saturating_sub(walk.chars) + GRAPHEME_LIMIT_CHARS;
        let window_end = self.text[at..to].char_indices().nth(reach).map_or(to, |(offset, _)| at + offset);
        for (offset, grapheme) in self.text[at..window_end].grapheme_indices(true) {
            // An accent may sit on a space; pieces begin behind spaces all the same.
            let visible = grapheme.trim_start();
            let here = at + offset + grapheme.len() - visible.len();
            if visible.len() < grapheme.len() {
                walk.pass_space(at + offset, &grapheme[..grapheme.len() - visible.len()]);
            }
            if visible.is_empty() {
                continue;
            }
            walk.arrive(here, Level::Grapheme, self.begins_sentence(here));
            walk.pass(visible);
            if !walk.within(self.max_chars) {
                break;
            }
        }
        window_end
    }

    fn begins_sentence(&self, at: usize) -> bool {
        self.sentence_starts.binary_search(&at).is_ok()
    }

    /// No place within `max_chars`: one mark or one grapheme is longer. Marks stay whole, stacks of accents do not.
    fn emergency(&self, from: usize, seen: usize) -> Vec<Place> {
        let atom = self.atoms.get(self.atoms.partition_point(|atom| atom.range.end <= from)).filter(|atom| atom.range.start <= from);
        let end = match atom {
            Some(atom) => atom.range.end,
            None => {
                let text = &self.text[from..seen];
                let grapheme = text.graphemes(true).next().unwrap_or(text);
                let limit = self.max_chars.max(GRAPHEME_LIMIT_CHARS);
                let is_stack = grapheme.chars().count() > limit;
                let cut = grapheme.char_indices().nth(self.max_chars).filter(|_| is_stack).map_or(grapheme.len(), |(at, _)| at);
                from + cut
            }
        };
        let rest = &self.text[end..self.range.end];
        let space = rest.len() - rest.trim_start().len();
        let end_chars = self.text[from..end].chars().count();
        let next_chars = end_chars + rest[..space].chars().count();
        if end + space >= self.range.end {
            return Vec::new();
        }
        vec![Place { end, end_chars, next: end + space, next_chars, level: Level::Grapheme }]
    }
}

/// What the last characters promise for the place behind them.
#[derive(Debug, Clone, Copy, Default)]
struct After {
    /// Level of the next white space, where higher than a word's.
    at_space: Option<Level>,
    /// Level of the next place even without white space.
    at_once: Option<Level>,
    /// An opening bracket or quote: what follows belongs to it.
    opened: bool,
    /// There was white space in front of the last grapheme.
    spaced: bool,
}

struct Walk {
    places: Vec<Place>,
    after: After,
    /// Characters since the beginning of the piece.
    chars: usize,
    /// Where the white space began that has just been passed: byte, characters, and whether it may be broken.
    space: Option<(usize, usize, bool)>,
    has_text: bool,
}

impl Walk {
    fn within(&self, max_chars: usize) -> bool {
        self.space.map_or(self.chars, |(_, chars, _)| chars) <= max_chars
    }

    fn pass_space(&mut self, at: usize, space: &str) {
        let breakable = !space.contains(['\u{A0}', '\u{202F}', '\u{2007}']);
        let (begin, chars, was_breakable) = self.space.unwrap_or((at, self.chars, false));
        self.space = Some((begin, chars, was_breakable || breakable));
        self.chars += space.chars().count();
    }

    /// Something other than white space begins at `at`: the place in front of it is a candidate.
    fn arrive(&mut self, at: usize, least: Level, begins_sentence: bool) {
        let space = self.space.take();
        if !self.has_text {
            return;
        }
        let (end, end_chars) = space.map_or((at, self.chars), |(begin, chars, _)| (begin, chars));
        let mut level = match space {
            Some((_, _, true)) => self.after.at_space.unwrap_or(Level::Word),
            Some(_) => Level::TightSpace,
            None => self.after.at_once.unwrap_or(Level::Grapheme),
        };
        level = level.max(least);
        if self.after.opened {
            level = level.min(Level::TightSpace);
        }
        if begins_sentence {
            level = Level::Sentence;
        }
        self.after.spaced = space.is_some();
        self.places.push(Place { end, end_chars, next: at, next_chars: self.chars, level });
    }

    fn pass(&mut self, grapheme: &str) {
        let first = grapheme.chars().next().unwrap_or(' ');
        self.adjust_last(first);
        let spaced = self.after.spaced;
        self.after = self.after.then(first, spaced);
        self.chars += grapheme.chars().count();
        self.has_text = true;
        self.after.spaced = false;
    }

    /// The grapheme at a place may speak for or against it: closing marks hold on to the left, opening brackets begin something.
    fn adjust_last(&mut self, first: char) {
        let Some(place) = self.places.last_mut().filter(|place| place.next_chars == self.chars) else {
            return;
        };
        if place.level == Level::Sentence {
            return;
        }
        if holds_on(first) {
            place.level = place.level.min(Level::TightSpace);
        } else if matches!(first, '(' | '[' | '（' | '—') && place.level == Level::Word {
            place.level = Level::Comma;
        }
    }
}

impl After {
    fn then(self, c: char, spaced: bool) -> After {
        let both = |level| After { at_space: Some(level), at_once: Some(level), opened: false, spaced: false };
        let spaced_only = |level| After { at_space: Some(level), ..After::default() };
        match c {
            ',' => spaced_only(Level::Comma),
            '、' | '，' | '،' | '…' | '､' => both(Level::Comma),
            ';' | ':' => spaced_only(Level::Clause),
            '；' | '：' | '؛' | '—' | '―' => both(Level::Clause),
            '–' | '-' if spaced => spaced_only(Level::Clause),
            // Only a full stop inside a quotation or an abbreviation comes here: real ends are told by `sentence_starts`.
            '!' | '?' | '！' | '？' | '。' | '؟' | '।' => {
                After { at_space: Some(Level::Comma), at_once: (c as u32 > 0xFF).then_some(Level::Comma), ..After::default() }
            }
            ')' | ']' | '）' if self.at_space.is_none() => spaced_only(Level::Comma),
            c if is_closer(c) => After { opened: false, spaced: false, ..self },
            c if is_opener(c) => After { opened: true, ..After::default() },
            _ => After::default(),
        }
    }
}

/// `Bonjour !`, `10 %`: never the first of a piece.
fn holds_on(c: char) -> bool {
    is_closer(c) && c != '"' && c != '\''
        || matches!(
            c,
            '!' | '?'
                | ','
                | '.'
                | ';'
                | ':'
                | '%'
                | '…'
                | '。'
                | '、'
                | '，'
                | '；'
                | '：'
                | '！'
                | '？'
                | '،'
                | '؛'
                | '؟'
                | '।'
                | '·'
                | 'ー'
        )
}

fn is_closer(c: char) -> bool {
    matches!(c, ')' | ']' | '}' | '"' | '\'' | '’' | '”' | '»' | '›' | '）' | '」' | '』' | '》' | '】' | '〉' | '〕')
}

fn is_opener(c: char) -> bool {
    matches!(c, '(' | '[' | '{' | '“' | '‘' | '„' | '‚' | '«' | '‹' | '（' | '「' | '『' | '《' | '【' | '〈' | '〔' | '¿' | '¡')
}
