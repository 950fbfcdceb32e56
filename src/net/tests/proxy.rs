//! Tests connections through proxies, and their errors.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;

use tokio::time::timeout;
use tower_service::Service;

use super::support::{DEADLINE, fetch, refusing_address, unresponsive_address};
use crate::net::connector::Connector;
use crate::net::{AddressPolicy, InvalidProxyAuth, Proxy, TlsConfig};

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
    let client = proxy.client(&TlsConfig::load().unwrap(), AddressPolicy::PublicOnly);
    let response = fetch(client.clone(), url.to_owned()).await;
    response
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
    let url = format!("http://crm.example:{port}/").parse().unwrap();
    let connected = timeout(DEADLINE, connector.call(url)).await;
    let socket = connected.expect("within the deadline").unwrap();
    let peer = socket.inner().peer_addr().unwrap();
    assert_eq!(peer, listener.local_addr().unwrap());
}

#[tokio::test]
async fn http_request_is_tunneled_to_default_port() {
    let (address, received) = test_proxy(vec![
        (0, b"HTTP/1.1 200 So\r\n\r\n"),
        (0, b"HTTP/1.1 204 No Content\r\n\r\n"),
    ]);
    let proxy = format!("http://{address}");
    let status = post_through(&proxy, Some("ann:hush"), "http://crm.example/hook").await;
    assert_eq!(status, Ok(204));
    let requests: Vec<String> = received
        .iter()
        .map(|bytes| String::from_utf8(bytes).unwrap())
        .collect();
    let [connect, post] = &requests[..] else {
        panic!("{requests:?}")
    };
    assert!(
        connect.starts_with("CONNECT crm.example:80 HTTP/1.1\r\n"),
        "{connect}"
    );
    let auth = "proxy-authorization: basic yw5uomh1c2g=";
    assert!(connect.to_lowercase().contains(auth), "{connect}");
    assert!(post.starts_with("POST /hook HTTP/1.1\r\n"), "{post}");
    assert!(!post.to_lowercase().contains("basic"), "{post}");
}

#[tokio::test]
async fn proxy_error_names_proxy_and_status() {
    let bad_gateway = &b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"[..];
    let required = b"HTTP/1.1 407 So\r\n\r\n";
    let early_data = b"HTTP/1.1 200 So\r\n\r\nmore";
    let responded = "responded with 502 Bad Gateway to CONNECT crm.example:443";
    let asks = "requires user and password (407): set `proxy_auth`";
    let rejected = "rejected the user and password of `proxy_auth` (407)";
    let closed = "closed the connection during CONNECT crm.example:443";
    for (response, auth, why) in [
        (bad_gateway, None, responded),
        (required, None, asks),
        (required, Some("ann:hush"), rejected),
        (b"220 mail.example\r\n\r\n", None, closed),
        (early_data, None, "sent unexpected data"),
        (b"", None, closed),
    ] {
        let (address, _received) = test_proxy(vec![(0, response)]);
        let proxy = format!("http://{address}");
        let posted = post_through(&proxy, auth, "https://crm.example/hook").await;
        let error = posted.unwrap_err();
        let start = format!("can't reach crm.example: the proxy {address} ");
        assert!(error.starts_with(&start), "{error}");
        assert!(error.contains(why) && !error.contains("hush"), "{error}");
    }
    let address = refusing_address();
    for scheme in ["http", "socks5"] {
        let proxy = format!("{scheme}://{address}");
        let posted = post_through(&proxy, None, "https://crm.example/").await;
        let error = posted.unwrap_err();
        let why = format!("the proxy {address} can't be reached: Connection refused");
        assert!(error.contains(&why), "{error}");
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
    let proxy = format!("socks5://{address}");
    let status = post_through(&proxy, Some("ann:hush"), "http://crm.example/").await;
    let requests: Vec<Vec<u8>> = received.iter().collect();
    assert_eq!(requests[1], b"\x01\x03ann\x04hush");
    assert_eq!(requests[2], b"\x05\x01\x00\x03\x0bcrm.example\x00\x50");
    assert_eq!(status, Ok(204));

    let (address, _received) = test_proxy(vec![(3, b"\x05\xff")]);
    let proxy = format!("socks5://{address}");
    let posted = post_through(&proxy, None, "http://crm.example/").await;
    let error = posted.unwrap_err();
    let why = format!("the proxy {address} did not connect to crm.example:80: ");
    assert!(error.contains(&why), "{error}");
}

#[tokio::test]
async fn private_literal_is_not_requested_from_proxy() {
    let (address, received) = test_proxy(vec![(0, b"")]);
    let posted = post_through(&format!("http://{address}"), None, "http://10.0.0.7/").await;
    let error = posted.unwrap_err();
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
