//! Reads bytes as an archive, from a file in memory, and holds the answer against the limits.

use std::fs::File;
use std::io::Write;

use api::archive::{self, ArchiveFault, ArchiveLimits};
use rustix::fs::{MemfdFlags, memfd_create};

const LIMITS: ArchiveLimits = ArchiveLimits {
    members_max: 64,
    voices_max: 4,
    samples_max: 8,
    real_bytes_max: 4 << 20,
    member_bytes_max: 1 << 20,
    json_bytes_max: 64 * 1024,
    ratio_max: 100,
    audio_ms_max: 60_000,
};

pub fn read(bytes: &[u8]) {
    let mut file = File::from(memfd_create("archive", MemfdFlags::empty()).expect("memory"));
    file.write_all(bytes).expect("memory");
    match archive::read(file, &LIMITS, None) {
        Ok(contents) => {
            assert!((1..=LIMITS.voices_max).contains(&contents.voices.len()));
            for found in &contents.voices {
                assert!(found.size_bytes <= LIMITS.real_bytes_max && found.samples.len() <= LIMITS.samples_max);
                assert!(found.samples.iter().all(|sample| (0..=LIMITS.audio_ms_max as i64).contains(&sample.duration_ms)));
            }
        }
        Err(ArchiveFault::Io(error)) => panic!("a fault of the archive is told as one of the disk: {error}"),
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
}
