//! Tests Meta's webhooks: the verification, and then batches of any messages, of which the
//! completed flows are submissions.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::form::Form;
use crate::support::http::{Answer, SECRET, post, signature};
use crate::support::{BOOKING_FLOW, Server};

/// The only flow of the config. A single flow matches every message.
const FLOW: &str = r#"
[flows.lead]
path = "/lead"
encryption = "none"
lead = { team = "sales" }
"#;

const VECTORS: &str = include_str!("../vectors/webhooks.json");

fn vectors() -> Vec<Value> {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    vectors["cases"].as_array().unwrap().clone()
}

fn vector(name: &str) -> Value {
    vectors()
        .into_iter()
        .find(|case| case["name"] == name)
        .unwrap()
}

/// Sends a vector unchanged, with its own signature.
fn deliver(server: &Server, case: &Value) -> Answer {
    let headers = &case["headers"];
    let [kind, signature] =
        ["content-type", "x-hub-signature-256"].map(|name| (name, headers[name].as_str().unwrap()));
    server
        .connect()
        .exchange(&post(
            "/webhook",
            &[kind, signature],
            case["body"].as_str().unwrap().as_bytes(),
        ))
        .unwrap()
}

/// Sends signed messages to a business number.
fn send(server: &Server, number: &str, messages: &[Value]) -> Answer {
    let value = json!({ "messaging_product": "whatsapp", "metadata": { "phone_number_id": number }, "messages": messages });
    send_change(server, &json!({ "field": "messages", "value": value }))
}

/// Sends one signed change of any field.
fn send_change(server: &Server, change: &Value) -> Answer {
    let body =
        json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [change] }] }).to_string();
    let signature = signature(SECRET, body.as_bytes());
    let headers = [
        ("content-type", "application/json"),
        ("x-hub-signature-256", signature.as_str()),
    ];
    server
        .connect()
        .exchange(&post("/webhook", &headers, body.as_bytes()))
        .unwrap()
}

/// Returns a completed flow as a message.
fn completed(id: &str, response: &str) -> Value {
    json!({ "from": "15550000001", "id": id, "timestamp": "1767225601", "type": "interactive",
        "interactive": { "type": "nfm_reply", "nfm_reply": { "name": "flow", "body": "Sent", "response_json": response } } })
}

/// Sends one completed flow.
fn complete(server: &Server, number: &str, response: &str) -> Answer {
    send(
        server,
        number,
        &[completed(&format!("wamid.{response}"), response)],
    )
}

/// Returns the name of a submission: its token or, without a usable token, its message ID.
fn name_of(row: &Value) -> String {
    let token = row["flow_token"]
        .as_str()
        .filter(|token| *token != "unused");
    token.or(row["message_id"].as_str()).unwrap().to_owned()
}

fn names(list: &Value) -> BTreeSet<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_vector_is_processed_exactly_once() {
    for case in vectors() {
        let name = case["name"].as_str().unwrap();
        let server = Server::start(FLOW);
        assert_eq!(deliver(&server, &case).status, 200, "{name}");
        assert_eq!(
            deliver(&server, &case).status,
            200,
            "{name}: Meta may send it again for seven days"
        );

        let submissions = server.submissions();
        let found: Vec<String> = submissions.iter().map(name_of).collect();
        let expected = names(&case["expect"]["submissions"]);
        assert_eq!(found.len(), expected.len(), "{name}: {found:?}");
        assert_eq!(
            found.into_iter().collect::<BTreeSet<_>>(),
            expected,
            "{name}"
        );

        for (token, fields) in case["expect"]["fields"].as_object().into_iter().flatten() {
            let row = submissions
                .iter()
                .find(|row| row["flow_token"] == *token)
                .unwrap();
            for (field, value) in fields.as_object().unwrap() {
                assert_eq!(&row["data"][field], value, "{name}");
            }
        }
        for (token, user) in case["expect"]["customer"].as_object().into_iter().flatten() {
            let row = submissions
                .iter()
                .find(|row| row["flow_token"] == *token)
                .unwrap();
            assert_eq!(&row["customer"], user, "{name}");
        }
        let dead = server.rows(&["dead-letters", "list"]);
        assert_eq!(
            dead.len(),
            names(&case["expect"]["refused"]).len(),
            "{name}: {dead:?}"
        );
        for row in dead {
            let whole = server.row(&["dead-letters", "show", &row["id"].to_string()]);
            assert!(
                names(&case["expect"]["refused"])
                    .iter()
                    .all(|id| whole["payload"].to_string().contains(id)),
                "{whole}"
            );
            assert!(
                whole["last_error"]
                    .as_str()
                    .is_some_and(|why| !why.is_empty()),
                "{whole}"
            );
        }
    }
}

