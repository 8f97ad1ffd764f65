//! Any bytes as the JSON body of an endpoint: taken, or refused with a 4xx that says something.
#![no_main]

use api::body;
use api::problem::Problem;
use api::wire::montage::{MontageChange, NewMontage};
use api::wire::speech::{ChunkedRequest, IntoSubmission, MergeRequest, MultilangRequest, MultivoiceRequest, RegenerateRequest};
use jobs::submission::TraceContext;
use libfuzzer_sys::fuzz_target;

fn refused<T>(taken: Result<T, Problem>) {
    if let Err(problem) = taken {
        assert!(problem.code.status().is_client_error(), "{problem:?}");
        assert!(!problem.detail.is_empty() || !problem.errors.is_empty(), "{problem:?}");
    }
}

fuzz_target!(|bytes: &[u8]| {
    let trace = TraceContext::default;
    refused(body::parse::<MultivoiceRequest>(bytes).and_then(|body| body.into_submission(trace())));
    refused(body::parse::<MultilangRequest>(bytes).and_then(|body| body.into_submission(trace())));
    refused(body::parse::<ChunkedRequest>(bytes).and_then(|body| body.into_submission(trace())));
    refused(body::parse::<MergeRequest>(bytes).and_then(MergeRequest::into_parts));
    refused(body::parse::<RegenerateRequest>(bytes).and_then(|body| body.into_order(trace())));
    refused(body::parse::<NewMontage>(bytes).and_then(NewMontage::into_input));
    refused(body::parse::<MontageChange>(bytes).and_then(MontageChange::into_input));
});
