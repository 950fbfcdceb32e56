//! One e-mail to one mail server: the exchange from the look-up of its name to the reply to the mail itself (RFC 5321, 3.3),
//! within one deadline. What its end means is decided in `crate::domain::mail_reply`, what the mail says in
//! `crate::domain::mail`.
//!
//! Each mail has a connection of its own. Mails are few, servers close what is idle, and a connection that was kept may break
//! just when a mail has been said: whether it was taken is unknown then, and it is sent twice. `lettre` speaks, on a socket that
//! is ours: it is connected to an address that was checked, under TLS that is set up as for https, and read within a bound.
//!
//! With `STARTTLS`, what the server said in the clear may be somebody else's. Of it only the reply to `STARTTLS` counts, and
//! that nothing stands behind it (RFC 3207, 6; a reply that came before its question would be taken for that of a later one).

mod wire;

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
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use wire::{Socket, Wire};

use super::reach::Resolver;
use super::{OutgoingError, REST, Reach, Trust, cause, race, without_token};
use crate::domain::mail::MailTls;
use crate::domain::mail_reply::{MailEnd, Reply, Stage};

/// Bytes of one reply in the clear (RFC 5321, 4.5.3.1.5, has 512 for each of its lines).
const REPLY_BYTES_MAX: usize = 16 << 10;

/// `lettre`'s words for a server that closes instead of replying.
const NO_MORE: &str = "incomplete response";

/// Characters of the cause that an exchange broke off for.
const CAUSE_CHARS: usize = 160;

/// A mail server, and how it is spoken to.
#[derive(Clone, Copy)]
pub struct MailServer<'a> {
    /// Its name, which its certificate must have, or its address.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// How the way there is kept from others.
    pub tls: MailTls,
    /// User and password.
    pub login: Option<(&'a str, &'a str)>,
    /// Where it may be.
    pub reach: Reach,
}

/// What came of a mail.
#[derive(Clone, Debug)]
pub struct Mailed {
    /// How it ended.
    pub end: MailEnd,
    /// The text of the reply that it ended with, without the password.
    pub said: String,
    /// Why there was no reply.
    pub error: Option<String>,
}

/// Sends mails.
#[derive(Clone, Debug)]
pub struct Mailer {
    trust: Trust,
}

impl Mailer {
    /// One that trusts whom `trust` does.
    #[must_use]
    pub const fn new(trust: Trust) -> Self {
        Self { trust }
    }

    /// Sends `mail`, whole and with lines that end with CR LF, to all whom `envelope` names or to none of them, within `deadline`.
    pub async fn send(&self, server: MailServer<'_>, envelope: &Envelope, mail: &[u8], deadline: Duration) -> Mailed {
        let (mut stage, mut connection) = (Stage::Connect, None);
        let ended = timeout(deadline, self.exchange(&mut stage, &mut connection, server, envelope, mail)).await;
        if let (Ok(_), Some(mut connection)) = (&ended, connection) {
            // It is known how it ended. Whoever does not see us off is left.
            let _ = timeout(REST, connection.quit()).await;
        }
        let ended = ended.unwrap_or_else(|_| {
            let (host, waited, words) = (server.place(), deadline.as_secs_f64(), stage.words());
            Err(Failure::broken(stage, format!("{host} took longer than {waited} s, up to {words}")))
        });
        let Failure { end, said, error } = match ended {
            Ok(reply) => Failure::replied(Stage::Content, reply.code().into(), told(&reply)),
            Err(failure) => failure,
        };
        Mailed { end, said: server.without_password(&said), error: error.map(|why| server.without_password(&why)) }
    }

    /// Says `mail` over a `connection`, and gives the reply to it. `stage` is how far it came.
    async fn exchange(
        &self,
        stage: &mut Stage,
        connection: &mut Option<AsyncSmtpConnection>,
        server: MailServer<'_>,
        envelope: &Envelope,
        mail: &[u8],
    ) -> Result<Response, Failure> {
        let (wire, client) = self.open(stage, server).await?;
        *stage = Stage::Greeting;
        let failed = |stage| move |error: smtp::Error| Failure::of(stage, server, &error);
        let made =
            AsyncSmtpConnection::connect_with_transport(Box::new(wire), &client).await.map_err(failed(*stage))?;
        said(stage, connection.insert(made), server, envelope, mail).await
    }

