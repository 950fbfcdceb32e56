//! Measures an endpoint's requests, errors by kind and latencies in a sliding window of 30 minutes.
//!
//! The window has one bucket for each minute, with a histogram of latencies. Measurement follows
//! Meta (*Flow Health and Monitoring*): latency and error rate over 30 minutes, availability over
//! 10 minutes. See [`super::assessment`] for the interpretation of the numbers.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::domain::time::Millis;

/// Window of latency and error rate, in minutes.
pub const WINDOW_MINUTES: u64 = 30;
/// Window of availability, in minutes.
const AVAILABILITY_MINUTES: u64 = 10;
/// Meta's timeout for a response (*Implementing Endpoint for Flows*). A slower response counts as a
/// timeout.
const META_TIMEOUT: Millis = Millis::from_secs(10);

/// Number of buckets for each doubling of the latency, as a power of two. A reported latency
/// exceeds the real one by at most one sixteenth.
const BUCKET_BITS: u32 = 4;
/// Maximum latency that the histogram distinguishes, in ms. Longer latencies count as this one:
/// above `META_TIMEOUT` the difference does not matter.
const LATENCY_MS_MAX: u64 = (1 << 14) - 1;
/// Number of buckets of the histogram. Latencies below 32 ms have a bucket for each millisecond.
const BUCKETS: usize = 176;

/// Sample of one finished request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestSample {
    /// Time from the head of the request to the response.
    pub duration: Millis,
    /// Kind of error. `None` if Meta counts the request as successful.
    pub error_kind: Option<&'static str>,
    /// `true` if the endpoint was unavailable for the request.
    pub is_unavailable: bool,
}

impl RequestSample {
    /// Creates the sample of a request. `status` is the HTTP status of the response, or `None` if
    /// the client disconnected first. `outcome` names the kind of error if the request failed.
    ///
    /// Status 200 is a success, and so is 427 for a flow token that is no longer valid. Statuses
    /// 421 and 432 are errors (*Error Codes*, Flows).
    #[must_use]
    pub fn new(status: Option<u16>, outcome: &'static str, duration: Millis) -> Self {
        let is_timeout = duration >= META_TIMEOUT;
        let error_kind = match status {
            Some(200 | 427) if is_timeout => Some("timeout"),
            Some(200 | 427) => None,
            Some(_) => Some(outcome),
            None => Some("client_disconnected"),
        };
        let is_unavailable = is_timeout || status.is_none_or(|status| status >= 500);
        Self {
            duration,
            error_kind,
            is_unavailable,
        }
    }
}

/// Sliding window of the samples of one endpoint.
#[derive(Debug, Default)]
pub struct HealthWindow {
    /// Minutes with at least one request, oldest first.
    minutes: VecDeque<Minute>,
}

#[derive(Debug)]
struct Minute {
    index: u64,
    requests: u32,
    unavailable: u32,
    errors: BTreeMap<&'static str, u32>,
    unverified: BTreeMap<&'static str, u32>,
    latencies: Box<[u32; BUCKETS]>,
}

/// Statistics of a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WindowStats {
    /// Number of requests in the last 30 minutes.
    pub requests: u32,
    /// Number of requests that Meta counts as errors, by kind, in the last 30 minutes.
    pub errors: BTreeMap<&'static str, u32>,
    /// Median latency, rounded up to its bucket. `None` without requests.
    pub p50: Option<Millis>,
    /// 90th percentile of the latency, rounded up to its bucket. `None` without requests.
    pub p90: Option<Millis>,
    /// Number of requests in the last 10 minutes.
    pub recent_requests: u32,
    /// Number of requests in the last 10 minutes for which the endpoint was unavailable.
    pub recent_unavailable: u32,
    /// Number of unverified requests in the last 30 minutes, by reason. Nothing shows that Meta
    /// sent them, so `requests` does not count them.
    pub unverified: BTreeMap<&'static str, u32>,
}

impl HealthWindow {
    /// Records the sample of a request that ended at `now`. `now` is read from a monotonic clock.
    pub fn record_sample(&mut self, now: Duration, sample: RequestSample) {
        if let Some(minute) = self.current_minute(now) {
            minute.record_sample(sample);
        }
    }

    /// Records an unverified request at `now`, with its reason. The statistics of the endpoint do
    /// not count it.
    pub fn record_unverified(&mut self, now: Duration, kind: &'static str) {
        if let Some(minute) = self.current_minute(now) {
            add(minute.unverified.entry(kind).or_default(), 1);
        }
    }

