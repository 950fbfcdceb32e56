//! Renders WhatsApp messages: texts and templates whose placeholders are filled from an event's
//! `data`, and their recipients.
//!
//! A placeholder is a dotted path in braces, `{booking.date}`. `{{` and `}}` are literal braces.
//! Texts and numbers are inserted unchanged, lists with commas. In a text, nothing replaces a
//! missing or null value, so customers read no note about missing data. A template parameter can't
//! be empty (*Cloud API*, error 131008), so there a missing value is an error that names the
//! parameter. Customers' answers are shortened where necessary: a text is truncated; a parameter is
//! truncated and put on one line.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::domain::event::EventKind;
use crate::domain::ids::{AgentName, Customer, is_business_scoped};
use crate::domain::phone_number::PhoneNumber;

/// Maximum number of characters of a text (*Messages*).
pub const TEXT_CHARS_MAX: usize = 4096;

/// Maximum number of characters of a template parameter. The body of a template with further
/// components may have 1024 characters, including its parameters (*Templates*, error 132005).
pub const PARAMETER_CHARS_MAX: usize = 500;

/// Text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceholderText(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Text(String),
    Placeholder(Vec<String>),
}

/// Error for an invalid text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlaceholderText {
    /// The text is empty. A message must not be empty.
    #[error("is empty")]
    Empty,
    /// The text has more characters than the maximum. Values: actual and maximum number of
    /// characters.
    #[error("has {0} characters, the maximum is {1}")]
    TooLong(usize, usize),
    /// `{` without `}`, or `}` without `{`.
    #[error("has an unpaired brace: write {{{{ or }}}} for a literal brace")]
    UnbalancedBrace,
    /// Invalid path, such as `{}` or `{a..b}`.
    #[error("has {0:?}, which is not a placeholder: write one like {{booking.date}}")]
    InvalidPath(String),
}

impl PlaceholderText {
    /// Parses a text such as `Hello {submission.answers.name}`, with at most as many characters as
    /// WhatsApp allows.
    ///
    /// # Errors
    /// [`InvalidPlaceholderText`] if the text is empty, too long, or has an invalid placeholder.
    pub fn parse(text: &str) -> Result<Self, InvalidPlaceholderText> {
        Self::parse_with_limit(text, TEXT_CHARS_MAX)
    }

    /// Parses a text with at most `max_chars` characters.
    ///
    /// # Errors
    /// [`InvalidPlaceholderText`] if the text is empty, too long, or has an invalid placeholder.
    pub fn parse_with_limit(text: &str, max_chars: usize) -> Result<Self, InvalidPlaceholderText> {
        let length = text.chars().count();
        if text.trim().is_empty() {
            return Err(InvalidPlaceholderText::Empty);
        }
        if length > max_chars {
            return Err(InvalidPlaceholderText::TooLong(length, max_chars));
        }
        let (mut segments, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = from.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else {
                let inner = from
                    .strip_prefix('{')
                    .and_then(|inner| inner.split_once('}'));
                let (path, after) = inner.ok_or(InvalidPlaceholderText::UnbalancedBrace)?;
                let names: Vec<String> = path.split('.').map(str::to_owned).collect();
                if names
                    .iter()
                    .any(|name| name.is_empty() || name.contains(['{', ' ']))
                {
                    return Err(InvalidPlaceholderText::InvalidPath(format!("{{{path}}}")));
                }
                if !plain.is_empty() {
                    segments.push(Segment::Text(std::mem::take(&mut plain)));
                }
                segments.push(Segment::Placeholder(names));
                rest = after;
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            segments.push(Segment::Text(plain));
        }
        Ok(Self(segments))
    }

    /// Returns the placeholders, each as a path into `data`.
    pub fn placeholders(&self) -> impl Iterator<Item = &[String]> {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Placeholder(path) => Some(path.as_slice()),
            Segment::Text(_) => None,
        })
    }

    /// Fills the placeholders with the values of `data`.
    #[must_use]
    pub fn render(&self, data: &Value) -> String {
        let mut text = String::new();
        for segment in &self.0 {
            match segment {
                Segment::Text(plain) => text.push_str(plain),
                Segment::Placeholder(path) => {
                    let found = path.iter().try_fold(data, |value, name| value.get(name));
                    text.push_str(&found.map(display_value).unwrap_or_default());
                }
            }
        }
        text
    }
}

