//! Any bytes as a sound file: looked into and decoded to sound or to an error, within the limits.
#![no_main]

use std::io::Cursor;

use audio::blocks::SampleBlocks;
use audio::decode::{DecodeLimits, MediaDecoder};
use audio::probe::probe;
use libfuzzer_sys::fuzz_target;

const LIMITS: DecodeLimits = DecodeLimits { max_decoded_ms: 20_000, max_channels: 8, max_rate_hz: 192_000 };

fuzz_target!(|bytes: &[u8]| {
    let _ = probe(Box::new(Cursor::new(bytes.to_vec())), LIMITS);
    let Ok(mut decoder) = MediaDecoder::open(Box::new(Cursor::new(bytes.to_vec())), LIMITS) else { return };
    let format = decoder.format();
    assert!(format.channels <= LIMITS.max_channels && format.rate_hz <= LIMITS.max_rate_hz);
    let mut block = vec![0.0; 4_096 * usize::from(format.channels).max(1)];
    let mut read = 0_u64;
    while let Ok(samples @ 1..) = decoder.read(&mut block) {
        read += samples as u64;
    }
    let allowed = (LIMITS.max_decoded_ms + 1_000) * u64::from(format.rate_hz) / 1_000 * u64::from(format.channels);
    assert!(read <= allowed, "{read} samples where {allowed} are allowed");
});
