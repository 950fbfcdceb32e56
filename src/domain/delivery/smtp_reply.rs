//! Decides the disposition after an SMTP server's reply to an e-mail.
//!
//! The decision depends on the stage of the dialogue and on the code of the reply (RFC 5321, 4.2
//! and 4.3.2; for authentication RFC 4954, 6). An enhanced code (RFC 3463) refines the decision.
//!
//! An error before `RCPT` concerns the server, the sender or flowgate's credentials: the delivery
//! is retried, or the destination is blocked until an admin acts. From `RCPT` on, a permanent error
//! refuses this delivery only. Exception: 530, 534, 535 and 538 block the destination at any stage.

use super::disposition::Disposition;

/// Stage of the SMTP dialogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SmtpStage {
    /// Look-up of the server's name, and the connection.
    Connect,
    /// Greeting of the server and its list of extensions.
    Greeting,
    /// `STARTTLS`, or TLS from the start.
    Tls,
    /// Authentication of the client: `AUTH`.
    Auth,
    /// Sender address: `MAIL`.
    MailFrom,
    /// Recipient address: `RCPT`.
    RcptTo,
    /// The `DATA` command.
    Data,
    /// Content of the e-mail.
    Content,
}

impl SmtpStage {
    /// Returns the label of the stage for error messages.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connect => "the connection",
            Self::Greeting => "the greeting",
            Self::Tls => "STARTTLS",
            Self::Auth => "AUTH (user and password)",
            Self::MailFrom => "MAIL (the sender)",
            Self::RcptTo => "RCPT (the recipient)",
            Self::Data => "DATA",
            Self::Content => "the mail",
        }
    }
}

/// Reply of an SMTP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmtpReply {
    /// Reply code, from 200 to 599.
    pub code: u16,
    /// Enhanced code, such as `5.1.1`. `None` if the reply has none.
    pub enhanced_code: Option<(u16, u16, u16)>,
}

/// End of an attempt to send an e-mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpEnd {
    /// The server replied at this stage. A reply to the content of the e-mail is the last one.
    Replied(SmtpStage, SmtpReply),
    /// No usable reply: no connection, an untrusted connection, an invalid reply or a timeout.
    NoReply(SmtpStage),
    /// The server offers no TLS, and nothing is sent without TLS.
    TlsUnavailable,
    /// The server offers no supported authentication mechanism.
    AuthUnavailable,
}

impl SmtpReply {
    /// Creates a reply and parses the enhanced code at the beginning of its text (RFC 2034, 4). A
    /// code of a different class than the reply code is ignored.
    #[must_use]
    pub fn new(code: u16, text: &str) -> Self {
        let first = text.split_whitespace().next().unwrap_or_default();
        let numbers: Option<Vec<u16>> = first.split('.').map(|part| part.parse().ok()).collect();
        let enhanced_code = match numbers.as_deref() {
            Some(&[class, subject, detail]) if class == code / 100 => {
                Some((class, subject, detail))
            }
            _ => None,
        };
        Self {
            code,
            enhanced_code,
        }
    }

    /// Returns the subject of the enhanced code (RFC 3463, 2 and 3).
    const fn subject_label(self) -> Option<&'static str> {
        Some(match self.enhanced_code {
            Some((_, 1, _)) => "the address",
            Some((_, 2, _)) => "the mailbox",
            Some((_, 3, _)) => "the mail system",
            Some((_, 4, _)) => "the network",
            Some((_, 5, _)) => "the protocol",
            Some((_, 6, _)) => "the content",
            Some((_, 7, _)) => "security or a policy",
            _ => return None,
        })
    }
}

impl SmtpEnd {
    /// Returns the disposition after this end of the attempt.
    #[must_use]
    pub fn disposition(self) -> Disposition {
        let retry = |pauses, is_failure| Disposition::retry(None, pauses, is_failure);
        let (stage, reply) = match self {
            Self::TlsUnavailable | Self::AuthUnavailable => return Disposition::Block,
            Self::NoReply(_) => return retry(false, true),
            Self::Replied(stage, reply) => (stage, reply),
        };
        match reply.code {
            200..=299 if stage == SmtpStage::Content => Disposition::Delivered,
            // The server closes the connection. Other e-mails would fail too.
            421 => retry(true, true),
            400..=499 => {
                // Greylisting, a full mailbox or a limit concerns only this e-mail. An error of the
                // mail system concerns the server.
                let is_server_problem =
                    stage < SmtpStage::MailFrom || matches!(reply.enhanced_code, Some((_, 3, _)));
                retry(false, is_server_problem)
            }
            // Authentication is missing, insufficient, or requires TLS: every e-mail would get this
            // reply. The next arm treats a refused sender in the same manner.
            530 | 534 | 535 | 538 => Disposition::Block,
            500..=599 => match stage {
                SmtpStage::Connect | SmtpStage::Greeting => retry(false, true),
                SmtpStage::Tls | SmtpStage::Auth | SmtpStage::MailFrom => Disposition::Block,
                SmtpStage::RcptTo | SmtpStage::Data | SmtpStage::Content => Disposition::Refused,
            },
            // Unexpected success or intermediate reply: client and server are no longer
            // synchronized.
            _ => retry(false, true),
        }
    }

