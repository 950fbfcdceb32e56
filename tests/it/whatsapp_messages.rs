//! Messages to customers through the Cloud API: what they say, what each kind of error leads to, and that no customer is told
//! twice where a connection breaks.

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

/// The destination that writes to customers. `more` goes into its table, which its messages end.
fn thanks(more: &str) -> String {
    format!(
        r#"
[destinations.thanks]
kind = "whatsapp"
phone_number_id = "106540352242922"
access_token = "text:{TOKEN}"
to = "customer"
retry = {{ first = "10ms", ceiling = "20ms", attempts = 9 }}
breaker = {{ failures = 100 }}
{more}
"#
    )
}

const BOOKED: &str = r#"messages = { "booking.confirmed" = { text = "See you on {booking.date} at {booking.time}, {submission.answers.name}." } }"#;

/// A server whose customers hear of their bookings from `graph`.
fn telling(graph: &Graph, more: &str) -> Server {
    let flow = BOOKING_FLOW.replacen("lead =", "deliver = [\"thanks\"]\nlead =", 1);
    Server::start(&format!("{}{flow}{}", graph.meta(), thanks(&format!("{more}\n{BOOKED}"))))
}

/// Ann books; gives the day.
fn books(server: &Server, token: &str) -> String {
    let date = in_days(3);
    let form = Form::new(token).by("+491511234567").wishing(&date, "09:00");
    assert!(server.post("/visit", &form).is_accepted());
    date
}

/// The deliveries, oldest first.
fn deliveries(server: &Server) -> Vec<Value> {
    let mut jobs = server.rows(&["jobs", "list", "--limit", "0"]);
    jobs.retain(|job| job["kind"] == "deliver");
    jobs.reverse();
    jobs
}

/// The only delivery, once it is as wanted, with all that is known of it.
fn delivery(server: &Server, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || {
        let id = deliveries(server).first()?["id"].to_string();
        Some(server.row(&["jobs", "show", &id])).filter(&wanted)
    })
}

fn is(state: &'static str) -> impl Fn(&Value) -> bool {
    move |job| job["state"] == state
}

/// Meta says what became of a message.
fn hears(server: &Server, mut status: Value) {
    status["timestamp"] = json!("1795590000");
    status["recipient_id"] = json!("491511234567");
    let value = json!({"messaging_product": "whatsapp", "metadata": {"phone_number_id": "1"}, "statuses": [status]});
    let entry = json!([{"id": "1", "changes": [{"field": "messages", "value": value}]}]);
    let body = json!({"object": "whatsapp_business_account", "entry": entry}).to_string();
    let answer = server.connect().exchange(&signed_post("/webhook", body.as_bytes())).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// What the first message to `graph` was sent with, once there is one.
fn first_sent(graph: &Graph) -> Value {
    eventually("a message is sent", || graph.asked().into_iter().next()).json()
}

#[test]
fn a_customer_reads_of_their_booking_and_the_delivery_shows_how_far_that_came() {
    let graph = Graph::answering(|_| taken("wamid.1"));
    let server = telling(&graph, "");
    let date = books(&server, "a");
    let job = delivery(&server, "it is delivered", is("done"));
    assert_eq!((&job["message"]["wamid"], &job["message"]["status"]), (&json!("wamid.1"), &Value::Null));
    let asked = graph.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].line, "POST /v26.0/106540352242922/messages HTTP/1.1");
    assert_eq!(asked[0].header("authorization"), Some(&*format!("Bearer {TOKEN}")));
    let body = asked[0].json();
    assert_eq!((&body["to"], &body["type"]), (&json!("+491511234567"), &json!("text")));
    assert_eq!(body["text"]["body"], format!("See you on {date} at 09:00, Ann."));

    for (status, shown) in [("sent", "sent"), ("read", "read"), ("delivered", "read")] {
        hears(&server, json!({"id": "wamid.1", "status": status}));
        let job = delivery(&server, "the status is there", |_| true);
        assert_eq!(job["message"]["status"], shown);
    }
}

