//! Any text as a message of a WebSocket: understood, or refused with words.
#![no_main]

use api::wire::socket;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(mistake) = socket::parse(&String::from_utf8_lossy(bytes)) {
        assert!(!mistake.detail.is_empty() && mistake.detail.len() < 1_000, "{mistake:?}");
    }
});
