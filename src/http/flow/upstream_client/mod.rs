//! Asks the upstream, the owner's own program on this machine, what a flow shows next.
//!
//! ```text
//! query: circuit breaker → signed POST within the timeout → status 200, JSON, a screen → response
//! ```
//!
//! The requests contain decrypted data, so they go to loopback only. `localhost` is never looked
//! up, redirects are not followed, and no proxy is used. The caller decides what customers see
//! without a response. Each request in flight uses its own connection. The connection limit of the
//! HTTP server therefore also limits these connections.
//!
//! See [`crate::domain::circuit_breaker`] for the pauses after failures.

mod response;
use std::array;
use std::convert::Infallible;
use std::error::Error;
use std::future::{Ready, ready};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};
use tower_service::Service;

use crate::clock::{Clock, timer_now};
use crate::config::{UpstreamFallback, UpstreamSettings};
use crate::domain::circuit_breaker::{BreakerChange, CallPermit, CircuitBreaker};
use crate::domain::ids::FlowName;
use crate::webhook_signature::{self, SigningKey};

use crate::http::body::{self, BodyBudget, BodyError, BodyKind};
use response::BreakerSignal;
pub use response::UpstreamError;

/// Maximum size, in bytes, of all responses of one upstream that are read at the same time.
const RESPONSES_BYTES_MAX: u64 = 64 << 20;

/// Maximum time that a connection waits for the next request.
///
/// A new connection on loopback costs almost nothing. The upstream may close an older connection
/// just when it is reused: Node does so after five seconds, gunicorn after two.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

const PRODUCT_TOKEN: &str = concat!("flowgate/", env!("CARGO_PKG_VERSION"));

/// Client of the upstream of one flow. All requests share the client.
pub struct UpstreamClient {
    flow: FlowName,
    settings: UpstreamSettings,
    key: SigningKey,
    clock: Arc<dyn Clock>,
    client: Client<HttpConnector<LoopbackResolver>, Full<Bytes>>,
    response_budget: BodyBudget,
    breaker: Mutex<CircuitBreaker>,
}

impl UpstreamClient {
    /// Maximum number of connections that wait for the next request.
    pub const IDLE_MAX: u64 = 32;

    /// Creates the client of the upstream of `flow`. `key` signs the requests. Opens no connection
    /// yet.
    #[must_use]
    pub fn new(
        flow: FlowName,
        settings: UpstreamSettings,
        key: SigningKey,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut connector = HttpConnector::new_with_resolver(LoopbackResolver);
        // Without this, a head and a body that leave as two packets may wait for each other.
        connector.set_nodelay(true);
        // The addresses are tried without a pause between them. On loopback each one responds at
        // once or does not exist.
        connector.set_happy_eyeballs_timeout(None);
        let idle_max = usize::try_from(Self::IDLE_MAX).unwrap_or(usize::MAX);
        let mut pool = Client::builder(TokioExecutor::new());
        pool.pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(idle_max);
        Self {
            flow,
            breaker: Mutex::new(CircuitBreaker::new(settings.breaker)),
            settings,
            key,
            clock,
            client: pool.build(connector),
            response_budget: BodyBudget::new(RESPONSES_BYTES_MAX),
        }
    }

    /// Returns `true` if the client has these settings and this signing key. The location of the
    /// secret in the config is not compared.
    #[must_use]
    pub fn has_same_config(&self, settings: &UpstreamSettings, key: &SigningKey) -> bool {
        let UpstreamSettings {
            url,
            secret: _,
            timeout,
            fallback,
            breaker,
        } = &self.settings;
        let same =
            *url == settings.url && *timeout == settings.timeout && *breaker == settings.breaker;
        same && *fallback == settings.fallback && self.key == *key
    }

    /// Returns the screen and the message for customers if the upstream gives no response.
    #[must_use]
    pub const fn fallback(&self) -> &UpstreamFallback {
        &self.settings.fallback
    }

    /// Posts a decrypted request, byte for byte, and returns the response: an object whose `screen`
    /// is a nonempty text. Its `data`, if present, is an object.
    ///
    /// `id` is sent as `webhook-id`. A repeated request has the same ID, so that the upstream can
    /// recognize it. `id` must consist of visible ASCII characters other than `.`. The call waits
    /// for the configured timeout, and never beyond `deadline`.
    ///
    /// # Errors
    /// [`UpstreamError`] if there is no valid response.
    pub async fn query(
        &self,
        request: Bytes,
        id: &str,
        deadline: Instant,
    ) -> Result<Map<String, Value>, UpstreamError> {
        let in_flight = self.start_request()?;
        let started = timer_now();
        let own_limit = started + self.settings.timeout.to_duration();
        let cutoff = own_limit.min(deadline);
        let late = || UpstreamError::Timeout(cutoff.saturating_duration_since(started));
        let response = match timeout_at(cutoff, self.send(request, id, cutoff)).await {
            Ok(Err(UpstreamError::Timeout(_))) | Err(_) => Err(late()),
            Ok(response) => response,
        };
        in_flight.finish(&response, own_limit <= deadline);
        response
    }

