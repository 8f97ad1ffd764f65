//! The few questions to the operating system about a folder's disk: how much is free, and is it a network file system. Everything that is
//! not portable stands here, with a plain answer where the question can't be asked. And folders whose names outlive a power cut.

use std::fs;
use std::io;
use std::path::Path;

/// Makes a folder, and those above it that are missing. POSIX lets a name outlive a power cut only once the folder that holds it was synced
/// after the name was made; the last name is synced also when it was there, since who made it may have been killed before.
pub fn create_folder(path: &Path) -> io::Result<()> {
    let missing = path.ancestors().take_while(|folder| !folder.exists()).count();
    fs::create_dir_all(path)?;
    for made in path.ancestors().take(missing.max(1)) {
        match made.parent().map(sync_folder) {
            // A folder above us may not be ours to read, and only what can be read can be synced.
            Some(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Some(Err(error)) => return Err(error),
            Some(Ok(())) | None => {}
        }
    }
    Ok(())
}

/// Puts the names in a folder on the disk.
#[cfg(unix)]
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    fs::File::open(here)?.sync_all()
}

#[cfg(not(unix))]
pub fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

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
