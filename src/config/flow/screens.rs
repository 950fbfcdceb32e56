//! Reads `[[flows.NAME.screens]]`. Checks that every screen can be reached and leads to a final
//! screen.
//!
//! See [`super::fields`] for fields, and [`super::screen_data`] for the
//! data of screens. See [`crate::domain::flow`] for the meaning of answers.

use std::collections::BTreeMap;

use super::{fields, screen_data};
use crate::config::reader::TableReader;
use crate::config::reader::value::ValueReader;
use crate::config::suggest::suggestion;
use crate::domain::flow::navigation::reachable_screens;
use crate::domain::flow::screen::{NextScreen, RefreshTrigger, Screen};

/// Screen, with the locations of its name and of all its references to screens and fields.
struct ParsedScreen<'d> {
    screen: Screen,
    name: ValueReader<'d>,
    /// Location of `next`. `None`: the screen has no `next`.
    next: Option<ValueReader<'d>>,
    /// References to screens: location and name.
    screens: Vec<(ValueReader<'d>, String)>,
    /// References to fields: location and name.
    fields: Vec<(ValueReader<'d>, String)>,
}

/// Reads the list of screens.
pub(in crate::config) fn read(list: &ValueReader<'_>, calendars: &[&str]) -> Vec<Screen> {
    let before = list.problem_count();
    let items = list.non_empty_list().unwrap_or_default();
    let typed: Vec<ParsedScreen<'_>> = items
        .iter()
        .filter_map(|item| item.read_table(|table| read_screen(table, calendars))?)
        .collect();
    if list.problem_count() == before {
        check_transitions(list, &typed);
    }
    if list.problem_count() == before {
        check_reachability(&typed);
    }
    typed.into_iter().map(|typed| typed.screen).collect()
}

fn read_screen<'d>(table: &TableReader<'d>, calendars: &[&str]) -> Option<ParsedScreen<'d>> {
    let name = table.require("name");
    let next = table.get("next");
    let (mut screens, mut named_fields) = (Vec::new(), Vec::new());
    let screen = Screen {
        name: name
            .as_ref()
            .and_then(ValueReader::non_empty_text)
            .unwrap_or_default()
            .to_owned(),
        is_final: table.boolean("final", false),
        next: next
            .as_ref()
            .map(|item| read_next(item, &mut screens, &mut named_fields))
            .unwrap_or_default(),
        refresh_on: table
            .get("refresh_on")
            .map(|item| read_refresh_on(&item, &mut named_fields))
            .unwrap_or_default(),
        fields: table
            .get("fields")
            .and_then(|item| item.read_named_table(fields::read))
            .unwrap_or_default(),
        data_sources: table
            .get("data")
            .and_then(|item| {
                item.read_named_table(|table| {
                    screen_data::read(table, calendars, &mut named_fields)
                })
            })
            .unwrap_or_default(),
    };
    Some(ParsedScreen {
        screen,
        name: name?,
        next,
        screens,
        fields: named_fields,
    })
}

/// Reads `next`: a screen, or `{ field = "…", cases = { VALUE = "SCREEN" }, default = "SCREEN" }`.
fn read_next<'d>(
    item: &ValueReader<'d>,
    screens: &mut Vec<(ValueReader<'d>, String)>,
    field_references: &mut Vec<(ValueReader<'d>, String)>,
) -> NextScreen {
    let mut screen = |item: &ValueReader<'d>| {
        let name = item.non_empty_text()?.to_owned();
        screens.push((item.clone(), name.clone()));
        Some(name)
    };
    if !item.is_table() {
        return screen(item).map(NextScreen::Screen).unwrap_or_default();
    }
    let by_field = item.read_table(|table| {
        let field = table.require("field").and_then(|item| {
            let name = item.non_empty_text()?.to_owned();
            field_references.push((item, name.clone()));
            Some(name)
        });
        let cases = table
            .require("cases")
            .and_then(|item| item.read_named_table(TableReader::entries));
        let cases = cases
            .into_iter()
            .flatten()
            .filter_map(|item| Some((item.key.to_owned(), screen(&item)?)));
        let cases: BTreeMap<String, String> = cases.collect();
        let default = table.get("default").and_then(|item| screen(&item));
        Some(NextScreen::ByField {
            field: field?,
            cases,
            default,
        })
    });
    by_field.flatten().unwrap_or_default()
}

