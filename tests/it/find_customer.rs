//! An admin finds the form of a customer by whatever the customer knows, and an owner sees who
//! comes tomorrow.

use serde_json::{Value, json};

use crate::support::form::Form;
use crate::support::graph::{Graph, taken};
use crate::support::http::{SECRET, post, signature};
use crate::support::{BOOKING_FLOW, Server, eventually, in_days};

const THANKS: &str = r#"
[destinations.thanks]
kind = "whatsapp"
phone_number_id = "106540352242922"
access_token = "text:EAAGm0PX4ZCpsBAKZCx"
to = "customer"
messages = { "booking.confirmed" = { text = "See you on {booking.date}." } }
"#;

/// Starts a server whose customers get a message for each booking.
fn start_server(graph: &Graph) -> Server {
    let flow = BOOKING_FLOW.replacen("lead =", "deliver = [\"thanks\"]\nlead =", 1);
    let server = Server::start(&format!("{}{flow}{THANKS}", graph.meta()));
    server.add_agent("Zoe", &[]);
    server
}

/// Books a slot in `days` days for a person.
fn book(server: &Server, token: &str, name: &str, phone: &str, days: i64) -> String {
    let date = in_days(days);
    let form = Form::new(token)
        .by(phone)
        .with("name", name)
        .with("car", "Polo")
        .with_slot_request(&date, "09:00");
    assert!(server.post("/visit", &form).is_accepted());
    date
}

