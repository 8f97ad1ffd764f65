//! Kanji as kana: eSpeak NG reads kana only, so text with kanji goes through `mecab` first.
//!
//! MeCab splits the text into words with their pronunciation; here they become phrases with spaces between, each character with its
//! place in the request. Only `run` does I/O. It may not know voices or samples.

use std::io::{self, Read as _, Write as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::sayable::Sayable;

/// It answers within some 20 ms.
const LIMIT: Duration = Duration::from_secs(10);
const ASK_EVERY: Duration = Duration::from_millis(20);

/// Surface, pronunciation (field 8 of the IPA dictionary) and the two first parts of speech, one word a line.
const KNOWN_WORD: &str = r"--node-format=%m\t%f[8]\t%f[0]\t%f[1]\n";
const UNKNOWN_WORD: &str = r"--unk-format=%m\t\t%f[0]\t%f[1]\n";
const END: &str = r"--eos-format=\n";

#[derive(Debug)]
pub(super) enum ReadingError {
    Stopped,
    /// Neither mecab nor its dictionary can be used here.
    NotInstalled(String),
    Failed(String),
}

/// Han characters and the marks that only stand for them.
pub(super) fn has_kanji(text: &str) -> bool {
    text.chars().any(|c| matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}' | '々' | '〆'))
}

/// The same text in katakana.
pub(super) fn reading(mecab: &Path, say: &Sayable, wanted: &mut dyn FnMut() -> ControlFlow<()>) -> Result<Sayable, ReadingError> {
    let output = run(mecab, &say.text, wanted)?;
    Ok(kana(say, &output))
}

fn kana(say: &Sayable, words: &str) -> Sayable {
    let chars: Vec<char> = say.text.chars().collect();
    let mut out = Sayable::default();
    let mut at = 0;
    for line in words.lines() {
        let mut fields = line.split('\t');
        let surface = fields.next().unwrap_or_default();
        let pronunciation = fields.next().unwrap_or_default();
        let (class, subclass) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        if surface.is_empty() {
            continue;
        }
        // MeCab drops blanks between words.
        while at < chars.len() && !surface.starts_with(chars[at]) {
            out.push(chars[at], say.origins[at]);
            at += 1;
        }
        if starts_phrase(class, subclass) && out.text.chars().next_back().is_some_and(|last| !last.is_whitespace()) {
            out.push(' ', say.origins[at.min(chars.len().saturating_sub(1))]);
        }
        let length = surface.chars().count().min(chars.len() - at);
        let spoken = if is_kana(pronunciation) { pronunciation } else { surface };
        let spoken_length = spoken.chars().count();
        for (index, c) in spoken.chars().enumerate() {
            if length > 0 {
                out.push(c, say.origins[at + index * length / spoken_length]);
            }
        }
        at += length;
    }
    for (c, origin) in chars.iter().zip(&say.origins).skip(at) {
        out.push(*c, *origin);
    }
    out
}

/// Particles, endings, auxiliaries and punctuation lean on the word before.
fn starts_phrase(class: &str, subclass: &str) -> bool {
    !matches!(class, "助詞" | "助動詞" | "記号") && !matches!(subclass, "接尾" | "非自立")
}

fn is_kana(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| matches!(c, '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30ff}'))
}

fn run(mecab: &Path, text: &str, wanted: &mut dyn FnMut() -> ControlFlow<()>) -> Result<String, ReadingError> {
    let failed = |error: io::Error| ReadingError::Failed(format!("mecab: {error}"));
    let mut command = Command::new(mecab);
    command.args([KNOWN_WORD, UNKNOWN_WORD, END]).env("LC_ALL", "C.UTF-8");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| ReadingError::NotInstalled(error.to_string()))?;
    let (Some(mut input), Some(mut output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(ReadingError::Failed("mecab has no pipes".to_owned()));
    };
    // One line in: blanks keep their place, and the text is far smaller than what a pipe takes at once.
    let line = text.replace(['\n', '\r'], " ") + "\n";
    let (sender, answer) = mpsc::sync_channel(1);
    let exchange = move || {
        let mut words = String::new();
        let exchanged = input.write_all(line.as_bytes()).and_then(|()| {
            drop(input);
            output.read_to_string(&mut words)
        });
        let _ = sender.send(exchanged.map(|_| words));
    };
    if let Err(error) = std::thread::Builder::new().name("mecab".to_owned()).spawn(exchange) {
        let _ = child.kill();
        let _ = child.wait();
        return Err(failed(error));
    }
    #[allow(clippy::disallowed_methods, reason = "a limit on a process, counted from here")]
    let started = Instant::now();
    let words = loop {
        match answer.recv_timeout(ASK_EVERY) {
            Ok(words) => break words,
            Err(RecvTimeoutError::Disconnected) => break Err(io::Error::other("its reader is gone")),
            Err(RecvTimeoutError::Timeout) if wanted().is_break() => break Err(io::ErrorKind::Interrupted.into()),
            Err(RecvTimeoutError::Timeout) if started.elapsed() > LIMIT => break Err(io::ErrorKind::TimedOut.into()),
            Err(RecvTimeoutError::Timeout) => {}
        }
    };
    // After an answer it has ended by itself.
    if words.is_err() {
        let _ = child.kill();
    }
    let ended = child.wait().map_err(failed)?;
    match words {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(ReadingError::Stopped),
        Err(error) if ended.success() => Err(failed(error)),
        Ok(words) if ended.success() => Ok(words),
        // It starts, then fails: its dictionary is a package of its own.
        _ => Err(ReadingError::NotInstalled(format!("mecab ended with {ended}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_phrases_of_kana_with_their_places() {
        let say = Sayable { text: "文章を  話します。".to_owned(), origins: (10..20).collect() };
        let words =
            "文章\tブンショー\t名詞\t一般\nを\tヲ\t助詞\t格助詞\n話し\tハナシ\t動詞\t自立\nます\tマス\t助動詞\t*\n。\t。\t記号\t句点\n\n";
        let kana = kana(&say, words);
        assert_eq!(kana.text, "ブンショーヲ  ハナシマス。");
        assert_eq!(kana.origin(0..6), Some(10..13), "the first phrase is the first three characters");
        assert_eq!(kana.origin(8..13), Some(15..19));
        assert_eq!(kana.text.chars().count(), kana.origins.len());
    }

    #[test]
    fn what_mecab_does_not_know_stays_as_it_is() {
        let say = Sayable { text: "2024年ABC".to_owned(), origins: (0..8).collect() };
        let spoken = kana(&say, "2024\t\t名詞\t数\n年\tネン\t名詞\t接尾\nABC\t\t名詞\t固有名詞\n");
        assert_eq!(spoken.text, "2024ネン ABC");
        // Whatever it answers, no character of the text is lost.
        assert_eq!(kana(&say, "").text, say.text);
        assert_eq!(kana(&say, "zzz\tゼ\t名詞\t一般\n").text.chars().filter(|c| *c != ' ').count(), say.chars());
    }

    #[test]
    fn kanji_are_told_from_kana() {
        assert!(has_kanji("これは本です") && has_kanji("人々") && has_kanji("𠮟る"));
        assert!(!has_kanji("これはホンです。ABC 123 ー"));
    }
}
