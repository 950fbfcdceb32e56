//! A form filled in with something that fits: what `try` sends where nothing else is given. Pure.

mod value;

use serde_json::{Map, Value, json};

use crate::domain::field::Field;
use crate::domain::flow::{Flow, Screen, Select};
use crate::domain::screen_data::{Given, can_be_chosen};
use value::fitting;

/// The slot that a form is to ask for: day and time as its fields carry them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// `2027-01-04`.
    pub date: String,
    /// `09:00`.
    pub time: String,
}

/// The body of a form of `flow`: its last screen, each field as `given` has it or filled in, the slot as `wish` has it.
#[must_use]
pub fn form(flow: &Flow, token: &str, given: &Map<String, Value>, wish: Option<&Wish>) -> Value {
    let last = flow.screens.iter().find(|screen| screen.is_final);
    let mut data = filled(last.iter().flat_map(|screen| &screen.fields));
    if last.is_none() {
        data.insert("name".to_owned(), json!("flowgate try"));
    }
    if let (Some(rule), Some(wish)) = (&flow.booking, wish) {
        data.insert(rule.date.clone(), json!(wish.date));
        data.insert(rule.time.clone(), if rule.date == rule.time { json!(wish.slot_id()) } else { json!(wish.time) });
    }
    data.extend(given.clone());
    json!({
        "version": "3.0",
        "action": "data_exchange",
        "screen": last.map_or("FORM", |Screen { name, .. }| name),
        "data": data,
        "flow_token": token,
        "context": { "user_id": "flowgate-try" },
    })
}

/// The answers on `screen` of a form that goes screen by screen: its fields as `given` has them or filled in, the slot
/// where the screen asks for it. What no screen declares is sent with the last.
///
/// `shown` is what the screen was given: whoever is shown a list takes from it. The slot is the wished one, or the first
/// that can be had.
#[must_use]
pub fn answers(
    flow: &Flow,
    screen: Option<&Screen>,
    shown: &Value,
    given: &Map<String, Value>,
    wish: Option<&Wish>,
) -> Map<String, Value> {
    let fields = || screen.into_iter().flat_map(|screen| &screen.fields);
    let is_last = screen.is_none_or(|screen| screen.is_final);
    let declared = |name: &str| flow.screens.iter().flat_map(|screen| &screen.fields).any(|field| field.name == name);
    let asked_here = |name: &str| fields().any(|field| field.name == name) || (is_last && !declared(name));
    let takes = |name: &str, value: &str| {
        fields().filter(|field| field.name == name).all(|field| field.problem(Some(&json!(value)), true).is_none())
    };
    let mut data = filled(fields());
    let mut fill = |name: &str, value: &str| {
        if asked_here(name) {
            data.insert(name.to_owned(), json!(value));
        }
    };
    if let (Some(rule), Some(wish)) = (&flow.booking, wish) {
        for name in days(flow).chain([rule.date.as_str()]) {
            fill(name, &wish.date);
        }
        let slot = wish.slot_id();
        let free = offered(screen, shown, |given| matches!(given, Given::Slots { .. }));
        let free = free.iter().find(|id| **id == slot).or(free.first()).copied();
        let typed = if rule.date == rule.time { &slot } else { &wish.time };
        fill(&rule.time, free.filter(|id| takes(&rule.time, id)).unwrap_or(typed));
    }
    if let Some(name) = flow.lead.as_ref().and_then(|rule| rule.agent.as_deref()) {
        let agents = offered(screen, shown, |given| matches!(given, Given::Agents { .. }));
        if let Some(agent) = agents.first().filter(|agent| takes(name, agent)) {
            fill(name, agent);
        }
    }
    data.extend(given.iter().filter(|(name, _)| asked_here(name)).map(|(name, value)| (name.clone(), value.clone())));
    data
}

/// What a phone sends when something is chosen on `screen`, which will be answered with `answers`; `number`: how many such
/// choices it has sent from there. `None`: nothing more asks before the screen is sent.
#[must_use]
pub fn choice(screen: &Screen, answers: &Map<String, Value>, number: usize) -> Option<Map<String, Value>> {
    let chosen = match &screen.select {
        Select::Never => return None,
        Select::Fields(names) => names.get(number).map(|name| {
            let value = answers.get(name).cloned().unwrap_or_default();
            Map::from_iter([(name.clone(), value)])
        }),
        Select::Marked(marks) => {
            let mut all = marks.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
            all.nth(number).map(|(name, value)| {
                let mut chosen = answers.clone();
                chosen.insert(name.clone(), json!(value));
                chosen
            })
        }
    };
    chosen.filter(|chosen| screen.is_choice(chosen))
}

/// The first field that must be there, is not `given`, and for which nothing can be made up: its pattern is beyond that.
#[must_use]
pub fn lacking<'f>(flow: &'f Flow, given: &Map<String, Value>) -> Option<&'f Field> {
    let agent = flow.lead.as_ref().and_then(|rule| rule.agent.as_deref());
    let slot = flow.booking.iter().flat_map(|rule| [rule.date.as_str(), rule.time.as_str()]);
    let chosen: Vec<&str> = days(flow).chain(slot).chain(agent).collect();
    let must_be_had =
        |field: &&Field| field.required && !given.contains_key(&field.name) && !chosen.contains(&field.name.as_str());
    let fields = flow.screens.iter().flat_map(|screen| &screen.fields);
    fields.filter(must_be_had).find(|field| fitting(field).is_none())
}

