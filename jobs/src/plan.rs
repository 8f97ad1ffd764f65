//! From a submission to a plan: which chunks, spoken by whom, in which language, with which seed. Pure: voices and the seed are arguments,
//! and the same arguments give the same plan.

use std::collections::{BTreeMap, BTreeSet};

use engine::neural_models::Offer;
use engine::speech::{Capabilities, SynthesisRequest};
use engine::text::marks::{self, Span};
use engine::text::split::{SplitConfig, split};
use engine::text::turns::turns;
use engine::translate::same_language;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use storage::chunks::NewChunk;

use crate::choose_engine;
use crate::submission::{ChunkInput, FieldError, Source, Submission, SubmitError};
use crate::voices::{Voice, VoiceSnapshot};

/// What else decides how a chunk sounds; JSON in the row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChunkSpec {
    /// Silence that the merge puts behind it.
    pub pause_after_ms: u32,
    /// Pauses asked for by marks at its beginning and end: they are in its samples, and put back where the merge trims silence.
    pub lead_ms: u32,
    pub tail_ms: u32,
    pub speed: f32,
    pub pitch_semitones: f32,
    pub instruct: Option<String>,
    pub seed: u64,
    /// The neural model that speaks it; the built-in engine where none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Its text is, or was, in another language than the chunk's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translation: Option<ChunkTranslation>,
}

/// How a chunk's text comes into its language.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChunkTranslation {
    pub model: String,
    /// BCP 47.
    pub source: String,
    /// What was translated; `None` until it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<String>,
    /// Sentences that the model could not translate.
    #[serde(default)]
    pub untranslated: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The whole text as it was asked for.
    pub text: String,
    pub voices: BTreeMap<String, VoiceSnapshot>,
    pub chunks: Vec<PlannedChunk>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct PlannedChunk {
    pub text: String,
    pub voice_id: String,
    pub language: String,
    pub spec: ChunkSpec,
}

#[derive(Debug, Clone)]
pub struct PlanLimits {
    pub text_chars_max: usize,
    pub chunks_max: usize,
    /// A chunk that the caller cut.
    pub chunk_chars_max: usize,
}

impl Default for PlanLimits {
    fn default() -> Self {
        Self { text_chars_max: 2_000_000, chunks_max: 20_000, chunk_chars_max: 5_000 }
    }
}

/// A piece of text with what was said about it, before it is split.
#[derive(Clone)]
struct Part<'a> {
    text: &'a str,
    voice: &'a Voice,
    language: Option<String>,
    input: Option<&'a ChunkInput>,
    /// Pauses in front that stand in no text.
    pause_before_ms: u32,
}

/// `voice` finds a voice by id; `offer` is what is installed; `seed` is used where the submission has none.
pub fn plan(
    submission: &Submission,
    voice: impl Fn(&str) -> Option<Voice>,
    limits: &PlanLimits,
    offer: &Offer,
    seed: u64,
) -> Result<Plan, SubmitError> {
    check_values(submission, limits)?;
    let voices = wanted_voices(submission, &voice)?;
    let parts = in_each_language(parts_of(submission, &voices)?, submission);
    let seed = submission.options.seed.unwrap_or(seed);
    let mut chunks: Vec<PlannedChunk> = Vec::new();
    for part in &parts {
        if let Some(last) = chunks.last_mut()
            && last.voice_id != part.voice.id
        {
            last.spec.pause_after_ms = last.spec.pause_after_ms.max(submission.options.pause_between_turns_ms);
        }
        if let Some(last) = chunks.last_mut() {
            last.spec.pause_after_ms = last.spec.pause_after_ms.saturating_add(part.pause_before_ms);
        }
        let before = chunks.len();
        plan_part(submission, part, seed, &mut chunks);
        for chunk in &mut chunks[before..] {
            let wish = submission.options.engine.unwrap_or_default();
            chunk.spec.model = choose_engine::choose(offer, wish, part.voice, &chunk.language)?;
        }
        if chunks.len() > limits.chunks_max {
            return Err(invalid("text", format!("makes more than {} chunks", limits.chunks_max)));
        }
    }
    if chunks.is_empty() {
        return Err(invalid("text", "must hold something to say".into()));
    }
    let snapshot = |voice: Voice| (voice.id.clone(), voice.snapshot(&models_of(&chunks, &voice.id)));
    let used = voices.into_values().map(snapshot).collect();
    Ok(Plan { text: whole_text(&submission.source), voices: used, chunks })
}

