//! The table of all routes: each endpoint once, with who may call it, which bucket it draws from and what body it reads. The router, the
//! document and the tests are made from it, so none of them can forget one.

use salvo::affix_state;
use salvo::catch_panic::CatchPanic;
use salvo::catcher::Catcher;
use salvo::http::Method;
use salvo::routing::filters;
use salvo::{Handler, Router, Service};

use crate::app::App;
use crate::body::DrainBody;
use crate::cors::Cors;
use crate::endpoints::{
    api_keys, audio, categories, chunk_audio, clone, design, docs, download, events, favorites, generate, generations, health, jobs,
    machine, metrics, models, montages, previews, queue, regenerate, system, text, timeline, timeline_media, transcribe, translate,
    voice_archives, voices, websocket, ws_ticket,
};
use crate::gate::{Access, BodyKind, Gate};
use crate::host_check::HostPolicy;
use crate::idempotency::Idempotency;
use crate::limits::Weight;
use crate::problem::ProblemCatcher;
use crate::request_id::RequestId;
use crate::scopes::Scope;

/// Jobs may belong to any of these; the key that asked for one may look at it.
const JOB_SCOPES: &[Scope] = &[Scope::TtsGenerate, Scope::CloneCreate, Scope::AudioProcess, Scope::TtsTimeline, Scope::SystemRead];
/// Those of them that make something.
const MAKER_SCOPES: &[Scope] = &Scope::MAKERS;
/// Files of a generation, for those who made it and those who read the history.
const FILE_SCOPES: &[Scope] = &[Scope::VoicesRead, Scope::TtsGenerate];

/// One line of the table.
#[derive(Debug)]
pub struct Route {
    pub method: Method,
    /// With names in braces.
    pub path: &'static str,
    pub tag: &'static str,
    pub gate: Gate,
    /// The endpoint at its path, without the gate; what the document is made from.
    pub endpoint: Router,
    /// A line of the product's public documentation, and not one of ours.
    pub documented: bool,
}

/// Lines are written with this: method, path, access, endpoint; then what differs from the usual.
fn route<H: Handler>(method: Method, path: &'static str, access: Access, handler: H) -> Route {
    let body = if method == Method::POST || method == Method::PUT { BodyKind::Json } else { BodyKind::None };
    let endpoint = at(&method, path).goal(handler);
    Route {
        method,
        path,
        tag: "System",
        gate: Gate { access, weight: Weight::Normal, body, takes_ticket: false, adds_work: false },
        endpoint,
        documented: true,
    }
}

fn at(method: &Method, path: &str) -> Router {
    let path = path.trim_start_matches('/');
    let router = if path.is_empty() { Router::new() } else { Router::with_path(path) };
    router.filter(filters::MethodFilter(method.clone()))
}

impl Route {
    fn light(mut self) -> Self {
        self.gate.weight = Weight::Light;
        self
    }

    /// Refused while the queue is full.
    fn adds_work(mut self) -> Self {
        self.gate.adds_work = true;
        self
    }

    /// Not in the product's documentation.
    fn ours(mut self) -> Self {
        self.documented = false;
        self
    }

    /// Browsers, which can't send a header here, come with a one-time ticket.
    fn with_ticket(mut self) -> Self {
        self.gate.takes_ticket = true;
        self
    }

    /// A POST that says everything in its path.
    fn without_body(mut self) -> Self {
        self.gate.body = BodyKind::None;
        self
    }

    /// Takes files.
    fn multipart(mut self) -> Self {
        self.gate.body = BodyKind::Multipart;
        self
    }

    /// A DELETE that may say in a body what is meant.
    fn with_body(mut self) -> Self {
        self.gate.body = BodyKind::Json;
        self
    }

    fn tag(mut self, tag: &'static str) -> Self {
        self.tag = tag;
        self
    }
}

