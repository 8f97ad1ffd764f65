//! From a request's key to its caller. A key comes as `X-API-Key` or as `Authorization: Bearer`, never in a URL.
//!
//! Whoever has no valid key learns nothing: a malformed, an unknown and a wrong key get the same answer.

use salvo::extract::{Extractible, Metadata};
use salvo::http::HeaderMap;
use salvo::http::header::AUTHORIZATION;
use salvo::oapi::{Components, EndpointArgRegister, Operation};
use salvo::{Depot, Request};
use storage::api_keys::{self, ApiKey};
use storage::{Storage, StorageError};

use crate::keys::Key;
use crate::problem::{Code, Problem};
use crate::scopes::Grants;

pub const KEY_HEADER: &str = "x-api-key";

/// Who calls. Endpoints take it as an argument; the gate has put it into the depot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub key_id: String,
    /// What the caller's objects belong to.
    pub owner_id: String,
    pub grants: Grants,
}

/// Why a known key is no longer good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    Unknown,
    Revoked,
    Expired,
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        match invalid {
            Invalid::Unknown => unauthenticated(),
            Invalid::Revoked => Problem::new(Code::KeyRevoked, "this key was revoked"),
            Invalid::Expired => Problem::new(Code::KeyExpired, "this key has expired"),
        }
    }
}

fn unauthenticated() -> Problem {
    Problem::new(Code::Unauthenticated, "send a valid API key in the X-API-Key header; `clonyvoice keys create --name NAME` makes one")
}

/// The caller behind a request's key.
pub async fn caller(storage: &Storage, headers: &HeaderMap, now_ms: i64) -> Result<Caller, Problem> {
    let key = key_of(headers).ok_or_else(unauthenticated)?;
    let row = api_keys::find(storage.rows.read(), key.id()).await?;
    // An unknown id costs the same comparison as a known one.
    let stored = row.as_ref().map_or("", |row| row.secret_sha256.as_str());
    let known = key.matches(stored);
    match row {
        Some(row) if known => validity(&row, now_ms).map(|()| of_row(row)).map_err(Problem::from),
        _ => Err(unauthenticated()),
    }
}

/// Whether a key that was good when a connection opened is still good.
pub async fn recheck(storage: &Storage, key_id: &str, now_ms: i64) -> Result<Result<(), Invalid>, StorageError> {
    let row = api_keys::find(storage.rows.read(), key_id).await?;
    Ok(row.as_ref().map_or(Err(Invalid::Unknown), |row| validity(row, now_ms)))
}

fn validity(row: &ApiKey, now_ms: i64) -> Result<(), Invalid> {
    if row.revoked_at_ms.is_some() {
        return Err(Invalid::Revoked);
    }
    match row.expires_at_ms {
        Some(expires_at_ms) if expires_at_ms <= now_ms => Err(Invalid::Expired),
        _ => Ok(()),
    }
}

fn of_row(row: ApiKey) -> Caller {
    Caller { grants: Grants::of_names(&row.scopes, &row.limits), key_id: row.id, owner_id: row.owner_id }
}

fn key_of(headers: &HeaderMap) -> Option<Key> {
    let text = match headers.get(KEY_HEADER) {
        Some(value) => value.to_str().ok()?.trim(),
        None => {
            let (scheme, rest) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(rest.trim())?
        }
    };
    Key::parse(text).ok()
}

impl<'ex> Extractible<'ex> for Caller {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    #[allow(refining_impl_trait)]
    async fn extract(_req: &'ex mut Request, depot: &'ex mut Depot) -> Result<Self, Problem> {
        depot.get_typed::<Self>().cloned().map_err(|_| Problem::internal("a public route asks for its caller"))
    }
}

impl EndpointArgRegister for Caller {
    fn register(_components: &mut Components, _operation: &mut Operation, _arg: &str) {}
}