/// Every name that stands for a voice in a submission, so that they can be looked up before the [`plan`].
pub fn voice_names(submission: &Submission) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = submission.voice_id.iter().cloned().collect();
    names.extend(submission.voices.values().cloned());
    match &submission.source {
        Source::Chunks(chunks) => names.extend(chunks.iter().filter_map(|chunk| chunk.voice_id.clone())),
        Source::Text(text) => {
            let called = turns(text).into_iter().filter_map(|turn| turn.voice);
            names.extend(called.filter(|name| !submission.voices.contains_key(name)));
        }
    }
    names
}

/// The models that a voice is spoken with.
fn models_of(chunks: &[PlannedChunk], voice_id: &str) -> BTreeSet<String> {
    chunks.iter().filter(|chunk| chunk.voice_id == voice_id).filter_map(|chunk| chunk.spec.model.clone()).collect()
}

fn invalid(field: &str, message: String) -> SubmitError {
    SubmitError::Invalid(vec![FieldError { field: field.into(), message }])
}

fn whole_text(source: &Source) -> String {
    match source {
        Source::Text(text) => text.clone(),
        Source::Chunks(chunks) => chunks.iter().map(|chunk| chunk.text.trim()).collect::<Vec<_>>().join("\n"),
    }
}

fn check_values(submission: &Submission, limits: &PlanLimits) -> Result<(), SubmitError> {
    let mut errors = Vec::new();
    let mut check = |ok: bool, field: &str, message: String| {
        if !ok {
            errors.push(FieldError { field: field.into(), message });
        }
    };
    let options = &submission.options;
    check((0.25..=4.0).contains(&options.speed), "speed", "must be between 0.25 and 4".into());
    check((-12.0..=12.0).contains(&options.pitch_semitones), "pitch", "must be between -12 and 12 semitones".into());
    check((20..=1_000).contains(&options.max_chunk_chars), "max_chunk_chars", "must be between 20 and 1000".into());
    check(options.pause_ms <= 10_000, "pause_ms", "must be at most 10000".into());
    check(options.pause_between_turns_ms <= 10_000, "pause_between_turns_ms", "must be at most 10000".into());
    check((-10..=10).contains(&submission.priority), "priority", "must be between -10 and 10".into());
    match &submission.source {
        Source::Text(text) => {
            check(!text.trim().is_empty(), "text", "must not be empty".into());
            check(text.chars().count() <= limits.text_chars_max, "text", format!("must have at most {} characters", limits.text_chars_max));
        }
        Source::Chunks(chunks) => {
            check(!chunks.is_empty(), "chunks", "must not be empty".into());
            check(chunks.len() <= limits.chunks_max, "chunks", format!("must be at most {}", limits.chunks_max));
            for (index, chunk) in chunks.iter().enumerate() {
                let field = |name: &str| format!("chunks[{index}].{name}");
                check(!chunk.text.trim().is_empty(), &field("text"), "must not be empty".into());
                let longest = limits.chunk_chars_max;
                check(chunk.text.chars().count() <= longest, &field("text"), format!("must have at most {longest} characters"));
                check(chunk.speed.is_none_or(|speed| (0.25..=4.0).contains(&speed)), &field("speed"), "must be between 0.25 and 4".into());
                check(chunk.pause_after_ms.is_none_or(|ms| ms <= 10_000), &field("pause_after_ms"), "must be at most 10000".into());
            }
        }
    }
    let merge = crate::merge_chunks::check_options(&options.merge);
    errors.extend(merge);
    if errors.is_empty() { Ok(()) } else { Err(SubmitError::Invalid(errors)) }
}

