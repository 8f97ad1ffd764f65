//! Every setting, in one struct, from four places: flags, `CLONYVOICE_*` variables, a TOML file, defaults; the first that says something
//! wins. The only file (beside `main`) that reads the environment. A wrong value stops the start and is named with where it came from.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use figment::providers::{Env, Format, Serialized, Toml};
use figment::{Figment, Source};
use jobs::download::DownloadConfig;
use jobs::tool::{ProcessLimits, ToolsConfig};
use serde::{Deserialize, Deserializer, Serialize};

use crate::config_check::check;
use crate::decode_hosts;
use crate::download_reader::DownloadReader;

pub const ENV_PREFIX: &str = "CLONYVOICE_";
const FILE_NAME: &str = "clonyvoice.toml";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Database, audio, temporary files. Default: `$XDG_DATA_HOME/clonyvoice`.
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    /// `postgres://...` for several nodes; default: SQLite in the data folder.
    pub database_url: Option<String>,
    /// `s3://bucket` or `s3://bucket/prefix` for several nodes; default: a folder in the data folder. Credentials and region are the usual
    /// `AWS_*` variables.
    pub blob_store_url: Option<String>,
    /// Of a store that is not Amazon's.
    pub blob_store_endpoint: Option<String>,
    /// `endpoint/bucket/key` instead of `bucket.endpoint/key`.
    pub blob_store_path_style: bool,
    /// Audio is answered with a redirection to the bucket, at an address that works for so long; 0 sends it through the server.
    pub blob_store_presigned_s: u64,
    /// `all`, or `api`: answer requests and leave the work to `clonyvoice work`.
    pub role: Role,
    /// Names beside loopback and the listen address that a `Host` header may hold, without port.
    #[serde(deserialize_with = "list")]
    pub allowed_hosts: Vec<String>,
    /// Origins beside this server's own that a browser page may call from, such as `https://app.example`.
    #[serde(deserialize_with = "list")]
    pub allowed_origins: Vec<String>,
    /// Origins whose pages may call from a browser and read the answers (CORS), such as `https://app.example`; they count as allowed ones.
    #[serde(deserialize_with = "list")]
    pub cors_origins: Vec<String>,
    /// A certificate in PEM, with those that signed it behind it: then the server speaks HTTPS. Read at the start.
    pub tls_cert: Option<PathBuf>,
    /// Its private key in PEM.
    pub tls_key: Option<PathBuf>,
    /// Chunks spoken at the same time; 0 for one less than there are cores, at least one.
    pub speech_workers: u32,
    /// Which queues the workers of this process take from: `cpu` (speech) and `io` (merging, fetching).
    #[serde(deserialize_with = "list")]
    pub queues: Vec<String>,
    /// How long a worker may be silent before its work is given to another; 30,000 or more.
    pub lease_ms: u64,
    /// How often leases are renewed; at most a third of `lease_ms`.
    pub heartbeat_ms: u64,
    /// How long requests are still answered after a stop was asked for, while `/readyz` says 503, so that whoever spreads them looks elsewhere.
    pub stop_drain_ms: u64,
    /// How long running chunks may go on after a stop was asked for.
    pub stop_grace_ms: u64,
    /// Open generations beyond which new ones are refused with 503.
    pub queue_depth_max: u32,
    /// New generations are refused with 503 while what waits would take longer than this at the pace of the last minute.
    pub queue_wait_max_s: u32,
    pub text_chars_max: u32,
    pub chunks_max: u32,
    pub json_body_bytes_max: u64,
    pub upload_bytes_max: u64,
    /// What the uploads of one owner may hold in temporary files at a time.
    pub temporary_bytes_per_owner_max: u64,
    /// What all uploads together may hold.
    pub temporary_bytes_max: u64,
    /// A body may pause for so long between two pieces.
    pub body_idle_ms: u64,
    /// A JSON body must be there after so long, however steadily it comes.
    pub body_total_ms: u64,
    /// The head of a request must be there after so long, and a TLS handshake; an idle connection is kept as long.
    pub header_read_ms: u64,
    /// All headers of a request together.
    pub header_bytes_max: u32,
    pub connections_max: u32,
    /// WebSocket and event-stream connections together.
    pub subscribers_max: u32,
    /// A subscriber that takes longer for one message is closed with 4408.
    pub subscriber_send_ms: u64,
    /// Light routes draw from the same bucket as their scope's other routes.
    pub strict_rate_limits: bool,
    /// How often what was drawn from limits is written down; a killed process forgets the last of it.
    pub limits_write_ms: u64,
    /// Requests without a valid key that one address may make in a minute before it has to wait.
    pub failures_per_minute_max: u32,
    /// The same for all that run on this machine together.
    pub failures_loopback_per_minute_max: u32,
    /// Whether keys may be made, listed and ended from other machines.
    pub remote_key_management: bool,
    /// For requests that name none: `auto` (the best that is installed for voice and language), `builtin` or `qwen3-tts`; `scripted` is for
    /// tests and only in debug builds.
    pub engine: EngineChoice,
    /// Requests of one neural model that are spoken at the same time: together they take little longer than one. 1 to 64.
    pub neural_slots: u32,
    /// For tests, and only in debug builds: where the process dies, as `name` or `name:nth`; see `jobs::fail_point`.
    pub fail_point: Option<String>,
    /// JSON: what the scripted engine does.
    #[serde(deserialize_with = "json_text")]
    pub engine_script: Option<String>,
    /// The program that loads libespeak-ng; found beside this program when not given.
    pub espeak_host: Option<PathBuf>,
    /// The program that reads uploads (`clonyvoice` itself); found when not given.
    pub decode_host: Option<PathBuf>,
    /// What one process that reads an upload may use: memory, computing time, time, bytes of a file it writes.
    pub decode_memory_bytes_max: u64,
    pub decode_cpu_s_max: u64,
    pub decode_wall_ms_max: u64,
    pub decode_file_bytes_max: u64,
    /// Folders where ffmpeg and yt-dlp are looked for, in order; those of `PATH` when not given.
    #[serde(deserialize_with = "list")]
    pub tool_folders: Vec<String>,
    /// Addresses with their port, such as `192.168.1.5:8096`, from which download-video may fetch although they are not public.
    #[serde(deserialize_with = "list")]
    pub download_allowed: Vec<String>,
    /// What one download may move, and how long it may take.
    pub download_bytes_max: u64,
    pub download_wall_ms_max: u64,
    /// Uploads read at the same time.
    pub decode_hosts_max: u32,
    /// Longer recordings are refused.
    pub audio_ms_max: u64,
    /// What an archive of voices may hold, unpacked.
    pub archive_bytes_max: u64,
    /// Where models for neural speech lie. Default: `models` in the data folder.
    pub models_dir: Option<PathBuf>,
    /// A folder with manifests (`*.toml`) of other models than those that the program knows.
    pub models_catalogue_dir: Option<PathBuf>,
    /// The hub that models are pulled from, or a mirror of it.
    pub models_endpoint: String,
    /// For models that the hub gives only to those who have accepted their terms.
    pub models_token: Option<Secret>,
    /// How the weights of neural speech are kept in memory: `f32`, `q8_0` or `q4_0`.
    pub models_precision: ModelsPrecision,
    /// A model that nobody used for so long is freed, and loaded again when it is needed; 0 keeps it.
    pub models_idle_minutes: u32,
    pub log_format: LogFormat,
    /// As in `tracing_subscriber`'s EnvFilter, such as `info,api=debug`.
    pub log_filter: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    All,
    Api,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineChoice {
    Auto,
    Builtin,
    #[serde(rename = "qwen3-tts")]
    Qwen3Tts,
    Scripted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModelsPrecision {
    #[serde(rename = "f32")]
    F32,
    #[serde(rename = "q8_0")]
    Q8_0,
    #[serde(rename = "q4_0")]
    Q4_0,
}

/// A setting that no log shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(...)")
    }
}

