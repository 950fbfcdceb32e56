//! Connects to a destination, directly or through the proxy that the config sets for it. Proxies of
//! the environment are not used.
//!
//! A proxy connects to a host and a port and then carries octets (RFC 9110, 9.3.6; RFC 1928). TLS
//! runs between this process and the destination. The proxy resolves the host name, so the proxy
//! chooses the address. No byte of a request is sent before the proxy has confirmed the tunnel.

use std::error::Error;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
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

use super::address_policy::PolicyResolver;
use super::{AddressPolicy, HttpClient, TlsConfig, happy_eyeballs};

type TokioSocket = TokioIo<TcpStream>;
type BoxError = Box<dyn Error + Send + Sync>;

/// Proxy, with the client that uses it after the first request. `Debug` hides user and password.
#[derive(Clone)]
pub struct Proxy {
    /// URL: `http://HOST:PORT` or `socks5://HOST:PORT`.
    url: Uri,
    /// Credentials: `user:password`.
    auth: Option<Zeroizing<String>>,
    client: OnceLock<HttpClient>,
}

/// Invalid credentials of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be \"user:password\" without control characters, each part 1 to 255 bytes long")]
pub struct InvalidProxyAuth;

impl Proxy {
    /// Creates the proxy at `url`. `auth` is a user and a password with a colon between them.
    ///
    /// # Errors
    /// [`InvalidProxyAuth`] if `auth` has another format.
    pub fn new(url: Uri, auth: Option<&str>) -> Result<Self, InvalidProxyAuth> {
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
            client: OnceLock::new(),
        })
    }

    /// Returns the client that uses this proxy. `address_policy` limits destinations that are
    /// literal IP addresses.
    #[must_use]
    pub fn client(&self, tls: &TlsConfig, address_policy: AddressPolicy) -> &HttpClient {
        self.client
            .get_or_init(|| HttpClient::with_tls(tls, address_policy, Some(self)))
    }
}

impl PartialEq for Proxy {
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url && self.auth == other.auth
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Connector to a destination, directly or through its proxy.
#[derive(Clone)]
pub(crate) struct Connector {
    resolver: PolicyResolver,
    proxy: Option<Arc<Proxy>>,
}

/// Failure of a proxy to connect to the destination.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {proxy} {why}")]
struct ProxyError {
    proxy: String,
    why: String,
}

impl Connector {
    pub(crate) fn new(address_policy: AddressPolicy, proxy: Option<&Proxy>) -> Self {
        // The operator has configured the proxy, so the proxy may have any address.
        let address_policy = if proxy.is_some() {
            AddressPolicy::Any
        } else {
            address_policy
        };
        let resolver = PolicyResolver::new(address_policy);
        Self {
            resolver,
            proxy: proxy.map(|proxy| {
                Arc::new(Proxy {
                    client: OnceLock::new(),
                    ..proxy.clone()
                })
            }),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioSocket;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioSocket, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let resolver = self.resolver.clone();
        let Some(proxy) = self.proxy.clone() else {
            return Box::pin(async move { connect_tcp(&resolver, &to).await.map_err(Into::into) });
        };
        Box::pin(async move {
            let connected = connect_tcp(&resolver, &proxy.url).await;
            let tunneled = match connected {
                Err(error) => Err(format!("can't be reached: {error}")),
                Ok(socket) if proxy.url.scheme_str() == Some("socks5") => {
                    proxy.connect_socks5(socket, &to).await
                }
                Ok(socket) => proxy.connect_http(socket, &to).await,
            };
            let host = || {
                proxy
                    .url
                    .authority()
                    .map(ToString::to_string)
                    .unwrap_or_default()
            };
            tunneled.map_err(|why| ProxyError { proxy: host(), why }.into())
        })
    }
}

impl Proxy {
    /// Opens a tunnel to `to` by HTTP CONNECT.
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