/// Sends a signed body to `/webhook`.
fn send_webhook(server: &Server, value: &Value) {
    let body = json!({"entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]});
    let body = body.to_string();
    let signature = signature(SECRET, body.as_bytes());
    let headers = [
        ("content-type", "application/json"),
        ("x-hub-signature-256", signature.as_str()),
    ];
    let request = post("/webhook", &headers, body.as_bytes());
    let answer = server.connect().exchange(&request).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Returns the kinds of the steps of `submission`.
fn steps(timeline: &[Value], submission: u64) -> Vec<&str> {
    let of_submission = timeline
        .iter()
        .filter(|step| step["submission_id"] == submission);
    of_submission
        .map(|step| step["kind"].as_str().unwrap())
        .collect()
}

/// Asserts what the steps of the booked form say, and that they are in order.
fn assert_story(timeline: &[Value]) {
    let texts: Vec<&str> = timeline
        .iter()
        .map(|step| step["text"].as_str().unwrap())
        .collect();
    let all = texts.join("\n");
    for part in [
        "accepted and stored, by the plain path of the flow, flow token t-1",
        "Meta's signature was valid",
        "booking 1:",
        "lead 1 assigned to Zoe: fewest open leads by weight",
        "to thanks, attempt 1 succeeded: HTTP 200",
        "wamid.out is on the phone of the customer",
    ] {
        assert!(all.contains(part), "{part}: {all}");
    }
    let times: Vec<&str> = timeline
        .iter()
        .filter(|step| step["kind"] != "receipt")
        .map(|step| step["at"].as_str().unwrap())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
}

/// Asserts that IDs without a meaning are refused with a suggestion.
fn assert_refusals(server: &Server) {
    for (id, code, text) in [
        ("nobody", 3, "flowgate customers find"),
        ("job:99", 3, "nothing stored"),
        ("job:x", 2, "job:12"),
        ("", 2, "is empty"),
    ] {
        let refused = server.cli(&["trace", id]);
        assert_eq!(refused.code, code, "{id}: {refused:?}");
        assert!(refused.err.contains(text), "{id}: {}", refused.err);
    }
}

#[test]
fn trace_shows_form_from_receipt_to_receipt_of_message() {
    let graph = Graph::answering(|_| taken("wamid.out"));
    let mut server = start_server(&graph);
    book(&server, "t-1", "Ann Lee", "+491511234567", 3);
    eventually("the message is sent", || {
        (graph.asked().len() == 1 && server.settled()["jobs"]["scheduled"] == 0).then_some(())
    });
    let status = json!({"id": "wamid.out", "status": "delivered", "timestamp": "1795507200",
        "recipient_id": "491511234567"});
    send_webhook(
        &server,
        &json!({"metadata": {"phone_number_id": "1"}, "statuses": [status]}),
    );

    let expected = [
        "received",
        "signature",
        "booking",
        "event",
        "attempt",
        "lead",
        "lead",
        "attempt",
        "receipt",
    ];
    let mut sorted = expected;
    sorted.sort_unstable();
    let timeline = eventually("Meta's status is stored", || {
        let timeline = server.rows(&["trace", "+49 151 1234567"]);
        (timeline.len() == expected.len()).then_some(timeline)
    });
    let mut kinds = steps(&timeline, 1);
    kinds.sort_unstable();
    assert_eq!(kinds, sorted, "{timeline:#?}");
    assert_story(&timeline);

    // Each ID leads to the same timeline, also on the file of the stopped server.
    let delivery = timeline
        .iter()
        .find(|step| step["kind"] == "event")
        .map(|step| step["job_id"].to_string())
        .unwrap();
    let webhook_id = server.row(&["deliveries", "show", &delivery])["webhook_id"].clone();
    let ids = [
        "t-1",
        "token:t-1",
        "wamid.out",
        "submission:1",
        "job:1",
        "lead:1",
        "booking:1",
        "0151 1234567",
        webhook_id.as_str().unwrap(),
        &format!("delivery:{delivery}"),
    ];
    let trace = |server: &Server| ids.map(|id| steps(&server.rows(&["trace", id]), 1).len());
    assert_eq!(trace(&server), [expected.len(); 10], "{ids:?}");
    server.stop();
    assert_eq!(trace(&server), [expected.len(); 10], "{ids:?}");
    let table = server.cli(&["trace", "1"]);
    assert_eq!(table.code, 0, "{table:?}");
    assert!(
        table.out.contains("(booking 1, job 1, lead 1)"),
        "{}",
        table.out
    );
    // The calendar is in Berlin, so people read times of Berlin.
    assert!(table.out.contains(" CE"), "{}", table.out);

    assert_refusals(&server);
}

#[test]
fn customer_is_found_by_number_name_and_answer() {
    let graph = Graph::answering(|_| taken("wamid.out"));
    let mut server = start_server(&graph);
    book(&server, "t-1", "Ann Lee", "+491511234567", 3);
    book(&server, "t-2", "Bob", "+491511234568", 3);
    book(&server, "t-3", "Ann Lee", "+491511234567", 4);
    eventually("everything is processed", || {
        let settled = server.settled();
        (settled["jobs"]["scheduled"] == 0 && settled["leads"]["open"] == 3).then_some(())
    });
    server.stop();

    let find = |text: &str| {
        let rows = server.rows(&["customers", "find", text]);
        let names = rows.iter().map(|row| {
            let name = row["name"].as_str().unwrap();
            format!("{name} {}", row["submission_id"])
        });
        names.collect::<Vec<_>>()
    };
    assert_eq!(find("ann l"), ["Ann Lee 3"]);
    assert_eq!(find("(0151) 1234568"), ["Bob 2"]);
    assert_eq!(find("polo"), ["Ann Lee 3", "Bob 2"]);
    assert_eq!(find("123456"), ["Ann Lee 3", "Bob 2"]);
    assert_eq!(find("Charlie"), Vec::<String>::new());
    assert_eq!(server.rows(&["customers", "--limit", "1"]).len(), 1);

    let ann = server.row(&["customers", "show", "+49 151 1234567"]);
    let count = |list: &str| ann[list].as_array().unwrap().len();
    let counts = ["submissions", "bookings", "leads", "deliveries", "drafts"].map(count);
    assert_eq!(counts, [2, 2, 2, 2, 0], "{ann:#}");
    assert_eq!(ann["known_as"], json!(["491511234567"]));
    assert_eq!(ann["name"], "Ann Lee");
    assert!(ann["incomplete"].is_null());
    let shown = server.cli(&["customers", "show", "491511234567"]);
    assert!(
        shown.out.contains("Ann Lee") && shown.out.contains("CET") || shown.out.contains("CEST")
    );

    let unknown = server.cli(&["customers", "show", "+49 151 999"]);
    assert_eq!(unknown.code, 3, "{unknown:?}");
    let cut_off = server.cli(&["customers", "find", "nobody", "--scan", "1"]);
    assert_eq!(cut_off.code, 0, "all rows are in one slice: {cut_off:?}");
    assert_eq!(server.cli(&["customers", "find", " "]).code, 2);
}

#[test]
fn owner_sees_who_comes_on_a_day() {
    let graph = Graph::answering(|_| taken("wamid.out"));
    let server = start_server(&graph);
    let day = book(&server, "t-1", "Ann Lee", "+491511234567", 3);
    book(&server, "t-2", "Bob", "+491511234568", 3);
    book(&server, "t-3", "Cleo", "+491511234569", 4);
    server.row(&["bookings", "cancel", "2"]);

    let names = |args: &[&str]| {
        let rows = server.rows(&[&["bookings"], args].concat());
        let names = rows
            .iter()
            .map(|row| row["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&["--date", &day]), ["Ann Lee"]);
    assert_eq!(names(&["--date", &day, "--calendar", "chair"]), ["Ann Lee"]);
    assert_eq!(names(&["--date", &day, "--state", "cancelled"]), ["Bob"]);
    let range = format!("{day}..{}", in_days(4));
    assert_eq!(names(&["--date", &range]), ["Ann Lee", "Cleo"], "by time");
    assert_eq!(names(&["--date", "yesterday"]), Vec::<String>::new());
    assert_eq!(names(&[]), ["Cleo", "Bob", "Ann Lee"], "newest first");

    let table = server.cli(&["bookings", "--date", &day]);
    assert!(table.out.contains("Ann Lee"), "{}", table.out);
    assert!(table.out.contains("491511234567"), "{}", table.out);
    let slots = server.rows(&["slots", "--date", &day, "--calendar", "chair"]);
    assert!(
        slots
            .iter()
            .all(|slot| slot["date"] == day.as_str() && slot["timezone"] == "Europe/Berlin")
    );
    assert_eq!(slots[0]["taken"], 1);

    for (args, code, text) in [
        (["--date", "someday"], 2, "tomorrow"),
        (["--date", "2026-12-02..2026-12-01"], 2, "before the first"),
        (["--calendar", "sofa"], 3, "the config has chair"),
    ] {
        let refused = server.cli(&[&["bookings"], args.as_slice()].concat());
        assert_eq!(refused.code, code, "{args:?}: {refused:?}");
        assert!(refused.err.contains(text), "{args:?}: {}", refused.err);
    }
}
