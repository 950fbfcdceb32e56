//! Tests the behavior of receivers and its effect on a delivery. A success is final. A delivery
//! without a response is sent again with the same ID. A refusal is a dead letter at once. A
//! requested delay is respected.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::fake_services::{
    Behavior, ConnectionBehavior, FLOOD_BYTES, FakeReceiver, SECRET, add_top_level_keys, flow,
};
use crate::support::form::Form;
use crate::support::{Server, eventually};

/// Timeouts that are short enough for a test, and a circuit breaker that does not interfere.
const FAST_RETRY: &str = "timeout = \"300ms\"\nretry = { initial_delay = \"50ms\", max_delay = \"100ms\", max_attempts = 200 }\n\
                     breaker = { failure_threshold = 1000, open_for = \"100ms\" }";

/// Starts a server that sends form events to all of these destinations.
fn start_server(worlds: &[(&str, &FakeReceiver)]) -> Server {
    let tables: String = worlds
        .iter()
        .map(|(name, world)| world.table(name, FAST_RETRY))
        .collect();
    let names: Vec<&str> = worlds.iter().map(|(name, _)| *name).collect();
    Server::start(&format!("{}{tables}", flow(&names)))
}

fn send(server: &Server, token: &str) {
    assert!(server.post("/form", &Form::new(token)).is_accepted());
}

/// Returns all deliveries, newest first.
fn deliveries(server: &Server) -> Vec<Value> {
    let jobs = server.rows(&["jobs", "list", "--limit", "0"]);
    jobs.into_iter()
        .filter(|job| job["kind"] == "deliver")
        .collect()
}

/// Starts a receiver that uses the first behavior for the first request, the second behavior for
/// the second request, and so on.
fn respond_in_order(acts: impl IntoIterator<Item = Behavior>) -> FakeReceiver {
    let acts: Vec<Behavior> = acts.into_iter().collect();
    let asked = AtomicUsize::new(0);
    FakeReceiver::with(move |_| {
        let number = asked.fetch_add(1, Ordering::SeqCst);
        acts.get(number)
            .cloned()
            .unwrap_or_else(|| Behavior::reply_with(204))
    })
}

#[test]
fn configured_header_replaces_default_header() {
    let crm = FakeReceiver::well();
    let table = crm.table("crm", "headers = { user-agent = \"text:shop/1\" }");
    let server = Server::start(&format!("{}{table}", flow(&["crm"])));
    assert!(server.post("/form", &Form::new("a")).is_accepted());
    let asked = crm.wait_for_requests(1).remove(0);
    let agents: Vec<&str> = asked
        .headers
        .iter()
        .filter(|(name, _)| name == "user-agent")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(agents, ["shop/1"]);
}

#[test]
fn success_status_is_final_whatever_body_follows() {
    let flood = FakeReceiver::with(|_| Behavior::Flood);
    let drip = FakeReceiver::with(|_| Behavior::DripBody);
    let breaks =
        FakeReceiver::with(|_| Behavior::Raw("HTTP/1.1 200 So\r\ncontent-length: 100\r\n\r\nhalf"));
    let chunks = FakeReceiver::with(|_| {
        Behavior::Raw("HTTP/1.1 202 So\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nnonsense")
    });
    let until_the_end =
        FakeReceiver::with(|_| Behavior::Raw("HTTP/1.0 200 So\r\n\r\nas long as it lasts"));
    let patient = FakeReceiver::with(|_| {
        Behavior::Raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 So\r\ncontent-length: 0\r\n\r\n")
    });
    let worlds = [
        ("flood", &flood),
        ("drip", &drip),
        ("breaks", &breaks),
        ("chunks", &chunks),
        ("until-the-end", &until_the_end),
        ("patient", &patient),
    ];
    let server = start_server(&worlds);
    let before = server.process_status_value("VmRSS");
    for number in 0..5 {
        send(&server, &format!("form-{number}"));
    }
    server.settled();

    let all = deliveries(&server);
    assert_eq!(all.len(), 5 * worlds.len());
    for delivery in all {
        assert_eq!(
            (&delivery["state"], &delivery["attempts"]),
            (&"done".into(), &1.into()),
            "{delivery}"
        );
    }
    for (name, world) in worlds {
        let asked = world.asked();
        assert_eq!(asked.len(), 5, "{name}");
        assert!(
            asked
                .iter()
                .all(|asked| asked.path == format!("/hook/{name}") && asked.is_signed_with(SECRET))
        );
    }
    eventually("the floods are over", || (flood.poured() > 0).then_some(()));
    assert!(
        flood.poured() < FLOOD_BYTES,
        "nobody waits for the end of it"
    );
    let grown = server.process_status_value("VmHWM").saturating_sub(before);
    assert!(grown < 48 * 1024, "{grown} kB of answers that nobody keeps");
}

