//! A second machine follows the backup of the first one, and serves after the first one is lost.

use std::fs::File;
use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::Value;

use crate::support::backups::post;
use crate::support::form::Form;
use crate::support::http::{Answer, Connection, signed_post};
use crate::support::object_store::{FakeObjectStore, StoreFault};
use crate::support::{PLAIN_FLOW, Process, Server, assert_each_once, eventually, flowgate};

fn post_to(address: SocketAddr, token: &str) -> Answer {
    let request = signed_post("/form", &Form::new(token).body());
    Connection::open(address)
        .unwrap()
        .exchange(&request)
        .unwrap()
}

/// Starts `flowgate follow` on the machine.
fn follow(machine: &Server) -> Process {
    let log = File::options()
        .create(true)
        .append(true)
        .open(machine.folder().join("log"))
        .unwrap();
    let mut command = flowgate(machine.folder());
    command.arg("follow").stdout(Stdio::null()).stderr(log);
    Process(command.spawn().unwrap())
}

/// Waits until the machine has every commit of the server.
fn wait_until_followed(server: &Server, machine: &Server) {
    server.settled();
    let last = eventually("every commit is uploaded", || {
        let backup = server.row(&["status"])["backup"].clone();
        let is_safe = backup["base_at"].is_string() && backup["behind_seconds"] == 0;
        is_safe.then(jiff::Timestamp::now)
    });
    eventually("the second machine has every commit", || {
        let status = status(machine)?;
        let compared = status["behind_seconds"].as_i64()?;
        let compared_at = jiff::Timestamp::now() - jiff::Span::new().seconds(compared);
        (compared_at > last).then_some(())
    });
}

/// Returns the status of a process that follows, or `None` if there is none yet.
fn status(machine: &Server) -> Option<Value> {
    let output = machine.cli(&["status", "--json"]);
    let status: Value = serde_json::from_str(&output.out).ok()?;
    status["following"].is_string().then_some(status)
}

#[test]
fn second_machine_takes_over_everything() {
    let store = FakeObjectStore::start();
    let tables = format!("{PLAIN_FLOW}{}", store.table(""));
    let mut first = Server::start(&tables);
    first.add_agent("Ann", &[]);
    let mut all = vec!["before".to_owned()];
    post(&first, "before");

    let second = Server::stopped(&tables);
    let mut following = follow(&second);
    wait_until_followed(&first, &second);
    // Kills of the follower, one of them while the store fails.
    for round in 0..3 {
        for number in 0..20 {
            let token = format!("round-{round}-{number}");
            post(&first, &token);
            all.push(token);
        }
        let fault = [
            StoreFault::None,
            StoreFault::Unavailable,
            StoreFault::LostResponse,
        ][round];
        store.set_fault(fault);
        drop(following);
        following = follow(&second);
        store.set_fault(StoreFault::None);
    }
    wait_until_followed(&first, &second);
    let text = second.cli(&["status"]).out;
    assert!(text.contains("following     s3://shop/clinic"), "{text}");
    let refused = second.cli(&["agents", "add", "Bob", "--team", "sales"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.err.contains("this machine follows a backup"),
        "{refused:?}"
    );

    first.kill9();
    let promoted = second.row(&["promote"]);
    assert_eq!(promoted["incomplete"], Value::Null, "{promoted}");
    let address: SocketAddr = promoted["listen"].as_str().unwrap().parse().unwrap();
    assert_each_once(&second.submissions(), &all);
    assert_eq!(second.cli(&["check"]).code, 0);
    assert!(post_to(address, "before").is_duplicate());
    assert!(post_to(address, "after").is_accepted());
    second.settled();

    // The old machine sees that it was replaced, and does not touch the new log.
    first.start_again();
    eventually("the old machine stops its backup", || {
        let problems = first.row(&["status"])["backup"]["problems"].to_string();
        problems
            .contains("continues on another machine")
            .then_some(())
    });
    let again = second.cli(&["promote"]);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.err.contains("it serves already"), "{again:?}");

    // After a restart, the same command serves.
    drop(following);
    let refused = second.cli(&["restore", "--to", "flowgate.redb"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    let _serving = follow(&second);
    eventually("the promoted machine serves again", || {
        let output = second.cli(&["status", "--json"]);
        let status: Value = serde_json::from_str(&output.out).ok()?;
        (status["health"] == "ready").then_some(())
    });
    all.push("after".to_owned());
    assert_each_once(&second.submissions(), &all);
}

#[test]
fn file_that_follows_does_not_serve_by_accident() {
    let store = FakeObjectStore::start();
    let tables = format!("{PLAIN_FLOW}{}", store.table(""));
    let first = Server::start(&tables);
    post(&first, "one");
    let second = Server::stopped(&tables);
    let following = follow(&second);
    wait_until_followed(&first, &second);
    drop(following);
    for command in [&["serve"][..], &["agents", "add", "Bob", "--team", "sales"]] {
        let refused = second.cli(command);
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(
            refused.err.contains("`flowgate promote` makes it serve"),
            "{refused:?}"
        );
    }
    // The file of a server is not replaced.
    let running = first.cli(&["follow"]);
    assert_eq!(running.code, 4, "{running:?}");
    // Without a process that follows, the file itself is promoted.
    let promoted = second.cli(&["promote"]);
    assert_eq!(promoted.code, 0, "{promoted:?}");
    assert!(
        promoted
            .out
            .contains("was promoted; next: `flowgate serve`"),
        "{promoted:?}"
    );
    assert_each_once(&second.submissions(), ["one"]);
    let again = second.cli(&["promote"]);
    assert_eq!(again.code, 2, "{again:?}");

    let third = Server::stopped(PLAIN_FLOW);
    let nowhere = third.cli(&["follow"]);
    assert_eq!(nowhere.code, 2, "{nowhere:?}");
    assert!(
        nowhere.err.contains("the config has no `backup.url`"),
        "{nowhere:?}"
    );
    let missing = third.cli(&["follow", "no-such-folder"]);
    assert_eq!(missing.code, 3, "{missing:?}");
}

#[test]
fn machine_is_promoted_while_the_store_is_down() {
    let store = FakeObjectStore::start();
    let tables = format!("{PLAIN_FLOW}{}", store.table(""));
    let mut first = Server::start(&tables);
    post(&first, "one");
    let second = Server::stopped(&tables);
    let _following = follow(&second);
    wait_until_followed(&first, &second);
    // The fire takes the first machine and the store.
    first.kill9();
    store.set_fault(StoreFault::Unavailable);
    eventually("the check for a newer generation has failed", || {
        let error = status(&second)?["error"].as_str()?.to_owned();
        error.contains("clinic/generations:").then_some(())
    });
    assert!(status(&second).unwrap()["committed_at"].is_string());
    let promoted = second.row(&["promote"]);
    let incomplete = promoted["incomplete"].as_str().unwrap();
    assert!(
        incomplete.contains("can't list s3://shop/clinic"),
        "{promoted}"
    );
    assert_each_once(&second.submissions(), ["one"]);
}
