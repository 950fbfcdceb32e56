//! Requests to the outside, over https or, on this machine, plain: one request, its whole answer, within bounds. And e-mails:
//! [`Mailer`].
//!
//! The client keeps connections for each destination and is cheap to clone; it runs on the tokio runtime that it is used
//! in. What is sent, where to, when again, and what an answer means is for the callers to say. An answer that points
//! elsewhere is an answer like any other: following it would carry what was sent, a token say, to whoever it names.
//! Proxies of the environment are not asked; those that the config names are ([`Proxy`]).

mod hide;
mod proxy;
mod race;
mod reach;
mod smtp;
mod trust;

use std::error::Error;
use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};

pub use hide::without_token;
use proxy::Way;
pub use proxy::{InvalidProxyAuth, Proxy};
use reach::PRIVATE;
pub use reach::Reach;
pub use smtp::{MailServer, Mailed, Mailer};
pub use trust::Trust;

/// Bytes that the head of an answer may have.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// How long the rest of an answer is waited for where its status is all that counts.
const REST: Duration = Duration::from_secs(1);

/// How long a connection that nothing goes over is kept. Servers close such connections, some after 5 s, and a request that
/// meets the close may have been taken: nobody knows.
const IDLE_MAX: Duration = Duration::from_secs(4);

/// How far one exchange may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// From the look-up of the name to the last byte of the answer.
    pub deadline: Duration,
    /// Bytes of the answer's body.
    pub answer_bytes_max: usize,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// The part of an answer that says what came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decides {
    /// The status. The body is read as far as it comes within a moment.
    Status,
    /// The body, too, which may take until the deadline.
    Body,
}

/// What came back to somebody who only wants to tell something.
#[derive(Debug, Clone)]
pub struct Told {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The beginning of the body, as far as it came.
    pub beginning: Bytes,
    /// Whether that is all of it.
    pub is_whole: bool,
}

/// No whole answer. Names the destination's host, never what was sent.
#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    /// This machine has nothing to check certificates with. Nothing was sent.
    #[error(
        "this machine knows no certificate authorities, so https can't be checked: install its package ca-certificates"
    )]
    NoRoots,
    /// No TLS at all.
    #[error("can't set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// No connection, or nobody there whom we trust. Nothing was sent.
    #[error("can't reach {host}: {why}")]
    Unreachable {
        /// The host, with its port if one was given.
        host: String,
        /// The cause.
        why: String,
    },
    /// It ended too early. Whether the request was taken is unknown.
    #[error("the connection to {host} broke before the answer was whole: {why}")]
    Broken {
        /// The host.
        host: String,
        /// The cause.
        why: String,
    },
    /// It took too long, on a connection that was there. Whether the request was taken is unknown.
    #[error("no whole answer from {host} within {} s", deadline.as_secs_f64())]
    Late {
        /// The host.
        host: String,
        /// How long was waited.
        deadline: Duration,
    },
    /// It was too long. The request was taken.
    #[error("the answer from {host} has more than {bytes_max} bytes")]
    TooLarge {
        /// The host.
        host: String,
        /// The bound.
        bytes_max: usize,
    },
}

/// The client.
#[derive(Clone)]
pub struct Outgoing {
    client: Client<HttpsConnector<Way>, Full<Bytes>>,
    has_roots: bool,
    reach: Reach,
}

/// The clients of one process, which share what the machine trusts.
#[derive(Clone, Debug)]
pub struct Clients {
    /// To receivers that may be anywhere.
    anywhere: Outgoing,
    /// To all others.
    public: Outgoing,
    trust: Trust,
}

impl Clients {
    /// Reads the TLS roots that this machine trusts.
    ///
    /// # Errors
    /// [`OutgoingError::Tls`].
    pub fn load() -> Result<Self, OutgoingError> {
        let trust = Trust::load()?;
        let [anywhere, public] = [Reach::Anywhere, Reach::PublicOnly].map(|reach| Outgoing::with(&trust, reach, None));
        Ok(Self { anywhere, public, trust })
    }