    /// Opens a tunnel to `to` by SOCKS.
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

/// Connects to the first address of the host of `to` that responds.
async fn connect_tcp(resolver: &PolicyResolver, to: &Uri) -> io::Result<TokioSocket> {
    let addresses = resolver
        .resolve(to.host().unwrap_or_default(), port(to))
        .await?;
    let tcp = happy_eyeballs::connect_first(&addresses).await?;
    // Without this, a head and a body that leave as two packets may wait for each other.
    tcp.set_nodelay(true)?;
    Ok(TokioIo::new(tcp))
}

/// Returns host and port. The port is the default one if the URL has none.
fn authority(to: &Uri) -> String {
    format!("{}:{}", to.host().unwrap_or_default(), port(to))
}

fn port(to: &Uri) -> u16 {
    to.port_u16()
        .unwrap_or(if to.scheme_str() == Some("https") {
            443
        } else {
            80
        })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::sync::mpsc;

    use http_body_util::Full;

    use tokio::time::timeout;

    use super::*;
    use crate::net::RequestLimits;
    use crate::net::happy_eyeballs::tests::unresponsive_address;

    const LIMITS: RequestLimits = RequestLimits {
        deadline: std::time::Duration::from_secs(15),
        response_bytes_max: 1000,
    };

    /// Starts a proxy for one connection. For each exchange, the proxy reads a number of bytes and
    /// sends the response. The receiver gets the bytes that the proxy read.
    fn test_proxy(exchanges: Vec<(usize, &'static [u8])>) -> (SocketAddr, mpsc::Receiver<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (received_tx, received_rx) = mpsc::channel();
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            for (wanted, response) in exchanges {
                let mut read = Vec::new();
                let mut chunk = [0; 1024];
                // The proxy reads `wanted` bytes, or a complete HTTP head if `wanted` is 0.
                while if wanted == 0 {
                    !read.ends_with(b"\r\n\r\n")
                } else {
                    read.len() < wanted
                } {
                    match socket.read(&mut chunk) {
                        Ok(0) | Err(_) => break,
                        Ok(some) => read.extend_from_slice(&chunk[..some]),
                    }
                }
                let _ = received_tx.send(read);
                socket.write_all(response).unwrap();
            }
        });
        (address, received_rx)
    }

