//! What a screen of an encrypted flow is given to show: free slots, days with one, agents, answers so far, constants.
//!
//! Pure: what is taken and who is free is told by whoever asks ([`Around`]). Which screen comes next is `super::flow`'s.

use jiff::civil::Date;
use serde_json::{Map, Value, json};

use super::booking::{Interval, Occupancy, reserve, starts_on};
use super::calendar::Calendar;
use super::field::{Field, FieldKind, is_given, read_boolean, read_date, read_integer, read_number, text_of};
use super::ids::{AgentName, CalendarName, TeamName};
use super::texts::{TextKey, Texts};
use super::time::{Millis, Timestamp};

/// A dropdown takes no more choices (*Flow JSON*, components).
pub const CHOICES_MAX: usize = 200;

/// The id of the one line of a list in which nothing is free: a list must not be empty (*Flow JSON*, components). It is no
/// date, no time and no slot, so that nobody books it.
pub const NO_CHOICE: &str = "none";

/// No day is longer, where clocks go back by an hour or two.
const LONGEST_DAY: Millis = Millis::from_secs(26 * 60 * 60);

/// Characters that the title of a choice has at the most (*Flow JSON*, components).
const TITLE_MAX: usize = 30;

/// Where a value that a screen is given comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// The config: a text.
    Constant(String),
    /// What was answered in this field, in the JSON type of its kind; empty where nothing was.
    Answer(String),
    /// Starts as a choice list: of the day that this field names, or else the next ones.
    Slots {
        /// In this calendar.
        calendar: CalendarName,
        /// The field that names the day.
        day: Option<String>,
        /// Which of them.
        choices: Choices,
    },
    /// Days that have a free start, as a choice list.
    Dates {
        /// In this calendar.
        calendar: CalendarName,
        /// Which of them.
        choices: Choices,
    },
    /// The name of one agent who can take the lead: whom the answers name already, or who would get it now.
    Agent {
        /// Of this team.
        team: TeamName,
    },
    /// The agents who can take the lead, as a choice list.
    Agents {
        /// Of this team.
        team: TeamName,
        /// Which of them.
        choices: Choices,
    },
}

/// What goes into a choice list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choices {
    /// So many at the most: radio buttons take 20, dropdowns 200 (*Flow JSON*, components).
    pub most: usize,
    /// Whether what is full is there, too, and can't be chosen (`enabled`: false).
    pub with_full: bool,
}

impl Default for Choices {
    fn default() -> Self {
        Self { most: CHOICES_MAX, with_full: false }
    }
}

/// What a screen is shown in: when, after which answers, in which words, and how full everything is.
pub trait Around {
    /// Why it can't be told how full something is.
    type Error;

    /// The time.
    fn now(&self) -> Timestamp;
    /// The answers so far.
    fn answers(&self) -> &Map<String, Value>;
    /// The flow's texts.
    fn texts(&self) -> &Texts;
    /// The flow's declared field of this name.
    fn field(&self, name: &str) -> Option<&Field>;
    /// A calendar of the config.
    fn calendar(&self, name: &CalendarName) -> Option<&Calendar>;
    /// What is taken in a stretch of time.
    ///
    /// # Errors
    /// It can't be told.
    fn taken(&self, calendar: &CalendarName, window: Interval) -> Result<Occupancy, Self::Error>;
    /// The agents of a team who can take a lead, the one who would get the next first.
    ///
    /// # Errors
    /// It can't be told.
    fn free_agents(&self, team: &TeamName) -> Result<Vec<AgentName>, Self::Error>;
}

impl Given {
    /// The value of what the screen knows as `name`.
    ///
    /// # Errors
    /// Those of `around`: what can't be looked up is not free.
    pub fn value<A: Around>(&self, name: &str, around: &A) -> Result<Value, A::Error> {
        Ok(match self {
            Self::Constant(text) => json!(text),
            Self::Answer(field) => answer(around.field(field), around.answers().get(field)),
            Self::Slots { calendar, day, choices } => {
                let day = day.as_ref().and_then(|field| around.answers().get(field)).and_then(read_date);
                slots(calendar, day, *choices, around)?
            }
            Self::Dates { calendar, choices } => dates(calendar, *choices, around)?,
            Self::Agent { team } => {
                json!(agent(team, name, around)?.map(|agent| agent.to_string()).unwrap_or_default())
            }
            Self::Agents { team, choices } => {
                let mut agents = around.free_agents(team)?;
                agents.sort();
                let list = agents.iter().take(choices.most).map(|agent| choice(agent.as_str(), agent.as_str(), None));
                some(list.collect(), *choices, TextKey::NobodyFree, around.texts())
            }
        })
    }
}

