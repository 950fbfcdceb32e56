//! Opens tunnels through the proxy that the config sets for a destination, by CONNECT or SOCKS.
//!
//! A proxy connects to a host and a port and then carries octets (RFC 9110, 9.3.6; RFC 1928). TLS
//! runs between this process and the destination. The proxy resolves the host name, so the proxy
//! chooses the address. No byte of a request is sent before the proxy has confirmed the tunnel.

use std::error::Error;
use std::fmt;
use std::future::{Ready, ready};
use std::io;
use std::task::{Context, Poll};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use hyper::{Request, StatusCode, Uri};
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;
use zeroize::Zeroizing;

pub(super) type TokioSocket = TokioIo<TcpStream>;

/// Address of a proxy, with the credentials for it. `Debug` hides user and password.
#[derive(PartialEq, Eq)]
pub(super) struct ProxyServer {
    /// URL: `http://HOST:PORT` or `socks5://HOST:PORT`.
    pub(super) url: Uri,
    /// Credentials: `user:password`.
    auth: Option<Zeroizing<String>>,
}

/// Invalid credentials of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be \"user:password\" without control characters, each part 1 to 255 bytes long")]
pub struct InvalidProxyAuth;

impl fmt::Debug for ProxyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyServer")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl ProxyServer {
    pub(super) fn new(url: Uri, auth: Option<&str>) -> Result<Self, InvalidProxyAuth> {
        let is_valid = |text: &str| {
            let parts = text
                .split_once(':')
                .map(|(username, password)| [username, password]);
            // SOCKS has one byte for the length of each (RFC 1929, 2).
            parts.is_some_and(|parts| parts.iter().all(|part| (1..=255).contains(&part.len())))
                && !text.chars().any(char::is_control)
        };
        if auth.is_some_and(|text| !is_valid(text)) {
            return Err(InvalidProxyAuth);
        }
        Ok(Self {
            url,
            auth: auth.map(|text| Zeroizing::new(text.to_owned())),
        })
    }

    /// Opens a tunnel to `to` on a connection to the proxy. The error is a text about the proxy.
    pub(super) async fn open_tunnel(
        &self,
        socket: TokioSocket,
        to: &Uri,
    ) -> Result<TokioSocket, String> {
        if self.url.scheme_str() == Some("socks5") {
            self.connect_socks5(socket, to).await
        } else {
            self.connect_http(socket, to).await
        }
    }

    async fn connect_http(&self, socket: TokioSocket, to: &Uri) -> Result<TokioSocket, String> {
        let broke = |error: &dyn Error| {
            format!(
                "closed the connection during CONNECT {}: {error}",
                authority(to)
            )
        };
        let (mut requests, connection) = http1::handshake::<_, Empty<Bytes>>(socket)
            .await
            .map_err(|error| broke(&error))?;
        // The task stops when the tunnel begins or `requests` is dropped.
        tokio::spawn(connection.with_upgrades());
        let mut request = Request::connect(authority(to)).header(HOST, authority(to));
        if let Some(auth) = self.basic_auth() {
            request = request.header(PROXY_AUTHORIZATION, auth);
        }
        let request = request
            .body(Empty::new())
            .map_err(|error| format!("can't be used for {to}: {error}"))?;
        let response = requests
            .send_request(request)
            .await
            .map_err(|error| broke(&error))?;
        let status = response.status();
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return Err(match self.auth {
                Some(_) => "rejected the user and password of `proxy_auth` (407)".to_owned(),
                None => "requires user and password (407): set `proxy_auth`".to_owned(),
            });
        }
        if !status.is_success() {
            return Err(format!(
                "responded with {status} to CONNECT {}",
                authority(to)
            ));
        }
        let tunnel = hyper::upgrade::on(response)
            .await
            .map_err(|error| broke(&error))?;
        match tunnel.downcast::<TokioSocket>() {
            // The destination has not received a byte yet. With TLS or HTTP, the destination must
            // then not have sent any bytes.
            Ok(parts) if parts.read_buf.is_empty() => Ok(parts.io),
            _ => Err(format!(
                "sent unexpected data before the tunnel to {} was used",
                authority(to)
            )),
        }
    }

    async fn connect_socks5(&self, socket: TokioSocket, to: &Uri) -> Result<TokioSocket, String> {
        let mut socks = SocksV5::new(self.url.clone(), Connected(Some(socket)));
        let auth = self.auth.as_ref().and_then(|auth| auth.split_once(':'));
        if let Some((username, password)) = auth {
            socks = socks.with_auth(username.to_owned(), password.to_owned());
        }
        let target = format!("{}://{}/", to.scheme_str().unwrap_or("http"), authority(to)).parse();
        let target =
            target.map_err(|error| format!("can't be used for {}: {error}", authority(to)))?;
        socks.call(target).await.map_err(|error| {
            let suggestion = if auth.is_none() {
                "; if the proxy requires user and password, set `proxy_auth`"
            } else {
                ""
            };
            format!("did not connect to {}: {error}{suggestion}", authority(to))
        })
    }

    fn basic_auth(&self) -> Option<HeaderValue> {
        let auth = self.auth.as_ref()?;
        let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(auth.as_bytes())));
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Connector that returns an existing connection.
struct Connected(Option<TokioSocket>);

impl Service<Uri> for Connected {
    type Response = TokioSocket;
    type Error = io::Error;
    type Future = Ready<io::Result<TokioSocket>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(
            self.0
                .take()
                .ok_or_else(|| io::ErrorKind::NotConnected.into()),
        )
    }
}

/// Returns host and port. The port is the default one if the URL has none.
fn authority(to: &Uri) -> String {
    format!("{}:{}", to.host().unwrap_or_default(), port(to))
}

/// Returns the port of a URL, or the default one of its scheme.
pub(super) fn port(to: &Uri) -> u16 {
    to.port_u16()
        .unwrap_or(if to.scheme_str() == Some("https") {
            443
        } else {
            80
        })
}
