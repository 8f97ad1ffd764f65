//! Texts without a place to cut: the chunks stay within their limit, none of the text is lost, and it is spoken to the end.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use tests::{Client, TestServer, script};

const CHARS: usize = 100_000;
const MAX_CHUNK_CHARS: usize = 250;

fn without_spaces(text: &str) -> String {
    text.split_whitespace().collect()
}

/// Each chunk within the limit; together the text.
fn covers(chunks: &Value, text: &str) {
    let chunks: Vec<&str> = chunks.as_array().unwrap().iter().map(|chunk| chunk["text"].as_str().unwrap()).collect();
    let longest = chunks.iter().map(|chunk| chunk.chars().count()).max().unwrap();
    assert!(longest <= MAX_CHUNK_CHARS, "{longest} characters in one chunk");
    assert!(chunks.len() >= CHARS / MAX_CHUNK_CHARS, "{}", chunks.len());
    assert!(without_spaces(&chunks.concat()) == without_spaces(text), "the chunks are not the text");
}

async fn split(client: &Client, text: &str) -> Value {
    let answer = client.post("/api/text/split", &json!({"text": text, "max_chars": MAX_CHUNK_CHARS})).await;
    let split = answer.expect(200).json();
    assert_eq!(split["count"].as_u64().unwrap() as usize, split["chunks"].as_array().unwrap().len());
    split["chunks"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn words_without_punctuation_are_spoken_to_the_end() {
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let mut text = String::new();
    for number in 0.. {
        if text.len() >= CHARS {
            break;
        }
        text.push_str(&format!("wave {number} "));
    }
    covers(&split(&client, &text).await, &text);
    // Fast speech: what counts here is the text, not an hour of sound.
    let body = json!({"text": text, "voice_id": client.preset(0).await, "max_chunk_chars": MAX_CHUNK_CHARS, "speed": 4});
    let task = client.submit("/api/generate/clone-chunked", &body).await;
    let job = client.completed(&task).await;
    assert_eq!(job["chunks_done"], job["chunks_total"]);
    let generation = client.get(&format!("/api/generations/{task}")).await.expect(200).json();
    covers(&generation["chunks"], &text);
    assert_eq!(generation["text"].as_str().unwrap(), text, "the text as it was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_letter_is_torn_where_there_are_no_words() {
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    for (what, unit) in [("letters", "a"), ("Chinese", "海上有一座灯塔"), ("Thai", "ประภาคารริมทะเล"), ("families", "👨‍👩‍👧‍👦")]
    {
        let text: String = unit.chars().cycle().take(CHARS / unit.chars().count() * unit.chars().count()).collect();
        eprintln!("{what}");
        let chunks = split(&client, &text).await;
        covers(&chunks, &text);
        if what == "families" {
            // One family is one grapheme of seven code points.
            for chunk in chunks.as_array().unwrap() {
                assert_eq!(chunk["text"].as_str().unwrap().chars().count() % unit.chars().count(), 0, "{chunk}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn places_of_chunks_point_into_the_text() {
    let server = TestServer::scripted(script::at_once()).await;
    let client = server.client();
    let text = "Dr. Ames paid 3.50 for a map. „Wohin?“ fragte er.  Nobody answered: 海很静。船走了。";
    let answer = client.post("/api/text/split", &json!({"text": text, "max_chars": 40, "min_chars": 1})).await;
    let split = answer.expect(200).json();
    let letters: Vec<char> = text.chars().collect();
    for chunk in split["chunks"].as_array().unwrap() {
        let place = |name: &str| chunk[name].as_u64().unwrap() as usize;
        let there: String = letters[place("start")..place("end")].iter().collect();
        assert_eq!(there.trim(), chunk["text"].as_str().unwrap().trim());
        assert_eq!(place("chars"), chunk["text"].as_str().unwrap().chars().count());
    }
    let sentences = split["sentences"].to_string();
    assert!(sentences.contains("Dr. Ames paid 3.50 for a map."), "neither a title nor a decimal ends a sentence: {sentences}");
}