/// Returns a value as readable text: nothing for null, the items of a list with commas.
pub(crate) fn display_value(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items
            .iter()
            .map(display_value)
            .collect::<Vec<_>>()
            .join(", "),
        other => other.to_string(),
    }
}

/// Content of the message for one kind of event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageContent {
    /// Free text, allowed for 24 hours after the customer's last message.
    Text(PlaceholderText),
    /// Message template that Meta has approved.
    Template {
        /// Name of the template.
        name: String,
        /// Language of the template in Meta's notation, such as `en_US`.
        language: String,
        /// Texts that fill the parameters of the body, in order.
        parameters: Vec<PlaceholderText>,
    },
}

/// Kind of recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientKind {
    /// Customer who filled in the form.
    Customer,
    /// Agent who has the lead, with the phone number of each agent.
    Agent(BTreeMap<AgentName, Box<str>>),
}

impl RecipientKind {
    /// Returns `true` if events of this kind name such a recipient.
    #[must_use]
    pub const fn is_in_event(&self, kind: EventKind) -> bool {
        match self {
            Self::Customer => !kind.is_alert(),
            Self::Agent(_) => matches!(kind, EventKind::LeadAssigned),
        }
    }
}

/// Recipient of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// Phone number.
    Phone(Box<str>),
    /// ID: business-scoped, or any other ID of the customer.
    Id(Box<str>),
}

/// Reason why a message can't be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The customer is not known yet.
    #[error("the customer is unknown: no message with their number or id has arrived")]
    UnknownCustomer,
    /// The customer's only ID does not belong to WhatsApp.
    #[error("the only ID of the customer is neither a phone number nor a business-scoped ID")]
    NoWhatsappId,
    /// The customer's only ID is not known to gateways.
    #[error("the customer has no phone number, and a gateway can't send to the customer's ID")]
    NoGatewayId,
    /// The event names no agent.
    #[error("the event names no agent")]
    NoAgent,
    /// The config has no phone number for the agent.
    #[error("agent {0} has no phone number: add it to `agents` of the destination")]
    NoAgentNumber(String),
    /// The body is not valid JSON.
    #[error("the event is not a JSON object with `data`")]
    InvalidEvent,
    /// The config has no message for this kind of event.
    #[error("the destination has no message for {0}: add one to its `messages`")]
    MissingMessage(EventKind),
    /// The rendered text is empty.
    #[error("the text is empty: the event has no value for its placeholders")]
    EmptyText,
    /// The rendered parameter with this number, from 1, is empty.
    #[error("parameter {0} of the template is empty: the event has no value for it")]
    EmptyParameter(usize),
}

impl RecipientKind {
    /// Returns the recipient of the message about `data`. `customer` is the customer who filled in
    /// the form, with the number and ID that are known now.
    ///
    /// # Errors
    /// [`MessageError`] if the message has no recipient.
    pub fn resolve_recipient(
        &self,
        data: &Value,
        customer: Option<&Customer>,
    ) -> Result<Recipient, MessageError> {
        match self {
            Self::Customer => {
                // An event contains the customer as known at that time. The customer may have
                // another number by now.
                let event_customer = customer_in_event(data);
                recipient_of_customer(
                    customer
                        .filter(|known| !known.is_unknown())
                        .unwrap_or(&event_customer),
                )
            }
            Self::Agent(numbers) => {
                let name = data
                    .pointer("/lead/agent")
                    .and_then(Value::as_str)
                    .ok_or(MessageError::NoAgent)?;
                let number = numbers
                    .iter()
                    .find(|(agent, _)| agent.as_str() == name)
                    .map(|(_, number)| number);
                number
                    .cloned()
                    .map(Recipient::Phone)
                    .ok_or_else(|| MessageError::NoAgentNumber(name.to_owned()))
            }
        }
    }
}

/// Returns the customer that an event names, in its submission or its draft.
fn customer_in_event(data: &Value) -> Customer {
    let customer = data
        .pointer("/submission/customer")
        .or_else(|| data.pointer("/draft/customer"));
    let text = |name| {
        customer
            .and_then(|customer| customer.get(name))
            .and_then(Value::as_str)
    };
    Customer::new(text("id"), text("phone"))
}

fn recipient_of_customer(customer: &Customer) -> Result<Recipient, MessageError> {
    match customer {
        Customer {
            phone: Some(phone), ..
        } => Ok(Recipient::Phone(phone.clone())),
        Customer { id: Some(id), .. } => Ok(Recipient::Id(id.clone())),
        Customer {
            id: None,
            phone: None,
        } => Err(MessageError::UnknownCustomer),
    }
}

