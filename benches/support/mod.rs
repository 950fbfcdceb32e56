//! Support for the loopback benches: a server process, a bare server for comparison, and a load.

#![allow(dead_code, reason = "each bench uses its part")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Creates the body of the `n`th form.
pub type Body = fn(u64) -> String;

/// Process that stops with the bench.
pub struct Running {
    child: Child,
    pub address: SocketAddr,
    /// Address of the admin listener of a flowgate server. For other processes, the same as
    /// `address`.
    pub admin: SocketAddr,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Starts the server with `config` in `folder` and waits until it is ready.
    pub fn flowgate(folder: &Path, config: &str) -> Self {
        std::fs::write(folder.join("config.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowgate"));
        command
            .arg("serve")
            .env("FLOWGATE_LOG", "warn")
            .current_dir(folder);
        Self::start(command, "ready: http://")
    }

    /// Starts the server as shipped. Its log is at the default level in the file `log` of `folder`.
    pub fn flowgate_with_its_log(folder: &Path, config: &str) -> Self {
        std::fs::write(folder.join("config.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowgate"));
        command
            .arg("serve")
            .current_dir(folder)
            .stderr(std::fs::File::create(folder.join("log")).unwrap());
        Self::start_logging(command, "ready: http://")
    }

    /// Returns the resident memory in bytes.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.split_whitespace()
            .next()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            << 10
    }

    /// Starts this bench again as a hyper server that answers 200 to everything.
    pub fn bare_hyper() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env("BARE_HYPER", "1");
        Self::start(command, "bare: ")
    }

    fn start(mut command: Command, prefix: &str) -> Self {
        command.stderr(Stdio::null());
        Self::start_logging(command, prefix)
    }

    fn start_logging(mut command: Command, prefix: &str) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines
            .find_map(|line| line.unwrap().strip_prefix(prefix).map(str::to_owned))
            .unwrap();
        let address = line.split(' ').next().unwrap().parse().unwrap();
        let admin = line
            .split_once(" admin http://")
            .map_or(address, |(_, admin)| admin.parse().unwrap());
        std::thread::spawn(move || lines.count());
        Self {
            child,
            address,
            admin,
        }
    }

    /// Returns the output of `flowgate ARGS` in `folder`.
    pub fn ask(folder: &Path, args: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_flowgate"))
            .args(args)
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Answers 200 to every request until the parent bench kills this process.
pub fn be_bare_hyper() {
    use http_body_util::{BodyExt, Full};
    use hyper::body::{Bytes, Incoming};
    use hyper::{Request, Response};
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("bare: {}", listener.local_addr().unwrap());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let service = hyper::service::service_fn(|request: Request<Incoming>| async {
                request.into_body().collect().await?;
                Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from_static(
                    b"{\"version\":\"3.0\",\"screen\":\"SUCCESS_SCREEN\",\"data\":{\"message\":\"Submission received\"}}",
                ))))
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
}

/// Posts `BARE_BODY` as `how` defines, `ADDRESS TIMES AT_ONCE`, and prints the posts per second.
pub fn be_bare_client(how: &str) {
    use http_body_util::{BodyExt, Full};
    use hyper::Request;
    use hyper::body::Bytes;
    use hyper_util::client::legacy::Client;
    let [address, times, at_once] = how.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{how}")
    };
    let (times, at_once): (u64, usize) = (times.parse().unwrap(), at_once.parse().unwrap());
    let url: hyper::Uri = format!("http://{address}/bare").parse().unwrap();
    let body = Bytes::from(std::env::var("BARE_BODY").unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut tcp = hyper_util::client::legacy::connect::HttpConnector::new();
        tcp.set_nodelay(true);
        let client = Client::builder(hyper_util::rt::TokioExecutor::new()).build(tcp);
        let place = std::sync::Arc::new(AtomicU64::new(0));
        let began = Instant::now();
        let mut tasks = Vec::new();
        for _ in 0..at_once {
            let (client, url, body, place) =
                (client.clone(), url.clone(), body.clone(), place.clone());
            tasks.push(tokio::spawn(async move {
                while place.fetch_add(1, Ordering::Relaxed) < times {
                    let request =
                        Request::post(url.clone()).header("content-type", "application/json");
                    let answer = client
                        .request(request.body(Full::new(body.clone())).unwrap())
                        .await
                        .unwrap();
                    assert!(answer.status().is_success());
                    answer.into_body().collect().await.unwrap();
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        println!(
            "{}",
            f64::from(u32::try_from(times).unwrap()) / began.elapsed().as_secs_f64()
        );
    });
}

/// Receiver in its own thread that accepts everything with as little work as possible.
pub struct Sink {
    pub address: SocketAddr,
    answered: std::sync::Arc<AtomicU64>,
    body: std::sync::Arc<std::sync::OnceLock<String>>,
}

impl Sink {
    pub fn open() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let sink = Self {
            address,
            answered: std::sync::Arc::default(),
            body: std::sync::Arc::default(),
        };
        let (answered, body) = (sink.answered.clone(), sink.body.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    tokio::spawn(take(stream, answered.clone(), body.clone()));
                }
            });
        });
        sink
    }

    /// Returns the number of answered requests so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Returns the first received body.
    pub fn body(&self) -> &str {
        self.body.get().unwrap()
    }
}