/// Reads `refresh_on`: names of fields, or `{ FIELD = "VALUE" }`, or
/// `{ FIELD = ["VALUE", "VALUE"] }`.
fn read_refresh_on<'d>(
    item: &ValueReader<'d>,
    field_references: &mut Vec<(ValueReader<'d>, String)>,
) -> RefreshTrigger {
    if !item.is_table() {
        let fields = item
            .non_empty_list()
            .unwrap_or_default()
            .into_iter()
            .filter_map(|item| {
                let name = item.non_empty_text()?.to_owned();
                field_references.push((item, name.clone()));
                Some(name)
            });
        return RefreshTrigger::Fields(fields.collect());
    }
    let mark = |item: ValueReader<'d>| {
        let values = if item.is_list() {
            item.non_empty_list()?
        } else {
            vec![item.clone()]
        };
        let values = values
            .iter()
            .filter_map(|value| value.non_empty_text().map(str::to_owned))
            .collect();
        Some((item.key.to_owned(), values))
    };
    let marks = item
        .read_named_table(TableReader::entries)
        .unwrap_or_default();
    if marks.is_empty() {
        item.error("must name at least one field");
    }
    RefreshTrigger::FieldValues(marks.into_iter().filter_map(mark).collect())
}

/// Checks that names are unique, that referenced screens and fields exist, and that the form can
/// reach a final screen.
fn check_transitions(list: &ValueReader<'_>, typed: &[ParsedScreen<'_>]) {
    let names = || typed.iter().map(|typed| typed.screen.name.as_str());
    for (
        number,
        ParsedScreen {
            screen,
            name,
            next,
            screens,
            fields,
        },
    ) in typed.iter().enumerate()
    {
        if names().take(number).any(|earlier| earlier == screen.name) {
            name.error(format!("there are two screens {:?}", screen.name));
        }
        if let Some(next) = next.as_ref().filter(|_| screen.is_final) {
            next.error(format!(
                "screen {:?} is final: nothing can follow it",
                screen.name
            ));
            continue;
        }
        for (item, next) in screens
            .iter()
            .filter(|(_, next)| !names().any(|name| name == next))
        {
            item.error(format!(
                "there is no screen {next:?}{}",
                suggestion(next, names())
            ));
        }
        for (item, field) in fields {
            // `refresh_on` names fields of the same screen. Other references may name a field of
            // any screen. `answer` may also name an agent whom a screen shows.
            let is_chosen = item.key == "refresh_on";
            let is_searched =
                |other: &&ParsedScreen<'_>| !is_chosen || other.screen.name == screen.name;
            let declared = || {
                typed
                    .iter()
                    .filter(is_searched)
                    .flat_map(|typed| &typed.screen.fields)
            };
            let shown = typed
                .iter()
                .filter(|_| item.key == "answer")
                .flat_map(|typed| typed.screen.shown_agent_names());
            let known: Vec<&str> = declared()
                .map(|field| field.name.as_str())
                .chain(shown)
                .collect();
            // Without declared fields, `day` and `answer` may have any name, because an upstream
            // may know the field.
            let is_open = declared().next().is_none() && matches!(item.key, "day" | "answer");
            if !known.contains(&field.as_str()) && !is_open {
                let which = if is_chosen {
                    "this screen has no"
                } else {
                    "no screen has a"
                };
                item.error(format!(
                    "{which} field {field:?}{}",
                    suggestion(field, known)
                ));
            }
        }
    }
    if !typed.iter().any(|typed| typed.screen.is_final) {
        list.error("no screen is final: write `final = true` in the one that completes the form");
    } else if let Some(last) = typed
        .last()
        .filter(|last| !last.screen.is_final && falls_through(&last.screen))
    {
        let name = &last.screen.name;
        last.name.error(format!(
            "nothing follows the last screen, {name:?}: set `final = true` or `next`"
        ));
    }
}

/// Returns `true` if the screen may lead to the screen declared after it.
const fn falls_through(screen: &Screen) -> bool {
    matches!(
        screen.next,
        NextScreen::Following | NextScreen::ByField { default: None, .. }
    )
}

