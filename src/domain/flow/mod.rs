//! Defines a flow as the config declares it: its screens, their order, the required fields and the
//! flow matcher.
//!
//! All functions are pure. Unknown fields of a form are allowed.
//!
//! See [`self::field`] for the validation of one value. See [`crate::config`], which
//! creates flows, for the check that names and references exist (the next screen, the calendar).

pub mod cross_screen;
pub mod customer_texts;
pub mod field;
pub mod flow_matcher;
pub mod screen;
pub mod screen_data;
pub mod validation;
use std::fmt;

use serde_json::{Map, Value};

pub use super::booking::slot_request::BookingSettings;
use super::ids::{AgentName, FlowName, TeamName};
use super::time::Millis;
use customer_texts::Localization;
use field::{Field, FieldError, scalar_text};
pub use flow_matcher::{FlowMatcher, MatchInput, match_flow};
pub use screen::{NextScreen, RefreshTrigger, Screen};

/// Default time without a new screen after which a draft is abandoned.
pub const ABANDONED_AFTER: Millis = Millis::from_secs(24 * 60 * 60);

/// Flow: a form and its processing.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// Flow name.
    pub name: FlowName,
    /// Path of the data endpoint, such as `/flows/appointment`.
    pub path: String,
    /// Policy for the signatures of requests.
    pub signature: SignaturePolicy,
    /// Encryption of requests and responses.
    pub encryption: EncryptionMode,
    /// Policy for the signatures of flow tokens. `None`: the config has no `token_signature`. See
    /// [`Flow::token_rule`].
    pub token_signature: Option<TokenSignaturePolicy>,
    /// `true` if an upstream, the owner's own program, decides what each screen shows.
    pub has_upstream: bool,
    /// Screens in order. Empty: every request completes the form, and all fields are allowed.
    pub screens: Vec<Screen>,
    /// Booking that a form makes. `None`: no booking.
    pub booking: Option<BookingSettings>,
    /// Lead that a form creates. `None`: no lead.
    pub lead: Option<LeadSettings>,
    /// Flow matcher for messages of `/webhook`.
    pub matcher: FlowMatcher,
    /// Error texts for customers.
    pub texts: Localization,
    /// Policy for a form whose token was used before (encrypted flows).
    pub resubmit: ResubmitPolicy,
    /// Time without a new screen after which a draft is abandoned.
    pub abandoned_after: Millis,
}

/// Policy for a form whose token was used before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResubmitPolicy {
    /// Send the completion of the first submission again.
    #[default]
    Success,
    /// Close the form. Its message can't be opened again.
    Refuse,
}

/// Policy for the header `X-Hub-Signature-256` of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignaturePolicy {
    /// Requests must have a valid signature.
    #[default]
    Required,
    /// Requests need no signature. Everyone who can reach the path can send forms.
    None,
}

/// Encryption of the requests and responses of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncryptionMode {
    /// Requests and responses are plain JSON.
    #[default]
    None,
    /// Encrypted requests and responses, as Meta uses them for the endpoint of a published flow.
    Required,
}

/// Policy for the `flow_token_signature` of an encrypted request (data API 4.0 with Flow JSON 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenSignaturePolicy {
    /// Refuse a wrong signature. Allow a missing signature.
    Check,
    /// Refuse a wrong or missing signature.
    Require,
    /// Ignore the signature.
    Off,
}

/// Settings for the lead that a form creates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeadSettings {
    /// Team of the lead.
    pub team: TeamName,
    /// `true` if a known customer returns to the same agent. Encrypted requests do not identify the
    /// customer. The message that follows by webhook does.
    pub is_sticky: bool,
    /// Field with the name of the agent whom the customer chose or who was shown last.
    pub agent_field: Option<String>,
}

impl LeadSettings {
    /// Returns the agent that the answers name. Returns `None` if the answers contain no valid
    /// agent name.
    #[must_use]
    pub fn chosen_agent(&self, answers: &Map<String, Value>) -> Option<AgentName> {
        let name = answers
            .get(self.agent_field.as_ref()?)
            .and_then(scalar_text)?;
        AgentName::new(&name).ok()
    }
}

/// Result of the submission of a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScreenStage {
    /// The form is complete.
    Final,
    /// The form is not complete. [`Flow::next_screen`] returns the screen to show.
    Draft,
    /// The customer selected a value on the screen. The screen must be shown again with the data
    /// that depends on this value.
    Refresh,
}

/// Maximum characters of an unknown name in an error.
const SHOWN_CHARS_MAX: usize = 64;

