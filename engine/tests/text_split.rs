//! Splitting: what every text must satisfy, whatever is in it, and what real texts come out as.
#![allow(clippy::unwrap_used)]

use engine::text::{Mode, Piece, Span, SplitConfig, parse, split, strip};
use proptest::prelude::*;
use unicode_segmentation::UnicodeSegmentation;

fn config(max_chars: usize, min_chars: usize) -> SplitConfig {
    SplitConfig { max_chars, min_chars, ..SplitConfig::default() }
}

/// The pieces' texts, none merged.
fn sentences(language: &str, text: &str) -> Vec<String> {
    let config = SplitConfig { language: Some(language.into()), min_chars: 0, ..SplitConfig::default() };
    let pieces = split(text, &config);
    check(text, &config, &pieces);
    pieces.into_iter().map(|piece| piece.text).collect()
}

fn without_space(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

fn marks(text: &str) -> Vec<String> {
    let mark = |span: Span<'_>| match span {
        Span::Text { .. } => None,
        Span::Pause { ms, .. } => Some(format!("pause {ms}")),
        Span::Voice { name, .. } => Some(format!("voice {name}")),
        Span::Language { tag, .. } => Some(format!("language {tag}")),
    };
    parse(text).into_iter().filter_map(mark).collect()
}

/// All that must hold for any text and any configuration.
fn check(text: &str, config: &SplitConfig, pieces: &[Piece]) {
    let chars: Vec<char> = text.chars().collect();
    let mut byte = 0;
    for piece in pieces {
        assert!(piece.byte_start >= byte, "out of order: {piece:?}");
        assert!(text[byte..piece.byte_start].trim().is_empty(), "lost in front of {piece:?}");
        let source = &text[piece.byte_start..piece.byte_end];
        assert_eq!(source.trim(), source);
        assert!(!source.is_empty());
        let shown: String =
            source.chars().map(|c| if c != '\t' && c.is_whitespace() && !" \u{A0}".contains(c) { '?' } else { c }).collect();
        assert!(shown.chars().zip(piece.text.chars()).all(|(a, b)| a == b || (a == '?' && b.is_whitespace())), "{source:?} {piece:?}");
        assert!(!piece.text.contains(['\n', '\r', '\u{2028}', '\u{2029}']));
        assert_eq!(piece.chars, piece.text.chars().count());
        assert_eq!(piece.char_end - piece.char_start, piece.chars);
        assert!(chars[piece.char_start..piece.char_end].iter().copied().eq(source.chars()));
        let one_mark = marks(source).len() == 1 && strip(source).is_empty();
        let one_escape = strip(source).starts_with(['[', '<', '\\']) && source.starts_with('\\');
        let one_grapheme = source.graphemes(true).count() == 1 && piece.chars <= 64;
        let fits = piece.chars <= config.max_chars;
        assert!(fits || one_mark || one_escape || one_grapheme, "{} chars, {} allowed: {piece:?}", piece.chars, config.max_chars);
        assert!(!piece.language.is_empty() && piece.language != "auto");
        byte = piece.byte_end;
    }
    assert!(text[byte..].trim().is_empty(), "lost at the end");
    assert!(pieces.last().is_none_or(|piece| piece.paragraph_end));
    assert_eq!(marks(text), pieces.iter().flat_map(|piece| marks(&piece.text)).collect::<Vec<_>>(), "a mark was cut");
    assert_eq!(without_space(&strip(text)), pieces.iter().map(|piece| without_space(&strip(&piece.text))).collect::<String>());
}

