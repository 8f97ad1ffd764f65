//! `make demo`: starts the server, has a story read by several voices, watches the chunks arrive, and saves demo.wav and demo.srt.
//!
//! It is a client like any other and knows the server through its public interface only. When the server dies it starts it again and goes
//! on after the last event it saw; when the demo itself is stopped, the next one goes on with the same job.

mod cast;
mod client;
mod follow;
mod server;
mod show;
mod unfinished;

use std::error::Error;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Client;
use crate::server::Server;
use crate::show::Show;
use crate::unfinished::Unfinished;

/// Read by a person: nothing in the demo decides by the kind of an error.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

const STORY: &str = include_str!("../story.txt");
const TITLE: &str = "Three Minutes of Silence";

/// What the environment says; the demo has no flags.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) data_folder: PathBuf,
    /// `KILL=40`: kill -9 the server once so many chunks are ready.
    pub(crate) kill_after: Option<u64>,
    /// Stop the server and end when the story is told: where nobody is there to press Ctrl-C.
    pub(crate) exit: bool,
}

#[allow(clippy::disallowed_methods, reason = "the demo's configuration is read here and nowhere else")]
fn options() -> Options {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    Options {
        data_folder: set("DEMO_DATA_DIR").unwrap_or_else(|| "data".to_owned()).into(),
        kill_after: set("KILL").and_then(|chunks| chunks.parse().ok()),
        exit: set("DEMO_EXIT").is_some_and(|value| value == "1") || !std::io::stdin().is_terminal(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match demo(options()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("demo: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(options: Options) -> Result<(), Failure> {
    let mut server = Server::open(&options.data_folder).await?;
    let told = tokio::select! {
        told = tell(&options, &mut server) => told,
        _ = tokio::signal::ctrl_c() => {
            show::print("\nstopped; `make demo` goes on with it");
            return server.stop().await;
        }
    };
    if told.is_ok() && !options.exit {
        show::print("\nThe server goes on until you press Ctrl-C.");
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            end = server.ended() => show::print(&format!("the server ended: {end}")),
        }
    }
    server.stop().await?;
    told
}

/// The story from the text to the files.
async fn tell(options: &Options, server: &mut Server) -> Result<(), Failure> {
    let (unfinished, again) = match resumable(server, options).await? {
        Some(unfinished) => (unfinished, true),
        None => (submit(server, options).await?, false),
    };
    let client = Client::new(server.base(), unfinished.key.clone())?;
    let generation = client.get(&format!("/api/generations/{}", unfinished.task_id)).await?;
    let mut show = Show::new(&generation);
    if again {
        show.say("an earlier demo was stopped in the middle: going on with its story");
    }
    show.say(&server.introduction());
    let job = follow::to_the_end(server, &client, &unfinished.task_id, options.kill_after, &mut show).await?;
    show.finish();
    save(&client, &job, Path::new("demo.wav"), Path::new("demo.srt")).await?;
    unfinished::forget(&options.data_folder)?;
    show::print(&show::report(&job, &show.chunks_told(), server.base(), &client, &cast::first_voice(&client.voices().await?)));
    Ok(())
}

/// What an earlier demo left, if the server still knows it and can or did complete it.
async fn resumable(server: &Server, options: &Options) -> Result<Option<Unfinished>, Failure> {
    let Some(unfinished) = unfinished::recall(&options.data_folder) else { return Ok(None) };
    let client = Client::new(server.base(), unfinished.key.clone())?;
    match client.get(&format!("/api/jobs/{}", unfinished.task_id)).await {
        Ok(job) if job["status"] == "completed" || !is_final(&job) => Ok(Some(unfinished)),
        // Failed or cancelled meanwhile, or the folder was emptied: nothing to go on with.
        _ => Ok(None),
    }
}

async fn submit(server: &mut Server, options: &Options) -> Result<Unfinished, Failure> {
    let key = server.new_key().await?;
    let client = Client::new(server.base(), key.clone())?;
    let voices = cast::cast(&client.voices().await?)?;
    for (part, voice) in &voices {
        show::print(&format!("  {part:<9} {}", voice.description()));
    }
    let parts: serde_json::Map<String, Value> = voices.iter().map(|(part, voice)| ((*part).to_owned(), json!(voice.id))).collect();
    let narrator = parts["narrator"].clone();
    let body = json!({"text": STORY, "title": TITLE, "voice_id": narrator, "voices": parts, "pause_between_turns_ms": 500});
    let job = client.post("/api/generate/clone-chunked-multivoice", &body).await?;
    let task_id = job["task_id"].as_str().ok_or("the server's answer names no task")?.to_owned();
    let unfinished = Unfinished { key, task_id };
    unfinished::remember(&options.data_folder, &unfinished)?;
    Ok(unfinished)
}

async fn save(client: &Client, job: &Value, wav: &Path, srt: &Path) -> Result<(), Failure> {
    let audio = job["links"]["audio"].as_str().ok_or("the finished job names no audio")?;
    client.download(audio, wav).await?;
    let task_id = job["task_id"].as_str().unwrap_or_default();
    client.download(&format!("/api/generations/{task_id}/subtitles.srt"), srt).await
}

fn is_final(job: &Value) -> bool {
    matches!(job["status"].as_str(), Some("completed" | "failed" | "cancelled"))
}

/// Between two tries of something that needs a moment, such as a server that is starting.
pub(crate) async fn a_moment() {
    #[allow(clippy::disallowed_methods, reason = "a client may wait; nothing here is tested against time")]
    tokio::time::sleep(Duration::from_millis(50)).await;
}
