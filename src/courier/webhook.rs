//! One message to one destination: the request built and sent, and what came back. Receivers of *Standard Webhooks* get it
//! signed, the Graph API and gateways get what [`super::cloud`] and [`super::gateway`] have put together.
//!
//! Each attempt is signed anew, as receivers refuse what was signed minutes ago; the id stays. Nothing that was sent, and no
//! part of the URL but its host, gets into an error: a token may stand in it.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use jiff::fmt::rfc2822;
use serde::de::IgnoredAny;

use crate::config::Means;
use crate::domain::cloud_error;
use crate::domain::delivery::{ANSWER_BYTES, Ending, Exchange, Meaning};
use crate::domain::gateway::text;
use crate::domain::mail_reply::MailEnd;
use crate::domain::pace::Quota;
use crate::domain::time::{Millis, Timestamp};
use crate::outgoing::{Clients, Decides, Mailer, OutgoingError, Told, without_token};
use crate::signing;

use super::cloud::{self, CloudAnswer};
use super::{Credentials, GatewayAnswer, Recipient, mail};

/// What a header shows is kept out of answers from this length on: a shorter one is no secret, and may stand anywhere.
const SECRET_BYTES_MIN: usize = 8;

/// Characters of a gateway's own words that stand in a reason.
const WORDS: usize = 160;

const AGENT: &str = concat!("flowgate/", env!("CARGO_PKG_VERSION"));

/// Sends to anybody, over connections that are kept.
#[derive(Clone, Debug)]
pub struct Sender {
    clients: Clients,
    /// To mailboxes.
    mailer: Mailer,
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
    /// What it says, where the one who was asked has words of its own.
    pub said: Said,
}

/// What an answer says beyond its status.
#[derive(Clone, Debug, Default)]
pub enum Said {
    /// Nothing: the status is all there is to a webhook.
    #[default]
    Nothing,
    /// What the Graph API said.
    Cloud(CloudAnswer),
    /// What a gateway said.
    Gateway(GatewayAnswer),
    /// What a mail server said.
    Mail(MailEnd),
}

impl Sender {
    /// A sender through `clients`, for all kinds of destinations.
    #[must_use]
    pub fn new(clients: Clients) -> Self {
        Self { mailer: Mailer::new(clients.trust().clone()), clients }
    }

    /// Sends `body` under `id` to `recipient`, at `now`. For a mail server, `body` is the whole mail.
    pub async fn send(&self, recipient: &Recipient, id: &str, body: &str, now: Timestamp) -> Sent {
        if let (Means::Smtp(rule), Credentials::Smtp { password }) = (&recipient.rule.means, &recipient.credentials) {
            return mail::send(&self.mailer, recipient, (rule, password.as_ref()), body).await;
        }
        self.exchange(recipient, request(recipient, id, body, now), now).await
    }

    /// Asks for what is at `url`, with these headers and the patience that there is for `recipient`, at `now`. Nobody is told
    /// anything.
    pub async fn ask(&self, recipient: &Recipient, url: &Uri, headers: HeaderMap, now: Timestamp) -> Sent {
        let request = Request::get(url.clone()).body(Full::default()).map(|mut request| {
            *request.headers_mut() = headers;
            request
        });
        self.exchange(recipient, request, now).await
    }

    async fn exchange(
        &self,
        recipient: &Recipient,
        request: Result<Request<Full<Bytes>>, hyper::http::Error>,
        now: Timestamp,
    ) -> Sent {
        let request = match request {
            Ok(request) => request,
            // All its parts were checked as they were read; should one not do, it is told like any failure.
            Err(error) => {
                let why = format!("no request can be made: {error}");
                return Sent::unanswered(Ending::NotSent, why, &recipient.credentials);
            }
        };
        let outgoing = self.clients.client(recipient.rule.allow_private, recipient.proxy.as_ref());
        let (keep, decides) = match &recipient.credentials {
            Credentials::Webhook { .. } | Credentials::Smtp { .. } => (ANSWER_BYTES, Decides::Status),
            Credentials::Whatsapp { .. } | Credentials::Gateway { .. } => (cloud::READ_BYTES, Decides::Body),
        };
        match outgoing.tell(request, recipient.rule.timeout.to_duration(), keep, decides).await {
            Ok(told) => Sent::answered(told, &recipient.credentials, now),
            Err(error) => Sent::unanswered(ending_of(&error), error.to_string(), &recipient.credentials),
        }
    }
}

