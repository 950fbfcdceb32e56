//! Compares an endpoint's statistics with Meta's thresholds and suggests an action.
//!
//! Above these thresholds, Meta raises alerts, throttles a flow and blocks it (*Flow Health and
//! Monitoring*).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::window::{WINDOW_MINUTES, WindowStats, sum};

/// Thresholds of the error rate over 30 minutes, in percent.
const ERROR_RATE_THRESHOLDS: [f64; 3] = [5.0, 10.0, 50.0];
/// Thresholds of the 90th percentile of the latency over 30 minutes, in ms.
const LATENCY_THRESHOLDS_MS: [f64; 3] = [1000.0, 5000.0, 7000.0];
/// Threshold of the availability over 10 minutes, in percent.
const AVAILABILITY_THRESHOLD: f64 = 90.0;

/// Minimum number of failures for an alert. `REQUESTS_MIN` is the minimum number of requests for a
/// latency alert. Meta documents no such minimums. Without them, one failure in two requests would
/// count as an error rate of 50 %.
const FAILURES_MIN: u32 = 3;
const REQUESTS_MIN: u32 = 10;

/// Severity of an assessment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Normal state. No action is necessary.
    Ok,
    /// Halfway to the first threshold, above a threshold with few requests, or most requests may
    /// not be from Meta.
    Warning,
    /// Above a threshold: Meta raises an alert, and then restricts the flow.
    Alert,
}

impl Severity {
    /// Returns the name that lists and logs show.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Alert => "alert",
        }
    }
}

/// Assessment of an endpoint's statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// Highest severity of all findings.
    pub severity: Severity,
    /// Deviations from the normal state, one phrase each.
    pub findings: Vec<String>,
    /// Suggestion for the operator, in one sentence.
    pub suggestion: String,
}

/// Deviation from the normal state, as a severity and a phrase.
type Finding = (Severity, String);

/// Assesses statistics against Meta's thresholds.
#[must_use]
pub fn assess(stats: &WindowStats) -> Assessment {
    let mut severity = Severity::Ok;
    let mut findings = Vec::new();
    let mut suggestion = None;
    let mut add_finding = |found: Option<Finding>, suggest: &dyn Fn() -> String| {
        let Some((bad, finding)) = found else { return };
        findings.push(finding);
        if bad > severity {
            severity = bad;
            suggestion = Some(suggest());
        }
    };
    let availability = stats.availability();
    let availability = availability.and_then(|percent| below(percent, AVAILABILITY_THRESHOLD));
    let availability = require_samples(availability, stats.recent_unavailable >= FAILURES_MIN);
    let rate = stats.error_rate();
    let rate = rate.and_then(|rate| above(rate, ERROR_RATE_THRESHOLDS, "error rate", "%"));
    let rate = require_samples(rate, stats.error_count() >= FAILURES_MIN);
    let p90 = stats.p90.and_then(|p90| u32::try_from(p90.get()).ok());
    let p90 = p90.map(f64::from);
    let latency = p90.and_then(|p90| above(p90, LATENCY_THRESHOLDS_MS, "p90 latency", "ms"));
    let latency = require_samples(latency, stats.requests >= REQUESTS_MIN);
    add_finding(rate, &|| suggestion_for(&stats.errors));
    add_finding(availability, &|| suggestion_for(&stats.errors));
    add_finding(latency, &|| {
        "find the slow step in the log: `decrypt_ms`, `request.queue_ms` (write queue), `request.commit_ms` (disk)"
            .to_owned()
    });
    let unverified = assess_unverified(stats);
    add_finding(unverified, &|| suggestion_for(&stats.unverified));
    let suggestion = suggestion.unwrap_or_else(|| match stats.requests {
        0 => format!("no requests in the last {WINDOW_MINUTES} minutes"),
        _ => "nothing to do".to_owned(),
    });
    Assessment {
        severity,
        findings,
        suggestion,
    }
}

/// Lowers an alert to a warning if it is based on too few requests.
fn require_samples(found: Option<Finding>, are_enough: bool) -> Option<Finding> {
    Some(match found? {
        (Severity::Alert, finding) if !are_enough => {
            let finding = finding + ", but based on few requests";
            (Severity::Warning, finding)
        }
        found => found,
    })
}

