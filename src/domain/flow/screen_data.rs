//! Renders the data of an encrypted flow's screen: free slots, dates with a free slot, agents,
//! earlier answers and constants.
//!
//! The functions are pure: the caller provides occupied slots and available agents as
//! [`ScreenContext`]. See [`crate::domain::flow`] for the choice of the next screen.

use jiff::civil::Date;
use serde_json::{Map, Value, json};

use super::customer_texts::{Localization, TextKey};
use super::field::{
    Field, FieldKind, is_present, read_boolean, read_date, read_integer, read_number, scalar_text,
};
use crate::domain::booking::calendar::Calendar;
use crate::domain::booking::{Interval, Occupancy, day_availability, reserve};
use crate::domain::ids::{AgentName, CalendarName, TeamName};
use crate::domain::time::{Millis, Timestamp};

/// Maximum number of entries in a dropdown (*Flow JSON*, components).
pub const CHOICES_MAX: usize = 200;

/// ID of the single entry in a list without free entries, because a list can't be empty (*Flow
/// JSON*, components). The ID is no date, time or slot, so nobody can book it.
pub const NO_CHOICE_ID: &str = "none";

/// Maximum length of a day. Days are longer when clocks go back by an hour or two.
const DAY_LENGTH_MAX: Millis = Millis::from_secs(26 * 60 * 60);

/// Maximum number of characters in the title of an entry (*Flow JSON*, components).
const TITLE_CHARS_MAX: usize = 30;

/// Source of a value that a screen shows.
#[derive(Clone, Debug, PartialEq)]
pub enum DataSource {
    /// Text from the config.
    Constant(String),
    /// Answer in this field, in the JSON type of the field's kind. Empty if there is no answer.
    Answer(String),
    /// Slots as a choice list: those of the chosen day or, without a chosen day, the next ones.
    Slots {
        /// Calendar of the slots.
        calendar: CalendarName,
        /// Field that contains the chosen day.
        day_field: Option<String>,
        /// Options of the list.
        options: ChoiceListOptions,
    },
    /// Dates with a free slot, as a choice list.
    Dates {
        /// Calendar of the dates.
        calendar: CalendarName,
        /// Options of the list.
        options: ChoiceListOptions,
    },
    /// Name of an agent who can accept the lead: the agent whom the answers already name, or who
    /// would get the lead now.
    Agent {
        /// Team of the agent.
        team: TeamName,
    },
    /// Available agents, as a choice list.
    Agents {
        /// Team of the agents.
        team: TeamName,
        /// Options of the list.
        options: ChoiceListOptions,
    },
}

/// Options of a choice list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChoiceListOptions {
    /// Maximum number of entries: 20 for radio buttons, 200 for dropdowns (*Flow JSON*,
    /// components).
    pub limit: usize,
    /// `true` if full entries are shown as well, not selectable (`enabled`: false).
    pub show_full: bool,
}

impl Default for ChoiceListOptions {
    fn default() -> Self {
        Self {
            limit: CHOICES_MAX,
            show_full: false,
        }
    }
}

/// Context in which a screen is rendered: time, earlier answers, texts and availability.
pub trait ScreenContext {
    /// Error of a failed availability look-up.
    type Error;

    /// Returns the current time.
    fn now(&self) -> Timestamp;
    /// Returns the answers so far.
    fn answers(&self) -> &Map<String, Value>;
    /// Returns the texts of the flow.
    fn texts(&self) -> &Localization;
    /// Returns the declared field of the flow with this name.
    fn field(&self, name: &str) -> Option<&Field>;
    /// Returns the calendar of the config with this name.
    fn calendar(&self, name: &CalendarName) -> Option<&Calendar>;
    /// Returns the occupied slots in a window of time.
    ///
    /// # Errors
    /// The look-up failed.
    fn occupancy(
        &self,
        calendar: &CalendarName,
        window: Interval,
    ) -> Result<Occupancy, Self::Error>;
    /// Returns the available agents of a team. The first one would get the next lead.
    ///
    /// # Errors
    /// The look-up failed.
    fn available_agents(&self, team: &TeamName) -> Result<Vec<AgentName>, Self::Error>;
}

