//! A flow as the config declares it: its screens, what comes next, which fields must be there, which messages are its.
//!
//! Pure, and tolerant of what forms really send: unknown fields are fine, and whether one value fits its field is
//! `super::field`'s question. That names and links are sound (a `next` that exists, a calendar that exists) is checked
//! by `crate::config`, which makes flows.

use std::fmt;

use serde_json::{Map, Value};

pub use super::booking_rule::BookingRule;
pub use super::claim::{WebhookFacts, WebhookRule, claimant};
use super::field::{Field, FieldProblem, text_of};
use super::ids::{AgentName, FlowName, TeamName};
use super::screen;
pub use super::screen::{Next, Screen, Select};
use super::texts::Texts;
use super::time::Millis;

/// How long a draft is still, unless the config says otherwise, before it is abandoned.
pub const ABANDONED_AFTER: Millis = Millis::from_secs(24 * 60 * 60);

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
    /// Rule for the signatures of tokens. `None`: the config has no `token_signature`. See [`Flow::token_rule`].
    pub token_signature: Option<TokenSignature>,
    /// Whether a program of the owner's says what is shown, screen by screen.
    pub has_program: bool,
    /// Its screens in order. None declared: every answer is final, and any field will do.
    pub screens: Vec<Screen>,
    /// The place it books.
    pub booking: Option<BookingRule>,
    /// The lead it becomes.
    pub lead: Option<LeadRule>,
    /// Which messages of `/webhook` belong to it.
    pub webhook: WebhookRule,
    /// What customers are told where something does not fit.
    pub texts: Texts,
    /// What comes of a form whose token was used before (encrypted flows).
    pub resubmit: Resubmit,
    /// How long a draft is still before it is abandoned.
    pub abandoned_after: Millis,
}

/// What comes of a form whose token was used before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resubmit {
    /// The success that it had the first time.
    #[default]
    Success,
    /// It is closed, and its message can't be opened again.
    Refuse,
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

/// What comes of the `flow_token_signature` in an encrypted request (data API 4.0 with Flow JSON 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenSignature {
    /// A wrong one is refused, a missing one is not.
    Check,
    /// A missing one is refused, too.
    Require,
    /// Nobody looks at it.
    Off,
}

/// Which lead a form becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeadRule {
    /// The team that takes it.
    pub team: TeamName,
    /// Whether a known customer returns to the agent they had. Encrypted requests do not say whose they are: what follows by
    /// webhook does.
    pub sticky: bool,
    /// The field that names the agent whom the customer chose, or was shown last.
    pub agent: Option<String>,
}

impl LeadRule {
    /// The agent whom the answers name.
    #[must_use]
    pub fn chosen(&self, answers: &Map<String, Value>) -> Option<AgentName> {
        let name = answers.get(self.agent.as_ref()?).and_then(text_of)?;
        AgentName::new(&name).ok()
    }
}

/// What sending a screen means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The form is complete.
    Final,
    /// It is not: [`Flow::next`] says what to show.
    Draft,
    /// Something was chosen on the screen, which is to be shown again with what follows from that.
    Choice,
}

/// Characters that are repeated at the most of a name that is not known.
const SHOWN_MAX: usize = 64;

