//! Sends spans to an OpenTelemetry collector: OTLP over HTTP, as protobuf. Only with the cargo
//! feature `otel`.
//!
//! The collector is named by [`ENDPOINT_VARIABLE`]. The library also reads the other standard
//! variables, for example `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_TRACES_SAMPLER`.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;

/// Environment variable with the URL of the collector, for example `http://127.0.0.1:4318`. Without
/// it, no span is sent.
pub const ENDPOINT_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Maximum time for one request to the collector.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum size of a response of the collector, in bytes.
const RESPONSE_BYTES_MAX: usize = 1 << 20;

/// Client that sends the spans on the runtime of the server. The library exports on a thread
/// without a runtime.
#[derive(Clone, Debug)]
struct CollectorClient {
    client: Client<HttpConnector, Full<Bytes>>,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for CollectorClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let exchange = async move {
            let response = client.request(request.map(Full::new)).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, RESPONSE_BYTES_MAX).collect().await?;
            Ok::<_, HttpError>(Response::from_parts(head, body.to_bytes()))
        };
        // The timer must also start on the runtime.
        let limited = async { tokio::time::timeout(REQUEST_TIMEOUT, exchange).await };
        self.runtime.spawn(limited).await??
    }
}

/// Starts the export of spans. Must be called in the context of a runtime. Returns `None` if no
/// collector is configured, or the reason why its URL can't be used.
pub(super) fn start() -> Result<Option<SdkTracerProvider>, String> {
    let (Some(_), Ok(runtime)) = (std::env::var_os(ENDPOINT_VARIABLE), Handle::try_current())
    else {
        return Ok(None);
    };
    let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(CollectorClient { client, runtime })
        .build()
        .map_err(|error| format!("{ENDPOINT_VARIABLE}: {error}: no traces are sent"))?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name("flowgate").build());
    Ok(Some(provider.build()))
}
