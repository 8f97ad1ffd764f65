//! When a failed attempt is repeated. Pure: the jitter is an argument.

const FIRST_MS: f64 = 500.0;
const LONGEST_MS: f64 = 60_000.0;

/// Doubles with every attempt (1 is the first) up to a minute, spread by a third in both directions so that jobs that failed together do not
/// come back together. `jitter` is uniform in 0..1.
pub(crate) fn backoff_ms(attempt: i64, jitter: f64) -> i64 {
    let exponent = attempt.clamp(1, 16) - 1;
    let base = (FIRST_MS * f64::powi(2.0, exponent as i32)).min(LONGEST_MS);
    let spread = 1.0 + (jitter.clamp(0.0, 1.0) - 0.5) * 2.0 / 3.0;
    (base * spread) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_until_a_minute_and_spreads_by_a_third() {
        let middle: Vec<i64> = (1..=9).map(|attempt| backoff_ms(attempt, 0.5)).collect();
        assert_eq!(middle, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(backoff_ms(2, 0.0), 666);
        assert_eq!(backoff_ms(2, 1.0), 1_333);
        assert_eq!(backoff_ms(i64::MAX, 0.5), 60_000);
    }
}
