//! `booking` of a flow: a calendar that exists, and fields that can name a day and a time.
//!
//! Which place an answer then asks for is `crate::domain::booking_rule`'s.

use super::nearest::hint;
use super::raw::Table;
use crate::domain::field::Field;
use crate::domain::flow::{BookingRule, Screen};
use crate::domain::ids::CalendarName;

/// Reads the table. `calendars` are the names under `[calendars]`.
pub(super) fn read(table: &Table<'_>, calendars: &[&str], screens: &[Screen]) -> Option<BookingRule> {
    let calendar = table.need("calendar").and_then(|item| {
        let name = item.text()?;
        if !calendars.contains(&name) {
            let none = if calendars.is_empty() { ": add [calendars.NAME]" } else { "" };
            item.refuse(format!("there is no calendar {name:?}{none}{}", hint(name, calendars.iter().copied())));
            return None;
        }
        CalendarName::new(name).ok()
    });
    let field = |key, kinds: [&str; 3]| {
        let item = table.need(key)?;
        let name = item.some_text()?;
        let declared = || screens.iter().flat_map(|screen| &screen.fields);
        let found: Vec<&Field> = declared().filter(|field| field.name == name).collect();
        if found.is_empty() && !screens.is_empty() {
            let names = declared().map(|field| field.name.as_str());
            item.refuse(format!("no screen has a field {name:?}{}", hint(name, names)));
        }
        if let Some(field) = found.iter().find(|field| !kinds.contains(&field.kind.as_str())) {
            let (kind, [one, other, third]) = (field.kind.as_str(), kinds);
            let hint = format!("make it \"{one}\", \"{other}\" or \"{third}\"");
            item.refuse(format!("field {name:?} is of type \"{kind}\", which names no {key}: {hint}"));
        }
        Some(name.to_owned())
    };
    let (date, time) = (field("date", ["date", "text", "choice"]), field("time", ["time", "text", "choice"]));
    Some(BookingRule { calendar: calendar?, date: date?, time: time? })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, assert_refused, refused};

    const CHAIR: &str = "[calendars.chair]\ntimezone = \"UTC\"\nslot = \"1h\"\nopen = { mon = [\"09:00-17:00\"] }\n";

    #[test]
    fn a_booking_names_a_calendar_and_fields_that_are_there() {
        assert_refused(
            "[flows.form]",
            &[(
                "booking = { calendar = \"chair\", date = \"day\", time = \"hour\" }",
                "2:24: flows.form.booking.calendar: there is no calendar \"chair\": add [calendars.NAME]",
            )],
        );
        let screen = "screens = [{ name = \"A\", final = true, fields = { day = { type = \"date\" }, ok = { type = \"boolean\" } } }]";
        assert_refused(
            &format!("{CHAIR}[flows.form]\n{screen}"),
            &[
                (
                    "booking = { calendar = \"chiar\", date = \"day\", time = \"day\" }",
                    "7:24: flows.form.booking.calendar: there is no calendar \"chiar\": did you mean `chair`?\n\
                     config.toml:7:54: flows.form.booking.time: field \"day\" is of type \"date\", which names no time: \
                     make it \"time\", \"text\" or \"choice\"",
                ),
                (
                    "booking = { calendar = \"chair\", date = \"dya\", time = \"ok\" }",
                    "7:40: flows.form.booking.date: no screen has a field \"dya\": did you mean `day`?\n\
                     config.toml:7:54: flows.form.booking.time: field \"ok\" is of type \"boolean\", which names no time: \
                     make it \"time\", \"text\" or \"choice\"",
                ),
                ("booking = { calendar = \"chair\", date = \"day\" }", "7:11: flows.form.booking: `time` is missing"),
            ],
        );
        accepted(&format!("{CHAIR}[flows.form]\nbooking = {{ calendar = \"chair\", date = \"any\", time = \"any\" }}"));
    }

    #[test]
    fn a_broken_calendar_is_not_said_to_be_missing() {
        let text = refused(&format!(
            "{}[flows.form]\nbooking = {{ calendar = \"chair\", date = \"day\", time = \"hour\" }}",
            CHAIR.replace("UTC", "Utopia")
        ));
        assert!(text.lines().count() == 1 && text.contains("Utopia"), "{text}");
    }
}
