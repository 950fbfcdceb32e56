//! Continuous backups: a machine burns, and only the last seconds are missing elsewhere. The store
//! fails in several ways, and the server is killed in the middle of bases and segments.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::backups::{
    backup_status, post, restore_elsewhere, wait_for_problem, wait_until_safe,
};
use crate::support::fake_services::{FakeReceiver, add_top_level_keys};
use crate::support::form::Form;
use crate::support::http::{Connection, signed_post};
use crate::support::object_store::{FakeObjectStore, StoreFault};
use crate::support::{PLAIN_FLOW, Server, assert_each_once, eventually};

/// Maximum age of a commit that is not in the backup, as the docs promise.
const LOSS_MAX: Duration = Duration::from_secs(10);

/// Acknowledged forms with the time of their acknowledgement.
#[derive(Default)]
struct Acknowledged(Mutex<Vec<(String, Instant)>>);

/// Posts forms with tokens that begin with `prefix`, until the server is gone or `enough` is set.
fn post_forms(server: &Server, prefix: &str, acknowledged: &Acknowledged, enough: &AtomicBool) {
    let Ok(mut connection) = Connection::open(server.address()) else {
        return;
    };
    for number in 0.. {
        let token = format!("{prefix}-{number}");
        let request = signed_post("/form", &Form::new(&token).body());
        match connection.exchange(&request) {
            Ok(answer) if answer.is_accepted() => {}
            _ => return,
        }
        acknowledged.0.lock().unwrap().push((token, Instant::now()));
        if enough.load(Ordering::SeqCst) {
            return;
        }
    }
}

fn tokens(server: &Server) -> Vec<String> {
    let rows = server.submissions();
    rows.iter()
        .map(|row| row["flow_token"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn burnt_machine_costs_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let tables = format!(
        "{PLAIN_FLOW}\n[backup]\nurl = \"{}\"\n",
        folder.path().join("safe").display()
    );
    let mut server = Server::start(&tables);
    server.add_agent("Ann", &[]);
    post(&server, "first");
    wait_until_safe(&server);
    let (acknowledged, enough) = (Acknowledged::default(), AtomicBool::new(false));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for sender in 0..3 {
            let (server, acknowledged, enough) = (&server, &acknowledged, &enough);
            scope
                .spawn(move || post_forms(server, &format!("load-{sender}"), acknowledged, enough));
        }
        // The load must last longer than the promised loss.
        eventually("the load lasted long enough", || {
            (began.elapsed() > LOSS_MAX + Duration::from_secs(2)).then_some(())
        });
        enough.store(true, Ordering::SeqCst);
    });
    let burnt = Instant::now();
    server.kill9();
    fs::remove_file(server.folder().join("flowgate.redb")).unwrap();

    let (mut elsewhere, restored) = restore_elsewhere(&tables, &[]);
    let found: std::collections::BTreeSet<String> = tokens(&elsewhere).into_iter().collect();
    assert!(found.contains("first"), "{restored}");
    let acknowledged = acknowledged.0.into_inner().unwrap();
    let missing: Vec<_> = acknowledged
        .iter()
        .filter(|(token, _)| !found.contains(token))
        .map(|(token, at)| (burnt.duration_since(*at), token))
        .collect();
    eprintln!(
        "{} of {} are missing, the oldest from {:?} before the end",
        missing.len(),
        acknowledged.len(),
        missing.iter().map(|(age, _)| age).max()
    );
    assert!(
        missing.iter().all(|(age, _)| *age < LOSS_MAX),
        "{missing:?}"
    );
    assert_eq!(elsewhere.cli(&["check"]).code, 0);
    // The other machine continues, with a backup of its own.
    elsewhere.start_again();
    assert!(elsewhere.post("/form", &Form::new("first")).is_duplicate());
    post(&elsewhere, "elsewhere");
    wait_until_safe(&elsewhere);
    elsewhere.kill9();
    let (third, _) = restore_elsewhere(&tables, &[]);
    let continued = tokens(&third);
    assert!(continued.iter().any(|token| token == "elsewhere"));
    assert_eq!(continued.len(), found.len() + 1);
}

