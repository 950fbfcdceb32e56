//! A damaged row blocks only the items that need it. The other forms of a webhook body are
//! accepted, and a destination that writes to no customer still gets events.

use redb::{Database, ReadableTable, TableDefinition};
use serde_json::{Value, json};

use crate::support::fake_services::{FakeReceiver, flow};
use crate::support::form::Form;
use crate::support::http::signed_post;
use crate::support::{PLAIN_FLOW, Server, eventually};

fn message(token: &str) -> Value {
    let params = json!({"flow_token": token}).to_string();
    let reply = json!({"name": "flow", "body": "Sent", "response_json": params});
    json!({"from": "491511234567", "id": format!("wamid.{token}"), "timestamp": "1767225601",
        "type": "interactive", "interactive": {"type": "nfm_reply", "nfm_reply": reply}})
}

fn deliver(server: &Server, messages: &[Value], statuses: &[Value]) -> u16 {
    let value = json!({"messaging_product": "whatsapp", "metadata": {"phone_number_id": "1"}, "messages": messages,
        "statuses": statuses});
    let entry = json!([{"id": "1", "changes": [{"field": "messages", "value": value}]}]);
    let body = json!({"object": "whatsapp_business_account", "entry": entry}).to_string();
    server
        .connect()
        .exchange(&signed_post("/webhook", body.as_bytes()))
        .unwrap()
        .status
}

/// Changes one byte of a row in the file of a stopped server.
fn damage(server: &Server, table: &str, row: u64) {
    let file = Database::create(server.folder().join("flowgate.redb")).unwrap();
    let change = file.begin_write().unwrap();
    {
        let mut rows = change
            .open_table(TableDefinition::<&[u8], &[u8]>::new(table))
            .unwrap();
        let key = row.to_be_bytes();
        let mut bytes = rows.get(&key[..]).unwrap().unwrap().value().to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        rows.insert(&key[..], bytes.as_slice()).unwrap();
    }
    change.commit().unwrap();
}

/// Changes one byte of each row of a table whose keys are hashes, in the file of a stopped server.
fn damage_all(server: &Server, table: &str) {
    let file = Database::create(server.folder().join("flowgate.redb")).unwrap();
    let change = file.begin_write().unwrap();
    {
        let mut rows = change
            .open_table(TableDefinition::<&[u8], &[u8]>::new(table))
            .unwrap();
        let keys: Vec<Vec<u8>> = rows
            .iter()
            .unwrap()
            .map(|row| row.unwrap().0.value().to_vec())
            .collect();
        assert!(!keys.is_empty());
        for key in keys {
            let mut bytes = rows.get(&key[..]).unwrap().unwrap().value().to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            rows.insert(&key[..], bytes.as_slice()).unwrap();
        }
    }
    change.commit().unwrap();
}

#[test]
fn message_with_damaged_key_alone_becomes_dead_letter() {
    let mut server = Server::start(&format!(
        "{PLAIN_FLOW}\n[limits]\nmax_idempotency_keys = 1\n"
    ));
    let without_token = |number: u32| {
        let mut message = message("unused");
        message["id"] = json!(format!("wamid.{number}"));
        message
    };
    // Older keys move from memory to a table when new keys arrive.
    for number in 0..8 {
        assert_eq!(deliver(&server, &[without_token(number)], &[]), 200);
    }
    server.settled();
    server.stop();
    damage_all(&server, "evicted_keys");
    server.start_again();

    let messages = [message("first"), without_token(0), message("last")];
    assert_eq!(deliver(&server, &messages, &[]), 200, "{}", server.log());
    let dead = server.rows(&["dead-letters", "list"]);
    assert_eq!(dead.len(), 1, "{dead:?}");
    let id = dead[0]["id"].to_string();
    let letter = server.row(&["dead-letters", "show", &id]);
    assert!(
        letter["last_error"]
            .as_str()
            .unwrap()
            .contains("evicted_keys"),
        "{letter}"
    );
    assert_eq!(letter["payload"]["message"]["id"], "wamid.0", "{letter}");
    assert_eq!(server.row(&["status"])["submissions"], 10);

    // The server can't detect whether the message is a copy, so an admin decides.
    server.rows(&["dead-letters", "retry", &id]);
    server.settled();
    assert!(server.rows(&["dead-letters", "list"]).is_empty());
    assert_eq!(server.row(&["status"])["submissions"], 11);
}

#[test]
fn item_needing_damaged_row_alone_becomes_dead_letter() {
    let mut server = Server::start(PLAIN_FLOW);
    assert_eq!(deliver(&server, &[message("first")], &[]), 200);
    server.settled();
    server.stop();
    damage(&server, "submissions", 1);
    server.start_again();

    // The same form arrives in another message. Only the damaged row could show that it is a copy.
    let mut copy = message("first");
    copy["id"] = json!("wamid.copy");
    let mut messages: Vec<Value> = (0..5)
        .map(|number| message(&format!("new-{number}")))
        .collect();
    messages.insert(2, copy);
    for _ in 0..2 {
        assert_eq!(deliver(&server, &messages, &[]), 200, "{}", server.log());
    }
    let dead = server.rows(&["dead-letters", "list"]);
    assert_eq!(dead.len(), 1, "{dead:?}");
    let letter = server.row(&["dead-letters", "show", &dead[0]["id"].to_string()]);
    assert!(
        letter["last_error"]
            .as_str()
            .unwrap()
            .contains("submissions"),
        "{letter}"
    );
    assert_eq!(letter["payload"]["message"]["id"], "wamid.copy", "{letter}");
    let status = server.row(&["status"]);
    assert_eq!(status["submissions"], 6, "{status}");
}

#[test]
fn damaged_submission_row_blocks_no_webhook_delivery() {
    let crm = FakeReceiver::down();
    let table = crm.table(
        "crm",
        "ordered = true\nretry = { initial_delay = \"50ms\", max_delay = \"100ms\" }",
    );
    let mut server = Server::start(&format!("{}{table}", flow(&["crm"])));
    for token in ["first", "second"] {
        assert!(
            server
                .post("/form", &Form::new(token).by("+491511234567"))
                .is_accepted()
        );
    }
    eventually("both forms are processed", || {
        let jobs = server.rows(&["jobs", "list"]);
        jobs.iter()
            .all(|job| job["kind"] == "deliver" || job["state"] == "done")
            .then_some(())
    });
    server.stop();
    damage(&server, "submissions", 1);
    crm.start_listening();
    server.start_again();

    let tokens: Vec<String> = crm
        .wait_for_accepted(2)
        .into_values()
        .map(|copies| copies[0].token())
        .collect();
    assert!(
        tokens.contains(&"first".to_owned()) && tokens.contains(&"second".to_owned()),
        "{tokens:?}"
    );
}
