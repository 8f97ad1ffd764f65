//! From logits to a code, in the reference's order: repetition penalty, earliest end, suppressed codes, then (only when sampling)
//! temperature, top-k, top-p and one draw.
//!
//! Source: the generation of transformers 4.57 as `qwen_tts` calls it. Pure: every random number comes from the caller's [`Draws`]; this
//! file may not know tensors.

use std::cmp::Ordering;

/// The last codes of the talker's vocabulary are control codes; only the end among them can be chosen.
pub(super) const SUPPRESSED_TAIL: usize = 1_024;

/// The end cannot be chosen before this many codes.
const MIN_NEW_CODES: usize = 2;

/// How one of the two models chooses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// False: the largest logit, and nothing below matters.
    pub sample: bool,
    /// Above 0.
    pub temperature: f32,
    /// 0 keeps all.
    pub top_k: usize,
    /// 1 keeps all.
    pub top_p: f32,
}

/// Random numbers of one slot: PCG-XSH-RR 64/32 (O'Neill 2014), so that equal seeds give equal speech on every machine.
#[derive(Debug, Clone)]
pub(super) struct Draws {
    state: u64,
}

const MULTIPLIER: u64 = 6_364_136_223_846_793_005;
const INCREMENT: u64 = 1_442_695_040_888_963_407;

impl Draws {
    pub(super) fn new(seed: u64) -> Self {
        let mut draws = Self { state: INCREMENT.wrapping_add(seed) };
        draws.next();
        // The seed is stirred in twice: seeds that differ in a low bit begin far apart.
        draws.state = draws.state.wrapping_add(seed.rotate_left(32));
        draws.next();
        draws
    }

    fn next(&mut self) -> u32 {
        let old = self.state;
        self.state = old.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT);
        let mixed = (((old >> 18) ^ old) >> 27) as u32;
        mixed.rotate_right((old >> 59) as u32)
    }

    /// Uniform in 0..1, 53 bits.
    fn unit(&mut self) -> f64 {
        let bits = (u64::from(self.next()) << 21) ^ (u64::from(self.next()) >> 11);
        (bits & ((1 << 53) - 1)) as f64 / (1_u64 << 53) as f64
    }
}

/// What the talker's choice obeys beside [`Sampling`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    pub repetition_penalty: f32,
    pub end: u32,
    /// First codes of this slot so far: the prompt is embeddings and counts for nothing.
    pub chosen: &'a [u32],
}

/// The talker's choice.
pub(super) fn first_code(mut logits: Vec<f32>, rules: Rules<'_>, sampling: Sampling, draws: &mut Draws) -> u32 {
    let mut seen = vec![false; logits.len()];
    for &code in rules.chosen {
        let code = code as usize;
        if code < logits.len() && !std::mem::replace(&mut seen[code], true) {
            let logit = logits[code];
            logits[code] = if logit < 0.0 { logit * rules.repetition_penalty } else { logit / rules.repetition_penalty };
        }
    }
    let end = rules.end as usize;
    let kept = if rules.chosen.len() < MIN_NEW_CODES { f32::NEG_INFINITY } else { logits[end] };
    let tail = logits.len().saturating_sub(SUPPRESSED_TAIL);
    logits[tail..].fill(f32::NEG_INFINITY);
    logits[end] = kept;
    choose(logits, sampling, draws)
}

/// Index of the chosen logit. The predictor's choice is this alone.
pub(super) fn choose(mut logits: Vec<f32>, sampling: Sampling, draws: &mut Draws) -> u32 {
    if !sampling.sample {
        return largest(&logits);
    }
    logits.iter_mut().for_each(|logit| *logit /= sampling.temperature);
    let mut order: Vec<u32> = (0..logits.len() as u32).filter(|at| logits[*at as usize] > f32::NEG_INFINITY).collect();
    // Ties in the order of the codes, so that equal logits never depend on the sort.
    let falling = |a: &u32, b: &u32| logits[*b as usize].partial_cmp(&logits[*a as usize]).unwrap_or(Ordering::Equal).then(a.cmp(b));
    if sampling.top_k > 0 && sampling.top_k < order.len() {
        order.select_nth_unstable_by(sampling.top_k - 1, falling);
        let least = logits[order[sampling.top_k - 1] as usize];
        // The reference keeps every logit that equals the last one kept.
        order.retain(|at| logits[*at as usize] >= least);
    }
    order.sort_unstable_by(falling);
    draw(&logits, &order, sampling.top_p, draws)
}

