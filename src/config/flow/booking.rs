//! Reads `booking` of a flow: an existing calendar, and fields whose types can contain a date and a
//! time.
//!
//! See [`crate::domain::booking::slot_request`] for the slot that the answers request.

use crate::config::reader::TableReader;
use crate::config::reader::value::ValueReader;
use crate::config::suggest::suggestion;
use crate::domain::flow::field::Field;
use crate::domain::flow::{BookingSettings, Screen};
use crate::domain::ids::CalendarName;

/// Reads the table. `calendars` are the names of all calendars, and `screens` the screens of the
/// flow.
pub fn read(
    table: &TableReader<'_>,
    calendars: &[&str],
    screens: &[Screen],
) -> Option<BookingSettings> {
    let calendar = table
        .require("calendar")
        .and_then(|item| read_calendar_name(&item, calendars));
    let field = |key, kinds: [&str; 3]| {
        let item = table.require(key)?;
        let name = item.non_empty_text()?;
        let declared = || screens.iter().flat_map(|screen| &screen.fields);
        let found: Vec<&Field> = declared().filter(|field| field.name == name).collect();
        if found.is_empty() && !screens.is_empty() {
            let names = declared().map(|field| field.name.as_str());
            item.error(format!(
                "no screen has a field {name:?}{}",
                suggestion(name, names)
            ));
        }
        if let Some(field) = found
            .iter()
            .find(|field| !kinds.contains(&field.kind.as_str()))
        {
            let (kind, [one, other, last]) = (field.kind.as_str(), kinds);
            let suggestion = format!("use the type \"{one}\", \"{other}\" or \"{last}\"");
            item.error(format!(
                "field {name:?} is of type \"{kind}\", which can't contain a {key}: {suggestion}"
            ));
        }
        Some(name.to_owned())
    };
    let (date, time) = (
        field("date", ["date", "text", "choice"]),
        field("time", ["time", "text", "choice"]),
    );
    Some(BookingSettings {
        calendar: calendar?,
        date_field: date?,
        time_field: time?,
    })
}

/// Reads the name of a calendar, which must be one of `calendars`.
pub fn read_calendar_name(item: &ValueReader<'_>, calendars: &[&str]) -> Option<CalendarName> {
    if calendars.is_empty() {
        let name = item.text()?;
        item.error(format!(
            "there is no calendar {name:?}: add [calendars.NAME]"
        ));
        return None;
    }
    CalendarName::new(item.known_name("calendar", calendars)?).ok()
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{assert_errors, error_of, parse_valid};

    const CHAIR: &str = "[calendars.chair]\ntimezone = \"UTC\"\nslot_length = \"1h\"\nhours = { mon = [\"09:00-17:00\"] }\n";

    #[test]
    fn booking_names_existing_calendar_and_fields() {
        assert_errors(
            "[flows.form]",
            r#"
            booking = { calendar = "chair", date = "day", time = "hour" }
            => 2:24: flows.form.booking.calendar: there is no calendar "chair": add [calendars.NAME]
            "#,
        );
        let screen = "screens = [{ name = \"A\", final = true, fields = { day = { type = \"date\" }, ok = { type = \"boolean\" } } }]";
        assert_errors(
            &format!("{CHAIR}[flows.form]\n{screen}"),
            r#"
            booking = { calendar = "chiar", date = "day", time = "day" }
            => 7:24: flows.form.booking.calendar: there is no calendar "chiar": did you mean `chair`?
            => 7:54: flows.form.booking.time: field "day" is of type "date", which can't contain a time: use the type "time", "text" or "choice"
            booking = { calendar = "chair", date = "dya", time = "ok" }
            => 7:40: flows.form.booking.date: no screen has a field "dya": did you mean `day`?
            => 7:54: flows.form.booking.time: field "ok" is of type "boolean", which can't contain a time: use the type "time", "text" or "choice"
            booking = { calendar = "chair", date = "day" }
            => 7:11: flows.form.booking: `time` is missing
            "#,
        );
        parse_valid(&format!(
            "{CHAIR}[flows.form]\nbooking = {{ calendar = \"chair\", date = \"any\", time = \"any\" }}"
        ));
    }

    #[test]
    fn invalid_calendar_is_not_reported_as_missing() {
        let text = error_of(&format!(
            "{}[flows.form]\nbooking = {{ calendar = \"chair\", date = \"day\", time = \"hour\" }}",
            CHAIR.replace("UTC", "Utopia")
        ));
        assert!(
            text.lines().count() == 1 && text.contains("Utopia"),
            "{text}"
        );
    }
}
