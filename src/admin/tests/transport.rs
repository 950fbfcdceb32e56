//! Tests the socket: permissions, exclusive use by one server, and limits.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;

use super::support::{
    AdminHarness, assert_contains, assert_ends_with, assert_starts_with, corrected_job,
};
use crate::admin::protocol::REQUEST_BYTES_MAX;
use crate::admin::transport::server::{SOCKET_LIMITS, SocketLimits};
use crate::admin::{
    AdminClient, AdminCommand, AdminError, AdminQuery, AdminRequest, ErrorCode, HandlerSource,
    ListFilter, ServerCommand, SlotFilter, SocketServer, socket_path,
};
use crate::clock::{Clock, SystemClock};
use crate::domain::ids::{JobId, LeadId};

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

/// Sends bytes unchanged, and returns the first line of the response.
fn send_bytes(path: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    // A server that closes the connection early has already sent its error.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
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
fn request_type_follows_from_request_name() {
    let id = LeadId::new(7);
    let slots = SlotFilter {
        calendar: None,
        from: Some("2026-11-24".parse().unwrap()),
        to: None,
        limit: 5,
    };
    let slots_line =
        r#"{"request":"slots","calendar":null,"from":"2026-11-24","to":null,"limit":5}"#;
    let requests: [(AdminRequest, &str); 5] = [
        (AdminQuery::Status.into(), r#"{"request":"status"}"#),
        (AdminQuery::Slots(slots).into(), slots_line),
        (
            AdminQuery::Lead { id }.into(),
            r#"{"request":"lead","id":7}"#,
        ),
        (
            AdminCommand::CloseLead { id }.into(),
            r#"{"request":"close_lead","id":7}"#,
        ),
        (
            ServerCommand::ReloadConfig.into(),
            r#"{"request":"reload_config"}"#,
        ),
    ];
    for (request, line) in requests {
        assert_eq!(serde_json::to_string(&request).unwrap(), line);
        assert_eq!(serde_json::from_str::<AdminRequest>(line).unwrap(), request);
    }
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

#[test]
fn malformed_request_gets_error() {
    let harness = AdminHarness::new();
    let _server = start_server(&harness);
    for nonsense in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\xff\xfe\n",
        b"{\"request\":\"dance\"}\n",
        b"",
    ] {
        let line = send_bytes(&harness.socket_path(), nonsense);
        let error = r#"{"error":{"code":"invalid","message":"unknown request"#;
        assert_starts_with(&line, error);
    }
}

#[test]
fn oversized_request_is_refused_by_both_sides() {
    let harness = AdminHarness::new();
    let _server = start_server(&harness);
    let spaces = vec![b' '; REQUEST_BYTES_MAX + 4096];
    let line = send_bytes(&harness.socket_path(), &spaces);
    assert_contains(&line, "the request is too long: maximum 8 MiB");

    let payload = "x".repeat(REQUEST_BYTES_MAX);
    let retry = AdminCommand::RetryDeadLetters(corrected_job(JobId::new(1), &payload));
    let refused = send_request(&harness.socket_path(), retry).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Invalid);
}

#[test]
fn connections_above_limit_are_refused() {
    let harness = AdminHarness::new();
    let limits = SocketLimits {
        max_connections: 1,
        ..SOCKET_LIMITS
    };
    let _server = start_within(limits, &harness);
    let mut first = UnixStream::connect(harness.socket_path()).unwrap();
    // The server accepts connections in order, so the first connection occupies the only handler.
    let refused = send_request(&harness.socket_path(), AdminQuery::Status).unwrap_err();
    let busy = AdminError::unreachable("too many commands at once: try again in a moment");
    assert_eq!(refused, busy);

    first.write_all(b"{\"request\":\"status\"}\n").unwrap();
    let mut response = String::new();
    first.read_to_string(&mut response).unwrap();
    assert_ends_with(&response, "{\"done\":true}\n");
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
        max_connections: 1,
        request_timeout: timeout,
        response_timeout: timeout,
    };
    let _server = start_within(limits, &harness);

    let mut silent = UnixStream::connect(harness.socket_path()).unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0, "hung up");
    let mut stalled = eventually(|| {
        let mut stalled = UnixStream::connect(harness.socket_path()).unwrap();
        stalled
            .write_all(b"{\"request\":\"submissions\",\"limit\":0}\n")
            .ok()?;
        let mut start = [0; 5];
        stalled.read_exact(&mut start).ok()?;
        (&start == b"{\"row").then_some(stalled)
    });
    // Only one handler is allowed. It is free again only after the server has closed the stalled
    // connection.
    eventually(|| send_request(&harness.socket_path(), AdminQuery::Status).ok());

    let mut received = Vec::new();
    stalled.read_to_end(&mut received).unwrap();
    assert!(!received.ends_with(b"{\"done\":true}\n"), "it was cut off");
}
