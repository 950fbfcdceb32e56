//! Fake upstream of a flow. It records its requests and behaves as the test defines.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::Server;
use super::phone::PRIVATE_KEY;
use super::request::Request;

/// Secret that signs the requests to the upstream.
pub const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwU1A2D3F4";

/// Returns the config of a flow at `/home` whose upstream alone knows the screens. `more` contains
/// further keys of the upstream table.
pub fn flow(url: &str, more: &str) -> String {
    format!(
        r#"
[flows.home]
path = "/home"
encryption = "required"
private_keys = ["file:key.pem"]
lead = {{ team = "sales" }}
texts = {{ try_again = "Gleich noch einmal, bitte.", form_too_large = "Das ist zu viel." }}

[flows.home.upstream]
url = "{url}"
secret = "file:upstream.secret"
{more}
"#
    )
}

/// Starts a server with this config and with the key and the secret that [`flow`] names.
pub fn serve(tables: &str) -> Server {
    let mut server = Server::stopped(tables);
    fs::write(server.folder().join("key.pem"), PRIVATE_KEY).unwrap();
    fs::write(server.folder().join("upstream.secret"), SECRET).unwrap();
    server.start_again();
    server
}

/// Returns the request of a phone that sends a screen.
pub fn exchange(screen: &str, token: &str, data: &Value) -> Value {
    json!({"version": "3.0", "action": "data_exchange", "screen": screen, "flow_token": token, "data": data})
}

/// Behavior after a request.
pub enum Behavior {
    /// Responds with this status and body.
    Respond(u16, String),
    /// Sends these bytes and closes the connection.
    Break(&'static str),
    /// Sends no response.
    Hang,
}

impl Behavior {
    /// Returns a 200 response.
    pub fn show(answer: &Value) -> Self {
        Self::Respond(200, answer.to_string())
    }
}

type Respond = Arc<dyn Fn(&Request) -> Behavior + Send + Sync>;

/// Fake upstream. It runs until the test process exits, with one thread per connection.
pub struct ScriptedServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    reply_with: Mutex<Respond>,
    asked: Mutex<Vec<Request>>,
    /// Number of sent responses.
    response_count: Mutex<usize>,
}

impl ScriptedServer {
    /// Starts an upstream with the behavior `say`.
    pub fn start(reply_with: impl Fn(&Request) -> Behavior + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            reply_with: Mutex::new(Arc::new(reply_with)),
            asked: Mutex::default(),
            response_count: Mutex::default(),
        });
        let running = Arc::clone(&shared);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&running);
                std::thread::spawn(move || talk(&socket, &shared));
            }
        });
        Self { address, shared }
    }

    /// Replaces the behavior.
    pub fn set_behavior(&self, reply_with: impl Fn(&Request) -> Behavior + Send + Sync + 'static) {
        *self.shared.reply_with.lock().unwrap() = Arc::new(reply_with);
    }

    pub fn url(&self) -> String {
        format!("http://{}/flow", self.address)
    }

    /// Returns all requests so far, in order.
    pub fn asked(&self) -> Vec<Request> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// Returns the number of sent responses so far.
    pub fn response_count(&self) -> usize {
        *self.shared.response_count.lock().unwrap()
    }
}

fn talk(socket: &TcpStream, shared: &Shared) {
    let (mut from, mut to) = (BufReader::new(socket), socket);
    while let Some(request) = Request::read(&mut from) {
        shared.asked.lock().unwrap().push(request.clone());
        let reply_with = Arc::clone(&shared.reply_with.lock().unwrap());
        match reply_with(&request) {
            Behavior::Respond(status, body) => {
                let head = format!(
                    "HTTP/1.1 {status} So\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                // The client may be gone.
                if to
                    .write_all(&[head.as_bytes(), body.as_bytes()].concat())
                    .is_err()
                {
                    return;
                }
                *shared.response_count.lock().unwrap() += 1;
            }
            Behavior::Break(text) => {
                let _ = to.write_all(text.as_bytes());
                return;
            }
            // The loop stops when the client closes the connection.
            Behavior::Hang => while from.fill_buf().is_ok_and(|bytes| !bytes.is_empty()) {},
        }
    }
}
