//! The socket: private, one server's at a time, and bounded against every kind of admin.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;

use super::support::Office;
use crate::admin::protocol::QUESTION_BYTES;
use crate::admin::socket::{BOUNDS, Bounds};
use crate::admin::{AdminError, Client, ErrorCode, Filter, Question, Reception, SocketServer, socket_path};
use crate::clock::{Clock, SystemClock};

fn reception(office: &Office) -> Arc<Reception> {
    let desk = office.desk.clone();
    Arc::new(move || Ok(desk.clone()))
}

fn serve(office: &Office) -> SocketServer {
    SocketServer::start(office.socket(), reception(office)).unwrap()
}

fn ask(path: &Path, question: &Question) -> Result<Vec<Value>, AdminError> {
    let mut rows = Vec::new();
    Client::connect(path)?.expect("somebody listens").ask(question, &mut |row| {
        rows.push(row);
        true
    })?;
    Ok(rows)
}

/// Sends bytes as they are, and returns the first line of the answer.
fn say(path: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    // A server that hangs up in the middle has still said why.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

/// Tries until there is something, for ten seconds.
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
fn a_question_through_the_socket_has_the_answer_of_the_desk() {
    let office = Office::new();
    let server = serve(&office);
    for token in ["a", "b", "c"] {
        let job = office.accept(token);
        office.finish(job);
    }
    for question in [Question::Status, Question::Submissions(Filter::default()), Question::Check] {
        let mut direct = office.rows(question.clone()).unwrap();
        let mut through = ask(&office.socket(), &question).unwrap();
        for rows in [&mut direct, &mut through] {
            // The disk is not ours alone.
            rows.iter_mut().filter_map(Value::as_object_mut).for_each(|row| drop(row.remove("free_bytes")));
        }
        assert_eq!(direct, through);
    }
    let missing = Question::Job { id: crate::domain::ids::JobId::new(999) };
    assert_eq!(ask(&office.socket(), &missing).unwrap_err(), office.refusal(missing));
    drop(server);
}

#[test]
fn the_socket_is_private_and_goes_with_its_server() {
    let office = Office::new();
    let server = serve(&office);
    assert_eq!(fs::metadata(office.socket()).unwrap().permissions().mode() & 0o777, 0o600);
    drop(server);
    assert!(!office.socket().exists());
    assert!(Client::connect(&office.socket()).unwrap().is_none(), "nobody listens");
}

#[test]
fn a_server_ends_though_somebody_removed_its_socket() {
    let office = Office::new();
    let server = serve(&office);
    fs::remove_file(office.socket()).unwrap();
    drop(server);
}

#[test]
fn a_server_that_is_starting_says_so_until_it_has_a_desk() {
    let office = Office::new();
    let desk = Arc::new(OnceLock::new());
    let found = Arc::clone(&desk);
    let reception = move || found.get().cloned().ok_or_else(|| AdminError::starting(40));
    let _server = SocketServer::start(office.socket(), Arc::new(reception)).unwrap();
    let starting = ask(&office.socket(), &Question::Status).unwrap_err();
    let said = "the server is starting (verifying the data file, 40 %)";
    assert_eq!((starting.code, &*starting.message), (ErrorCode::Busy, said));
    assert!(desk.set(office.desk.clone()).is_ok());
    assert!(ask(&office.socket(), &Question::Status).is_ok());
}

#[test]
fn the_socket_of_a_dead_server_is_replaced() {
    let office = Office::new();
    drop(UnixListener::bind(office.socket()).unwrap());
    assert!(office.socket().exists() && Client::connect(&office.socket()).unwrap().is_none());
    let server = serve(&office);
    assert!(ask(&office.socket(), &Question::Status).is_ok());
    drop(server);
}

#[test]
fn what_is_in_the_way_is_left_alone() {
    let office = Office::new();
    let start = || SocketServer::start(office.socket(), reception(&office)).map(drop).unwrap_err().to_string();
    let alive = UnixListener::bind(office.socket()).unwrap();
    assert!(start().ends_with("is in the way: another server answers there, end it first"), "{}", start());
    drop(alive);
    fs::remove_file(office.socket()).unwrap();

    fs::write(office.socket(), "my novel").unwrap();
    assert!(start().ends_with("is in the way: it is no socket, move it elsewhere"), "{}", start());
    assert_eq!(fs::read_to_string(office.socket()).unwrap(), "my novel");
}

#[test]
fn a_path_that_is_too_long_is_told_with_what_to_do() {
    let office = Office::new();
    let path = socket_path(&office.folder.path().join("x".repeat(120)));
    let error = SocketServer::start(path.clone(), reception(&office)).map(drop).unwrap_err();
    assert!(error.to_string().ends_with("is too long for a socket (107 bytes): give `data` a shorter path"), "{error}");
    assert!(Client::connect(&path).unwrap().is_none(), "no server can listen there");
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let office = Office::new();
    let path = PathBuf::from("no-such-folder/data.redb.sock");
    let error = SocketServer::start(path, reception(&office)).map(drop).unwrap_err();
    assert!(error.to_string().starts_with("no-such-folder/data.redb.sock: "), "{error}");
}

#[test]
fn nonsense_gets_an_answer() {
    let office = Office::new();
    let server = serve(&office);
    for nonsense in [&b"GET / HTTP/1.1\r\n"[..], b"\xff\xfe\n", b"{\"ask\":\"dance\"}\n", b""] {
        let line = say(&office.socket(), nonsense);
        assert!(line.starts_with(r#"{"error":{"code":"invalid","message":"the server does not know"#), "{line}");
    }
    drop(server);
}

#[test]
fn a_question_without_an_end_is_refused_on_both_sides() {
    let office = Office::new();
    let server = serve(&office);
    let line = say(&office.socket(), &vec![b' '; QUESTION_BYTES + 4096]);
    assert!(line.contains("the question is too long: 8 MiB at the most"), "{line}");

    let which = crate::admin::Selection::One {
        id: crate::domain::ids::JobId::new(1),
        payload: Some("x".repeat(QUESTION_BYTES)),
    };
    let refused = ask(&office.socket(), &Question::Retry(which)).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Invalid);
    drop(server);
}

#[test]
fn admins_beyond_the_bound_are_told_so_and_the_others_go_on() {
    let office = Office::new();
    let bounds = Bounds { connections: 1, ..BOUNDS };
    let server = SocketServer::start_within(bounds, office.socket(), reception(&office)).unwrap();
    let mut first = UnixStream::connect(office.socket()).unwrap();
    // The first is seated before the second is looked at: connections are accepted in order.
    let refused = ask(&office.socket(), &Question::Status).unwrap_err();
    assert_eq!(
        (refused.code, &*refused.message),
        (ErrorCode::Unreachable, "too many commands at once: try again in a moment")
    );

    first.write_all(b"{\"ask\":\"status\"}\n").unwrap();
    let mut answer = String::new();
    first.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("{\"end\":true}\n"), "{answer}");
    drop(server);
}

#[test]
fn whoever_asks_nothing_or_reads_nothing_is_let_go() {
    let office = Office::new();
    // Enough for any buffer between the two.
    for number in 0..600 {
        office.accept(&format!("{number}{}", "x".repeat(2000)));
    }
    let patience = Duration::from_millis(50);
    let bounds = Bounds { connections: 1, question: patience, answer: patience };
    let server = SocketServer::start_within(bounds, office.socket(), reception(&office)).unwrap();

    let mut silent = UnixStream::connect(office.socket()).unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0, "hung up");
    let mut deaf = eventually(|| {
        let mut deaf = UnixStream::connect(office.socket()).unwrap();
        deaf.write_all(b"{\"ask\":\"submissions\",\"limit\":0}\n").ok()?;
        let mut start = [0; 5];
        deaf.read_exact(&mut start).ok()?;
        (&start == b"{\"row").then_some(deaf)
    });
    // There is one seat: it is free again only when the deaf one has lost it.
    eventually(|| ask(&office.socket(), &Question::Status).ok());

    let mut heard = Vec::new();
    deaf.read_to_end(&mut heard).unwrap();
    assert!(!heard.ends_with(b"{\"end\":true}\n"), "it was cut off");
    drop(server);
}