/// Every voice that is named anywhere, by the name it is called there.
fn wanted_voices(submission: &Submission, voice: &impl Fn(&str) -> Option<Voice>) -> Result<BTreeMap<String, Voice>, SubmitError> {
    let found = |name: String| match voice(&name) {
        Some(voice) => Ok((name, voice)),
        None => Err(SubmitError::VoiceNotFound(name)),
    };
    voice_names(submission).into_iter().map(found).collect()
}

fn parts_of<'a>(submission: &'a Submission, voices: &'a BTreeMap<String, Voice>) -> Result<Vec<Part<'a>>, SubmitError> {
    let by_name = |name: &str| voices.get(submission.voices.get(name).map_or(name, String::as_str));
    let default = submission.voice_id.as_deref().and_then(by_name);
    let missing = |field: &str| invalid(field, "is needed: no voice is named for this text".into());
    let whole = match submission.options.language.as_str() {
        "auto" | "" => None,
        language => Some(language.to_owned()),
    };
    match &submission.source {
        Source::Chunks(chunks) => chunks
            .iter()
            .enumerate()
            .map(|(index, chunk)| {
                let voice = chunk.voice_id.as_deref().and_then(by_name).or(default);
                let voice = voice.ok_or_else(|| missing(&format!("chunks[{index}].voice_id")))?;
                let language = chunk.language.clone().filter(|tag| tag != "auto").or_else(|| whole.clone());
                Ok(Part { text: &chunk.text, voice, language, input: Some(chunk), pause_before_ms: 0 })
            })
            .collect(),
        Source::Text(text) => turns(text)
            .into_iter()
            .map(|turn| {
                let voice = turn.voice.as_deref().and_then(by_name).or(default).ok_or_else(|| missing("voice_id"))?;
                let language = turn.language.or_else(|| whole.clone());
                Ok(Part {
                    text: &text[turn.byte_start..turn.byte_end],
                    voice,
                    language,
                    input: None,
                    pause_before_ms: turn.pause_before_ms,
                })
            })
            .collect(),
    }
}

/// A text that is to be translated and names no language of its own is said in all that the request names, one after the other.
fn in_each_language<'a>(parts: Vec<Part<'a>>, submission: &'a Submission) -> Vec<Part<'a>> {
    let names_none = matches!(submission.options.language.as_str(), "auto" | "") && matches!(submission.source, Source::Text(_));
    if submission.translator.is_none() || !names_none {
        return parts;
    }
    let said_in = |tag: &'a String| parts.iter().map(move |part| Part { language: Some(tag.clone()), ..part.clone() });
    submission.languages.iter().flat_map(said_in).collect()
}

fn plan_part(submission: &Submission, part: &Part<'_>, seed: u64, chunks: &mut Vec<PlannedChunk>) {
    let options = &submission.options;
    let spec = |index: usize, text: &str| ChunkSpec {
        pause_after_ms: part.input.and_then(|input| input.pause_after_ms).unwrap_or(options.pause_ms),
        lead_ms: edge_pause_ms(marks::parse(text).iter()),
        tail_ms: edge_pause_ms(marks::parse(text).iter().rev()),
        speed: part.input.and_then(|input| input.speed).unwrap_or(options.speed),
        pitch_semitones: options.pitch_semitones,
        instruct: part.input.and_then(|input| input.instruct.clone()).or_else(|| options.instruct.clone()),
        seed: seed_of(seed, index as u64),
        model: None,
        translation: None,
    };
    let translation = |source: &str, target: &str| {
        let model = submission.translator.clone().filter(|_| !same_language(source, target))?;
        Some(ChunkTranslation { model, source: source.to_owned(), original: None, untranslated: 0 })
    };
    let fallback = chunks.last().map_or(part.voice.language.clone(), |chunk| primary(&chunk.language).to_owned());
    let language_of = |found: &str| {
        let tag = part.language.clone().unwrap_or_else(|| among(found, &submission.languages, &fallback));
        with_region(&tag, &part.voice.language)
    };
    if part.input.is_some() {
        // Only a chunk that names no language is looked at.
        let looked = part.language.is_none() || submission.translator.is_some();
        let found = looked.then(|| engine::text::language::detect(part.text, &fallback));
        let found = found.as_deref().unwrap_or(&fallback);
        let language = language_of(found);
        let text = part.text.trim().to_owned();
        let spec = ChunkSpec { translation: translation(found, &language), ..spec(chunks.len(), &text) };
        chunks.push(PlannedChunk { text, voice_id: part.voice.id.clone(), language, spec });
        return;
    }
    let config = SplitConfig {
        // What is translated may be in any language.
        language: part.language.clone().filter(|_| submission.translator.is_none()),
        fallback_language: fallback.clone(),
        max_chars: options.max_chunk_chars as usize,
        ..SplitConfig::default()
    };
    for piece in split(part.text, &config) {
        let language = language_of(&piece.language);
        let spec = ChunkSpec { translation: translation(&piece.language, &language), ..spec(chunks.len(), &piece.text) };
        chunks.push(PlannedChunk { text: piece.text, voice_id: part.voice.id.clone(), language, spec });
    }
}

