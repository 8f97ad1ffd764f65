//! The program as its clients see it: frames in, frames out. Tests that speak say `SKIPPED` where eSpeak NG is not installed, unless
//! CLONYVOICE_TESTS_REQUIRE_TOOLS=1 makes that a failure.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "the environment says whether a test may be skipped")]

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

struct Host {
    child: Child,
    /// `None` once closed.
    input: Option<ChildStdin>,
    output: Option<ChildStdout>,
    hello: Value,
}

fn read_frame(output: &mut impl Read) -> (Value, Vec<u8>) {
    let mut length = [0; 4];
    output.read_exact(&mut length).unwrap();
    let mut header = vec![0; u32::from_le_bytes(length) as usize];
    output.read_exact(&mut header).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    let mut samples = vec![0; header["samples"].as_u64().unwrap_or(0) as usize * 2];
    output.read_exact(&mut samples).unwrap();
    (header, samples)
}

impl Host {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_clonyvoice-espeak-host"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let hello = read_frame(&mut output).0;
        Self { child, input: Some(input), output: Some(output), hello }
    }

    /// `None`, and a line on stderr, where the library is missing.
    fn installed(test: &str, arguments: &[&str]) -> Option<Self> {
        let host = Self::start(arguments);
        if host.hello["reply"] == "hello" {
            return Some(host);
        }
        assert!(std::env::var_os("CLONYVOICE_TESTS_REQUIRE_TOOLS").is_none_or(|value| value != "1"), "{test}: {}", host.hello);
        eprintln!("SKIPPED {test}: espeak-ng missing");
        None
    }

    fn send(&mut self, body: &[u8]) {
        let input = self.input.as_mut().unwrap();
        input.write_all(&(body.len() as u32).to_le_bytes()).unwrap();
        input.write_all(body).unwrap();
    }

    fn ask(&mut self, body: &[u8]) -> (Value, Vec<u8>) {
        self.send(body);
        read_frame(self.output.as_mut().unwrap())
    }

    fn speak(&mut self, voice: &str, text: &str, rate_wpm: i32) -> (Value, Vec<u8>) {
        self.ask(&speak(voice, text, rate_wpm))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn speak(voice: &str, text: &str, rate_wpm: i32) -> Vec<u8> {
    let request = json!({"op": "speak", "voice": voice, "text": text, "rate_wpm": rate_wpm, "pitch": 50, "range": 50, "volume": 100});
    serde_json::to_vec(&request).unwrap()
}

/// Variants of the library's own with everything that remembers: flutter, breath, roughness, echo, the second synthesiser.
const RESTLESS: &[&str] = &["gmw/en-US", "gmw/en-US+whisper", "gmw/en-US+f2", "gmw/en-US+grandma", "gmw/en-US+klatt", "gmw/de+croak"];

fn nothing_before_is_heard(test: &str, isolation: &str) {
    let arguments = ["--isolation", isolation];
    let Some(mut host) = Host::installed(test, &arguments) else { return };
    for voice in RESTLESS {
        let asked = "The same words, spoken again and again.";
        let first = host.speak(voice, asked, 175);
        assert_eq!(first.0["reply"], "speech", "{voice}: {}", first.0);
        assert!(first.1.len() > 20_000, "{voice} says nothing");
        for turn in 0..20 {
            let text = format!("Words number {turn} that leave something behind{}", "!".repeat(turn % 3));
            let other = RESTLESS[turn % RESTLESS.len()];
            assert_eq!(host.speak(other, &text, 80 + 18 * turn as i32).0["reply"], "speech");
        }
        assert!(host.speak(voice, asked, 175) == first, "{voice} after 20 others, by {isolation}");
        assert!(Host::start(&arguments).speak(voice, asked, 175) == first, "{voice} in a new process, by {isolation}");
    }
}

#[cfg(unix)]
#[test]
fn equal_requests_give_equal_bytes_by_fork() {
    nothing_before_is_heard("equal_requests_give_equal_bytes_by_fork", "fork");
}

#[test]
fn equal_requests_give_equal_bytes_by_reload() {
    nothing_before_is_heard("equal_requests_give_equal_bytes_by_reload", "reload");
}

#[test]
fn words_have_places_and_samples() {
    let Some(mut host) = Host::installed("words_have_places_and_samples", &[]) else { return };
    let (header, samples) = host.speak("zle/ru", "Привет, мир.", 175);
    let words: Vec<&Value> = header["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "word").collect();
    let places: Vec<(u64, u64)> =
        words.iter().map(|word| (word["text_position"].as_u64().unwrap(), word["length"].as_u64().unwrap())).collect();
    assert_eq!(places, [(0, 6), (8, 3)], "in characters, not bytes");
    assert_eq!(words[0]["sample"], 0);
    assert!((1..samples.len() as u64 / 2).contains(&words[1]["sample"].as_u64().unwrap()));
}

#[test]
fn voices_are_listed_in_order_and_can_be_spoken_with() {
    let Some(mut host) = Host::installed("voices_are_listed_in_order_and_can_be_spoken_with", &[]) else { return };
    let (header, _) = host.ask(br#"{"op":"voices"}"#);
    let identifiers: Vec<&str> = header["voices"].as_array().unwrap().iter().map(|voice| voice["identifier"].as_str().unwrap()).collect();
    assert!(identifiers.len() > 100 && identifiers.is_sorted());
    for identifier in identifiers.iter().filter(|identifier| !identifier.starts_with("mb/")).step_by(10) {
        assert_eq!(host.speak(identifier, "1", 175).0["reply"], "speech", "{identifier}");
    }
}

#[test]
fn marks_of_the_library_are_text() {
    let Some(mut host) = Host::installed("marks_of_the_library_are_text", &[]) else { return };
    let hello = host.speak("gmw/en-US", "hello", 175).1.len();
    assert!(host.speak("gmw/en-US", "[[h@l'oU]]", 175).1.len() > 2 * hello);
    assert!(host.speak("gmw/en-US", "<emphasis>hello</emphasis>", 175).1.len() > 2 * hello);
}

#[test]
fn wrong_requests_are_answered_and_the_program_goes_on() {
    let Some(mut host) = Host::installed("wrong_requests_are_answered_and_the_program_goes_on", &[]) else { return };
    let bad = host.ask(b"not json").0;
    assert_eq!((&bad["reply"], &bad["code"]), (&json!("error"), &json!("bad-request")));
    assert_eq!(host.speak("../../etc/passwd", "a", 175).0["code"], "bad-request");
    assert_eq!(host.speak("gmw/en-US", "a", 1000).0["code"], "bad-request");
    assert_eq!(host.speak("gmw/xx", "a", 175).0["code"], "unknown-voice");
    assert_eq!(host.speak("gmw/en-US+nobody", "a", 175).0["code"], "unknown-voice");
    // Some 200,000 characters: more than half an hour.
    assert_eq!(host.speak("gmw/en-US", &"many words ".repeat(18_000), 80).0["code"], "too-long");
    assert_eq!(host.speak("gmw/en-US", "a", 175).0["reply"], "speech");
}

#[test]
fn a_frame_over_the_limit_ends_the_program() {
    let Some(mut host) = Host::installed("a_frame_over_the_limit_ends_the_program", &[]) else { return };
    host.input.as_mut().unwrap().write_all(&(262_145u32).to_le_bytes()).unwrap();
    assert_eq!(host.child.wait().unwrap().code(), Some(1));
}

#[test]
fn the_program_ends_with_its_input() {
    let Some(mut host) = Host::installed("the_program_ends_with_its_input", &[]) else { return };
    host.input = None;
    assert_eq!(host.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_missing_library_is_said_and_the_program_ends() {
    let mut host = Host::start(&["--library", "/nonexistent/libespeak-ng.so.1"]);
    assert_eq!((&host.hello["reply"], &host.hello["code"]), (&json!("error"), &json!("library-missing")));
    assert_eq!(host.child.wait().unwrap().code(), Some(3));
}

#[test]
fn unknown_options_are_refused() {
    let refused = Command::new(env!("CARGO_BIN_EXE_clonyvoice-espeak-host")).arg("--loud").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("usage:"));
}

#[cfg(target_os = "linux")]
mod linux {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    /// Far longer than anything here takes; only a program that never ends reaches it.
    const NEVER: Duration = Duration::from_secs(60);

    fn speaking_child(host: &Host) -> String {
        let children = format!("/proc/{0}/task/{0}/children", host.child.id());
        loop {
            let listed = std::fs::read_to_string(&children).unwrap();
            if let Some(child) = listed.split_whitespace().next() {
                return child.to_owned();
            }
            std::thread::yield_now();
        }
    }

    fn signal(name: &str, pid: &str) {
        assert!(Command::new("kill").args([name, pid]).status().unwrap().success());
    }

    #[test]
    fn a_crash_of_the_library_is_answered_and_the_program_goes_on() {
        let test = "a_crash_of_the_library_is_answered_and_the_program_goes_on";
        let Some(mut host) = Host::installed(test, &[]) else { return };
        host.send(&speak("gmw/en-US", &"many words ".repeat(1_500), 175));
        signal("-KILL", &speaking_child(&host));
        let (reply, _) = read_frame(host.output.as_mut().unwrap());
        assert_eq!((&reply["code"], &reply["message"]), (&json!("failed"), &json!("libespeak-ng crashed with signal 9")));
        assert_eq!(host.speak("gmw/en-US", "a", 175).0["reply"], "speech");
    }

    /// The pipe ends only when the host and its speaking child have both ended.
    fn ends_without_another_word(mut output: ChildStdout) {
        let (sender, ended) = mpsc::channel();
        std::thread::spawn(move || sender.send(output.read_to_end(&mut Vec::new())));
        let bytes = ended.recv_timeout(NEVER).expect("somebody still holds the pipe").unwrap();
        assert_eq!(bytes, 0, "the work was done all the same");
    }

    #[test]
    fn a_killed_host_leaves_no_child() {
        let Some(mut host) = Host::installed("a_killed_host_leaves_no_child", &[]) else { return };
        host.send(&speak("gmw/en-US", &"many words ".repeat(3_000), 175));
        // Stopped, so that it can't be done before its parent dies, however late we come.
        signal("-STOP", &speaking_child(&host));
        let output = host.output.take().unwrap();
        host.child.kill().unwrap();
        ends_without_another_word(output);
    }

    #[test]
    fn a_killed_client_leaves_no_host() {
        if Host::installed("a_killed_client_leaves_no_host", &[]).is_none() {
            return;
        }
        // The shell is the client; this test holds both pipes, so the host cannot notice by them.
        let mut shell = Command::new("sh")
            .args(["-c", "exec 3<&0; \"$0\" <&3 & wait", env!("CARGO_BIN_EXE_clonyvoice-espeak-host")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (_input, mut output) = (shell.stdin.take().unwrap(), shell.stdout.take().unwrap());
        assert_eq!(read_frame(&mut output).0["reply"], "hello");
        shell.kill().unwrap();
        shell.wait().unwrap();
        ends_without_another_word(output);
    }
}
