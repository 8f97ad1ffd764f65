//! Which bytes a request asks for (RFC 9110, section 14) and whether the caller has them already (section 13). Pure: header texts in,
//! byte ranges out.
//!
//! One range is answered with 206. Several ranges are answered with the whole file and 200, which the RFC allows: no client of audio asks
//! for more than one, and a multipart answer would be code that nothing exercises.

use std::ops::Range;

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// 200, everything.
    Whole,
    /// 206, end excluded.
    Part(Range<u64>),
    /// 416.
    Unsatisfiable,
}

/// Reads a `Range` header against a file of `size_bytes`. What is not a byte range is ignored, as the RFC wants.
pub fn select(header: Option<&str>, size_bytes: u64) -> Selection {
    let Some(specs) = header.and_then(bytes_specs) else {
        return Selection::Whole;
    };
    let mut satisfiable = Vec::new();
    let mut count = 0;
    for spec in specs.split(',').map(str::trim).filter(|spec| !spec.is_empty()) {
        count += 1;
        match resolve(spec, size_bytes) {
            Err(NotARange) => return Selection::Whole,
            Ok(None) => {}
            Ok(Some(range)) => satisfiable.push(range),
        }
    }
    match (count, satisfiable.as_slice()) {
        (0, _) => Selection::Whole,
        (_, []) => Selection::Unsatisfiable,
        (1, [range]) => Selection::Part(range.clone()),
        _ => Selection::Whole,
    }
}

fn bytes_specs(header: &str) -> Option<&str> {
    let (unit, specs) = header.split_once('=')?;
    unit.trim().eq_ignore_ascii_case("bytes").then_some(specs)
}

struct NotARange;

/// `Ok(None)`: well formed, but outside the file.
fn resolve(spec: &str, size_bytes: u64) -> Result<Option<Range<u64>>, NotARange> {
    let (first, last) = spec.split_once('-').ok_or(NotARange)?;
    if first.is_empty() {
        let suffix_bytes = number(last)?;
        let start = size_bytes.saturating_sub(suffix_bytes);
        return Ok((suffix_bytes > 0 && size_bytes > 0).then_some(start..size_bytes));
    }
    let start = number(first)?;
    let end = if last.is_empty() { size_bytes } else { number(last)?.saturating_add(1) };
    if !last.is_empty() && end <= start {
        return Err(NotARange);
    }
    Ok((start < size_bytes).then_some(start..end.min(size_bytes)))
}

/// Digits only; a number too large for us is larger than any file.
fn number(text: &str) -> Result<u64, NotARange> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotARange);
    }
    Ok(text.parse().unwrap_or(u64::MAX))
}

/// Whether `If-None-Match` names this entity: then 304. Weak comparison.
pub fn already_has(if_none_match: Option<&str>, etag: &str) -> bool {
    if_none_match
        .is_some_and(|header| header.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag))
}

/// Whether a `Range` still applies: without `If-Range` always; with it only for the very same entity. A date never matches: our entities have
/// strong tags and no modification time.
pub fn range_applies(if_range: Option<&str>, etag: &str) -> bool {
    if_range.is_none_or(|tag| tag.trim() == etag)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn examples_of_the_rfc() {
        let of = |header: &str| select(Some(header), 10_000);
        assert_eq!(of("bytes=0-499"), Selection::Part(0..500));
        assert_eq!(of("bytes=500-999"), Selection::Part(500..1000));
        assert_eq!(of("bytes=-500"), Selection::Part(9_500..10_000));
        assert_eq!(of("bytes=9500-"), Selection::Part(9_500..10_000));
        assert_eq!(of("bytes=0-0,-1"), Selection::Whole);
        assert_eq!(of("Bytes = 0-0"), Selection::Part(0..1));
        assert_eq!(of("bytes=0-99999"), Selection::Part(0..10_000));
        assert_eq!(of("bytes=-99999"), Selection::Part(0..10_000));
    }

    #[test]
    fn outside_is_416_and_nonsense_is_ignored() {
        let of = |header: &str| select(Some(header), 10);
        for outside in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999-", "bytes=20-30, 40-50"] {
            assert_eq!(of(outside), Selection::Unsatisfiable, "{outside}");
        }
        for nonsense in ["bytes=", "bytes=5-2", "bytes=a-b", "bytes=1", "lines=0-1", "bytes", "bytes=--1", "bytes=+1-2", "bytes=,,"] {
            assert_eq!(of(nonsense), Selection::Whole, "{nonsense}");
        }
        assert_eq!(select(None, 10), Selection::Whole);
        assert_eq!(select(Some("bytes=0-"), 0), Selection::Unsatisfiable);
        assert_eq!(select(Some("bytes=-5"), 0), Selection::Unsatisfiable);
    }

    #[test]
    fn tags() {
        assert!(already_has(Some("\"a\", \"b\""), "\"b\""));
        assert!(already_has(Some("W/\"b\""), "\"b\""));
        assert!(already_has(Some("*"), "\"b\""));
        assert!(!already_has(Some("\"c\""), "\"b\""));
        assert!(!already_has(None, "\"b\""));
        assert!(range_applies(None, "\"b\"") && range_applies(Some("\"b\""), "\"b\""));
        assert!(!range_applies(Some("W/\"b\""), "\"b\"") && !range_applies(Some("Sun, 06 Nov 1994 08:49:37 GMT"), "\"b\""));
    }

    proptest! {
        #[test]
        fn any_header_gives_a_range_inside_the_file(header in "\\PC{0,40}", size in 0_u64..1_000_000) {
            for header in [header.clone(), format!("bytes={header}")] {
                if let Selection::Part(range) = select(Some(&header), size) {
                    prop_assert!(range.start < range.end && range.end <= size);
                }
            }
        }

        #[test]
        fn numbers_mean_what_they_say(size in 1_u64..10_000, first in 0_u64..12_000, length in 0_u64..12_000) {
            let last = first + length;
            let expected = if first < size { Selection::Part(first..(last + 1).min(size)) } else { Selection::Unsatisfiable };
            prop_assert_eq!(select(Some(&format!("bytes={first}-{last}")), size), expected);
        }
    }
}
