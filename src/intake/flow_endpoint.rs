//! A flow's own path: what one request says, be it plain JSON or what stood in an envelope.
//!
//! The body has `version`, `action`, `screen`, `data`, `flow_token` and `context.user_id` (protocol of the data endpoint,
//! *Implementing Endpoint for Flows*). All but the action may be missing; fields that we do not know are kept. What is
//! answered is `crate::http`'s business, envelopes are `super::encryption`'s; what is no form at all is told in `complaint`,
//! which screen follows an opening or a step back in `show`.

mod complaint;
mod show;

use serde_json::{Map, Value, json};

use crate::domain::arrival::Form;
use crate::domain::complaint::Complaint;
use crate::domain::draft::{Draft, merge};
use crate::domain::flow::{Encryption, Flow, Resubmit, Stage, beginning};
use crate::domain::ids::{Customer, FlowToken};
use crate::domain::submission::{Channel, IdempotencyKey, Submission};
use crate::domain::time::{Millis, Timestamp};

use super::json::{Fields, values};
use super::{Catalog, IntakeError};
pub use complaint::misfit;
pub use show::Show;
use show::Way;

/// How long the same answers without a token of their own are a second press of the same user.
const PRESSES: Millis = Millis::from_secs(10 * 60);

/// Top-level fields that are read. A submission stores all others as they came.
const KNOWN: [&str; 7] = ["version", "action", "screen", "data", "flow_token", "flow_token_signature", "context"];

/// What a request asks for.
#[derive(Debug)]
pub enum Request<'a> {
    /// Whether we are there.
    Ping,
    /// A screen.
    Show(Show<'a>),
    /// The client did not like our last answer, and says why. Never a submission (encrypted flows only).
    Complaint(Complaint),
    /// A screen was sent.
    Sent(Sent<'a>),
}

/// A screen that was sent.
#[derive(Debug)]
pub struct Sent<'a> {
    flow: &'a Flow,
    screen: Option<String>,
    token: Option<FlowToken>,
    customer: Customer,
    /// The fields as they came, and read.
    text: Box<str>,
    data: Map<String, Value>,
    extra: Box<str>,
    /// What sending it means.
    pub stage: Stage,
}

impl<'a> Request<'a> {
    /// Reads the body of a `POST` to `flow`.
    ///
    /// # Errors
    /// [`IntakeError`] names the field and says what is wrong with it.
    pub fn read(flow: &'a Flow, body: &[u8]) -> Result<Self, IntakeError> {
        let fields = object(body)?;
        optional_text(&fields, "version")?;
        let screen = optional_text(&fields, "screen")?.filter(|screen| !screen.is_empty());
        // Before all that goes by the flow's fields: the same bytes are a ping wherever they are sent.
        if fields.text("action").as_deref() == Some("ping") {
            return Ok(Self::Ping);
        }
        // Known by its data before its action, which is any (*Implementing Endpoint for Flows*, "Error Notification").
        if flow.encryption == Encryption::Required
            && let Some(complaint) = complaint::read(flow, screen.as_deref(), &fields)
        {
            return Ok(Self::Complaint(complaint));
        }
        let Some(action) = optional_text(&fields, "action")? else {
            return Err(IntakeError::field("action", "is missing: a submission has data_exchange"));
        };
        let way = match action.as_str() {
            "data_exchange" => return Sent::read(flow, &fields, screen).map(Self::Sent),
            "INIT" => Way::Open,
            "BACK" => Way::Back,
            // More will come, and a program may know them.
            _ if flow.has_program => Way::Unknown,
            _ => return Err(IntakeError::UnknownAction(beginning(&action))),
        };
        // The screen may be missing (*Implementing Endpoint for Flows*); one that is named must be there, unless it is a
        // program's to know.
        if way == Way::Back && screen.is_some() && !flow.screens.is_empty() && !flow.has_program {
            flow.known(screen.as_deref())?;
        }
        Ok(Self::Show(Show { flow, named: screen, token: complaint::token(&fields), way }))
    }
}

impl<'a> Sent<'a> {
    fn read(flow: &'a Flow, fields: &Fields<'_>, screen: Option<String>) -> Result<Self, IntakeError> {
        let text: Box<str> = fields.get("data").map_or("{}", |data| data.get()).into();
        let data = values(&text).map_err(|why| IntakeError::field("data", why))?;
        let stage = match flow.stage(screen.as_deref(), &data) {
            // What follows a screen is for the program to say, also of one that the config does not know.
            Err(_) if flow.has_program => Stage::Draft,
            stage => stage?,
        };
        if let Some(problem) = flow.problems(screen.as_deref().or(Some("")), &data).into_iter().next() {
            return Err(IntakeError::Unfit { screen: screen.unwrap_or_default(), problem });
        }
        let token = match optional_text(fields, "flow_token")?.filter(|token| !token.is_empty()) {
            Some(token) => {
                Some(FlowToken::new(&token).map_err(|why| IntakeError::field("flow_token", why.to_string()))?)
            }
            None => None,
        };
        let user = match fields.object("context").get("user_id") {
            None => String::new(),
            Some(user) => match serde_json::from_str(user.get()) {
                Ok(Value::String(text)) => text,
                Ok(Value::Number(number)) => number.to_string(),
                _ => return Err(IntakeError::field("context.user_id", "is not a text")),
            },
        };
        let extra = fields.others(&KNOWN).into();
        Ok(Self { flow, screen, token, customer: Customer::from_text(&user), text, data, extra, stage })
    }