/// Returns the first `SHOWN_CHARS_MAX` characters of an unknown name, because the length of such a
/// name has no limit.
#[must_use]
pub fn truncated(name: &str) -> String {
    match name.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
        None => name.to_owned(),
    }
}

/// Error for a screen that the flow does not declare. `Display` is for the sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct UnknownScreen {
    screen: Option<String>,
    declared: Vec<String>,
}

impl fmt::Display for UnknownScreen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.screen {
            Some(screen) => write!(f, "screen {screen:?} is not a screen of this flow")?,
            None => f.write_str("screen is missing")?,
        }
        write!(f, ": it has {}", self.declared.join(", "))
    }
}

impl Flow {
    /// Creates a plain, signed flow that accepts all forms and creates neither bookings nor leads.
    #[must_use]
    pub fn new(name: FlowName, path: String) -> Self {
        Self {
            name,
            path,
            signature: SignaturePolicy::default(),
            encryption: EncryptionMode::default(),
            token_signature: None,
            has_upstream: false,
            screens: Vec::new(),
            booking: None,
            lead: None,
            matcher: FlowMatcher::default(),
            texts: Localization::default(),
            resubmit: ResubmitPolicy::default(),
            abandoned_after: ABANDONED_AFTER,
        }
    }

    /// Returns the policy for the signatures of flow tokens. The default is to check signatures if
    /// the server has the app secret (`has_app_secret`) and requests must be signed with it. In all
    /// other cases, the server may not know the secret of the app that signs the tokens. Every
    /// signature would then look wrong.
    #[must_use]
    pub fn token_rule(&self, has_app_secret: bool) -> TokenSignaturePolicy {
        let is_known = has_app_secret && self.signature == SignaturePolicy::Required;
        self.token_signature.unwrap_or(if is_known {
            TokenSignaturePolicy::Check
        } else {
            TokenSignaturePolicy::Off
        })
    }

    /// Returns the stage of the form after `screen` was submitted with the answers `data`. Without
    /// declared screens, every screen is final.
    ///
    /// # Errors
    /// [`UnknownScreen`] if the flow declares screens and `screen` is missing or not declared.
    pub fn screen_stage(
        &self,
        screen: Option<&str>,
        data: &Map<String, Value>,
    ) -> Result<ScreenStage, UnknownScreen> {
        if self.screens.is_empty() {
            return Ok(ScreenStage::Final);
        }
        Ok(match self.require_screen(screen)? {
            sent if sent.is_refresh_request(data) => ScreenStage::Refresh,
            sent if sent.is_final => ScreenStage::Final,
            _ => ScreenStage::Draft,
        })
    }

    /// Returns the screen with this name.
    ///
    /// # Errors
    /// [`UnknownScreen`] if the name is missing or the flow does not declare the screen.
    pub fn require_screen(&self, screen: Option<&str>) -> Result<&Screen, UnknownScreen> {
        screen
            .and_then(|name| self.find_screen(name))
            .ok_or_else(|| UnknownScreen {
                screen: screen.map(truncated),
                declared: self
                    .screens
                    .iter()
                    .map(|screen| screen.name.clone())
                    .collect(),
            })
    }

    /// Returns the screen that follows `screen` with the answers so far, including the answers of
    /// `screen`. Returns `None` after a final screen.
    #[must_use]
    pub fn next_screen(&self, screen: &Screen, answers: &Map<String, Value>) -> Option<&Screen> {
        if screen.is_final {
            return None;
        }
        match &screen.next {
            NextScreen::Following => screen::screen_after(&self.screens, screen),
            NextScreen::Screen(name) => self.find_screen(name),
            NextScreen::ByField {
                field,
                cases: to,
                default: otherwise,
            } => {
                let value = answers.get(field).and_then(scalar_text);
                match value
                    .and_then(|value| to.get(value.as_ref()))
                    .or(otherwise.as_ref())
                {
                    Some(name) => self.find_screen(name),
                    None => screen::screen_after(&self.screens, screen),
                }
            }
        }
    }

    /// Returns all screens that can follow `screen`, in the order of their declaration.
    #[must_use]
    pub fn next_screens(&self, screen: &Screen) -> Vec<&Screen> {
        screen::next_screens(&self.screens, screen)
    }

    /// Returns the declared screen with this name.
    #[must_use]
    pub fn find_screen(&self, name: &str) -> Option<&Screen> {
        self.screens.iter().find(|screen| screen.name == name)
    }

