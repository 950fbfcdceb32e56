//! Sends HTTP requests to other hosts over https, or plain on this machine, and e-mails
//! ([`SmtpClient`]). Each request gets its complete response within limits.
//!
//! A client reuses connections of each destination and is cheap to clone. It runs on the tokio
//! runtime of its caller. The callers decide about the content, the destination, retries and the
//! meaning of responses. Redirects are not followed. Following one could send a token to the host
//! that the redirect names. Proxies of the environment are not used, only those of the config
//! ([`Proxy`]).

mod address_policy;
mod connector;
mod happy_eyeballs;
mod redact;
mod smtp;
mod tls;

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
use tokio::time::timeout_at;

pub use address_policy::AddressPolicy;
use address_policy::PRIVATE_ADDRESS_ERROR;
use connector::Connector;
pub use connector::{InvalidProxyAuth, Proxy};
pub use redact::redact_token;
pub use smtp::{SmtpClient, SmtpOutcome, SmtpServer};
pub use tls::TlsConfig;

use crate::clock::timer_now;

/// Maximum size of the head of a response, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Maximum time to wait for the rest of a response if only its status matters.
const BODY_GRACE: Duration = Duration::from_secs(1);

/// Maximum time that an idle connection stays open.
///
/// Servers close idle connections, some after 5 s. If a request crosses such a close, it is unknown
/// whether the server processed the request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Limits of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimits {
    /// Maximum time from the name lookup to the last byte of the response.
    pub deadline: Duration,
    /// Maximum size of the response body, in bytes.
    pub response_bytes_max: usize,
}

/// Complete response.
#[derive(Debug, Clone)]
pub struct FullResponse {
    /// Status of the response.
    pub status: StatusCode,
    /// Headers of the response.
    pub headers: HeaderMap,
    /// Complete body of the response.
    pub body: Bytes,
}

/// Part of the response that decides about the result of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecidedBy {
    /// The status decides. The body is read as far as it arrives within a short time.
    Status,
    /// The status and the body decide. The body may arrive until the deadline.
    Body,
}

/// Response with the beginning of its body.
#[derive(Debug, Clone)]
pub struct ResponsePrefix {
    /// Status of the response.
    pub status: StatusCode,
    /// Headers of the response.
    pub headers: HeaderMap,
    /// Beginning of the body, as far as it arrived.
    pub body_prefix: Bytes,
    /// `true` if the body is complete.
    pub is_complete: bool,
}

/// Reason for a missing response. The text contains the destination's host, but never the sent
/// data.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// This machine has no root certificates. Nothing was sent.
    #[error(
        "no CA certificates found, so TLS certificates can't be verified: install the package ca-certificates"
    )]
    NoRootCertificates,
    /// TLS could not be set up.
    #[error("can't set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// No connection, or no trusted server. Nothing was sent.
    #[error("can't reach {host}: {why}")]
    Unreachable {
        /// Host, with the port if the URL has one.
        host: String,
        /// Cause of the failure.
        why: String,
    },
    /// The connection closed too early. It is unknown whether the request was accepted.
    #[error("the connection to {host} closed before the response was complete: {why}")]
    Disconnected {
        /// Host, with the port if the URL has one.
        host: String,
        /// Cause of the failure.
        why: String,
    },
    /// The deadline passed on an open connection. It is unknown whether the request was accepted.
    #[error("no complete response from {host} within {} s", deadline.as_secs_f64())]
    Timeout {
        /// Host, with the port if the URL has one.
        host: String,
        /// Time of the deadline, from the start of the request.
        deadline: Duration,
    },
    /// The response is too large. The server has accepted the request.
    #[error("the response from {host} has more than {bytes_max} bytes")]
    ResponseTooLarge {
        /// Host, with the port if the URL has one.
        host: String,
        /// Maximum size of the body, in bytes.
        bytes_max: usize,
    },
}

/// HTTP client with a connection pool.
#[derive(Clone)]
pub struct HttpClient {
    client: Client<HttpsConnector<Connector>, Full<Bytes>>,
    has_roots: bool,
    address_policy: AddressPolicy,
}

