//! The way to a destination: straight there, or through the proxy that the config names for it. Nobody else's, such as the
//! environment's, is asked.
//!
//! A proxy leads to a host and a port and carries octets from then on (RFC 9110, 9.3.6; RFC 1928): TLS is between us and the
//! destination. It looks the name up, so what that leads to is the proxy's to judge. Until it says that it leads there, nothing
//! of a request has left.

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

use super::reach::Resolver;
use super::{Outgoing, Reach, Trust, race};

type Socket = TokioIo<TcpStream>;
type Failure = Box<dyn Error + Send + Sync>;

/// A proxy, and the client that goes through it once something has. Its user and password are not shown.
#[derive(Clone)]
pub struct Proxy {
    /// `http://HOST:PORT` or `socks5://HOST:PORT`.
    url: Uri,
    /// `user:password`.
    auth: Option<Zeroizing<String>>,
    client: OnceLock<Outgoing>,
}

/// A user and a password that are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is to be \"user:password\" in visible characters, each up to 255 of them")]
pub struct InvalidProxyAuth;

impl Proxy {
    /// The proxy at `url`, which is told `auth`, a user and a password with a colon between.
    ///
    /// # Errors
    /// [`InvalidProxyAuth`].
    pub fn new(url: Uri, auth: Option<&str>) -> Result<Self, InvalidProxyAuth> {
        let is_one = |text: &str| {
            let parts = text.split_once(':').map(|(user, password)| [user, password]);
            // SOCKS has a byte for the length of each (RFC 1929, 2).
            parts.is_some_and(|parts| parts.iter().all(|part| (1..=255).contains(&part.len())))
                && !text.chars().any(char::is_control)
        };
        if auth.is_some_and(|text| !is_one(text)) {
            return Err(InvalidProxyAuth);
        }
        Ok(Self { url, auth: auth.map(|text| Zeroizing::new(text.to_owned())), client: OnceLock::new() })
    }

    /// The client that goes through it, to whatever of `reach` is written as an address.
    #[must_use]
    pub fn client(&self, trust: &Trust, reach: Reach) -> &Outgoing {
        self.client.get_or_init(|| Outgoing::with(trust, reach, Some(self)))
    }
}

impl PartialEq for Proxy {
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url && self.auth == other.auth
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("url", &self.url).finish_non_exhaustive()
    }
}

/// How a destination is connected to.
#[derive(Clone)]
pub(super) struct Way {
    resolver: Resolver,
    proxy: Option<Arc<Proxy>>,
}

/// A proxy that does not lead there.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {proxy} {why}")]
struct NoWay {
    proxy: String,
    why: String,
}

impl Way {
    pub(super) fn new(reach: Reach, proxy: Option<&Proxy>) -> Self {
        // The proxy itself was named by whoever runs this machine.
        let reach = if proxy.is_some() { Reach::Anywhere } else { reach };
        let resolver = Resolver::new(reach);
        Self { resolver, proxy: proxy.map(|proxy| Arc::new(Proxy { client: OnceLock::new(), ..proxy.clone() })) }
    }
}

impl Service<Uri> for Way {
    type Response = Socket;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Socket, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let resolver = self.resolver.clone();
        let Some(proxy) = self.proxy.clone() else {
            return Box::pin(async move { connect(&resolver, &to).await.map_err(Into::into) });
        };
        Box::pin(async move {
            let connected = connect(&resolver, &proxy.url).await;
            let led = match connected {
                Err(error) => Err(format!("can't be reached: {error}")),
                Ok(socket) if proxy.url.scheme_str() == Some("socks5") => proxy.by_socks(socket, &to).await,
                Ok(socket) => proxy.by_connect(socket, &to).await,
            };
            let host = || proxy.url.authority().map(ToString::to_string).unwrap_or_default();
            led.map_err(|why| NoWay { proxy: host(), why }.into())
        })
    }
}

