//! Counts latencies in ranges, each twice as long as the one before, and draws them as bars.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// Upper bounds of the ranges in milliseconds. A last range has no bound.
const BOUNDS_MS: [u64; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/// Width of the longest bar.
const BAR_COLUMNS: usize = 40;

/// Range of latencies, with the number of requests in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Range {
    /// Upper bound in milliseconds, exclusive. `None`: no bound.
    below_ms: Option<u64>,
    /// Number of latencies in the range.
    count: usize,
}

/// Histogram of latencies. `Display` draws it for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Histogram(Vec<Range>);

impl Histogram {
    /// Counts `sorted` latencies, the shortest first.
    pub(super) fn of(sorted: &[Duration]) -> Self {
        let mut counted = 0;
        let bounds = BOUNDS_MS.into_iter().map(Some).chain([None]);
        let ranges = bounds.map(|below_ms| {
            let is_below = |latency: &Duration| {
                below_ms.is_none_or(|bound| *latency < Duration::from_millis(bound))
            };
            let all = sorted.partition_point(is_below);
            let count = all - counted;
            counted = all;
            Range { below_ms, count }
        });
        Self(ranges.collect())
    }
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(ranges) = self;
        let is_used = |range: &Range| range.count > 0;
        let first = ranges.iter().position(is_used).unwrap_or_default();
        let end = ranges.iter().rposition(is_used).map_or(0, |last| last + 1);
        let most = ranges
            .iter()
            .map(|range| range.count)
            .max()
            .unwrap_or(1)
            .max(1);
        let mut shown = ranges.iter().take(end).skip(first);
        shown.try_for_each(|Range { below_ms, count }| {
            let bound = below_ms.map_or("longer".to_owned(), |bound| format!("< {bound} ms"));
            let bar = "#".repeat((count * BAR_COLUMNS).div_ceil(most));
            let line = format!("  {bound:>9} {count:>8}  {bar}");
            writeln!(f, "{}", line.trim_end())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_counted_and_drawn() {
        let latencies = [1_500, 1_999, 2_000, 3_000, 3_999, 9_000, 5_000_000];
        let latencies = latencies.map(Duration::from_micros);
        let text = Histogram::of(&latencies).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "     < 2 ms        2  ###########################",
                "     < 4 ms        3  ########################################",
                "     < 8 ms        0",
                "    < 16 ms        1  ##############",
            ]
        );
        assert_eq!(lines[10..], ["     longer        1  ##############"]);
        assert_eq!(Histogram::of(&[]).to_string(), "");
    }
}
