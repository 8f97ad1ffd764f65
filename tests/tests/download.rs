//! Sound from strangers' URLs: fetched by yt-dlp through our own proxy, which reaches what it may and nothing else; and what is said where
//! it may not, or where there is nothing.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use tests::media::tone_wav;
use tests::tools::{self, Tool};
use tests::{Client, Engine, ServerOptions, TestServer, script, wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A site of our own. Dropped with the test.
struct Site {
    port: u16,
    state: Arc<SiteState>,
}

#[derive(Default)]
struct SiteState {
    asked: AtomicU64,
    /// While it is set, `/halting.wav` stands still in its middle.
    halting: AtomicBool,
    halted: AtomicU64,
}

impl Site {
    /// `elsewhere` is where `/away` leads.
    async fn start(elsewhere: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(SiteState::default());
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                shared.asked.fetch_add(1, Ordering::SeqCst);
                let state = shared.clone();
                tokio::spawn(async move {
                    // Whoever fetches may go away in the middle.
                    let _ = serve(client, elsewhere, &state).await;
                });
            }
        });
        Self { port, state }
    }
}

async fn serve(mut client: TcpStream, elsewhere: &str, state: &SiteState) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    assert!(!head.to_ascii_lowercase().contains("proxy-authorization"), "{head}");
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let song = tone_wav(24_000, 1, 3_000);
    let answer = match path.as_str() {
        "/song.wav" | "/halting.wav" => {
            [format!("200 OK\r\nContent-Type: audio/wav\r\nContent-Length: {}\r\n\r\n", song.len()).into_bytes(), song].concat()
        }
        "/page" => b"200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<p>Hello.</p>".to_vec(),
        "/away" => format!("302 Found\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n").into_bytes(),
        "/endless.wav" => b"200 OK\r\nContent-Type: audio/wav\r\nContent-Length: 900000000\r\n\r\n".to_vec(),
        _ => b"404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
    };
    client.write_all(b"HTTP/1.1 ").await?;
    if path == "/halting.wav" && head.starts_with("GET") && state.halting.load(Ordering::SeqCst) {
        client.write_all(&answer[..answer.len() / 2]).await?;
        state.halted.fetch_add(1, Ordering::SeqCst);
        // Until the other side goes away.
        while client.read_buf(&mut Vec::new()).await? > 0 {}
        return Ok(());
    }
    client.write_all(&answer).await?;
    if path == "/endless.wav" && head.starts_with("GET") {
        let (block, mut pace) = (vec![0; 64 * 1024], tokio::time::interval(std::time::Duration::from_millis(5)));
        loop {
            pace.tick().await;
            client.write_all(&block).await?;
        }
    }
    client.shutdown().await
}

async fn server(allowed: &[u16], more: &[(&str, &str)]) -> TestServer {
    let allowed: Vec<String> = allowed.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let mut environment = vec![("CLONYVOICE_DOWNLOAD_ALLOWED".to_owned(), allowed.join(","))];
    environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    TestServer::start(ServerOptions { engine: Engine::Scripted(script::at_once()), environment, ..ServerOptions::default() }).await
}