/// A value for each of the fields that one can be made up for.
fn filled<'f>(fields: impl Iterator<Item = &'f Field>) -> Map<String, Value> {
    fields.filter_map(|field| Some((field.name.clone(), fitting(field)?))).collect()
}

/// The fields by whose day free slots are shown.
fn days(flow: &Flow) -> impl Iterator<Item = &str> {
    flow.screens.iter().flat_map(|screen| &screen.data).filter_map(|(_, given)| match given {
        Given::Slots { day, .. } => day.as_deref(),
        _ => None,
    })
}

/// What can be chosen in the lists of one kind that the screen was given.
fn offered<'v>(screen: Option<&Screen>, shown: &'v Value, is_it: impl Fn(&Given) -> bool) -> Vec<&'v str> {
    let given = screen.into_iter().flat_map(|screen| &screen.data).filter(|(_, given)| is_it(given));
    let choices = given.filter_map(|(name, _)| shown.get(name)?.as_array()).flatten();
    choices.filter(|choice| can_be_chosen(choice)).filter_map(|choice| choice.get("id")?.as_str()).collect()
}

impl Wish {
    fn slot_id(&self) -> String {
        format!("{}T{}", self.date, self.time)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::field::{FieldKind, Pattern};
    use crate::domain::flow::{BookingRule, LeadRule};
    use crate::domain::ids::{CalendarName, FlowName, TeamName};
    use crate::domain::screen_data::Choices;

    fn flow(fields: Vec<(&str, FieldKind)>) -> Flow {
        let fields = fields.into_iter().map(|(name, kind)| Field { required: true, ..Field::new(name, kind) });
        let last = Screen { is_final: true, fields: fields.collect(), ..Screen::new("LAST") };
        let name = FlowName::new("visit").unwrap();
        Flow { screens: vec![Screen::new("FIRST"), last], ..Flow::new(name, "/visit".to_owned()) }
    }

    fn data(flow: &Flow, given: &Value, wish: Option<&Wish>) -> Map<String, Value> {
        let given = given.as_object().cloned().unwrap_or_default();
        form(flow, "t", &given, wish)["data"].as_object().unwrap().clone()
    }

    #[test]
    fn every_kind_of_field_gets_a_value_that_the_flow_takes() {
        let flow = flow(vec![
            ("short", FieldKind::Text { min: None, max: Some(3) }),
            ("long", FieldKind::Text { min: Some(40), max: None }),
            ("email", FieldKind::Email),
            ("phone", FieldKind::Phone),
            ("number", FieldKind::Number { min: Some(2.5), max: None }),
            ("low", FieldKind::Integer { min: None, max: Some(-7) }),
            ("agree", FieldKind::Boolean),
            ("date", FieldKind::Date),
            ("time", FieldKind::Time),
            ("one", FieldKind::Choice(vec!["a".to_owned(), "b".to_owned()])),
            ("some", FieldKind::Choices(vec!["c".to_owned()])),
        ]);
        let data = data(&flow, &json!({}), None);
        assert_eq!(flow.problems(Some("LAST"), &data), []);
        assert_eq!(data.len(), 11);
    }

    /// One field that must be there, of a text with this pattern.
    fn coded(pattern: &str, min: usize) -> Flow {
        let mut flow = flow(vec![("code", FieldKind::Text { min: Some(min), max: None })]);
        let fields = flow.screens.iter_mut().flat_map(|screen| &mut screen.fields);
        fields.for_each(|field| field.pattern = Some(Pattern::new(pattern).unwrap()));
        flow
    }

    #[test]
    fn a_pattern_is_satisfied_or_else_the_field_is_named() {
        for (pattern, min, value) in [("[a-z ]+", 0, "flowgate try"), ("[A-Z]{2}-[0-9]+", 5, "AA-11")] {
            let flow = coded(pattern, min);
            assert_eq!(data(&flow, &json!({}), None)["code"], value);
            assert_eq!(lacking(&flow, &Map::new()), None);
        }
        let mut flow = coded("a\\bb", 0);
        assert_eq!(lacking(&flow, &Map::new()).map(|field| field.name.as_str()), Some("code"));
        assert_eq!(lacking(&flow, json!({"code": "mine"}).as_object().unwrap()), None, "given");
        let slot = |name: &str| BookingRule {
            calendar: CalendarName::new("chair").unwrap(),
            date: name.to_owned(),
            time: name.to_owned(),
        };
        flow.booking = Some(slot("code"));
        assert_eq!(lacking(&flow, &Map::new()), None, "a slot takes its place");
        flow.booking = None;
        flow.screens.iter_mut().flat_map(|screen| &mut screen.fields).for_each(|field| field.required = false);
        assert_eq!(lacking(&flow, &Map::new()), None);
        assert!(data(&flow, &json!({}), None).is_empty(), "what may be left out is");
    }

    #[test]
    fn the_last_screen_is_sent_and_what_is_given_wins() {
        let flow = flow(vec![("email", FieldKind::Email)]);
        let form = form(&flow, "t", json!({"email": "me@example.com", "note": 1}).as_object().unwrap(), None);
        assert_eq!((&form["screen"], &form["flow_token"]), (&json!("LAST"), &json!("t")));
        assert_eq!(form["data"], json!({"email": "me@example.com", "note": 1}));
    }

    #[test]
    fn the_slot_goes_where_the_flow_reads_it_from() {
        let mut flow = flow(vec![]);
        let rule = |date: &str, time: &str| BookingRule {
            calendar: CalendarName::new("chair").unwrap(),
            date: date.to_owned(),
            time: time.to_owned(),
        };
        let wish = Wish { date: "2027-01-04".to_owned(), time: "09:00".to_owned() };
        flow.booking = Some(rule("day", "hour"));
        assert_eq!(json!(data(&flow, &json!({}), Some(&wish))), json!({"day": "2027-01-04", "hour": "09:00"}));
        flow.booking = Some(rule("slot", "slot"));
        assert_eq!(json!(data(&flow, &json!({}), Some(&wish))), json!({"slot": "2027-01-04T09:00"}));
    }

    /// A flow whose day and slot are chosen on one screen, out of lists; `select` tells the choice of the day.
    fn chosen_from_lists(select: Select, rule: (&str, &str)) -> Flow {
        let chair = || CalendarName::new("chair").unwrap();
        let slots = Given::Slots { calendar: chair(), day: Some("day".to_owned()), choices: Choices::default() };
        let team = TeamName::new("sales").unwrap();
        let agents = Given::Agents { team: team.clone(), choices: Choices::default() };
        let text = FieldKind::Text { min: None, max: None };
        let fields = [("day", FieldKind::Date), ("slot", FieldKind::Time), ("agent", text)];
        let fields = fields.into_iter().map(|(name, kind)| Field { required: true, ..Field::new(name, kind) });
        let data = vec![("times".to_owned(), slots), ("people".to_owned(), agents)];
        let screen = Screen { is_final: true, select, fields: fields.collect(), data, ..Screen::new("A") };
        let booking = BookingRule { calendar: chair(), date: rule.0.to_owned(), time: rule.1.to_owned() };
        let lead = LeadRule { team, sticky: false, agent: Some("agent".to_owned()) };
        let name = FlowName::new("visit").unwrap();
        let screens = vec![screen];
        Flow { screens, booking: Some(booking), lead: Some(lead), ..Flow::new(name, "/visit".to_owned()) }
    }

    #[test]
    fn what_was_shown_is_what_is_chosen() {
        let wish = Wish { date: "2027-01-05".to_owned(), time: "10:00".to_owned() };
        for rule in [("day", "slot"), ("slot", "slot")] {
            let flow = chosen_from_lists(Select::Never, rule);
            let answer = |shown: Value| json!(answers(&flow, flow.screens.first(), &shown, &Map::new(), Some(&wish)));
            let times = |ids: [(&str, bool); 2]| {
                let time = |(id, enabled): (&str, bool)| json!({"id": id, "title": id, "enabled": enabled});
                json!({"times": ids.map(time), "people": [{"id": "Ann", "title": "Ann"}]})
            };
            let there = times([("2027-01-05T09:00", true), ("2027-01-05T10:00", true)]);
            assert_eq!(answer(there), json!({"day": "2027-01-05", "slot": "2027-01-05T10:00", "agent": "Ann"}));
            let gone = times([("2027-01-05T10:00", false), ("2027-01-05T11:00", true)]);
            assert_eq!(answer(gone)["slot"], "2027-01-05T11:00", "what can be had instead");
            let typed = if rule.0 == rule.1 { "2027-01-05T10:00" } else { "10:00" };
            assert_eq!(answer(json!({}))["slot"], typed, "nothing is shown to choose from");
        }
    }

    #[test]
    fn a_day_is_chosen_before_the_screen_is_sent() {
        let all = json!({"day": "2027-01-05", "slot": "09:00", "agent": "Ann"}).as_object().unwrap().clone();
        let chosen = |select: Select, number| {
            let flow = chosen_from_lists(select, ("day", "slot"));
            choice(flow.screens.first().unwrap(), &all, number).map(Value::Object)
        };
        assert_eq!(chosen(Select::Never, 0), None);
        let fields = || Select::Fields(vec!["day".to_owned(), "agent".to_owned()]);
        assert_eq!(chosen(fields(), 0), Some(json!({"day": "2027-01-05"})));
        assert_eq!((chosen(fields(), 1), chosen(fields(), 2)), (Some(json!({"agent": "Ann"})), None));
        let marks = || Select::Marked(BTreeMap::from([("step".to_owned(), vec!["day".to_owned()])]));
        assert_eq!(chosen(marks(), 0).unwrap()["step"], "day");
        assert_eq!(chosen(marks(), 1), None);
    }
}
