//! When each word was said, from where the alignment heads looked: normalised over the ids, smoothed by a median, averaged over heads, and the
//! cheapest monotone path through it. Source: `timing.py` of openai-whisper (dynamic time warping after Sakoe and Chiba 1978). Pure.

use std::ops::Range;

use super::Word;
use super::config::POSITION_MS;
use super::tokens::{Joined, joined};

/// A word is cut to twice the usual length where it stands beside the end of a sentence, and the usual is never more than this.
const USUAL_MS_MAX: f64 = 700.0;
const SENTENCE_ENDS: &str = ".。!！?？";
/// Below -50 dB of full scale nobody speaks.
const SILENCE: f32 = 104.0 / 32_768.0;
const SAMPLES_A_MS: usize = 16;
const FRAME_MS: u64 = 10;
/// Shorter silences are stops within words.
const GAP_MS_MIN: u64 = 100;
const PAUSE_MS_MIN: u64 = 130;
/// So near to a gap, or a pause, a word's edge belongs to it.
const NEAR_MS: u64 = 40;
const PAUSE_NEAR_MS: u64 = 200;

/// The position of the encoder at which each row begins. `looks`: for each head rows x positions, the weights of a softmax. Rows begin in
/// order; there are as many results as rows.
pub fn align(looks: &[Vec<Vec<f32>>], median_width: usize) -> Vec<usize> {
    let rows = looks.first().map_or(0, Vec::len);
    let positions = looks.first().and_then(|head| head.first()).map_or(0, Vec::len);
    if rows == 0 || positions == 0 {
        return vec![0; rows];
    }
    let mut sum = vec![vec![0.0_f64; positions]; rows];
    for head in looks {
        let smooth = smoothed(&normalised(head, rows, positions), median_width);
        for (sum, row) in sum.iter_mut().zip(smooth) {
            for (sum, value) in sum.iter_mut().zip(row) {
                *sum -= value / looks.len() as f64;
            }
        }
    }
    path(&sum)
}

/// Each row is a share of what is looked at (part of a window may be silence and is left out), and then every position is standardised over
/// the rows.
fn normalised(head: &[Vec<f32>], rows: usize, positions: usize) -> Vec<Vec<f64>> {
    let shares = head.iter().map(|row| {
        let total: f64 = row.iter().copied().map(f64::from).sum();
        row.iter().map(|value| f64::from(*value) / total.max(f64::MIN_POSITIVE)).collect::<Vec<f64>>()
    });
    let mut shares: Vec<Vec<f64>> = shares.collect();
    for at in 0..positions {
        let mean = shares.iter().map(|row| row[at]).sum::<f64>() / rows as f64;
        let variance = shares.iter().map(|row| (row[at] - mean).powi(2)).sum::<f64>() / rows as f64;
        let deviation = variance.sqrt();
        for row in &mut shares {
            row[at] = if deviation > 0.0 { (row[at] - mean) / deviation } else { 0.0 };
        }
    }
    shares
}

/// The median of so many neighbours, edges reflected.
fn smoothed(rows: &[Vec<f64>], width: usize) -> Vec<Vec<f64>> {
    let half = width / 2;
    let smooth = |row: &Vec<f64>| {
        if row.len() <= half || half == 0 {
            return row.clone();
        }
        let last = row.len() as isize - 1;
        let at = |place: isize| {
            let place = place.abs();
            row[(if place > last { 2 * last - place } else { place }) as usize]
        };
        let around = |place: usize| {
            let mut near: Vec<f64> = (0..=2 * half).map(|offset| at(place as isize + offset as isize - half as isize)).collect();
            near.sort_by(f64::total_cmp);
            near[half]
        };
        (0..row.len()).map(around).collect()
    };
    rows.iter().map(smooth).collect()
}

