//! Servers with a continuous backup: what the backup has, its problems, and restores elsewhere.

use serde_json::Value;

use super::form::Form;
use super::object_store::FakeObjectStore;
use super::{PLAIN_FLOW, Server, eventually};

/// Posts the form with this token to `/form`.
pub fn post(server: &Server, token: &str) {
    assert!(server.post("/form", &Form::new(token)).is_accepted());
}

/// Returns the part of `status` about backups.
pub fn backup_status(server: &Server) -> Value {
    server.row(&["status"])["backup"].clone()
}

/// Waits until a base is complete, and everything that was posted is in the backup.
pub fn wait_until_safe(server: &Server) {
    server.settled();
    eventually("the backup has everything", || {
        let backup = backup_status(server);
        (backup["base_at"].is_string() && backup["behind_seconds"] == 0).then_some(())
    });
}

/// Waits until a problem of the backup contains `part`.
pub fn wait_for_problem(server: &Server, part: &str) {
    eventually("the problem is reported", || {
        let problems = backup_status(server)["problems"].to_string();
        problems.contains(part).then_some(())
    });
}

/// Starts a server with a backup in a new store, which has the form `first`. Returns also the
/// tables of its config.
pub fn backed_up_server(more: &str) -> (FakeObjectStore, String, Server) {
    let store = FakeObjectStore::start();
    let tables = format!("{PLAIN_FLOW}{}", store.table(more));
    let server = Server::start(&tables);
    post(&server, "first");
    wait_until_safe(&server);
    (store, tables, server)
}

/// Restores the backup of `tables` on another machine, which does not start.
pub fn restore_elsewhere(tables: &str, more: &[&str]) -> (Server, Value) {
    let elsewhere = Server::stopped(tables);
    let restored = elsewhere.row(&[&["restore"], more].concat());
    assert_eq!(restored["violations"], 0, "{restored}");
    assert_eq!(elsewhere.cli(&["check"]).code, 0);
    (elsewhere, restored)
}
