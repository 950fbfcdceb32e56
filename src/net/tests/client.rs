//! Tests the requests of the client: deadlines, pooled connections, allowed addresses, and whether
//! a failed request was surely not sent.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::Duration;

use tokio::sync::oneshot;

use super::support::{client, fetch, post, refusing_address, responding_server, silent_server};
use crate::net::address_policy::PRIVATE_ADDRESS_ERROR;
use crate::net::{AddressPolicy, HttpClient, NetError, PoolLimits, Proxy, TlsConfig};

#[tokio::test]
async fn redirects_are_returned_not_followed() {
    let raw_response =
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 4\r\n\r\nbody";
    let (address, _) = responding_server(raw_response, true);
    let response = fetch(client(), format!("http://{address}/")).await.unwrap();
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
        let pending = tokio::spawn(fetch(client(), format!("http://{address}/")));
        answered.await.unwrap();
        // From here on, the paused time advances when the runtime is idle.
        tokio::time::pause();
        let error = pending.await.unwrap().unwrap_err();
        tokio::time::resume();
        let why = format!("no complete response from {address} within 15 s");
        assert_eq!(error.to_string(), why);
    }
}

#[tokio::test]
async fn failed_connection_sent_nothing() {
    let tls = TlsConfig {
        has_roots: true,
        ..TlsConfig::load().unwrap()
    };
    let proxied = |scheme: &str, address| {
        let url = format!("{scheme}://{address}").parse().unwrap();
        let proxy = Proxy::new(url, None).unwrap();
        proxy.client(&tls, AddressPolicy::Any).clone()
    };
    for scheme in ["https", "http", "socks5"] {
        let (address, received) = silent_server();
        let (client, host) = match scheme {
            // The TLS handshake is never finished.
            "https" => (
                HttpClient::with_tls(&tls, AddressPolicy::Any, None),
                address.to_string(),
            ),
            // The proxy never confirms the tunnel.
            _ => (proxied(scheme, address), "crm.example".to_owned()),
        };
        let url = format!(
            "{}://{host}/",
            if scheme == "https" { "https" } else { "http" }
        );
        let pending = tokio::spawn(post(client, url));
        received.await.unwrap();
        tokio::time::pause();
        let error = pending.await.unwrap().unwrap_err();
        tokio::time::resume();
        let is_unreachable = matches!(error, NetError::Unreachable { .. });
        assert!(is_unreachable, "{scheme}: {error}");
        let why = format!("can't reach {host}: no connection within 15 s");
        assert_eq!(error.to_string(), why, "{scheme}");
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
    let (client, url) = (client(), format!("http://{address}/"));
    let first = post(client.clone(), url.clone()).await.unwrap();
    assert_eq!(first.status, 204);
    let pending = tokio::spawn(post(client, url));
    received_rx.await.unwrap();
    tokio::time::pause();
    let error = pending.await.unwrap().unwrap_err();
    assert!(matches!(error, NetError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn truncated_response_differs_from_unreachable_server() {
    for response in [
        &b""[..],
        b"HTTP/1.1 20",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal",
        b"hello\r\n\r\n",
    ] {
        let (address, _) = responding_server(response, false);
        let fetched = fetch(client(), format!("http://{address}/")).await;
        let error = fetched.unwrap_err();
        assert!(matches!(error, NetError::Disconnected { .. }), "{error}");
    }
    let free = refusing_address();
    let error = fetch(client(), format!("http://{free}/"))
        .await
        .unwrap_err();
    assert!(matches!(error, NetError::Unreachable { .. }), "{error}");
    let why = format!("can't reach {free}: Connection refused");
    assert!(error.to_string().starts_with(&why), "{error}");
}

#[tokio::test]
async fn https_requires_root_certificates() {
    let without_roots = TlsConfig {
        has_roots: false,
        ..TlsConfig::load().unwrap()
    };
    for client in [
        HttpClient::with_tls(&without_roots, AddressPolicy::Any, None),
        HttpClient::plaintext(AddressPolicy::Any, PoolLimits::default()),
    ] {
        let (address, _) = responding_server(b"HTTP/1.1 204 No Content\r\n\r\n", false);
        let secure = post(client.clone(), format!("https://{address}/")).await;
        let error = secure.unwrap_err();
        assert!(matches!(error, NetError::NoRootCertificates), "{error}");
        let plain = post(client, format!("http://{address}/")).await.unwrap();
        assert_eq!(plain.status, 204);
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
    let client = client();
    let mut connections = Vec::new();
    for idle_secs in [0, 1, 5] {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(idle_secs)).await;
        tokio::time::resume();
        let response = post(client.clone(), format!("http://{address}/")).await;
        assert_eq!(response.unwrap().status, 204);
        connections.push(peer_rx.recv().await.unwrap());
    }
    assert!(connections[0] == connections[1], "it serves again");
    assert!(
        connections[1] != connections[2],
        "many servers close what is idle after 5 s"
    );
}

#[tokio::test]
async fn private_addresses_are_not_connected() {
    let (address, mut answered) = responding_server(b"HTTP/1.1 204 No Content\r\n\r\n", false);
    let client = HttpClient::new(AddressPolicy::PublicOnly).unwrap();
    for host in [address.to_string(), format!("localhost:{}", address.port())] {
        let posted = post(client.clone(), format!("http://{host}/")).await;
        let why = format!("can't reach {host}: {PRIVATE_ADDRESS_ERROR}");
        assert_eq!(posted.unwrap_err().to_string(), why);
    }
    drop(client);
    assert!(answered.try_recv().is_err(), "nobody came");
}