/// HTTP clients of one process. They share the TLS config of this machine.
#[derive(Clone, Debug)]
pub struct HttpClients {
    /// Client for receivers at any address.
    any_client: HttpClient,
    /// Client for all other receivers, which must have public addresses.
    public_client: HttpClient,
    tls_config: TlsConfig,
}

impl HttpClients {
    /// Loads the root certificates that this machine trusts.
    ///
    /// # Errors
    /// [`NetError::Tls`] if TLS can't be set up.
    pub fn load() -> Result<Self, NetError> {
        let tls = TlsConfig::load()?;
        let [any_client, public_client] = [AddressPolicy::Any, AddressPolicy::PublicOnly]
            .map(|address_policy| HttpClient::with_tls(&tls, address_policy, None));
        Ok(Self {
            any_client,
            public_client,
            tls_config: tls,
        })
    }

    /// Returns the client for a receiver. The address of the receiver may be private if
    /// `allow_private` is `true`. Connections use `proxy` if there is one.
    #[must_use]
    pub fn client<'c>(&'c self, allow_private: bool, proxy: Option<&'c Proxy>) -> &'c HttpClient {
        match (proxy, allow_private) {
            (Some(proxy), true) => proxy.client(&self.tls_config, AddressPolicy::Any),
            (Some(proxy), false) => proxy.client(&self.tls_config, AddressPolicy::PublicOnly),
            (None, true) => &self.any_client,
            (None, false) => &self.public_client,
        }
    }

    /// Returns the TLS config with the root certificates that this machine trusts.
    #[must_use]
    pub const fn trust(&self) -> &TlsConfig {
        &self.tls_config
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("has_roots", &self.has_roots)
            .finish_non_exhaustive()
    }
}

impl HttpClient {
    /// Creates a client for the addresses that `address_policy` allows, with the root certificates
    /// that this machine trusts.
    ///
    /// # Errors
    /// [`NetError::Tls`] if TLS can't be set up.
    pub fn new(address_policy: AddressPolicy) -> Result<Self, NetError> {
        Ok(Self::with_tls(&TlsConfig::load()?, address_policy, None))
    }

    /// Creates a client with this TLS config. Connections use `proxy` if there is one.
    #[must_use]
    pub fn with_tls(tls: &TlsConfig, address_policy: AddressPolicy, proxy: Option<&Proxy>) -> Self {
        let https = HttpsConnectorBuilder::new()
            .with_tls_config((*tls.tls).clone())
            .https_or_http()
            .enable_http1();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(https.wrap_connector(Connector::new(address_policy, proxy)));
        Self {
            client,
            has_roots: tls.has_roots,
            address_policy,
        }
    }

    /// Sends one request with an absolute URI, and returns the complete response.
    ///
    /// # Errors
    /// [`NetError`]. Only [`NetError::NoRootCertificates`] and [`NetError::Unreachable`] guarantee
    /// that the server has not accepted the request.
    pub async fn request(
        &self,
        mut request: Request<Full<Bytes>>,
        limits: RequestLimits,
    ) -> Result<FullResponse, NetError> {
        let host = self.check_host(&request)?;
        let connection = capture_connection(&mut request);
        let exchange = self.request_full(request, limits.response_bytes_max, &host);
        match tokio::time::timeout(limits.deadline, exchange).await {
            Ok(result) => result,
            Err(_) => Err(timeout_error(&connection, host, limits.deadline)),
        }
    }