impl Sent {
    fn answered(told: Told, credentials: &Credentials, now: Timestamp) -> Self {
        let Told { status, headers, beginning, is_whole } = told;
        let code = status.as_u16();
        let mut asks = retry_after(&headers, now);
        let (exchange, said) = match credentials {
            Credentials::Webhook { endpoint, headers: own, .. } => {
                let answer = without_headers(&endpoint.hide_in(&String::from_utf8_lossy(&beginning)), own);
                (Exchange { status: Some(code), answer: answer.into() }, Said::Nothing)
            }
            // No mail goes this way.
            Credentials::Smtp { .. } => (Exchange { status: Some(code), ..Exchange::default() }, Said::Nothing),
            Credentials::Whatsapp { bearer } => {
                let kept = cloud::kept(code, &beginning, bare(bearer));
                (kept, Said::Cloud(CloudAnswer::read(&beginning)))
            }
            Credentials::Gateway { kind, key } => {
                let key = bare(key);
                let answer = GatewayAnswer::read(*kind, &headers, &beginning, key, now);
                asks = asks.or(answer.retry_after);
                (cloud::kept(code, &beginning, key), Said::Gateway(answer))
            }
        };
        let mut sent =
            Self { ending: Ending::Answered { status: code, retry_after: asks }, exchange, headers, error: None, said };
        if !is_whole && !is_json_object(&beginning) && !matches!(sent.said, Said::Nothing) {
            // The part that did not come may say the opposite.
            sent.error = Some(format!("{}, and the rest of the answer did not come", sent.why()));
            sent.ending = Ending::Unknown;
        }
        sent
    }

    pub(super) fn unanswered(ending: Ending, error: String, credentials: &Credentials) -> Self {
        let said = match credentials {
            Credentials::Webhook { .. } | Credentials::Smtp { .. } => Said::Nothing,
            Credentials::Whatsapp { .. } => Said::Cloud(CloudAnswer::default()),
            Credentials::Gateway { .. } => Said::Gateway(GatewayAnswer::default()),
        };
        Self { ending, exchange: Exchange::default(), headers: HeaderMap::new(), error: Some(error), said }
    }

    /// What it means that the attempt `number` ended so.
    #[must_use]
    pub fn meaning(&self, number: u32) -> Meaning {
        match &self.said {
            Said::Nothing => self.ending.of_webhook(),
            Said::Cloud(cloud) => cloud_error::meaning(self.ending, cloud.error, cloud.wamid.is_some(), number),
            Said::Gateway(answer) => text::meaning(self.ending, answer.objection.as_deref(), answer.is_confirmation),
            Said::Mail(end) => end.meaning(),
        }
    }

    /// How much the answer leaves for how long, where it speaks of that.
    #[must_use]
    pub fn quota(&self) -> Option<Quota> {
        match &self.said {
            Said::Gateway(answer) => answer.quota,
            _ => None,
        }
    }

