//! With a low limit of open files, idle connections use as many files as they can get. Enough files
//! remain for commands, for the data file, and for earlier connections.

use std::fs;

use crate::support::form::Form;
use crate::support::http::{Connection, signed_post};
use crate::support::phone::PRIVATE_KEY;
use crate::support::{PLAIN_FLOW, Server, upstream};

#[test]
fn commands_and_forms_work_despite_idle_connections() {
    let mut server = Server::stopped(PLAIN_FLOW);
    server.start_with_few_files(60);
    assert!(
        server
            .greeting()
            .contains("the system allows 60 open files: the server accepts at most 30 connections"),
        "{}",
        server.greeting()
    );

    let mut first = server.connect();
    let mut send = |token: &str| {
        first
            .exchange(&signed_post("/form", &Form::new(token).body()))
            .unwrap()
    };
    assert!(send("before").is_accepted());
    // There are more connections than allowed connections and files. Excess connections wait in the
    // queue of the system.
    let hogs: Vec<Connection> = (0..90).map(|_| server.connect()).collect();
    for number in 0..20 {
        assert!(send(&format!("meanwhile-{number}")).is_accepted());
        assert_eq!(server.cli(&["status"]).code, 0, "a command gets its answer");
    }
    drop(hogs);
    let mut later = server.connect();
    assert!(
        later
            .exchange(&signed_post("/form", &Form::new("after").body()))
            .unwrap()
            .is_accepted()
    );
    assert_eq!(server.submissions().len(), 22);
    assert!(
        !server.log().contains("can't accept connections"),
        "{}",
        server.log()
    );
    assert_eq!(server.cli(&["check"]).code, 0);
}

#[test]
fn upstream_halves_maximum_connections() {
    let mut server = Server::stopped(&upstream::flow("http://127.0.0.1:9", ""));
    fs::write(server.folder().join("key.pem"), PRIVATE_KEY).unwrap();
    fs::write(server.folder().join("upstream.secret"), upstream::SECRET).unwrap();
    server.start_with_few_files(60);
    for part in [
        "the system allows 60 open files: the server accepts at most 15 connections",
        "waits for an upstream",
    ] {
        assert!(server.greeting().contains(part), "{}", server.greeting());
    }
}
