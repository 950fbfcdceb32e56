//! Builds webhook messages with completed forms (`nfm_reply`), and reads the completion parameters
//! that the messages repeat.

use serde_json::{Value, json};

use super::Server;
use super::http::signed_post;

/// Returns a completed form of the customer with this number.
pub fn message(from: &str, id: &str, params: &Value) -> Value {
    let reply = json!({"name": "flow", "body": "Sent", "response_json": params.to_string()});
    json!({"from": from, "from_user_id": format!("DE.{from}"), "id": id, "timestamp": "1767225601",
        "type": "interactive", "interactive": {"type": "nfm_reply", "nfm_reply": reply}})
}

/// Returns a webhook body with these messages.
pub fn body(messages: &[Value]) -> Vec<u8> {
    let value = json!({"messaging_product": "whatsapp", "metadata": {"phone_number_id": "1"}, "messages": messages});
    let entry = json!([{"id": "1", "changes": [{"field": "messages", "value": value}]}]);
    json!({"object": "whatsapp_business_account", "entry": entry})
        .to_string()
        .into_bytes()
}

/// Posts these messages in one body, which the server must accept.
pub fn deliver(server: &Server, messages: &[Value]) {
    let answer = server
        .connect()
        .exchange(&signed_post("/webhook", &body(messages)))
        .unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Returns the parameters of a completion, which the following message repeats.
pub fn params(end: &Value) -> Value {
    assert_eq!(end["screen"], "SUCCESS", "{end}");
    end["data"]["extension_message_response"]["params"].clone()
}