    /// The name of the screen, for answers.
    #[must_use]
    pub fn screen(&self) -> &str {
        self.screen.as_deref().unwrap_or_default()
    }

    /// Whether the sender set no token that tells this form from others.
    #[must_use]
    pub fn lacks_token(&self) -> bool {
        !self.token.as_ref().is_some_and(FlowToken::usable)
    }

    /// The key of the form in the making that this screen belongs to; `None` where the flow has one screen only, or
    /// nothing tells whose it is.
    #[must_use]
    pub fn draft_key(&self) -> Option<IdempotencyKey> {
        self.flow
            .has_drafts()
            .then(|| IdempotencyKey::of_draft(&self.flow.name, self.token.as_ref(), &self.customer))
            .flatten()
    }

    /// The screen that comes next when these are the answers so far, its own included: after a choice the same one. Empty
    /// where none is declared.
    #[must_use]
    pub fn next(&self, answers: &Map<String, Value>) -> &str {
        let screen = self.flow.screen(self.screen());
        match self.stage {
            Stage::Choice => self.screen(),
            Stage::Draft => screen.and_then(|screen| self.flow.next(screen, answers)).map_or("", |next| &next.name),
            Stage::Final => "",
        }
    }

    /// The screen as a draft to be kept, with `more` beside its answers; its user is on `on` from now on.
    ///
    /// # Errors
    /// [`IntakeError::Field`] where nothing tells whose form it is.
    pub fn draft(
        &self,
        on: &str,
        more: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<(IdempotencyKey, Draft), IntakeError> {
        let key = self.draft_key().ok_or_else(|| {
            let why = "is missing or `unused`, and context.user_id is missing, too: nothing tells whose form this is";
            IntakeError::field("flow_token", why)
        })?;
        let draft = Draft {
            flow: self.flow.name.clone(),
            flow_token: self.token.clone(),
            customer: self.customer.clone(),
            screen: on.into(),
            data: if more.is_empty() { self.text.clone() } else { merge(&self.text, &json!(more).to_string()) },
            updated_at: now,
        };
        Ok((key, draft))
    }

    /// The answers on this screen.
    #[must_use]
    pub const fn answers(&self) -> &Map<String, Value> {
        &self.data
    }

    /// The token as it came.
    #[must_use]
    pub const fn token(&self) -> Option<&FlowToken> {
        self.token.as_ref()
    }

    /// Who fills it in, as far as the request names them.
    #[must_use]
    pub const fn customer(&self) -> &Customer {
        &self.customer
    }

    /// The completed form, as one whose token is known to be no one customer's: its answers are what it is known by.
    #[must_use]
    pub fn form_without_token(&self, catalog: &Catalog, now: Timestamp) -> Form {
        let [form_key, former_key] = self.keys_of_answers(now);
        Form { form_key, former_key, draft_key: None, ..self.form(catalog, now) }
    }

    /// The keys of a form that no token tells from others.
    fn keys_of_answers(&self, now: Timestamp) -> [Option<IdempotencyKey>; 2] {
        let flow = &self.flow.name;
        if !self.customer.is_unknown() {
            return [Some(IdempotencyKey::of_answers(flow, self.screen(), &self.customer, &self.text)), None];
        }
        let press = |span| Some(IdempotencyKey::of_press(flow, self.screen(), &self.text, span));
        let span = now.as_millis() / PRESSES.get().max(1);
        // A press just before the turn of a span is still known after it.
        [press(span), press(span.saturating_sub(1))]
    }

    /// The completed form.
    #[must_use]
    pub fn form(&self, catalog: &Catalog, now: Timestamp) -> Form {
        let encrypted = self.flow.encryption == Encryption::Required;
        let [form_key, former_key] = match self.token.as_ref().filter(|token| token.usable()) {
            Some(token) => [Some(IdempotencyKey::of_token(&self.flow.name, token)), None],
            None => self.keys_of_answers(now),
        };
        Form {
            form_key,
            message_key: None,
            former_key,
            reference: None,
            elsewhere: Vec::new(),
            draft_key: self.draft_key(),
            asks: catalog.asks(self.flow),
            request: None,
            end: None,
            for_good: self.flow.resubmit == Resubmit::Refuse,
            answerable: true,
            submission: Submission {
                flow: self.flow.name.clone(),
                flow_token: self.token.clone(),
                customer: self.customer.clone(),
                channel: if encrypted { Channel::Encrypted } else { Channel::Plain },
                message_id: None,
                screen: self.screen.as_deref().map(Box::from),
                data: self.text.clone(),
                extra: self.extra.clone(),
                problems: Vec::new(),
                sent_at: None,
            },
        }
    }
}

/// The fields of a body.
pub(super) fn object(body: &[u8]) -> Result<Fields<'_>, IntakeError> {
    let text = std::str::from_utf8(body).map_err(|error| IntakeError::NotJson(error.to_string()))?;
    Fields::of(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => IntakeError::NotAnObject,
        _ => IntakeError::NotJson(error.to_string()),
    })
}

/// A field that is a text, or missing, or null.
fn optional_text(fields: &Fields<'_>, name: &str) -> Result<Option<String>, IntakeError> {
    match fields.get(name) {
        None => Ok(None),
        Some(value) => serde_json::from_str(value.get())
            .map(Some)
            .map_err(|_| IntakeError::field(name, "is not a text that can be read")),
    }
}

#[cfg(test)]
mod tests;
