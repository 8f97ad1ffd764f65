//! What a decoder does in its worst hour, for the tests of the limits. Only in debug builds.

use serde::{Deserialize, Serialize};

use super::HostAnswer;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    EatMemory,
    EatTime,
    Sleep,
    Panic,
    Babble,
}

#[allow(clippy::disallowed_methods, reason = "a process that does nothing is what is tested")]
pub(super) fn misbehave(how: How) -> HostAnswer {
    match how {
        How::EatMemory => {
            let mut eaten: Vec<Vec<u8>> = Vec::new();
            loop {
                eaten.push(vec![1; 16 * 1024 * 1024]);
            }
        }
        How::EatTime => {
            let mut n: u64 = 0;
            loop {
                n = std::hint::black_box(n.wrapping_mul(31).wrapping_add(1));
            }
        }
        How::Sleep => loop {
            std::thread::sleep(std::time::Duration::from_secs(3_600));
        },
        How::Panic => panic!("as a decoder might"),
        How::Babble => HostAnswer::Unsupported { detail: "x".repeat(17 * 1024 * 1024) },
    }
}