#[test]
fn surplus_response_is_not_used_for_next_delivery() {
    const TWO_AT_ONCE: &str = "HTTP/1.1 200 So\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 So\r\ncontent-length: 2\r\n\r\nok";
    let world = respond_in_order([
        Behavior::RawAndStayOpen(TWO_AT_ONCE),
        Behavior::reply_with(404),
    ]);
    let server = start_server(&[("liar", &world)]);
    send(&server, "first");
    server.settled();
    send(&server, "second");
    server.settled();
    let states: Vec<_> = deliveries(&server)
        .into_iter()
        .map(|delivery| delivery["state"].clone())
        .collect();
    assert_eq!(
        states,
        ["dead", "done"],
        "the second was refused, whatever the first answer went on with"
    );
}

#[test]
fn unanswered_delivery_is_retried_with_same_id() {
    let hangs = FakeReceiver::with(|_| Behavior::Hang);
    let drips = FakeReceiver::with(|_| Behavior::DripHead);
    let closes = FakeReceiver::with(|_| Behavior::Close);
    let resets = FakeReceiver::with(|_| Behavior::Reset);
    let no_http = FakeReceiver::with(|_| Behavior::Raw("220 mail.example ESMTP ready\r\n"));
    let half = FakeReceiver::with(|_| Behavior::Raw("HTTP/1.1 20"));
    let slams = FakeReceiver::well();
    slams.set_connection_behavior(ConnectionBehavior::CloseAtOnce);
    let ignores = FakeReceiver::well();
    ignores.set_connection_behavior(ConnectionBehavior::Ignore);
    let down = FakeReceiver::down();
    let worlds = [
        ("hangs", &hangs),
        ("drips", &drips),
        ("closes", &closes),
        ("resets", &resets),
        ("no-http", &no_http),
        ("half", &half),
        ("slams", &slams),
        ("ignores", &ignores),
        ("down", &down),
    ];
    let server = start_server(&worlds);
    send(&server, "patience");
    eventually("each of them failed twice", || {
        let all = deliveries(&server);
        let failed = |delivery: &Value| delivery["attempts"].as_u64().unwrap() >= 2;
        (all.len() == worlds.len() && all.iter().all(failed)).then_some(())
    });
    for delivery in deliveries(&server) {
        assert!(
            delivery["state"] != "done" && delivery["state"] != "dead",
            "{delivery}"
        );
        assert!(
            delivery["last_error"]
                .as_str()
                .is_some_and(|why| why.contains("127.0.0.1")),
            "{delivery}"
        );
    }

    for (_, world) in worlds {
        world.recover();
    }
    down.start_listening();
    server.settled();
    for (name, world) in worlds {
        let taken = world.taken();
        assert_eq!(taken.len(), 1, "{name}");
        let asked = world.asked();
        assert!(
            asked
                .iter()
                .all(|one| one.id() == asked[0].id() && one.body == asked[0].body),
            "{name}: {asked:?}"
        );
        assert!(asked.iter().all(|one| one.is_signed_with(SECRET)), "{name}");
        assert_eq!(asked[0].token(), "patience");
    }
    assert!(
        deliveries(&server)
            .iter()
            .all(|delivery| delivery["state"] == "done")
    );
}

