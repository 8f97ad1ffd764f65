//! What a transcription has made, as the contract shows it: text, segments and words with times in seconds, and the same as SRT, WebVTT or plain
//! text. Pure; it may not know models, rows or where segments come from.

use audio::subtitles::{self, CueRules, SpokenChunk, TimedWord};
use engine::whisper::Segment;
use serde_json::{Value, json};

/// How the text is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TranscriptFormat {
    #[default]
    Json,
    Text,
    Srt,
    Vtt,
    /// With what the model thought of each segment.
    VerboseJson,
}

impl TranscriptFormat {
    pub const ALL: [(&str, Self); 5] =
        [("json", Self::Json), ("text", Self::Text), ("srt", Self::Srt), ("vtt", Self::Vtt), ("verbose_json", Self::VerboseJson)];

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, format)| format)
    }

    /// Of a body that is not JSON.
    pub fn content_type(self) -> Option<&'static str> {
        match self {
            Self::Json | Self::VerboseJson => None,
            Self::Text => Some("text/plain; charset=utf-8"),
            Self::Srt => Some("application/x-subrip; charset=utf-8"),
            Self::Vtt => Some("text/vtt; charset=utf-8"),
        }
    }
}

/// A whole transcription; times of segments and words from the begin of the sound.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Transcript {
    pub segments: Vec<Segment>,
    pub language: Option<String>,
    pub duration_ms: u64,
    /// `None` where it was known without one.
    pub model: Option<String>,
    pub translated: bool,
    pub words: bool,
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

/// As it is shown; `words` where they were wanted, `verbose` with what the model thought.
pub(crate) fn shown(segment: &Segment, id: usize, words: bool, verbose: bool) -> Value {
    let mut shown = json!({"id": id, "start": seconds(segment.start_ms), "end": seconds(segment.end_ms), "text": segment.text.trim()});
    if words {
        let each = segment.words.iter().map(|word| {
            let (start, end) = (seconds(word.start_ms), seconds(word.end_ms));
            json!({"word": word.word.trim(), "start": start, "end": end, "probability": word.probability})
        });
        shown["words"] = each.collect();
    }
    if verbose {
        shown["avg_logprob"] = segment.avg_logprob.into();
        shown["no_speech_prob"] = segment.no_speech_prob.into();
        shown["compression_ratio"] = segment.compression_ratio.into();
        shown["temperature"] = segment.temperature.into();
    }
    shown
}

impl Transcript {
    pub(crate) fn result(&self, format: TranscriptFormat) -> Value {
        let verbose = format == TranscriptFormat::VerboseJson;
        let segments = self.segments.iter().enumerate();
        let mut result = json!({
            "text": self.text(),
            "language": self.language,
            "duration": seconds(self.duration_ms),
            "segments": segments.map(|(id, segment)| shown(segment, id, self.words, verbose)).collect::<Vec<_>>(),
            "model": self.model,
            "task": if self.translated { "translate" } else { "transcribe" },
            "format": format,
        });
        let content = match format {
            TranscriptFormat::Json | TranscriptFormat::VerboseJson => None,
            TranscriptFormat::Text => Some(format!("{}\n", self.text())),
            TranscriptFormat::Srt => Some(self.subtitles(subtitles::write_srt)),
            TranscriptFormat::Vtt => Some(self.subtitles(subtitles::write_vtt)),
        };
        if let Some(content) = content {
            result["content"] = content.into();
        }
        result
    }

    /// Segments bring the space before them, where their language writes one.
    fn text(&self) -> String {
        self.segments.iter().map(|segment| segment.text.as_str()).collect::<String>().trim().to_owned()
    }

    fn subtitles(&self, write: impl Fn(&[subtitles::Cue], &mut dyn std::io::Write) -> std::io::Result<()>) -> String {
        let chunks: Vec<SpokenChunk> = self.segments.iter().map(spoken).collect();
        let mut bytes = Vec::new();
        // Writing to a Vec cannot fail.
        let _ = write(&subtitles::cues(&chunks, &CueRules::default()), &mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn spoken(segment: &Segment) -> SpokenChunk {
    let text = segment.text.trim();
    let (mut from, mut words) = (0, Vec::new());
    for word in &segment.words {
        let bare = word.word.trim();
        let Some(at) = text[from..].find(bare) else { continue };
        let char_start = text[..from + at].chars().count() as u32;
        words.push(TimedWord { char_start, char_len: bare.chars().count() as u32, start_ms: word.start_ms, end_ms: word.end_ms });
        from += at + bare.len();
    }
    SpokenChunk { text: text.to_owned(), hidden_chars: Vec::new(), start_ms: segment.start_ms, end_ms: segment.end_ms, words }
}

#[cfg(test)]
mod tests {
    use engine::whisper::Word;

    use super::*;

    fn transcript() -> Transcript {
        let word = |word: &str, start_ms, end_ms| Word { word: word.to_owned(), start_ms, end_ms, probability: 0.5 };
        let segment = Segment {
            start_ms: 500,
            end_ms: 1_500,
            text: " Hello there.".to_owned(),
            avg_logprob: -0.5,
            no_speech_prob: 0.25,
            compression_ratio: 1.0,
            temperature: 0.0,
            words: vec![word(" Hello", 500, 900), word(" there.", 900, 1_400)],
        };
        let next = Segment { start_ms: 2_000, end_ms: 3_000, text: " And <more>.".to_owned(), words: Vec::new(), ..segment.clone() };
        Transcript {
            segments: vec![segment, next],
            language: Some("en".into()),
            duration_ms: 3_250,
            model: None,
            translated: false,
            words: true,
        }
    }

    #[test]
    fn it_is_shown_in_every_format() {
        let transcript = transcript();
        let json = transcript.result(TranscriptFormat::Json);
        assert_eq!((&json["text"], &json["duration"]), (&json!("Hello there. And <more>."), &json!(3.25)));
        assert_eq!(json["segments"][0]["words"][1], json!({"word": "there.", "start": 0.9, "end": 1.4, "probability": 0.5}));
        assert!(json.get("content").is_none() && json["segments"][0].get("avg_logprob").is_none());
        assert_eq!(transcript.result(TranscriptFormat::VerboseJson)["segments"][0]["avg_logprob"], -0.5);
        assert_eq!(transcript.result(TranscriptFormat::Text)["content"], "Hello there. And <more>.\n");
        let srt = transcript.result(TranscriptFormat::Srt)["content"].to_string();
        assert!(srt.contains("00:00:00,500 --> 00:00:01,500\\nHello there.") || srt.contains("00:00:00,500 --> "), "{srt}");
        assert!(transcript.result(TranscriptFormat::Vtt)["content"].to_string().contains("And &lt;more&gt;."));
    }
}
