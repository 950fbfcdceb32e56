//! Builds the request that sends a text through a gateway, and interprets the response.
//!
//! The paths and field names of each gateway are defined only here. Gateways offer no idempotency
//! key and no delivery status. Attempts with an unknown outcome are therefore retried: a text may
//! arrive twice, but is not lost. See [`crate::delivery`] for sending.

use serde_json::{Map, Value, json};

use super::{GatewayKind, encode_session};
use crate::domain::delivery::message::{MessageError, Recipient, TEXT_CHARS_MAX};
use crate::domain::delivery::{AttemptEnd, Disposition};

/// Minimum number of consecutive digits that count as a phone number.
const NUMBER_DIGITS_MIN: usize = 7;

/// Separator between texts that are sent as one message.
const SEPARATOR: &str = "\n\n";

/// Returns the path of the request, relative to the base URL of the API.
#[must_use]
pub fn send_path(kind: GatewayKind, session: &str) -> String {
    match kind {
        GatewayKind::Wasender => "/send-message".to_owned(),
        GatewayKind::Waha => "/api/sendText".to_owned(),
        GatewayKind::Evolution => format!("/message/sendText/{}", encode_session(session)),
    }
}

/// Returns the body of the request that sends `text` to `recipient`.
///
/// # Errors
/// [`MessageError::NoGatewayId`] if gateways do not know this kind of ID.
pub fn send_body(
    kind: GatewayKind,
    session: &str,
    recipient: &Recipient,
    text: &str,
) -> Result<String, MessageError> {
    let to = match recipient {
        Recipient::Phone(number) => number.trim_start_matches('+').to_owned(),
        // ID that a gateway uses for a customer without a known phone number.
        Recipient::Id(id) if id.ends_with("@lid") => id.to_string(),
        Recipient::Id(_) => return Err(MessageError::NoGatewayId),
    };
    let is_number = matches!(recipient, Recipient::Phone(_));
    let body = match kind {
        GatewayKind::Wasender if is_number => json!({"to": format!("+{to}"), "text": text}),
        GatewayKind::Wasender => json!({"to": to, "text": text}),
        GatewayKind::Waha => {
            let chat = if is_number { format!("{to}@c.us") } else { to };
            json!({"session": session, "chatId": chat, "text": text})
        }
        GatewayKind::Evolution => json!({"number": to, "text": text}),
    };
    Ok(body.to_string())
}

/// Merges texts, from the first on, into one message of at most [`TEXT_CHARS_MAX`] characters.
/// Returns the message and the number of merged texts. The first text must fit alone.
#[must_use]
pub fn merge_texts<'t>(texts: impl IntoIterator<Item = &'t str>) -> (String, usize) {
    let (mut merged, mut length) = (Vec::new(), 0);
    for text in texts {
        let separator = if merged.is_empty() { "" } else { SEPARATOR };
        length += separator.len() + text.chars().count();
        if length > TEXT_CHARS_MAX && !merged.is_empty() {
            break;
        }
        merged.push(text);
    }
    (merged.join(SEPARATOR), merged.len())
}

/// Returns the gateway's reason for a rejection. `None` if the response contains no rejection.
#[must_use]
pub fn rejection(body: &Value) -> Option<String> {
    let is_rejected = match body.get("success") {
        Some(Value::Bool(is_taken)) => !is_taken,
        _ => body.get("error").is_some_and(has_content),
    };
    is_rejected.then(|| error_text(body).unwrap_or_default().to_owned())
}

/// Returns `true` if the body of a 2xx response confirms a text. All three kinds respond with a
/// JSON object; a login page of a proxy confirms nothing.
///
/// WAHA may also respond 201 with an empty body. Its engine WEBJS can send a text and return no
/// record of the message (`devlikeapro/waha`, issues 1083 and 1087).
#[must_use]
pub fn is_confirmation(kind: GatewayKind, body: &[u8]) -> bool {
    let is_empty = body.trim_ascii().is_empty();
    (is_empty && kind == GatewayKind::Waha)
        || serde_json::from_slice::<Map<String, Value>>(body).is_ok()
}

