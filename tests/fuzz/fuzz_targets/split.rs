//! Any text, any length of a piece (the first byte): nothing but white space is lost, and a piece is what stands between its offsets.
#![no_main]

use engine::text::split::{Mode, SplitConfig, split};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, text)) = bytes.split_first() else { return };
    let mode = if choice % 2 == 0 { Mode::Sentence } else { Mode::Paragraph };
    let config = SplitConfig { max_chars: usize::from(*choice).max(1), mode, ..SplitConfig::default() };
    let text = String::from_utf8_lossy(text);
    let pieces = split(&text, &config);
    let mut end = 0;
    for piece in &pieces {
        assert!(end <= piece.byte_start && piece.byte_start < piece.byte_end, "{piece:?}");
        assert!(text[end..piece.byte_start].chars().all(char::is_whitespace), "something is lost before {piece:?}");
        assert_eq!(text[piece.byte_start..piece.byte_end].chars().count(), piece.chars);
        assert_eq!(piece.text.chars().count(), piece.chars);
        end = piece.byte_end;
    }
    assert!(text[end..].chars().all(char::is_whitespace), "the end is lost");
});
