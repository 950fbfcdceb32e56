//! Programs use the admin API over the Unix socket: requests with errors, long lists, many clients,
//! and clients that leave.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::form::Form;
use crate::support::{PLAIN_FLOW, Server, all_at_once, eventually, get};

/// Number of forms whose list is larger than all buffers on its way.
const FORMS: usize = 400;

fn connect(server: &Server) -> UnixStream {
    UnixStream::connect(server.folder().join("flowgate.redb.sock")).unwrap()
}

/// Sends a request without a body, and returns the whole response.
fn send(server: &Server, method: &str, path: &str) -> String {
    let mut stream = connect(server);
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"
    )
    .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

/// Starts a server with forms that have long answers.
fn server_with_forms() -> Server {
    let server = Server::start(PLAIN_FLOW);
    all_at_once(4, |sender| {
        for number in 0..FORMS / 4 {
            let token = format!("{sender}-{number}-{}", "x".repeat(200));
            assert!(server.post("/form", &Form::new(&token)).is_accepted());
        }
    });
    server
}

#[test]
fn bad_requests_get_status_and_reason() {
    let server = Server::start(PLAIN_FLOW);
    for (method, path, status, part) in [
        ("GET", "/api/v1/nothing", 404, "unknown_path"),
        ("GET", "/metrics", 404, "unknown_path"),
        ("POST", "/api/v1/leads", 405, "\r\nallow: GET\r\n"),
        (
            "GET",
            "/api/v1/leads?colour=red",
            400,
            "unknown field `colour`",
        ),
        ("GET", "/api/v1/leads/7", 404, "there is no lead 7"),
        ("POST", "/api/v1/destinations/crm/pause", 404, "not_found"),
    ] {
        let response = send(&server, method, path);
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {response}"
        );
        assert!(response.contains(part), "{path}: {response}");
    }
    let status = send(&server, "GET", "/api/v1/status");
    assert!(
        status.contains("\r\ncontent-type: application/jsonl\r\n"),
        "{status}"
    );
    assert!(status.contains("\"health\":\"ready\""), "{status}");
    // The admin address has no unauthenticated access.
    let mut stream = TcpStream::connect(server.admin_address()).unwrap();
    let request = b"GET /api/v1/status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).unwrap();
    let mut refused = String::new();
    stream.read_to_string(&mut refused).unwrap();
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    assert_eq!(get(server.admin_address(), "/healthz").status, 200);
}

#[test]
fn clients_that_leave_do_not_disturb_others() {
    let server = server_with_forms();
    let list = "GET /api/v1/submissions?limit=0 HTTP/1.1\r\nhost: localhost\r\n\r\n";
    // More than the server handles at the same time. All leave before the end of their list.
    for _ in 0..40 {
        let mut stream = connect(&server);
        stream.write_all(list.as_bytes()).unwrap();
        stream.read_exact(&mut [0; 100]).unwrap();
    }
    let rows = eventually("a free place", || {
        let response = send(&server, "GET", "/api/v1/submissions?limit=0");
        response.starts_with("HTTP/1.1 200 ").then_some(response)
    });
    assert_eq!(rows.matches("\"id\":").count(), FORMS);
    let listed = all_at_once(8, |_| server.rows(&["submissions", "--limit", "0"]).len());
    assert_eq!(listed, [FORMS; 8]);
}

#[test]
fn slow_reader_holds_few_rows_in_memory() {
    let server = server_with_forms();
    let list = "GET /api/v1/submissions?limit=0 HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut slow = connect(&server);
    slow.write_all(list.as_bytes()).unwrap();
    let mut start = [0; 12];
    slow.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    // The server still answers others, and the rest of the list arrives later.
    assert_eq!(server.rows(&["submissions", "--limit", "3"]).len(), 3);
    slow.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    slow.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("\r\n0\r\n\r\n"), "the list is complete");
    assert_eq!(rest.matches("\"id\":").count(), FORMS);
}

#[test]
fn examples_of_the_page_run() {
    if Command::new("curl").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "curl is not installed");
        return;
    }
    let server = Server::start(PLAIN_FLOW);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/admin-api.md");
    let page = fs::read_to_string(page).unwrap();
    let examples: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("curl "))
        .collect();
    assert!(examples.len() >= 3);
    for example in examples {
        let mut shell = Command::new("sh");
        let output = shell
            .args(["-c", example])
            .current_dir(server.folder())
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{example}: {output:?}");
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            assert!(
                serde_json::from_str::<Value>(line).unwrap().is_object(),
                "{line}"
            );
        }
    }
}
