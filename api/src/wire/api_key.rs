//! API keys as the contract shows them: never their secret, except once when it is made.

use std::collections::BTreeMap;
use std::fmt;

use salvo::oapi::{ToParameters, ToSchema};
use serde::{Deserialize, Serialize};
use storage::api_keys::ApiKey as Row;

use crate::attenuation::Wish;
use crate::authenticate;
use crate::key_use::Use;
use crate::keys::PREFIX;
use crate::problem::{FieldProblem, Problem};
use crate::scopes::Scope;
use crate::wire::list::Item;
use crate::wire::time::{parse_ms, rfc3339};

pub const NAME_CHARS_MAX: usize = 200;
/// How long the old form of a rotated key works when nothing is said: a day.
const OVERLAP_S_DEFAULT: u64 = 24 * 60 * 60;
const OVERLAP_S_MAX: u64 = 30 * 24 * 60 * 60;

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ApiKey {
    /// The eight characters behind `cvk_`.
    pub id: String,
    /// The same, as the documentation of the path calls it.
    pub key_id: String,
    pub name: String,
    /// How the key begins.
    pub prefix: String,
    pub scopes: Vec<String>,
    /// Requests a minute by scope.
    pub rate_limits: BTreeMap<String, u32>,
    /// `active`, `revoked` or `expired`.
    pub status: String,
    /// The key that made this one; null for the caller's own and for those made on the command line.
    pub parent_id: Option<String>,
    pub created_at: String,
    pub expires_at: Option<String>,
    pub revoked_at: Option<String>,
    pub last_used_at: Option<String>,
    pub rotated_at: Option<String>,
    /// Until when the form of before the rotation works.
    pub previous_expires_at: Option<String>,
    pub usage: KeyUsage,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct KeyUsage {
    /// That were let in, since the key was made.
    pub requests: i64,
}

impl Item for ApiKey {
    const PLURAL: &'static str = "api_keys";
    const LIST: &'static str = "ApiKeyList";
}

impl ApiKey {
    /// `viewer` is the caller's key: what stands above it is not shown. `unwritten`: uses that are not in the row yet.
    pub fn of(row: Row, viewer: &str, unwritten: Option<Use>, now_ms: i64) -> Self {
        let grants = authenticate::of_row(&row).grants;
        let limits = grants.scopes().into_iter().filter_map(|scope| Some((scope.as_str().to_owned(), grants.limit_per_minute(scope)?)));
        let status = match (row.revoked_at_ms, row.expires_at_ms) {
            (Some(_), _) => "revoked",
            (None, Some(at_ms)) if at_ms <= now_ms => "expired",
            _ => "active",
        };
        let last_used_ms = row.last_used_at_ms.max(unwritten.map(|used| used.last_ms));
        Self {
            name: row.name,
            prefix: format!("{PREFIX}{}", row.id),
            scopes: grants.scopes().into_iter().map(|scope| scope.as_str().to_owned()).collect(),
            rate_limits: limits.collect(),
            status: status.into(),
            parent_id: row.parent_id.filter(|_| row.id != viewer),
            created_at: rfc3339(row.created_at_ms),
            expires_at: row.expires_at_ms.map(rfc3339),
            revoked_at: row.revoked_at_ms.map(rfc3339),
            last_used_at: last_used_ms.map(rfc3339),
            rotated_at: row.rotated_at_ms.map(rfc3339),
            previous_expires_at: row.previous_until_ms.filter(|until_ms| *until_ms > now_ms).map(rfc3339),
            usage: KeyUsage { requests: row.requests + unwritten.map_or(0, |used| used.requests) },
            key_id: row.id.clone(),
            id: row.id,
        }
    }
}

/// A key with its secret, which is shown this once.
#[derive(Clone, Serialize, ToSchema)]
#[salvo(schema(name = "ApiKeyWithSecret", example = json!({
    "id": "a1B2c3D4", "key_id": "a1B2c3D4", "name": "phone", "prefix": "cvk_a1B2c3D4", "scopes": ["tts:generate"],
    "rate_limits": {"tts:generate": 10}, "status": "active", "parent_id": "Z9y8X7w6", "created_at": "2026-01-31T12:00:00.000Z",
    "expires_at": null, "revoked_at": null, "last_used_at": null, "rotated_at": null, "previous_expires_at": null,
    "usage": {"requests": 0}, "key": "cvk_a1B2c3D4..."
})))]
pub struct ApiKeyWithSecret {
    #[serde(flatten)]
    pub api_key: ApiKey,
    /// The whole key; null when the answer is repeated for the same `Idempotency-Key`.
    pub key: Option<String>,
}

impl fmt::Debug for ApiKeyWithSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyWithSecret").field("api_key", &self.api_key).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[salvo(schema(example = json!({"name": "phone", "scopes": ["tts:generate", "voices:read"], "rate_limits": {"tts:generate": 5}, "expires_at": "2027-01-31T12:00:00Z"})))]
pub struct NewApiKey {
    /// What it is for: 1 to 200 characters.
    pub name: Option<String>,
    /// Some of the caller's; all of them when not given.
    pub scopes: Option<Vec<String>>,
    /// Requests a minute by scope, at most the caller's; the documented defaults when not given.
    pub rate_limits: Option<BTreeMap<String, u32>>,
    /// RFC 3339, not after the caller's own end, which is also the default.
    pub expires_at: Option<String>,
}

