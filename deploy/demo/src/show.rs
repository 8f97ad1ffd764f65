//! What the person in front of the terminal sees: a line for each chunk, a bar below, and at the end the figures. Where there is no
//! terminal the lines are plain.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::client::Client;

/// Of a chunk's text, in characters.
const BEGINNING: usize = 60;
const PLAYERS: [(&str, &str); 4] = [("ffplay", "ffplay -autoexit -nodisp"), ("play", "play"), ("aplay", "aplay"), ("afplay", "afplay")];

/// ANSI colours, by number.
const YELLOW: &str = "33";
const CYAN: &str = "36";

#[derive(Debug)]
pub(crate) struct Show {
    /// Voice and text of each chunk.
    lines: BTreeMap<u64, (String, String)>,
    ready: BTreeMap<u64, u64>,
    cached: u64,
    bar: Option<ProgressBar>,
    total: u64,
}

/// What was seen of the chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunksTold {
    pub(crate) total: u64,
    /// Already known from an earlier run: copied, not spoken.
    pub(crate) cached: u64,
}

impl Show {
    /// `generation`: as `GET /api/generations/{id}` tells it, with its chunks.
    pub(crate) fn new(generation: &Value) -> Self {
        let chunks = generation["chunks"].as_array().map(Vec::as_slice).unwrap_or_default();
        let line = |chunk: &Value| {
            let text = |name: &str| chunk[name].as_str().unwrap_or_default().to_owned();
            Some((chunk["index"].as_u64()?, (text("voice_id"), beginning(&text("text")))))
        };
        let total = generation["chunks_total"].as_u64().unwrap_or(chunks.len() as u64);
        let bar = std::io::stdout().is_terminal().then(|| {
            let bar = ProgressBar::new(total);
            if let Ok(style) = ProgressStyle::with_template("{bar:40.cyan/blue} {pos}/{len} chunks  {msg}  {elapsed}") {
                bar.set_style(style.progress_chars("━╸─"));
            }
            bar
        });
        Self { lines: chunks.iter().filter_map(line).collect(), ready: BTreeMap::new(), cached: 0, bar, total }
    }

    /// Something that happened; it stands out among the chunks.
    pub(crate) fn say(&self, line: &str) {
        self.line(&self.coloured(YELLOW, line));
    }

    fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => print(line),
        }
    }

    /// Plain where there is no terminal.
    fn coloured(&self, colour: &str, text: &str) -> String {
        if self.bar.is_some() { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn event(&mut self, kind: &str, data: &Value) {
        match kind {
            "chunk.ready" => self.chunk_ready(data),
            "chunk.failed" => self.say(&format!("chunk {} failed and is tried again", data["index"])),
            "job.merging" => self.say("all chunks are there: joining them"),
            _ => {}
        }
    }

    fn chunk_ready(&mut self, data: &Value) {
        let (Some(index), Some(duration_ms)) = (data["index"].as_u64(), data["duration_ms"].as_u64()) else { return };
        self.ready.insert(index, duration_ms);
        self.cached += u64::from(data["cached"] == true);
        let (voice, text) = self.lines.get(&index).cloned().unwrap_or_default();
        let voice = self.coloured(CYAN, &format!("{voice:<8}"));
        self.line(&format!("{:>4}  {:>5.1} s  {voice} {text}", index + 1, duration_ms as f64 / 1000.0));
        if let Some(bar) = &self.bar {
            bar.set_position(self.chunks_ready());
            bar.set_message(format!("{} of audio", clock(self.ready.values().sum())));
        }
    }

    pub(crate) fn chunks_ready(&self) -> u64 {
        self.ready.len() as u64
    }

    pub(crate) fn chunks_told(&self) -> ChunksTold {
        ChunksTold { total: self.total, cached: self.cached }
    }

    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish();
        }
    }
}

/// Where nobody reads any more there is nothing to tell, and no reason to end.
pub(crate) fn print(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// In one line, cut at a character.
fn beginning(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= BEGINNING { line } else { line.chars().take(BEGINNING - 1).chain(['…']).collect() }
}

/// `3:07`.
fn clock(ms: u64) -> String {
    format!("{}:{:02}", ms / 60_000, ms / 1000 % 60)
}

/// The figures and what to do next, for the finished `job`.
pub(crate) fn report(job: &Value, chunks: &ChunksTold, base: &str, client: &Client, voice_id: &str) -> String {
    let merged = &job["result"];
    let audio_ms = merged["duration_ms"].as_u64().unwrap_or(0);
    let mut lines = vec![String::new()];
    let mut row = |name: &str, value: String| lines.push(format!("  {name:<12}{value}"));
    row("demo.wav", format!("{} of speech, {} chunks, subtitles in demo.srt", clock(audio_ms), chunks.total));
    if let Some(lufs) = merged["loudness"]["integrated_lufs"].as_f64() {
        let peak = merged["loudness"]["true_peak_db"].as_f64().map(|db| format!(", true peak {db:.1} dBTP"));
        row("loudness", format!("{lufs:.1} LUFS{}", peak.unwrap_or_default()));
    }
    if let Some(took_ms) = took_ms(job).filter(|_| audio_ms > 0) {
        let factor = took_ms as f64 / audio_ms as f64;
        row("speed", format!("made in {:.1} s, real-time factor {factor:.4}", took_ms as f64 / 1000.0));
    }
    if chunks.cached > 0 {
        row("", format!("{} of the chunks were known from an earlier run and cost nothing", chunks.cached));
    }
    if let Some(command) = player() {
        row("listen", format!("{command} demo.wav"));
    }
    row("API", format!("{base}/docs"));
    let body = format!(r#"{{"text":"The fog is lifting.","voice_id":"{voice_id}"}}"#);
    lines.push(format!(
        "\n  Your turn:\n\n  curl {base}/api/generate/preset -H 'X-API-Key: {}' \\\n       -H 'Content-Type: application/json' -H 'Accept: audio/wav' \\\n       -d '{body}' -o fog.wav",
        client.key()
    ));
    lines.join("\n")
}

/// From the first chunk's start to the finished file, as the server tells it, a killed server's absence included.
fn took_ms(job: &Value) -> Option<u64> {
    let time = |name: &str| job[name].as_str()?.parse::<jiff::Timestamp>().ok();
    u64::try_from(time("finished_at")?.duration_since(time("started_at")?).as_millis()).ok()
}

/// A program of this machine that can play the file.
fn player() -> Option<&'static str> {
    #[allow(clippy::disallowed_methods, reason = "where programs are is no configuration of ours")]
    let path = std::env::var_os("PATH")?;
    let there = |name: &str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    PLAYERS.iter().find(|(name, _)| there(name)).map(|(_, command)| *command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_one_line_and_whole_characters() {
        assert_eq!(beginning("one\n two"), "one two");
        let long = beginning(&"é".repeat(100));
        assert_eq!(long.chars().count(), BEGINNING);
        assert!(long.ends_with('…'));
    }
}
