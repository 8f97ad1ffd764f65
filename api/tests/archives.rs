//! Uploads and archives: what comes in is read in a process of its own, whatever is wrong with it is told, and nothing of it stays.

#![allow(clippy::unwrap_used)]

mod bed;

use std::io::{Read, Write};

use api::decode_host::misbehave::How as Misdeed;
use api::decode_host::{HostAnswer, HostTask};
use api::decode_hosts::{DecodeHosts, DecodeHostsConfig};
use bed::{Bed, header, json, problem, request, status};
use salvo::http::{Method, Response};
use salvo::test::ResponseExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const ID: &str = "0197f000-0000-7000-8000-00000000000a";
const BOUNDARY: &str = "a-boundary-of-tests";

/// Half a second of 16-bit mono at 8 kHz.
fn wav() -> Vec<u8> {
    let samples: Vec<u8> = (0..4_000_i16).flat_map(|n| (n % 100 * 50).to_le_bytes()).collect();
    let mut bytes = Vec::new();
    bytes.extend_from_slice(b"RIFF");
    bytes.extend_from_slice(&(36 + samples.len() as u32).to_le_bytes());
    bytes.extend_from_slice(b"WAVEfmt ");
    bytes.extend_from_slice(&16_u32.to_le_bytes());
    for (value, width) in [(1_u32, 2), (1, 2), (8_000, 4), (16_000, 4), (2, 2), (16, 2)] {
        bytes.extend_from_slice(&value.to_le_bytes()[..width]);
    }
    bytes.extend_from_slice(b"data");
    bytes.extend_from_slice(&(samples.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&samples);
    bytes
}

/// The members of an archive of one voice, without the manifest.
fn members() -> Vec<(String, Vec<u8>)> {
    let voice = json!({
        "id": ID, "type": "clone", "name": "Ada", "description": "calm", "language": "en-GB", "gender": "female",
        "category": {"name": "Narrators", "color": "#4f8ad9"}, "tags": ["warm"], "color": "#abcdef",
        "settings": {"speed": 0.123_456_789_012_345_67}, "private": false, "created_at": "2026-01-31T12:00:00.123Z",
    });
    let samples = json!({"samples": [{
        "file": "samples/001.wav", "duration_ms": 500, "transcript": "Hello.", "start_ms": 100, "end_ms": 400, "weight": 0.5,
    }]});
    let profiles =
        json!([{"engine": "builtin", "model": null, "profile": {"engine": "builtin", "pitch_low_hz": 150.5, "pitch_high_hz": 220.0}}]);
    let consent = json!({"given": true, "at": "2026-01-31T12:00:00Z"});
    let path = |part: &str| format!("voices/{ID}/{part}");
    vec![
        (path("consent.json"), consent.to_string().into_bytes()),
        (path("preview.wav"), wav()),
        (path("profile.json"), profiles.to_string().into_bytes()),
        (path("samples.json"), samples.to_string().into_bytes()),
        (path("samples/001.wav"), wav()),
        (path("voice.json"), voice.to_string().into_bytes()),
    ]
}

fn manifest(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let listed: Vec<Value> = members
        .iter()
        .map(|(path, bytes)| json!({"path": path, "size_bytes": bytes.len(), "sha256": hex::encode(Sha256::digest(bytes))}))
        .collect();
    json!({"format": "clonyvoice", "version": 1, "members": listed}).to_string().into_bytes()
}

/// How a member is written; what an honest writer never says can be said here.
#[derive(Clone, Copy, Default)]
struct How {
    deflated: bool,
    /// Of Unix.
    mode: u32,
}

/// A ZIP with these members, in this order, whatever their names are.
fn zip_with(members: &[(String, Vec<u8>)], how: How) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (path, content) in members {
        let packed = if how.deflated {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        } else {
            content.clone()
        };
        let at = bytes.len() as u32;
        let mut head = Vec::new();
        for value in [20_u16, 0, if how.deflated { 8 } else { 0 }, 0, 33] {
            head.extend_from_slice(&value.to_le_bytes());
        }
        for value in [crc32fast::hash(content), packed.len() as u32, content.len() as u32] {
            head.extend_from_slice(&value.to_le_bytes());
        }
        head.extend_from_slice(&(path.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&[b"PK\x03\x04", head.as_slice(), path.as_bytes(), &packed].concat());
        directory.extend_from_slice(&[b"PK\x01\x02", [20, 3].as_slice(), &head, &[0; 6]].concat());
        directory.extend_from_slice(&[&(how.mode << 16).to_le_bytes()[..], &at.to_le_bytes(), path.as_bytes()].concat());
    }
    let at = bytes.len() as u32;
    bytes.extend_from_slice(&directory);
    bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    bytes.extend_from_slice(&[(members.len() as u16).to_le_bytes(), (members.len() as u16).to_le_bytes()].concat());
    bytes.extend_from_slice(&[(directory.len() as u32).to_le_bytes(), at.to_le_bytes()].concat());
    bytes.extend_from_slice(&[0; 2]);
    bytes
}

fn zip_of(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    zip_with(members, How::default())
}

/// With a manifest that fits.
fn archive(change: impl FnOnce(&mut Vec<(String, Vec<u8>)>)) -> Vec<u8> {
    let mut members = members();
    change(&mut members);
    members.insert(0, ("manifest.json".into(), manifest(&members)));
    zip_of(&members)
}

fn change(members: &mut [(String, Vec<u8>)], part: &str, change: impl FnOnce(&mut Value)) {
    let (_, bytes) = members.iter_mut().find(|(path, _)| path.ends_with(part)).unwrap();
    let mut value = serde_json::from_slice(bytes).unwrap();
    change(&mut value);
    *bytes = value.to_string().into_bytes();
}

/// The members of an archive that was stored, front to back.
fn unpacked(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut rest = archive;
    let mut members = Vec::new();
    while let Some(head) = rest.strip_prefix(b"PK\x03\x04") {
        let number = |at: usize, bytes: usize| head[at..at + bytes].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let (size, name_bytes) = (number(14, 4), number(22, 2));
        let name = String::from_utf8(head[26..26 + name_bytes].to_vec()).unwrap();
        let mut content = Vec::new();
        (&head[26 + name_bytes..26 + name_bytes + size]).read_to_end(&mut content).unwrap();
        members.push((name, content));
        rest = &head[26 + name_bytes + size..];
    }
    members
}

fn form(parts: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file_name, bytes) in parts {
        let file_name = file_name.map_or_else(String::new, |name| format!("; filename=\"{name}\""));
        body.extend_from_slice(format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{file_name}\r\n\r\n").as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

async fn send(bed: &Bed, key: &str, path: &str, body: Vec<u8>) -> Response {
    let asked = request(Method::POST, path).add_header("x-api-key", key, true);
    bed.send(asked.add_header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"), true).body(body)).await
}

async fn upload(bed: &Bed, path: &str, file: &[u8]) -> Response {
    send(bed, &bed.key, path, form(&[("file", Some("x.bin"), file)])).await
}

async fn export(bed: &Bed) -> Vec<u8> {
    let mut response = bed.post("/api/voices/export", &json!({})).await;
    assert_eq!((status(&response), header(&response, "content-type")), (200, Some("application/vnd.clonyvoice+zip")));
    assert!(header(&response, "content-disposition").unwrap().starts_with("attachment; filename="));
    let length: usize = header(&response, "content-length").unwrap().parse().unwrap();
    let bytes = response.take_bytes(None).await.unwrap().to_vec();
    assert_eq!(bytes.len(), length);
    bytes
}

async fn stored_count(bed: &Bed) -> u64 {
    json(&mut bed.get("/api/voices?type=clone").await).await["total"].as_u64().unwrap()
}

/// Temporary files of uploads that are there now.
fn left_behind(bed: &Bed) -> Vec<std::path::PathBuf> {
    let folder = bed.app.config.data_dir.join("tmp/server/uploads");
    std::fs::read_dir(folder).map_or_else(|_| Vec::new(), |entries| entries.map(|entry| entry.unwrap().path()).collect())
}

#[tokio::test]
async fn a_voice_goes_out_and_comes_back_byte_for_byte() {
    let bed = Bed::without_workers().await;
    let first = archive(|_| {});
    let mut imported = upload(&bed, "/api/voices/import", &first).await;
    assert_eq!(status(&imported), 201);
    let imported = json(&mut imported).await;
    assert_eq!(imported["imported"], json!([{"source_id": ID, "voice_id": ID, "name": "Ada", "replaced": false}]), "{imported}");
    let voice = json(&mut bed.get(&format!("/api/voices/{ID}")).await).await;
    assert_eq!(
        (voice["category"].as_str(), voice["created_at"].as_str()),
        (Some("Narrators"), Some("2026-01-31T12:00:00.123Z")),
        "{voice}"
    );
    assert_eq!((&voice["samples"][0]["transcript"], &voice["samples"][0]["weight"]), (&json!("Hello."), &json!(0.5)));
    let mut audio = bed.get(voice["samples"][0]["audio_url"].as_str().unwrap()).await;
    assert_eq!(audio.take_bytes(None).await.unwrap(), wav());
    let out = export(&bed).await;
    assert_eq!(out, export(&bed).await, "the same voices give the same bytes");
    let members = unpacked(&out);
    assert_eq!(members.iter().filter(|(path, _)| path.ends_with(".wav")).count(), 2);
    let original = unpacked(&first);
    for part in ["samples/001.wav", "preview.wav", "profile.json", "consent.json"] {
        let of = |members: &[(String, Vec<u8>)]| members.iter().find(|(path, _)| path.ends_with(part)).unwrap().1.clone();
        assert!(of(&members) == of(&original), "{part}");
    }
    let empty = Bed::without_workers().await;
    assert_eq!(status(&upload(&empty, "/api/voices/import", &out).await), 201);
    assert!(export(&empty).await == out, "exported, imported on an empty server and exported again");
    let spoken = json(&mut empty.post("/api/generate/clone", &json!({"text": "Hello.", "voice_id": "ada"})).await).await;
    assert_eq!(spoken["status"], "queued", "{spoken}");
    let small = empty.post("/api/voices/export", &json!({"voice_ids": [ID], "include_samples": false, "include_preview": false})).await;
    let small = unpacked(&{ small }.take_bytes(None).await.unwrap());
    assert!(
        small.iter().all(|(path, _)| !path.ends_with(".wav")) && small.len() == 4,
        "{:?}",
        small.iter().map(|(path, _)| path).collect::<Vec<_>>()
    );
    problem(empty.post("/api/voices/export", &json!({"voice_ids": ["nora"]})).await, 422, "validation_failed").await;
    drop(spoken);
    assert_eq!(left_behind(&bed), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn a_conflict_is_told_and_decided() {
    let bed = Bed::without_workers().await;
    upload(&bed, "/api/voices/import", &archive(|_| {})).await;
    let other = archive(|members| change(members, "profile.json", |profiles| profiles[0]["profile"]["pitch_low_hz"] = json!(99.0)));
    let conflict =
        async |file: &[u8]| json(&mut upload(&bed, "/api/voices/import/preview", file).await).await["voices"][0]["conflict"].clone();
    assert_eq!(conflict(&archive(|_| {})).await, "same_content");
    assert_eq!(conflict(&other).await, "same_name");
    let preview = json(&mut upload(&bed, "/api/voices/import/preview", &other).await).await;
    assert_eq!((&preview["voices"][0]["sample_count"], &preview["format_version"]), (&json!(1), &json!(1)), "{preview}");
    let with = |how: &str| json!({"import_id": preview["import_id"], "on_conflict": how, "selected": [ID]});
    let import = async |how: &str| json(&mut bed.post("/api/voices/import", &with(how)).await).await;
    assert_eq!(import("skip").await["skipped"], json!([{"source_id": ID, "name": "Ada", "reason": "same_name"}]));
    let renamed = import("rename").await["imported"][0].clone();
    assert_eq!(renamed["name"], "Ada (2)");
    assert_ne!(renamed["voice_id"], ID);
    bed.send(request(Method::DELETE, &format!("/api/voices/{}", renamed["voice_id"].as_str().unwrap())).add_header(
        "x-api-key",
        &bed.key,
        true,
    ))
    .await;
    let replaced = import("replace").await["imported"][0].clone();
    assert_eq!((&replaced["replaced"], &replaced["voice_id"]), (&json!(true), &json!(ID)));
    let voice = json(&mut bed.get(&format!("/api/voices/{ID}")).await).await;
    assert_eq!((voice["revision"].as_i64(), voice["samples"].as_array().map(Vec::len)), (Some(2), Some(1)));
    let blobs = bed.app.storage.blobs.voice_blobs(ID.parse().unwrap(), i64::MAX).await.unwrap();
    assert_eq!(blobs.len(), 2, "of the replaced one nothing is left");
    let stranger = bed.new_key(&api::scopes::Scope::ALL).await;
    let asked = request(Method::POST, "/api/voices/import").add_header("x-api-key", &stranger, true).json(&with("skip"));
    problem(bed.send(asked).await, 404, "import_not_found").await;
    let unknown = json!({"import_id": preview["import_id"], "selected": ["other"]});
    problem(bed.post("/api/voices/import", &unknown).await, 422, "validation_failed").await;
    problem(bed.post("/api/voices/import", &json!({})).await, 422, "validation_failed").await;
    let both = form(&[("on_conflict", None, b"rename"), ("selected[]", None, ID.as_bytes()), ("file", Some("a"), &other)]);
    assert_eq!(json(&mut send(&bed, &bed.key, "/api/voices/import", both).await).await["imported"][0]["name"], "Ada (2)");
}

/// Makes a part of an archive wrong.
type Spoil = fn(&mut Value);

#[tokio::test]
async fn a_voice_with_wrong_values_is_an_error_of_its_own() {
    let bed = Bed::without_workers().await;
    let wrong: [(&str, &str, Spoil); 7] = [
        ("name", "voice.json", |voice| voice["name"] = json!("")),
        ("type", "voice.json", |voice| voice["type"] = json!("preset")),
        ("language", "voice.json", |voice| voice["language"] = json!("../..")),
        ("samples[0].weight", "samples.json", |samples| samples["samples"][0]["weight"] = json!(-1)),
        ("samples[0].start_ms", "samples.json", |samples| samples["samples"][0]["end_ms"] = json!(501)),
        ("profile.json", "profile.json", |profiles| profiles[0]["profile"]["rate_wpm"] = json!(1e9)),
        ("consent.json", "consent.json", |consent| *consent = json!([1])),
    ];
    for (field, part, make) in wrong {
        let report = json(&mut upload(&bed, "/api/voices/import", &archive(|members| change(members, part, make))).await).await;
        assert_eq!(
            (report["imported"].as_array().unwrap().len(), &report["errors"][0]["errors"][0]["field"]),
            (0, &json!(field)),
            "{report}"
        );
    }
    assert_eq!(stored_count(&bed).await, 0);
    assert!(bed.app.storage.blobs.voice_ids().await.unwrap().is_empty());
}

#[tokio::test]
async fn archives_that_are_wrong_are_refused_and_leave_nothing() {
    let bed = Bed::with(|config| config.archive_bytes_max = 4 * 1024 * 1024, false).await;
    let good = archive(|_| {});
    let renamed = |name: &str| archive(|members| members.push((name.to_owned(), b"x".to_vec())));
    let twins = archive(|members| members.push((format!("voices/{ID}/consent.json"), b"{}".to_vec())));
    let whole = unpacked(&good);
    let mut overlapping = good.clone();
    let directory = overlapping.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    let second = directory + 4 + overlapping[directory + 4..].windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    overlapping[second + 42..second + 46].copy_from_slice(&[0; 4]);
    let mut other_name = good.clone();
    let local = other_name.windows(15).position(|window| window == b"preview.wavRIFF").unwrap();
    other_name[local] = b'q';
    let mut bomb_members = members();
    bomb_members.push((format!("voices/{ID}/samples/002.wav"), vec![0; 3 * 1024 * 1024]));
    bomb_members.insert(0, ("manifest.json".into(), manifest(&bomb_members)));
    let mut damaged = good.clone();
    let middle = damaged.windows(4).position(|window| window == b"WAVE").unwrap() + 100;
    damaged[middle] ^= 1;
    let mut extra = members();
    let told = manifest(&extra);
    extra.push((format!("voices/{ID}/samples/002.wav"), wav()));
    extra.insert(0, ("manifest.json".into(), told));
    let mut missing = members();
    let told = manifest(&missing);
    missing.pop();
    missing.insert(0, ("manifest.json".into(), told));
    let mut wrong_hash = members();
    let told = manifest(&wrong_hash);
    change(&mut wrong_hash, "voice.json", |voice| voice["name"] = json!("Eve"));
    wrong_hash.insert(0, ("manifest.json".into(), told));
    let many: Vec<(String, Vec<u8>)> = (0..60_000).map(|n| (format!("m{n}"), Vec::new())).collect();
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("no zip", b"hello".to_vec(), 415, "unsupported_media"),
        ("a sound file", wav(), 415, "unsupported_media"),
        ("cut off", good[..good.len() - 1].to_vec(), 422, "validation_failed"),
        ("cut in half", good[..good.len() / 2].to_vec(), 422, "validation_failed"),
        ("something behind", [good.clone(), b"tail".to_vec()].concat(), 422, "validation_failed"),
        ("something in front", [b"PK".to_vec(), good.clone()].concat(), 422, "validation_failed"),
        ("a path upwards", renamed("../../evil"), 422, "validation_failed"),
        ("an absolute path", renamed("/etc/evil"), 422, "validation_failed"),
        ("a backslash", renamed("voices\\evil"), 422, "validation_failed"),
        ("another case", renamed(&format!("voices/{ID}/Voice.json")), 422, "validation_failed"),
        ("another case of the id", renamed(&format!("voices/{}/consent.json", ID.to_uppercase())), 422, "validation_failed"),
        ("members that overlap", overlapping, 422, "validation_failed"),
        ("a member under another name", other_name, 422, "validation_failed"),
        ("two of one name", twins, 422, "validation_failed"),
        ("a symlink", zip_with(&whole, How { mode: 0o120_777, ..How::default() }), 422, "validation_failed"),
        ("a device", zip_with(&whole, How { mode: 0o020_666, ..How::default() }), 422, "validation_failed"),
        ("a bomb", zip_with(&bomb_members, How { deflated: true, ..How::default() }), 413, "payload_too_large"),
        (
            "too much in all",
            archive(|members| members.push((format!("voices/{ID}/samples/002.wav"), vec![1; 5 * 1024 * 1024]))),
            413,
            "payload_too_large",
        ),
        ("a damaged member", damaged, 422, "validation_failed"),
        ("an extra member", zip_of(&extra), 422, "validation_failed"),
        ("a missing member", zip_of(&missing), 422, "validation_failed"),
        ("a wrong hash", zip_of(&wrong_hash), 422, "validation_failed"),
        ("too many members", zip_of(&many), 413, "payload_too_large"),
        ("no manifest", zip_of(&members()), 422, "validation_failed"),
        ("no voices", archive(Vec::clear), 422, "validation_failed"),
        ("a recording of noise", archive(|members| members[4].1 = vec![7; 4_000]), 422, "validation_failed"),
        (
            "a voice of another id",
            archive(|members| change(members, "voice.json", |voice| voice["id"] = json!("x"))),
            422,
            "validation_failed",
        ),
        (
            "an undescribed recording",
            archive(|members| change(members, "samples.json", |samples| samples["samples"] = json!([]))),
            422,
            "validation_failed",
        ),
        (
            "a recording from elsewhere",
            archive(|members| change(members, "samples.json", |samples| samples["samples"][0]["file"] = json!("../x"))),
            422,
            "validation_failed",
        ),
    ];
    for (what, file, status, code) in cases {
        for path in ["/api/voices/import", "/api/voices/import/preview"] {
            eprintln!("{what} {path}");
            problem(upload(&bed, path, &file).await, status, code).await;
        }
    }
    assert_eq!(stored_count(&bed).await, 0);
    assert!(bed.app.storage.blobs.voice_ids().await.unwrap().is_empty());
    assert_eq!(left_behind(&bed), Vec::<std::path::PathBuf>::new());
    let packed = zip_with(&whole, How { deflated: true, mode: 0o100_600 });
    assert_eq!(status(&upload(&bed, "/api/voices/import", &packed).await), 201, "the good one still comes in");
}

#[tokio::test]
async fn the_length_of_a_file_is_told() {
    let bed = Bed::without_workers().await;
    for name in ["file", "audio", "audio_file"] {
        let body = form(&[("note", None, b"x"), (name, Some("a.wav"), &wav())]);
        let told = json(&mut send(&bed, &bed.key, "/api/audio-duration", body).await).await;
        let wanted =
            json!({"duration": 0.5, "duration_ms": 500, "sample_rate": 8000, "channels": 1, "codec": "pcm_s16le", "format": "wave"});
        assert_eq!(told, wanted);
    }
    let path = "/api/audio-duration";
    problem(upload(&bed, path, b"no sound at all, only some text that goes on for a while").await, 415, "unsupported_media").await;
    problem(upload(&bed, path, b"").await, 422, "validation_failed").await;
    problem(send(&bed, &bed.key, path, form(&[("note", None, b"x")])).await, 422, "validation_failed").await;
    let two = form(&[("file", Some("a"), &wav()), ("file", Some("b"), &wav())]);
    problem(send(&bed, &bed.key, path, two).await, 422, "validation_failed").await;
    problem(bed.post(path, &json!({})).await, 415, "unsupported_media").await;
    assert_eq!(left_behind(&bed), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn what_a_form_can_do_wrong_is_told() {
    let bed = Bed::with(|config| config.upload_bytes_max = 2 * 1024 * 1024, false).await;
    let path = "/api/audio-duration";
    let whole = form(&[("file", Some("a"), &wav())]);
    problem(send(&bed, &bed.key, path, whole[..whole.len() - 30].to_vec()).await, 400, "invalid_request").await;
    problem(send(&bed, &bed.key, path, b"nothing of the kind".to_vec()).await, 400, "invalid_request").await;
    problem(upload(&bed, path, &vec![0; 3 * 1024 * 1024]).await, 413, "payload_too_large").await;
    problem(send(&bed, &bed.key, path, form(&[("note", None, &vec![b'x'; 300 * 1024])])).await, 413, "payload_too_large").await;
    problem(send(&bed, &bed.key, path, form(&[("note", None, b"\xff\xfe")])).await, 422, "validation_failed").await;
    let parts: Vec<(&str, Option<&str>, &[u8])> = vec![("n", None, b"x".as_slice()); 600];
    problem(send(&bed, &bed.key, path, form(&parts)).await, 413, "payload_too_large").await;
    let files: Vec<(&str, Option<&str>, &[u8])> = vec![("files", Some("f"), b"x".as_slice()); 65];
    problem(send(&bed, &bed.key, path, form(&files)).await, 422, "validation_failed").await;
    let no_boundary =
        request(Method::POST, path).add_header("x-api-key", &bed.key, true).add_header("content-type", "multipart/form-data", true);
    problem(bed.send(no_boundary.body(whole.clone())).await, 400, "invalid_request").await;
    assert_eq!(left_behind(&bed), Vec::<std::path::PathBuf>::new());
    let key = bed.new_key(&api::scopes::Scope::ALL).await;
    let held =
        bed.app.temporary_bytes.reserve(api::keys::Key::parse(&key).unwrap().id(), bed.app.config.temporary_bytes_per_owner_max).unwrap();
    problem(send(&bed, &key, path, whole.clone()).await, 429, "rate_limited").await;
    drop(held);
    assert_eq!(status(&send(&bed, &key, path, whole).await), 200);
}

#[tokio::test]
async fn an_upload_with_a_key_is_done_once_whatever_its_boundary() {
    let bed = Bed::without_workers().await;
    let file = archive(|_| {});
    let send = async |boundary: &str, file: &[u8]| {
        let body = String::from_utf8_lossy(&form(&[("file", Some("x"), b"MARK")])).replace(BOUNDARY, boundary);
        let (front, back) = body.split_once("MARK").unwrap();
        let asked =
            request(Method::POST, "/api/voices/import").add_header("x-api-key", &bed.key, true).add_header("idempotency-key", "once", true);
        let asked = asked.add_header("content-type", format!("multipart/form-data; boundary={boundary}"), true);
        bed.send(asked.body([front.as_bytes(), file, back.as_bytes()].concat())).await
    };
    let first = json(&mut send("one", &file).await).await;
    let mut again = send("two", &file).await;
    assert_eq!(header(&again, "idempotency-replayed"), Some("true"));
    assert_eq!(json(&mut again).await, first);
    assert_eq!(stored_count(&bed).await, 1);
    problem(send("one", b"another").await, 422, "idempotency_mismatch").await;
}

#[tokio::test]
async fn a_reader_that_goes_mad_is_stopped_and_the_server_goes_on() {
    let bed = Bed::with(
        |config| {
            config.decode_memory_bytes_max = 256 * 1024 * 1024;
            config.decode_cpu_s_max = 2;
        },
        false,
    )
    .await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let config = DecodeHostsConfig::of(&bed.app.config);
    let hosts = |wall_ms_max| DecodeHosts::new(DecodeHostsConfig { wall_ms_max, ..config.clone() });
    let ill = async |how, wall_ms_max| hosts(wall_ms_max).run(file.path(), "file", HostTask::Misbehave { how }).await.unwrap_err();
    for (how, wall_ms_max, says) in [
        (Misdeed::EatMemory, 60_000, "memory"),
        (Misdeed::EatTime, 60_000, "computing"),
        (Misdeed::Sleep, 300, "longer than 300 ms"),
        (Misdeed::Panic, 60_000, "crashes"),
        (Misdeed::Babble, 60_000, "crashes"),
    ] {
        let problem = ill(how, wall_ms_max).await;
        assert_eq!(problem.code.status().as_u16(), 422, "{how:?}: {problem:?}");
        assert!(problem.detail.contains(says), "{how:?}: {}", problem.detail);
    }
    let nowhere = DecodeHosts::new(DecodeHostsConfig { program: "/nowhere/clonyvoice".into(), ..config.clone() });
    let missing = nowhere.run(file.path(), "file", HostTask::Probe { audio_ms_max: 1 }).await.unwrap_err();
    assert_eq!(missing.code.status().as_u16(), 503);
    assert_eq!(status(&upload(&bed, "/api/audio-duration", &wav()).await), 200);
}

#[tokio::test]
async fn a_file_is_decoded_to_the_form_that_is_wanted() {
    let bed = Bed::without_workers().await;
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.wav"), folder.path().join("out.wav"));
    std::fs::write(&input, wav()).unwrap();
    let task = |audio_ms_max| {
        HostTask::Decode(api::decode_host::DecodeTask {
            output: output.clone(),
            rate_hz: Some(24_000),
            mono: true,
            channels_max: None,
            audio_ms_max,
        })
    };
    let decoded = bed.app.decode_hosts.run(&input, "file", task(60_000)).await.unwrap();
    let HostAnswer::Media(facts) = decoded else { panic!("{decoded:?}") };
    assert_eq!((facts.duration_ms, facts.sample_rate_hz, facts.channels), (500, 24_000, 1));
    assert_eq!(facts.frames, 12_000);
    assert!(std::fs::metadata(&output).unwrap().len() > 12_000 * 2);
    std::fs::remove_file(&output).unwrap();
    assert_eq!(bed.app.decode_hosts.run(&input, "file", task(100)).await.unwrap_err().code.status().as_u16(), 413);
}
