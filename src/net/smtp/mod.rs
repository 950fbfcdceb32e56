//! Sends one e-mail to one mail server within one deadline: from the name lookup to the reply to
//! the e-mail itself (RFC 5321, 3.3).
//!
//! Each e-mail has its own connection. E-mails are few, and servers close idle connections. A
//! reused connection could break just when the e-mail has been sent. The result would be unknown,
//! and the e-mail would be sent twice.
//!
//! `lettre` speaks the protocol over a socket of this module. The socket is connected to a checked
//! address, uses the same TLS config as https, and limits the number of received bytes.
//!
//! With `STARTTLS`, an attacker may have changed the plaintext replies. Only the reply to
//! `STARTTLS` counts, and no bytes may follow it (RFC 3207, 6). Without this check, an injected
//! early reply would count as the reply to a later command.
//!
//! See [`crate::domain::delivery::smtp_reply`] for the disposition of replies and
//! [`crate::domain::delivery::email`] for the content of e-mails.

mod stream;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use lettre::address::Envelope;
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Ehlo, Mail, Rcpt, Starttls};
use lettre::transport::smtp::extension::{ClientId, Extension, ServerInfo};
use lettre::transport::smtp::response::{Response, Severity};
use rustls::pki_types::ServerName;
use stream::{SmtpSocket, SmtpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::address_policy::PolicyResolver;
use super::{
    AddressPolicy, BODY_GRACE, NetError, TlsConfig, happy_eyeballs, redact_token, root_cause,
};
use crate::domain::delivery::email::SmtpTls;
use crate::domain::delivery::smtp_reply::{SmtpEnd, SmtpReply, SmtpStage};

/// Maximum size of one plaintext reply, in bytes. RFC 5321, 4.5.3.1.5, allows 512 for each line.
const REPLY_BYTES_MAX: usize = 16 << 10;

/// `lettre`'s text for a server that closes the connection instead of replying.
const INCOMPLETE_RESPONSE: &str = "incomplete response";

/// Maximum length, in characters, of the cause of a broken exchange.
const CAUSE_CHARS_MAX: usize = 160;

/// Mail server with connection settings.
#[derive(Clone, Copy)]
pub struct SmtpServer<'a> {
    /// Name or address of the server. Its certificate must have the name.
    pub host: &'a str,
    /// TCP port of the server.
    pub port: u16,
    /// Encryption of the connection.
    pub tls: SmtpTls,
    /// User and password. `None`: no login.
    pub login: Option<(&'a str, &'a str)>,
    /// Allowed addresses of the server.
    pub address_policy: AddressPolicy,
}

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

/// Client for mail servers.
#[derive(Clone, Debug)]
pub struct SmtpClient {
    tls: TlsConfig,
}

impl SmtpClient {
    /// Creates a client with this TLS config.
    #[must_use]
    pub const fn new(tls: TlsConfig) -> Self {
        Self { tls }
    }

    /// Sends a complete e-mail with CR LF line endings within `deadline`, to all recipients of
    /// `envelope` or to none.
    pub async fn send(
        &self,
        server: SmtpServer<'_>,
        envelope: &Envelope,
        mail: &[u8],
        deadline: Duration,
    ) -> SmtpOutcome {
        let (mut stage, mut connection) = (SmtpStage::Connect, None);
        let ended = timeout(
            deadline,
            self.send_mail(&mut stage, &mut connection, server, envelope, mail),
        )
        .await;
        if let (Ok(_), Some(mut connection)) = (&ended, connection) {
            // The result is known. The client does not wait long for the reply to QUIT.
            let _ = timeout(BODY_GRACE, connection.quit()).await;
        }
        let ended = ended.unwrap_or_else(|_| {
            let (host, waited, stage_label) =
                (server.authority(), deadline.as_secs_f64(), stage.label());
            Err(SmtpFailure::from_cause(
                stage,
                format!("{host} did not finish within {waited} s: stopped at {stage_label}"),
            ))
        });
        let SmtpFailure {
            result,
            transcript,
            error,
        } = match ended {
            Ok(reply) => {
                SmtpFailure::from_reply(SmtpStage::Content, reply.code().into(), reply_text(&reply))
            }
            Err(failure) => failure,
        };
        SmtpOutcome {
            result,
            transcript: server.redact_password(&transcript),
            error: error.map(|why| server.redact_password(&why)),
        }
    }

