//! What a mail server's reply means, when an e-mail was to be sent: by how far the exchange had come and by the reply's code
//! (RFC 5321, 4.2 and 4.3.2; of authentication RFC 4954, 6), more closely by its enhanced code (RFC 3463) where it has one.
//!
//! What a server says before it was told whom the mail is for is about the server, or about us: it is no reason to give up a
//! mail. What it then says for good of a recipient or a text is.

use super::delivery::Meaning;

/// How far an exchange came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The look-up of its name, and the connection.
    Connect,
    /// The server's greeting, and what it says that it can do.
    Greeting,
    /// `STARTTLS`, or TLS itself.
    Tls,
    /// Who we are.
    Auth,
    /// Whom the mail is from: `MAIL`.
    Sender,
    /// Whom it is for: `RCPT`.
    Recipient,
    /// `DATA`.
    Data,
    /// The mail itself.
    Content,
}

impl Stage {
    /// For people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Connect => "the connection",
            Self::Greeting => "the greeting",
            Self::Tls => "STARTTLS",
            Self::Auth => "AUTH (user and password)",
            Self::Sender => "MAIL (the sender)",
            Self::Recipient => "RCPT (the recipient)",
            Self::Data => "DATA",
            Self::Content => "the mail",
        }
    }
}

/// A reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its code, from 200 to 599.
    pub code: u16,
    /// Its enhanced code, as in `5.1.1`.
    pub enhanced: Option<(u16, u16, u16)>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailEnd {
    /// With this reply, which is the last where it is to the mail itself.
    Replied(Stage, Reply),
    /// Without one: no connection, none that is trusted, a reply that is none, or none in time.
    Broken(Stage),
    /// The server offers no TLS, and nothing goes without.
    NoTls,
    /// It takes no password in a way that we know.
    NoAuth,
}

impl Reply {
    /// Reads the enhanced code at the beginning of a reply's text (RFC 2034, 4). One of another class than the code is none.
    #[must_use]
    pub fn new(code: u16, text: &str) -> Self {
        let first = text.split_whitespace().next().unwrap_or_default();
        let numbers: Vec<u16> = first.split('.').map_while(|part| part.parse().ok()).collect();
        let enhanced = match *numbers.as_slice() {
            [class, subject, detail] if class == code / 100 && first.split('.').count() == 3 => {
                Some((class, subject, detail))
            }
            _ => None,
        };
        Self { code, enhanced }
    }

