//! Compares the change log of the data file with the objects of its generation.
//!
//! The numbers of commits must continue in the same place. Otherwise a restore would mix two
//! histories. They do not continue after the data file was replaced by an older one, while another
//! server runs on a copy of the file, or in a new place.

use super::catalog::{Search, list_bases, list_segments};
use super::error::BackupError;
use super::remote::RemoteStore;
use crate::domain::backup::objects::{Generation, SegmentName};
use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError};

/// Commits in the change log of the data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LocalLog {
    /// Last number before the log began.
    pub(super) begins_after: u64,
    /// Number of the first commit that is stored.
    pub(super) first: u64,
    /// Number of the last commit.
    pub(super) last: u64,
}

impl LocalLog {
    /// Reads the log of a generation.
    pub(super) fn read(store: &Store) -> Result<Self, StoreError> {
        let (header, last) = store.change_log_state()?;
        let begins_after = header.begins_after;
        let last = last.map_or(begins_after, |last| last.number.max(begins_after));
        let first = store.first_change_log_entry()?;
        let next = begins_after.saturating_add(1);
        Ok(Self {
            begins_after,
            first: first.map_or(next, |first| first.max(next)),
            last,
        })
    }

    /// Returns the number of the last commit that was surely uploaded, or that is in no log.
    const fn surely_uploaded(self) -> u64 {
        self.first.saturating_sub(1)
    }

    /// Returns the number of the last commit that was probably uploaded. The last entry of a log
    /// stays after its upload.
    pub(super) fn probably_uploaded(self) -> u64 {
        if self.first == self.last {
            self.last
        } else {
            self.surely_uploaded()
        }
    }

    /// Returns the number of the last commit in the object store. Returns `None` if the objects are
    /// no beginning of this log. `time_of` returns the time of a stored commit, and `base` is the
    /// last commit before the newest base.
    fn find_uploaded(
        self,
        segments: &[SegmentName],
        base: Option<u64>,
        time_of: impl FnOnce(u64) -> Option<Timestamp>,
    ) -> Option<u64> {
        let last_segment = segments.iter().max_by_key(|segment| segment.last);
        let reached = last_segment.map_or(self.begins_after, |segment| segment.last);
        // The segments before a base may have expired.
        let reached = reached.max(base.unwrap_or_default());
        if reached < self.surely_uploaded() || reached > self.last {
            return None;
        }
        match last_segment {
            Some(segment) if segment.last == reached && reached >= self.first => {
                (time_of(reached) == Some(segment.last_at)).then_some(reached)
            }
            _ => Some(reached),
        }
    }
}

/// Returns the number of the last commit in the object store. Returns `None` if the objects of the
/// generation do not continue with the log of the file.
pub(super) async fn find_uploaded(
    store: &Store,
    remote: &RemoteStore,
    generation: &Generation,
) -> Result<Option<u64>, BackupError> {
    let log = LocalLog::read(store)?;
    let after = log.surely_uploaded();
    let time_of = |number: u64| {
        let entries = store.read_change_log(number.saturating_sub(1), number, 1);
        entries.ok()?.first().map(|entry| entry.committed_at)
    };
    let recent = list_segments(remote, generation, after, Search::Recent).await?;
    if recent.iter().any(|segment| segment.last >= after) {
        return Ok(log.find_uploaded(&recent, None, time_of));
    }
    let segments = list_segments(remote, generation, after, Search::All).await?;
    let bases = list_bases(remote, generation).await?;
    let base = bases.last().map(|base| base.begins_after);
    Ok(log.find_uploaded(&segments, base, time_of))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(first: u64, last: u64, at: u64) -> SegmentName {
        SegmentName {
            first,
            last,
            first_at: Timestamp::ZERO,
            last_at: Timestamp::from_millis(at),
        }
    }

    /// Commit `n` of the log was at `n` ms.
    fn find(log: [u64; 3], segments: &[SegmentName], base: Option<u64>) -> Option<u64> {
        let [begins_after, first, last] = log;
        let log = LocalLog {
            begins_after,
            first,
            last,
        };
        log.find_uploaded(segments, base, |number| {
            Some(Timestamp::from_millis(number))
        })
    }

    #[test]
    fn log_continues_where_the_objects_end() {
        assert_eq!(find([4, 5, 4], &[], None), Some(4), "nothing yet");
        assert_eq!(find([4, 5, 9], &[], None), Some(4), "no upload yet");
        assert_eq!(find([4, 5, 9], &[segment(5, 7, 7)], None), Some(7));
        assert_eq!(find([4, 9, 9], &[segment(5, 9, 9)], None), Some(9));
        assert_eq!(
            find([4, 8, 9], &[segment(5, 7, 1)], None),
            Some(7),
            "removed"
        );
        assert_eq!(find([4, 9, 9], &[], Some(9)), Some(9), "segments expired");
    }

    #[test]
    fn other_history_is_detected() {
        let longer = [segment(5, 9, 9), segment(10, 20, 20)];
        assert_eq!(find([4, 9, 9], &longer, None), None, "an older file");
        assert_eq!(find([4, 5, 9], &[segment(5, 7, 99)], None), None, "a copy");
        assert_eq!(find([4, 9, 9], &[segment(5, 7, 7)], None), None, "a gap");
        assert_eq!(find([4, 9, 9], &[], None), None, "another place");
        assert_eq!(find([4, 9, 9], &[], Some(20)), None, "an older file");
    }
}