    /// Sends `mail` and returns the reply to it. Updates `stage` and `connection` as the exchange
    /// proceeds.
    async fn send_mail(
        &self,
        stage: &mut SmtpStage,
        connection: &mut Option<AsyncSmtpConnection>,
        server: SmtpServer<'_>,
        envelope: &Envelope,
        mail: &[u8],
    ) -> Result<Response, SmtpFailure> {
        let (stream, client) = self.connect(stage, server).await?;
        *stage = SmtpStage::Greeting;
        let failed =
            |stage| move |error: smtp::Error| SmtpFailure::from_lettre(stage, server, &error);
        let made = AsyncSmtpConnection::connect_with_transport(Box::new(stream), &client)
            .await
            .map_err(failed(*stage))?;
        submit_mail(stage, connection.insert(made), server, envelope, mail).await
    }

    /// Connects, with TLS if configured, up to the greeting of `server`. Also returns the client's
    /// name for EHLO: its own address (RFC 5321, 4.1.4), because few clients have a DNS name.
    async fn connect(
        &self,
        stage: &mut SmtpStage,
        server: SmtpServer<'_>,
    ) -> Result<(SmtpStream, ClientId), SmtpFailure> {
        let unreachable = |error: &io::Error| {
            SmtpFailure::from_cause(
                SmtpStage::Connect,
                format!("can't reach {}: {error}", server.authority()),
            )
        };
        if server.tls != SmtpTls::None && !self.tls.has_roots {
            return Err(SmtpFailure::from_cause(
                SmtpStage::Connect,
                NetError::NoRootCertificates.to_string(),
            ));
        }
        let addresses = PolicyResolver::new(server.address_policy)
            .resolve(server.host, server.port)
            .await
            .map_err(|error| unreachable(&error))?;
        let mut tcp = happy_eyeballs::connect_first(&addresses)
            .await
            .map_err(|error| unreachable(&error))?;
        tcp.set_nodelay(true).map_err(|error| unreachable(&error))?;
        let client = match tcp.local_addr().map_err(|error| unreachable(&error))?.ip() {
            IpAddr::V4(address) => ClientId::Ipv4(address),
            IpAddr::V6(address) => ClientId::Ipv6(address),
        };
        let (greeting, socket) = match server.tls {
            SmtpTls::None => (Bytes::new(), SmtpSocket::Plain(tcp)),
            SmtpTls::Implicit => {
                *stage = SmtpStage::Tls;
                (Bytes::new(), self.tls_handshake(server, tcp).await?)
            }
            SmtpTls::Starttls => {
                *stage = SmtpStage::Greeting;
                let greeting = starttls(stage, server, &mut tcp, &client).await?;
                (greeting, self.tls_handshake(server, tcp).await?)
            }
        };
        Ok((SmtpStream::new(socket, greeting), client))
    }

    async fn tls_handshake(
        &self,
        server: SmtpServer<'_>,
        tcp: TcpStream,
    ) -> Result<SmtpSocket, SmtpFailure> {
        let tls_error = |why: String| {
            SmtpFailure::from_cause(
                SmtpStage::Tls,
                format!("TLS handshake with {} failed: {why}", server.authority()),
            )
        };
        let name = ServerName::try_from(server.host.to_owned())
            .map_err(|error| tls_error(error.to_string()))?;
        let connector = TlsConnector::from(self.tls.tls.clone());
        let stream = connector
            .connect(name, tcp)
            .await
            .map_err(|error| tls_error(error.to_string()))?;
        Ok(SmtpSocket::Tls(Box::new(stream)))
    }
}