    /// Returns the previous screen of `screen` with the answers so far: a screen that leads to
    /// `screen` with these answers. Of several such screens, the function returns the last declared
    /// one that was answered. The previous screen of the first screen is the first screen itself.
    #[must_use]
    pub fn previous_screen(&self, screen: &str, answers: &Map<String, Value>) -> Option<&Screen> {
        let leads_here = |from: &&Screen| {
            self.next_screen(from, answers)
                .is_some_and(|next| next.name == screen)
        };
        let was_answered = |from: &&Screen| {
            from.fields
                .iter()
                .any(|field| answers.contains_key(&field.name))
        };
        let candidates = || self.screens.iter().filter(leads_here);
        let may_lead_here = |from: &&Screen| {
            self.next_screens(from)
                .iter()
                .any(|next| next.name == screen)
        };
        let answered = candidates().rfind(was_answered);
        answered
            .or_else(|| candidates().next())
            .or_else(|| self.screens.iter().find(may_lead_here))
            .or_else(|| self.find_screen(screen))
    }

    /// Returns `true` if data of a form must be stored before the form is complete: the answers of
    /// earlier screens, or the shown agent. Plain flows show no agent. A flow with an upstream
    /// always needs drafts.
    #[must_use]
    pub fn needs_drafts(&self) -> bool {
        let shows_agent = |screen: &Screen| {
            self.encryption == EncryptionMode::Required && screen.shown_agent_names().count() > 0
        };
        self.has_upstream
            || self
                .screens
                .iter()
                .any(|screen| !screen.is_final || shows_agent(screen))
    }

    /// Returns the entries of `answers` that are shown agents, not answers of the customer.
    #[must_use]
    pub fn shown_agents(&self, answers: &Map<String, Value>) -> Map<String, Value> {
        let shown = self
            .screens
            .iter()
            .flat_map(Screen::shown_agent_names)
            .filter(|name| self.find_field(name).is_none());
        shown
            .filter_map(|name| Some((name.to_owned(), answers.get(name)?.clone())))
            .collect()
    }

    /// Returns the field with this name, from the first screen that declares the field.
    #[must_use]
    pub fn find_field(&self, name: &str) -> Option<&Field> {
        self.screens
            .iter()
            .flat_map(|screen| &screen.fields)
            .find(|field| field.name == name)
    }

    /// Returns the error text for a customer about a field of `screen`, in the language of the
    /// flow.
    #[must_use]
    pub fn error_text(&self, screen: &str, problem: &FieldError) -> String {
        let own_field = self.find_screen(screen).and_then(|screen| {
            screen
                .fields
                .iter()
                .find(|field| field.name == problem.field)
        });
        match own_field.or_else(|| self.find_field(&problem.field)) {
            Some(Field {
                error: Some(error), ..
            }) => error.clone(),
            Some(field) => self.texts.error_text(field.label(), problem),
            None => self.texts.error_text(&problem.field, problem),
        }
    }

    /// Returns the screen on which the customer chooses the slot. The screen with the time field
    /// comes first, the screen with the date field second.
    #[must_use]
    pub fn slot_screen(&self) -> Option<&Screen> {
        let booking = self.booking.as_ref()?;
        let screen_with_field = |name: &str| {
            self.screens
                .iter()
                .find(|screen| screen.fields.iter().any(|field| field.name == name))
        };
        screen_with_field(&booking.time_field).or_else(|| screen_with_field(&booking.date_field))
    }

    /// Returns the screen on which the customer can choose another date. Used if `screen` gets
    /// `data` in which the chosen date has no free slot.
    #[must_use]
    pub fn date_selection_screen(
        &self,
        screen: &Screen,
        data: &Map<String, Value>,
    ) -> Option<&Screen> {
        let has_field =
            |screen: &Screen, day: &str| screen.fields.iter().any(|field| field.name == day);
        let day = screen
            .data_sources
            .iter()
            .find_map(|(name, source)| source.field_without_free_slot(data.get(name)?))?;
        self.screens
            .iter()
            .find(|other| has_field(other, day))
            .filter(|_| !has_field(screen, day))
    }

