//! Destinations get form events, are paused, resumed and tested. A refused delivery is corrected
//! and sent with the same ID.

use std::fs;

use serde_json::{Value, json};

use crate::support::form::Form;
use crate::support::upstream::{Behavior, ScriptedServer};
use crate::support::{Server, eventually};

/// Returns the config of a flow that sends only form events, to `crm`. `more` contains further keys
/// of the destination.
fn config(url: &str, more: &str) -> String {
    format!(
        r#"
[flows.form]
path = "/form"
encryption = "none"
lead = {{ team = "sales" }}
deliver = [{{ to = "crm", events = ["submission.accepted"] }}]

[destinations.crm]
url = "{url}?token=in-the-url"
secrets = ["file:crm.secret"]
allow_private = true
headers = {{ authorization = "file:crm.token" }}
{more}
"#
    )
}

/// Starts a server that sends events to `crm`, with the secrets that the config names.
fn start_server(crm: &ScriptedServer, more: &str) -> Server {
    let mut server = Server::stopped(&config(&crm.url(), more));
    fs::write(
        server.folder().join("crm.secret"),
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwU1A2D3F4",
    )
    .unwrap();
    fs::write(server.folder().join("crm.token"), "Bearer hush-hush").unwrap();
    server.start_again();
    server
}

fn start_destination(status: u16, answer: &'static str) -> ScriptedServer {
    ScriptedServer::start(move |_| Behavior::Respond(status, answer.to_owned()))
}

/// Waits until the newest delivery is in this state, and returns its details.
fn delivery(server: &Server, state: &str) -> Value {
    let id = eventually("the newest delivery comes that far", || {
        let row = server.rows(&["deliveries"]).into_iter().next()?;
        (row["state"] == state).then(|| row["id"].to_string())
    });
    server.row(&["deliveries", "show", &id])
}

#[test]
fn delivery_records_payload_and_response() {
    let crm = start_destination(202, "filed as 77");
    let server = start_server(&crm, "");
    assert!(server.post("/form", &Form::new("a")).is_accepted());
    let delivery = delivery(&server, "done");
    assert_eq!(
        (&delivery["destination"], &delivery["event"]),
        (&json!("crm"), &json!("submission.accepted"))
    );
    assert_eq!(
        (&delivery["attempts"], &delivery["status"]),
        (&json!(1), &json!(202))
    );
    assert_eq!(delivery["attempt_history"][0]["response"], "filed as 77");
    let asked = crm.asked().remove(0);
    assert_eq!(asked.json(), delivery["body"]);
    assert_eq!(asked.header("webhook-id"), delivery["webhook_id"]);
    let submission = delivery["submission_id"].to_string();
    assert_eq!(
        server.row(&["submissions", "show", &submission])["flow_token"],
        "a"
    );

    let listed = server.row(&[
        "deliveries",
        "list",
        "--destination",
        "crm",
        "--event",
        "submission.accepted",
    ]);
    for field in [
        "id",
        "destination",
        "event",
        "submission_id",
        "state",
        "attempts",
        "status",
    ] {
        assert_eq!(listed[field], delivery[field], "{field}");
    }
    assert!(server.rows(&["deliveries", "--state", "dead"]).is_empty());
    let destination = server.row(&["destinations"]);
    assert_eq!(
        (
            &destination["state"],
            &destination["waiting"],
            &destination["delivered"]
        ),
        (&json!("ok"), &json!(0), &json!(1))
    );
    assert!(destination["last_success_at"].is_string(), "{destination}");
}

