//! Ids and what they mean: text, languages, tasks and times; and the ids that are never written. A tokenizer of the published layout
//! (`tokenizer.json`), special ids by `generation_config.json` or else by name. This file may not know tensors.

use std::collections::BTreeMap;
use std::path::Path;

use tokenizers::Tokenizer;

use super::ModelError;
use super::config::{GenerationConfig, ModelConfig};

/// Longest text that is taken as a prompt, in characters; what is kept of it is half of what the decoder holds.
const PROMPT_CHARS_MAX: usize = 4_000;
/// First time that may be written, in positions of 20 ms, where the folder does not say.
const FIRST_TIME_MAX: usize = 50;
/// Written without spaces between words.
const UNSPACED: [&str; 6] = ["zh", "ja", "th", "lo", "my", "yue"];
const JOINED_BEFORE: &str = "\"'“¿([{-";
const JOINED_AFTER: &str = "\"'.。,，!！?？:：”)]}、";

pub(super) struct Tokens {
    tokenizer: Tokenizer,
    pub(super) end: u32,
    pub(super) start: u32,
    pub(super) no_times: u32,
    pub(super) no_speech: Option<u32>,
    before: Option<u32>,
    tasks: Option<(u32, u32)>,
    /// Empty in a model of one language.
    pub(super) languages: BTreeMap<String, u32>,
    pub(super) never: Vec<u32>,
    pub(super) never_first: Vec<u32>,
    pub(super) first_time_max: u32,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("languages", &self.languages.len()).field("no_times", &self.no_times).finish_non_exhaustive()
    }
}

/// `<|en|>` to `en`.
fn bare(name: &str) -> &str {
    name.trim_start_matches("<|").trim_end_matches("|>")
}

/// The languages that a folder's `generation_config.json` or `tokenizer.json` names; empty for a model of one language.
///
/// # Errors
/// [`ModelError::Folder`].
pub fn languages(folder: &Path) -> Result<Vec<String>, ModelError> {
    let tokens = Tokens::load(folder, &ModelConfig::load(folder)?, &GenerationConfig::load(folder)?)?;
    Ok(tokens.languages.into_keys().collect())
}

impl Tokens {
    pub(super) fn load(folder: &Path, config: &ModelConfig, generation: &GenerationConfig) -> Result<Self, ModelError> {
        let file = folder.join("tokenizer.json");
        let bad = |detail: String| ModelError::Folder { file: file.clone(), detail };
        let tokenizer = Tokenizer::from_file(&file).map_err(|error| bad(error.to_string()))?;
        let id = |name: &str| tokenizer.token_to_id(name).filter(|id| (*id as usize) < config.vocab_size);
        let no_times = generation.no_timestamps_token_id.or_else(|| id("<|notimestamps|>"));
        let no_times = no_times.ok_or_else(|| bad("names no <|notimestamps|>".to_owned()))?;
        // Times are the last ids, one for each position and one for the end.
        if no_times as usize + 1 + config.max_source_positions + 1 > config.vocab_size {
            return Err(bad(format!("leaves no ids for the times behind {no_times}")));
        }
        let task = |name: &str| {
            let listed = generation.task_to_id.as_ref().and_then(|tasks| tasks.get(name).copied());
            listed.or_else(|| id(&format!("<|{name}|>")))
        };
        let many = generation.is_multilingual.unwrap_or(true);
        let tasks = if many { task("transcribe").zip(task("translate")) } else { None };
        let languages = if many { languages_of(&tokenizer, config, generation) } else { BTreeMap::new() };
        let before = generation.prev_sot_token_id.or_else(|| id("<|startofprev|>"));
        let no_speech = id("<|nospeech|>").or_else(|| id("<|nocaptions|>"));
        let listed = |ids: &Option<Vec<i64>>, or: &Option<Vec<i64>>| -> Vec<u32> {
            let ids = ids.as_ref().or(or.as_ref()).into_iter().flatten();
            ids.filter_map(|id| u32::try_from(*id).ok()).filter(|id| (*id as usize) < config.vocab_size).collect()
        };
        let mut never = listed(&generation.suppress_tokens, &config.suppress_tokens);
        never.extend([config.decoder_start_token_id, no_times]);
        never.extend(before);
        never.extend(no_speech);
        never.extend(id("<|startoflm|>"));
        never.extend(tasks.iter().flat_map(|(transcribe, translate)| [*transcribe, *translate]));
        never.extend(languages.values());
        Ok(Self {
            end: config.eos_token_id,
            start: config.decoder_start_token_id,
            no_times,
            no_speech,
            before,
            tasks,
            languages,
            never,
            never_first: listed(&generation.begin_suppress_tokens, &config.begin_suppress_tokens),
            first_time_max: generation.max_initial_timestamp_index.unwrap_or(FIRST_TIME_MAX) as u32,
            tokenizer,
        })
    }

