//! `[[flows.NAME.screens]]`: screens that can be reached, hang together, and lead to an end.
//!
//! Their fields are read by `fields`, what they are given by `screen_data`. What a screen's answer then means is
//! `crate::domain`'s.

use std::collections::BTreeMap;

use super::nearest::hint;
use super::raw::Table;
use super::value::Item;
use super::{fields, screen_data};
use crate::domain::screen::{Next, Screen, Select, reach};

/// A screen, where its name was typed, and every place that names another screen or a field.
struct Typed<'d> {
    screen: Screen,
    name: Item<'d>,
    /// Its `next`, if it has one.
    next: Option<Item<'d>>,
    /// Screens that it names.
    screens: Vec<(Item<'d>, String)>,
    /// Fields that it names.
    fields: Vec<(Item<'d>, String)>,
}

/// Reads the list of screens.
pub(super) fn read(list: &Item<'_>, calendars: &[&str]) -> Vec<Screen> {
    let before = list.problems_so_far();
    let items = list.some_items().unwrap_or_default();
    let typed: Vec<Typed<'_>> = items.iter().filter_map(|item| item.table(|table| screen(table, calendars))?).collect();
    if list.problems_so_far() == before {
        check_ways(list, &typed);
    }
    if list.problems_so_far() == before {
        check_reach(&typed);
    }
    typed.into_iter().map(|typed| typed.screen).collect()
}

fn screen<'d>(table: &Table<'d>, calendars: &[&str]) -> Option<Typed<'d>> {
    let name = table.need("name");
    let next = table.get("next");
    let (mut screens, mut named_fields) = (Vec::new(), Vec::new());
    let screen = Screen {
        name: name.as_ref().and_then(Item::some_text).unwrap_or_default().to_owned(),
        is_final: table.boolean("final", false),
        next: next.as_ref().map(|item| way(item, &mut screens, &mut named_fields)).unwrap_or_default(),
        select: table.get("select").map(|item| select(&item, &mut named_fields)).unwrap_or_default(),
        fields: table.get("fields").and_then(|item| item.names(fields::read)).unwrap_or_default(),
        data: table
            .get("data")
            .and_then(|item| item.names(|table| screen_data::read(table, calendars, &mut named_fields)))
            .unwrap_or_default(),
    };
    Some(Typed { screen, name: name?, next, screens, fields: named_fields })
}

/// `next`: a screen, or `{ field = "…", is = { VALUE = "SCREEN" }, otherwise = "SCREEN" }`.
fn way<'d>(item: &Item<'d>, screens: &mut Vec<(Item<'d>, String)>, named: &mut Vec<(Item<'d>, String)>) -> Next {
    let mut screen = |item: &Item<'d>| {
        let name = item.some_text()?.to_owned();
        screens.push((item.clone(), name.clone()));
        Some(name)
    };
    if !item.is_table() {
        return screen(item).map(Next::Screen).unwrap_or_default();
    }
    let by_field = item.table(|table| {
        let field = table.need("field").and_then(|item| {
            let name = item.some_text()?.to_owned();
            named.push((item, name.clone()));
            Some(name)
        });
        let to = table.need("is").and_then(|item| item.names(Table::named));
        let to = to.into_iter().flatten().filter_map(|item| Some((item.key.to_owned(), screen(&item)?)));
        let to: BTreeMap<String, String> = to.collect();
        let otherwise = table.get("otherwise").and_then(|item| screen(&item));
        Some(Next::ByField { field: field?, to, otherwise })
    });
    by_field.flatten().unwrap_or_default()
}

