//! Renders WhatsApp messages: texts and templates whose placeholders are filled from an event's
//! `data`.
//!
//! A template parameter can't be empty (*Cloud API*, error 131008), so there a missing value is an
//! error that names the parameter. Customers' answers are shortened where necessary: a text is
//! truncated; a parameter is truncated and put on one line.
//!
//! See [`placeholder_text`] for the placeholders and [`recipient`] for the recipients.

pub mod error;
pub mod placeholder_text;
pub mod recipient;

use serde_json::{Value, json};

use crate::domain::ids::is_business_scoped;
use crate::domain::phone_number::PhoneNumber;
use crate::domain::truncation::truncate_chars;
pub use error::MessageError;
pub(crate) use placeholder_text::display_value;
pub use placeholder_text::{InvalidPlaceholderText, PlaceholderText, TEXT_CHARS_MAX};
pub use recipient::{Recipient, RecipientKind};

/// Maximum number of characters of a template parameter. The body of a template with further
/// components may have 1024 characters, including its parameters (*Templates*, error 132005).
pub const PARAMETER_CHARS_MAX: usize = 500;

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

/// Renders `pattern` with `data`. A text of more than [`TEXT_CHARS_MAX`] characters is truncated.
///
/// # Errors
/// [`MessageError::EmptyText`] if the rendered text is empty.
pub fn render_text(pattern: &PlaceholderText, data: &Value) -> Result<String, MessageError> {
    let text = pattern.render(data);
    if text.trim().is_empty() {
        return Err(MessageError::EmptyText);
    }
    Ok(truncate_chars(&text, TEXT_CHARS_MAX).into_owned())
}

/// Renders a template parameter with `data`. Meta refuses some white space ("Param text cannot have
/// new-line/tab characters or more than 4 consecutive spaces"). Each run of white space therefore
/// becomes a single space. The result is truncated to [`PARAMETER_CHARS_MAX`] characters.
fn render_parameter(parameter: &PlaceholderText, data: &Value) -> String {
    let text = parameter.render(data);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    truncate_chars(&line, PARAMETER_CHARS_MAX).into_owned()
}

/// Returns the components of a template: its body with the rendered parameters, if it has any.
fn template_components(
    parameters: &[PlaceholderText],
    data: &Value,
) -> Result<Value, MessageError> {
    let mut rendered = Vec::new();
    for (number, parameter) in (1..).zip(parameters) {
        let text = render_parameter(parameter, data);
        if text.is_empty() {
            return Err(MessageError::EmptyParameter(number));
        }
        rendered.push(json!({"type": "text", "text": text}));
    }
    let body = (!rendered.is_empty()).then(|| json!({"type": "body", "parameters": rendered}));
    Ok(body.into_iter().collect())
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
    let (to_key, to) = match recipient {
        Recipient::Phone(number) => ("to", to_international(number)),
        Recipient::Id(id) if is_business_scoped(id) => ("recipient", id.to_string()),
        Recipient::Id(_) => return Err(MessageError::NoWhatsappId),
    };
    let (kind, content) = match content {
        MessageContent::Text(pattern) => {
            let text = render_text(pattern, data)?;
            ("text", json!({"preview_url": false, "body": text}))
        }
        MessageContent::Template {
            name,
            language,
            parameters,
        } => {
            let components = template_components(parameters, data)?;
            let language = json!({"code": language});
            let template = json!({"name": name, "language": language, "components": components});
            ("template", template)
        }
    };
    let body = json!({
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        to_key: to,
        "type": kind,
        kind: content,
        "biz_opaque_callback_data": callback,
    });
    Ok(body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placeholder_text(text: &str) -> PlaceholderText {
        PlaceholderText::parse(text).unwrap()
    }

    fn template(parameters: &[&str]) -> MessageContent {
        MessageContent::Template {
            name: "slot".to_owned(),
            language: "en_US".to_owned(),
            parameters: parameters.iter().copied().map(placeholder_text).collect(),
        }
    }

    fn body_for_phone(content: &MessageContent, data: &Value) -> Result<Value, MessageError> {
        let ann = Recipient::Phone("1650555123".into());
        let body = message_body(content, data, &ann, "")?;
        Ok(serde_json::from_str(&body).unwrap())
    }

    #[test]
    fn text_message_body_matches_meta_format() {
        let content = MessageContent::Text(placeholder_text("Booked: {booking.date}"));
        let data = json!({"booking": {"date": "2027-01-04"}});
        let ann = Recipient::Phone("16505551234".into());
        assert_eq!(
            message_body(&content, &data, &ann, "msg_1.1").unwrap(),
            r#"{"messaging_product":"whatsapp","recipient_type":"individual","to":"+16505551234","type":"text","text":{"preview_url":false,"body":"Booked: 2027-01-04"},"biz_opaque_callback_data":"msg_1.1"}"#
        );
        let text_for = |length| {
            let data = json!({"booking": {"date": "é".repeat(length)}});
            body_for_phone(&content, &data).unwrap()["text"]["body"].clone()
        };
        // A text that fits is sent whole.
        assert_eq!(
            text_for(TEXT_CHARS_MAX - 8),
            format!("Booked: {}", "é".repeat(4088))
        );
        // A longer text is truncated.
        assert_eq!(text_for(5000), format!("Booked: {}…", "é".repeat(4087)));
        let body_for_id = |id: &str| message_body(&content, &data, &Recipient::Id(id.into()), "");
        assert!(
            body_for_id("DE.1")
                .unwrap()
                .contains(r#""recipient":"DE.1""#)
        );
        assert_eq!(body_for_id("user-7"), Err(MessageError::NoWhatsappId));
        let date_only = MessageContent::Text(placeholder_text("{booking.date}"));
        let refused = body_for_phone(&date_only, &json!({}));
        assert_eq!(refused, Err(MessageError::EmptyText));
    }

    #[test]
    fn template_message_rejects_empty_parameter() {
        let data = json!({"booking": {"date": "2027-01-04"}});
        let body = body_for_phone(&template(&["{booking.date}"]), &data).unwrap();
        let expected = json!({"name": "slot", "language": {"code": "en_US"},
            "components": [{"type": "body", "parameters": [{"type": "text", "text": "2027-01-04"}]}]});
        assert_eq!(body["type"], "template");
        assert_eq!(body["template"], expected);
        let refused = body_for_phone(&template(&["x", "{booking.time}"]), &data);
        assert_eq!(refused, Err(MessageError::EmptyParameter(2)));
        let blank = json!({"booking": {"time": "\r\n\t"}});
        let refused = body_for_phone(&template(&["{booking.time}"]), &blank);
        assert_eq!(refused, Err(MessageError::EmptyParameter(1)));
    }

    #[test]
    fn parameter_is_one_truncated_line() {
        let content = template(&["Note: {submission.answers.note}"]);
        let lines = " two\r\nlines,\ttabs \u{2028}and      a gap\n";
        for (note, expected) in [
            (lines, "two lines, tabs and a gap"),
            (&"é".repeat(494), &*"é".repeat(494)),
            (&"é".repeat(2000), &format!("{}…", "é".repeat(493))),
        ] {
            let data = json!({"submission": {"answers": {"note": note}}});
            let body = body_for_phone(&content, &data).unwrap();
            let text = &body["template"]["components"][0]["parameters"][0]["text"];
            assert_eq!(*text, format!("Note: {expected}"));
        }
    }
}
