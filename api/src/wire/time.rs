//! Times as the contract has them: RFC 3339 in UTC, with milliseconds.

use jiff::Timestamp;

/// Epoch milliseconds as `2026-01-31T12:00:00.123Z`; what no calendar holds becomes the epoch.
pub fn rfc3339(ms: i64) -> String {
    let timestamp = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{timestamp:.3}")
}

/// Reads RFC 3339, or epoch milliseconds as a number.
pub fn parse_ms(text: &str) -> Option<i64> {
    let text = text.trim();
    text.parse::<Timestamp>().ok().map(|timestamp| timestamp.as_millisecond()).or_else(|| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_769_860_800_123), "2026-01-31T12:00:00.123Z");
        assert_eq!(rfc3339(i64::MAX), "1970-01-01T00:00:00.000Z");
        assert_eq!(parse_ms("2026-01-31T13:00:00.123+01:00"), Some(1_769_860_800_123));
        assert_eq!(parse_ms("5"), Some(5));
        assert_eq!(parse_ms("yesterday"), None);
    }
}
