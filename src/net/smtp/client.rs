//! Connects to a mail server, runs one exchange within a deadline and reports its outcome.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use lettre::address::Envelope;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::exchange::{SmtpExchange, SmtpOutcome};
use super::server::SmtpServer;
use super::starttls::start_tls;
use super::stream::{SmtpSocket, SmtpStream};
use super::submission::submit_mail;
use crate::domain::delivery::email::SmtpTls;
use crate::domain::delivery::smtp_reply::SmtpStage;
use crate::net::address_policy::PolicyResolver;
use crate::net::error::NetError;
use crate::net::happy_eyeballs;
use crate::net::tls::TlsConfig;

/// Maximum time to wait for the reply to `QUIT`, after the result is known.
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

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
        let stage = SmtpStage::Connect;
        let (mut exchange, mut connection) = (SmtpExchange { server, stage }, None);
        let sending = self.send_mail(&mut exchange, &mut connection, envelope, mail);
        let ended = timeout(deadline, sending).await;
        if let (Ok(_), Some(mut connection)) = (&ended, connection) {
            let _ = timeout(QUIT_TIMEOUT, connection.quit()).await;
        }
        let SmtpOutcome {
            result,
            transcript,
            error,
        } = match ended {
            Ok(Ok(reply)) => exchange.replied(&reply),
            Ok(Err(outcome)) => outcome,
            Err(_) => exchange.no_reply(format!(
                "{} did not finish within {} s: stopped at {}",
                server.authority(),
                deadline.as_secs_f64(),
                exchange.stage.label()
            )),
        };
        SmtpOutcome {
            result,
            transcript: server.redact_password(&transcript),
            error: error.map(|why| server.redact_password(&why)),
        }
    }

    /// Sends `mail` and returns the reply to it. `connection` receives the open connection.
    async fn send_mail(
        &self,
        exchange: &mut SmtpExchange<'_>,
        connection: &mut Option<AsyncSmtpConnection>,
        envelope: &Envelope,
        mail: &[u8],
    ) -> Result<Response, SmtpOutcome> {
        let (stream, client) = self.connect(exchange).await?;
        exchange.stage = SmtpStage::Greeting;
        let greeted = AsyncSmtpConnection::connect_with_transport(Box::new(stream), &client)
            .await
            .map_err(|error| exchange.failed(&error))?;
        submit_mail(exchange, connection.insert(greeted), envelope, mail).await
    }

    /// Connects, with TLS if configured, up to the greeting of the server. Also returns the
    /// client's name for EHLO: its own address (RFC 5321, 4.1.4), because few clients have a DNS
    /// name.
    async fn connect(
        &self,
        exchange: &mut SmtpExchange<'_>,
    ) -> Result<(SmtpStream, ClientId), SmtpOutcome> {
        let server = exchange.server;
        if server.tls != SmtpTls::None && !self.tls.has_roots {
            return Err(exchange.no_reply(NetError::NoRootCertificates.to_string()));
        }
        let (mut tcp, client) = connect_tcp(server).await.map_err(|error| {
            exchange.no_reply(format!("can't reach {}: {error}", server.authority()))
        })?;
        let (greeting, socket) = match server.tls {
            SmtpTls::None => (Bytes::new(), SmtpSocket::Plain(tcp)),
            SmtpTls::Implicit => (Bytes::new(), self.tls_handshake(exchange, tcp).await?),
            SmtpTls::Starttls => {
                let greeting = start_tls(exchange, &mut tcp, &client).await?;
                (greeting, self.tls_handshake(exchange, tcp).await?)
            }
        };
        Ok((SmtpStream::new(socket, greeting), client))
    }

    async fn tls_handshake(
        &self,
        exchange: &mut SmtpExchange<'_>,
        tcp: TcpStream,
    ) -> Result<SmtpSocket, SmtpOutcome> {
        exchange.stage = SmtpStage::Tls;
        let connector = TlsConnector::from(self.tls.tls.clone());
        let handshake = match ServerName::try_from(exchange.server.host.to_owned()) {
            Ok(name) => connector.connect(name, tcp).await,
            Err(error) => Err(io::Error::other(error)),
        };
        let stream = handshake.map_err(|error| {
            let authority = exchange.server.authority();
            exchange.no_reply(format!("TLS handshake with {authority} failed: {error}"))
        })?;
        Ok(SmtpSocket::Tls(Box::new(stream)))
    }
}

/// Connects to an allowed address of the server. Also returns this end of the connection.
async fn connect_tcp(server: SmtpServer<'_>) -> io::Result<(TcpStream, ClientId)> {
    let addresses = PolicyResolver::new(server.address_policy)
        .resolve(server.host, server.port)
        .await?;
    let tcp = happy_eyeballs::connect_first(&addresses).await?;
    tcp.set_nodelay(true)?;
    let client = match tcp.local_addr()?.ip() {
        IpAddr::V4(address) => ClientId::Ipv4(address),
        IpAddr::V6(address) => ClientId::Ipv6(address),
    };
    Ok((tcp, client))
}
