//! A voice that is there already, without anybody having made it.

use bytes::Bytes;
use serde_json::json;
use storage::BlobKey;
use storage::voices::{Voice, VoicePreview, VoiceSample};
use uuid::Uuid;

use super::Bed;

/// A voice that the engine can speak, with one recording and a preview.
pub(crate) async fn store(bed: &Bed, owner_id: &str, change: impl FnOnce(&mut Voice)) -> Voice {
    let (id, sample_id, preview_id) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let blobs = &bed.app.storage.blobs;
    let sample = blobs.put(BlobKey::VoiceSample { voice_id: id, sample_id }, Bytes::from_static(b"RIFF recording")).await.unwrap();
    let preview = blobs.put(BlobKey::VoicePreview { voice_id: id, preview_id }, Bytes::from_static(b"RIFF preview")).await.unwrap();
    let mut voice = Voice {
        id,
        owner_id: owner_id.into(),
        private: false,
        kind: "clone".into(),
        name: "Ada".into(),
        description: "calm".into(),
        language: "en-GB".into(),
        gender: "female".into(),
        category: None,
        tags: vec!["warm".into()],
        color: None,
        settings: json!({}),
        revision: 1,
        profiles: Some(
            json!([{"engine": "builtin", "model": null, "profile": {"engine": "builtin", "pitch_low_hz": 150.0, "pitch_high_hz": 220.0}}])
                .to_string(),
        ),
        preview: Some(VoicePreview { id: preview_id, blob: preview }),
        consent: None,
        job_id: None,
        created_at_ms: 1_000,
        updated_at_ms: 1_000,
    };
    change(&mut voice);
    let samples =
        [VoiceSample { id: sample_id, blob: sample, duration_ms: 5, transcript: None, start_ms: None, end_ms: None, weight: 1.0 }];
    let mut tx = bed.app.storage.rows.begin().await.unwrap();
    storage::voices::insert(&mut tx, &voice, &samples).await.unwrap();
    tx.commit().await.unwrap();
    voice
}
