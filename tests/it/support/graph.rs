//! A stand-in for the Graph API: answers what the story says, and remembers what it was asked.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What `localhost` shows that it is, and that nobody trusts unless told to: `SSL_CERT_FILE` for a command.
pub const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls/localhost_certificate.pem");

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `GET /v26.0/… HTTP/1.1`.
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Asked {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The stand-in. Its thread ends with the tests.
pub struct Graph {
    address: SocketAddr,
    scheme: &'static str,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Graph {
    /// Answers each request with these bytes.
    pub fn answering(answer: impl Fn(&Asked) -> Vec<u8> + Send + 'static) -> Self {
        Self::start("http", move |socket, asked| serve(socket, &answer, asked))
    }

    /// Answers each request with the head of these bytes, and with the rest only `pause` later.
    pub fn answering_slowly(pause: Duration, answer: impl Fn(&Asked) -> Vec<u8> + Send + 'static) -> Self {
        Self::start("http", move |socket, asked| serve(Slow { socket, pause }, &answer, asked))
    }

    /// Answers with these bytes, one after the other, and with the last ones from then on.
    pub fn answering_in_turn(answers: Vec<Vec<u8>>) -> Self {
        let turn = AtomicUsize::new(0);
        Self::answering(move |_| {
            let turn = turn.fetch_add(1, Ordering::SeqCst);
            answers[turn.min(answers.len() - 1)].clone()
        })
    }

    /// The same over TLS, as `localhost`.
    pub fn answering_over_tls(answer: impl Fn(&Asked) -> Vec<u8> + Send + 'static) -> Self {
        let config = localhost();
        Self::start("https", move |socket, asked| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            serve(StreamOwned::new(connection, socket), &answer, asked)
        })
    }

    fn start(
        scheme: &'static str,
        serve: impl Fn(std::net::TcpStream, &Mutex<Vec<Asked>>) -> std::io::Result<()> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let graph = Self { address: listener.local_addr().unwrap(), scheme, asked: Arc::default() };
        let asked = Arc::clone(&graph.asked);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                // A client that leaves early is what some stories are about.
                let _ = serve(socket.unwrap(), &asked);
            }
        });
        graph
    }

    /// The lines of `[meta]` that lead here.
    pub fn meta(&self) -> String {
        let (scheme, port) = (self.scheme, self.address.port());
        format!("graph_url = \"{scheme}://localhost:{port}\"\n")
    }

    /// Where it is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that it was asked since this was called last.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// TLS as `localhost`.
pub fn localhost() -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_file(CERTIFICATE).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../../fixtures/tls/localhost_private.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(config.with_single_cert(chain, key).unwrap())
}

/// The answer to a message that was taken.
pub fn taken(wamid: &str) -> Vec<u8> {
    json(200, &serde_json::json!({"messaging_product": "whatsapp", "contacts": [], "messages": [{"id": wamid}]}))
}

/// The answer to a message that was not, for this reason.
pub fn refused(status: u16, code: i64) -> Vec<u8> {
    json(status, &serde_json::json!({"error": {"message": "No.", "type": "OAuthException", "code": code}}))
}

/// A whole answer with a JSON body. Says that the connection ends with it, as [`serve`] ends it: a client that kept it
/// could be writing its next request into the end.
pub fn json(status: u16, body: &serde_json::Value) -> Vec<u8> {
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-type: application/json");
    format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A connection over which the body of an answer comes later than its head.
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
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
        self.socket.write_all(&bytes[..end])?;
        // Nothing comes: the client waits. Ends early where it leaves.
        self.socket.set_read_timeout(Some(self.pause))?;
        let _ = self.socket.read(&mut [0]);
        self.socket.write_all(&bytes[end..])?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// One request, one answer, the end of the connection.
fn serve(
    stream: impl Read + Write,
    answer: &impl Fn(&Asked) -> Vec<u8>,
    asked: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        Ok::<_, std::io::Error>(line.trim_end().to_owned())
    };
    let mut request = Asked { line: line()?, headers: Vec::new(), body: String::new() };
    while let Some((name, value)) = line()?.split_once(": ") {
        request.headers.push((name.to_lowercase(), value.to_owned()));
    }
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    request.body = String::from_utf8(body).map_err(|_| ErrorKind::InvalidData)?;
    asked.lock().unwrap().push(request.clone());
    let mut stream = reader.into_inner();
    stream.write_all(&answer(&request))?;
    stream.flush()
}
