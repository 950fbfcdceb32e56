//! Runs the plaintext part of an exchange up to the start of TLS.
//!
//! An attacker may have changed the plaintext replies. Only the reply to `STARTTLS` counts, and no
//! bytes may follow it (RFC 3207, 6). Without this check, an injected early reply would count as
//! the reply to a later command.

use bytes::Bytes;
use lettre::transport::smtp::commands::{Ehlo, Starttls};
use lettre::transport::smtp::extension::{ClientId, Extension, ServerInfo};
use lettre::transport::smtp::response::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::exchange::{SmtpExchange, SmtpOutcome};
use crate::domain::delivery::smtp_reply::{SmtpEnd, SmtpStage};

/// Maximum size of one plaintext reply, in bytes. RFC 5321, 4.5.3.1.5, allows 512 for each line.
const REPLY_BYTES_MAX: usize = 16 << 10;

/// Asks the server to start TLS. Returns the greeting. It is replayed to `lettre`, which expects a
/// greeting, but a server sends it only once.
pub(super) async fn start_tls(
    exchange: &mut SmtpExchange<'_>,
    tcp: &mut TcpStream,
    client: &ClientId,
) -> Result<Bytes, SmtpOutcome> {
    exchange.stage = SmtpStage::Greeting;
    let (greeting, _) = read_reply(exchange, tcp).await?;
    let hello = Ehlo::new(client.clone()).to_string();
    let features = send_line(exchange, tcp, &hello).await?;
    let features = ServerInfo::from_response(&features).map_err(|error| exchange.failed(&error))?;
    if !features.supports_feature(Extension::StartTls) {
        return Err(SmtpOutcome::unsupported(SmtpEnd::TlsUnavailable));
    }
    exchange.stage = SmtpStage::Tls;
    send_line(exchange, tcp, &Starttls.to_string()).await?;
    Ok(greeting)
}

async fn send_line(
    exchange: &SmtpExchange<'_>,
    tcp: &mut TcpStream,
    line: &str,
) -> Result<Response, SmtpOutcome> {
    tcp.write_all(line.as_bytes())
        .await
        .map_err(|error| exchange.disconnected(&error))?;
    let (_, reply) = read_reply(exchange, tcp).await?;
    Ok(reply)
}

/// Reads exactly one reply, as bytes and parsed. A negative reply is a failure.
async fn read_reply(
    exchange: &SmtpExchange<'_>,
    tcp: &mut TcpStream,
) -> Result<(Bytes, Response), SmtpOutcome> {
    let mut read = Vec::new();
    loop {
        let more = tcp
            .read_buf(&mut read)
            .await
            .map_err(|error| exchange.disconnected(&error))?;
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
            return match reply {
                Some(reply) if reply.is_positive() => Ok((read.into(), reply)),
                Some(reply) => Err(exchange.replied(&reply)),
                None => Err(exchange.malformed_reply()),
            };
        }
        if more == 0 || read.len() > REPLY_BYTES_MAX {
            return Err(exchange.no_reply(format!(
                "{} closed the connection during a reply, or its reply is too long",
                exchange.server.authority()
            )));
        }
    }
}
