//! Text of one language to text of another, on this machine: a trait, two kinds of models behind it, and what is done to a text around them.
//!
//! MADLAD-400 (T5) has 400 languages and does nothing but translate; Qwen3 writes better in the large languages and may be talked to by a
//! text. Both decode greedily: the same sentence gives the same words. This module may not know jobs, voices or where models come from.

mod document;
mod escape;
mod gguf;
mod greedy;
mod language;
mod qwen3;
mod qwen3_lm;
mod t5;
mod t5_layers;
mod t5_translator;
mod tokens;
mod wrappers;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use models::manifest::Family;

pub use document::{Document, Gap, Segment};
pub use language::{Targets, same_language};
pub use qwen3_lm::{Qwen3Lm, Qwen3State};
pub use t5::{T5, T5State};

use self::greedy::End;
use crate::qwen3_tts::{ModelError, Precision};

/// A longer sentence is cut before it comes here; in characters.
pub const SENTENCE_CHARS_MAX: usize = 1_000;

/// One sentence, or a piece of one: no marks, no line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sentence<'a> {
    /// At most [`SENTENCE_CHARS_MAX`] characters.
    pub text: &'a str,
    /// BCP 47.
    pub source: &'a str,
    /// BCP 47.
    pub target: &'a str,
}

/// What came of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Translated {
    Text(String),
    /// The model went in a circle or found no end, twice, or said nothing: there is no translation, and none is made up.
    Nothing(&'static str),
}

/// Sorted by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum TranslateError {
    /// `on_token` asked to stop: not a failure.
    #[error("stopped on request")]
    Stopped,
    /// The request is wrong: another target language, a shorter sentence.
    #[error("{0}")]
    Refused(String),
    /// Another attempt may succeed.
    #[error("{0}")]
    Failed(String),
}

/// A loaded model that translates.
pub trait Translator: Send + Sync + std::fmt::Debug {
    /// `madlad` or `qwen3`.
    fn engine(&self) -> &'static str;

    /// The languages that it can be asked for.
    fn targets(&self) -> &Targets;

    /// `on_token` is called before each step of the model; `Break` ends the call with [`TranslateError::Stopped`].
    ///
    /// # Errors
    /// [`TranslateError`].
    fn translate(&self, sentence: Sentence<'_>, on_token: &mut dyn FnMut() -> ControlFlow<()>) -> Result<Translated, TranslateError>;
}

/// What to load, and how.
#[derive(Debug, Clone)]
pub struct TranslatorConfig {
    /// Laid out as the published repositories.
    pub folder: PathBuf,
    pub family: Family,
    /// Of the large matrices; a GGUF keeps its own.
    pub precision: Precision,
}

/// Reads the weights, which takes seconds. Gives the bytes that they take, too.
///
/// # Errors
/// [`ModelError::Folder`] where the folder is no such model.
pub fn load(config: &TranslatorConfig) -> Result<(Box<dyn Translator>, u64), ModelError> {
    match config.family {
        Family::Madlad => {
            let (translator, bytes) = t5_translator::Madlad::load(&config.folder, config.precision)?;
            Ok((Box::new(translator), bytes))
        }
        Family::Qwen3 => {
            let (translator, bytes) = qwen3::Qwen3::load(&config.folder, config.precision)?;
            Ok((Box::new(translator), bytes))
        }
        other => Err(not_a_translator(&config.folder, other)),
    }
}

/// The languages of a model that is not loaded.
///
/// # Errors
/// [`ModelError::Folder`] where the folder is no such model.
pub fn targets(folder: &Path, family: Family) -> Result<Targets, ModelError> {
    match family {
        Family::Madlad => t5_translator::targets(folder),
        Family::Qwen3 => Ok(Targets::of_qwen3()),
        other => Err(not_a_translator(folder, other)),
    }
}

/// What the model calls the target language of a sentence that is not too long.
fn check<'t>(targets: &'t Targets, sentence: Sentence<'_>) -> Result<&'t str, TranslateError> {
    if sentence.text.chars().count() > SENTENCE_CHARS_MAX {
        return Err(TranslateError::Refused(format!("a sentence has more than {SENTENCE_CHARS_MAX} characters")));
    }
    let unknown = || TranslateError::Refused(format!("the model does not know {}; it knows {}", sentence.target, targets.named()));
    targets.word(sentence.target).ok_or_else(unknown)
}

/// What came of an answer; `text` reads its tokens.
fn translated(end: End, text: impl FnOnce(&[u32]) -> Result<String, String>) -> Result<Translated, TranslateError> {
    match end {
        End::Stopped => Err(TranslateError::Stopped),
        End::Circle => Ok(Translated::Nothing("the model went in a circle")),
        End::Capped => Ok(Translated::Nothing("the model found no end")),
        End::Said(ids) => {
            let text = text(&ids).map_err(TranslateError::Failed)?;
            Ok(if text.is_empty() { Translated::Nothing("the model said nothing") } else { Translated::Text(text) })
        }
    }
}

fn not_a_translator(folder: &Path, family: Family) -> ModelError {
    ModelError::Folder { file: folder.to_owned(), detail: format!("models of the family {family:?} do not translate") }
}
