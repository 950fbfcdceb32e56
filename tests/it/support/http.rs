//! HTTP/1.1 client on a plain socket. Tests can send any bytes, also bytes that no library would
//! send.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

/// App secret of every test server.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Maximum wait for a response. Longer than all deadlines of the server.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Response.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Header names in lower case, in the received order.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns the values of a header that may occur several times.
    pub fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.headers.iter().filter(move |(known, _)| known == name);
        named.map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("no JSON ({why}): {self:?}"))
    }

    /// Returns the code of an error body.
    pub fn code(&self) -> String {
        self.json()["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Returns `true` if the response accepts a submission.
    pub fn is_accepted(&self) -> bool {
        self.status == 200 && self.json()["screen"] == "SUCCESS_SCREEN"
    }

    /// Returns `true` if the response reports a duplicate.
    pub fn is_duplicate(&self) -> bool {
        self.status == 200 && self.json()["status"] == "already_processed"
    }
}

/// Returns `X-Hub-Signature-256` for `body`.
pub fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    mac.finalize()
        .into_bytes()
        .iter()
        .fold("sha256=".to_owned(), |text, byte| {
            format!("{text}{byte:02x}")
        })
}

/// Returns the bytes of a signed request with a JSON body.
pub fn signed_post(path: &str, body: &[u8]) -> Vec<u8> {
    let signature = signature(SECRET, body);
    post(
        path,
        &[
            ("content-type", "application/json"),
            ("x-hub-signature-256", &signature),
        ],
        body,
    )
}

/// Returns the bytes of a `POST` with exactly these headers and the headers that every `POST`
/// needs.
pub fn post(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nhost: flowgate.test\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

/// Keep-alive connection.
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
    /// Received bytes after the last parsed response.
    rest: Vec<u8>,
}

impl Connection {
    /// Opens a connection.
    ///
    /// # Errors
    /// Returns an error if no server listens at the address.
    pub fn open(to: SocketAddr) -> std::io::Result<Self> {
        let socket = TcpStream::connect(to)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(MAX_WAIT))?;
        Ok(Self {
            socket,
            rest: Vec::new(),
        })
    }

    /// Sends bytes without changes.
    ///
    /// # Errors
    /// Returns an error if the server is gone.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Closes the sending side of the connection.
    pub fn finish_sending(&self) {
        self.socket.shutdown(Shutdown::Write).unwrap();
    }

    /// Returns `true` if received bytes are waiting.
    pub fn is_answered(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let waiting = self.socket.peek(&mut [0]);
        self.socket.set_nonblocking(false).unwrap();
        waiting.is_ok()
    }

    /// Reads one response.
    ///
    /// # Errors
    /// Returns [`ErrorKind::UnexpectedEof`] if the connection closed before the response was
    /// complete. Returns another error if the connection broke.
    pub fn receive(&mut self) -> std::io::Result<Answer> {
        let head_end = loop {
            if let Some(at) = self.rest.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            self.read_more()?;
        };
        let head: Vec<u8> = self.rest.drain(..head_end + 4).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status: u16 = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut answer = Answer {
            status,
            headers,
            body: Vec::new(),
        };
        let length: usize = match answer.header("content-length") {
            Some(length) => length.parse().unwrap(),
            None if status == 100 || status == 304 => 0,
            None => panic!("an answer of ours has a length: {answer:?}"),
        };
        while self.rest.len() < length {
            self.read_more()?;
        }
        answer.body = self.rest.drain(..length).collect();
        Ok(answer)
    }

    /// Sends a request and reads its response.
    ///
    /// # Errors
    /// The errors of [`Connection::send`] and [`Connection::receive`].
    pub fn exchange(&mut self, request: &[u8]) -> std::io::Result<Answer> {
        self.send(request)?;
        self.receive()
    }

    /// Waits until the server closes the connection. Returns `true` if the server sent nothing
    /// more.
    pub fn closes_silently(&mut self) -> bool {
        match self.read_more() {
            Ok(()) => false,
            Err(why) => matches!(
                why.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
            ),
        }
    }

    fn read_more(&mut self) -> std::io::Result<()> {
        let mut piece = [0; 16 * 1024];
        match self.socket.read(&mut piece)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            many => {
                self.rest.extend_from_slice(&piece[..many]);
                Ok(())
            }
        }
    }
}
