//! SubRip (SRT) and WebVTT text. It may not change times or lines; it only sees to it that no text is taken for syntax.

use std::borrow::Cow;
use std::io::{self, Write};

use super::Cue;

/// Writes SubRip: number, times with a decimal comma, text, empty line.
///
/// SubRip has no escapes. What players would swallow as markup (`<i>`, `{\an8}`) gets an invisible word joiner (U+2060) behind its
/// first character; `-->` becomes `→`; lines that are empty are left out.
pub fn write_srt(cues: &[Cue], writer: &mut dyn Write) -> io::Result<()> {
    for (i, cue) in cues.iter().enumerate() {
        writeln!(writer, "{}\n{} --> {}", i + 1, time(cue.start_ms, ','), time(cue.end_ms, ','))?;
        for line in lines(cue) {
            writeln!(writer, "{}", srt_line(&line))?;
        }
        writeln!(writer)?;
    }
    Ok(())
}

/// Writes WebVTT (W3C): header, times with a decimal point, text with `&`, `<` and `>` as character references.
pub fn write_vtt(cues: &[Cue], writer: &mut dyn Write) -> io::Result<()> {
    writeln!(writer, "WEBVTT\n")?;
    for cue in cues {
        writeln!(writer, "{} --> {}", time(cue.start_ms, '.'), time(cue.end_ms, '.'))?;
        for line in lines(cue) {
            writeln!(writer, "{}", line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"))?;
        }
        writeln!(writer)?;
    }
    Ok(())
}

/// An empty line would end the cue, a control character some players.
fn lines(cue: &Cue) -> impl Iterator<Item = Cow<'_, str>> {
    cue.text.split(['\n', '\r', '\u{2028}', '\u{2029}', '\u{85}', '\u{0b}', '\u{0c}']).map(str::trim).filter(|l| !l.is_empty()).map(
        |line| {
            if line.chars().any(char::is_control) { Cow::Owned(line.replace(char::is_control, " ")) } else { Cow::Borrowed(line) }
        },
    )
}

fn srt_line(line: &str) -> String {
    let line = line.replace("-->", "→");
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(c);
        let markup = match (c, chars.peek()) {
            ('<', Some(&next)) => next.is_alphabetic() || next == '/',
            ('{', Some(&next)) => next == '\\' || next.is_alphabetic(),
            _ => false,
        };
        if markup {
            out.push('\u{2060}');
        }
    }
    out
}

/// `HH:MM:SS,mmm`; more than 99 hours have more digits.
fn time(ms: u64, point: char) -> String {
    format!("{:02}:{:02}:{:02}{point}{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000)
}
