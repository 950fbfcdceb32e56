//! Reads `[[flows.NAME.screens]]`. Checks that every screen can be reached and leads to a final
//! screen.
//!
//! See [`super::fields`] for fields, and [`super::screen_data`] for the
//! data of screens. See [`crate::domain::flow`] for the meaning of answers.

use super::fields;
use super::screen_data::{self, read_reference};
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
    screen_references: Vec<ValueReader<'d>>,
    field_references: Vec<ValueReader<'d>>,
}

/// Reads the list of screens.
pub fn read(list: &ValueReader<'_>, calendars: &[&str]) -> Vec<Screen> {
    let before = list.problem_count();
    let parsed = list.read_items(|item| item.read_table(|table| read_screen(table, calendars))?);
    if list.problem_count() == before {
        check_transitions(list, &parsed);
    }
    if list.problem_count() == before {
        check_reachability(&parsed);
    }
    parsed.into_iter().map(|parsed| parsed.screen).collect()
}

fn read_screen<'d>(table: &TableReader<'d>, calendars: &[&str]) -> Option<ParsedScreen<'d>> {
    let name = table.require("name");
    let next = table.get("next");
    let (mut screen_references, mut field_references) = (Vec::new(), Vec::new());
    let screen = Screen {
        name: name
            .as_ref()
            .and_then(ValueReader::non_empty_text)
            .unwrap_or_default()
            .to_owned(),
        is_final: table.boolean("final", false),
        next: next
            .as_ref()
            .and_then(|item| read_next(item, &mut screen_references, &mut field_references))
            .unwrap_or_default(),
        refresh_on: table
            .get("refresh_on")
            .map(|item| read_refresh_on(&item, &mut field_references))
            .unwrap_or_default(),
        fields: table.read("fields", fields::read).unwrap_or_default(),
        data_sources: table
            .read("data", |item| {
                screen_data::read(item, calendars, &mut field_references)
            })
            .unwrap_or_default(),
    };
    Some(ParsedScreen {
        screen,
        name: name?,
        next,
        screen_references,
        field_references,
    })
}

/// Reads `next`: a screen, or `{ field = "…", cases = { VALUE = "SCREEN" }, default = "SCREEN" }`.
fn read_next<'d>(
    item: &ValueReader<'d>,
    screen_references: &mut Vec<ValueReader<'d>>,
    field_references: &mut Vec<ValueReader<'d>>,
) -> Option<NextScreen> {
    let mut screen = |item: &ValueReader<'d>| read_reference(item, screen_references);
    if !item.is_table() {
        return screen(item).map(NextScreen::Screen);
    }
    item.read_table(|table| {
        let field = table
            .require("field")
            .and_then(|item| read_reference(&item, field_references));
        let cases = table.require("cases").map(|_| table.named_entries("cases"));
        let cases = cases.into_iter().flatten();
        let cases = cases.filter_map(|item| Some((item.key.to_owned(), screen(&item)?)));
        Some(NextScreen::ByField {
            cases: cases.collect(),
            default: table.get("default").and_then(|item| screen(&item)),
            field: field?,
        })
    })?
}

/// Reads `refresh_on`: names of fields, or `{ FIELD = "VALUE" }`, or
/// `{ FIELD = ["VALUE", "VALUE"] }`.
fn read_refresh_on<'d>(
    item: &ValueReader<'d>,
    field_references: &mut Vec<ValueReader<'d>>,
) -> RefreshTrigger {
    if !item.is_table() {
        let fields = item.read_items(|item| read_reference(item, field_references));
        return RefreshTrigger::Fields(fields);
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
    let marks = item.entries().unwrap_or_default();
    if marks.is_empty() {
        item.error("must name at least one field");
    }
    RefreshTrigger::FieldValues(marks.into_iter().filter_map(mark).collect())
}

/// Checks that names are unique, that referenced screens and fields exist, and that the form can
/// reach a final screen.
fn check_transitions(list: &ValueReader<'_>, parsed: &[ParsedScreen<'_>]) {
    let names = parsed.iter().map(|parsed| parsed.screen.name.as_str());
    let names: Vec<&str> = names.collect();
    for (number, ParsedScreen { screen, name, .. }) in parsed.iter().enumerate() {
        let mut earlier = names.iter().take(number);
        if earlier.any(|earlier| *earlier == screen.name) {
            name.error(format!("there are two screens {:?}", screen.name));
        }
    }
    for each in parsed {
        if let Some(next) = each.next.as_ref().filter(|_| each.screen.is_final) {
            next.error(format!(
                "screen {:?} is final: nothing can follow it",
                each.screen.name
            ));
            continue;
        }
        for item in &each.screen_references {
            item.known_name("screen", &names);
        }
        for item in &each.field_references {
            check_field_reference(item, &each.screen, parsed);
        }
    }
    if !parsed.iter().any(|parsed| parsed.screen.is_final) {
        list.error("no screen is final: write `final = true` in the one that completes the form");
    } else if let Some(last) = parsed.last()
        && !last.screen.is_final
        && falls_through(&last.screen)
    {
        let name = &last.screen.name;
        last.name.error(format!(
            "nothing follows the last screen, {name:?}: set `final = true` or `next`"
        ));
    }
}

