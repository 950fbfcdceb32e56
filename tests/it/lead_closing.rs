//! Leads close by a signed request of a CRM, by their age and in bulk.

use std::process::Command;

use serde_json::Value;
use standardwebhooks::Webhook;

use crate::support::fake_services::FakeReceiver;
use crate::support::form::Form;
use crate::support::http::{Answer, post};
use crate::support::{PLAIN_FLOW, Server, eventually};

const OLD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW_SECRET: &str = "bmV3IHNlY3JldCBvZiB0aGUgQ1JNIGluIGJhc2U2NAo=";

/// Secrets in the config: the new one first.
fn secrets() -> String {
    format!("\n[leads]\nclose_secrets = [\"text:{NEW_SECRET}\", \"text:{OLD_SECRET}\"]\n")
}

/// Starts a server whose only agent takes one lead, and posts this number of forms.
fn with_leads(tables: &str, leads: usize) -> Server {
    let server = Server::start(tables);
    server.add_agent("Ann", &["--max", "1"]);
    for number in 0..leads {
        let form = Form::new(format!("form-{number}"));
        assert!(server.post("/form", &form).is_accepted());
        server.settled();
    }
    server
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Sends a request that the library of the specification's authors has signed.
fn send(server: &Server, path: &str, secret: &str, at: i64, body: &str) -> Answer {
    let signature = Webhook::new(secret).unwrap();
    let signature = signature.sign("msg-1", at, body.as_bytes()).unwrap();
    let at = at.to_string();
    let headers = [
        ("webhook-id", "msg-1"),
        ("webhook-timestamp", &*at),
        ("webhook-signature", &*signature),
    ];
    let request = post(path, &headers, body.as_bytes());
    server.connect().exchange(&request).unwrap()
}

fn lead(server: &Server, id: u64) -> Value {
    server.row(&["leads", "show", &id.to_string()])
}

#[test]
fn signed_request_closes_lead_and_makes_room() {
    let server = with_leads(&format!("{PLAIN_FLOW}{}", secrets()), 2);
    assert!(lead(&server, 2)["agent"].is_null(), "the agent is full");
    let close = |secret| send(&server, "/leads/1/close", secret, now(), "{\"lead_id\":1}");
    let closed = close(NEW_SECRET);
    assert_eq!(closed.status, 200, "{closed:?}");
    let closed = closed.json();
    assert_eq!(closed["was_closed"], false, "{closed}");
    assert_eq!(closed["close_reason"], "request");
    assert_eq!(closed["id"], 1);
    // The CRM sends the request again, with the other secret.
    let again = close(OLD_SECRET);
    assert_eq!(again.status, 200, "{again:?}");
    let again = again.json();
    assert_eq!(again["was_closed"], true, "{again}");
    assert_eq!(again["closed_at"], closed["closed_at"]);
    assert_eq!(lead(&server, 1)["close_reason"], "request");
    assert_eq!(lead(&server, 2)["agent"], "Ann");
    assert!(server.log().contains("\"outcome\":\"already_closed\""));
}

#[test]
fn untrusted_or_wrong_close_request_is_refused() {
    let server = with_leads(&format!("{PLAIN_FLOW}{}", secrets()), 1);
    let stranger = "c3RyYW5nZXIgc3RyYW5nZXIgc3RyYW5nZXIgc3Q=";
    let path = "/leads/1/close";
    for (answer, status, message) in [
        (
            send(&server, path, stranger, now(), "{}"),
            401,
            "webhook-signature does not match",
        ),
        (
            send(&server, path, NEW_SECRET, now() - 400, "{}"),
            401,
            "differs from the time of the server by 4",
        ),
        (
            send(&server, path, NEW_SECRET, now() + 400, "{}"),
            401,
            "check the clocks",
        ),
        (
            send(
                &server,
                "/leads/9/close",
                NEW_SECRET,
                now(),
                "{\"lead_id\":9}",
            ),
            404,
            "there is no lead 9",
        ),
        (
            send(&server, "/leads/one/close", NEW_SECRET, now(), ""),
            404,
            "the ID of a lead is a number",
        ),
        (
            send(&server, path, NEW_SECRET, now(), &"x".repeat(65 * 1024)),
            413,
            "65536 bytes",
        ),
        (
            server.connect().exchange(&post(path, &[], b"{}")).unwrap(),
            401,
            "the header webhook-id is missing",
        ),
        (server.get(path), 405, "accepts only POST"),
    ] {
        assert_eq!(answer.status, status, "{answer:?}");
        let error = answer.json();
        let text = error["error"]["message"].as_str().unwrap();
        assert!(text.contains(message), "{text}");
    }
    assert_eq!(lead(&server, 1)["state"], "open");
    let disabled = Server::start(PLAIN_FLOW);
    let answer = send(&disabled, path, NEW_SECRET, now(), "");
    assert_eq!(answer.status, 404);
    assert!(answer.text().contains("leads.close_secrets"), "{answer:?}");
}

#[test]
fn signed_body_closes_only_the_lead_that_it_names() {
    let server = with_leads(&format!("{PLAIN_FLOW}{}", secrets()), 1);
    let close = |body| send(&server, "/leads/1/close", NEW_SECRET, now(), body);
    for (body, message) in [
        (
            "{\"lead_id\":2}",
            "the path names lead 1, but lead_id in the body is 2",
        ),
        ("", "names the lead of the path: {\"lead_id\": 1}"),
        ("{\"lead_id\":\"1\"}", "names the lead of the path"),
    ] {
        let answer = close(body);
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(
            answer.text().contains(&message.replace('"', "\\\"")),
            "{answer:?}"
        );
    }
    assert_eq!(lead(&server, 1)["state"], "open");
    let closed = close("{\"lead_id\":1,\"deal\":{\"won\":true}}");
    assert_eq!(closed.status, 200, "{closed:?}");
}

#[test]
fn unusable_close_secret_stops_the_start() {
    let server = Server::stopped(&format!(
        "{PLAIN_FLOW}[leads]\nclose_secrets = [\"env:FLOWGATE_NOT_SET\", \"text:short\"]"
    ));
    let output = server.cli(&["serve"]);
    assert_eq!(output.code, 2, "{output:?}");
    for part in [
        "leads.close_secrets: env:FLOWGATE_NOT_SET is not set",
        "can't be used: it is not valid base64",
    ] {
        assert!(output.err.contains(part), "{output:?}");
    }
}

#[test]
fn documented_shell_commands_close_a_lead() {
    let server = with_leads(&format!("{PLAIN_FLOW}{}", secrets()), 1);
    let page = include_str!("../../docs/leads.md");
    let (_, script) = page.split_once("So can a shell:\n```sh\n").unwrap();
    let (script, _) = script.split_once("```").unwrap();
    let output = Command::new("bash")
        .args(["-eu", "-o", "pipefail", "-c", script])
        .env("URL", format!("http://{}", server.address()))
        .env("LEAD", "1")
        .env("LEADS_CLOSE_SECRET", OLD_SECRET)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["state"], "closed", "{answer}");
    assert_eq!(lead(&server, 1)["close_reason"], "request");
}