#[test]
fn paused_destination_gets_deliveries_after_resume() {
    let crm = start_destination(200, "");
    let mut server = start_server(&crm, "");
    assert_eq!(
        server.row(&["destinations", "pause", "crm"])["state"],
        "paused"
    );
    assert!(server.post("/form", &Form::new("a")).is_accepted());
    let hints = eventually("the status points at it", || {
        let hints = server.row(&["status"])["warnings"].to_string();
        hints.contains("crm").then_some(hints)
    });
    assert!(
        hints.contains("`flowgate destinations resume crm`"),
        "{hints}"
    );
    let figures = crate::support::get(server.admin_address(), "/metrics");
    assert!(
        figures
            .text()
            .contains("flowgate_deliveries_waiting{destination=\"crm\"} 1"),
        "{}",
        figures.text()
    );
    // A pause outlives a restart, and can also be resumed on the file of a stopped server.
    server.stop();
    assert_eq!(server.row(&["destinations"])["state"], "paused");
    assert!(crm.asked().is_empty(), "it was told nothing");
    assert_eq!(
        server.row(&["destinations", "resume", "crm"])["state"],
        "ok"
    );
    server.start_again();
    delivery(&server, "done");
    assert_eq!(server.cli(&["destinations", "pause", "cmr"]).code, 3);
}

#[test]
fn disabled_destination_gets_deliveries_after_resume() {
    let crm = start_destination(410, "gone");
    let server = start_server(
        &crm,
        "retry = { initial_delay = \"50ms\", max_delay = \"100ms\" }",
    );
    assert!(server.post("/form", &Form::new("a")).is_accepted());
    let disabled = eventually("it is left alone", || {
        Some(server.row(&["destinations"])).filter(|row| row["state"] == "disabled")
    });
    assert!(
        disabled["disabled_reason"]
            .as_str()
            .unwrap()
            .contains("410"),
        "{disabled}"
    );
    crm.set_behavior(|_| Behavior::Respond(200, String::new()));
    server.rows(&["destinations", "resume", "crm"]);
    assert_eq!(delivery(&server, "done")["attempts"], 2);
}

#[test]
fn failing_destination_is_reported_until_it_recovers() {
    let crm = start_destination(500, "on fire");
    let server = start_server(
        &crm,
        "breaker = { failure_threshold = 1, open_for = \"100ms\" }\nretry = { initial_delay = \"50ms\", max_delay = \"100ms\", max_attempts = 1000 }",
    );
    let figure = |open: u8| {
        let figures = crate::support::get(server.admin_address(), "/metrics");
        figures
            .text()
            .contains(&format!(
                "flowgate_destination_breaker_open{{destination=\"crm\"}} {open}"
            ))
            .then_some(())
    };
    assert!(server.post("/form", &Form::new("a")).is_accepted());
    let failing = eventually("it is left alone", || {
        Some(server.row(&["destinations"])).filter(|row| row["state"] == "failing")
    });
    assert_eq!(
        failing["last_failure"],
        "responded with 500 Internal Server Error"
    );
    eventually("the figures say so", || figure(1));
    eventually("the status says what to type", || {
        server.row(&["status"])["warnings"]
            .to_string()
            .contains("`flowgate destinations test crm`")
            .then_some(())
    });
    crm.set_behavior(|_| Behavior::Respond(200, String::new()));
    delivery(&server, "done");
    assert_eq!(server.row(&["destinations"])["state"], "ok");
    eventually("the figures say so", || figure(0));
}

#[test]
fn deliveries_of_removed_destination_stay_visible() {
    let crm = start_destination(200, "");
    let mut server = start_server(&crm, "");
    server.rows(&["destinations", "pause", "crm"]);
    assert!(server.post("/form", &Form::new("a")).is_accepted());
    server.stop();
    server.configure(crate::support::PLAIN_FLOW);
    server.start_again();
    let left = server.row(&["destinations"]);
    assert_eq!(
        (
            &left["name"],
            &left["state"],
            &left["waiting"],
            &left["host"]
        ),
        (&json!("crm"), &json!("unknown"), &json!(1), &Value::Null)
    );
    let hints = server.row(&["status"])["warnings"].to_string();
    assert!(
        hints.contains("destination crm, which is not in the config"),
        "{hints}"
    );
}

