//! Any bytes as a `.clonyvoice` archive: refused in words, never with an error of our own disk. What is believed is within its limits.
#![no_main]

mod sealed;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| sealed::read(bytes));
