//! Sends e-mails (RFC 5322) through a mail server (kind `smtp`), and interprets the reply of the
//! server.
//!
//! All attempts of a delivery have one `Message-ID`, made from its `webhook-id`. Servers and mail
//! programs that store IDs drop the second copy. `Date` is the time of the attempt. The complete
//! e-mail is built before its first byte is sent. A suspect is therefore marked only while its
//! e-mail is built.
//!
//! See [`crate::domain::delivery::email`] for the texts, [`crate::domain::delivery::smtp_reply`]
//! for replies, and [`crate::delivery::suspect_deliveries`] for the mark.

use std::time::{Duration, SystemTime};

use hyper::Uri;
use lettre::address::Envelope;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailboxes, SinglePart, header};
use serde_json::Value;

use super::exchange::{Connection, FailedExchange, Message, SendOutcome};
use super::test_send::{TestError, TestReport, TestRequest};
use super::{Channel, Payload, PayloadInput, SendFuture, TestFuture, downcast};
use crate::config::{Secret, SmtpSettings};
use crate::delivery::secret_resolver::SecretResolver;
use crate::domain::delivery::email::{SmtpTls, render_email};
use crate::domain::delivery::smtp_reply::{SmtpEnd, SmtpStage};
use crate::domain::delivery::{RESPONSE_EXCERPT_BYTES, ResponseRecord};
use crate::domain::time::Timestamp;
use crate::net::{AddressPolicy, SmtpClient, SmtpOutcome, SmtpServer};

/// Header of automatic e-mails. Without it, auto-responders might answer (RFC 3834, 5).
const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");

/// Mail server with its credentials.
#[derive(Debug)]
pub(crate) struct SmtpChannel {
    settings: SmtpSettings,
    /// Password of the user. `None`: no login.
    password: Option<Secret>,
}

impl SmtpChannel {
    /// Resolves the password. Returns `None` after an error.
    pub(crate) fn resolve(
        settings: &SmtpSettings,
        secrets: &mut SecretResolver<'_>,
    ) -> Option<Self> {
        let password = match &settings.login {
            Some(login) => Some(secrets.resolve_secret("password", &login.password)?),
            None => None,
        };
        Some(Self {
            settings: settings.clone(),
            password,
        })
    }
}

impl Channel for SmtpChannel {
    fn url(&self) -> &Uri {
        &self.settings.url
    }

    fn build_payload(&self, input: PayloadInput<'_>) -> Result<Payload, String> {
        let (id, event) = (&input.first.delivery.webhook_id, &input.first.body);
        let mail = build_email(&self.settings, id, event, input.now)
            .map_err(|error| format!("can't build the e-mail: {error}"))?;
        format_email(&mail).map(Payload::single)
    }