#[test]
fn a_token_that_has_ended_stops_the_destination_with_one_alert_and_no_dead_letter() {
    let graph = Graph::answering(|_| {
        answer(401, &json!({"error": {"message": format!("Malformed access token {TOKEN}"), "code": 190}}))
    });
    let ops = Graph::answering(|_| b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_vec());
    let flow = BOOKING_FLOW.replacen("lead =", "deliver = [\"thanks\"]\nlead =", 1);
    let alerts = format!("[destinations.ops]\nurl = \"http://{}/\"\nallow_private = true", ops.address());
    let server = Server::stopped(&format!("{}{flow}{}\n{alerts}", graph.meta(), thanks(BOOKED)));
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
    assert!(reason.contains("error 190") && !reason.contains(TOKEN), "{reason}");
    let job = delivery(&server, "its attempt is noted", |job| job["attempts"] == 1);
    assert_eq!(job["state"], "scheduled", "it waits");
    assert_eq!(graph.asked().len(), 1);

    books(&server, "b");
    let told = server.rows(&["jobs", "list", "--state", "scheduled"]);
    eventually("the second form is processed", || (server.row(&["status"])["jobs"]["running"] == 0).then_some(()));
    assert!(told.iter().all(|job| job["kind"] != "deliver" || job["attempts"].as_u64() <= Some(1)), "{told:?}");
    assert!(graph.asked().is_empty() && ops.asked().is_empty(), "nothing more is asked, and nobody is alarmed again");
    assert!(!server.log().contains(TOKEN));
    assert!(server.rows(&["dead", "list"]).is_empty());
}

#[test]
fn what_may_pass_is_tried_again_and_what_may_not_is_a_dead_letter() {
    let trouble = vec![
        refused(500, 131_000),
        refused(400, 131_016),
        refused(503, 2),
        refused(400, 133_004),
        b"HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_vec(),
        taken("wamid.1"),
    ];
    let graph = Graph::answering_in_turn(trouble);
    let server = telling(&graph, "");
    books(&server, "a");
    assert_eq!(delivery(&server, "it is delivered", is("done"))["attempts"], 6);

    for (code, why) in [(131_047, "needs a template"), (131_026, "no WhatsApp there"), (132_001, "no such template")] {
        let graph = Graph::answering(move |_| refused(400, code));
        let server = telling(&graph, "");
        books(&server, "a");
        let job = delivery(&server, "it is dead", is("dead"));
        let said = job["last_error"].as_str().unwrap();
        assert!(said.contains(&format!("error {code}")) && said.contains(why), "{said}");
        assert_eq!(job["attempts"], 1);
    }
}

#[test]
fn limits_delay_this_message_or_the_destination() {
    for code in [131_056, 130_429] {
        let graph = Graph::answering_in_turn(vec![refused(400, code), taken("wamid.1")]);
        let server = telling(&graph, "");
        books(&server, "a");
        let job = delivery(&server, "it is delivered", is("done"));
        assert_eq!(job["attempts"], 2);
        assert!(gap_of(&job) >= 1000, "{code}: {job}");
    }
}

/// Milliseconds between the beginnings of the first two attempts.
fn gap_of(job: &Value) -> i64 {
    let at = |number: usize| job["history"][number]["started_at"].as_str().unwrap().parse::<Timestamp>().unwrap();
    at(1).as_millisecond() - at(0).as_millisecond()
}

/// Longer than the status alone is waited for.
const LATE: Duration = Duration::from_millis(1500);

#[test]
fn an_answer_whose_body_comes_late_is_read_to_its_end() {
    let graph = Graph::answering_slowly(LATE, |_| taken("wamid.1"));
    let server = telling(&graph, "status_wait = \"100ms\"");
    books(&server, "a");
    let job = delivery(&server, "it is delivered", is("done"));
    assert_eq!((&job["message"]["wamid"], &job["attempts"]), (&json!("wamid.1"), &json!(1)));
    assert_eq!(graph.asked().len(), 1, "the customer reads it once");

    let graph = Graph::answering_slowly(LATE, |_| refused(400, 190));
    let server = telling(&graph, "");
    books(&server, "a");
    let stopped = eventually("the destination is stopped", || {
        server.rows(&["destinations", "list"]).into_iter().find(|row| row["state"] == "disabled")
    });
    assert!(stopped["disabled_reason"].as_str().unwrap().contains("error 190"), "{stopped}");
    assert!(server.rows(&["dead", "list"]).is_empty());
}

