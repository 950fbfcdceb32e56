//! Provides a test server in this process with its own store, and a raw client that can send any
//! bytes.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::gateways::GatewayRegistry;
use crate::http::{AppState, BoundSocket, HealthMonitor, HttpConfig, InboundCredentials};
use crate::intake::{Catalog, SignatureVerifier};
use crate::reloadable::Reloadable;
use crate::store::{Store, StoreOptions, StoredSubmission};

const SECRET: &str = "an app secret";
/// Timeout of the tests, longer than any deadline that a test waits for.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Header of a JSON body.
pub(super) const JSON: (&str, &str) = ("content-type", "application/json");

/// Config with one flow without declared screens, short deadlines and small bodies.
pub(super) const STRICT: &str = r#"
[limits]
max_flow_body = "2KiB"
max_webhook_body = "64KiB"
header_timeout = "200ms"
idle_timeout = "2s"
drain_timeout = "0s"

[flows.form]
path = "/form"
"#;

/// Server that runs until it is dropped.
pub(super) struct TestServer {
    address: SocketAddr,
    pub(super) store: Store,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
    runtime: Runtime,
    _folder: TempDir,
}

impl TestServer {
    /// Starts a server with `config` and an empty store.
    pub(super) fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mut options = StoreOptions::new(folder.path().join("data.redb"));
        options.min_free_bytes = 1;
        let store = Store::start(options, Arc::clone(&clock)).unwrap();
        store.wait_open().unwrap();
        let config = Config::parse(Path::new("config.toml"), config).unwrap();
        let credentials = InboundCredentials {
            signature_verifier: SignatureVerifier::new(["a newer one", SECRET]),
            has_app_secret: true,
            verify_token: config.resolve_verify_token().unwrap(),
            private_keys: BTreeMap::new(),
            upstreams: BTreeMap::new(),
            lead_close_keys: Vec::new(),
            gateway_webhooks: BTreeMap::new(),
        };
        let catalog = Arc::new(Catalog::from(&config));
        let config = HttpConfig::new(catalog, credentials, config.limits, None);
        let config = Reloadable::new(config);
        let app = AppState::new(
            config.load(),
            store.clone(),
            clock,
            HealthMonitor::default(),
            GatewayRegistry::default(),
        )
        .unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let anywhere = ([127, 0, 0, 1], 0).into();
        let server = runtime
            .block_on(async { BoundSocket::bind(anywhere)?.listen() })
            .unwrap();
        let address = server.local_addr();
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let task = runtime.spawn(server.run(app, config, stopped, TIMEOUT));
        Self {
            address,
            store,
            stop,
            task: Some(task),
            runtime,
            _folder: folder,
        }
    }

    pub(super) fn connect(&self) -> RawConnection {
        RawConnection::connect(self.address)
    }

    /// Sends one request on a new connection.
    pub(super) fn send_request(&self, request: &[u8]) -> RawResponse {
        self.connect().exchange(request)
    }

    /// Starts the shutdown of the server without waiting.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until new connections are refused.
    pub(super) fn wait_refused(&self) {
        while TcpStream::connect(self.address).is_ok() {}
    }

    /// Waits until the server has stopped.
    pub(super) fn wait(&mut self) {
        self.runtime.block_on(self.task.take().unwrap()).unwrap();
    }

    /// Returns the number of submissions in the store.
    pub(super) fn submissions(&self) -> usize {
        let rows = self
            .store
            .read_with(|read| read.list_all_rows::<StoredSubmission>());
        rows.unwrap().len()
    }
}

/// Raw connection to the server.
pub(super) struct RawConnection {
    socket: TcpStream,
    buffer: Vec<u8>,
}

/// Received response.
#[derive(Debug)]
pub(super) struct RawResponse {
    pub(super) status: u16,
    /// Head in lower case.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl RawResponse {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("no JSON ({why}): {self:?}"))
    }

    pub(super) fn is_connection_close(&self) -> bool {
        self.head.contains("\r\nconnection: close\r\n")
    }

    /// Asserts that this is an error in the format that all errors have.
    pub(super) fn assert_error(&self, status: u16, code: &str) {
        let error = &self.json()["error"];
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(error["code"], code, "{self:?}");
        let message = error["message"].as_str().unwrap_or_default();
        assert!(message.len() > 10, "{self:?}");
        let media_type = "\r\ncontent-type: application/json\r\n";
        assert!(self.head.contains(media_type), "{self:?}");
    }
}

