//! One message through Meta's Cloud API: what it says, whether it may be sent once more, and what its answer says.
//!
//! What a code means is decided in `crate::domain::cloud_error`, what a message says in `crate::domain::message`. The text of
//! Meta's errors may repeat the token or whom a message was for: logs and lists get words of our own instead.

use serde_json::Value;

use crate::config::{Destination, Means, WhatsappRule};
use crate::domain::cloud_error::CloudError;
use crate::domain::delivery::{ANSWER_BYTES, Exchange};
use crate::domain::message::{self, Unsendable};
use crate::domain::receipt::{Callback, Open};
use crate::domain::retry::RetryPolicy;
use crate::domain::time::{Millis, Timestamp};
use crate::outgoing::without_token;
use crate::store::Outgoing;

use super::next::data_of;

/// Bytes that are read of an answer: enough for any error with its details, and for a gateway's whole record of a message.
pub(super) const READ_BYTES: usize = 256 << 10;

/// Until when a status may tell what became of an attempt, where one is open.
pub(super) fn awaited(outgoing: &Outgoing, now: Timestamp) -> Option<Timestamp> {
    let open = outgoing.receipt.as_ref()?.open?;
    is_awaited(open, now).then_some(open.until)
}

/// What is sent for `outgoing`.
///
/// # Errors
/// Why it can't be.
pub(super) fn request(rule: &WhatsappRule, retry: RetryPolicy, outgoing: &Outgoing) -> Result<String, String> {
    let is_open = outgoing.receipt.as_ref().is_some_and(|receipt| receipt.open.is_some());
    if is_open && outgoing.job.attempts_since_revival >= retry.attempts {
        return Err("it broke off too often, and no status says whether the message is there".to_owned());
    }
    compose(rule, outgoing).map_err(|why| why.to_string())
}

/// The attempt that begins at `now`: its answer or, where that does not come, a status is waited for.
pub(super) fn opened(destination: &Destination, outgoing: &Outgoing, now: Timestamp) -> Open {
    let wait = match &destination.means {
        Means::Whatsapp(rule) => rule.status_wait,
        Means::Webhook(_) | Means::Gateway(_) | Means::Smtp(_) => Millis::ZERO,
    };
    let attempt = outgoing.job.attempts.saturating_add(1);
    Open { attempt, since: now, until: now.plus(destination.timeout).plus(wait) }
}

/// Whether a status may still tell. A time that is too far away was written by a clock that has been set back since.
fn is_awaited(open: Open, now: Timestamp) -> bool {
    open.until > now && open.since <= now
}

fn compose(rule: &WhatsappRule, outgoing: &Outgoing) -> Result<String, Unsendable> {
    let kind = outgoing.event.kind;
    let said = rule.messages.get(&kind).ok_or(Unsendable::NoMessage(kind))?;
    let data = data_of(outgoing)?;
    let recipient = rule.to.recipient(&data, outgoing.customer.as_ref())?;
    let callback = Callback { job: outgoing.id, message_id: outgoing.delivery.message_id.clone() };
    message::request(said, &data, &recipient, &callback.to_text())
}

/// What the Graph API answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloudAnswer {
    /// The message that was made.
    pub wamid: Option<Box<str>>,
    /// What went wrong.
    pub error: Option<CloudError>,
}

impl CloudAnswer {
    /// Reads the beginning of an answer.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let answer: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let error = answer.get("error").filter(|error| error.is_object()).and_then(|error| {
            let is_transient = error.get("is_transient").and_then(Value::as_bool).unwrap_or_default();
            Some(CloudError { code: error.get("code")?.as_i64()?, is_transient })
        });
        let wamid = answer.pointer("/messages/0/id").and_then(Value::as_str).filter(|id| !id.is_empty());
        Self { wamid: wamid.map(Box::from), error }
    }
}

/// What is kept of an answer: its beginning, without the token.
pub(super) fn kept(status: u16, bytes: &[u8], token: &str) -> Exchange {
    let mut answer = without_token(&String::from_utf8_lossy(bytes), token);
    answer.truncate(answer.floor_char_boundary(ANSWER_BYTES));
    Exchange { status: Some(status), answer: answer.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_the_message_or_what_went_wrong() {
        let read = |text: &str| CloudAnswer::read(text.as_bytes());
        let taken =
            read(r#"{"messaging_product":"whatsapp","contacts":[{"input":"1"}],"messages":[{"id":"wamid.1"}]}"#);
        assert_eq!(taken, CloudAnswer { wamid: Some("wamid.1".into()), error: None });
        let error = |code, is_transient| CloudAnswer { wamid: None, error: Some(CloudError { code, is_transient }) };
        assert_eq!(read(r#"{"error":{"message":"no","code":190}}"#), error(190, false));
        assert_eq!(read(r#"{"error":{"code":2,"is_transient":true}}"#), error(2, true));
        for odd in ["", "<html>", "[]", r#"{"error":"no"}"#, r#"{"error":{}}"#, r#"{"messages":[]}"#] {
            assert_eq!(read(odd), CloudAnswer::default(), "{odd}");
        }
    }

    #[test]
    fn what_is_kept_has_an_end_and_no_token() {
        let answer = format!("{{\"message\":\"EAAGm0PX4ZCps is malformed\",\"é\":\"{}\"}}", "é".repeat(ANSWER_BYTES));
        let kept = kept(400, answer.as_bytes(), "EAAGm0PX4ZCpsBAKZCx");
        assert!(kept.answer.starts_with("{\"message\":\"… is malformed\"") && kept.answer.len() <= ANSWER_BYTES);
        assert_eq!(kept.status, Some(400));
    }

    #[test]
    fn an_attempt_that_broke_off_is_waited_for_unless_the_clock_was_set_back() {
        let at = |ms| Timestamp::from_millis(ms);
        let open = Open { attempt: 1, since: at(1000), until: at(5000) };
        assert!(is_awaited(open, at(1000)) && is_awaited(open, at(4999)));
        assert!(!is_awaited(open, at(5000)) && !is_awaited(open, at(999)));
    }
}
