//! How often the engine was asked to speak since the server process started: the proof that finished work is not done again.

use crate::Client;

/// Needs the scope `system:read`.
///
/// # Panics
/// When the server does not say.
pub async fn engine_calls(client: &Client) -> u64 {
    let status = client.get("/api/system/status").await.expect(200).json();
    match status["engine"]["calls"].as_u64() {
        Some(calls) => calls,
        None => panic!("no engine.calls in {status:#}"),
    }
}