/// An answer in the one JSON type that a Flow JSON can declare for it, whatever type it came in (*Flow JSON*, `data`):
/// a phone refuses a screen with any other, and with null. Nothing was answered: the empty value of that type, 0 for
/// numbers, as that type has none.
fn answer(field: Option<&Field>, given: Option<&Value>) -> Value {
    let given = given.filter(|value| is_given(value));
    let Some(field) = field else { return given.cloned().unwrap_or_else(|| json!("")) };
    match (&field.kind, given) {
        (FieldKind::Number { .. }, Some(number @ Value::Number(_))) => number.clone(),
        (FieldKind::Number { .. }, given) => given.and_then(read_number).map_or(json!(0), Value::from),
        (FieldKind::Integer { .. }, given) => given.and_then(read_integer).unwrap_or_default().into(),
        (FieldKind::Boolean, given) => given.and_then(read_boolean).unwrap_or_default().into(),
        (FieldKind::Choices(_), Some(Value::Array(items))) => items.iter().filter_map(text_of).collect(),
        (FieldKind::Choices(_), given) => given.and_then(text_of).into_iter().collect(),
        (_, given) => given.and_then(text_of).unwrap_or_default().into(),
    }
}

impl Given {
    /// Whether `value` has a day or a start that could be chosen; `None` where it is no list of either.
    #[must_use]
    pub fn has_free_time(&self, value: &Value) -> Option<bool> {
        let (Self::Slots { .. } | Self::Dates { .. }) = self else { return None };
        Some(value.as_array()?.iter().any(can_be_chosen))
    }

    /// The field that names the day, where `value` has no start of it that could be chosen.
    #[must_use]
    pub fn day_without_choice(&self, value: &Value) -> Option<&str> {
        let Self::Slots { day: Some(day), .. } = self else { return None };
        self.has_free_time(value).is_some_and(|has| !has).then_some(day)
    }
}

/// Whether a line of a choice list is there to be chosen.
#[must_use]
pub fn can_be_chosen(choice: &Value) -> bool {
    choice.get("enabled") != Some(&Value::Bool(false)) && choice.get("id").is_some_and(|id| id != NO_CHOICE)
}

/// The agent to be shown as `name`: the one who was shown before, as long as they can take the lead.
///
/// # Errors
/// Those of `around`.
fn agent<A: Around>(team: &TeamName, name: &str, around: &A) -> Result<Option<AgentName>, A::Error> {
    let free = around.free_agents(team)?;
    let shown = around.answers().get(name).and_then(text_of);
    let still = free.iter().find(|agent| shown.as_deref() == Some(agent.as_str()));
    Ok(still.or(free.first()).cloned())
}

fn slots<A: Around>(
    calendar: &CalendarName,
    day: Option<Date>,
    choices: Choices,
    around: &A,
) -> Result<Value, A::Error> {
    let Some(calendar) = around.calendar(calendar) else { return Ok(json!([])) };
    let mut list = Vec::new();
    for date in days(calendar, day, around.now()) {
        for (slot, is_free) in starts_on(calendar, date, around.now(), |window| around.taken(calendar.name(), window))?
        {
            if is_free || choices.with_full {
                let title = format!("{}, {}", around.texts().day(slot.date), slot.clock_time());
                list.push(choice(&slot.id(), &title, choices.with_full.then_some(is_free)));
            }
        }
        if list.len() >= choices.most {
            list.truncate(choices.most);
            break;
        }
    }
    Ok(some(list, choices, TextKey::NothingFree, around.texts()))
}

