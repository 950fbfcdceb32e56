//! A proxy as stories want it: it notes whom it is asked to lead to (CONNECT), and leads everybody to one place, or says no.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// One request for a way.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `CONNECT crm.test:443 HTTP/1.1`, if it is one.
    pub line: String,
    /// The other lines of its head.
    pub head: Vec<String>,
}

/// The proxy. Its threads end with the tests.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    asked: Mutex<Vec<Asked>>,
    /// What it says instead of leading anywhere.
    refusal: Mutex<Option<&'static str>>,
}

impl Proxy {
    /// One that leads to `place`, whatever it is asked for.
    pub fn leading_to(place: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self { address: listener.local_addr().unwrap(), shared: Arc::default() };
        let shared = Arc::clone(&proxy.shared);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                // Whoever leaves early ends it.
                std::thread::spawn(move || shared.serve(&socket, place));
            }
        });
        proxy
    }

    /// Says this from now on, a status and its name; nothing: leads on again.
    pub fn refuses(&self, refusal: Option<&'static str>) {
        *self.shared.refusal.lock().unwrap() = refusal;
    }

    /// Where it is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
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
        self.asked.lock().unwrap().push(Asked { line: head.remove(0), head });
        let refusal = *self.refusal.lock().unwrap();
        if let Some(refusal) = refusal {
            let mut socket = socket;
            return socket.write_all(format!("HTTP/1.1 {refusal}\r\ncontent-length: 0\r\n\r\n").as_bytes());
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