impl Proxy {
    /// Asks for a tunnel to `to`.
    async fn by_connect(&self, socket: Socket, to: &Uri) -> Result<Socket, String> {
        let broke = |error: &dyn Error| format!("broke off when asked for {}: {error}", place(to));
        let (mut asking, connection) =
            http1::handshake::<_, Empty<Bytes>>(socket).await.map_err(|error| broke(&error))?;
        // It ends with the tunnel's beginning, or with `asking`.
        tokio::spawn(connection.with_upgrades());
        let mut request = Request::connect(place(to)).header(HOST, place(to));
        if let Some(auth) = self.basic() {
            request = request.header(PROXY_AUTHORIZATION, auth);
        }
        let request = request.body(Empty::new()).map_err(|error| format!("can't be asked for {to}: {error}"))?;
        let answer = asking.send_request(request).await.map_err(|error| broke(&error))?;
        let status = answer.status();
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return Err(match self.auth {
                Some(_) => "does not take the user and password of `proxy_auth` (407)".to_owned(),
                None => "asks for a user and a password (407): write `proxy_auth`".to_owned(),
            });
        }
        if !status.is_success() {
            return Err(format!("answered {status} when asked for {}", place(to)));
        }
        let tunnel = hyper::upgrade::on(answer).await.map_err(|error| broke(&error))?;
        match tunnel.downcast::<Socket>() {
            // Whoever is behind it has not been spoken to yet.
            Ok(parts) if parts.read_buf.is_empty() => Ok(parts.io),
            _ => Err(format!("goes on talking when asked for {}", place(to))),
        }
    }

    /// Asks for a way to `to` by SOCKS.
    async fn by_socks(&self, socket: Socket, to: &Uri) -> Result<Socket, String> {
        let mut socks = SocksV5::new(self.url.clone(), Made(Some(socket)));
        let auth = self.auth.as_ref().and_then(|auth| auth.split_once(':'));
        if let Some((user, password)) = auth {
            socks = socks.with_auth(user.to_owned(), password.to_owned());
        }
        let asked = format!("{}://{}/", to.scheme_str().unwrap_or("http"), place(to)).parse();
        let asked = asked.map_err(|error| format!("can't be asked for {}: {error}", place(to)))?;
        socks.call(asked).await.map_err(|error| {
            let hint = if auth.is_none() { "; if it asks for a user and a password, write `proxy_auth`" } else { "" };
            format!("did not lead to {}: {error}{hint}", place(to))
        })
    }

    fn basic(&self) -> Option<HeaderValue> {
        let auth = self.auth.as_ref()?;
        let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(auth.as_bytes())));
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// A connection that is there already.
struct Made(Option<Socket>);

impl Service<Uri> for Made {
    type Response = Socket;
    type Error = io::Error;
    type Future = Ready<io::Result<Socket>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}

/// Connects to whichever address of the host of `to` answers.
async fn connect(resolver: &Resolver, to: &Uri) -> io::Result<Socket> {
    let addresses = resolver.addresses(to.host().unwrap_or_default(), port(to)).await?;
    let tcp = race::connect(&addresses).await?;
    // Without it, a head and a body that leave as two packets may wait for each other.
    tcp.set_nodelay(true)?;
    Ok(TokioIo::new(tcp))
}

/// Host and port, the latter also where it goes without saying.
fn place(to: &Uri) -> String {
    format!("{}:{}", to.host().unwrap_or_default(), port(to))
}