    /// Sends the complete e-mail `message.body`.
    fn send<'a>(&'a self, connection: Connection<'a>, message: Message<'a>) -> SendFuture<'a> {
        Box::pin(async move {
            let settings = &self.settings;
            let to = settings.to.iter().map(|to| to.email.clone()).collect();
            let envelope = match Envelope::new(Some(settings.from.email.clone()), to) {
                Ok(envelope) => envelope,
                Err(error) => {
                    return interpret(SmtpOutcome {
                        result: SmtpEnd::NoReply(SmtpStage::Connect),
                        transcript: String::new(),
                        error: Some(format!("can't send the e-mail: {error}")),
                    });
                }
            };
            let username = settings.login.as_ref().map(|login| login.username.as_str());
            let password = self.password.as_ref();
            let server = SmtpServer {
                host: &settings.host,
                port: settings.port,
                tls: settings.tls,
                login: username.zip(password.map(|password| password.expose().as_str())),
                address_policy: match (settings.tls, settings.allow_private) {
                    (SmtpTls::None, _) => AddressPolicy::PrivateOnly,
                    (_, true) => AddressPolicy::Any,
                    (_, false) => AddressPolicy::PublicOnly,
                },
            };
            let client = SmtpClient::new(connection.clients.trust().clone());
            let mail = message.body.as_bytes();
            interpret(
                client
                    .send(server, &envelope, mail, connection.deadline)
                    .await,
            )
        })
    }

    fn interpret_failure(&self, failed: FailedExchange, _attempt_number: u32) -> SendOutcome {
        let disposition = SmtpEnd::NoReply(SmtpStage::Content).disposition();
        SendOutcome::without_response(disposition, failed.reason)
    }

    fn test<'a>(&'a self, connection: Connection<'a>, request: &'a TestRequest) -> TestFuture<'a> {
        Box::pin(async move {
            let (id, event) = (request.webhook_id(), request.event_body());
            let mail = build_email(&self.settings, &id, &event, request.now).map_err(|error| {
                TestError::NotBuilt(format!("the request can't be built: {error}"))
            })?;
            let body = format_email(&mail).map_err(TestError::NotBuilt)?;
            let sent = self.send(connection, request.message(&id, &body)).await;
            let text = render_email(&self.settings.messages, &event).text;
            Ok(TestReport::of_message(
                sent,
                header_lines(&mail),
                Value::String(text),
                None,
            ))
        })
    }

    fn has_same_config(&self, other: &dyn Channel) -> bool {
        let username = |settings: &SmtpSettings| {
            let login = settings.login.as_ref();
            login.map(|login| login.username.clone())
        };
        downcast(other).is_some_and(|other: &Self| {
            let same_location = SmtpSettings {
                login: self.settings.login.clone(),
                ..other.settings.clone()
            };
            self.settings == same_location
                && username(&self.settings) == username(&other.settings)
                && self.password == other.password
        })
    }

    fn has_same_access(&self, other: &dyn Channel) -> bool {
        downcast(other).is_some_and(|other: &Self| {
            self.settings.url == other.settings.url && self.password == other.password
        })
    }
}

/// Builds the e-mail about the event `body` with the ID `id` at `now`.
///
/// # Errors
/// Returns an error if a part is invalid. All parts were checked when the config was read.
fn build_email(
    settings: &SmtpSettings,
    id: &str,
    body: &str,
    now: Timestamp,
) -> Result<lettre::Message, lettre::error::Error> {
    let text = render_email(&settings.messages, body);
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(now.as_millis());
    let message = lettre::Message::builder()
        .from(settings.from.clone())
        .mailbox(header::To::from(
            settings.to.iter().cloned().collect::<Mailboxes>(),
        ))
        .subject(text.subject)
        .message_id(Some(format!("<{id}@{}>", settings.from.email.domain())))
        .date(at)
        .raw_header(HeaderValue::new(
            AUTO_SUBMITTED,
            "auto-generated".to_owned(),
        ));
    let message = match &settings.reply_to {
        Some(reply_to) => message.reply_to(reply_to.clone()),
        None => message,
    };
    message.singlepart(
        SinglePart::builder()
            .header(ContentType::TEXT_PLAIN)
            .body(text.text),
    )
}

/// Returns the octets to send, all ASCII.
fn format_email(mail: &lettre::Message) -> Result<String, String> {
    String::from_utf8(mail.formatted()).map_err(|error| format!("can't build the e-mail: {error}"))
}

/// Returns names and values of the headers of the e-mail.
fn header_lines(mail: &lettre::Message) -> Vec<(String, String)> {
    let unfolded = mail.headers().to_string().replace("\r\n ", " ");
    let lines = unfolded.lines().filter_map(|line| line.split_once(": "));
    lines
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect()
}