/// Returns the gateway's own description of the error.
#[must_use]
pub fn error_text(body: &Value) -> Option<&str> {
    // Ordered from the most to the least specific place: Evolution API has the name of the status
    // in the last.
    let pointers = [
        "/message",
        "/response/message",
        "/response/message/0",
        "/error/message",
        "/error",
    ];
    let mut texts = pointers
        .iter()
        .filter_map(|pointer| body.pointer(pointer)?.as_str());
    texts.find(|words| !words.is_empty())
}

/// Returns `true` if the value has content. Empty fields come as null, as `false`, as 0 or empty.
fn has_content(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// Decides the disposition from the end of an attempt and the gateway's rejection. A 2xx response
/// without a confirmation is a failure. See [`is_confirmation`].
///
/// A 4xx status can concern the message or the session. All three gateways name a session that is
/// not connected in the error text. Examples are WAHA's 422 "Session status is not as expected" and
/// Evolution API's 400 "Connection Closed". Only an error that concerns the message is final.
#[must_use]
pub fn disposition(
    attempt_end: AttemptEnd,
    rejection_text: Option<&str>,
    is_confirmation: bool,
) -> Disposition {
    let retry = |delay, is_failure| Disposition::retry(delay, false, is_failure);
    let AttemptEnd::Responded {
        status,
        retry_after,
    } = attempt_end
    else {
        return retry(None, true);
    };
    match status {
        200..=299 if rejection_text.is_none() && is_confirmation => Disposition::Delivered,
        401..=403 => Disposition::Block,
        408 | 409 | 423 | 425 => retry(retry_after, false),
        429 => Disposition::retry(retry_after, true, false),
        404 => retry(retry_after, true),
        400..=499 if !rejection_text.is_some_and(is_session_error) => Disposition::Refused,
        _ => retry(retry_after, true),
    }
}

/// Replaces phone numbers in a gateway's error text by `…`. Such texts go into logs and alerts, and
/// may contain the number of the recipient.
#[must_use]
pub fn redact_numbers(words: &str) -> String {
    let mut redacted = String::new();
    let mut rest = words;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        let end = from
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(from.len());
        let (digits, after) = from.split_at(end);
        let is_number = digits.len() >= NUMBER_DIGITS_MIN;
        redacted.extend([before, if is_number { "…" } else { digits }]);
        rest = after;
    }
    redacted + rest
}

