//! One message to one destination: the request built and sent, and what came back. Receivers of *Standard Webhooks* get it
//! signed, the Graph API gets what [`super::cloud`] has put together.
//!
//! Each attempt is signed anew, as receivers refuse what was signed minutes ago; the id stays. Nothing that was sent, and no
//! part of the URL but its host, gets into an error: a token may stand in it.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, StatusCode};
use jiff::fmt::rfc2822;

use crate::config::Means;
use crate::domain::cloud_error;
use crate::domain::delivery::{ANSWER_BYTES, Ending, Exchange, Meaning};
use crate::domain::mail_reply::MailEnd;
use crate::domain::time::{Millis, Timestamp};
use crate::outgoing::{Mailer, Outgoing, OutgoingError, Reach, Told, Trust};
use crate::signing;

use super::cloud::{self, CloudAnswer};
use super::{Credentials, Recipient, mail};

const AGENT: &str = concat!("flowgate/", env!("CARGO_PKG_VERSION"));

/// Sends to anybody, over connections that are kept.
#[derive(Clone, Debug)]
pub struct Sender {
    /// To those who may be anywhere.
    anywhere: Outgoing,
    /// To all others.
    public: Outgoing,
    /// To mailboxes.
    mailer: Mailer,
    /// For those who go through a proxy of their own.
    trust: Trust,
}

/// What came of sending a message.
#[derive(Clone, Debug)]
pub struct Sent {
    /// How it ended.
    pub ending: Ending,
    /// What is kept of it.
    pub exchange: Exchange,
    /// The headers of the answer.
    pub headers: HeaderMap,
    /// Why there was no answer.
    pub error: Option<String>,
    /// What the Graph API said, where that was asked.
    pub cloud: Option<CloudAnswer>,
    /// What the mail server said, where it was a mail.
    pub mail: Option<MailEnd>,
}

impl Sender {
    /// One that has no connections yet.
    ///
    /// # Errors
    /// [`OutgoingError::Tls`].
    pub fn new() -> Result<Self, OutgoingError> {
        let trust = Trust::load()?;
        let [anywhere, public] = [Reach::Anywhere, Reach::PublicOnly].map(|reach| Outgoing::with(&trust, reach, None));
        Ok(Self { anywhere, public, mailer: Mailer::new(trust.clone()), trust })
    }

    /// Sends `body` under `id` to `recipient`, at `now`.
    pub async fn send(&self, recipient: &Recipient, id: &str, body: &str, now: Timestamp) -> Sent {
        if let (Means::Smtp(rule), Credentials::Smtp { password }) = (&recipient.rule.means, &recipient.credentials) {
            return mail::send(&self.mailer, recipient, (rule, password.as_ref()), (id, body), now).await;
        }
        let request = match request(recipient, id, body, now) {
            Ok(request) => request,
            // All its parts were checked as they were read; should one not do, it is told like any failure.
            Err(error) => {
                let why = format!("no request can be made: {error}");
                return Sent::unanswered(Ending::NotSent, why, &recipient.credentials);
            }
        };
        let outgoing = match (&recipient.proxy, recipient.rule.allow_private) {
            (Some(proxy), true) => proxy.client(&self.trust, Reach::Anywhere),
            (Some(proxy), false) => proxy.client(&self.trust, Reach::PublicOnly),
            (None, true) => &self.anywhere,
            (None, false) => &self.public,
        };
        let keep = match &recipient.credentials {
            Credentials::Webhook { .. } | Credentials::Smtp { .. } => ANSWER_BYTES,
            Credentials::Whatsapp { .. } => cloud::READ_BYTES,
        };
        match outgoing.tell(request, recipient.rule.timeout.to_duration(), keep).await {
            Ok(told) => Sent::answered(told, &recipient.credentials, now),
            Err(error) => Sent::unanswered(ending_of(&error), error.to_string(), &recipient.credentials),
        }
    }
}

impl Sent {
    fn answered(told: Told, credentials: &Credentials, now: Timestamp) -> Self {
        let Told { status, headers, beginning } = told;
        let code = status.as_u16();
        let ending = Ending::Answered { status: code, retry_after: retry_after(&headers, now) };
        let (exchange, cloud) = match credentials {
            Credentials::Webhook { .. } | Credentials::Smtp { .. } => {
                (Exchange { status: Some(code), answer: String::from_utf8_lossy(&beginning).into() }, None)
            }
            Credentials::Whatsapp { bearer } => {
                let kept = cloud::kept(code, &beginning, bearer.to_str().unwrap_or_default());
                (kept, Some(CloudAnswer::read(&beginning)))
            }
        };
        Self { ending, exchange, headers, error: None, cloud, mail: None }
    }

