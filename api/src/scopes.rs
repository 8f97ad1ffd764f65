//! The eight scopes of the documentation and their default limits. Pure names and numbers.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    TtsGenerate,
    TtsTimeline,
    VoicesRead,
    VoicesWrite,
    CloneCreate,
    AudioProcess,
    SystemRead,
    WsConnect,
}

/// No scope has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no scope \"{0}\"; the scopes are {known}", known = names())]
pub struct UnknownScope(pub String);

impl Scope {
    pub const ALL: [Self; 8] = [
        Self::TtsGenerate,
        Self::TtsTimeline,
        Self::VoicesRead,
        Self::VoicesWrite,
        Self::CloneCreate,
        Self::AudioProcess,
        Self::SystemRead,
        Self::WsConnect,
    ];

    /// With which a key can have made something that is worked on.
    pub const MAKERS: [Self; 4] = [Self::TtsGenerate, Self::CloneCreate, Self::AudioProcess, Self::TtsTimeline];

    /// The scope of the endpoint behind a job of this kind, such as `generate.preset`.
    pub fn of_work(kind: &str) -> Self {
        match kind.split('.').next().unwrap_or_default() {
            "clone" | "design" | "voices" => Self::CloneCreate,
            "timeline" => Self::TtsTimeline,
            "audio" => Self::AudioProcess,
            "models" => Self::SystemRead,
            _ => Self::TtsGenerate,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::TtsGenerate => "tts:generate",
            Self::TtsTimeline => "tts:timeline",
            Self::VoicesRead => "voices:read",
            Self::VoicesWrite => "voices:write",
            Self::CloneCreate => "clone:create",
            Self::AudioProcess => "audio:process",
            Self::SystemRead => "system:read",
            Self::WsConnect => "ws:connect",
        }
    }

    pub fn description(self) -> &'static str {
        match self {
            Self::TtsGenerate => "Generate speech (TTS)",
            Self::TtsTimeline => "Timeline editor access",
            Self::VoicesRead => "Read voices & categories",
            Self::VoicesWrite => "Modify / delete voices",
            Self::CloneCreate => "Create voice clones",
            Self::AudioProcess => "Process audio files",
            Self::SystemRead => "Read system info",
            Self::WsConnect => "WebSocket connection",
        }
    }

    /// Requests a minute of a key that says nothing else.
    pub fn default_limit_per_minute(self) -> u32 {
        match self {
            Self::TtsGenerate => 10,
            Self::TtsTimeline => 30,
            Self::VoicesRead => 60,
            Self::VoicesWrite => 20,
            Self::CloneCreate => 2,
            Self::AudioProcess => 5,
            Self::SystemRead => 60,
            Self::WsConnect => 5,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

fn names() -> String {
    Scope::ALL.map(Scope::as_str).join(", ")
}

/// What a key may do, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    limits_per_minute: BTreeMap<Scope, u32>,
}

impl Grants {
    /// Names that no scope has are left out: a row written by a newer version grants less here, never more.
    pub fn of_names(scopes: &[String], limits: &BTreeMap<String, u32>) -> Self {
        let granted = scopes.iter().filter_map(|name| name.parse::<Scope>().ok());
        let limit = |scope: Scope| limits.get(scope.as_str()).copied().unwrap_or_else(|| scope.default_limit_per_minute());
        Self { limits_per_minute: granted.map(|scope| (scope, limit(scope))).collect() }
    }

    pub fn of_limits(limits_per_minute: BTreeMap<Scope, u32>) -> Self {
        Self { limits_per_minute }
    }

    /// What is granted, in the order of the documentation.
    pub fn scopes(&self) -> Vec<Scope> {
        self.limits_per_minute.keys().copied().collect()
    }

    /// Requests a minute; `None` when the scope is not granted.
    pub fn limit_per_minute(&self, scope: Scope) -> Option<u32> {
        self.limits_per_minute.get(&scope).copied()
    }

    pub fn allows(&self, scope: Scope) -> bool {
        self.limits_per_minute.contains_key(&scope)
    }
}

/// Reads `tts:generate=1000,voices:read=60`.
pub fn parse_limits(text: &str) -> Result<BTreeMap<String, u32>, String> {
    let mut limits = BTreeMap::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, number) = part.split_once('=').ok_or_else(|| format!("\"{part}\" is not of the form scope=number"))?;
        let scope: Scope = name.trim().parse().map_err(|error: UnknownScope| error.to_string())?;
        let number: u32 = number.trim().parse().map_err(|_| format!("\"{number}\" is not a number of requests a minute"))?;
        if number == 0 {
            return Err(format!("a limit of 0 for {scope}: leave the scope out instead"));
        }
        limits.insert(scope.as_str().to_owned(), number);
    }
    Ok(limits)
}

/// Reads `tts:generate,voices:read`; empty for all.
pub fn parse_scopes(text: &str) -> Result<Vec<Scope>, String> {
    let mut scopes = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let scope: Scope = name.parse().map_err(|error: UnknownScope| error.to_string())?;
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    Ok(if scopes.is_empty() { Scope::ALL.to_vec() } else { scopes })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_parse_to_their_scope() {
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse::<Scope>().unwrap(), scope);
        }
        assert!("tts:*".parse::<Scope>().unwrap_err().to_string().contains("ws:connect"));
    }

    #[test]
    fn limits_and_scopes_are_read_from_the_command_line() {
        assert_eq!(parse_limits("tts:generate=1000, ws:connect=7").unwrap()["ws:connect"], 7);
        assert!(parse_limits("tts:generate").unwrap_err().contains("scope=number"));
        assert!(parse_limits("tts:generate=0").is_err());
        assert!(parse_limits("tts:generate=-1").is_err());
        assert_eq!(parse_scopes("").unwrap().len(), 8);
        assert_eq!(parse_scopes("voices:read,voices:read").unwrap(), [Scope::VoicesRead]);
        assert!(parse_scopes("admin").is_err());
    }

    #[test]
    fn a_limit_alone_grants_nothing() {
        let limits = BTreeMap::from([("tts:generate".to_owned(), 1000)]);
        let grants = Grants::of_names(&["voices:read".to_owned(), "future:scope".to_owned()], &limits);
        assert!(!grants.allows(Scope::TtsGenerate));
        assert_eq!(grants.limit_per_minute(Scope::VoicesRead), Some(60));
        assert_eq!(Grants::of_names(&["tts:generate".to_owned()], &limits).limit_per_minute(Scope::TtsGenerate), Some(1000));
    }
}
