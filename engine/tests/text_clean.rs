//! Marks, turns and cleaning on any text at all.
#![allow(clippy::unwrap_used)]

use engine::text::{Span, Spoken, normalize, parse, speakable, strip, turns};
use proptest::prelude::*;

fn any_text() -> impl Strategy<Value = String> {
    let bit = prop_oneof![
        3 => "[a-zA-Z]{1,6}",
        2 => prop::sample::select(vec![" ", "  ", "\n", "\u{A0}", "\u{200B}", "\u{AD}", "\u{FEFF}", "\u{200D}", "\u{301}", "\u{323}", "\t", "\0"])
            .prop_map(str::to_owned),
        2 => prop::sample::select(vec!["!", "!!!!!", "?!?!", "....", "…", "…", "--", "---", "*", "**", "#", "_", "`", "’", "\"", "•", "|", "~~~", "==="])
            .prop_map(str::to_owned),
        2 => prop::sample::select(vec![
            "[pause]", "[pause:9s]", "<break/>", "<break time='1s'></break>", "[voice:x]", "[lang:fr]", "\\", "[", "]", "<", "[pause", "é", "ﬁ", "Ａ", "한",
            "\u{1112}\u{1161}", "क्ष", "👩\u{200D}🚀", "می\u{200C}خواهم", "\u{958}", "Å",
        ]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(bit, 0..40).prop_map(|bits| bits.concat())
}

fn range(span: &Span<'_>) -> std::ops::Range<usize> {
    match span {
        Span::Text { range, .. } | Span::Pause { range, .. } | Span::Voice { range, .. } | Span::Language { range, .. } => range.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn spans_cover_the_text_but_for_escaping_backslashes(text in any_text()) {
        let mut at = 0;
        for span in parse(&text) {
            let range = range(&span);
            prop_assert!(text[at..range.start] == *"" || &text[at..range.start] == "\\", "{:?}", span);
            prop_assert!(range.start < range.end);
            if let Span::Text { text: part, .. } = &span {
                prop_assert_eq!(*part, &text[range.clone()]);
            }
            at = range.end;
        }
        prop_assert!(text[at..].is_empty());
        let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        let texts: String = parse(&text).iter().map(|span| if let Span::Text { text, .. } = span { *text } else { "" }).collect();
        prop_assert_eq!(letters(&strip(&text)), letters(&texts));
    }

    #[test]
    fn cleaning_twice_is_cleaning_once_and_places_only_grow(text in any_text()) {
        let cleaned = normalize(&text);
        prop_assert_eq!(cleaned.text.chars().count(), cleaned.original_chars.len());
        prop_assert!(cleaned.original_chars.is_sorted());
        prop_assert!(cleaned.original_chars.last().is_none_or(|last| (*last as usize) < text.chars().count()));
        prop_assert_eq!(&normalize(&cleaned.text).text, &cleaned.text);
        prop_assert_eq!(cleaned.text.trim(), &cleaned.text);
        prop_assert!(!cleaned.text.contains("  "));
        // What a letter became can be found again at the place it is said to come from.
        let original: Vec<char> = text.chars().collect();
        for (c, place) in cleaned.text.chars().zip(&cleaned.original_chars).filter(|(c, _)| c.is_ascii_alphabetic()) {
            let source = original[*place as usize];
            prop_assert!(c == source || !source.is_ascii(), "{c:?} from {source:?}");
        }
    }

    #[test]
    fn what_is_spoken_comes_from_the_text_in_order(text in any_text()) {
        let mut last = 0;
        let mut paused_ms = 0_u32;
        for part in speakable(&text) {
            match part {
                Spoken::Words(words) => {
                    prop_assert!(!words.text.is_empty());
                    for place in words.original_chars {
                        prop_assert!(place >= last && (place as usize) < text.chars().count());
                        last = place;
                    }
                }
                Spoken::Pause { ms } => paused_ms += ms,
            }
        }
        let marked_ms: u32 = parse(&text).iter().map(|span| if let Span::Pause { ms, .. } = span { *ms } else { 0 }).sum();
        prop_assert_eq!(paused_ms, marked_ms);
    }

    #[test]
    fn turns_lie_in_order_and_keep_every_pause(text in any_text()) {
        let chars: Vec<char> = text.chars().collect();
        let mut at = 0;
        let mut heard_ms = 0;
        let turns = turns(&text);
        for turn in &turns {
            prop_assert!(turn.byte_start >= at && turn.byte_start < turn.byte_end);
            prop_assert_eq!(&text[turn.byte_start..turn.byte_end], &turn.text);
            prop_assert_eq!(chars[turn.char_start..turn.char_end].iter().collect::<String>(), turn.text.clone());
            let inside: Vec<Span<'_>> = parse(&turn.text);
            let has_turn_mark = inside.iter().any(|span| matches!(span, Span::Voice { .. } | Span::Language { .. }));
            prop_assert!(!has_turn_mark);
            heard_ms += turn.pause_before_ms + turn.pause_after_ms;
            heard_ms += inside.iter().map(|span| if let Span::Pause { ms, .. } = span { *ms } else { 0 }).sum::<u32>();
            at = turn.byte_end;
        }
        let marked_ms: u32 = parse(&text).iter().map(|span| if let Span::Pause { ms, .. } = span { *ms } else { 0 }).sum();
        prop_assert!(turns.is_empty() || heard_ms == marked_ms);
    }
}
