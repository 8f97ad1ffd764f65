//! A collector of a test's own on loopback: it takes spans by OTLP over gRPC and keeps them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::{Request, Response, Status};

use crate::wait;

/// A span as a test wants to see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub name: String,
    /// Hex.
    pub trace_id: String,
    pub span_id: String,
    /// Empty for a root.
    pub parent_id: String,
    /// As in OTLP: 2 server, 4 producer, 5 consumer.
    pub kind: i32,
    /// Trace ids of its links.
    pub links: Vec<String>,
    pub attributes: BTreeMap<String, String>,
}

impl Seen {
    fn of(span: &Span) -> Self {
        let text = |value: &Value| match value {
            Value::StringValue(text) => text.clone(),
            Value::IntValue(number) => number.to_string(),
            Value::DoubleValue(number) => number.to_string(),
            Value::BoolValue(truth) => truth.to_string(),
            other => format!("{other:?}"),
        };
        let attribute =
            |pair: &opentelemetry_proto::tonic::common::v1::KeyValue| Some((pair.key.clone(), text(pair.value.as_ref()?.value.as_ref()?)));
        Self {
            name: span.name.clone(),
            trace_id: hex::encode(&span.trace_id),
            span_id: hex::encode(&span.span_id),
            parent_id: hex::encode(&span.parent_span_id),
            kind: span.kind,
            links: span.links.iter().map(|link| hex::encode(&link.trace_id)).collect(),
            attributes: span.attributes.iter().filter_map(attribute).collect(),
        }
    }
}

/// A running collector.
#[derive(Debug)]
pub struct Collector {
    address: std::net::SocketAddr,
    /// Everything that came, as spans and as text, to look for what may not be in it.
    kept: Arc<Mutex<(Vec<Seen>, String)>>,
    serving: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Keeper(Arc<Mutex<(Vec<Seen>, String)>>);

#[tonic::async_trait]
impl TraceService for Keeper {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let request = request.into_inner();
        let mut kept = self.0.lock().unwrap();
        kept.1.push_str(&format!("{request:?}\n"));
        let spans = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans);
        kept.0.extend(spans.map(Seen::of));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    pub async fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // Between this and the bind below another process may take the port; then the server says so and the test fails.
        drop(listener);
        let kept = Arc::default();
        let service = TraceServiceServer::new(Keeper(Arc::clone(&kept)));
        let serving = tokio::spawn(async move {
            tonic::transport::Server::builder().add_service(service).serve(address).await.unwrap();
        });
        Self { address, kept, serving }
    }

    /// What a server is started with to send its spans here, soon after they end.
    pub fn environment(&self) -> Vec<(String, String)> {
        environment(&format!("http://{}", self.address), "grpc")
    }

    pub fn spans(&self) -> Vec<Seen> {
        self.kept.lock().unwrap().0.clone()
    }

    /// All that came, as text.
    pub fn text(&self) -> String {
        self.kept.lock().unwrap().1.clone()
    }

    /// Waits until what is looked for has come; it gets all spans.
    pub async fn until<T>(&self, what: &str, mut look: impl FnMut(&[Seen]) -> Option<T>) -> T {
        wait::until(what, async || look(&self.spans())).await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub fn environment(endpoint: &str, protocol: &str) -> Vec<(String, String)> {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_SERVICE_NAME", "voice-under-test"),
    ];
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}