    /// Sends one request within `deadline`, and returns the status and the beginning of the body.
    ///
    /// Returns at most `max_body_prefix` bytes of the body. If the status decides, an error in the
    /// rest of the body is ignored.
    ///
    /// # Errors
    /// Same as [`HttpClient::request`], if no status arrived.
    pub async fn post(
        &self,
        mut request: Request<Full<Bytes>>,
        deadline: Duration,
        max_body_prefix: usize,
        decided_by: DecidedBy,
    ) -> Result<ResponsePrefix, NetError> {
        let host = self.check_host(&request)?;
        let connection = capture_connection(&mut request);
        let cutoff = timer_now() + deadline;
        let (head, body) = match timeout_at(cutoff, self.send_request(request, &host)).await {
            Ok(result) => result?.into_parts(),
            Err(_) => return Err(timeout_error(&connection, host, deadline)),
        };
        let cutoff = match decided_by {
            DecidedBy::Status => cutoff.min(timer_now() + BODY_GRACE),
            DecidedBy::Body => cutoff,
        };
        let mut prefix = BytesMut::new();
        // The bytes that arrived before the cutoff are used. Only a connection whose response is
        // complete is reused.
        let is_whole = timeout_at(cutoff, read_prefix(body, max_body_prefix, &mut prefix))
            .await
            .unwrap_or_default();
        Ok(ResponsePrefix {
            status: head.status,
            headers: head.headers,
            body_prefix: prefix.freeze(),
            is_complete: is_whole,
        })
    }

    /// Returns the host of a request, with the port if the URL has one. Fails if nothing can be
    /// sent to the host.
    fn check_host(&self, request: &Request<Full<Bytes>>) -> Result<String, NetError> {
        let uri = request.uri();
        if !self.has_roots && uri.scheme_str() == Some("https") {
            return Err(NetError::NoRootCertificates);
        }
        let host = uri
            .authority()
            .map(|authority| authority.as_str().to_owned())
            .unwrap_or_default();
        if self.address_policy.denies_literal_host(uri) {
            return Err(NetError::Unreachable {
                host,
                why: PRIVATE_ADDRESS_ERROR.to_owned(),
            });
        }
        Ok(host)
    }

    /// Sends a request and waits for the head of the response.
    async fn send_request(
        &self,
        request: Request<Full<Bytes>>,
        host: &str,
    ) -> Result<Response<Incoming>, NetError> {
        self.client.request(request).await.map_err(|error| {
            let (host, why) = (host.to_owned(), root_cause(&error));
            if error.is_connect() {
                NetError::Unreachable { host, why }
            } else {
                NetError::Disconnected { host, why }
            }
        })
    }

    async fn request_full(
        &self,
        request: Request<Full<Bytes>>,
        bytes_max: usize,
        host: &str,
    ) -> Result<FullResponse, NetError> {
        let (head, body) = self.send_request(request, host).await?.into_parts();
        let host = || host.to_owned();
        let body = Limited::new(body, bytes_max)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<LengthLimitError>() {
                    NetError::ResponseTooLarge {
                        host: host(),
                        bytes_max,
                    }
                } else {
                    NetError::Disconnected {
                        host: host(),
                        why: root_cause(&*error),
                    }
                }
            })?;
        Ok(FullResponse {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
        })
    }
}

/// Returns the error for a passed deadline. `connection` shows whether the request had a
/// connection. No byte of the request is sent before the connection is ready, including the proxy's
/// tunnel and TLS.
fn timeout_error(connection: &CaptureConnection, host: String, deadline: Duration) -> NetError {
    if connection.connection_metadata().is_some() {
        return NetError::Timeout { host, deadline };
    }
    NetError::Unreachable {
        host,
        why: format!("no connection within {} s", deadline.as_secs_f64()),
    }
}

/// Reads at most `max` bytes of `body` into `prefix`. Returns `true` if the body is complete.
async fn read_prefix(mut body: Incoming, max: usize, prefix: &mut BytesMut) -> bool {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let remaining = max - prefix.len();
        if let Ok(data) = frame.into_data() {
            if data.len() > remaining {
                prefix.extend_from_slice(data.get(..remaining).unwrap_or_default());
                return false;
            }
            prefix.extend_from_slice(&data);
        }
    }
    true
}