/// Returns a warning if unverified requests outnumber the verified ones. A stranger can cause this,
/// so the finding is no alert.
fn assess_unverified(stats: &WindowStats) -> Option<Finding> {
    let (unverified, requests) = (sum(&stats.unverified), stats.requests);
    let finding = |kind| {
        format!(
            "{unverified} requests could not be verified as Meta's ({kind}), and {requests} were verified"
        )
    };
    let kind = dominant_kind(&stats.unverified).filter(|_| unverified > requests)?;
    Some((Severity::Warning, finding(kind)))
}

/// Returns a finding if `value` is above a threshold, or halfway to the first one.
fn above(value: f64, thresholds: [f64; 3], what: &str, unit: &str) -> Option<Finding> {
    let [first, ..] = thresholds;
    let crossed = thresholds
        .into_iter()
        .rfind(|threshold| value >= *threshold);
    let (severity, relation, threshold) = match crossed {
        Some(threshold) => (Severity::Alert, "over", threshold),
        None if value * 2.0 >= first => (Severity::Warning, "at least half of", first),
        None => return None,
    };
    let (value, threshold) = (format_number(value), format_number(threshold));
    let finding =
        format!("{what} of {value} {unit} is {relation} Meta's threshold of {threshold} {unit}");
    Some((severity, finding))
}

/// Returns a finding if `available` is below the threshold, or halfway to it.
fn below(available: f64, threshold: f64) -> Option<Finding> {
    let (severity, relation) = match available {
        low if low < threshold => (Severity::Alert, "below"),
        low if (100.0 - low) * 2.0 >= 100.0 - threshold => (Severity::Warning, "close to"),
        _ => return None,
    };
    let (available, threshold) = (format_number(available), format_number(threshold));
    let finding =
        format!("availability of {available} % is {relation} Meta's threshold of {threshold} %");
    Some((severity, finding))
}