    /// What the enhanced code is about (RFC 3463, 2 and 3).
    const fn about(self) -> Option<&'static str> {
        Some(match self.enhanced {
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

impl MailEnd {
    /// What it means.
    #[must_use]
    pub fn meaning(self) -> Meaning {
        let again = |holds_lane, is_failure| Meaning::Again { retry_after: None, holds_lane, is_failure };
        let (stage, reply) = match self {
            Self::NoTls | Self::NoAuth => return Meaning::Stopped,
            Self::Broken(_) => return again(false, true),
            Self::Replied(stage, reply) => (stage, reply),
        };
        match reply.code {
            200..=299 if stage == Stage::Content => Meaning::Delivered,
            // It closes: nothing else would get through either.
            421 => again(true, true),
            400..=499 => {
                // Greylisting, a full mailbox, a limit: said of this mail. The mail system itself: of the server.
                let is_servers = stage < Stage::Sender || matches!(reply.enhanced, Some((_, 3, _)));
                again(false, is_servers)
            }
            // Who we are does not suffice, or may not be said without TLS; no sender that it lets us be. All mails would hear it.
            530 | 534 | 535 | 538 => Meaning::Stopped,
            500..=599 => match stage {
                Stage::Connect | Stage::Greeting => again(false, true),
                Stage::Tls | Stage::Auth | Stage::Sender => Meaning::Stopped,
                Stage::Recipient | Stage::Data | Stage::Content => Meaning::Refused,
            },
            // A success or a question where none was awaited: the two have lost each other.
            _ => again(false, true),
        }
    }

    /// Why it failed, in words of our own: a server's may repeat what it was told. For lists, logs and alerts.
    #[must_use]
    pub fn why(self) -> Option<String> {
        match self {
            Self::Replied(stage, reply) => {
                let enhanced = reply.enhanced.map(|(class, subject, detail)| format!(" {class}.{subject}.{detail}"));
                let about = reply.about().map(|about| format!(", which is about {about}")).unwrap_or_default();
                let (code, stage) = (reply.code, stage.words());
                Some(format!("answered {code}{} to {stage}{about}", enhanced.unwrap_or_default()))
            }
            Self::NoTls => Some(
                "offers no STARTTLS, and neither the password nor a mail goes without: see `tls` of the destination"
                    .to_owned(),
            ),
            Self::NoAuth => {
                Some("takes no password by PLAIN or LOGIN here: see `user` and `tls` of the destination".to_owned())
            }
            Self::Broken(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(stage: Stage, code: u16, text: &str) -> Meaning {
        MailEnd::Replied(stage, Reply::new(code, text)).meaning()
    }

    const fn again(holds_lane: bool, is_failure: bool) -> Meaning {
        Meaning::Again { retry_after: None, holds_lane, is_failure }
    }

    #[test]
    fn only_a_yes_to_the_mail_itself_is_a_delivery() {
        assert_eq!(after(Stage::Content, 250, "2.0.0 queued"), Meaning::Delivered);
        for stage in [Stage::Greeting, Stage::Sender, Stage::Recipient, Stage::Data] {
            assert_eq!(after(stage, 250, ""), again(false, true), "{stage:?}");
        }
        assert_eq!(after(Stage::Content, 354, ""), again(false, true));
    }

    #[test]
    fn what_passes_is_tried_again_and_says_of_the_server_what_is_the_servers() {
        for (code, text) in [(450, "4.2.0 greylisted"), (451, "4.7.1 try later"), (452, "4.2.2 full"), (450, "")] {
            assert_eq!(after(Stage::Recipient, code, text), again(false, false), "{code} {text}");
        }
        assert_eq!(after(Stage::Content, 452, "4.3.1 no space"), again(false, true));
        assert_eq!(after(Stage::Auth, 454, "4.7.0 later"), again(false, true));
        assert_eq!(after(Stage::Tls, 454, ""), again(false, true));
        for stage in [Stage::Greeting, Stage::Auth, Stage::Recipient, Stage::Content] {
            assert_eq!(after(stage, 421, "4.3.2 closing"), again(true, true), "{stage:?}");
        }
    }

    #[test]
    fn what_is_refused_for_good_is_one_mail_or_all_by_what_was_refused() {
        for stage in [Stage::Recipient, Stage::Data, Stage::Content] {
            for code in [500, 550, 552, 554] {
                assert_eq!(after(stage, code, ""), Meaning::Refused, "{stage:?} {code}");
            }
        }
        for stage in [Stage::Tls, Stage::Auth, Stage::Sender] {
            assert_eq!(after(stage, 550, ""), Meaning::Stopped, "{stage:?}");
        }
        for code in [530, 534, 535, 538] {
            assert_eq!(after(Stage::Recipient, code, ""), Meaning::Stopped, "{code}");
        }
        assert_eq!(after(Stage::Greeting, 554, "no service here"), again(false, true), "no mail was refused");
        assert_eq!(MailEnd::NoTls.meaning(), Meaning::Stopped);
        assert_eq!(MailEnd::NoAuth.meaning(), Meaning::Stopped);
        for stage in [Stage::Connect, Stage::Content] {
            assert_eq!(MailEnd::Broken(stage).meaning(), again(false, true));
        }
    }

    #[test]
    fn an_enhanced_code_is_read_where_it_fits() {
        let enhanced = |code, text| Reply::new(code, text).enhanced;
        assert_eq!(enhanced(550, "5.1.1 no such user"), Some((5, 1, 1)));
        assert_eq!(enhanced(450, "4.7.500 busy"), Some((4, 7, 500)));
        for (code, text) in
            [(550, "2.1.1 no"), (550, "5.1 no"), (550, "5.1.1.1 no"), (550, "no 5.1.1"), (550, ""), (550, "5.x.1")]
        {
            assert_eq!(enhanced(code, text), None, "{code} {text}");
        }
        let why = MailEnd::Replied(Stage::Recipient, Reply::new(550, "5.1.1 <ann@shop.example> unknown")).why();
        assert_eq!(why.as_deref(), Some("answered 550 5.1.1 to RCPT (the recipient), which is about the address"));
    }
}