/// Renders `pattern` with `data`. A text of more than [`TEXT_CHARS_MAX`] characters is truncated.
///
/// # Errors
/// [`MessageError::EmptyText`] if the rendered text is empty.
pub fn render_text(pattern: &PlaceholderText, data: &Value) -> Result<String, MessageError> {
    let text = pattern.render(data);
    if text.trim().is_empty() {
        return Err(MessageError::EmptyText);
    }
    Ok(truncate_text(text, TEXT_CHARS_MAX))
}

/// Truncates `text` to the given number of characters.
fn truncate_text(text: String, max_chars: usize) -> String {
    if text.chars().count() <= max_chars {
        return text;
    }
    text.chars()
        .take(max_chars.saturating_sub(1))
        .chain(['…'])
        .collect()
}

/// Renders a template parameter with `data`. Meta refuses some white space ("Param text cannot have
/// new-line/tab characters or more than 4 consecutive spaces"). Each run of white space therefore
/// becomes a single space. The result is truncated to [`PARAMETER_CHARS_MAX`] characters.
fn render_parameter(parameter: &PlaceholderText, data: &Value) -> String {
    truncate_text(
        parameter
            .render(data)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
        PARAMETER_CHARS_MAX,
    )
}

/// Returns `number` with a `+` before its country code. Meta puts the business's own country code
/// before a number without `+` (Cloud API, *Phone numbers*, "WhatsApp user phone number formats").
/// A number that begins with 0 has no country code. Such a number is returned unchanged, and Meta
/// completes it.
fn to_international(number: &str) -> String {
    if number.starts_with(['+', '0']) {
        number.to_owned()
    } else {
        format!("+{number}")
    }
}

/// Returns the body of the request that sends `text` to `to` as a test (*Messages*). No delivery
/// belongs to a test, so its statuses have no effect.
#[must_use]
pub fn test_message_body(text: &str, to: &PhoneNumber) -> Value {
    let text = json!({"preview_url": false, "body": text});
    let to = to_international(to.as_str());
    json!({"messaging_product": "whatsapp", "recipient_type": "individual", "to": to, "type": "text", "text": text})
}

