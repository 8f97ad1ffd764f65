//! Subtitles: chunks of spoken text and the times of their words become cues, and cues become SRT or WebVTT.
//!
//! A cue is at most two lines of 42 columns and seven seconds (the usual limits of broadcasters), ends where a sentence or a clause
//! ends if it can, and never begins before the one before it has ended. It may not know sound, jobs or languages: scripts that are
//! written without spaces are recognised by their characters, and wide ones count two columns.

mod cut;
mod format;
mod token;

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::merge::MergedChunk;

pub use format::{write_srt, write_vtt};

/// One caption. Lines of `text` are separated by `\n`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cue {
    pub start_ms: u64,
    /// Later than `start_ms`, and at or before the start of the next cue.
    pub end_ms: u64,
    pub text: String,
}

/// When a piece of a chunk's text is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedWord {
    /// First character (not byte) in the chunk's text.
    pub char_start: u32,
    /// Number of characters.
    pub char_len: u32,
    /// In the whole file.
    pub start_ms: u64,
    pub end_ms: u64,
}

impl TimedWord {
    /// A word timed in its chunk, as the merge has placed that chunk.
    pub fn placed(char_start: u32, char_len: u32, in_chunk_ms: Range<u64>, chunk: &MergedChunk) -> Self {
        let place = |ms: u64| (chunk.start_ms + ms).saturating_sub(chunk.trimmed_lead_ms).clamp(chunk.start_ms, chunk.end_ms);
        Self { char_start, char_len, start_ms: place(in_chunk_ms.start), end_ms: place(in_chunk_ms.end) }
    }
}

/// A chunk as it is heard in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpokenChunk {
    pub text: String,
    /// Characters of `text` that nobody should read, such as pause marks. They separate words like a space.
    pub hidden_chars: Vec<Range<u32>>,
    pub start_ms: u64,
    pub end_ms: u64,
    /// In any order and with holes; without any, time is shared out by the width of the text.
    pub words: Vec<TimedWord>,
}

/// What a cue may be. Values of 0 count as 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CueRules {
    /// Columns of a line; a CJK character takes two.
    pub max_line_columns: usize,
    pub max_lines: usize,
    pub max_cue_ms: u64,
    /// A shorter cue stays on the screen this long if the next one leaves it the time.
    pub min_cue_ms: u64,
}

impl Default for CueRules {
    fn default() -> Self {
        Self { max_line_columns: 42, max_lines: 2, max_cue_ms: 7_000, min_cue_ms: 1_000 }
    }
}

/// Cuts chunks, in the order of time, into cues whose times strictly rise. No cue spans two chunks; a chunk without text gives none.
pub fn cues(chunks: &[SpokenChunk], rules: &CueRules) -> Vec<Cue> {
    let rules = CueRules {
        max_line_columns: rules.max_line_columns.max(2),
        max_lines: rules.max_lines.max(1),
        max_cue_ms: rules.max_cue_ms.max(1),
        min_cue_ms: rules.min_cue_ms.min(rules.max_cue_ms),
    };
    let mut all = Vec::new();
    for chunk in chunks {
        let tokens = token::tokens(chunk, rules.max_line_columns);
        for range in cut::into_cues(&tokens, &rules) {
            let part = &tokens[range];
            let (Some(first), Some(last)) = (part.first(), part.last()) else { continue };
            all.push(Cue { start_ms: first.start_ms, end_ms: last.end_ms, text: cut::into_lines(part, &rules).join("\n") });
        }
    }
    settle(&mut all, &rules);
    all
}

/// Makes times rise strictly, lets short cues stay while nothing follows, and ends over-long ones.
fn settle(cues: &mut [Cue], rules: &CueRules) {
    let mut free_from = 0;
    for i in 0..cues.len() {
        let next = cues.get(i + 1).map_or(u64::MAX, |c| c.start_ms);
        let cue = &mut cues[i];
        cue.start_ms = cue.start_ms.max(free_from);
        let wanted = cue.end_ms.max(cue.start_ms.saturating_add(rules.min_cue_ms));
        cue.end_ms = wanted.min(cue.start_ms.saturating_add(rules.max_cue_ms)).min(next).max(cue.start_ms + 1);
        free_from = cue.end_ms;
    }
}
