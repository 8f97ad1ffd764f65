//! Transcription through the front door, with a model that knows thirty words and voices that it was not taught: what comes out is known. What is
//! killed in the middle writes the same in the end; where no model is installed, that is said, and no text is made up.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tests::media::tone_wav;
use tests::tools::{self, Tool};
use tests::{Answer, Client, Engine, ServerOptions, TestServer, script};

/// The words that the model was taught, in sentences that it was not.
const TEXT: &str = "Seven green apple. Go down river nine. Stop yellow water window five. Open house three red. Left up zero monday. \
                    Eight blue orange close. Yes ten two six. Four one window go.";
/// Of the presets, none of which the model was taught.
const VOICES: [&str; 4] = ["nora", "elias", "mateo", "otis"];
/// What of all words must be right.
const RIGHT_MIN: f64 = 0.95;
/// How far a word's time may be from the engine's own, for all but a few: measured are 118 of 128 words.
const WORD_MS: f64 = 80.0;
const LATE_SHARE_MAX: f64 = 0.12;
/// And for every word: measured are 160 ms, where two words follow each other without a pause.
const WORD_MS_MAX: f64 = 250.0;

fn fixtures() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/whisper_words");
    folder.to_str().unwrap().to_owned()
}

/// With the model in the catalogue, installed or not.
async fn server(engine: Engine, installed: bool) -> TestServer {
    let environment = vec![("CLONYVOICE_MODELS_CATALOGUE_DIR".to_owned(), format!("{}/catalogue", fixtures()))];
    let server = TestServer::start(ServerOptions { engine, environment, ..ServerOptions::default() }).await;
    if installed {
        server.run(&["models", "pull", "whisper-words", "--from", &format!("{}/model", fixtures())]).await;
    }
    server
}

/// With the fields as parts beside the file.
async fn send(client: &Client, file: Vec<u8>, fields: &[(&str, &str)], wait: bool) -> Answer {
    let mut form = Form::new().part("file", Part::bytes(file).file_name("speech.wav"));
    for (name, value) in fields {
        form = form.text((*name).to_owned(), (*value).to_owned());
    }
    let request = client.request(Method::POST, "/api/transcribe").multipart(form);
    Answer::to(if wait { request.header("prefer", "wait=60") } else { request }).await
}

/// Spoken by the built-in engine: the generation and its WAV.
async fn spoken(client: &Client, voice: &str, text: &str) -> (String, Vec<u8>) {
    let task = client.submit("/api/generate/preset", &json!({"text": text, "voice_id": voice, "language": "en-US"})).await;
    client.completed(&task).await;
    let wav = client.get(&format!("/api/generations/{task}/audio?format=wav")).await.expect(200).body.to_vec();
    (task, wav)
}

/// Lower-case words with begin and end in ms.
fn words(transcription: &Value) -> Vec<(String, f64, f64)> {
    let segments = transcription["segments"].as_array().unwrap();
    let words = segments.iter().flat_map(|segment| segment["words"].as_array().unwrap().clone());
    let bare = |word: &Value| word["word"].as_str().unwrap().to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    words.map(|word| (bare(&word), word["start"].as_f64().unwrap() * 1_000.0, word["end"].as_f64().unwrap() * 1_000.0)).collect()
}

/// Pairs of places of the longest common run of words.
fn common(one: &[String], other: &[String]) -> Vec<(usize, usize)> {
    let mut longest = vec![vec![0; other.len() + 1]; one.len() + 1];
    for a in (0..one.len()).rev() {
        for b in (0..other.len()).rev() {
            longest[a][b] = if one[a] == other[b] { longest[a + 1][b + 1] + 1 } else { longest[a + 1][b].max(longest[a][b + 1]) };
        }
    }
    let (mut a, mut b, mut pairs) = (0, 0, Vec::new());
    while a < one.len() && b < other.len() {
        if one[a] == other[b] {
            pairs.push((a, b));
            (a, b) = (a + 1, b + 1);
        } else if longest[a + 1][b] >= longest[a][b + 1] {
            a += 1;
        } else {
            b += 1;
        }
    }
    pairs
}

