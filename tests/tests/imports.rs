//! Sound, films and pictures of strangers in a timeline: laid, heard and shown; and what is said where something is wrong or missing.

#![allow(clippy::unwrap_used)]

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tests::media::{self, made_by_ffmpeg};
use tests::tools::{self, Tool};
use tests::{Answer, Client, Engine, ServerOptions, TestServer, script};

async fn spoken(client: &Client) -> String {
    let body = json!({"text": "A few words to lay things beside.", "voice_id": client.preset(0).await, "seed": 3});
    let task = client.submit("/api/generate/clone-chunked", &body).await;
    client.completed(&task).await;
    task
}

async fn import(client: &Client, task: &str, what: &str, file: Vec<u8>, fields: &[(&'static str, &'static str)]) -> Answer {
    let mut form = Form::new().part("file", Part::bytes(file).file_name("holiday.bin"));
    for (name, value) in fields {
        form = form.text(*name, *value);
    }
    Answer::to(client.request(Method::POST, &format!("/api/timeline/{task}/{what}")).multipart(form)).await
}

async fn merged(client: &Client, body: Value) -> Value {
    let request = client.request(Method::POST, "/api/generate/merge-timeline").header("prefer", "wait=60").json(&body);
    let job = Answer::to(request).await.expect(200).json();
    assert_eq!(job["status"], "completed", "{job}");
    job["result"].clone()
}

