//! Values that people type, read with an error that says how to write them.

use jiff::civil::{Date, Time};

use crate::admin::Filter;
use crate::config::units;
use crate::domain::event::EventKind;
use crate::domain::ids::{DestinationName, FlowName};
use crate::domain::time::{Millis, Timestamp};

/// Which rows of a list, for every list.
#[derive(Debug, Clone, clap::Args)]
pub struct Window {
    /// Rows at the most; 0: all
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,
    /// Only what came since: 90m, 2h, 7d, a date (UTC), or a point in time
    #[arg(long, value_name = "WHEN", value_parser = since)]
    pub since: Option<Since>,
}

/// The flow that a list is about.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct OfFlow {
    /// Only those of this flow
    #[arg(long, value_name = "NAME", value_parser = FlowName::new)]
    pub flow: Option<FlowName>,
}

/// What a list of deliveries is about.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ToOutside {
    /// Only those to this destination
    #[arg(long, value_name = "NAME", value_parser = DestinationName::new)]
    pub destination: Option<DestinationName>,
    /// Only those that tell of this event: lead.assigned, say
    #[arg(long, value_name = "EVENT", value_parser = event)]
    pub event: Option<EventKind>,
}

/// Since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// So long ago.
    Ago(Millis),
    /// At this point.
    At(Timestamp),
}

impl Window {
    /// The filter for these rows, as of `now`.
    #[must_use]
    pub fn filter(&self, now: Timestamp) -> Filter {
        let since = self.since.map(|since| match since {
            Since::Ago(length) => now.minus(length),
            Since::At(point) => point,
        });
        Filter { limit: self.limit, since, ..Filter::default() }
    }
}

/// Reads `--since`.
pub(super) fn since(text: &str) -> Result<Since, String> {
    if let Ok(length) = units::length(text) {
        return Ok(Since::Ago(length));
    }
    if let Ok(point) = text.parse::<jiff::Timestamp>() {
        return Ok(Since::At(Timestamp::from_jiff(point)));
    }
    let midnight = text.parse::<Date>().and_then(|date| date.to_zoned_datetime(jiff::tz::TimeZone::UTC));
    midnight.map(|midnight| Since::At(Timestamp::from_jiff(midnight.timestamp()))).map_err(|_| {
        "write a length of time (90m, 2h, 7d), a date (2026-11-24) or a point (2026-11-24T08:00:00Z)".to_owned()
    })
}

/// Reads `--event`.
pub(super) fn event(name: &str) -> Result<EventKind, String> {
    EventKind::named(name).ok_or_else(|| {
        let all: Vec<&str> = EventKind::ALL.into_iter().map(EventKind::as_str).collect();
        format!("there is no such event: write one of {}", all.join(", "))
    })
}

/// Reads `--payload`: JSON, or the file that it is in. What is wrong with JSON is told by whoever takes it.
pub(super) fn payload(text: &str) -> Result<String, String> {
    if text.trim_start().starts_with(['{', '[', '"']) {
        return Ok(text.to_owned());
    }
    std::fs::read_to_string(text).map_err(|error| format!("can't read the file: {error}; JSON begins with '{{' or '['"))
}

/// Reads a day.
pub(super) fn date(text: &str) -> Result<Date, String> {
    text.parse().map_err(|_| "write a day like 2026-11-24".to_owned())
}

/// Reads a time of day.
pub(super) fn time(text: &str) -> Result<Time, String> {
    text.parse().map_err(|_| "write a time of day like 09:00".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_length_a_day_or_a_point() {
        let at = |text: &str| Since::At(Timestamp::from_jiff(text.parse().unwrap()));
        assert_eq!(since("2h"), Ok(Since::Ago(Millis::from_secs(7200))));
        assert_eq!(since("2026-11-24"), Ok(at("2026-11-24T00:00:00Z")));
        assert_eq!(since("2026-11-24T08:30:00+01:00"), Ok(at("2026-11-24T07:30:00Z")));
        assert!(since("yesterday").unwrap_err().contains("2026-11-24"));
    }

    #[test]
    fn a_window_counts_back_from_now() {
        let now = Timestamp::from_millis(10_000);
        let window = Window { limit: 5, since: Some(Since::Ago(Millis::from_secs(3))) };
        assert_eq!(
            window.filter(now),
            Filter { limit: 5, since: Some(Timestamp::from_millis(7_000)), ..Filter::default() }
        );
    }

    #[test]
    fn an_event_that_there_is_not_is_answered_with_those_there_are() {
        assert_eq!(event("lead.assigned"), Ok(EventKind::LeadAssigned));
        assert!(event("lead.asigned").unwrap_err().contains("lead.assigned, lead.waiting"));
    }

    #[test]
    fn a_payload_is_json_or_the_file_it_is_in() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("body.json");
        std::fs::write(&file, "{\"a\":1}").unwrap();
        assert_eq!(payload(file.to_str().unwrap()).unwrap(), "{\"a\":1}");
        assert_eq!(payload(" {oops").unwrap(), " {oops", "its fault is told where it is read");
        assert!(payload("nowhere.json").unwrap_err().starts_with("can't read the file: No such file"));
    }

    #[test]
    fn days_and_times_are_written_as_calendars_show_them() {
        assert!(date("2026-11-24").is_ok() && time("09:00").is_ok());
        assert!(date("24.11.2026").is_err() && time("9 o'clock").is_err());
    }
}
