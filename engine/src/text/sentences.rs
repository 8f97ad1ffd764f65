//! Where sentences begin: `sentencex` on bounded windows, corrected where it is known to err.
//!
//! Windows keep the work linear (its quote and parenthesis search is quadratic on unbalanced input) and overlap, so that a window's
//! edge is never a sentence's edge. Marks are hidden from it. This file may not know how long a piece may be.

use std::ops::Range;

use super::marks::Atom;

/// What `sentencex` sees at once.
const WINDOW_BYTES: usize = 2_048;
/// The end of a window is read again with the next one, since a boundary is judged by what follows it.
const OVERLAP_BYTES: usize = 192;
/// Boundaries this near to a window's end are left to the next window.
const LOOKAHEAD_BYTES: usize = 64;

/// Whether sentences inside a quotation count. Dialogue stays whole unless it is too long for one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    Whole,
    Open,
}

/// The byte offsets in `text` at which a sentence begins, without 0, in order. Each is the place of a non-space character, of the
/// mark in front of it where there is one.
/// `atoms` are the marks of `text`, with ranges relative to it.
pub(super) fn sentence_starts(text: &str, atoms: &[Atom], language: &str, quotes: Quotes) -> Vec<usize> {
    let language = super::language::primary(language);
    let masked = mask(text, atoms, quotes);
    let segmenter = sentencex::language_factory(&language);
    let starts = windowed(&masked, |window| {
        let boundaries = segmenter.get_sentence_boundaries(window);
        boundaries.iter().map(|boundary| boundary.start_byte).filter(|start| *start > 0).collect()
    });
    let mut found = gaps(&masked, starts);
    found.retain(|gap| !is_false_end(&masked, gap, &language));
    found.extend(gaps(&masked, line_starts(&masked)));
    found.sort_unstable_by_key(|gap| gap.start);
    settle(atoms, found)
}

/// The text with marks as spaces (of the same length), so that they neither look like words nor like quotes. Long runs of quotes, that
/// would make the search for pairs slow, are spaces too, and so are all quotes where sentences inside them count.
fn mask(text: &str, atoms: &[Atom], quotes: Quotes) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut at = 0;
    let push = |part: &str, masked: &mut String| {
        let mut run = (' ', 0);
        for c in part.chars() {
            run = if run.0 == c { (c, run.1 + 1) } else { (c, 1) };
            if is_quote(c) && (run.1 > 2 || (quotes == Quotes::Open && c != '\'' && c != '’')) {
                masked.extend(std::iter::repeat_n(' ', c.len_utf8()));
            } else {
                masked.push(c);
            }
        }
    };
    for atom in atoms.iter().filter(|atom| atom.is_mark()) {
        push(&text[at..atom.range.start], &mut masked);
        masked.extend(std::iter::repeat_n(' ', atom.range.len()));
        at = atom.range.end;
    }
    push(&text[at..], &mut masked);
    masked
}

fn is_quote(c: char) -> bool {
    matches!(
        c,
        '"' | '\''
            | '`'
            | '«'
            | '»'
            | '‹'
            | '›'
            | '‘'
            | '’'
            | '‚'
            | '‛'
            | '“'
            | '”'
            | '„'
            | '‟'
            | '《'
            | '》'
            | '「'
            | '」'
            | '『'
            | '』'
    )
}

/// Runs `segment` (text -> starts of sentences in it) over windows of `text`. Each step moves on by a quarter of a window at least, so
/// `segment` sees every byte four times at most, whatever it answers.
fn windowed(text: &str, mut segment: impl FnMut(&str) -> Vec<usize>) -> Vec<usize> {
    let mut starts: Vec<usize> = Vec::new();
    let mut from = 0;
    let mut settled = 0;
    loop {
        let end = window_end(text, from);
        let is_last = end == text.len();
        let trusted = if is_last { end } else { end - LOOKAHEAD_BYTES };
        let mut last = from;
        for start in segment(&text[from..end]) {
            let start = from + start;
            if start < trusted && start > settled && text.is_char_boundary(start) {
                starts.push(start);
                settled = start;
                last = start;
            }
        }
        if is_last {
            return starts;
        }
        settled = settled.max(trusted - 1);
        // Begin again at the last sentence, to see it whole; but a sentence that fills most of a window is gone through in steps.
        from = if last - from >= WINDOW_BYTES / 4 { last } else { text.floor_char_boundary(end - OVERLAP_BYTES) };
        settled = if from == last { last } else { settled };
    }
}

