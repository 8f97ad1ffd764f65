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

use crate::attenuation::{self, Rights};
use crate::keys::{self, Key};
use crate::limits::Payer;
use crate::problem::{Code, Problem};
use crate::scopes::{Grants, Scope};

pub const KEY_HEADER: &str = "x-api-key";

/// Who calls. Endpoints take it as an argument; the gate has put it into the depot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub key_id: String,
    /// What the caller's objects belong to.
    pub owner_id: String,
    /// What the key and all above it grant.
    pub grants: Grants,
    /// When the first of them ends.
    pub expires_at_ms: Option<i64>,
    /// Of the form of the key that was shown: after a rotation the old one ends before the key does.
    pub secret_sha256: String,
    /// The key and those above it, itself first, each with what its own row grants.
    pub line: Vec<(String, Grants)>,
}

impl Caller {
    /// Whose buckets a call draws from.
    pub fn payers(&self, scope: Scope) -> Vec<Payer<'_>> {
        let limit = |grants: &Grants| grants.limit_per_minute(scope).unwrap_or(0);
        self.line.iter().map(|(key_id, grants)| Payer { key_id, limit_per_minute: limit(grants) }).collect()
    }

    pub fn rights(&self) -> Rights {
        Rights { grants: self.grants.clone(), expires_at_ms: self.expires_at_ms }
    }
}

/// Why a key is not good, or no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    Unknown,
    Revoked,
    Expired,
    /// The form of before the last rotation, and its time is over.
    Rotated,
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        match invalid {
            Invalid::Unknown => unauthenticated(),
            Invalid::Revoked => Problem::new(Code::KeyRevoked, "this key was revoked, or one that it was made by"),
            Invalid::Expired => Problem::new(Code::KeyExpired, "this key has expired, or one that it was made by"),
            Invalid::Rotated => Problem::new(Code::KeyExpired, "this key was rotated; use the new one"),
        }
    }
}

fn unauthenticated() -> Problem {
    Problem::new(Code::Unauthenticated, "send a valid API key in the X-API-Key header; `clonyvoice keys create --name NAME` makes one")
}

/// The caller behind a request's key.
pub async fn caller(storage: &Storage, headers: &HeaderMap, now_ms: i64) -> Result<Caller, Problem> {
    let key = key_of(headers).ok_or_else(unauthenticated)?;
    known(storage, key.id(), &key.hash(), now_ms).await?.map_err(Problem::from)
}

/// Whether a caller that was good when its connection opened is still good.
pub async fn recheck(storage: &Storage, caller: &Caller, now_ms: i64) -> Result<Result<(), Invalid>, StorageError> {
    Ok(known(storage, &caller.key_id, &caller.secret_sha256, now_ms).await?.map(|_| ()))
}

/// The caller who knows a secret with this hash.
pub async fn known(storage: &Storage, key_id: &str, secret_sha256: &str, now_ms: i64) -> Result<Result<Caller, Invalid>, StorageError> {
    let line = api_keys::chain(storage.rows.read(), key_id).await?;
    Ok(judge(&line, secret_sha256, now_ms))
}

/// Whoever does not know the secret learns nothing else, and an unknown id costs the same comparisons as a known one.
fn judge(line: &[ApiKey], secret_sha256: &str, now_ms: i64) -> Result<Caller, Invalid> {
    let own = line.first();
    let current = keys::same_hash(own.map_or(keys::NO_HASH, |key| &key.secret_sha256), secret_sha256);
    let previous = keys::same_hash(own.and_then(|key| key.previous_sha256.as_deref()).unwrap_or(keys::NO_HASH), secret_sha256);
    let previous = previous && own.is_some_and(|key| key.previous_sha256.is_some());
    let own = own.filter(|_| current || previous).ok_or(Invalid::Unknown)?;
    // A line that does not reach a key without parent hangs below one that was deleted.
    if line.last().is_none_or(|last| last.parent_id.is_some()) {
        return Err(Invalid::Unknown);
    }
    if line.iter().any(|key| key.revoked_at_ms.is_some()) {
        return Err(Invalid::Revoked);
    }
    if line.iter().any(|key| key.expires_at_ms.is_some_and(|at_ms| at_ms <= now_ms)) {
        return Err(Invalid::Expired);
    }
    if !current && own.previous_until_ms.is_none_or(|until_ms| until_ms <= now_ms) {
        return Err(Invalid::Rotated);
    }
    let rights = line.iter().map(of_row).reduce(|own, above| attenuation::common(&own, &above)).ok_or(Invalid::Unknown)?;
    Ok(Caller {
        key_id: own.id.clone(),
        owner_id: own.owner_id.clone(),
        grants: rights.grants,
        expires_at_ms: rights.expires_at_ms,
        secret_sha256: secret_sha256.to_owned(),
        line: line.iter().map(|key| (key.id.clone(), of_row(key).grants)).collect(),
    })
}