fn interpret(outcome: SmtpOutcome) -> SendOutcome {
    let SmtpOutcome {
        result: smtp_end,
        mut transcript,
        error,
    } = outcome;
    let status = match smtp_end {
        SmtpEnd::Replied(_, reply) => Some(reply.code),
        SmtpEnd::NoReply(_) | SmtpEnd::TlsUnavailable | SmtpEnd::AuthUnavailable => None,
    };
    transcript.truncate(transcript.floor_char_boundary(RESPONSE_EXCERPT_BYTES));
    let reason = smtp_end.failure_reason().or(error);
    SendOutcome {
        response: ResponseRecord {
            status,
            body_excerpt: transcript.into(),
        },
        ..SendOutcome::without_response(smtp_end.disposition(), reason.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::tests::support::resolve_channel;

    /// Time of the tests: 2026-11-24T08:00:00Z.
    const NOW: Timestamp = Timestamp::from_millis(1_795_507_200_000);

    fn formatted(more: &str, body: &str) -> String {
        let channel: SmtpChannel = resolve_channel(&format!(
            "[destinations.inbox]\nkind = \"smtp\"\nhost = \"mail.shop.example\"\n{more}"
        ));
        let mail = build_email(&channel.settings, "msg_1", body, NOW).unwrap();
        format_email(&mail).unwrap()
    }

    #[test]
    fn mail_has_stable_id_attempt_date_and_auto_submitted() {
        let mail = formatted(
            "from = \"Blümchen <flowgate@shop.example>\"\nto = [\"ann@shop.example\", \"Bob <bob@shop.example>\"]\n\
             reply_to = \"office@shop.example\"\n\
             messages = { \"lead.waiting\" = { subject = \"Für {lead.team}\", text = \"Grüße\" } }",
            r#"{"type":"lead.waiting","timestamp":"2026-11-24T08:00:00.000Z","data":{"lead":{"team":"sales"}}}"#,
        );
        insta::assert_snapshot!(mail.replace("\r\n", "\n"), @r"
        From: =?utf-8?b?QmzDvG1jaGVu?= <flowgate@shop.example>
        To: ann@shop.example, Bob <bob@shop.example>
        Subject: =?utf-8?b?RsO8cg==?= sales
        Message-ID: <msg_1@shop.example>
        Date: Tue, 24 Nov 2026 08:00:00 +0000
        Auto-Submitted: auto-generated
        Reply-To: office@shop.example
        MIME-Version: 1.0
        Content-Type: text/plain; charset=utf-8
        Content-Transfer-Encoding: base64

        R3LDvMOfZQ==
        ");
        assert!(
            mail.is_ascii()
                && mail
                    .split_inclusive('\n')
                    .all(|line| line.ends_with("\r\n") || !line.ends_with('\n'))
        );
    }

    #[test]
    fn form_answers_cannot_inject_headers() {
        let evil = "Bob\\r\\nBcc: thief@evil.example\\r\\n\\r\\nFree money\\n.\\nQUIT\\r.\\r";
        let body = format!(
            r#"{{"type":"lead.assigned","timestamp":"{evil}","data":{{"lead":{{"id":3}},"submission":{{"answers":{{"name":"{evil}","{evil}":1}}}}}}}}"#
        );
        let head = "from = \"a@shop.example\"\nto = \"b@shop.example\"";
        let custom = "messages = { \"lead.assigned\" = { subject = \"New: {submission.answers.name}\", text = \"{submission.answers.name}\" } }";
        for more in [head.to_owned(), format!("{head}\n{custom}")] {
            let mail = formatted(&more, &body);
            let (head, text) = mail.split_once("\r\n\r\n").unwrap();
            let names: Vec<&str> = head
                .split("\r\n")
                .filter(|line| !line.starts_with(' '))
                .map(|line| line.split(':').next().unwrap())
                .collect();
            let known = [
                "From",
                "To",
                "Subject",
                "Message-ID",
                "Date",
                "Auto-Submitted",
                "MIME-Version",
                "Content-Type",
                "Content-Transfer-Encoding",
            ];
            assert_eq!(names, known, "{head}");
            let bare = |text: &str| text.replace("\r\n", "").contains(['\r', '\n']);
            assert!(!bare(head) && !bare(text), "{mail:?}");
        }
    }
}
