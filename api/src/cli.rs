//! The command line: what can be typed, and nothing of what it does.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{Flags, LogFormat, Role};

/// A voice of your own machine: text in, speech out, nothing lost.
#[derive(Debug, Parser)]
#[command(name = "clonyvoice", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub places: Places,
}

/// Where things are; the same for all commands.
#[derive(Debug, Args)]
pub struct Places {
    /// Folder with the database and the audio [default: $XDG_DATA_HOME/clonyvoice]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Settings in TOML [default: clonyvoice.toml in the data folder, where there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Postgres instead of SQLite, for several nodes
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// How log lines look
    #[arg(long, global = true, value_enum)]
    pub log_format: Option<LogFormat>,
    /// Which log lines are written, such as `info` or `warn,api=debug`
    #[arg(long, global = true, value_name = "FILTER")]
    pub log_filter: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer requests and speak
    Serve(Serve),
    /// Speak for servers that run elsewhere on the same database
    Work(Work),
    /// Copy everything into a new folder, while the server works; a server started on the copy goes on from there
    Backup {
        /// Must not exist, or be empty
        folder: PathBuf,
    },
    /// Hold queues, or let them go on; works while the server runs
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Runs one job for the process that holds it; see `jobs::isolate`
    #[command(hide = true)]
    IsolatedJob { job_id: uuid::Uuid, lease_no: i64 },
    /// Reads one uploaded file; see `api::decode_host`
    #[command(hide = true)]
    DecodeHost { request: String },
    /// Becomes another program, with limits; see `jobs::tool`
    #[command(hide = true)]
    Limited {
        limits: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, num_args = 1..)]
        command: Vec<std::ffi::OsString>,
    },
    /// Make, list and revoke API keys; works while the server runs
    #[command(subcommand)]
    Keys(Keys),
    /// List, pull, check and remove models for neural speech
    #[command(subcommand)]
    Models(Models),
    /// Speak a text into a file, without a server
    Say(Say),
    /// Look at what is needed to speak, and say how to mend what is missing
    Doctor,
}

#[derive(Debug, Args)]
pub struct Serve {
    /// Address and port to listen on [default: 127.0.0.1:8765]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Chunks spoken at the same time; 0 for one less than there are cores
    #[arg(long, value_name = "N")]
    pub speech_workers: Option<u32>,
    /// `api` leaves the work to `clonyvoice work`
    #[arg(long, value_enum)]
    pub role: Option<Role>,
}

#[derive(Debug, Args)]
pub struct Work {
    /// Which queues to take from, with commas between: `cpu` (speech), `io` (merging, fetching) [default: all]
    #[arg(long, value_name = "QUEUES")]
    pub queues: Option<String>,
    /// Chunks spoken at the same time; 0 for one less than there are cores
    #[arg(long, value_name = "N")]
    pub speech_workers: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Make a key; it is printed once, alone on stdout
    Create {
        /// What it is for
        #[arg(long)]
        name: String,
        /// Scopes with commas between [default: all]
        #[arg(long, default_value = "", hide_default_value = true)]
        scopes: String,
        /// Requests a minute by scope, such as tts:generate=100,voices:read=600
        #[arg(long, default_value = "", hide_default_value = true)]
        limits: String,
        /// Days until it ends [default: never]
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
        expires_in_days: Option<u32>,
    },
    /// All keys, without their secrets
    List,
    /// End a key and all that were made by it, for good; open connections with them are closed
    Revoke {
        /// The eight characters behind `cvk_`
        id: String,
    },
    /// Give a key a new secret; it is printed once, alone on stdout
    Rotate {
        /// The eight characters behind `cvk_`
        id: String,
        /// How long the old one still works, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 86_400, value_parser = clap::value_parser!(u32).range(0..=2_592_000))]
        overlap_s: u32,
    },
    /// Who did what to which key, newest last
    Audit {
        /// At most so many lines
        #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },
}

#[derive(Debug, Subcommand)]
pub enum Models {
    /// What can be had, what lies here, what each needs
    List,
    /// Fetch a model from the hub; goes on where an earlier pull broke off
    Pull {
        /// As in `models list`
        id: String,
        /// Take its files from this folder instead, for machines without a network
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
    },
    /// Read every byte of what is installed, and say what is not as it was
    Verify {
        /// [default: all]
        id: Option<String>,
    },
    /// Delete a model from this disk
    Remove {
        /// As in `models list`
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// Start no more jobs; running ones end, new ones are accepted
    Pause {
        /// `cpu` (speech) or `io` (merging) [default: both]
        queue: Option<String>,
    },
    /// Go on
    Resume {
        /// `cpu` or `io` [default: both]
        queue: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct Say {
    /// What to say
    pub text: String,
    /// Id or name of a voice [default: the first]
    #[arg(long)]
    pub voice: Option<String>,
    /// BCP 47 tag of the text's language [default: found in the text]
    #[arg(long, value_name = "TAG")]
    pub lang: Option<String>,
    /// 0.25 to 4
    #[arg(long, default_value_t = 1.0)]
    pub speed: f32,
    /// The WAV file to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

impl Cli {
    /// What was given as flags, for the configuration.
    pub fn flags(&self) -> Flags {
        let serve = match &self.command {
            Command::Serve(serve) => Some(serve),
            _ => None,
        };
        let work = match &self.command {
            Command::Work(work) => Some(work),
            _ => None,
        };
        Flags {
            data_dir: self.places.data_dir.clone(),
            listen: serve.and_then(|serve| serve.listen).map(|listen| listen.to_string()),
            log_format: self.places.log_format,
            log_filter: self.places.log_filter.clone(),
            speech_workers: serve.and_then(|serve| serve.speech_workers).or(work.and_then(|work| work.speech_workers)),
            role: serve.and_then(|serve| serve.role),
            database_url: self.places.database_url.clone(),
            queues: work.and_then(|work| work.queues.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
