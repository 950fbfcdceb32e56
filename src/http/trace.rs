//! What is told of a request: one line in the log, the figures and, where Meta watches, the gauge of its flow.
//!
//! Also of one whose sender hung up before its answer was made: hyper then drops the request where it stands, and the
//! line says so.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::Method;
use metrics::{Counter, Histogram};

use crate::clock::Clock;
use crate::domain::flow::Flow;
use crate::domain::gauge::Exchange;
use crate::domain::ids::{JobId, SubmissionId};
use crate::domain::refusals::{COMPARE_SECRETS, MISFITS_LEAST};
use crate::domain::time::Millis;
use crate::store::Timing;

use super::body::Share;
use super::respond::Refusal;
use super::watch::Watch;

/// A request slower than this is warned of: Meta waits ten seconds (*Implementing Endpoint for Flows*).
const SLOW: Duration = Duration::from_secs(5);
/// A refusal that the operator can do something about is warned of at most once in so long, for each reason. The others are
/// logged like any request: a stranger must not fill the log with warnings.
const WARNED_EVERY: Duration = Duration::from_mins(1);
/// The outcome of a request whose sender did not wait for the answer.
const GONE: &str = "gone";

/// Counts requests. Handles are made once: to look one up costs more than to count.
pub(super) struct Figures {
    requests: Mutex<BTreeMap<(Room, &'static str), Counter>>,
    verify: Histogram,
    decrypt: Histogram,
    wait: Histogram,
    commit: Histogram,
    total: Histogram,
    watch: Watch,
    /// When refusals were last warned of, by reason.
    warned: Mutex<BTreeMap<&'static str, Duration>>,
    /// Requests so far.
    numbers: AtomicU64,
}

/// The kind of a path, for figures: what strangers ask for must not make new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Room {
    Flow,
    Webhook,
    Gateway,
    Health,
    Unknown,
}

impl Room {
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

impl Figures {
    /// Makes the handles: whatever is to receive them must be installed before.
    pub(super) fn new(watch: Watch) -> Self {
        Self {
            requests: Mutex::default(),
            verify: metrics::histogram!("flowgate_request_verify_seconds"),
            decrypt: metrics::histogram!("flowgate_request_decrypt_seconds"),
            wait: metrics::histogram!("flowgate_request_wait_seconds"),
            commit: metrics::histogram!("flowgate_request_commit_seconds"),
            total: metrics::histogram!("flowgate_request_seconds"),
            watch,
            warned: Mutex::default(),
            numbers: AtomicU64::new(1),
        }
    }

    fn count(&self, room: Room, outcome: &'static str) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = requests.entry((room, outcome)).or_insert_with(
            || metrics::counter!("flowgate_requests_total", "path" => room.as_str(), "outcome" => outcome),
        );
        counter.increment(1);
    }

    /// Whether something may be warned of at `now`, as not just before.
    fn may_warn(&self, now: Duration, reason: &'static str) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = warned.get(reason).is_none_or(|last| now.saturating_sub(*last) >= WARNED_EVERY);
        if is_due {
            warned.insert(reason, now);
        }
        is_due
    }
}

/// What a request is to the gauge of its flow. Meta watches how encrypted flows do, and nothing but its own requests.
pub(super) enum Watched {
    /// Not an encrypted flow's, or anybody's.
    Unseen,
    /// Meta's, or a stranger's: it has a signature that does not fit or, where none is asked for, no key opens it.
    Doubtful(Arc<Flow>),
    /// Meta's: signed or, where no signature is asked for, opened.
    Metas(Arc<Flow>),
}

/// One request, from its head on. Told when it is dropped.
pub(super) struct Trace<'a> {
    figures: &'a Figures,
    clock: &'a dyn Clock,
    began: Duration,
    room: Room,
    method: Method,
    path: String,
    /// Bytes of its body. `None` until all of them were read.
    pub(super) bytes: Option<usize>,
    /// The share of the budget that its body takes: as long as the request lasts, or a change of it waits for the writer.
    pub(super) share: Option<Arc<Share>>,
    /// How long its signature took.
    pub(super) verify: Option<Duration>,
    /// How long its envelope took, with the wait for it.
    pub(super) decrypt: Option<Duration>,
    /// How long the writer took.
    pub(super) timing: Option<Timing>,
    /// What the gauge of its flow makes of it.
    pub(super) watched: Watched,
    /// The HTTP status of its answer, once that is made.
    pub(super) status: Option<u16>,
    /// What it became.
    pub(super) submission: Option<SubmissionId>,
    /// What carries that on.
    pub(super) job: Option<JobId>,
    /// How it ended.
    pub(super) outcome: &'static str,
    /// Why it was refused, in words that repeat no answer of a form.
    why: Option<String>,
    /// Whether that is warned of.
    is_warned_of: bool,
}

