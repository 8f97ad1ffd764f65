//! `/metrics`: in the form that Prometheus reads, true, and without anything that names a key, a job or a text.

#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::{BTreeMap, BTreeSet};

use api::scopes::Scope;
use bed::{Bed, header, json, problem, request, status};
use salvo::http::Method;
use salvo::test::ResponseExt;
use serde_json::json;

/// Series by name and labels; the text is checked on the way.
async fn scraped(bed: &Bed) -> BTreeMap<String, f64> {
    let mut response = bed.get("/metrics").await;
    assert_eq!((status(&response), header(&response, "content-type")), (200, Some("text/plain; version=0.0.4; charset=utf-8")));
    let text = response.take_string().await.unwrap();
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    let mut series = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(kinds.insert(name, kind).is_none(), "{name} is told twice");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let family = name.split('{').next().unwrap();
            let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| family.strip_suffix(end));
            let kind = kinds.get(family).or_else(|| kinds.get(of_histogram.unwrap_or_default()));
            assert!(kind.is_some(), "{line} has no type");
            assert_eq!(kind == Some(&"counter"), family.ends_with("_total"), "{line}");
            assert!(series.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{name} twice");
        }
    }
    series
}

#[tokio::test]
async fn what_happened_is_counted() {
    let bed = Bed::with_workers().await;
    let mut made = bed.post("/api/generate/preset", &json!({"text": "Count me.", "voice_id": "nora"})).await;
    let id = json(&mut made).await["task_id"].as_str().unwrap().to_owned();
    let ended = json(&mut bed.get(&format!("/api/jobs/{id}?wait=60")).await).await;
    assert_eq!(ended["status"], "completed", "{ended}");
    // The count of a run follows its commit.
    let mut series = scraped(&bed).await;
    while series["clonyvoice_attempts_total{end=\"done\"}"] < 2.0 {
        series = scraped(&bed).await;
    }
    assert_eq!(series["clonyvoice_job_wait_seconds_count"], 2.0, "a chunk and a merge");
    assert_eq!(series["clonyvoice_job_run_seconds_bucket{le=\"+Inf\"}"], 2.0);
    assert_eq!((series["clonyvoice_real_time_factor_count"], series["clonyvoice_engine_calls_total"]), (1.0, 1.0));
    for nothing in ["dead_letters_total", "fenced_commits_total", "rescues_total", "generations_open", "subscribers"] {
        assert_eq!(series[&format!("clonyvoice_{nothing}")], 0.0, "{nothing}");
    }
    assert!(series["clonyvoice_wal_bytes"] > 0.0 && series["clonyvoice_disk_free_bytes"] > 0.0);

    let mut tx = bed.app.storage.rows.begin().await.unwrap();
    storage::jobs::pause_queue(&mut tx, "cpu", 0).await.unwrap();
    tx.commit().await.unwrap();
    bed.post("/api/generate/preset", &json!({"text": "Let me wait.", "voice_id": "nora"})).await;
    let series = scraped(&bed).await;
    assert_eq!(series["clonyvoice_queue_jobs{queue=\"cpu\",state=\"queued\"}"], 1.0);
    assert_eq!(series["clonyvoice_generations_open"], 1.0);
    assert!(series["clonyvoice_queue_oldest_seconds{queue=\"cpu\"}"] >= 0.0);
}

#[tokio::test]
async fn limits_that_are_reached_are_counted_by_scope() {
    let bed = Bed::without_workers().await;
    let key = bed.new_key_with(&[Scope::VoicesRead], 1, |_| {}).await;
    let ask = async || bed.send(request(Method::GET, "/api/voices").add_header("x-api-key", &key, true)).await;
    assert_eq!(status(&ask().await), 200);
    problem(ask().await, 429, "rate_limited").await;
    let series = scraped(&bed).await;
    assert_eq!(series["clonyvoice_limit_hits_total{scope=\"voices:read\"}"], 1.0);
    assert_eq!(series["clonyvoice_limit_hits_total{scope=\"tts:generate\"}"], 0.0);
}

#[tokio::test]
async fn labels_name_kinds_of_things_only() {
    let bed = Bed::with_workers().await;
    let body = json!({"text": "Canarytext.", "voice_id": "nora", "title": "canarytitle", "metadata": {"x": "canarymeta"}});
    for _ in 0..3 {
        bed.post("/api/generate/preset", &body).await;
    }
    let before: BTreeSet<String> = scraped(&bed).await.into_keys().collect();
    for name in &before {
        let labels = name.split_once('{').map_or("", |(_, labels)| labels);
        for part in labels.trim_end_matches('}').split("\",").filter(|part| !part.is_empty()) {
            let label = part.split('=').next().unwrap();
            assert!(["queue", "state", "end", "le", "scope", "version"].contains(&label), "{name}");
        }
        assert!(!name.contains("anary") && !name.contains(&bed.owner()), "{name}");
    }
    problem(bed.send(request(Method::GET, "/metrics")).await, 401, "unauthenticated").await;
    let stranger = bed.new_key(&[Scope::TtsGenerate]).await;
    problem(bed.send(request(Method::GET, "/metrics").add_header("x-api-key", &stranger, true)).await, 403, "insufficient_scope").await;
}