    fn current_minute(&mut self, now: Duration) -> Option<&mut Minute> {
        let index = minute_index(now);
        let is_old = |minute: &mut Minute| !is_within(minute.index, index, WINDOW_MINUTES);
        while self.minutes.pop_front_if(is_old).is_some() {}
        // At the end of a minute, a thread may record its sample a moment late. The later minute
        // gets that sample.
        if self.minutes.back().is_none_or(|last| last.index < index) {
            self.minutes.push_back(Minute::new(index));
        }
        self.minutes.back_mut()
    }

    /// Returns the statistics of the window at `now`.
    #[must_use]
    pub fn stats(&self, now: Duration) -> WindowStats {
        let now = minute_index(now);
        let mut stats = WindowStats::default();
        let mut latencies = [0_u32; BUCKETS];
        let is_in_window = |minute: &&Minute| is_within(minute.index, now, WINDOW_MINUTES);
        for minute in self.minutes.iter().filter(is_in_window) {
            add(&mut stats.requests, minute.requests);
            for (kind, count) in &minute.errors {
                add(stats.errors.entry(kind).or_default(), *count);
            }
            for (kind, count) in &minute.unverified {
                add(stats.unverified.entry(kind).or_default(), *count);
            }
            for (sum, count) in latencies.iter_mut().zip(minute.latencies.iter()) {
                add(sum, *count);
            }
            if is_within(minute.index, now, AVAILABILITY_MINUTES) {
                add(&mut stats.recent_requests, minute.requests);
                add(&mut stats.recent_unavailable, minute.unavailable);
            }
        }
        stats.p50 = quantile(&latencies, stats.requests, 5);
        stats.p90 = quantile(&latencies, stats.requests, 9);
        stats
    }
}

impl Minute {
    fn new(index: u64) -> Self {
        Self {
            index,
            requests: 0,
            unavailable: 0,
            errors: BTreeMap::new(),
            unverified: BTreeMap::new(),
            latencies: Box::new([0; BUCKETS]),
        }
    }

    fn record_sample(&mut self, sample: RequestSample) {
        add(&mut self.requests, 1);
        add(&mut self.unavailable, u32::from(sample.is_unavailable));
        if let Some(kind) = sample.error_kind {
            add(self.errors.entry(kind).or_default(), 1);
        }
        if let Some(count) = self.latencies.get_mut(bucket_of(sample.duration)) {
            add(count, 1);
        }
    }
}

impl WindowStats {
    /// Returns the number of requests that were errors.
    #[must_use]
    pub fn error_count(&self) -> u32 {
        sum(&self.errors)
    }

    /// Returns the error rate in percent of the requests. `None` without requests.
    #[must_use]
    pub fn error_rate(&self) -> Option<f64> {
        percent(self.error_count(), self.requests)
    }

    /// Returns the availability in percent of the requests of the last 10 minutes. `None` without
    /// requests.
    #[must_use]
    pub fn availability(&self) -> Option<f64> {
        let available = self.recent_requests.saturating_sub(self.recent_unavailable);
        percent(available, self.recent_requests)
    }
}

/// Returns the sum of the counts of all kinds.
pub(super) fn sum(counts: &BTreeMap<&'static str, u32>) -> u32 {
    let counts = counts.values();
    counts.fold(0, |sum, count| sum.saturating_add(*count))
}

fn add(sum: &mut u32, more: u32) {
    *sum = sum.saturating_add(more);
}

fn percent(part: u32, whole: u32) -> Option<f64> {
    (whole > 0).then(|| f64::from(part) * 100.0 / f64::from(whole))
}

const fn minute_index(now: Duration) -> u64 {
    now.as_secs() / 60
}

/// Returns `true` if `minute` is the current minute `now` or one of the `span` full minutes before.
const fn is_within(minute: u64, now: u64, span: u64) -> bool {
    now.saturating_sub(minute) <= span
}

/// Returns the histogram bucket of a latency. Below 32 ms, each millisecond has a bucket. Above,
/// each doubling has sixteen.
fn bucket_of(duration: Millis) -> usize {
    let ms = duration.get().min(LATENCY_MS_MAX);
    let shift = u64::BITS
        .saturating_sub(ms.leading_zeros())
        .saturating_sub(BUCKET_BITS + 1);
    usize::try_from((u64::from(shift) << BUCKET_BITS) + (ms >> shift)).unwrap_or(BUCKETS - 1)
}

/// Returns the longest latency of a bucket.
fn bucket_upper_bound(bucket: usize) -> Millis {
    let bucket = u64::try_from(bucket).unwrap_or(u64::MAX);
    let shift = (bucket >> BUCKET_BITS).saturating_sub(1);
    let steps = bucket.saturating_sub(shift << BUCKET_BITS);
    Millis::new(((steps + 1) << shift) - 1)
}