#[test]
fn old_lead_closes_by_itself_and_emits_event() {
    let crm = FakeReceiver::well();
    let flow = r#"
[flows.form]
path = "/form"
encryption = "none"
lead = { team = "sales", close_after = "1s" }
deliver = [{ to = "crm", events = ["lead.closed"] }]
"#;
    let mut server = with_leads(&format!("{flow}{}", crm.table("crm", "")), 1);
    let created_at: jiff::Timestamp = lead(&server, 1)["created_at"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    eventually("the lead is old enough", || {
        let age = jiff::Timestamp::now().duration_since(created_at);
        (age > jiff::SignedDuration::from_millis(1500)).then_some(())
    });
    // The next round is due after a minute, but a start begins with a round.
    server.stop();
    server.start_again();
    crm.wait_for_accepted(1);
    let closed = lead(&server, 1);
    assert_eq!(closed["state"], "closed");
    assert_eq!(closed["close_reason"], "age");
    let event = crm.taken().into_values().next().unwrap().remove(0).json();
    assert_eq!(event["type"], "lead.closed");
    assert_eq!(event["data"]["lead"]["close_reason"], "age");
    assert_eq!(event["data"]["lead"]["agent"], "Ann");
    assert_eq!(server.row(&["agents"])["current_leads"], 0);
}

#[test]
fn bulk_close_needs_confirmation_and_follows_filters() {
    let mut server = with_leads(PLAIN_FLOW, 3);
    let close = |more: &[&str]| server.cli(&[&["leads", "close"], more].concat());
    let dry_run = server.row(&["leads", "close", "--agent", "Ann", "--dry-run"]);
    assert_eq!(dry_run["would_change"], 1, "{dry_run}");
    assert_eq!(dry_run["samples"][0]["agent"], "Ann");
    let old = server.row(&["leads", "close", "--older-than", "1h", "--dry-run"]);
    assert_eq!(old["would_change"], 0, "{old}");
    let unconfirmed = close(&["--all"]);
    assert_eq!(unconfirmed.code, 2, "{unconfirmed:?}");
    assert!(
        unconfirmed
            .err
            .contains("close 3 leads: 3 can't be opened again"),
        "{unconfirmed:?}"
    );
    for (args, code, message) in [
        (
            &["--agent", "Bob", "--dry-run"][..],
            3,
            "there is no agent Bob",
        ),
        (&[], 2, "required"),
        (&["1", "--all"], 2, "cannot be used with"),
        (
            &["--older-than", "30", "--yes"],
            2,
            "must be a duration such as 12h or 30d",
        ),
        (&["1", "--dry-run"], 2, "cannot be used with"),
    ] {
        let output = close(args);
        assert_eq!(output.code, code, "{args:?}: {output:?}");
        assert!(output.err.contains(message), "{args:?}: {output:?}");
    }
    // Ann's lead makes room for a waiting lead, which stays open.
    let closed = server.row(&["leads", "close", "--agent", "Ann", "--yes"]);
    assert_eq!(closed["changed"], 1);
    assert_eq!(lead(&server, 1)["close_reason"], "command");
    assert_eq!(lead(&server, 2)["agent"], "Ann");
    // The same command works on the file of a stopped server.
    server.stop();
    let closed = server.row(&["leads", "close", "--flow", "form", "--yes"]);
    assert_eq!(closed["changed"], 2);
    assert!(server.rows(&["leads", "--state", "open"]).is_empty());
}
