//! Neural speech through the front door, with the tiny checkpoints of the engine's tests installed as a person without a network would: from a
//! folder, beside the operator's own manifests. Their weights are random, so what they say means nothing; that the right one says it, that it
//! is kept, and that a kill changes no byte of it, is what is looked at.
//!
//! Random weights miss their end now and then: a request asks with one seed after the other until one is spoken to the end.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Answer, Client, Engine, ServerOptions, TestServer, script, wait};

const FILES: [&str; 9] = [
    "config.json",
    "generation_config.json",
    "merges.txt",
    "vocab.json",
    "tokenizer_config.json",
    "model.safetensors",
    "speech_tokenizer/config.json",
    "speech_tokenizer/preprocessor_config.json",
    "speech_tokenizer/model.safetensors",
];
const BASE: &str = "tiny-base";
const CUSTOM: &str = "tiny-customvoice";
const DESIGN: &str = "tiny-voicedesign";
const SEEDS: u64 = 40;

/// Checkpoints and manifests in a folder of the operator's.
struct Shelf(TempDir);

impl Shelf {
    fn new() -> Self {
        let shelf = Self(tempfile::tempdir().unwrap());
        for (id, fixture, ability) in [(BASE, "base", "clone"), (CUSTOM, "custom_voice", "preset"), (DESIGN, "voice_design", "design")] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/fixtures/qwen3_tts").join(fixture);
            for file in FILES {
                let to = shelf.checkpoint(id).join(file);
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::copy(from.join(file), to).unwrap();
            }
            // So warm that the end comes up sooner or later.
            let path = shelf.checkpoint(id).join("generation_config.json");
            let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            config["temperature"] = json!(3.0);
            config["top_k"] = json!(0);
            fs::write(path, config.to_string()).unwrap();
            fs::create_dir_all(shelf.catalogue()).unwrap();
            fs::write(shelf.catalogue().join(format!("{id}.toml")), manifest(id, ability)).unwrap();
        }
        shelf
    }

    fn checkpoint(&self, id: &str) -> PathBuf {
        self.0.path().join("checkpoints").join(id)
    }

    fn catalogue(&self) -> PathBuf {
        self.0.path().join("catalogue")
    }

    /// A server that knows the manifests, and has none of the models. The engine without weights follows a script: nothing is needed for it.
    async fn server(&self) -> TestServer {
        let environment = [
            ("CLONYVOICE_MODELS_CATALOGUE_DIR", self.catalogue().display().to_string()),
            ("CLONYVOICE_MODELS_PRECISION", "f32".to_owned()),
            ("CLONYVOICE_NEURAL_SLOTS", "3".to_owned()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
        TestServer::start(ServerOptions { engine: Engine::Scripted(script::at_once()), environment, ..ServerOptions::default() }).await
    }

    async fn install(&self, server: &TestServer, id: &str) {
        server.run(&["models", "pull", id, "--from", self.checkpoint(id).to_str().unwrap()]).await;
    }
}

fn manifest(id: &str, ability: &str) -> String {
    let files: Vec<String> = FILES.iter().map(|file| format!("{{ path = \"{file}\" }}")).collect();
    format!(
        "id = \"{id}\"\nname = \"Tiny\"\nfamily = \"qwen3-tts\"\nabilities = [\"{ability}\"]\nlanguages = [\"en\"]\n\
         parameters_millions = 1\nlicence = \"Apache-2.0\"\nhub = {{ repo = \"nobody/tiny\", revision = \"main\" }}\n\
         memory_mb = {{ f32 = 2 }}\noffered = false\nfiles = [{}]\n",
        files.join(", ")
    )
}

/// A word said over and over: almost six seconds of speech.
fn recording() -> Vec<u8> {
    let word = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/tests/world/woman.wav")).unwrap();
    let word: Vec<i16> = hound::WavReader::new(Cursor::new(word)).unwrap().into_samples().map(Result::unwrap).collect();
    let mut bytes = Cursor::new(Vec::new());
    let spec = hound::WavSpec { channels: 1, sample_rate: 24_000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    std::iter::repeat_n(word, 6).flatten().for_each(|sample| writer.write_sample(sample).unwrap());
    writer.finalize().unwrap();
    bytes.into_inner()
}

/// The job's result.
async fn cloned(client: &Client, transcript: Option<&str>) -> Value {
    let file = Part::bytes(recording()).file_name("recording.wav");
    let mut form = Form::new().part("file", file).text("name", "Ada").text("language", "en").text("consent", "true");
    if let Some(transcript) = transcript {
        form = form.text("transcript", transcript.to_owned());
    }
    let job = Answer::to(client.request(Method::POST, "/api/clone/create").multipart(form)).await.expect(202).json();
    client.completed(job["job_id"].as_str().unwrap()).await["result"].clone()
}

/// The first job that is completed, with its seed.
async fn spoken(client: &Client, path: &str, body: &Value) -> (Value, u64) {
    for seed in 1..=SEEDS {
        let mut body = body.clone();
        body["seed"] = json!(seed);
        let task = client.submit(path, &body).await;
        let job = client.ended(&task).await;
        if job["status"] == "completed" {
            return (job, seed);
        }
        let why = job["error"]["detail"].as_str().unwrap();
        assert!(["ran away", "went in a circle", "ended after"].iter().any(|known| why.contains(known)), "{job:#}");
    }
    panic!("{path}: no seed of {SEEDS} is spoken to its end");
}

async fn audio(client: &Client, job: &Value) -> bytes::Bytes {
    let task = job["task_id"].as_str().unwrap();
    client.get(&format!("/api/generations/{task}/audio")).await.expect(200).body.clone()
}

async fn status(client: &Client) -> Value {
    client.get("/api/system/status").await.expect(200).json()
}

fn by(engine: &str, model: Option<&str>, chunks: u32) -> Value {
    json!([{"engine": engine, "model": model, "chunks": chunks}])
}

const TEXT: &str = "The user and the world are here, and so is the end.";

#[tokio::test(flavor = "multi_thread")]
async fn clones_are_spoken_by_the_model_and_by_the_builtin_engine() {
    let shelf = Shelf::new();
    let server = shelf.server().await;
    let client = server.client();
    // Made before there was a model: its form for the model comes with its first words.
    let early = cloned(&client, None).await;
    assert_eq!(early["model"], Value::Null);
    shelf.install(&server, BASE).await;
    let models = status(&client).await["models"].clone();
    assert_eq!((&models[0]["id"], &models[0]["loaded"]), (&json!(BASE), &json!(false)), "nobody has asked for it: {models}");
    let late = cloned(&client, Some("the user and the world and the user and the world")).await;
    assert_eq!(late["model"], BASE);
    for voice in [&early["voice_id"], &late["voice_id"]] {
        let (job, seed) = spoken(&client, "/api/generate/clone", &json!({"text": TEXT, "voice_id": voice, "language": "en"})).await;
        assert_eq!(job["result"]["engines"], by("qwen3-tts", Some(BASE), 1), "{job:#}");
        // The same again, by what is kept now.
        let again = json!({"text": TEXT, "voice_id": voice, "language": "en", "seed": seed, "engine": "qwen3-tts"});
        let again = client.completed(&client.submit("/api/generate/clone", &again).await).await;
        assert_eq!(audio(&client, &again).await, audio(&client, &job).await);
        // A language that the model does not know, and what the caller wants.
        for body in [json!({"language": "nl"}), json!({"language": "en", "engine": "builtin"})] {
            let body = json!({"text": TEXT, "voice_id": voice, "language": body["language"], "engine": body["engine"]});
            let job = client.completed(&client.submit("/api/generate/clone", &body).await).await;
            assert_eq!(job["result"]["engines"], by("builtin", None, 1), "{body}");
        }
        let refused = json!({"text": TEXT, "voice_id": voice, "language": "nl", "engine": "qwen3-tts"});
        assert_eq!(client.post("/api/generate/clone", &refused).await.problem(422, "validation_failed")["errors"][0]["field"], "language");
    }
    let models = status(&client).await["models"].clone();
    assert_eq!((&models[0]["id"], &models[0]["loaded"]), (&json!(BASE), &json!(true)), "{models}");
    assert!(models[0]["memory_mb"].as_f64().unwrap() > 0.5, "{models}");
}

#[tokio::test(flavor = "multi_thread")]
async fn presets_of_a_model_are_voices_and_chunks_are_made_again() {
    let shelf = Shelf::new();
    let server = shelf.server().await;
    let client = server.client();
    client.get("/api/voices/qwen3-ryan").await.problem(404, "voice_not_found");
    let asked = json!({"text": TEXT, "voice_id": "nora", "engine": "qwen3-tts"});
    let missing = client.post("/api/generate/preset", &asked).await.problem(503, "model_not_installed");
    assert!(missing["detail"].as_str().unwrap().contains("clonyvoice models pull qwen3-tts-0.6b-customvoice"), "{missing}");
    shelf.install(&server, CUSTOM).await;
    let ryan = client.get("/api/voices/qwen3-ryan").await.expect(200).json();
    assert_eq!((&ryan["name"], &ryan["type"], &ryan["gender"]), (&json!("Ryan"), &json!("preset"), &json!("male")));
    let refused = client.post("/api/generate/preset", &asked).await.problem(422, "validation_failed");
    assert_eq!(refused["errors"][0]["field"], "engine", "nora is no voice of the model");
    client
        .post("/api/generate/preset", &json!({"text": TEXT, "voice_id": "nora", "engine": "steam"}))
        .await
        .problem(422, "validation_failed");

    let body = json!({"chunks": [{"text": TEXT}, {"text": "Dit is Nederlands.", "language": "nl"}], "voice_id": "Ryan", "language": "en"});
    let (job, _) = spoken(&client, "/api/generate/clone-chunked", &body).await;
    let both = json!([{"engine": "builtin", "model": null, "chunks": 1}, {"engine": "qwen3-tts", "model": CUSTOM, "chunks": 1}]);
    assert_eq!(job["result"]["engines"], both, "{job:#}");
    let task = job["task_id"].as_str().unwrap();
    let generation = client.get(&format!("/api/generations/{task}")).await.expect(200).json();
    let engines: Vec<&Value> = generation["chunks"].as_array().unwrap().iter().map(|chunk| &chunk["engine"]).collect();
    assert_eq!(engines, ["qwen3-tts", "builtin"], "{generation:#}");
    let (take, _) = spoken(&client, "/api/generate/regenerate-chunk", &json!({"task_id": task, "index": 0})).await;
    assert_eq!((&take["result"]["engine"], &take["result"]["model"]), (&json!("qwen3-tts"), &json!(CUSTOM)), "{take:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_designed_voice_is_what_the_model_said_of_it() {
    let shelf = Shelf::new();
    let server = shelf.server().await;
    let client = server.client();
    shelf.install(&server, DESIGN).await;
    shelf.install(&server, BASE).await;
    let wish = json!({"name": "Warm", "description": "a warm calm voice", "language": "en", "variants": 1, "sample_text": TEXT});
    let (job, _) = spoken(&client, "/api/design/create", &wish).await;
    assert_eq!(job["result"]["model"], BASE, "{job:#}");
    let voice = &job["result"]["voice_id"];
    let (job, _) = spoken(&client, "/api/generate/clone", &json!({"text": TEXT, "voice_id": voice, "language": "en"})).await;
    assert_eq!(job["result"]["engines"], by("qwen3-tts", Some(BASE), 1), "{job:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_a_batch_changes_no_byte() {
    const CHUNKS: u64 = 12;
    let shelf = Shelf::new();
    let chunks: Vec<Value> =
        (0..CHUNKS).map(|index| json!({"text": format!("This is number {index} of the chunks, the user and the end.")})).collect();
    let body = json!({"chunks": chunks, "voice_id": "qwen3-vivian", "language": "en"});
    let path = "/api/generate/clone-chunked";
    let undisturbed = shelf.server().await;
    shelf.install(&undisturbed, CUSTOM).await;
    let client = undisturbed.client();
    let (job, seed) = spoken(&client, path, &body).await;
    let whole = audio(&client, &job).await;
    drop(undisturbed);

    let mut server = shelf.server().await;
    shelf.install(&server, CUSTOM).await;
    // As many workers as the batch has slots, which is told at the start.
    server.kill().await;
    server.restart().await;
    let client = server.client();
    let mut socket = server.socket().await;
    socket.subscribe(None).await;
    let mut seeded = body.clone();
    seeded["seed"] = json!(seed);
    let task = client.submit(path, &seeded).await;
    let mut seen = 0;
    socket
        .until(|event| {
            seen += usize::from(event.is("chunk.ready", &task));
            seen == 3
        })
        .await;
    server.kill().await;
    let killed_at = wait::now();
    server.restart().await;
    let mut socket = server.socket().await;
    socket.subscribe(Some(0)).await;
    let events = socket.collect_until(|event| event.is("job.completed", &task)).await;
    assert!(events.iter().any(|event| event.is("job.loading_model", &task) && event.data["model"] == CUSTOM));
    let time = |event: &tests::Envelope| event.ts.as_deref().unwrap().parse::<jiff::Timestamp>().unwrap();
    let later = events.iter().filter(|event| event.is("chunk.ready", &task) && time(event) > killed_at).count();
    assert!(later > 0, "the kill came too late to hit the middle");
    let job = client.completed(&task).await;
    assert_eq!(job["result"]["engines"], by("qwen3-tts", Some(CUSTOM), CHUNKS as u32), "{job:#}");
    assert_eq!(audio(&client, &job).await, whole);
}