/// `select`: names of fields, or `{ FIELD = "VALUE" }`, or `{ FIELD = ["VALUE", "VALUE"] }`.
fn select<'d>(item: &Item<'d>, named: &mut Vec<(Item<'d>, String)>) -> Select {
    if !item.is_table() {
        let fields = item.some_items().unwrap_or_default().into_iter().filter_map(|item| {
            let name = item.some_text()?.to_owned();
            named.push((item, name.clone()));
            Some(name)
        });
        return Select::Fields(fields.collect());
    }
    let mark = |item: Item<'d>| {
        let values = if item.is_list() { item.some_items()? } else { vec![item.clone()] };
        let values = values.iter().filter_map(|value| value.some_text().map(str::to_owned)).collect();
        Some((item.key.to_owned(), values))
    };
    let marks = item.names(Table::named).unwrap_or_default();
    if marks.is_empty() {
        item.refuse("names no field");
    }
    Select::Marked(marks.into_iter().filter_map(mark).collect())
}

/// Whether each screen leads somewhere, and the form to an end.
fn check_ways(list: &Item<'_>, typed: &[Typed<'_>]) {
    let names = || typed.iter().map(|typed| typed.screen.name.as_str());
    for (number, Typed { screen, name, next, screens, fields }) in typed.iter().enumerate() {
        if names().take(number).any(|earlier| earlier == screen.name) {
            name.refuse(format!("there are two screens {:?}", screen.name));
        }
        if let Some(next) = next.as_ref().filter(|_| screen.is_final) {
            next.refuse(format!("screen {:?} is final: nothing can follow it", screen.name));
            continue;
        }
        for (item, next) in screens.iter().filter(|(_, next)| !names().any(|name| name == next)) {
            item.refuse(format!("there is no screen {next:?}{}", hint(next, names())));
        }
        for (item, field) in fields {
            // What is chosen is chosen here; all else may have been answered on another screen, or shown to be kept.
            let is_chosen = item.key == "select";
            let of = |other: &&Typed<'_>| !is_chosen || other.screen.name == screen.name;
            let declared = || typed.iter().filter(of).flat_map(|typed| &typed.screen.fields);
            let shown = typed.iter().filter(|_| item.key == "answer").flat_map(|typed| typed.screen.agents_shown());
            let known: Vec<&str> = declared().map(|field| field.name.as_str()).chain(shown).collect();
            // Where none is declared, screens have whatever a program knows of them.
            let is_open = declared().next().is_none() && matches!(item.key, "day" | "answer");
            if !known.contains(&field.as_str()) && !is_open {
                let which = if is_chosen { "this screen has no field, so none" } else { "no screen" };
                item.refuse(format!("{which} has a field {field:?}{}", hint(field, known)));
            }
        }
    }
    if !typed.iter().any(|typed| typed.screen.is_final) {
        list.refuse("no screen is final: write `final = true` in the one that completes the form");
    } else if let Some(last) = typed.last().filter(|last| !last.screen.is_final && falls_through(&last.screen)) {
        let name = &last.screen.name;
        last.name.refuse(format!("nothing follows the last screen, {name:?}: make it final or give it a `next`"));
    }
}

/// Whether it may lead to the screen declared after it.
const fn falls_through(screen: &Screen) -> bool {
    matches!(screen.next, Next::Following | Next::ByField { otherwise: None, .. })
}

