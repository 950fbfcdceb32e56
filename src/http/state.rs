//! Dispatches each request to its handler, and reads and authenticates request bodies.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::{Config, Secret};
use crate::domain::flow::{EncryptionMode, Flow, SignaturePolicy};
use crate::domain::ids::{FlowName, GatewayName};
use crate::domain::time::Millis;
use crate::gateways::GatewayRegistry;
use crate::intake::{
    BadSignature, Catalog, GatewayWebhook, PrivateKey, SignatureHeader, SignatureVerifier,
    WebhookAuthError,
};
use crate::store::Store;

use super::body::{self, BodyBudget, BodyKind};
use super::endpoint_health::monitor::HealthMonitor;
use super::flow::decrypt_pool::DecryptPool;
use super::flow::keyed_lock::KeyedLock;
use super::flow::plain;
use super::flow::upstream_client::UpstreamClient;
use super::request_log::{RequestLog, RequestMetrics, RouteKind};
use super::response::{HttpError, HttpResponse};
use super::timeout_stream::ConnectionPhase;
use super::{gateways, health, webhook};

/// Path prefix of gateway webhooks.
const GATEWAYS_PREFIX: &str = "/gateways/";
const SIGNATURE_HEADER: &str = "x-hub-signature-256";

/// Limits of the HTTP server. Units and defaults are those of the config.
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// Maximum size of a webhook body, in bytes.
    pub max_webhook_body: u64,
    /// Maximum size of a flow request body, in bytes.
    pub max_flow_body: u64,
    /// Maximum size of all bodies that are read at the same time, in bytes.
    pub max_body_memory: u64,
    /// Timeout for a head, from its first byte. Also the timeout for the first byte of a new
    /// connection.
    pub header_timeout: Millis,
    /// Timeout for a request, from its head to its response.
    pub request_timeout: Millis,
    /// Timeout for a connection without a request.
    pub idle_timeout: Millis,
    /// Timeout for a connection without a request during the drain.
    pub drain_timeout: Millis,
    /// Maximum number of open connections.
    pub max_connections: usize,
}

impl From<&Config> for HttpLimits {
    fn from(config: &Config) -> Self {
        let limits = &config.limits;
        Self {
            max_webhook_body: limits.max_webhook_body,
            max_flow_body: limits.max_flow_body,
            max_body_memory: limits.max_body_memory,
            header_timeout: limits.header_timeout,
            request_timeout: limits.request_timeout,
            idle_timeout: limits.idle_timeout,
            drain_timeout: limits.drain_timeout,
            max_connections: limits.max_connections,
        }
    }
}

/// Credentials that the server checks incoming requests against.
#[derive(Debug)]
pub struct InboundCredentials {
    /// Verifier of body signatures.
    pub signature_verifier: SignatureVerifier,
    /// `true` if the verifier has the app's own secrets. Meta signs nothing with a development
    /// secret.
    pub has_app_secret: bool,
    /// Token that Meta's verification request must contain. `None`: every verification is refused.
    pub verify_token: Option<Secret>,
    /// Private keys of encrypted flows, newest first.
    pub private_keys: BTreeMap<FlowName, Arc<[PrivateKey]>>,
    /// Clients of the upstreams that decide what flows show.
    pub upstreams: BTreeMap<FlowName, Arc<UpstreamClient>>,
    /// Checks of gateway webhooks, by gateway.
    pub gateway_webhooks: BTreeMap<GatewayName, GatewayWebhook>,
}

/// Part of the active config that requests depend on.
pub struct HttpConfig {
    catalog: Arc<Catalog>,
    credentials: Arc<InboundCredentials>,
    limits: HttpLimits,
    /// Flows by path.
    routes: Arc<HashMap<String, FlowRoute>>,
}

