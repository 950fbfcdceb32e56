//! Parses what an operator traces: an ID with its kind, such as `job:12`, or a bare text with all
//! its meanings.

use crate::domain::customer_search::CustomerTerm;
use crate::domain::ids::{BookingId, JobId, LeadId, SubmissionId};

/// Thing that an operator traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceTarget {
    /// A submission.
    Submission(SubmissionId),
    /// A job, a dead letter or a delivery.
    Job(JobId),
    /// A lead.
    Lead(LeadId),
    /// A booking.
    Booking(BookingId),
    /// ID of a message: of a form, or of a message that a delivery became.
    Message(String),
    /// Flow token of a form.
    Token(String),
    /// Webhook ID of a delivery: `msg_…`.
    WebhookId(String),
    /// Phone number or ID of a customer.
    Customer(String),
}

/// Error for a text that names nothing to trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    /// The text is empty.
    #[error(
        "is empty: type a phone number, an ID of a customer or message, a flow token, or {KINDS}"
    )]
    Empty,
    /// The text after the kind is no number.
    #[error("{kind} needs a number, as {kind}:12, not {text:?}")]
    NoNumber {
        /// Kind as typed.
        kind: &'static str,
        /// Text after the kind.
        text: String,
    },
}

/// Kinds with a number, for errors.
const KINDS: &str = "submission:N, job:N, lead:N, booking:N, delivery:N";

impl TraceTarget {
    /// Returns all meanings of a text. A kind before the text leaves one meaning.
    ///
    /// # Errors
    /// [`InvalidTarget`] if the text has no meaning.
    pub fn parse(text: &str) -> Result<Vec<Self>, InvalidTarget> {
        let text = text.trim();
        if text.is_empty() {
            return Err(InvalidTarget::Empty);
        }
        if let Some((kind, rest)) = text.split_once(':')
            && let Some(target) = Self::of_kind(kind, rest.trim())
        {
            return Ok(vec![target?]);
        }
        if text.starts_with("wamid.") {
            return Ok(vec![Self::Message(text.to_owned())]);
        }
        if text.starts_with("msg_") {
            return Ok(vec![Self::WebhookId(text.to_owned())]);
        }
        let mut targets = Vec::new();
        // A `+` marks a phone number, although it would also parse as a number.
        if let Some(number) = text.parse().ok().filter(|_| !text.starts_with('+')) {
            targets.extend([
                Self::Submission(SubmissionId::new(number)),
                Self::Job(JobId::new(number)),
                Self::Lead(LeadId::new(number)),
                Self::Booking(BookingId::new(number)),
            ]);
        }
        if CustomerTerm::new(text).is_phone_number() {
            targets.push(Self::Customer(text.to_owned()));
        }
        if !targets.is_empty() {
            return Ok(targets);
        }
        Ok(vec![
            Self::Token(text.to_owned()),
            Self::Message(text.to_owned()),
            Self::Customer(text.to_owned()),
        ])
    }

    /// Returns the target of a text with its kind. `None`: no such kind, so the text is a whole.
    fn of_kind(kind: &str, text: &str) -> Option<Result<Self, InvalidTarget>> {
        let number = |kind: &'static str, target: fn(u64) -> Self| {
            text.parse()
                .map(target)
                .map_err(|_| InvalidTarget::NoNumber {
                    kind,
                    text: text.to_owned(),
                })
        };
        let word = |target: fn(String) -> Self| match text {
            "" => Err(InvalidTarget::Empty),
            text => Ok(target(text.to_owned())),
        };
        Some(match kind {
            "submission" => number("submission", |id| Self::Submission(SubmissionId::new(id))),
            "job" => number("job", |id| Self::Job(JobId::new(id))),
            "delivery" => number("delivery", |id| Self::Job(JobId::new(id))),
            "lead" => number("lead", |id| Self::Lead(LeadId::new(id))),
            "booking" => number("booking", |id| Self::Booking(BookingId::new(id))),
            "message" => word(Self::Message),
            "token" => word(Self::Token),
            "customer" | "phone" => word(Self::Customer),
            _ => return None,
        })
    }

    /// Describes the target, as `lead 12`.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Submission(id) => format!("submission {id}"),
            Self::Job(id) => format!("job {id}"),
            Self::Lead(id) => format!("lead {id}"),
            Self::Booking(id) => format!("booking {id}"),
            Self::Message(id) => format!("message {id}"),
            Self::Token(token) => format!("flow token {token}"),
            Self::WebhookId(id) => format!("webhook ID {id}"),
            Self::Customer(name) => format!("customer {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_all_its_meanings() {
        for (text, expected) in [
            ("12", "submission 12, job 12, lead 12, booking 12"),
            ("job:12", "job 12"),
            ("delivery:12", "job 12"),
            ("lead: 7", "lead 7"),
            (
                "491511234567",
                "submission 491511234567, job 491511234567, lead 491511234567, \
                 booking 491511234567, customer 491511234567",
            ),
            ("+491511234567", "customer +491511234567"),
            ("+49 151 1234567", "customer +49 151 1234567"),
            ("wamid.Hx==", "message wamid.Hx=="),
            ("msg_ab", "webhook ID msg_ab"),
            ("token:12", "flow token 12"),
            ("customer:12", "customer 12"),
            ("DE.1", "flow token DE.1, message DE.1, customer DE.1"),
            ("a:b", "flow token a:b, message a:b, customer a:b"),
        ] {
            let targets = TraceTarget::parse(text).unwrap();
            let texts: Vec<String> = targets.iter().map(TraceTarget::describe).collect();
            assert_eq!(texts.join(", "), expected, "{text}");
        }
    }

    #[test]
    fn invalid_target_gets_example() {
        let error = |text: &str| TraceTarget::parse(text).unwrap_err().to_string();
        assert!(error(" ").contains("job:N"));
        assert!(error("token:").contains("is empty"));
        assert_eq!(error("job:x"), "job needs a number, as job:12, not \"x\"");
    }
}