    /// Connects, up to where `server` greets over a way as it should be. Gives also how we call ourselves: by our address on
    /// that way (RFC 5321, 4.1.4), as few who send from here have a name.
    async fn open(&self, stage: &mut Stage, server: MailServer<'_>) -> Result<(Wire, ClientId), Failure> {
        let unreachable =
            |error: &io::Error| Failure::broken(Stage::Connect, format!("can't reach {}: {error}", server.place()));
        if server.tls != MailTls::None && !self.trust.has_roots {
            return Err(Failure::broken(Stage::Connect, OutgoingError::NoRoots.to_string()));
        }
        let addresses = Resolver::new(server.reach)
            .addresses(server.host, server.port)
            .await
            .map_err(|error| unreachable(&error))?;
        let mut tcp = race::connect(&addresses).await.map_err(|error| unreachable(&error))?;
        tcp.set_nodelay(true).map_err(|error| unreachable(&error))?;
        let client = match tcp.local_addr().map_err(|error| unreachable(&error))?.ip() {
            IpAddr::V4(address) => ClientId::Ipv4(address),
            IpAddr::V6(address) => ClientId::Ipv6(address),
        };
        let (greeting, socket) = match server.tls {
            MailTls::None => (Bytes::new(), Socket::Plain(tcp)),
            MailTls::Implicit => {
                *stage = Stage::Tls;
                (Bytes::new(), self.shake_hands(server, tcp).await?)
            }
            MailTls::Starttls => {
                *stage = Stage::Greeting;
                let greeting = ask_for_tls(stage, server, &mut tcp, &client).await?;
                (greeting, self.shake_hands(server, tcp).await?)
            }
        };
        Ok((Wire::new(socket, greeting), client))
    }

    async fn shake_hands(&self, server: MailServer<'_>, tcp: TcpStream) -> Result<Socket, Failure> {
        let untrusted = |why: String| Failure::broken(Stage::Tls, format!("no TLS with {}: {why}", server.place()));
        let name = ServerName::try_from(server.host.to_owned()).map_err(|error| untrusted(error.to_string()))?;
        let connector = TlsConnector::from(self.trust.tls.clone());
        let stream = connector.connect(name, tcp).await.map_err(|error| untrusted(error.to_string()))?;
        Ok(Socket::Tls(Box::new(stream)))
    }
}

/// Goes on in the clear up to the point where TLS begins. Gives the greeting, which is then read again: the exchange proper
/// begins with one, and a server says it once.
async fn ask_for_tls(
    stage: &mut Stage,
    server: MailServer<'_>,
    tcp: &mut TcpStream,
    client: &ClientId,
) -> Result<Bytes, Failure> {
    let (greeting, _) = read_reply(*stage, server, tcp).await?;
    let hello = Ehlo::new(client.clone()).to_string();
    let (_, features) = say(*stage, server, tcp, &hello).await?;
    let features = ServerInfo::from_response(&features).map_err(|error| Failure::of(*stage, server, &error))?;
    if !features.supports_feature(Extension::StartTls) {
        return Err(Failure { end: MailEnd::NoTls, said: String::new(), error: None });
    }
    *stage = Stage::Tls;
    say(*stage, server, tcp, &Starttls.to_string()).await?;
    Ok(greeting)
}

async fn say(
    stage: Stage,
    server: MailServer<'_>,
    tcp: &mut TcpStream,
    line: &str,
) -> Result<(Bytes, Response), Failure> {
    let broke = |error: &io::Error| Failure::broke(stage, server, error);
    tcp.write_all(line.as_bytes()).await.map_err(|error| broke(&error))?;
    read_reply(stage, server, tcp).await
}

