//! Any text with marks: nothing breaks, and what is not a mark stays.
#![no_main]

use engine::text::marks;
use engine::text::turns::turns;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let spans = marks::parse(&text);
    assert!(spans.len() <= text.len());
    assert!(marks::strip(&text).len() <= text.len());
    let spoken: usize = turns(&text).iter().map(|turn| turn.text.len()).sum();
    assert!(spoken <= text.len());
});
