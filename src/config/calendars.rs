//! Reads `[calendars.NAME]`: opening hours, slot length and time zone.
//!
//! See [`crate::domain::booking::calendar`] for the slots of a calendar, and for the final
//! validation of its settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::reader::TableReader;
use super::reader::value::ValueReader;
use super::suggest::closest;
use super::units::{days, minutes};
use crate::domain::booking::calendar::{Calendar, CalendarError, CalendarSpec, TimeRange};
use crate::domain::ids::CalendarName;
use crate::domain::time::Millis;

const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const ADVANCE_MAX: Millis = days(3650);

/// Maximum number of places at the same time.
const CAPACITY_MAX: u32 = 100_000;

/// Reads `[calendars]`. The result has only the valid calendars.
pub(super) fn read(root: &TableReader<'_>) -> BTreeMap<CalendarName, Arc<Calendar>> {
    let items = root.named_entries("calendars");
    let calendars = items.iter().filter_map(read_calendar);
    calendars
        .map(|calendar| (calendar.name().clone(), Arc::new(calendar)))
        .collect()
}

fn read_calendar(item: &ValueReader<'_>) -> Option<Calendar> {
    let name = item.parse_key(CalendarName::new);
    item.read_table(|table| {
        let before = table.problem_count();
        let (hours, special_hours) = (table.get("hours"), table.get("special_hours"));
        let time_zone = table.require_parsed("timezone", parse_time_zone);
        let slot_length = table
            .require("slot_length")
            .and_then(|item| item.duration(minutes(1)..=days(1)));
        if hours.is_none() && special_hours.is_none() {
            table.error(
                "`hours` is missing: the hours of each weekday, like { mon = [\"09:00-17:00\"] }",
            );
        }
        let closed_dates = table.get("closed_dates").and_then(|item| item.list());
        let spec = CalendarSpec {
            weekly_hours: hours
                .and_then(|item| item.read_table(read_weekly_hours))
                .unwrap_or_default(),
            special_hours: special_hours
                .and_then(|item| read_special_hours(&item))
                .unwrap_or_default(),
            closed_dates: closed_dates
                .iter()
                .flatten()
                .filter_map(read_date_item)
                .collect(),
            buffer: table.duration("buffer", Millis::ZERO, Millis::ZERO..=days(1)),
            capacity: table.integer("capacity", 1, 1..=CAPACITY_MAX),
            max_advance: table.duration("max_advance", days(60), minutes(1)..=ADVANCE_MAX),
            min_notice: table.duration("min_notice", Millis::ZERO, Millis::ZERO..=ADVANCE_MAX),
            name: name?,
            time_zone: time_zone?,
            slot_length: slot_length?,
        };
        if table.problem_count() > before {
            return None;
        }
        Calendar::new(spec)
            .map_err(|error| report_calendar_error(table, &error))
            .ok()
    })?
}

/// Parses the name of a time zone in the IANA database.
fn parse_time_zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| {
        let known = jiff::tz::db().available();
        let known: Vec<String> = known.map(|zone| zone.to_string()).collect();
        let known = || known.iter().map(String::as_str);
        // Users often write only the city: `Berlin`.
        let is_name = |city: &str| city.eq_ignore_ascii_case(name);
        let city = known().find(|zone| zone.rsplit('/').next().is_some_and(is_name));
        match city.or_else(|| closest(name, known())) {
            Some(closest) => format!("there is no time zone {name:?}: did you mean {closest:?}?"),
            None => format!(
                "there is no time zone {name:?}: write one like \"Europe/Berlin\" (IANA names)"
            ),
        }
    })
}

fn read_weekly_hours(table: &TableReader<'_>) -> [Vec<TimeRange>; 7] {
    WEEKDAYS.map(|day| table.read(day, read_ranges).unwrap_or_default())
}

fn read_special_hours(item: &ValueReader<'_>) -> Option<BTreeMap<Date, Vec<TimeRange>>> {
    let day = |item: &ValueReader<'_>| {
        let date = item.parse_key(parse_date);
        let ranges = read_ranges(item);
        Some((date?, ranges?))
    };
    Some(item.entries()?.iter().filter_map(day).collect())
}

fn read_ranges(item: &ValueReader<'_>) -> Option<Vec<TimeRange>> {
    let items = item.list()?;
    let ranges = items.iter().map(|item| item.parse(TimeRange::parse));
    Some(ranges.flatten().collect())
}

fn read_date_item(item: &ValueReader<'_>) -> Option<Date> {
    parse_date(&item.date_text()?)
        .map_err(|why| item.error(why))
        .ok()
}

fn parse_date(text: &str) -> Result<Date, String> {
    let is_iso_date = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    let date = if is_iso_date { text.parse().ok() } else { None };
    date.ok_or_else(|| format!("{text:?} is not a valid date: write it like \"2026-12-25\""))
}

