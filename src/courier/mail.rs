//! One e-mail on its way: an event's words put into a message (RFC 5322), and what the mail server said to it.
//!
//! All attempts of a delivery have one `Message-ID`, made from its `webhook-id`: servers and readers that keep ids drop the
//! second copy. `Date` is that of the attempt. What the words are is decided in `crate::domain::mail`, what a reply means in
//! `crate::domain::mail_reply`. [`super::next`] makes the whole mail before it is sent: a mail whose making ends the process is
//! marked meanwhile.

use std::time::{Duration, SystemTime};

use hyper::HeaderMap;
use lettre::Message;
use lettre::address::Envelope;
use lettre::error::Error;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailboxes, SinglePart, header};

use crate::config::{Secret, SmtpRule};
use crate::domain::delivery::{ANSWER_BYTES, Ending, Exchange};
use crate::domain::mail::{MailTls, words};
use crate::domain::mail_reply::{MailEnd, Stage};
use crate::domain::time::Timestamp;
use crate::outgoing::{MailServer, Mailed, Mailer, Reach};

use super::Recipient;
use super::webhook::{Said, Sent};

/// Says that no person wrote it, so that none that is away answers (RFC 3834, 5).
const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");

/// The message that tells of `body` under `id`, at `now`.
///
/// # Errors
/// Where a part of it has no form; all were checked when the config was read.
pub fn message(rule: &SmtpRule, id: &str, body: &str, now: Timestamp) -> Result<Message, Error> {
    let words = words(&rule.messages, body);
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(now.as_millis());
    let message = Message::builder()
        .from(rule.from.clone())
        .mailbox(header::To::from(rule.to.iter().cloned().collect::<Mailboxes>()))
        .subject(words.subject)
        .message_id(Some(format!("<{id}@{}>", rule.from.email.domain())))
        .date(at)
        .raw_header(HeaderValue::new(AUTO_SUBMITTED, "auto-generated".to_owned()));
    let message = match &rule.reply_to {
        Some(reply_to) => message.reply_to(reply_to.clone()),
        None => message,
    };
    message.singlepart(SinglePart::builder().header(ContentType::TEXT_PLAIN).body(words.text))
}

/// The whole mail that tells of `body` under `id`, at `now`: the octets that are sent, all of them ASCII.
///
/// # Errors
/// Why no mail can be made.
pub fn whole_mail(rule: &SmtpRule, id: &str, body: &str, now: Timestamp) -> Result<String, String> {
    let message = message(rule, id, body, now).map_err(|error| format!("no mail can be made: {error}"))?;
    String::from_utf8(message.formatted()).map_err(|error| format!("no mail can be made: {error}"))
}

/// Sends `mail`, which [`whole_mail`] has made.
pub(super) async fn send(
    mailer: &Mailer,
    recipient: &Recipient,
    (rule, password): (&SmtpRule, Option<&Secret>),
    mail: &str,
) -> Sent {
    let to = rule.to.iter().map(|mailbox| mailbox.email.clone()).collect();
    let envelope = match Envelope::new(Some(rule.from.email.clone()), to) {
        Ok(envelope) => envelope,
        Err(error) => {
            let why = format!("no mail can be sent: {error}");
            return sent(Mailed { end: MailEnd::Broken(Stage::Connect), said: String::new(), error: Some(why) });
        }
    };
    let user = rule.login.as_ref().map(|login| login.user.as_str());
    let server = MailServer {
        host: &rule.host,
        port: rule.port,
        tls: rule.tls,
        login: user.zip(password.map(|password| password.expose().as_str())),
        reach: match (rule.tls, recipient.rule.allow_private) {
            (MailTls::None, _) => Reach::HomeOnly,
            (_, true) => Reach::Anywhere,
            (_, false) => Reach::PublicOnly,
        },
    };
    let deadline = recipient.rule.timeout.to_duration();
    sent(mailer.send(server, &envelope, mail.as_bytes(), deadline).await)
}

fn sent(mailed: Mailed) -> Sent {
    let Mailed { end, mut said, error } = mailed;
    let (ending, status) = match end {
        MailEnd::Replied(_, reply) => (Ending::Answered { status: reply.code, retry_after: None }, Some(reply.code)),
        MailEnd::Broken(Stage::Content) => (Ending::Unknown, None),
        MailEnd::Broken(_) | MailEnd::NoTls | MailEnd::NoAuth => (Ending::NotSent, None),
    };
    said.truncate(said.floor_char_boundary(ANSWER_BYTES));
    Sent {
        ending,
        exchange: Exchange { status, answer: said.into() },
        headers: HeaderMap::new(),
        error: end.why().or(error),
        said: Said::Mail(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Means};

    /// 2026-11-24T08:00:00Z.
    const NOW: Timestamp = Timestamp::from_millis(1_795_507_200_000);

    fn formatted(more: &str, body: &str) -> String {
        let text = format!("[destinations.inbox]\nkind = \"smtp\"\nhost = \"mail.shop.example\"\n{more}");
        let config = Config::parse("config.toml".as_ref(), &text).unwrap();
        let Means::Smtp(rule) = config.destinations.into_values().next().unwrap().means else { panic!() };
        whole_mail(&rule, "msg_1", body, NOW).unwrap()
    }

    #[test]
    fn a_mail_has_one_id_the_date_of_its_attempt_and_says_that_nobody_wrote_it() {
        let mail = formatted(
            "from = \"Blümchen <flowgate@shop.example>\"\nto = [\"ann@shop.example\", \"Bob <bob@shop.example>\"]\n\
             reply_to = \"desk@shop.example\"\n\
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
        Reply-To: desk@shop.example
        MIME-Version: 1.0
        Content-Type: text/plain; charset=utf-8
        Content-Transfer-Encoding: base64

        R3LDvMOfZQ==
        ");
        assert!(
            mail.is_ascii() && mail.split_inclusive('\n').all(|line| line.ends_with("\r\n") || !line.ends_with('\n'))
        );
    }

    #[test]
    fn no_answer_of_a_customer_adds_a_line_to_the_head() {
        let evil = "Bob\\r\\nBcc: thief@evil.example\\r\\n\\r\\nFree money\\n.\\nQUIT\\r.\\r";
        let body = format!(
            r#"{{"type":"lead.assigned","timestamp":"{evil}","data":{{"lead":{{"id":3}},"submission":{{"answers":{{"name":"{evil}","{evil}":1}}}}}}}}"#
        );
        let head = "from = \"a@shop.example\"\nto = \"b@shop.example\"";
        let own = "messages = { \"lead.assigned\" = { subject = \"New: {submission.answers.name}\", text = \"{submission.answers.name}\" } }";
        for more in [head.to_owned(), format!("{head}\n{own}")] {
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
