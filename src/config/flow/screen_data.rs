//! Reads `data` of a screen: the data source of each value.
//!
//! See [`super::screens`] for the check of referenced fields, and
//! [`crate::domain::flow::screen_data`] for the values.

use crate::config::reader::TableReader;
use crate::config::reader::value::ValueReader;
use crate::config::suggest::suggestion;
use crate::domain::flow::choice_list::{CHOICES_MAX, ChoiceListOptions};
use crate::domain::flow::data_source::DataSource;
use crate::domain::ids::{CalendarName, TeamName};

/// Keys of the data sources. A value must have exactly one of them.
const SOURCES: [&str; 6] = ["value", "answer", "slots", "dates", "agent", "agents"];

/// Reads the table of values, in the order of the file. Adds referenced fields to
/// `field_references`.
pub(in crate::config) fn read<'d>(
    table: &TableReader<'d>,
    calendars: &[&str],
    field_references: &mut Vec<(ValueReader<'d>, String)>,
) -> Vec<(String, DataSource)> {
    let read_source = |item: ValueReader<'d>| {
        let source =
            item.read_table(|table| read_source(table, &item, calendars, field_references))??;
        Some((item.key.to_owned(), source))
    };
    table
        .entries()
        .into_iter()
        .filter_map(read_source)
        .collect()
}

/// Reads the data source of one value. The value must have exactly one source.
fn read_source<'d>(
    table: &TableReader<'d>,
    item: &ValueReader<'d>,
    calendars: &[&str],
    named: &mut Vec<(ValueReader<'d>, String)>,
) -> Option<DataSource> {
    let found: Vec<ValueReader<'d>> = SOURCES
        .iter()
        .filter_map(|source| table.get(source))
        .collect();
    let (day, limit_item, show_full_item) =
        (table.get("day"), table.get("limit"), table.get("show_full"));
    let [source] = found.as_slice() else {
        item.error(
            "needs exactly one of `value`, `answer`, `slots`, `dates`, `agent` and `agents`",
        );
        return None;
    };
    let is_list = matches!(source.key, "slots" | "dates" | "agents");
    let has_full = matches!(source.key, "slots" | "dates");
    if let Some(day) = day.as_ref().filter(|_| source.key != "slots") {
        day.key_error("`day` is allowed only with `slots`");
    }
    if let Some(limit) = limit_item.as_ref().filter(|_| !is_list) {
        limit.key_error("`limit` is allowed only with `slots`, `dates` and `agents`");
    }
    if let Some(show_full) = show_full_item.as_ref().filter(|_| !has_full) {
        show_full.key_error("only `slots` and `dates` can have `show_full`");
    }
    let choices = ChoiceListOptions {
        limit: limit_item
            .and_then(|item| item.integer(1..=CHOICES_MAX))
            .unwrap_or(CHOICES_MAX),
        show_full: show_full_item
            .and_then(|item| item.boolean())
            .unwrap_or(false),
    };
    let mut field = |item: &ValueReader<'d>| {
        let name = item.non_empty_text()?.to_owned();
        named.push((item.clone(), name.clone()));
        Some(name)
    };
    Some(match source.key {
        "value" => DataSource::Constant(source.text()?.to_owned()),
        "answer" => DataSource::Answer(field(source)?),
        "slots" => {
            let day = day.and_then(|day| field(&day));
            DataSource::Slots {
                calendar: read_calendar(source, calendars)?,
                day_field: day,
                options: choices,
            }
        }
        "dates" => DataSource::Dates {
            calendar: read_calendar(source, calendars)?,
            options: choices,
        },
        "agent" => DataSource::Agent {
            team: source.parse(TeamName::new)?,
        },
        _ => DataSource::Agents {
            team: source.parse(TeamName::new)?,
            options: choices,
        },
    })
}

fn read_calendar(typed: &ValueReader<'_>, calendars: &[&str]) -> Option<CalendarName> {
    let name = typed.text()?;
    if !calendars.contains(&name) {
        typed.error(format!(
            "there is no calendar {name:?}{}",
            suggestion(name, calendars.iter().copied())
        ));
        return None;
    }
    CalendarName::new(name).ok()
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{error_of, parse_valid};

    #[test]
    fn data_source_must_be_single_and_known() {
        let head = "[calendars.chair]\ntimezone = \"UTC\"\nslot_length = \"1h\"\nhours = { mon = [\"09:00-17:00\"] }\n";
        let config = |given: &str| {
            format!(
                "{head}[flows.form]\nscreens = [\n{{ name = \"A\", data = {{ x = {given} }} }},\n{{ name = \"B\", final = true, \
                 fields = {{ day = {{}} }}, data = {{ adviser = {{ agent = \"sales\" }} }} }}]"
            )
        };
        for good in [
            "{ value = \"\" }",
            "{ answer = \"day\" }",
            "{ answer = \"adviser\" }",
            "{ dates = \"chair\" }",
            "{ slots = \"chair\", day = \"day\" }",
            "{ agent = \"sales\" }",
            "{ agents = \"sales\", limit = 20 }",
            "{ slots = \"chair\", show_full = true, limit = 1 }",
        ] {
            parse_valid(&config(good));
        }
        parse_valid(
            "[flows.form]\nscreens = [{ name = \"A\", final = true, data = { x = { answer = \"any\" } } }]",
        );
        for (bad, why) in [
            (
                "{}",
                "needs exactly one of `value`, `answer`, `slots`, `dates`, `agent` and `agents`",
            ),
            ("{ value = \"a\", answer = \"b\" }", "needs exactly one of"),
            (
                "{ slots = \"chiar\" }",
                "there is no calendar \"chiar\": did you mean `chair`?",
            ),
            (
                "{ slots = \"chair\", day = \"dya\" }",
                "config.toml:7:53: flows.form.screens.data.x.day: no screen has a field \"dya\": did you mean `day`?",
            ),
            (
                "{ answer = \"advisor\" }",
                "config.toml:7:39: flows.form.screens.data.x.answer: no screen has a field \"advisor\": did you mean `adviser`?",
            ),
            (
                "{ slots = \"chair\", day = \"adviser\" }",
                "x.day: no screen has a field \"adviser\": expected `day`",
            ),
            (
                "{ dates = \"chair\", day = \"day\" }",
                "`day` is allowed only with `slots`",
            ),
            (
                "{ value = \"a\", limit = 3 }",
                "`limit` is allowed only with `slots`, `dates` and `agents`",
            ),
            (
                "{ agent = \"a\", show_full = true }",
                "only `slots` and `dates` can have `show_full`",
            ),
            (
                "{ slots = \"chair\", limit = 201 }",
                "must be from 1 to 200, and is 201",
            ),
            (
                "{ dates = \"chair\", show_full = \"gray\" }",
                "must be true or false, and is a text",
            ),
            ("{ agents = \"\" }", "team name is empty"),
            ("{ value = 3 }", "must be a text"),
            ("{ valeu = \"a\" }", "did you mean `value`?"),
            ("\"a\"", "must be a table"),
        ] {
            let error = error_of(&config(bad));
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