/// What a row alone grants.
pub fn of_row(row: &ApiKey) -> Rights {
    Rights { grants: Grants::of_names(&row.scopes, &row.limits), expires_at_ms: row.expires_at_ms }
}

/// Whether a key was sent at all, good or not.
pub fn has_key(headers: &HeaderMap) -> bool {
    headers.contains_key(KEY_HEADER) || headers.contains_key(AUTHORIZATION)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn key(id: &str, parent_id: Option<&str>) -> ApiKey {
        ApiKey {
            id: id.into(),
            owner_id: "root".into(),
            parent_id: parent_id.map(str::to_owned),
            secret_sha256: format!("hash of {id}"),
            scopes: Scope::ALL.map(|scope| scope.as_str().to_owned()).into(),
            ..ApiKey::default()
        }
    }

    fn line() -> Vec<ApiKey> {
        vec![key("leaf", Some("middle")), key("middle", Some("root")), key("root", None)]
    }

    #[test]
    fn a_key_ends_with_any_above_it() {
        assert_eq!(judge(&line(), "hash of leaf", 50).unwrap().line.len(), 3);
        for place in 0..3 {
            let mut revoked = line();
            revoked[place].revoked_at_ms = Some(1);
            assert_eq!(judge(&revoked, "hash of leaf", 50), Err(Invalid::Revoked));
            let mut expired = line();
            expired[place].expires_at_ms = Some(50);
            assert_eq!(judge(&expired, "hash of leaf", 50), Err(Invalid::Expired));
            assert_eq!(judge(&expired, "hash of leaf", 49).unwrap().expires_at_ms, Some(50));
            // Whoever guesses learns neither.
            for strange in [&revoked, &expired] {
                assert_eq!(judge(strange, "a guess", 50), Err(Invalid::Unknown));
            }
        }
        assert_eq!(judge(&line()[..2], "hash of leaf", 50), Err(Invalid::Unknown), "the root is gone");
        assert_eq!(judge(&[], "hash of leaf", 50), Err(Invalid::Unknown));
        assert_eq!(judge(&line(), "hash of middle", 50), Err(Invalid::Unknown));
        assert_eq!(judge(&line(), keys::NO_HASH, 50), Err(Invalid::Unknown));
    }

    #[test]
    fn after_a_rotation_both_forms_work_for_a_while() {
        let mut rotated = line();
        rotated[0].previous_sha256 = Some("old".into());
        rotated[0].previous_until_ms = Some(100);
        assert!(judge(&rotated, "hash of leaf", 1_000).is_ok());
        assert!(judge(&rotated, "old", 99).is_ok());
        assert_eq!(judge(&rotated, "old", 100), Err(Invalid::Rotated));
        assert_eq!(judge(&rotated, "older", 99), Err(Invalid::Unknown));
    }

    #[test]
    fn rows_that_grant_more_than_the_row_above_do_not() {
        let mut line = line();
        line[1].scopes = vec!["voices:read".into()];
        line[1].limits.insert("voices:read".into(), 3);
        let caller = judge(&line, "hash of leaf", 0).unwrap();
        assert_eq!(caller.grants.scopes(), [Scope::VoicesRead]);
        assert_eq!(caller.grants.limit_per_minute(Scope::VoicesRead), Some(3));
        let limits: Vec<u32> = caller.payers(Scope::VoicesRead).iter().map(|payer| payer.limit_per_minute).collect();
        assert_eq!(limits, [60, 3, 60]);
    }
}