/// Whether each screen can be reached from the first, and the end from each.
fn check_reach(typed: &[Typed<'_>]) {
    let screens: Vec<Screen> = typed.iter().map(|typed| typed.screen.clone()).collect();
    let reached = reach(&screens, screens.first());
    for Typed { screen, name, .. } in typed {
        if !reached.iter().any(|known| known.name == screen.name) {
            name.refuse(format!("nothing leads to screen {:?}: let a `next` name it, or take it out", screen.name));
        }
        if !reach(&screens, Some(screen)).iter().any(|end| end.is_final) {
            name.refuse(format!("from screen {:?} no way leads to a final screen", screen.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, assert_refused, refused};

    fn screens(list: &str, expected: &str) {
        assert_refused("[flows.form]", &[(&format!("screens = [{list}]"), &format!("2:{expected}"))]);
    }

    #[test]
    fn what_comes_next_may_depend_on_a_field_that_is_there() {
        let config = |first: &str| {
            format!(
                "[[flows.form.screens]]\nname = \"A\"\n{first}\nfields = {{ kind = {{}}, day = {{}} }}\n\
                 [[flows.form.screens]]\nname = \"B\"\n[[flows.form.screens]]\nname = \"C\"\nfinal = true\n"
            )
        };
        for good in [
            "next = { field = \"kind\", is = { x = \"C\" } }",
            "next = { field = \"kind\", is = { x = \"C\", y = \"B\" }, otherwise = \"B\" }",
            "select = [\"day\"]",
            "select = { trigger = \"day\" }",
            "select = { trigger = [\"day\", \"kind\"] }",
        ] {
            accepted(&config(good));
        }
        for (bad, why) in [
            ("next = { field = \"kind\", is = { x = \"D\" } }", "next.is.x: there is no screen \"D\""),
            ("next = { field = \"knid\", is = { x = \"C\" } }", "no screen has a field \"knid\": did you mean `kind`?"),
            ("next = { is = { x = \"C\" } }", "`field` is missing"),
            ("next = { field = \"kind\" }", "`is` is missing"),
            ("next = { field = \"kind\", is = {}, else = \"B\" }", "unknown key `else`"),
            ("next = 3", "next: must be a text in quotes, and is a whole number"),
            ("next = \"C\"", "nothing leads to screen \"B\""),
            ("next = { field = \"kind\", is = { x = \"C\" }, otherwise = \"C\" }", "nothing leads to screen \"B\""),
            ("select = [\"dya\"]", "has a field \"dya\": did you mean `day`?"),
            ("select = []", "select: is empty"),
            ("select = {}", "names no field"),
            ("select = { trigger = 3 }", "must be a text"),
            ("select = \"day\"", "must be a list"),
        ] {
            let said = refused(&config(bad));
            assert!(said.contains(why), "{bad}: {said}");
        }
    }

    #[test]
    fn from_every_screen_a_way_leads_to_the_end() {
        let screens = "{ name = \"A\", next = { field = \"a\", is = { x = \"B\" }, otherwise = \"D\" }, fields = { a = {} } }, \
                       { name = \"B\" }, { name = \"C\", next = \"B\" }, { name = \"D\", final = true }";
        let said = refused(&format!("[flows.form]\nscreens = [{screens}]"));
        assert!(said.contains("from screen \"B\" no way leads to a final screen"), "{said}");
        assert!(said.contains("from screen \"C\" no way leads to a final screen"), "{said}");
    }

    #[test]
    fn screens_have_names_of_their_own_and_lead_to_an_end() {
        screens("", "11: flows.form.screens: is empty: leave it out, or put something in");
        screens("\"A\"", "12: flows.form.screens: must be a table, and is a text");
        screens("{ final = true }", "12: flows.form.screens: `name` is missing");
        screens("{ name = \"\", final = true }", "21: flows.form.screens.name: is empty");
        screens(
            "{ name = \"A\" }",
            "11: flows.form.screens: no screen is final: write `final = true` in the one that completes the form",
        );
        screens(
            "{ name = \"A\" }, { name = \"A\", final = true }",
            "37: flows.form.screens.name: there are two screens \"A\"",
        );
        screens(
            "{ name = \"ONE\", next = \"TOW\" }, { name = \"TWO\", final = true }",
            "35: flows.form.screens.next: there is no screen \"TOW\": did you mean `TWO`?",
        );
        screens(
            "{ name = \"A\", final = true, next = \"A\" }",
            "47: flows.form.screens.next: screen \"A\" is final: nothing can follow it",
        );
        screens(
            "{ name = \"A\", final = true }, { name = \"B\" }",
            "51: flows.form.screens.name: nothing follows the last screen, \"B\": make it final or give it a `next`",
        );
        screens("{ name = \"A\", finl = true }", "26: unknown key `finl` in flows.form.screens: did you mean `final`?");
    }
}
