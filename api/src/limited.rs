//! `clonyvoice limited`: takes limits upon itself and becomes another program, which keeps them, and dies with the process that asked for
//! it. See `jobs::tool`. This file may not know which program that is.

use std::ffi::OsString;
use std::io;
use std::process::Command;

use jobs::tool::ProcessLimits;

use crate::decode_host::limits;

/// Comes back only where that was not possible.
pub fn run(wanted: &str, command: &[OsString]) -> io::Result<()> {
    let wanted: ProcessLimits = serde_json::from_str(wanted)?;
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    limits::apply(&wanted)?;
    become_program(Command::new(program).args(arguments))
}

#[cfg(unix)]
fn become_program(command: &mut Command) -> io::Result<()> {
    use std::os::unix::process::CommandExt;
    Err(command.exec())
}

#[cfg(not(unix))]
fn become_program(command: &mut Command) -> io::Result<()> {
    std::process::exit(command.status()?.code().unwrap_or(1));
}
