//! Tests messages to customers through the Cloud API: their texts, the effect of each kind of
//! error, and that no customer gets a message twice after a broken connection.

use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::form::Form;
use crate::support::graph::{Graph, json as answer, refused, taken};
use crate::support::http::signed_post;
use crate::support::user::{self, User};
use crate::support::{BOOKING_FLOW, Server, eventually, in_days};

const TOKEN: &str = "EAAGm0PX4ZCpsBAKZCx";

/// Returns the destination that writes to customers. `more` contains further keys and its messages.
fn thanks(more: &str) -> String {
    format!(
        r#"
[destinations.thanks]
kind = "whatsapp"
phone_number_id = "106540352242922"
access_token = "text:{TOKEN}"
to = "customer"
retry = {{ initial_delay = "10ms", max_delay = "20ms", max_attempts = 9 }}
breaker = {{ failure_threshold = 100 }}
{more}
"#
    )
}

const BOOKED: &str = r#"messages = { "booking.confirmed" = { text = "See you on {booking.date} at {booking.time}, {submission.answers.name}." } }"#;

/// Starts a server that sends booking messages to customers through `graph`.
fn start_server(graph: &Graph, more: &str) -> Server {
    let flow = BOOKING_FLOW.replacen("lead =", "deliver = [\"thanks\"]\nlead =", 1);
    Server::start(&format!(
        "{}{flow}{}",
        graph.meta(),
        thanks(&format!("{more}\n{BOOKED}"))
    ))
}

/// Books a slot for Ann and returns its date.
fn books(server: &Server, token: &str) -> String {
    let date = in_days(3);
    let form = Form::new(token)
        .by("+491511234567")
        .with_slot_request(&date, "09:00");
    assert!(server.post("/visit", &form).is_accepted());
    date
}

/// Returns the deliveries, oldest first.
fn deliveries(server: &Server) -> Vec<Value> {
    let mut jobs = server.rows(&["jobs", "list", "--limit", "0"]);
    jobs.retain(|job| job["kind"] == "deliver");
    jobs.reverse();
    jobs
}

/// Waits until the only delivery is as wanted, and returns its details.
fn delivery(server: &Server, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || {
        let id = deliveries(server).first()?["id"].to_string();
        Some(server.row(&["jobs", "show", &id])).filter(&wanted)
    })
}

fn is(state: &'static str) -> impl Fn(&Value) -> bool {
    move |job| job["state"] == state
}

/// Sends a status of Meta for a message.
fn send_status(server: &Server, mut status: Value) {
    status["timestamp"] = json!("1795590000");
    status["recipient_id"] = json!("491511234567");
    let value = json!({"messaging_product": "whatsapp", "metadata": {"phone_number_id": "1"}, "statuses": [status]});
    let entry = json!([{"id": "1", "changes": [{"field": "messages", "value": value}]}]);
    let body = json!({"object": "whatsapp_business_account", "entry": entry}).to_string();
    let answer = server
        .connect()
        .exchange(&signed_post("/webhook", body.as_bytes()))
        .unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Waits for the first message to `graph` and returns its body.
fn first_sent(graph: &Graph) -> Value {
    eventually("a message is sent", || graph.asked().into_iter().next()).json()
}

#[test]
fn customer_gets_booking_and_delivery_shows_receipt() {
    let graph = Graph::answering(|_| taken("wamid.1"));
    let server = start_server(&graph, "");
    let date = books(&server, "a");
    let job = delivery(&server, "it is delivered", is("done"));
    assert_eq!(
        (&job["message"]["wamid"], &job["message"]["status"]),
        (&json!("wamid.1"), &Value::Null)
    );
    let asked = graph.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        asked[0].line,
        "POST /v26.0/106540352242922/messages HTTP/1.1"
    );
    assert_eq!(
        asked[0].header("authorization"),
        Some(&*format!("Bearer {TOKEN}"))
    );
    let body = asked[0].json();
    assert_eq!(
        (&body["to"], &body["type"]),
        (&json!("+491511234567"), &json!("text"))
    );
    assert_eq!(
        body["text"]["body"],
        format!("See you on {date} at 09:00, Ann.")
    );

    for (status, shown) in [("sent", "sent"), ("read", "read"), ("delivered", "read")] {
        send_status(&server, json!({"id": "wamid.1", "status": status}));
        let job = delivery(&server, "the status is there", |_| true);
        assert_eq!(job["message"]["status"], shown);
    }
}

