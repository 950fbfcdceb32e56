//! Provides servers that respond, hang or never accept, and requests to them.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use tokio::net::TcpSocket;
use tokio::sync::oneshot;

use crate::net::{AddressPolicy, DecidedBy, FullResponse, HttpClient, NetError, ResponsePrefix};

pub(super) const DEADLINE: Duration = Duration::from_secs(15);

/// Starts a server that responds to one request with these bytes. Then it leaves the connection
/// open or closes it. The receiver gets a message after the response.
pub(super) fn responding_server(
    bytes: &'static [u8],
    stays_open: bool,
) -> (SocketAddr, oneshot::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (answered_tx, answered_rx) = oneshot::channel();
    std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(&socket).lines();
        let has_head = lines.any(|line| line.is_ok_and(|line| line.is_empty()));
        assert!(has_head, "the end of the head");
        (&socket).write_all(bytes).unwrap();
        let _ = answered_tx.send(());
        if stays_open {
            // Wait until the client has closed the connection.
            let _ = lines.next();
        }
    });
    (address, answered_rx)
}

/// Starts a listener that accepts one connection and never sends a byte. The receiver gets a
/// message after the first bytes from the client.
pub(super) fn silent_server() -> (SocketAddr, oneshot::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (received_tx, received_rx) = oneshot::channel();
    std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(&socket);
        let is_empty = reader.fill_buf().unwrap().is_empty();
        assert!(!is_empty, "the client sent something");
        let _ = received_tx.send(());
        // Wait until the client has closed the connection.
        let _ = std::io::copy(&mut reader, &mut std::io::sink());
    });
    (address, received_rx)
}

/// Returns an address that never responds, because the queue of its listener is full. The
/// address stays unresponsive until the caller drops the second value.
pub(super) fn unresponsive_address() -> (SocketAddr, impl Sized) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(queued) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        queue.push(queued);
    }
    (address, (listener, queue))
}

/// Returns an address without a listener.
pub(super) fn refusing_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Returns a client for any address.
pub(super) fn client() -> HttpClient {
    HttpClient::new(AddressPolicy::Any).unwrap()
}

pub(super) fn request(url: &str) -> Request<Full<Bytes>> {
    Request::post(url).body(Full::default()).unwrap()
}

/// Sends a request and returns the complete response, of at most 1000 bytes.
pub(super) async fn fetch(client: HttpClient, url: String) -> Result<FullResponse, NetError> {
    let response = client.send(request(&url), DEADLINE).await?;
    response.read_full(1000).await
}

/// Sends a request and returns the beginning of the response.
pub(super) async fn post(client: HttpClient, url: String) -> Result<ResponsePrefix, NetError> {
    let decided_by = DecidedBy::Status;
    client.post(request(&url), DEADLINE, 8, decided_by).await
}