    /// Validates the fields of a form. Returns the errors in the order in which the fields are
    /// declared.
    ///
    /// With a `screen`, the function checks the fields of this screen. Required fields must be
    /// present, unless the request is only a refresh. Without a `screen`, the function checks the
    /// present fields of all screens. This applies to messages of `/webhook`, where a form arrives
    /// complete, in parts, or with the data of the last response. A field that several screens
    /// declare must fit at least one declaration.
    #[must_use]
    pub fn validate(&self, screen: Option<&str>, data: &Map<String, Value>) -> Vec<FieldError> {
        if let Some(name) = screen {
            return self
                .find_screen(name)
                .map(|screen| screen.validate(data))
                .unwrap_or_default();
        }
        let declared = || self.screens.iter().flat_map(|screen| &screen.fields);
        let mut problems: Vec<FieldError> = Vec::new();
        for field in declared() {
            let problem = |field: &Field| field.validate(data.get(&field.name), false);
            let fits_another_declaration =
                || declared().any(|other| other.name == field.name && problem(other).is_none());
            if let Some(found) = problem(field)
                && !fits_another_declaration()
                && problems.iter().all(|earlier| earlier.field != found.field)
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

    use super::field::FieldKind;
    use super::*;

    fn screen_named(name: &str, is_final: bool, next: Option<&str>, fields: Vec<Field>) -> Screen {
        let next = next.map_or(NextScreen::Following, |next| {
            NextScreen::Screen(next.to_owned())
        });
        Screen {
            is_final,
            next,
            fields,
            ..Screen::new(name)
        }
    }

    fn field_named(name: &str, kind: FieldKind, required: bool) -> Field {
        Field {
            is_required: required,
            ..Field::new(name, kind)
        }
    }

    fn flow_with_screens(name: &str, screens: Vec<Screen>) -> Flow {
        Flow {
            screens,
            ..Flow::new(FlowName::new(name).unwrap(), format!("/flows/{name}"))
        }
    }

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(object) => object,
            other => panic!("{other}"),
        }
    }

