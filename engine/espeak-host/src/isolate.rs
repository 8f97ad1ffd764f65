//! Why equal requests give equal bytes: libespeak-ng keeps state between utterances (flutter and noise counters, the echo buffer, the
//! C library's `rand`), so each request is answered from the same untouched state.
//!
//! On Unix the loaded and initialised library never speaks in this process: a forked child does, and ends. Elsewhere the library is
//! unloaded and loaded again before each request. This file may not know what a request says.
#![allow(unsafe_code, reason = "fork, waitpid, prctl and srand have no safe form")]

use std::io;
#[cfg(unix)]
use std::io::Write;
use std::path::PathBuf;

use crate::library::Espeak;
use crate::wire::{self, ErrorCode};

/// Where breath and noise start. Any number does, as long as it never changes: it is part of how a voice sounds.
const NOISE_SEED: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// A child for each request.
    #[cfg(unix)]
    Fork,
    /// The library loaded anew for each request.
    Reload,
}

impl Isolation {
    pub(crate) fn best() -> Self {
        #[cfg(unix)]
        return Self::Fork;
        #[cfg(not(unix))]
        return Self::Reload;
    }
}

/// Where the library and its data are found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source {
    pub(crate) library: Option<PathBuf>,
    pub(crate) data_path: Option<PathBuf>,
}

impl Source {
    pub(crate) fn load(&self) -> Result<Espeak, String> {
        Espeak::load(self.library.as_deref(), self.data_path.as_deref())
    }
}

/// A library in the state that follows its initialisation, always.
#[derive(Debug)]
pub(crate) struct Untouched {
    isolation: Isolation,
    source: Source,
    espeak: Option<Espeak>,
}

impl Untouched {
    pub(crate) fn new(isolation: Isolation, source: Source, espeak: Espeak) -> Self {
        Self { isolation, source, espeak: Some(espeak) }
    }

    /// Lets `make` use the library and writes the bytes it returns to stdout; the library is afterwards as it was before.
    /// A crash of the library becomes an error reply. An error of the pipe ends the program.
    pub(crate) fn answer(&mut self, make: impl FnOnce(&Espeak) -> Vec<u8>) -> io::Result<()> {
        match self.isolation {
            #[cfg(unix)]
            Isolation::Fork => self.answer_in_child(make),
            Isolation::Reload => self.answer_after_reload(make),
        }
    }

    #[cfg(unix)]
    fn answer_in_child(&self, make: impl FnOnce(&Espeak) -> Vec<u8>) -> io::Result<()> {
        let Some(espeak) = &self.espeak else { return Err(io::Error::other("the library is gone")) };
        // SAFETY: the only other thread is the library's own queue thread, which sleeps for ever in synchronous mode and holds nothing
        // that speaking needs; glibc and macOS make their allocators usable in the child.
        let child = unsafe { libc::fork() };
        if child < 0 {
            return Err(io::Error::last_os_error());
        }
        if child == 0 {
            die_with_parent();
            seed_noise();
            let frame = make(espeak);
            let mut output = io::stdout().lock();
            let code = i32::from(output.write_all(&frame).and_then(|()| output.flush()).is_err());
            // SAFETY: ends the child without running the parent's exit handlers a second time.
            unsafe { libc::_exit(code) }
        }
        match wait_for(child)? {
            Ended::Code(0) => Ok(()),
            // It writes only when all is made, so nothing of a frame is out when the library crashes or Rust panics (101).
            Ended::Signal(signal) => write(&wire::error(ErrorCode::Failed, format!("libespeak-ng crashed with signal {signal}"))),
            Ended::Code(101) => write(&wire::error(ErrorCode::Failed, "the host panicked while speaking")),
            Ended::Code(code) => Err(io::Error::other(format!("a reply could not be written (exit code {code})"))),
        }
    }

    fn answer_after_reload(&mut self, make: impl FnOnce(&Espeak) -> Vec<u8>) -> io::Result<()> {
        if let Some(used) = self.espeak.take() {
            used.terminate();
        }
        match self.source.load() {
            Ok(espeak) => {
                seed_noise();
                let frame = make(&espeak);
                self.espeak = Some(espeak);
                write(&frame)
            }
            Err(message) => write(&wire::error(ErrorCode::LibraryMissing, message)),
        }
    }
}

/// On Linux: a client or host that is killed takes what it started with it. Elsewhere the closed pipe does, one utterance later.
pub(crate) fn die_with_parent() {
    #[cfg(target_os = "linux")]
    // SAFETY: plain integers; a kernel that refuses leaves things as they were.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
}

fn seed_noise() {
    unsafe extern "C" {
        fn srand(seed: std::ffi::c_uint);
    }
    // SAFETY: C standard library, one thread.
    unsafe { srand(NOISE_SEED) }
}

fn write(frame: &[u8]) -> io::Result<()> {
    wire::write_frame(&mut io::stdout().lock(), frame)
}

#[cfg(unix)]
enum Ended {
    Code(i32),
    Signal(i32),
}

#[cfg(unix)]
fn wait_for(child: libc::pid_t) -> io::Result<Ended> {
    let mut status = 0;
    loop {
        // SAFETY: `status` outlives the call.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        if waited == child {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(if libc::WIFSIGNALED(status) { Ended::Signal(libc::WTERMSIG(status)) } else { Ended::Code(libc::WEXITSTATUS(status)) })
}
