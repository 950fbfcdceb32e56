//! Tests the socket: permissions, exclusive use by one server, and limits.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;

use crate::admin::tests::support::{
    AdminHarness, assert_contains, assert_ends_with, assert_starts_with, corrected_job,
};
use crate::admin::{
    AdminCommand, AdminError, AdminQuery, AdminRequest, ErrorCode, ListFilter, ServerCommand,
};
use crate::admin_server::api::{API_LIMITS, ApiLimits, BODY_BYTES_MAX};
use crate::admin_server::socket_server::{SOCKET_LIMITS, SocketLimits};
use crate::admin_server::{AdminClient, HandlerSource, SocketServer, socket_path};
use crate::clock::{Clock, SystemClock};
use crate::domain::ids::JobId;
use crate::http::ConnectionLimits;

fn handler_source(harness: &AdminHarness) -> Arc<HandlerSource> {
    let handler = harness.handler.clone();
    Arc::new(move || Ok(handler.clone()))
}

fn start_server(harness: &AdminHarness) -> SocketServer {
    SocketServer::start(harness.socket_path(), handler_source(harness)).unwrap()
}

fn start_within(limits: SocketLimits, harness: &AdminHarness) -> SocketServer {
    SocketServer::start_within(limits, harness.socket_path(), handler_source(harness)).unwrap()
}

/// Returns the reason why no server can start at a path.
fn start_error(harness: &AdminHarness, path: &Path) -> String {
    let started = SocketServer::start(path.to_owned(), handler_source(harness));
    started.map(drop).unwrap_err().to_string()
}

fn is_listening(path: &Path) -> bool {
    AdminClient::connect(path).unwrap().is_some()
}

fn send_request(path: &Path, request: impl Into<AdminRequest>) -> Result<Vec<Value>, AdminError> {
    let mut rows = Vec::new();
    AdminClient::connect(path)?
        .expect("somebody listens")
        .send(&request.into(), &mut |row| {
            rows.push(row);
            true
        })?;
    Ok(rows)
}

/// Sends bytes unchanged, and returns the whole response.
fn send_bytes(path: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    // A server that closes the connection early has already sent its error.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

/// Repeats an attempt until it returns a value, for at most ten seconds.
fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let clock = SystemClock::new();
    while clock.elapsed() < Duration::from_secs(10) {
        if let Some(found) = attempt() {
            return found;
        }
        std::thread::yield_now();
    }
    panic!("not within ten seconds");
}

#[test]
fn socket_response_equals_handler_response() {
    let harness = AdminHarness::new();
    let _server = start_server(&harness);
    for token in ["a", "b", "c"] {
        harness.accept_and_finish(token);
    }
    for request in [
        AdminQuery::Status,
        AdminQuery::Submissions(ListFilter::default()),
        AdminQuery::CheckIntegrity,
    ] {
        let mut direct = harness.rows(request.clone()).unwrap();
        let mut through = send_request(&harness.socket_path(), request).unwrap();
        for rows in [&mut direct, &mut through] {
            // Other programs use the disk too, so the free space can differ.
            rows.iter_mut()
                .filter_map(Value::as_object_mut)
                .for_each(|row| drop(row.remove("free_bytes")));
        }
        assert_eq!(direct, through);
    }
    let id = JobId::new(999);
    let missing = send_request(&harness.socket_path(), AdminQuery::Job { id });
    assert_eq!(missing.unwrap_err(), harness.error(AdminQuery::Job { id }));
}

#[test]
fn server_command_needs_running_server() {
    let harness = AdminHarness::new();
    let refusal = harness.error(ServerCommand::ReloadConfig);
    assert_eq!(refusal, AdminError::server_required());
    let harness = AdminHarness::with_server(Vec::new(), BTreeMap::new());
    let refusal = harness.error(ServerCommand::ReloadConfig);
    assert_eq!(refusal, AdminError::invalid("this config is wrong"));
}

#[test]
fn socket_is_private_and_removed_on_drop() {
    let harness = AdminHarness::new();
    let server = start_server(&harness);
    let metadata = fs::metadata(harness.socket_path()).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    drop(server);
    assert!(!harness.socket_path().exists());
    assert!(!is_listening(&harness.socket_path()));
}

#[test]
fn server_stops_after_socket_file_removed() {
    let harness = AdminHarness::new();
    let _server = start_server(&harness);
    fs::remove_file(harness.socket_path()).unwrap();
}

#[test]
fn starting_server_reports_busy() {
    let harness = AdminHarness::new();
    let handler = Arc::new(OnceLock::new());
    let found = Arc::clone(&handler);
    let handler_source = move || found.get().cloned().ok_or_else(|| AdminError::starting(40));
    let _server = SocketServer::start(harness.socket_path(), Arc::new(handler_source)).unwrap();
    let starting = send_request(&harness.socket_path(), AdminQuery::Status).unwrap_err();
    let message = "the server is starting (verifying the data file, 40 %)";
    assert_eq!(starting.code, ErrorCode::Busy);
    assert_eq!(starting.message, message);
    assert!(handler.set(harness.handler.clone()).is_ok());
    assert!(send_request(&harness.socket_path(), AdminQuery::Status).is_ok());
}

