//! Programs and libraries that a test needs and this machine may not have. A test that lacks one says so by name and passes; `.ci/test`
//! counts those. Where `CLONYVOICE_TESTS_REQUIRE_TOOLS=1` is set, as in CI, it fails instead.

use std::process::{Command, Stdio};

/// What a test may need beside Rust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    Espeak,
    Ffmpeg,
    Flite,
    Sox,
    YtDlp,
    /// A C compiler.
    Cc,
    /// The server's programs, which Debian keeps outside the search path.
    Postgres,
}

impl Tool {
    fn package(self) -> &'static str {
        match self {
            Self::Espeak => "espeak-ng",
            Self::Ffmpeg => "ffmpeg",
            Self::Flite => "flite",
            Self::Sox => "sox",
            Self::YtDlp => "yt-dlp",
            Self::Cc => "gcc",
            Self::Postgres => "postgresql",
        }
    }

    fn is_there(self) -> bool {
        match self {
            // The program comes with the library on every system we know.
            Self::Espeak => answers(Command::new("espeak-ng").arg("--version")),
            Self::Ffmpeg => answers(Command::new("ffmpeg").arg("-version")),
            Self::Flite => answers(Command::new("flite").arg("-lv")),
            Self::Sox => answers(Command::new("sox").arg("--version")),
            Self::YtDlp => answers(Command::new("yt-dlp").arg("--version")),
            Self::Cc => answers(Command::new("cc").arg("--version")),
            Self::Postgres => crate::postgres::installed().is_some(),
        }
    }
}

fn answers(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Whether `test` can go on; where not, it has been said.
///
/// # Panics
/// When a tool is missing and the environment says that none may be.
#[must_use]
pub fn has(test: &str, tools: &[Tool]) -> bool {
    for tool in tools {
        if tool.is_there() {
            continue;
        }
        let package = tool.package();
        #[allow(clippy::disallowed_methods, reason = "the switch is for the test run, no configuration of the program")]
        let required = std::env::var("CLONYVOICE_TESTS_REQUIRE_TOOLS").is_ok_and(|value| value == "1");
        assert!(!required, "{test} needs {package}, and CLONYVOICE_TESTS_REQUIRE_TOOLS=1 allows no skip");
        eprintln!("SKIPPED {test}: {package} is not installed");
        return false;
    }
    true
}
