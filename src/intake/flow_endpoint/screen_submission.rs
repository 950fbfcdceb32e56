//! Parses the submission of a screen, and turns a completed form into an inbound item.

use serde_json::{Map, Value, json};

use crate::domain::flow::{EncryptionMode, Flow, ResubmitPolicy, ScreenStage};
use crate::domain::ids::{Customer, FlowToken};
use crate::domain::submission::draft::{Draft, merge_answers};
use crate::domain::submission::inbound::InboundSubmission;
use crate::domain::submission::{IdempotencyKey, Submission, SubmissionChannel};
use crate::domain::time::{Millis, Timestamp};
use crate::intake::json::{JsonFields, values};
use crate::intake::{Catalog, IntakeError};

/// Time span for repeated presses. Within this span, equal answers without a token and a customer
/// are a second press of the same customer.
const REPEATED_PRESS_WINDOW: Millis = Millis::from_secs(10 * 60);

/// Top-level fields that the parser reads. A submission stores all other fields as they arrived.
const KNOWN_KEYS: [&str; 7] = [
    "version",
    "action",
    "screen",
    "data",
    "flow_token",
    "flow_token_signature",
    "context",
];

/// Submitted screen.
#[derive(Debug)]
pub struct ScreenSubmission<'a> {
    flow: &'a Flow,
    screen: Option<String>,
    token: Option<FlowToken>,
    customer: Customer,
    /// Fields of the screen as received text. `answers` contains the parsed values.
    raw_data: Box<str>,
    answers: Map<String, Value>,
    unknown_fields: Box<str>,
    /// Stage of the form after this screen.
    pub stage: ScreenStage,
}

impl<'a> ScreenSubmission<'a> {
    /// Parses the fields of a request.
    ///
    /// # Errors
    /// [`IntakeError`] names the field and the reason.
    pub(super) fn parse(
        flow: &'a Flow,
        fields: &JsonFields<'_>,
        screen: Option<String>,
    ) -> Result<Self, IntakeError> {
        let raw_data: Box<str> = fields.get("data").map_or("{}", |data| data.get()).into();
        let answers = values(&raw_data).map_err(|why| IntakeError::invalid_field("data", why))?;
        let stage = match flow.screen_stage(screen.as_deref(), &answers) {
            // The upstream decides which screen follows, also after a screen that the config does
            // not have.
            Err(_) if flow.has_upstream => ScreenStage::Draft,
            stage => stage?,
        };
        if let Some(problem) = flow
            .validate(screen.as_deref().or(Some("")), &answers)
            .into_iter()
            .next()
        {
            return Err(IntakeError::ValidationFailed {
                screen: screen.unwrap_or_default(),
                error: problem,
            });
        }
        let token = fields.optional_text("flow_token")?;
        let token = token
            .filter(|token| !token.is_empty())
            .map(|token| FlowToken::new(&token))
            .transpose()
            .map_err(|why| IntakeError::invalid_field("flow_token", why.to_string()))?;
        let customer_id = match fields.object("context").get("user_id") {
            None => String::new(),
            Some(id) => match serde_json::from_str(id.get()) {
                Ok(Value::String(text)) => text,
                Ok(Value::Number(number)) => number.to_string(),
                _ => {
                    return Err(IntakeError::invalid_field(
                        "context.user_id",
                        "is not a text",
                    ));
                }
            },
        };
        let unknown_fields = fields.to_json_without(&KNOWN_KEYS).into();
        Ok(Self {
            flow,
            screen,
            token,
            customer: Customer::from_text(&customer_id),
            raw_data,
            answers,
            unknown_fields,
            stage,
        })
    }

    /// Returns the name of the screen for responses. The name is empty if the request names no
    /// screen.
    #[must_use]
    pub fn screen_name(&self) -> &str {
        self.screen.as_deref().unwrap_or_default()
    }

    /// Returns `true` if the sender set no usable token, so that no token identifies this form.
    #[must_use]
    pub fn has_no_token(&self) -> bool {
        !self.token.as_ref().is_some_and(FlowToken::is_usable)
    }

    /// Returns the key of the draft that this screen belongs to. Returns `None` if the flow needs
    /// no drafts, or if neither a token nor a customer identifies the form.
    #[must_use]
    pub fn draft_key(&self) -> Option<IdempotencyKey> {
        self.flow
            .needs_drafts()
            .then(|| {
                IdempotencyKey::for_draft(&self.flow.name, self.token.as_ref(), &self.customer)
            })
            .flatten()
    }

