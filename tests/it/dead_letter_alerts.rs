//! A dead letter causes one alert, and an alert that can't be delivered causes no further alert.

use serde_json::Value;

use crate::support::Server;
use crate::support::fake_services::{Behavior, FakeReceiver, SECRET, add_top_level_keys, flow};
use crate::support::form::Form;

const RULE: &str = "timeout = \"300ms\"\nretry = { initial_delay = \"50ms\", max_delay = \"100ms\", max_attempts = 2 }\n\
                    breaker = { failure_threshold = 1000, open_for = \"100ms\" }";

/// Starts a server that sends form events to `crm` and alerts to `ops`.
fn server(crm: &FakeReceiver, ops: &FakeReceiver) -> Server {
    let mut server = Server::stopped(&format!(
        "{}{}{}",
        flow(&["crm"]),
        crm.table("crm", RULE),
        ops.table("ops", RULE)
    ));
    add_top_level_keys(&server, "alerts = [\"ops\"]");
    server.start_again();
    server
}

fn dead(server: &Server) -> Vec<Value> {
    server.rows(&["dead-letters", "list", "--limit", "0"])
}

#[test]
fn dead_delivery_sends_one_alert() {
    for (act, attempts) in [
        (Behavior::reply_with(404), 1),
        (Behavior::reply_with(500), 2),
    ] {
        let (crm, ops) = (
            FakeReceiver::with(move |_| act.clone()),
            FakeReceiver::well(),
        );
        let mut server = server(&crm, &ops);
        assert!(server.post("/form", &Form::new("dies")).is_accepted());
        server.settled();
        server.kill9();
        server.start_again();
        server.settled();

        let dead_letters = dead(&server);
        assert_eq!(
            (dead_letters.len(), &dead_letters[0]["attempts"]),
            (1, &attempts.into()),
            "{dead_letters:?}"
        );
        let received = ops.asked();
        assert_eq!(received.len(), 1, "{received:?}");
        assert!(received[0].is_signed_with(SECRET));
        let (alert, letter) = (
            received[0].json(),
            server.row(&["dead-letters", "show", &dead_letters[0]["id"].to_string()]),
        );
        assert_eq!(
            (&alert["type"], &alert["data"]["flow"]),
            (&"job.dead".into(), &"form".into()),
            "{alert}"
        );
        let job = &alert["data"]["job"];
        assert_eq!(
            (&job["id"], &job["attempts"]),
            (&letter["id"], &letter["attempts"]),
            "{alert}"
        );
        assert_eq!(
            (&job["kind"], &job["destination"]),
            (&"deliver".into(), &"crm".into()),
            "{alert}"
        );
        assert_eq!(job["reason"], letter["last_error"], "{alert}");
        assert!(
            !alert.to_string().contains("Ann"),
            "what the form said goes to no alert: {alert}"
        );
    }
}

#[test]
fn dead_alert_sends_no_further_alert() {
    let (crm, ops) = (
        FakeReceiver::with(|_| Behavior::reply_with(404)),
        FakeReceiver::with(|_| Behavior::reply_with(404)),
    );
    let server = server(&crm, &ops);
    for number in 0..5 {
        assert!(
            server
                .post("/form", &Form::new(format!("dies-{number}")))
                .is_accepted()
        );
    }
    server.settled();
    assert_eq!(
        dead(&server).len(),
        10,
        "five deliveries and an alert for each"
    );
    assert_eq!((crm.request_count(), ops.request_count()), (5, 5));

    // When the destination has recovered, the dead letters can be sent.
    ops.recover();
    for letter in dead(&server) {
        server.rows(&["dead-letters", "retry", &letter["id"].to_string()]);
    }
    server.settled();
    // The deliveries became dead letters again and caused new alerts. The five old alerts were
    // delivered.
    assert_eq!(ops.taken().len(), 10);
    assert_eq!(dead(&server).len(), 5);
}
