//! The wire: what this program reads from stdin and writes to stdout. README.md is the specification; this file follows it.
//!
//! A frame is a `u32` (little endian) length in bytes and that many bytes of JSON. A speech header is followed by raw samples.
//! This file may not know what libespeak-ng is.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

/// Raised whenever an older client could misread a frame.
pub(crate) const PROTOCOL: u32 = 1;

/// Longest request frame that is read; a longer one ends the program, since what follows it cannot be found.
pub(crate) const MAX_REQUEST_BYTES: u32 = 256 * 1024;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    Speak(Utterance),
    Voices {},
}

/// What to speak and how; the numbers are libespeak-ng's own parameters.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Utterance {
    /// Voice file below `lang/` or `voices/`, optionally `+variant`: `gmw/en-US+calm`.
    pub(crate) voice: String,
    pub(crate) text: String,
    /// Words per minute, 80 to 450.
    pub(crate) rate_wpm: i32,
    /// 0 to 100, an octave down to an octave up; 50 is the voice's own.
    pub(crate) pitch: i32,
    /// 0 to 100: how far the melody moves; 50 is the voice's own.
    pub(crate) range: i32,
    /// 0 to 200, 100 is normal.
    pub(crate) volume: i32,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub(crate) enum Reply {
    Hello { protocol: u32, library: String, data_path: String, sample_rate_hz: u32 },
    Voices { voices: Vec<Voice> },
    Speech { sample_rate_hz: u32, samples: u64, events: Vec<Event> },
    Error { code: ErrorCode, message: String },
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Voice {
    pub(crate) identifier: String,
    pub(crate) name: String,
    /// Best first: the lowest priority number is the one the voice was made for.
    pub(crate) languages: Vec<VoiceLanguage>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct VoiceLanguage {
    pub(crate) tag: String,
    pub(crate) priority: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Event {
    pub(crate) kind: EventKind,
    /// First character of the word in the text, counted from 0, in characters.
    pub(crate) text_position: u32,
    /// In characters; 0 for other kinds than words.
    pub(crate) length: u32,
    /// Index of the first sample that belongs to it.
    pub(crate) sample: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EventKind {
    Word,
    Sentence,
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ErrorCode {
    /// libespeak-ng or its data is not on this machine.
    LibraryMissing,
    BadRequest,
    UnknownVoice,
    /// The speech would be longer than the limit.
    TooLong,
    /// libespeak-ng refused or crashed; the program goes on.
    Failed,
}

/// The next request, `None` when the client has closed its end.
pub(crate) fn read_request(input: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0u8; 4];
    match input.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_le_bytes(length);
    if length > MAX_REQUEST_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "request frame over the limit"));
    }
    let mut body = vec![0u8; length as usize];
    input.read_exact(&mut body)?;
    Ok(Some(body))
}

/// One reply frame, with the samples as little-endian `i16` behind it.
pub(crate) fn encode(reply: &Reply, samples: &[i16]) -> Vec<u8> {
    let header = serde_json::to_vec(reply).unwrap_or_default();
    let mut frame = Vec::with_capacity(4 + header.len() + samples.len() * 2);
    frame.extend_from_slice(&(header.len() as u32).to_le_bytes());
    frame.extend_from_slice(&header);
    for sample in samples {
        frame.extend_from_slice(&sample.to_le_bytes());
    }
    frame
}

pub(crate) fn write_frame(output: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    output.write_all(frame)?;
    output.flush()
}

pub(crate) fn error(code: ErrorCode, message: impl Into<String>) -> Vec<u8> {
    encode(&Reply::Error { code, message: message.into() }, &[])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_frame_is_read_back_and_the_end_is_none() {
        let mut bytes = 5u32.to_le_bytes().to_vec();
        bytes.extend_from_slice(b"hello");
        let mut input = bytes.as_slice();
        assert_eq!(read_request(&mut input).unwrap().unwrap(), b"hello");
        assert_eq!(read_request(&mut input).unwrap(), None);
    }

    #[test]
    fn a_frame_over_the_limit_or_cut_short_is_an_error() {
        assert!(read_request(&mut (MAX_REQUEST_BYTES + 1).to_le_bytes().as_slice()).is_err());
        assert!(read_request(&mut [9, 0, 0, 0, b'x'].as_slice()).is_err());
    }

    #[test]
    fn samples_follow_the_header_little_endian() {
        let frame = encode(&Reply::Voices { voices: Vec::new() }, &[1, -2]);
        let header_len = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
        assert_eq!(&frame[4..4 + header_len], br#"{"reply":"voices","voices":[]}"#);
        assert_eq!(&frame[4 + header_len..], &[1, 0, 254, 255]);
    }
}
