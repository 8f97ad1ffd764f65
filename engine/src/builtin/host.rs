//! One process of `clonyvoice-espeak-host`, as a client of its wire format (engine/espeak-host/README.md).
//!
//! Waiting can be broken off at any time: the process is then killed, which is cheap, since a new one greets within about 10 ms. This
//! file may not know voices, languages or what is done with the samples.

use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

const PROGRAM: &str = "clonyvoice-espeak-host";
const PROTOCOL: u32 = 1;

/// While the host works, whoever waits is asked this often whether it still should.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// A header holds some 80 bytes for each word.
const MAX_HEADER_BYTES: u32 = 8 * 1024 * 1024;
/// More than the host's own limit of half an hour of speech.
const MAX_SAMPLES: u64 = 48_000 * 60 * 30;

/// A pipe takes this much at once on every system, so that writing a request never waits for a host that does not read.
pub(super) const MAX_REQUEST_BYTES: usize = 60 * 1024;

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub(super) enum HostRequest<'a> {
    Speak { voice: &'a str, text: &'a str, rate_wpm: i32, pitch: i32, range: i32, volume: i32 },
    Voices {},
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
enum Header {
    Hello(Hello),
    Voices { voices: Vec<HostVoice> },
    Speech { sample_rate_hz: u32, samples: u64, events: Vec<HostEvent> },
    Error { code: String, message: String },
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Hello {
    pub(super) protocol: u32,
    pub(super) library: String,
    pub(super) data_path: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct HostVoice {
    pub(super) identifier: String,
    pub(super) name: String,
    pub(super) languages: Vec<HostLanguage>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct HostLanguage {
    pub(super) tag: String,
    pub(super) priority: u8,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct HostEvent {
    pub(super) kind: HostEventKind,
    /// In characters of the text that was sent.
    pub(super) text_position: usize,
    pub(super) length: usize,
    pub(super) sample: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum HostEventKind {
    Word,
    Sentence,
    End,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct HostSpeech {
    pub(super) sample_rate_hz: u32,
    pub(super) samples: Vec<i16>,
    pub(super) events: Vec<HostEvent>,
}

/// Sorted by what the engine does next.
#[derive(Debug, thiserror::Error)]
pub(super) enum HostError {
    #[error("stopped on request")]
    Stopped,
    /// No file of this name can be started.
    #[error("{0} cannot be started: {1}")]
    NoProgram(PathBuf, io::Error),
    /// The host runs, but libespeak-ng is not on this machine.
    #[error("libespeak-ng is missing: {0}")]
    NoLibrary(String),
    /// The variant file is gone.
    #[error("{0}")]
    UnknownVoice(String),
    /// The host said no; it goes on.
    #[error("{0}")]
    Answered(String),
    /// The host is dead or does not answer in time; a new one must be started.
    #[error("{0}")]
    Broken(String),
}

/// The program, when it is not named: beside this executable, one folder up (where tests find it), else by the system's search path.
pub(super) fn find_program(named: Option<&Path>) -> PathBuf {
    if let Some(named) = named {
        // The host is started in another folder.
        return std::path::absolute(named).unwrap_or_else(|_| named.to_owned());
    }
    let file = format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX);
    let own = std::env::current_exe().unwrap_or_default();
    let folders = own.ancestors().skip(1).take(2);
    folders.map(|folder| folder.join(&file)).find(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(file))
}

type Reply = io::Result<(Header, Vec<i16>)>;

#[derive(Debug)]
pub(super) struct Host {
    child: Child,
    requests: ChildStdin,
    replies: Receiver<Reply>,
    pub(super) hello: Hello,
}

impl Host {
    /// `data` is the folder that holds `espeak-ng-data`; without it the library takes the system's.
    pub(super) fn start(
        program: &Path,
        data: Option<&Path>,
        limit: Duration,
        wanted: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Self, HostError> {
        let mut command = Command::new(program);
        if let Some(data) = data {
            // The library keeps paths in 160 bytes, so it gets a short one.
            command.current_dir(data).args(["--data-path", "."]);
        }
        // Both lead the library to other data than was asked for.
        command.env_remove("ESPEAK_DATA_PATH").env_remove("HOME").env("LC_ALL", "C.UTF-8");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| HostError::NoProgram(program.to_owned(), error))?;
        let (Some(requests), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            let _ = child.kill();
            return Err(HostError::Broken("the speech host has no pipes".to_owned()));
        };
        let hello = Hello { protocol: 0, library: String::new(), data_path: PathBuf::new() };
        let mut host = Self { child, requests, replies: read_in_background(output)?, hello };
        match host.wait(limit, wanted)?.0 {
            Header::Hello(hello) if hello.protocol == PROTOCOL => {
                host.hello = hello;
                Ok(host)
            }
            Header::Error { code, message } if code == "library-missing" => Err(HostError::NoLibrary(message)),
            _ => Err(HostError::Broken(format!("{} does not speak protocol {PROTOCOL}", program.display()))),
        }
    }

    pub(super) fn voices(&mut self, limit: Duration, wanted: &mut dyn FnMut() -> ControlFlow<()>) -> Result<Vec<HostVoice>, HostError> {
        self.send(&HostRequest::Voices {})?;
        match self.wait(limit, wanted)?.0 {
            Header::Voices { voices } => Ok(voices),
            other => Err(unexpected(other)),
        }
    }

    /// `wanted` is asked every 20 ms; `Break` kills the host. After an error other than `Answered` and `UnknownVoice` it is of no use.
    pub(super) fn speak(
        &mut self,
        request: &HostRequest<'_>,
        limit: Duration,
        wanted: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<HostSpeech, HostError> {
        self.send(request)?;
        match self.wait(limit, wanted)? {
            (Header::Speech { sample_rate_hz, events, .. }, samples) => Ok(HostSpeech { sample_rate_hz, samples, events }),
            (other, _) => Err(unexpected(other)),
        }
    }

    /// `false` when the process has ended by itself.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn send(&mut self, request: &HostRequest<'_>) -> Result<(), HostError> {
        let body = serde_json::to_vec(request).map_err(|error| HostError::Answered(error.to_string()))?;
        if body.len() > MAX_REQUEST_BYTES {
            return Err(HostError::Answered("request is too long for the speech host".to_owned()));
        }
        let mut frame = (body.len() as u32).to_le_bytes().to_vec();
        frame.extend_from_slice(&body);
        let sent = self.requests.write_all(&frame).and_then(|()| self.requests.flush());
        sent.map_err(|error| HostError::Broken(format!("the speech host is gone: {error}")))
    }

    fn wait(&mut self, limit: Duration, wanted: &mut dyn FnMut() -> ControlFlow<()>) -> Result<(Header, Vec<i16>), HostError> {
        #[allow(clippy::disallowed_methods, reason = "a limit on a process, counted from here")]
        let started = Instant::now();
        loop {
            match self.replies.recv_timeout(ASK_EVERY) {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(error)) => return Err(HostError::Broken(format!("the speech host died: {error}"))),
                Err(RecvTimeoutError::Disconnected) => return Err(HostError::Broken("the speech host died".to_owned())),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if wanted().is_break() {
                self.kill();
                return Err(HostError::Stopped);
            }
            if started.elapsed() > limit {
                self.kill();
                return Err(HostError::Broken(format!("the speech host did not answer within {} ms", limit.as_millis())));
            }
        }
    }

    fn kill(&mut self) {
        // Both fail only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}

fn unexpected(header: Header) -> HostError {
    match header {
        Header::Error { code, message } if code == "unknown-voice" => HostError::UnknownVoice(message),
        Header::Error { message, .. } => HostError::Answered(message),
        _ => HostError::Broken("the speech host answered something else".to_owned()),
    }
}

/// The thread ends when the pipe does, and that is when the host ends.
fn read_in_background(mut output: ChildStdout) -> Result<Receiver<Reply>, HostError> {
    let (sender, replies) = mpsc::sync_channel(1);
    let reader = move || {
        loop {
            let reply = read_reply(&mut output);
            let ended = reply.is_err();
            if sender.send(reply).is_err() || ended {
                return;
            }
        }
    };
    let spawned = std::thread::Builder::new().name("espeak-host-reader".to_owned()).spawn(reader);
    spawned.map(|_| replies).map_err(|error| HostError::Broken(format!("no thread for the speech host: {error}")))
}

fn read_reply(output: &mut impl Read) -> Reply {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut length = [0u8; 4];
    output.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > MAX_HEADER_BYTES {
        return Err(invalid(format!("a header of {length} bytes")));
    }
    let mut header = vec![0u8; length as usize];
    output.read_exact(&mut header)?;
    let header: Header = serde_json::from_slice(&header).map_err(|error| invalid(error.to_string()))?;
    let count = match &header {
        Header::Speech { samples, .. } if *samples > MAX_SAMPLES => return Err(invalid(format!("{samples} samples"))),
        Header::Speech { samples, .. } => *samples as usize,
        _ => 0,
    };
    let mut bytes = vec![0u8; count * 2];
    output.read_exact(&mut bytes)?;
    let samples = bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    Ok((header, samples))
}
