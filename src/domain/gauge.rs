//! How an endpoint did in the last half hour: a sliding window of minutes, each with a count of its requests, its errors
//! by kind, and a histogram of its latencies.
//!
//! It is measured as Meta measures it (*Flow Health and Monitoring*: latency and error rate over 30 minutes,
//! availability over 10). What the figures mean is [`super::verdict`]'s.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::time::Millis;

/// Minutes that latency and error rate are told of.
pub const SPAN_MINUTES: u64 = 30;
/// Minutes that availability is told of.
const AVAILABLE_MINUTES: u64 = 10;
/// Meta waits so long for an answer (*Implementing Endpoint for Flows*); one that is slower has timed out.
const PATIENCE: Millis = Millis::from_secs(10);

/// Steps in each doubling of a latency, as a power of two: what is told is at most a sixteenth more than what was.
const STEP_BITS: u32 = 4;
/// The longest latency that is told from longer ones, in ms: above [`PATIENCE`] it makes no difference.
const LONGEST_MS: u64 = (1 << 14) - 1;
/// Steps of the histogram: the first two doublings' worth are single milliseconds.
const STEPS: usize = 176;

/// How one request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// From its head to its answer.
    pub took: Millis,
    /// What was wrong; `None`: nothing, as Meta sees it.
    pub error: Option<&'static str>,
    /// Whether the endpoint was not there for it.
    pub unavailable: bool,
}

impl Exchange {
    /// The exchange that had an answer of this HTTP status (`None`: its sender hung up first). `outcome` names the kind of
    /// error if it was one.
    ///
    /// 200 is an answer, and so is 427 for a token that is no longer good; 421 and 432 are none (*Error Codes*, Flows).
    #[must_use]
    pub fn new(status: Option<u16>, outcome: &'static str, took: Millis) -> Self {
        let late = took >= PATIENCE;
        let error = match status {
            Some(200 | 427) if late => Some("timeout"),
            Some(200 | 427) => None,
            Some(_) => Some(outcome),
            None => Some("gone"),
        };
        let unavailable = late || status.is_none_or(|status| status >= 500);
        Self { took, error, unavailable }
    }
}

/// The window.
#[derive(Debug, Default)]
pub struct Gauge {
    /// Oldest first; only minutes in which something came.
    minutes: VecDeque<Minute>,
}

#[derive(Debug)]
struct Minute {
    number: u64,
    requests: u32,
    unavailable: u32,
    errors: BTreeMap<&'static str, u32>,
    doubtful: BTreeMap<&'static str, u32>,
    latencies: Box<[u32; STEPS]>,
}

/// What a window shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Requests in half an hour.
    pub requests: u32,
    /// Those of them that Meta counts as errors, by kind.
    pub errors: BTreeMap<&'static str, u32>,
    /// Half of them took no longer, or hardly; `None` without requests.
    pub p50: Option<Millis>,
    /// Nine tenths of them took no longer, or hardly; `None` without requests.
    pub p90: Option<Millis>,
    /// Requests in the last ten minutes.
    pub recent: u32,
    /// Those of them for which the endpoint was not there.
    pub unavailable: u32,
    /// Requests beside those in half an hour, of which nothing shows whether they were Meta's, by what did not fit.
    pub doubtful: BTreeMap<&'static str, u32>,
}

impl Gauge {
    /// Takes one exchange that ended at `now`, by a clock that never jumps.
    pub fn record(&mut self, now: Duration, exchange: Exchange) {
        if let Some(minute) = self.minute(now) {
            minute.record(exchange);
        }
    }

    /// Notes one request at `now` that may be a stranger's, and what did not fit. It is no figure of the endpoint.
    pub fn doubt(&mut self, now: Duration, kind: &'static str) {
        if let Some(minute) = self.minute(now) {
            add(minute.doubtful.entry(kind).or_default(), 1);
        }
    }

