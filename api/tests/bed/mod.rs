//! A front door in a temporary folder, with an engine that follows a script: what the tests of this folder share.

#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod line;
pub(crate) mod voice;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::app::App;
use api::config::{self, Config, Flags};
use api::keys::Key;
use api::routes;
use api::scopes::Scope;
use engine::handle::{EngineConfig, EngineHandle};
use engine::scripted::{Script, ScriptedEngines};
use engine::speech::SpeechEngine;
use jobs::clock::{Clock, SystemClock};
use jobs::room::RoomConfig;
use jobs::worker::{Worker, WorkerConfig};
use jobs::{Jobs, JobsConfig};
use salvo::Service;
use salvo::http::{Method, Response};
use salvo::test::{RequestBuilder, ResponseExt, TestClient};
use serde_json::Value;
use storage::api_keys::{self, ApiKey};
use storage::data_folder::DataFolder;
use storage::rows::RowsConfig;
use storage::{Blobs, Rows, Storage};
use tempfile::TempDir;

pub(crate) const BASE: &str = "http://127.0.0.1:8765";

pub(crate) struct Bed {
    pub(crate) app: App,
    pub(crate) service: Service,
    /// With all scopes and no limits to speak of.
    pub(crate) key: String,
    _worker: Option<Worker>,
    _folder: TempDir,
}

impl Bed {
    /// Accepts jobs; nothing of them is done.
    pub(crate) async fn without_workers() -> Self {
        Self::with(|_| {}, false).await
    }

    pub(crate) async fn with_workers() -> Self {
        Self::with(|_| {}, true).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config), workers: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config::load(&Flags { data_dir: Some(folder.path().to_owned()), ..Flags::default() }, None).unwrap();
        // Tables of refusals are longer than what one address may fail.
        config.failures_loopback_per_minute_max = 1_000_000;
        change(&mut config);
        let data = DataFolder::create(folder.path()).unwrap();
        let rows = Rows::open(&RowsConfig::new(data.database_url())).await.unwrap();
        let storage = Storage { rows, blobs: Blobs::open_local(&data.blobs()).unwrap() };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let engines = ScriptedEngines::new(Script { ms_per_char: 5, steps: 1, ..Script::default() });
        let factory = move || Ok(Box::new(engines.engine()) as Box<dyn SpeechEngine>);
        let engine = EngineHandle::start(EngineConfig::default(), factory).unwrap();
        let defaults = JobsConfig::new(folder.path().to_owned());
        let room = RoomConfig { open_generations_max: config.queue_depth_max.into(), ..defaults.room };
        let jobs = Jobs::new(storage.clone(), engine.clone(), clock.clone(), JobsConfig { room, ..defaults });
        let library = Arc::new(api::manage_models::library(&config).unwrap());
        let worker = if workers {
            let work = WorkerConfig { library: Some(library.clone()), ..WorkerConfig::new(data.temporary()) };
            let worker = Worker::start(storage.clone(), engine, clock.clone(), "node", work).await.unwrap();
            jobs.attach(&worker);
            Some(worker)
        } else {
            None
        };
        let app = App::new(config, storage, jobs, library, clock, "node");
        app.set_ready(true);
        let service = routes::service(app.clone());
        let mut bed = Self { app, service, key: String::new(), _worker: worker, _folder: folder };
        bed.key = bed.new_key(&Scope::ALL).await;
        bed
    }

    pub(crate) async fn new_key(&self, scopes: &[Scope]) -> String {
        self.new_key_with(scopes, 1_000_000, |_| {}).await
    }

    pub(crate) async fn new_key_with(&self, scopes: &[Scope], limit: u32, change: impl FnOnce(&mut ApiKey)) -> String {
        let key = Key::from_random(rand::random(), rand::random());
        let mut row = ApiKey {
            id: key.id().into(),
            owner_id: key.id().into(),
            name: "test".into(),
            secret_sha256: key.hash(),
            scopes: scopes.iter().map(|scope| scope.as_str().into()).collect(),
            limits: scopes.iter().map(|scope| (scope.as_str().into(), limit)).collect::<BTreeMap<String, u32>>(),
            ..ApiKey::default()
        };
        change(&mut row);
        let mut tx = self.app.storage.rows.begin().await.unwrap();
        api_keys::insert(&mut tx, &row, 0).await.unwrap();
        if row.revoked_at_ms.is_some() {
            api_keys::revoke(&mut tx, &row.id, 1).await.unwrap();
        }
        tx.commit().await.unwrap();
        key.reveal().into()
    }

    /// Where everything is kept.
    pub(crate) fn folder(&self) -> std::path::PathBuf {
        self._folder.path().to_owned()
    }

    /// The key's owner.
    pub(crate) fn owner(&self) -> String {
        Key::parse(&self.key).unwrap().id().into()
    }

    /// A request from another address.
    pub(crate) async fn send_from(&self, address: &str, request: RequestBuilder) -> Response {
        let mut request = request.build();
        *request.remote_addr_mut() = std::net::SocketAddr::new(address.parse().unwrap(), 40_000).into();
        self.service.handle(request).await
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Response {
        self.send_from("127.0.0.1", request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.send(request(Method::GET, path).add_header("x-api-key", &self.key, true)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.send(request(Method::POST, path).add_header("x-api-key", &self.key, true).json(body)).await
    }
}

pub(crate) fn request(method: Method, path: &str) -> RequestBuilder {
    let url = format!("{BASE}{path}");
    match method {
        Method::GET => TestClient::get(url),
        Method::POST => TestClient::post(url),
        Method::PUT => TestClient::put(url),
        Method::DELETE => TestClient::delete(url),
        Method::HEAD => TestClient::head(url),
        Method::PATCH => TestClient::patch(url),
        Method::OPTIONS => TestClient::options(url),
        other => panic!("{other}"),
    }
}

pub(crate) fn status(response: &Response) -> u16 {
    response.status_code.unwrap().as_u16()
}

pub(crate) fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

pub(crate) async fn json(response: &mut Response) -> Value {
    response.take_json().await.unwrap()
}

/// The problem of a response, which must have this status and code and all that the contract wants.
pub(crate) async fn problem(mut response: Response, expected: u16, code: &str) -> Value {
    let got = status(&response);
    let request_id = header(&response, "x-request-id").map(str::to_owned);
    let content_type = header(&response, "content-type").map(str::to_owned);
    let body = response.take_string().await.unwrap();
    assert_eq!(got, expected, "{body}");
    assert_eq!(content_type.as_deref(), Some("application/problem+json"), "{body}");
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((problem["status"].as_u64(), problem["code"].as_str()), (Some(u64::from(expected)), Some(code)), "{problem}");
    assert_eq!(problem["request_id"].as_str(), request_id.as_deref(), "{problem}");
    for name in ["type", "title", "detail"] {
        assert!(problem[name].as_str().is_some_and(|text| !text.is_empty()), "no {name}: {problem}");
    }
    problem
}
