//! `data` of a screen: where each value that it is given comes from.
//!
//! Whether the fields that it names are there is seen by `screens`, once all are read. What the values are is
//! `crate::domain::screen_data`'s.

use super::nearest::hint;
use super::raw::Table;
use super::value::Item;
use crate::domain::ids::{CalendarName, TeamName};
use crate::domain::screen_data::{CHOICES_MAX, Choices, Given};

/// The sources of a value: one of them must be named.
const SOURCES: [&str; 6] = ["value", "answer", "slots", "dates", "agent", "agents"];

/// Reads the table of values, in the order of the file. The fields that it names come to those that are `named`.
pub(super) fn read<'d>(
    table: &Table<'d>,
    calendars: &[&str],
    named: &mut Vec<(Item<'d>, String)>,
) -> Vec<(String, Given)> {
    let one = |item: Item<'d>| {
        let given = item.table(|table| given(table, &item, calendars, named))??;
        Some((item.key.to_owned(), given))
    };
    table.named().into_iter().filter_map(one).collect()
}

/// Where one value comes from: exactly one of the sources.
fn given<'d>(
    table: &Table<'d>,
    item: &Item<'d>,
    calendars: &[&str],
    named: &mut Vec<(Item<'d>, String)>,
) -> Option<Given> {
    let found: Vec<Item<'d>> = SOURCES.iter().filter_map(|source| table.get(source)).collect();
    let (day, most, full) = (table.get("day"), table.get("most"), table.get("full"));
    let [source] = found.as_slice() else {
        item.refuse("needs exactly one of `value`, `answer`, `slots`, `dates`, `agent` and `agents`");
        return None;
    };
    let is_list = matches!(source.key, "slots" | "dates" | "agents");
    let has_full = matches!(source.key, "slots" | "dates");
    if let Some(day) = day.as_ref().filter(|_| source.key != "slots") {
        day.refuse_key("only `slots` are of a day");
    }
    if let Some(most) = most.as_ref().filter(|_| !is_list) {
        most.refuse_key("only a list has `most`");
    }
    if let Some(full) = full.as_ref().filter(|_| !has_full) {
        full.refuse_key("only `slots` and `dates` can be `full`");
    }
    let choices = Choices {
        most: most.and_then(|item| item.integer(1..=CHOICES_MAX)).unwrap_or(CHOICES_MAX),
        with_full: full.and_then(|item| item.word(&["hidden", "shown"])) == Some("shown"),
    };
    let mut field = |item: &Item<'d>| {
        let name = item.some_text()?.to_owned();
        named.push((item.clone(), name.clone()));
        Some(name)
    };
    Some(match source.key {
        "value" => Given::Constant(source.text()?.to_owned()),
        "answer" => Given::Answer(field(source)?),
        "slots" => {
            let day = day.and_then(|day| field(&day));
            Given::Slots { calendar: calendar(source, calendars)?, day, choices }
        }
        "dates" => Given::Dates { calendar: calendar(source, calendars)?, choices },
        "agent" => Given::Agent { team: source.parsed(TeamName::new)? },
        _ => Given::Agents { team: source.parsed(TeamName::new)?, choices },
    })
}

fn calendar(typed: &Item<'_>, calendars: &[&str]) -> Option<CalendarName> {
    let name = typed.text()?;
    if !calendars.contains(&name) {
        typed.refuse(format!("there is no calendar {name:?}{}", hint(name, calendars.iter().copied())));
        return None;
    }
    CalendarName::new(name).ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, refused};

    #[test]
    fn what_a_screen_is_given_comes_from_one_place_that_is_there() {
        let head = "[calendars.chair]\ntimezone = \"UTC\"\nslot = \"1h\"\nopen = { mon = [\"09:00-17:00\"] }\n";
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
            "{ agents = \"sales\", most = 20 }",
            "{ slots = \"chair\", full = \"shown\", most = 1 }",
        ] {
            accepted(&config(good));
        }
        accepted("[flows.form]\nscreens = [{ name = \"A\", final = true, data = { x = { answer = \"any\" } } }]");
        for (bad, why) in [
            ("{}", "needs exactly one of `value`, `answer`, `slots`, `dates`, `agent` and `agents`"),
            ("{ value = \"a\", answer = \"b\" }", "needs exactly one of"),
            ("{ slots = \"chiar\" }", "there is no calendar \"chiar\": did you mean `chair`?"),
            (
                "{ slots = \"chair\", day = \"dya\" }",
                "config.toml:7:53: flows.form.screens.data.x.day: no screen has a field \"dya\": did you mean `day`?",
            ),
            (
                "{ answer = \"advisor\" }",
                "config.toml:7:39: flows.form.screens.data.x.answer: no screen has a field \"advisor\": did you mean `adviser`?",
            ),
            ("{ slots = \"chair\", day = \"adviser\" }", "x.day: no screen has a field \"adviser\": there is `day`"),
            ("{ dates = \"chair\", day = \"day\" }", "only `slots` are of a day"),
            ("{ value = \"a\", most = 3 }", "only a list has `most`"),
            ("{ agent = \"a\", full = \"shown\" }", "only `slots` and `dates` can be `full`"),
            ("{ slots = \"chair\", most = 201 }", "must be from 1 to 200, and is 201"),
            ("{ dates = \"chair\", full = \"gray\" }", "there are `hidden`, `shown`"),
            ("{ agents = \"\" }", "team name is empty"),
            ("{ value = 3 }", "must be a text"),
            ("{ valeu = \"a\" }", "did you mean `value`?"),
            ("\"a\"", "must be a table"),
        ] {
            let said = refused(&config(bad));
            assert!(said.contains(why), "{bad}: {said}");
        }
    }
}
