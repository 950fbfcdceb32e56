//! What intake makes of bytes, and the store decides on: a completed form, or a message of which nothing can be made.

use std::sync::Arc;

use jiff::civil;

use super::booking_rule::BookingRule;
use super::calendar::Calendar;
use super::field::{FieldProblem, Flaw};
#[cfg(test)]
use super::ids::{Customer, FlowName, FlowToken};
#[cfg(test)]
use super::submission::Channel;
use super::submission::{IdempotencyKey, Submission};

/// One thing that arrived.
#[derive(Clone, Debug)]
pub enum Arrival {
    /// A completed form.
    Form(Box<Form>),
    /// A webhook message that can't be read, or that no flow claims: kept as a dead letter.
    Unreadable(Box<Unreadable>),
}

/// A completed form and what is needed to decide on it.
#[derive(Clone, Debug)]
pub struct Form {
    /// What is to be kept.
    pub submission: Submission,
    /// The form's own key: its token's or, for a plain one without, its user's and answers'.
    pub form_key: Option<IdempotencyKey>,
    /// The key of the message that carried it (webhook).
    pub message_key: Option<IdempotencyKey>,
    /// Further key under which the form itself may be known: the span of presses before this one.
    pub former_key: Option<IdempotencyKey>,
    /// Key of a form that ended at its flow's path, as the message which follows it refers to it.
    pub reference: Option<IdempotencyKey>,
    /// Keys under which other flows would know the same token: a form done through a flow's own path also arrives by
    /// webhook, where nothing names the flow. Flows whose webhook rule excludes the message have none.
    pub elsewhere: Vec<IdempotencyKey>,
    /// Where its earlier screens are kept.
    pub draft_key: Option<IdempotencyKey>,
    /// How its fields, together with those of its earlier screens, say which slot it asks for.
    pub asks: Option<Asks>,
    /// The encrypted request that brought it.
    pub request: Option<IdempotencyKey>,
    /// The answer that ends it, where it is not the usual one: JSON text, kept in the moment in which the form is taken.
    pub end: Option<Box<str>>,
    /// Whether a form that was sent stays sent as long as its key is known, and not only for the time in which the same token
    /// means the same form.
    pub for_good: bool,
    /// Whether the user can be asked to choose another slot. If not, a lost slot becomes a conflict.
    pub answerable: bool,
}

/// How a form asks for a slot. Which one is known once all of its fields are together.
#[derive(Clone, Debug)]
pub struct Asks {
    /// The fields that say it.
    pub rule: BookingRule,
    /// The calendar that the rule names.
    pub calendar: Arc<Calendar>,
}

/// A slot that a form asks for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// In this calendar.
    pub calendar: Arc<Calendar>,
    /// On this day, as the calendar's time zone counts.
    pub date: civil::Date,
    /// At this time, likewise.
    pub time: civil::Time,
}

impl Asks {
    /// The slot that a form with these fields (the text of a JSON object) asks for; `None`: none.
    ///
    /// # Errors
    /// [`FieldProblem`] where they name half of one, or what is none. `needed`: also where they name none at all.
    pub fn wish(&self, fields: &str, needed: bool) -> Result<Option<Wish>, FieldProblem> {
        let answers = serde_json::from_str(fields).unwrap_or_default();
        match self.rule.wish(&answers)? {
            Some((date, time)) => Ok(Some(Wish { calendar: Arc::clone(&self.calendar), date, time })),
            None if needed => Err(FieldProblem { field: self.rule.date.clone(), flaw: Flaw::Missing }),
            None => Ok(None),
        }
    }
}

/// A message that is kept though nothing can be made of it yet.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// The key of the message, if it has an id.
    pub message_key: Option<IdempotencyKey>,
    /// Keys under which flows would know its token, if that much could be read.
    pub elsewhere: Vec<IdempotencyKey>,
    /// What joins the submission, should one of these keys be known.
    pub join: Option<Box<Submission>>,
    /// Why nothing can be made of it.
    pub reason: String,
    /// All of it: JSON text.
    pub payload: String,
}

impl Form {
    /// Its own keys, in the order of look-up.
    #[must_use]
    pub fn keys(&self) -> Vec<IdempotencyKey> {
        [self.form_key, self.former_key].into_iter().flatten().collect()
    }
}

#[cfg(test)]
impl Form {
    /// A plain form as most tests need one: `token` sent to `flow` with the answers `data`.
    #[must_use]
    pub fn plain(flow: &FlowName, token: &str, data: &str) -> Self {
        let flow_token = FlowToken::new(token).ok();
        Self {
            form_key: flow_token.as_ref().map(|token| IdempotencyKey::of_token(flow, token)),
            message_key: None,
            former_key: None,
            reference: None,
            elsewhere: Vec::new(),
            draft_key: None,
            asks: None,
            request: None,
            end: None,
            for_good: false,
            answerable: true,
            submission: Submission {
                flow: flow.clone(),
                flow_token,
                customer: Customer::from_text("1234567890"),
                channel: Channel::Plain,
                message_id: None,
                screen: None,
                data: data.into(),
                extra: "".into(),
                problems: Vec::new(),
                sent_at: None,
            },
        }
    }
}