    /// Why it failed, where it did: for lists and logs.
    #[must_use]
    pub fn why(&self) -> String {
        match (&self.error, self.exchange.status) {
            (Some(error), _) => error.clone(),
            (None, Some(status)) => {
                let name = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
                let said = match &self.said {
                    Said::Cloud(CloudAnswer { error: Some(error), .. }) => Some(format!(", {}", error.why())),
                    Said::Cloud(CloudAnswer { wamid: None, .. }) if (200..300).contains(&status) => {
                        Some(", which names no message".to_owned())
                    }
                    Said::Gateway(GatewayAnswer { objection: Some(objection), .. }) => Some(words(objection)),
                    Said::Gateway(GatewayAnswer { is_confirmation: false, .. }) if (200..300).contains(&status) => {
                        Some(", and its body is no JSON object".to_owned())
                    }
                    Said::Nothing | Said::Cloud(_) | Said::Gateway(_) | Said::Mail(_) => None,
                };
                let said = said.unwrap_or_default();
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
    // Whoever is posted to has one.
    let url = recipient.url().cloned().unwrap_or_default();
    let mut request = Request::post(url).body(Full::new(body.to_owned().into()))?;
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
        Credentials::Webhook { keys, headers: own, .. } => {
            if keys.is_empty() {
                headers.insert("webhook-id", id.parse()?);
            } else {
                for (name, value) in signing::headers(keys, id, now, body.as_bytes()) {
                    headers.insert(name, value.parse()?);
                }
            }
            for (name, value) in own {
                // One of our own is replaced: `user-agent`, say.
                headers.insert(name, value.clone());
            }
        }
        Credentials::Whatsapp { bearer } => {
            headers.insert(AUTHORIZATION, bearer.clone());
        }
        Credentials::Gateway { kind, key } => {
            let (header, _) = kind.key_header();
            headers.insert(header, key.clone());
        }
        // A mail has no such head.
        Credentials::Smtp { .. } => headers.clear(),
    }
    Ok(headers)
}

/// Returns true if `bytes` are one complete JSON object. Its last brace ends the answer: a connection that closes without
/// `close_notify`, or stays open until the deadline, adds nothing. Other JSON values may be the beginning of a longer one.
fn is_json_object(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

/// What a header shows, without the scheme in front: the secret itself.
fn bare(value: &HeaderValue) -> &str {
    let text = value.to_str().unwrap_or_default();
    text.split_once(' ').map_or(text, |(_, secret)| secret)
}

/// An answer without the secrets of headers: some repeat what they were sent.
fn without_headers(answer: &str, headers: &[(HeaderName, HeaderValue)]) -> String {
    let secrets = headers.iter().filter(|(_, value)| value.is_sensitive());
    let secrets = secrets.flat_map(|(_, value)| [value.to_str().unwrap_or_default(), bare(value)]);
    let secrets = secrets.filter(|secret| secret.len() >= SECRET_BYTES_MIN);
    secrets.fold(answer.to_owned(), |answer, secret| without_token(&answer, secret))
}

/// A gateway's own words, behind its status.
fn words(text: &str) -> String {
    let words: String = text.chars().filter(|c| !c.is_control()).take(WORDS).collect();
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

const fn ending_of(error: &OutgoingError) -> Ending {
    match error {
        OutgoingError::NoRoots | OutgoingError::Tls(_) | OutgoingError::Unreachable { .. } => Ending::NotSent,
        OutgoingError::Broken { .. } | OutgoingError::Late { .. } | OutgoingError::TooLarge { .. } => Ending::Unknown,
    }
}

/// How long an answer asks to be left alone (RFC 9110, 10.2.3): seconds, or a date. Discord's have fractions (*Rate Limits*).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Millis> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if let (Ok(seconds), true) = (whole.parse::<u64>(), is_number) {
        // A second that has begun is waited for.
        let begun = u64::from(fraction.bytes().any(|digit| digit != b'0'));
        return Some(Millis::from_secs(seconds.saturating_add(begun)));
    }
    Some(date(text)?.since(now))
}

/// A date as headers have it (RFC 9110, 5.6.7).
pub(super) fn date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok().map(Timestamp::from_jiff)
}

#[cfg(test)]
mod tests {
    use hyper::header::ACCEPT;

    use super::*;
    use crate::domain::gateway::GatewayKind;

    #[test]
    fn how_long_to_wait_is_told_in_seconds_or_by_a_date() {
        let asked = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
            // 2026-11-25T07:28:00Z
            retry_after(&headers, Timestamp::from_millis(1_795_591_680_000)).map(Millis::get)
        };
        assert_eq!(asked("120"), Some(120_000));
        assert_eq!(asked(" 0 "), Some(0));
        assert_eq!((asked("0.5"), asked("1.000"), asked("64.57")), (Some(1000), Some(1000), Some(65_000)));
        assert_eq!(asked("Wed, 25 Nov 2026 07:30:00 GMT"), Some(120_000));
        assert_eq!(asked("Wed, 25 Nov 2026 07:00:00 GMT"), Some(0), "then is now");
        for nonsense in ["", "soon", "-5", "1.", ".5", "1.5s", "1.-5", "2026-11-25"] {
            assert_eq!(asked(nonsense), None, "{nonsense}");
        }
        assert_eq!(asked("99999999999999999999"), None);
    }

