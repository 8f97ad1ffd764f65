//! Text to ids: byte-level BPE built from `vocab.json`, `merges.txt` and the added tokens of `tokenizer_config.json`, because the
//! published folders hold no `tokenizer.json`.
//!
//! Source: Qwen2's tokenizer (NFC, its split pattern, bytes as letters, no merges across the split). Texts of users are never allowed to
//! spell an added token. This file may not know what the ids are for.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use super::ModelError;
use super::config;

/// Contractions, letters, single digits, punctuation with its line ends, line ends, spaces.
pub(crate) const SPLIT: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

pub(super) struct TextIds {
    tokenizer: Tokenizer,
    added: Vec<String>,
}

impl std::fmt::Debug for TextIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextIds").field("added", &self.added).finish_non_exhaustive()
    }
}

#[derive(Debug, Deserialize)]
struct TokenizerConfig {
    added_tokens_decoder: BTreeMap<String, Added>,
}

#[derive(Debug, Deserialize)]
struct Added {
    content: String,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    special: bool,
}

impl TextIds {
    pub(super) fn load(folder: &Path) -> Result<Self, ModelError> {
        let (vocab, merges) = (folder.join("vocab.json"), folder.join("merges.txt"));
        let names = folder.join("tokenizer_config.json");
        let bad = |file: &Path, detail: String| ModelError::Folder { file: file.to_owned(), detail };
        for file in [&vocab, &merges] {
            std::fs::metadata(file).map_err(|error| bad(file, error.to_string()))?;
        }
        let bpe = BPE::from_file(&vocab.to_string_lossy(), &merges.to_string_lossy()).build();
        let mut tokenizer = Tokenizer::new(bpe.map_err(|error| bad(&vocab, error.to_string()))?);
        let pattern = Split::new(SplitPattern::Regex(SPLIT.to_owned()), SplitDelimiterBehavior::Isolated, false);
        let pattern = pattern.map_err(|error| bad(&names, error.to_string()))?;
        tokenizer.with_normalizer(Some(NFC)).map_err(|error| bad(&names, error.to_string()))?;
        tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![pattern.into(), ByteLevel::new(false, false, false).into()])));
        let listed: TokenizerConfig = config::read(&names)?;
        let mut numbered = Vec::new();
        for (id, added) in listed.added_tokens_decoder {
            let id: u32 = id.parse().map_err(|_| bad(&names, format!("{id} is no id")))?;
            numbered.push((id, added));
        }
        // Ids are given in the order of adding.
        numbered.sort_by_key(|(id, _)| *id);
        for (id, added) in &numbered {
            let token = AddedToken::from(added.content.clone(), added.special)
                .lstrip(added.lstrip)
                .rstrip(added.rstrip)
                .normalized(added.normalized)
                .single_word(added.single_word);
            tokenizer.add_tokens([token]).map_err(|error| bad(&names, error.to_string()))?;
            if tokenizer.token_to_id(&added.content) != Some(*id) {
                return Err(bad(&names, format!("{} cannot have the id {id}", added.content)));
            }
        }
        let added = numbered.into_iter().map(|(_, added)| added.content).collect();
        Ok(Self { tokenizer, added })
    }

    /// Added tokens are read as such: only for text that this program wrote, or that passed [`TextIds::plain`].
    pub(super) fn ids(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let encoded = self.tokenizer.encode(text, false);
        Ok(encoded.map_err(|error| ModelError::Request(format!("the text cannot be read: {error}")))?.get_ids().to_vec())
    }

    /// The text with every added token in it broken up by a space: a text that spells `<|im_end|>` is a text, not a command.
    pub(super) fn plain(&self, text: &str) -> String {
        self.added.iter().fold(text.to_owned(), |text, token| {
            let mut chars = token.chars();
            match chars.next() {
                Some(first) if text.contains(token.as_str()) => text.replace(token.as_str(), &format!("{first} {}", chars.as_str())),
                _ => text,
            }
        })
    }
}
