//! Texts through an unofficial gateway: whom one goes to, which go together, and what the answer says.
//!
//! What each kind is asked, and what its answers mean, is decided in `crate::domain::gateway::text`; how fast it may be asked
//! in `super::way`.

use hyper::header::{DATE, HeaderMap};
use serde_json::Value;

use crate::config::GatewayTexts;
use crate::domain::gateway::{GatewayKind, text};
use crate::domain::message::{self, Recipient, Unsendable};
use crate::domain::pace::Quota;
use crate::domain::time::{Millis, Timestamp};
use crate::outgoing::without_token;
use crate::store::Outgoing;

use super::next::data_of;
use super::webhook::date;

/// One text, and whom it is for.
struct Note {
    to: Recipient,
    text: String,
}

/// The request that sends `outgoing` alone.
///
/// # Errors
/// [`Unsendable`].
pub(super) fn request(rule: &GatewayTexts, outgoing: &Outgoing) -> Result<String, Unsendable> {
    let note = note(rule, outgoing)?;
    text::body(rule.kind, &rule.session, &note.to, &note.text)
}

/// One request that says what all of `outgoing` do, as far as that fits, and how many of them, from the first on, that are.
/// `None`: the first can't be sent.
pub(super) fn merged(rule: &GatewayTexts, outgoing: &[Outgoing]) -> Option<(String, usize)> {
    let notes: Vec<Note> = outgoing.iter().map_while(|outgoing| note(rule, outgoing).ok()).collect();
    let to = &notes.first()?.to;
    let same = notes.iter().take_while(|note| note.to == *to);
    let (whole, count) = text::merged(same.map(|note| note.text.as_str()));
    Some((text::body(rule.kind, &rule.session, to, &whole).ok()?, count))
}

fn note(rule: &GatewayTexts, outgoing: &Outgoing) -> Result<Note, Unsendable> {
    let kind = outgoing.event.kind;
    let said = rule.messages.get(&kind).ok_or(Unsendable::NoMessage(kind))?;
    let data = data_of(outgoing)?;
    let to = rule.to.recipient(&data, outgoing.customer.as_ref())?;
    Ok(Note { to, text: message::text(said, &data)? })
}

/// What a gateway answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayAnswer {
    /// What it says against the message, without its key.
    pub objection: Option<String>,
    /// True if the body has the form of a confirmation.
    pub is_confirmation: bool,
    /// How long its body asks to be left alone, as `WASenderApi` does it.
    pub retry_after: Option<Millis>,
    /// How much it leaves for how long.
    pub quota: Option<Quota>,
}

impl GatewayAnswer {
    /// Reads an answer that came at `now` from a gateway of this kind: its head, and the beginning of its body.
    pub(super) fn read(kind: GatewayKind, headers: &HeaderMap, bytes: &[u8], key: &str, now: Timestamp) -> Self {
        let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
        Self {
            objection: text::objection(&body).map(|words| text::without_numbers(&without_token(&words, key))),
            is_confirmation: text::is_confirmation(kind, bytes),
            retry_after: body.get("retry_after").and_then(Value::as_u64).map(Millis::from_secs),
            quota: quota(headers, now),
        }
    }
}

/// What `X-RateLimit-Remaining` and `X-RateLimit-Reset` say (*Understanding rate limits* of `WASenderApi`: the latter in Unix
/// seconds). It is counted from the answer's own date, as the two clocks may differ.
fn quota(headers: &HeaderMap, now: Timestamp) -> Option<Quota> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let left = number("x-ratelimit-remaining")?;
    let resets_at = Timestamp::from_millis(number("x-ratelimit-reset")?.checked_mul(1000)?);
    let now = headers.get(DATE).and_then(|text| date(text.to_str().ok()?)).unwrap_or(now);
    Some(Quota { left: u32::try_from(left).unwrap_or(u32::MAX), resets_in: resets_at.since(now) })
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn head(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn what_is_left_is_counted_from_the_gateways_own_clock() {
        let now = Timestamp::from_millis(1_795_591_680_000);
        let left = ("x-ratelimit-remaining", "255");
        let reset = ("x-ratelimit-reset", "1795591740");
        let read = |lines: &[(&'static str, &str)]| {
            GatewayAnswer::read(GatewayKind::Wasender, &head(lines), b"{}", "", now).quota
        };
        assert_eq!(read(&[left, reset]), Some(Quota { left: 255, resets_in: Millis::from_secs(60) }));
        let earlier = ("date", "Wed, 25 Nov 2026 07:27:30 GMT");
        assert_eq!(read(&[left, reset, earlier]), Some(Quota { left: 255, resets_in: Millis::from_secs(90) }));
        assert_eq!(read(&[left, ("x-ratelimit-reset", "1")]), Some(Quota { left: 255, resets_in: Millis::ZERO }));
        for odd in ["", "soon", "-1", "99999999999999999999"] {
            assert_eq!(read(&[left, ("x-ratelimit-reset", odd)]), None, "{odd}");
            assert_eq!(read(&[("x-ratelimit-remaining", odd), reset]), None, "{odd}");
        }
        assert_eq!(read(&[left]), None);
    }

    #[test]
    fn an_answer_is_told_without_the_key() {
        let body = br#"{"success":false,"error":"no session for KEY-12345678","retry_after":5}"#;
        let now = Timestamp::from_millis(0);
        let answer = GatewayAnswer::read(GatewayKind::Wasender, &HeaderMap::new(), body, "KEY-12345678", now);
        assert_eq!(answer.objection.as_deref(), Some("no session for …"));
        assert_eq!(answer.retry_after, Some(Millis::from_secs(5)));
    }
}