impl Config {
    /// How programs of others are found and run.
    pub fn tools(&self) -> ToolsConfig {
        ToolsConfig {
            runner: decode_hosts::find_program(self.decode_host.as_deref()),
            folders: self.tool_folders.iter().map(PathBuf::from).collect(),
            limits: ProcessLimits {
                memory_bytes_max: self.decode_memory_bytes_max,
                cpu_s_max: self.decode_cpu_s_max,
                file_bytes_max: self.decode_file_bytes_max,
            },
        }
    }

    /// How sound is fetched from strangers' URLs.
    pub fn downloads(&self) -> DownloadConfig {
        DownloadConfig {
            allowed: self.download_addresses(),
            bytes_max: self.download_bytes_max,
            wall_ms_max: self.download_wall_ms_max,
            audio_ms_max: self.audio_ms_max,
            ..DownloadConfig::new(Arc::new(DownloadReader::of(self)))
        }
    }

    /// Those that can be read; others stop the start.
    pub fn download_addresses(&self) -> Vec<SocketAddr> {
        self.download_allowed.iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// Where models lie.
    pub fn models_folder(&self) -> PathBuf {
        self.models_dir.clone().unwrap_or_else(|| self.data_dir.join("models"))
    }

    /// The configured database, or the file in the data folder.
    pub fn database_url(&self, folder: &storage::data_folder::DataFolder) -> String {
        self.database_url.clone().unwrap_or_else(|| folder.database_url())
    }

    fn defaults(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            listen: SocketAddr::from(([127, 0, 0, 1], 8765)),
            database_url: None,
            blob_store_url: None,
            blob_store_endpoint: None,
            blob_store_path_style: true,
            blob_store_presigned_s: 0,
            role: Role::All,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            cors_origins: Vec::new(),
            tls_cert: None,
            tls_key: None,
            speech_workers: 0,
            queues: jobs::QUEUES.map(str::to_owned).to_vec(),
            lease_ms: 30_000,
            heartbeat_ms: 5_000,
            stop_drain_ms: 0,
            stop_grace_ms: 10_000,
            queue_depth_max: 10_000,
            queue_wait_max_s: 24 * 60 * 60,
            text_chars_max: 2_000_000,
            chunks_max: 10_000,
            json_body_bytes_max: 16 * 1024 * 1024,
            upload_bytes_max: 64 * 1024 * 1024,
            temporary_bytes_per_owner_max: 512 * 1024 * 1024,
            temporary_bytes_max: 2 * 1024 * 1024 * 1024,
            body_idle_ms: 30_000,
            body_total_ms: 300_000,
            header_read_ms: 30_000,
            header_bytes_max: 32 * 1024,
            connections_max: 4_096,
            subscribers_max: 2_048,
            subscriber_send_ms: 10_000,
            strict_rate_limits: false,
            limits_write_ms: 5_000,
            failures_per_minute_max: 30,
            failures_loopback_per_minute_max: 600,
            remote_key_management: false,
            engine: EngineChoice::Auto,
            neural_slots: 4,
            fail_point: None,
            engine_script: None,
            espeak_host: None,
            decode_host: None,
            decode_memory_bytes_max: 1024 * 1024 * 1024,
            decode_cpu_s_max: 120,
            decode_wall_ms_max: 180_000,
            decode_file_bytes_max: 2 * 1024 * 1024 * 1024,
            tool_folders: search_path(),
            download_allowed: Vec::new(),
            download_bytes_max: 1024 * 1024 * 1024,
            download_wall_ms_max: 30 * 60 * 1_000,
            decode_hosts_max: 2,
            audio_ms_max: 4 * 3_600_000,
            archive_bytes_max: 512 * 1024 * 1024,
            models_dir: None,
            models_catalogue_dir: None,
            models_endpoint: models::hub::PUBLIC_ENDPOINT.into(),
            models_token: None,
            models_precision: ModelsPrecision::Q8_0,
            models_idle_minutes: 10,
            log_format: LogFormat::Text,
            log_filter: "info".into(),
        }
    }
}

