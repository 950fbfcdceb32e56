//! `[[flows.NAME.screens]]`: screens that lead to an end, fields with sound bounds.
//!
//! What a screen's answer then means, and whether a value fits its field, is `crate::domain`'s.

use std::collections::BTreeSet;
use std::fmt;

use super::nearest::hint;
use super::raw::Table;
use super::value::Item;
use crate::domain::field::{Field, FieldKind};
use crate::domain::flow::Screen;
use crate::domain::ids::CalendarName;
use crate::domain::screen_data::Given;

/// Longest text that a field may ask for: more than any component of a flow takes.
const TEXT_CHARACTERS_MAX: usize = 1_000_000;

const KINDS: [&str; 10] =
    ["text", "email", "phone", "number", "integer", "boolean", "date", "time", "choice", "choices"];

/// A screen, and where its name and its `next` were typed.
struct Typed<'d> {
    screen: Screen,
    name: Item<'d>,
    next: Option<Item<'d>>,
}

/// Reads the list of screens.
pub(super) fn read(list: &Item<'_>, calendars: &[&str]) -> Vec<Screen> {
    let before = list.problems_so_far();
    let items = list.some_items().unwrap_or_default();
    let typed: Vec<Typed<'_>> = items.iter().filter_map(|item| item.table(|table| screen(table, calendars))?).collect();
    if list.problems_so_far() == before {
        check_ways(list, &typed);
    }
    typed.into_iter().map(|typed| typed.screen).collect()
}

fn screen<'d>(table: &Table<'d>, calendars: &[&str]) -> Option<Typed<'d>> {
    let (name, next) = (table.need("name"), table.get("next"));
    let screen = Screen {
        name: name.as_ref().and_then(Item::some_text).unwrap_or_default().to_owned(),
        is_final: table.boolean("final", false),
        next: next.as_ref().and_then(Item::some_text).map(str::to_owned),
        fields: table.get("fields").and_then(|item| item.names(fields)).unwrap_or_default(),
        data: table.get("data").and_then(|item| item.names(|table| data(table, calendars))).unwrap_or_default(),
    };
    Some(Typed { screen, name: name?, next })
}

/// Whether each screen leads somewhere, and the form to an end.
fn check_ways(list: &Item<'_>, typed: &[Typed<'_>]) {
    let names = || typed.iter().map(|typed| typed.screen.name.as_str());
    for (number, Typed { screen, name, next }) in typed.iter().enumerate() {
        if names().take(number).any(|earlier| earlier == screen.name) {
            name.refuse(format!("there are two screens {:?}", screen.name));
        }
        let Some((item, next)) = next.as_ref().zip(screen.next.as_ref()) else { continue };
        if screen.is_final {
            item.refuse(format!("screen {:?} is final: nothing can follow it", screen.name));
        } else if !names().any(|name| name == next) {
            item.refuse(format!("there is no screen {next:?}{}", hint(next, names())));
        }
    }
    if !typed.iter().any(|typed| typed.screen.is_final) {
        list.refuse("no screen is final: write `final = true` in the one that completes the form");
    } else if let Some(last) = typed.last().filter(|last| !last.screen.is_final && last.next.is_none()) {
        let name = &last.screen.name;
        last.name.refuse(format!("nothing follows the last screen, {name:?}: make it final or give it a `next`"));
    }
}

fn fields(table: &Table<'_>) -> Vec<Field> {
    let field = |item: Item<'_>| {
        item.table(|table| {
            let kind = kind(table)?;
            let required = table.boolean("required", false);
            if item.key.is_empty() {
                item.refuse_key("a field needs a name");
            }
            Some(Field { name: item.key.to_owned(), kind, required })
        })?
    };
    table.named().into_iter().filter_map(field).collect()
}

/// What a screen is given, by name.
fn data(table: &Table<'_>, calendars: &[&str]) -> Vec<(String, Given)> {
    let one = |item: Item<'_>| {
        let given = item.table(|table| given(table, &item, calendars))??;
        Some((item.key.to_owned(), given))
    };
    table.named().into_iter().filter_map(one).collect()
}

