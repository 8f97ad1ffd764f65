//! From a request to what the talker is fed: the embeddings of its prompt, and the text that is added frame by frame afterwards.
//!
//! Text and codes are two rows of embeddings that are added position by position; engine.md 2c draws the layouts. Reference:
//! `qwen_tts/core/models/modeling_qwen3_tts.py` (generate, generate_icl_prompt). This file may not know how frames are made.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::ModelError;
use super::config::{Dialect, ModelConfig, Variant};
use super::talker::Talker;
use super::text_ids::TextIds;

/// What a recording becomes: made once, kept with the voice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClonePrompt {
    /// As wide as the talker.
    pub x_vector: Vec<f32>,
    /// With it the likeness is better, and the text must be what is said in the recording.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
}

/// A recording as the talker hears it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    pub text: String,
    /// Frames of codes, frames x codebooks.
    pub codes: Vec<Vec<u32>>,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speaker<'a> {
    /// Base checkpoints.
    Cloned(&'a ClonePrompt),
    /// CustomVoice checkpoints; in any case.
    Named(&'a str),
    /// VoiceDesign checkpoints: the instruction says who.
    Described,
}

/// How the text reaches the talker; the two must never be mixed, or the text is spoken twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// A token with each frame. The reference's default for clones.
    Stepwise,
    /// All of it before the first frame. The reference's default for the others.
    Whole,
}

/// One text to be spoken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PromptRequest<'a> {
    pub text: &'a str,
    /// `auto`, or a language of the checkpoint such as `english`; in any case.
    pub language: &'a str,
    pub speaker: Speaker<'a>,
    /// The voice's description, or the style of a named speaker. Empty is none.
    pub instruct: &'a str,
    pub pace: Pace,
}

/// Positions x hidden each.
#[derive(Debug, Clone)]
pub(super) struct Prompt {
    pub prefill: Tensor,
    /// The text side of the first frames.
    pub trailing: Tensor,
    /// That of all frames after; one row.
    pub pad: Tensor,
}

/// What prompts are made with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Builder<'m> {
    pub config: &'m ModelConfig,
    pub text_ids: &'m TextIds,
    pub talker: &'m Talker,
}

/// `<|im_start|> assistant \n`.
const ROLE_IDS: usize = 3;
/// `<|im_end|> \n <|im_start|> assistant \n`.
const AFTER_TEXT_IDS: usize = 5;
/// `<|im_end|> \n`.
const AFTER_REFERENCE_IDS: usize = 2;

fn cut(ids: &[u32], after: usize) -> &[u32] {
    ids.get(ROLE_IDS..ids.len().saturating_sub(after)).unwrap_or_default()
}

