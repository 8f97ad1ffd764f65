//! Text to ids and back for models that translate: from `tokenizer.json`, or from what a GGUF carries.
//!
//! A text of a user is never read as a token of control: such tokens in it are broken up. This file may not know prompts.

use std::fmt;
use std::path::Path;

use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use crate::qwen3_tts::ModelError;
use crate::qwen3_tts::text_ids::SPLIT;

/// No tokenizer file is larger, in bytes.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// A token of control is not longer, in characters.
const CONTROL_CHARS_MAX: usize = 40;

pub(super) struct Tokens {
    tokenizer: Tokenizer,
    added: Vec<String>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("added", &self.added.len()).finish_non_exhaustive()
    }
}

/// What a GGUF says of its tokenizer, which is a byte-level BPE with Qwen2's split.
pub(super) struct BpeParts {
    /// By id.
    pub tokens: Vec<String>,
    /// Two pieces with a space between them.
    pub merges: Vec<String>,
    /// Ids of tokens that are no pieces of text.
    pub control: Vec<u32>,
}

impl Tokens {
    pub(super) fn load(folder: &Path) -> Result<Self, ModelError> {
        let file = folder.join("tokenizer.json");
        let bad = |detail: String| ModelError::Folder { file: file.clone(), detail };
        let bytes = std::fs::metadata(&file).map_err(|error| bad(error.to_string()))?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(bad(format!("has {bytes} bytes, more than any tokenizer")));
        }
        let mut tokenizer = Tokenizer::from_file(&file).map_err(|error| bad(error.to_string()))?;
        // Sentences are bounded before they come here.
        tokenizer.with_truncation(None).map_err(|error| bad(error.to_string()))?.with_padding(None);
        Ok(Self::of(tokenizer))
    }

    /// `file` names the parts in errors.
    pub(super) fn of_bpe(file: &Path, parts: BpeParts) -> Result<Self, ModelError> {
        let bad = |detail: String| ModelError::Folder { file: file.to_owned(), detail };
        let merges = parts.merges.iter().map(|merge| {
            let (left, right) = merge.split_once(' ').ok_or_else(|| bad(format!("the merge {merge:?} has no two parts")))?;
            Ok((left.to_owned(), right.to_owned()))
        });
        let merges = merges.collect::<Result<Vec<_>, ModelError>>()?;
        let vocabulary: Vec<(String, u32)> = parts.tokens.iter().cloned().zip(0..).collect();
        let bpe = BPE::builder().vocab_and_merges(vocabulary.into_iter().collect::<tokenizers::models::bpe::Vocab>(), merges).build();
        let mut tokenizer = Tokenizer::new(bpe.map_err(|error| bad(error.to_string()))?);
        let pattern = Split::new(SplitPattern::Regex(SPLIT.to_owned()), SplitDelimiterBehavior::Isolated, false);
        let pattern = pattern.map_err(|error| bad(error.to_string()))?;
        tokenizer.with_normalizer(Some(NFC)).map_err(|error| bad(error.to_string()))?;
        tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![pattern.into(), ByteLevel::new(false, false, false).into()])));
        tokenizer.with_decoder(Some(ByteLevel::new(false, false, false)));
        let control = parts.control.iter().filter_map(|id| parts.tokens.get(*id as usize));
        let control = control.map(|token| AddedToken::from(token.clone(), true).normalized(false));
        tokenizer.add_special_tokens(control).map_err(|error| bad(error.to_string()))?;
        Ok(Self::of(tokenizer))
    }

    fn of(tokenizer: Tokenizer) -> Self {
        let added = tokenizer.get_added_tokens_decoder().into_values().map(|token| token.content).filter(|token| token.len() > 1).collect();
        Self { tokenizer, added }
    }

    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// Tokens of control are read as such: only for text that this program wrote, or that passed [`Tokens::plain`]. With `whole`, what the
    /// model puts around every text is there too.
    pub(super) fn ids(&self, text: &str, whole: bool) -> Result<Vec<u32>, String> {
        Ok(self.tokenizer.encode(text, whole).map_err(|error| error.to_string())?.get_ids().to_vec())
    }

    /// Without tokens of control.
    pub(super) fn text(&self, ids: &[u32]) -> Result<String, String> {
        self.tokenizer.decode(ids, true).map_err(|error| error.to_string())
    }

    /// The text with every token of control in it broken up by a space: added ones, and `<...>` that are in the vocabulary.
    pub(super) fn plain(&self, text: &str) -> String {
        let broken = self.added.iter().fold(text.to_owned(), |text, token| {
            if text.contains(token.as_str()) { text.replace(token.as_str(), &broken_up(token)) } else { text }
        });
        let mut out = String::with_capacity(broken.len());
        let mut rest = broken.as_str();
        while let Some(start) = rest.find('<') {
            let end = rest[start..].char_indices().take(CONTROL_CHARS_MAX).find(|(_, c)| *c == '>').map(|(at, _)| start + at + 1);
            match end.map(|end| &rest[start..end]).filter(|token| self.id(token).is_some()) {
                Some(token) => {
                    out.push_str(&rest[..start]);
                    out.push_str(&broken_up(token));
                    rest = &rest[start + token.len()..];
                }
                None => {
                    out.push_str(&rest[..=start]);
                    rest = &rest[start + 1..];
                }
            }
        }
        out.push_str(rest);
        out
    }
}

fn broken_up(token: &str) -> String {
    let mut chars = token.chars();
    chars.next().map_or_else(String::new, |first| format!("{first} {}", chars.as_str()))
}