#[test]
fn stale_socket_is_replaced() {
    let harness = AdminHarness::new();
    drop(UnixListener::bind(harness.socket_path()).unwrap());
    let path = harness.socket_path();
    assert!(path.exists() && !is_listening(&path));
    let _server = start_server(&harness);
    assert!(send_request(&path, AdminQuery::Status).is_ok());
}

#[test]
fn occupied_path_is_not_overwritten() {
    let harness = AdminHarness::new();
    let path = harness.socket_path();
    let alive = UnixListener::bind(&path).unwrap();
    let why = "exists: another server uses it; stop that server first";
    assert_ends_with(&start_error(&harness, &path), why);
    drop(alive);
    fs::remove_file(&path).unwrap();

    fs::write(&path, "my novel").unwrap();
    let why = "exists: it is not a socket; move it to another place";
    assert_ends_with(&start_error(&harness, &path), why);
    assert_eq!(fs::read_to_string(path).unwrap(), "my novel");
}

#[test]
fn long_path_error_suggests_shorter_one() {
    let harness = AdminHarness::new();
    let path = socket_path(&harness.folder.path().join("x".repeat(120)));
    let why = "is too long for a socket path (maximum 107 bytes): set `data` to a shorter path";
    assert_ends_with(&start_error(&harness, &path), why);
    assert!(!is_listening(&path), "no server can listen there");
}

#[test]
fn missing_folder_error_names_path() {
    let path = Path::new("no-such-folder/data.redb.sock");
    let error = start_error(&AdminHarness::new(), path);
    assert_starts_with(&error, "no-such-folder/data.redb.sock: ");
}

/// Returns a request with a JSON body.
fn post(path: &str, body: &str) -> String {
    let length = body.len();
    let media_type = "content-type: application/json";
    format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\n{media_type}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// Returns a request without a body.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")
}

/// Sends each request, and asserts the status and a part of its error.
#[track_caller]
fn assert_errors<const N: usize>(requests: [(String, u16, &str); N]) {
    let harness = AdminHarness::new();
    let _server = start_server(&harness);
    for (request, status, part) in requests {
        let response = send_bytes(&harness.socket_path(), request.as_bytes());
        assert_starts_with(&response, &format!("HTTP/1.1 {status} "));
        assert_contains(&response, part);
        let body = response.lines().last().unwrap();
        let error: Value = serde_json::from_str(body).unwrap();
        assert!(error["error"]["message"].is_string(), "{body}");
    }
}

#[test]
fn malformed_request_gets_error() {
    assert_errors([
        ("GET / HTTP/1.1\r\n".to_owned(), 400, "\"bad_request\""),
        (
            "{\"request\":\"status\"}\n".to_owned(),
            400,
            "\"bad_request\"",
        ),
        (get("/"), 404, "\"unknown_path\""),
        (get("/api/v1/dance"), 404, "\"unknown_path\""),
        (
            get("/api/v1/leads/7/close"),
            405,
            "this path accepts only POST",
        ),
        (
            post("/api/v1/leads", "{}"),
            405,
            "this path accepts only GET",
        ),
        (
            get("/api/v1/leads?stat=open"),
            400,
            "unknown field `stat`, expected one of `state`",
        ),
        (
            get("/api/v1/leads?limit=many"),
            400,
            "limit: \\\"many\\\" is not a valid number",
        ),
        (
            get("/api/v1/leads?limit=1&limit=2"),
            400,
            "limit is given twice",
        ),
        (get("/api/v1/leads?flow=%ff"), 400, "%ff is not valid UTF-8"),
        (
            get("/api/v1/leads/seven"),
            400,
            "id: \\\"seven\\\" is not a valid number",
        ),
        (
            get("/api/v1/status?verbose=1"),
            400,
            "unknown field `verbose`: this request has no",
        ),
        (
            get("/api/v1/trace?text=a&limits.rows=x"),
            400,
            "limits: rows: \\\"x\\\" is not",
        ),
        (get("/api/v1/leads/999"), 404, "there is no lead 999"),
    ]);
}

#[test]
fn malformed_body_gets_error() {
    assert_errors([
        (
            post("/api/v1/leads/7/close?id=8", ""),
            400,
            "unknown field `id`",
        ),
        (
            post("/api/v1/leads/7/close", "{\"id\":8}"),
            400,
            "id is given twice",
        ),
        (
            post("/api/v1/leads/7/close", "{\"id\""),
            400,
            "EOF while parsing",
        ),
        (post("/api/v1/leads/7/close", "[]"), 400, "expected a map"),
        (
            post("/api/v1/leads/7/close", "{\"force\":true}"),
            400,
            "unknown field `force`",
        ),
        (
            post("/api/v1/leads/7/assign", "{}"),
            400,
            "missing field `agent`",
        ),
        (
            post("/api/v1/leads/7/assign", "{}").replace("application/json", "text/plain"),
            415,
            "Content-Type: application/json",
        ),
    ]);
}

