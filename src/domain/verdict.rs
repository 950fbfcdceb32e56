//! How an endpoint's figures stand against the thresholds at which Meta raises alerts, throttles a flow and blocks it
//! (*Flow Health and Monitoring*), and what to do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::gauge::{Reading, SPAN_MINUTES};

/// Percent of requests that fail, in 30 minutes.
const ERROR_RATE: [f64; 3] = [5.0, 10.0, 50.0];
/// What nine tenths of the requests take at the most, in ms, in 30 minutes.
const LATENCY_MS: [f64; 3] = [1000.0, 5000.0, 7000.0];
/// Percent of the time that an endpoint must be there, in 10 minutes.
const AVAILABILITY: f64 = 90.0;

/// An alert needs as many failures, and as many requests for a latency. Meta names no such numbers for its alerts; but of
/// two requests one that fails is half of them, and says little.
const FAILURES_LEAST: u32 = 3;
const REQUESTS_LEAST: u32 = 10;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing to do.
    Ok,
    /// Half way to the first threshold, over one with few requests, or most of what came may not be Meta's.
    Watch,
    /// Over a threshold: Meta raises an alert, and holds the flow back next.
    Alert,
}

impl Verdict {
    /// The name that lists and logs show.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Watch => "watch",
            Self::Alert => "alert",
        }
    }
}

/// What figures come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The worst of all.
    pub verdict: Verdict,
    /// What is not as it should be, a phrase each.
    pub findings: Vec<String>,
    /// What to do, in one sentence.
    pub advice: String,
}

/// Holds figures against Meta's thresholds.
#[must_use]
pub fn judge(reading: &Reading) -> Judgement {
    let mut verdict = Verdict::Ok;
    let mut findings = Vec::new();
    let mut advice = None;
    let mut note = |found: Option<(Verdict, String)>, remedy: &dyn Fn() -> String| {
        let Some((bad, finding)) = found else { return };
        findings.push(finding);
        if bad > verdict {
            verdict = bad;
            advice = Some(remedy());
        }
    };
    let availability = reading.availability().and_then(|available| short_of(available, AVAILABILITY));
    let availability = availability.map(|found| weighed(found, reading.unavailable >= FAILURES_LEAST));
    let rate = reading.error_rate().and_then(|rate| over(rate, ERROR_RATE, "error rate", "%"));
    let rate = rate.map(|found| weighed(found, reading.failed() >= FAILURES_LEAST));
    let p90 = reading.p90.and_then(|p90| u32::try_from(p90.get()).ok()).map(f64::from);
    let latency = p90.and_then(|p90| over(p90, LATENCY_MS, "p90 latency", "ms"));
    let latency = latency.map(|found| weighed(found, reading.requests >= REQUESTS_LEAST));
    note(rate, &|| remedy(&reading.errors));
    note(availability, &|| remedy(&reading.errors));
    note(latency, &|| {
        "see in the log where the time goes: `decrypt_ms`, `wait_ms` (for the writer), `commit_ms` (the disk)"
            .to_owned()
    });
    note(doubt(reading), &|| remedy(&reading.doubtful));
    let advice = advice.unwrap_or_else(|| match reading.requests {
        0 => format!("nothing came in the last {SPAN_MINUTES} minutes"),
        _ => "nothing to do".to_owned(),
    });
    Judgement { verdict, findings, advice }
}

/// What was found, held back where it stands on few requests.
fn weighed((verdict, finding): (Verdict, String), are_enough: bool) -> (Verdict, String) {
    match verdict {
        Verdict::Alert if !are_enough => (Verdict::Watch, format!("{finding}, but of few requests")),
        _ => (verdict, finding),
    }
}

