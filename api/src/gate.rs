//! What a request must pass before its endpoint runs, and before its body is read: a valid key, the route's scope, room in the bucket.
//! Each route has its own gate, made from its line in the table.

use salvo::http::{HeaderName, HeaderValue, StatusCode};
use salvo::{Depot, FlowCtrl, Handler, Request, Response, async_trait};

use crate::app::{self, App};
use crate::authenticate::{self, Caller};
use crate::body::BodyLimit;
use crate::idempotency;
use crate::limits::{Decision, Weight};
use crate::peer::Peer;
use crate::problem::{Code, Problem};
use crate::scopes::Scope;
use crate::{key_audit, upload, ws_ticket};

const UNREAD_BYTES_MAX: u64 = 64 * 1024;

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nobody is asked for a key.
    Public,
    Scope(Scope),
    /// One of these is enough; the first that the key has counts for the limit.
    AnyOf(&'static [Scope]),
}

impl Access {
    pub fn scopes(self) -> Vec<Scope> {
        match self {
            Self::Public => Vec::new(),
            Self::Scope(scope) => vec![scope],
            Self::AnyOf(scopes) => scopes.to_vec(),
        }
    }

    fn granted_to(self, caller: &Caller) -> Option<Scope> {
        self.scopes().into_iter().find(|scope| caller.grants.allows(*scope))
    }
}

/// What kind of body a route reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    None,
    Json,
    /// `multipart/form-data`, kept in temporary files.
    Multipart,
}

#[derive(Debug, Clone, Copy)]
pub struct Gate {
    pub access: Access,
    pub weight: Weight,
    pub body: BodyKind,
    /// Whether a one-time ticket in the query may stand for the key.
    pub takes_ticket: bool,
    /// Brings new work: refused while the queue is full, unless it repeats what was accepted before.
    pub adds_work: bool,
}

#[async_trait]
impl Handler for Gate {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        match self.pass(req, depot, res).await {
            Ok(()) => {
                ctrl.call_next(req, depot, res).await;
            }
            Err(problem) => {
                res.render(problem);
                ctrl.skip_rest();
            }
        }
    }
}

impl Gate {
    async fn pass(&self, req: &mut Request, depot: &mut Depot, res: &mut Response) -> Result<(), Problem> {
        let app = app::of(depot)?;
        let bytes_max = match self.body {
            // What is sent all the same is passed over.
            BodyKind::None => UNREAD_BYTES_MAX,
            BodyKind::Json => app.config.json_body_bytes_max,
            BodyKind::Multipart if upload::is_multipart(req) => app.config.upload_bytes_max,
            BodyKind::Multipart => app.config.json_body_bytes_max,
        };
        req.extensions_mut().insert(BodyLimit { bytes_max, idle_ms: app.config.body_idle_ms, total_ms: app.config.body_total_ms });
        if self.access == Access::Public {
            return Ok(());
        }
        let caller = self.caller(&app, req).await?;
        let scope = self.access.granted_to(&caller).ok_or_else(|| insufficient(self.access))?;
        let decision = app.limits.take(&caller.payers(scope), scope, self.weight, app.limits_us());
        write_headers(res, &decision);
        if !decision.allowed {
            app.limit_hits.note(scope);
            return Err(rate_limited(&decision));
        }
        app.key_use.note(&app.storage, &caller.key_id, app.clock.now_ms());
        if self.adds_work
            && let Some(full) = app.jobs.full().await?
            && !idempotency::is_repeated(&app, req, &caller).await?
        {
            return Err(full.into());
        }
        depot.insert_typed(caller);
        Ok(())
    }

    /// Who calls. Whoever fails often is not even looked at for a while.
    async fn caller(&self, app: &App, req: &Request) -> Result<Caller, Problem> {
        let peer = Peer::of(req);
        app.failures.check(&peer, app.limits_us())?;
        let now_ms = app.clock.now_ms();
        let ticket = if self.takes_ticket { req.query::<String>("ticket") } else { None };
        let found = match ticket.filter(|_| !authenticate::has_key(req.headers())) {
            Some(ticket) => ws_ticket::caller(&app.storage, &ticket, now_ms).await,
            None => authenticate::caller(&app.storage, req.headers(), now_ms).await,
        };
        if found.as_ref().is_err_and(|problem| problem.code.status() == StatusCode::UNAUTHORIZED)
            && app.failures.note(&peer, app.limits_us())
        {
            key_audit::throttled(app, &peer, now_ms);
        }
        found
    }
}

fn insufficient(access: Access) -> Problem {
    let names: Vec<&str> = access.scopes().into_iter().map(Scope::as_str).collect();
    Problem::new(Code::InsufficientScope, format!("this endpoint needs a key with the scope {}", names.join(" or ")))
}

fn rate_limited(decision: &Decision) -> Problem {
    let (scope, limit, retry_after_s) = (decision.scope, decision.limit, decision.retry_after_s());
    let whose = if decision.shared { "that the key shares with the one it was made by" } else { "of the key" };
    let detail = format!("the limit {whose} for {scope} is {limit} requests a minute; the next is possible in {retry_after_s} s");
    Problem::new(Code::RateLimited, detail).retry_after(decision.retry_after_s())
}

fn write_headers(res: &mut Response, decision: &Decision) {
    for (name, value) in decision.headers() {
        if let Ok(value) = HeaderValue::from_str(&value) {
            res.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
}
