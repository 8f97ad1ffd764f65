//! The most likely token, again and again, until the model says that it has ended; and what to do about a model that does not.
//!
//! A greedy decoder that repeats itself never stops. Such an attempt is thrown away, and one more is made in which no four tokens come
//! twice in the same order. Pure but for the model behind [`Decoder`]. This file may not know text.

use std::ops::ControlFlow;

use candle_core::{Result, Tensor};

/// The longest phrase that is looked for in a circle, in tokens.
const PHRASE_TOKENS_MAX: usize = 24;
/// So often a phrase may stand behind itself, or twice as often as in the source.
const REPEATS_MAX: usize = 5;
/// In the second attempt no so many tokens come twice in the same order.
const NGRAM: usize = 4;

/// A model at the beginning of its answer.
pub(super) trait Decoder {
    /// Logits of the first token, of vocabulary size. Forgets what was said before.
    fn start(&mut self) -> Result<Tensor>;

    /// Logits after this token.
    fn step(&mut self, token: u32) -> Result<Tensor>;
}

#[derive(Debug, Clone)]
pub(super) struct GreedyConfig {
    /// Any of them ends the answer.
    pub eos: Vec<u32>,
    /// Never said: padding, and what opens another answer.
    pub banned: Vec<u32>,
    pub max_tokens: usize,
    /// How often a phrase stands behind itself in the source; see [`longest_run`].
    pub source_repeats: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The tokens, without the one that ended them.
    Said(Vec<u32>),
    Circle,
    Capped,
    Stopped,
}

/// At most `max_tokens` tokens in each of two attempts.
pub(super) fn decode(decoder: &mut dyn Decoder, config: &GreedyConfig, on_token: &mut dyn FnMut() -> ControlFlow<()>) -> Result<End> {
    match attempt(decoder, config, false, on_token)? {
        End::Circle | End::Capped => attempt(decoder, config, true, on_token),
        end => Ok(end),
    }
}

