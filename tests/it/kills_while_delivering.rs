//! Killed while it delivers: whatever was not noted is sent again, under the id that it had, signed anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::support::form::Form;
use crate::support::load::Load;
use crate::support::world::{Act, Asked, SECRET, World, flow};
use crate::support::{Server, eventually};

const RULE: &str = "timeout = \"20s\"\nretry = { first = \"50ms\", ceiling = \"100ms\" }";

#[test]
fn ten_kills_while_delivering_lose_nothing_and_every_copy_has_the_same_id() {
    let crm = World::with(|_| {
        // Some attempts are always between sending and noting.
        std::thread::park_timeout(Duration::from_millis(5));
        Act::say(204)
    });
    let mut server = Server::start(&format!("{}{}", flow(&["crm"]), crm.table("crm", RULE)));
    let mut acknowledged = BTreeSet::new();
    for round in 0..10 {
        let before = crm.times_asked();
        let load = Load::begin(server.address(), "/form", &format!("round-{round}"), 4);
        eventually("it delivers", || (crm.times_asked() >= before + 20 + round * 7).then_some(()));
        server.kill9();
        acknowledged.extend(load.end().acknowledged);
        server.start_again();
    }
    server.settled();

    let kept: BTreeSet<String> =
        server.submissions().iter().map(|form| form["flow_token"].as_str().unwrap().to_owned()).collect();
    assert!(acknowledged.is_subset(&kept), "lost before it could be told");
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (id, copies) in crm.taken() {
        ids.entry(copies[0].token()).or_default().insert(id);
        assert!(copies.iter().all(|copy| copy.is_signed_with(SECRET)));
    }
    assert!(ids.values().all(|ids| ids.len() == 1), "one form has one message: {ids:?}");
    assert_eq!(ids.into_keys().collect::<BTreeSet<_>>(), kept, "each form is told, and nothing that is no form");
    assert!(server.rows(&["dead", "list"]).is_empty());
    assert_eq!(server.cli(&["check"]).code, 0);
}

#[test]
fn what_was_sent_and_not_noted_is_sent_again_as_the_same_message_signed_anew() {
    let crm = World::with(|_| Act::Hang);
    let mut server = Server::start(&format!("{}{}", flow(&["crm"]), crm.table("crm", RULE)));
    assert!(server.post("/form", &Form::new("once")).is_accepted());
    crm.until_asked(1);
    server.kill9();
    crm.recovers();
    // So that another signature is another text.
    eventually("another second has begun", || {
        let stamp: i64 = crm.asked()[0].header("webhook-timestamp").parse().unwrap();
        (jiff::Timestamp::now().as_second() > stamp).then_some(())
    });
    server.start_again();
    server.settled();

    let asked = crm.asked();
    assert_eq!(asked.len(), 2);
    let parts = |asked: &Asked| (asked.id().to_owned(), asked.body.clone());
    assert_eq!(parts(&asked[0]), parts(&asked[1]));
    assert!(asked.iter().all(|asked| asked.is_signed_with(SECRET)));
    assert_ne!(asked[0].header("webhook-signature"), asked[1].header("webhook-signature"));
    let jobs = server.rows(&["jobs", "list"]);
    let delivery = jobs.iter().find(|job| job["kind"] == "deliver").unwrap();
    assert_eq!((&delivery["state"], &delivery["attempts"]), (&"done".into(), &1.into()), "only one end was seen");
}

#[test]
fn an_end_in_good_order_waits_for_no_destination_that_hangs_and_what_it_left_is_sent_at_the_next_start() {
    let crm = World::with(|_| Act::Hang);
    let mut server = Server::start(&format!("{}{}", flow(&["crm"]), crm.table("crm", RULE)));
    assert!(server.post("/form", &Form::new("later")).is_accepted());
    crm.until_asked(1);
    server.stop();
    crm.recovers();
    server.start_again();
    server.settled();
    let taken = crm.taken();
    assert_eq!((taken.len(), crm.times_asked()), (1, 2));
    assert_eq!(crm.asked()[0].id(), crm.asked()[1].id());
    let jobs = server.rows(&["jobs", "list"]);
    let delivery = jobs.iter().find(|job| job["kind"] == "deliver").unwrap();
    assert_eq!(delivery["attempts"], 1, "the one that hung was not waited for until its timeout");
}
