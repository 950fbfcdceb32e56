//! An owner and an agent subscribe to their appointments in a calendar program.

use serde_json::Value;

use crate::support::form::Form;
use crate::support::http::post;
use crate::support::{BOOKING_FLOW, Server, in_days};

/// Sends `GET path` with an `If-None-Match` header. Returns the status, the tag and the body.
fn fetch(server: &Server, path: &str, known: &str) -> (u16, String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nif-none-match: {known}\r\n\r\n");
    let answer = server.connect().exchange(request.as_bytes()).unwrap();
    let tag = answer.header("etag").unwrap_or_default().to_owned();
    (answer.status, tag, answer.text().to_owned())
}

fn path_of(row: &Value) -> String {
    row["path"].as_str().unwrap().to_owned()
}

#[test]
fn bookings_appear_in_feeds_under_secret_addresses() {
    let server = Server::start(BOOKING_FLOW);
    server.add_agent("Zoe", &["--max", "1"]);
    let day = in_days(3);
    for (token, time) in [("a", "10:00"), ("b", "11:00")] {
        let visit = Form::new(token)
            .by("+491511111111")
            .with("name", "Ann; \"the\" first, née O\\Hara\nBEGIN:VEVENT")
            .with_slot_request(&day, time);
        assert!(server.post("/visit", &visit).is_accepted());
        server.settled();
    }
    let path = path_of(&server.row(&["calendars", "feed", "chair"]));
    let (status, tag, body) = fetch(&server, &path, "");
    assert_eq!(status, 200);
    assert_eq!(body.matches("\r\nBEGIN:VEVENT\r\n").count(), 2, "{body}");
    assert!(body.split("\r\n").all(|line| line.len() <= 75), "{body}");
    let unfolded = body.replace("\r\n ", "");
    let summary = "SUMMARY:Ann\\; \"the\" first\\, née O\\\\Hara\\nBEGIN:VEVENT\r\n";
    assert!(unfolded.contains(summary), "{unfolded}");
    assert!(unfolded.contains("phone: +491511111111"), "{unfolded}");
    let known = fetch(&server, &path, &tag);
    assert_eq!(
        (known.0, known.2.as_str()),
        (304, ""),
        "nothing has changed"
    );

    // The agent has the first lead only.
    let agents = path_of(&server.row(&["agents", "feed", "Zoe"]));
    let (_, _, theirs) = fetch(&server, &agents, "");
    assert_eq!(
        theirs.matches("\r\nBEGIN:VEVENT\r\n").count(),
        1,
        "{theirs}"
    );

    // A move keeps the ID, and a cancellation is visible.
    let uids = |body: &str| {
        let lines = body.split("\r\n").filter(|line| line.starts_with("UID:"));
        let mut uids: Vec<String> = lines.map(str::to_owned).collect();
        uids.sort();
        uids
    };
    let bookings = server.rows(&["bookings"]);
    let id = bookings[0]["id"].to_string();
    server.row(&["bookings", "move", &id, &day, "14:00"]);
    server.row(&["bookings", "cancel", &bookings[1]["id"].to_string()]);
    let (status, _, moved) = fetch(&server, &path, &tag);
    assert_eq!((status, uids(&moved)), (200, uids(&body)));
    assert!(moved.contains("STATUS:CANCELLED") && moved.contains("STATUS:CONFIRMED"));
    // Without a higher number, a calendar program may keep the old time.
    assert_eq!(body.matches("SEQUENCE:0").count(), 2, "{body}");
    assert_eq!(moved.matches("SEQUENCE:1").count(), 2, "{moved}");
}

#[test]
fn only_the_current_secret_address_shows_bookings() {
    let mut server = Server::start(BOOKING_FLOW);
    server.add_agent("Zoe", &[]);
    let path = path_of(&server.row(&["calendars", "feed", "chair"]));
    let agents = path_of(&server.row(&["agents", "feed", "Zoe"]));
    for current in [&path, &agents] {
        assert!(current.starts_with("/ical/"), "{current}");
        assert_eq!(fetch(&server, current, "").0, 200);
    }
    for wrong in [
        "/ical/x.ics",
        "/ical/",
        "/ical/0000000000000000000000000000000000000000.ics",
    ] {
        assert_eq!(fetch(&server, wrong, "").0, 404, "{wrong}");
    }
    let refused = server.connect().exchange(&post(&path, &[], b"{}")).unwrap();
    assert_eq!(refused.status, 405);
    let new = path_of(&server.row(&["calendars", "feed", "chair"]));
    assert_eq!(
        fetch(&server, &path, "").0,
        404,
        "the old address is invalid"
    );
    let calendars = server.rows(&["calendars"]);
    assert!(calendars[0]["feed_since"].is_string(), "{calendars:?}");
    server.stop();
    server.start_again();
    assert_eq!(fetch(&server, &new, "").0, 200, "it outlives a restart");
    server.row(&["calendars", "feed", "chair", "--revoke"]);
    assert_eq!(fetch(&server, &new, "").0, 404);
    assert_eq!(
        server.cli(&["calendars", "feed", "chair", "--revoke"]).code,
        3
    );
    assert_eq!(server.cli(&["calendars", "feed", "chiar"]).code, 3);
    assert_eq!(server.cli(&["agents", "feed", "Bob"]).code, 3);
    for secret in [&path, &new, &agents] {
        assert!(
            !server.log().contains(&secret[6..46]),
            "the log shows no secret"
        );
    }
    assert_eq!(server.cli(&["check"]).code, 0);
}
