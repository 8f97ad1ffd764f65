//! Voices made of recordings: like their models and like nobody else, whatever dies on the way, and nothing is left of what does not become
//! one.
//!
//! Distance of two speakers, as in `engine/tests/builtin/cloning.rs`: |semitones of the median F0| / 2 + dB of the long-term spectra / 5.5 +
//! mean MFCC / 3.5, each measured as `audio::measure` documents; 3 is what a clone may have.

#![allow(clippy::unwrap_used)]

use std::io::Cursor;
use std::path::Path;
use std::process::{Command, Stdio};

use audio::blocks::SampleBlocks;
use audio::measure::{ltas_db, ltas_distance_db, mean_mfcc, median_f0_hz, mfcc_distance, semitones};
use audio::resample::ResampledBlocks;
use audio::wav::WavReader;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tests::tools::{self, Tool};
use tests::{Answer, Client, Engine, ServerOptions, TestServer, script};

const RATE_HZ: u32 = 24_000;
/// What the model is heard with.
const REFERENCE: &str = "When the sunlight strikes raindrops in the air, they act as a prism and form a rainbow. The rainbow is a \
    division of white light into many beautiful colours. These take the shape of a long round arch, with its path high above, and its \
    two ends apparently beyond the horizon. People look, but no one ever finds it. Someone may say he is looking for the pot of gold.";
/// What clones are measured with.
const UNSEEN: &str = "A large size in stockings is hard to sell. Glue the sheet to the dark blue background. These days a chicken leg is \
    a rare dish. The juice of lemons makes fine punch. Four hours of steady work faced us, and the boy was there when the sun rose.";
/// The first words of what a base voice rehearses.
const REHEARSAL: &str = "The quick brown fox";
const VARIABLE: &str = "CLONYVOICE_FAIL_POINT";

/// A synthesiser that shares no code with us, and its voice.
const MODELS: [(&str, &str, &str); 4] =
    [("slt", "flite", "slt"), ("rms", "flite", "rms"), ("awb", "flite", "awb"), ("f4", "espeak-ng", "en-gb+f4")];