/// All routes.
pub fn table() -> Vec<Route> {
    let scope = Access::Scope;
    let get = |path, access| (Method::GET, path, access);
    let post = |path, access| (Method::POST, path, access);
    let put = |path, access| (Method::PUT, path, access);
    let delete = |path, access| (Method::DELETE, path, access);
    macro_rules! lines {
        ($($tag:literal { $($line:expr => $handler:expr $(, $mark:ident)*;)* })*) => {
            vec![$($({
                let (method, path, access) = $line;
                route(method, path, access, $handler).tag($tag)$(.$mark())*
            },)*)*]
        };
    }
    lines! {
        "Voices" {
            get("/api/voices", scope(Scope::VoicesRead)) => voices::list_voices;
            get("/api/voices/{id}", scope(Scope::VoicesRead)) => voices::get_voice;
            put("/api/voices/{id}", scope(Scope::VoicesWrite)) => voices::update_voice;
            delete("/api/voices/{id}", scope(Scope::VoicesWrite)) => voices::delete_voice;
            get("/api/voices/{id}/samples/{sample_id}", scope(Scope::VoicesRead)) => voices::get_voice_sample, light, ours;
            get("/api/voices/{id}/preview", scope(Scope::VoicesRead)) => voices::get_voice_preview, light, ours;
            get("/api/categories", scope(Scope::VoicesRead)) => categories::list_categories;
            post("/api/categories", scope(Scope::VoicesWrite)) => categories::create_category;
            delete("/api/categories", scope(Scope::VoicesWrite)) => categories::delete_category, with_body;
            get("/api/favorites", scope(Scope::VoicesRead)) => favorites::list_favorites;
            post("/api/favorites/{id}", scope(Scope::VoicesWrite)) => favorites::toggle_favorite;
            post("/api/voices/export", scope(Scope::VoicesRead)) => voice_archives::export;
            post("/api/voices/import/preview", scope(Scope::VoicesWrite)) => voice_archives::preview, multipart;
            post("/api/voices/import", scope(Scope::VoicesWrite)) => voice_archives::import, multipart;
        }
        "Speech" {
            post("/api/generate/preset", scope(Scope::TtsGenerate)) => generate::generate_preset, adds_work;
            post("/api/generate/clone", scope(Scope::TtsGenerate)) => generate::generate_clone, adds_work;
            post("/api/generate/clone-chunked", scope(Scope::TtsGenerate)) => generate::clone_chunked, adds_work;
            post("/api/generate/clone-chunked-multivoice", scope(Scope::TtsGenerate)) => generate::clone_chunked_multivoice, adds_work;
            post("/api/generate/clone-chunked-multilang", scope(Scope::TtsGenerate)) => generate::clone_chunked_multilang, adds_work;
            post("/api/generate/regenerate-chunk", scope(Scope::TtsGenerate)) => regenerate::regenerate_chunk, adds_work;
            post("/api/generate/merge-chunks", scope(Scope::TtsGenerate)) => generate::merge_chunks;
            post("/api/generation/cancel", scope(Scope::TtsGenerate)) => queue::cancel_generation;
            get("/api/audio/chunk/{task_id}/{index}", scope(Scope::TtsGenerate)) => chunk_audio::get_chunk_audio, light;
            post("/api/text/split", scope(Scope::AudioProcess)) => text::split_text, light;
        }
        "Cloning" {
            post("/api/clone/create", scope(Scope::CloneCreate)) => clone::create, multipart, adds_work;
            post("/api/clone/create-multi", scope(Scope::CloneCreate)) => clone::create_multi, multipart, adds_work;
            post("/api/clone/create-clips", scope(Scope::CloneCreate)) => clone::create_clips, multipart, adds_work;
            post("/api/clone/cancel", scope(Scope::CloneCreate)) => clone::cancel, light;
            post("/api/design/create", scope(Scope::CloneCreate)) => design::create, adds_work;
            post("/api/design/cancel", scope(Scope::CloneCreate)) => design::cancel, light;
            post("/api/voices/{id}/generate-preview", scope(Scope::CloneCreate)) => previews::generate, adds_work;
            get("/api/voices/{id}/previews/{preview_id}", scope(Scope::VoicesRead)) => previews::get, light, ours;
        }
        "Audio" {
            post("/api/download-video", scope(Scope::AudioProcess)) => download::download_video, adds_work;
            post("/api/transcribe", scope(Scope::AudioProcess)) => transcribe::transcribe, multipart, adds_work;
            post("/api/translate", scope(Scope::AudioProcess)) => translate::translate, adds_work;
            post("/api/audio-duration", scope(Scope::AudioProcess)) => audio::audio_duration, light, multipart;
        }
        "Timeline" {
            get("/api/timeline/{task_id}", scope(Scope::TtsTimeline)) => timeline::get_timeline;
            post("/api/timeline/{task_id}/layout", scope(Scope::TtsTimeline)) => timeline::save_layout;
            post("/api/timeline/{task_id}/import-track", scope(Scope::TtsTimeline)) => timeline_media::import_track, multipart;
            post("/api/timeline/{task_id}/import-video", scope(Scope::TtsTimeline)) => timeline_media::import_video, multipart;
            get("/api/timeline/{task_id}/media/{media_id}/audio", scope(Scope::TtsTimeline)) => timeline_media::get_audio, light, ours;
            get("/api/timeline/{task_id}/media/{media_id}/poster", scope(Scope::TtsTimeline)) => timeline_media::get_poster, light, ours;
            post("/api/generate/merge-timeline", scope(Scope::TtsTimeline)) => timeline::merge_timeline, adds_work;
            get("/api/timeline/{task_id}/audio/{render_id}", scope(Scope::TtsTimeline)) => timeline::get_audio, light, ours;
        }
        "Generations" {
            get("/api/generations", scope(Scope::VoicesRead)) => generations::list_generations;
            get("/api/generations/{id}", scope(Scope::VoicesRead)) => generations::get_generation;
            (Method::DELETE, "/api/generations/{id}", scope(Scope::VoicesWrite)) => generations::delete_generation;
            get("/api/generations/{id}/audio", Access::AnyOf(FILE_SCOPES)) => generations::get_audio, light, ours;
            get("/api/generations/{id}/subtitles.srt", Access::AnyOf(FILE_SCOPES)) => generations::get_subtitles_srt, light, ours;
            get("/api/generations/{id}/subtitles.vtt", Access::AnyOf(FILE_SCOPES)) => generations::get_subtitles_vtt, light, ours;
            get("/api/generations/{id}/peaks", Access::AnyOf(FILE_SCOPES)) => generations::get_peaks, light, ours;
        }
        "Montages" {
            get("/api/montages", scope(Scope::VoicesRead)) => montages::list_montages;
            post("/api/montages", scope(Scope::VoicesWrite)) => montages::create_montage;
            get("/api/montages/{id}", scope(Scope::VoicesRead)) => montages::get_montage;
            (Method::PUT, "/api/montages/{id}", scope(Scope::VoicesWrite)) => montages::change_montage, ours;
            (Method::DELETE, "/api/montages/{id}", scope(Scope::VoicesWrite)) => montages::delete_montage;
        }
        "Jobs" {
            get("/api/jobs", Access::AnyOf(JOB_SCOPES)) => jobs::list_jobs, light, ours;
            get("/api/jobs/{id}", Access::AnyOf(JOB_SCOPES)) => jobs::get_job, light, ours;
            get("/api/jobs/{id}/audio", Access::AnyOf(JOB_SCOPES)) => jobs::get_job_audio, light, ours;
            post("/api/jobs/{id}/retry", Access::AnyOf(MAKER_SCOPES)) => jobs::retry_job, ours, without_body;
            post("/api/job/cancel", scope(Scope::SystemRead)) => queue::cancel_job;
            get("/api/queue/status", scope(Scope::SystemRead)) => queue::queue_status;
        }
        "Events" {
            get("/ws", scope(Scope::WsConnect)) => websocket::upgrade, with_ticket;
            get("/api/events", scope(Scope::WsConnect)) => events::stream, ours, with_ticket;
            post("/api/ws-ticket", scope(Scope::WsConnect)) => ws_ticket::create_ticket, ours, light, without_body;
        }
        "Keys" {
            get("/api/api-keys", scope(Scope::SystemRead)) => api_keys::list_api_keys;
            post("/api/api-keys", scope(Scope::SystemRead)) => api_keys::create_api_key;
            delete("/api/api-keys/{key_id}", scope(Scope::SystemRead)) => api_keys::delete_api_key;
            post("/api/api-keys/{key_id}/revoke", scope(Scope::SystemRead)) => api_keys::revoke_api_key, without_body;
            post("/api/api-keys/{key_id}/rotate", scope(Scope::SystemRead)) => api_keys::rotate_api_key, ours;
        }
        "System" {
            get("/api/system/status", scope(Scope::SystemRead)) => system::system_status;
            get("/api/system/stats", scope(Scope::SystemRead)) => machine::system_stats;
            get("/api/system/gpu", scope(Scope::SystemRead)) => machine::system_gpu;
            get("/api/system/info", scope(Scope::SystemRead)) => machine::system_info;
            get("/api/models", scope(Scope::SystemRead)) => models::list, ours;
            post("/api/models", scope(Scope::SystemRead)) => models::pull, ours, adds_work;
            get("/metrics", scope(Scope::SystemRead)) => metrics::get, light, ours;
            get("/healthz", Access::Public) => health::healthz, ours;
            get("/readyz", Access::Public) => health::readyz, ours;
            get("/openapi.json", Access::Public) => docs::openapi_json, ours;
            get("/docs", Access::Public) => docs::page, ours;
            get("/", Access::Public) => docs::root, ours;
        }
    }
}

/// The whole front door.
pub fn service(app: App) -> Service {
    let table = table();
    let hosts = HostPolicy::new(&app.config);
    let cors = Cors::new(&app.config);
    let mut router = Router::new().hoop(affix_state::inject(app).inject(docs::Document::default()));
    for route in table {
        // What can be got can be asked for its headers alone.
        if route.method == Method::GET {
            let mut head = at(&Method::HEAD, route.path).hoop(route.gate);
            head.goal = route.endpoint.goal.clone();
            router = router.push(head);
        }
        let endpoint = route.endpoint.hoop(route.gate);
        router = router.push(if route.method == Method::POST { endpoint.hoop(Idempotency) } else { endpoint });
    }
    Service::new(router)
        .hoop(RequestId)
        .hoop(DrainBody)
        .hoop(CatchPanic::new())
        .hoop(hosts)
        .hoop(cors)
        .catcher(Catcher::default().hoop(ProblemCatcher))
}