#[test]
fn signature_vectors_match_raw_bytes() {
    let vectors: Value =
        serde_json::from_str(include_str!("../vectors/hub_signature.json")).unwrap();
    for case in vectors["cases"].as_array().unwrap() {
        let Some(body) = case["body"].as_str() else {
            continue;
        };
        let made = signature(case["secret"].as_str().unwrap(), body.as_bytes());
        assert_eq!(case["header"], made, "{}", case["name"]);
    }
}

#[test]
fn webhook_verification_requires_right_token() {
    let server = Server::start(FLOW);
    let ask = |query: &str| server.get(&format!("/webhook?{query}"));
    let right = ask("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=let%20me%20in");
    assert_eq!((right.status, right.text()), (200, "1158201444"));
    assert!(
        right
            .header("content-type")
            .unwrap()
            .starts_with("text/plain")
    );
    let reordered = ask("hub.verify_token=let+me+in&hub.challenge=a%2Bb%3D&hub.mode=subscribe");
    assert_eq!((reordered.status, reordered.text()), (200, "a+b="));
    for wrong in [
        "hub.mode=subscribe&hub.challenge=1&hub.verify_token=wrong",
        "hub.mode=unsubscribe&hub.challenge=1&hub.verify_token=let%20me%20in",
        "hub.mode=subscribe&hub.challenge=1",
        "",
    ] {
        assert_eq!(ask(wrong).status, 403, "{wrong}");
    }
}

#[test]
fn wrong_signature_gets_401_and_invalid_json_400() {
    let server = Server::start(FLOW);
    let case = vector("one_submission");
    let body = case["body"].as_str().unwrap().as_bytes();
    let deliver = |body: &[u8], signature: &str| {
        let headers = [
            ("content-type", "application/json"),
            ("x-hub-signature-256", signature),
        ];
        server
            .connect()
            .exchange(&post("/webhook", &headers, body))
            .unwrap()
    };
    assert_eq!(
        deliver(body, &signature("not the secret", body)).status,
        401
    );
    assert_eq!(deliver(b"{", &signature(SECRET, b"{")).status, 400);
    assert!(server.submissions().is_empty());
}

#[test]
fn endpoint_and_webhook_form_is_one_submission() {
    let server = Server::start(FLOW);
    server.add_agent("Ann", &[]);
    let token = "flow-3f1d0c52-7a5e-4d0b-9a34-5d2f5b8a7c10";
    assert!(
        server
            .post("/lead", &Form::new(token).with("budget", 250_000).by(""))
            .is_accepted()
    );
    assert_eq!(
        deliver(&server, &vector("completion_after_endpoint")).status,
        200
    );

    server.settled();
    let id = server.row(&["submissions", "list"])["id"].to_string();
    let submission = server.row(&["submissions", "show", &id]);
    assert_eq!(
        (&submission["flow_token"], &submission["data"]["budget"]),
        (&token.into(), &250_000.into())
    );
    let learnt = &submission["late_arrivals"][0];
    assert!(
        learnt["message_id"]
            .as_str()
            .is_some_and(|id| id.starts_with("wamid.")),
        "{submission}"
    );
    assert!(learnt["customer"].is_string(), "{submission}");
    assert_eq!(server.rows(&["leads", "list"]).len(), 1);
}