impl NewApiKey {
    /// The name and what is wished for; all wrong values are named together.
    pub fn check(self, now_ms: i64) -> Result<(String, Wish), Problem> {
        let mut errors = Vec::new();
        let name = self.name.unwrap_or_default().trim().to_owned();
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
            errors.push(FieldProblem::new("name", format!("must have 1 to {NAME_CHARS_MAX} characters in one line")));
        }
        let scopes = self.scopes.map(|names| scopes(&names, &mut errors));
        let mut limits_per_minute = BTreeMap::new();
        for (name, limit) in self.rate_limits.unwrap_or_default() {
            let field = format!("rate_limits.{}", shortened(&name));
            match name.parse::<Scope>() {
                Err(_) => errors.push(FieldProblem::new(field, "is no scope")),
                Ok(_) if limit == 0 => errors.push(FieldProblem::new(field, "must be at least 1; leave the scope out instead")),
                Ok(scope) if scopes.as_ref().is_some_and(|scopes| !scopes.contains(&scope)) => {
                    errors.push(FieldProblem::new(field, "is not among the scopes"));
                }
                Ok(scope) => {
                    limits_per_minute.insert(scope, limit);
                }
            }
        }
        let expires_at_ms = self.expires_at.as_deref().map(parse_ms);
        match expires_at_ms {
            Some(None) => errors.push(FieldProblem::new("expires_at", "must be a time such as 2027-01-31T12:00:00Z")),
            Some(Some(at_ms)) if at_ms <= now_ms => errors.push(FieldProblem::new("expires_at", "must not be over")),
            _ => {}
        }
        if errors.is_empty() {
            Ok((name, Wish { scopes, limits_per_minute, expires_at_ms: expires_at_ms.flatten() }))
        } else {
            Err(Problem::invalid(errors))
        }
    }
}

fn scopes(names: &[String], errors: &mut Vec<FieldProblem>) -> Vec<Scope> {
    let mut scopes = Vec::new();
    if names.is_empty() || names.len() > Scope::ALL.len() {
        errors.push(FieldProblem::new("scopes", format!("must have 1 to {} entries; leave it out for all of yours", Scope::ALL.len())));
        return scopes;
    }
    for (place, name) in names.iter().enumerate() {
        match name.parse::<Scope>() {
            Ok(scope) if scopes.contains(&scope) => {}
            Ok(scope) => scopes.push(scope),
            Err(_) => {
                let known = Scope::ALL.map(Scope::as_str).join(", ");
                errors.push(FieldProblem::new(format!("scopes[{place}]"), format!("is no scope; the scopes are {known}")));
            }
        }
    }
    scopes
}

/// A name from outside, for a message.
fn shortened(name: &str) -> String {
    name.chars().filter(|char| !char.is_control()).take(40).collect()
}

#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[salvo(schema(example = json!({"overlap_s": 3600})))]
pub struct RotateRequest {
    /// How long the key as it was still works: 0 to 2,592,000 s, a day when not given.
    pub overlap_s: Option<u64>,
}

impl RotateRequest {
    pub fn overlap_ms(&self) -> Result<i64, Problem> {
        let overlap_s = self.overlap_s.unwrap_or(OVERLAP_S_DEFAULT);
        if overlap_s > OVERLAP_S_MAX {
            return Err(Problem::invalid_field("overlap_s", format!("must be between 0 and {OVERLAP_S_MAX}")));
        }
        Ok((overlap_s * 1_000).cast_signed())
    }
}

#[derive(Debug, Clone, Default, Deserialize, ToParameters)]
pub struct ApiKeyQuery {
    /// 1 to 200.
    #[salvo(parameter(minimum = 1, maximum = 200, default = json!(50)))]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// The place behind a key in the list.
pub fn cursor_of(row: &Row) -> String {
    format!("{}-{}", row.created_at_ms, row.id)
}

pub fn parse_cursor(text: &str) -> Result<(i64, String), Problem> {
    let parts = text.split_once('-').and_then(|(ms, id)| Some((ms.parse().ok()?, id.to_owned())));
    parts.ok_or_else(|| Problem::invalid_field("cursor", "is not the next_cursor of a page"))
}

#[derive(Clone, Serialize, ToSchema)]
#[salvo(schema(name = "WsTicket", example = json!({"ticket": "cvt_...", "expires_at": "2026-01-31T12:01:00.000Z", "expires_in_s": 60})))]
pub struct WsTicket {
    /// For `?ticket=`, once; null when the answer is repeated for the same `Idempotency-Key`.
    pub ticket: Option<String>,
    pub expires_at: String,
    pub expires_in_s: u64,
}

impl fmt::Debug for WsTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WsTicket").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn check(body: serde_json::Value) -> Result<(String, Wish), Problem> {
        serde_json::from_value::<NewApiKey>(body).unwrap().check(1_000)
    }

    #[test]
    fn all_wrong_values_are_named() {
        let problem = check(json!({
            "name": " ", "scopes": ["tts:generate", "admin"], "rate_limits": {"voices:read": 5, "x": 1, "tts:generate": 0}, "expires_at": "1970-01-01T00:00:01Z"
        }))
        .unwrap_err();
        let fields: Vec<&str> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["name", "scopes[1]", "rate_limits.tts:generate", "rate_limits.voices:read", "rate_limits.x", "expires_at"]);
        assert!(check(json!({"name": "a", "scopes": []})).is_err());
        assert!(check(json!({"name": "a\nb"})).is_err());
    }

    #[test]
    fn what_is_not_said_is_left_open() {
        assert_eq!(check(json!({"name": " phone "})).unwrap(), ("phone".into(), Wish::default()));
        assert_eq!(RotateRequest::default().overlap_ms().unwrap(), 86_400_000);
        assert!(RotateRequest { overlap_s: Some(u64::MAX) }.overlap_ms().is_err());
    }
}