/// Formats a number with one decimal, unless that decimal is 0.
fn format_number(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// Returns the suggestion for the most frequent kind of error.
fn suggestion_for(errors: &BTreeMap<&'static str, u32>) -> String {
    let Some(kind) = dominant_kind(errors) else {
        return "see `flowgate status`".to_owned();
    };
    let suggestion = match kind {
        "bad_signature" => {
            "put the secret of the Meta app that is connected to the flow into `meta.app_secrets`: the signatures are invalid"
        }
        "cannot_decrypt" => {
            "`flowgate keys check` shows for which phone number Meta has a different key, and \
             `flowgate keys upload` uploads the right one"
        }
        "timeout" | "client_disconnected" => {
            "find what delays the responses: `flowgate status` shows the writer, the log `decrypt_ms` and `request.commit_ms`"
        }
        "busy" => {
            "too many requests at once: `flowgate status` shows the queues, `limits` in the config sets their size"
        }
        "not_ready" | "disk_full" => "check the disk: `flowgate status` shows the problem",
        kind => {
            return format!("see in the log what is wrong with the requests: outcome={kind}");
        }
    };
    suggestion.to_owned()
}

/// Returns the most frequent kind.
fn dominant_kind(kinds: &BTreeMap<&'static str, u32>) -> Option<&'static str> {
    let (kind, _) = kinds.iter().max_by_key(|(_, count)| **count)?;
    Some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Millis;
    use Severity::{Alert, Warning};

    fn stats_of(requests: u32, errors: &[(&'static str, u32)], p90: u64) -> WindowStats {
        WindowStats {
            requests,
            errors: errors.iter().copied().collect(),
            p50: Some(Millis::new(1)),
            p90: Some(Millis::new(p90)),
            recent_requests: requests,
            ..WindowStats::default()
        }
    }

    fn assess_findings(stats: &WindowStats) -> (Severity, String) {
        let assessment = assess(stats);
        (assessment.severity, assessment.findings.join("; "))
    }

    fn stats_if_unavailable(unavailable: u32, requests: u32) -> WindowStats {
        WindowStats {
            recent_unavailable: unavailable,
            ..stats_of(requests, &[], 1)
        }
    }

    #[test]
    fn severity_follows_meta_thresholds() {
        let ok = Severity::Ok;
        for (failed, expected) in [(0, ok), (24, ok), (25, Warning), (49, Warning), (50, Alert)] {
            let severity = assess(&stats_of(1000, &[("busy", failed)], 1)).severity;
            assert_eq!(severity, expected, "{failed} of 1000 fail");
        }
        for (p90, expected) in [(499, ok), (500, Warning), (999, Warning), (1000, Alert)] {
            let severity = assess(&stats_of(10, &[], p90)).severity;
            assert_eq!(severity, expected, "p90 of {p90} ms");
        }
        for (unavailable, expected) in [(4, ok), (5, Warning), (10, Warning), (11, Alert)] {
            let severity = assess(&stats_if_unavailable(unavailable, 100)).severity;
            assert_eq!(severity, expected, "{unavailable} of 100");
        }
        assert_eq!(assess(&stats_of(1000, &[("busy", 500)], 1)).severity, Alert);
        assert_eq!(assess(&stats_of(10, &[], 8000)).severity, Alert);
        let nothing = assess_findings(&WindowStats::default());
        assert_eq!(nothing, (ok, String::new()));
    }

    #[test]
    fn finding_names_crossed_threshold() {
        let assert_finding =
            |stats: WindowStats, expected: &str| assert_eq!(assess_findings(&stats).1, expected);
        let expected = "error rate of 12.5 % is over Meta's threshold of 10 %";
        assert_finding(stats_of(24, &[("busy", 3)], 1), expected);
        let expected = "p90 latency of 5100 ms is over Meta's threshold of 5000 ms";
        assert_finding(stats_of(10, &[], 5100), expected);
        let expected = "availability of 75 % is below Meta's threshold of 90 %";
        assert_finding(stats_if_unavailable(3, 12), expected);
    }

    #[test]
    fn few_requests_raise_no_alert() {
        let few = "error rate of 100 % is over Meta's threshold of 50 %, but based on few requests";
        let failures = |count| assess_findings(&stats_of(count, &[("cannot_decrypt", count)], 1));
        assert_eq!(failures(1), (Warning, few.to_owned()));
        assert_eq!(failures(2).0, Warning);
        assert_eq!(failures(3).0, Alert);
        for (requests, expected) in [(1, Warning), (9, Warning), (10, Alert)] {
            let severity = assess(&stats_of(requests, &[], 1500)).severity;
            assert_eq!(severity, expected, "of {requests}");
        }
        for (unavailable, expected) in [(1, Warning), (2, Warning), (3, Alert)] {
            let severity = assess(&stats_if_unavailable(unavailable, 3)).severity;
            assert_eq!(severity, expected, "{unavailable} of 3");
        }
    }

    #[test]
    fn unverified_requests_raise_warning_at_worst() {
        let stats_with_unverified = |requests, many| WindowStats {
            unverified: BTreeMap::from([("bad_signature", many), ("cannot_decrypt", 1)]),
            ..stats_of(requests, &[], 1)
        };
        let assessment = assess(&stats_with_unverified(3, 1000));
        assert_eq!(assessment.severity, Warning);
        let finding =
            "1001 requests could not be verified as Meta's (bad_signature), and 3 were verified";
        assert_eq!(assessment.findings, [finding]);
        let suggestion = assessment.suggestion;
        assert!(suggestion.contains("meta.app_secrets"), "{suggestion}");
        let as_many = assess(&stats_with_unverified(10, 9));
        assert_eq!(as_many.severity, Severity::Ok);
    }

    #[test]
    fn suggestion_addresses_worst_finding() {
        let signatures = [("bad_signature", 7), ("cannot_decrypt", 1)];
        for (errors, p90, expected) in [
            (&signatures[..], 600, "meta.app_secrets"),
            (&[("cannot_decrypt", 7)], 1, "flowgate keys check"),
            (&[("something_new", 7)], 1, "outcome=something_new"),
            (&[], 1500, "commit_ms"),
            (&[], 1, "nothing to do"),
        ] {
            let suggestion = assess(&stats_of(10, errors, p90)).suggestion;
            assert!(suggestion.contains(expected), "{suggestion}");
        }
        let nothing = assess(&WindowStats::default()).suggestion;
        assert_eq!(nothing, "no requests in the last 30 minutes");
    }
}
