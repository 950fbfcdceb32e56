//! Contains parsers and shared options of the command line. Each parser returns an error that shows
//! the expected format.

use std::str::FromStr;

use jiff::civil::{Date, Time};

use crate::clock::{Clock, SystemClock};
use crate::config::units;
use crate::domain::day_range::DayRange;
use crate::domain::event::EventKind;
use crate::domain::ids::{CalendarName, Customer, DestinationName, FlowName};
use crate::domain::phone_number::PhoneNumber;
use crate::domain::time::{Millis, Timestamp};
use crate::telemetry::{InvalidLogFilter, check_log_filter};

/// Maximum number of rows of a list.
#[derive(Debug, Clone, clap::Args)]
pub struct LimitOption {
    /// Maximum number of rows (0 = no limit)
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,
}

/// Maximum number of rows that a search reads.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct ScanOption {
    /// Maximum number of rows to search in each table, newest first (0 = no limit). No index finds
    /// customers, so a search reads rows. It does not slow the server down
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub scan: u64,
}

/// Filter of a list by time.
#[derive(Debug, Clone, clap::Args)]
pub struct SinceFilter {
    /// Only rows since this time: a length (90m, 2h, 7d), a date (UTC) or an RFC 3339 time.
    /// Default: no limit
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    pub since: Option<Timestamp>,
}

/// Filter of a list by flow.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct FlowFilter {
    /// Only rows of this flow. Default: all flows
    #[arg(long, value_name = "NAME", value_parser = FlowName::new)]
    pub flow: Option<FlowName>,
}

/// Filter of a list by destination and event.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct DeliveryFilter {
    /// Only deliveries to this destination. Default: all destinations
    #[arg(long, value_name = "NAME", value_parser = DestinationName::new)]
    pub destination: Option<DestinationName>,
    /// Only deliveries of this event, for example lead.assigned. Default: all events
    #[arg(long, value_name = "EVENT", value_parser = parse_event)]
    pub event: Option<EventKind>,
}

/// Filter of a list by calendar and day.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct DayFilter {
    /// Only this calendar. Default: all calendars
    #[arg(long, value_name = "NAME", value_parser = CalendarName::new)]
    pub calendar: Option<CalendarName>,
    /// Only these days, in the time zone of the calendar: today, tomorrow, yesterday, a weekday
    /// (friday), a date (2026-11-24) or a range (today..friday)
    #[arg(long, value_name = "DAY|DAY..DAY", value_parser = DayRange::from_str)]
    pub date: Option<DayRange>,
}

/// Parses `--since`. A length of time counts back from the current time.
pub(super) fn parse_since(text: &str) -> Result<Timestamp, String> {
    parse_since_at(text, SystemClock::new().now())
}

/// Parses the filter of `log-level`.
pub(super) fn parse_log_filter(text: &str) -> Result<String, InvalidLogFilter> {
    check_log_filter(text).map(str::to_owned)
}

/// Parses `--older-than`. The age counts back from the current time.
pub(super) fn parse_age(text: &str) -> Result<Timestamp, String> {
    let age = units::parse_duration(text)
        .map_err(|_| "must be a duration such as 12h or 30d".to_owned())?;
    Ok(SystemClock::new().now().minus(age))
}

fn parse_since_at(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(length) = units::parse_duration(text) {
        return Ok(now.minus(length));
    }
    if let Ok(point) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp::from_jiff(point));
    }
    let midnight = text
        .parse::<Date>()
        .and_then(|date| date.to_zoned_datetime(jiff::tz::TimeZone::UTC));
    midnight
        .map(|midnight| Timestamp::from_jiff(midnight.timestamp()))
        .map_err(|_| {
            "must be a duration (90m, 2h, 7d), a date (2026-11-24) or a time (2026-11-24T08:00:00Z)"
                .to_owned()
        })
}

/// Parses a length of time: `3d`.
pub(super) fn parse_length(text: &str) -> Result<Millis, String> {
    units::parse_duration(text).map_err(|_| "must be a time such as 90m, 12h or 3d".to_owned())
}