/// Where the cheapest path from the first to the last corner enters each row.
fn path(cost: &[Vec<f64>]) -> Vec<usize> {
    let (rows, columns) = (cost.len(), cost[0].len());
    #[derive(Clone, Copy, PartialEq)]
    enum From {
        Both,
        Row,
        Column,
    }
    let mut best = vec![vec![f64::INFINITY; columns + 1]; rows + 1];
    let mut from = vec![vec![From::Column; columns + 1]; rows + 1];
    from[0].fill(From::Column);
    for row in from.iter_mut().skip(1) {
        row[0] = From::Row;
    }
    best[0][0] = 0.0;
    for column in 1..=columns {
        for row in 1..=rows {
            let (both, above, beside) = (best[row - 1][column - 1], best[row - 1][column], best[row][column - 1]);
            let (least, way) = if both < above && both < beside {
                (both, From::Both)
            } else if above < both && above < beside {
                (above, From::Row)
            } else {
                (beside, From::Column)
            };
            best[row][column] = cost[row - 1][column - 1] + least;
            from[row][column] = way;
        }
    }
    let (mut row, mut column) = (rows, columns);
    let mut entered = vec![0; rows];
    while row > 0 || column > 0 {
        if row > 0 {
            entered[row - 1] = column.saturating_sub(1);
        }
        match from[row][column] {
            From::Both => (row, column) = (row - 1, column - 1),
            From::Row => row -= 1,
            From::Column => column -= 1,
        }
    }
    entered
}

/// Words in their places. `begins` has one entry for each id and one for the end, `probabilities` one for each id.
pub(super) fn timed(words: &[(String, Vec<u32>)], begins: &[usize], probabilities: &[f32]) -> Vec<Word> {
    let ms = |at: usize| begins.get(at).or(begins.last()).map_or(0, |position| *position as u64 * POSITION_MS);
    let mut from = 0;
    let mut timed = Vec::new();
    for (word, ids) in words {
        let to = from + ids.len();
        let of_word = probabilities.get(from..to).unwrap_or_default();
        let probability = of_word.iter().sum::<f32>() / of_word.len().max(1) as f32;
        timed.push(Word { word: word.clone(), start_ms: ms(from), end_ms: ms(to), probability });
        from = to;
    }
    shorten(&mut timed);
    timed
}

/// The pause after a sentence is no part of its last word, nor that before it of its first.
fn shorten(words: &mut [Word]) {
    let mut lengths: Vec<f64> = words.iter().map(|word| (word.end_ms - word.start_ms) as f64).filter(|length| *length > 0.0).collect();
    lengths.sort_by(f64::total_cmp);
    let usual = lengths.get(lengths.len() / 2).copied().unwrap_or(0.0).min(USUAL_MS_MAX);
    let longest = (2.0 * usual) as u64;
    let ends = |word: &str| !word.trim().is_empty() && word.trim().chars().all(|c| SENTENCE_ENDS.contains(c));
    for at in 1..words.len() {
        if words[at].end_ms - words[at].start_ms > longest {
            if ends(&words[at].word) {
                words[at].end_ms = words[at].start_ms + longest;
            } else if ends(&words[at - 1].word) {
                words[at].start_ms = words[at].end_ms - longest;
            }
        }
    }
}

/// Shares words out to segments by their ids, and puts punctuation to the word it belongs to.
pub(super) fn shared_out(words: &[(String, Vec<u32>)], timed: Vec<Word>, ids_of_segments: &[usize]) -> Vec<Vec<Word>> {
    let mut all = timed.into_iter().zip(words.iter().map(|(_, ids)| ids.len()));
    let mut segments = Vec::new();
    for &ids in ids_of_segments {
        let (mut seen, mut of_segment) = (0, Vec::new());
        while seen < ids {
            let Some((word, count)) = all.next() else { break };
            seen += count;
            of_segment.push(word);
        }
        segments.push(with_punctuation(of_segment));
    }
    segments
}

fn with_punctuation(words: Vec<Word>) -> Vec<Word> {
    let mut kept: Vec<Word> = Vec::new();
    let mut before: Option<Word> = None;
    for mut word in words {
        match (joined(&word.word), kept.last_mut()) {
            (Joined::ToNext, _) => {
                before = Some(word);
                continue;
            }
            (Joined::ToLast, Some(last)) if before.is_none() => {
                last.word.push_str(&word.word);
                continue;
            }
            _ => {}
        }
        if let Some(mark) = before.take() {
            word.word = format!("{}{}", mark.word, word.word.trim_start());
        }
        kept.push(word);
    }
    kept.extend(before);
    kept.retain(|word| !word.word.trim().is_empty());
    kept
}

