//! One request: which room it goes to, how long it took, what is told of it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request};
use metrics::Histogram;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::{Config, Secret};
use crate::domain::flow::{Flow, SignatureRule};
use crate::domain::ids::{JobId, SubmissionId};
use crate::domain::time::Millis;
use crate::intake::{BadSignature, Catalog, Signers};
use crate::store::{Store, Timing};

use super::body::{self, Budget, Share};
use super::guard::Phase;
use super::respond::{Answer, Refusal};
use super::{flows, health, webhook};

/// A request slower than this is warned of: Meta waits ten seconds (*Implementing Endpoint for Flows*).
const SLOW: Duration = Duration::from_secs(5);
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
    /// For a head, from its first byte.
    pub header_timeout: Millis,
    /// For a request, from its head to its answer.
    pub request: Millis,
    /// For a connection without a request.
    pub idle: Millis,
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
            connections: limits.connections,
        }
    }
}

/// Whom the listener trusts.
#[derive(Debug)]
pub struct Trust {
    /// Whoever may sign a body.
    pub signers: Signers,
    /// What a verification of the webhook must bring.
    pub verify_token: Option<Secret>,
}

/// All that requests are answered with.
pub struct App {
    pub(super) catalog: Catalog,
    pub(super) trust: Trust,
    pub(super) limits: Limits,
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    budget: Budget,
    flows: HashMap<String, Route>,
    numbers: AtomicU64,
    times: Times,
}

/// A flow and what was said of it.
pub(super) struct Route {
    pub(super) flow: Arc<Flow>,
    /// Whether it was told that its sender sets no token.
    pub(super) told_of_tokens: AtomicBool,
}

struct Times {
    verify: Histogram,
    wait: Histogram,
    commit: Histogram,
    total: Histogram,
}

/// What is told of one request.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) bytes: usize,
    pub(super) verify: Duration,
    pub(super) timing: Timing,
    pub(super) submission: Option<SubmissionId>,
    pub(super) job: Option<JobId>,
    /// How it ended, unless it was refused.
    pub(super) outcome: &'static str,
}

impl App {
    /// What answers for these flows.
    #[must_use]
    pub fn new(catalog: Catalog, trust: Trust, limits: Limits, store: Store, clock: Arc<dyn Clock>) -> Self {
        let route = |flow: &Arc<Flow>| {
            (flow.path.clone(), Route { flow: Arc::clone(flow), told_of_tokens: AtomicBool::new(false) })
        };
        let flows = catalog.flows.values().map(route).collect();
        let budget = Budget::new(limits.bodies);
        let times = Times {
            verify: metrics::histogram!("flowgate_request_verify_seconds"),
            wait: metrics::histogram!("flowgate_request_wait_seconds"),
            commit: metrics::histogram!("flowgate_request_commit_seconds"),
            total: metrics::histogram!("flowgate_request_seconds"),
        };
        Self { catalog, trust, limits, store, clock, budget, flows, numbers: AtomicU64::new(1), times }
    }