    fn validation_errors(flow: &Flow, screen: Option<&str>, data: Value) -> Vec<String> {
        flow.validate(screen, &object(data))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn flow_without_screens_accepts_any_form() {
        let flow = flow_with_screens("form", vec![]);
        assert_eq!(
            flow.screen_stage(Some("ANY"), &Map::new()),
            Ok(ScreenStage::Final)
        );
        assert_eq!(flow.screen_stage(None, &Map::new()), Ok(ScreenStage::Final));
        assert!(validation_errors(&flow, Some("ANY"), json!({"a": [1, null]})).is_empty());
    }

    #[test]
    fn signatures_of_tokens_are_checked_by_default_only_where_the_app_secret_is_known() {
        use TokenSignaturePolicy::{Check, Off, Require};
        let rules = |signature, token_signature| {
            let flow = Flow {
                signature,
                token_signature,
                ..flow_with_screens("form", vec![])
            };
            [true, false].map(|has_app_secret| flow.token_rule(has_app_secret))
        };
        assert_eq!(rules(SignaturePolicy::Required, None), [Check, Off]);
        assert_eq!(rules(SignaturePolicy::None, None), [Off, Off]);
        for written in [Check, Require, Off] {
            assert_eq!(
                rules(SignaturePolicy::Required, Some(written)),
                [written; 2]
            );
            assert_eq!(rules(SignaturePolicy::None, Some(written)), [written; 2]);
        }
    }

    #[test]
    fn next_screen_is_declared_or_following() {
        let flow = flow_with_screens(
            "form",
            vec![
                screen_named("ONE", false, None, vec![]),
                screen_named("TWO", false, Some("FOUR"), vec![]),
                screen_named("THREE", false, None, vec![]),
                screen_named("FOUR", true, None, vec![]),
            ],
        );
        let next =
            |name| screen_names(flow.next_screen(flow.find_screen(name).unwrap(), &Map::new()));
        assert_eq!(
            (next("ONE"), next("TWO"), next("THREE")),
            (vec!["TWO"], vec!["FOUR"], vec!["FOUR"])
        );
        assert_eq!(next("FOUR"), Vec::<&str>::new());
        assert_eq!(
            flow.screen_stage(Some("ONE"), &Map::new()),
            Ok(ScreenStage::Draft)
        );
        assert_eq!(
            flow.screen_stage(Some("FOUR"), &Map::new()),
            Ok(ScreenStage::Final)
        );
    }

    fn screen_names<'a>(screens: impl IntoIterator<Item = &'a Screen>) -> Vec<&'a str> {
        screens
            .into_iter()
            .map(|screen| screen.name.as_str())
            .collect()
    }

    #[test]
    fn next_and_previous_screen_depend_on_field() {
        let text = || FieldKind::Text {
            min: None,
            max: None,
        };
        let to = [("new", "INTAKE"), ("2", "INTAKE"), ("known", "SLOT")];
        let by_field = |otherwise: Option<&str>| NextScreen::ByField {
            field: "kind".to_owned(),
            cases: to
                .iter()
                .map(|(value, name)| ((*value).to_owned(), (*name).to_owned()))
                .collect(),
            default: otherwise.map(str::to_owned),
        };
        let first_screen = |otherwise| Screen {
            next: by_field(otherwise),
            ..screen_named("START", false, None, vec![])
        };
        let other_screens = || {
            let intake = screen_named(
                "INTAKE",
                false,
                Some("SLOT"),
                vec![field_named("since", text(), true)],
            );
            [
                screen_named("ASK", false, None, vec![field_named("what", text(), true)]),
                intake,
                screen_named("SLOT", true, None, vec![]),
            ]
        };
        let flow = |otherwise| {
            flow_with_screens(
                "form",
                [vec![first_screen(otherwise)], other_screens().to_vec()].concat(),
            )
        };
        let (open, closed) = (flow(None), flow(Some("SLOT")));
        let next = |flow: &Flow, kind: Value| {
            flow.next_screen(
                flow.find_screen("START").unwrap(),
                &object(json!({"kind": kind})),
            )
            .map(|next| next.name.clone())
            .unwrap()
        };
        assert_eq!(
            (next(&open, json!("new")), next(&open, json!(2))),
            ("INTAKE".to_owned(), "INTAKE".to_owned())
        );
        assert_eq!(
            (next(&open, json!("?")), next(&open, json!(null))),
            ("ASK".to_owned(), "ASK".to_owned())
        );
        assert_eq!(next(&closed, json!("?")), "SLOT");
        assert_eq!(
            screen_names(open.next_screens(open.find_screen("START").unwrap())),
            ["ASK", "INTAKE", "SLOT"]
        );
        assert_eq!(
            screen_names(closed.next_screens(closed.find_screen("START").unwrap())),
            ["INTAKE", "SLOT"]
        );

        let before = |answers: Value| {
            open.previous_screen("SLOT", &object(answers))
                .unwrap()
                .name
                .clone()
        };
        assert_eq!(before(json!({"kind": "known"})), "START");
        assert_eq!(before(json!({"kind": "new", "since": "x"})), "INTAKE");
        assert_eq!(
            before(json!({})),
            "INTAKE",
            "the one that always leads there"
        );
        assert_eq!(
            open.previous_screen("START", &Map::new()).unwrap().name,
            "START"
        );
    }

    #[test]
    fn unknown_screen_error_lists_screens() {
        let flow = flow_with_screens(
            "form",
            vec![
                screen_named("ONE", false, None, vec![]),
                screen_named("TWO", true, None, vec![]),
            ],
        );
        let refused = |screen| {
            flow.screen_stage(screen, &Map::new())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refused(Some("one")),
            "screen \"one\" is not a screen of this flow: it has ONE, TWO"
        );
        assert_eq!(refused(None), "screen is missing: it has ONE, TWO");
    }

    #[test]
    fn every_missing_required_field_is_reported() {
        let fields = vec![
            field_named(
                "name",
                FieldKind::Text {
                    min: None,
                    max: None,
                },
                true,
            ),
            field_named("mail", FieldKind::Email, false),
            field_named(
                "age",
                FieldKind::Integer {
                    min: Some(18),
                    max: None,
                },
                false,
            ),
        ];
        let flow = flow_with_screens("form", vec![screen_named("ONE", true, None, fields)]);
        let data = json!({"name": null, "mail": "x", "other": {}});
        assert_eq!(
            validation_errors(&flow, Some("ONE"), data),
            ["name: is missing", "mail: is not an e-mail address"]
        );
        assert!(
            validation_errors(&flow, Some("ONE"), json!({"name": "Ann", "mail": null})).is_empty()
        );
    }

    #[test]
    fn webhook_form_is_validated_against_all_screens() {
        let flow = flow_with_screens(
            "form",
            vec![
                screen_named(
                    "ONE",
                    false,
                    None,
                    vec![
                        field_named("a", FieldKind::Email, true),
                        field_named("b", FieldKind::Date, true),
                    ],
                ),
                screen_named(
                    "TWO",
                    true,
                    None,
                    vec![field_named("b", FieldKind::Boolean, true)],
                ),
            ],
        );
        assert!(validation_errors(&flow, None, json!({})).is_empty());
        assert!(
            validation_errors(&flow, None, json!({"b": true})).is_empty(),
            "one declaration is enough"
        );
        let both = validation_errors(&flow, None, json!({"a": "x", "b": "x"}));
        assert_eq!(
            both,
            [
                "a: is not an e-mail address",
                "b: is not a date like 2027-01-04"
            ]
        );
    }
}