/// Reports an error of the calendar at the location of its cause.
fn report_calendar_error(table: &TableReader<'_>, error: &CalendarError) {
    let keys: &[&str] = match error {
        CalendarError::InvalidSlotLength => &["slot_length"],
        CalendarError::InvalidBuffer => &["buffer"],
        CalendarError::ZeroCapacity => &["capacity"],
        CalendarError::NoticeExceedsAdvance => &["min_notice"],
        CalendarError::NeverOpen => &["hours", "special_hours"],
        CalendarError::OverlappingHours { day, .. } | CalendarError::HoursTooShort { day, .. } => {
            let is_weekday = WEEKDAYS.contains(&day.as_str());
            let key = if is_weekday { "hours" } else { "special_hours" };
            let mut items = table.named_entries(key).into_iter();
            return match items.find(|item| item.key == day) {
                Some(item) => item.error(error),
                None => table.error(error),
            };
        }
    };
    table.error_at(keys, error);
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{assert_errors, assert_refused, parse_valid};

    const CHAIR: &str = "[calendars.chair]\ntimezone = \"Europe/Berlin\"\nslot_length = \"30m\"";

    #[test]
    fn calendar_requires_timezone_slot_length_and_hours() {
        assert_errors(
            "[calendars.chair]",
            r#"
            => 1:12: calendars.chair: `timezone` is missing
            => 1:12: calendars.chair: `slot_length` is missing
            => 1:12: calendars.chair: `hours` is missing: the hours of each weekday, like { mon = ["09:00-17:00"] }
            "#,
        );
        assert_errors(
            "",
            r#"
            [calendars."a b"]
            timezone = "UTC"
            slot_length = "1h"
            hours = { mon = ["09:00-17:00"] }
            => 2:12: calendars.a b: calendar name may have letters, digits, '-', '_' and '.' only
            "#,
        );
    }

    #[test]
    fn calendars_that_are_no_table_are_reported_once() {
        assert_errors(
            "",
            r"
            calendars = 3
            => 2:13: calendars: must be a table, and is a whole number
            ",
        );
    }

    #[test]
    fn unknown_timezone_gets_suggestion() {
        for (typed, suggestion) in [
            ("Berlin", "did you mean \"Europe/Berlin\"?"),
            ("Europe/Berln", "did you mean \"Europe/Berlin\"?"),
            ("+02:00", "write one like \"Europe/Berlin\" (IANA names)"),
            ("", "write one like \"Europe/Berlin\" (IANA names)"),
        ] {
            let head =
                "[calendars.chair]\nslot_length = \"30m\"\nhours = { mon = [\"09:00-12:00\"] }";
            let why = format!("there is no time zone {typed:?}: {suggestion}");
            let error = format!("4:12: calendars.chair.timezone: {why}");
            assert_refused(head, &format!("timezone = {typed:?}"), &error);
        }
    }

    #[test]
    fn invalid_hours_are_located() {
        assert_errors(
            CHAIR,
            r#"
            hours = { mon = ["12:00-09:00"] }
            => 4:18: calendars.chair.hours.mon: "12:00-09:00" is not a valid time range: write it like "09:00-12:30", from 00:00 up to 24:00, the end after the start
            hours = { mon = ["09:00-12:00", "11:00-13:00"] }
            => 4:17: calendars.chair.hours.mon: mon: 09:00-12:00 and 11:00-13:00 overlap
            hours = { tue = ["09:00-09:20"] }
            => 4:17: calendars.chair.hours.tue: tue: no slot of 30 minutes fits into 09:00-09:20
            hours = {}
            => 4:9: calendars.chair.hours: the calendar is never open: add opening hours
            hours = { monday = ["09:00-12:00"] }
            => 4:11: unknown key `monday` in calendars.chair.hours: did you mean `mon`?
            hours = { mon = "09:00-12:00" }
            => 4:17: calendars.chair.hours.mon: must be a list in brackets, and is a text
            special_hours = { "2026-12-27" = ["10:00-10:10"] }
            => 4:34: calendars.chair.special_hours.2026-12-27: 2026-12-27: no slot of 30 minutes fits into 10:00-10:10
            special_hours = { "27.12.2026" = ["10:00-12:00"] }
            => 4:19: calendars.chair.special_hours.27.12.2026: "27.12.2026" is not a valid date: write it like "2026-12-25"
            "#,
        );
    }

    #[test]
    fn calendar_ranges_are_checked() {
        assert_errors(
            &format!("{CHAIR}\nhours = {{ mon = [\"09:00-12:00\"] }}"),
            r#"
            buffer = "30s"
            => 5:10: calendars.chair.buffer: buffer must be whole minutes, up to 24 hours
            capacity = 0
            => 5:12: calendars.chair.capacity: must be from 1 to 100000, and is 0
            max_advance = "1d"
            min_notice = "2d"
            => 6:14: calendars.chair.min_notice: min_notice is longer than max_advance: no slot could ever be booked
            max_advance = "11000d"
            => 5:15: calendars.chair.max_advance: must be from 1m to 3650d, and is 11000d
            closed_dates = ["2026-12-25", "2026-02-30"]
            => 5:31: calendars.chair.closed_dates: "2026-02-30" is not a valid date: write it like "2026-12-25"
            capacty = 2
            => 5:1: unknown key `capacty` in calendars.chair: did you mean `capacity`?
            "#,
        );
        assert_errors(
            "[calendars.chair]\ntimezone = \"UTC\"\nhours = { mon = [\"09:00-12:00\"] }",
            r#"
            slot_length = "90s"
            => 4:15: calendars.chair.slot_length: slot_length must be whole minutes, from 1 minute to 24 hours
            slot_length = "0m"
            => 4:15: calendars.chair.slot_length: must be from 1m to 1d, and is 0m
            "#,
        );
    }

    #[test]
    fn closed_dates_accept_text_and_toml_dates() {
        let config = parse_valid(&format!(
            "{CHAIR}\nhours = {{ mon = [\"09:00-12:00\"] }}\nclosed_dates = [\"2026-12-25\", 2026-12-26]\nspecial_hours = {{ \"2026-12-27\" = [\"10:00-12:00\"] }}"
        ));
        assert_eq!(config.calendars.len(), 1);
    }
}
