//! A flow as the config declares it: its screens, what comes next, which fields must be there, which messages are its.
//!
//! Pure, and tolerant of what forms really send: unknown fields are fine, and whether one value fits its field is
//! `super::field`'s question. That names and links are sound (a `next` that exists, a calendar that exists) is checked
//! by `crate::config`, which makes flows.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::{Date, Time};
use serde_json::{Map, Value};

use super::field::{Field, FieldProblem, is_given, read_date, read_slot_id, read_time};
use super::ids::{CalendarName, FlowName, FlowToken, TeamName};
use super::screen_data::Given;

/// A form, and what becomes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// Its name.
    pub name: FlowName,
    /// Where its data endpoint is: `/flows/appointment`.
    pub path: String,
    /// Whether its requests must be signed.
    pub signature: SignatureRule,
    /// Whether its requests are encrypted.
    pub encryption: Encryption,
    /// Its screens in order. None declared: every answer is final, and any field will do.
    pub screens: Vec<Screen>,
    /// The place it books.
    pub booking: Option<BookingRule>,
    /// The lead it becomes.
    pub lead: Option<LeadRule>,
    /// Which messages of `/webhook` belong to it.
    pub webhook: WebhookRule,
}

/// Whether requests must carry `X-Hub-Signature-256`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignatureRule {
    /// They must.
    #[default]
    Required,
    /// Anybody who can reach the path can send.
    None,
}

/// Whether requests come in envelopes and answers go back in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// Plain JSON.
    #[default]
    None,
    /// As Meta sends them to the endpoint of a published flow.
    Required,
}

/// One screen of a form.
#[derive(Clone, Debug, PartialEq)]
pub struct Screen {
    /// Its id in the Flow JSON.
    pub name: String,
    /// Whether sending it completes the form.
    pub is_final: bool,
    /// The screen that follows, where it is not the one declared after this.
    pub next: Option<String>,
    /// Its fields. Others may come and are kept.
    pub fields: Vec<Field>,
    /// What it is given to show, by the name that the Flow JSON has for it (encrypted flows).
    pub data: Vec<(String, Given)>,
}

/// Which place a form books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookingRule {
    /// In which calendar.
    pub calendar: CalendarName,
    /// The field that names the day.
    pub date: String,
    /// The field that names the time. May be the same one, if it carries slot ids (`2027-01-04T09:00`).
    pub time: String,
}

/// Which lead a form becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeadRule {
    /// The team that takes it.
    pub team: TeamName,
    /// Whether a known customer returns to the agent they had.
    pub sticky: bool,
}

/// Which messages of `/webhook` belong to a flow. All that is given must hold; nothing given claims nothing.
///
/// A completed flow comes without the flow's id (*Webhooks*, `nfm_reply`): the number it was sent to, the beginning of
/// the token and a constant field of the payload are all there is to tell flows apart by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookRule {
    /// It came to one of these numbers of ours. Empty: to any.
    pub phone_number_ids: Vec<String>,
    /// Its token begins like this.
    pub token_prefix: Option<String>,
    /// These fields have these values. A number or a boolean is compared by how JSON writes it.
    pub fields: BTreeMap<String, String>,
}

/// What is known of a completed flow that came through `/webhook`.
#[derive(Clone, Copy, Debug)]
pub struct WebhookFacts<'a> {
    /// The number of ours that it came to.
    pub phone_number_id: Option<&'a str>,
    /// Its token, usable or not.
    pub token: Option<&'a FlowToken>,
    /// Its fields.
    pub data: &'a Map<String, Value>,
}

/// What sending a screen means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage<'a> {
    /// The form is complete.
    Final,
    /// It is not.
    Draft {
        /// The screen to show.
        next: Option<&'a Screen>,
    },
}

/// A screen that the flow does not have. `Display` is for the sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct UnknownScreen {
    screen: Option<String>,
    known: Vec<String>,
}

impl fmt::Display for UnknownScreen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.screen {
            Some(screen) => write!(f, "screen {screen:?} is not one of this flow")?,
            None => f.write_str("screen is missing")?,
        }
        write!(f, ": it has {}", self.known.join(", "))
    }
}