/// The end of the window that begins at `from`: at a space where there is one near the end.
fn window_end(text: &str, from: usize) -> usize {
    if text.len() - from <= WINDOW_BYTES {
        return text.len();
    }
    let end = text.floor_char_boundary(from + WINDOW_BYTES);
    let near = text.floor_char_boundary(end - LOOKAHEAD_BYTES);
    text[near..end].rfind(char::is_whitespace).map_or(end, |space| near + space)
}

/// The white space around each of the sorted boundaries: from the end of one sentence to the begin of the next, empty where they touch.
/// Boundaries without text on both sides are dropped, and each white space is measured once.
fn gaps(masked: &str, starts: Vec<usize>) -> Vec<Range<usize>> {
    let mut gaps: Vec<Range<usize>> = Vec::with_capacity(starts.len());
    let mut measured = 0;
    for start in starts {
        if start < measured {
            continue;
        }
        let left = masked[..start].trim_end().len();
        let right = masked.len() - masked[start..].trim_start().len();
        measured = right.max(start + 1);
        if left > 0 && right < masked.len() {
            gaps.push(left..right);
        }
    }
    gaps
}

/// Where the sentences behind the gaps begin: at the first mark in the gap, else behind it. Boundaries inside a mark are dropped.
fn settle(atoms: &[Atom], gaps: Vec<Range<usize>>) -> Vec<usize> {
    let mut settled: Vec<usize> = Vec::with_capacity(gaps.len());
    for gap in gaps {
        let mut place = gap.end;
        if let Some(atom) = atoms.get(atoms.partition_point(|atom| atom.range.end <= gap.start)) {
            if atom.is_mark() && atom.range.start < place {
                place = atom.range.start;
            } else if atom.range.start < place && place < atom.range.end {
                continue;
            }
        }
        if settled.last().is_none_or(|last| place > *last) {
            settled.push(place);
        }
    }
    settled
}

/// Line ends that end a sentence though no punctuation says so: before an item of a list, and after a line that was broken long before
/// the margin (a heading).
fn line_starts(text: &str) -> Vec<usize> {
    const MARGIN_CHARS: usize = 60;
    if !text.contains('\n') {
        return Vec::new();
    }
    let lines: Vec<(usize, &str)> =
        text.split_inclusive('\n').scan(0, |at, line| Some((std::mem::replace(at, *at + line.len()), line))).collect();
    let length = |line: &str| line.trim().chars().count();
    let longest = lines.iter().map(|(_, line)| length(line)).max().unwrap_or(0);
    let mut starts = Vec::new();
    for pair in lines.windows(2) {
        let (line, (next_at, next)) = (length(pair[0].1), pair[1]);
        let heading = longest >= MARGIN_CHARS && line * 5 < longest * 3;
        if heading || is_list_item(next) {
            starts.push(next_at);
        }
    }
    starts
}

/// `- x`, `* x`, `• x`, `3. x`, `b) x`.
fn is_list_item(line: &str) -> bool {
    let line = line.trim_start();
    let marker = line.split_whitespace().next().unwrap_or_default();
    if marker.len() == line.trim_end().len() {
        return false;
    }
    let body = marker.strip_suffix(['.', ')']).unwrap_or_default();
    let numbered = (1..=3).contains(&body.len()) && body.bytes().all(|b| b.is_ascii_digit());
    let lettered = marker.ends_with(')') && body.len() == 1 && body.bytes().all(|b| b.is_ascii_alphabetic());
    numbered || lettered || matches!(marker, "-" | "*" | "+" | "•" | "◦" | "▪" | "‣" | "–" | "—" | "●" | "○")
}

/// Boundaries that `sentencex` sets and a reader would not.
fn is_false_end(text: &str, gap: &Range<usize>, language: &str) -> bool {
    let (left, right) = (&text[..gap.start], &text[gap.end..]);
    let (Some(before), Some(after)) = (left.chars().next_back(), right.chars().next()) else {
        return true;
    };
    let joined = gap.is_empty();
    if joined && inside_token(left, before, after) {
        return true;
    }
    // Sentence marks alone are the end of what came before: `« Où ? »`, `! !`.
    let alone = !right[after.len_utf8()..].starts_with(char::is_alphanumeric);
    if matches!(after, ',' | ';' | '!' | '?' | ')' | '」' | '』' | '。' | '、' | '，') || (alone && matches!(after, '…' | '»' | '”' | '“'))
    {
        return true;
    }
    if matches!(before, '」' | '』') && joined && matches!(after, 'と' | 'っ' | 'な') {
        return true;
    }
    before_lower_case(left, right) || (before == '.' && after_abbreviation(left, after, language))
}

