//! What a model wrote must not become a mark of the text it is put into. This file may not know models.

use crate::text::{Span, parse};

/// A backslash before everything that would be read as a mark. Linear.
pub(super) fn escape_marks(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for span in parse(text) {
        let range = match span {
            Span::Text { .. } => continue,
            Span::Pause { range, .. } | Span::Voice { range, .. } | Span::Language { range, .. } => range,
        };
        out.push_str(&text[at..range.start]);
        out.push('\\');
        at = range.start;
    }
    out.push_str(&text[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_becomes_text_and_text_stays() {
        for (text, escaped) in [
            ("Plain, [brackets] too.", "Plain, [brackets] too."),
            ("Wait [pause] here.", "Wait \\[pause] here."),
            ("[voice:bob]Hi <break/>", "\\[voice:bob]Hi \\<break/>"),
            ("already \\[pause:1s]", "already \\[pause:1s]"),
        ] {
            let made = escape_marks(text);
            assert_eq!(made, escaped);
            assert!(parse(&made).iter().all(|span| matches!(span, Span::Text { .. })), "{made}");
        }
    }
}
