//! How long a caller wants to wait for a job, and in which form: `Prefer: wait=N` (RFC 7240), `?wait=N`, `Accept: audio/*`. Pure: header
//! texts in, values out.

/// At most so long is an answer held back.
pub const WAIT_MAX_S: u64 = 60;

/// Seconds asked for, capped; the query wins over the header. `None` when neither asks.
pub fn wait_s(prefer: Option<&str>, query: Option<&str>) -> Option<u64> {
    let from_query = query.and_then(|text| text.trim().parse::<u64>().ok());
    let from_header = || prefer.and_then(prefer_wait_s);
    from_query.or_else(from_header).map(|seconds| seconds.min(WAIT_MAX_S))
}

fn prefer_wait_s(header: &str) -> Option<u64> {
    header.split([',', ';']).find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        let value = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("wait").then(|| value.parse().ok()).flatten()
    })
}

/// Whether `Accept` names audio before it names JSON. `*/*` names neither: JSON stays the default.
pub fn wants_audio(accept: Option<&str>) -> bool {
    let Some(accept) = accept else {
        return false;
    };
    let quality = |matches: fn(&str) -> bool| -> f32 {
        accept
            .split(',')
            .filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let media = parts.next()?.to_ascii_lowercase();
                let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
                matches(&media).then_some(quality)
            })
            .fold(0.0, f32::max)
    };
    let audio = quality(|media| matches!(media, "audio/*" | "audio/wav" | "audio/x-wav" | "audio/wave" | "audio/vnd.wave"));
    audio > 0.0 && audio >= quality(|media| media == "application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits() {
        assert_eq!(wait_s(Some("wait=10"), None), Some(10));
        assert_eq!(wait_s(Some("respond-async, wait=10"), None), Some(10));
        assert_eq!(wait_s(Some("Wait = \"5\"; foo"), None), Some(5));
        assert_eq!(wait_s(Some("wait=1000"), None), Some(60));
        assert_eq!(wait_s(Some("wait=10"), Some("3")), Some(3));
        assert_eq!(wait_s(Some("wait=x"), Some("y")), None);
        assert_eq!(wait_s(Some("handling=lenient"), None), None);
        assert_eq!(wait_s(None, None), None);
    }

    #[test]
    fn audio_is_sent_only_to_who_names_it() {
        assert!(wants_audio(Some("audio/*")));
        assert!(wants_audio(Some("audio/wav, */*;q=0.1")));
        assert!(wants_audio(Some("application/json;q=0.5, audio/wav")));
        assert!(!wants_audio(Some("application/json, audio/wav;q=0.5")));
        assert!(!wants_audio(Some("*/*")));
        assert!(!wants_audio(Some("audio/*;q=0")));
        assert!(!wants_audio(Some("audio/mpeg")));
        assert!(!wants_audio(None));
    }
}