fn attempt(
    decoder: &mut dyn Decoder,
    config: &GreedyConfig,
    no_repeats: bool,
    on_token: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<End> {
    let allowed = REPEATS_MAX.max(2 * config.source_repeats);
    let mut said: Vec<u32> = Vec::new();
    if on_token().is_break() {
        return Ok(End::Stopped);
    }
    let mut logits = decoder.start()?;
    loop {
        let mut banned = config.banned.clone();
        if no_repeats {
            banned.extend(followers(&said));
        }
        let token = best(&logits.flatten_all()?.to_vec1::<f32>()?, &banned);
        if config.eos.contains(&token) {
            return Ok(End::Said(said));
        }
        if said.len() == config.max_tokens {
            return Ok(End::Capped);
        }
        said.push(token);
        if run_at_end(&said) > allowed {
            return Ok(End::Circle);
        }
        if on_token().is_break() {
            return Ok(End::Stopped);
        }
        logits = decoder.step(token)?;
    }
}

/// The first of the largest. What is no number is never chosen; where nothing is left, token 0.
fn best(logits: &[f32], banned: &[u32]) -> u32 {
    let mut best: Option<(u32, f32)> = None;
    for (token, value) in (0_u32..).zip(logits) {
        if best.is_none_or(|(_, most)| *value > most) && !value.is_nan() && !banned.contains(&token) {
            best = Some((token, *value));
        }
    }
    best.map_or(0, |(token, _)| token)
}

/// What stood behind the last three tokens whenever they came before.
fn followers(said: &[u32]) -> Vec<u32> {
    let Some(before) = said.len().checked_sub(NGRAM - 1) else { return Vec::new() };
    let last = &said[before..];
    said.windows(NGRAM).filter(|window| window[..NGRAM - 1] == *last).map(|window| window[NGRAM - 1]).collect()
}

/// How often the last phrase stands behind itself; 1 where it does not.
fn run_at_end(said: &[u32]) -> usize {
    (1..=PHRASE_TOKENS_MAX.min(said.len() / 2)).map(|length| run_of(said, length)).max().unwrap_or(1)
}

fn run_of(said: &[u32], length: usize) -> usize {
    let phrase = &said[said.len() - length..];
    said.rchunks_exact(length).take_while(|part| *part == phrase).count()
}

/// How often a phrase stands behind itself anywhere.
pub(super) fn longest_run(tokens: &[u32]) -> usize {
    (1..=tokens.len()).map(|end| run_at_end(&tokens[..end])).max().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use candle_core::Device;

    use super::*;

    /// Says what a table gives for the last token, and its second choice where that is banned.
    struct Table {
        next: Vec<(u32, u32)>,
        starts: usize,
    }

    impl Table {
        fn logits(&self, token: u32) -> Result<Tensor> {
            let (first, second) = self.next[token as usize];
            let mut logits = vec![f32::NAN; 8];
            logits[second as usize] = 1.0;
            logits[first as usize] = 2.0;
            Tensor::new(logits, &Device::Cpu)
        }
    }

    impl Decoder for Table {
        fn start(&mut self) -> Result<Tensor> {
            self.starts += 1;
            self.logits(0)
        }

        fn step(&mut self, token: u32) -> Result<Tensor> {
            self.logits(token)
        }
    }

    fn config(max_tokens: usize) -> GreedyConfig {
        GreedyConfig { eos: vec![7], banned: vec![6], max_tokens, source_repeats: 1 }
    }

    fn run(next: Vec<(u32, u32)>, config: &GreedyConfig) -> (End, usize) {
        let mut table = Table { next, starts: 0 };
        let end = decode(&mut table, config, &mut || ControlFlow::Continue(())).unwrap();
        (end, table.starts)
    }

    #[test]
    fn it_ends_where_the_model_says_so() {
        let next = vec![(1, 2), (2, 3), (7, 3)];
        assert_eq!(run(next, &config(10)), (End::Said(vec![1, 2]), 1));
        assert_eq!(run(vec![(7, 1)], &config(10)), (End::Said(vec![]), 1));
        // A banned token gives way to the next.
        assert_eq!(run(vec![(6, 1), (7, 3)], &config(10)), (End::Said(vec![1]), 1));
    }

    #[test]
    fn a_circle_is_left_in_a_second_attempt_or_given_up() {
        // 1 2 3 1 2 3 ...: after the ban of "1 2 3 1" comes the second choice, which ends it.
        let next = vec![(1, 1), (2, 2), (3, 3), (1, 7)];
        let (end, starts) = run(next, &config(100));
        assert_eq!((end, starts), (End::Said(vec![1, 2, 3, 1, 2, 3]), 2));
        let forever = vec![(1, 1), (1, 1)];
        assert_eq!(run(forever.clone(), &config(100)), (End::Circle, 2), "no other choice has a number");
        // A source that repeats itself so often may be translated so.
        let patient = GreedyConfig { source_repeats: 60, ..config(100) };
        assert_eq!(run(forever, &patient), (End::Capped, 2));
    }

    #[test]
    fn a_stop_is_heeded_at_every_token() {
        for at in 0..4 {
            let mut table = Table { next: vec![(1, 1), (2, 2), (3, 3), (7, 7)], starts: 0 };
            let mut calls = 0;
            let end = decode(&mut table, &config(10), &mut || {
                calls += 1;
                if calls > at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            assert_eq!(end.unwrap(), End::Stopped, "{at}");
        }
    }

    #[test]
    fn runs_are_counted() {
        assert_eq!(longest_run(&[1, 2, 1, 2, 1, 2, 9]), 3);
        assert_eq!(longest_run(&[5, 5, 5, 5]), 4);
        assert_eq!(longest_run(&[1, 2, 3]), 1);
        assert_eq!(longest_run(&[]), 1);
    }
}