#[test]
fn an_answer_that_does_not_come_whole_says_nothing_about_the_message() {
    let whole = String::from_utf8(taken("wamid.1")).unwrap();
    let (head, body) = whole.split_once("\r\n\r\n").unwrap();
    for status in ["200", "400"] {
        let broken = format!("{}\r\n\r\n{}", head.replacen("200", status, 1), &body[..10]);
        let graph = Graph::answering(move |_| broken.clone().into_bytes());
        let server = telling(&graph, "");
        books(&server, "a");
        let sent = first_sent(&graph);
        let job = delivery(&server, "the attempt is noted", |job| job["attempts"] == 1);
        assert_eq!((&job["state"], &job["message"]["status"]), (&json!("scheduled"), &json!("unknown")), "{status}");
        assert!(job["last_error"].as_str().unwrap().ends_with("the rest of the answer did not come"), "{job}");
        let callback = &sent["biz_opaque_callback_data"];
        hears(&server, json!({"id": "wamid.1", "status": "sent", "biz_opaque_callback_data": callback}));
        assert_eq!(delivery(&server, "the status settles it", is("done"))["attempts"], 1);
        assert!(graph.asked().is_empty(), "sent once");
    }
}

#[test]
fn an_answer_that_is_complete_counts_though_its_framing_promises_more() {
    let whole = String::from_utf8(taken("wamid.1")).unwrap();
    let longer = whole.replacen("content-length: ", "content-length: 9", 1);
    let graph = Graph::answering(move |_| longer.clone().into_bytes());
    let server = telling(&graph, "status_wait = \"100ms\"");
    books(&server, "a");
    let job = delivery(&server, "it is delivered", is("done"));
    assert_eq!((&job["message"]["wamid"], &job["attempts"]), (&json!("wamid.1"), &json!(1)));
    assert_eq!(graph.asked().len(), 1, "the customer reads it once");
}

#[test]
fn a_message_that_a_status_proves_is_not_sent_twice() {
    let graph = Graph::answering_in_turn(vec![Vec::new(), taken("wamid.2")]);
    let server = telling(&graph, "");
    books(&server, "a");
    let sent = first_sent(&graph);
    let job = delivery(&server, "the break is noted", |job| job["attempts"] == 1);
    assert_eq!((&job["state"], &job["message"]["status"]), (&json!("scheduled"), &json!("unknown")));
    let callback = &sent["biz_opaque_callback_data"];
    hears(&server, json!({"id": "wamid.1", "status": "sent", "biz_opaque_callback_data": callback}));
    let job = delivery(&server, "the status settles it", is("done"));
    assert_eq!(
        (&job["message"]["wamid"], &job["attempts"], &job["last_error"]),
        (&json!("wamid.1"), &json!(1), &Value::Null)
    );
    assert!(graph.asked().is_empty(), "sent once");
}

#[test]
fn a_message_of_which_no_status_tells_is_sent_again_after_the_wait() {
    let graph = Graph::answering_in_turn(vec![Vec::new(), taken("wamid.2")]);
    let server = telling(&graph, "status_wait = \"700ms\"\ntimeout = \"300ms\"");
    books(&server, "a");
    let job = delivery(&server, "it is delivered", is("done"));
    assert_eq!((&job["message"]["wamid"], &job["attempts"]), (&json!("wamid.2"), &json!(2)));
    assert!(gap_of(&job) >= 1000, "{job}");
    let keys: Vec<_> = graph.asked().iter().map(|asked| asked.json()["biz_opaque_callback_data"].clone()).collect();
    assert_eq!(keys[0], keys[1], "both are this delivery's");
}

#[test]
fn a_message_that_may_be_there_waits_as_long_as_any_that_failed() {
    let graph = Graph::answering_in_turn(vec![Vec::new(), taken("wamid.2")]);
    let flow = BOOKING_FLOW.replacen("lead =", "deliver = [\"thanks\"]\nlead =", 1);
    let thanks = thanks(&format!("status_wait = \"100ms\"\ntimeout = \"300ms\"\n{BOOKED}"));
    let thanks = thanks.replace("first = \"10ms\", ceiling = \"20ms\"", "first = \"3s\", ceiling = \"3s\"");
    let server = Server::start(&format!("{}{flow}{thanks}", graph.meta()));
    books(&server, "a");
    let job = delivery(&server, "it is delivered", is("done"));
    // Half of the delay is chance.
    assert!(gap_of(&job) >= 1500, "{job}");
}

