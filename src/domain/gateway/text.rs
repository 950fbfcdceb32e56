//! Texts that a gateway is asked to send: whom to, what its request says, and what its answer means.
//!
//! The paths and names of each kind stand here and nowhere else. Sending is `crate::courier`'s. A gateway has no id that would
//! make a second try harmless, and no status that would tell: what broke off is tried again, so that a text may arrive twice
//! rather than never.

use serde_json::{Map, Value, json};

use super::{GatewayKind, encoded};
use crate::domain::delivery::{Ending, Meaning};
use crate::domain::message::{Recipient, TEXT_CHARS_MAX, Unsendable};

/// So many digits in a row are taken for somebody's number.
const NUMBER_DIGITS_MIN: usize = 7;

/// What lies between texts that go out as one.
const BETWEEN: &str = "\n\n";

/// Where texts are posted to, behind the address of the API.
#[must_use]
pub fn path(kind: GatewayKind, session: &str) -> String {
    match kind {
        GatewayKind::Wasender => "/send-message".to_owned(),
        GatewayKind::Waha => "/api/sendText".to_owned(),
        GatewayKind::Evolution => {
            format!("/message/sendText/{}", encoded(session))
        }
    }
}

/// The body of the request that sends `text` to `recipient`.
///
/// # Errors
/// [`Unsendable::NoGatewayId`], where a gateway knows no such address.
pub fn body(kind: GatewayKind, session: &str, recipient: &Recipient, text: &str) -> Result<String, Unsendable> {
    let to = match recipient {
        Recipient::Phone(number) => number.trim_start_matches('+').to_owned(),
        // What a gateway called somebody whose number it does not know.
        Recipient::Id(id) if id.ends_with("@lid") => id.to_string(),
        Recipient::Id(_) => return Err(Unsendable::NoGatewayId),
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

/// As many of `texts` as fit into one message, from the first on, and how many those are. The first fits alone.
#[must_use]
pub fn merged<'t>(texts: impl IntoIterator<Item = &'t str>) -> (String, usize) {
    let (mut whole, mut length, mut count) = (String::new(), 0, 0);
    for text in texts {
        let more = text.chars().count() + if count == 0 { 0 } else { BETWEEN.len() };
        if count > 0 && length + more > TEXT_CHARS_MAX {
            break;
        }
        if count > 0 {
            whole.push_str(BETWEEN);
        }
        whole.push_str(text);
        (length, count) = (length + more, count + 1);
    }
    (whole, count)
}

/// What a gateway's answer says against what it was asked to do. `None`: nothing.
#[must_use]
pub fn objection(body: &Value) -> Option<String> {
    let says_no = match body.get("success") {
        Some(Value::Bool(is_taken)) => !is_taken,
        _ => body.get("error").is_some_and(is_said),
    };
    says_no.then(|| words(body).unwrap_or_default().to_owned())
}

/// Returns true if the body of a 2xx answer confirms a text. All three kinds answer with a JSON object; a login page of a proxy
/// confirms nothing. WAHA may also answer 201 with an empty body: its engine WEBJS can send a text and return no record of the
/// message (`devlikeapro/waha`, issues 1083 and 1087).
#[must_use]
pub fn is_confirmation(kind: GatewayKind, body: &[u8]) -> bool {
    let is_empty = body.trim_ascii().is_empty();
    (is_empty && kind == GatewayKind::Waha) || serde_json::from_slice::<Map<String, Value>>(body).is_ok()
}

/// A gateway's own words about what went wrong.
#[must_use]
pub fn words(body: &Value) -> Option<&str> {
    // From the most telling place to the least: Evolution API has the status' name in the last.
    let places = ["/message", "/response/message", "/response/message/0", "/error/message", "/error"];
    places.iter().filter_map(|place| body.pointer(place)?.as_str()).find(|words| !words.is_empty())
}

/// Whether something stands there: fields that say nothing come as null, as false or empty.
fn is_said(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// What an attempt's end means, with what the answer says against it. A 2xx answer that is no confirmation is a failure: see
/// [`is_confirmation`].
///
/// A status in the 400s may speak of the message, or of the session that is to carry it: of a session that is not connected all
/// three kinds say so in words (WAHA: 422 "Session status is not as expected", Evolution API: 400 "Connection Closed"). Only
/// what speaks of the message is given up.
#[must_use]
pub fn meaning(ending: Ending, objection: Option<&str>, is_confirmation: bool) -> Meaning {
    let again = |retry_after, is_failure| Meaning::Again { retry_after, holds_lane: false, is_failure };
    let Ending::Answered { status, retry_after } = ending else { return again(None, true) };
    match status {
        200..=299 if objection.is_none() && is_confirmation => Meaning::Delivered,
        401..=403 => Meaning::Stopped,
        408 | 409 | 423 | 425 => again(retry_after, false),
        429 => Meaning::Again { retry_after, holds_lane: true, is_failure: false },
        404 => again(retry_after, true),
        400..=499 if !objection.is_some_and(speaks_of_session) => Meaning::Refused,
        _ => again(retry_after, true),
    }
}

/// A gateway's words without phone numbers: they may say whom a text was for, and go into logs and alerts.
#[must_use]
pub fn without_numbers(words: &str) -> String {
    let mut kept = String::new();
    let mut rest = words;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        let end = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let (digits, after) = from.split_at(end);
        kept.push_str(before);
        kept.push_str(if digits.len() < NUMBER_DIGITS_MIN { digits } else { "…" });
        rest = after;
    }
    kept + rest
}

fn speaks_of_session(words: &str) -> bool {
    let words = words.to_lowercase();
    ["session", "connect", "instance"].iter().any(|word| words.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Millis;

    #[test]
    fn each_kind_is_asked_in_its_own_words() {
        let ann = Recipient::Phone("+4915112345678".into());
        let hidden = Recipient::Id("99887766554433@lid".into());
        for (kind, path_of, number, id) in [
            (
                GatewayKind::Wasender,
                "/send-message",
                r#"{"to":"+4915112345678","text":"a \"b\""}"#,
                r#"{"to":"99887766554433@lid","text":"a \"b\""}"#,
            ),
            (
                GatewayKind::Waha,
                "/api/sendText",
                r#"{"session":"my shop","chatId":"4915112345678@c.us","text":"a \"b\""}"#,
                r#"{"session":"my shop","chatId":"99887766554433@lid","text":"a \"b\""}"#,
            ),
            (
                GatewayKind::Evolution,
                "/message/sendText/my%20shop",
                r#"{"number":"4915112345678","text":"a \"b\""}"#,
                r#"{"number":"99887766554433@lid","text":"a \"b\""}"#,
            ),
        ] {
            assert_eq!(path(kind, "my shop"), path_of);
            assert_eq!(body(kind, "my shop", &ann, "a \"b\"").unwrap(), number);
            assert_eq!(body(kind, "my shop", &hidden, "a \"b\"").unwrap(), id);
            let scoped = Recipient::Id("DE.123".into());
            assert_eq!(body(kind, "my shop", &scoped, "a"), Err(Unsendable::NoGatewayId));
        }
    }

    #[test]
    fn texts_become_one_message_as_far_as_they_fit() {
        assert_eq!(merged(["a"]), ("a".to_owned(), 1));
        assert_eq!(merged(["a", "b", "c"]), ("a\n\nb\n\nc".to_owned(), 3));
        let long = "é".repeat(2047);
        let (whole, count) = merged([long.as_str(), &long, "c"]);
        assert_eq!((whole.chars().count(), count), (4096, 2), "no character more fits");
        assert_eq!(merged([long.as_str(), &"é".repeat(2048), "c"]).1, 1, "those behind wait for their turn");
        assert_eq!(merged([]), (String::new(), 0));
    }

    #[test]
    fn an_answer_says_yes_only_where_nothing_in_it_says_no() {
        let said = |body: Value| objection(&body);
        assert_eq!(said(json!({"success": true, "data": {"msgId": 7}})), None);
        assert_eq!(said(json!({"key": {"id": "3EB0"}, "status": "PENDING"})), None);
        for nothing in [json!(null), json!(false), json!(""), json!(0), json!([]), json!({})] {
            assert_eq!(said(json!({"error": nothing, "message": "hi"})), None, "{nothing}");
        }
        assert_eq!(
            said(json!({"success": true, "error": "none"})),
            None,
            "a yes is a yes: sent again, it would be there twice"
        );
        assert_eq!(said(json!({"success": false, "error": "not connected"})).unwrap(), "not connected");
        assert_eq!(said(json!({"success": false})).unwrap(), "");
        let closed =
            json!({"status": 400, "error": "Bad Request", "response": {"message": ["Error: Connection Closed"]}});
        assert_eq!(said(closed).unwrap(), "Error: Connection Closed");
    }

    #[test]
    fn what_each_kind_answers_is_a_confirmation_and_a_page_is_none() {
        for (kind, body) in [
            (GatewayKind::Wasender, r#"{"success":true,"data":{"msgId":7,"status":"in_progress"}}"#),
            (GatewayKind::Waha, r#"{"id":"true_1@c.us_3EB0","timestamp":1800000000}"#),
            (GatewayKind::Waha, r#"{"key":{"id":"3EB0","fromMe":true},"status":"PENDING"}"#),
            (GatewayKind::Waha, ""),
            (GatewayKind::Waha, "\r\n"),
            (GatewayKind::Evolution, r#"{"key":{"id":"3EB0","fromMe":true},"status":"PENDING"}"#),
        ] {
            assert!(is_confirmation(kind, body.as_bytes()), "{kind:?}: {body:?}");
        }
        for kind in GatewayKind::ALL {
            for body in ["<html>Log in</html>", "OK", "[]", "null", "\"sent\"", r#"{"success":tr"#] {
                assert!(!is_confirmation(kind, body.as_bytes()), "{kind:?}: {body:?}");
            }
            assert_eq!(is_confirmation(kind, b""), kind == GatewayKind::Waha, "{kind:?}");
        }
    }

    #[test]
    fn words_name_nobody() {
        let told = without_numbers("no chat 4915112345678@c.us, code 131026, 2 tries");
        assert_eq!(told, "no chat …@c.us, code 131026, 2 tries");
        assert_eq!(without_numbers("no session"), "no session");
    }

    #[test]
    fn the_status_and_the_words_say_what_follows() {
        let asked = Some(Millis::from_secs(7));
        let meant = |status, words| meaning(Ending::Answered { status, retry_after: asked }, words, true);
        let again = |is_failure| Meaning::Again { retry_after: asked, holds_lane: false, is_failure };
        assert_eq!(meant(200, None), Meaning::Delivered);
        assert_eq!(meant(201, None), Meaning::Delivered);
        assert_eq!(meant(200, Some("")), again(true), "it says no, whatever the status says");
        let page = meaning(Ending::Answered { status: 200, retry_after: asked }, None, false);
        assert_eq!(page, again(true), "nobody said yes");
        for status in [401, 402, 403] {
            assert_eq!(meant(status, Some("")), Meaning::Stopped, "{status}");
        }
        let busy = Meaning::Again { retry_after: asked, holds_lane: true, is_failure: false };
        assert_eq!(meant(429, Some("Too many")), busy);
        for status in [400, 405, 413, 422] {
            assert_eq!(meant(status, Some("The number is not on WhatsApp")), Meaning::Refused, "{status}");
            assert_eq!(meant(status, None), Meaning::Refused, "{status}");
        }
        for words in ["Session status is not as expected", "Error: Connection Closed", "The instance does not exist"] {
            assert_eq!(meant(422, Some(words)), again(true), "{words}");
        }
        for status in [302, 404, 500, 503] {
            assert_eq!(meant(status, None), again(true), "{status}");
        }
        assert_eq!(meant(409, None), again(false));
        for ending in [Ending::NotSent, Ending::Unknown] {
            let expected = Meaning::Again { retry_after: None, holds_lane: false, is_failure: true };
            assert_eq!(meaning(ending, None, false), expected);
        }
    }
}
