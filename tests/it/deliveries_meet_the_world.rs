//! What receivers do to a message, and what becomes of it: a success counts whatever follows it, silence is tried again under
//! the same id, a refusal is a dead letter at once, and whoever asks for quiet gets it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::form::Form;
use crate::support::world::{Act, Door, FLOOD_BYTES, SECRET, World, at_the_top, flow};
use crate::support::{Server, eventually};

/// Patience that a story can wait for, and a breaker that stays out of its way.
const HASTE: &str = "timeout = \"300ms\"\nretry = { first = \"50ms\", ceiling = \"100ms\", attempts = 200 }\n\
                     breaker = { failures = 1000, pause = \"100ms\" }";

/// A server whose forms are told to all of these, each under its name.
fn telling(worlds: &[(&str, &World)]) -> Server {
    let tables: String = worlds.iter().map(|(name, world)| world.table(name, HASTE)).collect();
    let names: Vec<&str> = worlds.iter().map(|(name, _)| *name).collect();
    Server::start(&format!("{}{tables}", flow(&names)))
}

fn send(server: &Server, token: &str) {
    assert!(server.post("/form", &Form::new(token)).is_accepted());
}

/// All deliveries, newest first.
fn deliveries(server: &Server) -> Vec<Value> {
    let jobs = server.rows(&["jobs", "list", "--limit", "0"]);
    jobs.into_iter().filter(|job| job["kind"] == "deliver").collect()
}

/// Behaves like the first of these at the first request, like the second at the second, and so on.
fn in_turn(acts: impl IntoIterator<Item = Act>) -> World {
    let acts: Vec<Act> = acts.into_iter().collect();
    let asked = AtomicUsize::new(0);
    World::with(move |_| {
        let number = asked.fetch_add(1, Ordering::SeqCst);
        acts.get(number).cloned().unwrap_or_else(|| Act::say(204))
    })
}

#[test]
fn a_header_of_the_config_takes_the_place_of_flowgates_own() {
    let crm = World::well();
    let table = crm.table("crm", "headers = { user-agent = \"text:shop/1\" }");
    let server = Server::start(&format!("{}{table}", flow(&["crm"])));
    assert!(server.post("/form", &Form::new("a")).is_accepted());
    let asked = crm.until_asked(1).remove(0);
    let agents: Vec<&str> =
        asked.headers.iter().filter(|(name, _)| name == "user-agent").map(|(_, value)| value.as_str()).collect();
    assert_eq!(agents, ["shop/1"]);
}