/// Where nothing is heard for long enough to be no part of a word, in ms.
fn gaps(samples: &[f32]) -> Vec<Range<u64>> {
    let mut gaps: Vec<Range<u64>> = Vec::new();
    for (at, frame) in samples.chunks(FRAME_MS as usize * SAMPLES_A_MS).enumerate() {
        if frame.iter().any(|sample| sample.abs() > SILENCE) {
            continue;
        }
        let from = at as u64 * FRAME_MS;
        match gaps.last_mut() {
            Some(gap) if gap.end == from => gap.end += FRAME_MS,
            _ => gaps.push(from..from + FRAME_MS),
        }
    }
    gaps.retain(|gap| gap.end - gap.start >= GAP_MS_MIN);
    gaps
}

/// A word does not last into the silence around it. The heads look a little early, so that a word that is said after a pause seems to begin before
/// it: near a pause, words end and begin where it does. `words` are in order.
pub(super) fn snug(words: &mut [Word], samples: &[f32]) {
    let gaps = gaps(samples);
    let is_pause = |gap: &Range<u64>| gap.end - gap.start >= PAUSE_MS_MIN;
    for word in words.iter_mut() {
        for gap in &gaps {
            let near_ms = if is_pause(gap) { PAUSE_NEAR_MS } else { NEAR_MS };
            if (gap.start.saturating_sub(near_ms)..gap.end).contains(&word.start_ms) && gap.end < word.end_ms {
                word.start_ms = gap.end;
            }
        }
    }
    for at in 0..words.len() {
        let next_ms = words.get(at + 1).map_or(u64::MAX, |next| next.start_ms.saturating_add(1));
        let word = &mut words[at];
        for gap in gaps.iter().filter(|gap| word.start_ms < gap.start) {
            let before = is_pause(gap) && gap.end <= next_ms && word.end_ms + PAUSE_NEAR_MS >= gap.start;
            if (before || word.end_ms > gap.start) && word.end_ms <= gap.end + NEAR_MS {
                word.end_ms = gap.start;
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str, start_ms: u64, end_ms: u64) -> Word {
        Word { word: text.to_owned(), start_ms, end_ms, probability: 1.0 }
    }

    #[test]
    fn rows_begin_where_they_look() {
        let look = |from: usize, to: usize| (0..60).map(|at| if (from..to).contains(&at) { 1.0 } else { 0.001 }).collect::<Vec<f32>>();
        let head = vec![look(0, 20), look(20, 35), look(35, 60)];
        let begins = align(&[head.clone(), head], 7);
        assert_eq!(begins.len(), 3);
        for (found, right) in begins.iter().zip([0, 20, 35]) {
            assert!(found.abs_diff(right) <= 1, "{begins:?}");
        }
        assert!(align(&[], 7).is_empty());
        assert_eq!(align(&[vec![vec![1.0; 3]]], 7), [0]);
    }

    #[test]
    fn punctuation_goes_with_its_word_and_pauses_with_none() {
        let mut words =
            vec![word(" (", 0, 10), word("one", 10, 300), word(")", 300, 320), word(".", 320, 5_000), word(" two", 5_000, 5_300)];
        shorten(&mut words);
        assert!(words[3].end_ms < 1_000);
        let texts: Vec<String> = with_punctuation(words).into_iter().map(|word| word.word).collect();
        assert_eq!(texts, [" (one).", " two"]);
    }

    #[test]
    fn words_end_and_begin_at_pauses() {
        // Sound until 300 ms, from 500 to 700 ms, and from 760 ms on.
        let heard = |ms: usize| ms < 300 || (500..700).contains(&ms) || ms >= 760;
        let samples: Vec<f32> = (0..1_000 * SAMPLES_A_MS).map(|at| if heard(at / SAMPLES_A_MS) { 0.5 } else { 0.0 }).collect();
        let mut words = vec![word("one", 0, 180), word("two", 180, 840), word("three", 840, 1_000)];
        snug(&mut words, &samples);
        let times: Vec<(u64, u64)> = words.iter().map(|word| (word.start_ms, word.end_ms)).collect();
        assert_eq!(times, [(0, 300), (500, 840), (840, 1_000)], "the stop within the second word is no pause");
    }
}