#[test]
fn expired_token_disables_destination_with_one_alert() {
    let graph = Graph::answering(|_| {
        answer(
            401,
            &json!({"error": {"message": format!("Malformed access token {TOKEN}"), "code": 190}}),
        )
    });
    let ops =
        Graph::answering(|_| b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_vec());
    let flow = BOOKING_FLOW.replacen("lead =", "deliver = [\"thanks\"]\nlead =", 1);
    let alerts = format!(
        "[destinations.ops]\nurl = \"http://{}/\"\nallow_private = true",
        ops.address()
    );
    let server = Server::stopped(&format!(
        "{}{flow}{}\n{alerts}",
        graph.meta(),
        thanks(BOOKED)
    ));
    let file = server.folder().join("config.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("alerts = [\"ops\"]\n{config}")).unwrap();
    let mut server = server;
    server.start_again();

    books(&server, "a");
    let alert = first_sent(&ops);
    assert_eq!(
        (&alert["type"], &alert["data"]["destination"]["name"]),
        (&json!("destination.stopped"), &json!("thanks"))
    );
    let reason = alert["data"]["destination"]["reason"].to_string();
    assert!(
        reason.contains("error 190") && !reason.contains(TOKEN),
        "{reason}"
    );
    let job = delivery(&server, "its attempt is noted", |job| job["attempts"] == 1);
    assert_eq!(job["state"], "scheduled", "it waits");
    assert_eq!(graph.asked().len(), 1);

    books(&server, "b");
    let scheduled = server.rows(&["jobs", "list", "--state", "scheduled"]);
    eventually("the second form is processed", || {
        (server.row(&["status"])["jobs"]["running"] == 0).then_some(())
    });
    assert!(
        scheduled
            .iter()
            .all(|job| job["kind"] != "deliver" || job["attempts"].as_u64() <= Some(1)),
        "{scheduled:?}"
    );
    assert!(
        graph.asked().is_empty() && ops.asked().is_empty(),
        "nothing more is asked, and nobody is alarmed again"
    );
    assert!(!server.log().contains(TOKEN));
    assert!(server.rows(&["dead-letters", "list"]).is_empty());
}

#[test]
fn temporary_errors_are_retried_permanent_become_dead_letters() {
    let trouble = vec![
        refused(500, 131_000),
        refused(400, 131_016),
        refused(503, 2),
        refused(400, 133_004),
        b"HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_vec(),
        taken("wamid.1"),
    ];
    let graph = Graph::answering_in_turn(trouble);
    let server = start_server(&graph, "");
    books(&server, "a");
    assert_eq!(
        delivery(&server, "it is delivered", is("done"))["attempts"],
        6
    );

    for (code, why) in [
        (131_047, "needs a template"),
        (131_026, "the recipient has no WhatsApp"),
        (132_001, "no such template"),
    ] {
        let graph = Graph::answering(move |_| refused(400, code));
        let server = start_server(&graph, "");
        books(&server, "a");
        let job = delivery(&server, "it is dead", is("dead"));
        let output = job["last_error"].as_str().unwrap();
        assert!(
            output.contains(&format!("error {code}")) && output.contains(why),
            "{output}"
        );
        assert_eq!(job["attempts"], 1);
    }
}

#[test]
fn rate_limit_errors_delay_next_attempt() {
    for code in [131_056, 130_429] {
        let graph = Graph::answering_in_turn(vec![refused(400, code), taken("wamid.1")]);
        let server = start_server(&graph, "");
        books(&server, "a");
        let job = delivery(&server, "it is delivered", is("done"));
        assert_eq!(job["attempts"], 2);
        assert!(gap_of(&job) >= 1000, "{code}: {job}");
    }
}

/// Returns the milliseconds between the starts of the first two attempts.
fn gap_of(job: &Value) -> i64 {
    let at = |number: usize| {
        job["attempt_history"][number]["started_at"]
            .as_str()
            .unwrap()
            .parse::<Timestamp>()
            .unwrap()
    };
    at(1).as_millisecond() - at(0).as_millisecond()
}

/// Delay of the body. It exceeds the wait for a body when the status alone decides.
const LATE: Duration = Duration::from_millis(1500);

#[test]
fn late_response_body_is_read_completely() {
    let graph = Graph::answering_slowly(LATE, |_| taken("wamid.1"));
    let server = start_server(&graph, "status_wait = \"100ms\"");
    books(&server, "a");
    let job = delivery(&server, "it is delivered", is("done"));
    assert_eq!(
        (&job["message"]["wamid"], &job["attempts"]),
        (&json!("wamid.1"), &json!(1))
    );
    assert_eq!(graph.asked().len(), 1, "the customer reads it once");

    let graph = Graph::answering_slowly(LATE, |_| refused(400, 190));
    let server = start_server(&graph, "");
    books(&server, "a");
    let stopped = eventually("the destination is stopped", || {
        server
            .rows(&["destinations", "list"])
            .into_iter()
            .find(|row| row["state"] == "disabled")
    });
    assert!(
        stopped["disabled_reason"]
            .as_str()
            .unwrap()
            .contains("error 190"),
        "{stopped}"
    );
    assert!(server.rows(&["dead-letters", "list"]).is_empty());
}