/// Whether more came of which nothing shows that it is Meta's than of what is. A stranger can make it look so, therefore it
/// is no alert.
fn doubt(reading: &Reading) -> Option<(Verdict, String)> {
    let doubtful = reading.doubtful.values().fold(0_u32, |sum, count| sum.saturating_add(*count));
    let finding = || {
        let (kind, requests) = (most(&reading.doubtful).unwrap_or_default(), reading.requests);
        format!("{doubtful} requests may be Meta's or a stranger's ({kind}), and {requests} are Meta's for sure")
    };
    (doubtful > reading.requests).then(|| (Verdict::Watch, finding()))
}

/// Whether `value` is over one of the thresholds, or half way to the first.
fn over(value: f64, thresholds: [f64; 3], what: &str, unit: &str) -> Option<(Verdict, String)> {
    let [first, ..] = thresholds;
    let crossed = thresholds.into_iter().rfind(|threshold| value >= *threshold);
    let value_text = short(value);
    match crossed {
        Some(threshold) => Some((
            Verdict::Alert,
            format!("{what} of {value_text} {unit} is over Meta's threshold of {} {unit}", short(threshold)),
        )),
        None if value * 2.0 >= first => Some((
            Verdict::Watch,
            format!("{what} of {value_text} {unit} is half way to Meta's threshold of {} {unit}", short(first)),
        )),
        None => None,
    }
}

/// Whether `available` is below the threshold, or half way to it.
fn short_of(available: f64, threshold: f64) -> Option<(Verdict, String)> {
    let (verdict, relation) = match available {
        low if low < threshold => (Verdict::Alert, "below"),
        low if (100.0 - low) * 2.0 >= 100.0 - threshold => (Verdict::Watch, "half way to"),
        _ => return None,
    };
    let (available, threshold) = (short(available), short(threshold));
    Some((verdict, format!("availability of {available} % is {relation} Meta's threshold of {threshold} %")))
}

/// With one digit behind the point, if that is not 0.
fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// What to do about the kind of error that is most frequent.
fn remedy(errors: &BTreeMap<&'static str, u32>) -> String {
    let Some(kind) = most(errors) else { return "see `flowgate status`".to_owned() };
    match kind {
        "bad_signature" => {
            "put the secret of the Meta app that is connected to the flow into `meta.app_secrets`: signatures do not fit"
                .to_owned()
        }
        "cannot_decrypt" => "`flowgate keys check` says for which phone number Meta holds a key that is not ours, and \
                             `flowgate keys upload` uploads the right one"
            .to_owned(),
        "timeout" | "gone" => {
            "find what holds answers up: `flowgate status` shows the writer, the log `decrypt_ms` and `commit_ms`"
                .to_owned()
        }
        "busy" => "too much comes at once: `flowgate status` shows what waits, `limits` in the config what may".to_owned(),
        "not_ready" | "disk_full" => "look after the disk: `flowgate status` says what it is short of".to_owned(),
        kind => format!("see in the log what is wrong with the requests: outcome={kind}"),
    }
}

