//! Fake Graph API. It sends the responses of a test and records the requests.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Certificate of `localhost`. A command trusts it only through `SSL_CERT_FILE`.
pub const CERTIFICATE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/tls/localhost_certificate.pem"
);

/// Recorded request.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// Request line, such as `GET /v26.0/… HTTP/1.1`.
    pub line: String,
    /// Header names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl RecordedRequest {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Fake Graph API. Its thread runs until the test process exits.
pub struct Graph {
    address: SocketAddr,
    scheme: &'static str,
    asked: Arc<Mutex<Vec<RecordedRequest>>>,
}

impl Graph {
    /// Answers each request with these bytes.
    pub fn answering(answer: impl Fn(&RecordedRequest) -> Vec<u8> + Send + 'static) -> Self {
        Self::start("http", move |socket, asked| serve(socket, &answer, asked))
    }

    /// Answers each request with the head of these bytes, and with the rest after `pause`.
    pub fn answering_slowly(
        pause: Duration,
        answer: impl Fn(&RecordedRequest) -> Vec<u8> + Send + 'static,
    ) -> Self {
        Self::start("http", move |socket, asked| {
            serve(Slow { socket, pause }, &answer, asked)
        })
    }

    /// Answers with these responses in order, and repeats the last one.
    pub fn answering_in_turn(answers: Vec<Vec<u8>>) -> Self {
        let turn = AtomicUsize::new(0);
        Self::answering(move |_| {
            let turn = turn.fetch_add(1, Ordering::SeqCst);
            answers[turn.min(answers.len() - 1)].clone()
        })
    }

    /// Answers each request over TLS, as `localhost`.
    pub fn answering_over_tls(
        answer: impl Fn(&RecordedRequest) -> Vec<u8> + Send + 'static,
    ) -> Self {
        let config = localhost();
        Self::start("https", move |socket, asked| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            serve(StreamOwned::new(connection, socket), &answer, asked)
        })
    }

    fn start(
        scheme: &'static str,
        serve: impl Fn(std::net::TcpStream, &Mutex<Vec<RecordedRequest>>) -> std::io::Result<()>
        + Send
        + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let graph = Self {
            address: listener.local_addr().unwrap(),
            scheme,
            asked: Arc::default(),
        };
        let asked = Arc::clone(&graph.asked);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                // Some tests close the connection early.
                let _ = serve(socket.unwrap(), &asked);
            }
        });
        graph
    }

    /// Returns the lines of `[meta]` that select this server.
    pub fn meta(&self) -> String {
        let (scheme, port) = (self.scheme, self.address.port());
        format!("graph_url = \"{scheme}://localhost:{port}\"\n")
    }

    /// Returns the address.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the requests since the last call.
    pub fn asked(&self) -> Vec<RecordedRequest> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// Returns the TLS config of `localhost`.
pub fn localhost() -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_file(CERTIFICATE).unwrap()];
    let key =
        PrivateKeyDer::from_pem_slice(include_bytes!("../../fixtures/tls/localhost_private.pem"))
            .unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ));
    let config = config
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth();
    Arc::new(config.with_single_cert(chain, key).unwrap())
}

/// Returns the response to an accepted message.
pub fn taken(wamid: &str) -> Vec<u8> {
    json(
        200,
        &serde_json::json!({"messaging_product": "whatsapp", "contacts": [], "messages": [{"id": wamid}]}),
    )
}

/// Returns the response to a refused message with this error code.
pub fn refused(status: u16, code: i64) -> Vec<u8> {
    json(
        status,
        &serde_json::json!({"error": {"message": "No.", "type": "OAuthException", "code": code}}),
    )
}

/// Returns a complete response with a JSON body. The response announces the end of the connection,
/// because [`serve`] closes it. Without this header, a client could send its next request on the
/// closed connection.
pub fn json(status: u16, body: &serde_json::Value) -> Vec<u8> {
    let body = body.to_string();
    let head =
        format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-type: application/json");
    format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Connection that delays the body of a response after its head.
struct Slow {
    socket: TcpStream,
    pause: Duration,
}

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buffer)
    }
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .map_or(bytes.len(), |at| at + 4);
        self.socket.write_all(&bytes[..end])?;
        // The client sends nothing while it waits. The read returns early if the client is gone.
        self.socket.set_read_timeout(Some(self.pause))?;
        let _ = self.socket.read(&mut [0]);
        self.socket.write_all(&bytes[end..])?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// Handles one request and closes the connection.
fn serve(
    stream: impl Read + Write,
    answer: &impl Fn(&RecordedRequest) -> Vec<u8>,
    asked: &Mutex<Vec<RecordedRequest>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        Ok::<_, std::io::Error>(line.trim_end().to_owned())
    };
    let mut request = RecordedRequest {
        line: line()?,
        headers: Vec::new(),
        body: String::new(),
    };
    while let Some((name, value)) = line()?.split_once(": ") {
        request
            .headers
            .push((name.to_lowercase(), value.to_owned()));
    }
    let length = request
        .header("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    request.body = String::from_utf8(body).map_err(|_| ErrorKind::InvalidData)?;
    asked.lock().unwrap().push(request.clone());
    let mut stream = reader.into_inner();
    stream.write_all(&answer(&request))?;
    stream.flush()
}
