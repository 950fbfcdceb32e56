//! Tests alerts about trouble. Each alert is sent once, at the beginning, and contains the data
//! that the operator needs.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::support::form::Form;
use crate::support::http::signed_post;
use crate::support::phone::{self, PRIVATE_KEY};
use crate::support::request::Request;
use crate::support::upstream::{Behavior, ScriptedServer};
use crate::support::{PLAIN_FLOW, Server, eventually};

/// Starts a server with an encrypted flow and a plain flow. Alerts go to `ops`, and form events go
/// to `crm`.
fn server(ops: &ScriptedServer, crm: &ScriptedServer) -> Server {
    let (ops, crm) = (ops.url(), crm.url());
    let flow = PLAIN_FLOW.replace(
        "lead =",
        "deliver = [{ to = \"crm\", events = [\"submission.accepted\"] }]\nlead =",
    );
    let mut server = Server::stopped(&format!(
        r#"
[destinations]
ops = {{ url = "{ops}", allow_private = true }}
crm = {{ url = "{crm}", allow_private = true }}
{flow}
[flows.home]
path = "/home"
encryption = "required"
private_keys = ["file:key.pem"]
screens = [{{ name = "LEAD_FORM", fields = {{ name = {{ type = "text" }} }} }}, {{ name = "APPOINTMENT", final = true }}]
"#
    ));
    fs::write(server.folder().join("key.pem"), PRIVATE_KEY).unwrap();
    let file = server.folder().join("config.toml");
    let config = fs::read_to_string(&file).unwrap();
    fs::write(file, format!("alerts = [\"ops\"]\n{config}")).unwrap();
    server.start_again();
    server
}

fn accept_all() -> ScriptedServer {
    ScriptedServer::start(|_| Behavior::Respond(204, String::new()))
}

/// Waits for at least `many` alerts of this kind and returns them. A copy after a kill has the same
/// ID and is not counted.
fn alerts(ops: &ScriptedServer, kind: &str, many: usize) -> Vec<Value> {
    eventually(&format!("{many} of {kind} came"), || {
        let (asked, mut seen) = (ops.asked(), BTreeSet::new());
        let new = asked
            .iter()
            .filter(|asked| seen.insert(asked.header("webhook-id").to_owned()));
        let came: Vec<_> = new
            .map(Request::json)
            .filter(|body| body["type"] == kind)
            .collect();
        (came.len() >= many).then_some(came)
    })
}

#[test]
fn failing_flow_sends_one_alert() {
    let (ops, crm) = (accept_all(), accept_all());
    let mut server = server(&ops, &crm);
    let fail = |server: &Server| {
        let sealed = phone::seal_for(
            phone::OTHER_PUBLIC_KEY,
            &json!({"version": "3.0", "action": "ping"}),
        );
        assert_eq!(sealed.post(server, "/home").status, 421);
    };
    (0..3).for_each(|_| fail(&server));
    let health = alerts(&ops, "flow.unhealthy", 1).remove(0)["data"].clone();
    assert_eq!(
        (&health["flow"], &health["health"]["source"]),
        (&json!("home"), &json!("flowgate"))
    );
    assert!(
        health["health"]["findings"][0]
            .as_str()
            .unwrap()
            .contains("error rate of 100 %"),
        "{health}"
    );
    assert!(
        health["health"]["suggestion"]
            .as_str()
            .unwrap()
            .contains("flowgate keys check"),
        "{health}"
    );

    server.kill9();
    server.start_again();
    (0..3).for_each(|_| fail(&server));
    eventually("the figures are looked at", || {
        server
            .log()
            .matches("the endpoint of a flow is unhealthy")
            .nth(1)
            .map(|_| ())
    });
    // Meta's event comes later through the same destination worker. A second alert about the
    // endpoint would be there by then.
    let change = json!({"field": "flows", "value": {"event": "FLOW_STATUS_CHANGE", "flow_id": "17", "new_status": "BLOCKED"}});
    let body = json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "time": 1, "changes": [change]}]});
    for _ in 0..2 {
        let answer = server
            .connect()
            .exchange(&signed_post("/webhook", body.to_string().as_bytes()))
            .unwrap();
        assert_eq!(answer.status, 200);
    }
    alerts(&ops, "flow.unhealthy", 2);
    server.settled();
    let received = alerts(&ops, "flow.unhealthy", 2);
    let sources: Vec<_> = received
        .iter()
        .map(|body| &body["data"]["health"]["source"])
        .collect();
    assert_eq!(
        sources,
        ["flowgate", "meta"],
        "it was never well in between"
    );
    assert_eq!(received[1]["data"]["health"]["state"], "BLOCKED");
}

#[test]
fn status_410_of_destination_sends_alert() {
    let (ops, crm) = (
        accept_all(),
        ScriptedServer::start(|_| Behavior::Respond(410, String::new())),
    );
    let server = server(&ops, &crm);
    for token in ["a", "b"] {
        assert_eq!(server.post("/form", &Form::new(token)).status, 200);
    }
    let received = alerts(&ops, "destination.stopped", 1);
    let expected = json!({"name": "crm", "reason": "the destination responded with 410 Gone"});
    assert_eq!(received[0]["data"], json!({"destination": expected}));
}