/// Where one value comes from: exactly one of the four.
fn given(table: &Table<'_>, item: &Item<'_>, calendars: &[&str]) -> Option<Given> {
    let calendar = |typed: &Item<'_>| {
        let name = typed.text()?;
        if !calendars.contains(&name) {
            typed.refuse(format!("there is no calendar {name:?}{}", hint(name, calendars.iter().copied())));
            return None;
        }
        CalendarName::new(name).ok()
    };
    let day = table.get("day");
    let (value, answer) = (table.get("value"), table.get("answer"));
    let (slots, dates) = (table.get("slots"), table.get("dates"));
    if let Some(day) = day.as_ref().filter(|_| slots.is_none()) {
        day.refuse_key("only `slots` are of a day");
    }
    match (value, answer, slots, dates) {
        (Some(value), None, None, None) => Some(Given::Constant(value.text()?.to_owned())),
        (None, Some(answer), None, None) => Some(Given::Answer(answer.some_text()?.to_owned())),
        (None, None, Some(slots), None) => {
            let day = day.and_then(|day| day.some_text().map(str::to_owned));
            Some(Given::Slots { calendar: calendar(&slots)?, day })
        }
        (None, None, None, Some(dates)) => Some(Given::Dates { calendar: calendar(&dates)? }),
        _ => {
            item.refuse("needs exactly one of `value`, `answer`, `slots` and `dates`");
            None
        }
    }
}

/// The kind of a field, with the bounds that this kind can have.
fn kind(table: &Table<'_>) -> Option<FieldKind> {
    let typed = table.get("type");
    let word = typed.as_ref().map_or(Some("text"), |item| item.word(&KINDS));
    let (min, max, choices) = (table.get("min"), table.get("max"), table.get("choices"));
    let word = word?;
    let has_bounds = matches!(word, "text" | "number" | "integer");
    let has_choices = matches!(word, "choice" | "choices");
    for (item, allowed) in [(&min, has_bounds), (&max, has_bounds), (&choices, has_choices)] {
        if let Some(item) = item.as_ref().filter(|_| !allowed) {
            item.refuse_key(format!("{}: a field of type \"{word}\" has no `{}`", table.name, item.key));
        }
    }
    Some(match word {
        "text" => {
            let (min, max) = bounds(min.as_ref(), max.as_ref(), |item| item.integer(0..=TEXT_CHARACTERS_MAX));
            FieldKind::Text { min, max }
        }
        "number" => {
            let (min, max) = bounds(min.as_ref(), max.as_ref(), Item::number);
            FieldKind::Number { min, max }
        }
        "integer" => {
            let (min, max) = bounds(min.as_ref(), max.as_ref(), |item| item.integer(i64::MIN..=i64::MAX));
            FieldKind::Integer { min, max }
        }
        "email" => FieldKind::Email,
        "phone" => FieldKind::Phone,
        "boolean" => FieldKind::Boolean,
        "date" => FieldKind::Date,
        "time" => FieldKind::Time,
        "choice" => FieldKind::Choice(choices_of(table, choices.as_ref(), word)),
        _ => FieldKind::Choices(choices_of(table, choices.as_ref(), word)),
    })
}

fn bounds<'d, N: PartialOrd + fmt::Display>(
    min: Option<&Item<'d>>,
    max: Option<&Item<'d>>,
    read: impl Fn(&Item<'d>) -> Option<N>,
) -> (Option<N>, Option<N>) {
    let (least, most) = (min.and_then(&read), max.and_then(&read));
    if let (Some(item), Some(least), Some(most)) = (min, &least, &most)
        && least > most
    {
        item.refuse(format!("{least} is more than `max`, which is {most}: nothing would fit"));
    }
    (least, most)
}

