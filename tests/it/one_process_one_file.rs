//! One process holds the data file; the command line goes through it, or takes the file of one that has ended.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::support::form::Form;
use crate::support::http::Connection;
use crate::support::{PLAIN_FLOW, Process, Server, assert_each_once, eventually, flowgate};

#[test]
fn a_second_server_on_the_same_file_is_refused_with_a_hint() {
    let server = Server::start(PLAIN_FLOW);
    let second = server.cli(&["serve"]);
    assert_eq!(second.code, 4, "{second:?}");
    assert!(second.err.contains("another process") && second.err.contains("flowgate status"), "{}", second.err);
    assert!(server.post("/form", &Form::new("t")).is_accepted(), "the first one does not mind");
}

#[test]
fn the_socket_is_for_its_owner_alone_and_gone_after_a_clean_end() {
    let mut server = Server::start(PLAIN_FLOW);
    let socket = server.folder().join("flowgate.redb.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    server.stop();
    assert!(!socket.exists());
}

#[test]
fn a_server_that_says_that_it_is_ready_answers_commands() {
    // An address of our own: nobody takes its port between this and the server.
    let free = TcpListener::bind("127.77.0.1:0").unwrap().local_addr().unwrap();
    let server = Server::stopped(PLAIN_FLOW);
    let file = server.folder().join("config.toml");
    let config = fs::read_to_string(&file).unwrap();
    fs::write(file, config.replacen("listen = \"127.0.0.1:0\"", &format!("listen = \"{free}\""), 1)).unwrap();
    for start in 0..3 {
        let mut serve = flowgate(server.folder());
        let _process = Process(serve.arg("serve").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        eventually("it is ready", || {
            let mut connection = Connection::open(free).ok()?;
            let answer = connection.exchange(b"GET /readyz HTTP/1.1\r\nhost: flowgate.test\r\n\r\n").ok()?;
            (answer.status == 200).then_some(())
        });
        let status = server.cli(&["status"]);
        assert_eq!(status.code, 0, "start {start}: {status:?}");
    }
}

#[test]
fn the_same_commands_work_on_the_file_of_a_stopped_server() {
    let mut server = Server::start(PLAIN_FLOW);
    server.add_agent("Ann", &[]);
    assert!(server.post("/form", &Form::new("t")).is_accepted());
    server.settled();
    let running = ["submissions", "leads", "agents", "jobs"].map(|noun| server.rows(&[noun, "list"]));
    server.stop();
    let stopped = ["submissions", "leads", "agents", "jobs"].map(|noun| server.rows(&[noun, "list"]));
    assert_eq!(running, stopped);
    assert_eq!(server.cli(&["check"]).code, 0);
    server.rows(&["leads", "close", &running[1][0]["id"].to_string()]);
    server.start_again();
    assert_eq!(server.row(&["leads", "list"])["state"], "closed");
}

#[test]
fn a_socket_left_by_a_killed_server_does_not_hinder_anybody() {
    let mut server = Server::start(PLAIN_FLOW);
    assert!(server.post("/form", &Form::new("t")).is_accepted());
    server.kill9();
    assert_each_once(&server.submissions(), ["t"]);
    server.start_again();
    assert_each_once(&server.submissions(), ["t"]);
}

#[test]
fn a_damaged_file_is_a_clear_error_with_its_own_exit_code() {
    let mut server = Server::start(PLAIN_FLOW);
    assert!(server.post("/form", &Form::new("t")).is_accepted());
    server.stop();
    let path = server.folder().join("flowgate.redb");
    let mut bytes = fs::read(&path).unwrap();
    let from = bytes.len().min(4096);
    for byte in &mut bytes[from..] {
        *byte ^= 0x5a;
    }
    fs::write(&path, &bytes).unwrap();
    let said = server.cli(&["serve"]);
    assert_eq!(said.code, 6, "{said:?}");
    assert!(said.err.contains("damaged") && said.err.contains("backup"), "{}", said.err);
    assert_eq!(fs::read(&path).unwrap().len(), bytes.len(), "the file is left as it is, for whoever is to repair it");
}

#[test]
fn a_file_that_is_something_else_is_not_touched() {
    let server = Server::stopped(PLAIN_FLOW);
    let path = server.folder().join("flowgate.redb");
    fs::write(&path, "my novel, chapter one").unwrap();
    assert_ne!(server.cli(&["serve"]).code, 0);
    assert_eq!(fs::read_to_string(&path).unwrap(), "my novel, chapter one");
}
