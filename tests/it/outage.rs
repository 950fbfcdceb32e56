//! A destination that is down for an hour, with twenty thousand deliveries waiting: all of them are taken once it is up, none is
//! given up over it, and neither memory nor the intake suffers.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::form::Form;
use crate::support::http::signed_post;
use crate::support::world::{SECRET, World, flow};
use crate::support::{Server, eventually};

const FORMS: u32 = 20_000;

/// Messages in one webhook, the most that Meta sends.
const BATCH: u32 = 1000;

/// An hour of probes: a breaker is open for 30 s unless the config says otherwise. Here it is for [`PAUSE`].
const PROBES: u32 = 120;

const PAUSE: Duration = Duration::from_millis(100);

/// Left alone for a moment after three failures. Without a breaker, five attempts would be over within a second.
const RULE: &str = "timeout = \"5s\"\nretry = { first = \"50ms\", ceiling = \"100ms\", attempts = 5 }\n\
                    breaker = { failures = 3, pause = \"100ms\" }";

#[test]
fn twenty_thousand_that_waited_for_a_destination_are_taken_once_it_is_up_and_none_was_given_up() {
    let crm = World::down();
    let server = Server::start(&format!("{}{}", flow(&["crm"]), crm.table("crm", RULE)));
    let began = Instant::now();
    let mut sender = server.connect();
    for first in (0..FORMS / BATCH).map(|batch| batch * BATCH) {
        let answer = sender.exchange(&signed_post("/webhook", &batch(first..first + BATCH))).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let waiting = || destination(&server)["waiting"].as_u64().unwrap();
    assert_eq!(waiting(), u64::from(FORMS), "all of them are on disk");

    // It stays down for as long as many attempts would take: the breaker makes few of them. Ten may fail before it opens.
    eventually("an hour of probes is over", || (failures(&server) >= PROBES).then_some(()));
    assert!(began.elapsed() > PAUSE * (PROBES - 10), "one probe at a time: {:?}", began.elapsed());
    assert_eq!(waiting(), u64::from(FORMS), "none was given up");
    let at_once = server.post("/form", &Form::new("in-the-middle"));
    assert!(at_once.is_accepted(), "{at_once:?}");

    let before = server.process_figure("VmRSS");
    crm.comes_up();
    server.settled();
    let grown = server.process_figure("VmHWM").saturating_sub(before);
    assert!(grown < 48 * 1024, "{grown} kB more to deliver what was on disk");
    let taken = crm.taken();
    assert_eq!(u32::try_from(taken.len()), Ok(FORMS + 1), "so many ids");
    let tokens: BTreeSet<String> = taken.values().map(|copies| copies[0].token()).collect();
    let expected: BTreeSet<String> = (0..FORMS).map(token).chain(["in-the-middle".to_owned()]).collect();
    assert!(tokens == expected, "each form under an id of its own");
    assert!(taken.values().all(|copies| copies.len() == 1), "nobody had to drop a copy");
    assert!(taken.values().all(|copies| copies[0].is_signed_with(SECRET)));
    assert!(server.rows(&["dead", "list"]).is_empty());
    assert_eq!(server.cli(&["check"]).code, 0);
}

fn token(number: u32) -> String {
    format!("waits-{number}")
}

/// A webhook of Meta's with these forms, each in a message of its own.
fn batch(numbers: std::ops::Range<u32>) -> Vec<u8> {
    let message = |number| {
        let response = json!({ "flow_token": token(number), "name": "Ann" }).to_string();
        json!({ "from": "15550000001", "id": format!("wamid.{number}"), "timestamp": "1767225601", "type": "interactive",
            "interactive": { "type": "nfm_reply", "nfm_reply": { "name": "flow", "body": "Sent", "response_json": response } } })
    };
    let messages: Vec<Value> = numbers.map(message).collect();
    let value =
        json!({ "messaging_product": "whatsapp", "metadata": { "phone_number_id": "1" }, "messages": messages });
    let change = json!({ "field": "messages", "value": value });
    json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [change] }] })
        .to_string()
        .into_bytes()
}

fn destination(server: &Server) -> Value {
    server.row(&["destinations", "list"])
}

/// Attempts that failed so far.
fn failures(server: &Server) -> u32 {
    destination(server)["failed"].as_u64().unwrap().try_into().unwrap()
}
