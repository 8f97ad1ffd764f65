//! A chunk that is to be said in another language than its text: the text is translated by the job that speaks it, once, and stored before anything is
//! spoken, so that every later run says the same words. This file may not know how a chunk is spoken.

use std::collections::{BTreeMap, HashMap};

use engine::translate::{Document, Translated};
use storage::StorageError;
use storage::chunks::{self, Chunk};
use storage::generations::Generation;

use crate::Jobs;
use crate::fail_point;
use crate::job::{JobContext, JobError};
use crate::plan::{ChunkSpec, params_hash, request_of};
use crate::submission::{FieldError, Source, Submission, SubmitError};
use crate::translate_text::is_tag;
use crate::translators::OwnedSentence;
use crate::voices::VoiceSnapshot;

impl Jobs {
    /// Where a submission is to be translated: the model that knows all of its languages.
    pub(crate) async fn translator_of(&self, submission: &Submission) -> Result<Option<String>, SubmitError> {
        if !submission.translate {
            return Ok(None);
        }
        let mut model = None;
        for target in targets_of(submission)? {
            model = Some(self.choose_translator(model, target).await?.model);
        }
        Ok(model)
    }
}

/// What it is to be said in, each once.
fn targets_of(submission: &Submission) -> Result<Vec<String>, SubmitError> {
    let whole = Some(submission.options.language.clone()).filter(|tag| !tag.is_empty() && tag != "auto");
    let mut errors = Vec::new();
    let mut targets: Vec<String> = Vec::new();
    let mut add = |field: String, tag: Option<String>| match tag {
        Some(tag) if is_tag(&tag) => {
            if !targets.contains(&tag) {
                targets.push(tag);
            }
        }
        Some(_) => errors.push(FieldError { field, message: "must be a language tag such as fr or pt-BR".into() }),
        None => errors.push(FieldError { field, message: "is needed: with translate, it is what the text is said in".into() }),
    };
    match &submission.source {
        Source::Chunks(chunks) => {
            for (index, chunk) in chunks.iter().enumerate() {
                let own = chunk.language.clone().filter(|tag| tag != "auto");
                add(format!("chunks[{index}].language"), own.or_else(|| whole.clone()));
            }
        }
        Source::Text(_) if whole.is_none() && !submission.languages.is_empty() => {
            for (index, tag) in submission.languages.iter().enumerate() {
                add(format!("languages[{index}]"), Some(tag.clone()));
            }
        }
        Source::Text(_) => add("languages".into(), whole),
    }
    if errors.is_empty() { Ok(targets) } else { Err(SubmitError::Invalid(errors)) }
}

/// The chunk as it is to be spoken; one that needs no translation is itself.
pub(crate) async fn translated(context: &JobContext, generation: &Generation, chunk: Chunk) -> Result<Chunk, JobError> {
    let malformed = |error: serde_json::Error| JobError::Discard(format!("chunk spec: {error}"));
    let mut spec: ChunkSpec = serde_json::from_str(&chunk.spec).map_err(malformed)?;
    let Some(translation) = spec.translation.as_mut().filter(|translation| translation.original.is_none()) else {
        return Ok(chunk);
    };
    let translators = context.translators.clone().ok_or_else(|| JobError::Discard("this worker translates nothing".into()))?;
    let loaded = translators.load(&translation.model, &context.token).await?;
    let document = Document::of(&chunk.text, Some(&translation.source));
    let (places, sentences): (Vec<usize>, Vec<OwnedSentence>) = document
        .to_translate(&chunk.language)
        .map(|(place, text, source)| {
            (place, OwnedSentence { text: text.to_owned(), source: source.to_owned(), target: chunk.language.clone() })
        })
        .unzip();
    let made = loaded.translate(sentences, &context.token).await?;
    drop(loaded);
    let mut texts = HashMap::new();
    for (place, made) in places.into_iter().zip(made) {
        match made {
            Translated::Text(text) => drop(texts.insert(place, text)),
            Translated::Nothing(reason) => {
                tracing::warn!(generation.id = %generation.id, chunk.index = chunk.id.index, reason, "a sentence was not translated");
                translation.untranslated += 1;
            }
        }
    }
    let text = document.put_together(&chunk.language, |place| texts.get(&place).map(String::as_str));
    translation.original = Some(chunk.text.clone());
    let voices: BTreeMap<String, VoiceSnapshot> =
        serde_json::from_str(&generation.voices).map_err(|error| JobError::Discard(format!("voices: {error}")))?;
    let voice = voices.get(&chunk.voice_id).ok_or_else(|| JobError::Discard(format!("no voice {}", chunk.voice_id)))?;
    let request = request_of(&text, &chunk.language, &spec, voice);
    let capabilities = context.engines.capabilities(spec.model.as_deref())?;
    let params_hash = params_hash(&capabilities, &request).map_err(StorageError::from)?;
    let chunk = Chunk { text, spec: serde_json::to_string(&spec).map_err(StorageError::from)?, params_hash, ..chunk };
    let mut tx = context.begin_fenced().await?;
    chunks::set_text(&mut tx, &chunk).await?;
    fail_point::pass("translate.chunk.before_commit");
    tx.commit().await?;
    fail_point::pass("translate.chunk.after_commit");
    Ok(chunk)
}

/// Whether a part of the chunk is still in the language it came in.
pub(crate) fn is_incomplete(chunk: &Chunk) -> bool {
    let spec = serde_json::from_str::<ChunkSpec>(&chunk.spec).ok();
    spec.and_then(|spec| spec.translation).is_some_and(|translation| translation.untranslated > 0)
}