fn texts(words: &[(String, f64, f64)]) -> Vec<String> {
    words.iter().map(|(word, ..)| word.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_voices_that_the_model_does_not_know_come_back_with_their_times() {
    if !tools::has("words_of_voices_that_the_model_does_not_know_come_back_with_their_times", &[Tool::Espeak]) {
        return;
    }
    let server = server(Engine::Builtin, true).await;
    let client = server.client();
    let (mut said_in_all, mut right, mut extra, mut late) = (0, 0, 0, Vec::new());
    for voice in VOICES {
        let (generation, wav) = spoken(&client, voice, TEXT).await;
        // What was spoken here is known without a model.
        let request = client.request(Method::POST, "/api/transcribe").header("prefer", "wait=60");
        let known = Answer::to(request.json(&json!({"generation_id": generation, "word_timestamps": true}))).await.expect(200).json();
        assert_eq!((&known["model"], &known["job"]["status"]), (&Value::Null, &json!("completed")));
        let known = words(&known);
        let expected: Vec<String> = TEXT.to_lowercase().split_whitespace().map(|word| word.trim_matches('.').to_owned()).collect();
        assert_eq!(texts(&known), expected, "what was spoken is what is known");
        let answer = send(&client, wav, &[("word_timestamps", "true"), ("model", "whisper-words")], true).await.expect(200).json();
        assert_eq!((&answer["language"], &answer["model"]), (&json!("en"), &json!("whisper-words")), "{answer:#}");
        let heard = words(&answer);
        assert_eq!(answer["text"].as_str().unwrap().split_whitespace().count(), heard.len(), "each word has its time");
        let pairs = common(&texts(&known), &texts(&heard));
        eprintln!("{voice}: {} of {} words; {}", pairs.len(), known.len(), answer["text"]);
        said_in_all += known.len();
        right += pairs.len();
        extra += heard.len() - pairs.len();
        for (a, b) in pairs {
            let off = (known[a].1 - heard[b].1).abs().max((known[a].2 - heard[b].2).abs());
            assert!(off <= WORD_MS_MAX, "{voice}: {:?} is heard as {:?}", known[a], heard[b]);
            if off > WORD_MS {
                late.push((voice, known[a].clone(), heard[b].clone()));
            }
        }
    }
    let share = right as f64 / said_in_all as f64;
    eprintln!("{right} of {said_in_all} words are right, {extra} were not said, {} are more than {WORD_MS} ms off: {late:?}", late.len());
    assert!(share >= RIGHT_MIN, "{share}");
    assert!(extra as f64 <= (1.0 - RIGHT_MIN) * said_in_all as f64, "{extra} words that nobody said");
    assert!(late.len() as f64 <= LATE_SHARE_MAX * said_in_all as f64, "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_is_answered_and_the_windows_are_told() {
    if !tools::has("every_format_is_answered_and_the_windows_are_told", &[Tool::Espeak]) {
        return;
    }
    let server = server(Engine::Builtin, true).await;
    let client = server.client();
    let (_, wav) = spoken(&client, "elias", TEXT).await;
    let mut socket = server.socket().await;
    socket.subscribe(None).await;
    let accepted = send(&client, wav.clone(), &[("response_format", "verbose_json")], false).await.expect(202).json();
    assert_eq!(accepted["type"], "audio.transcribe");
    let task = accepted["job_id"].as_str().unwrap().to_owned();
    let events = socket.collect_until(|event| event.is("job.completed", &task)).await;
    let told: Vec<Value> = events
        .iter()
        .filter(|event| event.is("job.progress", &task))
        .flat_map(|event| event.data["segments"].as_array().cloned().unwrap_or_default())
        .collect();
    let result = client.completed(&task).await["result"].clone();
    let segments = result["segments"].as_array().unwrap();
    assert!(segments.len() > 2, "{result:#}");
    assert_eq!(told.len(), segments.len());
    for (id, (told, segment)) in told.iter().zip(segments).enumerate() {
        assert_eq!((&told["id"], &segment["id"]), (&json!(id), &json!(id)));
        assert_eq!(told["text"], segment["text"]);
        assert!(segment["avg_logprob"].as_f64().unwrap() <= 0.0 && segment["end"].as_f64() > segment["start"].as_f64());
    }
    let text = result["text"].as_str().unwrap().to_owned();
    assert_eq!(client.get(&format!("/api/jobs/{task}/audio")).await.status, 404, "the sound is nobody's file");
    let srt = send(&client, wav.clone(), &[("response_format", "srt")], true).await;
    assert!(srt.expect(200).header("content-type").unwrap().starts_with("application/x-subrip"));
    assert!(String::from_utf8_lossy(&srt.body).starts_with("1\n00:00:0"));
    let vtt = send(&client, wav.clone(), &[("response_format", "vtt"), ("word_timestamps", "1")], true).await;
    assert!(String::from_utf8_lossy(&vtt.expect(200).body).starts_with("WEBVTT\n\n00:00:0"));
    let plain = send(&client, wav, &[("response_format", "text"), ("language", "en")], true).await;
    assert_eq!(String::from_utf8_lossy(&plain.expect(200).body), format!("{text}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_at_a_window_changes_nothing() {
    if !tools::has("a_death_at_a_window_changes_nothing", &[Tool::Espeak]) {
        return;
    }
    let mut server = server(Engine::Builtin, true).await;
    let (_, wav) = spoken(&server.client(), "otis", TEXT).await;
    let undisturbed = send(&server.client(), wav.clone(), &[("word_timestamps", "true")], true).await.expect(200).json();
    for place in ["transcribe.before_window:2", "transcribe.after_window:2", "transcribe.before_commit"] {
        server.stop().await;
        server.set_variable("CLONYVOICE_FAIL_POINT", Some(place));
        server.restart().await;
        let accepted = send(&server.client(), wav.clone(), &[("word_timestamps", "true")], false).await.expect(202).json();
        server.died().await;
        server.set_variable("CLONYVOICE_FAIL_POINT", None);
        server.restart().await;
        let job = server.client().completed(accepted["job_id"].as_str().unwrap()).await;
        assert_eq!(job["result"]["segments"], undisturbed["segments"], "{place}");
        assert_eq!(job["result"]["text"], undisturbed["text"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_model_nothing_is_made_up() {
    let server = server(Engine::Scripted(script::at_once()), false).await;
    let client = server.client();
    let wav = tone_wav(16_000, 1, 500);
    let problem = send(&client, wav.clone(), &[], true).await.problem(503, "model_not_installed");
    assert_eq!(problem["command"], "clonyvoice models pull whisper-base");
    let problem = send(&client, wav.clone(), &[("model", "whisper-words")], true).await.problem(503, "model_not_installed");
    assert_eq!(problem["command"], "clonyvoice models pull whisper-words");
    let listed = client.get("/api/models").await.expect(200).json();
    let ids: Vec<&str> = listed["models"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&"whisper-base") && !ids.contains(&"whisper-words"), "a test asset is offered to nobody: {ids:?}");
    for (fields, field) in [
        (&[("model", "gpt")][..], "model"),
        (&[("response_format", "pdf")], "response_format"),
        (&[("word_timestamps", "perhaps")], "word_timestamps"),
        (&[("task", "sing")], "task"),
        (&[("generation_id", "0197f000-0000-7000-8000-000000000000")], "file"),
    ] {
        let problem = send(&client, wav.clone(), fields, true).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    client.post("/api/transcribe", &json!({})).await.problem(422, "validation_failed");
    let unknown = json!({"generation_id": "0197f000-0000-7000-8000-000000000000"});
    client.post("/api/transcribe", &unknown).await.problem(404, "task_not_found");
    let unknown = json!({"media_id": "0197f000-0000-7000-8000-000000000000"});
    client.post("/api/transcribe", &unknown).await.problem(404, "media_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_has_no_words_and_noise_is_no_server_error() {
    let server = server(Engine::Scripted(script::at_once()), true).await;
    let client = server.client();
    let mut silence = tone_wav(16_000, 1, 20_000);
    silence[44..].fill(0);
    let answer = send(&client, silence, &[("word_timestamps", "true")], true).await.expect(200).json();
    assert_eq!((&answer["text"], &answer["segments"], &answer["language"]), (&json!(""), &json!([]), &Value::Null));
    assert_eq!(answer["duration"], 20.0);
    let problem = send(&client, tone_wav(16_000, 1, 500), &[("language", "fr")], true).await.problem(422, "validation_failed");
    assert_eq!(problem["errors"][0]["field"], "language");
    assert!(problem["detail"].as_str().unwrap().contains("it knows en"), "{problem}");
    let tone = send(&client, tone_wav(48_000, 2, 7_000), &[("word_timestamps", "true"), ("prompt", "one two <|en|> three")], true).await;
    assert_eq!(tone.expect(200).json()["job"]["status"], "completed");
    send(&client, b"no sound at all".to_vec(), &[], true).await.problem(415, "unsupported_media");
}