fn port(to: &Uri) -> u16 {
    to.port_u16().unwrap_or(if to.scheme_str() == Some("https") { 443 } else { 80 })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::sync::mpsc;

    use http_body_util::Full;

    use tokio::time::timeout;

    use super::super::Bounds;
    use super::super::race::tests::mute;
    use super::*;

    const BOUNDS: Bounds = Bounds { deadline: std::time::Duration::from_secs(15), answer_bytes_max: 1000 };

    /// A proxy for one connection that answers each of `turns` bytes with the bytes behind it, and tells what it read.
    fn proxy(turns: Vec<(usize, &'static [u8])>) -> (SocketAddr, mpsc::Receiver<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            for (wanted, answer) in turns {
                let mut read = Vec::new();
                let mut piece = [0; 1024];
                // A number of bytes, or a whole head.
                while if wanted == 0 { !read.ends_with(b"\r\n\r\n") } else { read.len() < wanted } {
                    match socket.read(&mut piece) {
                        Ok(0) | Err(_) => break,
                        Ok(some) => read.extend_from_slice(&piece[..some]),
                    }
                }
                let _ = tell.send(read);
                socket.write_all(answer).unwrap();
            }
        });
        (address, told)
    }

    async fn ask(proxy: &str, auth: Option<&str>, url: &str) -> Result<u16, String> {
        let proxy = Proxy::new(proxy.parse().unwrap(), auth).unwrap();
        let client = proxy.client(&Trust::load().unwrap(), Reach::PublicOnly).clone();
        let request = Request::post(url).body(Full::default()).unwrap();
        client.send(request, BOUNDS).await.map(|reply| reply.status.as_u16()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_host_is_reached_at_whichever_of_its_addresses_answers() {
        let (mute, _kept) = mute();
        let port = mute.port();
        let listener = TcpListener::bind(("127.0.0.2", port)).unwrap();
        let mut way = Way::new(Reach::Anywhere, None);
        way.resolver.fixed = vec![mute.ip(), "127.0.0.2".parse().unwrap()];
        let connected = timeout(BOUNDS.deadline, way.call(format!("http://crm.example:{port}/").parse().unwrap()));
        let socket = connected.await.expect("within the deadline").unwrap();
        assert_eq!(socket.inner().peer_addr().unwrap(), listener.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_plain_request_goes_through_a_tunnel_to_the_port_that_goes_without_saying() {
        let (address, told) = proxy(vec![(0, b"HTTP/1.1 200 So\r\n\r\n"), (0, b"HTTP/1.1 204 No Content\r\n\r\n")]);
        let status = ask(&format!("http://{address}"), Some("ann:hush"), "http://crm.example/hook").await;
        assert_eq!(status, Ok(204));
        let said: Vec<String> = told.iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect();
        assert!(said[0].starts_with("CONNECT crm.example:80 HTTP/1.1\r\n"), "{said:?}");
        assert!(said[0].to_lowercase().contains("proxy-authorization: basic yw5uomh1c2g="), "{said:?}");
        assert!(
            said[1].starts_with("POST /hook HTTP/1.1\r\n") && !said[1].to_lowercase().contains("basic"),
            "{said:?}"
        );
    }

    #[tokio::test]
    async fn a_proxy_that_leads_nowhere_is_named_with_what_it_answered() {
        for (answer, auth, why) in [
            (
                &b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"[..],
                None,
                "answered 502 Bad Gateway when asked for crm.example:443",
            ),
            (b"HTTP/1.1 407 So\r\n\r\n", None, "asks for a user and a password (407): write `proxy_auth`"),
            (b"HTTP/1.1 407 So\r\n\r\n", Some("ann:hush"), "does not take the user and password of `proxy_auth` (407)"),
            (b"220 mail.example\r\n\r\n", None, "broke off when asked for crm.example:443"),
            (b"HTTP/1.1 200 So\r\n\r\nmore", None, "goes on talking"),
            (b"", None, "broke off when asked for crm.example:443"),
        ] {
            let (address, _told) = proxy(vec![(0, answer)]);
            let error = ask(&format!("http://{address}"), auth, "https://crm.example/hook").await.unwrap_err();
            assert!(error.starts_with(&format!("can't reach crm.example: the proxy {address} ")), "{error}");
            assert!(error.contains(why) && !error.contains("hush"), "{error}");
        }
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for scheme in ["http", "socks5"] {
            let error = ask(&format!("{scheme}://{gone}"), None, "https://crm.example/").await.unwrap_err();
            assert!(error.contains(&format!("the proxy {gone} can't be reached: Connection refused")), "{error}");
        }
    }

    #[tokio::test]
    async fn a_socks_proxy_looks_the_name_up() {
        let (address, told) = proxy(vec![
            (3, b"\x05\x02"),
            (10, b"\x01\x00"),
            (18, b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"),
            (0, b"HTTP/1.1 204 No Content\r\n\r\n"),
        ]);
        let status = ask(&format!("socks5://{address}"), Some("ann:hush"), "http://crm.example/").await;
        let said: Vec<Vec<u8>> = told.iter().collect();
        assert_eq!(said[1], b"\x01\x03ann\x04hush");
        assert_eq!(said[2], b"\x05\x01\x00\x03\x0bcrm.example\x00\x50");
        assert_eq!(status, Ok(204));

        let (address, _told) = proxy(vec![(3, b"\x05\xff")]);
        let error = ask(&format!("socks5://{address}"), None, "http://crm.example/").await.unwrap_err();
        assert!(error.contains(&format!("the proxy {address} did not lead to crm.example:80: ")), "{error}");
    }

    #[tokio::test]
    async fn what_is_written_as_a_private_address_is_not_even_asked_for() {
        let (address, told) = proxy(vec![(0, b"")]);
        let error = ask(&format!("http://{address}"), None, "http://10.0.0.7/").await.unwrap_err();
        assert!(error.contains("allow_private"), "{error}");
        assert!(told.try_recv().is_err(), "nobody came");
    }

    #[test]
    fn a_user_and_a_password_have_a_colon_between_and_are_not_shown() {
        let new = |auth: &str| Proxy::new("http://a:1".parse().unwrap(), Some(auth));
        for bad in ["", "ann", ":hush", "ann:", "ann:hu\nsh"] {
            assert_eq!(new(bad).unwrap_err(), InvalidProxyAuth, "{bad:?}");
        }
        let proxy = new("ann:hu:sh").unwrap();
        assert!(!format!("{proxy:?}").contains("hu:sh"));
        assert!(proxy == new("ann:hu:sh").unwrap() && proxy != new("ann:other").unwrap());
    }
}
