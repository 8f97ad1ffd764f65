//! What a caller says about waiting, tracing and repeating, taken from headers and query.

use jobs::submission::TraceContext;
use jobs::trace;
use salvo::extract::{Extractible, Metadata};
use salvo::http::HeaderMap;
use salvo::http::header::ACCEPT;
use salvo::oapi::{Components, EndpointArgRegister, Operation, Parameter, ParameterIn, ToSchema};
use salvo::{Depot, Request};

use crate::idempotency::Once;
use crate::prefer::{self, WAIT_MAX_S};
use crate::problem::Problem;

/// How long the answer may be held back, and in which form it is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// `None`: answer at once.
    pub wait_s: Option<u64>,
    /// The bytes instead of the job.
    pub audio: bool,
}

impl Waiting {
    fn of(req: &Request) -> Self {
        let audio = prefer::wants_audio(text(req.headers(), ACCEPT.as_str()));
        let wait_s = prefer::wait_s(text(req.headers(), "prefer"), req.queries().get("wait").map(String::as_str));
        // Who wants the bytes waits for them.
        Self { wait_s: wait_s.or(audio.then_some(WAIT_MAX_S)), audio }
    }
}

impl<'ex> Extractible<'ex> for Waiting {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    #[allow(refining_impl_trait)]
    async fn extract(req: &'ex mut Request, _depot: &'ex mut Depot) -> Result<Self, Problem> {
        Ok(Self::of(req))
    }
}

impl EndpointArgRegister for Waiting {
    fn register(components: &mut Components, operation: &mut Operation, _arg: &str) {
        let wait = Parameter::new("wait")
            .location(ParameterIn::Query)
            .description("Hold the answer back until the job is done, for at most so many seconds (60); `Prefer: wait=N` does the same")
            .required(false)
            .schema(u32::to_schema(components));
        let prefer = Parameter::new("Prefer")
            .location(ParameterIn::Header)
            .description("`wait=N` holds the answer back until the job is done, for at most N seconds (60)")
            .required(false)
            .schema(String::to_schema(components));
        operation.parameters.insert(wait);
        operation.parameters.insert(prefer);
    }
}

/// What else comes with a request for a job: the trace that its jobs continue, and whether it was asked for before.
#[derive(Debug, Clone)]
pub struct Asking {
    /// W3C trace context.
    pub trace: TraceContext,
    pub once: Option<Once>,
}

impl<'ex> Extractible<'ex> for Asking {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    #[allow(refining_impl_trait)]
    async fn extract(req: &'ex mut Request, depot: &'ex mut Depot) -> Result<Self, Problem> {
        // Behind the span of this request, where traces are collected.
        let trace = trace::stored(&tracing::Span::current(), trace_of(req.headers()));
        Ok(Self { trace, once: depot.get_typed::<Once>().ok().cloned() })
    }
}

impl EndpointArgRegister for Asking {
    fn register(_components: &mut Components, _operation: &mut Operation, _arg: &str) {}
}

/// What a caller sent of its trace; nothing where that can't be read.
pub(crate) fn trace_of(headers: &HeaderMap) -> TraceContext {
    let Some(traceparent) = text(headers, "traceparent").filter(|value| is_traceparent(value)) else {
        return TraceContext::default();
    };
    let tracestate = text(headers, "tracestate").filter(|value| value.len() <= 512).map(str::to_owned);
    TraceContext { traceparent: Some(traceparent.to_owned()), tracestate }
}

/// `version-trace-span-flags`, each in lower-case hex, ids not all zero (W3C Trace Context, section 3.2).
fn is_traceparent(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    let hex =
        |part: &str, length: usize| part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let [version, trace, span, flags] = parts.as_slice() else {
        return false;
    };
    let set = |part: &str| part.bytes().any(|byte| byte != b'0');
    hex(version, 2) && *version != "ff" && hex(trace, 32) && set(trace) && hex(span, 16) && set(span) && hex(flags, 2)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_traces_are_continued() {
        assert!(is_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        ] {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }
}
