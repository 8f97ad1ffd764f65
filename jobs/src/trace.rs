//! Spans of the life of a job, for OpenTelemetry: the one that accepts it, one for each attempt, and what an attempt does. They cost nothing
//! where nobody collects them: their target is switched off then.
//!
//! No text, name of a file, key or owner goes into a span: ids, numbers and kinds. The only file of this crate that names OpenTelemetry.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use storage::leases::ClaimedJob;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::submission::TraceContext;

/// The target of every span that is collected.
pub const TARGET: &str = "clonyvoice::trace";

/// The work of accepting: what is stored with the jobs is this span, so that they continue the caller's trace behind it.
pub fn accept_span(kind: &'static str) -> Span {
    tracing::trace_span!(
        target: TARGET,
        "accept",
        otel.kind = "producer",
        messaging.system = "clonyvoice",
        messaging.operation.r#type = "send",
        job.kind = kind
    )
}

/// What is stored: the span as W3C trace context, or what the caller sent where no trace is collected.
pub fn stored(span: &Span, sent: TraceContext) -> TraceContext {
    let context = span.context();
    let found = context.span().span_context().clone();
    if !found.is_valid() {
        return sent;
    }
    let flags = found.trace_flags().to_u8();
    let tracestate = Some(found.trace_state().header()).filter(|state| !state.is_empty());
    TraceContext { traceparent: Some(format!("00-{}-{}-{flags:02x}", found.trace_id(), found.span_id())), tracestate }
}

/// One attempt of a job. The first continues the trace in which it was accepted; each later one (a retry, a resume after a crash or a stop)
/// is a trace of its own with a link to that one: hours may lie between, and what failed stays readable.
pub(crate) fn attempt_span(job: &ClaimedJob) -> Span {
    let span = tracing::trace_span!(
        target: TARGET,
        parent: None,
        "attempt",
        otel.name = format_args!("process {}", job.kind),
        otel.kind = "consumer",
        otel.status_code = tracing::field::Empty,
        messaging.system = "clonyvoice",
        messaging.operation.r#type = "process",
        messaging.destination.name = %job.queue,
        messaging.message.id = %job.fence.job_id,
        job.kind = %job.kind,
        job.attempt = job.attempt,
        job.lease_no = job.fence.lease_no,
        generation.id = job.generation_id.map(tracing::field::display),
        job.end = tracing::field::Empty,
        trace_id = tracing::field::Empty,
    );
    if span.is_disabled() {
        return span;
    }
    let accepted = job.traceparent.as_deref().and_then(|parent| parse(parent, job.tracestate.as_deref()));
    match accepted {
        Some(accepted) if job.fence.lease_no == 1 => continue_trace(&span, accepted),
        Some(accepted) => span.add_link(accepted),
        None => {}
    }
    note_trace_id(&span);
    span
}

/// Makes a span a child of one elsewhere. Only before anything else is done with it.
pub fn continue_trace(span: &Span, parent: SpanContext) {
    // It fails where no trace is collected.
    let _ = span.set_parent(Context::new().with_remote_span_context(parent));
}

/// Where the name is known only at the end.
pub fn rename(span: &Span, name: String) {
    span.context().span().update_name(name);
}

/// For the log lines that are written within it; it must have the field.
pub fn note_trace_id(span: &Span) {
    let context = span.context();
    let found = context.span().span_context().clone();
    if found.is_valid() {
        span.record("trace_id", tracing::field::display(found.trace_id()));
    }
}

/// Reads W3C trace context; `None` for what is none.
pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<SpanContext> {
    let parts: Vec<&str> = traceparent.split('-').collect();
    let [_, trace, span, flags] = parts.as_slice() else { return None };
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let state = tracestate.and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    let context = SpanContext::new(TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?, flags, true, state);
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_context_is_read() {
        let context = parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Some("a=b")).map(|context| {
            (context.trace_id().to_string(), context.span_id().to_string(), context.is_sampled(), context.trace_state().header())
        });
        let expected = ("4bf92f3577b34da6a3ce929d0e0e4736".to_owned(), "00f067aa0ba902b7".to_owned(), true, "a=b".to_owned());
        assert_eq!(context, Some(expected));
        for wrong in ["", "00-0-0-0", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "00-zz-zz-zz"] {
            assert!(parse(wrong, None).is_none(), "{wrong}");
        }
    }

    #[test]
    fn without_a_collector_what_was_sent_is_stored() {
        let sent = TraceContext { traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()), tracestate: None };
        let span = accept_span("generate");
        assert!(span.is_disabled());
        assert_eq!(stored(&span, sent.clone()), sent);
    }
}
