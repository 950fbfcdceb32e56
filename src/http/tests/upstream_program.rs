//! Provides an upstream for tests that responds, hangs or breaks off.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Reaction of the upstream to a request.
pub(super) enum ProgramAction {
    Respond(String),
    RespondAndClose(String),
    /// Sends one part, and the other part after this pause. The clock skips the pause.
    RespondInParts([String; 2], Duration),
    Hang,
}

/// Request as the upstream received it.
#[derive(Clone, Debug)]
pub(super) struct ReceivedRequest {
    /// Head in lower case.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    /// Index of the connection of the request, from 0.
    pub(super) connection: usize,
}

impl ReceivedRequest {
    pub(super) fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(known, _)| *known == name)
            .unwrap_or_else(|| panic!("no {name} in {}", self.head))
            .1
    }
}

/// Upstream for tests. Handles each request with the configured reaction.
#[derive(Clone)]
pub(super) struct TestProgram {
    pub(super) address: SocketAddr,
    requests: Arc<Mutex<Vec<ReceivedRequest>>>,
    action: Arc<Mutex<Box<dyn Fn() -> ProgramAction + Send>>>,
}

impl TestProgram {
    pub(super) async fn start(action: impl Fn() -> ProgramAction + Send + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), action)
    }

    pub(super) fn on(
        listener: TcpListener,
        action: impl Fn() -> ProgramAction + Send + 'static,
    ) -> Self {
        let action: Box<dyn Fn() -> ProgramAction + Send> = Box::new(action);
        let program = Self {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            action: Arc::new(Mutex::new(action)),
        };
        let running = program.clone();
        tokio::spawn(async move {
            for connection in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(running.clone().serve_connection(socket, connection));
            }
        });
        program
    }

    pub(super) fn set_action(&self, action: impl Fn() -> ProgramAction + Send + 'static) {
        *self.action.lock().unwrap() = Box::new(action);
    }

    pub(super) fn requests(&self) -> Vec<ReceivedRequest> {
        self.requests.lock().unwrap().clone()
    }

    async fn serve_connection(self, mut socket: TcpStream, connection: usize) {
        while let Some((head, body)) = read_request(&mut socket).await {
            self.requests.lock().unwrap().push(ReceivedRequest {
                head,
                body,
                connection,
            });
            let action = (self.action.lock().unwrap())();
            match action {
                ProgramAction::Respond(text) => socket.write_all(text.as_bytes()).await.unwrap(),
                ProgramAction::RespondAndClose(text) => {
                    // The client may have closed the connection after too many bytes.
                    let _ = socket.write_all(text.as_bytes()).await;
                    return;
                }
                ProgramAction::RespondInParts([first, second], pause) => {
                    socket.write_all(first.as_bytes()).await.unwrap();
                    tokio::time::pause();
                    tokio::time::sleep(pause).await;
                    tokio::time::resume();
                    // The client may have closed the connection at its timeout.
                    let _ = socket.write_all(second.as_bytes()).await;
                }
                ProgramAction::Hang => std::future::pending().await,
            }
        }
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head
        .split("content-length: ")
        .nth(1)?
        .lines()
        .next()?
        .parse()
        .ok()?;
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

pub(super) fn http(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(super) fn success() -> ProgramAction {
    ProgramAction::Respond(http("200 OK", r#"{"screen":"NEXT","data":{"a":[1]}}"#))
}

pub(super) fn server_error() -> ProgramAction {
    ProgramAction::Respond(http("500 Internal Server Error", "Ann's form made a mess"))
}
