//! Sends requests over pooled connections, each within a deadline and to allowed addresses only.
//!
//! An error shows whether the request was surely not sent. See [`super::connector`] for the
//! connections and [`super::response`] for bodies.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::client::legacy::{Builder, Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::address_policy::AddressPolicy;
use super::connector::Connector;
use super::error::{NetError, root_cause};
use super::proxy::ProxyServer;
use super::response::{DecidedBy, PendingResponse, ResponsePrefix};
use super::tls::TlsConfig;

/// `User-Agent` of outgoing requests.
pub const PRODUCT_TOKEN: &str = concat!("flowgate/", env!("CARGO_PKG_VERSION"));

/// Maximum size of the head of a response, in bytes.
pub(super) const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Limits of all connections of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Maximum time that an idle connection stays open.
    pub idle_timeout: Duration,
    /// Maximum number of idle connections to one host.
    pub idle_max: usize,
    /// Maximum size of all bodies that are read at the same time, in bytes.
    pub response_memory: usize,
}

impl Default for PoolLimits {
    /// Returns limits for servers that close idle connections, some after 5 s.
    ///
    /// If a request crosses such a close, it is unknown whether the server processed the request.
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(4),
            idle_max: usize::MAX,
            response_memory: Semaphore::MAX_PERMITS,
        }
    }
}

/// HTTP client with a connection pool.
#[derive(Clone)]
pub struct HttpClient {
    pool: ConnectionPool,
    has_roots: bool,
    address_policy: AddressPolicy,
    response_memory: Arc<Semaphore>,
}

#[derive(Clone)]
enum ConnectionPool {
    /// Plain connections only.
    Http(Client<Connector, Full<Bytes>>),
    /// Connections with TLS to `https` URLs, and plain ones to `http` URLs.
    Https(Client<HttpsConnector<Connector>, Full<Bytes>>),
}

impl ConnectionPool {
    fn request(&self, request: Request<Full<Bytes>>) -> ResponseFuture {
        match self {
            Self::Http(client) => client.request(request),
            Self::Https(client) => client.request(request),
        }
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient")
            .field("has_roots", &self.has_roots)
            .field("address_policy", &self.address_policy)
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

    /// Creates a client for `http` URLs only. It fails for `https` as without root certificates.
    #[must_use]
    pub fn plaintext(address_policy: AddressPolicy, limits: PoolLimits) -> Self {
        let connector = Connector::new(address_policy, None);
        Self {
            pool: ConnectionPool::Http(pool_builder(limits).build(connector)),
            has_roots: false,
            address_policy,
            response_memory: Arc::new(Semaphore::new(limits.response_memory)),
        }
    }

    /// Creates a client with this TLS config. Connections use `proxy` if there is one.
    pub(super) fn with_tls(
        tls: &TlsConfig,
        address_policy: AddressPolicy,
        proxy: Option<Arc<ProxyServer>>,
    ) -> Self {
        let limits = PoolLimits::default();
        let https = HttpsConnectorBuilder::new()
            .with_tls_config((*tls.tls).clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(Connector::new(address_policy, proxy));
        Self {
            pool: ConnectionPool::Https(pool_builder(limits).build(https)),
            has_roots: tls.has_roots,
            address_policy,
            response_memory: Arc::new(Semaphore::new(limits.response_memory)),
        }
    }

    /// Sends one request with an absolute URI, and waits for the head of the response. `deadline`
    /// is the maximum time from the name lookup to the last byte of the response.
    ///
    /// # Errors
    /// [`NetError`]. Only [`NetError::NoRootCertificates`] and [`NetError::Unreachable`] guarantee
    /// that the server has not accepted the request.
    pub async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        deadline: Duration,
    ) -> Result<PendingResponse, NetError> {
        let host = self.check_host(&request)?;
        let connection = capture_connection(&mut request);
        let cutoff = Instant::now() + deadline;
        match timeout_at(cutoff, self.pool.request(request)).await {
            Ok(Ok(response)) => {
                let (head, body) = response.into_parts();
                Ok(PendingResponse {
                    head,
                    body,
                    host,
                    deadline,
                    cutoff,
                    memory: Arc::clone(&self.response_memory),
                })
            }
            Ok(Err(error)) if error.is_connect() => Err(NetError::Unreachable {
                host,
                why: root_cause(&error),
            }),
            Ok(Err(error)) => Err(NetError::Disconnected {
                host,
                why: root_cause(&error),
            }),
            Err(_) => Err(timeout_error(&connection, host, deadline)),
        }
    }

    /// Sends one request within `deadline`, and returns the status and the beginning of the body:
    /// at most `max_body_prefix` bytes.
    ///
    /// # Errors
    /// Same as [`HttpClient::send`].
    pub async fn post(
        &self,
        request: Request<Full<Bytes>>,
        deadline: Duration,
        max_body_prefix: usize,
        decided_by: DecidedBy,
    ) -> Result<ResponsePrefix, NetError> {
        let response = self.send(request, deadline).await?;
        Ok(response.read_prefix(max_body_prefix, decided_by).await)
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
                why: self.address_policy.denial_reason().to_owned(),
            });
        }
        Ok(host)
    }
}

fn pool_builder(limits: PoolLimits) -> Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(limits.idle_timeout)
        .pool_max_idle_per_host(limits.idle_max)
        .http1_max_buf_size(HEAD_BYTES_MAX);
    builder
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
