//! The owner's program behind a flow: records what it is asked, and does with it what the story says.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::Server;
use super::phone::PRIVATE_KEY;
use super::request::Request;

/// What requests to it are signed with.
pub const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwU1A2D3F4";

/// A flow at `/home` with a program behind it that alone knows the screens. `more` goes into the table of the program.
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

/// A server of this config, with the key and the secret that [`flow`] names.
pub fn serve(tables: &str) -> Server {
    let mut server = Server::stopped(tables);
    fs::write(server.folder().join("key.pem"), PRIVATE_KEY).unwrap();
    fs::write(server.folder().join("upstream.secret"), SECRET).unwrap();
    server.start_again();
    server
}

/// What a phone says when its user sends a screen.
pub fn exchange(screen: &str, token: &str, data: &Value) -> Value {
    json!({"version": "3.0", "action": "data_exchange", "screen": screen, "flow_token": token, "data": data})
}

/// What the program does with a request.
pub enum Act {
    /// Answers with this status and body.
    Say(u16, String),
    /// Sends these bytes, and hangs up.
    Break(&'static str),
    /// Says nothing for as long as anybody waits.
    Hang,
}

impl Act {
    /// The answer of a program that is well.
    pub fn show(answer: &Value) -> Self {
        Self::Say(200, answer.to_string())
    }
}

type Say = Arc<dyn Fn(&Request) -> Act + Send + Sync>;

/// Answers until the test ends, each connection in a thread of its own.
pub struct Program {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    say: Mutex<Say>,
    asked: Mutex<Vec<Request>>,
    /// Answers that have left.
    said: Mutex<usize>,
}

impl Program {
    /// Starts one that does what `say` says.
    pub fn start(say: impl Fn(&Request) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared =
            Arc::new(Shared { say: Mutex::new(Arc::new(say)), asked: Mutex::default(), said: Mutex::default() });
        let running = Arc::clone(&shared);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&running);
                std::thread::spawn(move || talk(&socket, &shared));
            }
        });
        Self { address, shared }
    }

    /// From now on it does what `say` says.
    pub fn now_does(&self, say: impl Fn(&Request) -> Act + Send + Sync + 'static) {
        *self.shared.say.lock().unwrap() = Arc::new(say);
    }

    pub fn url(&self) -> String {
        format!("http://{}/flow", self.address)
    }

    /// All that it was asked so far, in order.
    pub fn asked(&self) -> Vec<Request> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// How many answers have left so far.
    pub fn said(&self) -> usize {
        *self.shared.said.lock().unwrap()
    }
}

fn talk(socket: &TcpStream, shared: &Shared) {
    let (mut from, mut to) = (BufReader::new(socket), socket);
    while let Some(request) = Request::read(&mut from) {
        shared.asked.lock().unwrap().push(request.clone());
        let say = Arc::clone(&shared.say.lock().unwrap());
        match say(&request) {
            Act::Say(status, body) => {
                let head = format!("HTTP/1.1 {status} So\r\ncontent-length: {}\r\n\r\n", body.len());
                // Whoever asked may have gone.
                if to.write_all(&[head.as_bytes(), body.as_bytes()].concat()).is_err() {
                    return;
                }
                *shared.said.lock().unwrap() += 1;
            }
            Act::Break(text) => {
                let _ = to.write_all(text.as_bytes());
                return;
            }
            // Ends when the other side does.
            Act::Hang => while from.fill_buf().is_ok_and(|bytes| !bytes.is_empty()) {},
        }
    }
}
