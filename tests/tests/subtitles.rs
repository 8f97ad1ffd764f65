//! Subtitles tell what is heard and when: their times are those of the merged file, and their text is the text.

#![allow(clippy::unwrap_used)]

use serde_json::json;
use tests::{TestServer, script};

#[derive(Debug, PartialEq)]
struct Cue {
    start_ms: i64,
    end_ms: i64,
    text: String,
}

/// `00:01:02,345` or `00:01:02.345`.
fn time_ms(text: &str) -> i64 {
    let (clock, millis) = text.trim().split_once([',', '.']).unwrap();
    let seconds = clock.split(':').fold(0, |sum, part| sum * 60 + part.parse::<i64>().unwrap());
    assert_eq!(millis.len(), 3, "{text}");
    seconds * 1_000 + millis.parse::<i64>().unwrap()
}

/// Blocks with a time line, whatever stands before it.
fn cues(file: &str) -> Vec<Cue> {
    let cue = |block: &str| {
        let (at, times) = block.lines().enumerate().find(|(_, line)| line.contains(" --> "))?;
        let (start, end) = times.split_once(" --> ").unwrap();
        let text = block.lines().skip(at + 1).collect::<Vec<_>>().join(" ");
        Some(Cue { start_ms: time_ms(start), end_ms: time_ms(end), text })
    };
    file.replace("\r\n", "\n").split("\n\n").filter_map(cue).collect()
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn they_follow_the_merged_file() {
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let sentences = ["The keeper lit the lamp.", "\"Who is there?\" he asked, and held his breath.", "Nobody < answered & nobody > came."];
    let chunks: Vec<_> = sentences.iter().map(|text| json!({"text": text, "pause_after_ms": 700})).collect();
    let body = json!({"chunks": chunks, "voice_id": client.preset(0).await});
    let task = client.submit("/api/generate/clone-chunked", &body).await;
    let job = client.completed(&task).await;
    let merged = &job["result"];
    let duration_ms = merged["duration_ms"].as_i64().unwrap();

    let srt = client.get(&format!("/api/generations/{task}/subtitles.srt")).await;
    assert!(srt.expect(200).header("content-type").unwrap().starts_with("application/x-subrip"));
    let vtt = client.get(&format!("/api/generations/{task}/subtitles.vtt")).await;
    assert!(vtt.expect(200).header("content-type").unwrap().starts_with("text/vtt"));
    let srt = String::from_utf8(srt.body.to_vec()).unwrap();
    let vtt = String::from_utf8(vtt.body.to_vec()).unwrap();
    assert!(vtt.starts_with("WEBVTT\n"), "{vtt}");
    assert!(srt.starts_with("1\n") || srt.starts_with("1\r\n"), "{srt}");

    let srt = cues(&srt);
    // WebVTT wants `<`, `>` and `&` escaped in text; SubRip knows no escapes.
    let unescaped = vtt.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    assert!(!vtt.contains("< answered & "), "{vtt}");
    let vtt = cues(&unescaped);
    assert_eq!(srt, vtt, "both tell the same");

    let told = srt.iter().map(|cue| cue.text.as_str()).collect::<Vec<_>>().join(" ");
    assert_eq!(words(&told), words(&sentences.join(" ")));
    let mut before = 0;
    for cue in &srt {
        // A cue is shown for a second at least, the last one also where the file ends before.
        let duration_ms = duration_ms.max(cue.start_ms + 1_000);
        assert!(
            before <= cue.start_ms && cue.start_ms < cue.end_ms && cue.end_ms <= duration_ms,
            "{cue:?} after {before} in {duration_ms}"
        );
        before = cue.end_ms;
    }
    // A cue begins while its words are heard; it may stay through the pause behind them, but not into what comes next.
    let chunks = merged["chunks"].as_array().unwrap();
    assert_eq!(chunks.len(), sentences.len());
    for (place, sentence) in sentences.into_iter().enumerate() {
        let start = chunks[place]["start_ms"].as_i64().unwrap();
        let end = chunks[place]["end_ms"].as_i64().unwrap();
        let next = chunks.get(place + 1).map_or(i64::MAX, |chunk| chunk["start_ms"].as_i64().unwrap());
        let within: Vec<_> = srt.iter().filter(|cue| (start..end).contains(&cue.start_ms) && cue.end_ms <= next).collect();
        let told = within.iter().map(|cue| cue.text.as_str()).collect::<Vec<_>>().join(" ");
        assert_eq!(words(&told), words(sentence), "{start} to {end}, next at {next}");
    }
}
