//! `Idempotency-Key`: a POST that is repeated with the same key and body gets the first answer again and does nothing twice, also across a
//! crash. A hoop between the gate and the endpoint; keys are kept by API key for a day.
//!
//! Only answers of success are kept: whoever was refused may try again with the same key.

use std::sync::Arc;

use salvo::http::header::{HeaderName, HeaderValue, LOCATION};
use salvo::http::{ReqBody, ResBody, StatusCode};
use salvo::{Depot, FlowCtrl, Handler, Request, Response, async_trait};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use storage::idempotency::{self, Claimed, IdempotencyKey};
use storage::{Storage, StorageError};
use uuid::Uuid;

use crate::answer::{self, ToldOnce};
use crate::app::{self, App};
use crate::authenticate::Caller;
use crate::body;
use crate::problem::{Code, Problem};
use crate::upload;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const KEY_CHARS_MAX: usize = 255;

/// What an endpoint that accepts jobs must know; absent where the caller sent no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// To be noted in the transaction that accepts the job.
    pub key: IdempotencyKey,
    /// The request was accepted before, as this job, and only its answer is missing.
    pub accepted: Option<Uuid>,
}

#[derive(Debug)]
pub struct Idempotency;

/// What is kept of an answer.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    location: Option<String>,
    body: Value,
}

#[async_trait]
impl Handler for Idempotency {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        if !req.headers().contains_key(KEY) {
            ctrl.call_next(req, depot, res).await;
            return;
        }
        match claim(req, depot).await {
            Ok(Claim::Work(claimed)) => {
                depot.insert_typed(claimed.once.clone());
                if claimed.once.accepted.is_some() {
                    res.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
                }
                ctrl.call_next(req, depot, res).await;
                claimed.end(res).await;
            }
            Ok(Claim::Replay(status, kept)) => {
                replay(res, status, kept);
                ctrl.skip_rest();
            }
            Err(problem) => {
                res.render(problem);
                ctrl.skip_rest();
            }
        }
    }
}

enum Claim {
    Work(Box<Holder>),
    Replay(u16, Kept),
}

async fn claim(req: &mut Request, depot: &mut Depot) -> Result<Claim, Problem> {
    let app = app::of(depot)?;
    let caller = &depot.get_typed::<Caller>().cloned().map_err(|_| Problem::internal("an idempotent route has no caller"))?;
    let key = IdempotencyKey { api_key_id: caller.key_id.clone(), key: key_of(req)? };
    let hash = if upload::is_multipart(req) {
        // What it holds counts, not how it was packed: each try has another boundary.
        let received = upload::receive(req, &app, caller).await?;
        let hash = request_hash(req, received.content_hash().as_bytes());
        depot.insert_typed(Arc::new(received));
        hash
    } else {
        let bytes = body::read(req).await?;
        let hash = request_hash(req, &bytes);
        req.replace_body(ReqBody::Once(bytes));
        hash
    };
    let mut tx = app.storage.rows.begin().await?;
    let claimed = idempotency::claim(&mut tx, &key, &hash, &app.process, app.clock.now_ms()).await?;
    tx.commit().await?;
    let work = |accepted| Claim::Work(Box::new(Holder::new(&app, Once { key: key.clone(), accepted })));
    match claimed {
        Claimed::New => Ok(work(None)),
        Claimed::Accepted { job_id } => Ok(work(Some(job_id))),
        Claimed::Answered { status, answer } => Ok(Claim::Replay(status, serde_json::from_str(&answer).map_err(Problem::internal)?)),
        Claimed::InFlight => {
            Err(Problem::new(Code::IdempotencyInFlight, "the first request with this Idempotency-Key is still at work").retry_after(1))
        }
        Claimed::Mismatch => Err(Problem::new(Code::IdempotencyMismatch, "this Idempotency-Key was used for another request")),
    }
}

/// Whether a request has a key that was used before: it may repeat what was accepted, and then it brings no work.
pub async fn is_repeated(app: &App, req: &Request, caller: &Caller) -> Result<bool, Problem> {
    if !req.headers().contains_key(KEY) {
        return Ok(false);
    }
    let key = IdempotencyKey { api_key_id: caller.key_id.clone(), key: key_of(req)? };
    Ok(idempotency::is_known(app.storage.rows.read(), &key).await?)
}

fn key_of(req: &Request) -> Result<String, Problem> {
    let text = req.headers().get(KEY).and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
    if text.is_empty() || text.len() > KEY_CHARS_MAX {
        return Err(Problem::invalid_field("Idempotency-Key", format!("must have 1 to {KEY_CHARS_MAX} plain characters")));
    }
    Ok(text.to_owned())
}

/// Path and body; how long the caller would wait is not part of what is asked for.
fn request_hash(req: &Request, body: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(req.uri().path().as_bytes());
    hash.update([0]);
    hash.update(body);
    hex::encode(hash.finalize())
}

fn replay(res: &mut Response, status: u16, kept: Kept) {
    if let Some(location) = kept.location.and_then(|location| HeaderValue::from_str(&location).ok()) {
        res.headers_mut().insert(LOCATION, location);
    }
    res.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    answer::json(res, StatusCode::from_u16(status).unwrap_or(StatusCode::OK), &kept.body);
}

/// A claimed key. Whatever ends the request, the key does not stay in flight: a client that hangs up in the middle drops this.
struct Holder {
    storage: Storage,
    once: Once,
    ended: bool,
}

impl Holder {
    fn new(app: &App, once: Once) -> Self {
        Self { storage: app.storage.clone(), once, ended: false }
    }

    async fn end(mut self, res: &Response) {
        let kept = success_of(res);
        let written = match &kept {
            Some((status, kept)) => store(&self.storage, &self.once.key, *status, kept).await,
            None => release(&self.storage, &self.once.key).await,
        };
        self.ended = written.is_ok();
        if let Err(error) = written {
            tracing::warn!(%error, "an idempotency key was not settled, will be repeated");
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if !self.ended {
            let (storage, key) = (self.storage.clone(), self.once.key.clone());
            tokio::spawn(async move {
                if let Err(error) = release(&storage, &key).await {
                    tracing::warn!(%error, "an idempotency key was not released");
                }
            });
        }
    }
}

/// The JSON of an answer of success. Audio is not kept: asked again, it is read again.
fn success_of(res: &Response) -> Option<(u16, Kept)> {
    let status = res.status_code.filter(|status| status.is_success())?;
    let ResBody::Once(bytes) = &res.body else {
        return None;
    };
    let mut body: Value = serde_json::from_slice(bytes).ok()?;
    // A secret is nowhere but in the hand of whoever asked for it.
    if let Some(ToldOnce(field)) = res.extensions.get::<ToldOnce>() {
        body[*field] = Value::Null;
    }
    let location = res.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Some((status.as_u16(), Kept { location, body }))
}

async fn store(storage: &Storage, key: &IdempotencyKey, status: u16, kept: &Kept) -> Result<(), StorageError> {
    let answer = serde_json::to_string(kept)?;
    let mut tx = storage.rows.begin().await?;
    idempotency::store_answer(&mut tx, key, status, &answer).await?;
    tx.commit().await
}

/// Frees the key unless a job was accepted under it.
async fn release(storage: &Storage, key: &IdempotencyKey) -> Result<(), StorageError> {
    let mut tx = storage.rows.begin().await?;
    idempotency::release(&mut tx, key).await?;
    tx.commit().await
}
