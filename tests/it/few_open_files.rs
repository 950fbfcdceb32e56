//! Where the system allows few open files, idle connections take all they can get, and still no more than leaves room for
//! commands, for the data file and for those who were there before.

use std::fs;

use crate::support::form::Form;
use crate::support::http::{Connection, signed_post};
use crate::support::phone::PRIVATE_KEY;
use crate::support::{PLAIN_FLOW, Server, program};

#[test]
fn commands_and_forms_get_through_while_idle_connections_hold_every_place() {
    let mut server = Server::stopped(PLAIN_FLOW);
    server.start_with_few_files(60);
    assert!(
        server.greeting().contains("the system allows 60 open files: at most 30 connections"),
        "{}",
        server.greeting()
    );

    let mut first = server.connect();
    let mut send = |token: &str| first.exchange(&signed_post("/form", &Form::new(token).body())).unwrap();
    assert!(send("before").is_accepted());
    // More than there are places, and than there are files: those beyond the bound wait in the system's queue.
    let hogs: Vec<Connection> = (0..90).map(|_| server.connect()).collect();
    for number in 0..20 {
        assert!(send(&format!("meanwhile-{number}")).is_accepted());
        assert_eq!(server.cli(&["status"]).code, 0, "a command gets its answer");
    }
    drop(hogs);
    let mut later = server.connect();
    assert!(later.exchange(&signed_post("/form", &Form::new("after").body())).unwrap().is_accepted());
    assert_eq!(server.submissions().len(), 22);
    assert!(!server.log().contains("can't accept connections"), "{}", server.log());
    assert_eq!(server.cli(&["check"]).code, 0);
}

#[test]
fn where_a_program_is_asked_each_connection_may_need_two() {
    let mut server = Server::stopped(&program::flow("http://127.0.0.1:9", ""));
    fs::write(server.folder().join("key.pem"), PRIVATE_KEY).unwrap();
    fs::write(server.folder().join("upstream.secret"), program::SECRET).unwrap();
    server.start_with_few_files(60);
    for part in ["the system allows 60 open files: at most 15 connections", "while a flow's program is asked"] {
        assert!(server.greeting().contains(part), "{}", server.greeting());
    }
}