/// The pauses before the first thing that is heard.
fn edge_pause_ms<'a>(spans: impl Iterator<Item = &'a Span<'a>>) -> u32 {
    let mut pause_ms: u32 = 0;
    for span in spans {
        match span {
            Span::Pause { ms, .. } => pause_ms = pause_ms.saturating_add(*ms),
            Span::Text { text, .. } if text.chars().any(char::is_alphanumeric) => break,
            _ => {}
        }
    }
    pause_ms
}

fn primary(tag: &str) -> &str {
    tag.split('-').next().unwrap_or(tag)
}

/// A bare language takes the region of the voice's own: a British voice reads English as British.
fn with_region(tag: &str, voice_language: &str) -> String {
    if primary(voice_language).eq_ignore_ascii_case(tag) { voice_language.to_owned() } else { tag.to_owned() }
}

/// Keeps a found language if the request allows it.
fn among(found: &str, allowed: &[String], fallback: &str) -> String {
    let same = |tag: &&String, other: &str| primary(tag).eq_ignore_ascii_case(primary(other));
    if allowed.is_empty() {
        return found.to_owned();
    }
    let matching = allowed.iter().find(|tag| same(tag, found));
    matching.or_else(|| allowed.iter().find(|tag| same(tag, fallback))).unwrap_or(&allowed[0]).clone()
}

/// A chunk's own seed: the finaliser of splitmix64 (Steele et al. 2014) over the generation's seed and the index.
fn seed_of(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    // JSON numbers beyond 2^53 lose digits in many readers.
    (z ^ (z >> 31)) >> 11
}

/// What the engine is asked for a chunk. Where the model's form of the voice is still to be made of its recordings, the built-in engine's
/// stands for it: that is of the same recordings, and what equal chunks are found by.
pub fn request_of(text: &str, language: &str, spec: &ChunkSpec, voice: &VoiceSnapshot) -> SynthesisRequest {
    SynthesisRequest {
        text: text.to_owned(),
        voice: voice.spoken_with(spec.model.as_deref()),
        language: language.to_owned(),
        speed: spec.speed,
        pitch_semitones: spec.pitch_semitones,
        seed: spec.seed,
        instruct: spec.instruct.clone(),
    }
}

/// Equal for requests that give equal samples: engine, revision and the whole request, as SHA-256 of their JSON.
pub fn params_hash(capabilities: &Capabilities, request: &SynthesisRequest) -> Result<String, serde_json::Error> {
    let mut request = request.clone();
    if !capabilities.uses_seed {
        request.seed = 0;
    }
    if !capabilities.instruct {
        request.instruct = None;
    }
    let text = serde_json::to_vec(&(&capabilities.engine, &capabilities.revision, request))?;
    Ok(hex::encode(Sha256::digest(&text)))
}

