//! Keys that make keys. A caller sees and ends its own key and those below it; all others are not there.

use salvo::Writer;
use salvo::oapi::endpoint;
use salvo::oapi::extract::PathParam;
use storage::api_keys::{self, ApiKey as Row, DEPTH_MAX};
use storage::{Tx, audit};

use super::not_found;
use crate::answer::{NoContent, Reply, Secret};
use crate::app::App;
use crate::attenuation::{Exceeds, attenuate};
use crate::authenticate::Caller;
use crate::body::{JsonRequest, OptionalJsonRequest};
use crate::create_key::{self, Draft};
use crate::key_audit::{self, Actor};
use crate::peer::Peer;
use crate::problem::{Code, Problem};
use crate::query_string::Query;
use crate::rotate_key;
use crate::scopes::Scope;
use crate::wire::api_key::{ApiKey, ApiKeyQuery, ApiKeyWithSecret, NewApiKey, RotateRequest, cursor_of, parse_cursor};
use crate::wire::list::{self, Page};

/// Below one key that nobody made by another.
const KEYS_MAX: i64 = 1_000;

/// List API keys
///
/// The caller's own and those that were made by it, and by those.
#[endpoint(operation_id = "list_api_keys")]
pub async fn list_api_keys(app: App, caller: Caller, peer: Peer, query: Query<ApiKeyQuery>) -> Result<Reply<Page<ApiKey>>, Problem> {
    may_manage(&app, &peer)?;
    let limit = list::limit(query.0.limit)?;
    let after = query.0.cursor.as_deref().map(parse_cursor).transpose()?;
    let pool = app.storage.rows.read();
    let mut rows = api_keys::subtree(pool, &caller.key_id, after, limit + 1).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_cursor = rows.last().filter(|_| more).map(cursor_of);
    let total = api_keys::subtree_count(pool, &caller.key_id).await?;
    Ok(Reply(Page { items: rows.into_iter().map(|row| shown(&app, &caller, row)).collect(), next_cursor, total }))
}

/// Create an API key
///
/// With scopes, limits and an end that the caller has itself. What the new key does counts against the limits of the caller too, and it ends
/// with the caller. The key is shown this once.
#[endpoint(operation_id = "create_api_key")]
pub async fn create_api_key(
    app: App,
    caller: Caller,
    peer: Peer,
    body: JsonRequest<NewApiKey>,
) -> Result<Secret<ApiKeyWithSecret>, Problem> {
    may_manage(&app, &peer)?;
    let now_ms = app.clock.now_ms();
    let (name, wish) = body.0.check(now_ms)?;
    let rights = attenuate(&caller.rights(), &wish).map_err(|exceeds: Vec<Exceeds>| Problem::from(exceeds))?;
    if caller.line.len() > DEPTH_MAX {
        return Err(Problem::new(Code::Conflict, format!("a key made by a key, and so on, goes at most {DEPTH_MAX} deep")));
    }
    let root = caller.line.last().map_or(caller.key_id.as_str(), |(key_id, _)| key_id.as_str());
    if api_keys::subtree_count(app.storage.rows.read(), root).await? >= KEYS_MAX {
        return Err(Problem::new(Code::Conflict, format!("there are {KEYS_MAX} keys already; delete some first")));
    }
    let draft = Draft { name, rights, parent: Some((caller.key_id.clone(), caller.owner_id.clone())) };
    let (key, row) = create_key::store(&app.storage.rows, draft, Actor::Key(&caller, &peer), now_ms).await?;
    let body = ApiKeyWithSecret { api_key: shown(&app, &caller, row), key: Some(key.reveal().to_owned()) };
    Ok(Secret { body, field: "key" })
}

/// Delete an API key
///
/// And all that were made by it. Their event connections are closed.
#[endpoint(operation_id = "delete_api_key")]
pub async fn delete_api_key(app: App, caller: Caller, peer: Peer, key_id: PathParam<String>) -> Result<NoContent, Problem> {
    may_manage(&app, &peer)?;
    let now_ms = app.clock.now_ms();
    let mut tx = app.storage.rows.begin().await?;
    let row = find(&mut tx, &caller, &key_id).await?;
    keep_the_last(&mut tx, &row, now_ms).await?;
    let deleted = api_keys::delete(&mut tx, &row.id).await?;
    let entry =
        key_audit::entry(Actor::Key(&caller, &peer), "deleted", &row.id, format!("with {} below it", deleted.saturating_sub(1)), now_ms);
    audit::add(&mut tx, &entry).await?;
    tx.commit().await?;
    Ok(NoContent)
}