impl RawConnection {
    fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        socket.set_write_timeout(Some(TIMEOUT)).unwrap();
        Self {
            socket,
            buffer: Vec::new(),
        }
    }

    fn exchange(&mut self, request: &[u8]) -> RawResponse {
        self.send(request);
        self.receive().unwrap()
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// Sends `bytes` repeatedly until the server stops reading. Returns the number of bytes sent.
    pub(super) fn send_until_stuck(
        &mut self,
        bytes: &[u8],
        limit: usize,
        write_timeout: Duration,
    ) -> usize {
        self.socket.set_write_timeout(Some(write_timeout)).unwrap();
        let mut sent = 0;
        while sent < limit {
            match self.socket.write(bytes) {
                Ok(count) if count == bytes.len() => sent += count,
                Ok(count) => return sent + count,
                Err(_) => return sent,
            }
        }
        sent
    }

    pub(super) fn finish_sending(&self) {
        self.socket.shutdown(Shutdown::Write).unwrap();
    }

    /// Asserts that the next response has the status 200.
    pub(super) fn assert_ok(&mut self) {
        assert_eq!(self.receive().unwrap().status, 200);
    }

    /// Asserts that the next response accepts a form.
    pub(super) fn assert_accepted(&mut self) {
        let response = self.receive().unwrap();
        assert_eq!(response.json()["screen"], "SUCCESS_SCREEN");
    }

    /// Receives one response. The error is the reason why the connection closed instead.
    pub(super) fn receive(&mut self) -> Result<RawResponse, ErrorKind> {
        self.receive_response(true)
    }

    /// Receives one response to a `HEAD` request.
    pub(super) fn receive_head(&mut self) -> Result<RawResponse, ErrorKind> {
        self.receive_response(false)
    }

    fn receive_response(&mut self, with_body: bool) -> Result<RawResponse, ErrorKind> {
        let head_length = loop {
            match self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.read_more()?,
            }
        };
        let head = String::from_utf8(self.buffer.drain(..head_length).collect())
            .unwrap()
            .to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.split("content-length: ").nth(1).filter(|_| with_body);
        let length = length.map_or(0, |tail| tail.lines().next().unwrap().parse().unwrap());
        while self.buffer.len() < length {
            self.read_more()?;
        }
        Ok(RawResponse {
            status,
            head,
            body: self.buffer.drain(..length).collect(),
        })
    }

    /// Waits for the close of the connection. No more bytes may arrive before it.
    pub(super) fn assert_closed(&mut self) {
        assert_eq!(self.read_more(), Err(ErrorKind::UnexpectedEof));
    }

    fn read_more(&mut self) -> Result<(), ErrorKind> {
        let mut chunk = [0; 16 * 1024];
        match self.socket.read(&mut chunk) {
            Ok(0) => Err(ErrorKind::UnexpectedEof),
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                Ok(())
            }
            Err(error) => Err(error.kind()),
        }
    }
}

pub(super) fn signature(body: &[u8]) -> String {
    SignatureVerifier::new([SECRET]).sign(body).unwrap()
}

/// Builds a `GET`.
pub(super) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").into_bytes()
}

/// Builds a `POST` with these headers.
pub(super) fn post(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

/// Builds a signed `POST`, as Meta sends it.
pub(super) fn signed(path: &str, body: &[u8]) -> Vec<u8> {
    let signature = signature(body);
    post(path, &[JSON, ("x-hub-signature-256", &signature)], body)
}

/// Builds a form with this flow token.
pub(super) fn form(token: &str) -> Vec<u8> {
    format!(r#"{{"version":"3.0","action":"data_exchange","screen":"S","data":{{"a":"b"}},"flow_token":"{token}"}}"#)
        .into_bytes()
}