impl Flow {
    /// What sending `screen` means. Without declared screens everything is final, whatever the screen.
    ///
    /// # Errors
    /// [`UnknownScreen`] where screens are declared and `screen` is none of them, or missing.
    pub fn stage(&self, screen: Option<&str>) -> Result<Stage<'_>, UnknownScreen> {
        if self.screens.is_empty() {
            return Ok(Stage::Final);
        }
        let position = self.screens.iter().position(|known| Some(known.name.as_str()) == screen);
        let Some((position, sent)) = position.and_then(|at| Some((at, self.screens.get(at)?))) else {
            let known = self.screens.iter().map(|screen| screen.name.clone()).collect();
            return Err(UnknownScreen { screen: screen.map(str::to_owned), known });
        };
        if sent.is_final {
            return Ok(Stage::Final);
        }
        let next = match &sent.next {
            Some(name) => self.screen(name),
            None => self.screens.get(position.saturating_add(1)),
        };
        Ok(Stage::Draft { next })
    }

    /// The declared screen of this name.
    #[must_use]
    pub fn screen(&self, name: &str) -> Option<&Screen> {
        self.screens.iter().find(|screen| screen.name == name)
    }

    /// All screens that may follow `screen`; none behind a final one.
    #[must_use]
    pub fn ways(&self, screen: &Screen) -> Vec<&Screen> {
        match self.stage(Some(&screen.name)) {
            Ok(Stage::Draft { next }) => next.into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// The screen that going back from `screen` leads to: one that leads to it; the first one leads back to itself.
    #[must_use]
    pub fn before(&self, screen: &str) -> Option<&Screen> {
        let leads_here = |from: &&Screen| matches!(self.stage(Some(&from.name)), Ok(Stage::Draft { next: Some(next) }) if next.name == screen);
        self.screens.iter().find(leads_here).or_else(|| self.screen(screen))
    }

    /// The screen on which the user chooses the slot: the one that declares the field of the time or, failing that, of
    /// the day.
    #[must_use]
    pub fn screen_of_choice(&self) -> Option<&Screen> {
        let rule = self.booking.as_ref()?;
        let with = |name: &str| self.screens.iter().find(|screen| screen.fields.iter().any(|field| field.name == name));
        with(&rule.time).or_else(|| with(&rule.date))
    }

    /// What is wrong with the fields of an answer, in the order in which they are declared; nothing, if all is well.
    ///
    /// With a `screen`, its fields are checked, and required ones must be there. Without (the webhook door, where a
    /// form comes as a whole, in parts, or with what the last answer put in) the fields of all screens are checked as
    /// far as they came; one that several screens declare must suit one of them.
    #[must_use]
    pub fn problems(&self, screen: Option<&str>, data: &Map<String, Value>) -> Vec<FieldProblem> {
        if let Some(name) = screen {
            let fields = self.screen(name).into_iter().flat_map(|screen| &screen.fields);
            return fields.filter_map(|field| field.problem(data.get(&field.name), field.required)).collect();
        }
        let declared = || self.screens.iter().flat_map(|screen| &screen.fields);
        let mut problems: Vec<FieldProblem> = Vec::new();
        for field in declared() {
            let problem = |field: &Field| field.problem(data.get(&field.name), false);
            let suits_another = || declared().any(|other| other.name == field.name && problem(other).is_none());
            if let Some(found) = problem(field)
                && !suits_another()
                && problems.iter().all(|known| known.field != found.field)
            {
                problems.push(found);
            }
        }
        problems
    }

    /// Whether a completed flow that came through `/webhook` is this flow's by its [`WebhookRule`]. Which flow gets it
    /// where several or none say so is decided by [`claimant`].
    #[must_use]
    pub fn claims(&self, facts: &WebhookFacts<'_>) -> bool {
        self.webhook.conditions() > 0 && self.webhook.holds(facts)
    }
}

/// The flow that a completed form of `/webhook` belongs to.
///
/// Of the flows whose rule holds it is the one that asks for most (number, token, each field: one each), then the first
/// by name. If no flow has a rule at all and there is only one flow, everything is its. `None`: nobody's, a dead letter.
pub fn claimant<'a>(flows: impl IntoIterator<Item = &'a Flow>, facts: &WebhookFacts<'_>) -> Option<&'a Flow> {
    let flows: Vec<&Flow> = flows.into_iter().collect();
    if let [only] = flows.as_slice()
        && only.webhook.conditions() == 0
    {
        return Some(only);
    }
    let claiming = flows.into_iter().filter(|flow| flow.claims(facts));
    claiming.min_by_key(|flow| (Reverse(flow.webhook.conditions()), &flow.name))
}

impl WebhookRule {
    /// How many conditions it makes.
    #[must_use]
    pub fn conditions(&self) -> usize {
        usize::from(!self.phone_number_ids.is_empty()) + usize::from(self.token_prefix.is_some()) + self.fields.len()
    }

    fn holds(&self, facts: &WebhookFacts<'_>) -> bool {
        let number = self.phone_number_ids.is_empty()
            || facts.phone_number_id.is_some_and(|id| self.phone_number_ids.iter().any(|known| known == id));
        let token = self
            .token_prefix
            .as_ref()
            .is_none_or(|prefix| facts.token.is_some_and(|token| token.as_str().starts_with(prefix)));
        let field = |(name, wanted): (&String, &String)| match facts.data.get(name) {
            Some(Value::String(text)) => text == wanted,
            Some(Value::Number(number)) => number.to_string() == *wanted,
            Some(Value::Bool(yes)) => wanted == if *yes { "true" } else { "false" },
            _ => false,
        };
        number && token && self.fields.iter().all(field)
    }
}

impl BookingRule {
    /// The day and time that a form asks for; `None` if it asks for none (both fields are missing, null or empty).
    ///
    /// Either field may carry the id of a slot that we offered (`2027-01-04T09:00`); being the later choice, it then
    /// says both.
    ///
    /// # Errors
    /// [`FieldProblem`] where a field is no date or time, or only one of them came.
    pub fn wish(&self, answers: &Map<String, Value>) -> Result<Option<(Date, Time)>, FieldProblem> {
        let given = |name: &str| answers.get(name).filter(|value| is_given(value));
        let (date, time) = (given(&self.date), given(&self.time));
        if let Some(slot) = time.and_then(read_slot_id).or_else(|| date.and_then(read_slot_id)) {
            return Ok(Some(slot));
        }
        let problem = |field: &String, why: &str| FieldProblem { field: field.clone(), why: why.to_owned() };
        match (date, time) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(problem(&self.date, "is missing")),
            (Some(_), None) => Err(problem(&self.time, "is missing")),
            (Some(date), Some(time)) => {
                let date = read_date(date).ok_or_else(|| problem(&self.date, "is not a date like 2027-01-04"))?;
                let time = read_time(time).ok_or_else(|| problem(&self.time, "is not a time like 09:00"))?;
                Ok(Some((date, time)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::field::FieldKind;
    use super::*;

    fn screen(name: &str, is_final: bool, next: Option<&str>, fields: Vec<Field>) -> Screen {
        Screen { name: name.to_owned(), is_final, next: next.map(str::to_owned), fields, data: Vec::new() }
    }

    fn field(name: &str, kind: FieldKind, required: bool) -> Field {
        Field { name: name.to_owned(), kind, required }
    }

    fn flow(name: &str, screens: Vec<Screen>) -> Flow {
        Flow {
            name: FlowName::new(name).unwrap(),
            path: format!("/flows/{name}"),
            signature: SignatureRule::Required,
            encryption: Encryption::None,
            screens,
            booking: None,
            lead: None,
            webhook: WebhookRule::default(),
        }
    }

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(object) => object,
            other => panic!("{other}"),
        }
    }

    fn why(flow: &Flow, screen: Option<&str>, data: Value) -> Vec<String> {
        flow.problems(screen, &object(data)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn without_screens_every_answer_is_final_and_any_field_will_do() {
        let flow = flow("form", vec![]);
        assert_eq!(flow.stage(Some("ANY")), Ok(Stage::Final));
        assert_eq!(flow.stage(None), Ok(Stage::Final));
        assert!(why(&flow, Some("ANY"), json!({"a": [1, null]})).is_empty());
    }

    #[test]
    fn the_next_screen_is_the_one_declared_or_else_the_following_one() {
        let flow = flow(
            "form",
            vec![
                screen("ONE", false, None, vec![]),
                screen("TWO", false, Some("FOUR"), vec![]),
                screen("THREE", false, None, vec![]),
                screen("FOUR", true, None, vec![]),
            ],
        );
        let next = |name| match flow.stage(Some(name)) {
            Ok(Stage::Draft { next }) => next.map(|screen| screen.name.as_str()),
            other => panic!("{other:?}"),
        };
        assert_eq!((next("ONE"), next("TWO"), next("THREE")), (Some("TWO"), Some("FOUR"), Some("FOUR")));
        assert_eq!(flow.stage(Some("FOUR")), Ok(Stage::Final));
    }

    #[test]
    fn a_screen_that_is_not_declared_is_refused_with_those_that_are() {
        let flow = flow("form", vec![screen("ONE", false, None, vec![]), screen("TWO", true, None, vec![])]);
        let refused = |screen| flow.stage(screen).unwrap_err().to_string();
        assert_eq!(refused(Some("one")), "screen \"one\" is not one of this flow: it has ONE, TWO");
        assert_eq!(refused(None), "screen is missing: it has ONE, TWO");
    }

    #[test]
    fn only_required_fields_must_be_there_and_all_are_named() {
        let fields = vec![
            field("name", FieldKind::Text { min: None, max: None }, true),
            field("mail", FieldKind::Email, false),
            field("age", FieldKind::Integer { min: Some(18), max: None }, false),
        ];
        let flow = flow("form", vec![screen("ONE", true, None, fields)]);
        let data = json!({"name": null, "mail": "x", "other": {}});
        assert_eq!(why(&flow, Some("ONE"), data), ["name: is missing", "mail: is not an e-mail address"]);
        assert!(why(&flow, Some("ONE"), json!({"name": "Ann", "mail": null})).is_empty());
    }

    #[test]
    fn through_the_webhook_fields_of_all_screens_are_checked_as_far_as_they_came() {
        let flow = flow(
            "form",
            vec![
                screen("ONE", false, None, vec![field("a", FieldKind::Email, true), field("b", FieldKind::Date, true)]),
                screen("TWO", true, None, vec![field("b", FieldKind::Boolean, true)]),
            ],
        );
        assert!(why(&flow, None, json!({})).is_empty());
        assert!(why(&flow, None, json!({"b": true})).is_empty(), "one declaration is enough");
        let both = why(&flow, None, json!({"a": "x", "b": "x"}));
        assert_eq!(both, ["a: is not an e-mail address", "b: is not a date like 2027-01-04"]);
    }

    fn claimed(flows: &[Flow], number: &str, token: &str, data: Value) -> Option<String> {
        let (token, data) = (FlowToken::new(token).ok(), object(data));
        let facts = WebhookFacts { phone_number_id: Some(number), token: token.as_ref(), data: &data };
        claimant(flows, &facts).map(|flow| flow.name.to_string())
    }

    #[test]
    fn a_single_flow_without_a_rule_claims_all_and_of_several_none_does() {
        let one = [flow("a", vec![])];
        assert_eq!(claimed(&one, "1", "t", json!({})).as_deref(), Some("a"));
        let two = [flow("a", vec![]), flow("b", vec![])];
        assert_eq!(claimed(&two, "1", "t", json!({})), None);
    }

    #[test]
    fn all_conditions_of_a_rule_must_hold_and_the_rule_with_most_wins() {
        let numbered = WebhookRule { phone_number_ids: vec!["1".to_owned(), "2".to_owned()], ..WebhookRule::default() };
        let prefixed = WebhookRule { token_prefix: Some("b-".to_owned()), ..numbered.clone() };
        let fields = BTreeMap::from([("kind".to_owned(), "test".to_owned()), ("level".to_owned(), "3".to_owned())]);
        let fielded = WebhookRule { fields, ..WebhookRule::default() };
        let flows = [("a", numbered), ("b", prefixed), ("c", fielded)]
            .map(|(name, webhook)| Flow { webhook, ..flow(name, vec![]) });
        assert_eq!(claimed(&flows, "2", "t", json!({})).as_deref(), Some("a"));
        assert_eq!(claimed(&flows, "2", "b-1", json!({})).as_deref(), Some("b"));
        assert_eq!(claimed(&flows, "3", "b-1", json!({})), None);
        assert_eq!(claimed(&flows, "3", "t", json!({"kind": "test", "level": 3})).as_deref(), Some("c"));
        assert_eq!(claimed(&flows, "3", "t", json!({"kind": "test"})), None);
        assert_eq!(claimed(&flows[..1], "3", "t", json!({})), None, "a single flow with a rule keeps to it");
    }

    #[test]
    fn a_wish_is_a_day_and_a_time_or_the_id_of_a_slot() {
        let rule = BookingRule {
            calendar: CalendarName::new("chair").unwrap(),
            date: "date".to_owned(),
            time: "time".to_owned(),
        };
        let wish =
            |data| rule.wish(&object(data)).map(|wish| wish.map(|(date, time)| date.to_datetime(time).to_string()));
        let slot = Ok(Some("2027-01-04T09:00:00".to_owned()));
        assert_eq!(wish(json!({"date": "2027-01-04", "time": "09:00"})), slot);
        assert_eq!(wish(json!({"date": "2020-01-01", "time": "2027-01-04T09:00"})), slot);
        assert_eq!(wish(json!({"date": "2027-01-04T09:00"})), slot);
        assert_eq!(wish(json!({"date": null, "time": ""})), Ok(None));
        let problem = |data| wish(data).unwrap_err().to_string();
        assert_eq!(problem(json!({"date": "2027-01-04"})), "time: is missing");
        assert_eq!(problem(json!({"time": "09:00"})), "date: is missing");
        assert_eq!(problem(json!({"date": "2027-02-30", "time": "09:00"})), "date: is not a date like 2027-01-04");
        assert_eq!(problem(json!({"date": "2027-01-04", "time": 9})), "time: is not a time like 09:00");
    }
}
