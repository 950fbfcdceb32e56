//! A destination is down for an hour, and twenty thousand deliveries wait. All are delivered when
//! it is up, none becomes a dead letter, and neither memory nor the intake suffers.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::fake_services::{FakeReceiver, SECRET, flow};
use crate::support::form::Form;
use crate::support::http::signed_post;
use crate::support::{Server, eventually};

const FORMS: u32 = 20_000;

/// Messages in one webhook, the maximum of Meta.
const BATCH: u32 = 1000;

/// Number of probes in an hour at the default interval of 30 s. The interval in this test is
/// [`PAUSE`].
const PROBES: u32 = 120;

const PAUSE: Duration = Duration::from_millis(100);

/// Probe interval after three failures. Without a circuit breaker, five attempts would be over
/// within a second.
const RULE: &str = "timeout = \"5s\"\nretry = { initial_delay = \"50ms\", max_delay = \"100ms\", max_attempts = 5 }\n\
                    breaker = { failure_threshold = 3, open_for = \"100ms\" }";

#[test]
fn twenty_thousand_waiting_deliveries_survive_outage() {
    let crm = FakeReceiver::down();
    let server = Server::start(&format!("{}{}", flow(&["crm"]), crm.table("crm", RULE)));
    let began = Instant::now();
    let mut sender = server.connect();
    for first in (0..FORMS / BATCH).map(|batch| batch * BATCH) {
        let answer = sender
            .exchange(&signed_post("/webhook", &batch(first..first + BATCH)))
            .unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let waiting = || destination(&server)["waiting"].as_u64().unwrap();
    assert_eq!(waiting(), u64::from(FORMS), "all of them are on disk");

    // The destination stays down for the time of many attempts. The circuit breaker allows only a
    // few of them. Ten attempts may fail before it opens.
    eventually("an hour of probes is over", || {
        (failures(&server) >= PROBES).then_some(())
    });
    assert!(
        began.elapsed() > PAUSE * (PROBES - 10),
        "one probe at a time: {:?}",
        began.elapsed()
    );
    assert_eq!(waiting(), u64::from(FORMS), "none was given up");
    let at_once = server.post("/form", &Form::new("in-the-middle"));
    assert!(at_once.is_accepted(), "{at_once:?}");

    let before = server.process_status_value("VmRSS");
    crm.start_listening();
    server.settled();
    let grown = server.process_status_value("VmHWM").saturating_sub(before);
    assert!(
        grown < 48 * 1024,
        "{grown} kB more to deliver what was on disk"
    );
    let taken = crm.taken();
    assert_eq!(u32::try_from(taken.len()), Ok(FORMS + 1), "so many ids");
    let tokens: BTreeSet<String> = taken.values().map(|copies| copies[0].token()).collect();
    let expected: BTreeSet<String> = (0..FORMS)
        .map(token)
        .chain(["in-the-middle".to_owned()])
        .collect();
    assert!(tokens == expected, "each form under an id of its own");
    assert!(
        taken.values().all(|copies| copies.len() == 1),
        "nobody had to drop a copy"
    );
    assert!(
        taken
            .values()
            .all(|copies| copies[0].is_signed_with(SECRET))
    );
    assert!(server.rows(&["dead-letters", "list"]).is_empty());
    assert_eq!(server.cli(&["check"]).code, 0);
}

fn token(number: u32) -> String {
    format!("waits-{number}")
}

/// Returns a webhook of Meta with these forms, each in its own message.
fn batch(numbers: std::ops::Range<u32>) -> Vec<u8> {
    let message = |number| {
        let response = json!({ "flow_token": token(number), "name": "Ann" }).to_string();
        json!({ "from": "15550000001", "id": format!("wamid.{number}"), "timestamp": "1767225601", "type": "interactive",
            "interactive": { "type": "nfm_reply", "nfm_reply": { "name": "flow", "body": "Sent", "response_json": response } } })
    };
    let messages: Vec<Value> = numbers.map(message).collect();
    let value = json!({ "messaging_product": "whatsapp", "metadata": { "phone_number_id": "1" }, "messages": messages });
    let change = json!({ "field": "messages", "value": value });
    json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [change] }] })
        .to_string()
        .into_bytes()
}

fn destination(server: &Server) -> Value {
    server.row(&["destinations", "list"])
}

/// Returns the number of failed attempts so far.
fn failures(server: &Server) -> u32 {
    destination(server)["failed"]
        .as_u64()
        .unwrap()
        .try_into()
        .unwrap()
}
