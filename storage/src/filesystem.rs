//! The few questions to the operating system about a folder's disk: how much is free, and is it a network file system. Everything that is
//! not portable stands here, with a plain answer where the question can't be asked.

use std::path::Path;

/// Free bytes for an ordinary user on the disk that holds `path`; `None` where the system can't say.
#[cfg(unix)]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(not(unix))]
pub fn free_bytes(_path: &Path) -> Option<u64> {
    None
}

/// The name of the network file system that holds `path`, if it is one. SQLite's locks and shared memory do not work there.
#[cfg(target_os = "linux")]
pub fn network_filesystem(path: &Path) -> Option<&'static str> {
    // Magic numbers of statfs(2).
    match rustix::fs::statfs(path).ok()?.f_type as u64 & 0xffff_ffff {
        0x6969 => Some("NFS"),
        0x517b => Some("SMB"),
        0xff53_4d42 => Some("CIFS"),
        0xfe53_4d42 => Some("SMB2"),
        0x0102_1997 => Some("9P"),
        _ => None,
    }
}

#[cfg(not(target_os = "linux"))]
pub fn network_filesystem(_path: &Path) -> Option<&'static str> {
    None
}