    fn minute(&mut self, now: Duration) -> Option<&mut Minute> {
        let number = minute_of(now);
        while self.minutes.front().is_some_and(|first| !is_within(first.number, number, SPAN_MINUTES)) {
            self.minutes.pop_front();
        }
        // Threads that end at the turn of a minute may come a moment late: the later minute takes them.
        if self.minutes.back().is_none_or(|last| last.number < number) {
            self.minutes.push_back(Minute::new(number));
        }
        self.minutes.back_mut()
    }

    /// What the window shows at `now`.
    #[must_use]
    pub fn read(&self, now: Duration) -> Reading {
        let now = minute_of(now);
        let mut reading = Reading::default();
        let mut latencies = [0_u32; STEPS];
        for minute in self.minutes.iter().filter(|minute| is_within(minute.number, now, SPAN_MINUTES)) {
            reading.requests = reading.requests.saturating_add(minute.requests);
            for (kind, count) in &minute.errors {
                add(reading.errors.entry(kind).or_default(), *count);
            }
            for (kind, count) in &minute.doubtful {
                add(reading.doubtful.entry(kind).or_default(), *count);
            }
            for (sum, count) in latencies.iter_mut().zip(minute.latencies.iter()) {
                add(sum, *count);
            }
            if is_within(minute.number, now, AVAILABLE_MINUTES) {
                add(&mut reading.recent, minute.requests);
                add(&mut reading.unavailable, minute.unavailable);
            }
        }
        reading.p50 = quantile(&latencies, reading.requests, 5);
        reading.p90 = quantile(&latencies, reading.requests, 9);
        reading
    }
}

impl Minute {
    fn new(number: u64) -> Self {
        let latencies = Box::new([0; STEPS]);
        Self { number, requests: 0, unavailable: 0, errors: BTreeMap::new(), doubtful: BTreeMap::new(), latencies }
    }

    fn record(&mut self, exchange: Exchange) {
        add(&mut self.requests, 1);
        add(&mut self.unavailable, u32::from(exchange.unavailable));
        if let Some(kind) = exchange.error {
            add(self.errors.entry(kind).or_default(), 1);
        }
        if let Some(count) = self.latencies.get_mut(step_of(exchange.took)) {
            add(count, 1);
        }
    }
}

