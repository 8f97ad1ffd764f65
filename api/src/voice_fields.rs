//! What the fields of a voice and of a category may hold, wherever they come from: a request or an archive. Pure; each check gives the value
//! as it is stored, or a fragment that says what is wrong.

use serde_json::{Map, Value};

pub const NAME_CHARS_MAX: usize = 200;
pub const DESCRIPTION_CHARS_MAX: usize = 4_000;
const LANGUAGE_CHARS_MAX: usize = 35;
pub const TAGS_MAX: usize = 32;
const TAG_CHARS_MAX: usize = 64;
pub const SETTINGS_BYTES_MAX: usize = 16 * 1024;
pub const TRANSCRIPT_CHARS_MAX: usize = 20_000;
pub const GENDERS: [&str; 3] = ["female", "male", "neutral"];

type Checked<T> = Result<T, String>;

/// One line, trimmed.
fn line(text: &str, chars_max: usize) -> Checked<String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > chars_max {
        return Err(format!("must have 1 to {chars_max} characters"));
    }
    if text.chars().any(char::is_control) {
        return Err("must be one line without control characters".into());
    }
    Ok(text.to_owned())
}

/// Of a voice or a category.
pub fn name(text: &str) -> Checked<String> {
    line(text, NAME_CHARS_MAX)
}

pub fn description(text: &str) -> Checked<String> {
    paragraph(text, DESCRIPTION_CHARS_MAX)
}

pub fn transcript(text: &str) -> Checked<String> {
    paragraph(text, TRANSCRIPT_CHARS_MAX)
}

/// May be empty and have many lines. NUL is no text for Postgres.
fn paragraph(text: &str, chars_max: usize) -> Checked<String> {
    if text.chars().count() > chars_max {
        return Err(format!("must have at most {chars_max} characters"));
    }
    if text.contains('\0') {
        return Err("must not hold a NUL character".into());
    }
    Ok(text.to_owned())
}

/// A BCP 47 tag by its form: letters, then parts of letters and digits.
pub fn language(text: &str) -> Checked<String> {
    let text = text.trim();
    let mut parts = text.split('-');
    let first = parts.next().is_some_and(|part| (2..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphabetic()));
    let rest = parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    if first && rest && text.len() <= LANGUAGE_CHARS_MAX { Ok(text.to_owned()) } else { Err("must be a BCP 47 tag such as en-GB".into()) }
}

pub fn gender(text: &str) -> Checked<String> {
    let text = text.trim().to_ascii_lowercase();
    if GENDERS.contains(&text.as_str()) { Ok(text) } else { Err(format!("must be one of {}", GENDERS.join(", "))) }
}

/// Each once, in the order they came.
pub fn tags(texts: &[String]) -> Checked<Vec<String>> {
    if texts.len() > TAGS_MAX {
        return Err(format!("must be at most {TAGS_MAX}"));
    }
    let mut tags = Vec::new();
    for text in texts {
        let tag = line(text, TAG_CHARS_MAX).map_err(|wrong| format!("each {wrong}"))?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(tags)
}

/// `#rgb`, `#rrggbb` or `#rrggbbaa`.
pub fn color(text: &str) -> Checked<String> {
    let text = text.trim();
    let digits = text.strip_prefix('#').unwrap_or_default();
    let known = matches!(digits.len(), 3 | 6 | 8) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if known { Ok(text.to_ascii_lowercase()) } else { Err("must be a colour such as #4f8ad9".into()) }
}

/// What a client keeps with a voice.
pub fn settings(settings: Map<String, Value>) -> Checked<Value> {
    let settings = Value::Object(settings);
    let text = settings.to_string();
    if text.len() > SETTINGS_BYTES_MAX {
        return Err(format!("must have at most {SETTINGS_BYTES_MAX} bytes as JSON"));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn values_are_brought_into_one_form() {
        assert_eq!(name("  Ada  ").unwrap(), "Ada");
        assert_eq!(gender("Female").unwrap(), "female");
        assert_eq!(color("#4F8AD9").unwrap(), "#4f8ad9");
        assert_eq!(tags(&["a".into(), " b ".into(), "a".into()]).unwrap(), ["a", "b"]);
        assert_eq!(language("zh-Hant-TW").unwrap(), "zh-Hant-TW");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for wrong in ["", "  ", "a\nb", "a\u{7}", &"x".repeat(NAME_CHARS_MAX + 1)] {
            assert!(name(wrong).is_err(), "{wrong:?}");
        }
        for wrong in ["", "e", "english", "en_US", "en-", "en--US", "1n", "en-toolongpart", "en-a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p-q"] {
            assert!(language(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "red", "#12", "#12345", "#gggggg", "4f8ad9"] {
            assert!(color(wrong).is_err(), "{wrong}");
        }
        assert!(gender("robot").is_err());
        assert!(description("a\0b").is_err() && description("a\nb").is_ok());
        assert!(tags(&vec!["x".into(); TAGS_MAX + 1]).is_err());
        assert!(settings(Map::from_iter([("a".to_owned(), Value::from("x".repeat(SETTINGS_BYTES_MAX)))])).is_err());
    }
}
