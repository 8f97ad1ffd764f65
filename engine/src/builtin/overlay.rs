//! The data folder that the speech library reads: links to the system's data and our own voice variants beside them.
//!
//! Several processes and threads may make and fill it at once; every step can be done twice. It may not know what is in a variant.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

/// A variant file is some 300 bytes. When this many lie there, all are taken away; those in use are written again.
const MAX_VARIANTS: usize = 20_000;

/// The one name of a folder that the library looks for.
const DATA_FOLDER: &str = "espeak-ng-data";

#[derive(Debug)]
pub(super) struct Overlay {
    root: PathBuf,
    written: Mutex<HashSet<String>>,
}

impl Overlay {
    /// Makes the folder below `folder` for one set of system data, or finds it made.
    pub(super) fn create(folder: &Path, system_data: &Path, library_version: &str) -> io::Result<Self> {
        let identity = format!("{}\n{library_version}", system_data.display());
        let root = folder.join(format!("espeak-{}", short_hash(&identity)));
        let data = root.join(DATA_FOLDER);
        let variants = data.join("voices").join("!v");
        fs::create_dir_all(&variants)?;
        mirror(system_data, &data, "voices")?;
        mirror(&system_data.join("voices"), &data.join("voices"), "!v")?;
        Ok(Self { root, written: Mutex::default() })
    }

    /// The folder that holds `espeak-ng-data`.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The name of the variant with this body; its file is there when this returns.
    pub(super) fn variant(&self, body: &str) -> io::Result<String> {
        // The library takes a name that begins with a digit for a number, and then speaks with the plain voice.
        let name = format!("v{}", short_hash(body));
        if self.known().contains(&name) {
            return Ok(name);
        }
        let folder = self.root.join(DATA_FOLDER).join("voices").join("!v");
        let path = folder.join(&name);
        if !path.is_file() {
            if fs::read_dir(&folder)?.count() >= MAX_VARIANTS {
                self.clear(&folder)?;
            }
            write_whole(&folder, &path, &format!("language variant\nname {name}\n{body}"))?;
        }
        self.known().insert(name.clone());
        Ok(name)
    }

    /// Makes [`Overlay::variant`] look at the disk again: somebody has taken files away.
    pub(super) fn forget(&self) {
        self.known().clear();
    }

    fn clear(&self, folder: &Path) -> io::Result<()> {
        self.forget();
        for entry in fs::read_dir(folder)? {
            // Another process may be doing the same.
            let _ = fs::remove_file(entry?.path());
        }
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.written.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// 16 hexadecimal digits: the library keeps the names of variants in short buffers.
fn short_hash(text: &str) -> String {
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The file appears under its name with all that is in it, or not at all.
fn write_whole(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let draft = folder.join(format!(".{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    let mut file = fs::File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    drop(file);
    fs::rename(&draft, path)
}

/// Links every entry of `from` but one into `to`.
fn mirror(from: &Path, to: &Path, but: &str) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name() != but {
            let link = to.join(entry.file_name());
            if fs::symlink_metadata(&link).is_err() {
                match link_or_copy(&entry.path(), &link) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

#[cfg(unix)]
fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(from, to)
}

/// Links need a privilege on Windows; the data is 12 MB.
#[cfg(not(unix))]
fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        return mirror(from, to, "");
    }
    let folder = to.parent().unwrap_or(to);
    write_copy(folder, from, to)
}

#[cfg(not(unix))]
fn write_copy(folder: &Path, from: &Path, to: &Path) -> io::Result<()> {
    let draft = folder.join(format!(".{}-copy", std::process::id()));
    fs::copy(from, &draft)?;
    fs::rename(&draft, to)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn system_data(folder: &Path) -> PathBuf {
        let data = folder.join("system");
        fs::create_dir_all(data.join("voices/!v")).unwrap();
        fs::create_dir_all(data.join("voices/mb")).unwrap();
        fs::create_dir_all(data.join("lang")).unwrap();
        fs::write(data.join("phontab"), "p").unwrap();
        fs::write(data.join("voices/!v/f2"), "v").unwrap();
        data
    }

    #[test]
    fn system_data_is_linked_and_variants_are_our_own() {
        let folder = tempfile::tempdir().unwrap();
        let system = system_data(folder.path());
        let overlay = Overlay::create(folder.path(), &system, "1.51").unwrap();
        let data = overlay.root().join(DATA_FOLDER);
        assert_eq!(fs::read_to_string(data.join("phontab")).unwrap(), "p");
        assert!(data.join("voices/mb").is_dir() && data.join("lang").is_dir());
        assert!(!data.join("voices/!v/f2").exists());
        let name = overlay.variant("pitch 80 120\n").unwrap();
        assert_eq!(
            fs::read_to_string(data.join("voices/!v").join(&name)).unwrap(),
            format!("language variant\nname {name}\npitch 80 120\n")
        );
        assert_ne!(name, overlay.variant("pitch 80 121\n").unwrap());
        assert!(!system.join("voices/!v").join(&name).exists(), "the system's folder is not written to");
    }

    #[test]
    fn many_at_once_make_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let system = system_data(folder.path());
        let roots: HashSet<PathBuf> = std::thread::scope(|scope| {
            let make = || {
                let overlay = Overlay::create(folder.path(), &system, "1.51").unwrap();
                for pitch in 0..50 {
                    overlay.variant(&format!("pitch {pitch} 120\n")).unwrap();
                }
                overlay.root().to_owned()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(roots.len(), 1);
        let variants = roots.iter().next().unwrap().join(DATA_FOLDER).join("voices/!v");
        assert_eq!(fs::read_dir(variants).unwrap().count(), 50, "no draft is left behind");
    }

    #[test]
    fn a_variant_taken_away_is_written_again_after_forgetting() {
        let folder = tempfile::tempdir().unwrap();
        let overlay = Overlay::create(folder.path(), &system_data(folder.path()), "1.51").unwrap();
        let name = overlay.variant("pitch 80 120\n").unwrap();
        let path = overlay.root().join(DATA_FOLDER).join("voices/!v").join(&name);
        fs::remove_file(&path).unwrap();
        overlay.forget();
        assert_eq!(overlay.variant("pitch 80 120\n").unwrap(), name);
        assert!(path.is_file());
    }
}