fn choices_of(table: &Table<'_>, choices: Option<&Item<'_>>, word: &str) -> Vec<String> {
    let Some(item) = choices else {
        table.refuse(format!("a field of type \"{word}\" needs `choices`"));
        return Vec::new();
    };
    let items = item.some_items().unwrap_or_default();
    let mut known = BTreeSet::new();
    let choice = |item: &Item<'_>| {
        let text = item.some_text()?;
        if !known.insert(text.to_owned()) {
            item.refuse(format!("has {text:?} twice"));
        }
        Some(text.to_owned())
    };
    items.iter().filter_map(choice).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, assert_refused, refused};
    use super::*;

    #[test]
    fn what_a_screen_is_given_comes_from_one_place_that_is_there() {
        let head = "[calendars.chair]\ntimezone = \"UTC\"\nslot = \"1h\"\nopen = { mon = [\"09:00-17:00\"] }\n";
        let config = |given: &str| {
            format!("{head}[flows.form]\nscreens = [{{ name = \"A\", final = true, data = {{ x = {given} }} }}]")
        };
        for good in
            ["{ value = \"\" }", "{ answer = \"a\" }", "{ dates = \"chair\" }", "{ slots = \"chair\", day = \"d\" }"]
        {
            accepted(&config(good));
        }
        for (bad, why) in [
            ("{}", "needs exactly one of `value`, `answer`, `slots` and `dates`"),
            ("{ value = \"a\", answer = \"b\" }", "needs exactly one of"),
            ("{ slots = \"chiar\" }", "there is no calendar \"chiar\": did you mean `chair`?"),
            ("{ dates = \"chair\", day = \"d\" }", "only `slots` are of a day"),
            ("{ value = 3 }", "must be a text"),
            ("{ valeu = \"a\" }", "did you mean `value`?"),
            ("\"a\"", "must be a table"),
        ] {
            let said = refused(&config(bad));
            assert!(said.contains(why), "{bad}: {said}");
        }
    }

    fn screens(list: &str, expected: &str) {
        assert_refused("[flows.form]", &[(&format!("screens = [{list}]"), &format!("2:{expected}"))]);
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

    #[test]
    fn a_field_has_the_bounds_that_its_type_can_have() {
        for (typed, column, what) in [
            (
                "type = \"mail\"",
                64,
                "flows.form.screens.fields.a.type: \"mail\" is not known here: did you mean `email`?",
            ),
            ("typ = \"email\"", 57, "unknown key `typ` in flows.form.screens.fields.a: did you mean `type`?"),
            (
                "min = 3, max = 2",
                63,
                "flows.form.screens.fields.a.min: 3 is more than `max`, which is 2: nothing would fit",
            ),
            (
                "type = \"number\", min = 0.5, max = 0.25",
                80,
                "flows.form.screens.fields.a.min: 0.5 is more than `max`, which is 0.25: nothing would fit",
            ),
            ("max = -1", 63, "flows.form.screens.fields.a.max: must be from 0 to 1000000, and is -1"),
            ("type = \"email\", max = 2", 73, "flows.form.screens.fields.a: a field of type \"email\" has no `max`"),
            ("choices = [\"x\"]", 57, "flows.form.screens.fields.a: a field of type \"text\" has no `choices`"),
            (
                "type = \"integer\", min = 1.5",
                81,
                "flows.form.screens.fields.a.min: must be a whole number, and is a decimal number",
            ),
            (
                "type = \"number\", min = \"1\"",
                80,
                "flows.form.screens.fields.a.min: must be a finite number, and is a text",
            ),
            (
                "type = \"number\", min = nan",
                80,
                "flows.form.screens.fields.a.min: must be a finite number, and is a decimal number",
            ),
            ("required = 1", 68, "flows.form.screens.fields.a.required: must be true or false, and is a whole number"),
            ("type = \"choice\"", 55, "flows.form.screens.fields.a: a field of type \"choice\" needs `choices`"),
            (
                "type = \"choice\", choices = []",
                84,
                "flows.form.screens.fields.a.choices: is empty: leave it out, or put something in",
            ),
            (
                "type = \"choices\", choices = [\"x\", \"x\"]",
                91,
                "flows.form.screens.fields.a.choices: has \"x\" twice",
            ),
        ] {
            let list = format!("{{ name = \"A\", final = true, fields = {{ a = {{ {typed} }} }} }}");
            screens(&list, &format!("{column}: {what}"));
        }
    }

    #[test]
    fn fields_keep_the_order_of_the_file_and_are_texts_unless_told() {
        let config = accepted(
            "[[flows.form.screens]]\nname = \"A\"\nfinal = true\n[flows.form.screens.fields]\nz = {}\na = { type = \"choice\", choices = [\"x\"], required = true }\n",
        );
        let fields = &config.flows.values().next().unwrap().screens[0].fields;
        let z = Field { name: "z".to_owned(), kind: FieldKind::Text { min: None, max: None }, required: false };
        let a = Field { name: "a".to_owned(), kind: FieldKind::Choice(vec!["x".to_owned()]), required: true };
        assert_eq!(*fields, [z, a]);
    }

    #[test]
    fn every_type_that_is_listed_makes_a_field_of_that_name() {
        for kind in KINDS {
            let choices = if kind.starts_with("choice") { ", choices = [\"x\"]" } else { "" };
            let config = accepted(&format!(
                "[flows.form]\nscreens = [{{ name = \"A\", final = true, fields = {{ a = {{ type = \"{kind}\"{choices} }} }} }}]"
            ));
            let flow = config.flows.values().next().unwrap();
            assert_eq!(flow.screens[0].fields[0].kind.as_str(), kind);
        }
    }
}
