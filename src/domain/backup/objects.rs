//! Names of the objects of a continuous backup.
//!
//! ```text
//! generations/GENERATION/bases/BASE/00000000 …      rows of all tables, in parts
//! generations/GENERATION/bases/BASE/manifest.json   written last: the base is complete
//! generations/GENERATION/log/SEGMENT                commits, one after the other
//! ```
//! A generation is an unbroken log of one data file. All numbers have leading zeros, so that the
//! order of the names is the order of the content.

use std::fmt;

use crate::domain::time::Timestamp;

/// Folder of all generations.
pub const GENERATIONS: &str = "generations";
/// Name of the object that completes a base.
pub const MANIFEST: &str = "manifest.json";

/// An unbroken log of one data file. Later ones are greater.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation {
    /// Epoch: higher than that of every generation before.
    pub epoch: u32,
    /// Start of the generation.
    pub began_at: Timestamp,
    /// Random ID of the data, in hexadecimal digits.
    pub lineage: String,
}

impl Generation {
    /// Parses the name of a generation. Returns `None` for another name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        let (epoch, began_at, lineage) = (parts.next()?, parts.next()?, parts.next()?);
        let is_id = !lineage.is_empty() && lineage.bytes().all(|byte| byte.is_ascii_hexdigit());
        let generation = Self {
            epoch: epoch.parse().ok()?,
            began_at: Timestamp::from_millis(began_at.parse().ok()?),
            lineage: lineage.to_owned(),
        };
        (is_id && generation.to_string() == name).then_some(generation)
    }

    /// Returns the folder of the log.
    #[must_use]
    pub fn log_folder(&self) -> String {
        format!("{GENERATIONS}/{self}/log")
    }

    /// Returns the folder of all bases.
    #[must_use]
    pub fn bases_folder(&self) -> String {
        format!("{GENERATIONS}/{self}/bases")
    }

    /// Returns the folder of one base.
    #[must_use]
    pub fn base_folder(&self, base: BaseName) -> String {
        format!("{}/{base}", self.bases_folder())
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (began_at, lineage) = (self.began_at.as_millis(), &self.lineage);
        write!(f, "{:06}-{began_at:013}-{lineage}", self.epoch)
    }
}

/// Name of a base: the number of the last commit before it began, and the time at which it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BaseName {
    /// Number of the last commit before the base.
    pub begins_after: u64,
    /// Start of the base.
    pub began_at: Timestamp,
}

impl BaseName {
    /// Parses the name of a base. Returns `None` for another name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (number, at) = name.split_once('-')?;
        let base = Self {
            begins_after: number.parse().ok()?,
            began_at: Timestamp::from_millis(at.parse().ok()?),
        };
        (base.to_string() == name).then_some(base)
    }
}

impl fmt::Display for BaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:020}-{:013}",
            self.begins_after,
            self.began_at.as_millis()
        )
    }
}

/// Name of a part of the log: its first and last commit, and their times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentName {
    /// Number of the first commit.
    pub first: u64,
    /// Number of the last commit.
    pub last: u64,
    /// Time of the first commit.
    pub first_at: Timestamp,
    /// Time of the last commit.
    pub last_at: Timestamp,
}

impl SegmentName {
    /// Parses the name of a segment. Returns `None` for another name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('-').map(|part| part.parse::<u64>().ok());
        let mut next = || parts.next().flatten();
        let (first, last, first_at, last_at) = (next()?, next()?, next()?, next()?);
        let segment = Self {
            first,
            last,
            first_at: Timestamp::from_millis(first_at),
            last_at: Timestamp::from_millis(last_at),
        };
        (segment.to_string() == name && first <= last).then_some(segment)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first_at, last_at) = (self.first_at.as_millis(), self.last_at.as_millis());
        write!(
            f,
            "{:020}-{:020}-{first_at:013}-{last_at:013}",
            self.first, self.last
        )
    }
}

/// Selects the segments that continue a log after commit `after`, in order: each begins where its
/// predecessor ended, or before. Stops at a gap.
#[must_use]
pub fn chain_segments(mut segments: Vec<SegmentName>, after: u64) -> Vec<SegmentName> {
    segments.sort_unstable();
    let (mut chain, mut reached): (Vec<SegmentName>, u64) = (Vec::new(), after);
    for segment in segments {
        if segment.first > reached.saturating_add(1) {
            break;
        }
        if segment.last > reached {
            reached = segment.last;
            chain.push(segment);
        }
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(first: u64, last: u64) -> SegmentName {
        SegmentName {
            first,
            last,
            first_at: Timestamp::from_millis(first),
            last_at: Timestamp::from_millis(last),
        }
    }

    #[test]
    fn names_round_trip_and_are_ordered() {
        let generation = Generation {
            epoch: 2,
            began_at: Timestamp::from_millis(1_795_507_200_000),
            lineage: "9f3c2a1b".to_owned(),
        };
        let name = generation.to_string();
        assert_eq!(name, "000002-1795507200000-9f3c2a1b");
        assert_eq!(Generation::parse(&name), Some(generation));
        for other in [
            "",
            "2-1795507200000-9f",
            "000002-1795507200000-x",
            "000002-1795507200000",
        ] {
            assert_eq!(Generation::parse(other), None, "{other}");
        }
        let base = BaseName {
            begins_after: 7,
            began_at: Timestamp::from_millis(1),
        };
        assert_eq!(BaseName::parse(&base.to_string()), Some(base));
        assert_eq!(BaseName::parse("7-1"), None);
        let (nine, ten) = (segment(9, 9), segment(10, 11));
        assert_eq!(SegmentName::parse(&ten.to_string()), Some(ten));
        assert!(nine.to_string() < ten.to_string());
        assert_eq!(SegmentName::parse(&segment(3, 2).to_string()), None);
    }

    #[test]
    fn chain_skips_overlaps_and_stops_at_gap() {
        let all = vec![
            segment(8, 9),
            segment(1, 3),
            segment(2, 5),
            segment(4, 5),
            segment(6, 6),
        ];
        assert_eq!(
            chain_segments(all.clone(), 0),
            [segment(1, 3), segment(2, 5), segment(6, 6)]
        );
        assert_eq!(chain_segments(all.clone(), 6), []);
        assert_eq!(chain_segments(all, 7), [segment(8, 9)]);
    }
}
