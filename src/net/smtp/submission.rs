//! Logs in to a mail server, and sends the envelope and the e-mail over an open connection.

use lettre::address::Envelope;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::response::{Response, Severity};

use super::exchange::{SmtpExchange, SmtpOutcome};
use crate::domain::delivery::smtp_reply::{SmtpEnd, SmtpStage};

/// Sends `mail` and returns the reply to it.
pub(super) async fn submit_mail(
    exchange: &mut SmtpExchange<'_>,
    connection: &mut AsyncSmtpConnection,
    envelope: &Envelope,
    mail: &[u8],
) -> Result<Response, SmtpOutcome> {
    if let Some((username, password)) = exchange.server.login {
        exchange.stage = SmtpStage::Auth;
        let server = connection.server_info();
        if server.get_auth_mechanism(DEFAULT_MECHANISMS).is_none() {
            return Err(SmtpOutcome::unsupported(SmtpEnd::AuthUnavailable));
        }
        let credentials = Credentials::new(username.to_owned(), password.to_owned());
        connection
            .auth(DEFAULT_MECHANISMS, &credentials)
            .await
            .map_err(|error| exchange.failed(&error))?;
    }
    exchange.stage = SmtpStage::MailFrom;
    let from = Mail::new(envelope.from().cloned(), Vec::new());
    let reply = connection.command(from).await;
    let reply = reply.map_err(|error| exchange.failed(&error))?;
    exchange.require(reply, Severity::PositiveCompletion)?;
    for to in envelope.to() {
        exchange.stage = SmtpStage::RcptTo;
        let reply = connection.command(Rcpt::new(to.clone(), Vec::new())).await;
        let reply = reply.map_err(|error| exchange.failed(&error))?;
        exchange.require(reply, Severity::PositiveCompletion)?;
    }
    exchange.stage = SmtpStage::Data;
    let reply = connection.command(Data).await;
    let reply = reply.map_err(|error| exchange.failed(&error))?;
    exchange.require(reply, Severity::PositiveIntermediate)?;
    exchange.stage = SmtpStage::Content;
    let reply = connection.message(mail).await;
    let reply = reply.map_err(|error| exchange.failed(&error))?;
    exchange.require(reply, Severity::PositiveCompletion)
}