fn dates<A: Around>(calendar: &CalendarName, choices: Choices, around: &A) -> Result<Value, A::Error> {
    let Some(calendar) = around.calendar(calendar) else { return Ok(json!([])) };
    let mut list = Vec::new();
    for date in days(calendar, None, around.now()) {
        let Some(has_free) = has_free(calendar, date, around)? else { continue };
        if has_free || choices.with_full {
            let enabled = choices.with_full.then_some(has_free);
            list.push(choice(&date.to_string(), &around.texts().day(date), enabled));
        }
        if list.len() == choices.most {
            break;
        }
    }
    Ok(some(list, choices, TextKey::NothingFree, around.texts()))
}

/// The list; where it would be empty, a line of its own says so.
fn some(mut list: Vec<Value>, choices: Choices, key: TextKey, texts: &Texts) -> Value {
    if list.is_empty() {
        list.push(choice(NO_CHOICE, texts.get(key), choices.with_full.then_some(false)));
    }
    list.into()
}

/// Whether a place is left in a start of this day; `None`: none may be booked on it. Looks no further than needed.
fn has_free<A: Around>(calendar: &Calendar, date: Date, around: &A) -> Result<Option<bool>, A::Error> {
    let mut offers = calendar.offers(date, around.now()).peekable();
    let Some(first) = offers.peek() else { return Ok(None) };
    let window = Interval { start: first.start, end: calendar.blocked(first).end.plus(LONGEST_DAY) };
    let taken = around.taken(calendar.name(), window)?;
    Ok(Some(offers.any(|slot| reserve(calendar, slot, &taken).is_ok())))
}

/// One line of a choice list. `enabled` is left out where nothing is full.
fn choice(id: &str, title: &str, enabled: Option<bool>) -> Value {
    let title: String = if title.chars().count() > TITLE_MAX {
        title.chars().take(TITLE_MAX - 1).chain(['…']).collect()
    } else {
        title.to_owned()
    };
    match enabled {
        Some(enabled) => json!({"id": id, "title": title, "enabled": enabled}),
        None => json!({"id": id, "title": title}),
    }
}