fn is_session_error(words: &str) -> bool {
    let words = words.to_lowercase();
    let mut session_words = ["session", "connect", "instance"].iter();
    session_words.any(|word| words.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Millis;

    #[test]
    fn send_request_matches_gateway_kind() {
        let ann = Recipient::Phone("+4915112345678".into());
        let hidden = Recipient::Id("99887766554433@lid".into());
        let scoped = Recipient::Id("DE.123".into());
        let text = r#""text":"a \"b\"""#;
        for (kind, path, number, id) in [
            (
                GatewayKind::Wasender,
                "/send-message",
                r#""to":"+4915112345678""#,
                r#""to":"99887766554433@lid""#,
            ),
            (
                GatewayKind::Waha,
                "/api/sendText",
                r#""session":"my shop","chatId":"4915112345678@c.us""#,
                r#""session":"my shop","chatId":"99887766554433@lid""#,
            ),
            (
                GatewayKind::Evolution,
                "/message/sendText/my%20shop",
                r#""number":"4915112345678""#,
                r#""number":"99887766554433@lid""#,
            ),
        ] {
            assert_eq!(send_path(kind, "my shop"), path);
            let body_for = |recipient| send_body(kind, "my shop", recipient, "a \"b\"");
            assert_eq!(body_for(&ann), Ok(format!("{{{number},{text}}}")));
            assert_eq!(body_for(&hidden), Ok(format!("{{{id},{text}}}")));
            assert_eq!(body_for(&scoped), Err(MessageError::NoGatewayId));
        }
    }

    #[test]
    fn merged_texts_stay_within_limit() {
        assert_eq!(merge_texts(["a"]), ("a".to_owned(), 1));
        assert_eq!(merge_texts(["a", "b", "c"]), ("a\n\nb\n\nc".to_owned(), 3));
        let long = "é".repeat(2047);
        let (whole, count) = merge_texts([long.as_str(), &long, "c"]);
        // The message has the maximum length.
        assert_eq!((whole.chars().count(), count), (4096, 2));
        // A text that does not fit ends the message, and the next text waits.
        assert_eq!(merge_texts([long.as_str(), &"é".repeat(2048), "c"]).1, 1);
        assert_eq!(merge_texts([]), (String::new(), 0));
    }

    #[test]
    fn response_with_error_field_is_rejection() {
        for body in [
            json!({"success": true, "data": {"msgId": 7}}),
            json!({"key": {"id": "3EB0"}, "status": "PENDING"}),
            // A rejection would be sent again, and the text would arrive twice.
            json!({"success": true, "error": "none"}),
        ] {
            assert_eq!(rejection(&body), None, "{body}");
        }
        for empty in json!([null, false, "", 0, [], {}]).as_array().unwrap() {
            let body = json!({"error": empty, "message": "hi"});
            assert_eq!(rejection(&body), None, "{body}");
        }
        let closed = json!({"error": "Bad Request", "response": {"message": ["Closed"]}});
        for (body, text) in [
            (
                json!({"success": false, "error": "no session"}),
                "no session",
            ),
            (json!({"success": false}), ""),
            (closed, "Closed"),
        ] {
            assert_eq!(rejection(&body).as_deref(), Some(text), "{body}");
        }
    }

    #[test]
    fn confirmation_is_json_object_or_empty_waha_body() {
        use GatewayKind::{Evolution, Waha, Wasender};
        let sent = r#"{"key":{"id":"3EB0","fromMe":true},"status":"PENDING"}"#;
        let queued = r#"{"success":true,"data":{"msgId":7,"status":"in_progress"}}"#;
        let id = r#"{"id":"true_1@c.us_3EB0","timestamp":1800000000}"#;
        for (kind, bodies) in [
            (Wasender, &[queued][..]),
            (Waha, &[id, sent, "", "\r\n"]),
            (Evolution, &[sent]),
        ] {
            for body in bodies {
                assert!(is_confirmation(kind, body.as_bytes()), "{kind:?}: {body:?}");
            }
        }
        let page = "<html>Log in</html>";
        for kind in GatewayKind::ALL {
            for body in [page, "OK", "[]", "null", "\"sent\"", r#"{"success":tr"#] {
                let is_confirmed = is_confirmation(kind, body.as_bytes());
                assert!(!is_confirmed, "{kind:?}: {body:?}");
            }
            let is_empty_confirmed = is_confirmation(kind, b"");
            assert_eq!(is_empty_confirmed, kind == Waha, "{kind:?}");
        }
    }

    #[test]
    fn error_text_has_no_phone_numbers() {
        let redacted = redact_numbers("no chat 4915112345678@c.us, code 131026, 2 tries");
        assert_eq!(redacted, "no chat …@c.us, code 131026, 2 tries");
        assert_eq!(redact_numbers("no session"), "no session");
    }

    #[test]
    fn disposition_depends_on_status_and_error_text() {
        let delay = Some(Millis::from_secs(7));
        let response = |status| AttemptEnd::Responded {
            status,
            retry_after: delay,
        };
        let retry = |is_failure| Disposition::retry(delay, false, is_failure);
        let busy = Disposition::retry(delay, true, false);
        let no_whatsapp = Some("The number is not on WhatsApp");
        for (statuses, text, expected) in [
            (&[200, 201][..], None, Disposition::Delivered),
            // The text counts, whatever the status is.
            (&[200], Some(""), retry(true)),
            (&[401, 402, 403], Some(""), Disposition::Block),
            (&[429], Some("Too many"), busy),
            (&[400, 405, 413, 422], no_whatsapp, Disposition::Refused),
            (&[400, 405, 413, 422], None, Disposition::Refused),
            (&[422], Some("Session status is wrong"), retry(true)),
            (&[422], Some("Error: Connection Closed"), retry(true)),
            (&[422], Some("The instance does not exist"), retry(true)),
            (&[302, 404, 500, 503], None, retry(true)),
            (&[409], None, retry(false)),
        ] {
            for status in statuses {
                let actual = disposition(response(*status), text, true);
                assert_eq!(actual, expected, "{status} {text:?}");
            }
        }
        let unconfirmed = disposition(response(200), None, false);
        assert_eq!(unconfirmed, retry(true), "nothing confirms the text");
        for end in [AttemptEnd::NotSent, AttemptEnd::Unknown] {
            let expected = Disposition::retry(None, false, true);
            assert_eq!(disposition(end, None, false), expected);
        }
    }
}
