//! Waiting for what can be observed, never for time to pass.

use std::time::Duration;

/// Ends a test that would wait for ever. Far beyond what the slowest machine needs.
pub const LIMIT: Duration = Duration::from_secs(120);

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