/// Without any program of others.
async fn bare_server() -> TestServer {
    let options = ServerOptions {
        engine: Engine::Scripted(script::at_once()),
        environment: vec![("CLONYVOICE_TOOL_FOLDERS".into(), "/nowhere".into())],
        ..ServerOptions::default()
    };
    TestServer::start(options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_track_is_laid_and_heard() {
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let task = spoken(&client).await;
    let tone = media::tone_wav(44_100, 2, 500);
    let fields = [("name", "Music"), ("start_ms", "10000"), ("gain_db", "-3"), ("duck_db", "-12")];
    let laid = import(&client, &task, "import-track", tone.clone(), &fields).await.expect(201).json();
    assert_eq!((&laid["duration_ms"], &laid["revision"], &laid["block"]["kind"]), (&json!(500), &json!(1), &json!("audio")));
    assert_eq!((&laid["track"]["name"], &laid["track"]["duck_db"]), (&json!("Music"), &json!(-12.0)));
    assert_eq!((&laid["block"]["start_ms"], &laid["block"]["gain_db"]), (&json!(10_000), &json!(-3.0)));
    let timeline = client.get(&format!("/api/timeline/{task}")).await.expect(200).json();
    assert_eq!((&timeline["duration_ms"], timeline["blocks"].as_array().unwrap().len()), (&json!(10_500), 2));
    let stored = client.get(laid["audio_url"].as_str().unwrap()).await;
    assert_eq!(stored.expect(200).header("content-type"), Some("audio/flac"));
    assert!(stored.body.starts_with(b"fLaC"));
    // What is heard at its place is the tone, at its gain.
    let plain =
        json!({"task_id": task, "sample_rate": 44_100, "channels": 2, "normalize": false, "range": {"start_ms": 10_000, "end_ms": 10_500}});
    let result = merged(&client, plain).await;
    let mix = media::samples(&client.get(result["audio_url"].as_str().unwrap()).await.expect(200).body);
    let tone = media::samples(&tone);
    assert_eq!(mix.len(), tone.len());
    for (sample, source) in mix.iter().zip(&tone) {
        assert!((f64::from(*sample) - f64::from(*source) * 10f64.powf(-3.0 / 20.0)).abs() <= 1.5, "{sample} of {source}");
    }
    // A loop without a length goes on to the end of what is there.
    let looped = import(&client, &task, "import-track", media::tone_wav(24_000, 1, 300), &[("loop", "true")]).await.expect(201).json();
    assert_eq!((&looped["block"]["duration_ms"], &looped["block"]["loop"]), (&json!(10_500), &json!(true)));
    assert_eq!(looped["track"]["name"], "holiday.bin");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_track_is_told_why() {
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let task = spoken(&client).await;
    let tone = || media::tone_wav(24_000, 1, 300);
    for (what, code, status) in [("import-track", "unsupported_media", 415), ("import-video", "unsupported_media", 415)] {
        import(&client, &task, what, b"no sound, and nothing to see".to_vec(), &[]).await.problem(status, code);
        import(&client, &task, what, b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n".to_vec(), &[]).await.problem(status, code);
        import(&client, &task, what, Vec::new(), &[]).await.problem(422, "validation_failed");
    }
    for (name, value) in
        [("start_ms", "soon"), ("start_ms", "-1"), ("gain_db", "99"), ("loop", "perhaps"), ("duck_db", "3"), ("duration_ms", "301")]
    {
        let problem = import(&client, &task, "import-track", tone(), &[(name, value)]).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], name, "{problem}");
    }
    let nobody = "0197f000-0000-7000-8000-000000000000";
    import(&client, nobody, "import-track", tone(), &[]).await.problem(404, "task_not_found");
    let other = server.client_with(Some(&server.new_key("other", &[]).await));
    import(&other, &task, "import-video", tone(), &[]).await.problem(404, "task_not_found");
    let timeline = client.get(&format!("/api/timeline/{task}")).await.expect(200).json();
    assert_eq!((&timeline["revision"], timeline["tracks"].as_array().unwrap().len()), (&json!(0), 1), "nothing of it was laid");
    let left = std::fs::read_dir(server.data_folder().join("blobs/generations").join(&task)).unwrap();
    let media = left.filter(|entry| entry.as_ref().unwrap().file_name() == "media").count();
    let files = if media == 0 { 0 } else { media::files_below(&server.data_folder().join("blobs/generations").join(&task).join("media")) };
    assert_eq!(files, 0, "and nothing is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn films_and_pictures_are_shown_and_heard() {
    if !tools::has("imports::films_and_pictures_are_shown_and_heard", &[Tool::Ffmpeg]) {
        return;
    }
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let task = spoken(&client).await;
    let film = made_by_ffmpeg(&["-f", "lavfi", "-i", "testsrc=s=320x240:r=25:d=2", "-f", "lavfi", "-i", "sine=d=2", "-shortest"], "mp4");
    let laid = import(&client, &task, "import-video", film.clone(), &[("start_ms", "500")]).await.expect(201).json();
    assert_eq!((&laid["width"], &laid["height"], &laid["fps"]), (&json!(320), &json!(240), &json!(25.0)));
    assert_eq!((&laid["block"]["kind"], &laid["track"]["kind"], &laid["warnings"]), (&json!("video"), &json!("video"), &json!([])));
    assert!((laid["duration_ms"].as_i64().unwrap() - 2_000).abs() < 60, "{laid}");
    let poster = client.get(laid["poster_url"].as_str().unwrap()).await;
    assert_eq!((poster.expect(200).header("content-type"), &poster.body[1..4]), (Some("image/png"), &b"PNG"[..]));
    assert_eq!(client.get(laid["audio_url"].as_str().unwrap()).await.expect(200).header("content-type"), Some("audio/flac"));

    let mute = import(&client, &task, "import-video", film, &[("keep_audio", "false")]).await.expect(201).json();
    assert_eq!((&mute["audio_url"], mute["poster_url"].is_string()), (&Value::Null, true));
    let media = mute["media_id"].as_str().unwrap();
    client.get(&format!("/api/timeline/{task}/media/{media}/audio")).await.problem(404, "media_not_found");
    client.get(&format!("/api/timeline/{task}/media/{task}/poster")).await.problem(404, "media_not_found");

    // A codec that is not read here: ffmpeg reads it.
    let strange = made_by_ffmpeg(
        &["-f", "lavfi", "-i", "testsrc=s=64x64:r=10:d=1", "-f", "lavfi", "-i", "sine=d=1", "-c:a", "ac3", "-shortest"],
        "mkv",
    );
    let laid = import(&client, &task, "import-video", strange, &[]).await.expect(201).json();
    assert!(laid["audio_url"].is_string(), "{laid}");

    let picture = made_by_ffmpeg(&["-f", "lavfi", "-i", "testsrc=s=80x60", "-frames:v", "1", "-f", "image2", "-c:v", "png"], "png");
    let laid = import(&client, &task, "import-video", picture.clone(), &[("duration_ms", "1500")]).await.expect(201).json();
    assert_eq!((&laid["width"], &laid["height"], &laid["block"]["duration_ms"]), (&json!(80), &json!(60), &json!(1_500)));
    assert_eq!((&laid["block"]["kind"], &laid["audio_url"], &laid["duration_ms"]), (&json!("image"), &Value::Null, &json!(0)));
    let shown = client.get(laid["poster_url"].as_str().unwrap()).await;
    assert_eq!((shown.expect(200).header("content-type"), &shown.body[..]), (Some("image/png"), &picture[..]));

    let song = made_by_ffmpeg(&["-f", "lavfi", "-i", "sine=d=1"], "ogg");
    import(&client, &task, "import-video", song, &[]).await.problem(415, "unsupported_media");
    // All that is heard can be merged.
    let result = merged(&client, json!({"task_id": task})).await;
    assert!(result["duration_ms"].as_i64().unwrap() >= 2_400, "{result}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_ffmpeg_the_sound_alone_is_taken() {
    if !tools::has("imports::without_ffmpeg_the_sound_alone_is_taken", &[Tool::Ffmpeg]) {
        return;
    }
    let server = bare_server().await;
    let client = server.client();
    let task = spoken(&client).await;
    let film = |codec| {
        let inputs = ["-f", "lavfi", "-i", "testsrc=s=64x64:r=10:d=1", "-f", "lavfi", "-i", "sine=d=1", "-c:a", codec, "-shortest"];
        made_by_ffmpeg(&inputs, "mkv")
    };
    let laid = import(&client, &task, "import-video", film("aac"), &[]).await.expect(201).json();
    assert_eq!((&laid["width"], &laid["poster_url"], laid["audio_url"].is_string()), (&Value::Null, &Value::Null, true));
    assert!(laid["warnings"][0].as_str().unwrap().contains("apt-get install ffmpeg"), "{laid}");
    let problem = import(&client, &task, "import-video", film("ac3"), &[]).await.problem(503, "tool_not_installed");
    assert_eq!(problem["command"], "apt-get install ffmpeg");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_becomes_a_film() {
    if !tools::has("imports::a_timeline_becomes_a_film", &[Tool::Ffmpeg]) {
        return;
    }
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let task = spoken(&client).await;
    let red = made_by_ffmpeg(&["-f", "lavfi", "-i", "color=red:s=160x120:r=20:d=1", "-f", "lavfi", "-i", "sine=d=1", "-shortest"], "mp4");
    import(&client, &task, "import-video", red, &[("start_ms", "1000")]).await.expect(201);
    let blue = made_by_ffmpeg(&["-f", "lavfi", "-i", "color=blue:s=40x30", "-frames:v", "1", "-f", "image2", "-c:v", "png"], "png");
    import(&client, &task, "import-video", blue, &[("start_ms", "2000"), ("duration_ms", "1000")]).await.expect(201);
    let body = json!({"task_id": task, "format": "mp4"});
    let first = merged(&client, body.clone()).await;
    assert_eq!((&first["content_type"], &first["duration_ms"]), (&json!("video/mp4"), &json!(3_000)), "{first}");
    let film = client.get(first["audio_url"].as_str().unwrap()).await;
    assert_eq!(film.expect(200).header("content-type"), Some("video/mp4"));
    assert!(film.header("content-disposition").unwrap().contains(".mp4\""));
    let again = merged(&client, body).await;
    assert_eq!(again["sha256"], first["sha256"], "the same layout gives the same bytes");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &film.body).unwrap();
    // Black, then the film, then the picture: the middle of each as ffmpeg shows it.
    for (at, wanted) in [("0.5", [0, 0, 0]), ("1.5", [255, 0, 0]), ("2.5", [0, 0, 255])] {
        let shown = media::pixel(file.path(), at);
        let near = shown.iter().zip(wanted).all(|(got, wanted)| got.abs_diff(wanted) < 30);
        assert!(near, "{shown:?} at {at} s, and {wanted:?} was wanted");
    }
    let found = media::ffprobe(file.path());
    let kinds: Vec<_> = found["streams"].as_array().unwrap().iter().map(|stream| stream["codec_type"].clone()).collect();
    assert_eq!(kinds, [json!("video"), json!("audio")]);
    let seconds: f64 = found["format"]["duration"].as_str().unwrap().parse().unwrap();
    assert!((seconds - 3.0).abs() < 0.1, "{found}");
    assert_eq!(found["format"]["tags"]["comment"], "synthetic speech");

    let part = json!({"task_id": task, "format": "mp4", "range": {"start_ms": 1_000, "end_ms": 1_500}, "include_video": false});
    let part = merged(&client, part).await;
    assert_eq!(part["duration_ms"], 500);
    client.get(&format!("{}?format=wav", part["audio_url"].as_str().unwrap())).await.problem(422, "validation_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_needs_ffmpeg() {
    let server = bare_server().await;
    let client = server.client();
    let task = spoken(&client).await;
    let problem =
        client.post("/api/generate/merge-timeline", &json!({"task_id": task, "format": "mp4"})).await.problem(503, "tool_not_installed");
    assert_eq!(problem["command"], "apt-get install ffmpeg");
    let jobs = client.get("/api/jobs").await.expect(200).json();
    assert!(jobs["items"].as_array().unwrap().iter().all(|job| job["type"] != "generate.merge_timeline"), "{jobs}");
}
