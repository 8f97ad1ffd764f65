//! What yt-dlp is told, and what it says. It reads no configuration of the machine's, runs no other program, writes into one folder, and goes
//! through the proxy it is given; the proxy's password stands in no argument. Pure.

use std::ffi::OsString;
use std::path::Path;

const TITLE_CHARS_MAX: usize = 200;
const PROGRESS: &str = "CLONYVOICE-PROGRESS ";
const TITLE: &str = "CLONYVOICE-TITLE ";
/// What is fetched is called so, with the ending that the site gives it.
pub(crate) const FILE_STEM: &str = "fetched";

/// What may be fetched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub bytes_max: u64,
    pub audio_ms_max: u64,
}

pub(crate) fn arguments(url: &str, folder: &Path, limits: Limits) -> Vec<OsString> {
    let mut target = folder.join(FILE_STEM).into_os_string();
    target.push(".%(ext)s");
    let fixed = [
        // The settings on the standard input, and no others.
        "--ignore-config",
        "--config-locations",
        "-",
        "--no-playlist",
        "--no-exec",
        "--no-cache-dir",
        "--no-mtime",
        "--no-part",
        "--no-continue",
        "--no-overwrites",
        "--no-write-info-json",
        "--no-write-thumbnail",
        "--no-write-subs",
        "--no-cookies",
        "--no-cookies-from-browser",
        // Other programs would not go through the proxy; there are none on its path either.
        "--downloader",
        "native",
        "--fixup",
        "never",
        "--ffmpeg-location",
        "/nonexistent",
        "--socket-timeout",
        "30",
        "--retries",
        "3",
        "--fragment-retries",
        "3",
        "--extractor-retries",
        "1",
        "--abort-on-unavailable-fragments",
        "--concurrent-fragments",
        "1",
        "--format",
        "bestaudio/best",
        "--quiet",
        "--no-warnings",
        "--no-simulate",
        "--progress",
        "--newline",
    ];
    let mut arguments: Vec<OsString> = fixed.map(OsString::from).to_vec();
    arguments.extend(["--max-filesize".into(), limits.bytes_max.to_string().into()]);
    arguments.extend(["--match-filter".into(), format!("!is_live & duration<=?{}", limits.audio_ms_max / 1_000).into()]);
    let progress = format!("download:{PROGRESS}%(progress.downloaded_bytes)s %(progress.total_bytes,progress.total_bytes_estimate)s");
    arguments.extend(["--progress-template".into(), progress.into()]);
    arguments.extend(["--print".into(), format!("before_dl:{TITLE}%(title)j").into()]);
    arguments.extend(["--output".into(), target, "--".into(), url.into()]);
    arguments
}

/// For the standard input.
pub(crate) fn settings(proxy_url: &str) -> Vec<u8> {
    format!("--proxy {proxy_url}\n").into_bytes()
}

/// A line that it says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    Title(String),
    /// 0 to 1.
    Progress(f64),
}

pub(crate) fn said(line: &str) -> Option<Said> {
    if let Some(title) = line.strip_prefix(TITLE) {
        let title: String = serde_json::from_str(title).ok()?;
        let title: String = title.chars().filter(|c| !c.is_control()).take(TITLE_CHARS_MAX).collect();
        return Some(Said::Title(title.trim().to_owned())).filter(|_| !title.trim().is_empty());
    }
    let (done, all) = line.trim_start_matches('\r').strip_prefix(PROGRESS)?.split_once(' ')?;
    let (done, all): (f64, f64) = (done.parse().ok()?, all.trim().parse().ok()?);
    (all > 0.0).then(|| Said::Progress((done / all).clamp(0.0, 1.0)))
}

/// Whether another attempt may succeed: the site did not answer, rather than answered with a no.
pub(crate) fn may_pass(complaint: &str) -> bool {
    let passing =
        ["timed out", "Connection reset", "Temporary failure", "HTTP Error 5", "HTTP Error 429", "IncompleteRead", "Remote end closed"];
    passing.iter().any(|words| complaint.contains(words))
}

/// The last thing it complains of, without its own advertising.
pub(crate) fn reason(complaint: &str) -> String {
    let line = complaint.lines().rev().find(|line| line.starts_with("ERROR:")).or(complaint.lines().next_back()).unwrap_or_default();
    let line = line.trim_start_matches("ERROR:").trim();
    let line = line.split("; please report").next().unwrap_or_default().split(" (caused by").next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_comes_last_and_no_secret_is_an_argument() {
        let arguments = arguments("--exec=rm", Path::new("/tmp/x"), Limits { bytes_max: 5, audio_ms_max: 60_000 });
        assert_eq!(arguments[arguments.len() - 2..], ["--", "--exec=rm"].map(OsString::from));
        assert!(arguments.iter().all(|argument| !argument.to_string_lossy().contains("--proxy")));
        assert_eq!(settings("http://u:p@127.0.0.1:1"), b"--proxy http://u:p@127.0.0.1:1\n");
    }

    #[test]
    fn what_it_says_is_read() {
        assert_eq!(said("CLONYVOICE-TITLE \"A \\u0007fog\\n\""), Some(Said::Title("A fog".into())));
        assert_eq!(said("CLONYVOICE-TITLE \"\""), None);
        assert_eq!(said("\rCLONYVOICE-PROGRESS 50 200"), Some(Said::Progress(0.25)));
        assert_eq!((said("CLONYVOICE-PROGRESS 50 NA"), said("[download] 5%"), said("CLONYVOICE-PROGRESS")), (None, None, None));
    }

    #[test]
    fn why_it_failed_is_one_line() {
        let said = "WARNING: x\nERROR: [generic] Unable to download webpage: HTTP Error 503 (caused by <HTTPError>); please report this\n";
        assert_eq!(reason(said), "[generic] Unable to download webpage: HTTP Error 503");
        assert!(may_pass(said) && !may_pass("ERROR: Unsupported URL: http://x"));
    }
}