impl DataSource {
    /// Returns the value for the screen's data `name`.
    ///
    /// # Errors
    /// An error of `context`. A failed look-up never counts as free.
    pub fn render<A: ScreenContext>(&self, name: &str, context: &A) -> Result<Value, A::Error> {
        Ok(match self {
            Self::Constant(text) => json!(text),
            Self::Answer(field) => {
                render_answer(context.field(field), context.answers().get(field))
            }
            Self::Slots {
                calendar,
                day_field: day,
                options: choices,
            } => {
                let day = day
                    .as_ref()
                    .and_then(|field| context.answers().get(field))
                    .and_then(read_date);
                render_slots(calendar, day, *choices, context)?
            }
            Self::Dates {
                calendar,
                options: choices,
            } => render_dates(calendar, *choices, context)?,
            Self::Agent { team } => {
                json!(
                    choose_agent(team, name, context)?
                        .map(|agent| agent.to_string())
                        .unwrap_or_default()
                )
            }
            Self::Agents {
                team,
                options: choices,
            } => {
                let mut agents = context.available_agents(team)?;
                agents.sort();
                let list = agents
                    .iter()
                    .take(choices.limit)
                    .map(|agent| choice_item(agent.as_str(), agent.as_str(), None));
                non_empty_list(
                    list.collect(),
                    *choices,
                    TextKey::NoAgentFree,
                    context.texts(),
                )
            }
        })
    }
}

/// Converts an answer to the JSON type that a Flow JSON can declare for its field (*Flow JSON*,
/// `data`). A phone refuses a screen with another type or with null. Without an answer, the result
/// is the empty value of the type. Numbers have none, so they become 0.
fn render_answer(field: Option<&Field>, typed: Option<&Value>) -> Value {
    let source = typed.filter(|value| is_present(value));
    let Some(field) = field else {
        return source.cloned().unwrap_or_else(|| json!(""));
    };
    match (&field.kind, source) {
        (FieldKind::Number { .. }, Some(number @ Value::Number(_))) => number.clone(),
        (FieldKind::Number { .. }, given) => {
            given.and_then(read_number).map_or(json!(0), Value::from)
        }
        (FieldKind::Integer { .. }, given) => {
            given.and_then(read_integer).unwrap_or_default().into()
        }
        (FieldKind::Boolean, given) => given.and_then(read_boolean).unwrap_or_default().into(),
        (FieldKind::Choices(_), Some(Value::Array(items))) => {
            items.iter().filter_map(scalar_text).collect()
        }
        (FieldKind::Choices(_), given) => given.and_then(scalar_text).into_iter().collect(),
        (_, given) => given.and_then(scalar_text).unwrap_or_default().into(),
    }
}

impl DataSource {
    /// Returns `true` if `value` has a selectable date or slot. `None` if the source is not a list
    /// of dates or slots.
    #[must_use]
    pub fn has_free_time(&self, value: &Value) -> Option<bool> {
        let (Self::Slots { .. } | Self::Dates { .. }) = self else {
            return None;
        };
        Some(value.as_array()?.iter().any(is_selectable))
    }

    /// Returns the field with the chosen day if `value` has no selectable slot of that day.
    #[must_use]
    pub fn field_without_free_slot(&self, value: &Value) -> Option<&str> {
        let Self::Slots {
            day_field: Some(day),
            ..
        } = self
        else {
            return None;
        };
        self.has_free_time(value)
            .is_some_and(|has| !has)
            .then_some(day)
    }
}

/// Returns `true` if an entry of a choice list is selectable.
#[must_use]
pub fn is_selectable(choice: &Value) -> bool {
    choice.get("enabled") != Some(&Value::Bool(false))
        && choice.get("id").is_some_and(|id| id != NO_CHOICE_ID)
}