    /// Returns the next screen for the given answers of the form, including the answers of this
    /// screen. After a refresh, the next screen is the same screen. The name is empty if no screen
    /// is declared.
    #[must_use]
    pub fn next_screen(&self, answers: &Map<String, Value>) -> &str {
        let screen = self.flow.find_screen(self.screen_name());
        match self.stage {
            ScreenStage::Refresh => self.screen_name(),
            ScreenStage::Draft => screen
                .and_then(|screen| self.flow.next_screen(screen, answers))
                .map_or("", |next| &next.name),
            ScreenStage::Final => "",
        }
    }

    /// Returns the draft to store: the answers of this screen and the fields `extra_answers`.
    /// `current_screen` is the screen that the customer sees next.
    ///
    /// # Errors
    /// [`IntakeError::InvalidField`] if neither a token nor a customer identifies the form.
    pub fn draft(
        &self,
        current_screen: &str,
        extra_answers: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<(IdempotencyKey, Draft), IntakeError> {
        let key = self.draft_key().ok_or_else(|| {
            let why =
                "is missing or `unused`, and context.user_id is missing, too: the customer of this form is unknown";
            IntakeError::invalid_field("flow_token", why)
        })?;
        let draft = Draft {
            flow: self.flow.name.clone(),
            flow_token: self.token.clone(),
            customer: self.customer.clone(),
            screen: current_screen.into(),
            data: if extra_answers.is_empty() {
                self.raw_data.clone()
            } else {
                merge_answers(&self.raw_data, &json!(extra_answers).to_string())
            },
            updated_at: now,
        };
        Ok((key, draft))
    }

    /// Returns the answers of this screen.
    #[must_use]
    pub const fn answers(&self) -> &Map<String, Value> {
        &self.answers
    }

    /// Returns the flow token as received.
    #[must_use]
    pub const fn token(&self) -> Option<&FlowToken> {
        self.token.as_ref()
    }

    /// Returns the customer, as far as the request identifies the customer.
    #[must_use]
    pub const fn customer(&self) -> &Customer {
        &self.customer
    }

    /// Returns the completed form for a token that several customers share. The answers identify
    /// such a form, not the token.
    #[must_use]
    pub fn to_inbound_without_token(&self, catalog: &Catalog, now: Timestamp) -> InboundSubmission {
        let [form_key, former_key] = self.answer_keys(now);
        InboundSubmission {
            form_key,
            previous_press_key: former_key,
            draft_key: None,
            ..self.to_inbound(catalog, now)
        }
    }

    /// Returns the keys of a form that no token identifies: the key, and the key of the previous
    /// press.
    fn answer_keys(&self, now: Timestamp) -> [Option<IdempotencyKey>; 2] {
        let flow = &self.flow.name;
        let screen = self.screen_name();
        let data = &*self.raw_data;
        if !self.customer.is_unknown() {
            let key = IdempotencyKey::for_answers(flow, screen, &self.customer, data);
            return [Some(key), None];
        }
        let window = now.as_millis() / REPEATED_PRESS_WINDOW.get().max(1);
        // A press just before the change of a span is still recognized after the change.
        [window, window.saturating_sub(1)].map(|window| {
            Some(IdempotencyKey::for_repeated_press(
                flow, screen, data, window,
            ))
        })
    }

    /// Returns the completed form.
    #[must_use]
    pub fn to_inbound(&self, catalog: &Catalog, now: Timestamp) -> InboundSubmission {
        let [form_key, former_key] = match self.token.as_ref().filter(|token| token.is_usable()) {
            Some(token) => [
                Some(IdempotencyKey::for_token(&self.flow.name, token)),
                None,
            ],
            None => self.answer_keys(now),
        };
        InboundSubmission {
            form_key,
            previous_press_key: former_key,
            draft_key: self.draft_key(),
            slot_selector: catalog.slot_selector(self.flow),
            reject_resubmission: self.flow.resubmit == ResubmitPolicy::Refuse,
            allows_new_choice: true,
            ..InboundSubmission::new(Submission {
                flow: self.flow.name.clone(),
                flow_token: self.token.clone(),
                customer: self.customer.clone(),
                channel: match self.flow.encryption {
                    EncryptionMode::Required => SubmissionChannel::Encrypted,
                    EncryptionMode::None => SubmissionChannel::Plain,
                },
                message_id: None,
                screen: self.screen.as_deref().map(Box::from),
                data: self.raw_data.clone(),
                unknown_fields: self.unknown_fields.clone(),
                problems: Vec::new(),
                sent_at: None,
            })
        }
    }
}