/// State of a request: the config that is active when the request begins, and everything that all
/// requests share.
pub struct AppState {
    pub(super) catalog: Arc<Catalog>,
    pub(super) credentials: Arc<InboundCredentials>,
    pub(super) limits: HttpLimits,
    routes: Arc<HashMap<String, FlowRoute>>,
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) decrypt_pool: Arc<DecryptPool>,
    pub(super) request_locks: Arc<KeyedLock>,
    /// Registry through which gateway webhooks reach the session monitors.
    pub(super) gateway_registry: GatewayRegistry,
    body_budget: BodyBudget,
    metrics: Arc<RequestMetrics>,
}

/// Flow with its keys, its upstream and its warnings.
pub(super) struct FlowRoute {
    pub(super) flow: Arc<Flow>,
    /// Private keys of an encrypted flow. `None`: the flow is plain.
    pub(super) private_keys: Option<Arc<[PrivateKey]>>,
    /// Client of the upstream that decides what the flow shows. `None`: the flow has no upstream.
    pub(super) upstream: Option<Arc<UpstreamClient>>,
    /// Warnings that were already logged for this flow.
    pub(super) warnings: Arc<TokenWarnings>,
}

/// Warnings that are logged once per flow.
#[derive(Debug, Default)]
pub(super) struct TokenWarnings {
    /// `true` if the log has the warning about a missing flow token.
    pub(super) missing_token: AtomicBool,
    /// `true` if the log has the warning about a shared flow token.
    pub(super) shared_token: AtomicBool,
}

impl HttpConfig {
    /// Creates the part for the flows of `catalog`. A flow that `previous` has too does not log its
    /// warnings again.
    #[must_use]
    pub fn new(
        catalog: Arc<Catalog>,
        credentials: InboundCredentials,
        limits: HttpLimits,
        previous: Option<&Self>,
    ) -> Self {
        let routes = flow_routes(&catalog, &credentials, |name| {
            let mut routes = previous?.routes.values();
            Some(Arc::clone(
                &routes.find(|route| route.flow.name == *name)?.warnings,
            ))
        });
        Self {
            catalog,
            credentials: Arc::new(credentials),
            limits,
            routes: Arc::new(routes),
        }
    }

    /// Signs `body` as Meta does, with the newest secret. Commands use this signature to send
    /// sample forms.
    #[must_use]
    pub fn sign(&self, body: &[u8]) -> Option<String> {
        self.credentials.signature_verifier.sign(body)
    }

    /// Returns the public half of a flow's newest key as PEM, or `None` if the flow is not
    /// encrypted.
    #[must_use]
    pub fn public_key(&self, flow: &FlowName) -> Option<String> {
        let newest = self.credentials.private_keys.get(flow)?.first()?;
        Some(newest.public_pem().to_owned())
    }
}

impl AppState {
    /// Creates the state for `config`. The health monitor records the health of encrypted flows.
    /// The gateway registry receives the reports of gateway webhooks.
    ///
    /// # Errors
    /// Returns the system's error if a decryption thread can't be started.
    pub fn new(
        config: &HttpConfig,
        store: Store,
        clock: Arc<dyn Clock>,
        (health_monitor, gateway_registry): (HealthMonitor, GatewayRegistry),
    ) -> io::Result<Self> {
        Ok(Self {
            catalog: Arc::clone(&config.catalog),
            credentials: Arc::clone(&config.credentials),
            limits: config.limits.clone(),
            routes: Arc::clone(&config.routes),
            store,
            clock,
            decrypt_pool: Arc::new(DecryptPool::start()?),
            request_locks: Arc::default(),
            gateway_registry,
            body_budget: BodyBudget::new(config.limits.max_body_memory),
            metrics: Arc::new(RequestMetrics::new(health_monitor)),
        })
    }

