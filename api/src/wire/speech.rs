//! Requests for speech: five endpoints, each with its own fields and all with the common ones, read into one [`Submission`].
//!
//! Fields have the other names that callers of similar products use. Values are checked where they are understood: here only what JSON can't
//! say, the rest in `jobs`.

use std::collections::BTreeMap;

use jobs::choose_engine::EngineWish;
use jobs::submission::{
    ChunkInput, GenerationKind, GenerationOptions, MergeOptions, Normalize, RegenerateOrder, Source, Submission, TraceContext,
};
use salvo::oapi::ToSchema;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::time;
use crate::problem::{Code, FieldProblem, Problem};

/// Longer ones have no use and would bloat every answer.
const TITLE_CHARS_MAX: usize = 300;
const METADATA_BYTES_MAX: usize = 16 * 1024;
const VOICES_MAX: usize = 1_000;

/// `true`, `false`, or targets.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum NormalizeInput {
    Switch(bool),
    Targets(NormalizeTargets),
}

/// EBU R 128 targets.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct NormalizeTargets {
    /// -40 to -5; -16 when not given.
    #[salvo(schema(minimum = -40.0, maximum = -5.0))]
    pub target_lufs: Option<f64>,
    /// -9 to 0; -1 when not given.
    #[salvo(schema(minimum = -9.0, maximum = 0.0))]
    pub true_peak_db: Option<f64>,
}

impl NormalizeInput {
    pub(super) fn into_options(self) -> Option<Normalize> {
        let defaults = Normalize::default();
        match self {
            Self::Switch(on) => on.then_some(defaults),
            Self::Targets(targets) => Some(Normalize {
                target_lufs: targets.target_lufs.unwrap_or(defaults.target_lufs),
                true_peak_db: targets.true_peak_db.unwrap_or(defaults.true_peak_db),
            }),
        }
    }
}

/// One piece of text with what is special about it.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct SpeechChunk {
    #[serde(alias = "input")]
    pub text: Option<String>,
    /// The request's own voice when not given.
    #[serde(alias = "voice", alias = "speaker", alias = "preset")]
    pub voice_id: Option<String>,
    /// BCP 47; the request's own when not given.
    #[serde(alias = "lang")]
    pub language: Option<String>,
    /// Silence behind it; `pause_ms` when not given.
    #[salvo(schema(maximum = 10000))]
    pub pause_after_ms: Option<u32>,
    /// 0.25 to 4.
    #[salvo(schema(minimum = 0.25, maximum = 4.0))]
    pub speed: Option<f32>,
    pub instruct: Option<String>,
}

