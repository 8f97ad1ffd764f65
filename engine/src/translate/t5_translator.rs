//! MADLAD-400 behind the seam: a sentence with the target's token in front, through a T5.
//!
//! Source: the model's card (`<2xx>` before the text, nothing about the source's language) and MADLAD-400 (arXiv 2309.04662). It does nothing
//! but translate, so a text cannot talk it into anything. This file may not know tensors' shapes.

use std::ops::ControlFlow;
use std::path::Path;

use candle_core::Tensor;

use super::greedy::{Decoder, GreedyConfig, decode, longest_run};
use super::language::Targets;
use super::t5::{T5, T5State};
use super::tokens::Tokens;
use super::{Sentence, TranslateError, Translated, Translator, check, translated};
use crate::qwen3_tts::{LoadConfig, ModelError, Precision};

/// Attention over more grows with its square, and the model knows sentences only.
const INPUT_TOKENS_MAX: usize = 512;
/// Some languages take three tokens where others take one; short sentences may grow more.
const OUTPUT_FACTOR: usize = 3;
const OUTPUT_TOKENS_FREE: usize = 16;
/// No token in the list of a tokenizer is longer, in bytes, that may be a language.
const TOKEN_BYTES_MAX: usize = 24;

#[derive(Debug)]
pub(super) struct Madlad {
    model: T5,
    tokens: Tokens,
    targets: Targets,
}

impl Madlad {
    pub(super) fn load(folder: &Path, precision: Precision) -> Result<(Self, u64), ModelError> {
        let model = T5::load(&LoadConfig { folder: folder.to_owned(), precision })?;
        let bytes = model.bytes();
        Ok((Self { model, tokens: Tokens::load(folder)?, targets: targets(folder)? }, bytes))
    }

    /// The sentence as the model reads it.
    fn input(&self, word: &str, text: &str) -> Result<Vec<u32>, TranslateError> {
        let mut ids = self.tokens.ids(&format!("{word} {}", self.tokens.plain(text)), true).map_err(TranslateError::Failed)?;
        if ids.last() != Some(&self.model.config.eos_token_id) {
            ids.push(self.model.config.eos_token_id);
        }
        let language = self.tokens.id(word);
        if !ids.iter().take(2).any(|id| Some(*id) == language) || ids.iter().any(|id| *id as usize >= self.model.config.vocab_size) {
            return Err(TranslateError::Failed(format!("the tokenizer does not fit the model: {word} is no token of it")));
        }
        if ids.len() > INPUT_TOKENS_MAX {
            return Err(TranslateError::Refused(format!("a sentence has {} tokens, at most {INPUT_TOKENS_MAX} are read", ids.len())));
        }
        Ok(ids)
    }
}

/// `<2xx>` tokens stand quoted in `tokenizer.json`, in its vocabulary or in its list of added tokens; a search finds them without building
/// a tokenizer of 256,000 pieces.
pub(super) fn targets(folder: &Path) -> Result<Targets, ModelError> {
    let file = folder.join("tokenizer.json");
    let bad = |detail: String| ModelError::Folder { file: file.clone(), detail };
    let text = std::fs::read_to_string(&file).map_err(|error| bad(error.to_string()))?;
    let tokens = text.match_indices("\"<2").filter_map(|(at, _)| {
        let token = &text[at + 1..];
        let end = token.bytes().take(TOKEN_BYTES_MAX).position(|byte| byte == b'"')?;
        Some(&token[..end])
    });
    let targets = Targets::of_tokens(tokens);
    if targets.is_empty() { Err(bad("has no token such as <2fr>".to_owned())) } else { Ok(targets) }
}

/// One answer.
struct Answer<'m> {
    model: &'m T5,
    state: T5State,
}

impl Decoder for Answer<'_> {
    fn start(&mut self) -> candle_core::Result<Tensor> {
        T5::restart(&mut self.state);
        self.model.last_logits(&mut self.state, &[self.model.config.start_id()])
    }

    fn step(&mut self, token: u32) -> candle_core::Result<Tensor> {
        self.model.last_logits(&mut self.state, &[token])
    }
}

impl Translator for Madlad {
    fn engine(&self) -> &'static str {
        "madlad"
    }

    fn targets(&self) -> &Targets {
        &self.targets
    }

    fn translate(&self, sentence: Sentence<'_>, on_token: &mut dyn FnMut() -> ControlFlow<()>) -> Result<Translated, TranslateError> {
        let word = check(&self.targets, sentence)?;
        let ids = self.input(word, sentence.text)?;
        let max_tokens = OUTPUT_FACTOR * ids.len() + OUTPUT_TOKENS_FREE;
        let config = GreedyConfig {
            eos: vec![self.model.config.eos_token_id],
            banned: vec![self.model.config.pad_token_id],
            max_tokens,
            source_repeats: longest_run(&ids),
        };
        if on_token().is_break() {
            return Err(TranslateError::Stopped);
        }
        let failed = |error: candle_core::Error| TranslateError::Failed(error.to_string());
        let encoded = self.model.encode(&ids).map_err(failed)?;
        let state = self.model.begin(&encoded, max_tokens + 1).map_err(failed)?;
        let end = decode(&mut Answer { model: &self.model, state }, &config, on_token).map_err(failed)?;
        translated(end, |ids| Ok(self.tokens.text(ids)?.trim().to_owned()))
    }
}