#[test]
fn destination_test_hides_secrets_and_creates_no_delivery() {
    let crm = ScriptedServer::start(|asked| {
        Behavior::Respond(200, format!("you are {}", asked.header("authorization")))
    });
    let mut server = start_server(&crm, "");
    let test = |server: &Server| {
        let asked_before = crm.asked().len();
        let test = server.row(&["destinations", "test", "crm"]);
        let asked = crm.asked().pop().unwrap();
        assert_eq!(crm.asked().len(), asked_before + 1);
        assert_eq!(
            (&test["delivered"], &test["status"]),
            (&json!(true), &json!(200))
        );
        assert_eq!(
            (&test["body"]["type"], &test["body"]["data"]["test"]),
            (&json!("test"), &json!(true))
        );
        assert_eq!(asked.json(), test["body"]);
        assert_eq!(
            asked.header("authorization"),
            "Bearer hush-hush",
            "it was sent"
        );
        let headers = test["request_headers"].as_array().unwrap();
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            let shown = headers
                .iter()
                .find(|header| header["name"] == name)
                .unwrap();
            assert_eq!(shown["value"], asked.header(name));
        }
        assert_eq!(test["response"], "you are …");
        assert!(crm.url().contains(test["host"].as_str().unwrap()));
        for secret in ["hush", "in-the-url"] {
            assert!(!test.to_string().contains(secret), "{secret}: {test}");
        }
    };
    test(&server);
    assert!(server.rows(&["deliveries"]).is_empty());
    assert_eq!(server.row(&["destinations"])["delivered"], 0);
    server.stop();
    test(&server);

    crm.set_behavior(|_| Behavior::Respond(401, "who are you?".to_owned()));
    let refused = server.cli(&["destinations", "test", "crm", "--json"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.out.contains("who are you?")
            && refused
                .err
                .contains("crm rejected the test: responded with 401"),
        "{refused:?}"
    );
    assert_eq!(server.cli(&["destinations", "test", "cmr"]).code, 3);
    fs::remove_file(server.folder().join("crm.token")).unwrap();
    assert_eq!(
        server.cli(&["destinations", "test", "crm"]).code,
        2,
        "a secret that can't be read"
    );
}

#[test]
fn corrected_delivery_is_resent_with_same_id() {
    let crm = ScriptedServer::start(|asked| match asked.json()["data"]["corrected"] {
        Value::Bool(true) => Behavior::Respond(200, String::new()),
        _ => Behavior::Respond(422, "a name is missing".to_owned()),
    });
    let server = start_server(&crm, "");
    assert!(server.post("/form", &Form::new("a")).is_accepted());
    let refused = delivery(&server, "dead");
    let id = refused["id"].to_string();
    let letter = server.row(&["dead-letters", "list", "--destination", "crm"]);
    assert_eq!(
        (&letter["id"], &letter["event"], &letter["reason"]),
        (
            &refused["id"],
            &json!("submission.accepted"),
            &json!("responded with 422 Unprocessable Entity")
        )
    );
    let dry = server.row(&[
        "dead",
        "retry",
        "--all",
        "--destination",
        "crm",
        "--dry-run",
    ]);
    assert_eq!(dry["would_change"], 1);

    let mut corrected = refused["body"].clone();
    corrected["data"]["corrected"] = true.into();
    fs::write(
        server.folder().join("corrected.json"),
        corrected.to_string(),
    )
    .unwrap();
    server.rows(&["dead-letters", "retry", &id, "--payload", "corrected.json"]);
    let done = delivery(&server, "done");
    assert_eq!(
        (&done["id"], &done["webhook_id"]),
        (&refused["id"], &refused["webhook_id"])
    );
    assert_eq!(
        (&done["body"], &done["corrected"]),
        (&refused["body"], &corrected)
    );
    let statuses: Vec<_> = done["attempt_history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| attempt["status"].clone())
        .collect();
    assert_eq!(statuses, [422, 200]);
    let asked = crm.asked();
    assert_eq!(asked[1].json(), corrected);
    assert_eq!(asked[0].header("webhook-id"), asked[1].header("webhook-id"));
}
