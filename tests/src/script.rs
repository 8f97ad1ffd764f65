//! What the scripted engine is told, in the shape of `engine/src/scripted.rs`. Its tones are as short as the server's check of plausible
//! speech allows (45 letters a second), so that long texts give small files.

use serde_json::{Value, json};

/// Speaks everything, at once.
pub fn at_once() -> Value {
    json!({"ms_per_char": 25, "steps": 1})
}

/// Speaks everything and takes `ms` for each chunk.
pub fn slow(ms: u32) -> Value {
    json!({"ms_per_char": 25, "steps": 1, "rules": [{"needle": "", "act": {"slow": {"ms_per_step": ms}}}]})
}

/// Works on the first chunk until it is stopped.
pub fn never() -> Value {
    json!({"ms_per_char": 25, "steps": 1, "rules": [{"needle": "", "act": "stall"}]})
}