/// The first of the largest.
fn largest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (at, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = at;
        }
    }
    best as u32
}

/// `order`: the codes that are left, most likely first.
fn draw(logits: &[f32], order: &[u32], top_p: f32, draws: &mut Draws) -> u32 {
    let Some(&first) = order.first() else { return largest(logits) };
    let top = logits[first as usize];
    let weight = |at: &u32| f64::from(logits[*at as usize] - top).exp();
    let total: f64 = order.iter().map(weight).sum();
    // The nucleus: the fewest likeliest codes that reach top_p, at least one.
    let mut nucleus = 0.0;
    let mut kept = 0;
    while kept < order.len() && (kept == 0 || top_p >= 1.0 || nucleus < f64::from(top_p) * total) {
        nucleus += weight(&order[kept]);
        kept += 1;
    }
    let mut left = draws.unit() * nucleus;
    for at in &order[..kept] {
        left -= weight(at);
        if left < 0.0 {
            return *at;
        }
    }
    order[kept - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Sampling = Sampling { sample: true, temperature: 1.0, top_k: 0, top_p: 1.0 };
    const GREEDY: Sampling = Sampling { sample: false, ..ALL };

    /// How often each code is drawn.
    fn counts(logits: &[f32], sampling: Sampling) -> Vec<usize> {
        let mut draws = Draws::new(7);
        let mut counts = vec![0; logits.len()];
        for _ in 0..20_000 {
            counts[choose(logits.to_vec(), sampling, &mut draws) as usize] += 1;
        }
        counts
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let counts = counts(&[0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln(), f32::NEG_INFINITY], ALL);
        for (count, expected) in counts.iter().zip([10_000.0, 6_000.0, 4_000.0]) {
            assert!((*count as f64 - expected).abs() < 4.0 * expected.sqrt(), "{counts:?}");
        }
        assert_eq!(counts[3], 0);
    }

    #[test]
    fn top_k_keeps_the_likeliest_and_their_equals() {
        let kept = counts(&[1.0, 3.0, 2.0, 2.0, 0.0], Sampling { top_k: 2, ..ALL });
        assert_eq!(kept.iter().map(|count| usize::from(*count > 0)).collect::<Vec<_>>(), [0, 1, 1, 1, 0]);
    }

    #[test]
    fn top_p_keeps_the_fewest_that_reach_it() {
        let logits = [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln()];
        assert_eq!(counts(&logits, Sampling { top_p: 0.4, ..ALL })[1..], [0, 0]);
        assert_eq!(counts(&logits, Sampling { top_p: 0.7, ..ALL })[2], 0);
        assert!(counts(&logits, Sampling { top_p: 0.9, ..ALL })[2] > 0);
    }

    #[test]
    fn a_low_temperature_is_greedy() {
        let counts = counts(&[0.0, 1.0, 0.9], Sampling { temperature: 0.01, ..ALL });
        assert!(counts[1] > 19_000);
    }

    #[test]
    fn control_codes_are_never_chosen_but_the_end_is() {
        let vocab = 64 + SUPPRESSED_TAIL;
        let mut logits = vec![0.0; vocab];
        (logits[70], logits[80], logits[3]) = (9.0, 8.0, 1.0);
        let rules = |chosen| Rules { repetition_penalty: 1.0, end: 80, chosen };
        let pick = |chosen| first_code(logits.clone(), rules(chosen), GREEDY, &mut Draws::new(1));
        assert_eq!(pick(&[]), 3, "the end cannot come first");
        assert_eq!(pick(&[1]), 3);
        assert_eq!(pick(&[1, 2]), 80);
    }

    #[test]
    fn the_penalty_counts_a_code_once() {
        let mut logits = vec![-9.0; 64 + SUPPRESSED_TAIL];
        (logits[1], logits[2], logits[3]) = (1.0, 0.95, -1.0);
        let rules = Rules { repetition_penalty: 1.05, end: 70, chosen: &[1, 1, 1] };
        assert_eq!(first_code(logits.clone(), rules, GREEDY, &mut Draws::new(1)), 1, "1 / 1.05 is 0.952, and not divided again");
        let rules = Rules { repetition_penalty: 1.06, ..rules };
        assert_eq!(first_code(logits, rules, GREEDY, &mut Draws::new(1)), 2);
    }

    #[test]
    fn seeds_decide() {
        let run = |seed| {
            let mut draws = Draws::new(seed);
            (0..64).map(|_| choose(vec![0.0; 100], ALL, &mut draws)).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }
}
