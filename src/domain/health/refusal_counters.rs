//! Counts refused requests by reason, since the start and in the last hour.
//!
//! See [`super::wrong_app_secret`] for consecutive requests with a wrong signature.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::time::Duration;

use super::wrong_app_secret::{self, SignatureFailures};

/// Window in which capacity refusals are counted, in minutes.
const WINDOW_MINUTES: u64 = 60;

/// Counters of refused requests.
#[derive(Debug, Default)]
pub struct RefusalCounters {
    by_reason: BTreeMap<&'static str, u64>,
    signature_failures: SignatureFailures,
    /// Valid forms and webhooks that the server refused: minute, reason and count, oldest first.
    capacity_refusals: VecDeque<(u64, &'static str, u64)>,
}

/// Values of the counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusalStats {
    /// Number of refused requests since the start, by reason.
    pub by_reason: BTreeMap<&'static str, u64>,
    /// Number of consecutive signed requests with a wrong signature, up to the latest. 0 below the
    /// minimum for a warning.
    pub signature_failures: u64,
    /// Number of forms and webhooks refused in the last hour for lack of capacity, by reason.
    pub capacity_refusals: BTreeMap<&'static str, u64>,
}

impl RefusalCounters {
    /// Counts one refused request.
    pub fn record_refusal(&mut self, reason: &'static str) {
        add_to(self.by_reason.entry(reason).or_default(), 1);
    }

    /// Counts a form or a webhook that the server could not accept at `now`. `now` is read from a
    /// monotonic clock.
    pub fn record_capacity_refusal(&mut self, now: Duration, reason: &'static str) {
        let minute = minute_index(now);
        let refusals = &mut self.capacity_refusals;
        refusals.retain(|(then, ..)| is_recent(*then, minute));
        let is_same = |entry: &&mut (u64, &str, u64)| (entry.0, entry.1) == (minute, reason);
        match refusals.iter_mut().find(is_same) {
            Some((.., total)) => add_to(total, 1),
            None => refusals.push_back((minute, reason, 1)),
        }
    }

    /// Records the verification of a well-formed signature. Returns `true` if the number of
    /// consecutive failures has just reached the minimum for a warning.
    pub fn record_signature_check(&mut self, fits: bool) -> bool {
        self.signature_failures.record(fits)
    }

    /// Returns the counters at `now`.
    #[must_use]
    pub fn stats(&self, now: Duration) -> RefusalStats {
        let mut capacity_refusals = BTreeMap::new();
        for (then, reason, total) in &self.capacity_refusals {
            if is_recent(*then, minute_index(now)) {
                add_to(capacity_refusals.entry(*reason).or_default(), *total);
            }
        }
        RefusalStats {
            by_reason: self.by_reason.clone(),
            signature_failures: self.signature_failures.suspicious_count(),
            capacity_refusals,
        }
    }
}

impl RefusalStats {
    /// Returns warnings for the operator, one sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let app_secret = wrong_app_secret::warning(self.signature_failures);
        let total: u64 = self.capacity_refusals.values().sum();
        let subject = match total {
            1 => "form or webhook was",
            _ => "forms and webhooks were",
        };
        let capacity = (total > 0).then(|| {
            let counts = format_counts(&self.capacity_refusals);
            format!("{total} {subject} refused in the last hour: {counts}")
        });
        app_secret.into_iter().chain(capacity).collect()
    }
}

/// Formats counts by reason, such as `3 bad_signature, 1 busy`.
#[must_use]
pub fn format_counts<R: Display, C: Display>(counts: &BTreeMap<R, C>) -> String {
    let counts = counts.iter();
    let counts: Vec<String> = counts
        .map(|(reason, many)| format!("{many} {reason}"))
        .collect();
    counts.join(", ")
}

fn add_to(sum: &mut u64, amount: u64) {
    *sum = sum.saturating_add(amount);
}

const fn minute_index(now: Duration) -> u64 {
    now.as_secs() / 60
}

const fn is_recent(minute: u64, now: u64) -> bool {
    minute.saturating_add(WINDOW_MINUTES) > now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_refusals_are_reported_for_an_hour() {
        let minute = |minutes| Duration::from_mins(minutes);
        let mut counters = RefusalCounters::default();
        for (at, reason) in [(0, "busy"), (0, "busy"), (30, "disk_full"), (30, "busy")] {
            counters.record_capacity_refusal(minute(at), reason);
        }
        for (at, total, counts) in [
            (59, 4, "3 busy, 1 disk_full"),
            (60, 2, "1 busy, 1 disk_full"),
        ] {
            let expected =
                format!("{total} forms and webhooks were refused in the last hour: {counts}");
            assert_eq!(counters.stats(minute(at)).warnings(), [expected]);
        }
        assert!(counters.stats(minute(90)).warnings().is_empty());
        counters.record_capacity_refusal(minute(200), "busy");
        // Refusals of earlier hours use no memory.
        assert_eq!(counters.capacity_refusals.len(), 1);
    }
}
