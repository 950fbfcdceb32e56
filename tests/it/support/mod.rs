//! Test support: a server per test, a sender, the command line, and waits with a deadline.
//!
//! Each [`Server`] is the real executable in its own folder, on ports that the kernel selects.
//! Nothing here reads the data file. A test gets its facts through HTTP, the command line or the
//! exit code.

pub mod backups;
pub mod fake_services;
pub mod form;
pub mod gateway;
pub mod graph;
pub mod http;
pub mod load;
pub mod mail;
pub mod object_store;
pub mod phone;
pub mod proxy;
pub mod reply;
pub mod request;
pub mod tools;
pub mod upstream;
pub mod user;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use form::Form;
use http::{Answer, Connection, signed_post};

/// Maximum wait for an expected condition. The value is generous, because a busy machine must not
/// fail a test.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// Calls `look` until it returns a value, and returns the value.
///
/// # Panics
/// Panics if there is no value after a minute.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + MAX_WAIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "waited {MAX_WAIT:?} in vain until {what}"
        );
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Head of the config of every test: free ports, a data file, and the app secret [`http::SECRET`].
const CONFIG_HEAD: &str = r#"
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
data = "flowgate.redb"

[meta]
app_secrets = ["text:0123456789abcdef0123456789abcdef"]
verify_token = "text:let me in"
"#;

/// Flow that accepts any answers and creates a lead.
pub const PLAIN_FLOW: &str = r#"
[flows.form]
path = "/form"
encryption = "none"
lead = { team = "sales" }
"#;

/// Flow that books a place in calendar `chair`, and the calendar. The calendar is always open and
/// has three places per slot of one hour.
pub const BOOKING_FLOW: &str = r#"
[flows.visit]
path = "/visit"
encryption = "none"
booking = { calendar = "chair", date = "date", time = "time" }
lead = { team = "sales" }

[calendars.chair]
timezone = "Europe/Berlin"
hours = { mon = ["09:00-17:00"], tue = ["09:00-17:00"], wed = ["09:00-17:00"], thu = ["09:00-17:00"], fri = ["09:00-17:00"], sat = ["09:00-17:00"], sun = ["09:00-17:00"] }
slot_length = "1h"
capacity = 3
max_advance = "60d"
"#;

/// Returns a command of the executable under test without the environment settings of this machine.
pub fn flowgate(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowgate"));
    command.current_dir(folder).stdin(Stdio::null());
    for name in [
        "META_APP_SECRET",
        "META_VERIFY_TOKEN",
        "META_ACCESS_TOKEN",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "RUST_LOG",
        "FLOWGATE_LOG",
        "COLUMNS",
        "NO_COLOR",
        "CLICOLOR_FORCE",
    ] {
        command.env_remove(name);
    }
    command
}