/// Revoke an API key
///
/// And all that were made by it, for good. Their event connections are closed with 4401.
#[endpoint(operation_id = "revoke_api_key")]
pub async fn revoke_api_key(app: App, caller: Caller, peer: Peer, key_id: PathParam<String>) -> Result<Reply<ApiKey>, Problem> {
    may_manage(&app, &peer)?;
    let now_ms = app.clock.now_ms();
    let mut tx = app.storage.rows.begin().await?;
    let row = find(&mut tx, &caller, &key_id).await?;
    keep_the_last(&mut tx, &row, now_ms).await?;
    api_keys::revoke(&mut tx, &row.id, now_ms).await?;
    let entry = key_audit::entry(Actor::Key(&caller, &peer), "revoked", &row.id, String::new(), now_ms);
    audit::add(&mut tx, &entry).await?;
    tx.commit().await?;
    let row = Row { revoked_at_ms: row.revoked_at_ms.or(Some(now_ms)), ..row };
    Ok(Reply(shown(&app, &caller, row)))
}

/// Give an API key a new secret
///
/// Id, name, scopes and limits stay. The key as it was works on for `overlap_s`; one from before that ends now. The new one is shown this
/// once.
#[endpoint(operation_id = "rotate_api_key")]
pub async fn rotate_api_key(
    app: App,
    caller: Caller,
    peer: Peer,
    key_id: PathParam<String>,
    body: OptionalJsonRequest<RotateRequest>,
) -> Result<Secret<ApiKeyWithSecret>, Problem> {
    may_manage(&app, &peer)?;
    let overlap_ms = body.0.overlap_ms()?;
    let now_ms = app.clock.now_ms();
    let mut tx = app.storage.rows.begin().await?;
    let row = find(&mut tx, &caller, &key_id).await?;
    let ended = || Problem::new(Code::Conflict, "the key was revoked or has expired; make another one");
    if row.expires_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
        return Err(ended());
    }
    let rotated = rotate_key::rotate(&mut tx, row, overlap_ms, Actor::Key(&caller, &peer), now_ms).await?;
    let (key, row) = rotated.ok_or_else(ended)?;
    tx.commit().await?;
    let body = ApiKeyWithSecret { api_key: shown(&app, &caller, row), key: Some(key.reveal().to_owned()) };
    Ok(Secret { body, field: "key" })
}

fn shown(app: &App, caller: &Caller, row: Row) -> ApiKey {
    let unwritten = app.key_use.unwritten(&row.id);
    ApiKey::of(row, &caller.key_id, unwritten, app.clock.now_ms())
}

/// From elsewhere only where that was configured.
fn may_manage(app: &App, peer: &Peer) -> Result<(), Problem> {
    if app.config.remote_key_management || peer.is_local() {
        return Ok(());
    }
    let detail = "keys are managed from the server's own machine; remote_key_management in its configuration allows others";
    Err(Problem::new(Code::KeyManagementIsLocal, detail))
}

/// A key of the caller's subtree.
async fn find(tx: &mut Tx, caller: &Caller, key_id: &str) -> Result<Row, Problem> {
    let line = api_keys::chain_in(tx, key_id).await?;
    let own = line.iter().any(|key| key.id == caller.key_id);
    line.into_iter().next().filter(|_| own).ok_or_else(|| not_found(Code::ApiKeyNotFound, "API key"))
}

/// Nobody ends, by HTTP, the last key that can make keys: there would be no way back.
async fn keep_the_last(tx: &mut Tx, row: &Row, now_ms: i64) -> Result<(), Problem> {
    if row.parent_id.is_some() {
        return Ok(());
    }
    let can_manage = |key: &&Row| {
        key.expires_at_ms.is_none_or(|at_ms| at_ms > now_ms) && key.scopes.iter().any(|name| name == Scope::SystemRead.as_str())
    };
    let roots = api_keys::roots_locked(tx).await?;
    let left = roots.iter().filter(can_manage).filter(|key| key.id != row.id).count();
    if left == 0 && roots.iter().filter(can_manage).any(|key| key.id == row.id) {
        let detail = "this is the last key that can manage keys; make another one first with `clonyvoice keys create`, or end it with \
                      `clonyvoice keys revoke`";
        return Err(Problem::new(Code::Conflict, detail));
    }
    Ok(())
}