    async fn post_through(proxy: &str, auth: Option<&str>, url: &str) -> Result<u16, String> {
        let proxy = Proxy::new(proxy.parse().unwrap(), auth).unwrap();
        let client = proxy
            .client(&TlsConfig::load().unwrap(), AddressPolicy::PublicOnly)
            .clone();
        let request = Request::post(url).body(Full::default()).unwrap();
        client
            .request(request, LIMITS)
            .await
            .map(|reply| reply.status.as_u16())
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn first_responding_address_is_connected() {
        let (mute, _listener) = unresponsive_address();
        let port = mute.port();
        let listener = TcpListener::bind(("127.0.0.2", port)).unwrap();
        let mut connector = Connector::new(AddressPolicy::Any, None);
        connector.resolver.fixed_addresses = vec![mute.ip(), "127.0.0.2".parse().unwrap()];
        let connected = timeout(
            LIMITS.deadline,
            connector.call(format!("http://crm.example:{port}/").parse().unwrap()),
        );
        let socket = connected.await.expect("within the deadline").unwrap();
        assert_eq!(
            socket.inner().peer_addr().unwrap(),
            listener.local_addr().unwrap()
        );
    }

    #[tokio::test]
    async fn http_request_is_tunneled_to_default_port() {
        let (address, received) = test_proxy(vec![
            (0, b"HTTP/1.1 200 So\r\n\r\n"),
            (0, b"HTTP/1.1 204 No Content\r\n\r\n"),
        ]);
        let status = post_through(
            &format!("http://{address}"),
            Some("ann:hush"),
            "http://crm.example/hook",
        )
        .await;
        assert_eq!(status, Ok(204));
        let requests: Vec<String> = received
            .iter()
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .collect();
        assert!(
            requests[0].starts_with("CONNECT crm.example:80 HTTP/1.1\r\n"),
            "{requests:?}"
        );
        assert!(
            requests[0]
                .to_lowercase()
                .contains("proxy-authorization: basic yw5uomh1c2g="),
            "{requests:?}"
        );
        assert!(
            requests[1].starts_with("POST /hook HTTP/1.1\r\n")
                && !requests[1].to_lowercase().contains("basic"),
            "{requests:?}"
        );
    }

    #[tokio::test]
    async fn proxy_error_names_proxy_and_status() {
        for (response, auth, why) in [
            (
                &b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"[..],
                None,
                "responded with 502 Bad Gateway to CONNECT crm.example:443",
            ),
            (
                b"HTTP/1.1 407 So\r\n\r\n",
                None,
                "requires user and password (407): set `proxy_auth`",
            ),
            (
                b"HTTP/1.1 407 So\r\n\r\n",
                Some("ann:hush"),
                "rejected the user and password of `proxy_auth` (407)",
            ),
            (
                b"220 mail.example\r\n\r\n",
                None,
                "closed the connection during CONNECT crm.example:443",
            ),
            (b"HTTP/1.1 200 So\r\n\r\nmore", None, "sent unexpected data"),
            (
                b"",
                None,
                "closed the connection during CONNECT crm.example:443",
            ),
        ] {
            let (address, _received) = test_proxy(vec![(0, response)]);
            let error = post_through(
                &format!("http://{address}"),
                auth,
                "https://crm.example/hook",
            )
            .await
            .unwrap_err();
            assert!(
                error.starts_with(&format!("can't reach crm.example: the proxy {address} ")),
                "{error}"
            );
            assert!(error.contains(why) && !error.contains("hush"), "{error}");
        }
        let closed_address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        for scheme in ["http", "socks5"] {
            let error = post_through(
                &format!("{scheme}://{closed_address}"),
                None,
                "https://crm.example/",
            )
            .await
            .unwrap_err();
            assert!(
                error.contains(&format!(
                    "the proxy {closed_address} can't be reached: Connection refused"
                )),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn socks5_proxy_resolves_name() {
        let (address, received) = test_proxy(vec![
            (3, b"\x05\x02"),
            (10, b"\x01\x00"),
            (18, b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"),
            (0, b"HTTP/1.1 204 No Content\r\n\r\n"),
        ]);
        let status = post_through(
            &format!("socks5://{address}"),
            Some("ann:hush"),
            "http://crm.example/",
        )
        .await;
        let requests: Vec<Vec<u8>> = received.iter().collect();
        assert_eq!(requests[1], b"\x01\x03ann\x04hush");
        assert_eq!(requests[2], b"\x05\x01\x00\x03\x0bcrm.example\x00\x50");
        assert_eq!(status, Ok(204));

        let (address, _received) = test_proxy(vec![(3, b"\x05\xff")]);
        let error = post_through(&format!("socks5://{address}"), None, "http://crm.example/")
            .await
            .unwrap_err();
        assert!(
            error.contains(&format!(
                "the proxy {address} did not connect to crm.example:80: "
            )),
            "{error}"
        );
    }

    #[tokio::test]
    async fn private_literal_is_not_requested_from_proxy() {
        let (address, received) = test_proxy(vec![(0, b"")]);
        let error = post_through(&format!("http://{address}"), None, "http://10.0.0.7/")
            .await
            .unwrap_err();
        assert!(error.contains("allow_private"), "{error}");
        assert!(received.try_recv().is_err(), "nobody came");
    }

    #[test]
    fn proxy_auth_is_validated_and_hidden() {
        let new = |auth: &str| Proxy::new("http://a:1".parse().unwrap(), Some(auth));
        for bad in ["", "ann", ":hush", "ann:", "ann:hu\nsh"] {
            assert_eq!(new(bad).unwrap_err(), InvalidProxyAuth, "{bad:?}");
        }
        let proxy = new("ann:hu:sh").unwrap();
        assert!(!format!("{proxy:?}").contains("hu:sh"));
        assert!(proxy == new("ann:hu:sh").unwrap() && proxy != new("ann:other").unwrap());
    }
}
