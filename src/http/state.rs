//! Defines the state that request handlers read: the part of the active config, and what all
//! requests share.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use super::body::BodyBudget;
use super::endpoint_health::monitor::HealthMonitor;
use super::flow::decrypt_pool::DecryptPool;
use super::flow::keyed_lock::KeyedLock;
use super::flow::token_warnings::TokenWarnings;
use super::flow::upstream_client::UpstreamClient;
use super::request_log::RequestMetrics;
use crate::clock::Clock;
use crate::config::{LimitSettings, Secret};
use crate::domain::flow::{EncryptionMode, Flow};
use crate::domain::ids::{FlowName, GatewayName};
use crate::gateways::GatewayRegistry;
use crate::intake::{Catalog, GatewayWebhook, PrivateKey, SignatureVerifier};
use crate::store::Store;

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
    pub(super) catalog: Arc<Catalog>,
    pub(super) credentials: InboundCredentials,
    pub(super) limits: LimitSettings,
    pub(super) body_budget: BodyBudget,
    /// Flows by path.
    routes: HashMap<String, FlowRoute>,
}

/// State of a request: the config that is active when the request begins, and everything that all
/// requests share.
#[derive(Clone)]
pub struct AppState {
    pub(super) config: Arc<HttpConfig>,
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) decrypt_pool: Arc<DecryptPool>,
    pub(super) request_locks: Arc<KeyedLock>,
    /// Registry through which gateway webhooks reach the session monitors.
    pub(super) gateway_registry: GatewayRegistry,
    pub(super) metrics: Arc<RequestMetrics>,
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

impl HttpConfig {
    /// Creates the part for the flows of `catalog`. A flow that `previous` has too does not log its
    /// warnings again. The memory limit of all bodies stays that of `previous`.
    #[must_use]
    pub fn new(
        catalog: Arc<Catalog>,
        credentials: InboundCredentials,
        limits: LimitSettings,
        previous: Option<&Self>,
    ) -> Self {
        let max_webhook_body = limits.max_webhook_body;
        let body_budget = previous.map_or_else(
            || BodyBudget::new(limits.max_body_memory, max_webhook_body),
            |previous| {
                let budget = previous.body_budget.clone();
                budget.with_max_webhook_body(max_webhook_body)
            },
        );
        Self {
            routes: flow_routes(&catalog, &credentials, previous),
            body_budget,
            catalog,
            credentials,
            limits,
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
        config: Arc<HttpConfig>,
        store: Store,
        clock: Arc<dyn Clock>,
        health_monitor: HealthMonitor,
        gateway_registry: GatewayRegistry,
    ) -> io::Result<Self> {
        Ok(Self {
            config,
            store,
            clock,
            decrypt_pool: Arc::new(DecryptPool::start()?),
            request_locks: Arc::default(),
            gateway_registry,
            metrics: Arc::new(RequestMetrics::new(health_monitor)),
        })
    }

    /// Returns the state for a request under `config`.
    pub(super) fn with_config(&self, config: Arc<HttpConfig>) -> Self {
        Self {
            config,
            ..self.clone()
        }
    }

    /// Returns the flow that has this path.
    pub(super) fn flow_route(&self, path: &str) -> Option<&FlowRoute> {
        self.config.routes.get(path)
    }

    /// Returns the webhook of a gateway.
    pub(super) fn gateway_webhook(&self, name: &str) -> Option<&GatewayWebhook> {
        let name = GatewayName::new(name).ok()?;
        self.config.credentials.gateway_webhooks.get(&name)
    }
}

/// Returns the flows by path. A flow that is in `previous` logs no warning again.
fn flow_routes(
    catalog: &Catalog,
    credentials: &InboundCredentials,
    previous: Option<&HttpConfig>,
) -> HashMap<String, FlowRoute> {
    let route = |flow: &Arc<Flow>| {
        // Without its keys, an encrypted flow decrypts nothing. It never accepts plain forms.
        let keys = || credentials.private_keys.get(&flow.name).cloned();
        let known = previous.and_then(|previous| {
            let mut routes = previous.routes.values();
            routes.find(|known| known.flow.name == flow.name)
        });
        let route = FlowRoute {
            flow: Arc::clone(flow),
            private_keys: (flow.encryption == EncryptionMode::Required)
                .then(|| keys().unwrap_or_else(|| Arc::new([]))),
            upstream: credentials.upstreams.get(&flow.name).cloned(),
            warnings: known.map_or_else(Arc::default, |known| Arc::clone(&known.warnings)),
        };
        (flow.path.clone(), route)
    };
    catalog.flows.values().map(route).collect()
}
