//! A job whose flow has gone from the config fails, is tried again, becomes a dead letter that is kept whole, and runs
//! when the flow is back.

use serde_json::Value;

use crate::support::form::Form;
use crate::support::{PLAIN_FLOW, Server, eventually};

const HASTE: &str = "\n[retry]\nfirst = \"50ms\"\nceiling = \"100ms\"\nattempts = 3\n";
const OTHER_FLOW: &str = "\n[flows.other]\npath = \"/other\"\nencryption = \"none\"\n";

/// A server with one submission whose flow is gone, and that submission's dead job.
fn with_dead_letter() -> (Server, Value) {
    // No worker gets to the job before the config changes: it is killed with the answer barely out, and in the rare
    // case that it was quicker, another form is tried.
    let mut server = Server::start(&format!("{PLAIN_FLOW}{HASTE}"));
    for number in 0.. {
        assert!(server.post("/form", &Form::new(format!("orphan-{number}")).with("note", "keep me")).is_accepted());
        server.kill9();
        server.configure(&format!("{OTHER_FLOW}{HASTE}"));
        server.start_again();
        server.settled();
        if let Some(dead) = server.rows(&["dead", "list"]).pop() {
            return (server, dead);
        }
        server.stop();
        server.configure(&format!("{PLAIN_FLOW}{HASTE}"));
        server.start_again();
    }
    unreachable!("the loop has no end")
}

#[test]
fn a_job_without_its_flow_becomes_a_dead_letter_and_runs_when_the_flow_is_back() {
    let (mut server, dead) = with_dead_letter();
    let id = dead["id"].to_string();
    assert_eq!((&dead["state"], &dead["attempts"]), (&"dead".into(), &3.into()), "{dead}");
    let job = server.row(&["dead", "show", &id]);
    assert!(job["last_error"].as_str().unwrap().contains("form"), "names the flow: {job}");
    assert!(job["payload"].to_string().contains("keep me"), "kept whole: {job}");
    assert!(job["died_at"].is_string());
    let submission = job["submission_id"].to_string();
    assert_eq!(server.row(&["submissions", "show", &submission])["state"], "dead");

    server.stop();
    server.configure(&format!("{PLAIN_FLOW}{HASTE}"));
    server.start_again();
    server.add_agent("Ann", &[]);
    server.rows(&["dead", "retry", &id]);

    eventually("the job is done", || (server.row(&["jobs", "show", &id])["state"] == "done").then_some(()));
    let submission = server.row(&["submissions", "show", &submission]);
    assert_eq!((&submission["state"], &submission["agent"]), (&"done".into(), &"Ann".into()), "{submission}");
    assert!(server.rows(&["dead", "list"]).is_empty());
}

#[test]
fn a_dead_letter_can_be_given_up() {
    let (server, dead) = with_dead_letter();
    let id = dead["id"].to_string();
    server.rows(&["dead", "discard", &id]);
    assert!(server.rows(&["dead", "list"]).is_empty());
    assert_eq!(server.row(&["jobs", "show", &id])["state"], "discarded");
    assert_eq!(server.cli(&["dead", "retry", &id]).code, 3, "it is no dead letter any more");
}