/// Runs the plaintext part of the exchange up to the start of TLS. Returns the greeting. It is
/// replayed to `lettre`, which expects a greeting, but a server sends it only once.
async fn starttls(
    stage: &mut SmtpStage,
    server: SmtpServer<'_>,
    tcp: &mut TcpStream,
    client: &ClientId,
) -> Result<Bytes, SmtpFailure> {
    let (greeting, _) = read_reply(*stage, server, tcp).await?;
    let hello = Ehlo::new(client.clone()).to_string();
    let (_, features) = send_line(*stage, server, tcp, &hello).await?;
    let features = ServerInfo::from_response(&features)
        .map_err(|error| SmtpFailure::from_lettre(*stage, server, &error))?;
    if !features.supports_feature(Extension::StartTls) {
        return Err(SmtpFailure {
            result: SmtpEnd::TlsUnavailable,
            transcript: String::new(),
            error: None,
        });
    }
    *stage = SmtpStage::Tls;
    send_line(*stage, server, tcp, &Starttls.to_string()).await?;
    Ok(greeting)
}

async fn send_line(
    stage: SmtpStage,
    server: SmtpServer<'_>,
    tcp: &mut TcpStream,
    line: &str,
) -> Result<(Bytes, Response), SmtpFailure> {
    let disconnect = |error: &io::Error| SmtpFailure::disconnected(stage, server, error);
    tcp.write_all(line.as_bytes())
        .await
        .map_err(|error| disconnect(&error))?;
    read_reply(stage, server, tcp).await
}

/// Reads exactly one reply. A negative reply is a failure.
async fn read_reply(
    stage: SmtpStage,
    server: SmtpServer<'_>,
    tcp: &mut TcpStream,
) -> Result<(Bytes, Response), SmtpFailure> {
    let mut read = Vec::new();
    loop {
        let more = tcp
            .read_buf(&mut read)
            .await
            .map_err(|error| SmtpFailure::disconnected(stage, server, &error))?;
        let is_last = |line: &[u8]| line.get(3) != Some(&b'-');
        let mut lines = read.split_inclusive(|byte| *byte == b'\n');
        let whole = lines
            .clone()
            .next_back()
            .is_some_and(|line| line.ends_with(b"\n") && is_last(line));
        if whole {
            let is_one = lines.by_ref().filter(|line| is_last(line)).count() == 1;
            let text = String::from_utf8_lossy(&read).into_owned();
            let reply: Option<Response> = text.parse().ok().filter(|_| is_one);
            let Some(reply) = reply else {
                return Err(SmtpFailure::malformed_reply(stage, server));
            };
            if !reply.is_positive() {
                return Err(SmtpFailure::from_reply(
                    stage,
                    reply.code().into(),
                    reply_text(&reply),
                ));
            }
            return Ok((read.into(), reply));
        }
        if more == 0 || read.len() > REPLY_BYTES_MAX {
            let why = format!(
                "{} closed the connection during a reply, or its reply is too long",
                server.authority()
            );
            return Err(SmtpFailure::from_cause(stage, why));
        }
    }
}

