//! Judges the time that a disk needs to store data durably. Each commit waits for this time.

use std::time::Duration;

/// Median above which forms wait noticeably for the disk.
const SLOW_MEDIAN: Duration = Duration::from_millis(30);
/// Slowest sync above which a form may miss the deadline of WhatsApp, after other waits.
const WORST_MAX: Duration = Duration::from_secs(2);
/// Factor between the median and the slowest sync that shows an uneven disk.
const SPREAD_MAX: u32 = 20;
/// Slowest sync below which the spread does not matter.
const SPREAD_FLOOR: Duration = Duration::from_millis(100);

/// Times of several syncs, in order of length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncTimes {
    /// Fastest sync.
    pub fastest: Duration,
    /// Median.
    pub median: Duration,
    /// Slowest sync.
    pub slowest: Duration,
}

/// Judgement of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncJudgement {
    /// The disk is fast enough.
    Good,
    /// Most syncs are slow, so few forms are stored in a second.
    Slow,
    /// Some syncs are much slower than others.
    Uneven,
    /// A sync takes so long that forms may miss their deadline.
    TooSlow,
}

impl SyncTimes {
    /// Summarizes the times. Returns `None` if there are none.
    #[must_use]
    pub fn summarize(times: &[Duration]) -> Option<Self> {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        Some(Self {
            fastest: *sorted.first()?,
            median: *sorted.get(sorted.len() / 2)?,
            slowest: *sorted.last()?,
        })
    }

    /// Judges the disk.
    #[must_use]
    pub fn judge(self) -> SyncJudgement {
        if self.slowest > WORST_MAX {
            SyncJudgement::TooSlow
        } else if self.median > SLOW_MEDIAN {
            SyncJudgement::Slow
        } else if self.slowest > SPREAD_FLOOR && self.slowest > self.median * SPREAD_MAX {
            SyncJudgement::Uneven
        } else {
            SyncJudgement::Good
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(ms: &[u64]) -> SyncJudgement {
        let times: Vec<Duration> = ms.iter().copied().map(Duration::from_millis).collect();
        SyncTimes::summarize(&times).unwrap().judge()
    }

    #[test]
    fn disk_is_judged_by_median_and_slowest_sync() {
        assert_eq!(judge(&[1, 2, 3]), SyncJudgement::Good);
        assert_eq!(judge(&[1, 1, 99]), SyncJudgement::Good, "still short");
        assert_eq!(judge(&[1, 2, 101]), SyncJudgement::Uneven);
        assert_eq!(judge(&[10, 10, 150]), SyncJudgement::Good);
        assert_eq!(judge(&[31, 40, 40]), SyncJudgement::Slow);
        assert_eq!(judge(&[1, 1, 2001]), SyncJudgement::TooSlow);
        assert_eq!(SyncTimes::summarize(&[]), None);
    }
}
