//! Kills during deliveries: a delivery without a recorded result is sent again with the same ID and
//! a new signature.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::support::fake_services::{Behavior, FakeReceiver, RecordedRequest, SECRET, flow};
use crate::support::form::Form;
use crate::support::load::Load;
use crate::support::{Server, eventually};

const RULE: &str = "timeout = \"20s\"\nretry = { initial_delay = \"50ms\", max_delay = \"100ms\" }";

#[test]
fn ten_kills_lose_no_delivery_nor_change_ids() {
    let crm = FakeReceiver::with(|_| {
        // The delay ensures that some attempts are always between sending and recording.
        std::thread::park_timeout(Duration::from_millis(5));
        Behavior::reply_with(204)
    });
    let mut server = Server::start(&format!("{}{}", flow(&["crm"]), crm.table("crm", RULE)));
    let mut acknowledged = BTreeSet::new();
    for round in 0..10 {
        let before = crm.request_count();
        let load = Load::begin(server.address(), "/form", &format!("round-{round}"), 4);
        eventually("it delivers", || {
            (crm.request_count() >= before + 20 + round * 7).then_some(())
        });
        server.kill9();
        acknowledged.extend(load.end().acknowledged);
        server.start_again();
    }
    server.settled();

    let stored: BTreeSet<String> = server
        .submissions()
        .iter()
        .map(|form| form["flow_token"].as_str().unwrap().to_owned())
        .collect();
    assert!(
        acknowledged.is_subset(&stored),
        "lost before it could be told"
    );
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (id, copies) in crm.taken() {
        ids.entry(copies[0].token()).or_default().insert(id);
        assert!(copies.iter().all(|copy| copy.is_signed_with(SECRET)));
    }
    assert!(
        ids.values().all(|ids| ids.len() == 1),
        "one form has one message: {ids:?}"
    );
    assert_eq!(
        ids.into_keys().collect::<BTreeSet<_>>(),
        stored,
        "each form is told, and nothing that is no form"
    );
    assert!(server.rows(&["dead-letters", "list"]).is_empty());
    assert_eq!(server.cli(&["check"]).code, 0);
}

#[test]
fn unrecorded_delivery_is_resent_with_new_signature() {
    let crm = FakeReceiver::with(|_| Behavior::Hang);
    let mut server = Server::start(&format!("{}{}", flow(&["crm"]), crm.table("crm", RULE)));
    assert!(server.post("/form", &Form::new("once")).is_accepted());
    crm.wait_for_requests(1);
    server.kill9();
    crm.recover();
    // The signature changes only in another second.
    eventually("another second has begun", || {
        let stamp: i64 = crm.asked()[0].header("webhook-timestamp").parse().unwrap();
        (jiff::Timestamp::now().as_second() > stamp).then_some(())
    });
    server.start_again();
    server.settled();

    let asked = crm.asked();
    assert_eq!(asked.len(), 2);
    let parts = |asked: &RecordedRequest| (asked.id().to_owned(), asked.body.clone());
    assert_eq!(parts(&asked[0]), parts(&asked[1]));
    assert!(asked.iter().all(|asked| asked.is_signed_with(SECRET)));
    assert_ne!(
        asked[0].header("webhook-signature"),
        asked[1].header("webhook-signature")
    );
    let jobs = server.rows(&["jobs", "list"]);
    let delivery = jobs.iter().find(|job| job["kind"] == "deliver").unwrap();
    assert_eq!(
        (&delivery["state"], &delivery["attempts"]),
        (&"done".into(), &1.into()),
        "only one end was seen"
    );
}

#[test]
fn shutdown_does_not_wait_for_hanging_destination() {
    let crm = FakeReceiver::with(|_| Behavior::Hang);
    let mut server = Server::start(&format!("{}{}", flow(&["crm"]), crm.table("crm", RULE)));
    assert!(server.post("/form", &Form::new("later")).is_accepted());
    crm.wait_for_requests(1);
    server.stop();
    crm.recover();
    server.start_again();
    server.settled();
    let taken = crm.taken();
    assert_eq!((taken.len(), crm.request_count()), (1, 2));
    assert_eq!(crm.asked()[0].id(), crm.asked()[1].id());
    let jobs = server.rows(&["jobs", "list"]);
    let delivery = jobs.iter().find(|job| job["kind"] == "deliver").unwrap();
    assert_eq!(
        delivery["attempts"], 1,
        "the one that hung was not waited for until its timeout"
    );
}
