//! Records each request: one line in the log, the metrics, and the endpoint health of its flow.
//!
//! A request whose client disconnects before the response is recorded, too. hyper drops such a
//! request, and the log line shows it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::Method;
use metrics::{Counter, Histogram};
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::domain::flow::Flow;
use crate::domain::health::window::RequestSample;
use crate::domain::health::wrong_app_secret::{APP_SECRET_WARNING, SIGNATURE_FAILURES_MIN};
use crate::domain::ids::{JobId, SubmissionId};
use crate::domain::time::Millis;
use crate::store::Timing;

use super::body::BudgetPermit;
use super::endpoint_health::monitor::HealthMonitor;
use super::response::HttpError;

/// Minimum duration of a request that is logged as slow. Meta waits ten seconds (*Implementing
/// Endpoint for Flows*).
const SLOW_THRESHOLD: Duration = Duration::from_secs(5);
/// Minimum time between two warnings about refused requests with the same reason.
///
/// Only refusals that an operator can act on are warnings. Other refusals are logged like any
/// request. Without this, a stranger could fill the log with warnings.
const WARN_INTERVAL: Duration = Duration::from_mins(1);
/// Outcome of a request whose client did not wait for the response.
const CLIENT_DISCONNECTED: &str = "client_disconnected";

/// Metrics of requests. The handles are created once, because a lookup costs more than a count.
pub(super) struct RequestMetrics {
    requests: Mutex<BTreeMap<(RouteKind, &'static str), Counter>>,
    verify: Histogram,
    decrypt: Histogram,
    queue: Histogram,
    commit: Histogram,
    total: Histogram,
    health_monitor: HealthMonitor,
    /// Time of the last warning by reason, by the process clock.
    warned_at: Mutex<BTreeMap<&'static str, Duration>>,
    /// ID of the next request.
    next_request_id: AtomicU64,
}

/// Kind of path, as a label of metrics. A fixed set: paths that strangers request must not create
/// new labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RouteKind {
    Flow,
    Webhook,
    Gateway,
    Health,
    Unknown,
}

impl RouteKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::Webhook => "webhook",
            Self::Gateway => "gateway",
            Self::Health => "health",
            Self::Unknown => "unknown",
        }
    }
}

impl RequestMetrics {
    /// Creates the metric handles. The metrics recorder must be installed before.
    pub(super) fn new(health_monitor: HealthMonitor) -> Self {
        Self {
            requests: Mutex::default(),
            verify: metrics::histogram!("flowgate_request_verify_duration_seconds"),
            decrypt: metrics::histogram!("flowgate_request_decrypt_duration_seconds"),
            queue: metrics::histogram!("flowgate_request_queue_duration_seconds"),
            commit: metrics::histogram!("flowgate_request_commit_duration_seconds"),
            total: metrics::histogram!("flowgate_request_duration_seconds"),
            health_monitor,
            warned_at: Mutex::default(),
            next_request_id: AtomicU64::new(1),
        }
    }

    fn count_request(&self, route: RouteKind, outcome: &'static str) {
        let mut requests = self.requests.lock();
        let counter = requests.entry((route, outcome)).or_insert_with(|| {
            let labels = [("route", route.as_str()), ("outcome", outcome)];
            metrics::counter!("flowgate_requests_total", &labels)
        });
        counter.increment(1);
    }

    /// Returns `true` if the log may contain a new warning for `reason` at `now`, and records the
    /// warning.
    fn may_warn(&self, now: Duration, reason: &'static str) -> bool {
        let mut warned = self.warned_at.lock();
        let is_due = warned
            .get(reason)
            .is_none_or(|last| now.saturating_sub(*last) >= WARN_INTERVAL);
        if is_due {
            warned.insert(reason, now);
        }
        is_due
    }
}

/// Attribution of a request to the endpoint health of its flow. Meta measures encrypted flows, and
/// only Meta's own requests.
pub(super) enum Attribution {
    /// Not a request to an encrypted flow, or a request of unknown origin.
    None,
    /// From Meta or from a stranger: the signature does not match. Without a required signature, no
    /// key decrypts the request.
    Unverified(Arc<Flow>),
    /// From Meta: signed. Without a required signature, decrypted.
    Meta(Arc<Flow>),
}

/// Record of one request, from its head on. The record is written when it is dropped.
pub(super) struct RequestLog<'a> {
    metrics: &'a RequestMetrics,
    clock: &'a dyn Clock,
    started_at: Duration,
    route: RouteKind,
    method: Method,
    path: String,
    /// Size of the body in bytes. `None` until the whole body has been read.
    pub(super) body_bytes: Option<usize>,
    /// Body memory that the request has reserved. Held until the request is finished and no
    /// transaction of it waits for the writer.
    pub(super) body_permit: Option<Arc<BudgetPermit>>,
    /// Duration of the signature check.
    pub(super) verify_time: Option<Duration>,
    /// Duration of the decryption, with the time in the queue.
    pub(super) decrypt_time: Option<Duration>,
    /// Durations of the writer: time in the queue and commit.
    pub(super) timing: Option<Timing>,
    /// Attribution to the endpoint health of the flow.
    pub(super) attribution: Attribution,
    /// HTTP status of the response. `None` until the response exists.
    pub(super) status: Option<u16>,
    /// ID of the submission that the request created or belongs to.
    pub(super) submission_id: Option<SubmissionId>,
    /// ID of the job that processes the submission.
    pub(super) job_id: Option<JobId>,
    /// Label of the outcome, for the log and the metrics.
    pub(super) outcome: &'static str,
    /// Reason for an error response. The text quotes no answer of a form.
    error: Option<String>,
    /// `true` if the error is logged as a warning.
    is_warning: bool,
}