/// Checks that a field exists. `refresh_on` names fields of the same screen. Other references may
/// name a field of any screen. `answer` may also name an agent whom a screen shows.
fn check_field_reference(item: &ValueReader<'_>, screen: &Screen, parsed: &[ParsedScreen<'_>]) {
    let Some(field) = item.text() else { return };
    let is_chosen = item.key == "refresh_on";
    let screens = || parsed.iter().map(|parsed| &parsed.screen);
    let declared = screens()
        .filter(|other| !is_chosen || other.name == screen.name)
        .flat_map(|other| &other.fields);
    let mut known: Vec<&str> = declared.map(|field| field.name.as_str()).collect();
    // Without declared fields, `day` and `answer` may have any name, because an upstream may know
    // the field.
    let is_open = known.is_empty() && matches!(item.key, "day" | "answer");
    if item.key == "answer" {
        known.extend(screens().flat_map(Screen::shown_agent_names));
    }
    if !known.contains(&field) && !is_open {
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

/// Returns `true` if the screen may lead to the screen declared after it.
const fn falls_through(screen: &Screen) -> bool {
    matches!(
        screen.next,
        NextScreen::Following | NextScreen::ByField { default: None, .. }
    )
}

/// Checks that every screen can be reached from the first, and that every screen leads to a final
/// screen.
fn check_reachability(parsed: &[ParsedScreen<'_>]) {
    let screens: Vec<Screen> = parsed.iter().map(|parsed| parsed.screen.clone()).collect();
    let reached = reachable_screens(&screens, screens.first());
    for ParsedScreen { screen, name, .. } in parsed {
        if !reached.iter().any(|known| known.name == screen.name) {
            name.error(format!(
                "no screen leads to screen {:?}: name it in a `next`, or remove it",
                screen.name
            ));
        }
        let ends = reachable_screens(&screens, Some(screen));
        if !ends.iter().any(|end| end.is_final) {
            name.error(format!(
                "from screen {:?} no final screen can be reached",
                screen.name
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{assert_errors_in, parse_valid};

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
        assert_errors_in(
            config,
            r#"
            next = { field = "kind", cases = { x = "D" } }
            => 3:40: flows.form.screens.next.cases.x: there is no screen "D": did you mean `A`?
            next = { field = "knid", cases = { x = "C" } }
            => 3:18: flows.form.screens.next.field: no screen has a field "knid": did you mean `kind`?
            next = { cases = { x = "C" } }
            => 3:8: flows.form.screens.next: `field` is missing
            next = { field = "kind" }
            => 3:8: flows.form.screens.next: `cases` is missing
            next = { field = "kind", cases = {}, else = "B" }
            => 3:38: unknown key `else` in flows.form.screens.next: expected one of `field`, `cases`, `default`
            next = 3
            => 3:8: flows.form.screens.next: must be a text in quotes, and is a whole number
            next = "C"
            => 6:8: flows.form.screens.name: no screen leads to screen "B": name it in a `next`, or remove it
            next = { field = "kind", cases = { x = "C" }, default = "C" }
            => 6:8: flows.form.screens.name: no screen leads to screen "B": name it in a `next`, or remove it
            refresh_on = ["dya"]
            => 3:15: flows.form.screens.refresh_on: this screen has no field "dya": did you mean `day`?
            refresh_on = []
            => 3:14: flows.form.screens.refresh_on: is empty: remove it, or add at least one entry
            refresh_on = {}
            => 3:14: flows.form.screens.refresh_on: must name at least one field
            refresh_on = { trigger = 3 }
            => 3:26: flows.form.screens.refresh_on.trigger: must be a text in quotes, and is a whole number
            refresh_on = "day"
            => 3:14: flows.form.screens.refresh_on: must be a list in brackets, and is a text
            "#,
        );
    }

    #[test]
    fn screens_are_unique_and_all_reach_final_screen() {
        assert_errors_in(
            |typed| format!("[flows.form]\nscreens = [{typed}]\n"),
            r#"
            => 2:11: flows.form.screens: is empty: remove it, or add at least one entry
            "A"
            => 2:12: flows.form.screens: must be a table, and is a text
            { final = true }
            => 2:12: flows.form.screens: `name` is missing
            { name = "", final = true }
            => 2:21: flows.form.screens.name: is empty
            { name = "A" }
            => 2:11: flows.form.screens: no screen is final: write `final = true` in the one that completes the form
            { name = "A" }, { name = "A", final = true }
            => 2:37: flows.form.screens.name: there are two screens "A"
            { name = "ONE", next = "TOW" }, { name = "TWO", final = true }
            => 2:35: flows.form.screens.next: there is no screen "TOW": did you mean `TWO`?
            { name = "A", final = true, next = "A" }
            => 2:47: flows.form.screens.next: screen "A" is final: nothing can follow it
            { name = "A", final = true }, { name = "B" }
            => 2:51: flows.form.screens.name: nothing follows the last screen, "B": set `final = true` or `next`
            { name = "A", next = { field = "a", cases = { x = "B" }, default = "D" }, fields = { a = {} } }, { name = "B" }, { name = "C", next = "B" }, { name = "D", final = true }
            => 2:118: flows.form.screens.name: from screen "B" no final screen can be reached
            => 2:134: flows.form.screens.name: from screen "C" no final screen can be reached
            { name = "A", finl = true }
            => 2:26: unknown key `finl` in flows.form.screens: did you mean `final`?
            "#,
        );
    }
}
