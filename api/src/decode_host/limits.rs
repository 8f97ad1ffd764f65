//! What the kernel lets this process use. On Linux memory, CPU time, file size and open files are limited, and the process dies with its
//! parent; elsewhere only the parent's clock stops it.

use std::io;

use jobs::tool::ProcessLimits;

const OPEN_FILES_MAX: u64 = 64;

#[cfg(target_os = "linux")]
pub(crate) fn apply(limits: &ProcessLimits) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

    set_parent_process_death_signal(Some(Signal::KILL))?;
    let set = |resource, soft, hard| setrlimit(resource, Rlimit { current: Some(soft), maximum: Some(hard) });
    set(Resource::As, limits.memory_bytes_max, limits.memory_bytes_max)?;
    // At the first the process is told to end, a second later it is ended.
    set(Resource::Cpu, limits.cpu_s_max, limits.cpu_s_max + 1)?;
    set(Resource::Fsize, limits.file_bytes_max, limits.file_bytes_max)?;
    set(Resource::Nofile, OPEN_FILES_MAX, OPEN_FILES_MAX)?;
    // What a user sent is not to lie about in core files.
    set(Resource::Core, 0, 0)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn apply(_limits: &ProcessLimits) -> io::Result<()> {
    Ok(())
}