/// Before it is translated, no chunk is equal to it: its hash is nobody's.
fn hash_of(chunk: &PlannedChunk, capabilities: &Capabilities, request: &SynthesisRequest) -> Result<String, serde_json::Error> {
    let hash = params_hash(capabilities, request)?;
    let waits = chunk.spec.translation.as_ref().is_some_and(|translation| translation.original.is_none());
    Ok(if waits { format!("{hash}-untranslated") } else { hash })
}

/// The rows of a plan; `capabilities` has those of every engine that the plan names.
pub fn rows_of(plan: &Plan, capabilities: &BTreeMap<Option<String>, Capabilities>) -> Result<Vec<NewChunk>, serde_json::Error> {
    let mut rows = Vec::with_capacity(plan.chunks.len());
    for (index, chunk) in (0u32..).zip(&plan.chunks) {
        let voice = &plan.voices[&chunk.voice_id];
        let request = request_of(&chunk.text, &chunk.language, &chunk.spec, voice);
        rows.push(NewChunk {
            index,
            take: 1,
            text: chunk.text.clone(),
            voice_id: chunk.voice_id.clone(),
            language: chunk.language.clone(),
            spec: serde_json::to_string(&chunk.spec)?,
            params_hash: hash_of(chunk, &capabilities[&chunk.spec.model], &request)?,
        });
    }
    Ok(rows)
}

impl Plan {
    /// The engines that speak it, by their models.
    pub fn models(&self) -> BTreeSet<Option<String>> {
        self.chunks.iter().map(|chunk| chunk.spec.model.clone()).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::submission::{GenerationKind, GenerationOptions, TraceContext};

    fn submission(source: Source) -> Submission {
        Submission {
            kind: GenerationKind::Multivoice,
            source,
            voice_id: Some("nora".into()),
            voices: BTreeMap::from([("Tom".into(), "elias".into())]),
            languages: Vec::new(),
            translate: false,
            translator: None,
            options: GenerationOptions::default(),
            title: None,
            metadata: None,
            montage_id: None,
            priority: 0,
            not_before_ms: None,
            idempotency: None,
            trace: TraceContext::default(),
        }
    }

    fn planned(text: &str) -> Vec<PlannedChunk> {
        plan(&submission(Source::Text(text.into())), crate::voices::find, &PlanLimits::default(), &Offer::default(), 1).unwrap().chunks
    }

    #[test]
    fn turns_get_their_voices_and_pauses() {
        let chunks =
            planned("The door opened slowly. [voice:Tom] Who is there at this hour? [pause:2s] [voice:nora] Nobody answered him at all.");
        let told: Vec<_> = chunks.iter().map(|chunk| (chunk.voice_id.as_str(), chunk.spec.pause_after_ms)).collect();
        let turn_ms = GenerationOptions::default().pause_between_turns_ms;
        assert_eq!(told, [("nora", turn_ms), ("elias", turn_ms), ("nora", GenerationOptions::default().pause_ms)]);
        assert_eq!(chunks[1].spec.tail_ms, 2_000, "the pause is in the samples of the chunk before it");
    }

    #[test]
    fn a_language_is_found_and_takes_the_voices_region() {
        let chunks =
            planned("This sentence is plain English, as anyone can hear. Und dieser Satz ist ganz eindeutig auf Deutsch geschrieben.");
        let languages: Vec<_> = chunks.iter().map(|chunk| chunk.language.as_str()).collect();
        assert_eq!(languages, ["en-US", "de"]);
    }

    #[test]
    fn the_same_plan_comes_of_the_same_seed_and_another_of_another() {
        let submission = submission(Source::Text("One sentence here. Another sentence there.".into()));
        let with = |seed| plan(&submission, crate::voices::find, &PlanLimits::default(), &Offer::default(), seed).unwrap();
        assert_eq!(with(5), with(5));
        let seeds = |plan: &Plan| plan.chunks.iter().map(|chunk| chunk.spec.seed).collect::<Vec<_>>();
        assert_ne!(seeds(&with(5)), seeds(&with(6)));
        assert!(seeds(&with(5)).iter().all(|seed| *seed < 1 << 53));
    }
}