impl<'a> Trace<'a> {
    pub(super) fn begin(figures: &'a Figures, clock: &'a dyn Clock, room: Room, method: Method, path: String) -> Self {
        Self {
            figures,
            clock,
            began: clock.elapsed(),
            room,
            method,
            path,
            bytes: None,
            share: None,
            verify: None,
            decrypt: None,
            timing: None,
            watched: Watched::Unseen,
            status: None,
            submission: None,
            job: None,
            outcome: GONE,
            why: None,
            is_warned_of: false,
        }
    }

    /// Notes that it is refused.
    pub(super) fn refuse(&mut self, refusal: &Refusal) {
        let now = self.clock.elapsed();
        self.outcome = refusal.code();
        self.why = Some(refusal.to_string());
        self.is_warned_of = refusal.is_for_operators() && self.figures.may_warn(now, self.outcome);
        let mut refusals = self.figures.watch.refusals();
        refusals.refuse(self.outcome);
        if refusal.is_ours() && matches!(self.room, Room::Flow | Room::Webhook | Room::Gateway) {
            refusals.turn_away(now, self.outcome);
        }
    }

    /// Notes that its well-formed signature fits or does not.
    pub(super) fn note_signature(&self, fits: bool) {
        let is_suspicious = self.figures.watch.refusals().note_signature(fits);
        if is_suspicious && self.figures.may_warn(self.clock.elapsed(), "signatures in a row") {
            tracing::warn!("the last {MISFITS_LEAST} signed requests were all refused: {COMPARE_SECRETS}");
        }
    }

    /// Whether it went to a flow's path.
    pub(super) fn is_form(&self) -> bool {
        self.room == Room::Flow
    }

    fn log(&self, total: Duration) {
        let id = self.figures.numbers.fetch_add(1, Ordering::Relaxed);
        let timing = self.timing.unwrap_or_default();
        macro_rules! line {
            ($level:ident, $text:literal) => {
                tracing::$level!(
                    request.id = id,
                    request.method = self.method.as_str(),
                    request.path = self.path,
                    outcome = self.outcome,
                    status = self.status,
                    why = self.why,
                    bytes = self.bytes,
                    total_ms = ms(total),
                    verify_ms = ms(self.verify.unwrap_or_default()),
                    decrypt_ms = self.decrypt.map(ms),
                    wait_ms = ms(timing.waited),
                    commit_ms = ms(timing.commit),
                    submission.id = self.submission.map(SubmissionId::get),
                    job.id = self.job.map(JobId::get),
                    $text
                )
            };
        }
        if total >= SLOW {
            line!(warn, "slow request");
        } else if self.is_warned_of {
            line!(warn, "a request was refused");
        } else if self.room == Room::Health {
            line!(debug, "request");
        } else {
            line!(info, "request");
        }
    }
}

impl Trace<'_> {
    /// Notes to which of our numbers the messages came that the request brought.
    pub(super) fn hear(&self, numbers: BTreeMap<Box<str>, Box<str>>) {
        self.figures.watch.hear(numbers);
    }
}

impl Drop for Trace<'_> {
    fn drop(&mut self) {
        let now = self.clock.elapsed();
        let total = now.saturating_sub(self.began);
        match &self.watched {
            Watched::Unseen => {}
            Watched::Doubtful(flow) => self.figures.watch.doubt(&flow.name, now, self.outcome),
            Watched::Metas(flow) => {
                let took = Millis::new(u64::try_from(total.as_millis()).unwrap_or(u64::MAX));
                self.figures.watch.record(&flow.name, now, Exchange::new(self.status, self.outcome, took));
            }
        }
        self.figures.count(self.room, self.outcome);
        self.figures.total.record(total.as_secs_f64());
        if let Some(verify) = self.verify {
            self.figures.verify.record(verify.as_secs_f64());
        }
        if let Some(decrypt) = self.decrypt {
            self.figures.decrypt.record(decrypt.as_secs_f64());
        }
        if let Some(timing) = self.timing {
            self.figures.wait.record(timing.waited.as_secs_f64());
            self.figures.commit.record(timing.commit.as_secs_f64());
        }
        self.log(total);
    }
}

/// Milliseconds with three digits behind the point.
fn ms(duration: Duration) -> f64 {
    let micros = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
    f64::from(micros) / 1000.0
}