impl<'a> RequestLog<'a> {
    pub(super) fn start(
        metrics: &'a RequestMetrics,
        clock: &'a dyn Clock,
        route: RouteKind,
        method: Method,
        path: String,
    ) -> Self {
        Self {
            metrics,
            clock,
            started_at: clock.elapsed(),
            route,
            method,
            path,
            body_bytes: None,
            body_permit: None,
            verify_time: None,
            decrypt_time: None,
            timing: None,
            attribution: Attribution::None,
            status: None,
            submission_id: None,
            job_id: None,
            outcome: CLIENT_DISCONNECTED,
            error: None,
            is_warning: false,
        }
    }

    /// Records an error response.
    pub(super) fn record_error(&mut self, refusal: &HttpError) {
        let now = self.clock.elapsed();
        self.outcome = refusal.code();
        self.error = Some(refusal.to_string());
        self.is_warning =
            refusal.is_operator_actionable() && self.metrics.may_warn(now, self.outcome);
        let mut refusals = self.metrics.health_monitor.lock_refusals();
        refusals.record_refusal(self.outcome);
        let accepts_items = !matches!(self.route, RouteKind::Health | RouteKind::Unknown);
        if refusal.is_server_unavailable() && accepts_items {
            refusals.record_capacity_refusal(now, self.outcome);
        }
    }

    /// Records the result of the check of a well-formed signature.
    pub(super) fn record_signature(&self, fits: bool) {
        let (metrics, now) = (self.metrics, self.clock.elapsed());
        let mut refusals = metrics.health_monitor.lock_refusals();
        let is_suspicious = refusals.record_signature_check(fits);
        drop(refusals);
        if is_suspicious && metrics.may_warn(now, "signatures in a row") {
            tracing::warn!(
                "the last {SIGNATURE_FAILURES_MIN} signed requests were all refused: \
                 {APP_SECRET_WARNING}"
            );
        }
    }

    /// Returns `true` if the request went to the path of a flow.
    pub(super) fn is_flow_request(&self) -> bool {
        self.route == RouteKind::Flow
    }

    fn write_line(&self, total: Duration) {
        let id = self.metrics.next_request_id.fetch_add(1, Ordering::Relaxed);
        let timing = self.timing.unwrap_or_default();
        macro_rules! line {
            ($level:ident, $text:literal) => {
                tracing::$level!(
                    request.id = id,
                    request.method = self.method.as_str(),
                    request.path = self.path,
                    outcome = self.outcome,
                    http.status = self.status,
                    error = self.error,
                    request.bytes = self.body_bytes,
                    request.duration_ms = milliseconds(total),
                    verify_ms = milliseconds(self.verify_time.unwrap_or_default()),
                    decrypt_ms = self.decrypt_time.map(milliseconds),
                    request.queue_ms = milliseconds(timing.queue_time),
                    request.commit_ms = milliseconds(timing.commit_time),
                    submission.id = self.submission_id.map(SubmissionId::get),
                    job.id = self.job_id.map(JobId::get),
                    $text
                )
            };
        }
        if total >= SLOW_THRESHOLD {
            line!(warn, "slow request");
        } else if self.is_warning {
            line!(warn, "a request was refused");
        } else if self.route == RouteKind::Health {
            line!(debug, "request");
        } else {
            line!(info, "request");
        }
    }

    /// Records the phone numbers that received the messages of this request.
    pub(super) fn record_numbers(&self, numbers: BTreeMap<Box<str>, Box<str>>) {
        self.metrics.health_monitor.record_numbers(numbers);
    }
}

impl Drop for RequestLog<'_> {
    fn drop(&mut self) {
        let now = self.clock.elapsed();
        let total = now.saturating_sub(self.started_at);
        let monitor = &self.metrics.health_monitor;
        match &self.attribution {
            Attribution::None => {}
            Attribution::Unverified(flow) => {
                monitor.record_unverified(&flow.name, now, self.outcome);
            }
            Attribution::Meta(flow) => {
                let duration = Millis::from_duration(total);
                let sample = RequestSample::new(self.status, self.outcome, duration);
                monitor.record_request(&flow.name, now, sample);
            }
        }
        self.metrics.count_request(self.route, self.outcome);
        self.metrics.total.record(total.as_secs_f64());
        if let Some(verify) = self.verify_time {
            self.metrics.verify.record(verify.as_secs_f64());
        }
        if let Some(decrypt) = self.decrypt_time {
            self.metrics.decrypt.record(decrypt.as_secs_f64());
        }
        if let Some(timing) = self.timing {
            self.metrics.queue.record(timing.queue_time.as_secs_f64());
            self.metrics.commit.record(timing.commit_time.as_secs_f64());
        }
        self.write_line(total);
    }
}

/// Returns milliseconds with three decimal places.
fn milliseconds(duration: Duration) -> f64 {
    let micros = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
    f64::from(micros) / 1000.0
}
