//! Builds an e-mail (RFC 5322) from an event, sends it, and interprets the reply of the mail
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

use hyper::HeaderMap;
use lettre::Message;
use lettre::address::Envelope;
use lettre::error::Error;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailboxes, SinglePart, header};

use crate::config::{Secret, SmtpSettings};
use crate::domain::delivery::email::{SmtpTls, render_email};
use crate::domain::delivery::smtp_reply::{SmtpEnd, SmtpStage};
use crate::domain::delivery::{AttemptEnd, RESPONSE_EXCERPT_BYTES, ResponseRecord};
use crate::domain::time::Timestamp;
use crate::net::{AddressPolicy, SmtpClient, SmtpOutcome, SmtpServer};

use crate::delivery::DeliveryTarget;
use crate::delivery::client::{ProviderResponse, SendOutcome};

/// Header of automatic e-mails. Without it, auto-responders might answer (RFC 3834, 5).
const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");

/// Builds the message for `body` with the ID `id` at `now`.
///
/// # Errors
/// Returns an error if a part is invalid. All parts were checked when the config was read.
pub fn build_message(
    settings: &SmtpSettings,
    id: &str,
    body: &str,
    now: Timestamp,
) -> Result<Message, Error> {
    let text = render_email(&settings.messages, body);
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(now.as_millis());
    let message = Message::builder()
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

/// Builds the complete e-mail for `body` with the ID `id` at `now`: the octets to send, all ASCII.
///
/// # Errors
/// Returns the reason why the e-mail can't be built.
pub fn build_email(
    settings: &SmtpSettings,
    id: &str,
    body: &str,
    now: Timestamp,
) -> Result<String, String> {
    let message = build_message(settings, id, body, now)
        .map_err(|error| format!("can't build the e-mail: {error}"))?;
    String::from_utf8(message.formatted())
        .map_err(|error| format!("can't build the e-mail: {error}"))
}

/// Sends `mail`, built by [`build_email`].
pub(crate) async fn send_mail(
    client: &SmtpClient,
    target: &DeliveryTarget,
    (settings, password): (&SmtpSettings, Option<&Secret>),
    mail: &str,
) -> SendOutcome {
    let to = settings
        .to
        .iter()
        .map(|mailbox| mailbox.email.clone())
        .collect();
    let envelope = match Envelope::new(Some(settings.from.email.clone()), to) {
        Ok(envelope) => envelope,
        Err(error) => {
            let why = format!("can't send the e-mail: {error}");
            return to_outcome(SmtpOutcome {
                result: SmtpEnd::NoReply(SmtpStage::Connect),
                transcript: String::new(),
                error: Some(why),
            });
        }
    };
    let username = settings.login.as_ref().map(|login| login.username.as_str());
    let server = SmtpServer {
        host: &settings.host,
        port: settings.port,
        tls: settings.tls,
        login: username.zip(password.map(|password| password.expose().as_str())),
        address_policy: match (settings.tls, target.settings.allow_private) {
            (SmtpTls::None, _) => AddressPolicy::PrivateOnly,
            (_, true) => AddressPolicy::Any,
            (_, false) => AddressPolicy::PublicOnly,
        },
    };
    let deadline = target.settings.timeout.to_duration();
    to_outcome(
        client
            .send(server, &envelope, mail.as_bytes(), deadline)
            .await,
    )
}

fn to_outcome(outcome: SmtpOutcome) -> SendOutcome {
    let SmtpOutcome {
        result: smtp_end,
        mut transcript,
        error,
    } = outcome;
    let (ending, status) = match smtp_end {
        SmtpEnd::Replied(_, reply) => (
            AttemptEnd::Responded {
                status: reply.code,
                retry_after: None,
            },
            Some(reply.code),
        ),
        SmtpEnd::NoReply(SmtpStage::Content) => (AttemptEnd::Unknown, None),
        SmtpEnd::NoReply(_) | SmtpEnd::TlsUnavailable | SmtpEnd::AuthUnavailable => {
            (AttemptEnd::NotSent, None)
        }
    };
    transcript.truncate(transcript.floor_char_boundary(RESPONSE_EXCERPT_BYTES));
    SendOutcome {
        attempt_end: ending,
        response_record: ResponseRecord {
            status,
            body_excerpt: transcript.into(),
        },
        headers: HeaderMap::new(),
        error: smtp_end.failure_reason().or(error),
        provider_response: ProviderResponse::Smtp(smtp_end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, DestinationKind};

    /// Time of the tests: 2026-11-24T08:00:00Z.
    const NOW: Timestamp = Timestamp::from_millis(1_795_507_200_000);

    fn formatted(more: &str, body: &str) -> String {
        let text =
            format!("[destinations.inbox]\nkind = \"smtp\"\nhost = \"mail.shop.example\"\n{more}");
        let config = Config::parse("config.toml".as_ref(), &text).unwrap();
        let DestinationKind::Smtp(settings) =
            config.destinations.into_values().next().unwrap().kind
        else {
            panic!()
        };
        build_email(&settings, "msg_1", body, NOW).unwrap()
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