/// Returns the agent to show as `name`: the agent who was shown before, as long as this agent is
/// available.
///
/// # Errors
/// An error of `context`.
fn choose_agent<A: ScreenContext>(
    team: &TeamName,
    name: &str,
    context: &A,
) -> Result<Option<AgentName>, A::Error> {
    let free = context.available_agents(team)?;
    let shown = context.answers().get(name).and_then(scalar_text);
    let still = free
        .iter()
        .find(|agent| shown.as_deref() == Some(agent.as_str()));
    Ok(still.or(free.first()).cloned())
}

fn render_slots<A: ScreenContext>(
    calendar: &CalendarName,
    day: Option<Date>,
    options: ChoiceListOptions,
    context: &A,
) -> Result<Value, A::Error> {
    let Some(calendar) = context.calendar(calendar) else {
        return Ok(json!([]));
    };
    let mut list = Vec::new();
    for date in bookable_days(calendar, day, context.now()) {
        for (slot, is_free) in day_availability(calendar, date, context.now(), |window| {
            context.occupancy(calendar.name(), window)
        })? {
            if is_free || options.show_full {
                let title = format!(
                    "{}, {}",
                    context.texts().format_day(slot.date),
                    slot.clock_time()
                );
                list.push(choice_item(
                    &slot.id(),
                    &title,
                    options.show_full.then_some(is_free),
                ));
            }
        }
        if list.len() >= options.limit {
            list.truncate(options.limit);
            break;
        }
    }
    Ok(non_empty_list(
        list,
        options,
        TextKey::NothingFree,
        context.texts(),
    ))
}

fn render_dates<A: ScreenContext>(
    calendar: &CalendarName,
    options: ChoiceListOptions,
    context: &A,
) -> Result<Value, A::Error> {
    let Some(calendar) = context.calendar(calendar) else {
        return Ok(json!([]));
    };
    let mut list = Vec::new();
    for date in bookable_days(calendar, None, context.now()) {
        let Some(has_free) = day_has_free_slot(calendar, date, context)? else {
            continue;
        };
        if has_free || options.show_full {
            let enabled = options.show_full.then_some(has_free);
            list.push(choice_item(
                &date.to_string(),
                &context.texts().format_day(date),
                enabled,
            ));
        }
        if list.len() == options.limit {
            break;
        }
    }
    Ok(non_empty_list(
        list,
        options,
        TextKey::NothingFree,
        context.texts(),
    ))
}

/// Returns the list. An empty list gets a single entry with an explanation.
fn non_empty_list(
    mut list: Vec<Value>,
    options: ChoiceListOptions,
    key: TextKey,
    texts: &Localization,
) -> Value {
    if list.is_empty() {
        list.push(choice_item(
            NO_CHOICE_ID,
            texts.text(key),
            options.show_full.then_some(false),
        ));
    }
    list.into()
}

/// Returns `true` if a slot of this date is free. `None` if no slot of the date can be booked. The
/// search stops at the first free slot.
fn day_has_free_slot<A: ScreenContext>(
    calendar: &Calendar,
    date: Date,
    context: &A,
) -> Result<Option<bool>, A::Error> {
    let mut starts = calendar.available_starts(date, context.now()).peekable();
    let Some(first) = starts.peek() else {
        return Ok(None);
    };
    let window = Interval {
        start: first.start,
        end: calendar.occupied_interval(first).end.plus(DAY_LENGTH_MAX),
    };
    let taken = context.occupancy(calendar.name(), window)?;
    Ok(Some(
        starts.any(|slot| reserve(calendar, slot, &taken).is_ok()),
    ))
}

