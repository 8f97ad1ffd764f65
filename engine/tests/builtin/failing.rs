//! What goes wrong around the engine costs one request and mends itself: a host that hangs, dies or finds no library, files that are
//! gone. A small shell script stands in for the host and spoils the real one.
#![cfg(unix)]

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use engine::builtin::{BuiltinConfig, BuiltinEngine, BuiltinVoice, Installation};
use engine::speech::{Availability, EngineError, SpeechEngine as _};

use super::installed::{Installed, host_program, installed, request, speak};

/// `$HOST` is the real host, `$FOLDER` a folder for notes. Without arguments the host is only asked what there is.
fn spoiled(installed: &Installed, script: &str) -> BuiltinEngine {
    let folder = installed.folder.path();
    let path = folder.join("spoiled-host");
    let text = format!("#!/bin/sh\nHOST='{}'\nFOLDER='{}'\n{script}\n", host_program().display(), folder.display());
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    engine_with(folder, path)
}

fn engine_with(folder: &Path, host_program: PathBuf) -> BuiltinEngine {
    let config = BuiltinConfig { host_program: Some(host_program), recheck_ms: 0, ..BuiltinConfig::new(folder.join("variants")) };
    BuiltinEngine::new(Installation::new(config))
}

#[test]
fn a_host_that_hangs_is_killed_when_the_caller_stops() {
    let Some(installed) = installed("a_host_that_hangs_is_killed_when_the_caller_stops") else { return };
    // Greets as the real one does, then swallows every request.
    let script = "if [ $# -eq 0 ]; then exec \"$HOST\"; fi
        \"$HOST\" \"$@\" < /dev/null; echo $$ > \"$FOLDER/pid\"; exec cat 3>&1 > /dev/null";
    let mut engine = spoiled(&installed, script);
    let mut asked = 0;
    let stopped = engine.synthesize(&request("hello", "en-US", &BuiltinVoice::default()), &mut |_| {
        asked += 1;
        if asked == 20 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(EngineError::Stopped)), "{stopped:?}");
    assert_eq!(asked, 20, "nothing is asked after a break");
    if cfg!(target_os = "linux") {
        let pid = fs::read_to_string(installed.folder.path().join("pid")).unwrap();
        assert!(!Path::new("/proc").join(pid.trim()).exists(), "the host still runs");
    }
}

#[test]
fn a_host_that_dies_costs_one_request() {
    let Some(installed) = installed("a_host_that_dies_costs_one_request") else { return };
    let script = "if [ $# -eq 0 ] || [ -e \"$FOLDER/died\" ]; then exec \"$HOST\" \"$@\"; fi
        touch \"$FOLDER/died\"; \"$HOST\" \"$@\" < /dev/null; head -c 1 > /dev/null; exit 1";
    let mut engine = spoiled(&installed, script);
    let asked = request("hello", "en-US", &BuiltinVoice::default());
    let failed = speak(&mut engine, &asked);
    assert!(matches!(failed, Err(EngineError::Failed(_))), "{failed:?}");
    let whole = speak(&mut installed.engine(), &asked).unwrap();
    assert_eq!(speak(&mut engine, &asked).unwrap(), whole);
}

#[test]
fn a_host_that_died_between_requests_is_not_noticed() {
    let Some(installed) = installed("a_host_that_died_between_requests_is_not_noticed") else { return };
    // Ends after its first answer: the pid is that of the real host.
    let mut engine = spoiled(&installed, "echo $$ > \"$FOLDER/pid\"; exec \"$HOST\" \"$@\"");
    let asked = request("hello", "en-US", &BuiltinVoice::default());
    let first = speak(&mut engine, &asked).unwrap();
    let pid = fs::read_to_string(installed.folder.path().join("pid")).unwrap();
    let killed = std::process::Command::new("kill").args(["-KILL", pid.trim()]).status().unwrap();
    assert!(killed.success());
    // The signal is on its way; until it has arrived the request may still be taken and lost, which is one failed attempt.
    let second = speak(&mut engine, &asked).or_else(|_| speak(&mut engine, &asked)).unwrap();
    assert_eq!(second, first);
}

#[test]
fn a_library_that_is_installed_later_is_found() {
    let Some(installed) = installed("a_library_that_is_installed_later_is_found") else { return };
    let script = "if [ -e \"$FOLDER/installed\" ]; then exec \"$HOST\" \"$@\"; fi; exec \"$HOST\" --library /nonexistent.so";
    let mut engine = spoiled(&installed, script);
    let Availability::Missing { what, command } = engine.availability() else { panic!("it is not missing") };
    assert_eq!(what, "espeak-ng");
    assert!(command.contains("espeak-ng"), "{command}");
    assert!(engine.capabilities().languages.is_empty());
    let asked = request("hello", "en-US", &BuiltinVoice::default());
    let missing = speak(&mut engine, &asked);
    assert!(matches!(&missing, Err(EngineError::Unavailable { what, .. }) if what == "espeak-ng"), "{missing:?}");
    fs::write(installed.folder.path().join("installed"), "").unwrap();
    assert_eq!(engine.availability(), Availability::Ready);
    assert!(speak(&mut engine, &asked).is_ok());
}

#[test]
fn a_missing_host_program_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_with(folder.path(), folder.path().join("nothing-here"));
    let Availability::Missing { what, command } = engine.availability() else { panic!("it is not missing") };
    assert_eq!(what, "clonyvoice-espeak-host");
    assert!(!command.is_empty());
}

#[test]
fn a_variant_file_that_was_taken_away_is_written_again() {
    let Some(installed) = installed("a_variant_file_that_was_taken_away_is_written_again") else { return };
    let mut engine = installed.engine();
    let asked = request("hello", "en-US", &BuiltinVoice { pitch_high_hz: 300.0, ..BuiltinVoice::default() });
    let first = speak(&mut engine, &asked).unwrap();
    let overlay = fs::read_dir(installed.folder.path().join("variants")).unwrap().next().unwrap().unwrap().path();
    for variant in fs::read_dir(overlay.join("espeak-ng-data/voices/!v")).unwrap() {
        fs::remove_file(variant.unwrap().path()).unwrap();
    }
    assert_eq!(speak(&mut engine, &asked).unwrap(), first);
}
