//! Asking the owner's own program, on this machine, what a flow shows next.
//!
//! ```text
//! ask: breaker (is it to be left alone?) → signed POST, within its time → status 200, JSON, a screen → answer
//! ```
//!
//! What is asked has been decrypted, so it goes to loopback only: `localhost` is looked up nowhere, redirects are not
//! followed, and no proxy is asked. What users see where there is no answer is for the caller to show; when the program is
//! left alone is `crate::domain::breaker`'s. Each request under way takes a connection of its own, so what the listener
//! admits bounds these too.

mod answer;

use std::array;
use std::convert::Infallible;
use std::error::Error;
use std::future::{Ready, ready};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

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

use crate::clock::Clock;
use crate::config::{Fallback, UpstreamRule};
use crate::domain::breaker::{Breaker, Change, Pass};
use crate::domain::ids::FlowName;
use crate::signing::{self, SigningKey};

use super::body::{self, BodyError, Budget, Purpose};
use answer::Sign;
pub use answer::UpstreamError;

/// Bytes of all answers of one program being read together.
const ANSWERS_BYTES_MAX: u64 = 64 << 20;

/// How long a connection waits for the next request. On loopback a new connection costs next to nothing, and one that is
/// kept too long may be closed by the program in the moment it is taken: Node does that after five seconds, gunicorn
/// after two.
const IDLE: Duration = Duration::from_secs(1);

const AGENT: &str = concat!("flowgate/", env!("CARGO_PKG_VERSION"));

/// The program behind one flow. Shared by all requests.
pub struct Upstream {
    flow: FlowName,
    rule: UpstreamRule,
    key: SigningKey,
    clock: Arc<dyn Clock>,
    pool: Client<HttpConnector<ThisMachine>, Full<Bytes>>,
    answers: Budget,
    breaker: Mutex<Breaker>,
}

impl Upstream {
    /// Connections that wait for the next request.
    pub const IDLE_MAX: u64 = 32;

    /// The program behind `flow`, asked as `rule` says, with requests signed by `key`. Nothing is connected yet.
    #[must_use]
    pub fn new(flow: FlowName, rule: UpstreamRule, key: SigningKey, clock: Arc<dyn Clock>) -> Self {
        let mut connector = HttpConnector::new_with_resolver(ThisMachine);
        // Without it, a head and a body that leave as two packets may wait for each other.
        connector.set_nodelay(true);
        // One address after the other, without a pause between them: here each answers at once or is not there.
        connector.set_happy_eyeballs_timeout(None);
        let idle_max = usize::try_from(Self::IDLE_MAX).unwrap_or(usize::MAX);
        let mut pool = Client::builder(TokioExecutor::new());
        pool.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(idle_max);
        Self {
            flow,
            breaker: Mutex::new(Breaker::new(rule.breaker)),
            rule,
            key,
            clock,
            pool: pool.build(connector),
            answers: Budget::new(ANSWERS_BYTES_MAX),
        }
    }

    /// Whether it is asked as `rule` says, with requests signed by `key`. Where the secret stands makes no difference.
    #[must_use]
    pub fn goes_by(&self, rule: &UpstreamRule, key: &SigningKey) -> bool {
        let UpstreamRule { url, secret: _, timeout, fallback, breaker } = &self.rule;
        let same = *url == rule.url && *timeout == rule.timeout && *breaker == rule.breaker;
        same && *fallback == rule.fallback && self.key == *key
    }

    /// What users see where there is no answer.
    #[must_use]
    pub const fn fallback(&self) -> &Fallback {
        &self.rule.fallback
    }

