//! What a chat model puts around a translation although it was told not to: thoughts, a heading, quotation marks, a fence of code.
//!
//! Pure. Takes away only what stands around the whole; what is within is the model's and stays.

const QUOTES: [(char, char); 6] = [('"', '"'), ('“', '”'), ('«', '»'), ('„', '“'), ('「', '」'), ('\'', '\'')];
/// Words with which such a heading begins or ends; in lower case.
const HEADINGS: [&str; 5] = ["translation", "translated text", "here is the translation", "here's the translation", "the translation is"];
/// A heading is not longer, in characters.
const HEADING_CHARS_MAX: usize = 60;

/// The translation alone, on one line, as the source was.
pub(super) fn unwrap(answer: &str, source: &str) -> String {
    let mut text = without_thoughts(answer).trim();
    text = without_fence(text);
    text = without_heading(text, source);
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    without_quotes(&one_line, source).to_owned()
}

fn without_thoughts(answer: &str) -> &str {
    match answer.rfind("</think>") {
        Some(end) => &answer[end + "</think>".len()..],
        None => answer,
    }
}

fn without_fence(text: &str) -> &str {
    let Some(inner) = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")) else { return text };
    // The first line names a language, or nothing.
    inner.split_once('\n').map_or(inner, |(_, rest)| rest).trim()
}

/// `Translation: ...`, `Here is the translation into French: ...`.
fn without_heading<'t>(text: &'t str, source: &str) -> &'t str {
    let Some((heading, rest)) = text.split_once([':', '：']) else { return text };
    let heading = heading.trim_matches(['*', '#', ' ']).to_lowercase();
    let is_heading = heading.chars().count() <= HEADING_CHARS_MAX && HEADINGS.iter().any(|known| heading.starts_with(known));
    let in_source = source.to_lowercase().starts_with(&heading);
    if is_heading && !in_source && !rest.trim().is_empty() { rest.trim_start_matches(['*', ' ']).trim_start() } else { text }
}

fn without_quotes<'t>(text: &'t str, source: &str) -> &'t str {
    let is_quoted = |text: &str| QUOTES.iter().any(|(open, close)| inside(text, *open, *close).is_some());
    if is_quoted(source.trim()) {
        return text;
    }
    QUOTES.iter().find_map(|(open, close)| inside(text, *open, *close)).map_or(text, str::trim)
}

/// Between a pair of marks that stand around all of it.
fn inside(text: &str, open: char, close: char) -> Option<&str> {
    let inner = text.strip_prefix(open)?.strip_suffix(close)?;
    (!inner.is_empty() && !inner.contains([open, close])).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_around_the_whole_goes() {
        for (answer, source, left) in [
            ("Bonjour.", "Hello.", "Bonjour."),
            (" <think>\n\n</think>\n\nBonjour. ", "Hello.", "Bonjour."),
            ("\"Bonjour.\"", "Hello.", "Bonjour."),
            ("« Bonjour. »", "Hello.", "Bonjour."),
            ("\"Bonjour.\"", "\"Hello.\"", "\"Bonjour.\""),
            ("\"Oui\" et \"non\"", "Yes and no", "\"Oui\" et \"non\""),
            ("Translation: Bonjour.", "Hello.", "Bonjour."),
            ("**Translation:** Bonjour.", "Hello.", "Bonjour."),
            ("Here is the translation into French:\n\nBonjour.", "Hello.", "Bonjour."),
            ("Translation: un art", "Translation: an art", "Translation: un art"),
            ("Nota: on part.", "Note: we leave.", "Nota: on part."),
            ("```text\nBonjour.\n```", "Hello.", "Bonjour."),
            ("Bonjour\nà tous.", "Hello all.", "Bonjour à tous."),
            ("\"", "x", "\""),
        ] {
            assert_eq!(unwrap(answer, source), left, "{answer}");
        }
    }
}