/// Returns the root cause of an error, such as "connection refused". The outer errors say only
/// "client error".
fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut root_cause = error;
    while let Some(deeper) = root_cause.source() {
        root_cause = deeper;
    }
    root_cause.to_string()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpListener};

    use tokio::sync::oneshot;

    use super::*;

    const LIMITS: RequestLimits = RequestLimits {
        deadline: Duration::from_secs(15),
        response_bytes_max: 1000,
    };

    /// Starts a server that responds to one request with these bytes. Then it leaves the connection
    /// open or closes it. The receiver gets a message after the response.
    fn responding_server(
        bytes: &'static [u8],
        stays_open: bool,
    ) -> (SocketAddr, oneshot::Receiver<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (answered_tx, answered_rx) = oneshot::channel();
        std::thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(&socket).lines();
            assert!(
                lines.any(|line| line.is_ok_and(|line| line.is_empty())),
                "the end of the head"
            );
            (&socket).write_all(bytes).unwrap();
            let _ = answered_tx.send(());
            if stays_open {
                // Wait until the client has closed the connection.
                let _ = lines.next();
            }
        });
        (address, answered_rx)
    }

    async fn get(url: String) -> Result<FullResponse, NetError> {
        let request = Request::get(url).body(Full::default()).unwrap();
        HttpClient::new(AddressPolicy::Any)
            .unwrap()
            .request(request, LIMITS)
            .await
    }

    #[tokio::test]
    async fn redirects_are_returned_not_followed() {
        let raw_response =
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 4\r\n\r\nbody";
        let (address, _) = responding_server(raw_response, true);
        let response = get(format!("http://{address}/a?b=c")).await.unwrap();
        assert_eq!(
            (response.status.as_u16(), &*response.body),
            (302, &b"body"[..])
        );
        assert_eq!(response.headers["location"], "http://127.0.0.1:1/");
    }

    #[tokio::test]
    async fn hanging_server_reaches_deadline_at_any_stage() {
        for stopped_after in [
            &b""[..],
            b"HTTP/1.1 200",
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal",
        ] {
            let (address, answered) = responding_server(stopped_after, true);
            let pending = tokio::spawn(get(format!("http://{address}/")));
            answered.await.unwrap();
            // From here on, the paused time advances when the runtime is idle.
            tokio::time::pause();
            let error = pending.await.unwrap().unwrap_err();
            tokio::time::resume();
            assert_eq!(
                error.to_string(),
                format!("no complete response from {address} within 15 s")
            );
        }
    }

    /// Starts a listener that accepts one connection and never sends a byte. The receiver gets a
    /// message after the first bytes from the client.
    fn silent_server() -> (SocketAddr, oneshot::Receiver<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (received_tx, received_rx) = oneshot::channel();
        std::thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(&socket);
            assert!(
                !reader.fill_buf().unwrap().is_empty(),
                "the client sent something"
            );
            let _ = received_tx.send(());
            // Wait until the client has closed the connection.
            let _ = std::io::copy(&mut reader, &mut std::io::sink());
        });
        (address, received_rx)
    }

    #[tokio::test]
    async fn failed_connection_sent_nothing() {
        let proxied = |scheme: &str, address| {
            let url = format!("{scheme}://{address}").parse().unwrap();
            HttpClient::with_tls(
                &TlsConfig::load().unwrap(),
                AddressPolicy::Any,
                Some(&Proxy::new(url, None).unwrap()),
            )
        };
        for scheme in ["https", "http", "socks5"] {
            let (address, received) = silent_server();
            let (client, host) = match scheme {
                // The TLS handshake is never finished.
                "https" => (
                    HttpClient {
                        has_roots: true,
                        ..HttpClient::new(AddressPolicy::Any).unwrap()
                    },
                    address.to_string(),
                ),
                // The proxy never confirms the tunnel.
                _ => (proxied(scheme, address), "crm.example".to_owned()),
            };
            let url = format!(
                "{}://{host}/",
                if scheme == "https" { "https" } else { "http" }
            );
            let request = Request::post(&url).body(Full::from("news")).unwrap();
            let pending = tokio::spawn(async move {
                client
                    .post(request, LIMITS.deadline, 8, DecidedBy::Status)
                    .await
            });
            received.await.unwrap();
            tokio::time::pause();
            let error = pending.await.unwrap().unwrap_err();
            tokio::time::resume();
            assert!(
                matches!(error, NetError::Unreachable { .. }),
                "{scheme}: {error}"
            );
            assert_eq!(
                error.to_string(),
                format!("can't reach {host}: no connection within 15 s"),
                "{scheme}"
            );
        }
    }

    #[tokio::test]
    async fn timeout_on_reused_connection_is_unconfirmed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (received_tx, received_rx) = oneshot::channel();
        std::thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(&socket).lines();
            let mut has_head = || lines.any(|line| line.is_ok_and(|line| line.is_empty()));
            assert!(has_head());
            (&socket)
                .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                .unwrap();
            assert!(has_head(), "the second came on the same");
            let _ = received_tx.send(());
            let _ = lines.next();
        });
        let client = HttpClient::new(AddressPolicy::Any).unwrap();
        let request = || {
            Request::post(format!("http://{address}/"))
                .body(Full::default())
                .unwrap()
        };
        assert_eq!(
            client
                .post(request(), LIMITS.deadline, 8, DecidedBy::Status)
                .await
                .unwrap()
                .status,
            204
        );
        let second = request();
        let pending = tokio::spawn(async move {
            client
                .post(second, LIMITS.deadline, 8, DecidedBy::Status)
                .await
        });
        received_rx.await.unwrap();
        tokio::time::pause();
        let error = pending.await.unwrap().unwrap_err();
        assert!(matches!(error, NetError::Timeout { .. }), "{error}");
    }

    #[tokio::test]
    async fn endless_response_is_bounded() {
        let declared = b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n";
        let endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        for head in [&declared[..], endless] {
            let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000)).repeat(2);
            let response = [head, chunk.as_bytes()].concat();
            let (address, _) = responding_server(response.leak(), true);
            let error = get(format!("http://{address}/")).await.unwrap_err();
            assert!(
                matches!(
                    error,
                    NetError::ResponseTooLarge {
                        bytes_max: 1000,
                        ..
                    }
                ),
                "{error}"
            );
        }
        let head = [
            &b"HTTP/1.1 200 OK\r\nx: "[..],
            &vec![b'x'; 2 * HEAD_BYTES_MAX],
        ]
        .concat();
        let (address, _) = responding_server(head.leak(), true);
        let error = get(format!("http://{address}/")).await.unwrap_err();
        assert!(matches!(error, NetError::Disconnected { .. }), "{error}");
    }

    #[tokio::test]
    async fn truncated_response_differs_from_unreachable_server() {
        for response in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal",
            b"hello\r\n\r\n",
        ] {
            let (address, _) = responding_server(response, false);
            let error = get(format!("http://{address}/")).await.unwrap_err();
            assert!(matches!(error, NetError::Disconnected { .. }), "{error}");
        }
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let error = get(format!("http://{free}/")).await.unwrap_err();
        assert!(matches!(error, NetError::Unreachable { .. }), "{error}");
        assert!(
            error
                .to_string()
                .starts_with(&format!("can't reach {free}: Connection refused")),
            "{error}"
        );
    }

    #[tokio::test]
    async fn https_requires_root_certificates() {
        let without_roots = HttpClient {
            has_roots: false,
            ..HttpClient::new(AddressPolicy::Any).unwrap()
        };
        let (address, _) = responding_server(b"HTTP/1.1 204 No Content\r\n\r\n", false);
        let request = |scheme: &str| {
            Request::get(format!("{scheme}://{address}/"))
                .body(Full::default())
                .unwrap()
        };
        let error = without_roots
            .request(request("https"), LIMITS)
            .await
            .unwrap_err();
        assert!(matches!(error, NetError::NoRootCertificates), "{error}");
        assert_eq!(
            without_roots
                .request(request("http"), LIMITS)
                .await
                .unwrap()
                .status,
            204
        );
    }

    async fn post(url: String) -> Result<ResponsePrefix, NetError> {
        let request = Request::post(url).body(Full::default()).unwrap();
        HttpClient::new(AddressPolicy::Any)
            .unwrap()
            .post(request, LIMITS.deadline, 8, DecidedBy::Status)
            .await
    }

    #[tokio::test]
    async fn deciding_body_is_read_until_deadline() {
        for (decided_by, min, max) in [
            (DecidedBy::Status, Duration::ZERO, 2 * BODY_GRACE),
            (
                DecidedBy::Body,
                10 * BODY_GRACE,
                LIMITS.deadline + BODY_GRACE,
            ),
        ] {
            let (address, answered) =
                responding_server(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal", true);
            let request = Request::post(format!("http://{address}/"))
                .body(Full::default())
                .unwrap();
            let client = HttpClient::new(AddressPolicy::Any).unwrap();
            let pending =
                tokio::spawn(
                    async move { client.post(request, LIMITS.deadline, 8, decided_by).await },
                );
            answered.await.unwrap();
            // From here on, the paused time advances when the runtime is idle.
            tokio::time::pause();
            let began = timer_now();
            let response = pending.await.unwrap().unwrap();
            let waited = began.elapsed();
            tokio::time::resume();
            assert!(waited >= min && waited <= max, "{decided_by:?}: {waited:?}");
            assert!(
                !response.is_complete && response.status == 200 && &*response.body_prefix == b"hal",
                "{response:?}"
            );
        }
    }

    #[tokio::test]
    async fn idle_connections_are_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (peer_tx, mut peer_rx) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let (socket, peer_tx) = (socket.unwrap(), peer_tx.clone());
                std::thread::spawn(move || {
                    let mut lines = BufReader::new(&socket).lines().map_while(Result::ok);
                    while lines.any(|line| line.is_empty()) {
                        (&socket)
                            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                            .unwrap();
                        let _ = peer_tx.send(socket.peer_addr().unwrap());
                    }
                });
            }
        });
        let client = HttpClient::new(AddressPolicy::Any).unwrap();
        let mut connections = Vec::new();
        for idle in [
            Duration::ZERO,
            Duration::from_secs(1),
            Duration::from_secs(5),
        ] {
            tokio::time::pause();
            tokio::time::advance(idle).await;
            tokio::time::resume();
            let request = Request::post(format!("http://{address}/"))
                .body(Full::default())
                .unwrap();
            assert_eq!(
                client
                    .post(request, LIMITS.deadline, 8, DecidedBy::Status)
                    .await
                    .unwrap()
                    .status,
                204
            );
            connections.push(peer_rx.recv().await.unwrap());
        }
        assert!(connections[0] == connections[1], "it serves again");
        assert!(
            connections[1] != connections[2],
            "many servers close what is idle after 5 s"
        );
    }

    #[tokio::test]
    async fn status_decides_despite_incomplete_body() {
        let endless = [
            &b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e8\r\n"[..],
            &[b'x'; 1000],
        ]
        .concat();
        for (response, stays_open, prefix, is_whole) in [
            (&b"HTTP/1.1 204 No Content\r\n\r\n"[..], true, "", true),
            (
                b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody",
                true,
                "body",
                true,
            ),
            (
                b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n123456789",
                true,
                "12345678",
                false,
            ),
            (
                b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal",
                false,
                "hal",
                false,
            ),
            (
                b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal",
                true,
                "hal",
                false,
            ),
            (endless.leak(), true, "xxxxxxxx", false),
        ] {
            let (address, _) = responding_server(response, stays_open);
            let received = post(format!("http://{address}/")).await.unwrap();
            assert!(received.status.is_success());
            assert_eq!(
                (&*received.body_prefix, received.is_complete),
                (prefix.as_bytes(), is_whole)
            );
        }
    }

    #[tokio::test]
    async fn truncated_head_is_disconnected() {
        let (address, _) = responding_server(b"HTTP/1.1 20", false);
        let error = post(format!("http://{address}/")).await.unwrap_err();
        assert!(matches!(error, NetError::Disconnected { .. }), "{error}");
    }

    #[tokio::test]
    async fn private_addresses_are_not_connected() {
        let (address, answered) = responding_server(b"HTTP/1.1 204 No Content\r\n\r\n", false);
        let client = HttpClient::new(AddressPolicy::PublicOnly).unwrap();
        for host in [address.to_string(), format!("localhost:{}", address.port())] {
            let request = Request::post(format!("http://{host}/"))
                .body(Full::default())
                .unwrap();
            let error = client
                .post(request, LIMITS.deadline, 8, DecidedBy::Status)
                .await
                .unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("can't reach {host}: {PRIVATE_ADDRESS_ERROR}")
            );
        }
        drop(client);
        let mut answered = answered;
        assert!(answered.try_recv().is_err(), "nobody came");
    }
}
