//! Copies of the data file in a folder: their names, and which of them may be removed.

use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use crate::domain::time::Timestamp;

/// Format of the time in the name of a copy, in UTC.
const TIME_FORMAT: &str = "%Y%m%dT%H%M%SZ";
const PREFIX: &str = "flowgate-";
const SUFFIX: &str = ".redb";
/// End of the name of a copy that is not complete.
const PART_SUFFIX: &str = ".part";

/// Returns the time as it stands in names of files: `20261130T202751Z`.
#[must_use]
pub fn format_file_time(at: Timestamp) -> String {
    strtime::format(TIME_FORMAT, &at.to_jiff().to_zoned_datetime(TimeZone::UTC)).unwrap_or_default()
}

/// Returns the name of a copy that begins at this time: `flowgate-20261130T202751Z.redb`.
#[must_use]
pub fn copy_name(at: Timestamp) -> String {
    format!("{PREFIX}{}{SUFFIX}", format_file_time(at))
}

/// Returns the time in the name of a copy. Returns `None` for the name of another file.
#[must_use]
pub fn parse_copy_name(name: &str) -> Option<Timestamp> {
    let time = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let civil = DateTime::strptime(TIME_FORMAT, time).ok()?;
    let zoned = civil.to_zoned_datetime(TimeZone::UTC).ok()?;
    Some(Timestamp::from_jiff(zoned.timestamp()))
}

/// Returns `true` for the name of a copy that is not complete.
#[must_use]
pub fn is_part_of_copy(name: &str) -> bool {
    let copy = name.strip_suffix(PART_SUFFIX);
    copy.and_then(parse_copy_name).is_some()
}

/// Returns the copies that may be removed: all but the `keep` newest. Names of other files, and
/// times that are ahead, are ignored.
#[must_use]
pub fn expired_copies(names: Vec<String>, keep: usize, now: Timestamp) -> Vec<String> {
    let mut copies: Vec<(Timestamp, String)> = names
        .into_iter()
        .filter_map(|name| Some((parse_copy_name(&name)?, name)))
        .filter(|(at, _)| *at <= now)
        .collect();
    copies.sort_unstable_by(|one, other| other.cmp(one));
    copies
        .into_iter()
        .skip(keep)
        .map(|(_, name)| name)
        .collect()
}

/// Returns the newest copy that began at or before `until`.
#[must_use]
pub fn newest_copy(names: Vec<String>, until: Timestamp) -> Option<String> {
    let copies = names
        .into_iter()
        .filter_map(|name| Some((parse_copy_name(&name)?, name)));
    copies
        .filter(|(at, _)| *at <= until)
        .max()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_millis(1_795_507_200_000 + second * 1000)
    }

    #[test]
    fn copy_name_round_trips() {
        let name = copy_name(at(61));
        assert_eq!(name, "flowgate-20261124T080101Z.redb");
        assert_eq!(parse_copy_name(&name), Some(at(61)));
        for other in [
            "flowgate.redb",
            "flowgate-20261124T080101Z.redb.part",
            "flowgate-20261324T080101Z.redb",
        ] {
            assert_eq!(parse_copy_name(other), None, "{other}");
        }
    }

    #[test]
    fn newest_copies_stay_and_other_files_are_ignored() {
        let names = || {
            let copies = (0..4).map(|second| copy_name(at(second)));
            copies.chain(["notes.txt".to_owned()]).collect::<Vec<_>>()
        };
        assert_eq!(expired_copies(names(), 3, at(9)), [copy_name(at(0))]);
        assert!(expired_copies(names(), 4, at(9)).is_empty());
        // The copies of a clock that was ahead do not displace the others.
        assert_eq!(expired_copies(names(), 1, at(1)), [copy_name(at(0))]);
        assert!(is_part_of_copy("flowgate-20261124T080101Z.redb.part"));
        assert!(!is_part_of_copy("flowgate-20261124T080101Z.redb"));
        assert!(!is_part_of_copy("clinic.redb.part"));
        assert_eq!(newest_copy(names(), at(2)), Some(copy_name(at(2))));
        assert_eq!(newest_copy(names(), Timestamp::ZERO), None);
    }
}
