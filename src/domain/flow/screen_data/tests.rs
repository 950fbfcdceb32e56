//! Tests the values of each data source.

use std::convert::Infallible;
use std::mem::discriminant;

use super::*;
use crate::domain::booking::OccupiedInterval;
use crate::domain::booking::calendar::tests::calendar_spec;
use crate::domain::flow::choice_list::{CHOICES_MAX, NO_CHOICE_ID};
use crate::domain::flow::customer_texts::Language;

/// Time of the tests: Thursday, 2026-01-01T00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

struct TestContext {
    answers: Map<String, Value>,
    calendar: Calendar,
    occupancy: Occupancy,
    agents: Vec<AgentName>,
    texts: Localization,
    fields: Vec<Field>,
}

impl TestContext {
    fn new(answers: Value) -> Self {
        let Value::Object(answers) = answers else {
            panic!("{answers}")
        };
        Self {
            answers,
            calendar: Calendar::new(calendar_spec("UTC", &["09:00-12:00"])).unwrap(),
            occupancy: Occupancy::default(),
            agents: Vec::new(),
            texts: Localization::default(),
            fields: Vec::new(),
        }
    }

    /// Makes one day full, or all days.
    fn with_booked_time(mut self, day: Option<&str>) -> Self {
        let always = (Timestamp::ZERO, Timestamp::from_millis(u64::MAX >> 12));
        let (start, end) = day.map_or(always, |day| {
            let midnight = Timestamp::from_jiff(format!("{day}T00:00Z").parse().unwrap());
            (midnight, midnight.plus(Millis::from_secs(24 * 3600)))
        });
        self.occupancy = Occupancy::sum([OccupiedInterval {
            interval: Interval { start, end },
            bookings: self.calendar.capacity(),
        }]);
        self
    }

    fn render(&self, given: &DataSource) -> Value {
        let Ok(value) = given.render("agent", self);
        value
    }
}

impl ScreenContext for TestContext {
    type Error = Infallible;

    fn now(&self) -> Timestamp {
        NOW
    }
    fn answers(&self) -> &Map<String, Value> {
        &self.answers
    }
    fn texts(&self) -> &Localization {
        &self.texts
    }
    fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
    fn calendar(&self, name: &CalendarName) -> Option<&Calendar> {
        (name.as_str() == "chair").then_some(&self.calendar)
    }
    fn occupancy(&self, _: &CalendarName, _: Interval) -> Result<Occupancy, Infallible> {
        Ok(self.occupancy.clone())
    }
    fn available_agents(&self, _: &TeamName) -> Result<Vec<AgentName>, Infallible> {
        Ok(self.agents.clone())
    }
}

fn slots_source(day: Option<&str>, options: ChoiceListOptions) -> DataSource {
    DataSource::Slots {
        calendar: CalendarName::new("chair").unwrap(),
        day_field: day.map(str::to_owned),
        options,
    }
}

fn dates_source(options: ChoiceListOptions) -> DataSource {
    DataSource::Dates {
        calendar: CalendarName::new("chair").unwrap(),
        options,
    }
}

fn answer_source(field: &str) -> DataSource {
    DataSource::Answer(field.to_owned())
}

fn choice_ids(value: &Value) -> Vec<&str> {
    let choices = value.as_array().unwrap().iter();
    let ids = choices.map(|choice| choice["id"].as_str().unwrap());
    ids.collect()
}

#[test]
fn undeclared_answers_are_rendered_unchanged_and_never_null() {
    let context = TestContext::new(json!({"name": "Zoë", "n": [1, null], "nothing": null}));
    let constant = DataSource::Constant("Welcome".to_owned());
    assert_eq!(context.render(&constant), "Welcome");
    for (field, expected) in [
        ("name", json!("Zoë")),
        ("n", json!([1, null])),
        ("none", json!("")),
        ("nothing", json!("")),
    ] {
        assert_eq!(context.render(&answer_source(field)), expected, "{field}");
    }
}

#[test]
fn rendered_value_has_json_type_of_field() {
    use FieldKind::{Boolean, Choice, Choices, Date, Email, Integer, Number, Phone, Time};
    let choices = || vec!["a".to_owned(), "7".to_owned()];
    let (min, max) = (None, None);
    let text_pairs = json!([[42, "42"], [true, "true"], [null, ""]]);
    let list_pairs = json!([[["a", 7], ["a", "7"]], ["a", ["a"]], [null, []], ["", []]]);
    let (number, integer) = (
        Number { min, max },
        Integer {
            min: Some(1),
            max: None,
        },
    );
    // Pairs of a received and a rendered value.
    for (kind, pairs) in [
        (FieldKind::ANY_TEXT, text_pairs),
        (Email, json!([[" a@b.de ", "a@b.de"], [[], ""]])),
        (Phone, json!([[4_930_123, "4930123"], [null, ""]])),
        (Date, json!([["2027-01-04", "2027-01-04"], ["", ""]])),
        (Time, json!([["09:00", "09:00"], [null, ""]])),
        (Choice(choices()), json!([[7, "7"], [null, ""]])),
        (Choices(choices()), list_pairs),
        (Boolean, json!([["True", true], [0, false], ["", false]])),
        (number, json!([["0.5", 0.5], [3, 3], [null, 0]])),
        (integer, json!([["1e1", 10], [4.0, 4], [" ", 0]])),
    ] {
        let name = kind.as_str();
        for pair in pairs.as_array().unwrap() {
            let (received, expected) = (&pair[0], &pair[1]);
            let mut context = TestContext::new(json!({"field": received}));
            context.fields = ["field", "missing"]
                .map(|name| Field::new(name, kind.clone()))
                .to_vec();
            let value = context.render(&answer_source("field"));
            assert_eq!(value, *expected, "{name}: {received}");
            let missing = context.render(&answer_source("missing"));
            let has_same_type = discriminant(&missing) == discriminant(expected);
            assert!(has_same_type, "{name}: {missing}");
        }
    }
}