    #[test]
    fn a_complete_json_object_is_a_whole_answer_however_its_framing_ends() {
        let secret = || HeaderValue::from_static("Bearer SECRET-12345");
        let cloud = Credentials::Whatsapp { bearer: secret() };
        let gateway = Credentials::Gateway { kind: GatewayKind::Wasender, key: secret() };
        let meaning = |credentials: &Credentials, status, said: &'static str, is_whole| {
            let (status, beginning) = (StatusCode::from_u16(status).unwrap(), Bytes::from_static(said.as_bytes()));
            let told = Told { status, headers: HeaderMap::new(), beginning, is_whole };
            Sent::answered(told, credentials, Timestamp::from_millis(0)).meaning(1)
        };
        let taken = r#" {"messages":[{"id":"wamid.1"}]}"#;
        let refused = r#"{"error":{"code":131026}}"#;
        assert_eq!(meaning(&cloud, 200, taken, false), Meaning::Delivered);
        assert_eq!(meaning(&cloud, 400, refused, false), Meaning::Refused);
        assert_eq!(meaning(&gateway, 200, r#"{"success":true}"#, false), Meaning::Delivered);
        // The rest may say the opposite.
        for cut in ["", "{", r#"{"messages":[{"id":"wamid.1"}]"#, "1", "[]", r#""no""#, r#"{"a":1} {"#] {
            assert_eq!(meaning(&cloud, 400, cut, false), Meaning::Unknown, "{cut}");
            let again = Meaning::Again { retry_after: None, holds_lane: false, is_failure: true };
            assert_eq!(meaning(&gateway, 400, cut, false), again, "{cut}");
        }
        assert_eq!(meaning(&gateway, 400, "", true), Meaning::Refused, "nothing is missing here");
    }

    #[test]
    fn a_page_that_is_no_answer_of_a_gateway_confirms_no_text() {
        let answered = |kind, said: &'static str| {
            let gateway = Credentials::Gateway { kind, key: HeaderValue::from_static("SECRET-12345") };
            let beginning = Bytes::from_static(said.as_bytes());
            let told = Told { status: StatusCode::OK, headers: HeaderMap::new(), beginning, is_whole: true };
            Sent::answered(told, &gateway, Timestamp::from_millis(0))
        };
        let page = answered(GatewayKind::Waha, "<html>Log in</html>");
        let again = Meaning::Again { retry_after: None, holds_lane: false, is_failure: true };
        assert_eq!((page.meaning(1), &*page.why()), (again, "answered 200 OK, and its body is no JSON object"));
        assert_eq!(answered(GatewayKind::Evolution, "").meaning(1), again);
        assert_eq!(answered(GatewayKind::Waha, "").meaning(1), Meaning::Delivered);
        assert_eq!(answered(GatewayKind::Evolution, r#"{"key":{"id":"3EB0"}}"#).meaning(1), Meaning::Delivered);
    }

    #[test]
    fn no_answer_is_kept_with_what_we_showed() {
        let header = |text: &str| {
            let mut value = HeaderValue::from_str(text).unwrap();
            value.set_sensitive(true);
            value
        };
        let told = |said: &'static str| Told {
            status: StatusCode::BAD_REQUEST,
            headers: HeaderMap::new(),
            beginning: Bytes::from_static(said.as_bytes()),
            is_whole: true,
        };
        let now = Timestamp::from_millis(0);
        let said = r#"{"success":false,"message":"Invalid API key SECRET-12345, Bearer SECRET-12345"}"#;
        for shown in ["Bearer SECRET-12345", "SECRET-12345"] {
            let gateway = Credentials::Gateway { kind: GatewayKind::Wasender, key: header(shown) };
            let sent = Sent::answered(told(said), &gateway, now);
            let all = format!("{} {}", sent.why(), sent.exchange.answer);
            assert!(!all.contains("SECRET") && all.contains("Invalid API key …"), "{all}");
        }
        let webhook = Credentials::Webhook {
            endpoint: super::super::Endpoint::new("https://crm.example/".parse().unwrap(), false),
            keys: Vec::new(),
            headers: vec![
                (AUTHORIZATION, header("Basic SECRET-12345")),
                (USER_AGENT, header("no")),
                (ACCEPT, HeaderValue::from_static("application/json")),
            ],
        };
        let answer = "no: SECRET-12345 is no key, nor Basic SECRET-12345; the application is wrong";
        let sent = Sent::answered(told(answer), &webhook, now);
        assert_eq!(&*sent.exchange.answer, "no: … is no key, nor …; the application is wrong");
    }
}
