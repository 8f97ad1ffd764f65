//! Translation on both databases, by a phrase book: what is stored on the way, what becomes of it, and chunks that are translated before they are
//! spoken.
#![allow(clippy::unwrap_used)]

mod bed;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bed::{Bed, Database, OWNER, script, submission};
use engine::qwen3_tts::Precision;
use engine::resident::Residents;
use jobs::clock::SystemClock;
use jobs::model_places::ModelPlacesConfig;
use jobs::submission::{ChunkInput, GenerationKind, GenerationOptions, Source, Submission, SubmitError, TraceContext};
use jobs::translate_text::{TranslateAnswer, TranslateOrder};
use jobs::translators::{NoTranslator, Translators};
use jobs::view::CancelOutcome;
use jobs::worker::WorkerConfig;
use jobs::{Jobs, JobsConfig};
use models::catalogue::Catalogue;
use models::folder::ModelFolder;
use models::hub::HubConfig;
use models::import::import;
use models::library::Library;
use storage::job_parts;
use uuid::Uuid;

on_both! {
    a_translation_is_stored_part_by_part,
    what_is_cancelled_leaves_no_part,
    chunks_are_translated_once_and_spoken,
}

/// A queue with a phrase book in the shape of a T5.
struct Phrases {
    bed: Bed,
    jobs: Jobs,
    translators: Arc<Translators>,
}

impl Phrases {
    async fn new(database: Database) -> Self {
        let bed = Bed::new(database, script(Vec::new())).await;
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/fixtures/translate");
        let library = Library {
            catalogue: Catalogue::default().with_folder(&fixtures.join("catalogue")).unwrap(),
            folder: ModelFolder::new(bed.folder.path().join("models")),
            hub: HubConfig::default(),
        };
        let manifest = library.catalogue.get("phrases-t5").unwrap();
        import(manifest, &fixtures.join("phrases_t5"), &library.folder, 1, &mut |_| ControlFlow::Continue(())).unwrap();
        let config = ModelPlacesConfig { library: Arc::new(library), precision: Precision::F32, idle_ms: 0, at_a_time: 1 };
        let translators = Translators::new(config, Residents::new(|| 0));
        let config = JobsConfig { translators: Some(translators.clone()), ..JobsConfig::new(bed.folder.path().to_owned()) };
        let jobs = Jobs::new(bed.storage.clone(), bed.engine.clone(), Arc::new(SystemClock), config);
        Self { bed, jobs, translators }
    }

    fn worker_config(&self) -> WorkerConfig {
        WorkerConfig { translators: Some(self.translators.clone()), ..self.bed.worker_config() }
    }

    async fn ask(&self, text: &str) -> Uuid {
        let order = TranslateOrder {
            texts: vec![text.to_owned()],
            single: true,
            source: Some("en".into()),
            target: "fr".into(),
            model: None,
            idempotency: None,
            trace: TraceContext::default(),
        };
        match self.jobs.translate(OWNER, order).await.unwrap() {
            TranslateAnswer::Job(view) => view.id,
            TranslateAnswer::AsItIs(value) => panic!("{value}"),
        }
    }

    async fn parts(&self, id: Uuid) -> usize {
        job_parts::list(self.bed.storage.rows.read(), id).await.unwrap().len()
    }
}

async fn a_translation_is_stored_part_by_part(database: Database) {
    let phrases = Phrases::new(database).await;
    let id = phrases.ask(&"Hello. The dog runs.\n".repeat(30)).await;
    let worker = phrases.bed.start_with(phrases.worker_config()).await;
    phrases.bed.told_of("job.progress").await;
    // Taken from its worker in the middle, it goes on behind what is stored.
    worker.stop(0).await;
    let again = phrases.bed.start_with(phrases.worker_config()).await;
    let view = phrases.bed.end_of(id).await;
    assert_eq!(view.status, "completed", "{:?}", view.error);
    let result = view.result.unwrap();
    assert_eq!(result["translation"], "Bonjour à tous. Le chien court.\n".repeat(30));
    assert_eq!((result["model"].as_str(), result["engine"].as_str()), (Some("phrases-t5"), Some("madlad")));
    let events = phrases.bed.events(OWNER).await;
    let told: usize =
        events.iter().filter(|event| event.kind == "job.progress").map(|event| event.data["sentences"].as_array().unwrap().len()).sum();
    assert_eq!(told, 60, "each sentence once");
    assert_eq!(phrases.parts(id).await, 0);
    again.stop(0).await;
}

async fn what_is_cancelled_leaves_no_part(database: Database) {
    let phrases = Phrases::new(database).await;
    let id = phrases.ask(&"Hello. The dog runs.\n".repeat(300)).await;
    let worker = phrases.bed.start_with(phrases.worker_config()).await;
    phrases.bed.told_of("job.progress").await;
    let outcome = phrases.bed.jobs.cancel(OWNER, id).await.unwrap();
    assert!(matches!(outcome, CancelOutcome::Cancelling | CancelOutcome::Cancelled), "{outcome:?}");
    assert_eq!(phrases.bed.end_of(id).await.status, "cancelled");
    assert_eq!(phrases.parts(id).await, 0);
    worker.stop(0).await;
}

async fn chunks_are_translated_once_and_spoken(database: Database) {
    let phrases = Phrases::new(database).await;
    let chunk = |text: &str, language: &str| ChunkInput { text: text.into(), language: Some(language.into()), ..ChunkInput::default() };
    let of = |chunks: Vec<ChunkInput>| Submission {
        kind: GenerationKind::Multilang,
        source: Source::Chunks(chunks),
        translate: true,
        options: GenerationOptions { seed: Some(5), ..GenerationOptions::default() },
        ..submission(&[])
    };
    let texts = || vec![chunk("The dog runs through the garden every day.", "fr"), chunk("Hello to all of them.", "de")];
    let unknown = phrases.jobs.submit(OWNER, of(vec![chunk("Hello.", "tlh")])).await.unwrap_err();
    assert!(matches!(unknown, SubmitError::NoTranslator(NoTranslator::Target { .. })), "{unknown:?}");
    let none = phrases.bed.jobs.submit(OWNER, of(texts())).await.unwrap_err();
    assert!(matches!(none, SubmitError::NoTranslator(NoTranslator::NotInstalled { .. })), "{none:?}");

    let first = phrases.jobs.submit(OWNER, of(texts())).await.unwrap().id;
    let worker = phrases.bed.start_with(phrases.worker_config()).await;
    assert_eq!(phrases.bed.end_of(first).await.status, "completed");
    let second = phrases.jobs.submit(OWNER, of(texts())).await.unwrap().id;
    assert_eq!(phrases.bed.end_of(second).await.status, "completed");
    for (id, cached) in [(first, false), (second, true)] {
        let chunks = phrases.bed.jobs.all_chunks(OWNER, id).await.unwrap().unwrap();
        let said: Vec<(&str, &str, bool)> =
            chunks.iter().map(|chunk| (chunk.text.as_str(), chunk.language.as_str(), chunk.cached)).collect();
        // The same words in the same voice are the same samples, whatever they were translated from.
        assert_eq!(said, [("Le chien court.", "fr", cached), ("Guten Tag.", "de", cached)]);
    }
    worker.stop(0).await;
}
