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

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use hyper::{Request, StatusCode};
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::clock::{Clock, timer_now};
use crate::config::{UpstreamFallback, UpstreamSettings};
use crate::domain::circuit_breaker::{BreakerChange, CallPermit, CircuitBreaker};
use crate::domain::ids::FlowName;
use crate::net::{AddressPolicy, HttpClient, NetError, PRODUCT_TOKEN, PoolLimits};
use crate::webhook_signature::{self, SigningKey};
use response::BreakerSignal;
pub use response::UpstreamError;

/// Maximum size, in bytes, of all responses of one upstream that are read at the same time.
const RESPONSE_MEMORY: usize = 64 << 20;

/// Maximum time that a connection waits for the next request.
///
/// A new connection on loopback costs almost nothing. The upstream may close an older connection
/// just when it is reused: Node does so after five seconds, gunicorn after two.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// Client of the upstream of one flow. All requests share the client.
pub struct UpstreamClient {
    flow: FlowName,
    settings: UpstreamSettings,
    key: SigningKey,
    clock: Arc<dyn Clock>,
    client: HttpClient,
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
        let limits = PoolLimits {
            idle_timeout: IDLE_TIMEOUT,
            idle_max: usize::try_from(Self::IDLE_MAX).unwrap_or(usize::MAX),
            response_memory: RESPONSE_MEMORY,
        };
        Self {
            flow,
            breaker: Mutex::new(CircuitBreaker::new(settings.breaker)),
            settings,
            key,
            clock,
            client: HttpClient::plaintext(AddressPolicy::LoopbackOnly, limits),
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
        let time_limit = own_limit.min(deadline).saturating_duration_since(started);
        let response = match self.send(request, id, time_limit).await {
            // Without a connection in time, the client reports an unreachable host.
            Err(_) if started.elapsed() >= time_limit => Err(UpstreamError::Timeout(time_limit)),
            response => response,
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
        time_limit: Duration,
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
        let request = post.body(Full::new(request))?;
        let response = self.client.send(request, time_limit).await?;
        if response.status() != StatusCode::OK {
            return Err(UpstreamError::Status(response.status()));
        }
        let response = response.read_full(response::RESPONSE_BYTES_MAX).await;
        let response = response.map_err(|error| match error {
            NetError::Disconnected { .. } => {
                UpstreamError::Disconnected("the response body is incomplete".to_owned())
            }
            error => error.into(),
        })?;
        response::parse_response(&response.body)
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
        write!(
            f,
            "UpstreamClient({} of flow {})",
            self.settings.url, self.flow
        )
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
        let outcome = response
            .as_ref()
            .map_or_else(UpstreamError::outcome, |_| "success");
        self.upstream.count(outcome);
        let labels = [("flow", flow.to_string())];
        metrics::histogram!("flowgate_upstream_request_duration_seconds", &labels)
            .record(now.saturating_sub(self.started_at).as_secs_f64());
        let mut breaker = self.upstream.breaker();
        let signal = match response {
            Ok(_) => BreakerSignal::Success,
            Err(error) => error.breaker_signal(had_full_timeout),
        };
        let change = match signal {
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
                tracing::warn!(
                    %flow,
                    %error,
                    "circuit breaker of an upstream opened after repeated failures: \
                     customers see the fallback"
                );
            }
            (Some(BreakerChange::Closed), _) => {
                tracing::info!(
                    %flow,
                    "circuit breaker of an upstream closed: the upstream responds again"
                );
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