    /// Posts a decrypted request, byte for byte, and gives the answer: an object whose `screen` is a text that is not
    /// empty, and whose `data`, if it is there, is an object.
    ///
    /// `id` is the `webhook-id`: the same where the same request is asked again, so that the program can tell; visible ASCII
    /// characters other than `.` only. Waits for as long as the rule says, and never beyond `deadline`.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn ask(&self, request: Bytes, id: &str, deadline: Instant) -> Result<Map<String, Value>, UpstreamError> {
        let asking = self.begin()?;
        let began = Instant::now();
        let patience = began + self.rule.timeout.to_duration();
        let end = patience.min(deadline);
        let late = || UpstreamError::Late(end.saturating_duration_since(began));
        let answer = match timeout_at(end, self.exchange(request, id, end)).await {
            Ok(Err(UpstreamError::Late(_))) | Err(_) => Err(late()),
            Ok(answer) => answer,
        };
        asking.end(&answer, patience <= deadline);
        answer
    }

    fn begin(&self) -> Result<Asking<'_>, UpstreamError> {
        let began = self.clock.elapsed();
        let Some(pass) = self.breaker().enter(began) else {
            self.count("open");
            return Err(UpstreamError::Open);
        };
        Ok(Asking { upstream: self, began, pass: Some(pass) })
    }

    async fn exchange(&self, request: Bytes, id: &str, end: Instant) -> Result<Map<String, Value>, UpstreamError> {
        let mut post = Request::post(self.rule.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, AGENT);
        for (name, value) in signing::headers(std::slice::from_ref(&self.key), id, self.clock.now(), &request) {
            post = post.header(name, value);
        }
        let came = self.pool.request(post.body(Full::new(request))?).await.map_err(|error| {
            let why = cause(&error);
            if error.is_connect() { UpstreamError::Unreachable(why) } else { UpstreamError::Broken(why) }
        })?;
        if came.status() != StatusCode::OK {
            return Err(UpstreamError::Status(came.status()));
        }
        let read = body::read(came.into_body(), answer::BYTES_MAX, (&self.answers, Purpose::Answer), end).await;
        let (bytes, _share) = read.map_err(|error| match error {
            BodyError::TooLarge { .. } => UpstreamError::TooLarge,
            BodyError::OverBudget => UpstreamError::OverBudget,
            BodyError::Late => UpstreamError::Late(Duration::ZERO),
            BodyError::Broken => UpstreamError::Broken("the body of its answer was not whole".to_owned()),
        })?;
        answer::read(&bytes)
    }

    fn count(&self, outcome: &'static str) {
        let flow = self.flow.to_string();
        metrics::counter!("flowgate_upstream_requests_total", "flow" => flow, "outcome" => outcome).increment(1);
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upstream({} of flow {})", self.rule.url, self.flow)
    }
}

/// A request under way. Where nobody waits for its answer any more, it is dropped before its end.
struct Asking<'a> {
    upstream: &'a Upstream,
    began: Duration,
    pass: Option<Pass>,
}

impl Asking<'_> {
    /// `had_its_time`: whether the program was waited for as long as its rule says.
    fn end(mut self, answer: &Result<Map<String, Value>, UpstreamError>, had_its_time: bool) {
        let Some(pass) = self.pass.take() else { return };
        let Upstream { flow, clock, .. } = self.upstream;
        let now = clock.elapsed();
        self.upstream.count(answer.as_ref().map_or_else(UpstreamError::outcome, |_| "answered"));
        metrics::histogram!("flowgate_upstream_request_seconds", "flow" => flow.to_string())
            .record(now.saturating_sub(self.began).as_secs_f64());
        let mut breaker = self.upstream.breaker();
        let change = match answer.as_ref().map_or_else(|error| error.sign(had_its_time), |_| Sign::Life) {
            Sign::Life => breaker.answered(pass),
            Sign::Failure => breaker.failed(pass, now),
            Sign::Nothing => {
                breaker.abandoned(pass);
                None
            }
        };
        drop(breaker);
        match (change, answer) {
            (Some(Change::Opened), Err(error)) => {
                tracing::warn!(%flow, %error, "a flow's program fails again and again: it is left alone, and users see the fallback");
            }
            (Some(Change::Closed), _) => tracing::info!(%flow, "a flow's program answers again"),
            _ => {}
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.upstream.breaker().abandoned(pass);
            self.upstream.count("gone");
        }
    }
}

/// The innermost cause: what the system or hyper says, without the layers around it.
fn cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// `localhost`, the only name that the config lets through, is this machine (RFC 6761, 6.3), whatever a resolver would say.
#[derive(Clone, Copy, Debug)]
struct ThisMachine;

impl Service<Name> for ThisMachine {
    type Response = array::IntoIter<SocketAddr, 2>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        let addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))];
        ready(Ok(addresses.into_iter()))
    }
}