/// The most frequent kind.
fn most(kinds: &BTreeMap<&'static str, u32>) -> Option<&'static str> {
    kinds.iter().max_by_key(|(_, count)| **count).map(|(kind, _)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Millis;

    fn reading(requests: u32, errors: &[(&'static str, u32)], p90: u64) -> Reading {
        Reading {
            requests,
            errors: errors.iter().copied().collect::<BTreeMap<_, _>>(),
            p50: Some(Millis::new(1)),
            p90: Some(Millis::new(p90)),
            recent: requests,
            unavailable: 0,
            doubtful: BTreeMap::new(),
        }
    }

    fn of(reading: &Reading) -> (Verdict, String) {
        let judgement = judge(reading);
        (judgement.verdict, judgement.findings.join("; "))
    }

    #[test]
    fn the_verdict_follows_metas_thresholds() {
        use Verdict::{Alert, Ok, Watch};
        for (failed, expected) in [(0, Ok), (24, Ok), (25, Watch), (49, Watch), (50, Alert), (500, Alert)] {
            assert_eq!(of(&reading(1000, &[("busy", failed)], 1)).0, expected, "{failed} of 1000 fail");
        }
        for (p90, expected) in [(499, Ok), (500, Watch), (999, Watch), (1000, Alert), (8000, Alert)] {
            assert_eq!(of(&reading(10, &[], p90)).0, expected, "p90 of {p90} ms");
        }
        for (unavailable, expected) in [(4, Ok), (5, Watch), (10, Watch), (11, Alert)] {
            assert_eq!(of(&Reading { unavailable, ..reading(100, &[], 1) }).0, expected, "{unavailable} of 100");
        }
        assert_eq!(of(&Reading::default()), (Ok, String::new()));
    }

    #[test]
    fn a_finding_says_which_threshold_was_crossed() {
        assert_eq!(of(&reading(24, &[("busy", 3)], 1)).1, "error rate of 12.5 % is over Meta's threshold of 10 %");
        assert_eq!(of(&reading(10, &[], 5100)).1, "p90 latency of 5100 ms is over Meta's threshold of 5000 ms");
        let gone = Reading { unavailable: 3, ..reading(12, &[], 1) };
        assert_eq!(of(&gone).1, "availability of 75 % is below Meta's threshold of 90 %");
    }

    #[test]
    fn a_failure_or_two_and_a_slow_answer_of_an_idle_endpoint_are_no_alert() {
        let few = "error rate of 100 % is over Meta's threshold of 50 %, but of few requests";
        assert_eq!(of(&reading(1, &[("cannot_decrypt", 1)], 1)), (Verdict::Watch, few.to_owned()));
        assert_eq!(of(&reading(2, &[("cannot_decrypt", 2)], 1)).0, Verdict::Watch);
        assert_eq!(of(&reading(3, &[("cannot_decrypt", 3)], 1)).0, Verdict::Alert);
        for (requests, expected) in [(1, Verdict::Watch), (9, Verdict::Watch), (10, Verdict::Alert)] {
            assert_eq!(of(&reading(requests, &[], 1500)).0, expected, "of {requests}");
        }
        for (unavailable, expected) in [(1, Verdict::Watch), (2, Verdict::Watch), (3, Verdict::Alert)] {
            assert_eq!(of(&Reading { unavailable, ..reading(3, &[], 1) }).0, expected, "{unavailable} of 3");
        }
    }

    #[test]
    fn strangers_make_an_endpoint_look_at_worst_worth_a_look() {
        let doubted = |requests, many| Reading {
            doubtful: BTreeMap::from([("bad_signature", many), ("cannot_decrypt", 1)]),
            ..reading(requests, &[], 1)
        };
        let judgement = judge(&doubted(3, 1000));
        assert_eq!(judgement.verdict, Verdict::Watch);
        let finding = "1001 requests may be Meta's or a stranger's (bad_signature), and 3 are Meta's for sure";
        assert_eq!(judgement.findings, [finding]);
        assert!(judgement.advice.contains("meta.app_secrets"), "{}", judgement.advice);
        assert_eq!(of(&doubted(10, 9)).0, Verdict::Ok, "Meta's own are as many");
    }

    #[test]
    fn the_advice_is_about_the_worst_and_the_most_frequent() {
        let advice = |reading: &Reading| judge(reading).advice;
        let signatures = reading(10, &[("bad_signature", 7), ("cannot_decrypt", 1)], 600);
        assert!(advice(&signatures).contains("meta.app_secrets"));
        assert!(advice(&reading(10, &[("cannot_decrypt", 7)], 1)).contains("flowgate keys check"));
        assert!(advice(&reading(10, &[("something_new", 7)], 1)).contains("outcome=something_new"));
        assert!(advice(&reading(10, &[], 1500)).contains("commit_ms"));
        assert_eq!(advice(&reading(10, &[], 1)), "nothing to do");
        assert_eq!(advice(&Reading::default()), "nothing came in the last 30 minutes");
    }
}