    /// Returns the reason of the failure in flowgate's own words, for lists, logs and alerts. A
    /// server's text may repeat data that flowgate sent. `None` for `NoReply`.
    #[must_use]
    pub fn failure_reason(self) -> Option<String> {
        match self {
            Self::Replied(stage, reply) => {
                let enhanced = reply.enhanced_code.map(|(class, subject, detail)| format!(" {class}.{subject}.{detail}"));
                let about = reply.subject_label().map(|about| format!(": problem with {about}")).unwrap_or_default();
                let (code, stage) = (reply.code, stage.label());
                Some(format!("responded with {code}{} to {stage}{about}", enhanced.unwrap_or_default()))
            }
            Self::TlsUnavailable => Some(
                "does not support STARTTLS, so neither the password nor the mail was sent: see `tls` of the destination"
                    .to_owned(),
            ),
            Self::AuthUnavailable => {
                Some("does not support AUTH PLAIN or LOGIN on this connection: see `user` and `tls` of the destination".to_owned())
            }
            Self::NoReply(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SmtpStage::{Auth, Connect, Content, Data, Greeting, MailFrom, RcptTo, Tls};

    fn disposition_after(stage: SmtpStage, code: u16, text: &str) -> Disposition {
        SmtpEnd::Replied(stage, SmtpReply::new(code, text)).disposition()
    }

    const fn retry(pauses_destination: bool, is_failure: bool) -> Disposition {
        Disposition::retry(None, pauses_destination, is_failure)
    }

    #[test]
    fn only_success_after_content_is_delivered() {
        let delivered = disposition_after(Content, 250, "2.0.0 queued");
        assert_eq!(delivered, Disposition::Delivered);
        for stage in [Greeting, MailFrom, RcptTo, Data] {
            let actual = disposition_after(stage, 250, "");
            assert_eq!(actual, retry(false, true), "{stage:?}");
        }
        assert_eq!(disposition_after(Content, 354, ""), retry(false, true));
    }

    #[test]
    fn transient_reply_is_retried() {
        let any_stage = [Greeting, Auth, RcptTo, Content];
        for (stages, code, text, expected) in [
            (&[RcptTo][..], 450, "4.2.0 greylisted", retry(false, false)),
            (&[RcptTo], 451, "4.7.1 try later", retry(false, false)),
            (&[RcptTo], 452, "4.2.2 full", retry(false, false)),
            (&[RcptTo], 450, "", retry(false, false)),
            (&[Content], 452, "4.3.1 no space", retry(false, true)),
            (&[Auth], 454, "4.7.0 later", retry(false, true)),
            (&[Tls], 454, "", retry(false, true)),
            (&any_stage, 421, "", retry(true, true)),
        ] {
            for stage in stages {
                let actual = disposition_after(*stage, code, text);
                assert_eq!(actual, expected, "{stage:?} {code} {text}");
            }
        }
    }

    #[test]
    fn permanent_reply_refuses_mail_or_blocks_destination() {
        let mail = &[RcptTo, Data, Content][..];
        let credentials = &[Tls, Auth, MailFrom][..];
        for (stages, codes, expected) in [
            (mail, &[500, 550, 552, 554][..], Disposition::Refused),
            (credentials, &[550], Disposition::Block),
            (&[RcptTo], &[530, 534, 535, 538], Disposition::Block),
            // No e-mail was refused.
            (&[Greeting], &[554], retry(false, true)),
        ] {
            for stage in stages {
                for code in codes {
                    let actual = disposition_after(*stage, *code, "");
                    assert_eq!(actual, expected, "{stage:?} {code}");
                }
            }
        }
        for (end, expected) in [
            (SmtpEnd::TlsUnavailable, Disposition::Block),
            (SmtpEnd::AuthUnavailable, Disposition::Block),
            (SmtpEnd::NoReply(Connect), retry(false, true)),
            (SmtpEnd::NoReply(Content), retry(false, true)),
        ] {
            assert_eq!(end.disposition(), expected, "{end:?}");
        }
    }

    #[test]
    fn enhanced_code_is_parsed_when_class_matches() {
        let enhanced = |code, text| SmtpReply::new(code, text).enhanced_code;
        assert_eq!(enhanced(550, "5.1.1 no such user"), Some((5, 1, 1)));
        assert_eq!(enhanced(450, "4.7.500 busy"), Some((4, 7, 500)));
        let other_forms = ["5.1 no", "5.1.1.1 no", "no 5.1.1", "", "5.x.1"];
        for text in ["2.1.1 no"].iter().chain(&other_forms) {
            assert_eq!(enhanced(550, text), None, "{text}");
        }
        let reply = SmtpReply::new(550, "5.1.1 <ann@shop.example> unknown");
        assert_eq!(
            SmtpEnd::Replied(RcptTo, reply).failure_reason().unwrap(),
            "responded with 550 5.1.1 to RCPT (the recipient): problem with the address"
        );
    }
}
