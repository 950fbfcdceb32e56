//! `[calendars.NAME]`: opening hours that hold a slot, in a time zone that exists.
//!
//! What a calendar then offers is `crate::domain::calendar`'s, which also has the last word on what makes one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::nearest::nearest;
use super::raw::Table;
use super::value::Item;
use crate::domain::calendar::{Calendar, CalendarProblem, CalendarSpec, Span};
use crate::domain::ids::CalendarName;
use crate::domain::time::Millis;

const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY: Millis = Millis::from_secs(24 * 60 * 60);
const AHEAD: Millis = Millis::from_secs(60 * 24 * 60 * 60);
const TEN_YEARS: Millis = Millis::from_secs(3650 * 24 * 60 * 60);

/// Places at the same time, at the most.
const CAPACITY_MAX: u32 = 100_000;

/// The names under `[calendars]`, of sound calendars and others.
pub(super) fn names<'d>(root: &Table<'d>) -> Vec<&'d str> {
    let items = root.get("calendars").and_then(|item| item.names(Table::named));
    items.into_iter().flatten().map(|item| item.key).collect()
}

/// Reads `[calendars]`.
pub(super) fn read(root: &Table<'_>) -> BTreeMap<CalendarName, Arc<Calendar>> {
    let items = root.get("calendars").and_then(|item| item.names(Table::named));
    let calendars = items.into_iter().flatten().filter_map(|item| calendar(&item));
    calendars.map(|calendar| (calendar.name().clone(), Arc::new(calendar))).collect()
}

fn calendar(item: &Item<'_>) -> Option<Calendar> {
    let name = item.parsed_key(CalendarName::new);
    item.table(|table| {
        let before = table.problems_so_far();
        let zone = table.need("timezone").and_then(|item| item.parsed(zone));
        let (open, opened) = (table.get("open"), table.get("opened"));
        let week = open.as_ref().and_then(|item| item.table(week)).unwrap_or_default();
        let opened_days = opened.as_ref().and_then(|item| item.names(days)).unwrap_or_default();
        let closed = table.get("closed").and_then(|item| item.items()).unwrap_or_default();
        let slot = table.need("slot").and_then(|item| item.length(Millis::from_secs(60)..=DAY));
        let buffer = table.length("buffer", Millis::ZERO, Millis::ZERO..=DAY);
        let capacity = table.count("capacity", 1, 1..=CAPACITY_MAX);
        let ahead = table.length("ahead", AHEAD, Millis::from_secs(60)..=TEN_YEARS);
        let notice = table.length("notice", Millis::ZERO, Millis::ZERO..=TEN_YEARS);
        if open.is_none() && opened.is_none() {
            table.refuse("`open` is missing: the hours of each weekday, like { mon = [\"09:00-17:00\"] }");
        }
        let closed = closed.iter().filter_map(date).collect::<BTreeSet<_>>();
        if table.problems_so_far() > before {
            return None;
        }
        let spec = CalendarSpec {
            name: name?,
            zone: zone?,
            week,
            closed,
            opened: opened_days,
            slot: slot?,
            buffer,
            capacity,
            ahead,
            notice,
        };
        Calendar::new(spec).map_err(|problem| blame(table, &problem)).ok()
    })?
}

/// A time zone by its name in the IANA database.
fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| {
        let known: Vec<String> = jiff::tz::db().available().map(|zone| zone.to_string()).collect();
        let known = || known.iter().map(String::as_str);
        // People name the city alone: `Berlin`.
        let city = known().find(|zone| zone.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(name)));
        match city.or_else(|| nearest(name, known())) {
            Some(near) => format!("there is no time zone {name:?}: did you mean {near:?}?"),
            None => format!("there is no time zone {name:?}: write one like \"Europe/Berlin\" (IANA names)"),
        }
    })
}

fn week(table: &Table<'_>) -> [Vec<Span>; 7] {
    WEEKDAYS.map(|day| table.get(day).and_then(|item| spans(&item)).unwrap_or_default())
}

fn days(table: &Table<'_>) -> BTreeMap<Date, Vec<Span>> {
    let day = |item: Item<'_>| {
        let date = item.parsed_key(read_date);
        let spans = spans(&item);
        Some((date?, spans?))
    };
    table.named().into_iter().filter_map(day).collect()
}

fn spans(item: &Item<'_>) -> Option<Vec<Span>> {
    Some(item.items()?.iter().filter_map(|item| item.parsed(Span::parse)).collect())
}

fn date(item: &Item<'_>) -> Option<Date> {
    read_date(&item.date_text()?).map_err(|why| item.refuse(why)).ok()
}

fn read_date(text: &str) -> Result<Date, String> {
    let one_form = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    let date = if one_form { text.parse().ok() } else { None };
    date.ok_or_else(|| format!("{text:?} is no day: write it like \"2026-12-25\""))
}

