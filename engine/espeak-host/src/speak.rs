//! Answers one request with libespeak-ng: a list of its voices, or one utterance as samples and events.
//!
//! Pure in the sense of the wire: a request in, the bytes of the reply out. It may not know in which process it runs.

use std::path::Path;

use crate::library::{Espeak, LibraryEvent, Parameter};
use crate::wire::{self, ErrorCode, Event, EventKind, Reply, Request, Utterance, Voice, VoiceLanguage};

/// In bytes; voice names become file names, and the library keeps them in short buffers.
const MAX_VOICE_BYTES: usize = 100;

/// `espeak_EVENT_TYPE`.
const EVENT_WORD: i32 = 1;
const EVENT_SENTENCE: i32 = 2;
const EVENT_END: i32 = 5;

pub(crate) fn answer(espeak: &Espeak, request: &Request) -> Vec<u8> {
    let made = match request {
        Request::Voices {} => voices(espeak),
        Request::Speak(utterance) => speak(espeak, utterance),
    };
    made.unwrap_or_else(|(code, message)| wire::error(code, message))
}

/// The request in a frame, or the reply that says what is wrong with it.
pub(crate) fn parse(body: &[u8]) -> Result<Request, Vec<u8>> {
    let refuse = |message: String| wire::error(ErrorCode::BadRequest, message);
    let request: Request = serde_json::from_slice(body).map_err(|error| refuse(error.to_string()))?;
    if let Request::Speak(utterance) = &request {
        check(utterance).map_err(|message| refuse(message.to_owned()))?;
    }
    Ok(request)
}

fn check(utterance: &Utterance) -> Result<(), &'static str> {
    let voice = &utterance.voice;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '+' | '-' | '_' | '.');
    if voice.is_empty() || voice.len() > MAX_VOICE_BYTES || !voice.chars().all(plain) || voice.contains("..") || voice.starts_with('/') {
        return Err("voice is not the name of a voice");
    }
    if utterance.text.contains('\0') {
        return Err("text holds a zero character");
    }
    if !(80..=450).contains(&utterance.rate_wpm) {
        return Err("rate_wpm is not within 80 to 450");
    }
    if !(0..=100).contains(&utterance.pitch) || !(0..=100).contains(&utterance.range) || !(0..=200).contains(&utterance.volume) {
        return Err("pitch, range or volume is out of range");
    }
    Ok(())
}

type Answer = Result<Vec<u8>, (ErrorCode, String)>;

fn voices(espeak: &Espeak) -> Answer {
    let mut voices: Vec<Voice> = espeak
        .voices()
        .map_err(|message| (ErrorCode::Failed, message))?
        .into_iter()
        .map(|voice| {
            let mut languages: Vec<VoiceLanguage> =
                voice.languages.into_iter().map(|(priority, tag)| VoiceLanguage { tag, priority }).collect();
            languages.sort_by_key(|language| language.priority);
            Voice { identifier: voice.identifier, name: voice.name, languages }
        })
        .collect();
    // The library lists them in the order in which the file system does.
    voices.sort_by(|a, b| a.identifier.cmp(&b.identifier));
    Ok(wire::encode(&Reply::Voices { voices }, &[]))
}

fn speak(espeak: &Espeak, utterance: &Utterance) -> Answer {
    let failed = |message: String| (ErrorCode::Failed, message);
    let known = variant_exists(espeak, &utterance.voice) && espeak.set_voice(&utterance.voice).map_err(failed)?;
    if !known {
        return Err((ErrorCode::UnknownVoice, format!("no voice {:?}", utterance.voice)));
    }
    espeak.set(Parameter::RateWpm, utterance.rate_wpm).map_err(failed)?;
    espeak.set(Parameter::Pitch, utterance.pitch).map_err(failed)?;
    espeak.set(Parameter::Range, utterance.range).map_err(failed)?;
    espeak.set(Parameter::Volume, utterance.volume).map_err(failed)?;
    let spoken = espeak.speak(&utterance.text).map_err(failed)?;
    if spoken.cut {
        return Err((ErrorCode::TooLong, "the speech is longer than the limit".to_owned()));
    }
    let events = spoken.events.iter().filter_map(event).collect();
    let header = Reply::Speech { sample_rate_hz: espeak.sample_rate_hz, samples: spoken.samples.len() as u64, events };
    Ok(wire::encode(&header, &spoken.samples))
}

/// The library speaks with the plain voice, without a word, when the variant is not there.
fn variant_exists(espeak: &Espeak, voice: &str) -> bool {
    match voice.split_once('+') {
        None => true,
        Some((_, variant)) => Path::new(&espeak.data_path).join("voices/!v").join(variant).is_file(),
    }
}

fn event(event: &LibraryEvent) -> Option<Event> {
    let kind = match event.kind {
        EVENT_WORD => EventKind::Word,
        EVENT_SENTENCE => EventKind::Sentence,
        EVENT_END => EventKind::End,
        _ => return None,
    };
    // The library counts characters from 1.
    let text_position = u32::try_from(event.text_position - 1).unwrap_or(0);
    let length = if kind == EventKind::Word { u32::try_from(event.length).unwrap_or(0) } else { 0 };
    Some(Event { kind, text_position, length, sample: u64::try_from(event.sample).unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn body(voice: &str, rate_wpm: i32) -> Vec<u8> {
        let request = serde_json::json!({
            "op": "speak", "voice": voice, "text": "hi", "rate_wpm": rate_wpm, "pitch": 50, "range": 50, "volume": 100
        });
        serde_json::to_vec(&request).unwrap()
    }

    #[test]
    fn only_names_below_the_data_folder_are_voices() {
        assert!(parse(&body("gmw/en-US+calm", 175)).is_ok());
        for voice in ["", "/etc/passwd", "../x", "a b", "x\\y", &"a".repeat(101)] {
            assert!(parse(&body(voice, 175)).is_err(), "{voice:?} was taken");
        }
    }

    #[test]
    fn numbers_out_of_range_and_unknown_fields_are_refused() {
        assert!(parse(&body("en", 79)).is_err());
        assert!(parse(&body("en", 451)).is_err());
        assert!(parse(br#"{"op":"voices","x":1}"#).is_err());
        assert!(parse(br#"{"op":"quit"}"#).is_err());
        assert!(parse(b"\xff").is_err());
    }
}
