//! Serves the admin address: metrics for Prometheus, and the dashboard with its API. The address is
//! on loopback unless the config sets another.
//!
//! `/metrics` and `/healthz` need no sign-in. All other paths check the `Host` header, and the API
//! needs a sign-in.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::http::request::Parts;
use hyper::{Method, Request};

use super::api::{API_LIMITS, Api, HandlerSource, read_body};
use super::host_check::is_allowed_host;
use super::response::{self, AdminResponse, ApiError};
use super::routes::API_ROOT;
use crate::dashboard::Refusal;
use crate::domain::access::Principal;
use crate::http::{ConnectionLimits, ConnectionPhase, HttpServer};

/// Limits of connections. They are low, because few browsers and scrapers connect.
const CONNECTION_LIMITS: ConnectionLimits = ConnectionLimits {
    max_connections: 64,
    idle_timeout: Duration::from_mins(1),
    head_timeout: Duration::from_secs(10),
    drain_timeout: Duration::ZERO,
    grace_period: Duration::from_millis(500),
};
/// Maximum size of the body of a form, in bytes.
const FORM_BYTES_MAX: usize = 1 << 20;

/// Function that returns the text of `/metrics`.
pub type RenderMetrics = dyn Fn() -> String + Send + Sync;

/// The dashboard, as the admin server sees it.
pub trait DashboardHandler: Send + Sync {
    /// Finds the account that sends a request to the API. Checks also that the request does not
    /// come from another site.
    fn authenticate(&self, head: Parts) -> BoxFuture<'static, Result<Principal, Refusal>>;

    /// Answers a request to a path that is not of the API. The path contains the base path.
    fn respond(&self, request: Request<Bytes>) -> BoxFuture<'static, AdminResponse>;
}

/// Place of the dashboard at the admin address.
#[derive(Clone, Default)]
pub struct Mount {
    /// Path in front of all paths of the dashboard, without a slash at its end.
    pub base: String,
    /// Name in the `Host` header, without its port. IP addresses and `localhost` are always
    /// allowed.
    pub host: Option<String>,
    /// `None`: there is no dashboard, and the API refuses everybody.
    pub dashboard: Option<Arc<dyn DashboardHandler>>,
}

/// Server of the admin address.
pub struct AdminServer {
    server: HttpServer,
    routes: AdminRoutes,
}

#[derive(Clone)]
struct AdminRoutes {
    api: Api,
    render_metrics: Arc<RenderMetrics>,
    mount: Arc<Mount>,
}

impl AdminServer {
    /// Creates a server that uses the listener `server`.
    #[must_use]
    pub fn new(
        server: HttpServer,
        handler_source: Arc<HandlerSource>,
        render_metrics: Arc<RenderMetrics>,
        mount: Mount,
    ) -> Self {
        let routes = AdminRoutes {
            api: Api::new(handler_source, API_LIMITS),
            render_metrics,
            mount: Arc::new(mount),
        };
        Self { server, routes }
    }

    /// Serves until `stop` resolves.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let routes = self.routes;
        let handler = move |phase: Arc<ConnectionPhase>, request| {
            let routes = routes.clone();
            async move { routes.respond(request, &phase).await }
        };
        self.server
            .serve_with(handler, CONNECTION_LIMITS, stop)
            .await;
    }
}

impl AdminRoutes {
    async fn respond(&self, request: Request<Incoming>, phase: &ConnectionPhase) -> AdminResponse {
        match (request.uri().path(), request.method()) {
            ("/metrics", &Method::GET) => return response::metrics((self.render_metrics)()),
            ("/healthz", &Method::GET) => return response::alive(),
            ("/metrics" | "/healthz", _) => {
                phase.mark_body_unread();
                return ApiError::MethodNotAllowed("GET").to_response();
            }
            _ => {}
        }
        let responded = self.try_respond(request, phase).await;
        responded.unwrap_or_else(|error| {
            phase.mark_body_unread();
            error.to_response()
        })
    }

    async fn try_respond(
        &self,
        request: Request<Incoming>,
        phase: &ConnectionPhase,
    ) -> Result<AdminResponse, ApiError> {
        self.check_host(&request)?;
        let path = request.uri().path().to_owned();
        let below = path.strip_prefix(self.mount.base.as_str());
        let below = below.ok_or(ApiError::UnknownPath)?;
        let dashboard = self.mount.dashboard.as_ref();
        if let Some(api_path) = below.strip_prefix(API_ROOT) {
            let dashboard = dashboard.ok_or(ApiError::SignInRequired)?;
            let (head, body) = request.into_parts();
            let principal = dashboard.authenticate(head.clone()).await;
            let principal = principal.map_err(|refusal| match refusal {
                Refusal::SignInRequired => ApiError::SignInRequired,
                Refusal::ForeignRequest => ApiError::ForeignRequest,
                Refusal::Unavailable => ApiError::TooManyRequests,
            })?;
            let request = Request::from_parts(head, body);
            return Ok(self.api.respond(principal, api_path, request, phase).await);
        }
        let dashboard = dashboard.ok_or(ApiError::UnknownPath)?;
        let (head, body) = request.into_parts();
        let body = read_body(body, FORM_BYTES_MAX, API_LIMITS.body_timeout).await?;
        Ok(dashboard.respond(Request::from_parts(head, body)).await)
    }

    fn check_host(&self, request: &Request<Incoming>) -> Result<(), ApiError> {
        let mut hosts = request.headers().get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().map_err(|_| ApiError::NoHost)?,
            _ => return Err(ApiError::NoHost),
        };
        if is_allowed_host(host, self.mount.host.as_deref()) {
            Ok(())
        } else {
            Err(ApiError::OtherHost)
        }
    }
}