/// Result of a command.
#[derive(Debug)]
pub struct CommandOutput {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs a command in `folder` and waits until it exits.
pub fn run(folder: &Path, args: &[&str]) -> CommandOutput {
    let output = flowgate(folder).args(args).output().unwrap();
    CommandOutput {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Real server in its own folder.
pub struct Server {
    folder: TempDir,
    running: Option<Running>,
}

struct Running {
    process: Process,
    listen: SocketAddr,
    admin: SocketAddr,
    greeting: String,
}

/// Process that never outlives its test.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Starts a server with the common config and these additional tables.
    pub fn start(tables: &str) -> Self {
        let mut server = Self::stopped(tables);
        server.start_again();
        server
    }

    /// Creates a server that is not started yet.
    pub fn stopped(tables: &str) -> Self {
        let server = Self {
            folder: tempfile::tempdir().unwrap(),
            running: None,
        };
        server.configure(tables);
        server
    }

    /// Writes a new config. A running server reads the config only at its next start.
    pub fn configure(&self, tables: &str) {
        fs::write(
            self.folder().join("config.toml"),
            format!("{CONFIG_HEAD}{tables}"),
        )
        .unwrap();
    }

    /// Replaces the fixed ports of the config with free ports.
    pub fn on_free_ports(&self) {
        let file = self.folder().join("config.toml");
        let named = fs::read_to_string(&file).unwrap();
        let free = named
            .replace("127.0.0.1:8080", "127.0.0.1:0")
            .replace("127.0.0.1:8081", "127.0.0.1:0");
        assert_ne!(named, free, "the config names its ports");
        fs::write(file, free).unwrap();
    }

    /// Starts the server and waits until it is ready.
    pub fn start_again(&mut self) {
        self.start_as(flowgate(self.folder()).arg("serve"));
    }

    /// Starts the server with these environment variables and waits until it is ready.
    pub fn start_with(&mut self, variables: &[(&str, &str)]) {
        self.start_as(
            flowgate(self.folder())
                .arg("serve")
                .envs(variables.iter().copied()),
        );
    }

    /// Starts the server with these options and waits until it is ready.
    pub fn start_with_args(&mut self, args: &[&str]) {
        self.start_as(flowgate(self.folder()).arg("serve").args(args));
    }

    /// Starts the server with a system limit of `files` open files.
    pub fn start_with_few_files(&mut self, files: u32) {
        let mut shell = Command::new("sh");
        let line = format!(
            "ulimit -n {files} && exec {} serve",
            env!("CARGO_BIN_EXE_flowgate")
        );
        self.start_as(
            shell
                .current_dir(self.folder())
                .stdin(Stdio::null())
                .args(["-c", &line]),
        );
    }

    /// Starts the server behind `socket`, which it inherits as from a service manager, and waits
    /// until it is ready.
    pub fn start_behind(&mut self, socket: &TcpListener) {
        let mut shell = Command::new("sh");
        let hand_over = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1";
        let line = format!("{hand_over}; exec {} serve", env!("CARGO_BIN_EXE_flowgate"));
        let socket = OwnedFd::from(socket.try_clone().unwrap());
        self.start_as(
            shell
                .current_dir(self.folder())
                .stdin(socket)
                .args(["-c", &line]),
        );
    }

    fn start_as(&mut self, command: &mut Command) {
        assert!(self.running.is_none(), "it runs already");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder().join("log"))
            .unwrap();
        let mut process = Process(command.stdout(Stdio::piped()).stderr(log).spawn().unwrap());
        let out = process.0.stdout.take().unwrap();
        let (line_sender, delivered_to) = mpsc::channel();
        // This thread also reads after the ready line. Without this, a full pipe would block the
        // server.
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let _ = line_sender.send(line);
            }
        });
        let mut greeting = String::new();
        let (listen, admin) = loop {
            match delivered_to.recv_timeout(MAX_WAIT) {
                Ok(line) => {
                    greeting.extend([&line, "\n"]);
                    if let Some(addresses) = ready_line(&line) {
                        break addresses;
                    }
                }
                Err(why) => panic!("no ready line ({why}); its log:\n{}", self.log()),
            }
        };
        self.running = Some(Running {
            process,
            listen,
            admin,
            greeting,
        });
    }

    /// Returns the folder of the server, which contains `config.toml`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the log of the server.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder().join("log")).unwrap_or_default()
    }

    /// Returns the address of the server.
    pub fn address(&self) -> SocketAddr {
        self.running().listen
    }

    /// Returns the address of the admin listener.
    pub fn admin_address(&self) -> SocketAddr {
        self.running().admin
    }

    /// Opens a new connection to the server.
    pub fn connect(&self) -> Connection {
        Connection::open(self.address()).unwrap()
    }

    /// Sends a form and returns the response.
    pub fn post(&self, path: &str, form: &Form) -> Answer {
        self.connect()
            .exchange(&signed_post(path, &form.body()))
            .unwrap()
    }

    /// Sends a `GET` request.
    pub fn get(&self, path: &str) -> Answer {
        get(self.address(), path)
    }

    /// Runs a command against the server.
    pub fn cli(&self, args: &[&str]) -> CommandOutput {
        run(self.folder(), args)
    }

    /// Runs a command whose output pipe is closed before the first output. Returns its exit code
    /// and its standard error.
    pub fn run_with_closed_stdout(&self, args: &[&str]) -> (Option<i32>, String) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = flowgate(self.folder())
            .args(args)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    /// Runs a command with `--json`, which must succeed, and returns its output, one value per
    /// line.
    pub fn rows(&self, args: &[&str]) -> Vec<Value> {
        let result = self.cli(&[args, &["--json"]].concat());
        assert_eq!(result.code, 0, "{args:?}: {result:?}\n{}", self.log());
        result
            .out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Runs a command that prints one object, and returns the object.
    pub fn row(&self, args: &[&str]) -> Value {
        let mut rows = self.rows(args);
        assert_eq!(rows.len(), 1, "{args:?}: {rows:?}");
        rows.remove(0)
    }

    /// Adds an agent to team `sales`.
    pub fn add_agent(&self, name: &str, more: &[&str]) {
        self.rows(&[&["agents", "add", name, "--team", "sales"], more].concat());
    }

    /// Returns all submissions, newest first.
    pub fn submissions(&self) -> Vec<Value> {
        self.rows(&["submissions", "list", "--limit", "0"])
    }

    /// Returns one slot of calendar `chair`.
    pub fn slot(&self, date: &str, time: &str) -> Value {
        let slots = self.rows(&[
            "slots",
            "list",
            "--calendar",
            "chair",
            "--from",
            date,
            "--to",
            date,
            "--limit",
            "0",
        ]);
        slots
            .into_iter()
            .find(|slot| slot["time"] == time)
            .expect("a slot at this time")
    }

    /// Returns the output of the server up to the ready line.
    pub fn greeting(&self) -> &str {
        &self.running().greeting
    }

    /// Waits until no job is scheduled or running, and returns the status.
    pub fn settled(&self) -> Value {
        eventually("no job is scheduled any more", || {
            Some(self.row(&["status"]))
                .filter(|status| status["jobs"]["scheduled"] == 0 && status["jobs"]["running"] == 0)
        })
    }

    /// Kills the server as a power failure would, and waits until the process is gone.
    pub fn kill9(&mut self) {
        self.running = None;
    }

    /// Sends SIGTERM to the server.
    pub fn send_sigterm(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends a signal to the server.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.running().process.0), signal).unwrap();
    }

    /// Returns a value of `/proc/PID/status`: `Threads`, or an amount of memory in kilobytes.
    pub fn process_status_value(&self, name: &str) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.running().process.0.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap()
            .split_whitespace()
            .next()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Waits until the server has exited.
    pub fn wait(&mut self) -> ExitStatus {
        let mut running = self.running.take().unwrap();
        eventually("the server ends", || running.process.0.try_wait().unwrap())
    }

    /// Sends SIGTERM and waits until the server has exited. The exit code must be 0.
    pub fn stop(&mut self) {
        self.send_sigterm();
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the server runs")
    }
}