/// The day that was chosen, or all that can be booked.
fn days(calendar: &Calendar, chosen: Option<Date>, now: Timestamp) -> impl Iterator<Item = Date> {
    let (first, last) = (calendar.first_day(now), calendar.last_day(now));
    let (first, last) = chosen.map_or((first, last), |day| (day.max(first), day.min(last)));
    first.series(jiff::Span::new().days(1)).take_while(move |day| *day <= last)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::super::booking::Taken;
    use super::super::calendar::tests::spec;
    use super::super::texts::Language;
    use super::*;

    /// Thursday, 2026-01-01T00:00Z.
    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    struct Place {
        answers: Map<String, Value>,
        calendar: Calendar,
        taken: Occupancy,
        agents: Vec<AgentName>,
        texts: Texts,
        fields: Vec<Field>,
    }

    impl Place {
        fn new(answers: Value) -> Self {
            let Value::Object(answers) = answers else { panic!("{answers}") };
            let calendar = Calendar::new(spec("UTC", &["09:00-12:00"])).unwrap();
            let (taken, agents, fields) = (Occupancy::default(), Vec::new(), Vec::new());
            Self { answers, calendar, taken, agents, texts: Texts::default(), fields }
        }

        /// One day is full, or all are.
        fn full(self, day: Option<&str>) -> Self {
            let day = day.map(|day| day.parse::<Date>().unwrap().to_zoned_datetime(jiff::tz::TimeZone::UTC).unwrap());
            let from = day.map_or(Timestamp::ZERO, |day| Timestamp::from_jiff(day.timestamp()));
            let length = if from == Timestamp::ZERO { u64::MAX >> 12 } else { 24 * 3_600_000 };
            let all_day = Interval { start: from, end: Timestamp::from_millis(from.as_millis() + length) };
            let taken = Taken { time: all_day, places: self.calendar.capacity() };
            Self { taken: Occupancy::of([taken]), ..self }
        }

        fn value(&self, given: &Given) -> Value {
            let Ok(value) = given.value("agent", self);
            value
        }
    }

    impl Around for Place {
        type Error = Infallible;

        fn now(&self) -> Timestamp {
            NOW
        }
        fn answers(&self) -> &Map<String, Value> {
            &self.answers
        }
        fn texts(&self) -> &Texts {
            &self.texts
        }
        fn field(&self, name: &str) -> Option<&Field> {
            self.fields.iter().find(|field| field.name == name)
        }
        fn calendar(&self, name: &CalendarName) -> Option<&Calendar> {
            (name.as_str() == "chair").then_some(&self.calendar)
        }
        fn taken(&self, _: &CalendarName, _: Interval) -> Result<Occupancy, Infallible> {
            Ok(self.taken.clone())
        }
        fn free_agents(&self, _: &TeamName) -> Result<Vec<AgentName>, Infallible> {
            Ok(self.agents.clone())
        }
    }

    fn chair() -> CalendarName {
        CalendarName::new("chair").unwrap()
    }

    fn slots(day: Option<&str>, choices: Choices) -> Given {
        Given::Slots { calendar: chair(), day: day.map(str::to_owned), choices }
    }

    fn ids(value: &Value) -> Vec<String> {
        value.as_array().unwrap().iter().map(|choice| choice["id"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn constants_and_answers_in_undeclared_fields_are_given_as_they_are_and_never_as_null() {
        let place = Place::new(json!({"name": "Zoë", "n": [1, null], "nothing": null}));
        assert_eq!(place.value(&Given::Constant("Welcome".to_owned())), "Welcome");
        assert_eq!(place.value(&Given::Answer("name".to_owned())), "Zoë");
        assert_eq!(place.value(&Given::Answer("n".to_owned())), json!([1, null]));
        assert_eq!(place.value(&Given::Answer("none".to_owned())), "");
        assert_eq!(place.value(&Given::Answer("nothing".to_owned())), "");
    }

    #[test]
    fn an_answer_has_the_type_of_its_field_answered_or_not() {
        let choices = || vec!["a".to_owned(), "7".to_owned()];
        let text = || FieldKind::Text { min: None, max: None };
        for (kind, answers) in [
            (text(), [(json!(42), json!("42")), (json!(true), json!("true")), (json!(null), json!(""))].to_vec()),
            (FieldKind::Email, vec![(json!(" a@b.de "), json!("a@b.de")), (json!([]), json!(""))]),
            (FieldKind::Phone, vec![(json!(4_930_123), json!("4930123")), (json!(null), json!(""))]),
            (FieldKind::Date, vec![(json!("2027-01-04"), json!("2027-01-04")), (json!(""), json!(""))]),
            (FieldKind::Time, vec![(json!("09:00"), json!("09:00")), (json!(null), json!(""))]),
            (FieldKind::Choice(choices()), vec![(json!(7), json!("7")), (json!(null), json!(""))]),
            (FieldKind::Choices(choices()), vec![(json!(["a", 7]), json!(["a", "7"])), (json!("a"), json!(["a"]))]),
            (FieldKind::Choices(choices()), vec![(json!(null), json!([])), (json!(""), json!([]))]),
            (
                FieldKind::Boolean,
                vec![(json!("True"), json!(true)), (json!(0), json!(false)), (json!(""), json!(false))],
            ),
            (
                FieldKind::Number { min: None, max: None },
                vec![(json!("0.5"), json!(0.5)), (json!(3), json!(3)), (json!(null), json!(0))],
            ),
            (
                FieldKind::Integer { min: Some(1), max: None },
                vec![(json!("1e1"), json!(10)), (json!(4.0), json!(4)), (json!(" "), json!(0))],
            ),
        ] {
            for (came, given) in answers {
                let mut place = Place::new(json!({"field": came}));
                place.fields = vec![Field::new("field", kind.clone()), Field::new("missing", kind.clone())];
                assert_eq!(place.value(&Given::Answer("field".to_owned())), given, "{}: {came}", kind.as_str());
                let missing = place.value(&Given::Answer("missing".to_owned()));
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
    fn slots_are_those_of_the_chosen_day_that_are_free() {
        let value = |day, answers| ids(&Place::new(answers).value(&slots(day, Choices::default())));
        let all = value(None, json!({}));
        assert!(!all.is_empty() && all.len() <= CHOICES_MAX && all.is_sorted());
        let day = all[0].split('T').next().unwrap();
        let of_day = value(Some("day"), json!({"day": day}));
        assert_eq!(of_day, all.iter().filter(|id| id.starts_with(day)).cloned().collect::<Vec<_>>());
        assert_eq!(value(Some("day"), json!({})), all, "no day was chosen yet");
        assert_eq!(value(Some("day"), json!({"day": "2019-01-01"})), [NO_CHOICE], "it is over");

        let full = Place::new(json!({})).full(None);
        let of_full = full.value(&slots(None, Choices::default()));
        assert_eq!(of_full, json!([{"id": "none", "title": "No free times at the moment."}]), "no list is empty");
        assert_eq!(slots(None, Choices::default()).has_free_time(&of_full), Some(false));
        let dates = Given::Dates { calendar: chair(), choices: Choices::default() };
        assert_eq!(Place::new(json!({})).value(&dates)[0]["id"], day);
        assert_eq!(ids(&full.value(&dates)), [NO_CHOICE]);
        assert_eq!(dates.has_free_time(&Place::new(json!({})).value(&dates)), Some(true));
    }

    #[test]
    fn what_is_full_is_left_out_or_shown_and_cannot_be_chosen() {
        let first = ids(&Place::new(json!({})).value(&slots(None, Choices::default())))[0].clone();
        let day = first.split('T').next().unwrap();
        let place = Place::new(json!({"day": day})).full(Some(day));
        let all = Choices { with_full: true, ..Choices::default() };
        let shown = place.value(&slots(Some("day"), all));
        assert!(!ids(&shown).is_empty() && shown.as_array().unwrap().iter().all(|slot| slot["enabled"] == false));
        assert_eq!(ids(&place.value(&slots(Some("day"), Choices::default()))), [NO_CHOICE]);
        let over = Place::new(json!({"day": "2019-01-01"})).value(&slots(Some("day"), all));
        assert_eq!((&over[0]["id"], &over[0]["enabled"]), (&json!(NO_CHOICE), &json!(false)));
        let days = |choices| place.value(&Given::Dates { calendar: chair(), choices });
        assert_eq!((&days(all)[0]["id"], &days(all)[0]["enabled"]), (&json!(day), &json!(false)));
        assert_eq!(days(all)[1]["enabled"], true);
        assert_ne!(days(Choices::default())[0]["id"], day);
        assert!(days(Choices::default())[0].get("enabled").is_none(), "a schema without it stays as it is");
    }

    #[test]
    fn a_list_is_no_longer_and_a_title_no_wider_than_the_phone_takes() {
        let mut place = Place::new(json!({}));
        place.texts.language = Language::De;
        let few = Choices { most: 3, ..Choices::default() };
        assert_eq!(ids(&place.value(&slots(None, few))).len(), 3);
        assert_eq!(ids(&place.value(&Given::Dates { calendar: chair(), choices: few })).len(), 3);
        assert!(place.value(&slots(None, few))[0]["title"].as_str().unwrap().starts_with("Do 1 Jan, 09:00"));
        assert_eq!(choice("x", &"ä".repeat(31), None)["title"], format!("{}…", "ä".repeat(29)));
    }

    #[test]
    fn the_agent_who_was_shown_stays_as_long_as_they_can_take_the_lead() {
        let agents = ["Bob", "Ann"].map(|name| AgentName::new(name).unwrap());
        let team = TeamName::new("sales").unwrap();
        let place = |answers, agents: &[AgentName]| Place { agents: agents.to_vec(), ..Place::new(answers) };
        let one = Given::Agent { team: team.clone() };
        assert_eq!(place(json!({}), &agents).value(&one), "Bob", "the one who would get it");
        assert_eq!(place(json!({"agent": "Ann"}), &agents).value(&one), "Ann");
        assert_eq!(place(json!({"agent": "Ann"}), &agents[..1]).value(&one), "Bob");
        assert_eq!(place(json!({}), &[]).value(&one), "");
        let all = Given::Agents { team, choices: Choices::default() };
        assert_eq!(ids(&place(json!({}), &agents).value(&all)), ["Ann", "Bob"]);
    }
}