#[test]
fn refusal_becomes_dead_letter_without_following_redirect() {
    let trap = FakeReceiver::well();
    let elsewhere = || vec![("location", trap.url())];
    let worlds: Vec<(String, FakeReceiver)> = [301, 308, 400, 402, 404, 422]
        .into_iter()
        .map(|status| {
            let headers = if status < 400 {
                elsewhere()
            } else {
                Vec::new()
            };
            (
                format!("says-{status}"),
                FakeReceiver::with(move |_| Behavior::Respond(status, headers.clone(), "no")),
            )
        })
        .collect();
    let named: Vec<(&str, &FakeReceiver)> = worlds
        .iter()
        .map(|(name, world)| (name.as_str(), world))
        .collect();
    let server = start_server(&named);
    send(&server, "refused");
    server.settled();

    let dead = server.rows(&["dead-letters", "list", "--limit", "0"]);
    assert_eq!(dead.len(), worlds.len(), "{dead:?}");
    let output = worlds[0].1.asked()[0].json();
    for letter in dead {
        assert_eq!(letter["attempts"], 1, "{letter}");
        let letter = server.row(&["dead-letters", "show", &letter["id"].to_string()]);
        assert!(
            letter["last_error"]
                .as_str()
                .unwrap()
                .starts_with("responded with "),
            "{letter}"
        );
        assert_eq!(
            payload_of(&letter),
            output,
            "the body is there to be sent again"
        );
    }
    assert!(worlds.iter().all(|(_, world)| world.request_count() == 1));
    assert_eq!(
        trap.request_count(),
        0,
        "what was told is not carried to whoever an answer names"
    );
}

/// Returns the payload of a dead letter.
fn payload_of(letter: &Value) -> Value {
    let payload = &letter["payload"];
    payload.as_str().map_or_else(
        || payload.clone(),
        |text| serde_json::from_str(text).unwrap(),
    )
}

#[test]
fn temporary_failure_or_redirect_is_retried() {
    let trap = FakeReceiver::well();
    let away = Behavior::Respond(302, vec![("location", trap.url())], "");
    let troubles = [
        away,
        Behavior::reply_with(408),
        Behavior::reply_with(409),
        Behavior::reply_with(425),
        Behavior::reply_with(500),
        Behavior::reply_with(502),
        Behavior::reply_with(503),
    ];
    let count = troubles.len();
    let world = respond_in_order(troubles);
    let server = start_server(&[("moody", &world)]);
    send(&server, "in-the-end");
    server.settled();
    assert_eq!(world.taken().len(), 1);
    assert_eq!(world.request_count(), count + 1);
    assert_eq!(deliveries(&server)[0]["attempts"], count + 1);
    assert_eq!(trap.request_count(), 0);
}

#[test]
fn retry_after_delays_every_delivery_of_destination() {
    for (status, seconds) in [(429, true), (503, true), (429, false)] {
        let world = FakeReceiver::with(move |asked| {
            // A date has a precision of whole seconds, so two seconds guarantee more than one.
            let date = (jiff::Timestamp::now() + Duration::from_secs(2))
                .strftime("%a, %d %b %Y %H:%M:%S GMT");
            let when = if seconds {
                "1".to_owned()
            } else {
                date.to_string()
            };
            let is_first = asked.token() == "first";
            if is_first {
                Behavior::Respond(status, vec![("retry-after", when)], "")
            } else {
                Behavior::reply_with(204)
            }
        });
        let server = start_server(&[("busy", &world)]);
        send(&server, "first");
        world.wait_for_requests(1);
        eventually("it is noted", || {
            (deliveries(&server)[0]["attempts"] == 1).then_some(())
        });
        send(&server, "second");
        let asked = world.wait_for_requests(2);
        let quiet = asked[1].moment.duration_since(asked[0].moment);
        assert!(
            quiet >= Duration::from_millis(990),
            "{status}: asked again after {quiet:?}, for {}",
            asked[1].token()
        );

        world.recover();
        server.settled();
        let asked = world.asked();
        let first: Vec<_> = asked.iter().filter(|one| one.token() == "first").collect();
        let stamps: Vec<_> = first
            .iter()
            .map(|one| one.header("webhook-timestamp"))
            .collect();
        assert!(first.len() >= 2 && stamps[0] != stamps[1], "{stamps:?}");
        assert_eq!(first[0].id(), first[1].id());
        assert!(asked.iter().all(|one| one.is_signed_with(SECRET)));
        assert_eq!(world.taken().len(), 2);
    }
}

