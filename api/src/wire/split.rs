//! Splitting a text into the pieces that would be spoken one by one.

use jobs::text::split::{Mode, Piece, SplitConfig};
use salvo::oapi::ToSchema;
use serde::{Deserialize, Serialize};

use crate::problem::FieldProblem;

#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[salvo(schema(example = json!({"text": "Dr. Ames paid 3.50 for a map. Nobody answered.", "max_chars": 250})))]
pub struct SplitRequest {
    #[serde(alias = "input")]
    pub text: Option<String>,
    /// BCP 47, or `auto`: found for each piece.
    #[serde(alias = "lang")]
    pub language: Option<String>,
    /// The longest piece, in characters; 250 when not given.
    #[salvo(schema(minimum = 1, maximum = 5000))]
    pub max_chars: Option<u32>,
    /// Shorter pieces join a neighbour; 20 when not given.
    #[salvo(schema(minimum = 0, maximum = 5000))]
    pub min_chars: Option<u32>,
    #[salvo(schema(value_type = Option<String>))]
    pub mode: Option<SplitMode>,
}

/// `sentence` or `paragraph`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SplitMode {
    Sentence,
    Paragraph,
}

impl SplitRequest {
    /// The text and how to split it, or what is wrong.
    pub fn into_parts(self, text_chars_max: u32) -> Result<(String, SplitConfig), Vec<FieldProblem>> {
        let mut errors = Vec::new();
        let text = self.text.unwrap_or_default();
        if text.trim().is_empty() {
            errors.push(FieldProblem::new("text", "must not be empty"));
        } else if text.chars().count() > text_chars_max as usize {
            errors.push(FieldProblem::new("text", format!("must have at most {text_chars_max} characters")));
        }
        let defaults = SplitConfig::default();
        let max_chars = self.max_chars.map_or(defaults.max_chars, |chars| chars as usize);
        if !(1..=5_000).contains(&max_chars) {
            errors.push(FieldProblem::new("max_chars", "must be between 1 and 5000"));
        }
        let min_chars = self.min_chars.map_or(defaults.min_chars.min(max_chars), |chars| chars as usize);
        if min_chars > max_chars {
            errors.push(FieldProblem::new("min_chars", "must be at most max_chars"));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mode = match self.mode {
            Some(SplitMode::Paragraph) => Mode::Paragraph,
            _ => Mode::Sentence,
        };
        Ok((text, SplitConfig { language: self.language, max_chars, min_chars, mode, ..SplitConfig::default() }))
    }
}

/// A piece of the text.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SplitChunk {
    pub index: u32,
    pub text: String,
    /// Where it begins, in characters of the text that was sent.
    pub start: usize,
    /// Where it ends, not included.
    pub end: usize,
    pub chars: usize,
    pub language: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SplitAnswer {
    /// The sentences, each whole, however long.
    pub sentences: Vec<String>,
    /// The pieces that would be spoken one by one.
    pub chunks: Vec<SplitChunk>,
    /// Of `chunks`.
    pub count: usize,
}

impl SplitAnswer {
    pub fn of(sentences: Vec<Piece>, pieces: Vec<Piece>) -> Self {
        let chunk = |(index, piece): (usize, Piece)| SplitChunk {
            index: index as u32,
            chars: piece.text.chars().count(),
            text: piece.text,
            start: piece.char_start,
            end: piece.char_end,
            language: piece.language,
        };
        Self {
            sentences: sentences.into_iter().map(|piece| piece.text).collect(),
            count: pieces.len(),
            chunks: pieces.into_iter().enumerate().map(chunk).collect(),
        }
    }
}