    /// The id of 0.00 s.
    pub(super) fn first_time(&self) -> u32 {
        self.no_times + 1
    }

    pub(super) fn is_time(&self, id: u32) -> bool {
        id > self.no_times
    }

    /// What a text begins with. `None` where the model has no such language.
    pub(super) fn beginning(&self, language: Option<&str>, translate: bool) -> Option<Vec<u32>> {
        let Some((transcribe, to_english)) = self.tasks else { return Some(vec![self.start]) };
        let language = self.languages.get(language?)?;
        Some(vec![self.start, *language, if translate { to_english } else { transcribe }])
    }

    /// The last ids of what was said before, as the decoder wants them before its text; empty where the model knows no such thing.
    pub(super) fn prompt(&self, text: &str, ids_max: usize) -> Result<Vec<u32>, ModelError> {
        let Some(before) = self.before else { return Ok(Vec::new()) };
        let text: String = text.trim().chars().take(PROMPT_CHARS_MAX).collect();
        let encoded = self.tokenizer.encode(format!(" {text}"), false);
        let encoded = encoded.map_err(|error| ModelError::Request(format!("the prompt cannot be read: {error}")))?;
        // A text that spells a special token is a text, not a command.
        let ids: Vec<u32> = encoded.get_ids().iter().copied().filter(|id| *id < self.end).collect();
        let kept = &ids[ids.len().saturating_sub(ids_max.saturating_sub(1))..];
        Ok(std::iter::once(before).chain(kept.iter().copied()).collect())
    }

    /// Without special ids and times.
    pub(super) fn text(&self, ids: &[u32]) -> String {
        let ids: Vec<u32> = ids.iter().copied().filter(|id| *id < self.end).collect();
        self.tokenizer.decode(&ids, true).unwrap_or_default()
    }

    /// Words with their ids, punctuation still apart.
    pub(super) fn words(&self, ids: &[u32], language: Option<&str>) -> Vec<(String, Vec<u32>)> {
        let pieces = self.pieces(ids);
        if language.is_some_and(|language| UNSPACED.contains(&language)) {
            return pieces;
        }
        let mut words: Vec<(String, Vec<u32>)> = Vec::new();
        for (piece, ids) in pieces {
            let punctuation = piece.trim();
            let begins =
                piece.starts_with(' ') || (punctuation.chars().count() == 1 && punctuation.chars().all(|c| c.is_ascii_punctuation()));
            match words.last_mut() {
                Some((word, before)) if !begins => {
                    word.push_str(&piece);
                    before.extend(ids);
                }
                _ => words.push((piece, ids)),
            }
        }
        words
    }

    /// The shortest runs of ids that are whole characters.
    fn pieces(&self, ids: &[u32]) -> Vec<(String, Vec<u32>)> {
        let (mut pieces, mut open) = (Vec::new(), Vec::new());
        for &id in ids {
            open.push(id);
            let text = self.text(&open);
            if !text.contains('\u{fffd}') || open.len() > 8 {
                pieces.push((text, std::mem::take(&mut open)));
            }
        }
        if !open.is_empty() {
            pieces.push((self.text(&open), open));
        }
        pieces
    }
}

fn languages_of(tokenizer: &Tokenizer, config: &ModelConfig, generation: &GenerationConfig) -> BTreeMap<String, u32> {
    let known = |id: &u32| (*id as usize) < config.vocab_size;
    if let Some(listed) = &generation.lang_to_id {
        return listed.iter().filter(|(_, id)| known(id)).map(|(name, id)| (bare(name).to_owned(), *id)).collect();
    }
    let all = tokenizer.get_added_tokens_decoder();
    let is_language = |name: &str| (2..=3).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase());
    let named = all.iter().map(|(id, token)| (bare(&token.content).to_owned(), *id));
    named.filter(|(name, id)| is_language(name) && known(id)).collect()
}

/// Which of its neighbours a word of nothing but punctuation belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joined {
    ToNext,
    ToLast,
    Not,
}

pub(super) fn joined(word: &str) -> Joined {
    let bare = word.trim();
    let one_of = |marks: &str| !bare.is_empty() && bare.chars().all(|c| marks.contains(c));
    if word.starts_with(' ') && one_of(JOINED_BEFORE) {
        Joined::ToNext
    } else if one_of(JOINED_AFTER) {
        Joined::ToLast
    } else {
        Joined::Not
    }
}
