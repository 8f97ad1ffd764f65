//! Subtitles: limits that hold for any text and any times, breaks as a person would set them, and text that is never syntax.
#![allow(clippy::unwrap_used)]

use audio::merge::MergedChunk;
use audio::subtitles::{Cue, CueRules, SpokenChunk, TimedWord, cues, write_srt, write_vtt};
use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

/// A chunk whose spaced words are timed evenly.
fn spoken(text: &str, start_ms: u64, end_ms: u64) -> SpokenChunk {
    let chars: Vec<char> = text.chars().collect();
    let starts: Vec<usize> = (0..chars.len()).filter(|&i| !chars[i].is_whitespace() && (i == 0 || chars[i - 1].is_whitespace())).collect();
    let step = (end_ms - start_ms) / starts.len().max(1) as u64;
    let words = starts
        .iter()
        .enumerate()
        .map(|(n, &at)| {
            let len = chars[at..].iter().take_while(|c| !c.is_whitespace()).count();
            let start_ms = start_ms + step * n as u64;
            TimedWord { char_start: at as u32, char_len: len as u32, start_ms, end_ms: start_ms + step * 9 / 10 }
        })
        .collect();
    SpokenChunk { text: text.to_owned(), start_ms, end_ms, words, ..SpokenChunk::default() }
}

fn lines(cues: &[Cue]) -> Vec<&str> {
    cues.iter().map(|c| c.text.as_str()).collect()
}

fn squeeze(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect()
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-zA-Zéß]{1,12}[,.!?]?",
        2 => "[一-龥ぁ-んァ-ヶ]{1,30}[。、！]?",
        1 => "[ก-ฮ]{1,50}",
        1 => "https://[a-z]{30,90}",
        1 => Just("👩‍👩‍👧‍👦".to_owned()),
        1 => "[«(「]?[א-ת]{1,6}[»)」]?",
        1 => "\\PC{1,5}",
        1 => "[a\u{a0}\u{202f}\u{301} «?]{1,6}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn every_cue_keeps_the_rules_and_no_text_is_lost(
        chunks in prop::collection::vec(
            (
                prop::collection::vec(word(), 0..60),
                0u64..40_000,
                prop::collection::vec((0u32..300, 0u32..20, 0u64..80_000, 0u64..3_000), 0..30),
                0u64..900,
            ),
            0..4,
        ),
        columns in prop::sample::select(vec![42usize, 20, 60]),
    ) {
        let mut at = 0;
        let spoken: Vec<SpokenChunk> = chunks
            .iter()
            .map(|(words, ms, timed, overlap)| {
                let start_ms = at;
                at = (at + ms).saturating_sub(*overlap);
                // Times out of order, out of range, overlapping: what a broken engine might send.
                let words_timed = timed
                    .iter()
                    .map(|&(char_start, char_len, from, len)| TimedWord { char_start, char_len, start_ms: from, end_ms: from + len })
                    .collect();
                SpokenChunk { text: words.join(" "), start_ms, end_ms: start_ms + ms, words: words_timed, ..SpokenChunk::default() }
            })
            .collect();
        let rules = CueRules { max_line_columns: columns, ..CueRules::default() };
        let all = cues(&spoken, &rules);
        for cue in &all {
            prop_assert!(cue.start_ms < cue.end_ms && cue.end_ms - cue.start_ms <= rules.max_cue_ms, "{:?}", cue);
            prop_assert!(cue.text.lines().count() <= 2 && !cue.text.is_empty(), "{:?}", cue);
            for line in cue.text.lines() {
                prop_assert!(line.width() <= columns && line.trim() == line, "{:?} has {} columns", line, line.width());
            }
        }
        prop_assert!(all.windows(2).all(|w| w[0].end_ms <= w[1].start_ms));
        let text: String = spoken.iter().map(|c| c.text.as_str()).collect();
        prop_assert_eq!(squeeze(&all.iter().map(|c| c.text.as_str()).collect::<String>()), squeeze(&text));
        for write in [write_srt, write_vtt] {
            let mut bytes = Vec::new();
            write(&all, &mut bytes).unwrap();
            let file = String::from_utf8(bytes).unwrap();
            prop_assert_eq!(file.matches("-->").count(), all.len());
        }
    }
}

#[test]
fn sentences_and_clauses_end_cues() {
    let text = "The keeper climbed the hundred and twelve steps every evening, and he counted them. Nobody had asked him to. \
                When the lamp was lit, he sat down at the window and wrote what the sea had said that day.";
    let all = cues(&[spoken(text, 500, 13_000)], &CueRules::default());
    assert_eq!(
        lines(&all),
        [
            "The keeper climbed the hundred and twelve\nsteps every evening, and he counted them.",
            "Nobody had asked him to.",
            "When the lamp was lit,",
            "he sat down at the window and wrote\nwhat the sea had said that day.",
        ]
    );
    assert_eq!(all[0].start_ms, 500);
}