#[test]
fn other_method_gets_list_of_allowed_ones() {
    let harness = AdminHarness::new();
    let _server = start_server(&harness);
    let request = b"PUT /api/v1/agents HTTP/1.1\r\nhost: a\r\n\r\n";
    let response = send_bytes(&harness.socket_path(), request);
    assert_contains(&response, "\r\nallow: GET, POST\r\n");
}

#[test]
fn oversized_request_is_refused_by_both_sides() {
    let harness = AdminHarness::new();
    let _server = start_server(&harness);
    let spaces = " ".repeat(BODY_BYTES_MAX + 1);
    let announced = post("/api/v1/leads/7/close", &spaces);
    let chunked = format!(
        "POST /api/v1/leads/7/close HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{spaces}\r\n0\r\n\r\n",
        spaces.len()
    );
    for request in [announced, chunked] {
        let response = send_bytes(&harness.socket_path(), request.as_bytes());
        assert_starts_with(&response, "HTTP/1.1 413 ");
        assert_contains(&response, "the request is too long: maximum 8 MiB");
    }
    let payload = "x".repeat(BODY_BYTES_MAX);
    let retry = AdminCommand::RetryDeadLetters(corrected_job(JobId::new(1), &payload));
    let refused = send_request(&harness.socket_path(), retry).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Invalid);
    let text = "x".repeat(BODY_BYTES_MAX);
    let trace = AdminQuery::Trace {
        text,
        limits: crate::admin::SearchLimits::default(),
    };
    let refused = send_request(&harness.socket_path(), trace).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Invalid);
}

#[test]
fn requests_above_limit_are_refused() {
    let harness = AdminHarness::new();
    let limits = SocketLimits {
        api: ApiLimits {
            max_requests: 1,
            ..API_LIMITS
        },
        ..SOCKET_LIMITS
    };
    let _server = start_within(limits, &harness);
    // The body of this request is missing, so it occupies the only place.
    let mut first = UnixStream::connect(harness.socket_path()).unwrap();
    let request = post("/api/v1/leads/7/close", "{}");
    first
        .write_all(request.strip_suffix("{}").unwrap().as_bytes())
        .unwrap();
    let busy = AdminError::unreachable("too many requests at once: try again in a moment");
    eventually(|| {
        let refused = send_request(&harness.socket_path(), AdminQuery::Status).err();
        refused.filter(|refused| *refused == busy)
    });
    first.write_all(b"{}").unwrap();
    first.shutdown(Shutdown::Write).unwrap();
    let mut response = String::new();
    first.read_to_string(&mut response).unwrap();
    assert_contains(&response, "there is no lead 7");
}

#[test]
fn silent_and_stalled_clients_are_disconnected() {
    let harness = AdminHarness::new();
    // The response is larger than all buffers between server and client.
    for number in 0..600 {
        harness.accept(&format!("{number}{}", "x".repeat(2000)));
    }
    let timeout = Duration::from_millis(50);
    let limits = SocketLimits {
        api: ApiLimits {
            max_requests: 1,
            body_timeout: timeout,
        },
        connections: ConnectionLimits {
            idle_timeout: timeout,
            head_timeout: timeout,
            ..SOCKET_LIMITS.connections
        },
    };
    let _server = start_within(limits, &harness);

    let mut silent = UnixStream::connect(harness.socket_path()).unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0, "hung up");
    // The body never arrives.
    let request = post("/api/v1/leads/7/close", "{}");
    let mut slow = UnixStream::connect(harness.socket_path()).unwrap();
    slow.write_all(request.strip_suffix("{}").unwrap().as_bytes())
        .unwrap();
    let mut response = String::new();
    slow.read_to_string(&mut response).unwrap();
    assert_starts_with(&response, "HTTP/1.1 408 ");

    let mut stalled = eventually(|| {
        let mut stalled = UnixStream::connect(harness.socket_path()).unwrap();
        stalled
            .write_all(b"GET /api/v1/submissions?limit=0 HTTP/1.1\r\nhost: a\r\n\r\n")
            .ok()?;
        let mut start = [0; 12];
        stalled.read_exact(&mut start).ok()?;
        (&start == b"HTTP/1.1 200").then_some(stalled)
    });
    // Only one request is allowed. It ends only after the server has closed the stalled connection.
    eventually(|| send_request(&harness.socket_path(), AdminQuery::Status).ok());

    let mut received = Vec::new();
    stalled.read_to_end(&mut received).unwrap();
    assert!(!received.ends_with(b"0\r\n\r\n"), "it was cut off");
}

#[test]
fn connection_serves_several_requests() {
    let harness = AdminHarness::new();
    let _server = start_server(&harness);
    let get = "GET /api/v1/leads/1 HTTP/1.1\r\nhost: a\r\n\r\n";
    let close = post("/api/v1/leads/2/close", "");
    let both = send_bytes(&harness.socket_path(), format!("{get}{close}").as_bytes());
    assert_contains(&both, "there is no lead 1");
    assert_contains(&both, "there is no lead 2");
}
