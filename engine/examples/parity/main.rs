//! Holds the neural engines against golden outputs of the reference: `cargo run --release -p engine --example parity -- DIR`.
//!
//! DIR has a checkpoint, `golden.safetensors` and (Qwen3-TTS) `golden.json`, as the reference's scripts make them. One line for each tensor; the exit
//! status is 1 if any is out of its tolerance, 2 if the folder cannot be read.

mod cases;
mod translators;
mod whisper;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: parity DIR");
        return ExitCode::from(2);
    };
    match whisper::run(&folder).transpose().or_else(|| translators::run(&folder).transpose()).transpose() {
        Ok(None) => {}
        Ok(Some(compared)) => return print(&compared),
        Err(error) => {
            eprintln!("{}: {error}", folder.display());
            return ExitCode::from(2);
        }
    }
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

fn print(compared: &[translators::Compared]) -> ExitCode {
    let ok = |difference: f32, tolerance: f32| difference <= tolerance;
    for (name, difference, tolerance) in compared {
        let verdict = if ok(*difference, *tolerance) { "ok" } else { "OUT" };
        println!("{name:<40} {difference:>9.2e}  tolerance {tolerance:.0e}  {verdict}");
    }
    let out = compared.iter().filter(|(_, difference, tolerance)| !ok(*difference, *tolerance)).count();
    println!("{} compared, {out} out", compared.len());
    if out == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
