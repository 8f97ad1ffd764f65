//! Which pieces go into one cue, and where its lines break: both by the least cost, because the greedy cut leaves orphans.
//!
//! It may not know characters; it sees widths, times and the quality of each break.

use std::ops::Range;

use super::CueRules;
use super::token::{BreakAfter, Token};

/// Costs are in the same arbitrary unit: a break inside a clause costs ten.
const PER_CUE: f64 = 4.0;
const END_IN_CLAUSE: f64 = 10.0;
const END_AT_CLAUSE: f64 = 3.0;
/// Another sentence in the same cue: better in one of its own, unless that would be very short.
const SENTENCE_INSIDE: f64 = 5.0;
const TOO_SHORT: f64 = 6.0;
const LONG_PAUSE_INSIDE: f64 = 8.0;
/// Silence that ends a cue as naturally as a full stop does.
const LONG_PAUSE_MS: u64 = 1_200;

/// Ranges of pieces, one for each cue: the cheapest cut in which each cue fits its lines and its time.
///
/// A piece that alone is too long in time is a cue of its own; `Cue`s are ended by force later.
pub(super) fn into_cues(tokens: &[Token], rules: &CueRules) -> Vec<Range<usize>> {
    let n = tokens.len();
    // best[j]: the cost of the best cut of the first j pieces, and where its last cue begins.
    let mut best: Vec<(f64, usize)> = vec![(f64::INFINITY, 0); n + 1];
    best[0].0 = 0.0;
    for start in 0..n {
        let before = best[start].0;
        let mut lines = Lines::new(rules);
        let mut inside = 0.0;
        for end in start..n {
            let duration = tokens[end].end_ms.saturating_sub(tokens[start].start_ms);
            let alone = end == start;
            if !lines.add(&tokens[start..=end]) || (duration > rules.max_cue_ms && !alone) {
                break;
            }
            let cost = before + PER_CUE + inside + ending(tokens, end) + shortness(duration, rules);
            if cost < best[end + 1].0 {
                best[end + 1] = (cost, start);
            }
            inside += passing(tokens, end);
        }
    }
    let mut ranges = Vec::new();
    let mut end = n;
    while end > 0 {
        let start = best[end].1;
        ranges.push(start..end);
        end = start;
    }
    ranges.reverse();
    ranges
}

fn pause_after(tokens: &[Token], i: usize) -> u64 {
    tokens.get(i + 1).map_or(u64::MAX, |next| next.start_ms.saturating_sub(tokens[i].end_ms))
}

/// What it costs to end a cue after piece `i`.
fn ending(tokens: &[Token], i: usize) -> f64 {
    match tokens[i].break_after {
        _ if pause_after(tokens, i) >= LONG_PAUSE_MS => 0.0,
        BreakAfter::Sentence => 0.0,
        BreakAfter::Clause => END_AT_CLAUSE,
        BreakAfter::Anywhere => END_IN_CLAUSE,
    }
}

/// What it costs not to end it there.
fn passing(tokens: &[Token], i: usize) -> f64 {
    let pause = if pause_after(tokens, i) >= LONG_PAUSE_MS { LONG_PAUSE_INSIDE } else { 0.0 };
    pause + if tokens[i].break_after == BreakAfter::Sentence { SENTENCE_INSIDE } else { 0.0 }
}

fn shortness(duration_ms: u64, rules: &CueRules) -> f64 {
    let least = rules.min_cue_ms.max(1) as f64;
    TOO_SHORT * (1.0 - duration_ms as f64 / least).max(0.0)
}

/// Fills lines one after the other: if this way of filling does not fit, none does.
struct Lines {
    max_columns: usize,
    max_lines: usize,
    lines: usize,
    columns: usize,
}

impl Lines {
    fn new(rules: &CueRules) -> Self {
        Self { max_columns: rules.max_line_columns, max_lines: rules.max_lines, lines: 0, columns: 0 }
    }

    /// Adds the last of `tokens`; the others are in already. False: one line too many.
    fn add(&mut self, tokens: &[Token]) -> bool {
        let Some((last, before)) = tokens.split_last() else { return true };
        let space = usize::from(before.last().is_some_and(|t| t.space_after));
        if self.lines > 0 && self.columns + space + last.columns <= self.max_columns {
            self.columns += space + last.columns;
        } else {
            self.lines += 1;
            self.columns = last.columns;
        }
        self.lines <= self.max_lines
    }
}

/// The lines of one cue: as few as hold it, of about equal width, broken at a clause where that costs little.
pub(super) fn into_lines(tokens: &[Token], rules: &CueRules) -> Vec<String> {
    let mut greedy = Lines::new(rules);
    for end in 0..tokens.len() {
        greedy.add(&tokens[..=end]);
    }
    let count = greedy.lines.max(1);
    let total: usize = tokens.iter().map(|t| t.columns + usize::from(t.space_after)).sum();
    let ideal = total as f64 / count as f64;
    let n = tokens.len();
    // best[l][j]: the cheapest way to put the first j pieces on l lines, and where the last of those begins.
    let mut best = vec![vec![(f64::INFINITY, 0usize); n + 1]; count + 1];
    best[0][0].0 = 0.0;
    for line in 1..=count {
        for start in 0..n {
            let before = best[line - 1][start].0;
            if before.is_infinite() {
                continue;
            }
            for end in start + 1..=n {
                let columns = columns(&tokens[start..end]);
                if columns > rules.max_line_columns && end > start + 1 {
                    break;
                }
                let cost = before + (columns as f64 - ideal).powi(2) + if end < n { line_end(&tokens[end - 1]) } else { 0.0 };
                if cost < best[line][end].0 {
                    best[line][end] = (cost, start);
                }
            }
        }
    }
    let mut lines = Vec::with_capacity(count);
    let mut end = n;
    for line in (1..=count).rev() {
        let start = best[line][end].1;
        lines.push(text(&tokens[start..end]));
        end = start;
    }
    lines.reverse();
    lines
}

/// In squares of columns: a break inside a clause is as bad as lines that differ by sixteen columns.
fn line_end(token: &Token) -> f64 {
    match token.break_after {
        BreakAfter::Sentence | BreakAfter::Clause => 0.0,
        BreakAfter::Anywhere => 128.0,
    }
}

fn columns(tokens: &[Token]) -> usize {
    let Some((last, before)) = tokens.split_last() else { return 0 };
    before.iter().map(|t| t.columns + usize::from(t.space_after)).sum::<usize>() + last.columns
}

fn text(tokens: &[Token]) -> String {
    let mut line = String::new();
    for (i, token) in tokens.iter().enumerate() {
        line.push_str(&token.text);
        if token.space_after && i + 1 < tokens.len() {
            line.push(' ');
        }
    }
    line
}
