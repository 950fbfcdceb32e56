//! Describes the end of an exchange with a mail server: its last reply, or the stage at which it
//! broke.

use std::error::Error;

use lettre::transport::smtp;
use lettre::transport::smtp::response::{Response, Severity};

use super::server::SmtpServer;
use crate::domain::delivery::smtp_reply::{SmtpEnd, SmtpReply, SmtpStage};
use crate::net::error::root_cause;
use crate::net::redact::printable_excerpt;

/// `lettre`'s text for a server that closes the connection instead of replying.
const INCOMPLETE_RESPONSE: &str = "incomplete response";

/// Result of sending an e-mail.
#[derive(Clone, Debug)]
pub struct SmtpOutcome {
    /// End of the exchange, with the stage that the exchange had reached.
    pub result: SmtpEnd,
    /// Text of the last reply, without the password.
    pub transcript: String,
    /// Reason of a missing reply. `None`: the server replied.
    pub error: Option<String>,
}

impl SmtpOutcome {
    /// Returns the outcome for a server that lacks a required feature.
    pub(super) const fn unsupported(result: SmtpEnd) -> Self {
        Self {
            result,
            transcript: String::new(),
            error: None,
        }
    }
}

/// Exchange with a mail server. Its outcomes may still contain the password.
pub(super) struct SmtpExchange<'a> {
    pub(super) server: SmtpServer<'a>,
    /// Stage that the exchange has reached.
    pub(super) stage: SmtpStage,
}

impl SmtpExchange<'_> {
    /// Returns `reply` if it has this severity. A positive reply of another kind is no success.
    pub(super) fn require(
        &self,
        reply: Response,
        severity: Severity,
    ) -> Result<Response, SmtpOutcome> {
        if reply.code().severity == severity {
            Ok(reply)
        } else {
            Err(self.replied(&reply))
        }
    }

    /// Returns the outcome of an exchange that ends with `reply`.
    pub(super) fn replied(&self, reply: &Response) -> SmtpOutcome {
        let text = reply.message().collect::<Vec<_>>().join("\n");
        self.replied_with(reply.code().into(), text)
    }

    fn replied_with(&self, code: u16, transcript: String) -> SmtpOutcome {
        SmtpOutcome {
            result: SmtpEnd::Replied(self.stage, SmtpReply::new(code, &transcript)),
            transcript,
            error: None,
        }
    }

    /// Returns the outcome of an exchange without a final reply, with its reason.
    pub(super) const fn no_reply(&self, error: String) -> SmtpOutcome {
        SmtpOutcome {
            result: SmtpEnd::NoReply(self.stage),
            transcript: String::new(),
            error: Some(error),
        }
    }

    pub(super) fn disconnected(&self, error: &(dyn Error + 'static)) -> SmtpOutcome {
        let cause = printable_excerpt(&root_cause(error));
        let (authority, stage) = (self.server.authority(), self.stage.label());
        self.no_reply(format!(
            "the SMTP connection to {authority} failed at {stage}: {cause}"
        ))
    }

    /// Returns the outcome for bytes that are not a valid reply. The text quotes nothing, because
    /// the server may repeat anything.
    pub(super) fn malformed_reply(&self) -> SmtpOutcome {
        let (authority, stage) = (self.server.authority(), self.stage.label());
        self.no_reply(format!(
            "{authority} sent a malformed or unexpected reply at {stage}"
        ))
    }

    /// Converts an error of `lettre`: a negative reply, or no reply.
    pub(super) fn failed(&self, error: &smtp::Error) -> SmtpOutcome {
        match error.status() {
            Some(code) => {
                let text = error.source().map(ToString::to_string);
                self.replied_with(code.into(), text.unwrap_or_default())
            }
            None if error.is_response() && root_cause(error) != INCOMPLETE_RESPONSE => {
                self.malformed_reply()
            }
            None => self.disconnected(error),
        }
    }
}