/// Parses `--event`.
pub(super) fn parse_event(name: &str) -> Result<EventKind, String> {
    EventKind::from_name(name).ok_or_else(|| {
        let all: Vec<&str> = EventKind::ALL.into_iter().map(EventKind::as_str).collect();
        format!("unknown event: use one of {}", all.join(", "))
    })
}

/// Parses `--payload`: JSON text, or the path of a file that contains it. The admin request that
/// receives the JSON validates it.
pub(super) fn parse_payload(text: &str) -> Result<String, String> {
    if text.trim_start().starts_with(['{', '[', '"']) {
        return Ok(text.to_owned());
    }
    std::fs::read_to_string(text).map_err(|error| {
        format!("can't read the file: {error}; JSON text on the command line must begin with '{{' or '['")
    })
}

/// Parses a customer: a phone number, also with spaces, or a user ID.
pub(super) fn parse_customer(text: &str) -> Result<Customer, String> {
    let is_separator = |c: char| c.is_whitespace() || matches!(c, '-' | '/' | '(' | ')' | '.');
    let digits: String = text.chars().filter(|c| !is_separator(*c)).collect();
    let number = match digits.strip_prefix("00") {
        Some(rest) => format!("+{rest}"),
        None => digits,
    };
    if PhoneNumber::parse(&number).is_ok() {
        return Ok(Customer::new(None, Some(&number)));
    }
    let customer = Customer::from_text(text.trim());
    if customer.is_unknown() {
        return Err("must be a phone number such as +491511234567, or a user ID".to_owned());
    }
    Ok(customer)
}

/// Parses a date: `2026-11-24`.
pub(super) fn parse_date(text: &str) -> Result<Date, String> {
    text.parse()
        .map_err(|_| "must be a date such as 2026-11-24".to_owned())
}

/// Parses a time of day: `09:00`.
pub(super) fn parse_time(text: &str) -> Result<Time, String> {
    text.parse()
        .map_err(|_| "must be a time of day such as 09:00".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_accepts_length_date_and_timestamp() {
        let at = |text: &str| Timestamp::from_jiff(text.parse().unwrap());
        let since = |text: &str| parse_since_at(text, at("2026-11-25T10:00:00Z"));
        for (text, expected) in [
            ("2h", "2026-11-25T08:00:00Z"),
            ("2026-11-24", "2026-11-24T00:00:00Z"),
            ("2026-11-24T08:30:00+01:00", "2026-11-24T07:30:00Z"),
        ] {
            assert_eq!(since(text), Ok(at(expected)), "{text}");
        }
        assert!(since("yesterday").unwrap_err().contains("2026-11-24"));
    }

    #[test]
    fn unknown_event_error_lists_known_events() {
        assert_eq!(parse_event("lead.assigned"), Ok(EventKind::LeadAssigned));
        let error = parse_event("lead.asigned").unwrap_err();
        assert!(error.contains("lead.assigned, lead.waiting"), "{error}");
    }

    #[test]
    fn payload_is_json_or_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("body.json");
        std::fs::write(&file, "{\"a\":1}").unwrap();
        assert_eq!(parse_payload(file.to_str().unwrap()).unwrap(), "{\"a\":1}");
        // The admin handler reports the error.
        assert_eq!(parse_payload(" {oops").unwrap(), " {oops");
        let error = parse_payload("nowhere.json").unwrap_err();
        assert!(error.starts_with("can't read the file: No such file"));
    }

    #[test]
    fn customer_is_number_in_any_spelling_or_id() {
        for text in ["+49 151 1234567", "0049-151/1234567", "(49)1511234567"] {
            let customer = parse_customer(text).unwrap();
            assert_eq!(customer.phone.as_deref(), Some("491511234567"), "{text}");
        }
        let id = parse_customer("US.1349").unwrap();
        assert_eq!(id.id.as_deref(), Some("US.1349"));
        assert!(parse_customer(" ").is_err());
    }

    #[test]
    fn dates_and_times_use_calendar_format() {
        assert!(parse_date("2026-11-24").is_ok() && parse_time("09:00").is_ok());
        assert!(parse_date("24.11.2026").is_err() && parse_time("9 o'clock").is_err());
    }
}