#[test]
fn slots_are_free_starts_of_chosen_day() {
    let all_options = ChoiceListOptions::default();
    let slots = |day, answers| TestContext::new(answers).render(&slots_source(day, all_options));
    let all = slots(None, json!({}));
    let all = choice_ids(&all);
    assert!(!all.is_empty() && all.len() <= CHOICES_MAX && all.is_sorted());
    let day = all[0].split('T').next().unwrap();
    let mut of_day = all.clone();
    of_day.retain(|id| id.starts_with(day));
    assert_eq!(choice_ids(&slots(Some("day"), json!({"day": day}))), of_day);
    // Without a chosen day, the list has the next slots.
    assert_eq!(choice_ids(&slots(Some("day"), json!({}))), all);
    let past = slots(Some("day"), json!({"day": "2019-01-01"}));
    assert_eq!(choice_ids(&past), [NO_CHOICE_ID], "it is over");

    let open = TestContext::new(json!({}));
    let full = TestContext::new(json!({})).with_booked_time(None);
    let (slots, dates) = (slots_source(None, all_options), dates_source(all_options));
    let no_slots = full.render(&slots);
    let placeholder = json!([{"id": "none", "title": "No free times at the moment."}]);
    assert_eq!(no_slots, placeholder, "no list is empty");
    assert_eq!(slots.has_free_time(&no_slots), Some(false));
    assert_eq!(open.render(&dates)[0]["id"], day);
    assert_eq!(choice_ids(&full.render(&dates)), [NO_CHOICE_ID]);
    assert_eq!(dates.has_free_time(&open.render(&dates)), Some(true));
}

#[test]
fn full_slots_are_hidden_or_disabled() {
    let hidden = ChoiceListOptions::default();
    let shown = ChoiceListOptions {
        show_full: true,
        ..hidden
    };
    let all = TestContext::new(json!({})).render(&slots_source(None, hidden));
    let day = choice_ids(&all)[0].split('T').next().unwrap();
    let context = TestContext::new(json!({"day": day})).with_booked_time(Some(day));
    let slots = context.render(&slots_source(Some("day"), shown));
    let slots = slots.as_array().unwrap();
    assert!(!slots.is_empty() && slots.iter().all(|slot| slot["enabled"] == false));
    let free_slots = context.render(&slots_source(Some("day"), hidden));
    assert_eq!(choice_ids(&free_slots), [NO_CHOICE_ID]);
    let past = TestContext::new(json!({"day": "2019-01-01"}));
    let over = past.render(&slots_source(Some("day"), shown));
    let placeholder = (&json!(NO_CHOICE_ID), &json!(false));
    let full_day = (&json!(day), &json!(false));
    assert_eq!((&over[0]["id"], &over[0]["enabled"]), placeholder);
    let days = context.render(&dates_source(shown));
    assert_eq!((&days[0]["id"], &days[0]["enabled"]), full_day);
    assert_eq!(days[1]["enabled"], true);
    let free_days = context.render(&dates_source(hidden));
    assert_ne!(free_days[0]["id"], day);
    // A list without full entries has no property `enabled`.
    assert!(free_days[0].get("enabled").is_none());
}

#[test]
fn list_length_and_title_width_are_limited() {
    let mut context = TestContext::new(json!({}));
    context.texts.language = Language::De;
    let limited = ChoiceListOptions {
        limit: 3,
        ..ChoiceListOptions::default()
    };
    let slots = context.render(&slots_source(None, limited));
    assert_eq!(choice_ids(&slots).len(), 3);
    assert_eq!(choice_ids(&context.render(&dates_source(limited))).len(), 3);
    let title = slots[0]["title"].as_str().unwrap();
    assert!(title.starts_with("Do 1 Jan, 09:00"), "{title}");
    let long = choice_item("x", &"ä".repeat(31), None);
    assert_eq!(long["title"], format!("{}…", "ä".repeat(29)));
}

#[test]
fn shown_agent_is_stable_while_available() {
    let agents = ["Bob", "Ann"].map(|name| AgentName::new(name).unwrap());
    let team = TeamName::new("sales").unwrap();
    let render = |source: &DataSource, answers, agents: &[AgentName]| {
        let mut context = TestContext::new(answers);
        context.agents = agents.to_vec();
        context.render(source)
    };
    let one = DataSource::Agent { team: team.clone() };
    let ann = || json!({"agent": "Ann"});
    // The first available agent would get the lead.
    assert_eq!(render(&one, json!({}), &agents), "Bob");
    assert_eq!(render(&one, ann(), &agents), "Ann");
    assert_eq!(render(&one, ann(), &agents[..1]), "Bob");
    assert_eq!(render(&one, json!({}), &[]), "");
    let all = DataSource::Agents {
        team,
        options: ChoiceListOptions::default(),
    };
    let list = render(&all, json!({}), &agents);
    assert_eq!(choice_ids(&list), ["Ann", "Bob"]);
}