    /// The client for a receiver that may be in a private network if `allow_private`; through `proxy`, if there is one.
    #[must_use]
    pub fn client<'c>(&'c self, allow_private: bool, proxy: Option<&'c Proxy>) -> &'c Outgoing {
        match (proxy, allow_private) {
            (Some(proxy), true) => proxy.client(&self.trust, Reach::Anywhere),
            (Some(proxy), false) => proxy.client(&self.trust, Reach::PublicOnly),
            (None, true) => &self.anywhere,
            (None, false) => &self.public,
        }
    }

    /// TLS roots that this machine trusts.
    #[must_use]
    pub const fn trust(&self) -> &Trust {
        &self.trust
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("has_roots", &self.has_roots).finish_non_exhaustive()
    }
}

impl Outgoing {
    /// A client that connects to `reach`, and trusts whom this machine trusts.
    ///
    /// # Errors
    /// [`OutgoingError::Tls`].
    pub fn new(reach: Reach) -> Result<Self, OutgoingError> {
        Ok(Self::with(&Trust::load()?, reach, None))
    }

    /// The same, with `trust`; through `proxy`, if there is one.
    #[must_use]
    pub fn with(trust: &Trust, reach: Reach, proxy: Option<&Proxy>) -> Self {
        let https = HttpsConnectorBuilder::new().with_tls_config((*trust.tls).clone()).https_or_http().enable_http1();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(https.wrap_connector(Way::new(reach, proxy)));
        Self { client, has_roots: trust.has_roots, reach }
    }

    /// Sends one request, whose URI is absolute, and gives the answer once it is whole.
    ///
    /// # Errors
    /// [`OutgoingError`] says how far it came: only after [`OutgoingError::NoRoots`] and [`OutgoingError::Unreachable`]
    /// is it certain that nothing was taken.
    pub async fn send(&self, mut request: Request<Full<Bytes>>, bounds: Bounds) -> Result<Reply, OutgoingError> {
        let host = self.host_of(&request)?;
        let connection = capture_connection(&mut request);
        let exchange = self.exchange(request, bounds.answer_bytes_max, &host);
        match tokio::time::timeout(bounds.deadline, exchange).await {
            Ok(answered) => answered,
            Err(_) => Err(late(&connection, host, bounds.deadline)),
        }
    }

    /// Tells somebody something: sends one request, within `deadline`, and gives the status and the beginning of the answer,
    /// `keep` bytes at the most. Where the status decides, whatever becomes of the rest changes nothing.
    ///
    /// # Errors
    /// As [`Outgoing::send`], where no status came.
    pub async fn tell(
        &self,
        mut request: Request<Full<Bytes>>,
        deadline: Duration,
        keep: usize,
        decides: Decides,
    ) -> Result<Told, OutgoingError> {
        let host = self.host_of(&request)?;
        let connection = capture_connection(&mut request);
        let end = Instant::now() + deadline;
        let (head, body) = match timeout_at(end, self.begin(request, &host)).await {
            Ok(answered) => answered?.into_parts(),
            Err(_) => return Err(late(&connection, host, deadline)),
        };
        let end = match decides {
            Decides::Status => end.min(Instant::now() + REST),
            Decides::Body => end,
        };
        let mut read = BytesMut::new();
        // What has come by then is kept; a connection whose answer was read to its end serves again.
        let is_whole = timeout_at(end, beginning(body, keep, &mut read)).await.unwrap_or_default();
        Ok(Told { status: head.status, headers: head.headers, beginning: read.freeze(), is_whole })
    }

    /// The host that a request goes to, with its port if one is given, unless nothing can be sent to it.
    fn host_of(&self, request: &Request<Full<Bytes>>) -> Result<String, OutgoingError> {
        let uri = request.uri();
        if !self.has_roots && uri.scheme_str() == Some("https") {
            return Err(OutgoingError::NoRoots);
        }
        let host = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
        if self.reach.forbids_host_of(uri) {
            return Err(OutgoingError::Unreachable { host, why: PRIVATE.to_owned() });
        }
        Ok(host)
    }

