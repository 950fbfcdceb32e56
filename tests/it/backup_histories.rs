//! Tests that one place never mixes two histories: after an old data file was put back, after two
//! restores, and after a server was started beside a restore. Retention keeps what a restore needs.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::support::backups::{
    backed_up_server, backup_status, post, restore_elsewhere, wait_for_problem, wait_until_safe,
};
use crate::support::object_store::{FakeObjectStore, StoreFault};
use crate::support::{PLAIN_FLOW, Server, assert_each_once, eventually, flowgate};

#[test]
fn older_file_begins_a_new_history() {
    let (_store, tables, mut server) = backed_up_server("");
    server.stop();
    let data = server.folder().join("flowgate.redb");
    let snapshot = server.folder().join("snapshot");
    fs::copy(&data, &snapshot).unwrap();
    server.start_again();
    for number in 0..10 {
        post(&server, &format!("undone-{number}"));
        server.settled();
    }
    wait_until_safe(&server);
    server.kill9();
    // The machine returns to yesterday's snapshot of its disk.
    fs::copy(&snapshot, &data).unwrap();
    server.start_again();
    post(&server, "second");
    wait_until_safe(&server);
    server.kill9();
    let (elsewhere, restored) = restore_elsewhere(&tables, &[]);
    assert_each_once(&elsewhere.submissions(), ["first", "second"]);
    assert_eq!(restored["missing_since"], Value::Null, "{restored}");
}

#[test]
fn last_restored_machine_owns_the_backup() {
    let (store, tables, mut server) = backed_up_server("");
    server.kill9();
    let (mut one, _) = restore_elsewhere(&tables, &[]);
    let (mut other, _) = restore_elsewhere(&tables, &[]);
    one.start_again();
    post(&one, "one");
    wait_until_safe(&one);
    other.start_again();
    post(&other, "other");
    wait_until_safe(&other);
    wait_for_problem(&one, "continues on another machine");
    one.stop();
    one.start_again();
    wait_for_problem(&one, "continues on another machine");
    assert_eq!(backup_status(&other)["problems"].to_string(), "[]");
    other.kill9();
    let (third, _) = restore_elsewhere(&tables, &[]);
    assert_each_once(&third.submissions(), ["first", "other"]);

    // Without the last base, the restore says that commits are missing.
    let bases = store.names_with("manifest.json");
    store.remove(bases.last().unwrap());
    let (third, restored) = restore_elsewhere(&tables, &[]);
    assert!(restored["missing_since"].is_string(), "{restored}");
    assert_each_once(&third.submissions(), ["first", "one"]);
}

#[test]
fn idle_server_uploads_nothing() {
    let (store, _, mut server) = backed_up_server("");
    server.stop();
    let before = store.names_with("/log/");
    for _ in 0..3 {
        server.start_again();
        wait_until_safe(&server);
        assert_eq!(backup_status(&server)["problems"].to_string(), "[]");
        server.stop();
    }
    assert_eq!(store.names_with("/log/"), before);
}

#[test]
fn server_that_was_started_beside_a_restore_keeps_its_file() {
    let (store, tables, mut server) = backed_up_server("");
    server.kill9();

    let mut machine = Server::stopped(&tables);
    store.set_fault(StoreFault::Hang);
    let restoring = flowgate(machine.folder())
        .arg("restore")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let part = machine.folder().join("flowgate.redb.part");
    eventually("the restore has begun", || part.exists().then_some(()));
    machine.start_again();
    post(&machine, "meanwhile");
    store.set_fault(StoreFault::None);
    let output = restoring.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("flowgate.redb exists"), "{message}");
    machine.settled();
    assert_each_once(&machine.submissions(), ["meanwhile"]);
    assert!(!part.exists());
}

/// Moves the last base of the store back in time, and returns its folder.
fn age_last_base(store: &FakeObjectStore, days: i64) -> String {
    let manifests = store.names_with("manifest.json");
    let manifest = manifests.last().unwrap();
    let content: Value = serde_json::from_str(&store.text(manifest)).unwrap();
    let ends_at = content["end"]["committed_at"].as_str().unwrap().to_owned();
    let began_at = manifest.split('/').rev().nth(1).unwrap();
    let (number, at) = began_at.split_once('-').unwrap();
    let span = jiff::Span::new().hours(24 * days);
    let earlier = (ends_at.parse::<jiff::Timestamp>().unwrap() - span).to_string();
    store.replace(&ends_at, &earlier);
    let ms = at.parse::<i64>().unwrap() - days * 86_400_000;
    let name = format!("{number}-{ms:013}");
    store.replace(began_at, &name);
    name
}

#[test]
fn retention_keeps_what_a_restore_needs() {
    let store = FakeObjectStore::start();
    let tables = format!("{PLAIN_FLOW}{}", store.table("keep = \"14d\""));
    let mut server = Server::start(&tables);
    let mut bases = Vec::new();
    for (days, token) in [(30, "month"), (20, "weeks"), (0, "today")] {
        post(&server, token);
        wait_until_safe(&server);
        server.stop();
        bases.push(age_last_base(&store, days));
        server.start_again();
        if days > 0 {
            eventually("a new base is complete", || {
                let count = store.names_with("manifest.json").len();
                let base_at = backup_status(&server)["base_at"].as_str()?.to_owned();
                let today = jiff::Timestamp::now().to_string();
                (count > 0 && base_at[..10] == today[..10]).then_some(())
            });
        }
    }
    // The base before the last one that is older than `keep` can't be needed any more.
    eventually("the oldest base was removed", || {
        store.names_with(&bases[0]).is_empty().then_some(())
    });
    assert!(!store.names_with(&bases[1]).is_empty(), "{bases:?}");
    server.kill9();
    let (elsewhere, _) = restore_elsewhere(&tables, &[]);
    assert_each_once(&elsewhere.submissions(), ["month", "weeks", "today"]);
    // The second base has the first form, and its own log begins today.
    let (fortnight, _) = restore_elsewhere(&tables, &["--at", "15d"]);
    assert_each_once(&fortnight.submissions(), ["month"]);
    let never = fortnight.cli(&["restore", "--at", "25d", "--to", "x.redb"]);
    assert_eq!(never.code, 3, "{never:?}");
}