/// Returns an entry of a choice list. `enabled` is omitted if the list shows no full entries.
fn choice_item(id: &str, title: &str, enabled: Option<bool>) -> Value {
    let title: String = if title.chars().count() > TITLE_CHARS_MAX {
        title
            .chars()
            .take(TITLE_CHARS_MAX - 1)
            .chain(['…'])
            .collect()
    } else {
        title.to_owned()
    };
    match enabled {
        Some(enabled) => json!({"id": id, "title": title, "enabled": enabled}),
        None => json!({"id": id, "title": title}),
    }
}

/// Returns the chosen day, or all days that can be booked.
fn bookable_days(
    calendar: &Calendar,
    chosen: Option<Date>,
    now: Timestamp,
) -> impl Iterator<Item = Date> {
    let (first, last) = (
        calendar.first_bookable_date(now),
        calendar.last_bookable_date(now),
    );
    let (first, last) = chosen.map_or((first, last), |day| (day.max(first), day.min(last)));
    first
        .series(jiff::Span::new().days(1))
        .take_while(move |day| *day <= last)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::domain::booking::OccupiedInterval;
    use crate::domain::booking::calendar::tests::calendar_spec;
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
            let calendar = Calendar::new(calendar_spec("UTC", &["09:00-12:00"])).unwrap();
            let (taken, agents, fields) = (Occupancy::default(), Vec::new(), Vec::new());
            Self {
                answers,
                calendar,
                occupancy: taken,
                agents,
                texts: Localization::default(),
                fields,
            }
        }

        /// Makes one day full, or all days.
        fn with_booked_time(self, day: Option<&str>) -> Self {
            let day = day.map(|day| {
                day.parse::<Date>()
                    .unwrap()
                    .to_zoned_datetime(jiff::tz::TimeZone::UTC)
                    .unwrap()
            });
            let from = day.map_or(Timestamp::ZERO, |day| Timestamp::from_jiff(day.timestamp()));
            let length = if from == Timestamp::ZERO {
                u64::MAX >> 12
            } else {
                24 * 3_600_000
            };
            let all_day = Interval {
                start: from,
                end: Timestamp::from_millis(from.as_millis() + length),
            };
            let occupied = OccupiedInterval {
                interval: all_day,
                bookings: self.calendar.capacity(),
            };
            Self {
                occupancy: Occupancy::sum([occupied]),
                ..self
            }
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

    fn chair() -> CalendarName {
        CalendarName::new("chair").unwrap()
    }

    fn slots_source(day: Option<&str>, options: ChoiceListOptions) -> DataSource {
        DataSource::Slots {
            calendar: chair(),
            day_field: day.map(str::to_owned),
            options,
        }
    }

    fn choice_ids(value: &Value) -> Vec<String> {
        value
            .as_array()
            .unwrap()
            .iter()
            .map(|choice| choice["id"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn undeclared_answers_are_rendered_unchanged_and_never_null() {
        let context = TestContext::new(json!({"name": "Zoë", "n": [1, null], "nothing": null}));
        assert_eq!(
            context.render(&DataSource::Constant("Welcome".to_owned())),
            "Welcome"
        );
        assert_eq!(
            context.render(&DataSource::Answer("name".to_owned())),
            "Zoë"
        );
        assert_eq!(
            context.render(&DataSource::Answer("n".to_owned())),
            json!([1, null])
        );
        assert_eq!(context.render(&DataSource::Answer("none".to_owned())), "");
        assert_eq!(
            context.render(&DataSource::Answer("nothing".to_owned())),
            ""
        );
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one case after the other")]
    fn rendered_value_has_json_type_of_field() {
        let choices = || vec!["a".to_owned(), "7".to_owned()];
        let text = || FieldKind::Text {
            min: None,
            max: None,
        };
        for (kind, answers) in [
            (
                text(),
                [
                    (json!(42), json!("42")),
                    (json!(true), json!("true")),
                    (json!(null), json!("")),
                ]
                .to_vec(),
            ),
            (
                FieldKind::Email,
                vec![(json!(" a@b.de "), json!("a@b.de")), (json!([]), json!(""))],
            ),
            (
                FieldKind::Phone,
                vec![
                    (json!(4_930_123), json!("4930123")),
                    (json!(null), json!("")),
                ],
            ),
            (
                FieldKind::Date,
                vec![
                    (json!("2027-01-04"), json!("2027-01-04")),
                    (json!(""), json!("")),
                ],
            ),
            (
                FieldKind::Time,
                vec![(json!("09:00"), json!("09:00")), (json!(null), json!(""))],
            ),
            (
                FieldKind::Choice(choices()),
                vec![(json!(7), json!("7")), (json!(null), json!(""))],
            ),
            (
                FieldKind::Choices(choices()),
                vec![
                    (json!(["a", 7]), json!(["a", "7"])),
                    (json!("a"), json!(["a"])),
                ],
            ),
            (
                FieldKind::Choices(choices()),
                vec![(json!(null), json!([])), (json!(""), json!([]))],
            ),
            (
                FieldKind::Boolean,
                vec![
                    (json!("True"), json!(true)),
                    (json!(0), json!(false)),
                    (json!(""), json!(false)),
                ],
            ),
            (
                FieldKind::Number {
                    min: None,
                    max: None,
                },
                vec![
                    (json!("0.5"), json!(0.5)),
                    (json!(3), json!(3)),
                    (json!(null), json!(0)),
                ],
            ),
            (
                FieldKind::Integer {
                    min: Some(1),
                    max: None,
                },
                vec![
                    (json!("1e1"), json!(10)),
                    (json!(4.0), json!(4)),
                    (json!(" "), json!(0)),
                ],
            ),
        ] {
            for (came, given) in answers {
                let mut context = TestContext::new(json!({"field": came}));
                context.fields = vec![
                    Field::new("field", kind.clone()),
                    Field::new("missing", kind.clone()),
                ];
                assert_eq!(
                    context.render(&DataSource::Answer("field".to_owned())),
                    given,
                    "{}: {came}",
                    kind.as_str()
                );
                let missing = context.render(&DataSource::Answer("missing".to_owned()));
                let same_type = |one: &Value, other: &Value| {
                    one.is_string() == other.is_string()
                        && one.is_array() == other.is_array()
                        && one.is_number() == other.is_number()
                        && one.is_boolean() == other.is_boolean()
                };
                assert!(same_type(&missing, &given), "{}: {missing}", kind.as_str());
            }
        }
    }

    #[test]
    fn slots_are_free_starts_of_chosen_day() {
        let slot_ids = |day, answers| {
            choice_ids(
                &TestContext::new(answers).render(&slots_source(day, ChoiceListOptions::default())),
            )
        };
        let all = slot_ids(None, json!({}));
        assert!(!all.is_empty() && all.len() <= CHOICES_MAX && all.is_sorted());
        let day = all[0].split('T').next().unwrap();
        let of_day = slot_ids(Some("day"), json!({"day": day}));
        assert_eq!(
            of_day,
            all.iter()
                .filter(|id| id.starts_with(day))
                .cloned()
                .collect::<Vec<_>>()
        );
        assert_eq!(
            slot_ids(Some("day"), json!({})),
            all,
            "no day was chosen yet"
        );
        assert_eq!(
            slot_ids(Some("day"), json!({"day": "2019-01-01"})),
            [NO_CHOICE_ID],
            "it is over"
        );

        let full = TestContext::new(json!({})).with_booked_time(None);
        let of_full = full.render(&slots_source(None, ChoiceListOptions::default()));
        assert_eq!(
            of_full,
            json!([{"id": "none", "title": "No free times at the moment."}]),
            "no list is empty"
        );
        assert_eq!(
            slots_source(None, ChoiceListOptions::default()).has_free_time(&of_full),
            Some(false)
        );
        let dates = DataSource::Dates {
            calendar: chair(),
            options: ChoiceListOptions::default(),
        };
        assert_eq!(TestContext::new(json!({})).render(&dates)[0]["id"], day);
        assert_eq!(choice_ids(&full.render(&dates)), [NO_CHOICE_ID]);
        assert_eq!(
            dates.has_free_time(&TestContext::new(json!({})).render(&dates)),
            Some(true)
        );
    }

    #[test]
    fn full_slots_are_hidden_or_disabled() {
        let first = choice_ids(
            &TestContext::new(json!({})).render(&slots_source(None, ChoiceListOptions::default())),
        )[0]
        .clone();
        let day = first.split('T').next().unwrap();
        let context = TestContext::new(json!({"day": day})).with_booked_time(Some(day));
        let options = ChoiceListOptions {
            show_full: true,
            ..ChoiceListOptions::default()
        };
        let shown = context.render(&slots_source(Some("day"), options));
        assert!(
            !choice_ids(&shown).is_empty()
                && shown
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|slot| slot["enabled"] == false)
        );
        assert_eq!(
            choice_ids(&context.render(&slots_source(Some("day"), ChoiceListOptions::default()))),
            [NO_CHOICE_ID]
        );
        let over = TestContext::new(json!({"day": "2019-01-01"}))
            .render(&slots_source(Some("day"), options));
        assert_eq!(
            (&over[0]["id"], &over[0]["enabled"]),
            (&json!(NO_CHOICE_ID), &json!(false))
        );
        let days = |choices| {
            context.render(&DataSource::Dates {
                calendar: chair(),
                options: choices,
            })
        };
        assert_eq!(
            (&days(options)[0]["id"], &days(options)[0]["enabled"]),
            (&json!(day), &json!(false))
        );
        assert_eq!(days(options)[1]["enabled"], true);
        assert_ne!(days(ChoiceListOptions::default())[0]["id"], day);
        assert!(
            days(ChoiceListOptions::default())[0]
                .get("enabled")
                .is_none(),
            "a schema without it stays as it is"
        );
    }

    #[test]
    fn list_length_and_title_width_are_limited() {
        let mut context = TestContext::new(json!({}));
        context.texts.language = Language::De;
        let limited = ChoiceListOptions {
            limit: 3,
            ..ChoiceListOptions::default()
        };
        assert_eq!(
            choice_ids(&context.render(&slots_source(None, limited))).len(),
            3
        );
        assert_eq!(
            choice_ids(&context.render(&DataSource::Dates {
                calendar: chair(),
                options: limited
            }))
            .len(),
            3
        );
        assert!(
            context.render(&slots_source(None, limited))[0]["title"]
                .as_str()
                .unwrap()
                .starts_with("Do 1 Jan, 09:00")
        );
        assert_eq!(
            choice_item("x", &"ä".repeat(31), None)["title"],
            format!("{}…", "ä".repeat(29))
        );
    }

    #[test]
    fn shown_agent_is_stable_while_available() {
        let agents = ["Bob", "Ann"].map(|name| AgentName::new(name).unwrap());
        let team = TeamName::new("sales").unwrap();
        let context_with = |answers, agents: &[AgentName]| TestContext {
            agents: agents.to_vec(),
            ..TestContext::new(answers)
        };
        let one = DataSource::Agent { team: team.clone() };
        assert_eq!(
            context_with(json!({}), &agents).render(&one),
            "Bob",
            "the one who would get it"
        );
        assert_eq!(
            context_with(json!({"agent": "Ann"}), &agents).render(&one),
            "Ann"
        );
        assert_eq!(
            context_with(json!({"agent": "Ann"}), &agents[..1]).render(&one),
            "Bob"
        );
        assert_eq!(context_with(json!({}), &[]).render(&one), "");
        let all = DataSource::Agents {
            team,
            options: ChoiceListOptions::default(),
        };
        assert_eq!(
            choice_ids(&context_with(json!({}), &agents).render(&all)),
            ["Ann", "Bob"]
        );
    }
}