#[test]
fn incomplete_response_leaves_message_unconfirmed() {
    let whole = String::from_utf8(taken("wamid.1")).unwrap();
    let (head, body) = whole.split_once("\r\n\r\n").unwrap();
    for status in ["200", "400"] {
        let broken = format!("{}\r\n\r\n{}", head.replacen("200", status, 1), &body[..10]);
        let graph = Graph::answering(move |_| broken.clone().into_bytes());
        let server = start_server(&graph, "");
        books(&server, "a");
        let sent = first_sent(&graph);
        let job = delivery(&server, "the attempt is noted", |job| job["attempts"] == 1);
        assert_eq!(
            (&job["state"], &job["message"]["status"]),
            (&json!("scheduled"), &json!("unknown")),
            "{status}"
        );
        assert!(
            job["last_error"]
                .as_str()
                .unwrap()
                .ends_with("but the response is incomplete"),
            "{job}"
        );
        let callback = &sent["biz_opaque_callback_data"];
        send_status(
            &server,
            json!({"id": "wamid.1", "status": "sent", "biz_opaque_callback_data": callback}),
        );
        assert_eq!(
            delivery(&server, "the status settles it", is("done"))["attempts"],
            1
        );
        assert!(graph.asked().is_empty(), "sent once");
    }
}

#[test]
fn complete_json_counts_despite_wrong_content_length() {
    let whole = String::from_utf8(taken("wamid.1")).unwrap();
    let longer = whole.replacen("content-length: ", "content-length: 9", 1);
    let graph = Graph::answering(move |_| longer.clone().into_bytes());
    let server = start_server(&graph, "status_wait = \"100ms\"");
    books(&server, "a");
    let job = delivery(&server, "it is delivered", is("done"));
    assert_eq!(
        (&job["message"]["wamid"], &job["attempts"]),
        (&json!("wamid.1"), &json!(1))
    );
    assert_eq!(graph.asked().len(), 1, "the customer reads it once");
}

#[test]
fn message_confirmed_by_status_is_sent_once() {
    let graph = Graph::answering_in_turn(vec![Vec::new(), taken("wamid.2")]);
    let server = start_server(&graph, "");
    books(&server, "a");
    let sent = first_sent(&graph);
    let job = delivery(&server, "the break is noted", |job| job["attempts"] == 1);
    assert_eq!(
        (&job["state"], &job["message"]["status"]),
        (&json!("scheduled"), &json!("unknown"))
    );
    let callback = &sent["biz_opaque_callback_data"];
    send_status(
        &server,
        json!({"id": "wamid.1", "status": "sent", "biz_opaque_callback_data": callback}),
    );
    let job = delivery(&server, "the status settles it", is("done"));
    assert_eq!(
        (
            &job["message"]["wamid"],
            &job["attempts"],
            &job["last_error"]
        ),
        (&json!("wamid.1"), &json!(1), &Value::Null)
    );
    assert!(graph.asked().is_empty(), "sent once");
}

#[test]
fn message_without_status_is_resent_after_wait() {
    let graph = Graph::answering_in_turn(vec![Vec::new(), taken("wamid.2")]);
    let server = start_server(&graph, "status_wait = \"700ms\"\ntimeout = \"300ms\"");
    books(&server, "a");
    let job = delivery(&server, "it is delivered", is("done"));
    assert_eq!(
        (&job["message"]["wamid"], &job["attempts"]),
        (&json!("wamid.2"), &json!(2))
    );
    assert!(gap_of(&job) >= 1000, "{job}");
    let keys: Vec<_> = graph
        .asked()
        .iter()
        .map(|asked| asked.json()["biz_opaque_callback_data"].clone())
        .collect();
    assert_eq!(keys[0], keys[1], "both are this delivery's");
}

#[test]
fn unconfirmed_message_respects_retry_delay() {
    let graph = Graph::answering_in_turn(vec![Vec::new(), taken("wamid.2")]);
    let flow = BOOKING_FLOW.replacen("lead =", "deliver = [\"thanks\"]\nlead =", 1);
    let thanks = thanks(&format!(
        "status_wait = \"100ms\"\ntimeout = \"300ms\"\n{BOOKED}"
    ));
    let thanks = thanks.replace(
        "initial_delay = \"10ms\", max_delay = \"20ms\"",
        "initial_delay = \"3s\", max_delay = \"3s\"",
    );
    let server = Server::start(&format!("{}{flow}{thanks}", graph.meta()));
    books(&server, "a");
    let job = delivery(&server, "it is delivered", is("done"));
    // Half of the delay is random.
    assert!(gap_of(&job) >= 1500, "{job}");
}

