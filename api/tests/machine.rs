//! What the server says of the machine that it runs on, and when what waits will be through.

#![allow(clippy::unwrap_used)]

mod bed;

use bed::{Bed, json, status};
use serde_json::{Value, json};

async fn got(bed: &Bed, path: &str) -> Value {
    let mut response = bed.get(path).await;
    let body = json(&mut response).await;
    assert_eq!(status(&response), 200, "{path}: {body}");
    body
}

#[tokio::test]
async fn the_rows_of_the_machine_agree() {
    let bed = Bed::without_workers().await;
    let (stats, info) = (got(&bed, "/api/system/stats").await, got(&bed, "/api/system/info").await);
    assert_eq!(stats["ram"]["total_mb"], info["ram_total_mb"]);
    assert!(stats["ram"]["used_mb"].as_u64() <= stats["ram"]["total_mb"].as_u64(), "{stats}");
    assert!((0.0..=100.0).contains(&stats["cpu"]["percent"].as_f64().unwrap()), "{stats}");
    assert!(stats["disk"]["free_mb"].as_u64().unwrap() > 0, "{stats}");
    assert_eq!(info["app_version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&info["capabilities"]["speech"], &info["capabilities"]["database"]), (&json!(true), &json!("sqlite")));
    assert!(info["capabilities"]["formats"].as_array().unwrap().contains(&json!("flac")), "{info}");

    let gpu = got(&bed, "/api/system/gpu").await;
    let names: Vec<&Value> = gpu["devices"].as_array().unwrap().iter().map(|device| &device["name"]).collect();
    assert_eq!(names, info["gpus"].as_array().unwrap().iter().collect::<Vec<_>>());
    assert_eq!(names.len(), stats["gpu"].as_array().unwrap().len());
    assert_eq!(gpu["available"], !names.is_empty());
    if names.is_empty() {
        assert_eq!((&gpu["backend"], &gpu["warning"]), (&Value::Null, &Value::Null));
    }
}

#[tokio::test]
async fn what_waits_is_told_when_it_will_be_through() {
    let bed = Bed::with_workers().await;
    let body = json!({"text": "One. Two.", "voice_id": "nora"});
    let mut made = bed.post("/api/generate/preset", &body).await;
    let first = json(&mut made).await["task_id"].as_str().unwrap().to_owned();
    // Somebody has been heard: from here on there is a pace.
    let waited = got(&bed, &format!("/api/jobs/{first}?wait=60")).await;
    assert_eq!(waited["status"], "completed", "{waited}");
    let mut tx = bed.app.storage.rows.begin().await.unwrap();
    storage::jobs::pause_queue(&mut tx, "cpu", 0).await.unwrap();
    tx.commit().await.unwrap();
    for text in ["The first that waits.", "The second that waits."] {
        bed.post("/api/generate/preset", &json!({"text": text, "voice_id": "nora"})).await;
    }
    let queue = got(&bed, "/api/queue/status").await;
    let etas: Vec<i64> = queue["queued"].as_array().unwrap().iter().map(|job| job["eta_ms"].as_i64().unwrap()).collect();
    // Newest first.
    assert!(etas.len() == 2 && etas[0] >= etas[1] && etas[1] >= 0, "{queue}");
}
