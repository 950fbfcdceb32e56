//! One request: which room it goes to, and what holds for all of them.

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
use crate::domain::flow::{Encryption, Flow, SignatureRule};
use crate::domain::ids::{FlowName, GatewayName};
use crate::domain::time::Millis;
use crate::gateways::Board;
use crate::intake::{BadProof, BadSignature, Catalog, Claim, Door, PrivateKey, Signers};
use crate::store::Store;

use super::body::{self, Budget, Purpose};
use super::guard::Phase;
use super::opener::Opener;
use super::respond::{Answer, Refusal};
use super::trace::{Figures, Room, Trace};
use super::turns::Turns;
use super::upstream::Upstream;
use super::watch::Watch;
use super::{flows, gateways, health, webhook};

/// Below this, gateways call.
const GATEWAYS: &str = "/gateways/";
const SIGNATURE: &str = "x-hub-signature-256";

/// Bounds of the listener; units and defaults are the config's.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a webhook.
    pub body: u64,
    /// Bytes of a flow's request.
    pub flow_body: u64,
    /// Bytes of all bodies being read together.
    pub bodies: u64,
    /// For a head, from its first byte; and for the first byte on a new connection.
    pub header_timeout: Millis,
    /// For a request, from its head to its answer.
    pub request: Millis,
    /// For a connection without a request.
    pub idle: Millis,
    /// For a connection without a request, once the server is to end.
    pub drain: Millis,
    /// Connections at once.
    pub connections: usize,
}

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        let limits = &config.limits;
        Self {
            body: limits.body,
            flow_body: limits.flow_body,
            bodies: limits.bodies,
            header_timeout: limits.header_timeout,
            request: limits.request,
            idle: limits.idle,
            drain: limits.drain_timeout,
            connections: limits.connections,
        }
    }
}

/// Whom the listener trusts.
#[derive(Debug)]
pub struct Trust {
    /// Whoever may sign a body.
    pub signers: Signers,
    /// True if the signers have the app's own secrets. Meta signs nothing with a development secret.
    pub has_app_secret: bool,
    /// What a verification of the webhook must bring.
    pub verify_token: Option<Secret>,
    /// The private keys of encrypted flows, newest first.
    pub keys: BTreeMap<FlowName, Arc<[PrivateKey]>>,
    /// The programs that say what flows show.
    pub upstreams: BTreeMap<FlowName, Arc<Upstream>>,
    /// What the webhooks of unofficial gateways are held against.
    pub doors: BTreeMap<GatewayName, Door>,
}

/// All that requests are answered with.
pub struct App {
    pub(super) catalog: Catalog,
    pub(super) trust: Trust,
    pub(super) limits: Limits,
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) opener: Arc<Opener>,
    pub(super) turns: Arc<Turns>,
    /// Where the keepers of gateways are told what their webhooks say.
    pub(super) board: Board,
    budget: Budget,
    flows: HashMap<String, Route>,
    figures: Arc<Figures>,
}

/// A flow and what was said of it.
pub(super) struct Route {
    pub(super) flow: Arc<Flow>,
    /// What its envelopes are opened with; `None` where it is plain.
    pub(super) keys: Option<Arc<[PrivateKey]>>,
    /// The program that says what it shows.
    pub(super) upstream: Option<Arc<Upstream>>,
    /// What was told of its sender.
    pub(super) told: Arc<Told>,
}

/// What the log says of a flow's sender once.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// That it sets no token.
    pub(super) of_no_token: AtomicBool,
    /// That it gives one token to several customers.
    pub(super) of_shared_token: AtomicBool,
}

impl App {
    /// What answers for these flows. How the encrypted ones do goes to `watch`, what gateways say to `board`.
    ///
    /// # Errors
    /// The system's, where it gives no thread to open envelopes in.
    pub fn new(
        catalog: Catalog,
        trust: Trust,
        limits: Limits,
        store: Store,
        clock: Arc<dyn Clock>,
        (watch, board): (Watch, Board),
    ) -> io::Result<Self> {
        let flows = routes(&catalog, &trust, |_| Arc::default());
        let budget = Budget::new(limits.bodies);
        let (opener, figures) = (Arc::new(Opener::start()?), Arc::new(Figures::new(watch)));
        let turns = Arc::default();
        Ok(Self { catalog, trust, limits, store, clock, opener, turns, board, budget, flows, figures })
    }

