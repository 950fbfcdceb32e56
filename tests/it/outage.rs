//! A destination that is down, with thousands of deliveries waiting: all of them are taken once it is up, none is given up
//! over it, and neither memory nor the intake suffers.

use serde_json::Value;

use crate::support::form::Form;
use crate::support::load::Load;
use crate::support::world::{SECRET, World, flow};
use crate::support::{Server, eventually};

const FORMS: usize = 3000;

/// Left alone for a moment after three failures. Without a breaker, five attempts would be over within a second.
const RULE: &str = "timeout = \"5s\"\nretry = { first = \"50ms\", ceiling = \"100ms\", attempts = 5 }\n\
                    breaker = { failures = 3, pause = \"100ms\" }";

#[test]
fn thousands_that_waited_for_a_destination_are_taken_once_it_is_up_and_none_was_given_up() {
    let crm = World::down();
    let server = Server::start(&format!("{}{}", flow(&["crm"]), crm.table("crm", RULE)));
    let load = Load::begin(server.address(), "/form", "waits", 8);
    eventually("all forms are taken", || (load.acknowledged() >= FORMS).then_some(()));
    let poured = load.end();
    assert_eq!(poured.sent.len(), poured.acknowledged.len(), "whatever was sent was acknowledged");

    // It stays down for as long as many attempts would take: the breaker makes few of them.
    eventually("it was tried again and again", || (failures(&server) >= 20).then_some(()));
    let (failed, before) = (failures(&server), server.process_figure("VmRSS"));
    assert!(failed < FORMS, "{failed} attempts: the breaker is open most of the time");
    assert!(server.rows(&["dead", "list"]).is_empty());
    let at_once = server.post("/form", &Form::new("in-the-middle"));
    assert!(at_once.is_accepted(), "{at_once:?}");

    crm.comes_up();
    server.settled();
    let taken = crm.taken();
    assert_eq!(taken.len(), poured.acknowledged.len() + 1);
    let mut tokens: Vec<String> = taken.values().map(|copies| copies[0].token()).collect();
    tokens.sort_unstable();
    let mut expected = poured.acknowledged;
    expected.push("in-the-middle".to_owned());
    expected.sort_unstable();
    assert_eq!(tokens, expected);
    assert!(taken.values().all(|copies| copies.len() == 1), "nobody had to drop a copy");
    assert!(taken.values().all(|copies| copies[0].is_signed_with(SECRET)));
    assert!(server.rows(&["dead", "list"]).is_empty());
    let grown = server.process_figure("VmHWM").saturating_sub(before);
    assert!(grown < 48 * 1024, "{grown} kB more to deliver what was on disk");
    assert_eq!(server.cli(&["check"]).code, 0);
}

/// Attempts that failed so far, by what the server counts.
fn failures(server: &Server) -> usize {
    let jobs = server.rows(&["jobs", "list", "--limit", "0"]);
    let deliveries = jobs.iter().filter(|job| job["kind"] == "deliver");
    let attempts = |job: &Value| usize::try_from(job["attempts"].as_u64().unwrap()).unwrap();
    deliveries.map(attempts).sum()
}