/// Answers 204 to each request of one connection, one after another.
async fn take(
    mut stream: TcpStream,
    answered: std::sync::Arc<AtomicU64>,
    body: std::sync::Arc<std::sync::OnceLock<String>>,
) {
    let mut buffer = Vec::with_capacity(16 << 10);
    loop {
        buffer.clear();
        while whole_message(&buffer).is_none() {
            if !stream
                .read_buf(&mut buffer)
                .await
                .is_ok_and(|read| read > 0)
            {
                return;
            }
        }
        body.get_or_init(|| {
            let head = buffer
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
                .unwrap()
                + 4;
            String::from_utf8(buffer[head..].to_vec()).unwrap()
        });
        answered.fetch_add(1, Ordering::Relaxed);
        if stream
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .await
            .is_err()
        {
            return;
        }
    }
}

/// Results of a load. Latencies are in microseconds.
#[derive(Default)]
pub struct Seen {
    pub accepted: u64,
    pub other: u64,
    pub seconds: f64,
    latencies: Vec<u64>,
}

impl Seen {
    pub fn rate(&self) -> f64 {
        f64::from(u32::try_from(self.accepted).unwrap()) / self.seconds
    }

    /// Returns the latency in milliseconds below which this fraction of the responses, in
    /// thousandths, lies.
    pub fn quantile(&mut self, thousandths: usize) -> f64 {
        self.latencies.sort_unstable();
        let place = (self.latencies.len() * thousandths / 1000).min(self.latencies.len() - 1);
        f64::from(u32::try_from(self.latencies[place]).unwrap()) / 1000.0
    }

    pub fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.other += other.other;
        self.latencies.extend(other.latencies);
    }
}

/// Returns the number of the next form, which is unique in one run.
fn next() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// Runs `connections` connections. Each sends the next form as soon as it has the response to the
/// previous one.
pub async fn closed_loop(
    to: SocketAddr,
    path: &str,
    body: Body,
    connections: u64,
    length: Duration,
) -> Seen {
    let began = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let path = path.to_owned();
        tasks.push(tokio::spawn(async move {
            let mut sender = Sender::connect(to, path).await;
            let mut seen = Seen::default();
            while began.elapsed() < length {
                let sent = Instant::now();
                let accepted = sender.post(&body(next())).await;
                seen.note(accepted, sent);
            }
            seen
        }));
    }
    gather(tasks, began).await
}

/// Runs `connections` connections. Each sends the next of `requests` (as [`signed`] creates them)
/// as soon as it has the response to the previous one. Stops when all requests are sent or the time
/// is over.
pub async fn closed_loop_of(
    to: SocketAddr,
    requests: Vec<Vec<u8>>,
    connections: usize,
    length: Duration,
) -> Seen {
    let began = Instant::now();
    let requests = std::sync::Arc::new(requests);
    let place = std::sync::Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let (requests, place) = (requests.clone(), place.clone());
        tasks.push(tokio::spawn(async move {
            let mut sender = Sender::connect(to, String::new()).await;
            let mut seen = Seen::default();
            while began.elapsed() < length {
                let next = usize::try_from(place.fetch_add(1, Ordering::Relaxed)).unwrap();
                let Some(request) = requests.get(next) else {
                    break;
                };
                let sent = Instant::now();
                let accepted = sender.exchange(request).await.starts_with(b"HTTP/1.1 200");
                seen.note(accepted, sent);
            }
            seen
        }));
    }
    gather(tasks, began).await
}