    /// What answers after a reload: by other flows, in whom it trusts and within which limits (but for those of the
    /// listener, and of all bodies together, which stay). All that outlives a request goes on as it was.
    #[must_use]
    pub fn renewed(&self, catalog: Catalog, trust: Trust, limits: Limits) -> Self {
        let told: HashMap<_, _> = self.flows.values().map(|route| (&route.flow.name, &route.told)).collect();
        let flows = routes(&catalog, &trust, |name| told.get(name).map(|told| Arc::clone(told)).unwrap_or_default());
        Self {
            catalog,
            trust,
            limits,
            flows,
            store: self.store.clone(),
            clock: Arc::clone(&self.clock),
            opener: Arc::clone(&self.opener),
            turns: Arc::clone(&self.turns),
            board: self.board.clone(),
            budget: self.budget.clone(),
            figures: Arc::clone(&self.figures),
        }
    }

    /// Answers one request. Never fails: what goes wrong has an answer of its own.
    pub(super) async fn answer(&self, phase: &Phase, request: Request<Incoming>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let mut trace = Trace::begin(&self.figures, &*self.clock, self.room(&path), method, path);
        let has_body = !request.body().is_end_stream();
        let mut answer = match self.route(request, &mut trace).await {
            Ok(answer) => answer,
            Err(refusal) => {
                trace.refuse(&refusal);
                refusal.answer()
            }
        };
        trace.status = Some(answer.status().as_u16());
        if has_body && trace.bytes.is_none() {
            phase.leave_unread();
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    async fn route(&self, request: Request<Incoming>, trace: &mut Trace<'_>) -> Result<Answer, Refusal> {
        let (head, body) = request.into_parts();
        match (head.uri.path(), &head.method) {
            ("/webhook", &Method::GET) => webhook::verify(self, head.uri.query().unwrap_or_default(), trace),
            ("/webhook", &Method::POST) => webhook::post(self, &head.headers, body, trace).await,
            ("/webhook", _) => Err(Refusal::Method("GET, POST")),
            ("/healthz", &Method::GET | &Method::HEAD) => Ok(health::healthz(trace)),
            ("/readyz", &Method::GET | &Method::HEAD) => Ok(health::readyz(self, trace)),
            ("/healthz" | "/readyz", _) => Err(Refusal::Method("GET, HEAD")),
            (path, method) if path.starts_with(GATEWAYS) => match self.door(path) {
                Some(door) if method == Method::POST => gateways::post(self, door, &head.headers, body, trace).await,
                Some(_) => Err(Refusal::Method("POST")),
                None => Err(Refusal::NotFound),
            },
            (path, method) => match self.flows.get(path) {
                Some(route) if method == Method::POST => flows::post(self, route, &head.headers, body, trace).await,
                Some(_) => Err(Refusal::Method("POST")),
                None => Err(Refusal::NotFound),
            },
        }
    }

    /// Reads a body of JSON that is signed as `rule` says. What can be refused without the body is refused first.
    pub(super) async fn signed_body(
        &self,
        rule: SignatureRule,
        headers: &HeaderMap,
        body: Incoming,
        limit: u64,
        trace: &mut Trace<'_>,
    ) -> Result<(bytes::Bytes, Instant), Refusal> {
        let deadline = Instant::now() + self.limits.request.to_duration();
        check_media_type(headers)?;
        body::announced(&body, limit)?;
        let claim = match rule {
            SignatureRule::Required => Some(claim(headers)?),
            SignatureRule::None => None,
        };
        let purpose = if trace.is_form() { Purpose::Form } else { Purpose::Webhook };
        let (bytes, share) = body::read(body, limit, (&self.budget, purpose), deadline).await?;
        trace.bytes = Some(bytes.len());
        trace.share = Some(Arc::new(share));
        if let Some(claim) = claim {
            let began = self.clock.elapsed();
            let verified = self.trust.signers.verify(claim, &bytes);
            trace.verify = Some(self.clock.elapsed().saturating_sub(began));
            trace.note_signature(verified.is_ok());
            verified?;
        }
        Ok((bytes, deadline))
    }

    /// The door of the gateway whose path this is. No flow has such a path.
    fn door(&self, path: &str) -> Option<&Door> {
        let name = path.strip_prefix(GATEWAYS)?;
        self.trust.doors.get(&GatewayName::new(name).ok()?)
    }

    /// Reads a body of JSON that proves whose it is by itself, or by one header. What can be refused without the body is
    /// refused first.
    pub(super) async fn admitted_body(
        &self,
        door: &Door,
        headers: &HeaderMap,
        body: Incoming,
        trace: &mut Trace<'_>,
    ) -> Result<(bytes::Bytes, Instant), Refusal> {
        let (limit, deadline) = (self.limits.body, Instant::now() + self.limits.request.to_duration());
        check_media_type(headers)?;
        body::announced(&body, limit)?;
        let proof = match door.proof_header() {
            Some(name) => Some(only(headers, name).ok_or(BadProof::Missing(name))?),
            None => None,
        };
        let (bytes, share) = body::read(body, limit, (&self.budget, Purpose::Webhook), deadline).await?;
        trace.bytes = Some(bytes.len());
        trace.share = Some(Arc::new(share));
        door.admit(proof, &bytes)?;
        Ok((bytes, deadline))
    }

    /// Signs `body` as Meta does, with the newest secret: for a sample that the server's owner sends.
    #[must_use]
    pub fn sign(&self, body: &[u8]) -> Option<String> {
        self.trust.signers.sign(body)
    }

    /// The public half of a flow's newest key, as PEM; `None` for a flow that is not encrypted.
    #[must_use]
    pub fn public_key(&self, flow: &FlowName) -> Option<String> {
        Some(self.trust.keys.get(flow)?.first()?.public_pem().to_owned())
    }

    fn room(&self, path: &str) -> Room {
        match path {
            "/webhook" => Room::Webhook,
            "/healthz" | "/readyz" => Room::Health,
            path if self.door(path).is_some() => Room::Gateway,
            path if self.flows.contains_key(path) => Room::Flow,
            _ => Room::Unknown,
        }
    }
}

/// The flows by their paths. `told` gives for each what was told before.
fn routes(catalog: &Catalog, trust: &Trust, told: impl Fn(&FlowName) -> Arc<Told>) -> HashMap<String, Route> {
    let route = |flow: &Arc<Flow>| {
        // Without its keys an encrypted flow opens nothing, rather than taking plain forms.
        let keys = (flow.encryption == Encryption::Required)
            .then(|| trust.keys.get(&flow.name).cloned().unwrap_or_else(|| Arc::new([])));
        let upstream = trust.upstreams.get(&flow.name).cloned();
        let told = told(&flow.name);
        (flow.path.clone(), Route { flow: Arc::clone(flow), keys, upstream, told })
    };
    catalog.flows.values().map(route).collect()
}

/// The one value of a header; `None`: it is missing, or there are several, and which one counts would be a guess.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let mut all = headers.get_all(name).iter();
    all.next().filter(|_| all.next().is_none()).map(HeaderValue::as_bytes)
}

/// What the one signature of a request claims.
fn claim(headers: &HeaderMap) -> Result<Claim, BadSignature> {
    let mut all = headers.get_all(SIGNATURE).iter();
    match (all.next(), all.next()) {
        (Some(signature), None) => Claim::read(signature.as_bytes()),
        (None, _) => Err(BadSignature::Missing),
        (Some(_), Some(_)) => Err(BadSignature::Several),
    }
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Refusal::MediaType("the body has a Content-Encoding: send it as it is"));
    }
    let media_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let media_type = media_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if media_type.eq_ignore_ascii_case(b"application/json") {
        Ok(())
    } else {
        Err(Refusal::MediaType("the body is not of Content-Type application/json"))
    }
}