#[test]
fn a_power_cut_while_a_message_is_under_way_leaves_it_to_the_statuses_too() {
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let graph = Graph::answering(move |_| {
        let _ = wait.lock().unwrap().recv();
        taken("wamid.2")
    });
    let mut server = telling(&graph, "");
    books(&server, "a");
    let sent = first_sent(&graph);
    server.kill9();
    drop(go_on);
    server.start_again();
    let job = delivery(&server, "it waits", |job| job["message"]["unknown_until"] == job["due_at"]);
    assert_eq!((&job["state"], &job["attempts"]), (&json!("scheduled"), &json!(0)));
    let callback = &sent["biz_opaque_callback_data"];
    hears(&server, json!({"id": "wamid.1", "status": "delivered", "biz_opaque_callback_data": callback}));
    assert_eq!(delivery(&server, "the status settles it", is("done"))["attempts"], 1);
    assert!(graph.asked().is_empty(), "sent once");
}

#[test]
fn a_message_that_was_lost_on_its_way_becomes_a_dead_letter_that_says_why() {
    let graph = Graph::answering(|_| taken("wamid.1"));
    let server = telling(&graph, "");
    books(&server, "a");
    delivery(&server, "it is delivered", is("done"));
    hears(
        &server,
        json!({"id": "wamid.1", "status": "failed", "errors": [{"code": 131_049, "title": "Not delivered"}]}),
    );
    let job = delivery(&server, "it is dead", is("dead"));
    assert_eq!(job["message"]["status"], "failed");
    assert!(job["last_error"].as_str().unwrap().starts_with("taken, and then lost: error 131049"), "{job}");
}

const ENCRYPTED: &str = r#"
[flows.home]
path = "/home"
encryption = "required"
private_keys = ["file:key.pem"]
deliver = ["thanks"]
screens = [{ name = "LAST", final = true, fields = { name = {} } }]
"#;

const THANKED: &str = r#"messages = { "submission.accepted" = { text = "Thank you, {submission.answers.name}." } }"#;

/// A server of an encrypted flow, through which Ann's form has come.
fn filled_in(graph: &Graph, more: &str) -> Server {
    let server = user::server(&format!("{}{ENCRYPTED}{}", graph.meta(), thanks(&format!("{more}\n{THANKED}"))));
    User { server: &server, path: "/home", token: "ann" }.sends("LAST", &json!({"name": "Ann"}));
    server
}

#[test]
fn a_customer_whom_only_the_next_message_names_is_written_to_then() {
    let graph = Graph::answering(|_| taken("wamid.1"));
    let server = filled_in(&graph, "");
    let job = delivery(&server, "it waits", |job| job["due_at"] != job["created_at"]);
    assert_eq!((&job["state"], &job["attempts"]), (&json!("scheduled"), &json!(0)));
    let reply = json!({"name": "flow", "body": "Sent", "response_json": json!({"flow_token": "ann"}).to_string()});
    let message = json!({"from_user_id": "DE.1349", "id": "wamid.in", "timestamp": "1767225601",
        "type": "interactive", "interactive": {"type": "nfm_reply", "nfm_reply": reply}});
    let value = json!({"messaging_product": "whatsapp", "metadata": {"phone_number_id": "1"}, "messages": [message]});
    let entry = json!([{"id": "1", "changes": [{"field": "messages", "value": value}]}]);
    let body = json!({"object": "whatsapp_business_account", "entry": entry}).to_string();
    assert_eq!(server.connect().exchange(&signed_post("/webhook", body.as_bytes())).unwrap().status, 200);
    delivery(&server, "it is delivered", is("done"));
    let sent = graph.asked()[0].json();
    assert_eq!((&sent["recipient"], &sent["to"]), (&json!("DE.1349"), &Value::Null));
    assert_eq!(sent["text"]["body"], "Thank you, Ann.");
}

#[test]
fn a_customer_whom_nothing_names_in_time_is_a_dead_letter() {
    let graph = Graph::answering(|_| taken("wamid.1"));
    let server = filled_in(&graph, "customer_wait = \"300ms\"");
    let job = delivery(&server, "it is dead", is("dead"));
    assert!(job["last_error"].as_str().unwrap().starts_with("nobody knows who filled in the form"), "{job}");
    assert!(graph.asked().is_empty());
}