#[test]
fn kill_during_sending_waits_for_status() {
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let graph = Graph::answering(move |_| {
        let _ = wait.lock().unwrap().recv();
        taken("wamid.2")
    });
    let mut server = start_server(&graph, "");
    books(&server, "a");
    let sent = first_sent(&graph);
    server.kill9();
    drop(go_on);
    server.start_again();
    let job = delivery(&server, "it waits", |job| {
        job["message"]["unknown_until"] == job["due_at"]
    });
    assert_eq!(
        (&job["state"], &job["attempts"]),
        (&json!("scheduled"), &json!(0))
    );
    let callback = &sent["biz_opaque_callback_data"];
    send_status(
        &server,
        json!({"id": "wamid.1", "status": "delivered", "biz_opaque_callback_data": callback}),
    );
    assert_eq!(
        delivery(&server, "the status settles it", is("done"))["attempts"],
        1
    );
    assert!(graph.asked().is_empty(), "sent once");
}

#[test]
fn failed_status_turns_message_into_dead_letter() {
    let graph = Graph::answering(|_| taken("wamid.1"));
    let server = start_server(&graph, "");
    books(&server, "a");
    delivery(&server, "it is delivered", is("done"));
    send_status(
        &server,
        json!({"id": "wamid.1", "status": "failed", "errors": [{"code": 131_049, "title": "Not delivered"}]}),
    );
    let job = delivery(&server, "it is dead", is("dead"));
    assert_eq!(job["message"]["status"], "failed");
    assert!(
        job["last_error"]
            .as_str()
            .unwrap()
            .starts_with("failed after acceptance: error 131049"),
        "{job}"
    );
}

const ENCRYPTED: &str = r#"
[flows.home]
path = "/home"
encryption = "required"
private_keys = ["file:key.pem"]
deliver = ["thanks"]
screens = [{ name = "LAST", final = true, fields = { name = {} } }]
"#;

const THANKED: &str =
    r#"messages = { "submission.accepted" = { text = "Thank you, {submission.answers.name}." } }"#;

/// Starts a server with an encrypted flow and sends Ann's form.
fn start_with_form(graph: &Graph, more: &str) -> Server {
    let server = user::server(&format!(
        "{}{ENCRYPTED}{}",
        graph.meta(),
        thanks(&format!("{more}\n{THANKED}"))
    ));
    User {
        server: &server,
        path: "/home",
        token: "ann",
    }
    .sends("LAST", &json!({"name": "Ann"}));
    server
}

#[test]
fn customer_identified_later_gets_message() {
    let graph = Graph::answering(|_| taken("wamid.1"));
    let server = start_with_form(&graph, "");
    let job = delivery(&server, "it waits", |job| {
        job["due_at"] != job["created_at"]
    });
    assert_eq!(
        (&job["state"], &job["attempts"]),
        (&json!("scheduled"), &json!(0))
    );
    let reply = json!({"name": "flow", "body": "Sent", "response_json": json!({"flow_token": "ann"}).to_string()});
    let message = json!({"from_user_id": "DE.1349", "id": "wamid.in", "timestamp": "1767225601",
        "type": "interactive", "interactive": {"type": "nfm_reply", "nfm_reply": reply}});
    let value = json!({"messaging_product": "whatsapp", "metadata": {"phone_number_id": "1"}, "messages": [message]});
    let entry = json!([{"id": "1", "changes": [{"field": "messages", "value": value}]}]);
    let body = json!({"object": "whatsapp_business_account", "entry": entry}).to_string();
    assert_eq!(
        server
            .connect()
            .exchange(&signed_post("/webhook", body.as_bytes()))
            .unwrap()
            .status,
        200
    );
    delivery(&server, "it is delivered", is("done"));
    let sent = graph.asked()[0].json();
    assert_eq!(
        (&sent["recipient"], &sent["to"]),
        (&json!("DE.1349"), &Value::Null)
    );
    assert_eq!(sent["text"]["body"], "Thank you, Ann.");
}

#[test]
fn message_to_unidentified_customer_becomes_dead_letter() {
    let graph = Graph::answering(|_| taken("wamid.1"));
    let server = start_with_form(&graph, "customer_wait = \"300ms\"");
    let job = delivery(&server, "it is dead", is("dead"));
    assert!(
        job["last_error"]
            .as_str()
            .unwrap()
            .starts_with("the customer is unknown"),
        "{job}"
    );
    assert!(graph.asked().is_empty());
}