async fn ended(client: &Client, url: &str) -> Value {
    let job = client.submit("/api/download-video", &json!({"url": url})).await;
    client.ended(&job).await
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_is_fetched_cut_and_kept() {
    if !tools::has("download::sound_is_fetched_cut_and_kept", &[Tool::YtDlp]) {
        return;
    }
    let site = Site::start("http://127.0.0.1:1/").await;
    let server = server(&[site.port], &[]).await;
    let client = server.client();
    let url = format!("http://localhost:{}/song.wav", site.port);
    let body = json!({"url": url, "format": "wav", "start_ms": 500, "end_ms": 1_750});
    let accepted = client.post("/api/download-video", &body).await.expect(202).json();
    assert_eq!((&accepted["type"], &accepted["generation_id"]), (&json!("audio.download_video"), &Value::Null));
    let job = client.completed(accepted["task_id"].as_str().unwrap()).await;
    let result = &job["result"];
    assert_eq!((&result["title"], &result["duration_ms"], &result["content_type"]), (&json!("song"), &json!(1_250), &json!("audio/wav")));
    let audio = client.get(result["audio_url"].as_str().unwrap()).await;
    assert_eq!(audio.expect(200).header("content-type"), Some("audio/wav"));
    assert_eq!(audio.header("etag").unwrap().trim_matches('"'), result["sha256"]);
    let (got, song) = (tests::media::samples(&audio.body), tests::media::samples(&tone_wav(24_000, 1, 3_000)));
    assert_eq!(got, song[12_000..42_000], "the part that was wanted, to the sample");
    let other = server.client_with(Some(&server.new_key("other", &[]).await));
    other.get(result["audio_url"].as_str().unwrap()).await.problem(404, "job_not_found");
    assert!(!server.log_text().contains("clonyvoice:"), "the proxy's password is in no log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_outlives_a_kill() {
    if !tools::has("download::a_download_outlives_a_kill", &[Tool::YtDlp]) {
        return;
    }
    let site = Site::start("").await;
    site.state.halting.store(true, Ordering::SeqCst);
    let mut server = server(&[site.port], &[]).await;
    let client = server.client();
    let url = format!("http://localhost:{}/halting.wav", site.port);
    let task = client.submit("/api/download-video", &json!({"url": url, "format": "wav"})).await;
    wait::until("the middle of the download", async || (site.state.halted.load(Ordering::SeqCst) > 0).then_some(())).await;
    let running = client.get("/api/jobs?type=audio.download_video&status=running").await.expect(200).json();
    assert_eq!((&running["total"], &running["jobs"][0]["job_id"]), (&json!(1), &json!(task)));
    server.kill().await;
    site.state.halting.store(false, Ordering::SeqCst);
    server.restart().await;

    let client = server.client();
    let job = client.completed(&task).await;
    assert_eq!(job["result"]["duration_ms"], 3_000, "{job}");
    let audio = client.get(job["result"]["audio_url"].as_str().unwrap()).await.expect(200).body.clone();
    assert_eq!(tests::media::samples(&audio), tests::media::samples(&tone_wav(24_000, 1, 3_000)));
    let listed = client.get("/api/jobs?status=completed").await.expect(200).json();
    assert_eq!((&listed["total"], listed["items"].as_array().unwrap().len()), (&json!(1), 1), "{listed}");
    assert_eq!(client.get("/api/jobs?type=generate.preset").await.expect(200).json()["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_way_leads_to_what_is_not_public() {
    if !tools::has("download::no_way_leads_to_what_is_not_public", &[Tool::YtDlp]) {
        return;
    }
    // Reached by nobody: the redirect leads there, and the address is not let through.
    let inside = Site::start("").await;
    let away: &'static str = Box::leak(format!("http://127.0.0.1:{}/song.wav", inside.port).into_boxed_str());
    let site = Site::start(away).await;
    let server = server(&[site.port], &[]).await;
    let client = server.client();
    let job = ended(&client, &format!("http://media.localhost:{}/away", site.port)).await;
    assert_eq!(job["status"], "failed", "{job}");
    let job = ended(&client, &format!("http://127.0.0.1:{}/away", site.port)).await;
    assert_eq!(job["status"], "failed", "{job}");
    assert!(job["error"]["detail"].as_str().unwrap().contains("not public"), "{job}");
    assert_eq!(inside.state.asked.load(Ordering::SeqCst), 0);

    let hosts = [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::1]",
        "[2002:7f00:1::]",
        "[2002:a00:1::1]",
        "[fe80::1]",
        "[fe80::1%25lo]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
        "[2001:db8::1]",
        "[2001::1]",
        "[100::1]",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "192.168.255.255",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "127.0.0.1.",
        "1.2.3.4.5",
        "256.1.1.1",
        "0x.0x.0",
        "3232235521",
        "0300.0250.0.1",
        "0xc0.0xa8.1",
        "user@example.org",
        "example.org:22",
        "example.org:8080",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "[::1",
        "[127.0.0.1]",
        "a b.org",
        "",
    ];
    assert!(hosts.len() >= 60);
    for host in hosts {
        let problem =
            client.post("/api/download-video", &json!({"url": format!("http://{host}/x")})).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], "url", "{host}");
    }
    for url in ["file:///etc/passwd", "ftp://example.org/", "gopher://example.org/", "example.org", "-o /etc/passwd", "--exec=id"] {
        client.post("/api/download-video", &json!({"url": url})).await.problem(422, "validation_failed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_fetched_is_told_why() {
    if !tools::has("download::what_can_not_be_fetched_is_told_why", &[Tool::YtDlp]) {
        return;
    }
    let site = Site::start("").await;
    let server = server(&[site.port], &[("CLONYVOICE_DOWNLOAD_BYTES_MAX", "3000000")]).await;
    let client = server.client();
    let at = |path: &str| format!("http://127.0.0.1:{}{path}", site.port);
    for path in ["/page", "/nothing", "/endless.wav"] {
        let job = ended(&client, &at(path)).await;
        assert_eq!(job["status"], "failed", "{path}: {job}");
        let detail = job["error"]["detail"].as_str().unwrap();
        assert!(detail.len() > 10 && !detail.contains("/tmp") && !detail.contains("clonyvoice"), "{path}: {detail}");
        client.get(&format!("/api/jobs/{}/audio", job["job_id"].as_str().unwrap())).await.problem(404, "audio_not_found");
    }
    for (name, wrong) in [("format", json!("avi")), ("start_ms", json!(-1)), ("end_ms", json!(0))] {
        let mut body = json!({"url": at("/song.wav")});
        body[name] = wrong;
        let problem = client.post("/api/download-video", &body).await.problem(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_is_stopped() {
    if !tools::has("download::a_download_is_stopped", &[Tool::YtDlp]) {
        return;
    }
    let site = Site::start("").await;
    let server = server(&[site.port], &[]).await;
    let client = server.client();
    let job = client.submit("/api/download-video", &json!({"url": format!("http://127.0.0.1:{}/endless.wav", site.port)})).await;
    let path = format!("/api/jobs/{job}");
    wait::until("some of it", async || {
        let seen = client.get(&path).await.expect(200).json();
        seen["progress"].as_f64().is_some_and(|progress| progress > 0.0).then_some(())
    })
    .await;
    client.post("/api/job/cancel", &json!({"job_id": job})).await.expect(200);
    assert_eq!(client.ended(&job).await["status"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_yt_dlp_it_says_what_to_install() {
    let server = server(&[], &[("CLONYVOICE_TOOL_FOLDERS", "/nowhere")]).await;
    let client = server.client();
    let problem = client.post("/api/download-video", &json!({"url": "https://example.org/film"})).await.problem(503, "tool_not_installed");
    assert_eq!(problem["command"], "pipx install yt-dlp");
    client.post("/api/download-video", &json!({})).await.problem(422, "validation_failed");
}