#[test]
fn words_bring_their_own_times() {
    let mut chunk = spoken("one two three", 0, 9_000);
    chunk.words = vec![
        TimedWord { char_start: 8, char_len: 5, start_ms: 5_000, end_ms: 5_600 },
        TimedWord { char_start: 0, char_len: 3, start_ms: 1_000, end_ms: 1_400 },
    ];
    // A pause of three seconds ends a cue as a full stop does; "two" has no time of its own and gets what lies between.
    let all = cues(&[chunk], &CueRules { max_cue_ms: 4_500, ..CueRules::default() });
    assert_eq!(lines(&all), ["one two", "three"]);
    assert_eq!((all[0].start_ms, all[1].start_ms, all[1].end_ms), (1_000, 5_000, 6_000));
}

#[test]
fn chinese_and_japanese_count_double_and_keep_their_punctuation() {
    let text = "昔々、海辺の小さな村に、一人の灯台守が住んでいました。彼は毎晩、百十二段の階段を登り、その数を数えました。";
    let chunk = SpokenChunk { text: text.to_owned(), start_ms: 0, end_ms: 9_000, ..SpokenChunk::default() };
    let all = cues(&[chunk], &CueRules::default());
    assert_eq!(
        lines(&all),
        ["昔々、海辺の小さな村に、\n一人の灯台守が住んでいました。", "彼は毎晩、百十二段の階段を登り、\nその数を数えました。"]
    );
    for line in all.iter().flat_map(|c| c.text.lines()) {
        assert!(line.width() <= 42);
    }
    // 27 and 26 characters, all of one width: time goes with them.
    assert!((4_400..4_800).contains(&all[1].start_ms), "{}", all[1].start_ms);
}

#[test]
fn french_spaces_do_not_break() {
    let chunk = spoken("Il demanda : « Où est donc passé le gardien du phare ? » et personne ne répondit !", 0, 5_000);
    let all = cues(&[chunk], &CueRules::default());
    for line in all.iter().flat_map(|c| c.text.lines()) {
        assert!(!line.starts_with(['?', '!', ':', '»']) && !line.ends_with('«'), "{line}");
    }
}

#[test]
fn marks_are_hidden() {
    let mut chunk = spoken("Wait [pause:1s] here.", 0, 3_000);
    chunk.hidden_chars.push(5..15);
    assert_eq!(lines(&cues(&[chunk], &CueRules::default())), ["Wait here."]);
    let nothing = SpokenChunk { text: " \n\t ".to_owned(), end_ms: 1_000, ..SpokenChunk::default() };
    assert!(cues(&[nothing, SpokenChunk::default()], &CueRules::default()).is_empty());
}

#[test]
fn a_short_cue_stays_while_nothing_follows() {
    let chunks = [spoken("Yes.", 0, 300), spoken("No.", 500, 800), spoken("Maybe.", 5_000, 5_100)];
    let times: Vec<(u64, u64)> = cues(&chunks, &CueRules::default()).iter().map(|c| (c.start_ms, c.end_ms)).collect();
    assert_eq!(times, [(0, 500), (500, 1_500), (5_000, 6_000)]);
}

#[test]
fn words_move_with_their_chunk() {
    let chunk = MergedChunk { index: 3, start_ms: 10_000, end_ms: 12_000, start_sample: 0, end_sample: 0, trimmed_lead_ms: 150 };
    let word = |from, to| {
        let word = TimedWord::placed(0, 4, from..to, &chunk);
        (word.start_ms, word.end_ms)
    };
    assert_eq!(word(200, 450), (10_050, 10_300));
    assert_eq!(word(0, 100), (10_000, 10_000), "in the silence that was cut");
    assert_eq!(word(1_900, 9_000), (11_750, 12_000));
}

#[test]
fn text_is_never_syntax() {
    let cue = |start_ms, text: &str| Cue { start_ms, end_ms: start_ms + 1_500, text: text.to_owned() };
    let all = [cue(0, "a < b && b --> c"), cue(3_599_999, "<i>\n\n{\\an8}  \r\n1 <3"), cue(400 * 3_600_000, "tab\there\u{2028}\u{0}NUL")];
    let (mut srt, mut vtt) = (Vec::new(), Vec::new());
    write_srt(&all, &mut srt).unwrap();
    write_vtt(&all, &mut vtt).unwrap();
    assert_eq!(
        String::from_utf8(srt).unwrap(),
        "1\n00:00:00,000 --> 00:00:01,500\na < b && b → c\n\n\
         2\n00:59:59,999 --> 01:00:01,499\n<\u{2060}i>\n{\u{2060}\\an8}\n1 <3\n\n\
         3\n400:00:00,000 --> 400:00:01,500\ntab here\n NUL\n\n"
    );
    assert_eq!(
        String::from_utf8(vtt).unwrap(),
        "WEBVTT\n\n\
         00:00:00.000 --> 00:00:01.500\na &lt; b &amp;&amp; b --&gt; c\n\n\
         00:59:59.999 --> 01:00:01.499\n&lt;i&gt;\n{\\an8}\n1 &lt;3\n\n\
         400:00:00.000 --> 400:00:01.500\ntab here\n NUL\n\n"
    );
}
