//! Tests error notifications of phones, events of Meta's monitoring, and endpoint health. All of
//! them are stored and shown, and none becomes a form.

use serde_json::{Value, json};

use crate::support::http::{Answer, post, signed_post};
use crate::support::phone;
use crate::support::user::server;
use crate::support::{PLAIN_FLOW, Server, eventually, get};

/// Encrypted flow at the path of the vectors.
const FLOW: &str = r#"
[flows.home]
path = "/home"
encryption = "required"
private_keys = ["file:key.pem"]
screens = [{ name = "LEAD_FORM", fields = { name = { type = "text" } } }, { name = "APPOINTMENT", final = true }]
"#;

/// Free space limit that no disk can satisfy.
const NO_FREE_SPACE: &str = "[limits]\nmin_free_space = \"1000000GiB\"\n";

fn vectors(text: &str, name: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(text).unwrap();
    let cases = file["cases"].as_array().unwrap().iter();
    cases
        .filter(|case| case["name"].as_str().unwrap().starts_with(name))
        .cloned()
        .collect()
}

/// Sends a vector unchanged, with its own headers.
fn send(server: &Server, path: &str, case: &Value) -> Answer {
    let headers = case["headers"].as_object().unwrap();
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    server
        .connect()
        .exchange(&post(
            path,
            &headers,
            case["body"].as_str().unwrap().as_bytes(),
        ))
        .unwrap()
}

/// Sends an event of Meta's monitoring about flow 17.
fn reply_with(server: &Server, time: u64, value: &Value) -> u16 {
    let change = json!({"field": "flows", "value": value});
    let body = json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "time": time, "changes": [change]}]});
    server
        .connect()
        .exchange(&signed_post("/webhook", body.to_string().as_bytes()))
        .unwrap()
        .status
}

fn latency(state: &str) -> Value {
    json!({"event": "ENDPOINT_LATENCY", "flow_id": "17", "message": "Latency", "alert_state": state, "threshold": 5000,
        "p90_latency": 5100.5})
}

