//! Pages of other origins that were allowed by name (`cors_origins`): browsers ask first (preflight), and are told what a page may send and
//! read. Without configuration nothing is said and browsers refuse. Never `*`, and no cookies: a page needs a key like everybody.

use salvo::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderName, HeaderValue, ORIGIN, VARY,
};
use salvo::http::{Method, StatusCode};
use salvo::{Depot, FlowCtrl, Handler, Request, Response, async_trait};

use crate::config::Config;
use crate::host_check::plain_origin;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
const SENT: HeaderValue = HeaderValue::from_static(
    "X-API-Key, Authorization, Content-Type, Accept, Idempotency-Key, If-Match, If-None-Match, If-Range, Last-Event-ID, Prefer, Range, X-Request-Id",
);
const READ: HeaderValue = HeaderValue::from_static(
    "Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, Idempotency-Replayed, Location, RateLimit, RateLimit-Policy, \
     Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-Request-Id",
);
/// How long a browser need not ask again.
const MAX_AGE_S: HeaderValue = HeaderValue::from_static("600");
const ASK_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// A hoop behind the check of hosts and origins, and before keys are looked at.
#[derive(Debug, Clone)]
pub struct Cors {
    origins: Vec<String>,
}

impl Cors {
    pub fn new(config: &Config) -> Self {
        Self { origins: config.cors_origins.iter().map(|origin| plain_origin(origin)).collect() }
    }
}

#[async_trait]
impl Handler for Cors {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        if self.origins.is_empty() {
            ctrl.call_next(req, depot, res).await;
            return;
        }
        res.headers_mut().insert(VARY, HeaderValue::from_static("Origin"));
        let origin = req.headers().get(ORIGIN).filter(|value| {
            let origin = value.to_str().map(plain_origin).unwrap_or_default();
            self.origins.contains(&origin)
        });
        let Some(origin) = origin.cloned() else {
            ctrl.call_next(req, depot, res).await;
            return;
        };
        let headers = res.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, READ);
        if *req.method() != Method::OPTIONS || !req.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            ctrl.call_next(req, depot, res).await;
            return;
        }
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, SENT);
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_S);
        if req.headers().contains_key(ASK_PRIVATE_NETWORK) {
            headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
        }
        res.status_code(StatusCode::NO_CONTENT);
        ctrl.skip_rest();
    }
}
