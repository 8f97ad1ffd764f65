//! Keys from the command line, beside a running server or without one: the same database, opened by a second process.

use jobs::clock::Clock;
use storage::api_keys::{self, ApiKey};
use storage::data_folder::DataFolder;
use storage::rows::RowsConfig;
use storage::{Rows, StorageError};

use crate::config::Config;
use crate::keys::Key;
use crate::scopes::{self, Scope};
use crate::wire::time::rfc3339;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// An id of eight characters is taken about once in 10^14 draws.
const DRAWS_MAX: u32 = 5;
const LISTED_MAX: u32 = 10_000;
const NAME_CHARS_MAX: usize = 200;

/// The text is for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum KeyCommandError {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What a key is made with.
#[derive(Debug, Clone, Default)]
pub struct NewKey {
    pub name: String,
    /// With commas; empty for all.
    pub scopes: String,
    /// `scope=number` with commas.
    pub limits: String,
    pub expires_in_days: Option<u32>,
}

/// Opens the rows of the data folder, making both where there are none.
pub async fn open_rows(config: &Config) -> Result<Rows, StorageError> {
    let folder = DataFolder::create(&config.data_dir)?;
    let rows = RowsConfig { readers_max: 1, ..RowsConfig::new(config.database_url(&folder)) };
    Rows::open(&rows).await
}

/// Makes a key of its own owner and stores its hash.
pub async fn create(rows: &Rows, new: &NewKey, clock: &dyn Clock) -> Result<Key, KeyCommandError> {
    let (scopes, limits) = check(new)?;
    let now_ms = clock.now_ms();
    let mut draws = 0;
    loop {
        draws += 1;
        let key = Key::from_random(rand::random(), rand::random());
        let row = ApiKey {
            id: key.id().to_owned(),
            owner_id: key.id().to_owned(),
            parent_id: None,
            name: new.name.clone(),
            secret_sha256: key.hash(),
            scopes: scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            limits: limits.clone(),
            created_at_ms: now_ms,
            expires_at_ms: new.expires_in_days.map(|days| now_ms + i64::from(days) * DAY_MS),
            revoked_at_ms: None,
            last_used_at_ms: None,
        };
        let mut tx = rows.begin().await?;
        match api_keys::insert(&mut tx, &row, now_ms).await {
            Ok(()) => {
                tx.commit().await?;
                return Ok(key);
            }
            Err(StorageError::Conflict(_)) if draws < DRAWS_MAX => {}
            Err(error) => return Err(error.into()),
        }
    }
}

type Checked = (Vec<Scope>, std::collections::BTreeMap<String, u32>);

fn check(new: &NewKey) -> Result<Checked, KeyCommandError> {
    let usage = KeyCommandError::Usage;
    if new.name.trim().is_empty() || new.name.chars().count() > NAME_CHARS_MAX {
        return Err(usage(format!("--name: must have 1 to {NAME_CHARS_MAX} characters")));
    }
    let scopes = scopes::parse_scopes(&new.scopes).map_err(|error| usage(format!("--scopes: {error}")))?;
    let limits = scopes::parse_limits(&new.limits).map_err(|error| usage(format!("--limits: {error}")))?;
    Ok((scopes, limits))
}

/// One line for each key, for people.
pub async fn list(rows: &Rows, clock: &dyn Clock) -> Result<Vec<String>, StorageError> {
    let now_ms = clock.now_ms();
    let keys = api_keys::list(rows.read(), LISTED_MAX).await?;
    Ok(keys.iter().map(|key| line(key, now_ms)).collect())
}

fn line(key: &ApiKey, now_ms: i64) -> String {
    let state = match (key.revoked_at_ms, key.expires_at_ms) {
        (Some(at_ms), _) => format!("revoked {}", rfc3339(at_ms)),
        (None, Some(at_ms)) if at_ms <= now_ms => format!("expired {}", rfc3339(at_ms)),
        _ => "good".into(),
    };
    let used = key.last_used_at_ms.map_or_else(|| "never used".into(), |at_ms| format!("used {}", rfc3339(at_ms)));
    let scopes = if key.scopes.len() == Scope::ALL.len() { "all scopes".into() } else { key.scopes.join(",") };
    format!("{}  {}  made {}  {used}  {state}  {scopes}", key.id, key.name, rfc3339(key.created_at_ms))
}

pub async fn revoke(rows: &Rows, id: &str, clock: &dyn Clock) -> Result<(), KeyCommandError> {
    let id = id.strip_prefix(crate::keys::PREFIX).unwrap_or(id);
    let mut tx = rows.begin().await?;
    if !api_keys::revoke(&mut tx, id, clock.now_ms()).await? {
        return Err(KeyCommandError::Usage(format!("there is no key {id}; `clonyvoice keys list` shows them")));
    }
    tx.commit().await?;
    Ok(())
}