/// Text that looks for trouble: words, marks and halves of marks, quotes, list signs, accents, emoji, odd spaces.
fn troublesome() -> impl Strategy<Value = String> {
    let bit = prop_oneof![
        6 => "[a-z]{1,9}",
        2 => "[A-Z][a-z]{0,6}[.!?]{1,2}",
        4 => Just(" ".to_owned()),
        2 => prop::sample::select(vec![
            "[pause]", "[pause:1.5s]", "[pause:300ms]", "<break time=\"1s\"/>", "[voice:Ann B.]", "[lang:fr]", "[lang:auto]", "\\[pause]", "\\\\[pause]",
            "[pause", "<break", "[pause\n\n]", "[voice:A\n \nB]", "[pause:", "[", "]", "\\", "[[pause]]", "<", ">",
        ]).prop_map(str::to_owned),
        3 => prop::sample::select(vec![
            "\n", "\n\n", "\r\n\r\n", "\t", "\u{A0}", "\u{2028}", "\u{2029}", "\u{200B}", "\u{FEFF}", "\u{3000}", "...", "…", "\"", "'", "“", "”", "«", "»",
            "「", "」", "``", "(", ")", "。", "、", "！", "،", "؟", "।", "—", " - ", ", ", "; ", ": ", "1. ", "\n- ", "\n2) ", "3.50", "Dr. ", "e.g. ",
            "http://a.b/c?D=E", "a@b.co", "你好", "世界", "かな", "한국어", "नमस्ते", "مرحبا", "ไทย", "é", "e\u{301}", "\u{301}\u{302}", "👩\u{200D}👩\u{200D}👧",
            "🇩🇪", "🇩", "😀", "\u{200D}", "\0", "\u{7}", "Ⅷ", "ﬁ", "ß", "İ",
        ]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
        1 => "[a-z]{60,400}",
    ];
    prop::collection::vec(bit, 0..80).prop_map(|bits| bits.concat())
}

fn any_config() -> impl Strategy<Value = SplitConfig> {
    let language = prop::sample::select(vec![None, Some("auto"), Some("en"), Some("fr"), Some("ja"), Some("xx-YY"), Some("")]);
    let max_chars = prop_oneof![1 => 1_usize..12, 3 => 12_usize..400];
    (language, max_chars, 0_usize..80, any::<bool>()).prop_map(|(language, max_chars, min_chars, paragraph)| SplitConfig {
        language: language.map(str::to_owned),
        max_chars,
        min_chars,
        mode: if paragraph { Mode::Paragraph } else { Mode::Sentence },
        ..SplitConfig::default()
    })
}

/// Half of the default, or of `PROPTEST_CASES`: a case here is a whole text.
fn half_the_cases() -> ProptestConfig {
    let standard = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    ProptestConfig { cases: standard.cases / 2, ..standard }
}

proptest! {
    #![proptest_config(half_the_cases())]

    #[test]
    fn nothing_is_lost_or_doubled_or_too_long(text in troublesome(), config in any_config()) {
        let pieces = split(&text, &config);
        check(&text, &config, &pieces);
        prop_assert_eq!(pieces.is_empty(), text.trim().is_empty());
    }

    #[test]
    fn arbitrary_characters_are_no_danger(text in any::<String>(), config in any_config()) {
        check(&text, &config, &split(&text, &config));
    }

    #[test]
    fn a_piece_split_again_keeps_all_its_text(text in troublesome(), config in any_config()) {
        for piece in split(&text, &config).into_iter().take(12) {
            let again = split(&piece.text, &config);
            check(&piece.text, &config, &again);
        }
    }

    /// A pause is never alone where there is something to speak beside it.
    #[test]
    fn pauses_stay_with_words(words in prop::collection::vec("[a-z]{1,12}[.,]?", 3..60), pauses in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let mut words = words;
        for place in pauses {
            let at = place.index(words.len());
            if !words[at].starts_with('[') {
                words.insert(at, "[pause:1s]".to_owned());
            }
        }
        let text = words.join(" ");
        let config = config(60, 10);
        let pieces = split(&text, &config);
        check(&text, &config, &pieces);
        for (piece, neighbours) in pieces.iter().zip(1..) {
            let alone = strip(&piece.text).trim().is_empty();
            prop_assert!(!alone || (neighbours > 1 && neighbours < pieces.len()), "{:?}", pieces);
        }
    }
}

#[test]
fn english_abbreviations_initials_and_prices() {
    let text = "Dr. Smith paid $3.50 to J. K. Rowling at 5 p.m. on Jan. 5. He left!";
    assert_eq!(sentences("en", text), ["Dr. Smith paid $3.50 to J. K. Rowling at 5 p.m. on Jan. 5.", "He left!"]);
}

#[test]
fn addresses_versions_and_file_names_are_not_cut() {
    let text =
        "See https://example.com/a.b?Q=1!x for more. Mail Bob.Jones@Example.Com now. Version 2.0.1 of ASP.NET is out. Open Main.Rs first.";
    assert_eq!(
        sentences("en", text),
        [
            "See https://example.com/a.b?Q=1!x for more.",
            "Mail Bob.Jones@Example.Com now.",
            "Version 2.0.1 of ASP.NET is out.",
            "Open Main.Rs first."
        ]
    );
}

#[test]
fn dialogue_stays_with_what_is_said_about_it() {
    let text = "“Where is the lamp?” she asked. “I left it here… on the step.” Nobody answered! \"Tom?\" she said. 'It is gone.' The door creaked.";
    assert_eq!(
        sentences("en", text),
        [
            "“Where is the lamp?” she asked.",
            "“I left it here… on the step.”",
            "Nobody answered!",
            "\"Tom?\" she said.",
            "'It is gone.'",
            "The door creaked."
        ]
    );
}

#[test]
fn a_long_speech_is_cut_at_the_sentences_inside_its_quotes() {
    let text = "“I told you,” said Mara, “that the tide would turn. It always does. You sit there with your maps and your pencils, and you think the sea \
                reads them. It doesn't. It never has. My father drew maps for thirty years. Do you know what Dr. Hale did with them? He burned them.”";
    let pieces = split(text, &config(120, 20));
    check(text, &config(120, 20), &pieces);
    assert!(pieces.len() > 2);
    for piece in &pieces {
        assert!(piece.text.ends_with(['.', '?', '”', ',']), "{:?}", piece.text);
        assert!(!piece.text.ends_with("Dr."));
    }
    assert!(pieces.last().unwrap().text.ends_with("burned them.”"));
}

#[test]
fn german() {
    let text = "Am 3. Mai kam z. B. Herr Dr. Weber. „Guten Tag!“, sagte er. Die 2. Auflage erschien im 19. Jahrhundert. »Halt!« rief sie. Es kostet 3,50 Euro.";
    assert_eq!(
        sentences("de", text),
        [
            "Am 3. Mai kam z. B. Herr Dr. Weber.",
            "„Guten Tag!“, sagte er.",
            "Die 2. Auflage erschien im 19. Jahrhundert.",
            "»Halt!« rief sie.",
            "Es kostet 3,50 Euro."
        ]
    );
}

#[test]
fn french() {
    let text = "M. Perrin est venu avec Mme. Roux. « Bonjour ! » dit-il en riant. Où vas-tu ? Là-bas, à 18 h 30.";
    assert_eq!(
        sentences("fr", text),
        ["M. Perrin est venu avec Mme. Roux.", "« Bonjour ! » dit-il en riant.", "Où vas-tu ?", "Là-bas, à 18 h 30."]
    );
}

#[test]
fn spanish_italian_portuguese() {
    let text = "El Sr. Luna vino con la Dra. Vega. ¿Cómo estás? ¡Muy bien! Cuesta 3,50 dólares.";
    assert_eq!(sentences("es", text), ["El Sr. Luna vino con la Dra. Vega.", "¿Cómo estás?", "¡Muy bien!", "Cuesta 3,50 dólares."]);
    let text = "Il sig. Conti è qui. «Che cosa vuoi?» chiese il dott. Neri. Non lo so… forse domani.";
    assert_eq!(sentences("it", text), ["Il sig. Conti è qui.", "«Che cosa vuoi?» chiese il dott. Neri.", "Non lo so… forse domani."]);
    let text = "O Sr. Braga chegou às 17h30. A Dra. Lima saiu mais cedo. E agora?";
    assert_eq!(sentences("pt", text), ["O Sr. Braga chegou às 17h30.", "A Dra. Lima saiu mais cedo.", "E agora?"]);
}

#[test]
fn russian() {
    let text = "Он сказал: «Привет!» и ушёл. А. П. Громов родился в 1899 г. в Твери. — Да! — сказал он. — Я приду. Т. е. завтра… или нет.";
    assert_eq!(
        sentences("ru", text),
        [
            "Он сказал: «Привет!» и ушёл.",
            "А. П. Громов родился в 1899 г. в Твери.",
            "— Да! — сказал он.",
            "— Я приду.",
            "Т. е. завтра… или нет."
        ]
    );
}

#[test]
fn chinese_japanese_korean() {
    assert_eq!(
        sentences("zh", "你好，世界！他说：“我来了。你呢？”后来下雨了。第3.5节很难。"),
        ["你好，世界！", "他说：“我来了。你呢？”", "后来下雨了。", "第3.5节很难。"]
    );
    assert_eq!(
        sentences("ja", "彼は「はい。そうです。」と言った。雨だ！傘は？"),
        ["彼は「はい。そうです。」と言った。", "雨だ！", "傘は？"]
    );
    assert_eq!(
        sentences("ko", "안녕하세요. 가격은 3.5달러예요! \"어디 가요?\" 그가 물었다."),
        ["안녕하세요.", "가격은 3.5달러예요!", "\"어디 가요?\"", "그가 물었다."]
    );
}

#[test]
fn arabic_and_hindi() {
    assert_eq!(sentences("ar", "مرحبا بكم. كيف حالك اليوم؟ أنا بخير، شكرا!"), ["مرحبا بكم.", "كيف حالك اليوم؟", "أنا بخير، شكرا!"]);
    assert_eq!(sentences("hi", "नमस्ते। डॉ. वर्मा कल आए थे। आप कैसे हैं?"), ["नमस्ते।", "डॉ. वर्मा कल आए थे।", "आप कैसे हैं?"]);
}

#[test]
fn crumbs_join_a_neighbour_of_their_paragraph() {
    let text = "Yes. No. The ferry leaves at noon. Hm.\n\nOh! It has already left the harbour.";
    let pieces = split(text, &SplitConfig::default());
    let texts: Vec<&str> = pieces.iter().map(|piece| piece.text.as_str()).collect();
    assert_eq!(texts, ["Yes. No. The ferry leaves at noon. Hm.", "Oh! It has already left the harbour."]);
    assert!(pieces.iter().all(|piece| piece.paragraph_end));
    let texts: Vec<String> =
        split("[voice:marten] French. I have forty words of it.", &config(250, 20)).into_iter().map(|piece| piece.text).collect();
    assert_eq!(texts, ["[voice:marten] French. I have forty words of it."], "a mark makes no sentence longer");
    let texts: Vec<String> = split(text, &config(32, 20)).into_iter().map(|piece| piece.text).collect();
    assert_eq!(texts, ["Yes. No.", "The ferry leaves at noon. Hm.", "Oh!", "It has already left the harbour."]);
}

#[test]
fn hard_wrapped_lines_are_joined_and_paragraphs_are_not() {
    let text = "The ferry leaves\nat noon and does\r\nnot wait.\n \n\tNobody minds\nat all.\n";
    let pieces = split(text, &SplitConfig::default());
    let texts: Vec<&str> = pieces.iter().map(|piece| piece.text.as_str()).collect();
    assert_eq!(texts, ["The ferry leaves at noon and does  not wait.", "Nobody minds at all."]);
    check(text, &SplitConfig::default(), &pieces);
}

#[test]
fn paragraph_mode_keeps_paragraphs_and_packs_sentences() {
    let text = "The ferry leaves at noon. It does not wait. Nobody minds at all.\n\nThe sea is calm today.";
    let paragraphs = SplitConfig { mode: Mode::Paragraph, ..config(250, 20) };
    assert_eq!(split(text, &paragraphs).len(), 2);
    let packed: Vec<String> = split(text, &SplitConfig { max_chars: 45, ..paragraphs }).into_iter().map(|piece| piece.text).collect();
    assert_eq!(packed, ["The ferry leaves at noon. It does not wait.", "Nobody minds at all.", "The sea is calm today."]);
}

#[test]
fn long_sentences_are_cut_at_clauses_then_at_words() {
    let text = "The keeper had not spoken to anyone for eleven days, and when the boat came round the headland, low in the water and late by a week, \
                he found that his voice had gone somewhere he could not follow; so he waved instead with both arms until they saw him.";
    let pieces: Vec<String> = split(text, &config(140, 20)).into_iter().map(|piece| piece.text).collect();
    assert_eq!(pieces.len(), 2);
    assert!(pieces[0].ends_with([',', ';']), "{pieces:?}");
    let text = "word ".repeat(100);
    let pieces = split(&text, &config(120, 20));
    assert!(pieces.iter().all(|piece| piece.text.split(' ').all(|word| word == "word")), "{pieces:?}");
    assert!(pieces.iter().all(|piece| piece.chars >= 60), "no crumbs: {pieces:?}");
    let bound = "10\u{A0}000\u{A0}km and then some more words that fill the line";
    assert!(split(bound, &config(30, 0))[0].text.starts_with("10\u{A0}000\u{A0}km"));
}

#[test]
fn graphemes_are_never_cut() {
    let family = "👨\u{200D}👩\u{200D}👧\u{200D}👦";
    for (unit, max_chars) in [(family, 20), ("🇩🇪", 5), ("e\u{301}", 3), ("한", 7), ("क्षि", 9), (family, 2)] {
        let text = unit.repeat(50);
        for piece in split(&text, &config(max_chars, 0)) {
            assert_eq!(piece.text.replace(unit, ""), "", "{unit} at {max_chars}");
        }
    }
    // But a stack of a thousand accents is no grapheme anybody reads.
    let stack = format!("a{}", "\u{301}".repeat(1_000));
    assert!(split(&stack, &config(250, 0)).iter().all(|piece| piece.chars <= 250));
}

#[test]
fn pauses_at_the_edges_are_counted_and_stay_in_the_text() {
    let text = "[pause:2s]\n\nThe ferry leaves at noon. [pause] It does not wait for anyone. [pause:300ms] <break time=\"1s\"/>";
    let pieces = split(text, &SplitConfig::default());
    check(text, &SplitConfig::default(), &pieces);
    let pauses: Vec<(u32, u32)> = pieces.iter().map(|piece| (piece.pause_before_ms, piece.pause_after_ms)).collect();
    assert_eq!(pauses, [(2_000, 0), (500, 1_300)], "{pieces:?}");
    let alone = split("[pause:1s]", &SplitConfig::default());
    assert_eq!((alone.len(), alone[0].pause_before_ms), (1, 1_000));
}

#[test]
fn ornaments_and_stray_marks_are_no_pieces() {
    let text = "The first part ends here.\n\n* * *\n\nThe second part begins. [voice:ann]\n\n—";
    let texts: Vec<String> = split(text, &SplitConfig::default()).into_iter().map(|piece| piece.text).collect();
    assert_eq!(texts, ["The first part ends here.", "* * *  The second part begins. [voice:ann]  —"]);
}

#[test]
fn language_marks_and_voices_begin_a_piece() {
    let text = "The ferry leaves. [lang:fr] Oui, oui. [voice:b] Non. [lang:auto] It does not wait for anyone at all.";
    let pieces = split(text, &SplitConfig::default());
    let found: Vec<(&str, &str)> = pieces.iter().map(|piece| (piece.language.as_str(), piece.text.as_str())).collect();
    assert_eq!(
        found,
        [
            ("en", "The ferry leaves."),
            ("fr", "[lang:fr] Oui, oui."),
            ("fr", "[voice:b] Non."),
            ("en", "[lang:auto] It does not wait for anyone at all.")
        ]
    );
}

#[test]
fn languages_are_found_by_sentence_and_short_ones_stay() {
    let text = "The harbour was quiet and the boats were all in. Elle a répondu en français parce qu'elle ne parlait pas anglais. Fine. \
                彼女は日本語で話しました。 Then they both laughed.";
    let pieces = split(text, &config(250, 0));
    let languages: Vec<&str> = pieces.iter().map(|piece| piece.language.as_str()).collect();
    assert_eq!(languages, ["en", "fr", "en", "ja", "en"]);
    let told = SplitConfig { language: Some("de".into()), ..SplitConfig::default() };
    assert!(split(text, &told).iter().all(|piece| piece.language == "de"));
}

#[test]
fn white_space_is_nothing() {
    for text in ["", " ", "\n\n\n", "\u{3000}\t\r\n\u{2029}"] {
        assert!(split(text, &SplitConfig::default()).is_empty());
    }
}

#[test]
fn real_pieces_split_to_themselves() {
    let text = "The ferry leaves at noon. It does not wait. “Where is the lamp?” she asked. Nobody answered; the keeper had gone to the pier, where \
                the boats lay, and the rain, which had been falling since the morning, ran from his hat into his collar and from his collar into \
                his boots, and still he did not turn round. 3. Mai 1899. Oui, c'est ça ! 你好，世界！后来下雨了，没有人回答。";
    for piece in split(text, &config(120, 20)) {
        let told = SplitConfig { language: Some(piece.language.clone()), ..config(120, 20) };
        let again: Vec<String> = split(&piece.text, &told).into_iter().map(|piece| piece.text).collect();
        assert_eq!(again, [piece.text]);
    }
}

/// Sizes the contract promises; what is counted is that nothing is lost. Times were measured by hand.
#[test]
fn a_hundred_thousand_characters_without_punctuation() {
    let words = "tide harbour lamp keeper boat ".repeat(3_400);
    let letters = "x".repeat(100_000);
    for text in [&words, &letters] {
        let pieces = split(text, &SplitConfig::default());
        check(text, &SplitConfig::default(), &pieces);
        assert!(pieces.len() >= 400 && pieces.len() < 900, "{}", pieces.len());
    }
}
