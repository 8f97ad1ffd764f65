//! The job that translates texts: sentence after sentence, each finished few of them stored, so that another run goes on behind them and says the
//! same. What a model can't translate stays as it was and is told; nothing is made up. This file may not know how models translate.

use std::collections::HashMap;

use engine::text::language::detect;
use engine::translate::{Document, Translated, same_language};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use storage::idempotency::IdempotencyKey;
use storage::{StorageError, Tx, job_parts};
use uuid::Uuid;

use crate::job::{Committed, JobContext, JobError, QUEUE_CPU};
use crate::lone::{self, LoneKind, NewLone};
use crate::submission::{FieldError, SubmitError, TraceContext};
use crate::translators::{Chosen, NoTranslator, OwnedSentence};
use crate::view::JobView;
use crate::{Jobs, fail_point};

/// Of all texts of a request together: a few hours on a machine without a GPU.
pub const CHARS_MAX: usize = 50_000;
/// Texts of a request.
pub const TEXTS_MAX: usize = 1_000;
/// Characters that are translated within a caller's patience.
pub const SHORT_CHARS: usize = 1_000;
/// Stored together, unless time is up before.
const PART_SENTENCES: usize = 8;
/// So long a part may take before it is stored; then the next is one sentence.
const PART_MS: i64 = 1_000;
/// The longest tag that is looked at.
const TAG_CHARS_MAX: usize = 35;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TranslateText {
    pub texts: Vec<String>,
    /// `translation` instead of `translations`.
    pub single: bool,
    /// BCP 47; `None`: found sentence by sentence.
    pub source: Option<String>,
    pub target: String,
    pub model: String,
}