#[test]
fn once_there_is_a_success_whatever_follows_it_changes_nothing() {
    let flood = World::with(|_| Act::Flood);
    let drip = World::with(|_| Act::DripBody);
    let breaks = World::with(|_| Act::Raw("HTTP/1.1 200 So\r\ncontent-length: 100\r\n\r\nhalf"));
    let chunks = World::with(|_| Act::Raw("HTTP/1.1 202 So\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nnonsense"));
    let until_the_end = World::with(|_| Act::Raw("HTTP/1.0 200 So\r\n\r\nas long as it lasts"));
    let patient =
        World::with(|_| Act::Raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 So\r\ncontent-length: 0\r\n\r\n"));
    let worlds = [
        ("flood", &flood),
        ("drip", &drip),
        ("breaks", &breaks),
        ("chunks", &chunks),
        ("until-the-end", &until_the_end),
        ("patient", &patient),
    ];
    let server = telling(&worlds);
    let before = server.process_figure("VmRSS");
    for number in 0..5 {
        send(&server, &format!("form-{number}"));
    }
    server.settled();

    let all = deliveries(&server);
    assert_eq!(all.len(), 5 * worlds.len());
    for delivery in all {
        assert_eq!((&delivery["state"], &delivery["attempts"]), (&"done".into(), &1.into()), "{delivery}");
    }
    for (name, world) in worlds {
        let asked = world.asked();
        assert_eq!(asked.len(), 5, "{name}");
        assert!(asked.iter().all(|asked| asked.path == format!("/hook/{name}") && asked.is_signed_with(SECRET)));
    }
    eventually("the floods are over", || (flood.poured() > 0).then_some(()));
    assert!(flood.poured() < FLOOD_BYTES, "nobody waits for the end of it");
    let grown = server.process_figure("VmHWM").saturating_sub(before);
    assert!(grown < 48 * 1024, "{grown} kB of answers that nobody keeps");
}

#[test]
fn an_answer_that_nobody_asked_for_is_not_taken_for_that_of_the_next_message() {
    const TWO_AT_ONCE: &str =
        "HTTP/1.1 200 So\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 So\r\ncontent-length: 2\r\n\r\nok";
    let world = in_turn([Act::RawAndStay(TWO_AT_ONCE), Act::say(404)]);
    let server = telling(&[("liar", &world)]);
    send(&server, "first");
    server.settled();
    send(&server, "second");
    server.settled();
    let states: Vec<_> = deliveries(&server).into_iter().map(|delivery| delivery["state"].clone()).collect();
    assert_eq!(states, ["dead", "done"], "the second was refused, whatever the first answer went on with");
}

#[test]
fn what_gets_no_answer_is_sent_again_under_the_same_id_until_it_is_taken() {
    let hangs = World::with(|_| Act::Hang);
    let drips = World::with(|_| Act::DripHead);
    let closes = World::with(|_| Act::Close);
    let resets = World::with(|_| Act::Reset);
    let no_http = World::with(|_| Act::Raw("220 mail.example ESMTP ready\r\n"));
    let half = World::with(|_| Act::Raw("HTTP/1.1 20"));
    let slams = World::well();
    slams.receives(Door::Slam);
    let ignores = World::well();
    ignores.receives(Door::Ignore);
    let down = World::down();
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
    let server = telling(&worlds);
    send(&server, "patience");
    eventually("each of them failed twice", || {
        let all = deliveries(&server);
        let failed = |delivery: &Value| delivery["attempts"].as_u64().unwrap() >= 2;
        (all.len() == worlds.len() && all.iter().all(failed)).then_some(())
    });
    for delivery in deliveries(&server) {
        assert!(delivery["state"] != "done" && delivery["state"] != "dead", "{delivery}");
        assert!(delivery["last_error"].as_str().is_some_and(|why| why.contains("127.0.0.1")), "{delivery}");
    }

    for (_, world) in worlds {
        world.recovers();
    }
    down.comes_up();
    server.settled();
    for (name, world) in worlds {
        let taken = world.taken();
        assert_eq!(taken.len(), 1, "{name}");
        let asked = world.asked();
        assert!(asked.iter().all(|one| one.id() == asked[0].id() && one.body == asked[0].body), "{name}: {asked:?}");
        assert!(asked.iter().all(|one| one.is_signed_with(SECRET)), "{name}");
        assert_eq!(asked[0].token(), "patience");
    }
    assert!(deliveries(&server).iter().all(|delivery| delivery["state"] == "done"));
}

#[test]
fn a_refusal_is_a_dead_letter_at_once_with_the_whole_body_and_nobody_is_followed() {
    let trap = World::well();
    let elsewhere = || vec![("location", trap.url())];
    let worlds: Vec<(String, World)> = [301, 308, 400, 402, 404, 422]
        .into_iter()
        .map(|status| {
            let headers = if status < 400 { elsewhere() } else { Vec::new() };
            (format!("says-{status}"), World::with(move |_| Act::Say(status, headers.clone(), "no")))
        })
        .collect();
    let named: Vec<(&str, &World)> = worlds.iter().map(|(name, world)| (name.as_str(), world)).collect();
    let server = telling(&named);
    send(&server, "refused");
    server.settled();

    let dead = server.rows(&["dead", "list", "--limit", "0"]);
    assert_eq!(dead.len(), worlds.len(), "{dead:?}");
    let said = worlds[0].1.asked()[0].json();
    for letter in dead {
        assert_eq!(letter["attempts"], 1, "{letter}");
        let letter = server.row(&["dead", "show", &letter["id"].to_string()]);
        assert!(letter["last_error"].as_str().unwrap().starts_with("answered "), "{letter}");
        assert_eq!(body_of(&letter), said, "the body is there to be sent again");
    }
    assert!(worlds.iter().all(|(_, world)| world.times_asked() == 1));
    assert_eq!(trap.times_asked(), 0, "what was told is not carried to whoever an answer names");
}

/// What a dead letter was to say.
fn body_of(letter: &Value) -> Value {
    let payload = &letter["payload"];
    payload.as_str().map_or_else(|| payload.clone(), |text| serde_json::from_str(text).unwrap())
}

#[test]
fn a_passing_trouble_passes_and_a_redirect_for_now_is_one() {
    let trap = World::well();
    let away = Act::Say(302, vec![("location", trap.url())], "");
    let troubles = [away, Act::say(408), Act::say(409), Act::say(425), Act::say(500), Act::say(502), Act::say(503)];
    let count = troubles.len();
    let world = in_turn(troubles);
    let server = telling(&[("moody", &world)]);
    send(&server, "in-the-end");
    server.settled();
    assert_eq!(world.taken().len(), 1);
    assert_eq!(world.times_asked(), count + 1);
    assert_eq!(deliveries(&server)[0]["attempts"], count + 1);
    assert_eq!(trap.times_asked(), 0);
}

#[test]
fn whoever_asks_for_quiet_gets_it_for_everything_and_each_attempt_is_signed_anew() {
    for (status, seconds) in [(429, true), (503, true), (429, false)] {
        let world = World::with(move |asked| {
            // A date says whole seconds: two of them are more than one.
            let date = (jiff::Timestamp::now() + Duration::from_secs(2)).strftime("%a, %d %b %Y %H:%M:%S GMT");
            let when = if seconds { "1".to_owned() } else { date.to_string() };
            let is_first = asked.token() == "first";
            if is_first { Act::Say(status, vec![("retry-after", when)], "") } else { Act::say(204) }
        });
        let server = telling(&[("busy", &world)]);
        send(&server, "first");
        world.until_asked(1);
        eventually("it is noted", || (deliveries(&server)[0]["attempts"] == 1).then_some(()));
        send(&server, "second");
        let asked = world.until_asked(2);
        let quiet = asked[1].moment.duration_since(asked[0].moment);
        assert!(quiet >= Duration::from_millis(990), "{status}: asked again after {quiet:?}, for {}", asked[1].token());

        world.recovers();
        server.settled();
        let asked = world.asked();
        let first: Vec<_> = asked.iter().filter(|one| one.token() == "first").collect();
        let stamps: Vec<_> = first.iter().map(|one| one.header("webhook-timestamp")).collect();
        assert!(first.len() >= 2 && stamps[0] != stamps[1], "{stamps:?}");
        assert_eq!(first[0].id(), first[1].id());
        assert!(asked.iter().all(|one| one.is_signed_with(SECRET)));
        assert_eq!(world.taken().len(), 2);
    }
}

#[test]
fn credentials_that_are_no_good_stop_the_destination_with_one_alert_and_nothing_is_lost() {
    for status in [401, 403, 407] {
        let (crm, ops) = (World::with(move |_| Act::say(status)), World::well());
        let tables = [crm.table("crm", "retry = { attempts = 1 }"), ops.table("ops", "")].concat();
        let mut server = Server::stopped(&format!("{}{tables}", flow(&["crm"])));
        at_the_top(&server, "alerts = [\"ops\"]");
        server.start_again();
        send(&server, "first");
        let alert = ops.until_asked(1)[0].json();
        assert_eq!(
            (&alert["type"], &alert["data"]["destination"]["name"]),
            (&"destination.stopped".into(), &"crm".into())
        );
        let reason = alert["data"]["destination"]["reason"].as_str().unwrap();
        assert!(reason.starts_with(&format!("answered {status}")), "{reason}");
        for number in 0..10 {
            send(&server, &format!("more-{number}"));
        }
        crm.recovers();
        let hints = server.row(&["status"])["hints"].to_string();
        assert!(hints.contains("destinations resume crm"), "{hints}");
        assert!(server.rows(&["dead", "list"]).is_empty());
        assert_eq!(crm.times_asked(), 1);
        assert_eq!(server.cli(&["destinations", "resume", "crm"]).code, 0);
        assert_eq!(crm.until_taken(11).len(), 11);
        server.settled();
        assert_eq!(ops.times_asked(), 1);
    }
}

#[test]
fn a_destination_that_wants_no_more_is_told_no_more_and_nothing_is_lost() {
    let (gone, witness) = (World::with(|_| Act::say(410)), World::well());
    // One attempt is all it has: also the delivery that heard it waits, and is no dead letter.
    let tables = [gone.table("gone", "retry = { attempts = 1 }"), witness.table("witness", HASTE)].concat();
    let mut server = Server::start(&format!("{}{tables}", flow(&["gone", "witness"])));
    send(&server, "first");
    gone.until_asked(1);
    eventually("it is noted", || {
        deliveries(&server).iter().any(|delivery| delivery["last_error"].is_string()).then_some(())
    });
    for number in 0..20 {
        send(&server, &format!("more-{number}"));
    }
    witness.until_taken(21);
    // It would be well again: nobody but an admin can know that.
    gone.recovers();
    server.kill9();
    server.start_again();
    send(&server, "after");
    witness.until_taken(22);
    assert_eq!(gone.times_asked(), 1);
    eventually("all of them wait, and what the witness took is noted", || {
        let all = deliveries(&server);
        let waiting = all.iter().filter(|delivery| delivery["state"] != "done").count();
        (waiting == 22).then_some(())
    });
    assert!(server.rows(&["dead", "list"]).is_empty());
}
