//! Holds the neural engine against golden outputs of the reference: `cargo run --release -p engine --example parity -- DIR`.
//!
//! DIR has a checkpoint, `golden.safetensors` and `golden.json`, as the reference's scripts make them. One line for each tensor; the exit
//! status is 1 if any is out of its tolerance, 2 if the folder cannot be read.

mod cases;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: parity DIR");
        return ExitCode::from(2);
    };
    let lines = match cases::run(&folder) {
        Ok(lines) => lines,
        Err(error) => {
            eprintln!("{}: {error}", folder.display());
            return ExitCode::from(2);
        }
    };
    for line in &lines {
        println!("{line}");
    }
    let out = lines.iter().filter(|line| !line.ok()).count();
    println!("{} compared, {out} out", lines.len());
    if out == 0 && !lines.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
