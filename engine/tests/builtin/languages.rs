//! Every language that is offered is spoken, and spoken as what it is.

use engine::builtin::{BuiltinConfig, BuiltinEngine, BuiltinVoice, Installation};
use engine::speech::{EngineError, Speech};

use super::installed::{host_program, installed, mecab_installed, request, seconds, speak};

/// Language, sentence, syllables. A sentence that is spelled, or whose script is not read, is far from its syllables.
const SENTENCES: &[(&str, &str, u32)] = &[
    ("en-US", "The weather is nice today, and we go for a walk.", 13),
    ("en-GB", "The weather is nice today, and we go for a walk.", 13),
    ("zh", "你好世界。今天天气很好，我们去散步。", 15),
    ("ja", "きょうは てんきが いいので、さんぽに いきます。", 20),
    ("ko", "오늘은 날씨가 좋아서 산책을 갑니다.", 14),
    ("de", "Das Wetter ist heute schön, und wir gehen spazieren.", 13),
    ("fr", "Il fait beau aujourd'hui, et nous allons nous promener.", 14),
    ("ru", "Сегодня хорошая погода, и мы идём гулять.", 15),
    ("pt-BR", "O tempo está bom hoje, e nós vamos passear.", 14),
    ("pt-PT", "O tempo está bom hoje, e nós vamos passear.", 14),
    ("es", "Hoy hace buen tiempo y vamos a dar un paseo.", 16),
    ("it", "Oggi il tempo è bello e andiamo a fare una passeggiata.", 19),
];

/// Languages whose numbers eSpeak NG does not know.
const WITHOUT_NUMBERS: &[(&str, &str)] =
    &[("cv", "чӑваш"), ("he", "שלום"), ("nog", "ногай"), ("qya", "elen"), ("sjn", "govannen"), ("tk", "salam")];

fn level_db(speech: &Speech) -> f32 {
    10.0 * (speech.samples.iter().map(|s| s * s).sum::<f32>() / speech.samples.len() as f32).log10()
}

#[test]
fn the_main_languages_are_read_and_not_spelled() {
    let Some(installed) = installed("the_main_languages_are_read_and_not_spelled") else { return };
    let mut engine = installed.engine();
    for &(language, sentence, syllables) in SENTENCES {
        let speech = speak(&mut engine, &request(sentence, language, &BuiltinVoice::default())).unwrap();
        let each = seconds(&speech) / f64::from(syllables);
        eprintln!(
            "{language:6} {:5.2} s, {each:.2} s a syllable, {:6.1} dB, {} words",
            seconds(&speech),
            level_db(&speech),
            speech.words.len()
        );
        assert!((0.12..0.36).contains(&each), "{language}: {each} s a syllable");
        assert!(level_db(&speech) > -30.0, "{language} is silent");
        assert!(!speech.words.is_empty(), "{language} has no words");
        for word in &speech.words {
            let text: String = sentence.chars().skip(word.char_start as usize).take(word.char_len as usize).collect();
            assert_eq!(text, word.word, "{language}");
        }
    }
}

#[test]
fn every_language_of_the_list_speaks() {
    let Some(installed) = installed("every_language_of_the_list_speaks") else { return };
    let languages = installed.installation.languages();
    assert!(languages.len() > 100, "{}", languages.len());
    let mut engine = installed.engine();
    for language in &languages {
        let text = WITHOUT_NUMBERS.iter().find(|(tag, _)| *tag == language.tag).map_or("1 2 3", |(_, text)| *text);
        let speech = speak(&mut engine, &request(text, &language.tag, &BuiltinVoice::default())).unwrap();
        assert!(level_db(&speech) > -40.0, "{} ({}) is silent", language.tag, language.name);
    }
    for tag in ["en-US", "en-GB", "zh", "ja", "ko", "de", "fr", "ru", "pt-BR", "pt-PT", "es", "it"] {
        assert!(languages.iter().any(|language| language.tag == tag), "{tag} is not offered");
    }
}

#[test]
fn an_unknown_language_is_refused_with_the_nearest() {
    let Some(installed) = installed("an_unknown_language_is_refused_with_the_nearest") else { return };
    let refused = speak(&mut installed.engine(), &request("hello", "xx-YY", &BuiltinVoice::default()));
    let Err(EngineError::Refused(message)) = refused else { panic!("{refused:?}") };
    assert!(message.contains("xx-YY") && message.contains("the nearest is"), "{message}");
}

#[test]
fn kanji_are_read_with_the_times_of_the_characters() {
    let test = "kanji_are_read_with_the_times_of_the_characters";
    let (Some(installed), true) = (installed(test), mecab_installed(test)) else { return };
    let mut engine = installed.engine();
    let kanji = speak(&mut engine, &request("日本語の文章を話します。", "ja", &BuiltinVoice::default())).unwrap();
    let kana = speak(&mut engine, &request("ニホンゴノ ブンショーヲ ハナシマス。", "ja", &BuiltinVoice::default())).unwrap();
    assert_eq!(kanji.samples, kana.samples);
    let words: Vec<(&str, u32)> = kanji.words.iter().map(|word| (word.word.as_str(), word.char_start)).collect();
    assert_eq!(words, [("日本語の", 0), ("文章を", 4), ("話します", 7)]);
}

#[test]
fn without_mecab_kana_are_spoken_and_kanji_name_the_command() {
    let Some(installed) = installed("without_mecab_kana_are_spoken_and_kanji_name_the_command") else { return };
    let installation = Installation::new(BuiltinConfig {
        host_program: Some(host_program()),
        mecab_program: installed.folder.path().join("no-mecab"),
        ..BuiltinConfig::new(installed.folder.path().join("variants"))
    });
    let mut engine = BuiltinEngine::new(installation);
    assert!(speak(&mut engine, &request("これは テストです。", "ja", &BuiltinVoice::default())).is_ok());
    assert!(speak(&mut engine, &request("今天天气很好。", "zh", &BuiltinVoice::default())).is_ok(), "hanzi need no mecab");
    let refused = speak(&mut engine, &request("これは日本語です。", "ja", &BuiltinVoice::default()));
    let Err(EngineError::Unavailable { what, command }) = refused else { panic!("{refused:?}") };
    assert!(what == "mecab" && command.contains("mecab"), "{what}: {command}");
}
