//! Those who run the server are told once that something has died, and an alert that can't be delivered breeds no other.

use serde_json::Value;

use crate::support::Server;
use crate::support::form::Form;
use crate::support::world::{Act, SECRET, World, at_the_top, flow};

const RULE: &str = "timeout = \"300ms\"\nretry = { first = \"50ms\", ceiling = \"100ms\", attempts = 2 }\n\
                    breaker = { failures = 1000, pause = \"100ms\" }";

/// A server whose forms are told to `crm` and its alerts to `ops`.
fn server(crm: &World, ops: &World) -> Server {
    let mut server =
        Server::stopped(&format!("{}{}{}", flow(&["crm"]), crm.table("crm", RULE), ops.table("ops", RULE)));
    at_the_top(&server, "alerts = [\"ops\"]");
    server.start_again();
    server
}

fn dead(server: &Server) -> Vec<Value> {
    server.rows(&["dead", "list", "--limit", "0"])
}

#[test]
fn a_delivery_that_dies_is_told_to_those_who_run_the_server_once() {
    for (act, attempts) in [(Act::say(404), 1), (Act::say(500), 2)] {
        let (crm, ops) = (World::with(move |_| act.clone()), World::well());
        let mut server = server(&crm, &ops);
        assert!(server.post("/form", &Form::new("dies")).is_accepted());
        server.settled();
        server.kill9();
        server.start_again();
        server.settled();

        let letters = dead(&server);
        assert_eq!((letters.len(), &letters[0]["attempts"]), (1, &attempts.into()), "{letters:?}");
        let told = ops.asked();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].is_signed_with(SECRET));
        let (alert, letter) = (told[0].json(), server.row(&["dead", "show", &letters[0]["id"].to_string()]));
        assert_eq!((&alert["type"], &alert["data"]["flow"]), (&"job.dead".into(), &"form".into()), "{alert}");
        let job = &alert["data"]["job"];
        assert_eq!((&job["id"], &job["attempts"]), (&letter["id"], &letter["attempts"]), "{alert}");
        assert_eq!((&job["kind"], &job["destination"]), (&"deliver".into(), &"crm".into()), "{alert}");
        assert_eq!(job["reason"], letter["last_error"], "{alert}");
        assert!(!alert.to_string().contains("Ann"), "what the form said goes to no alert: {alert}");
    }
}

#[test]
fn an_alert_that_dies_is_a_dead_letter_and_no_further_alert() {
    let (crm, ops) = (World::with(|_| Act::say(404)), World::with(|_| Act::say(404)));
    let server = server(&crm, &ops);
    for number in 0..5 {
        assert!(server.post("/form", &Form::new(format!("dies-{number}"))).is_accepted());
    }
    server.settled();
    assert_eq!(dead(&server).len(), 10, "five deliveries and an alert for each");
    assert_eq!((crm.times_asked(), ops.times_asked()), (5, 5));

    // Once it is well, they can be sent.
    ops.recovers();
    for letter in dead(&server) {
        server.rows(&["dead", "retry", &letter["id"].to_string()]);
    }
    server.settled();
    // The deliveries died again, and said so again; the five alerts were taken.
    assert_eq!(ops.taken().len(), 10);
    assert_eq!(dead(&server).len(), 5);
}
