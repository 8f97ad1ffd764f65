//! Making a key, for the endpoint and for the command line; and what else the command line does with keys, beside a running server or without
//! one: the same database, opened by a second process.

use jobs::clock::Clock;
use storage::api_keys::{self, ApiKey};
use storage::audit;
use storage::data_folder::DataFolder;
use storage::rows::RowsConfig;
use storage::{Rows, StorageError};

use crate::attenuation::Rights;
use crate::config::Config;
use crate::key_audit::{self, Actor};
use crate::keys::Key;
use crate::rotate_key;
use crate::scopes::{self, Grants, Scope};
use crate::wire::api_key::NAME_CHARS_MAX;
use crate::wire::time::rfc3339;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// An id of eight characters is taken about once in 10^14 draws.
const DRAWS_MAX: u32 = 5;
const LISTED_MAX: u32 = 10_000;

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

/// A key to be made.
#[derive(Debug, Clone)]
pub struct Draft {
    pub name: String,
    pub rights: Rights,
    /// Id and owner of the key that makes it; `None` for one that stands alone and owns itself.
    pub parent: Option<(String, String)>,
}

/// Draws a key and stores its hash, with an entry in the audit.
pub async fn store(rows: &Rows, draft: Draft, actor: Actor<'_>, now_ms: i64) -> Result<(Key, ApiKey), StorageError> {
    let grants = &draft.rights.grants;
    let limit = |scope: &Scope| Some((scope.as_str().to_owned(), grants.limit_per_minute(*scope)?));
    let (scopes, limits) = (grants.scopes(), grants.scopes().iter().filter_map(limit).collect());
    let (parent_id, owner_id) = draft.parent.unzip();
    let row = ApiKey {
        parent_id,
        name: draft.name,
        scopes: scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
        limits,
        created_at_ms: now_ms,
        expires_at_ms: draft.rights.expires_at_ms,
        ..ApiKey::default()
    };
    let mut draws = 0;
    loop {
        draws += 1;
        let key = Key::from_random(rand::random(), rand::random());
        let owner_id = owner_id.clone().unwrap_or_else(|| key.id().to_owned());
        let row = ApiKey { id: key.id().to_owned(), owner_id, secret_sha256: key.hash(), ..row.clone() };
        let mut tx = rows.begin().await?;
        match api_keys::insert(&mut tx, &row, now_ms).await {
            Ok(()) => {
                audit::add(&mut tx, &key_audit::entry(actor, "created", &row.id, row.scopes.join(","), now_ms)).await?;
                tx.commit().await?;
                return Ok((key, row));
            }
            Err(StorageError::Conflict(_)) if draws < DRAWS_MAX => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes a key of its own owner, for whoever sits at the machine.
pub async fn create(rows: &Rows, new: &NewKey, clock: &dyn Clock) -> Result<Key, KeyCommandError> {
    let (scopes, limits) = check(new)?;
    let now_ms = clock.now_ms();
    let names: Vec<String> = scopes.iter().map(|scope| scope.as_str().to_owned()).collect();
    let expires_at_ms = new.expires_in_days.map(|days| now_ms + i64::from(days) * DAY_MS);
    let draft = Draft { name: new.name.clone(), rights: Rights { grants: Grants::of_names(&names, &limits), expires_at_ms }, parent: None };
    let (key, _) = store(rows, draft, Actor::CommandLine, now_ms).await?;
    Ok(key)
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
    let parent = key.parent_id.as_ref().map(|parent| format!(" by {parent}")).unwrap_or_default();
    format!("{}  {}  made {}{parent}  {used}, {} requests  {state}  {scopes}", key.id, key.name, rfc3339(key.created_at_ms), key.requests)
}

pub async fn revoke(rows: &Rows, id: &str, clock: &dyn Clock) -> Result<(), KeyCommandError> {
    let id = without_prefix(id);
    let now_ms = clock.now_ms();
    let mut tx = rows.begin().await?;
    if !api_keys::revoke(&mut tx, id, now_ms).await? {
        return Err(no_key(id));
    }
    audit::add(&mut tx, &key_audit::entry(Actor::CommandLine, "revoked", id, String::new(), now_ms)).await?;
    tx.commit().await?;
    Ok(())
}

/// A new secret for a key; the old one works on for `overlap_s`.
pub async fn rotate(rows: &Rows, id: &str, overlap_s: u32, clock: &dyn Clock) -> Result<Key, KeyCommandError> {
    let id = without_prefix(id);
    let now_ms = clock.now_ms();
    let mut tx = rows.begin().await?;
    let row = api_keys::chain_in(&mut tx, id).await?.into_iter().next().ok_or_else(|| no_key(id))?;
    let rotated = rotate_key::rotate(&mut tx, row, i64::from(overlap_s) * 1_000, Actor::CommandLine, now_ms).await?;
    let (key, _) =
        rotated.ok_or_else(|| KeyCommandError::Usage(format!("the key {id} was revoked; `clonyvoice keys create` makes another")))?;
    tx.commit().await?;
    Ok(key)
}

fn without_prefix(id: &str) -> &str {
    id.strip_prefix(crate::keys::PREFIX).unwrap_or(id)
}

fn no_key(id: &str) -> KeyCommandError {
    // Perhaps a whole key was given: it is not repeated.
    let id: String = id.chars().take(crate::keys::ID_CHARS).collect();
    KeyCommandError::Usage(format!("there is no key {id}; `clonyvoice keys list` shows them"))
}
