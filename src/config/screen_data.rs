//! `data` of a screen: where each value that it is given comes from.
//!
//! What the values are is `crate::domain::screen_data`'s.

use super::nearest::hint;
use super::raw::Table;
use super::value::Item;
use crate::domain::ids::{CalendarName, TeamName};
use crate::domain::screen_data::{CHOICES_MAX, Choices, Given};

/// The sources of a value: one of them must be named.
const SOURCES: [&str; 6] = ["value", "answer", "slots", "dates", "agent", "agents"];

/// Reads the table of values, in the order of the file.
pub(super) fn read(table: &Table<'_>, calendars: &[&str]) -> Vec<(String, Given)> {
    let one = |item: Item<'_>| {
        let given = item.table(|table| given(table, &item, calendars))??;
        Some((item.key.to_owned(), given))
    };
    table.named().into_iter().filter_map(one).collect()
}

/// Where one value comes from: exactly one of the sources.
fn given(table: &Table<'_>, item: &Item<'_>, calendars: &[&str]) -> Option<Given> {
    let found: Vec<Item<'_>> = SOURCES.iter().filter_map(|source| table.get(source)).collect();
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
    Some(match source.key {
        "value" => Given::Constant(source.text()?.to_owned()),
        "answer" => Given::Answer(source.some_text()?.to_owned()),
        "slots" => {
            let day = day.and_then(|day| day.some_text().map(str::to_owned));
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
            format!("{head}[flows.form]\nscreens = [{{ name = \"A\", final = true, data = {{ x = {given} }} }}]")
        };
        for good in [
            "{ value = \"\" }",
            "{ answer = \"a\" }",
            "{ dates = \"chair\" }",
            "{ slots = \"chair\", day = \"d\" }",
            "{ agent = \"sales\" }",
            "{ agents = \"sales\", most = 20 }",
            "{ slots = \"chair\", full = \"shown\", most = 1 }",
        ] {
            accepted(&config(good));
        }
        for (bad, why) in [
            ("{}", "needs exactly one of `value`, `answer`, `slots`, `dates`, `agent` and `agents`"),
            ("{ value = \"a\", answer = \"b\" }", "needs exactly one of"),
            ("{ slots = \"chiar\" }", "there is no calendar \"chiar\": did you mean `chair`?"),
            ("{ dates = \"chair\", day = \"d\" }", "only `slots` are of a day"),
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
