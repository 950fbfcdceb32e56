//! The access token of a WhatsApp destination expires. The admin gets one alert, and a hint with
//! the next command at each step. Waiting messages are sent, each message once.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::fake_services::{FakeReceiver, add_top_level_keys};
use crate::support::form::Form;
use crate::support::graph::{Graph, json as answer, taken};
use crate::support::{Server, eventually};

const OLD: &str = "EAAGold0PX4ZCpsBAKZCx";
const NEW: &str = "EAAGnew7QY5ADqtCBLADy";

const FLOW: &str = r#"
[flows.form]
path = "/form"
encryption = "none"
deliver = ["thanks"]

[destinations.thanks]
kind = "whatsapp"
phone_number_id = "106540352242922"
access_token = "file:token"
to = "customer"
messages = { "submission.accepted" = { text = "Thank you, {submission.answers.name}." } }
"#;

/// Accepts messages with the new token, and answers requests about the number.
fn meta() -> Graph {
    Graph::answering(|asked| match asked.header("authorization") {
        Some(bearer) if bearer.ends_with(NEW) && asked.line.starts_with("GET ") => answer(
            200,
            &json!({"display_phone_number": "+1 555 0100", "id": "106540352242922"}),
        ),
        Some(bearer) if bearer.ends_with(NEW) => {
            taken(&format!("wamid.{}", asked.json()["to"].as_str().unwrap()))
        }
        _ => answer(
            401,
            &json!({"error": {"message": format!("Error validating access token {OLD}"), "code": 190}}),
        ),
    })
}

/// Writes this token into the file that the config names.
fn put(server: &Server, token: &str) {
    let file = server.folder().join("token");
    fs::write(&file, token).unwrap();
    fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
}

fn destination(server: &Server) -> Value {
    server
        .rows(&["destinations"])
        .into_iter()
        .find(|row| row["name"] == "thanks")
        .unwrap()
}

fn hint(server: &Server) -> String {
    let status = server.row(&["status"]);
    let hints = status["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hint| hint.as_str().unwrap());
    hints.filter(|hint| hint.contains("thanks")).collect()
}

/// Asserts that all places where an admin looks show the necessary steps.
fn assert_next_steps_are_shown(server: &Server) {
    let output = hint(server);
    for part in [
        "20 deliveries queued",
        "error 190",
        "create a new one",
        "`flowgate reload`",
        "`flowgate destinations resume thanks`",
    ] {
        assert!(output.contains(part), "{part}: {output}");
    }
    let row = destination(server);
    let reason = row["disabled_reason"].as_str().unwrap();
    assert!(reason.contains("error 190: the access token"), "{row}");
    let test = server.cli(&["destinations", "test", "thanks"]);
    assert!(test.code == 1 && test.err.contains("error 190"), "{test:?}");
}

/// Waits until the destination is stopped.
fn wait_until_disabled(server: &Server) {
    eventually("it is stopped", || {
        (destination(server)["state"] == "disabled").then_some(())
    });
}

#[test]
fn waiting_messages_are_sent_once_after_token_replacement() {
    let (graph, ops) = (meta(), FakeReceiver::well());
    let mut server = Server::stopped(&format!("{}{FLOW}{}", graph.meta(), ops.table("ops", "")));
    add_top_level_keys(&server, "alerts = [\"ops\"]");
    put(&server, OLD);
    server.start_again();
    let customers: Vec<_> = (0..20).map(|number| format!("+49151{number:07}")).collect();
    let books = |customer: &String| {
        let form = Form::new(format!("form-{customer}")).by(customer);
        assert!(server.post("/form", &form).is_accepted());
    };
    books(&customers[0]);
    wait_until_disabled(&server);
    customers[1..].iter().for_each(books);
    eventually("all forms are carried", || {
        (destination(&server)["waiting"] == 20).then_some(())
    });
    let alert = ops.wait_for_accepted(1).into_values().next().unwrap()[0].json();
    assert_eq!(
        (&alert["type"], &alert["data"]["destination"]["name"]),
        (&json!("destination.stopped"), &json!("thanks"))
    );
    assert_next_steps_are_shown(&server);

    // A resume that comes too early loses nothing.
    server.rows(&["destinations", "resume", "thanks"]);
    ops.wait_for_accepted(2);
    wait_until_disabled(&server);
    assert_eq!(destination(&server)["waiting"], 20);

    put(&server, NEW);
    server.rows(&["reload"]);
    let test = server.row(&["destinations", "test", "thanks"]);
    let detail = test["detail"].as_str().unwrap();
    assert!(detail.contains("no message was sent"), "{test}");
    assert_eq!(
        destination(&server)["state"],
        "disabled",
        "that is for the admin to say"
    );
    graph.asked();
    server.rows(&["destinations", "resume", "thanks"]);
    server.settled();
    let mut sent: Vec<String> = graph
        .asked()
        .iter()
        .map(|asked| asked.json()["to"].as_str().unwrap().to_owned())
        .collect();
    sent.sort_unstable();
    assert_eq!(sent, customers);
    assert_eq!(
        (destination(&server)["state"].as_str(), hint(&server)),
        (Some("ok"), String::new())
    );
    assert!(server.rows(&["dead-letters"]).is_empty());
    assert_eq!(
        ops.accepted_count(),
        2,
        "one alert for each time that it was stopped"
    );
    assert!(!server.log().contains(OLD) && !server.log().contains(NEW));
}