    /// Returns the state for a request under `config`. The memory limit of all bodies stays that of
    /// the first config.
    pub(super) fn with_config(&self, config: &HttpConfig) -> Self {
        Self {
            catalog: Arc::clone(&config.catalog),
            credentials: Arc::clone(&config.credentials),
            limits: config.limits.clone(),
            routes: Arc::clone(&config.routes),
            store: self.store.clone(),
            clock: Arc::clone(&self.clock),
            decrypt_pool: Arc::clone(&self.decrypt_pool),
            request_locks: Arc::clone(&self.request_locks),
            gateway_registry: self.gateway_registry.clone(),
            body_budget: self.body_budget.clone(),
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// Handles one request. Never fails: every error has its own response.
    pub(super) async fn handle(
        &self,
        phase: &ConnectionPhase,
        request: Request<Incoming>,
    ) -> HttpResponse {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let mut log = RequestLog::start(
            &self.metrics,
            &*self.clock,
            self.route_kind(&path),
            method,
            path,
        );
        let has_body = !request.body().is_end_stream();
        let mut response = match self.dispatch(request, &mut log).await {
            Ok(response) => response,
            Err(refusal) => {
                log.record_error(&refusal);
                refusal.to_response()
            }
        };
        log.status = Some(response.status().as_u16());
        if has_body && log.body_bytes.is_none() {
            phase.mark_body_unread();
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn dispatch(
        &self,
        request: Request<Incoming>,
        log: &mut RequestLog<'_>,
    ) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        match (head.uri.path(), &head.method) {
            ("/webhook", &Method::GET) => {
                webhook::handle_verification(self, head.uri.query().unwrap_or_default(), log)
            }
            ("/webhook", &Method::POST) => {
                webhook::handle_post(self, &head.headers, body, log).await
            }
            ("/webhook", _) => Err(HttpError::MethodNotAllowed("GET, POST")),
            ("/healthz", &Method::GET | &Method::HEAD) => Ok(health::healthz(log)),
            ("/readyz", &Method::GET | &Method::HEAD) => Ok(health::readyz(self, log)),
            ("/healthz" | "/readyz", _) => Err(HttpError::MethodNotAllowed("GET, HEAD")),
            (path, method) if path.starts_with(GATEWAYS_PREFIX) => match self.gateway_webhook(path)
            {
                Some(webhook) if method == Method::POST => {
                    gateways::handle_post(self, webhook, &head.headers, body, log).await
                }
                Some(_) => Err(HttpError::MethodNotAllowed("POST")),
                None => Err(HttpError::NotFound),
            },
            (path, method) => match self.routes.get(path) {
                Some(route) if method == Method::POST => {
                    plain::handle_post(self, route, &head.headers, body, log).await
                }
                Some(_) => Err(HttpError::MethodNotAllowed("POST")),
                None => Err(HttpError::NotFound),
            },
        }
    }

    /// Reads a JSON body that is signed according to the policy `signature`. Checks that need no
    /// body run first.
    pub(super) async fn read_signed_body(
        &self,
        signature: SignaturePolicy,
        headers: &HeaderMap,
        body: Incoming,
        limit: u64,
        log: &mut RequestLog<'_>,
    ) -> Result<(bytes::Bytes, Instant), HttpError> {
        let deadline = Instant::now() + self.limits.request_timeout.to_duration();
        check_media_type(headers)?;
        body::check_announced_length(&body, limit)?;
        let header = match signature {
            SignaturePolicy::Required => Some(parse_signature_header(headers)?),
            SignaturePolicy::None => None,
        };
        let purpose = if log.is_flow_request() {
            BodyKind::FlowRequest
        } else {
            BodyKind::Webhook
        };
        let (bytes, permit) =
            body::read_body(body, limit, (&self.body_budget, purpose), deadline).await?;
        log.body_bytes = Some(bytes.len());
        log.body_permit = Some(Arc::new(permit));
        if let Some(header) = header {
            let started = self.clock.elapsed();
            let verified = self.credentials.signature_verifier.verify(header, &bytes);
            log.verify_time = Some(self.clock.elapsed().saturating_sub(started));
            log.record_signature(verified.is_ok());
            verified?;
        }
        Ok((bytes, deadline))
    }

    /// Returns the webhook of the gateway that has this path. No flow has such a path.
    fn gateway_webhook(&self, path: &str) -> Option<&GatewayWebhook> {
        let name = path.strip_prefix(GATEWAYS_PREFIX)?;
        self.credentials
            .gateway_webhooks
            .get(&GatewayName::new(name).ok()?)
    }

    /// Reads a JSON body of a gateway. Either one header or the body itself proves its origin.
    /// Checks that need no body run first.
    pub(super) async fn read_gateway_body(
        &self,
        webhook: &GatewayWebhook,
        headers: &HeaderMap,
        body: Incoming,
        log: &mut RequestLog<'_>,
    ) -> Result<(bytes::Bytes, Instant), HttpError> {
        let (limit, deadline) = (
            self.limits.max_webhook_body,
            Instant::now() + self.limits.request_timeout.to_duration(),
        );
        check_media_type(headers)?;
        body::check_announced_length(&body, limit)?;
        let proof = match webhook.proof_header() {
            Some(name) => {
                Some(single_header(headers, name).ok_or(WebhookAuthError::Missing(name))?)
            }
            None => None,
        };
        let (bytes, permit) = body::read_body(
            body,
            limit,
            (&self.body_budget, BodyKind::Webhook),
            deadline,
        )
        .await?;
        log.body_bytes = Some(bytes.len());
        log.body_permit = Some(Arc::new(permit));
        webhook.authenticate(proof, &bytes)?;
        Ok((bytes, deadline))
    }

    fn route_kind(&self, path: &str) -> RouteKind {
        match path {
            "/webhook" => RouteKind::Webhook,
            "/healthz" | "/readyz" => RouteKind::Health,
            path if self.gateway_webhook(path).is_some() => RouteKind::Gateway,
            path if self.routes.contains_key(path) => RouteKind::Flow,
            _ => RouteKind::Unknown,
        }
    }
}

/// Returns the flows by path. The closure returns the warnings that were already logged for a flow.
fn flow_routes(
    catalog: &Catalog,
    credentials: &InboundCredentials,
    previous_warnings: impl Fn(&FlowName) -> Option<Arc<TokenWarnings>>,
) -> HashMap<String, FlowRoute> {
    let route = |flow: &Arc<Flow>| {
        // Without its keys, an encrypted flow decrypts nothing. It never accepts plain forms.
        let keys = (flow.encryption == EncryptionMode::Required).then(|| {
            credentials
                .private_keys
                .get(&flow.name)
                .cloned()
                .unwrap_or_else(|| Arc::new([]))
        });
        let upstream = credentials.upstreams.get(&flow.name).cloned();
        let warnings = previous_warnings(&flow.name).unwrap_or_default();
        (
            flow.path.clone(),
            FlowRoute {
                flow: Arc::clone(flow),
                private_keys: keys,
                upstream,
                warnings,
            },
        )
    };
    catalog.flows.values().map(route).collect()
}

/// Returns the value of a header. Returns `None` if the header is missing or occurs several times,
/// because the choice between several values would be a guess.
fn single_header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let mut all = headers.get_all(name).iter();
    all.next()
        .filter(|_| all.next().is_none())
        .map(HeaderValue::as_bytes)
}

/// Parses the only signature header of a request.
fn parse_signature_header(headers: &HeaderMap) -> Result<SignatureHeader, BadSignature> {
    let mut all = headers.get_all(SIGNATURE_HEADER).iter();
    match (all.next(), all.next()) {
        (Some(signature), None) => SignatureHeader::parse(signature.as_bytes()),
        (None, _) => Err(BadSignature::Missing),
        (Some(_), Some(_)) => Err(BadSignature::Several),
    }
}

fn check_media_type(headers: &HeaderMap) -> Result<(), HttpError> {
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(HttpError::MediaType(
            "Content-Encoding is not supported: send the body uncompressed",
        ));
    }
    let media_type = headers
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let media_type = media_type
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    if media_type.eq_ignore_ascii_case(b"application/json") {
        Ok(())
    } else {
        Err(HttpError::MediaType(
            "the Content-Type must be application/json",
        ))
    }
}
