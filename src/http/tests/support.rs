//! A server in this process, with a store of its own, and a sender that says what no library would.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::current::Current;
use crate::gateways::Board;
use crate::http::{AdminServer, App, Limits, Reserved, Trust, Watch};
use crate::intake::{Catalog, Signers};
use crate::store::{Store, StoreOptions, StoredSubmission};

const SECRET: &str = "an app secret";
/// Longer than any deadline that a test waits for.
const PATIENCE: Duration = Duration::from_secs(20);

/// One flow without declared screens, short deadlines, small bodies.
pub(super) const STRICT: &str = r#"
[limits]
flow_body = "2KiB"
body = "64KiB"
header_timeout = "200ms"
idle = "2s"
drain_timeout = "0s"

[flows.form]
path = "/form"
"#;

/// A server that runs until it is dropped.
pub(super) struct Running {
    address: SocketAddr,
    admin_address: SocketAddr,
    pub(super) store: Store,
    stop: Option<oneshot::Sender<()>>,
    ended: Option<JoinHandle<()>>,
    runtime: Runtime,
    _folder: TempDir,
}

impl Running {
    /// Starts a server with `config` and a fresh store.
    pub(super) fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mut options = StoreOptions::new(folder.path().join("data.redb"));
        options.free_space_min = 1;
        let store = Store::start(options, Arc::clone(&clock)).unwrap();
        store.wait_open().unwrap();
        let config = Config::parse(Path::new("config.toml"), config).unwrap();
        let trust = Trust {
            signers: Signers::new(["a newer one", SECRET]),
            has_app_secret: true,
            verify_token: config.verify_token().unwrap(),
            keys: BTreeMap::new(),
            upstreams: BTreeMap::new(),
            doors: BTreeMap::new(),
        };
        let (catalog, limits) = (Catalog::from(&config), Limits::from(&config));
        let app = Current::new(
            App::new(catalog, trust, limits, store.clone(), clock, (Watch::default(), Board::default())).unwrap(),
        );
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let anywhere = ([127, 0, 0, 1], 0).into();
        let [server, admin] = [0; 2].map(|_| runtime.block_on(async { Reserved::at(anywhere)?.listen() }).unwrap());
        let (address, admin_address) = (server.local_addr(), admin.local_addr());
        let admin = AdminServer::new(admin);
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            let _ = stopped.await;
        };
        let ended = runtime.spawn(server.run(app, stopped, PATIENCE));
        runtime.spawn(admin.run(Arc::new(|| "flowgate_up 1\n".to_owned()), std::future::pending()));
        Self { address, admin_address, store, stop: Some(stop), ended: Some(ended), runtime, _folder: folder }
    }

    pub(super) fn connect(&self) -> Wire {
        Wire::to(self.address)
    }

    /// One request on a connection of its own.
    pub(super) fn ask(&self, request: &[u8]) -> Answer {
        self.connect().ask(request)
    }

    /// The same where operators look.
    pub(super) fn ask_admin(&self, request: &[u8]) -> Answer {
        Wire::to(self.admin_address).ask(request)
    }

    /// Asks the server to end, without waiting for it.
    pub(super) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until nobody is let in any more.
    pub(super) fn wait_refused(&self) {
        while TcpStream::connect(self.address).is_ok() {}
    }

    /// Waits until the server has ended.
    pub(super) fn wait(&mut self) {
        self.runtime.block_on(self.ended.take().unwrap()).unwrap();
    }

    /// Submissions in the store.
    pub(super) fn submissions(&self) -> usize {
        self.store.read().unwrap().list_all::<StoredSubmission>().unwrap().len()
    }
}

/// One connection.
pub(super) struct Wire {
    socket: TcpStream,
    rest: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// In lower case.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("no JSON ({why}): {self:?}"))
    }

    pub(super) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(super) fn closes(&self) -> bool {
        self.head.contains("\r\nconnection: close\r\n")
    }

    /// Fails unless this is an error in the shape that all of them have.
    pub(super) fn must_be(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{self:?}");
        assert!(self.json()["error"]["message"].as_str().is_some_and(|message| message.len() > 10), "{self:?}");
        assert!(self.head.contains("\r\ncontent-type: application/json\r\n"), "{self:?}");
    }
}

impl Wire {
    fn to(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { socket, rest: Vec::new() }
    }

    fn ask(&mut self, request: &[u8]) -> Answer {
        self.send(request);
        self.receive().unwrap()
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// Sends as much as is taken; says how much.
    pub(super) fn send_until_stuck(&mut self, bytes: &[u8], most: usize, patience: Duration) -> usize {
        self.socket.set_write_timeout(Some(patience)).unwrap();
        let mut sent = 0;
        while sent < most {
            match self.socket.write(bytes) {
                Ok(many) if many == bytes.len() => sent += many,
                Ok(many) => return sent + many,
                Err(_) => return sent,
            }
        }
        sent
    }

    pub(super) fn finish_sending(&self) {
        self.socket.shutdown(Shutdown::Write).unwrap();
    }

    /// One answer; the error says how the connection ended instead.
    pub(super) fn receive(&mut self) -> Result<Answer, ErrorKind> {
        self.receive_to(true)
    }

    /// One answer to a `HEAD`.
    pub(super) fn receive_head(&mut self) -> Result<Answer, ErrorKind> {
        self.receive_to(false)
    }

    fn receive_to(&mut self, with_body: bool) -> Result<Answer, ErrorKind> {
        let end = loop {
            match self.rest.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.read_more()?,
            }
        };
        let head = String::from_utf8(self.rest.drain(..end).collect()).unwrap().to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length =
            head.split("content-length: ").nth(1).map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
        let length: usize = if with_body { length } else { 0 };
        while self.rest.len() < length {
            self.read_more()?;
        }
        Ok(Answer { status, head, body: self.rest.drain(..length).collect() })
    }

    /// Waits for the end, which must come without another word.
    pub(super) fn must_end(&mut self) {
        assert_eq!(self.read_more(), Err(ErrorKind::UnexpectedEof));
    }

    fn read_more(&mut self) -> Result<(), ErrorKind> {
        let mut piece = [0; 16 * 1024];
        match self.socket.read(&mut piece) {
            Ok(0) => Err(ErrorKind::UnexpectedEof),
            Ok(many) => {
                self.rest.extend_from_slice(&piece[..many]);
                Ok(())
            }
            Err(error) => Err(error.kind()),
        }
    }
}

pub(super) fn signature(body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body);
    mac.finalize().into_bytes().iter().fold("sha256=".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// A `POST` with these headers.
pub(super) fn post(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

/// A `POST` as Meta sends it.
pub(super) fn signed(path: &str, body: &[u8]) -> Vec<u8> {
    post(path, &[("content-type", "application/json"), ("x-hub-signature-256", &signature(body))], body)
}

/// A form with this token.
pub(super) fn form(token: &str) -> Vec<u8> {
    format!(r#"{{"version":"3.0","action":"data_exchange","screen":"S","data":{{"a":"b"}},"flow_token":"{token}"}}"#)
        .into_bytes()
}
