//! A job whose flow is missing in the config fails, is retried and becomes a complete dead letter.
//! The job runs when the flow is back.

use serde_json::{Value, json};

use crate::support::form::Form;
use crate::support::http::signed_post;
use crate::support::{PLAIN_FLOW, Server, eventually};

const FAST_RETRY: &str =
    "\n[retry]\ninitial_delay = \"50ms\"\nmax_delay = \"100ms\"\nmax_attempts = 3\n";
const OTHER_FLOW: &str = "\n[flows.other]\npath = \"/other\"\nencryption = \"none\"\n";

/// Starts a server with one submission whose flow is missing, and returns the dead letter of its
/// job.
fn with_dead_letter() -> (Server, Value) {
    // No worker may run the job before the config changes, so the server is killed right after the
    // response. In the rare case that the worker was faster, the loop tries another form.
    let mut server = Server::start(&format!("{PLAIN_FLOW}{FAST_RETRY}"));
    for number in 0.. {
        assert!(
            server
                .post(
                    "/form",
                    &Form::new(format!("orphan-{number}")).with("note", "keep me")
                )
                .is_accepted()
        );
        server.kill9();
        server.configure(&format!("{OTHER_FLOW}{FAST_RETRY}"));
        server.start_again();
        server.settled();
        if let Some(dead) = server.rows(&["dead-letters", "list"]).pop() {
            return (server, dead);
        }
        server.stop();
        server.configure(&format!("{PLAIN_FLOW}{FAST_RETRY}"));
        server.start_again();
    }
    unreachable!("the loop has no end")
}

#[test]
fn dead_letter_runs_after_its_flow_returns() {
    let (mut server, dead) = with_dead_letter();
    let id = dead["id"].to_string();
    assert_eq!(
        (&dead["state"], &dead["attempts"]),
        (&"dead".into(), &3.into()),
        "{dead}"
    );
    let job = server.row(&["dead-letters", "show", &id]);
    assert!(
        job["last_error"].as_str().unwrap().contains("form"),
        "names the flow: {job}"
    );
    assert!(
        job["payload"].to_string().contains("keep me"),
        "kept whole: {job}"
    );
    assert!(job["died_at"].is_string());
    let submission = job["submission_id"].to_string();
    assert_eq!(
        server.row(&["submissions", "show", &submission])["state"],
        "dead"
    );

    server.stop();
    server.configure(&format!("{PLAIN_FLOW}{FAST_RETRY}"));
    server.start_again();
    server.add_agent("Ann", &[]);
    server.rows(&["dead-letters", "retry", &id]);

    eventually("the job is done", || {
        (server.row(&["jobs", "show", &id])["state"] == "done").then_some(())
    });
    let submission = server.row(&["submissions", "show", &submission]);
    assert_eq!(
        (&submission["state"], &submission["agent"]),
        (&"done".into(), &"Ann".into()),
        "{submission}"
    );
    assert!(server.rows(&["dead-letters", "list"]).is_empty());
}

#[test]
fn rate_limited_retries_stay_scheduled_after_crash() {
    let mut server = Server::start(&format!("{PLAIN_FLOW}{FAST_RETRY}"));
    let message = |id| {
        json!({"from": "15550000001", "id": id, "timestamp": "1767225601", "type": "interactive",
        "interactive": {"type": "nfm_reply", "nfm_reply": {"name": "flow", "body": "Sent", "response_json": "oops"}}})
    };
    let messages = ["wamid.1", "wamid.2", "wamid.3"].map(message);
    let value = json!({"messaging_product": "whatsapp", "metadata": {"phone_number_id": "1"}, "messages": messages});
    let entry = json!([{"id": "1", "changes": [{"field": "messages", "value": value}]}]);
    let body = json!({"object": "whatsapp_business_account", "entry": entry}).to_string();
    assert_eq!(
        server
            .connect()
            .exchange(&signed_post("/webhook", body.as_bytes()))
            .unwrap()
            .status,
        200
    );
    assert_eq!(server.rows(&["dead-letters", "list"]).len(), 3);

    assert_eq!(
        server.row(&["dead-letters", "retry", "--all", "--rate", "1/h"])["changed"],
        3
    );
    let first_is_dead_again = |server: &Server| server.rows(&["dead-letters", "list"]).len() == 1;
    for crashed in [false, true] {
        if crashed {
            server.kill9();
            server.start_again();
        }
        eventually("the first has run", || {
            first_is_dead_again(&server).then_some(())
        });
        // All due jobs run before this one.
        let token = format!("crashed: {crashed}");
        assert!(server.post("/form", &Form::new(&token)).is_accepted());
        eventually("another job is done", || {
            server
                .submissions()
                .iter()
                .any(|row| row["flow_token"] == *token && row["state"] == "done")
                .then_some(())
        });
        let jobs = server.rows(&["jobs", "list", "--limit", "0"]);
        let waiting: Vec<&Value> = jobs
            .iter()
            .filter(|job| job["state"] == "scheduled")
            .collect();
        assert_eq!(waiting.len(), 2, "{jobs:?}");
        let due = |job: &Value| {
            job["due_at"]
                .as_str()
                .unwrap()
                .parse::<jiff::Timestamp>()
                .unwrap()
        };
        let apart = due(waiting[0]).duration_since(due(waiting[1]));
        assert_eq!(
            (apart.as_secs(), &waiting[0]["attempts"]),
            (3600, &json!(0)),
            "{waiting:?}"
        );
    }
}

#[test]
fn dead_letter_can_be_discarded() {
    let (server, dead) = with_dead_letter();
    let id = dead["id"].to_string();
    server.rows(&["dead-letters", "discard", &id]);
    assert!(server.rows(&["dead-letters", "list"]).is_empty());
    assert_eq!(server.row(&["jobs", "show", &id])["state"], "discarded");
    assert_eq!(
        server.cli(&["dead-letters", "retry", &id]).code,
        3,
        "it is no dead letter any more"
    );
}

#[test]
fn discard_all_requires_yes_option() {
    let (server, _) = with_dead_letter();
    let output = server.cli(&["dead-letters", "discard", "--all"]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(
        output.err.contains("discard 1 dead letters") && output.err.contains("--yes"),
        "{}",
        output.err
    );
    assert_eq!(server.rows(&["dead-letters"]).len(), 1);
    assert_eq!(
        server.row(&["dead-letters", "discard", "--all", "--dry-run"])["would_change"],
        1
    );
    assert_eq!(
        server.row(&["dead-letters", "discard", "--all", "--yes"])["changed"],
        1
    );
    assert_eq!(server.rows(&["dead-letters"]).len(), 0);
    assert_eq!(
        server.cli(&["dead-letters", "discard", "--all"]).code,
        0,
        "there is nothing to ask about"
    );
}