#[test]
fn store_that_fails_and_kills_lose_nothing() {
    let store = FakeObjectStore::start();
    let tables = format!("{PLAIN_FLOW}{}", store.table(""));
    let mut server = Server::start(&tables);
    let mut all = Vec::new();
    for (round, fault) in [
        StoreFault::Unavailable,
        StoreFault::LostResponse,
        StoreFault::Hang,
        StoreFault::Forbidden,
        StoreFault::None,
    ]
    .into_iter()
    .enumerate()
    {
        // Each kill meets an upload that is in progress, or one that failed.
        store.set_fault(fault);
        for number in 0..20 {
            let token = format!("round-{round}-{number}");
            let large = Form::new(&token).with("note", "n".repeat(50_000));
            assert!(server.post("/form", &large).is_accepted());
            all.push(token);
        }
        server.kill9();
        server.start_again();
    }
    wait_until_safe(&server);
    post(&server, "after the base");
    all.push("after the base".to_owned());
    wait_until_safe(&server);
    server.kill9();
    let (elsewhere, restored) = restore_elsewhere(&tables, &[]);
    assert_each_once(&elsewhere.submissions(), &all);
    assert_eq!(elsewhere.cli(&["check"]).code, 0, "{restored}");

    // A killed restore leaves no data file.
    let part = elsewhere.folder().join("again.redb.part");
    let mut command = crate::support::flowgate(elsewhere.folder());
    command.args(["restore", "--to", "again.redb"]);
    let restoring = crate::support::Process(command.spawn().unwrap());
    eventually("the restore has begun", || part.exists().then_some(()));
    drop(restoring);
    let again = elsewhere.folder().join("again.redb");
    assert!(!again.exists());
    assert_eq!(elsewhere.cli(&["restore", "--to", "again.redb"]).code, 0);

    // A damaged or missing segment is reported, never skipped.
    let segments = store.names_with("/log/");
    let last = segments.last().unwrap();
    store.damage(last);
    let damaged = elsewhere.cli(&["restore", "--to", "other.redb"]);
    assert_eq!(damaged.code, 6, "{damaged:?}");
    assert!(
        damaged
            .err
            .contains("is damaged: restore to an earlier time"),
        "{damaged:?}"
    );
    for base in store.names_with("manifest.json") {
        store.remove(&base);
    }
    let none = elsewhere.cli(&["restore", "--to", "other.redb"]);
    assert_eq!(none.code, 3, "{none:?}");
    assert!(
        none.err.contains("s3://shop/clinic has no complete backup"),
        "{none:?}"
    );
}

#[test]
fn earlier_time_is_restored() {
    let store = FakeObjectStore::start();
    let tables = format!("{PLAIN_FLOW}{}", store.table(""));
    let mut server = Server::start(&tables);
    post(&server, "before");
    wait_until_safe(&server);
    let between = jiff::Timestamp::now();
    // Times of commits are whole milliseconds.
    eventually("the time has passed", || {
        let passed = jiff::Timestamp::now().duration_since(between);
        (passed.as_millis() > 1).then_some(())
    });
    let between = between.to_string();
    post(&server, "after");
    wait_until_safe(&server);
    // Everything is uploaded before the end of a clean stop.
    post(&server, "last");
    server.stop();
    let (early, restored) = restore_elsewhere(&tables, &["--at", &between]);
    assert_each_once(&early.submissions(), ["before"]);
    assert!(
        restored["committed_at"].as_str().unwrap() < between.as_str(),
        "{restored}"
    );
    let (late, _) = restore_elsewhere(&tables, &["s3://shop/clinic"]);
    assert_each_once(&late.submissions(), ["before", "after", "last"]);
    let never = late.cli(&["restore", "--at", "2020-01-01", "--to", "x.redb"]);
    assert_eq!(never.code, 3, "{never:?}");
    assert!(
        never
            .err
            .contains("no complete backup at or before 2020-01-01"),
        "{never:?}"
    );
}