/// Checks that every screen can be reached from the first, and that every screen leads to a final
/// screen.
fn check_reachability(typed: &[ParsedScreen<'_>]) {
    let screens: Vec<Screen> = typed.iter().map(|typed| typed.screen.clone()).collect();
    let reached = reachable_screens(&screens, screens.first());
    for ParsedScreen { screen, name, .. } in typed {
        if !reached.iter().any(|known| known.name == screen.name) {
            name.error(format!(
                "no screen leads to screen {:?}: name it in a `next`, or remove it",
                screen.name
            ));
        }
        if !reachable_screens(&screens, Some(screen))
            .iter()
            .any(|end| end.is_final)
        {
            name.error(format!(
                "from screen {:?} no final screen can be reached",
                screen.name
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{assert_refused, error_of, parse_valid};

    fn assert_screens_refused(list: &str, expected: &str) {
        assert_refused(
            "[flows.form]",
            &[(&format!("screens = [{list}]"), &format!("2:{expected}"))],
        );
    }

    #[test]
    fn next_by_field_names_existing_field_and_screens() {
        let config = |first: &str| {
            format!(
                "[[flows.form.screens]]\nname = \"A\"\n{first}\nfields = {{ kind = {{}}, day = {{}} }}\n\
                 [[flows.form.screens]]\nname = \"B\"\n[[flows.form.screens]]\nname = \"C\"\nfinal = true\n"
            )
        };
        for good in [
            "next = { field = \"kind\", cases = { x = \"C\" } }",
            "next = { field = \"kind\", cases = { x = \"C\", y = \"B\" }, default = \"B\" }",
            "refresh_on = [\"day\"]",
            "refresh_on = { trigger = \"day\" }",
            "refresh_on = { trigger = [\"day\", \"kind\"] }",
        ] {
            parse_valid(&config(good));
        }
        for (bad, why) in [
            (
                "next = { field = \"kind\", cases = { x = \"D\" } }",
                "next.cases.x: there is no screen \"D\"",
            ),
            (
                "next = { field = \"knid\", cases = { x = \"C\" } }",
                "no screen has a field \"knid\": did you mean `kind`?",
            ),
            ("next = { cases = { x = \"C\" } }", "`field` is missing"),
            ("next = { field = \"kind\" }", "`cases` is missing"),
            (
                "next = { field = \"kind\", cases = {}, else = \"B\" }",
                "unknown key `else`",
            ),
            (
                "next = 3",
                "next: must be a text in quotes, and is a whole number",
            ),
            ("next = \"C\"", "no screen leads to screen \"B\""),
            (
                "next = { field = \"kind\", cases = { x = \"C\" }, default = \"C\" }",
                "no screen leads to screen \"B\"",
            ),
            (
                "refresh_on = [\"dya\"]",
                "this screen has no field \"dya\": did you mean `day`?",
            ),
            ("refresh_on = []", "refresh_on: is empty"),
            ("refresh_on = {}", "must name at least one field"),
            ("refresh_on = { trigger = 3 }", "must be a text"),
            ("refresh_on = \"day\"", "must be a list"),
        ] {
            let error = error_of(&config(bad));
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn every_screen_leads_to_final_screen() {
        let screens = "{ name = \"A\", next = { field = \"a\", cases = { x = \"B\" }, default = \"D\" }, fields = { a = {} } }, \
                       { name = \"B\" }, { name = \"C\", next = \"B\" }, { name = \"D\", final = true }";
        let error = error_of(&format!("[flows.form]\nscreens = [{screens}]"));
        assert!(
            error.contains("from screen \"B\" no final screen can be reached"),
            "{error}"
        );
        assert!(
            error.contains("from screen \"C\" no final screen can be reached"),
            "{error}"
        );
    }

    #[test]
    fn screens_are_unique_and_reach_final_screen() {
        assert_screens_refused(
            "",
            "11: flows.form.screens: is empty: remove it, or add at least one entry",
        );
        assert_screens_refused(
            "\"A\"",
            "12: flows.form.screens: must be a table, and is a text",
        );
        assert_screens_refused(
            "{ final = true }",
            "12: flows.form.screens: `name` is missing",
        );
        assert_screens_refused(
            "{ name = \"\", final = true }",
            "21: flows.form.screens.name: is empty",
        );
        assert_screens_refused(
            "{ name = \"A\" }",
            "11: flows.form.screens: no screen is final: write `final = true` in the one that completes the form",
        );
        assert_screens_refused(
            "{ name = \"A\" }, { name = \"A\", final = true }",
            "37: flows.form.screens.name: there are two screens \"A\"",
        );
        assert_screens_refused(
            "{ name = \"ONE\", next = \"TOW\" }, { name = \"TWO\", final = true }",
            "35: flows.form.screens.next: there is no screen \"TOW\": did you mean `TWO`?",
        );
        assert_screens_refused(
            "{ name = \"A\", final = true, next = \"A\" }",
            "47: flows.form.screens.next: screen \"A\" is final: nothing can follow it",
        );
        assert_screens_refused(
            "{ name = \"A\", final = true }, { name = \"B\" }",
            "51: flows.form.screens.name: nothing follows the last screen, \"B\": set `final = true` or `next`",
        );
        assert_screens_refused(
            "{ name = \"A\", finl = true }",
            "26: unknown key `finl` in flows.form.screens: did you mean `final`?",
        );
    }
}
