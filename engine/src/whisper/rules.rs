//! Which id may be written next: times come in pairs around text and never go back, and a time is written where times together are likelier
//! than any text. Source: `ApplyTimestampRules` and `SuppressTokens` of openai-whisper. Pure.

use super::choose::log_sum_exp;
use super::tokens::Tokens;

/// Takes what may not be written out of `scores`, after `written`.
pub(super) fn apply(scores: &mut [f32], written: &[u32], tokens: &Tokens) {
    let first_time = tokens.first_time() as usize;
    let mut forbid = |ids: &[u32]| {
        for &id in ids {
            if let Some(score) = scores.get_mut(id as usize) {
                *score = f32::NEG_INFINITY;
            }
        }
    };
    forbid(&tokens.never);
    if written.is_empty() {
        forbid(&tokens.never_first);
    }
    let is_time = |place: Option<&u32>| place.is_some_and(|id| tokens.is_time(*id));
    let last = is_time(written.last());
    let before = written.len() < 2 || is_time(written.get(written.len() - 2));
    if last && before {
        // A pair is complete: text follows.
        scores[first_time..].fill(f32::NEG_INFINITY);
    } else if last {
        // A pair is begun, or the text ends.
        scores[..tokens.end as usize].fill(f32::NEG_INFINITY);
    }
    if let Some(&time) = written.iter().rev().find(|id| tokens.is_time(**id)) {
        // The end of a segment may be the begin of the next; a segment is never empty.
        let from = if last && !before { time } else { time + 1 };
        scores[first_time..from as usize].fill(f32::NEG_INFINITY);
    }
    if written.is_empty() {
        scores[..first_time].fill(f32::NEG_INFINITY);
        if let Some(late) = scores.get_mut(first_time + tokens.first_time_max as usize + 1..) {
            late.fill(f32::NEG_INFINITY);
        }
    }
    let (text, times) = scores.split_at_mut(first_time);
    let likeliest = text.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if log_sum_exp(times) > likeliest {
        text.fill(f32::NEG_INFINITY);
    }
}