    fn start_request(&self) -> Result<InFlightRequest<'_>, UpstreamError> {
        let started = self.clock.elapsed();
        let Some(permit) = self.breaker().try_acquire(started) else {
            self.count("open");
            return Err(UpstreamError::BreakerOpen);
        };
        Ok(InFlightRequest {
            upstream: self,
            started_at: started,
            permit: Some(permit),
        })
    }

    async fn send(
        &self,
        request: Bytes,
        id: &str,
        cutoff: Instant,
    ) -> Result<Map<String, Value>, UpstreamError> {
        let mut post = Request::post(self.settings.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, PRODUCT_TOKEN);
        for (name, value) in webhook_signature::signature_headers(
            std::slice::from_ref(&self.key),
            id,
            self.clock.now(),
            &request,
        ) {
            post = post.header(name, value);
        }
        let response = self
            .client
            .request(post.body(Full::new(request))?)
            .await
            .map_err(|error| {
                let why = cause(&error);
                if error.is_connect() {
                    UpstreamError::Unreachable(why)
                } else {
                    UpstreamError::Disconnected(why)
                }
            })?;
        if response.status() != StatusCode::OK {
            return Err(UpstreamError::Status(response.status()));
        }
        let read = body::read_body(
            response.into_body(),
            response::RESPONSE_BYTES_MAX,
            (&self.response_budget, BodyKind::UpstreamResponse),
            cutoff,
        )
        .await;
        let (bytes, _share) = read.map_err(|error| match error {
            BodyError::TooLarge { .. } => UpstreamError::TooLarge,
            BodyError::BudgetExceeded => UpstreamError::BudgetExceeded,
            BodyError::Timeout => UpstreamError::Timeout(Duration::ZERO),
            BodyError::Incomplete => {
                UpstreamError::Disconnected("the response body is incomplete".to_owned())
            }
        })?;
        response::parse_response(&bytes)
    }

    fn count(&self, outcome: &'static str) {
        let flow = self.flow.to_string();
        metrics::counter!("flowgate_upstream_requests_total", "flow" => flow, "outcome" => outcome)
            .increment(1);
    }

    fn breaker(&self) -> MutexGuard<'_, CircuitBreaker> {
        self.breaker.lock()
    }
}

impl std::fmt::Debug for UpstreamClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upstream({} of flow {})", self.settings.url, self.flow)
    }
}

/// Request in flight. It is dropped before its end if no caller waits for its response any more.
struct InFlightRequest<'a> {
    upstream: &'a UpstreamClient,
    started_at: Duration,
    permit: Option<CallPermit>,
}

impl InFlightRequest<'_> {
    /// Records the result. `had_full_timeout` is `true` if the full configured timeout was
    /// available.
    fn finish(
        mut self,
        response: &Result<Map<String, Value>, UpstreamError>,
        had_full_timeout: bool,
    ) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        let UpstreamClient { flow, clock, .. } = self.upstream;
        let now = clock.elapsed();
        self.upstream.count(
            response
                .as_ref()
                .map_or_else(UpstreamError::outcome, |_| "success"),
        );
        metrics::histogram!("flowgate_upstream_request_duration_seconds", "flow" => flow.to_string())
            .record(now.saturating_sub(self.started_at).as_secs_f64());
        let mut breaker = self.upstream.breaker();
        let change = match response.as_ref().map_or_else(
            |error| error.breaker_signal(had_full_timeout),
            |_| BreakerSignal::Success,
        ) {
            BreakerSignal::Success => breaker.record_success(permit),
            BreakerSignal::Failure => breaker.record_failure(permit, now),
            BreakerSignal::Ignore => {
                breaker.cancel(permit);
                None
            }
        };
        drop(breaker);
        match (change, response) {
            (Some(BreakerChange::Opened), Err(error)) => {
                tracing::warn!(%flow, %error, "circuit breaker of an upstream opened after repeated failures: customers see the fallback");
            }
            (Some(BreakerChange::Closed), _) => {
                tracing::info!(%flow, "circuit breaker of an upstream closed: the upstream responds again");
            }
            _ => {}
        }
    }
}

impl Drop for InFlightRequest<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.upstream.breaker().cancel(permit);
            self.upstream.count("client_disconnected");
        }
    }
}

/// Returns the innermost cause: the message of the system or hyper, without the errors that contain
/// it.
fn cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Resolver that maps every name to this machine.
///
/// The config allows no name other than `localhost`, which is this machine (RFC 6761, 6.3), even if
/// a DNS resolver would return another address.
#[derive(Clone, Copy, Debug)]
struct LoopbackResolver;

impl Service<Name> for LoopbackResolver {
    type Response = array::IntoIter<SocketAddr, 2>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        let addresses = [
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
        ];
        ready(Ok(addresses.into_iter()))
    }
}