/// What the command line may set; absent ones fall through to the other places.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Flags {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_filter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speech_workers: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queues: Option<String>,
}

/// Whether spans are to be sent to a collector, as the standard variables say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TracesWish {
    /// The service is called by a name of the operator's.
    pub names_service: bool,
}

/// `None` where no collector is named, or where it is switched off.
pub fn traces_wish() -> Option<TracesWish> {
    let set = |name: &str| Env::var(name).filter(|value| !value.trim().is_empty());
    let endpoint = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT"));
    let disabled = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let none = set("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
    let named = set("OTEL_SERVICE_NAME").is_some();
    let attributes = set("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|value| value.contains("service.name="));
    (endpoint.is_some() && !disabled && !none).then_some(TracesWish { names_service: named || attributes })
}

/// The text is for the person who started the program.
#[derive(Debug, thiserror::Error)]
#[error("configuration: {0}")]
pub struct ConfigError(String);

/// Reads all four places. `file` is the one named on the command line: then it must exist.
pub fn load(flags: &Flags, file: Option<&Path>) -> Result<Config, ConfigError> {
    let default_dir = default_data_dir();
    let env = || {
        let known = known_keys();
        Env::prefixed(ENV_PREFIX).filter(move |key| known.iter().any(|name| key == name.as_str())).lowercase(true)
    };
    // The file lies in the data folder, and the folder may be set by a flag or a variable: look at those first.
    let data_dir: Option<PathBuf> = Figment::from(env()).merge(Serialized::globals(flags)).extract_inner("data_dir").ok();
    let data_dir = data_dir.or_else(|| default_dir.clone());
    let named = file.map(Path::to_owned).or_else(|| Env::var("CLONYVOICE_CONFIG").map(PathBuf::from));
    if let Some(path) = &named
        && !path.is_file()
    {
        return Err(ConfigError(format!("no file {}", path.display())));
    }
    let file = named.or_else(|| data_dir.as_ref().map(|dir| dir.join(FILE_NAME)).filter(|path| path.is_file()));
    // Without a home folder there is no default for the data folder; an empty path is refused below.
    let mut figment = Figment::from(Serialized::defaults(Config::defaults(default_dir.unwrap_or_default())));
    if let Some(path) = file {
        figment = figment.merge(Toml::file_exact(path));
    }
    let figment = figment.merge(env()).merge(Serialized::globals(flags));
    let config: Config = figment.extract().map_err(|errors| ConfigError(describe(&errors)))?;
    check(&config).map_err(|(key, problem)| ConfigError(format!("{key}{}: {problem}", origin(figment.find_metadata(key), key))))?;
    Ok(config)
}

/// Variables with our prefix that no setting has: perhaps a spelling mistake.
pub fn unknown_variables() -> Vec<String> {
    let known = known_keys();
    let ours = Env::prefixed(ENV_PREFIX).lowercase(true);
    let names = ours.iter().map(|(key, _)| key.to_string());
    names.filter(|key| key != "config" && !known.contains(key)).map(|key| format!("{ENV_PREFIX}{}", key.to_uppercase())).collect()
}

fn known_keys() -> Vec<String> {
    let defaults = serde_json::to_value(Config::defaults(PathBuf::new())).unwrap_or_default();
    defaults.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default()
}

fn search_path() -> Vec<String> {
    let path = Env::var("PATH").unwrap_or_default();
    std::env::split_paths(&path).filter(|folder| folder.is_absolute()).map(|folder| folder.display().to_string()).collect()
}

fn default_data_dir() -> Option<PathBuf> {
    let absolute = |name: &str| Env::var(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    base.map(|base| base.join("clonyvoice"))
}

fn describe(errors: &figment::Error) -> String {
    let lines: Vec<String> = errors
        .clone()
        .into_iter()
        .map(|error| {
            let key = error.path.join(".");
            let from = origin(error.metadata.as_ref(), &key);
            if key.is_empty() { format!("{}{from}", error.kind) } else { format!("{key}{from}: {}", error.kind) }
        })
        .collect();
    lines.join("; ")
}

fn origin(metadata: Option<&figment::Metadata>, key: &str) -> String {
    match metadata {
        Some(metadata) => match &metadata.source {
            Some(Source::File(path)) => format!(" (in {})", path.display()),
            _ if metadata.name.contains("environment") => format!(" (in the variable {ENV_PREFIX}{})", key.to_uppercase()),
            _ if metadata.name.contains("Flags") => format!(" (from the flag --{})", key.replace('_', "-")),
            _ => String::new(),
        },
        None => String::new(),
    }
}

/// A list, or one text with commas, as a variable has it.
fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect(),
        OneOrMany::Many(parts) => parts,
    })
}

