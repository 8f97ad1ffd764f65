//! One generation of very many chunks: accepted in one transaction, listed in pages, spoken, merged in order.
#![allow(clippy::unwrap_used)]

mod bed;

use bed::{Bed, Database, OWNER};
use engine::scripted::Script;

const PAGE_ROWS: u32 = 700;

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_chunks() {
    speak(2_000).await;
}

/// `cargo nextest run -p jobs --test long --run-ignored only`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn ten_thousand_chunks() {
    speak(10_000).await;
}

async fn speak(count: u32) {
    // Sounds as short as plausible speech can be.
    let bed = Bed::new(Database::Sqlite, Script { ms_per_char: 25, steps: 1, ..Script::default() }).await;
    let texts: Vec<String> = (0..count).map(|index| format!("No. {index}")).collect();
    let id = bed.submit(&texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut listed = Vec::new();
    while listed.len() < texts.len() {
        let page = bed.jobs.chunks(OWNER, id, listed.len() as u32, PAGE_ROWS).await.unwrap().unwrap();
        assert!(!page.is_empty());
        listed.extend(page.into_iter().map(|chunk| chunk.text));
    }
    assert_eq!(listed, texts);

    let worker = bed.start().await;
    // Hours would be too long for any machine; how long it takes is not judged.
    let job = bed.jobs.wait(OWNER, id, 3_600_000).await.unwrap().unwrap();
    assert_eq!((job.status.as_str(), job.chunks_done), ("completed", i64::from(count)), "{:?}", job.error);
    assert_eq!(bed.engine.calls(), u64::from(count), "each once");
    let result = job.result.unwrap();
    let places = result["chunks"].as_array().unwrap();
    assert_eq!(places.len(), texts.len());
    let in_order = |pair: &[serde_json::Value]| {
        pair[0]["index"].as_u64().unwrap() + 1 == pair[1]["index"].as_u64().unwrap()
            && pair[0]["end_ms"].as_u64() <= pair[1]["start_ms"].as_u64()
    };
    assert!(places.windows(2).all(in_order), "in order, and none over another");
    worker.stop(1_000).await;
}
