//! Formats the result of the measurements and compares it with the needs of the business.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::histogram::Histogram;
use super::load::{Latencies, SteadyLoad};
use crate::cli::demo::report::milliseconds;

/// Maximum p99 of the responses. Meta warns about an endpoint that is slower, and throttles it
/// (*Flows health monitoring*).
const P99_MAX: Duration = Duration::from_secs(1);

/// Comparison of the machine with the needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// All forms were accepted in time.
    Enough,
    /// Forms were late or not accepted.
    NotEnough,
}

/// Latencies in milliseconds.
#[derive(Debug, Clone, Serialize)]
struct LatencySummary {
    #[serde(rename = "p50_ms")]
    p50: Milliseconds,
    #[serde(rename = "p99_ms")]
    p99: Milliseconds,
    #[serde(rename = "max_ms")]
    max: Milliseconds,
}

/// The whole report. `Display` formats it for people.
#[derive(Debug, Clone, Serialize)]
pub(super) struct BenchReport {
    folder: PathBuf,
    disk_syncs: usize,
    disk_sync: LatencySummary,
    bare_requests_per_second: f64,
    max_forms_per_second: f64,
    rate: u32,
    forms: usize,
    failed_forms: u64,
    response: LatencySummary,
    histogram: Histogram,
    pub(super) verdict: Verdict,
}

/// A duration that JSON shows in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
struct Milliseconds(Duration);

impl Serialize for Milliseconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64((self.0.as_secs_f64() * 1e6).round() / 1e3)
    }
}

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&milliseconds(self.0))
    }
}

impl LatencySummary {
    fn of(latencies: &Latencies) -> Self {
        let [p50, p99, max] =
            [50, 99, 100].map(|percent| Milliseconds(latencies.percentile(percent)));
        Self { p50, p99, max }
    }
}

impl fmt::Display for LatencySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {}, p99 {}, max {}", self.p50, self.p99, self.max)
    }
}

impl BenchReport {
    pub(super) fn new(
        folder: &Path,
        disk: &Latencies,
        bare_rate: f64,
        max_rate: f64,
        steady: &SteadyLoad,
    ) -> Self {
        let response = LatencySummary::of(&steady.latencies);
        let is_enough = steady.failed == 0 && response.p99 < Milliseconds(P99_MAX);
        Self {
            folder: folder.to_owned(),
            disk_syncs: disk.sorted().len(),
            disk_sync: LatencySummary::of(disk),
            bare_requests_per_second: bare_rate.round(),
            max_forms_per_second: max_rate.round(),
            rate: steady.rate,
            forms: steady.latencies.sorted().len(),
            failed_forms: steady.failed,
            histogram: Histogram::of(steady.latencies.sorted()),
            verdict: if is_enough {
                Verdict::Enough
            } else {
                Verdict::NotEnough
            },
            response,
        }
    }
}

impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_minute = u64::from(self.rate) * 60;
        writeln!(
            f,
            "Disk of {}: {} syncs",
            self.folder.display(),
            self.disk_syncs
        )?;
        writeln!(f, "  one sync      {}", self.disk_sync)?;
        writeln!(f, "Bare server, which stores nothing")?;
        writeln!(
            f,
            "  at most       {} requests/s",
            self.bare_requests_per_second
        )?;
        writeln!(f, "flowgate, which answers after the sync")?;
        writeln!(f, "  at most       {} forms/s", self.max_forms_per_second)?;
        writeln!(
            f,
            "  at {:<10} {}",
            format!("{}/s", self.rate),
            self.response
        )?;
        writeln!(f, "\n{}", self.histogram)?;
        let p99 = self.response.p99;
        match self.verdict {
            Verdict::Enough => write!(
                f,
                "Enough for {per_minute} forms a minute: 99 % of the responses took at most {p99}, \
                 and Meta expects less than 1 s. The limit is about {:.0} forms a minute.",
                self.max_forms_per_second * 60.0
            ),
            Verdict::NotEnough if self.failed_forms > 0 => write!(
                f,
                "Not enough for {per_minute} forms a minute: {} forms were not accepted at the \
                 first attempt.",
                self.failed_forms
            ),
            Verdict::NotEnough => write!(
                f,
                "Not enough for {per_minute} forms a minute: 99 % of the responses took at most \
                 {p99}, and Meta expects less than 1 s. A faster disk or processor helps."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(latency_ms: u64, failed: u64) -> BenchReport {
        let latencies = Latencies::from(vec![Duration::from_millis(latency_ms); 10]);
        let steady = SteadyLoad {
            rate: 5,
            latencies: latencies.clone(),
            failed,
        };
        BenchReport::new(Path::new("/data"), &latencies, 4_000.4, 900.0, &steady)
    }

    #[test]
    fn fast_machine_is_enough() {
        let fast = report(3, 0);
        assert_eq!(fast.verdict, Verdict::Enough);
        let text = fast.to_string();
        assert!(text.contains("Enough for 300 forms a minute"), "{text}");
        assert!(text.contains("about 54000 forms a minute"), "{text}");
        let json = serde_json::to_value(&fast).unwrap_or_default();
        assert_eq!(json["response"]["p99_ms"], 3.0);
        assert_eq!(json["bare_requests_per_second"], 4_000.0);
        assert_eq!(json["verdict"], "enough");
    }

    #[test]
    fn late_or_refused_forms_are_not_enough() {
        let late = report(1_000, 0);
        assert_eq!(late.verdict, Verdict::NotEnough);
        assert!(
            late.to_string().contains("took at most 1000.0 ms"),
            "{late}"
        );
        let refused = report(3, 2);
        assert_eq!(refused.verdict, Verdict::NotEnough);
        assert!(
            refused.to_string().contains("2 forms were not accepted"),
            "{refused}"
        );
    }
}
