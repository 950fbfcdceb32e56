//! Fake proxy. It records the requested hosts (CONNECT) and connects every client to one address,
//! or refuses.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Request for a connection.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// Request line, such as `CONNECT crm.test:443 HTTP/1.1`.
    pub line: String,
    /// Header lines.
    pub head: Vec<String>,
}

/// Fake proxy. Its threads run until the test process exits.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    asked: Mutex<Vec<RecordedRequest>>,
    /// Refusal that replaces the connection. `None`: the proxy connects.
    refusal: Mutex<Option<&'static str>>,
}

impl Proxy {
    /// Starts a proxy that connects every request to `place`.
    pub fn connecting_to(place: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            shared: Arc::default(),
        };
        let shared = Arc::clone(&proxy.shared);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                // A client that closes early is not an error.
                std::thread::spawn(move || shared.serve(&socket, place));
            }
        });
        proxy
    }

    /// Sets the refusal: a status and its name. `None`: the proxy connects again.
    pub fn refuses(&self, refusal: Option<&'static str>) {
        *self.shared.refusal.lock().unwrap() = refusal;
    }

    /// Returns the address.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns all requests so far.
    pub fn asked(&self) -> Vec<RecordedRequest> {
        self.shared.asked.lock().unwrap().clone()
    }
}

impl Shared {
    fn serve(&self, socket: &TcpStream, place: SocketAddr) -> io::Result<()> {
        let mut lines = BufReader::new(socket.try_clone()?).lines();
        let mut head = Vec::new();
        while let Some(line) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
            head.push(line);
        }
        if head.is_empty() {
            return Ok(());
        }
        self.asked.lock().unwrap().push(RecordedRequest {
            line: head.remove(0),
            head,
        });
        let refusal = *self.refusal.lock().unwrap();
        if let Some(refusal) = refusal {
            let mut socket = socket;
            return socket
                .write_all(format!("HTTP/1.1 {refusal}\r\ncontent-length: 0\r\n\r\n").as_bytes());
        }
        let there = TcpStream::connect(place)?;
        let mut to_client = socket;
        to_client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        let (mut from, mut to) = (socket.try_clone()?, there.try_clone()?);
        std::thread::spawn(move || {
            let carried = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
            carried
        });
        io::copy(&mut &there, &mut to_client)?;
        socket.shutdown(Shutdown::Both)
    }
}