#[test]
fn rejected_credentials_disable_destination_with_one_alert() {
    for status in [401, 403, 407] {
        let (crm, ops) = (
            FakeReceiver::with(move |_| Behavior::reply_with(status)),
            FakeReceiver::well(),
        );
        let tables = [
            crm.table("crm", "retry = { max_attempts = 1 }"),
            ops.table("ops", ""),
        ]
        .concat();
        let mut server = Server::stopped(&format!("{}{tables}", flow(&["crm"])));
        add_top_level_keys(&server, "alerts = [\"ops\"]");
        server.start_again();
        send(&server, "first");
        let alert = ops.wait_for_requests(1)[0].json();
        assert_eq!(
            (&alert["type"], &alert["data"]["destination"]["name"]),
            (&"destination.stopped".into(), &"crm".into())
        );
        let reason = alert["data"]["destination"]["reason"].as_str().unwrap();
        assert!(
            reason.starts_with(&format!("responded with {status}")),
            "{reason}"
        );
        for number in 0..10 {
            send(&server, &format!("more-{number}"));
        }
        crm.recover();
        let hints = server.row(&["status"])["warnings"].to_string();
        assert!(hints.contains("destinations resume crm"), "{hints}");
        assert!(server.rows(&["dead-letters", "list"]).is_empty());
        assert_eq!(crm.request_count(), 1);
        assert_eq!(server.cli(&["destinations", "resume", "crm"]).code, 0);
        assert_eq!(crm.wait_for_accepted(11).len(), 11);
        server.settled();
        assert_eq!(ops.request_count(), 1);
    }
}

#[test]
fn status_410_disables_destination_and_loses_nothing() {
    let (gone, witness) = (
        FakeReceiver::with(|_| Behavior::reply_with(410)),
        FakeReceiver::well(),
    );
    // The destination allows only one attempt. The delivery that got the 410 also waits and is no
    // dead letter.
    let tables = [
        gone.table("gone", "retry = { max_attempts = 1 }"),
        witness.table("witness", FAST_RETRY),
    ]
    .concat();
    let mut server = Server::start(&format!("{}{tables}", flow(&["gone", "witness"])));
    send(&server, "first");
    gone.wait_for_requests(1);
    eventually("it is noted", || {
        deliveries(&server)
            .iter()
            .any(|delivery| delivery["last_error"].is_string())
            .then_some(())
    });
    for number in 0..20 {
        send(&server, &format!("more-{number}"));
    }
    witness.wait_for_accepted(21);
    // The destination would work again, but only an admin can know that.
    gone.recover();
    server.kill9();
    server.start_again();
    send(&server, "after");
    witness.wait_for_accepted(22);
    assert_eq!(gone.request_count(), 1);
    eventually(
        "all of them wait, and what the witness took is noted",
        || {
            let all = deliveries(&server);
            let waiting = all
                .iter()
                .filter(|delivery| delivery["state"] != "done")
                .count();
            (waiting == 22).then_some(())
        },
    );
    assert!(server.rows(&["dead-letters", "list"]).is_empty());
}