    fn unanswered(ending: Ending, error: String, credentials: &Credentials) -> Self {
        let cloud = matches!(credentials, Credentials::Whatsapp { .. }).then(CloudAnswer::default);
        Self { ending, exchange: Exchange::default(), headers: HeaderMap::new(), error: Some(error), cloud, mail: None }
    }

    /// What it means that the attempt `number` ended so.
    #[must_use]
    pub fn meaning(&self, number: u32) -> Meaning {
        match (&self.cloud, self.mail) {
            (_, Some(end)) => end.meaning(),
            (Some(cloud), None) => cloud_error::meaning(self.ending, cloud.error, cloud.wamid.is_some(), number),
            (None, None) => self.ending.of_webhook(),
        }
    }

    /// Why it failed, where it did: for lists and logs.
    #[must_use]
    pub fn why(&self) -> String {
        match (&self.error, self.exchange.status) {
            (Some(error), _) => error.clone(),
            (None, Some(status)) => {
                let name = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
                let said = self.cloud.as_ref().and_then(|cloud| cloud.error);
                let said = said.map(|error| format!(", {}", error.why())).unwrap_or_default();
                format!("answered {status}{}{said}", name.map(|name| format!(" {name}")).unwrap_or_default())
            }
            (None, None) => "no answer".to_owned(),
        }
    }
}

fn request(
    recipient: &Recipient,
    id: &str,
    body: &str,
    now: Timestamp,
) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let mut request = Request::post(recipient.rule.means.url().clone()).body(Full::new(body.to_owned().into()))?;
    *request.headers_mut() = headers(recipient, id, body, now)?;
    Ok(request)
}

/// The headers that `body` is sent with under `id` to `recipient`, at `now`. Those that hold secrets are marked as sensitive.
///
/// # Errors
/// Where the id can't stand in a header.
pub fn headers(recipient: &Recipient, id: &str, body: &str, now: Timestamp) -> Result<HeaderMap, hyper::http::Error> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    match &recipient.credentials {
        Credentials::Webhook { keys, headers: own } => {
            if keys.is_empty() {
                headers.insert("webhook-id", id.parse()?);
            } else {
                for (name, value) in signing::headers(keys, id, now, body.as_bytes()) {
                    headers.insert(name, value.parse()?);
                }
            }
            for (name, value) in own {
                headers.append(name, value.clone());
            }
        }
        Credentials::Whatsapp { bearer } => {
            headers.insert(AUTHORIZATION, bearer.clone());
        }
        // A mail has no such head.
        Credentials::Smtp { .. } => headers.clear(),
    }
    Ok(headers)
}

const fn ending_of(error: &OutgoingError) -> Ending {
    match error {
        OutgoingError::NoRoots | OutgoingError::Tls(_) | OutgoingError::Unreachable { .. } => Ending::NotSent,
        OutgoingError::Broken { .. } | OutgoingError::Late { .. } | OutgoingError::TooLarge { .. } => Ending::Unknown,
    }
}

/// How long an answer asks to be left alone (RFC 9110, 10.2.3): seconds, or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Millis> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Millis::from_secs(seconds));
    }
    let at = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Timestamp::from_jiff(at).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_to_wait_is_told_in_seconds_or_by_a_date() {
        let asked = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
            // 2026-11-25T07:28:00Z
            retry_after(&headers, Timestamp::from_millis(1_795_591_680_000)).map(Millis::get)
        };
        assert_eq!(asked("120"), Some(120_000));
        assert_eq!(asked(" 0 "), Some(0));
        assert_eq!(asked("Wed, 25 Nov 2026 07:30:00 GMT"), Some(120_000));
        assert_eq!(asked("Wed, 25 Nov 2026 07:00:00 GMT"), Some(0), "then is now");
        for nonsense in ["", "soon", "-5", "1.5", "2026-11-25"] {
            assert_eq!(asked(nonsense), None, "{nonsense}");
        }
        assert_eq!(asked("99999999999999999999"), None);
    }
}