/// Reads one reply, and nothing but that. A negative one is a failure.
async fn read_reply(stage: Stage, server: MailServer<'_>, tcp: &mut TcpStream) -> Result<(Bytes, Response), Failure> {
    let mut read = Vec::new();
    loop {
        let more = tcp.read_buf(&mut read).await.map_err(|error| Failure::broke(stage, server, &error))?;
        let is_last = |line: &[u8]| line.get(3) != Some(&b'-');
        let mut lines = read.split_inclusive(|byte| *byte == b'\n');
        let whole = lines.clone().next_back().is_some_and(|line| line.ends_with(b"\n") && is_last(line));
        if whole {
            let is_one = lines.by_ref().filter(|line| is_last(line)).count() == 1;
            let text = String::from_utf8_lossy(&read).into_owned();
            let reply: Option<Response> = text.parse().ok().filter(|_| is_one);
            let Some(reply) = reply else { return Err(Failure::no_reply(stage, server)) };
            if !reply.is_positive() {
                return Err(Failure::replied(stage, reply.code().into(), told(&reply)));
            }
            return Ok((read.into(), reply));
        }
        if more == 0 || read.len() > REPLY_BYTES_MAX {
            let why = format!("{} ends without a whole reply, or says one without an end", server.place());
            return Err(Failure::broken(stage, why));
        }
    }
}

/// Says who we are, whom the mail is from and for, and the mail.
async fn said(
    stage: &mut Stage,
    connection: &mut AsyncSmtpConnection,
    server: MailServer<'_>,
    envelope: &Envelope,
    mail: &[u8],
) -> Result<Response, Failure> {
    let failed = |stage| move |error: smtp::Error| Failure::of(stage, server, &error);
    if let Some((user, password)) = server.login {
        *stage = Stage::Auth;
        if connection.server_info().get_auth_mechanism(DEFAULT_MECHANISMS).is_none() {
            return Err(Failure { end: MailEnd::NoAuth, said: String::new(), error: None });
        }
        let credentials = Credentials::new(user.to_owned(), password.to_owned());
        connection.auth(DEFAULT_MECHANISMS, &credentials).await.map_err(failed(*stage))?;
    }
    *stage = Stage::Sender;
    let reply = connection.command(Mail::new(envelope.from().cloned(), Vec::new())).await.map_err(failed(*stage))?;
    expect(*stage, &reply, Severity::PositiveCompletion)?;
    for to in envelope.to() {
        *stage = Stage::Recipient;
        let reply = connection.command(Rcpt::new(to.clone(), Vec::new())).await.map_err(failed(*stage))?;
        expect(*stage, &reply, Severity::PositiveCompletion)?;
    }
    *stage = Stage::Data;
    let reply = connection.command(Data).await.map_err(failed(*stage))?;
    expect(*stage, &reply, Severity::PositiveIntermediate)?;
    *stage = Stage::Content;
    let reply = connection.message(mail).await.map_err(failed(*stage))?;
    expect(*stage, &reply, Severity::PositiveCompletion).map(|()| reply)
}

/// A yes to something else is no yes.
fn expect(stage: Stage, reply: &Response, severity: Severity) -> Result<(), Failure> {
    if reply.code().severity == severity {
        return Ok(());
    }
    Err(Failure::replied(stage, reply.code().into(), told(reply)))
}

fn told(reply: &Response) -> String {
    reply.message().collect::<Vec<_>>().join("\n")
}

/// An exchange that did not end with a yes.
struct Failure {
    end: MailEnd,
    said: String,
    error: Option<String>,
}

impl Failure {
    fn replied(stage: Stage, code: u16, said: String) -> Self {
        Self { end: MailEnd::Replied(stage, Reply::new(code, &said)), said, error: None }
    }

    const fn broken(stage: Stage, error: String) -> Self {
        Self { end: MailEnd::Broken(stage), said: String::new(), error: Some(error) }
    }