    /// Sends a request, up to the head of its answer.
    async fn begin(&self, request: Request<Full<Bytes>>, host: &str) -> Result<Response<Incoming>, OutgoingError> {
        self.client.request(request).await.map_err(|error| {
            let (host, why) = (host.to_owned(), cause(&error));
            if error.is_connect() {
                OutgoingError::Unreachable { host, why }
            } else {
                OutgoingError::Broken { host, why }
            }
        })
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        bytes_max: usize,
        host: &str,
    ) -> Result<Reply, OutgoingError> {
        let (head, body) = self.begin(request, host).await?.into_parts();
        let host = || host.to_owned();
        let body = Limited::new(body, bytes_max).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                OutgoingError::TooLarge { host: host(), bytes_max }
            } else {
                OutgoingError::Broken { host: host(), why: cause(&*error) }
            }
        })?;
        Ok(Reply { status: head.status, headers: head.headers, body: body.to_bytes() })
    }
}

/// What it means that the deadline passed. `connection` is the one that the request was given, new or kept: until there is one,
/// led to by a proxy and under TLS as it should be, nothing of the request has left.
fn late(connection: &CaptureConnection, host: String, deadline: Duration) -> OutgoingError {
    if connection.connection_metadata().is_some() {
        return OutgoingError::Late { host, deadline };
    }
    OutgoingError::Unreachable { host, why: format!("no connection within {} s", deadline.as_secs_f64()) }
}

/// Reads into `read` as much of `body` as comes, `most` bytes at the most. Says whether that is all of it.
async fn beginning(mut body: Incoming, most: usize, read: &mut BytesMut) -> bool {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let room = most - read.len();
        if let Ok(data) = frame.into_data() {
            if data.len() > room {
                read.extend_from_slice(data.get(..room).unwrap_or_default());
                return false;
            }
            read.extend_from_slice(&data);
        }
    }
    true
}