/// Declares a request with its own fields and the common ones. A flattened struct would do it too, but then a wrong value could not be
/// named with its place.
macro_rules! speech_request {
    ($(#[$meta:meta])* $name:ident $kind:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* } $own:expr) => {
        #[derive(Debug, Clone, Default, Deserialize, ToSchema)]
        $(#[$meta])*
        pub struct $name {
            /// What to say. May hold `[pause]`, `[pause:1.5s]`, `<break time="1s"/>`, `[voice:x]`, `[lang:fr]`.
            #[serde(alias = "input")]
            pub text: Option<String>,
            $($(#[$field_meta])* pub $field: $type,)*
            /// The id of a voice; see `/api/voices`.
            #[serde(alias = "voice", alias = "speaker", alias = "preset")]
            pub voice_id: Option<String>,
            /// BCP 47, or `auto`: found for each piece.
            #[serde(alias = "lang")]
            pub language: Option<String>,
            /// 0.25 to 4; 1 is the voice's own.
            #[salvo(schema(minimum = 0.25, maximum = 4.0))]
            pub speed: Option<f32>,
            /// Semitones, -12 to 12.
            #[salvo(schema(minimum = -12.0, maximum = 12.0))]
            pub pitch: Option<f32>,
            /// The same request with the same seed gives the same bytes. Drawn when not given.
            pub seed: Option<u64>,
            /// How to say it, for engines that can be told.
            pub instruct: Option<String>,
            /// `auto` (the best that is installed for voice and language), `builtin` or `qwen3-tts`; the server's setting when not given.
            pub engine: Option<String>,
            /// Of the merged file: `wav`, `flac` or `opus` (and `mp3`, where it is built in).
            #[serde(alias = "response_format")]
            pub format: Option<String>,
            /// Of the merged file, in hertz; 24,000 when not given.
            #[salvo(schema(minimum = 8000, maximum = 192000))]
            pub sample_rate: Option<u32>,
            /// Of the merged file: 16 or 24.
            pub bit_depth: Option<u16>,
            /// Loudness of the merged file: `true` (-16 LUFS, -1 dBTP), `false`, or targets.
            pub normalize: Option<NormalizeInput>,
            /// For the history, and the name of the file.
            pub title: Option<String>,
            /// Any JSON, given back as it is.
            pub metadata: Option<Value>,
            /// A montage that the generation becomes the last of.
            pub montage_id: Option<String>,
            /// -10 to 10.
            #[salvo(schema(minimum = -10, maximum = 10))]
            pub priority: Option<i64>,
            /// Nothing of it is started before; RFC 3339, at most a year ahead.
            pub not_before: Option<String>,
            /// Not available in this version.
            pub callback_url: Option<String>,
        }

        impl IntoSubmission for $name {
            fn into_submission(self, trace: TraceContext) -> Result<Submission, Problem> {
                let own: fn(&Self) -> Own = $own;
                let own = own(&self);
                let common = Common {
                    text: self.text,
                    voice_id: self.voice_id,
                    language: self.language,
                    speed: self.speed,
                    pitch: self.pitch,
                    seed: self.seed,
                    instruct: self.instruct,
                    engine: self.engine,
                    format: self.format,
                    sample_rate: self.sample_rate,
                    bit_depth: self.bit_depth,
                    normalize: self.normalize,
                    title: self.title,
                    metadata: self.metadata,
                    montage_id: self.montage_id,
                    priority: self.priority,
                    not_before: self.not_before,
                    callback_url: self.callback_url,
                };
                common.into_submission(GenerationKind::$kind, own, trace)
            }
        }
    };
}

/// A request that becomes a submission.
pub trait IntoSubmission {
    fn into_submission(self, trace: TraceContext) -> Result<Submission, Problem>;
}

speech_request! {
    /// Speech with a preset voice.
    #[salvo(schema(example = json!({"text": "Hello there. How are you today?", "voice_id": "nora"})))]
    PresetRequest Preset {} |_| Own::default()
}

speech_request! {
    /// Speech with a cloned voice; presets are taken too.
    #[salvo(schema(example = json!({"text": "Hello there. How are you today?", "voice_id": "nora", "language": "en"})))]
    CloneRequest Clone {} |_| Own::default()
}

speech_request! {
    /// Speech made piece by piece; each piece can be heard as soon as it is made.
    #[salvo(schema(example = json!({"text": "The first sentence. The second one.", "voice_id": "nora", "max_chunk_chars": 250})))]
    ChunkedRequest CloneChunked {
        /// The pieces, when the caller has split the text.
        chunks: Option<Vec<SpeechChunk>>,
        /// The longest piece, 20 to 1,000 characters; 250 when not given.
        #[salvo(schema(minimum = 20, maximum = 1000))]
        max_chunk_chars: Option<u32>,
        /// Silence between pieces; 200 when not given.
        #[salvo(schema(maximum = 10000))]
        pause_ms: Option<u32>,
        /// Merge into one file when all pieces are done; `true` when not given.
        auto_merge: Option<bool>,
    } |request| Own {
        chunks: request.chunks.clone(),
        max_chunk_chars: request.max_chunk_chars,
        pause_ms: request.pause_ms,
        auto_merge: request.auto_merge,
        ..Own::default()
    }
}

speech_request! {
    /// A dialogue: each piece or turn has its voice.
    #[salvo(schema(example = json!({"text": "[voice:ann]Who is there? [voice:bob]Only me.", "voices": {"ann": "nora", "bob": "elias"}})))]
    MultivoiceRequest Multivoice {
        /// The pieces, each with its voice.
        chunks: Option<Vec<SpeechChunk>>,
        /// What `[voice:name]` in the text stands for: name to voice id.
        voices: Option<BTreeMap<String, String>>,
        /// Silence where the voice changes; 400 when not given.
        #[salvo(schema(maximum = 10000))]
        pause_between_turns_ms: Option<u32>,
        /// The longest piece, 20 to 1,000 characters; 250 when not given.
        #[salvo(schema(minimum = 20, maximum = 1000))]
        max_chunk_chars: Option<u32>,
        /// Silence between pieces; 200 when not given.
        #[salvo(schema(maximum = 10000))]
        pause_ms: Option<u32>,
        /// Merge into one file when all pieces are done; `true` when not given.
        auto_merge: Option<bool>,
    } |request| Own {
        chunks: request.chunks.clone(),
        voices: request.voices.clone().unwrap_or_default(),
        pause_between_turns_ms: request.pause_between_turns_ms,
        max_chunk_chars: request.max_chunk_chars,
        pause_ms: request.pause_ms,
        auto_merge: request.auto_merge,
        ..Own::default()
    }
}

speech_request! {
    /// One voice in several languages.
    #[salvo(schema(example = json!({"text": "Good morning. Bonjour à tous.", "voice_id": "nora", "languages": ["en", "fr"]})))]
    MultilangRequest Multilang {
        /// The pieces, each with its language.
        chunks: Option<Vec<SpeechChunk>>,
        /// The languages that a sentence may be found to be in; any when not given.
        languages: Option<Vec<String>>,
        /// Say what is in another language in its translation: chunks in their `language`, a text in `language` or, one after the other, in each
        /// of `languages`. It is translated by a model on this machine while the job runs.
        translate: Option<bool>,
        /// The longest piece, 20 to 1,000 characters; 250 when not given.
        #[salvo(schema(minimum = 20, maximum = 1000))]
        max_chunk_chars: Option<u32>,
        /// Silence between pieces; 200 when not given.
        #[salvo(schema(maximum = 10000))]
        pause_ms: Option<u32>,
        /// Merge into one file when all pieces are done; `true` when not given.
        auto_merge: Option<bool>,
    } |request| Own {
        chunks: request.chunks.clone(),
        languages: request.languages.clone().unwrap_or_default(),
        translate: request.translate.unwrap_or(false),
        max_chunk_chars: request.max_chunk_chars,
        pause_ms: request.pause_ms,
        auto_merge: request.auto_merge,
        ..Own::default()
    }
}

/// What only some endpoints have.
#[derive(Debug, Default)]
struct Own {
    chunks: Option<Vec<SpeechChunk>>,
    voices: BTreeMap<String, String>,
    languages: Vec<String>,
    translate: bool,
    pause_between_turns_ms: Option<u32>,
    max_chunk_chars: Option<u32>,
    pause_ms: Option<u32>,
    auto_merge: Option<bool>,
}

/// What all endpoints have.
#[derive(Debug)]
struct Common {
    text: Option<String>,
    voice_id: Option<String>,
    language: Option<String>,
    speed: Option<f32>,
    pitch: Option<f32>,
    seed: Option<u64>,
    instruct: Option<String>,
    engine: Option<String>,
    format: Option<String>,
    sample_rate: Option<u32>,
    bit_depth: Option<u16>,
    normalize: Option<NormalizeInput>,
    title: Option<String>,
    metadata: Option<Value>,
    montage_id: Option<String>,
    priority: Option<i64>,
    not_before: Option<String>,
    callback_url: Option<String>,
}

impl Common {
    fn into_submission(self, kind: GenerationKind, own: Own, trace: TraceContext) -> Result<Submission, Problem> {
        self.check(&own)?;
        // What is no id names nothing.
        let no_montage = |_| Problem::new(Code::MontageNotFound, "there is no montage with this id");
        let montage_id = self.montage_id.as_deref().map(|id| Uuid::parse_str(id.trim()).map_err(no_montage)).transpose()?;
        let source = match own.chunks {
            Some(chunks) => Source::Chunks(chunks.into_iter().map(input_of).collect()),
            None => Source::Text(self.text.unwrap_or_default()),
        };
        let defaults = GenerationOptions::default();
        let merge = MergeOptions {
            format: self.format.unwrap_or(defaults.merge.format),
            sample_rate_hz: self.sample_rate.unwrap_or(defaults.merge.sample_rate_hz),
            bit_depth: self.bit_depth.unwrap_or(defaults.merge.bit_depth),
            normalize: self.normalize.map_or(defaults.merge.normalize, NormalizeInput::into_options),
            ..MergeOptions::default()
        };
        let options = GenerationOptions {
            language: self.language.unwrap_or(defaults.language),
            speed: self.speed.unwrap_or(defaults.speed),
            pitch_semitones: self.pitch.unwrap_or(defaults.pitch_semitones),
            seed: self.seed,
            instruct: self.instruct,
            engine: self.engine.as_deref().and_then(EngineWish::parse),
            max_chunk_chars: own.max_chunk_chars.unwrap_or(defaults.max_chunk_chars),
            pause_ms: own.pause_ms.unwrap_or(defaults.pause_ms),
            pause_between_turns_ms: own.pause_between_turns_ms.unwrap_or(defaults.pause_between_turns_ms),
            auto_merge: own.auto_merge.unwrap_or(defaults.auto_merge),
            merge,
        };
        Ok(Submission {
            kind,
            source,
            voice_id: self.voice_id.filter(|id| !id.is_empty()),
            voices: own.voices,
            languages: own.languages,
            translate: own.translate,
            translator: None,
            options,
            title: self.title.filter(|title| !title.trim().is_empty()),
            metadata: self.metadata,
            montage_id,
            priority: self.priority.unwrap_or(0),
            not_before_ms: self.not_before.as_deref().and_then(time::parse_ms),
            idempotency: None,
            trace,
        })
    }

    fn check(&self, own: &Own) -> Result<(), Problem> {
        let mut errors = Vec::new();
        let mut check = |ok: bool, field: &str, message: &str| {
            if !ok {
                errors.push(FieldProblem::new(field, message));
            }
        };
        check(self.text.is_none() || own.chunks.is_none(), "chunks", "give either text or chunks");
        let engine = self.engine.as_deref();
        check(engine.is_none_or(|name| EngineWish::parse(name).is_some()), "engine", "must be auto, builtin or qwen3-tts");
        let title_chars = self.title.as_ref().map_or(0, |title| title.chars().count());
        check(title_chars <= TITLE_CHARS_MAX, "title", "must have at most 300 characters");
        let metadata_bytes = self.metadata.as_ref().map_or(0, |metadata| metadata.to_string().len());
        check(metadata_bytes <= METADATA_BYTES_MAX, "metadata", "must have at most 16384 bytes");
        check(own.voices.len() <= VOICES_MAX, "voices", "must be at most 1000");
        check(
            self.not_before.as_deref().is_none_or(|text| time::parse_ms(text).is_some()),
            "not_before",
            "must be a time such as 2026-12-31T23:00:00Z",
        );
        check(self.callback_url.is_none(), "callback_url", "callbacks are not available in this version");
        if !errors.is_empty() {
            return Err(Problem::invalid(errors));
        }
        Ok(())
    }
}

fn input_of(chunk: SpeechChunk) -> ChunkInput {
    ChunkInput {
        text: chunk.text.unwrap_or_default(),
        voice_id: chunk.voice_id.filter(|id| !id.is_empty()),
        language: chunk.language,
        pause_after_ms: chunk.pause_after_ms,
        speed: chunk.speed,
        instruct: chunk.instruct,
    }
}

/// One chunk made again. What is not given stays as it was in the newest take.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[salvo(schema(example = json!({"task_id": "0197f2c4-7d1e-7b3a-9c55-2f6d0e1a8b90", "index": 0, "text": "Said in another way."})))]
pub struct RegenerateRequest {
    /// The generation that the chunk belongs to.
    #[serde(alias = "generation_id", alias = "job_id")]
    pub task_id: Option<String>,
    #[serde(alias = "chunk_index")]
    pub index: Option<u32>,
    #[serde(alias = "input")]
    pub text: Option<String>,
    #[serde(alias = "voice", alias = "speaker", alias = "preset")]
    pub voice_id: Option<String>,
    /// BCP 47, or `auto`: found in the text.
    #[serde(alias = "lang")]
    pub language: Option<String>,
    /// Drawn when not given.
    pub seed: Option<u64>,
    /// How to say it, for engines that can be told.
    pub instruct: Option<String>,
    /// `false`: the finished takes before it go when it is finished. `true` when not given.
    pub keep_previous: Option<bool>,
}

impl RegenerateRequest {
    pub fn into_order(self, trace: TraceContext) -> Result<RegenerateOrder, Problem> {
        let task_id = self.task_id.ok_or_else(|| Problem::invalid_field("task_id", "is needed"))?;
        let index = self.index.ok_or_else(|| Problem::invalid_field("index", "is needed"))?;
        let no_task = |_| Problem::new(Code::TaskNotFound, "there is no task with this id, or it belongs to another key");
        Ok(RegenerateOrder {
            task_id: Uuid::parse_str(task_id.trim()).map_err(no_task)?,
            index,
            text: self.text,
            voice_id: self.voice_id.filter(|id| !id.is_empty()),
            language: self.language.filter(|tag| !tag.is_empty()),
            seed: self.seed,
            instruct: self.instruct,
            keep_previous: self.keep_previous.unwrap_or(true),
            idempotency: None,
            trace,
        })
    }
}

/// Merging finished chunks by hand.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[salvo(schema(example = json!({"task_id": "0197f2c4-7d1e-7b3a-9c55-2f6d0e1a8b90", "gap_ms": 300, "order": [0, 2, 1]})))]
pub struct MergeRequest {
    /// The generation whose chunks are merged.
    #[serde(alias = "generation_id", alias = "job_id")]
    pub task_id: Option<String>,
    /// Chunk indexes in the wanted order; all in order when not given.
    pub order: Option<Vec<u32>>,
    /// Which take of an index: the newest finished one where not named.
    #[salvo(schema(value_type = Option<BTreeMap<String, u32>>))]
    pub takes: Option<BTreeMap<u32, u32>>,
    /// Silence between chunks; each chunk's own pause when not given.
    #[salvo(schema(maximum = 10000))]
    pub gap_ms: Option<u32>,
    /// Only where the gap is 0.
    #[salvo(schema(maximum = 1000))]
    pub crossfade_ms: Option<u32>,
    pub trim_silence: Option<bool>,
    /// `wav`, `flac` or `opus` (and `mp3`, where it is built in).
    #[serde(alias = "response_format")]
    pub format: Option<String>,
    /// In hertz; 24,000 when not given.
    #[salvo(schema(minimum = 8000, maximum = 192000))]
    pub sample_rate: Option<u32>,
    /// 16 or 24.
    pub bit_depth: Option<u16>,
    pub normalize: Option<NormalizeInput>,
}

impl MergeRequest {
    /// The task's id as it was given, and how to merge.
    pub fn into_parts(self) -> Result<(String, MergeOptions), Problem> {
        let task_id = self.task_id.ok_or_else(|| Problem::invalid_field("task_id", "is needed"))?;
        let defaults = MergeOptions::default();
        let options = MergeOptions {
            format: self.format.unwrap_or(defaults.format),
            sample_rate_hz: self.sample_rate.unwrap_or(defaults.sample_rate_hz),
            bit_depth: self.bit_depth.unwrap_or(defaults.bit_depth),
            gap_ms: self.gap_ms,
            crossfade_ms: self.crossfade_ms.unwrap_or(defaults.crossfade_ms),
            trim_silence: self.trim_silence.unwrap_or(defaults.trim_silence),
            normalize: self.normalize.map_or(defaults.normalize, NormalizeInput::into_options),
            order: self.order.unwrap_or_default(),
            takes: self.takes.unwrap_or_default(),
        };
        Ok((task_id, options))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::body::parse;

    fn submission<T: IntoSubmission + serde::de::DeserializeOwned>(json: &str) -> Submission {
        parse::<T>(json.as_bytes()).unwrap().into_submission(TraceContext::default()).unwrap()
    }

    #[test]
    fn fields_have_other_names() {
        let plain = submission::<PresetRequest>(r#"{"text": "Hi.", "voice_id": "nora", "language": "en", "format": "wav"}"#);
        for json in [
            r#"{"input": "Hi.", "voice": "nora", "lang": "en", "response_format": "wav"}"#,
            r#"{"text": "Hi.", "speaker": "nora", "language": "en", "later": {"x": 1}}"#,
            r#"{"text": "Hi.", "preset": "nora", "language": "en", "speed": null}"#,
        ] {
            assert_eq!(submission::<PresetRequest>(json), plain, "{json}");
        }
    }

    #[test]
    fn chunks_turns_and_languages() {
        let job = submission::<MultivoiceRequest>(
            r#"{"chunks": [{"text": "a", "voice": "x", "speed": 2}, {"input": "b", "speaker": "y", "pause_after_ms": 7}], "pause_between_turns_ms": 9}"#,
        );
        let Source::Chunks(chunks) = &job.source else { panic!("{job:?}") };
        assert_eq!((chunks[0].speed, chunks[1].voice_id.as_deref(), chunks[1].pause_after_ms), (Some(2.0), Some("y"), Some(7)));
        assert_eq!((job.kind, job.options.pause_between_turns_ms), (GenerationKind::Multivoice, 9));
        let job = submission::<MultilangRequest>(r#"{"text": "a", "voice_id": "x", "languages": ["fr", "en"], "auto_merge": false}"#);
        assert_eq!((job.languages.len(), job.options.auto_merge), (2, false));
    }

    #[test]
    fn loudness_is_a_switch_or_targets() {
        let of = |json: &str| submission::<CloneRequest>(json).options.merge.normalize;
        assert_eq!(of(r#"{"normalize": false}"#), None);
        assert_eq!(of(r#"{"normalize": true}"#), Some(Normalize::default()));
        assert_eq!(of("{}"), Some(Normalize::default()));
        assert_eq!(of(r#"{"normalize": {"target_lufs": -23}}"#), Some(Normalize { target_lufs: -23.0, true_peak_db: -1.0 }));
    }

    #[test]
    fn what_is_not_there_yet_is_refused_and_not_ignored() {
        let refused =
            |json: &str| parse::<MultilangRequest>(json.as_bytes()).unwrap().into_submission(TraceContext::default()).unwrap_err();
        assert_eq!(refused(r#"{"text": "a", "callback_url": "https://x"}"#).errors[0].field, "callback_url");
        assert_eq!(refused(r#"{"text": "a", "engine": "steam"}"#).errors[0].field, "engine");
        assert_eq!(refused(r#"{"text": "a", "chunks": []}"#).errors[0].field, "chunks");
        assert_eq!(refused(r#"{"text": "a", "montage_id": "m"}"#).code, Code::MontageNotFound);
    }

    #[test]
    fn takes_are_named_by_index() {
        let request: MergeRequest = parse(br#"{"task_id": "t", "takes": {"3": 2}, "order": [3]}"#).unwrap();
        let (_, options) = request.into_parts().unwrap();
        assert_eq!((options.takes[&3], options.order.as_slice()), (2, &[3][..]));
        assert!(MergeRequest::default().into_parts().is_err());
    }
}
