//! Waiting for what can be observed, never for time to pass.

use std::time::Duration;

/// Ends a test that would wait for ever. Far beyond what the slowest machine needs.
pub const LIMIT: Duration = Duration::from_secs(120);

/// For figures that a test prints, and for telling apart what came before and after a kill.
#[allow(clippy::disallowed_methods, reason = "the tests stand outside, where time passes")]
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// Asks again and again until `look` sees what is waited for.
///
/// # Panics
/// With `what` in the message, when it is not seen within [`LIMIT`].
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut again = tokio::time::interval(Duration::from_millis(20));
    let waiting = async {
        loop {
            again.tick().await;
            if let Some(seen) = look().await {
                return seen;
            }
        }
    };
    match tokio::time::timeout(LIMIT, waiting).await {
        Ok(seen) => seen,
        Err(_) => panic!("waited in vain for: {what}"),
    }
}
