//! What `deploy/` holds is read by the programs that it is for.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::server::program_path;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// Takes the comments off the example and starts a command with all of it.
#[test]
fn the_example_configuration_is_taken_whole() {
    let folder = tempfile::tempdir().unwrap();
    let example = std::fs::read_to_string(deploy().join("clonyvoice.toml")).unwrap();
    // Places that are empty in the example are those that nobody has to name.
    let set = |line: &&str| line.contains(" = ") && !line.contains("\"\"") && !line.starts_with(' ');
    let lines: Vec<&str> = example.lines().filter_map(|line| line.strip_prefix("# ")).filter(set).collect();
    assert!(lines.len() > 30, "{lines:?}");
    let file = folder.path().join("all.toml");
    let run = |text: String| {
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(program_path("clonyvoice"));
        command.args(["models", "list", "--config"]).arg(&file).arg("--data-dir").arg(folder.path().join("data"));
        command.output().unwrap()
    };
    let output = run(lines.join("\n"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = run(format!("{}\nlistens = 5\n", lines.join("\n")));
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("listens"), "an unknown setting is named");
}

/// `systemd-analyze verify`, where there is one, on the unit with the program that was built.
#[test]
fn the_unit_is_understood() {
    let unit = std::fs::read_to_string(deploy().join("clonyvoice.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/local/bin/clonyvoice serve "));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clonyvoice.service");
    let program = program_path("clonyvoice");
    std::fs::write(&file, unit.replace("/usr/local/bin/clonyvoice", program.to_str().unwrap())).unwrap();
    match Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(&file).output() {
        Err(error) => println!("skipped: no systemd-analyze ({error})"),
        Ok(output) => {
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            let ours: Vec<&str> = told.lines().filter(|line| line.contains("clonyvoice.service")).collect();
            assert!(output.status.success() && ours.is_empty(), "{told}");
        }
    }
}
