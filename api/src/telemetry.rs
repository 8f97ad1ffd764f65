//! Spans on their way to a collector (OTLP), switched on and set by the standard `OTEL_*` variables: which endpoint, which protocol, what is
//! sampled, how the service is called. A thread of its own sends them; what it can't send in time is dropped, so that a collector that is away
//! costs neither time nor memory.
//!
//! Only spans of `jobs::trace::TARGET` go out: what libraries and log lines say stays here. This file may not know what a span means.

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::config::TracesWish;

const SERVICE: &str = "clonyvoice";

/// Lives as long as the process; [`Telemetry::stop`] sends what is left.
#[derive(Debug)]
pub struct Telemetry {
    provider: SdkTracerProvider,
}

impl Telemetry {
    /// To be called within the runtime, which carries the connection. The error names what is wrong with the variables.
    pub fn start(wish: &TracesWish) -> Result<Self, String> {
        let exporter = SpanExporter::builder().build().map_err(|error| format!("OTEL_EXPORTER_OTLP_*: {error}"))?;
        // Read from the variables too; only the name has another default than "unknown".
        let mut resource = Resource::builder();
        if !wish.names_service {
            resource = resource.with_service_name(SERVICE);
        }
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
        Ok(Self { provider })
    }

    /// What takes spans from the program.
    pub fn layer<S: Subscriber + for<'span> LookupSpan<'span>>(&self) -> impl Layer<S> + use<S> {
        OpenTelemetryLayer::new(self.provider.tracer(SERVICE))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_level(false)
            .with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == jobs::trace::TARGET))
    }

    /// Waits for the last spans, at most a few seconds.
    pub fn stop(self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}