/// A sentence that was done: text, place in it, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Done {
    text: usize,
    place: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    translation: Option<String>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl TranslateText {
    pub(crate) const NAME: &str = "translate_text";
    pub(crate) const SHOWN_AS: &str = "audio.translate";
    pub(crate) const QUEUE: &str = QUEUE_CPU;
    pub(crate) const ATTEMPTS_MAX: i64 = 3;
    pub(crate) const TIMEOUT_MS: u64 = 12 * 60 * 60 * 1_000;

    pub(crate) async fn run(&self, context: &JobContext) -> Result<Committed, JobError> {
        let translators = context.translators.clone().ok_or_else(|| JobError::Discard("this worker translates nothing".into()))?;
        lone::started(context, "loading_model").await?;
        let loaded = translators.load(&self.model, &context.token).await?;
        let documents = self.documents().await?;
        let mut done = self.done_before(context).await?;
        let mut parts = done.len() as u32;
        let mut finished: Vec<Done> = done.drain(..).flatten().collect();
        let to_do = self.to_do(&documents);
        let mut at = finished.len();
        let mut part_sentences = PART_SENTENCES;
        while at < to_do.len() {
            let next = &to_do[at..to_do.len().min(at + part_sentences)];
            let started_ms = context.now_ms();
            let translated = loaded.translate(next.iter().map(|(_, _, sentence)| sentence.clone()).collect(), &context.token).await?;
            let part: Vec<Done> = next.iter().zip(translated).map(|((text, place, _), made)| done_of(*text, *place, made)).collect();
            at += part.len();
            self.store(context, parts, &part, at as f64 / to_do.len() as f64).await?;
            parts += 1;
            finished.extend(part);
            // Slow models tell of each sentence, fast ones of a few together.
            part_sentences = if context.now_ms() - started_ms > PART_MS { 1 } else { PART_SENTENCES };
        }
        self.finish(context, &documents, &finished, &loaded.chosen).await
    }

    async fn documents(&self) -> Result<Vec<Document>, JobError> {
        let (texts, source) = (self.texts.clone(), self.source.clone());
        let cutting = tokio::task::spawn_blocking(move || texts.iter().map(|text| Document::of(text, source.as_deref())).collect());
        cutting.await.map_err(|error| JobError::Retry(format!("cut: {error}")))
    }

    fn to_do(&self, documents: &[Document]) -> Vec<(usize, usize, OwnedSentence)> {
        let target = &self.target;
        let of_text = |(text, document): (usize, &Document)| {
            let sentences = document.to_translate(target).map(move |(place, sentence, language)| {
                (text, place, OwnedSentence { text: sentence.to_owned(), source: language.to_owned(), target: target.clone() })
            });
            sentences.collect::<Vec<_>>()
        };
        documents.iter().enumerate().flat_map(of_text).collect()
    }

    /// The parts of an earlier run, each with its sentences.
    async fn done_before(&self, context: &JobContext) -> Result<Vec<Vec<Done>>, JobError> {
        let bodies = job_parts::list(context.storage.rows.read(), context.fence().job_id).await?;
        let parsed = bodies.iter().map(|body| serde_json::from_str(body)).collect::<Result<_, _>>();
        parsed.map_err(|error| JobError::Discard(format!("a stored part: {error}")))
    }

    async fn store(&self, context: &JobContext, number: u32, part: &[Done], progress: f64) -> Result<(), JobError> {
        let body = serde_json::to_string(part).map_err(StorageError::from)?;
        let mut tx = context.begin_fenced().await?;
        job_parts::add(&mut tx, context.fence().job_id, number, &body).await?;
        let sentences: Vec<Value> = part.iter().map(|done| json!({"index": done.text, "translation": done.translation})).collect();
        lone::progress_in(&mut tx, context, "translating", progress, json!({"sentences": sentences})).await?;
        fail_point::pass("translate.before_part");
        tx.commit().await?;
        fail_point::pass("translate.after_part");
        Ok(())
    }

    async fn finish(
        &self,
        context: &JobContext,
        documents: &[Document],
        finished: &[Done],
        chosen: &Chosen,
    ) -> Result<Committed, JobError> {
        let made: HashMap<(usize, usize), &str> =
            finished.iter().filter_map(|done| Some(((done.text, done.place), done.translation.as_deref()?))).collect();
        let texts = documents.iter().enumerate();
        let translations: Vec<String> =
            texts.map(|(text, document)| document.put_together(&self.target, |place| made.get(&(text, place)).copied())).collect();
        let mut result = self.answer(translations, documents);
        result["engine"] = chosen.engine.clone().into();
        result["model"] = chosen.model.clone().into();
        result["untranslated"] =
            finished.iter().filter(|done| done.translation.is_none()).map(|done| untranslated(documents, done)).collect();
        let now_ms = context.now_ms();
        let mut tx = context.begin_finish(Some(&result.to_string())).await?;
        job_parts::delete(&mut tx, context.fence().job_id).await?;
        let data =
            json!({"model": chosen.model, "source": result["source"], "target": self.target, "untranslated": result["untranslated"]});
        lone::completed(&mut tx, context, data, now_ms).await?;
        context.commit(tx, "translate.before_commit", "translate.after_commit").await
    }

    /// `source` is that of the first text that has words.
    fn answer(&self, mut translations: Vec<String>, documents: &[Document]) -> Value {
        let source = self.source.clone().or_else(|| documents.first().map(|document| document.source.clone()));
        let texts = match (self.single, translations.pop()) {
            (true, Some(only)) if translations.is_empty() => json!({"translation": only}),
            (_, last) => {
                translations.extend(last);
                json!({"translations": translations})
            }
        };
        let mut answer = texts;
        answer["source"] = source.into();
        answer["target"] = self.target.clone().into();
        answer
    }

    /// What a failed run finished stays for the next.
    pub(crate) async fn ended(&self, tx: &mut Tx, job_id: Uuid, end: lone::End) -> Result<(), StorageError> {
        if end == lone::End::Failed { Ok(()) } else { job_parts::delete(tx, job_id).await }
    }
}

fn done_of(text: usize, place: usize, made: Translated) -> Done {
    let (translation, reason) = match made {
        Translated::Text(text) => (Some(text), None),
        Translated::Nothing(reason) => (None, Some(reason.to_owned())),
    };
    Done { text, place, translation, reason }
}

fn untranslated(documents: &[Document], done: &Done) -> Value {
    let text = documents.get(done.text).and_then(|document| document.segments.get(done.place));
    let text = match text {
        Some(engine::translate::Segment::Say { text, .. }) => text.as_str(),
        _ => "",
    };
    json!({"index": done.text, "text": text, "reason": done.reason})
}

/// What a caller asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct TranslateOrder {
    pub texts: Vec<String>,
    pub single: bool,
    /// BCP 47; `None`: found.
    pub source: Option<String>,
    pub target: String,
    /// An id of the catalogue; `None`: the best that is installed.
    pub model: Option<String>,
    pub idempotency: Option<IdempotencyKey>,
    pub trace: TraceContext,
}

/// What was answered to an order.
#[derive(Debug, Clone, PartialEq)]
pub enum TranslateAnswer {
    /// There was nothing to translate: no words, or words of the language they were to be in.
    AsItIs(Value),
    Job(Box<JobView>),
}