fn says(model: (&str, &str, &str), text: &str, folder: &Path) -> Vec<u8> {
    let wav = folder.join("model.wav");
    let mut command = Command::new(model.1);
    match model.1 {
        "flite" => command.args(["-voice", model.2, "-t", text, "-o"]).arg(&wav),
        _ => command.args(["-v", model.2, "-w"]).arg(&wav).arg(text),
    };
    assert!(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    std::fs::read(wav).unwrap()
}

struct Measured {
    f0_hz: f32,
    spectrum_db: [f32; audio::measure::LTAS_BANDS],
    mfcc: [f32; audio::measure::MFCC_LEN],
}

fn measure(wav: &[u8]) -> Measured {
    let mut blocks = ResampledBlocks::new(WavReader::new(Cursor::new(wav)).unwrap(), RATE_HZ).unwrap();
    let (mut samples, mut block) = (Vec::new(), vec![0.0; 8_192]);
    loop {
        let read = blocks.read(&mut block).unwrap();
        if read == 0 {
            break;
        }
        samples.extend_from_slice(&block[..read]);
    }
    Measured {
        f0_hz: median_f0_hz(&samples, RATE_HZ).unwrap(),
        spectrum_db: ltas_db(&samples, RATE_HZ).unwrap(),
        mfcc: mean_mfcc(&samples, RATE_HZ).unwrap(),
    }
}

/// Semitones, dB, MFCC, and all three together.
fn between(a: &Measured, b: &Measured) -> (f32, f32, f32, f32) {
    let pitch = semitones(a.f0_hz, b.f0_hz).abs();
    let spectrum = ltas_distance_db(&a.spectrum_db, &b.spectrum_db);
    let mfcc = mfcc_distance(&a.mfcc, &b.mfcc);
    (pitch, spectrum, mfcc, pitch / 2.0 + spectrum / 5.5 + mfcc / 3.5)
}

fn file(bytes: &[u8]) -> Part {
    Part::bytes(bytes.to_vec()).file_name("recording.wav")
}

fn form(name: &str, recording: &[u8]) -> Form {
    Form::new().part("file", file(recording)).text("name", name.to_owned()).text("consent", "true")
}

async fn send(client: &Client, path: &str, form: Form) -> Answer {
    Answer::to(client.request(Method::POST, path).multipart(form)).await
}

/// The id of the job and of the voice that it makes.
async fn cloning(client: &Client, recording: &[u8]) -> (String, String) {
    let job = send(client, "/api/clone/create", form("Ada", recording)).await.expect(202).json();
    let id = |name: &str| job[name].as_str().unwrap().to_owned();
    (id("job_id"), id("voice_id"))
}

/// 16-bit at 24 kHz.
fn wav(channels: u16, samples: impl Iterator<Item = i16>) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let spec = hound::WavSpec { channels, sample_rate: RATE_HZ, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    samples.for_each(|sample| writer.write_sample(sample).unwrap());
    writer.finalize().unwrap();
    bytes.into_inner()
}

/// A word said over and over: almost six seconds of speech, and no tool is needed for it.
fn speech() -> Vec<u8> {
    let word = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/tests/world/woman.wav")).unwrap();
    let word: Vec<i16> = hound::WavReader::new(Cursor::new(word)).unwrap().into_samples().map(Result::unwrap).collect();
    wav(1, std::iter::repeat_n(word, 6).flatten())
}

fn hum() -> Vec<u8> {
    wav(1, (0..120_000).map(|n| ((f64::from(n) * 0.03).sin() * 9_000.0) as i16))
}

/// Files below a folder.
fn files_in(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.map(|entry| entry.unwrap().path()).map(|path| if path.is_dir() { files_in(&path) } else { 1 }).sum()
}

/// No voice, no recording, no file that was on its way.
async fn assert_nothing_left(server: &TestServer) {
    let data = server.data_folder();
    assert_eq!(server.client().get("/api/voices?type=clone").await.expect(200).json()["total"], 0);
    assert_eq!((files_in(&data.join("blobs/voices")), files_in(&data.join("tmp"))), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn clones_are_nearer_to_their_models_than_to_anybody_else() {
    if !tools::has("clone::clones_are_nearer_to_their_models_than_to_anybody_else", &[Tool::Espeak, Tool::Flite]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::builtin().await;
    let client = server.client();
    let models: Vec<Measured> = MODELS.iter().map(|model| measure(&says(*model, UNSEEN, folder.path()))).collect();
    let mut jobs = Vec::new();
    for model in MODELS {
        let job = send(&client, "/api/clone/create", form(model.0, &says(model, REFERENCE, folder.path()))).await.expect(202).json();
        jobs.push(job["job_id"].as_str().unwrap().to_owned());
    }
    for (index, model) in MODELS.iter().enumerate() {
        let result = client.completed(&jobs[index]).await["result"].clone();
        assert!(result["quality"]["speech_ms"].as_i64().unwrap() > 10_000, "{result}");
        assert_eq!(result["quality"]["warnings"], json!([]), "{}", model.0);
        let body = json!({"text": UNSEEN, "voice_id": result["voice_id"], "language": "en-US"});
        let task = client.submit("/api/generate/clone", &body).await;
        client.completed(&task).await;
        let clone = measure(&client.get(&format!("/api/generations/{task}/audio")).await.expect(200).body);
        let own = between(&clone, &models[index]);
        eprintln!("{}: {:.2} semitones, {:.2} dB, MFCC {:.2}, together {:.2}", model.0, own.0, own.1, own.2, own.3);
        for (other, measured) in MODELS.iter().zip(&models).filter(|(other, _)| *other != model) {
            let distance = between(&clone, measured).3;
            assert!(own.3 < distance, "the clone of {} is nearer to {}: {distance:.2} and {:.2}", model.0, other.0, own.3);
        }
        assert!(own.0 < 1.0 && own.1 < 5.5 && own.2 < 3.5, "{}: {own:?}", model.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_outlives_a_kill_in_the_middle_of_its_analysis() {
    let mut server = TestServer::scripted(script::at_once()).await;
    let mut socket = server.socket().await;
    socket.subscribe(None).await;
    let (job, voice) = cloning(&server.client(), &speech()).await;
    let started = socket.until(|event| event.is("job.started", &job)).await;
    assert_eq!(started.data["stage"], "analysing");
    server.kill().await;
    server.restart().await;
    let client = server.client();
    let done = client.completed(&job).await;
    assert_eq!((&done["voice_id"], &done["result"]["clone_fidelity"]), (&json!(voice), &json!("timbre")), "{done}");
    let mut socket = server.socket().await;
    socket.subscribe(Some(0)).await;
    let told = socket.collect_until(|event| event.is("job.completed", &job)).await;
    let kinds: Vec<&str> = told.iter().filter(|event| event.task_id.as_deref() == Some(&job)).map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds[..4], ["job.queued", "job.started", "job.interrupted", "job.resumed"], "{kinds:?}");
    let voice = client.get(&format!("/api/voices/{voice}")).await.expect(200).json();
    assert_eq!((&voice["ready"], voice["samples"].as_array().unwrap().len()), (&json!(true), 1));
    assert_eq!(voice["quality"], done["result"]["quality"]);
    let task = client.submit("/api/generate/clone", &json!({"text": "Hello there.", "voice_id": "ada"})).await;
    client.completed(&task).await;
}

/// Whatever commit boundary the process dies at: asked again under the same key there is one voice, and it is made.
#[tokio::test(flavor = "multi_thread")]
async fn a_death_at_any_boundary_makes_one_voice() {
    for point in ["clone.samples_stored:1", "clone.accepted:1", "clone.before_commit:1", "clone.after_commit:1"] {
        let mut server = TestServer::scripted(script::at_once()).await;
        server.kill().await;
        server.set_variable(VARIABLE, Some(point));
        server.restart().await;
        let ask = |client: &Client| {
            client.request(Method::POST, "/api/clone/create").header("idempotency-key", "once").multipart(form("Ada", &speech()))
        };
        let first = ask(&server.client()).send().await;
        server.died().await;
        server.set_variable(VARIABLE, None);
        server.restart().await;
        let client = server.client();
        let job = Answer::to(ask(&client)).await.expect(202).json();
        if let Ok(answer) = first {
            assert_eq!(answer.json::<Value>().await.unwrap()["job_id"], job["job_id"], "{point}");
        }
        client.completed(job["job_id"].as_str().unwrap()).await;
        let voices = client.get("/api/voices?type=clone").await.expect(200).json();
        assert_eq!((&voices["total"], &voices["items"][0]["ready"]), (&json!(1), &json!(true)), "{point}: {voices}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cancelled_or_can_not_be_made_leaves_nothing() {
    let stalls = json!({"ms_per_char": 25, "steps": 1, "rules": [{"needle": REHEARSAL, "act": "stall"}]});
    let server = TestServer::start(ServerOptions { engine: Engine::Scripted(stalls), ..ServerOptions::default() }).await;
    let client = server.client();
    let mut socket = server.socket().await;
    socket.subscribe(None).await;
    let (job, voice) = cloning(&client, &speech()).await;
    socket.until(|event| event.is("job.progress", &job) && event.data["stage"] == "rehearsing").await;
    let running = client.get(&format!("/api/jobs/{job}")).await.expect(200).json();
    assert_eq!((&running["status"], &running["stage"]), (&json!("running"), &json!("rehearsing")));
    let early = client.post("/api/generate/clone", &json!({"text": "Hello.", "voice_id": voice})).await;
    assert!(early.problem(409, "conflict")["detail"].as_str().unwrap().contains(&job));
    let kept = Answer::to(client.request(Method::DELETE, &format!("/api/voices/{voice}"))).await;
    kept.problem(409, "conflict");
    client.post("/api/generation/cancel", &json!({"task_id": job})).await.problem(404, "task_not_found");
    client.post("/api/design/cancel", &json!({"task_id": job})).await.problem(404, "task_not_found");
    let cancelled = client.post("/api/clone/cancel", &json!({})).await.expect(200).json();
    assert_eq!(cancelled, json!({"cancelled": [job], "state": "cancelling"}));
    socket.until(|event| event.is("job.cancelled", &job)).await;
    assert_eq!(client.ended(&job).await["status"], "cancelled");
    client.get(&format!("/api/voices/{voice}")).await.problem(404, "voice_not_found");
    assert_nothing_left(&server).await;
    assert_eq!(client.post("/api/clone/cancel", &json!({})).await.expect(200).json()["cancelled"], json!([]));
    client.post("/api/clone/cancel", &json!({"task_id": job})).await.problem(409, "not_cancellable");

    let (job, _) = cloning(&client, &hum()).await;
    let failed = client.ended(&job).await;
    assert_eq!((&failed["status"], &failed["error"]["detail"]), (&json!("failed"), &json!("there is no voice in the recordings")));
    Answer::to(client.request(Method::POST, &format!("/api/jobs/{job}/retry"))).await.problem(409, "conflict");
    assert_nothing_left(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_files_and_wrong_words_are_refused_and_leave_nothing() {
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let speech = speech();
    let wrong: [(&str, Vec<u8>, u16); 6] = [
        ("empty", Vec::new(), 422),
        ("text", b"This is no recording at all, but a text of some length.".to_vec(), 415),
        ("truncated", speech[..20_000].to_vec(), 422),
        ("silence", wav(1, std::iter::repeat_n(0, 240_000)), 422),
        ("8 channels", wav(8, speech[44..].iter().map(|byte| i16::from(*byte) * 99)), 415),
        ("a second", wav(1, (0..24_000).map(|n| (n % 200) * 90)), 422),
    ];
    for (what, bytes, status) in &wrong {
        let code = if *status == 415 { "unsupported_media" } else { "validation_failed" };
        let problem = send(&client, "/api/clone/create", form("Ada", bytes)).await.problem(*status, code);
        assert!(problem["detail"].as_str().unwrap().starts_with("file: "), "{what}: {problem}");
    }
    let fields = async |path: &str, form: Form| -> Vec<String> {
        let problem = send(&client, path, form).await.problem(422, "validation_failed");
        problem["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
    };
    let single = "/api/clone/create";
    assert_eq!(fields(single, Form::new().part("file", file(&speech))).await, ["name", "consent"]);
    let unwilling = Form::new().part("file", file(&speech)).text("name", "Ada").text("consent", "false");
    assert_eq!(fields(single, unwilling).await, ["consent"]);
    let many = form("x".repeat(201).as_str(), &speech).text("language", "english").text("gender", "robot").text("denoise", "maybe");
    assert_eq!(fields(single, many).await, ["name", "gender", "language", "denoise"]);
    assert_eq!(fields(single, form("Ada", &speech).text("category", "nobody's")).await, ["category"]);
    assert_eq!(fields(single, Form::new().text("name", "Ada").text("consent", "true")).await, ["file"]);

    let files = |clips: &str| {
        let form = Form::new().part("files", file(&speech)).text("name", "Ada").text("consent", "true");
        form.text("clips", clips.to_owned())
    };
    let clips = "/api/clone/create-clips";
    let clip = |file_index: i64, start_ms: i64, end_ms: i64, weight: f64| {
        json!([{"file_index": file_index, "start_ms": start_ms, "end_ms": end_ms, "weight": weight}]).to_string()
    };
    assert_eq!(fields(clips, files(&clip(0, 1_000, 90_000, 1.0))).await, ["clips[0]"]);
    assert_eq!(fields(clips, files(&clip(0, 0, 2_000, 1.0))).await, ["clips[0]"], "two seconds are not enough");
    let expected = ["clips[0].file_index", "clips[0].end_ms", "clips[0].weight"];
    assert_eq!(fields(clips, files(&clip(3, 500, 400, 0.0))).await, expected);
    assert_eq!(fields(clips, files("[]")).await, ["clips"]);
    assert_eq!(fields(clips, files("{")).await, ["clips"]);
    let two = Form::new().part("files", file(&speech)).part("files", file(&speech)).text("name", "Ada").text("consent", "true");
    assert_eq!(fields("/api/clone/create-multi", two.text("transcripts", r#"["a", "b", "c"]"#)).await, ["transcripts"]);
    assert_nothing_left(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_recordings_and_parts_of_them_are_kept_as_they_count() {
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let speech = speech();
    client.post("/api/categories", &json!({"name": "Friends"})).await.expect(201);
    let two = || Form::new().part("files", file(&speech)).part("files", file(&speech)).text("consent", "yes");
    let several = two().text("name", "Both").text("transcripts", r#"[null, "Was sie sagt, sagt sie immer wieder."]"#);
    let several = several.text("category", "friends").text("tags", r#"["warm","slow"]"#).text("gender", "female").text("private", "true");
    let job = send(&client, "/api/clone/create-multi", several).await.expect(202).json();
    let made = client.completed(job["job_id"].as_str().unwrap()).await;
    let voice = client.get(made["result"]["voice_url"].as_str().unwrap()).await.expect(200).json();
    assert_eq!((&voice["category"], &voice["tags"], &voice["gender"]), (&json!("Friends"), &json!(["warm", "slow"]), &json!("female")));
    assert_eq!((&voice["private"], &voice["language"]), (&json!(true), &json!("de")), "as the transcript sounds");
    let samples = voice["samples"].as_array().unwrap();
    let known: Vec<&Value> = samples.iter().map(|sample| &sample["transcript"]).collect();
    assert_eq!(known, [&Value::Null, &json!("Was sie sagt, sagt sie immer wieder.")]);

    let clips = json!([
        {"file_index": 1, "start_ms": 2_000, "end_ms": 5_000, "weight": 2.5},
        {"file_index": 0, "start_ms": 0, "end_ms": 1_500, "transcript": "The first words."},
    ]);
    let parts = two().text("name", "Parts").text("clips", clips.to_string()).text("denoise", "true");
    let job = send(&client, "/api/clone/create-clips", parts).await.expect(202).json();
    let made = client.completed(job["job_id"].as_str().unwrap()).await;
    assert_eq!(made["result"]["quality"]["warnings"][0], "short");
    let voice = client.get(made["result"]["voice_url"].as_str().unwrap()).await.expect(200).json();
    let kept: Vec<(i64, f64)> =
        voice["samples"].as_array().unwrap().iter().map(|s| (s["duration_ms"].as_i64().unwrap(), s["weight"].as_f64().unwrap())).collect();
    assert_eq!(kept, [(1_500, 1.0), (3_000, 2.5)]);
    let audio = client.get(voice["samples"][1]["audio_url"].as_str().unwrap()).await.expect(200).body.clone();
    let whole: Vec<i16> = hound::WavReader::new(Cursor::new(&speech)).unwrap().into_samples().map(Result::unwrap).collect();
    let part: Vec<i16> = hound::WavReader::new(Cursor::new(&audio)).unwrap().into_samples().map(Result::unwrap).collect();
    assert_eq!(part, whole[48_000..120_000], "what is kept is what was named");

    let id = voice["id"].as_str().unwrap();
    Answer::to(client.request(Method::DELETE, &format!("/api/voices/{id}"))).await.expect(204);
    let data = server.data_folder();
    assert_eq!(files_in(&data.join("blobs/voices").join(id)), 0);
}