/// The dots of `ASP.NET` and `Example.Com`, the question marks of addresses.
fn inside_token(left: &str, before: char, after: char) -> bool {
    if before == '.' && after.is_alphanumeric() {
        let word_before = left[..left.len() - 1].chars().next_back();
        return word_before.is_some_and(char::is_alphanumeric) && (after as u32) < 0x2E80;
    }
    let near = left.char_indices().rev().take(200).take_while(|(_, c)| !c.is_whitespace()).last();
    near.is_some_and(|(at, _)| left[at..].contains("://") || left[at..].starts_with("www."))
}

/// `… and`, `“What?” she said`, `— Да! — сказал он`: what goes on in lower case after these goes on. After a plain full stop it does
/// not: some people write without capitals.
fn before_lower_case(left: &str, right: &str) -> bool {
    let opens = |c: char| c.is_whitespace() || is_quote(c) || matches!(c, '—' | '–' | '-' | '(');
    let next = right.chars().take(8).find(|c| !opens(*c));
    if !next.is_some_and(char::is_lowercase) {
        return false;
    }
    let dash = right.starts_with(['—', '–', '-']);
    let end = left.trim_end_matches(is_quote);
    let ends_open = end.ends_with(['!', '?', '…']) || end.ends_with("..");
    end.ends_with('…') || end.ends_with("...") || (ends_open && (dash || end.len() < left.len()))
}

/// Titles, initials and ordinals that the lists of `sentencex` miss.
fn after_abbreviation(left: &str, after: char, language: &str) -> bool {
    let stem = &left[..left.len() - 1];
    let word_at = stem.char_indices().rev().take(16).take_while(|(_, c)| !c.is_whitespace() && !is_quote(*c) && *c != '(').last();
    let Some((at, _)) = word_at else {
        return false;
    };
    let word = &stem[at..];
    let letters = word.chars().count();
    // `т. е. он`, `s. u.`
    if letters == 1 && after.is_lowercase() && word.chars().all(char::is_alphabetic) {
        return true;
    }
    let listed = match language {
        "fr" => &["M", "MM", "Mme", "Mmes", "Mlle", "Mlles", "Me", "Mgr", "Dr", "Pr", "St", "Ste", "av", "art", "J.-C"][..],
        "hi" | "mr" | "ne" => &["डॉ", "श्री", "प्रो", "पं", "कु", "सुश्री", "श्रीमती", "मि"][..],
        "ru" | "uk" | "be" | "bg" => &["г", "гг", "ул", "им", "тов", "проф", "акад", "св", "рис", "стр", "см", "напр"][..],
        "es" => &["Sr", "Sra", "Srta", "Dr", "Dra", "Ud", "Uds", "Prof", "Profa", "núm", "pág"][..],
        "pt" => &["Sr", "Sra", "Srta", "Dr", "Dra", "Prof", "Profa", "Eng", "pág", "nº"][..],
        "it" => &["Sig", "sig", "Sigg", "Dott", "dott", "Dr", "Prof", "prof", "Avv", "avv", "Ing", "ing", "pag"][..],
        "de" => &["Hr", "Fr", "Dr", "Prof", "St", "Nr", "Str", "bzw", "ca", "evtl", "ggf", "Abb", "Kap", "Bd"][..],
        "nl" => &["dhr", "mevr", "dr", "drs", "prof", "ir", "ing", "mr"][..],
        "pl" => &["dr", "prof", "inż", "mgr", "ul", "św", "np", "tzn", "tj", "pan"][..],
        _ => &[][..],
    };
    if listed.contains(&word) {
        // `в 1999 г. Потом` may end a sentence, `г. Москва` does not: undecidable, and a pause less is the smaller harm.
        return !(matches!(word, "г" | "гг") && after.is_uppercase() && stem[..at].trim_end().ends_with(|c: char| c.is_ascii_digit()));
    }
    language == "de" && (1..=2).contains(&letters) && word.bytes().all(|b| b.is_ascii_digit()) && before_ordinal(&stem[..at])
}

/// German writes `die 2. Auflage`, `im 19. Jahrhundert`: a number with an article or such in front is an ordinal.
fn before_ordinal(left: &str) -> bool {
    const WORDS: &[&str] = &[
        "am", "im", "vom", "zum", "zur", "beim", "der", "die", "das", "dem", "den", "des", "ein", "eine", "einem", "einen", "einer", "ihr",
        "ihre", "ihren", "sein", "seine", "seinen", "mein", "meine", "meinen", "bis", "ab", "und", "jeder", "jede", "jedes", "jedem",
        "jeden",
    ];
    let left = left.trim_end();
    let at = left.char_indices().rev().take(10).take_while(|(_, c)| c.is_alphabetic()).last();
    at.is_some_and(|(at, _)| WORDS.contains(&left[at..].to_lowercase().as_str()))
}