    fn broke(stage: Stage, server: MailServer<'_>, error: &(dyn std::error::Error + 'static)) -> Self {
        let cause: String = cause(error).chars().filter(|c| !c.is_control()).take(CAUSE_CHARS).collect();
        Self::broken(stage, format!("the exchange with {} broke off at {}: {cause}", server.place(), stage.words()))
    }

    /// No reply can be read out of what the server says. The words are our own: the server's may repeat anything.
    fn no_reply(stage: Stage, server: MailServer<'_>) -> Self {
        let (place, stage_words) = (server.place(), stage.words());
        Self::broken(stage, format!("{place} says what is no reply, or more than it was asked, at {stage_words}"))
    }

    /// What `lettre` says: a negative reply, or none.
    fn of(stage: Stage, server: MailServer<'_>, error: &smtp::Error) -> Self {
        match error.status() {
            Some(code) => {
                let text = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
                Self::replied(stage, code.into(), text)
            }
            None if error.is_response() && cause(error) != NO_MORE => Self::no_reply(stage, server),
            None => Self::broke(stage, server, error),
        }
    }
}

impl MailServer<'_> {
    /// For people.
    fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// `text` without the password, also as it is put for the server.
    fn without_password(&self, text: &str) -> String {
        let Some((user, password)) = self.login else { return text.to_owned() };
        let plain = STANDARD.encode(format!("\0{user}\0{password}"));
        let secrets = [plain, STANDARD.encode(password), password.to_owned()];
        secrets.iter().fold(text.to_owned(), |text, secret| without_token(&text, secret))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    async fn sent(host: &str, port: u16, tls: MailTls, reach: Reach) -> Mailed {
        let server = MailServer { host, port, tls, login: None, reach };
        let (from, to) = ("a@shop.example".parse().unwrap(), "b@shop.example".parse().unwrap());
        let envelope = Envelope::new(Some(from), vec![to]).unwrap();
        Mailer::new(Trust::load().unwrap()).send(server, &envelope, b"a mail", Duration::from_secs(15)).await
    }

    #[tokio::test]
    async fn an_address_out_of_reach_is_not_even_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        for (host, tls, reach, why) in [
            ("127.0.0.1", MailTls::Starttls, Reach::PublicOnly, "allow_private"),
            ("localhost", MailTls::Implicit, Reach::PublicOnly, "allow_private"),
            ("::ffff:127.0.0.1", MailTls::Implicit, Reach::PublicOnly, "allow_private"),
            // Nobody has this address: a connection would take as long as the deadline.
            ("192.0.0.0", MailTls::Implicit, Reach::PublicOnly, "allow_private"),
            ("1.1.1.1", MailTls::None, Reach::HomeOnly, "nothing goes there without TLS"),
        ] {
            let mailed = sent(host, port, tls, reach).await;
            assert_eq!(mailed.end, MailEnd::Broken(Stage::Connect), "{host}");
            let error = mailed.error.unwrap();
            assert!(error.starts_with(&format!("can't reach {host}:{port}: ")) && error.contains(why), "{error}");
        }
        assert!(listener.accept().is_err(), "nobody came");
    }

    #[tokio::test]
    async fn without_authorities_nothing_goes_under_tls() {
        let trust = Trust { has_roots: false, ..Trust::load().unwrap() };
        let envelope = Envelope::new(None, vec!["b@shop.example".parse().unwrap()]).unwrap();
        let server = MailServer { host: "::1", port: 1, tls: MailTls::Implicit, login: None, reach: Reach::Anywhere };
        let sent = Mailer::new(trust).send(server, &envelope, b"a mail", Duration::from_secs(15)).await;
        assert!(sent.error.unwrap().contains("ca-certificates"));
    }

    #[test]
    fn a_password_is_hidden_in_whatever_form_it_comes_back() {
        let login = Some(("ann", "a long password"));
        let server = MailServer { host: "a", port: 1, tls: MailTls::None, login, reach: Reach::Anywhere };
        for form in ["a long password", "YSBsb25nIHBhc3N3b3Jk", "AGFubgBhIGxvbmcgcGFzc3dvcmQ=", "AGFubgBhIGxvbmc"] {
            assert_eq!(server.without_password(&format!("no <{form} is wrong")), "no <… is wrong", "{form}");
        }
    }
}
