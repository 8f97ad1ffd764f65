//! Broken, cut, empty, strange and lying files of sound and film: each is told what is wrong with it, none fails the server, and the
//! server's memory does not move, because it never reads them itself.

#![allow(clippy::unwrap_used)]

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::json;
use tests::media::{made_by_ffmpeg, tone_wav};
use tests::tools::{self, Tool};
use tests::{Answer, Client, TestServer, script};

/// Beside what the requests themselves need.
const GROWTH_KB_MAX: u64 = 24 * 1024;

async fn send(client: &Client, path: &str, file: Vec<u8>) -> Answer {
    let form = Form::new().part("file", Part::bytes(file).file_name("strange.bin"));
    Answer::to(client.request(Method::POST, path).multipart(form)).await
}

/// A WAV header that promises `ms` and what follows it.
fn claiming(ms: u32, rate_hz: u32, channels: u16, data: &[u8]) -> Vec<u8> {
    let frame_bytes = u32::from(channels) * 2;
    let claimed = (u64::from(ms) * u64::from(rate_hz) / 1_000) as u32 * frame_bytes;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((claimed + 36).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    bytes.extend(channels.to_le_bytes());
    bytes.extend(rate_hz.to_le_bytes());
    bytes.extend((rate_hz * frame_bytes).to_le_bytes());
    bytes.extend((frame_bytes as u16).to_le_bytes());
    bytes.extend(16u16.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend(claimed.to_le_bytes());
    bytes.extend(data);
    bytes
}

/// Each with its name; every endpoint that takes files must refuse it.
fn refused() -> Vec<(String, Vec<u8>)> {
    let wav = tone_wav(24_000, 1, 3_000);
    // Found by fuzzing: symphonia multiplies it by the bytes of a sample, in sixteen bits.
    let crowd = [&wav[..22], &64_769_u16.to_le_bytes(), &wav[24..]].concat();
    let mut files = vec![
        ("nothing".to_owned(), Vec::new()),
        ("a text".into(), b"Dear Sir or Madam,\n".repeat(50)),
        ("zeros".into(), vec![0; 100_000]),
        ("a header alone".into(), wav[..44].to_vec()),
        ("half a header".into(), wav[..20].to_vec()),
        ("a wav cut off".into(), wav[..wav.len() / 2].to_vec()),
        ("a wav that claims ten hours".into(), claiming(36_000_000, 8_000, 1, &wav[44..])),
        ("a wav of 0 Hz".into(), claiming(1_000, 0, 1, &wav[44..])),
        ("a wav without channels".into(), claiming(1_000, 8_000, 0, &wav[44..])),
        ("a wav of 8 channels".into(), claiming(100, 8_000, 8, &[0; 12_800])),
        ("a wav of 64,769 channels".into(), crowd),
        ("a wav of 192 kHz".into(), claiming(100, 192_000, 1, &[0; 38_400])),
    ];
    for (name, magic) in [
        ("flac", &b"fLaC\0\0\0\x22"[..]),
        ("ogg", b"OggS\0\x02"),
        ("mp4", b"\0\0\0\x18ftypisom"),
        ("webm", b"\x1a\x45\xdf\xa3\x9f"),
        ("aiff", b"FORM\x7f\xff\xff\xffAIFF"),
        ("caf", b"caff\0\x01\0\0desc"),
    ] {
        let noise: Vec<u8> = (0..60_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        files.push((format!("noise that looks like {name}"), [magic, &noise].concat()));
    }
    files
}

/// Made by ffmpeg, and then cut: little of it can be read, or nothing.
fn cut() -> Vec<(String, Vec<u8>)> {
    let made = |codec, ending| made_by_ffmpeg(&["-f", "lavfi", "-i", "sine=d=5", "-c:a", codec], ending);
    let kinds = [("flac", "flac"), ("libmp3lame", "mp3"), ("libvorbis", "ogg"), ("aac", "m4a"), ("libopus", "webm")];
    let cut = |(codec, ending)| {
        let whole = made(codec, ending);
        [(3, "a third"), (100, "a hundredth")].map(|(part, name)| (format!("{name} of {ending}"), whole[..whole.len() / part].to_vec()))
    };
    kinds.into_iter().flat_map(cut).collect()
}

#[cfg(target_os = "linux")]
fn most_memory_kb(server: &TestServer) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process_id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn strange_files_are_told_what_is_wrong_and_move_no_memory() {
    if !tools::has("wrong_sound::strange_files_are_told_what_is_wrong_and_move_no_memory", &[Tool::Ffmpeg]) {
        return;
    }
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let body = json!({"text": "Something to lay strange things beside.", "voice_id": client.preset(0).await});
    let task = client.submit("/api/generate/preset", &body).await;
    client.completed(&task).await;
    let import = format!("/api/timeline/{task}/import-track");
    let paths = ["/api/audio-duration", &import, &format!("/api/timeline/{task}/import-video")];
    // Good ones first: what is needed once is there then.
    for path in &paths[..2] {
        assert!([200, 201].contains(&send(&client, path, tone_wav(48_000, 2, 10_000)).await.status));
    }
    let before_kb = most_memory_kb(&server);
    for (name, file) in refused() {
        for path in paths {
            let answer = send(&client, path, file.clone()).await;
            assert!(
                [413, 415, 422].contains(&answer.status),
                "{name} at {path}: {} {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            );
            let problem = answer.json();
            assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{name}: {problem}");
        }
    }
    for (name, file) in cut() {
        for path in paths {
            let answer = send(&client, path, file.clone()).await;
            assert!([200, 201, 413, 415, 422].contains(&answer.status), "{name} at {path}: {}", answer.status);
        }
    }
    // What is unusual and whole is read.
    let wide = claiming(250, 96_000, 6, &[0; 288_000]);
    assert_eq!(send(&client, paths[0], wide.clone()).await.expect(200).json()["channels"], 6);
    assert_eq!(send(&client, &import, wide).await.expect(201).json()["duration_ms"], 250);
    let grown_kb = most_memory_kb(&server).saturating_sub(before_kb);
    assert!(grown_kb <= GROWTH_KB_MAX, "the server's memory grew by {grown_kb} KiB");
    client.get("/api/voices").await.expect(200);
}