impl Reading {
    /// All that were errors.
    #[must_use]
    pub fn failed(&self) -> u32 {
        self.errors.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Errors in percent of the requests; `None` without requests.
    #[must_use]
    pub fn error_rate(&self) -> Option<f64> {
        percent(self.failed(), self.requests)
    }

    /// In percent of the requests of the last ten minutes; `None` without any.
    #[must_use]
    pub fn availability(&self) -> Option<f64> {
        percent(self.recent.saturating_sub(self.unavailable), self.recent)
    }
}

fn add(sum: &mut u32, more: u32) {
    *sum = sum.saturating_add(more);
}

fn percent(part: u32, whole: u32) -> Option<f64> {
    (whole > 0).then(|| f64::from(part) * 100.0 / f64::from(whole))
}

const fn minute_of(now: Duration) -> u64 {
    now.as_secs() / 60
}

/// Whether `minute` is one of the last `span` full ones before `now`, or that of `now` itself.
const fn is_within(minute: u64, now: u64, span: u64) -> bool {
    now.saturating_sub(minute) <= span
}

/// The step of the histogram that a latency falls into: single milliseconds below 32, then sixteen for each doubling.
fn step_of(took: Millis) -> usize {
    let ms = took.get().min(LONGEST_MS);
    let shift = u64::BITS.saturating_sub(ms.leading_zeros()).saturating_sub(STEP_BITS + 1);
    usize::try_from((u64::from(shift) << STEP_BITS) + (ms >> shift)).unwrap_or(STEPS - 1)
}

/// The longest latency that falls into a step.
fn longest_of(step: usize) -> Millis {
    let step = u64::try_from(step).unwrap_or(u64::MAX);
    let shift = (step >> STEP_BITS).saturating_sub(1);
    let steps = step.saturating_sub(shift << STEP_BITS);
    Millis::new(((steps + 1) << shift) - 1)
}

/// What so many tenths of `requests` took at the most.
fn quantile(latencies: &[u32; STEPS], requests: u32, tenths: u64) -> Option<Millis> {
    let rank = (u64::from(requests) * tenths).div_ceil(10);
    let mut seen = 0;
    let step = latencies.iter().position(|count| {
        seen += u64::from(*count);
        seen >= rank && seen > 0
    });
    step.map(longest_of)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn fine(ms: u64) -> Exchange {
        Exchange::new(Some(200), "accepted", Millis::new(ms))
    }

    #[test]
    fn what_is_an_error_is_what_meta_takes_for_one() {
        let error = |status, took| Exchange::new(status, "kind", Millis::new(took)).error;
        assert_eq!(error(Some(200), 9_999), None);
        assert_eq!(error(Some(427), 1), None, "a token that is no longer good is an answer");
        assert_eq!(error(Some(200), 10_000), Some("timeout"));
        for status in [421, 432, 400, 503] {
            assert_eq!(error(Some(status), 1), Some("kind"), "{status}");
        }
        assert_eq!(error(None, 1), Some("gone"), "nobody waited for it");
        let unavailable = |status, took| Exchange::new(status, "kind", Millis::new(took)).unavailable;
        assert!(unavailable(Some(503), 1) && unavailable(Some(200), 10_000) && unavailable(None, 1));
        assert!(!unavailable(Some(432), 1) && !unavailable(Some(421), 1));
    }

    #[test]
    fn half_and_nine_tenths_of_the_requests_are_told() {
        let mut gauge = Gauge::default();
        for ms in 1..=10 {
            gauge.record(MINUTE, fine(ms));
        }
        let reading = gauge.read(MINUTE);
        assert_eq!((reading.p50, reading.p90), (Some(Millis::new(5)), Some(Millis::new(9))));
        gauge.record(MINUTE, fine(1_000_000));
        gauge.record(MINUTE, fine(1_000_000));
        assert_eq!(gauge.read(MINUTE).p90, Some(Millis::new(LONGEST_MS)));
    }

    #[test]
    fn what_is_older_than_half_an_hour_is_gone_and_availability_looks_at_ten_minutes() {
        let mut gauge = Gauge::default();
        gauge.record(Duration::ZERO, Exchange::new(Some(503), "busy", Millis::new(2)));
        gauge.record(MINUTE * 20, Exchange::new(Some(432), "bad_signature", Millis::new(1)));
        gauge.record(MINUTE * 20, fine(1));
        let reading = gauge.read(MINUTE * 20);
        assert_eq!(reading.errors, BTreeMap::from([("bad_signature", 1), ("busy", 1)]));
        assert_eq!((reading.requests, reading.recent, reading.unavailable), (3, 2, 0));
        assert_eq!(reading.availability(), Some(100.0));
        let later = gauge.read(MINUTE * 31);
        assert_eq!((later.requests, later.recent, later.error_rate()), (2, 0, Some(50.0)));
        assert_eq!(gauge.read(MINUTE * 60), Reading::default());
    }

    #[test]
    fn what_may_be_a_strangers_stands_beside_the_figures() {
        let mut gauge = Gauge::default();
        gauge.doubt(MINUTE, "bad_signature");
        gauge.doubt(MINUTE * 2, "bad_signature");
        let doubtful = BTreeMap::from([("bad_signature", 2)]);
        assert_eq!(gauge.read(MINUTE * 2), Reading { doubtful, ..Reading::default() });
        assert_eq!(gauge.read(MINUTE * 60), Reading::default());
    }

    #[test]
    fn the_window_holds_half_an_hour_however_long_it_is_fed() {
        let mut gauge = Gauge::default();
        for minute in 0..200 {
            gauge.record(MINUTE * minute, fine(3));
        }
        assert_eq!(gauge.minutes.len(), 31);
        assert_eq!(gauge.read(MINUTE * 199).requests, 31);
    }

    proptest! {
        #[test]
        fn a_latency_is_told_exactly_or_a_sixteenth_too_long(ms in 0..=LONGEST_MS) {
            let told = longest_of(step_of(Millis::new(ms))).get();
            prop_assert!(told >= ms && told - ms <= ms / 16, "{ms} is told as {told}");
        }
    }
}