/// As much of a name that is not known as is worth repeating: nothing limits its length.
#[must_use]
pub fn beginning(name: &str) -> String {
    match name.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
        None => name.to_owned(),
    }
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
    /// A plain, signed flow that takes anything and makes nothing of it.
    #[must_use]
    pub fn new(name: FlowName, path: String) -> Self {
        Self {
            name,
            path,
            signature: SignatureRule::default(),
            encryption: Encryption::default(),
            token_signature: None,
            has_program: false,
            screens: Vec::new(),
            booking: None,
            lead: None,
            webhook: WebhookRule::default(),
            texts: Texts::default(),
            resubmit: Resubmit::default(),
            abandoned_after: ABANDONED_AFTER,
        }
    }

    /// The rule for the signatures of tokens. Default: signatures are checked if the server has the app secret
    /// (`has_app_secret`) and requests must be signed with it. In all other cases the secret of the app that signs the tokens
    /// may be unknown here, and each signature would look wrong.
    #[must_use]
    pub fn token_rule(&self, has_app_secret: bool) -> TokenSignature {
        let is_known = has_app_secret && self.signature == SignatureRule::Required;
        self.token_signature.unwrap_or(if is_known { TokenSignature::Check } else { TokenSignature::Off })
    }

    /// What sending `screen` with the answers `data` means. Without declared screens everything is final, whatever the
    /// screen.
    ///
    /// # Errors
    /// [`UnknownScreen`] where screens are declared and `screen` is none of them, or missing.
    pub fn stage(&self, screen: Option<&str>, data: &Map<String, Value>) -> Result<Stage, UnknownScreen> {
        if self.screens.is_empty() {
            return Ok(Stage::Final);
        }
        Ok(match self.known(screen)? {
            sent if sent.is_choice(data) => Stage::Choice,
            sent if sent.is_final => Stage::Final,
            _ => Stage::Draft,
        })
    }

    /// The screen of this name.
    ///
    /// # Errors
    /// [`UnknownScreen`] where it is not declared, or no name is given.
    pub fn known(&self, screen: Option<&str>) -> Result<&Screen, UnknownScreen> {
        screen.and_then(|name| self.screen(name)).ok_or_else(|| UnknownScreen {
            screen: screen.map(beginning),
            known: self.screens.iter().map(|screen| screen.name.clone()).collect(),
        })
    }

    /// The screen that follows `screen` when these are the answers so far, its own included. None follows a final one.
    #[must_use]
    pub fn next(&self, screen: &Screen, answers: &Map<String, Value>) -> Option<&Screen> {
        if screen.is_final {
            return None;
        }
        match &screen.next {
            Next::Following => screen::following(&self.screens, screen),
            Next::Screen(name) => self.screen(name),
            Next::ByField { field, to, otherwise } => {
                let value = answers.get(field).and_then(text_of);
                match value.and_then(|value| to.get(value.as_ref())).or(otherwise.as_ref()) {
                    Some(name) => self.screen(name),
                    None => screen::following(&self.screens, screen),
                }
            }
        }
    }

    /// All screens that may follow `screen`, in the order in which they are declared.
    #[must_use]
    pub fn ways(&self, screen: &Screen) -> Vec<&Screen> {
        screen::ways(&self.screens, screen)
    }

    /// The declared screen of this name.
    #[must_use]
    pub fn screen(&self, name: &str) -> Option<&Screen> {
        self.screens.iter().find(|screen| screen.name == name)
    }

    /// The screen that going back from `screen` leads to, when these are the answers so far: one that leads to it with
    /// them, of several the one declared last that was answered. The first one leads back to itself.
    #[must_use]
    pub fn before(&self, screen: &str, answers: &Map<String, Value>) -> Option<&Screen> {
        let leads_here = |from: &&Screen| self.next(from, answers).is_some_and(|next| next.name == screen);
        let was_answered = |from: &&Screen| from.fields.iter().any(|field| answers.contains_key(&field.name));
        let candidates = || self.screens.iter().filter(leads_here);
        let could = |from: &&Screen| self.ways(from).iter().any(|next| next.name == screen);
        let answered = candidates().rfind(was_answered);
        answered
            .or_else(|| candidates().next())
            .or_else(|| self.screens.iter().find(could))
            .or_else(|| self.screen(screen))
    }

    /// Whether something of its forms is to be kept before they are complete: the screens before the last, or the agent
    /// who was shown, as plain flows show none.
    #[must_use]
    pub fn has_drafts(&self) -> bool {
        let shows_agent =
            |screen: &Screen| self.encryption == Encryption::Required && screen.agents_shown().count() > 0;
        self.has_program || self.screens.iter().any(|screen| !screen.is_final || shows_agent(screen))
    }

    /// Those of `answers` that nobody has given: the agents who were shown.
    #[must_use]
    pub fn agents_among(&self, answers: &Map<String, Value>) -> Map<String, Value> {
        let shown = self.screens.iter().flat_map(Screen::agents_shown).filter(|name| self.field(name).is_none());
        shown.filter_map(|name| Some((name.to_owned(), answers.get(name)?.clone()))).collect()
    }

    /// The field of this name, as the first screen that has it declares it.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.screens.iter().flat_map(|screen| &screen.fields).find(|field| field.name == name)
    }

    /// What a customer is told of a problem with a field of `screen`, in the flow's language.
    #[must_use]
    pub fn told(&self, screen: &str, problem: &FieldProblem) -> String {
        let here =
            self.screen(screen).and_then(|screen| screen.fields.iter().find(|field| field.name == problem.field));
        match here.or_else(|| self.field(&problem.field)) {
            Some(Field { error: Some(error), .. }) => error.clone(),
            Some(field) => self.texts.problem(field.label(), problem),
            None => self.texts.problem(&problem.field, problem),
        }
    }

    /// The screen on which the user chooses the slot: the one that declares the field of the time or, failing that, of
    /// the day.
    #[must_use]
    pub fn screen_of_choice(&self) -> Option<&Screen> {
        let rule = self.booking.as_ref()?;
        let with = |name: &str| self.screens.iter().find(|screen| screen.fields.iter().any(|field| field.name == name));
        with(&rule.time).or_else(|| with(&rule.date))
    }

    /// The screen on which another day is chosen, where `screen` is given `data` in which the chosen one has no start left.
    #[must_use]
    pub fn other_day(&self, screen: &Screen, data: &Map<String, Value>) -> Option<&Screen> {
        let asks = |screen: &Screen, day: &str| screen.fields.iter().any(|field| field.name == day);
        let day = screen.data.iter().find_map(|(name, given)| given.day_without_choice(data.get(name)?))?;
        self.screens.iter().find(|other| asks(other, day)).filter(|_| !asks(screen, day))
    }

    /// What is wrong with the fields of an answer, in the order in which they are declared; nothing, if all is well.
    ///
    /// With a `screen`, its fields are checked, and required ones must be there, unless something was only chosen. Without
    /// (the webhook door, where a form comes as a whole, in parts, or with what the last answer put in) the fields of all
    /// screens are checked as far as they came; one that several screens declare must suit one of them.
    #[must_use]
    pub fn problems(&self, screen: Option<&str>, data: &Map<String, Value>) -> Vec<FieldProblem> {
        if let Some(name) = screen {
            return self.screen(name).map(|screen| screen.problems(data)).unwrap_or_default();
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
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::field::FieldKind;
    use super::*;

    fn screen(name: &str, is_final: bool, next: Option<&str>, fields: Vec<Field>) -> Screen {
        let next = next.map_or(Next::Following, |next| Next::Screen(next.to_owned()));
        Screen { is_final, next, fields, ..Screen::new(name) }
    }

    fn field(name: &str, kind: FieldKind, required: bool) -> Field {
        Field { required, ..Field::new(name, kind) }
    }

    fn flow(name: &str, screens: Vec<Screen>) -> Flow {
        Flow { screens, ..Flow::new(FlowName::new(name).unwrap(), format!("/flows/{name}")) }
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
        assert_eq!(flow.stage(Some("ANY"), &Map::new()), Ok(Stage::Final));
        assert_eq!(flow.stage(None, &Map::new()), Ok(Stage::Final));
        assert!(why(&flow, Some("ANY"), json!({"a": [1, null]})).is_empty());
    }

    #[test]
    fn signatures_of_tokens_are_checked_by_default_only_where_the_app_secret_is_known() {
        use TokenSignature::{Check, Off, Require};
        let rules = |signature, token_signature| {
            let flow = Flow { signature, token_signature, ..flow("form", vec![]) };
            [true, false].map(|has_app_secret| flow.token_rule(has_app_secret))
        };
        assert_eq!(rules(SignatureRule::Required, None), [Check, Off]);
        assert_eq!(rules(SignatureRule::None, None), [Off, Off]);
        for written in [Check, Require, Off] {
            assert_eq!(rules(SignatureRule::Required, Some(written)), [written; 2]);
            assert_eq!(rules(SignatureRule::None, Some(written)), [written; 2]);
        }
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
        let next = |name| names(flow.next(flow.screen(name).unwrap(), &Map::new()));
        assert_eq!((next("ONE"), next("TWO"), next("THREE")), (vec!["TWO"], vec!["FOUR"], vec!["FOUR"]));
        assert_eq!(next("FOUR"), Vec::<&str>::new());
        assert_eq!(flow.stage(Some("ONE"), &Map::new()), Ok(Stage::Draft));
        assert_eq!(flow.stage(Some("FOUR"), &Map::new()), Ok(Stage::Final));
    }

    fn names<'a>(screens: impl IntoIterator<Item = &'a Screen>) -> Vec<&'a str> {
        screens.into_iter().map(|screen| screen.name.as_str()).collect()
    }

    #[test]
    fn an_answer_may_decide_what_comes_next_and_the_way_back_follows_it() {
        let text = || FieldKind::Text { min: None, max: None };
        let to = [("new", "INTAKE"), ("2", "INTAKE"), ("known", "SLOT")];
        let by_field = |otherwise: Option<&str>| Next::ByField {
            field: "kind".to_owned(),
            to: to.iter().map(|(value, name)| ((*value).to_owned(), (*name).to_owned())).collect(),
            otherwise: otherwise.map(str::to_owned),
        };
        let first = |otherwise| Screen { next: by_field(otherwise), ..screen("START", false, None, vec![]) };
        let rest = || {
            let intake = screen("INTAKE", false, Some("SLOT"), vec![field("since", text(), true)]);
            [screen("ASK", false, None, vec![field("what", text(), true)]), intake, screen("SLOT", true, None, vec![])]
        };
        let flow = |otherwise| flow("form", [vec![first(otherwise)], rest().to_vec()].concat());
        let (open, closed) = (flow(None), flow(Some("SLOT")));
        let next = |flow: &Flow, kind: Value| {
            flow.next(flow.screen("START").unwrap(), &object(json!({"kind": kind})))
                .map(|next| next.name.clone())
                .unwrap()
        };
        assert_eq!((next(&open, json!("new")), next(&open, json!(2))), ("INTAKE".to_owned(), "INTAKE".to_owned()));
        assert_eq!((next(&open, json!("?")), next(&open, json!(null))), ("ASK".to_owned(), "ASK".to_owned()));
        assert_eq!(next(&closed, json!("?")), "SLOT");
        assert_eq!(names(open.ways(open.screen("START").unwrap())), ["ASK", "INTAKE", "SLOT"]);
        assert_eq!(names(closed.ways(closed.screen("START").unwrap())), ["INTAKE", "SLOT"]);

        let before = |answers: Value| open.before("SLOT", &object(answers)).unwrap().name.clone();
        assert_eq!(before(json!({"kind": "known"})), "START");
        assert_eq!(before(json!({"kind": "new", "since": "x"})), "INTAKE");
        assert_eq!(before(json!({})), "INTAKE", "the one that always leads there");
        assert_eq!(open.before("START", &Map::new()).unwrap().name, "START");
    }

    #[test]
    fn a_screen_that_is_not_declared_is_refused_with_those_that_are() {
        let flow = flow("form", vec![screen("ONE", false, None, vec![]), screen("TWO", true, None, vec![])]);
        let refused = |screen| flow.stage(screen, &Map::new()).unwrap_err().to_string();
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
}