/// Logs in and sends the envelope and the e-mail.
async fn submit_mail(
    stage: &mut SmtpStage,
    connection: &mut AsyncSmtpConnection,
    server: SmtpServer<'_>,
    envelope: &Envelope,
    mail: &[u8],
) -> Result<Response, SmtpFailure> {
    let failed = |stage| move |error: smtp::Error| SmtpFailure::from_lettre(stage, server, &error);
    if let Some((username, password)) = server.login {
        *stage = SmtpStage::Auth;
        if connection
            .server_info()
            .get_auth_mechanism(DEFAULT_MECHANISMS)
            .is_none()
        {
            return Err(SmtpFailure {
                result: SmtpEnd::AuthUnavailable,
                transcript: String::new(),
                error: None,
            });
        }
        let credentials = Credentials::new(username.to_owned(), password.to_owned());
        connection
            .auth(DEFAULT_MECHANISMS, &credentials)
            .await
            .map_err(failed(*stage))?;
    }
    *stage = SmtpStage::MailFrom;
    let reply = connection
        .command(Mail::new(envelope.from().cloned(), Vec::new()))
        .await
        .map_err(failed(*stage))?;
    require_severity(*stage, &reply, Severity::PositiveCompletion)?;
    for to in envelope.to() {
        *stage = SmtpStage::RcptTo;
        let reply = connection
            .command(Rcpt::new(to.clone(), Vec::new()))
            .await
            .map_err(failed(*stage))?;
        require_severity(*stage, &reply, Severity::PositiveCompletion)?;
    }
    *stage = SmtpStage::Data;
    let reply = connection.command(Data).await.map_err(failed(*stage))?;
    require_severity(*stage, &reply, Severity::PositiveIntermediate)?;
    *stage = SmtpStage::Content;
    let reply = connection.message(mail).await.map_err(failed(*stage))?;
    require_severity(*stage, &reply, Severity::PositiveCompletion).map(|()| reply)
}

/// Fails if the reply has another severity. A positive reply of another kind is no success.
fn require_severity(
    stage: SmtpStage,
    reply: &Response,
    severity: Severity,
) -> Result<(), SmtpFailure> {
    if reply.code().severity == severity {
        return Ok(());
    }
    Err(SmtpFailure::from_reply(
        stage,
        reply.code().into(),
        reply_text(reply),
    ))
}

fn reply_text(reply: &Response) -> String {
    reply.message().collect::<Vec<_>>().join("\n")
}

/// Exchange without a positive final reply.
struct SmtpFailure {
    result: SmtpEnd,
    transcript: String,
    error: Option<String>,
}

impl SmtpFailure {
    fn from_reply(stage: SmtpStage, code: u16, transcript: String) -> Self {
        Self {
            result: SmtpEnd::Replied(stage, SmtpReply::new(code, &transcript)),
            transcript,
            error: None,
        }
    }

    const fn from_cause(stage: SmtpStage, error: String) -> Self {
        Self {
            result: SmtpEnd::NoReply(stage),
            transcript: String::new(),
            error: Some(error),
        }
    }

    fn disconnected(
        stage: SmtpStage,
        server: SmtpServer<'_>,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        let cause: String = root_cause(error)
            .chars()
            .filter(|c| !c.is_control())
            .take(CAUSE_CHARS_MAX)
            .collect();
        Self::from_cause(
            stage,
            format!(
                "the SMTP connection to {} failed at {}: {cause}",
                server.authority(),
                stage.label()
            ),
        )
    }

    /// Creates the failure for bytes that are not a valid reply. The text quotes nothing, because
    /// the server may repeat anything.
    fn malformed_reply(stage: SmtpStage, server: SmtpServer<'_>) -> Self {
        let (authority, stage_words) = (server.authority(), stage.label());
        Self::from_cause(
            stage,
            format!("{authority} sent a malformed or unexpected reply at {stage_words}"),
        )
    }

    /// Converts an error of `lettre`: a negative reply, or no reply.
    fn from_lettre(stage: SmtpStage, server: SmtpServer<'_>, error: &smtp::Error) -> Self {
        match error.status() {
            Some(code) => {
                let text = std::error::Error::source(error)
                    .map(ToString::to_string)
                    .unwrap_or_default();
                Self::from_reply(stage, code.into(), text)
            }
            None if error.is_response() && root_cause(error) != INCOMPLETE_RESPONSE => {
                Self::malformed_reply(stage, server)
            }
            None => Self::disconnected(stage, server, error),
        }
    }
}