/// Returns a server that has not started, whose backup goes to a store that refuses everything and
/// whose alerts go to the receiver. Returns also the tables of its config.
fn with_failing_store() -> (FakeObjectStore, FakeReceiver, String, Server) {
    let (store, receiver) = (FakeObjectStore::start(), FakeReceiver::well());
    store.set_fault(StoreFault::Forbidden);
    let tables = format!(
        "{PLAIN_FLOW}{}{}",
        receiver.table("ops", ""),
        store.table("")
    );
    let server = Server::stopped(&tables);
    add_top_level_keys(&server, "alerts = [\"ops\"]");
    (store, receiver, tables, server)
}

#[test]
fn failing_backup_is_warning_and_alert() {
    let (store, receiver, tables, mut server) = with_failing_store();
    server.start_again();
    post(&server, "first");
    let alerts = receiver.wait_for_requests(1);
    let alert = alerts[0].json();
    assert_eq!(alert["type"], "backup.failed", "{alert}");
    let reason = alert["data"]["backup"]["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("the backup to s3://shop/clinic is late (can't list"),
        "{reason}"
    );
    let status = server.row(&["status"]);
    assert!(
        status["warnings"]
            .to_string()
            .contains("s3://shop/clinic is late"),
        "{status}"
    );
    assert!(
        server
            .cli(&["status"])
            .out
            .contains("backup        s3://shop/clinic, ")
    );

    store.set_fault(StoreFault::None);
    wait_until_safe(&server);
    assert_eq!(
        backup_status(&server)["problems"].as_array().unwrap().len(),
        0
    );
    let answer = crate::support::get(server.admin_address(), "/metrics");
    let metrics = answer.text();
    assert!(
        metrics.contains("flowgate_backup_behind_seconds 0"),
        "{metrics}"
    );

    // Another data file must not mix with these objects.
    let other = Server::start(&tables);
    post(&other, "other");
    wait_for_problem(&other, "because it has backups of other data");
    assert_eq!(
        backup_status(&server)["problems"].as_array().unwrap().len(),
        0
    );
    server.kill9();
    let (elsewhere, _) = restore_elsewhere(&tables, &[]);
    assert_each_once(&elsewhere.submissions(), ["first"]);
}

#[test]
fn lasting_problem_alerts_once() {
    let (store, receiver, _, mut server) = with_failing_store();
    server.start_again();
    receiver.wait_for_requests(1);
    for _ in 0..2 {
        server.stop();
        server.start_again();
        wait_for_problem(&server, "is late");
    }
    store.set_fault(StoreFault::None);
    wait_until_safe(&server);
    eventually("the monitor sees that the problem is over", || {
        let is_over = server.log().contains("a problem of the backups is over");
        is_over.then_some(())
    });
    server.stop();
    store.set_fault(StoreFault::Forbidden);
    server.start_again();
    wait_for_problem(&server, "is late");
    receiver.wait_for_requests(2);
    server.stop();
    assert_eq!(receiver.request_count(), 2, "one alert for each problem");
}

#[test]
fn server_makes_dated_copies() {
    let server = Server::start(&format!(
        "{PLAIN_FLOW}\n[backup.copies]\nfolder = \"copies\"\nevery = \"1h\"\nkeep = 2\n"
    ));
    eventually("a copy was made", || {
        backup_status(&server)["copied_at"]
            .is_string()
            .then_some(())
    });
    let copies = fs::read_dir(server.folder().join("copies"))
        .unwrap()
        .count();
    assert_eq!(copies, 1);
    let elsewhere = server.row(&["restore", "copies", "--to", "restored.redb"]);
    assert_eq!(elsewhere["violations"], 0, "{elsewhere}");
    assert!(
        server
            .cli(&["status"])
            .out
            .contains("backup        last copy: 20")
    );
}
