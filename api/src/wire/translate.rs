//! Translations as the contract shows them.

use jobs::translate_text::TranslateOrder;
use salvo::oapi::ToSchema;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::waiting::Asking;

/// Texts to be said in another language.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[salvo(schema(example = json!({"text": "Good morning. How are you?", "source": "auto", "target": "fr"})))]
pub struct TranslateRequest {
    /// Line ends and marks such as `[pause]` stay where they are.
    #[serde(alias = "input")]
    pub text: Option<String>,
    /// Several texts, each by itself, instead of `text`.
    pub texts: Option<Vec<String>>,
    /// BCP 47, or `auto`: found sentence by sentence.
    #[serde(alias = "source_language", alias = "from")]
    pub source: Option<String>,
    /// BCP 47.
    #[serde(alias = "target_language", alias = "to", alias = "language", alias = "lang")]
    pub target: Option<String>,
    /// An id of `GET /api/models` that can translate, or `auto`: the best that is installed.
    pub model: Option<String>,
}

impl TranslateRequest {
    pub fn into_order(self, asking: Asking) -> Result<TranslateOrder, Problem> {
        let (texts, single) = match (self.text, self.texts) {
            (Some(text), None) => (vec![text], true),
            (None, Some(texts)) => (texts, false),
            (Some(_), Some(_)) => return Err(Problem::invalid_field("texts", "give either text or texts")),
            (None, None) => return Err(Problem::invalid_field("text", "is needed")),
        };
        let said = |value: Option<String>| value.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty() && text != "auto");
        Ok(TranslateOrder {
            texts,
            single,
            source: said(self.source),
            target: said(self.target).ok_or_else(|| Problem::invalid_field("target", "is needed: a language tag such as fr"))?,
            model: said(self.model),
            idempotency: asking.once.map(|once| once.key),
            trace: asking.trace,
        })
    }
}

/// What a translation has made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Translation {
    /// Of `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translation: Option<String>,
    /// Of `texts`, in their order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translations: Option<Vec<String>>,
    /// As it was given, or found; null where there are no words.
    pub source: Option<String>,
    pub target: String,
    /// `madlad` or `qwen3`; null where there was nothing to translate.
    pub engine: Option<String>,
    pub model: Option<String>,
    /// Sentences that the model could not translate; they stand in the answer as they were.
    pub untranslated: Vec<Untranslated>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Untranslated {
    /// Of the text.
    pub index: u32,
    pub text: String,
    pub reason: String,
}
