//! Models through the front door: what can be had, fetching it as a job from a server that behaves like the hub, and what is told when it does
//! not.

#![allow(clippy::unwrap_used)]

mod bed;
#[path = "../../models/tests/hub/server.rs"]
mod server;

use bed::{Bed, header, json, problem, status};
use salvo::http::Method;
use serde_json::{Value, json};
use server::Server;

struct Library {
    bed: Bed,
    hub: Server,
    _catalogue: tempfile::TempDir,
}

impl Library {
    async fn with(workers: bool) -> Self {
        let (hub, catalogue) = (Server::start(), tempfile::tempdir().unwrap());
        std::fs::write(catalogue.path().join("tiny.toml"), server::manifest()).unwrap();
        let change = |config: &mut api::config::Config| {
            config.models_endpoint = hub.endpoint();
            config.models_catalogue_dir = Some(catalogue.path().to_owned());
        };
        Self { bed: Bed::with(change, workers).await, hub, _catalogue: catalogue }
    }

    async fn tiny(&self) -> Value {
        let listed = json(&mut self.bed.get("/api/models").await).await;
        let models = listed["models"].as_array().unwrap();
        models.iter().find(|model| model["id"] == "tiny").unwrap().clone()
    }

    /// The job when it has ended.
    async fn pull(&self) -> Value {
        let asked =
            bed::request(Method::POST, "/api/models").add_header("x-api-key", &self.bed.key, true).add_header("prefer", "wait=60", true);
        let mut answer = self.bed.send(asked.json(&json!({"model": "tiny"}))).await;
        assert_eq!(status(&answer), 200);
        json(&mut answer).await
    }
}

#[tokio::test]
async fn a_model_is_fetched_as_a_job() {
    let library = Library::with(true).await;
    let before = library.tiny().await;
    assert_eq!((&before["installed"], &before["abilities"], &before["repo"]), (&json!(false), &json!(["clone"]), &json!("owner/name")));
    library.hub.be(|hub| hub.breaks_after = Some(100_000));
    let job = library.pull().await;
    assert_eq!(
        (&job["status"], &job["type"], &job["result"]["model"]),
        (&json!("completed"), &json!("models.pull"), &json!("tiny")),
        "{job}"
    );
    let after = library.tiny().await;
    let size_bytes: usize = server::files().values().map(Vec::len).sum();
    assert_eq!((&after["installed"], &after["size_bytes"]), (&json!(true), &json!(size_bytes)));
    let installed = library.bed.folder().join("models/tiny");
    for (path, bytes) in server::files() {
        assert_eq!(std::fs::read(installed.join(path)).unwrap(), bytes, "{path}");
    }
    assert!(library.hub.asked().iter().any(|line| line.contains("bytes=100000-")), "gone on with where the line broke");
}

#[tokio::test]
async fn a_hub_that_refuses_ends_the_job_and_it_can_be_tried_again() {
    let library = Library::with(true).await;
    library.hub.be(|hub| hub.status = Some(401));
    let job = library.pull().await;
    assert_eq!(job["status"], "failed", "{job}");
    assert!(job["error"]["detail"].as_str().unwrap().contains("token"), "{job}");
    assert_eq!(library.tiny().await["installed"], false);
    library.hub.be(|hub| hub.status = None);
    let path = format!("/api/jobs/{}", job["id"].as_str().or(job["job_id"].as_str()).unwrap());
    let again = library.bed.post(&format!("{path}/retry"), &json!({})).await;
    assert!([200, 202].contains(&status(&again)));
    loop {
        let asked = bed::request(Method::GET, &path).add_header("x-api-key", &library.bed.key, true).add_header("prefer", "wait=60", true);
        let now = json(&mut library.bed.send(asked).await).await;
        if now["status"] == "completed" {
            break;
        }
        assert_ne!(now["status"], "failed", "{now}");
    }
    assert_eq!(library.tiny().await["installed"], true);
}

#[tokio::test]
async fn one_pull_of_a_caller_at_a_time_and_none_of_what_nobody_knows() {
    let library = Library::with(false).await;
    let bed = &library.bed;
    let mut first = bed.post("/api/models", &json!({"model": "tiny"})).await;
    assert_eq!(status(&first), 202);
    let location = header(&first, "location").unwrap().to_owned();
    let (one, same) = (json(&mut first).await, json(&mut bed.post("/api/models", &json!({"model": "tiny"})).await).await);
    assert_eq!(one["job_id"], same["job_id"], "{one} {same}");
    assert_eq!(status(&bed.get(&location).await), 200);
    problem(bed.post("/api/models", &json!({"model": "../tiny"})).await, 422, "validation_failed").await;
    problem(bed.post("/api/models", &json!({})).await, 422, "validation_failed").await;
    let cancelled = bed.post("/api/job/cancel", &json!({"job_id": one["job_id"]})).await;
    assert_eq!(status(&cancelled), 200);
    let next = json(&mut bed.post("/api/models", &json!({"model": "tiny"})).await).await;
    assert_ne!(one["job_id"], next["job_id"]);
}
