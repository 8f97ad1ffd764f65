//! A safe `Content-Disposition` for a title that a user wrote (RFC 6266, RFC 8187). Pure.

/// Longer names are cut; file systems stop at 255 bytes.
const NAME_CHARS_MAX: usize = 80;

/// `inline` with a plain name for old clients and the full one for the rest. The name never holds a path separator, a control character or
/// a quote; an empty one becomes `fallback`.
pub fn content_disposition(title: Option<&str>, fallback: &str, ending: &str) -> String {
    let cleaned: String = title
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_control() || "/\\:*?\"<>|%".contains(c) || is_direction_mark(c) { ' ' } else { c })
        .take(NAME_CHARS_MAX)
        .collect();
    let words: Vec<&str> = cleaned.split_whitespace().collect();
    let joined = words.join(" ");
    let name = joined.trim_matches(['.', ' ']);
    let name = if name.is_empty() { fallback } else { name };
    let plain: String = name.chars().map(|c| if c.is_ascii() { c } else { '_' }).collect();
    let mut header = format!("inline; filename=\"{plain}.{ending}\"");
    if !name.is_ascii() {
        header.push_str("; filename*=UTF-8''");
        for byte in name.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                header.push(char::from(byte));
            } else {
                header.push_str(&format!("%{byte:02X}"));
            }
        }
        header.push_str(&format!(".{ending}"));
    }
    header
}

/// Marks that turn the reading direction can make `gpj.exe` look like `exe.jpg`.
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names() {
        assert_eq!(content_disposition(Some("My story"), "x", "wav"), "inline; filename=\"My story.wav\"");
        assert_eq!(content_disposition(None, "generation-1", "srt"), "inline; filename=\"generation-1.srt\"");
        assert_eq!(content_disposition(Some("../../etc/passwd"), "x", "wav"), "inline; filename=\"etc passwd.wav\"");
        assert_eq!(content_disposition(Some("a\"\r\nX-Evil: 1"), "x", "wav"), "inline; filename=\"a X-Evil 1.wav\"");
        assert_eq!(content_disposition(Some("Märchen"), "x", "wav"), "inline; filename=\"M_rchen.wav\"; filename*=UTF-8''M%C3%A4rchen.wav");
        assert_eq!(content_disposition(Some(" . "), "x", "wav"), "inline; filename=\"x.wav\"");
    }

    proptest! {
        #[test]
        fn every_title_gives_a_header_value_without_separators(title in "\\PC{0,200}|[\\x00-\\x7f]{0,200}") {
            let header = content_disposition(Some(&title), "x", "wav");
            prop_assert!(header.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            prop_assert_eq!(header.matches('"').count(), 2);
            prop_assert!(!header.contains('/') && !header.contains('\\'));
        }
    }
}