/// Returns the body of the request that sends the message to `recipient` (*Messages*). Meta returns
/// `callback` with each status.
///
/// # Errors
/// [`MessageError`] if the recipient or the rendered content is invalid.
pub fn message_body(
    content: &MessageContent,
    data: &Value,
    recipient: &Recipient,
    callback: &str,
) -> Result<String, MessageError> {
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
    put("messaging_product", json!("whatsapp"));
    put("recipient_type", json!("individual"));
    match recipient {
        Recipient::Phone(number) => put("to", json!(to_international(number))),
        Recipient::Id(id) if is_business_scoped(id) => put("recipient", json!(id)),
        Recipient::Id(_) => return Err(MessageError::NoWhatsappId),
    };
    match content {
        MessageContent::Text(pattern) => {
            put("type", json!("text"));
            put(
                "text",
                json!({"preview_url": false, "body": render_text(pattern, data)?}),
            );
        }
        MessageContent::Template {
            name,
            language,
            parameters,
        } => {
            let mut filled = Vec::new();
            for (number, parameter) in (1..).zip(parameters) {
                let text = render_parameter(parameter, data);
                if text.is_empty() {
                    return Err(MessageError::EmptyParameter(number));
                }
                filled.push(json!({"type": "text", "text": text}));
            }
            let components = if filled.is_empty() {
                json!([])
            } else {
                json!([{"type": "body", "parameters": filled}])
            };
            put("type", json!("template"));
            put(
                "template",
                json!({"name": name, "language": {"code": language}, "components": components}),
            );
        }
    }
    put("biz_opaque_callback_data", json!(callback));
    Ok(Value::Object(body).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placeholder_text(text: &str) -> PlaceholderText {
        PlaceholderText::parse(text).unwrap()
    }

    fn rendered(text: &str) -> String {
        let data = json!({
            "submission": {"customer": {"id": null, "phone": "491511234567"},
                "answers": {"name": "Ann", "count": 2, "days": ["mon", "tue"], "none": null}},
            "booking": {"date": "2027-01-04", "time": "09:00"},
        });
        placeholder_text(text).render(&data)
    }

    #[test]
    fn placeholders_are_filled_and_missing_values_are_empty() {
        assert_eq!(
            rendered("Hello {submission.answers.name}: {booking.date}!"),
            "Hello Ann: 2027-01-04!"
        );
        assert_eq!(
            rendered("{submission.answers.count} on {submission.answers.days}"),
            "2 on mon, tue"
        );
        assert_eq!(
            rendered("[{submission.answers.none}{submission.answers.gone}{booking.a.b}]"),
            "[]"
        );
        assert_eq!(rendered("{{{booking.time}}} {{x}}"), "{09:00} {x}");
    }

    #[test]
    fn braces_in_answers_are_not_expanded() {
        let data = json!({"submission": {"answers": {"name": "{booking.date}"}}, "booking": {"date": "today"}});
        assert_eq!(
            placeholder_text("{submission.answers.name}").render(&data),
            "{booking.date}"
        );
    }

    #[test]
    fn invalid_placeholder_text_is_rejected() {
        for (text, why) in [
            ("", "is empty"),
            (" ", "is empty"),
            ("a { b", "an unpaired brace"),
            ("a } b", "an unpaired brace"),
            ("{}", "not a placeholder"),
            ("{a..b}", "not a placeholder"),
            ("{a b}", "not a placeholder"),
        ] {
            let error = PlaceholderText::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(PlaceholderText::parse(&"é".repeat(4096)).is_ok());
        assert_eq!(
            PlaceholderText::parse(&"é".repeat(4097)),
            Err(InvalidPlaceholderText::TooLong(4097, 4096))
        );
        assert_eq!(
            placeholder_text("{a.b} {c} {{d}}")
                .placeholders()
                .map(|placeholder| placeholder.join("."))
                .collect::<Vec<_>>(),
            ["a.b", "c"]
        );
    }

    #[test]
    fn text_message_body_matches_meta_format() {
        let content = MessageContent::Text(placeholder_text("Booked: {booking.date}"));
        let data = json!({"booking": {"date": "2027-01-04"}});
        let body = message_body(
            &content,
            &data,
            &Recipient::Phone("16505551234".into()),
            "msg_1.1",
        )
        .unwrap();
        assert_eq!(
            body,
            r#"{"messaging_product":"whatsapp","recipient_type":"individual","to":"+16505551234","type":"text","text":{"preview_url":false,"body":"Booked: 2027-01-04"},"biz_opaque_callback_data":"msg_1.1"}"#
        );
        let long = json!({"booking": {"date": "é".repeat(5000)}});
        let body_for = |data| message_body(&content, data, &Recipient::Id("DE.1".into()), "");
        let text_for = |data| {
            serde_json::from_str::<Value>(&body_for(data).unwrap()).unwrap()["text"]["body"].clone()
        };
        let fitting = json!({"booking": {"date": "é".repeat(TEXT_CHARS_MAX - 8)}});
        assert_eq!(
            text_for(&fitting),
            format!("Booked: {}", "é".repeat(4088)),
            "it is sent whole"
        );
        assert_eq!(
            text_for(&long),
            format!("Booked: {}…", "é".repeat(4087)),
            "it is cut"
        );
        assert!(body_for(&data).unwrap().contains(r#""recipient":"DE.1""#));
        let date_only = MessageContent::Text(placeholder_text("{booking.date}"));
        assert_eq!(
            message_body(&date_only, &json!({}), &Recipient::Id("DE.1".into()), ""),
            Err(MessageError::EmptyText)
        );
    }

    #[test]
    fn template_message_rejects_empty_parameter() {
        let content_with = |parameters: &[&str]| MessageContent::Template {
            name: "slot".to_owned(),
            language: "en_US".to_owned(),
            parameters: parameters
                .iter()
                .map(|text| placeholder_text(text))
                .collect(),
        };
        let (data, ann) = (
            json!({"booking": {"date": "2027-01-04"}}),
            Recipient::Phone("1650555123".into()),
        );
        let body: Value = serde_json::from_str(
            &message_body(&content_with(&["{booking.date}"]), &data, &ann, "").unwrap(),
        )
        .unwrap();
        let expected = json!({"name": "slot", "language": {"code": "en_US"},
            "components": [{"type": "body", "parameters": [{"type": "text", "text": "2027-01-04"}]}]});
        assert_eq!(
            (&body["type"], &body["template"]),
            (&json!("template"), &expected)
        );
        let refused = message_body(&content_with(&["x", "{booking.time}"]), &data, &ann, "");
        assert_eq!(refused, Err(MessageError::EmptyParameter(2)));
        let blank = json!({"booking": {"time": "\r\n\t"}});
        assert_eq!(
            message_body(&content_with(&["{booking.time}"]), &blank, &ann, ""),
            Err(MessageError::EmptyParameter(1))
        );
    }

    #[test]
    fn parameter_whitespace_is_collapsed() {
        let data = json!({"submission": {"answers": {"note": " two\r\nlines,\ttabs \u{2028}and      a gap\n"}}});
        let content = MessageContent::Template {
            name: "note".to_owned(),
            language: "en".to_owned(),
            parameters: vec![placeholder_text("Note: {submission.answers.note}")],
        };
        let body =
            message_body(&content, &data, &Recipient::Phone("1650555123".into()), "").unwrap();
        let body: Value = serde_json::from_str(&body).unwrap();
        let parameter = body
            .pointer("/template/components/0/parameters/0/text")
            .unwrap();
        assert_eq!(parameter, "Note: two lines, tabs and a gap");
    }

    #[test]
    fn long_parameter_is_truncated() {
        let content = MessageContent::Template {
            name: "note".to_owned(),
            language: "en".to_owned(),
            parameters: vec![placeholder_text("{submission.answers.note}")],
        };
        for (length, expected) in [
            (500, "é".repeat(500)),
            (2000, format!("{}…", "é".repeat(499))),
        ] {
            let data = json!({"submission": {"answers": {"note": "é".repeat(length)}}});
            let body =
                message_body(&content, &data, &Recipient::Phone("1650555123".into()), "").unwrap();
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(
                body.pointer("/template/components/0/parameters/0/text")
                    .unwrap(),
                &json!(expected)
            );
        }
    }

    #[test]
    fn recipient_is_number_or_business_scoped_id() {
        let to = |user: Value, known: Option<&Customer>| {
            RecipientKind::Customer
                .resolve_recipient(&json!({"submission": {"customer": user}}), known)
        };
        let phone = json!({"id": "DE.1", "phone": "491511234567"});
        assert_eq!(to(phone, None), Ok(Recipient::Phone("491511234567".into())));
        assert_eq!(
            to(json!({"id": "DE.1a", "phone": null}), None),
            Ok(Recipient::Id("DE.1a".into()))
        );
        let other = to(json!({"id": "user-7", "phone": null}), None).unwrap();
        let content = MessageContent::Text(placeholder_text("Hello"));
        assert_eq!(
            message_body(&content, &json!({}), &other, ""),
            Err(MessageError::NoWhatsappId)
        );
        let unknown_customer = json!({"id": null, "phone": null});
        assert_eq!(
            to(unknown_customer.clone(), None),
            Err(MessageError::UnknownCustomer)
        );
        assert_eq!(
            to(unknown_customer.clone(), Some(&Customer::default())),
            Err(MessageError::UnknownCustomer)
        );
        let known = Customer::from_text("491511234567");
        assert_eq!(
            to(unknown_customer, Some(&known)),
            Ok(Recipient::Phone("491511234567".into()))
        );
        let left = json!({"draft": {"customer": {"id": "DE.2", "phone": null}}});
        assert_eq!(
            RecipientKind::Customer.resolve_recipient(&left, None),
            Ok(Recipient::Id("DE.2".into()))
        );
    }

    #[test]
    fn agent_recipient_uses_configured_number() {
        let ann = AgentName::new("Ann").unwrap();
        let agents = RecipientKind::Agent(BTreeMap::from([(ann, "+491511234567".into())]));
        let to = |agent: Value| agents.resolve_recipient(&json!({"lead": {"agent": agent}}), None);
        assert_eq!(
            to(json!("Ann")),
            Ok(Recipient::Phone("+491511234567".into()))
        );
        assert_eq!(
            to(json!("Bob")),
            Err(MessageError::NoAgentNumber("Bob".to_owned()))
        );
        assert_eq!(to(Value::Null), Err(MessageError::NoAgent));
        let named: Vec<_> = EventKind::ALL
            .into_iter()
            .filter(|kind| agents.is_in_event(*kind))
            .collect();
        assert_eq!(named, [EventKind::LeadAssigned]);
        assert!(!RecipientKind::Customer.is_in_event(EventKind::JobDead));
    }
}