impl Jobs {
    /// Accepts texts to be translated.
    ///
    /// # Errors
    /// [`SubmitError`]; where no model is installed, [`SubmitError::NoTranslator`] with the command that installs one.
    pub async fn translate(&self, owner_id: &str, order: TranslateOrder) -> Result<TranslateAnswer, SubmitError> {
        let errors = wrong_values(&order);
        if !errors.is_empty() {
            return Err(SubmitError::Invalid(errors));
        }
        let looked = tokio::task::spawn_blocking(move || (as_it_is(&order), order)).await;
        let (nothing_to_do, order) = looked.map_err(|error| StorageError::Internal(format!("translate: {error}")))?;
        if let Some(answer) = nothing_to_do {
            return Ok(TranslateAnswer::AsItIs(answer));
        }
        self.check_lone_room(owner_id).await?;
        let chosen = self.choose_translator(order.model.clone(), order.target.clone()).await?;
        let new = NewLone {
            id: Uuid::now_v7(),
            dedupe_key: None,
            kind: LoneKind::Translate(TranslateText {
                texts: order.texts,
                single: order.single,
                source: order.source,
                target: order.target,
                model: chosen.model.clone(),
            }),
            owner_id: owner_id.to_owned(),
            idempotency: order.idempotency,
            trace: order.trace,
            data: json!({"model": chosen.model}),
        };
        let id = self.accept_once(&new).await?;
        let view = self.job(owner_id, id).await?.ok_or(SubmitError::TaskNotFound(id))?;
        Ok(TranslateAnswer::Job(Box::new(view)))
    }

    /// Looks at the disk.
    pub(crate) async fn choose_translator(&self, model: Option<String>, target: String) -> Result<Chosen, SubmitError> {
        let none = NoTranslator::NotInstalled {
            what: "a model that translates (madlad-400-3b-mt)".into(),
            command: "clonyvoice models pull madlad-400-3b-mt".into(),
        };
        let Some(translators) = self.config.translators.clone() else { return Err(SubmitError::NoTranslator(none)) };
        let looking = tokio::task::spawn_blocking(move || translators.choose(model.as_deref(), &target));
        let chosen = looking.await.map_err(|error| StorageError::Internal(format!("translators: {error}")))?;
        chosen.map_err(SubmitError::NoTranslator)
    }
}

fn wrong_values(order: &TranslateOrder) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = |ok: bool, field: &str, message: String| {
        if !ok {
            errors.push(FieldError { field: field.into(), message });
        }
    };
    let field = if order.single { "text" } else { "texts" };
    check(!order.texts.is_empty(), field, "must not be empty".into());
    check(order.texts.len() <= TEXTS_MAX, field, format!("must be at most {TEXTS_MAX}"));
    let chars: usize = order.texts.iter().map(|text| text.chars().count()).sum();
    check(chars <= CHARS_MAX, field, format!("must have at most {CHARS_MAX} characters in all; longer texts go in several requests"));
    check(is_tag(&order.target), "target", "must be a language tag such as fr or pt-BR".into());
    check(order.source.as_deref().is_none_or(is_tag), "source", "must be auto or a language tag such as en or pt-BR".into());
    errors
}

/// BCP 47 as far as its form goes.
pub(crate) fn is_tag(tag: &str) -> bool {
    let mut parts = tag.split(['-', '_']);
    let language = parts.next().unwrap_or_default();
    tag.len() <= TAG_CHARS_MAX
        && (2..=8).contains(&language.len())
        && language.bytes().all(|byte| byte.is_ascii_alphabetic())
        && parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// The answer where no sentence is in another language than the target's.
fn as_it_is(order: &TranslateOrder) -> Option<Value> {
    let mut source = order.source.clone();
    for text in &order.texts {
        let is_same = order.source.as_deref().is_some_and(|source| same_language(source, &order.target));
        if !is_same && Document::of(text, order.source.as_deref()).to_translate(&order.target).next().is_some() {
            return None;
        }
        source = source.or_else(|| text.chars().any(char::is_alphabetic).then(|| detect(text, &order.target)));
    }
    let mut answer = match (order.single, order.texts.as_slice()) {
        (true, [only]) => json!({"translation": only}),
        (_, texts) => json!({"translations": texts}),
    };
    answer["source"] = source.into();
    answer["target"] = order.target.clone().into();
    answer["engine"] = Value::Null;
    answer["model"] = Value::Null;
    answer["untranslated"] = json!([]);
    Some(answer)
}