#[test]
fn flow_matchers_select_flow_and_preserve_unmatched_forms() {
    let flow = |name: &str, rule: &str| {
        format!("[flows.{name}]\nencryption = \"none\"\nwebhook = {{ {rule} }}\n")
    };
    let rules = [
        flow("by_number", "phone_number_ids = [\"1\"]"),
        flow("by_token", "token_prefix = \"t-\""),
        flow("by_field", "field = { kind = \"visit\" }"),
    ];
    let server = Server::start(&rules.concat());
    for (number, response) in [
        ("1", r#"{"flow_token":"a"}"#),
        ("2", r#"{"flow_token":"t-b"}"#),
        ("2", r#"{"flow_token":"c","kind":"visit"}"#),
        ("2", r#"{"flow_token":"d"}"#),
    ] {
        assert_eq!(complete(&server, number, response).status, 200);
    }
    let mut flows: Vec<String> = server
        .submissions()
        .iter()
        .map(|row| format!("{} {}", row["flow_token"], row["flow"]))
        .collect();
    flows.sort();
    assert_eq!(
        flows,
        [
            r#""a" "by_number""#,
            r#""c" "by_field""#,
            r#""t-b" "by_token""#
        ]
    );
    let dead = server.row(&["dead-letters", "list"]);
    assert!(dead["payload"].to_string().contains(r#"\"d\""#), "{dead}");

    // After a flow matcher is added, the dead letter runs like any other message.
    let mut server = server;
    server.stop();
    server.configure(&(rules.concat() + &flow("by_rest", "phone_number_ids = [\"2\"]")));
    server.start_again();
    server.rows(&["dead-letters", "retry", &dead["id"].to_string()]);
    server.settled();
    assert!(
        server
            .submissions()
            .iter()
            .any(|row| row["flow_token"] == "d" && row["flow"] == "by_rest")
    );
}

#[test]
fn default_flow_accepts_unmatched_forms() {
    let rules =
        "[flows.visit]\nwebhook = { token_prefix = \"v-\" }\n[flows.rest]\nwebhook = \"default\"\n";
    let server = Server::start(rules);
    for token in ["v-1", "x-1"] {
        assert_eq!(
            complete(&server, "1", &format!("{{\"flow_token\":\"{token}\"}}")).status,
            200
        );
    }
    let mut flows: Vec<String> = server
        .submissions()
        .iter()
        .map(|row| format!("{} {}", row["flow_token"], row["flow"]))
        .collect();
    flows.sort();
    assert_eq!(flows, [r#""v-1" "visit""#, r#""x-1" "rest""#]);
    let is_warned = |server: &Server| {
        server.row(&["status"])["warnings"]
            .to_string()
            .contains("become dead letters")
    };
    assert!(!is_warned(&server));
    let without = Server::start(&rules.replace("\"default\"", "{ token_prefix = \"x-\" }"));
    assert!(is_warned(&without), "forms can go unclaimed");
}

#[test]
fn standby_forms_are_accepted_and_unknown_fields_preserved() {
    let server = Server::start(FLOW);
    server.add_agent("Ann", &[]);
    let metadata = json!({ "display_phone_number": "15550783881", "phone_number_id": "1" });
    let form = |number: u32| {
        completed(
            &format!("wamid.{number}"),
            &format!("{{\"flow_token\":\"t-{number}\"}}"),
        )
    };
    let echo = json!({ "from": "15550783881", "to": "15550000001", "id": "wamid.9", "timestamp": "1767225601",
        "type": "text", "text": { "body": "Thank you!" } });
    let usual = json!({ "metadata": metadata, "messages": [form(1)] });
    let nested = json!({ "metadata": metadata, "standby": { "messages": [form(2)], "message_echoes": [echo] } });
    for value in [usual, nested] {
        assert_eq!(
            send_change(&server, &json!({ "field": "standby", "value": value })).status,
            200
        );
    }
    let unknown = json!({ "metadata": metadata, "messages": [form(3)] });
    for _ in 0..2 {
        assert_eq!(
            send_change(
                &server,
                &json!({ "field": "standby_2027", "value": unknown })
            )
            .status,
            200
        );
    }
    server.settled();
    let tokens = || {
        server
            .submissions()
            .iter()
            .map(|row| row["flow_token"].to_string())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(
        tokens(),
        BTreeSet::from([r#""t-1""#.to_owned(), r#""t-2""#.to_owned()])
    );
    let dead_letters = server.rows(&["dead-letters", "list"]);
    let [letter] = dead_letters.as_slice() else {
        panic!("kept once: {dead_letters:?}")
    };
    assert!(
        letter["last_error"]
            .as_str()
            .unwrap()
            .contains("standby_2027"),
        "{letter}"
    );

    server.rows(&["dead-letters", "retry", &letter["id"].to_string()]);
    server.settled();
    assert!(tokens().contains(r#""t-3""#));
    assert!(server.rows(&["dead-letters", "list"]).is_empty());
}

#[test]
fn dead_letter_of_later_accepted_message_is_duplicate() {
    let server = Server::start(FLOW);
    server.add_agent("Ann", &[]);
    // No token distinguishes these forms, only their messages.
    let form = |number: u32| {
        completed(
            &format!("wamid.{number}"),
            &json!({"flow_token": "unused"}).to_string(),
        )
    };
    let comes = |field: &str, number: u32| {
        let value = json!({ "metadata": { "phone_number_id": "1" }, "messages": [form(number)] });
        assert_eq!(
            send_change(&server, &json!({ "field": field, "value": value })).status,
            200
        );
    };
    let ids = || {
        server
            .submissions()
            .iter()
            .map(|row| row["message_id"].to_string())
            .collect::<BTreeSet<_>>()
    };
    for number in [1, 2, 1, 2] {
        comes("new_field", number);
    }
    assert_eq!(
        (server.rows(&["dead-letters", "list"]).len(), ids().len()),
        (2, 0)
    );
    for _ in 0..2 {
        comes("messages", 1);
        comes("standby", 2);
    }
    let both = BTreeSet::from(["\"wamid.1\"".to_owned(), "\"wamid.2\"".to_owned()]);
    assert_eq!((server.submissions().len(), ids()), (2, both));

    server.rows(&["dead-letters", "retry", "--all"]);
    server.settled();
    comes("new_field", 1);
    comes("messages", 3);
    comes("new_field", 3);
    server.settled();
    assert_eq!(server.submissions().len(), 3);
    assert!(server.rows(&["dead-letters", "list"]).is_empty());
    server.row(&["check"]);
}

#[test]
fn thousand_messages_in_one_body_are_accepted() {
    let server = Server::start(FLOW);
    server.add_agent("Ann", &[]);
    let messages: Vec<Value> = (0..1000)
        .map(|number| {
            completed(
                &format!("wamid.{number}"),
                &format!("{{\"flow_token\":\"t-{number}\"}}"),
            )
        })
        .collect();
    assert_eq!(send(&server, "1", &messages).status, 200);
    server.settled();
    assert_eq!(server.submissions().len(), 1000);
    assert_eq!(server.row(&["agents", "list"])["current_leads"], 1000);
}

#[test]
fn lost_slot_by_webhook_is_conflict() {
    let server = Server::start(&format!(
        "{}{}",
        FLOW.replace(
            "lead = {",
            "booking = { calendar = \"chair\", date = \"date\", time = \"time\" }\nlead = {"
        ),
        &BOOKING_FLOW[BOOKING_FLOW.find("[calendars").unwrap()..]
    ));
    server.add_agent("Ann", &[]);
    let response = r#"{"flow_token":"late","date":"2025-10-15","time":"10:00"}"#;
    assert_eq!(complete(&server, "1", response).status, 200);
    server.settled();
    let submission = server.row(&["submissions", "list"]);
    assert_eq!(
        (&submission["state"], &submission["agent"]),
        (&"conflict".into(), &"Ann".into()),
        "{submission}"
    );
}