    /// Answers one request. Never fails: what goes wrong has an answer of its own.
    pub(super) async fn answer(&self, phase: &Phase, request: Request<Incoming>) -> Result<Answer, Infallible> {
        phase.begin();
        let began = self.clock.elapsed();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let mut trace = Trace::default();
        let has_body = !request.body().is_end_stream();
        let result = self.route(request, &mut trace).await;
        let (answer, outcome) = match result {
            Ok(answer) => (answer, trace.outcome),
            Err(refusal) => {
                let mut answer = refusal.answer();
                if has_body && leaves_body(&refusal) {
                    phase.leave_unread();
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                (answer, refusal.code())
            }
        };
        self.tell(&method, &path, outcome, &trace, began);
        phase.end();
        Ok(answer)
    }

    async fn route(&self, request: Request<Incoming>, trace: &mut Trace) -> Result<Answer, Refusal> {
        let (head, body) = request.into_parts();
        match (head.uri.path(), &head.method) {
            ("/webhook", &Method::GET) => webhook::verify(self, head.uri.query().unwrap_or_default(), trace),
            ("/webhook", &Method::POST) => webhook::post(self, &head.headers, body, trace).await,
            ("/webhook", _) => Err(Refusal::Method("GET, POST")),
            ("/healthz", &Method::GET | &Method::HEAD) => Ok(health::healthz(trace)),
            ("/readyz", &Method::GET | &Method::HEAD) => Ok(health::readyz(&self.store, trace)),
            ("/healthz" | "/readyz", _) => Err(Refusal::Method("GET, HEAD")),
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
        trace: &mut Trace,
    ) -> Result<(bytes::Bytes, Share, Instant), Refusal> {
        let deadline = Instant::now() + self.limits.request.to_duration();
        check_media_type(headers)?;
        body::announced(&body, limit)?;
        let signature = match rule {
            SignatureRule::Required => Some(one_signature(headers)?),
            SignatureRule::None => None,
        };
        let (bytes, share) = body::read(body, limit, &self.budget, deadline).await?;
        trace.bytes = bytes.len();
        if let Some(signature) = signature {
            let began = self.clock.elapsed();
            let verified = self.trust.signers.verify(signature, &bytes);
            trace.verify = self.clock.elapsed().saturating_sub(began);
            verified?;
        }
        Ok((bytes, share, deadline))
    }

    fn tell(&self, method: &Method, path: &str, outcome: &'static str, trace: &Trace, began: Duration) {
        let total = self.clock.elapsed().saturating_sub(began);
        let room = self.room(path);
        metrics::counter!("flowgate_requests_total", "path" => room, "outcome" => outcome).increment(1);
        self.times.total.record(total.as_secs_f64());
        if trace.verify > Duration::ZERO {
            self.times.verify.record(trace.verify.as_secs_f64());
        }
        if trace.submission.is_some() {
            self.times.wait.record(trace.timing.waited.as_secs_f64());
            self.times.commit.record(trace.timing.commit.as_secs_f64());
        }
        let id = self.numbers.fetch_add(1, Ordering::Relaxed);
        let submission = trace.submission.map(SubmissionId::get);
        let job = trace.job.map(JobId::get);
        macro_rules! line {
            ($level:ident, $text:literal) => {
                tracing::$level!(
                    request.id = id,
                    request.method = %method,
                    request.path = path,
                    outcome,
                    bytes = trace.bytes,
                    total_ms = ms(total),
                    verify_ms = ms(trace.verify),
                    wait_ms = ms(trace.timing.waited),
                    commit_ms = ms(trace.timing.commit),
                    submission.id = submission,
                    job.id = job,
                    $text
                )
            };
        }
        if total >= SLOW {
            line!(warn, "slow request");
        } else if room == "health" {
            line!(debug, "request");
        } else {
            line!(info, "request");
        }
    }

    /// The kind of path, for figures: what strangers ask for must not make new ones.
    fn room(&self, path: &str) -> &'static str {
        match path {
            "/webhook" => "webhook",
            "/healthz" | "/readyz" => "health",
            path if self.flows.contains_key(path) => "flow",
            _ => "unknown",
        }
    }
}

/// Whether a request that was refused like this still has a body that nobody read.
const fn leaves_body(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::NotFound | Refusal::Method(_) | Refusal::MediaType(_) | Refusal::Body(_) => true,
        Refusal::Signature(why) => matches!(why, BadSignature::Missing | BadSignature::Several),
        _ => false,
    }
}

/// The one signature of a request.
fn one_signature(headers: &HeaderMap) -> Result<&[u8], BadSignature> {
    let mut all = headers.get_all(SIGNATURE).iter();
    match (all.next(), all.next()) {
        (Some(signature), None) => Ok(signature.as_bytes()),
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

/// Milliseconds with three digits behind the point.
fn ms(duration: Duration) -> f64 {
    let micros = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
    f64::from(micros) / 1000.0
}