/// Sends `requests` at `rate` per second, independent of the responses. A latency starts at the
/// planned time of the request.
pub async fn open_loop_of(
    to: SocketAddr,
    requests: Vec<Vec<u8>>,
    rate: u32,
    connections: usize,
) -> Seen {
    let began = Instant::now();
    let requests = std::sync::Arc::new(requests);
    let mut tasks = Vec::new();
    for connection in 0..connections {
        let requests = requests.clone();
        tasks.push(tokio::spawn(async move {
            let mut sender = Sender::connect(to, String::new()).await;
            let mut seen = Seen::default();
            for (number, request) in requests
                .iter()
                .enumerate()
                .skip(connection)
                .step_by(connections)
            {
                let due = began
                    + Duration::from_secs_f64(
                        f64::from(u32::try_from(number).unwrap()) / f64::from(rate),
                    );
                tokio::time::sleep_until(due.into()).await;
                let accepted = sender.exchange(request).await.starts_with(b"HTTP/1.1 200");
                seen.note(accepted, due);
            }
            seen
        }));
    }
    gather(tasks, began).await
}

/// Returns the bytes of a signed `POST`.
pub fn signed(path: &str, body: &str) -> Vec<u8> {
    signed_with(
        &Hmac::new_from_slice(SECRET.as_bytes()).unwrap(),
        path,
        body,
    )
}

/// Sends `rate` forms per second, independent of the responses. A latency starts at the planned
/// time of the form.
pub async fn open_loop(
    to: SocketAddr,
    path: &str,
    body: Body,
    rate: u64,
    connections: u64,
    length: Duration,
) -> Seen {
    let began = Instant::now();
    let mut tasks = Vec::new();
    for connection in 0..connections {
        let path = path.to_owned();
        tasks.push(tokio::spawn(async move {
            let mut sender = Sender::connect(to, path).await;
            let mut seen = Seen::default();
            let interval =
                Duration::from_secs(connections).div_f64(f64::from(u32::try_from(rate).unwrap()));
            let offset = interval.mul_f64(f64::from(u32::try_from(connection).unwrap()))
                / u32::try_from(connections).unwrap();
            let mut due = offset;
            while due < length {
                tokio::time::sleep_until((began + due).into()).await;
                let accepted = sender.post(&body(next())).await;
                seen.note(accepted, began + due);
                due += interval;
            }
            seen
        }));
    }
    gather(tasks, began).await
}

async fn gather(tasks: Vec<tokio::task::JoinHandle<Seen>>, began: Instant) -> Seen {
    let mut all = Seen::default();
    for task in tasks {
        all.add(task.await.unwrap());
    }
    all.seconds = began.elapsed().as_secs_f64();
    all
}

impl Seen {
    fn note(&mut self, accepted: bool, since: Instant) {
        *(if accepted {
            &mut self.accepted
        } else {
            &mut self.other
        }) += 1;
        self.latencies
            .push(u64::try_from(since.elapsed().as_micros()).unwrap());
    }
}

/// Connection that stays open.
struct Sender {
    stream: TcpStream,
    path: String,
    key: Hmac<Sha256>,
    buffer: Vec<u8>,
}

impl Sender {
    async fn connect(to: SocketAddr, path: String) -> Self {
        let stream = TcpStream::connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            path,
            key: Hmac::new_from_slice(SECRET.as_bytes()).unwrap(),
            buffer: Vec::new(),
        }
    }

    /// Sends one signed form. Returns `true` if the form was accepted.
    async fn post(&mut self, body: &str) -> bool {
        let request = signed_with(&self.key, &self.path, body);
        let whole = self.exchange(&request).await;
        whole.starts_with(b"HTTP/1.1 200")
            && whole.windows(14).any(|window| window == b"SUCCESS_SCREEN")
    }

    /// Sends one request and returns the complete response.
    async fn exchange(&mut self, request: &[u8]) -> &[u8] {
        self.stream.write_all(request).await.unwrap();
        self.buffer.clear();
        while whole_message(&self.buffer).is_none() {
            assert_ne!(
                self.stream.read_buf(&mut self.buffer).await.unwrap(),
                0,
                "the server hung up"
            );
        }
        &self.buffer
    }
}

fn signed_with(key: &Hmac<Sha256>, path: &str, body: &str) -> Vec<u8> {
    use std::fmt::Write;
    let mut mac = key.clone();
    mac.update(body.as_bytes());
    let mut signature = String::with_capacity(64);
    for byte in mac.finalize().into_bytes() {
        write!(signature, "{byte:02x}").unwrap();
    }
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         x-hub-signature-256: sha256={signature}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Returns the request or response as soon as it is complete.
fn whole_message(bytes: &[u8]) -> Option<&[u8]> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head])
        .unwrap()
        .to_ascii_lowercase();
    let length: usize = text
        .split_once("content-length: ")?
        .1
        .split("\r\n")
        .next()?
        .parse()
        .unwrap();
    bytes.get(..head + length)
}