/// JSON as a text, or as what a reader of variables has made of it.
fn json_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let value = Option::<serde_json::Value>::deserialize(deserializer)?;
    Ok(value.filter(|value| !value.is_null()).map(|value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::result_large_err)]

    use figment::Jail;

    use super::*;

    fn flags(dir: &Path) -> Flags {
        Flags { data_dir: Some(dir.to_owned()), ..Flags::default() }
    }

    /// The example in `deploy/` shows every setting with its default.
    #[test]
    fn the_example_is_all_of_it() {
        let example = include_str!("../../deploy/clonyvoice.toml");
        let setting =
            |line: &&str| line.split_once(" = ").is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        let lines: Vec<&str> = example.lines().filter_map(|line| line.strip_prefix("# ")).filter(setting).collect();
        let shown: toml::Table = lines.join("\n").parse().unwrap();
        let defaults = serde_json::to_value(Config::defaults(PathBuf::new())).unwrap();
        let names: Vec<&String> = defaults.as_object().unwrap().keys().collect();
        assert_eq!(shown.len(), names.len(), "{names:?}");
        for name in names {
            let shown = serde_json::to_value(shown.get(name).unwrap_or_else(|| panic!("the example lacks {name}"))).unwrap();
            if name == "tool_folders" {
                // Of this machine.
                continue;
            }
            let default = if defaults[name].is_null() { "".into() } else { defaults[name].clone() };
            assert_eq!(shown, default, "{name}");
        }
    }

    #[test]
    fn flags_win_over_variables_over_the_file_over_defaults() {
        Jail::expect_with(|jail| {
            let dir = jail.directory().to_owned();
            jail.create_file(FILE_NAME, "listen = \"127.0.0.1:1\"\nlease_ms = 40000\nchunks_max = 5\nallowed_hosts = [\"a\"]")?;
            jail.set_env("CLONYVOICE_LISTEN", "127.0.0.1:2");
            jail.set_env("CLONYVOICE_CHUNKS_MAX", "6");
            jail.set_env("CLONYVOICE_ALLOWED_ORIGINS", "https://a.example, https://b.example");
            let config = load(&Flags { listen: Some("127.0.0.1:3".into()), ..flags(&dir) }, None).unwrap();
            assert_eq!(config.listen.port(), 3);
            assert_eq!((config.chunks_max, config.lease_ms, config.text_chars_max), (6, 40_000, 2_000_000));
            assert_eq!(config.allowed_hosts, ["a"]);
            assert_eq!(config.allowed_origins, ["https://a.example", "https://b.example"]);
            Ok(())
        });
    }

    #[test]
    fn a_wrong_value_is_named_with_its_place() {
        Jail::expect_with(|jail| {
            let dir = jail.directory().to_owned();
            let message = |jail: &Jail| load(&flags(jail.directory()), None).unwrap_err().to_string();
            jail.create_file(FILE_NAME, "lease_ms = \"long\"")?;
            let text = message(jail);
            assert!(text.contains("lease_ms (in ") && text.contains(FILE_NAME), "{text}");
            jail.create_file(FILE_NAME, "leese_ms = 1")?;
            assert!(message(jail).contains("leese_ms"), "{}", message(jail));
            jail.create_file(FILE_NAME, "lease_ms = 1")?;
            assert!(message(jail).contains("lease_ms (in "), "{}", message(jail));
            jail.create_file(FILE_NAME, "")?;
            jail.set_env("CLONYVOICE_LISTEN", "nowhere");
            assert!(message(jail).contains("listen (in the variable CLONYVOICE_LISTEN)"), "{}", message(jail));
            let flag = load(&Flags { listen: Some("here".into()), ..flags(&dir) }, None).unwrap_err().to_string();
            assert!(flag.contains("listen (from the flag --listen)"), "{flag}");
            Ok(())
        });
    }

    #[test]
    fn a_named_file_must_exist_and_unknown_variables_are_told() {
        Jail::expect_with(|jail| {
            let error = load(&flags(jail.directory()), Some(Path::new("nowhere.toml"))).unwrap_err();
            assert!(error.to_string().contains("no file nowhere.toml"));
            jail.set_env("CLONYVOICE_LISTN", "127.0.0.1:2");
            assert!(unknown_variables().contains(&"CLONYVOICE_LISTN".to_owned()));
            assert!(load(&flags(jail.directory()), None).is_ok());
            Ok(())
        });
    }

    #[test]
    fn the_data_folder_is_in_the_home_folder_by_default() {
        Jail::expect_with(|jail| {
            jail.set_env("HOME", "/home/nobody");
            jail.set_env("XDG_DATA_HOME", "");
            assert_eq!(load(&Flags::default(), None).unwrap().data_dir, Path::new("/home/nobody/.local/share/clonyvoice"));
            jail.set_env("XDG_DATA_HOME", "/data");
            assert_eq!(load(&Flags::default(), None).unwrap().data_dir, Path::new("/data/clonyvoice"));
            Ok(())
        });
    }
}