/// The stretches of `range` between `starts`, trimmed, empty ones left out.
pub(super) fn stretches(text: &str, range: Range<usize>, starts: &[usize]) -> Vec<Range<usize>> {
    let mut stretches = Vec::with_capacity(starts.len() + 1);
    let mut from = range.start;
    for to in starts.iter().copied().chain([range.end]) {
        let part = text[from..to].trim_start();
        let begin = to - part.len();
        let length = part.trim_end().len();
        if length > 0 {
            stretches.push(begin..begin + length);
        }
        from = to;
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::marks::atoms;

    fn sentences<'a>(language: &str, text: &'a str) -> Vec<&'a str> {
        let starts = sentence_starts(text, &atoms(text), language, Quotes::Whole);
        stretches(text, 0..text.len(), &starts).into_iter().map(|range| &text[range]).collect()
    }

    /// Runs `windowed` with a segmenter that counts what it is shown.
    fn work(text: &str, mut answer: impl FnMut(&str) -> Vec<usize>) -> usize {
        let mut shown = 0;
        windowed(text, |window| {
            shown += window.len();
            assert!(window.len() <= WINDOW_BYTES);
            answer(window)
        });
        shown
    }

    #[test]
    fn no_answer_of_the_segmenter_makes_it_see_a_byte_more_than_five_times() {
        for unit in ["word ", "x", "😀", "Sentence. "] {
            for repeats in [1_000, 2_000, 40_000] {
                let text = unit.repeat(repeats);
                let nothing = work(&text, |_| Vec::new());
                let early = work(&text, |window| vec![unit.len().min(window.len())]);
                let late = work(&text, |window| (0..window.len()).step_by(unit.len()).skip(1).collect());
                let middle = work(&text, |window| vec![window.floor_char_boundary(window.len() / 4)]);
                for shown in [nothing, early, late, middle] {
                    assert!(shown <= 5 * text.len() + WINDOW_BYTES, "{shown} bytes shown of {}", text.len());
                }
            }
        }
    }

    #[test]
    fn a_window_edge_is_not_a_sentence_edge() {
        let sentence = "Mrs. Lund and Dr. Okafor walked to the pier at 5 p.m. and nobody said a word. ";
        let text = sentence.repeat(400);
        let found = sentences("en", &text);
        assert_eq!(found.len(), 400);
        assert!(found.iter().all(|found| *found == sentence.trim()));
    }

    #[test]
    fn a_sentence_longer_than_many_windows_is_one_sentence() {
        let text = format!("Start here. {}end. Then this.", "and so on ".repeat(2_000));
        let found = sentences("en", &text);
        assert_eq!(found.len(), 3, "{:?}", found.iter().map(|s| s.len()).collect::<Vec<_>>());
        assert_eq!(found[2], "Then this.");
    }

    #[test]
    fn marks_at_a_boundary_lead_the_next_sentence_and_never_hide_one() {
        assert_eq!(sentences("en", "One is here. [pause:1.5s] Two is here."), ["One is here.", "[pause:1.5s] Two is here."]);
        assert_eq!(sentences("en", "One is here.[pause]Two is here."), ["One is here.", "[pause]Two is here."]);
        assert_eq!(
            sentences("en", "He said “yes <break time=\"1s\"/> perhaps.” Then he left."),
            ["He said “yes <break time=\"1s\"/> perhaps.”", "Then he left."]
        );
        assert_eq!(sentences("en", "It ends here. [pause]"), ["It ends here. [pause]"]);
        assert_eq!(sentences("en", "[pause] It starts here."), ["[pause] It starts here."]);
        let long = format!("One is here. {}Two is here.", "[pause:300ms] ".repeat(20));
        assert_eq!(sentences("en", &long).len(), 2);
    }

    #[test]
    fn list_items_and_headings_end_at_their_line() {
        assert_eq!(sentences("en", "You need\n- two eggs\n- some milk\n- a pan"), ["You need", "- two eggs", "- some milk", "- a pan"]);
        let text =
            "The lighthouse\nNobody in the village could remember a winter in which the lamp had not\nbeen lit before the boats came home.";
        assert_eq!(sentences("en", text).len(), 2);
    }
}