impl SmtpServer<'_> {
    /// Returns host and port, for messages.
    fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Returns `text` without the password, in plain text or in the encodings sent to the server.
    fn redact_password(&self, text: &str) -> String {
        let Some((username, password)) = self.login else {
            return text.to_owned();
        };
        let plain = STANDARD.encode(format!("\0{username}\0{password}"));
        let secrets = [plain, STANDARD.encode(password), password.to_owned()];
        secrets
            .iter()
            .fold(text.to_owned(), |text, secret| redact_token(&text, secret))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    async fn send_test_mail(
        host: &str,
        port: u16,
        tls: SmtpTls,
        address_policy: AddressPolicy,
    ) -> SmtpOutcome {
        let server = SmtpServer {
            host,
            port,
            tls,
            login: None,
            address_policy,
        };
        let (from, to) = (
            "a@shop.example".parse().unwrap(),
            "b@shop.example".parse().unwrap(),
        );
        let envelope = Envelope::new(Some(from), vec![to]).unwrap();
        SmtpClient::new(TlsConfig::load().unwrap())
            .send(server, &envelope, b"a mail", Duration::from_secs(15))
            .await
    }

    #[tokio::test]
    async fn denied_address_is_not_connected() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        for (host, tls, address_policy, why) in [
            (
                "127.0.0.1",
                SmtpTls::Starttls,
                AddressPolicy::PublicOnly,
                "allow_private",
            ),
            (
                "localhost",
                SmtpTls::Implicit,
                AddressPolicy::PublicOnly,
                "allow_private",
            ),
            (
                "::ffff:127.0.0.1",
                SmtpTls::Implicit,
                AddressPolicy::PublicOnly,
                "allow_private",
            ),
            // No host has this address, so a connection attempt would last until the deadline.
            (
                "192.0.0.0",
                SmtpTls::Implicit,
                AddressPolicy::PublicOnly,
                "allow_private",
            ),
            (
                "1.1.1.1",
                SmtpTls::None,
                AddressPolicy::PrivateOnly,
                "requires TLS",
            ),
        ] {
            let outcome = send_test_mail(host, port, tls, address_policy).await;
            assert_eq!(
                outcome.result,
                SmtpEnd::NoReply(SmtpStage::Connect),
                "{host}"
            );
            let error = outcome.error.unwrap();
            assert!(
                error.starts_with(&format!("can't reach {host}:{port}: ")) && error.contains(why),
                "{error}"
            );
        }
        assert!(listener.accept().is_err(), "nobody came");
    }

    #[tokio::test]
    async fn smtp_tls_requires_root_certificates() {
        let tls = TlsConfig {
            has_roots: false,
            ..TlsConfig::load().unwrap()
        };
        let envelope = Envelope::new(None, vec!["b@shop.example".parse().unwrap()]).unwrap();
        let server = SmtpServer {
            host: "::1",
            port: 1,
            tls: SmtpTls::Implicit,
            login: None,
            address_policy: AddressPolicy::Any,
        };
        let sent = SmtpClient::new(tls)
            .send(server, &envelope, b"a mail", Duration::from_secs(15))
            .await;
        assert!(sent.error.unwrap().contains("ca-certificates"));
    }

    #[test]
    fn password_is_redacted_in_all_encodings() {
        let login = Some(("ann", "a long password"));
        let server = SmtpServer {
            host: "a",
            port: 1,
            tls: SmtpTls::None,
            login,
            address_policy: AddressPolicy::Any,
        };
        for form in [
            "a long password",
            "YSBsb25nIHBhc3N3b3Jk",
            "AGFubgBhIGxvbmcgcGFzc3dvcmQ=",
            "AGFubgBhIGxvbmc",
        ] {
            assert_eq!(
                server.redact_password(&format!("no <{form} is wrong")),
                "no <… is wrong",
                "{form}"
            );
        }
    }
}
