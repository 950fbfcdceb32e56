//! Reads `data` of a screen: the data source of each value.
//!
//! See [`super::screens`] for the check of referenced fields, and
//! [`crate::domain::flow::screen_data`] for the values.

use super::booking::read_calendar_name;
use crate::config::reader::TableReader;
use crate::config::reader::value::ValueReader;
use crate::domain::flow::choice_list::{CHOICES_MAX, ChoiceListOptions};
use crate::domain::flow::data_source::DataSource;
use crate::domain::ids::TeamName;

/// Keys of the data sources. A value must have exactly one of them.
const SOURCES: [&str; 6] = ["value", "answer", "slots", "dates", "agent", "agents"];

/// Reads the table of values, in the order of the file. Adds the locations of referenced fields to
/// `field_references`.
pub fn read<'d>(
    item: &ValueReader<'d>,
    calendars: &[&str],
    field_references: &mut Vec<ValueReader<'d>>,
) -> Option<Vec<(String, DataSource)>> {
    let read_source = |item: &ValueReader<'d>| {
        let source =
            item.read_table(|table| read_source(table, item, calendars, field_references))??;
        Some((item.key.to_owned(), source))
    };
    Some(item.entries()?.iter().filter_map(read_source).collect())
}

/// Reads the name of a field or screen. Adds its location to `references`, because the name can be
/// checked only when all screens are known.
pub fn read_reference<'d>(
    item: &ValueReader<'d>,
    references: &mut Vec<ValueReader<'d>>,
) -> Option<String> {
    let name = item.non_empty_text()?;
    references.push(item.clone());
    Some(name.to_owned())
}

/// Reads the data source of one value. The value must have exactly one source.
fn read_source<'d>(
    table: &TableReader<'d>,
    item: &ValueReader<'d>,
    calendars: &[&str],
    field_references: &mut Vec<ValueReader<'d>>,
) -> Option<DataSource> {
    let sources = SOURCES.iter().filter_map(|source| table.get(source));
    let sources: Vec<ValueReader<'d>> = sources.collect();
    let [day, limit, show_full] = ["day", "limit", "show_full"].map(|key| table.get(key));
    let [source] = sources.as_slice() else {
        item.error(
            "needs exactly one of `value`, `answer`, `slots`, `dates`, `agent` and `agents`",
        );
        return None;
    };
    let refuse = |option: &Option<ValueReader<'_>>, why: &str| {
        if let Some(option) = option {
            option.key_error(why);
        }
    };
    let is_slots = source.key == "slots";
    let has_full = is_slots || source.key == "dates";
    if !is_slots {
        refuse(&day, "`day` is allowed only with `slots`");
    }
    if !has_full && source.key != "agents" {
        let why = "`limit` is allowed only with `slots`, `dates` and `agents`";
        refuse(&limit, why);
    }
    if !has_full {
        refuse(&show_full, "only `slots` and `dates` can have `show_full`");
    }
    let options = ChoiceListOptions {
        limit: table.integer("limit", CHOICES_MAX, 1..=CHOICES_MAX),
        show_full: table.boolean("show_full", false),
    };
    Some(match source.key {
        "value" => DataSource::Constant(source.text()?.to_owned()),
        "answer" => DataSource::Answer(read_reference(source, field_references)?),
        "slots" => DataSource::Slots {
            day_field: day.and_then(|day| read_reference(&day, field_references)),
            calendar: read_calendar_name(source, calendars)?,
            options,
        },
        "dates" => DataSource::Dates {
            calendar: read_calendar_name(source, calendars)?,
            options,
        },
        "agent" => DataSource::Agent {
            team: source.parse(TeamName::new)?,
        },
        _ => DataSource::Agents {
            team: source.parse(TeamName::new)?,
            options,
        },
    })
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{assert_errors_in, parse_valid};

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
        assert_errors_in(
            config,
            r#"
            {}
            => 7:28: flows.form.screens.data.x: needs exactly one of `value`, `answer`, `slots`, `dates`, `agent` and `agents`
            { value = "a", answer = "b" }
            => 7:28: flows.form.screens.data.x: needs exactly one of `value`, `answer`, `slots`, `dates`, `agent` and `agents`
            { slots = "chiar" }
            => 7:38: flows.form.screens.data.x.slots: there is no calendar "chiar": did you mean `chair`?
            { slots = "chair", day = "dya" }
            => 7:53: flows.form.screens.data.x.day: no screen has a field "dya": did you mean `day`?
            { answer = "advisor" }
            => 7:39: flows.form.screens.data.x.answer: no screen has a field "advisor": did you mean `adviser`?
            { slots = "chair", day = "adviser" }
            => 7:53: flows.form.screens.data.x.day: no screen has a field "adviser": expected `day`
            { dates = "chair", day = "day" }
            => 7:47: `day` is allowed only with `slots`
            { value = "a", limit = 3 }
            => 7:43: `limit` is allowed only with `slots`, `dates` and `agents`
            { agent = "a", show_full = true }
            => 7:43: only `slots` and `dates` can have `show_full`
            { slots = "chair", limit = 201 }
            => 7:55: flows.form.screens.data.x.limit: must be from 1 to 200, and is 201
            { dates = "chair", show_full = "gray" }
            => 7:59: flows.form.screens.data.x.show_full: must be true or false, and is a text
            { agents = "" }
            => 7:39: flows.form.screens.data.x.agents: team name is empty
            { value = 3 }
            => 7:38: flows.form.screens.data.x.value: must be a text in quotes, and is a whole number
            { valeu = "a" }
            => 7:28: flows.form.screens.data.x: needs exactly one of `value`, `answer`, `slots`, `dates`, `agent` and `agents`
            => 7:30: unknown key `valeu` in flows.form.screens.data.x: did you mean `value`?
            "a"
            => 7:28: flows.form.screens.data.x: must be a table, and is a text
            "#,
        );
        let booked =
            "[flows.form]\nscreens = [{ name = \"A\", final = true, data = { x = GIVEN } }]";
        assert_errors_in(
            |typed| booked.replace("GIVEN", typed),
            r#"
            { slots = "chair" }
            => 2:63: flows.form.screens.data.x.slots: there is no calendar "chair": add [calendars.NAME]
            "#,
        );
    }
}