impl Builder<'_> {
    /// Ids of the text in its frame, as the reference writes it.
    pub(super) fn text_ids(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        self.text_ids.ids(&format!("<|im_start|>assistant\n{}<|im_end|>\n<|im_start|>assistant\n", self.text_ids.plain(text)))
    }

    /// Ids of what is said in a recording.
    pub(super) fn reference_ids(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        self.text_ids.ids(&format!("<|im_start|>assistant\n{}<|im_end|>\n", self.text_ids.plain(text)))
    }

    /// Ids of an instruction.
    pub(super) fn instruct_ids(&self, instruct: &str) -> Result<Vec<u32>, ModelError> {
        self.text_ids.ids(&format!("<|im_start|>user\n{}<|im_end|>\n", self.text_ids.plain(instruct)))
    }

    pub(super) fn build(&self, request: &PromptRequest<'_>) -> Result<Prompt, ModelError> {
        let talker = self.talker;
        let codec = &self.config.talker_config;
        let ids = self.text_ids(request.text)?;
        let text = cut(&ids, AFTER_TEXT_IDS);
        if text.is_empty() {
            return Err(ModelError::Request("the text is empty".to_owned()));
        }
        let speaker = self.speaker(request.speaker)?;
        let marks = talker.text(&[self.config.tts_bos_token_id, self.config.tts_eos_token_id, self.config.tts_pad_token_id])?;
        let (bos, eos, pad) = (marks.narrow(0, 0, 1)?, marks.narrow(0, 1, 1)?, marks.narrow(0, 2, 1)?);
        let mut parts = Vec::new();
        if let Some(instruct) = self.instruct(request) {
            parts.push(talker.text(&self.instruct_ids(instruct)?)?);
        }
        parts.push(talker.text(&ids[..ROLE_IDS])?);
        // Codes of the head: language, speaker, pad; the text side beside them is pads and, last, its begin.
        let mut head = vec![talker.codes(&self.language_codes(request)?)?];
        head.extend(speaker);
        head.push(talker.codes(&[codec.codec_pad_id])?);
        let head = Tensor::cat(&head, 0)?;
        let beside = Tensor::cat(&[pad.repeat((head.dim(0)? - 1, 1))?, bos], 0)?;
        parts.push((beside + head)?);
        let (body, trailing) = match (request.speaker, request.pace) {
            (Speaker::Cloned(ClonePrompt { reference: Some(reference), .. }), pace) => {
                self.in_context(text, reference, pace, &eos, &pad)?
            }
            (_, Pace::Stepwise) => {
                let first = (talker.text(&text[..1])? + talker.codes(&[codec.codec_bos_id])?)?;
                let rest = if text.len() > 1 { Tensor::cat(&[talker.text(&text[1..])?, eos], 0)? } else { eos };
                (first, rest)
            }
            (_, Pace::Whole) => {
                let text = Tensor::cat(&[talker.text(text)?, eos], 0)?.broadcast_add(&talker.codes(&[codec.codec_pad_id])?)?;
                (Tensor::cat(&[text, (&pad + talker.codes(&[codec.codec_bos_id])?)?], 0)?, pad.clone())
            }
        };
        parts.push(body);
        Ok(Prompt { prefill: Tensor::cat(&parts, 0)?.contiguous()?, trailing: trailing.contiguous()?, pad: pad.contiguous()? })
    }

    /// The talker goes on where a recording ended: its text before the new one, its frames before the new ones.
    fn in_context(
        &self,
        text: &[u32],
        reference: &Reference,
        pace: Pace,
        eos: &Tensor,
        pad: &Tensor,
    ) -> Result<(Tensor, Tensor), ModelError> {
        let talker = self.talker;
        let codec = &self.config.talker_config;
        self.check_codes(&reference.codes)?;
        let ids = self.reference_ids(&reference.text)?;
        let spoken = cut(&ids, AFTER_REFERENCE_IDS);
        if spoken.is_empty() {
            return Err(ModelError::Request("the reference text is empty".to_owned()));
        }
        let text = Tensor::cat(&[talker.text(&[spoken, text].concat())?, eos.clone()], 0)?;
        let frames: Vec<&[u32]> = reference.codes.iter().map(Vec::as_slice).collect();
        let codes = Tensor::cat(&[talker.codes(&[codec.codec_bos_id])?, talker.frames(&frames)?], 0)?;
        let (texts, frames) = (text.dim(0)?, codes.dim(0)?);
        match pace {
            Pace::Whole => {
                let text = text.broadcast_add(&talker.codes(&[codec.codec_pad_id])?)?;
                Ok((Tensor::cat(&[text, codes.broadcast_add(pad)?], 0)?, pad.clone()))
            }
            Pace::Stepwise if texts > frames => Ok(((text.narrow(0, 0, frames)? + codes)?, text.narrow(0, frames, texts - frames)?)),
            Pace::Stepwise => {
                let filled = if frames > texts { Tensor::cat(&[text, pad.repeat((frames - texts, 1))?], 0)? } else { text };
                Ok(((filled + codes)?, pad.clone()))
            }
        }
    }

    fn check_codes(&self, frames: &[Vec<u32>]) -> Result<(), ModelError> {
        let codec = &self.config.talker_config;
        let (groups, size) = (codec.num_code_groups, codec.code_predictor_config.vocab_size);
        if frames.is_empty() || frames.iter().any(|frame| frame.len() != groups || frame.iter().any(|code| *code as usize >= size)) {
            return Err(ModelError::Request(format!("the voice's codes are not frames of {groups} codes below {size}")));
        }
        Ok(())
    }

    /// The small model was not taught to follow instructions for named speakers, and clones never are: the reference drops them too.
    fn instruct<'r>(&self, request: &PromptRequest<'r>) -> Option<&'r str> {
        let heeds = match self.config.tts_model_type {
            Variant::Base => false,
            Variant::CustomVoice => self.config.tts_model_size != "0b6",
            Variant::VoiceDesign => true,
        };
        Some(request.instruct).filter(|instruct| heeds && !instruct.is_empty())
    }

    /// One row, or none where the description alone says who speaks.
    fn speaker(&self, speaker: Speaker<'_>) -> Result<Option<Tensor>, ModelError> {
        let hidden = self.config.talker_config.layers.hidden_size;
        match (speaker, self.config.tts_model_type) {
            (Speaker::Cloned(clone), Variant::Base) => {
                if clone.x_vector.len() != hidden || clone.x_vector.iter().any(|value| !value.is_finite()) {
                    let has = clone.x_vector.len();
                    return Err(ModelError::Request(format!(
                        "the voice was made with another model: its vector has {has} values, not {hidden}"
                    )));
                }
                Ok(Some(Tensor::from_slice(&clone.x_vector, (1, hidden), self.talker.device())?))
            }
            (Speaker::Named(name), Variant::CustomVoice) => {
                let id = self.config.talker_config.spk_id.get(&name.to_lowercase());
                let id = id.ok_or_else(|| ModelError::Request(format!("the model has no speaker {name}")))?;
                Ok(Some(self.talker.codes(&[*id])?))
            }
            (Speaker::Described, Variant::VoiceDesign) => Ok(None),
            (_, variant) => Err(ModelError::Request(format!("a {variant:?} model cannot speak with this kind of voice"))),
        }
    }

    fn language_codes(&self, request: &PromptRequest<'_>) -> Result<Vec<u32>, ModelError> {
        let codec = &self.config.talker_config;
        let language = request.language.to_lowercase();
        let known = |name: &str| {
            let id = codec.codec_language_id.get(name).copied();
            id.ok_or_else(|| ModelError::Request(format!("the model does not speak {name}")))
        };
        let mut id = if language == "auto" { None } else { Some(known(&language)?) };
        if let Speaker::Named(name) = request.speaker
            && let Some(Dialect::Named(dialect)) = codec.spk_is_dialect.get(&name.to_lowercase())
            && ["auto", "chinese"].contains(&language.as_str())
        {
            id = Some(known(dialect)?);
        }
        Ok(match id {
            Some(id) => vec![codec.codec_think_id, codec.codec_think_bos_id, id, codec.codec_think_eos_id],
            None => vec![codec.codec_nothink_id, codec.codec_think_bos_id, codec.codec_think_eos_id],
        })
    }
}