/// Prints the log of the server if the test fails.
impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", tail(&self.log(), 60));
        }
    }
}

/// Sends a `GET` request to any address.
pub fn get(address: SocketAddr, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nhost: flowgate.test\r\n\r\n");
    Connection::open(address)
        .unwrap()
        .exchange(request.as_bytes())
        .unwrap()
}

/// Runs `action` for each of `0..many` in its own thread. All threads start at the same moment.
/// Returns the results in order.
pub fn all_at_once<T: Send>(many: usize, action: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let gate = std::sync::Barrier::new(many);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..many)
            .map(|number| {
                let (gate, action) = (&gate, &action);
                scope.spawn(move || {
                    gate.wait();
                    action(number)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// Parses `ready: http://A admin http://B`.
fn ready_line(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (listen, admin) = line
        .strip_prefix("ready: http://")?
        .split_once(" admin http://")?;
    Some((listen.parse().ok()?, admin.parse().ok()?))
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Returns the UTC date this many days from today, such as `2026-11-24`.
pub fn in_days(days: i64) -> String {
    let today = jiff::ZonedDateTime::now()
        .with_time_zone(jiff::tz::TimeZone::UTC)
        .date();
    today
        .checked_add(jiff::Span::new().days(days))
        .unwrap()
        .to_string()
}

/// Asserts that each of `tokens` exists exactly once, and that no other token exists.
pub fn assert_each_once(submissions: &[Value], tokens: impl IntoIterator<Item: AsRef<str>>) {
    let mut found: Vec<&str> = submissions
        .iter()
        .filter_map(|row| row["flow_token"].as_str())
        .collect();
    found.sort_unstable();
    let mut wanted: Vec<String> = tokens
        .into_iter()
        .map(|token| token.as_ref().to_owned())
        .collect();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
}
