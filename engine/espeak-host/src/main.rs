//! clonyvoice-espeak-host: speaks with libespeak-ng over stdin and stdout. GPL-3.0-or-later, like the library; see README.md for the wire.
//!
//! One thread, one request at a time. It ends when its stdin does.

mod isolate;
mod library;
mod speak;
mod wire;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use isolate::{Isolation, Source, Untouched};
use wire::{ErrorCode, Reply};

const USAGE: &str = "usage: clonyvoice-espeak-host [--data-path FOLDER] [--library FILE] [--isolation fork|reload]

Speaks with libespeak-ng: requests on stdin, replies on stdout, as README.md of this program says. Not meant to be used by hand.";

fn main() -> ExitCode {
    let (source, isolation) = match options(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    isolate::die_with_parent();
    match serve(source, isolation) {
        Ok(code) => code,
        // The client is gone, or sent what is no frame: there is nobody to tell but the log.
        Err(error) => {
            eprintln!("clonyvoice-espeak-host: {error}");
            ExitCode::from(1)
        }
    }
}

fn serve(source: Source, isolation: Isolation) -> io::Result<ExitCode> {
    let espeak = match source.load() {
        Ok(espeak) => espeak,
        Err(message) => {
            wire::write_frame(&mut io::stdout().lock(), &wire::error(ErrorCode::LibraryMissing, message))?;
            return Ok(ExitCode::from(3));
        }
    };
    let hello = Reply::Hello {
        protocol: wire::PROTOCOL,
        library: espeak.version.clone(),
        data_path: espeak.data_path.clone(),
        sample_rate_hz: espeak.sample_rate_hz,
    };
    wire::write_frame(&mut io::stdout().lock(), &wire::encode(&hello, &[]))?;
    let mut untouched = Untouched::new(isolation, source, espeak);
    let mut input = io::stdin().lock();
    while let Some(body) = wire::read_request(&mut input)? {
        match speak::parse(&body) {
            Ok(request) => untouched.answer(|espeak| speak::answer(espeak, &request))?,
            Err(refusal) => wire::write_frame(&mut io::stdout().lock(), &refusal)?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn options(mut arguments: impl Iterator<Item = OsString>) -> Result<(Source, Isolation), String> {
    let mut source = Source::default();
    let mut isolation = Isolation::best();
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{} needs a value", name.to_string_lossy()))?;
        match name.to_str() {
            Some("--data-path") => source.data_path = Some(PathBuf::from(value)),
            Some("--library") => source.library = Some(PathBuf::from(value)),
            Some("--isolation") => {
                isolation = match value.to_str() {
                    #[cfg(unix)]
                    Some("fork") => Isolation::Fork,
                    Some("reload") => Isolation::Reload,
                    _ => return Err("--isolation is fork or reload".to_owned()),
                }
            }
            _ => return Err(format!("unknown option {}", name.to_string_lossy())),
        }
    }
    Ok((source, isolation))
}