fn hints(server: &Server) -> Vec<String> {
    let status = server.row(&["status"]);
    let hints = status["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hint| hint.as_str().unwrap().to_owned());
    hints
        .filter(|hint| hint.contains("flowgate flows"))
        .collect()
}

/// Returns the rows of Meta's events.
fn meta_events(server: &Server) -> Vec<Value> {
    server
        .rows(&["flows", "health"])
        .into_iter()
        .filter(|row| row["source"] == "meta")
        .collect()
}

#[test]
fn error_notification_is_listed_and_is_no_form() {
    let mut server = server(FLOW);
    let complaints = vectors(
        include_str!("../vectors/flow_good.json"),
        "error_notification",
    );
    assert_eq!(complaints.len(), 2);
    for case in &complaints {
        for _ in 0..2 {
            assert_eq!(
                send(&server, "/home", case).text(),
                case["response_body"],
                "to the byte"
            );
        }
    }
    // The server is killed as soon as the notifications are acknowledged.
    server.kill9();
    let errors = server.rows(&["flows", "errors"]);
    let reported: Vec<_> = errors
        .iter()
        .map(|row| (&row["error"], &row["screen"], &row["message"]))
        .collect();
    let missing = (
        &json!("invalid-response"),
        &json!(null),
        &json!("data is missing"),
    );
    let cant_follow = json!("The endpoint answered with a screen that can't follow.");
    assert_eq!(
        reported,
        [
            missing,
            (
                &json!("invalid-screen-transition"),
                &json!("LEAD_FORM"),
                &cant_follow
            )
        ]
    );
    assert_eq!(
        errors[0]["flow_token"],
        "flow-3f1d0c52-7a5e-4d0b-9a34-5d2f5b8a7c10"
    );
    assert!(server.submissions().is_empty() && server.rows(&["drafts"]).is_empty());

    server.start_again();
    assert_eq!(
        server.rows(&[
            "flows", "errors", "--limit", "1", "--flow", "home", "--since", "1h"
        ]),
        errors[..1]
    );
    assert!(
        server
            .rows(&["flows", "errors", "--flow", "away"])
            .is_empty()
    );
    let hint = hints(&server);
    assert!(
        hint.len() == 1 && hint[0].starts_with("2 flow errors in the last hour"),
        "{hint:?}"
    );
    assert_eq!(server.cli(&["check"]).code, 0);
}

#[test]
fn full_disk_refuses_notifications_and_answers_ping() {
    let server = server(&format!("{NO_FREE_SPACE}{FLOW}"));
    let complaint = json!({"version": "3.0", "action": "INIT", "data": {"error": "timeout_error"}});
    let answer = phone::seal(&complaint).post(&server, "/home");
    assert_eq!(
        answer.status,
        503,
        "no answer goes out that is not kept: {}",
        answer.text()
    );
    eventually("the log has it", || {
        server.log().contains("timeout_error").then_some(())
    });
    assert!(server.rows(&["flows", "errors"]).is_empty());
    let ping = json!({"version": "3.0", "action": "ping"});
    assert_eq!(
        phone::ask(&server, "/home", &ping),
        json!({"data": {"status": "active"}})
    );
    assert_eq!(
        reply_with(&server, 1, &latency("ACTIVATED")),
        503,
        "Meta is to send it again"
    );
}

#[test]
fn repeated_meta_health_event_is_stored_once() {
    let mut server = server(FLOW);
    let events = vectors(include_str!("../vectors/webhooks.json"), "health_events").remove(0);
    assert_eq!(send(&server, "/webhook", &events).status, 200);
    server.kill9();
    let stopped = meta_events(&server);
    server.start_again();
    assert_eq!(
        send(&server, "/webhook", &events).status,
        200,
        "Meta may send it again for seven days"
    );
    let metrics = get(server.admin_address(), "/metrics");
    assert!(
        !metrics.text().contains("flowgate_flow_health_events_total"),
        "nothing was new: {}",
        metrics.text()
    );
    assert_eq!(meta_events(&server), stopped);

    let reported: Vec<_> = stopped
        .iter()
        .map(|row| {
            (
                row["event"].as_str().unwrap(),
                &row["state"],
                &row["severity"],
            )
        })
        .collect();
    let (raised, alert) = (json!("ACTIVATED"), json!("alert"));
    assert_eq!(
        reported,
        [
            ("CLIENT_ERROR_RATE", &raised, &alert),
            ("ENDPOINT_ERROR_RATE", &raised, &alert),
            ("ENDPOINT_LATENCY", &raised, &alert),
            ("FLOW_STATUS_CHANGE", &json!("THROTTLED"), &alert),
            (
                "FLOW_VERSION_EXPIRY_WARNING",
                &json!(null),
                &json!("warning")
            ),
        ],
        "availability is well again"
    );
    assert_eq!(
        stopped[0]["value"]["error_rate"], 14.28,
        "all that came is there"
    );
    assert!(
        hints(&server)
            .iter()
            .any(|hint| hint.contains("THROTTLED flow ID 6627390910605886"))
    );
    assert!(server.submissions().is_empty());
}

#[test]
fn meta_alert_is_shown_until_deactivated() {
    let server = server(FLOW);
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
    for _ in 0..2 {
        assert_eq!(reply_with(&server, now, &latency("ACTIVATED")), 200);
    }
    let metrics = get(server.admin_address(), "/metrics");
    let metric = "flowgate_flow_health_events_total{event=\"ENDPOINT_LATENCY\"} 1\n";
    assert!(metrics.text().contains(metric), "{}", metrics.text());
    let hint = hints(&server);
    assert!(
        hint.len() == 1 && hint[0].contains("ENDPOINT_LATENCY"),
        "{hint:?}"
    );
    let shown = server.cli(&["flows", "health"]);
    assert!(
        shown
            .out
            .contains("Meta's flow 17: ENDPOINT_LATENCY ACTIVATED, threshold 5000"),
        "{}",
        shown.out
    );
    assert_eq!(reply_with(&server, now + 1, &latency("DEACTIVATED")), 200);
    assert_eq!((hints(&server).len(), meta_events(&server).len()), (0, 0));
}

/// Sends three pings, which are answered.
fn ping_three_times(server: &Server) {
    for _ in 0..3 {
        phone::ask(
            server,
            "/home",
            &json!({"version": "3.0", "action": "ping"}),
        );
    }
}

/// Sends a bad request of the vectors to flow home. Returns the status.
fn send_bad(server: &Server, name: &str) -> u16 {
    let case = vectors(include_str!("../vectors/flow_bad.json"), name).remove(0);
    send(server, "/home", &case).status
}

fn health(server: &Server, flow: &str) -> Value {
    server.row(&["flows", "health", "--flow", flow])
}

#[test]
fn endpoint_health_is_ok_without_errors() {
    let server = server(&format!("{FLOW}{PLAIN_FLOW}"));
    let idle = health(&server, "home");
    assert_eq!(
        (&idle["severity"], &idle["requests"], &idle["p90_ms"]),
        (&json!("ok"), &json!(0), &json!(null))
    );

    ping_three_times(&server);
    let well = health(&server, "home");
    assert_eq!(
        (&well["requests"], &well["errors"], &well["availability"]),
        (&json!(3), &json!(0), &json!(100.0))
    );
    assert!(
        well["p50_ms"].as_u64().unwrap() <= well["p90_ms"].as_u64().unwrap(),
        "{well}"
    );
    assert_eq!(
        server.cli(&["flows", "health", "--flow", "form"]).code,
        3,
        "Meta does not watch plain flows"
    );
}

#[test]
fn endpoint_health_counts_errors_as_meta_does() {
    let server = server(FLOW);
    ping_three_times(&server);
    assert_eq!(send_bad(&server, "wrong_rsa_key"), 421);
    let few = health(&server, "home");
    assert_eq!(
        (&few["error_rate"], &few["severity"]),
        (&json!(25.0), &json!("warning")),
        "one may be chance"
    );
    let more = ["wrong_rsa_key", "oaep_sha1", "array"].map(|name| send_bad(&server, name));
    assert_eq!(more, [421, 421, 400]);
    assert_eq!(server.get("/home").status, 405, "not from Meta, who posts");
    let ill = health(&server, "home");
    assert_eq!(
        (&ill["requests"], &ill["errors"], &ill["error_rate"]),
        (&json!(7), &json!(4), &json!(57.14))
    );
    assert_eq!(
        ill["errors_by_kind"],
        json!({"bad_json": 1, "cannot_decrypt": 3})
    );
    let suggestion = ill["suggestion"].as_str().unwrap();
    assert!(suggestion.contains("flowgate keys check"), "{ill}");
    assert_eq!(
        (&ill["severity"], &ill["availability"]),
        (&json!("alert"), &json!(100.0)),
        "it was there all the time"
    );
    assert!(
        hints(&server)[0]
            .contains("flow home: error rate of 57.1 % is over Meta's threshold of 50 %")
    );
    let shown = server.cli(&["flows", "health"]).out;
    assert!(
        shown.contains("ALERT  flow home") && shown.contains("7 requests, 4 errors"),
        "{shown}"
    );
}

const JSON: (&str, &str) = ("content-type", "application/json");

/// Sends a request without a signature. Returns the status.
fn post_unsigned(server: &Server, path: &str, content_type: (&str, &str), body: &[u8]) -> u16 {
    let request = post(path, &[content_type], body);
    server.connect().exchange(&request).unwrap().status
}

#[test]
fn unauthenticated_requests_never_worsen_endpoint_health() {
    let server = server(&format!("[limits]\nmax_flow_body = \"4KiB\"\n{FLOW}"));
    let large = vec![b' '; 5 << 10];
    let text = ("content-type", "text/plain");
    assert_eq!(post_unsigned(&server, "/home", JSON, b"{}"), 432);
    assert_eq!(post_unsigned(&server, "/home", JSON, &large), 413);
    assert_eq!(post_unsigned(&server, "/home", text, b"hello"), 415);
    let quiet = health(&server, "home");
    assert_eq!(
        (&quiet["severity"], &quiet["requests"], &quiet["errors"]),
        (&json!("ok"), &json!(0), &json!(0))
    );

    // The sender may be Meta with the secret of another app.
    assert_eq!(send_bad(&server, "signature_wrong_secret"), 432);
    let doubtful = health(&server, "home");
    assert_eq!(
        (&doubtful["severity"], &doubtful["requests"]),
        (&json!("warning"), &json!(0))
    );
    assert_eq!(doubtful["unverified_by_kind"], json!({"bad_signature": 1}));
    let suggestion = doubtful["suggestion"].as_str().unwrap();
    assert!(suggestion.contains("meta.app_secrets"), "{doubtful}");
    assert!(hints(&server).is_empty(), "{:?}", hints(&server));
}

#[test]
fn unsigned_flow_counts_requests_that_decrypt() {
    let server = server(&FLOW.replace("encryption =", "signature = \"none\"\nencryption ="));
    let ping = json!({"action": "ping"});
    let foreign = phone::seal_for(phone::OTHER_PUBLIC_KEY, &ping);
    for (body, status) in [
        (&phone::seal(&ping).body[..], 200),
        (&foreign.body, 421),
        (b"{}", 400),
    ] {
        assert_eq!(post_unsigned(&server, "/home", JSON, body), status);
    }
    let open = health(&server, "home");
    assert_eq!(
        (&open["requests"], &open["errors"], &open["severity"]),
        (&json!(1), &json!(0), &json!("ok"))
    );
    assert_eq!(open["unverified_by_kind"], json!({"cannot_decrypt": 1}));
    assert!(hints(&server).is_empty(), "{:?}", hints(&server));
}

#[test]
fn flows_are_listed_while_server_is_stopped() {
    let mut server = server(&format!("{FLOW}{PLAIN_FLOW}"));
    let listed = server.rows(&["flows"]);
    assert_eq!(server.rows(&["flows", "list"]), listed);
    assert_eq!(
        listed,
        [
            json!({"name": "form", "path": "/form", "encrypted": false, "screens": []}),
            json!({"name": "home", "path": "/home", "encrypted": true, "screens": ["LEAD_FORM", "APPOINTMENT"]}),
        ]
    );
    server.stop();
    assert_eq!(server.rows(&["flows"]), listed);
    let meta_events = server.cli(&["flows", "health"]);
    assert!(
        meta_events.code == 0 && meta_events.out.contains("no server runs on this data file"),
        "{meta_events:?}"
    );
}