/// What lies at the bottom of an error: "connection refused", where the layers above only say "client error".
fn cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpListener};

    use tokio::sync::oneshot;

    use super::*;

    const BOUNDS: Bounds = Bounds { deadline: Duration::from_secs(15), answer_bytes_max: 1000 };

    /// A server for one request, which it answers with these bytes; then it keeps the connection open, or closes it.
    /// Tells when it has answered.
    fn answering(bytes: &'static [u8], keep_open: bool) -> (SocketAddr, oneshot::Receiver<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = oneshot::channel();
        std::thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(&socket).lines();
            assert!(lines.any(|line| line.is_ok_and(|line| line.is_empty())), "the end of the head");
            (&socket).write_all(bytes).unwrap();
            let _ = tell.send(());
            if keep_open {
                // Until the client has left.
                let _ = lines.next();
            }
        });
        (address, told)
    }

    async fn ask(url: String) -> Result<Reply, OutgoingError> {
        let request = Request::get(url).body(Full::default()).unwrap();
        Outgoing::new(Reach::Anywhere).unwrap().send(request, BOUNDS).await
    }

    #[tokio::test]
    async fn an_answer_is_given_as_it_is_and_one_that_points_elsewhere_is_not_followed() {
        let answer = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 4\r\n\r\nbody";
        let (address, _) = answering(answer, true);
        let reply = ask(format!("http://{address}/a?b=c")).await.unwrap();
        assert_eq!((reply.status.as_u16(), &*reply.body), (302, &b"body"[..]));
        assert_eq!(reply.headers["location"], "http://127.0.0.1:1/");
    }

    #[tokio::test]
    async fn a_server_that_hangs_is_left_at_the_deadline_wherever_it_stopped() {
        for stopped_after in [&b""[..], b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal"] {
            let (address, answered) = answering(stopped_after, true);
            let asked = tokio::spawn(ask(format!("http://{address}/")));
            answered.await.unwrap();
            // From here on, time goes by whenever there is nothing else to do.
            tokio::time::pause();
            let error = asked.await.unwrap().unwrap_err();
            tokio::time::resume();
            assert_eq!(error.to_string(), format!("no whole answer from {address} within 15 s"));
        }
    }

    /// A listener that takes connections and never says anything. Tells when something was said to it.
    fn silent() -> (SocketAddr, oneshot::Receiver<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = oneshot::channel();
        std::thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(&socket);
            assert!(!reader.fill_buf().unwrap().is_empty(), "something was said");
            let _ = tell.send(());
            // Until the client has left.
            let _ = std::io::copy(&mut reader, &mut std::io::sink());
        });
        (address, told)
    }

    #[tokio::test]
    async fn a_connection_that_never_came_up_has_carried_nothing() {
        let proxied = |scheme: &str, address| {
            let url = format!("{scheme}://{address}").parse().unwrap();
            Outgoing::with(&Trust::load().unwrap(), Reach::Anywhere, Some(&Proxy::new(url, None).unwrap()))
        };
        for by in ["https", "http", "socks5"] {
            let (address, said) = silent();
            let (client, host) = match by {
                // Where TLS does not come about.
                "https" => {
                    (Outgoing { has_roots: true, ..Outgoing::new(Reach::Anywhere).unwrap() }, address.to_string())
                }
                // Where a proxy does not say that it leads there.
                _ => (proxied(by, address), "crm.example".to_owned()),
            };
            let url = format!("{}://{host}/", if by == "https" { "https" } else { "http" });
            let request = Request::post(&url).body(Full::from("news")).unwrap();
            let told = tokio::spawn(async move { client.tell(request, BOUNDS.deadline, 8, Decides::Status).await });
            said.await.unwrap();
            tokio::time::pause();
            let error = told.await.unwrap().unwrap_err();
            tokio::time::resume();
            assert!(matches!(error, OutgoingError::Unreachable { .. }), "{by}: {error}");
            assert_eq!(error.to_string(), format!("can't reach {host}: no connection within 15 s"), "{by}");
        }
    }

    #[tokio::test]
    async fn what_left_on_a_connection_that_was_kept_may_be_there() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = oneshot::channel();
        std::thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(&socket).lines();
            let mut has_head = || lines.any(|line| line.is_ok_and(|line| line.is_empty()));
            assert!(has_head());
            (&socket).write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            assert!(has_head(), "the second came on the same");
            let _ = tell.send(());
            let _ = lines.next();
        });
        let client = Outgoing::new(Reach::Anywhere).unwrap();
        let request = || Request::post(format!("http://{address}/")).body(Full::default()).unwrap();
        assert_eq!(client.tell(request(), BOUNDS.deadline, 8, Decides::Status).await.unwrap().status, 204);
        let second = request();
        let asked = tokio::spawn(async move { client.tell(second, BOUNDS.deadline, 8, Decides::Status).await });
        told.await.unwrap();
        tokio::time::pause();
        let error = asked.await.unwrap().unwrap_err();
        assert!(matches!(error, OutgoingError::Late { .. }), "{error}");
    }

    #[tokio::test]
    async fn an_answer_without_end_is_read_up_to_the_bound() {
        let told = b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n";
        let endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        for head in [&told[..], endless] {
            let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000)).repeat(2);
            let answer = [head, chunk.as_bytes()].concat();
            let (address, _) = answering(answer.leak(), true);
            let error = ask(format!("http://{address}/")).await.unwrap_err();
            assert!(matches!(error, OutgoingError::TooLarge { bytes_max: 1000, .. }), "{error}");
        }
        let head = [&b"HTTP/1.1 200 OK\r\nx: "[..], &vec![b'x'; 2 * HEAD_BYTES_MAX]].concat();
        let (address, _) = answering(head.leak(), true);
        let error = ask(format!("http://{address}/")).await.unwrap_err();
        assert!(matches!(error, OutgoingError::Broken { .. }), "{error}");
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_told_from_a_server_that_is_not_there() {
        for answer in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal", b"hello\r\n\r\n"] {
            let (address, _) = answering(answer, false);
            let error = ask(format!("http://{address}/")).await.unwrap_err();
            assert!(matches!(error, OutgoingError::Broken { .. }), "{error}");
        }
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = ask(format!("http://{free}/")).await.unwrap_err();
        assert!(matches!(error, OutgoingError::Unreachable { .. }), "{error}");
        assert!(error.to_string().starts_with(&format!("can't reach {free}: Connection refused")), "{error}");
    }

    #[tokio::test]
    async fn without_authorities_nothing_is_sent_over_https() {
        let alone = Outgoing { has_roots: false, ..Outgoing::new(Reach::Anywhere).unwrap() };
        let (address, _) = answering(b"HTTP/1.1 204 No Content\r\n\r\n", false);
        let request = |scheme: &str| Request::get(format!("{scheme}://{address}/")).body(Full::default()).unwrap();
        let error = alone.send(request("https"), BOUNDS).await.unwrap_err();
        assert!(matches!(error, OutgoingError::NoRoots), "{error}");
        assert_eq!(alone.send(request("http"), BOUNDS).await.unwrap().status, 204);
    }

    async fn tell(url: String) -> Result<Told, OutgoingError> {
        let request = Request::post(url).body(Full::default()).unwrap();
        Outgoing::new(Reach::Anywhere).unwrap().tell(request, BOUNDS.deadline, 8, Decides::Status).await
    }

    #[tokio::test]
    async fn a_body_that_decides_is_waited_for_until_the_deadline() {
        for (decides, least, most) in
            [(Decides::Status, Duration::ZERO, 2 * REST), (Decides::Body, 10 * REST, BOUNDS.deadline)]
        {
            let (address, answered) = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal", true);
            let request = Request::post(format!("http://{address}/")).body(Full::default()).unwrap();
            let client = Outgoing::new(Reach::Anywhere).unwrap();
            let asked = tokio::spawn(async move { client.tell(request, BOUNDS.deadline, 8, decides).await });
            answered.await.unwrap();
            // From here on, time goes by whenever there is nothing else to do.
            tokio::time::pause();
            let began = Instant::now();
            let told = asked.await.unwrap().unwrap();
            let waited = began.elapsed();
            tokio::time::resume();
            assert!(waited >= least && waited <= most, "{decides:?}: {waited:?}");
            assert!(!told.is_whole && told.status == 200 && &*told.beginning == b"hal", "{told:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_nothing_goes_over_is_not_kept_for_long() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let (socket, tell) = (socket.unwrap(), tell.clone());
                std::thread::spawn(move || {
                    let mut lines = BufReader::new(&socket).lines().map_while(Result::ok);
                    while lines.any(|line| line.is_empty()) {
                        (&socket).write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
                        let _ = tell.send(socket.peer_addr().unwrap());
                    }
                });
            }
        });
        let client = Outgoing::new(Reach::Anywhere).unwrap();
        let mut connections = Vec::new();
        for idle in [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5)] {
            tokio::time::pause();
            tokio::time::advance(idle).await;
            tokio::time::resume();
            let request = Request::post(format!("http://{address}/")).body(Full::default()).unwrap();
            assert_eq!(client.tell(request, BOUNDS.deadline, 8, Decides::Status).await.unwrap().status, 204);
            connections.push(told.recv().await.unwrap());
        }
        assert!(connections[0] == connections[1], "it serves again");
        assert!(connections[1] != connections[2], "many servers close what is idle after 5 s");
    }

    #[tokio::test]
    async fn who_was_told_something_has_answered_with_the_status_whatever_becomes_of_the_rest() {
        let endless = [&b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e8\r\n"[..], &[b'x'; 1000]].concat();
        for (answer, keep_open, kept, is_whole) in [
            (&b"HTTP/1.1 204 No Content\r\n\r\n"[..], true, "", true),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody", true, "body", true),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n123456789", true, "12345678", false),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal", false, "hal", false),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal", true, "hal", false),
            (endless.leak(), true, "xxxxxxxx", false),
        ] {
            let (address, _) = answering(answer, keep_open);
            let told = tell(format!("http://{address}/")).await.unwrap();
            assert!(told.status.is_success());
            assert_eq!((&*told.beginning, told.is_whole), (kept.as_bytes(), is_whole));
        }
    }

    #[tokio::test]
    async fn without_a_status_nothing_is_known() {
        let (address, _) = answering(b"HTTP/1.1 20", false);
        let error = tell(format!("http://{address}/")).await.unwrap_err();
        assert!(matches!(error, OutgoingError::Broken { .. }), "{error}");
    }

    #[tokio::test]
    async fn what_is_private_is_not_even_connected_to() {
        let (address, answered) = answering(b"HTTP/1.1 204 No Content\r\n\r\n", false);
        let client = Outgoing::new(Reach::PublicOnly).unwrap();
        for host in [address.to_string(), format!("localhost:{}", address.port())] {
            let request = Request::post(format!("http://{host}/")).body(Full::default()).unwrap();
            let error = client.tell(request, BOUNDS.deadline, 8, Decides::Status).await.unwrap_err();
            assert_eq!(error.to_string(), format!("can't reach {host}: {PRIVATE}"));
        }
        drop(client);
        let mut answered = answered;
        assert!(answered.try_recv().is_err(), "nobody came");
    }
}