/// Puts what the calendar itself complains of where it was typed.
fn blame(table: &Table<'_>, problem: &CalendarProblem) {
    let day_of = |day: &str| {
        let (key, found) = if WEEKDAYS.contains(&day) { ("open", day) } else { ("opened", day) };
        let items = table.get(key)?.names(Table::named)?;
        items.into_iter().find(|item| item.key == found)
    };
    let item = match problem {
        CalendarProblem::Slot => table.get("slot"),
        CalendarProblem::Buffer => table.get("buffer"),
        CalendarProblem::Capacity => table.get("capacity"),
        CalendarProblem::Notice => table.get("notice"),
        CalendarProblem::NeverOpen => table.get("open").or_else(|| table.get("opened")),
        CalendarProblem::Overlap { day, .. } | CalendarProblem::TooShort { day, .. } => day_of(day),
    };
    match item {
        Some(item) => item.refuse(problem),
        None => table.refuse(problem),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, assert_refused};

    const CHAIR: &str = "[calendars.chair]\ntimezone = \"Europe/Berlin\"\nslot = \"30m\"";

    #[test]
    fn a_calendar_needs_a_zone_a_slot_and_hours() {
        assert_refused(
            "[calendars.chair]",
            &[(
                "",
                "1:12: calendars.chair: `timezone` is missing\n\
                 config.toml:1:12: calendars.chair: `slot` is missing\n\
                 config.toml:1:12: calendars.chair: `open` is missing: the hours of each weekday, like { mon = [\"09:00-17:00\"] }",
            )],
        );
        assert_refused(
            "",
            &[(
                "[calendars.\"a b\"]\ntimezone = \"UTC\"\nslot = \"1h\"\nopen = { mon = [\"09:00-17:00\"] }",
                "2:12: calendars.a b: calendar name may have letters, digits, '-', '_' and '.' only",
            )],
        );
    }

    #[test]
    fn a_zone_that_does_not_exist_gets_the_one_that_was_meant() {
        for (typed, hint) in [
            ("Berlin", "did you mean \"Europe/Berlin\"?"),
            ("Europe/Berln", "did you mean \"Europe/Berlin\"?"),
            ("+02:00", "write one like \"Europe/Berlin\" (IANA names)"),
            ("", "write one like \"Europe/Berlin\" (IANA names)"),
        ] {
            assert_refused(
                "[calendars.chair]\nslot = \"30m\"\nopen = { mon = [\"09:00-12:00\"] }",
                &[(
                    &format!("timezone = {typed:?}"),
                    &format!("4:12: calendars.chair.timezone: there is no time zone {typed:?}: {hint}"),
                )],
            );
        }
    }

    #[test]
    fn hours_are_checked_where_they_stand() {
        assert_refused(
            CHAIR,
            &[
                (
                    "open = { mon = [\"12:00-09:00\"] }",
                    "4:17: calendars.chair.open.mon: \"12:00-09:00\" is no opening time: write it like \"09:00-12:30\", from 00:00 up to 24:00, the end after the start",
                ),
                (
                    "open = { mon = [\"09:00-12:00\", \"11:00-13:00\"] }",
                    "4:16: calendars.chair.open.mon: mon: 09:00-12:00 and 11:00-13:00 overlap",
                ),
                (
                    "open = { tue = [\"09:00-09:20\"] }",
                    "4:16: calendars.chair.open.tue: tue: no slot of 30 minutes fits into 09:00-09:20",
                ),
                ("open = {}", "4:8: calendars.chair.open: it is never open"),
                (
                    "open = { monday = [\"09:00-12:00\"] }",
                    "4:10: unknown key `monday` in calendars.chair.open: did you mean `mon`?",
                ),
                (
                    "open = { mon = \"09:00-12:00\" }",
                    "4:16: calendars.chair.open.mon: must be a list in brackets, and is a text",
                ),
                (
                    "opened = { \"2026-12-27\" = [\"10:00-10:10\"] }",
                    "4:27: calendars.chair.opened.2026-12-27: 2026-12-27: no slot of 30 minutes fits into 10:00-10:10",
                ),
                (
                    "opened = { \"27.12.2026\" = [\"10:00-12:00\"] }",
                    "4:12: calendars.chair.opened.27.12.2026: \"27.12.2026\" is no day: write it like \"2026-12-25\"",
                ),
            ],
        );
    }

    #[test]
    fn lengths_counts_and_days_off_are_checked() {
        assert_refused(
            &format!("{CHAIR}\nopen = {{ mon = [\"09:00-12:00\"] }}"),
            &[
                ("buffer = \"30s\"", "5:10: calendars.chair.buffer: buffer must be whole minutes, up to 24 hours"),
                ("capacity = 0", "5:12: calendars.chair.capacity: must be from 1 to 100000, and is 0"),
                (
                    "ahead = \"1d\"\nnotice = \"2d\"",
                    "6:10: calendars.chair.notice: notice is longer than ahead: nothing could ever be booked",
                ),
                ("ahead = \"11000d\"", "5:9: calendars.chair.ahead: must be from 1m to 3650d, and is 11000d"),
                (
                    "closed = [\"2026-12-25\", \"2026-02-30\"]",
                    "5:25: calendars.chair.closed: \"2026-02-30\" is no day: write it like \"2026-12-25\"",
                ),
                ("capacty = 2", "5:1: unknown key `capacty` in calendars.chair: did you mean `capacity`?"),
            ],
        );
        assert_refused(
            "[calendars.chair]\ntimezone = \"UTC\"\nopen = { mon = [\"09:00-12:00\"] }",
            &[
                ("slot = \"90s\"", "4:8: calendars.chair.slot: slot must be whole minutes, from 1 minute to 24 hours"),
                ("slot = \"0m\"", "4:8: calendars.chair.slot: must be from 1m to 1d, and is 0m"),
            ],
        );
    }

    #[test]
    fn days_off_may_be_texts_or_tomls_own_dates() {
        let config = accepted(&format!(
            "{CHAIR}\nopen = {{ mon = [\"09:00-12:00\"] }}\nclosed = [\"2026-12-25\", 2026-12-26]\nopened = {{ \"2026-12-27\" = [\"10:00-12:00\"] }}"
        ));
        assert_eq!(config.calendars.len(), 1);
    }
}
