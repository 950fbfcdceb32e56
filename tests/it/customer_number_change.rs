//! A customer changes the phone number. Meta reports the change once, and the new number then
//! identifies the customer.

use serde_json::{Value, json};

use crate::support::graph::{Graph, taken};
use crate::support::http::{SECRET, post, signature};
use crate::support::{Server, eventually};

const OLD: &str = "15550000001";
const NEW: &str = "15550000002";

const FLOW: &str = r#"
[flows.lead]
path = "/lead"
encryption = "none"
lead = { team = "sales", sticky = true }
deliver = ["thanks"]

[destinations.thanks]
kind = "whatsapp"
phone_number_id = "106540352242922"
access_token = "text:EAAGm0PX4ZCpsBAKZCx"
to = "customer"
messages = { "submission.accepted" = { text = "Thank you, {submission.answers.name}." } }
"#;

/// Sends signed messages to a business number.
fn send(server: &Server, messages: &[Value]) {
    let value = json!({"metadata": {"display_phone_number": "15550783881", "phone_number_id": "1"}, "messages": messages});
    let body = json!({"entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]})
        .to_string();
    let signature = signature(SECRET, body.as_bytes());
    let headers = [
        ("content-type", "application/json"),
        ("x-hub-signature-256", signature.as_str()),
    ];
    let answer = server
        .connect()
        .exchange(&post("/webhook", &headers, body.as_bytes()))
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Returns a form from this number.
fn form(number: &str, token: &str) -> Value {
    let response = json!({"flow_token": token, "name": "Ann"}).to_string();
    json!({"from": number, "id": format!("wamid.{token}"), "timestamp": "1767225601", "type": "interactive",
        "interactive": {"type": "nfm_reply", "nfm_reply": {"name": "flow", "body": "Sent", "response_json": response}}})
}

/// Waits until this number of submissions exists and each has its agent, and returns them.
/// Deliveries may still wait.
fn wait_for_agents(server: &Server, many: usize) -> Vec<Value> {
    eventually("each form has its agent", || {
        let submissions = server.submissions();
        let is_done = submissions
            .iter()
            .all(|submission| submission["agent"].is_string());
        (is_done && submissions.len() == many).then_some(submissions)
    })
}

#[test]
fn new_number_inherits_agent_and_waiting_messages() {
    let graph =
        Graph::answering(|asked| taken(&format!("wamid.{}", asked.json()["to"].as_str().unwrap())));
    let server = Server::start(&format!("{}{FLOW}", graph.meta()));
    server.rows(&["destinations", "pause", "thanks"]);
    server.add_agent("Ann", &[]);
    send(&server, &[form(OLD, "t-1")]);
    wait_for_agents(&server, 1);
    server.add_agent("Bob", &[]);

    let change = json!({"from": OLD, "id": "wamid.change", "timestamp": "1767225700", "type": "system",
        "system": {"body": "User Ann changed", "wa_id": NEW, "type": "user_changed_number"}});
    let broken = json!({"from": OLD, "id": "wamid.broken", "type": "system", "system": 7});
    for _ in 0..2 {
        send(&server, &[broken.clone(), change.clone(), form(NEW, "t-2")]);
    }
    for submission in &wait_for_agents(&server, 2) {
        assert_eq!(
            (&submission["customer"], &submission["agent"]),
            (&NEW.into(), &"Ann".into()),
            "{submission}"
        );
    }

    server.rows(&["destinations", "resume", "thanks"]);
    let mut to: Vec<String> = Vec::new();
    eventually("both texts are sent", || {
        to.extend(
            graph
                .asked()
                .iter()
                .map(|asked| asked.json()["to"].as_str().unwrap().to_owned()),
        );
        (to.len() == 2).then_some(())
    });
    assert_eq!(to, [format!("+{NEW}"), format!("+{NEW}")]);
}
