//! Serves metrics for Prometheus. The address is on loopback unless the config sets another.

use std::future::{Future, ready};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request};

use super::listener::{ConnectionLimits, HttpServer};
use super::response::{self, HttpError, HttpResponse};

/// Limits of connections. They are low, because few scrapers connect.
const CONNECTION_LIMITS: ConnectionLimits = ConnectionLimits {
    max_connections: 64,
    idle_timeout: Duration::from_mins(1),
    head_timeout: Duration::from_secs(10),
    drain_timeout: Duration::ZERO,
    grace_period: Duration::from_millis(500),
};

/// HTTP server for operators.
#[derive(Debug)]
pub struct MetricsServer(HttpServer);

impl MetricsServer {
    /// Creates a server that uses the listener `server`.
    #[must_use]
    pub const fn new(server: HttpServer) -> Self {
        Self(server)
    }

    /// Serves the text from `render` at `/metrics` until `stop` resolves.
    pub async fn run(
        self,
        render: Arc<dyn Fn() -> String + Send + Sync>,
        stop: impl Future<Output = ()>,
    ) {
        let handler = move |_, request: Request<Incoming>| ready(route_request(&request, &*render));
        self.0.serve_with(handler, CONNECTION_LIMITS, stop).await;
    }
}

fn route_request(
    request: &Request<Incoming>,
    render: &(dyn Fn() -> String + Send + Sync),
) -> HttpResponse {
    match (request.uri().path(), request.method()) {
        ("/metrics", &Method::GET) => response::metrics(render()),
        ("/healthz", &Method::GET) => response::text("alive\n"),
        ("/metrics" | "/healthz", _) => HttpError::MethodNotAllowed("GET").to_response(),
        _ => HttpError::NotFound.to_response(),
    }
}