/// Returns the latency that the given number of tenths of the requests did not exceed.
fn quantile(latencies: &[u32; BUCKETS], requests: u32, tenths: u64) -> Option<Millis> {
    let rank = (u64::from(requests) * tenths).div_ceil(10);
    let mut cumulative = 0;
    let step = latencies.iter().position(|count| {
        cumulative += u64::from(*count);
        cumulative >= rank && cumulative > 0
    });
    step.map(bucket_upper_bound)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn successful_sample(ms: u64) -> RequestSample {
        RequestSample::new(Some(200), "accepted", Millis::new(ms))
    }

    #[test]
    fn sample_error_follows_meta_definition() {
        for (status, took, error_kind, is_unavailable) in [
            (Some(200), 9_999, None, false),
            // Status 427 reports an invalid token, which is a success.
            (Some(427), 1, None, false),
            (Some(200), 10_000, Some("timeout"), true),
            (Some(421), 1, Some("kind"), false),
            (Some(432), 1, Some("kind"), false),
            (Some(400), 1, Some("kind"), false),
            (Some(503), 1, Some("kind"), true),
            // The client disconnected first.
            (None, 1, Some("client_disconnected"), true),
        ] {
            let sample = RequestSample::new(status, "kind", Millis::new(took));
            assert_eq!(sample.error_kind, error_kind, "{status:?} {took}");
            assert_eq!(sample.is_unavailable, is_unavailable, "{status:?} {took}");
        }
    }

    #[test]
    fn p50_and_p90_are_computed() {
        let mut window = HealthWindow::default();
        for ms in 1..=10 {
            window.record_sample(MINUTE, successful_sample(ms));
        }
        let stats = window.stats(MINUTE);
        assert_eq!(
            [stats.p50, stats.p90],
            [5, 9].map(|ms| Some(Millis::new(ms)))
        );
        window.record_sample(MINUTE, successful_sample(1_000_000));
        window.record_sample(MINUTE, successful_sample(1_000_000));
        assert_eq!(window.stats(MINUTE).p90, Some(Millis::new(LATENCY_MS_MAX)));
    }

    #[test]
    fn window_drops_old_minutes() {
        let mut window = HealthWindow::default();
        let busy = RequestSample::new(Some(503), "busy", Millis::new(2));
        window.record_sample(Duration::ZERO, busy);
        let bad_signature = RequestSample::new(Some(432), "bad_signature", Millis::new(1));
        window.record_sample(MINUTE * 20, bad_signature);
        window.record_sample(MINUTE * 20, successful_sample(1));
        let stats = window.stats(MINUTE * 20);
        let errors = BTreeMap::from([("bad_signature", 1), ("busy", 1)]);
        assert_eq!(stats.errors, errors);
        assert_eq!((stats.requests, stats.recent_requests), (3, 2));
        assert_eq!(stats.recent_unavailable, 0);
        assert_eq!(stats.availability(), Some(100.0));
        let later = window.stats(MINUTE * 31);
        assert_eq!((later.requests, later.recent_requests), (2, 0));
        assert_eq!(later.error_rate(), Some(50.0));
        assert_eq!(window.stats(MINUTE * 60), WindowStats::default());
    }

    #[test]
    fn unverified_requests_are_counted_separately() {
        let mut window = HealthWindow::default();
        window.record_unverified(MINUTE, "bad_signature");
        window.record_unverified(MINUTE * 2, "bad_signature");
        let expected = WindowStats {
            unverified: BTreeMap::from([("bad_signature", 2)]),
            ..WindowStats::default()
        };
        assert_eq!(window.stats(MINUTE * 2), expected);
        assert_eq!(window.stats(MINUTE * 60), WindowStats::default());
    }

    #[test]
    fn window_size_is_bounded() {
        let mut window = HealthWindow::default();
        for minute in 0..200 {
            window.record_sample(MINUTE * minute, successful_sample(3));
        }
        assert_eq!(window.minutes.len(), 31);
        assert_eq!(window.stats(MINUTE * 199).requests, 31);
    }

    proptest! {
        #[test]
        fn latency_is_overstated_by_one_sixteenth_at_worst(ms in 0..=LATENCY_MS_MAX) {
            let reported = bucket_upper_bound(bucket_of(Millis::new(ms))).get();
            prop_assert!(reported >= ms && reported - ms <= ms / 16, "{ms} is reported as {reported}");
        }
    }
}
