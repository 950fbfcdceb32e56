//! A form that ends at an encrypted flow's own path also comes by webhook, as `nfm_reply`: together they are one submission,
//! whichever comes first, and also where the sender of the flow set no token.

use serde_json::{Value, json};

use crate::support::Server;
use crate::support::http::signed_post;
use crate::support::user::{User, server, success};

const FLOW: &str = r#"
[flows.home]
path = "/home"
encryption = "required"
private_keys = ["file:key.pem"]
lead = { team = "sales" }
screens = [
    { name = "NAME", fields = { name = {} } },
    { name = "LAST", final = true, fields = { plan = {} } },
]
"#;

/// The completion message of a flow that ended with these parameters.
fn completes(server: &Server, message: &str, from: &str, params: &Value) {
    let reply = json!({"name": "flow", "body": "Sent", "response_json": params.to_string()});
    let message = json!({"from": from, "from_user_id": format!("DE.{from}"), "id": message, "timestamp": "1767225601",
        "type": "interactive", "interactive": {"type": "nfm_reply", "nfm_reply": reply}});
    let value = json!({"messaging_product": "whatsapp", "metadata": {"phone_number_id": "1"}, "messages": [message]});
    let entry = json!([{"id": "1", "changes": [{"field": "messages", "value": value}]}]);
    let body = json!({"object": "whatsapp_business_account", "entry": entry}).to_string();
    let answer = server.connect().exchange(&signed_post("/webhook", body.as_bytes())).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn user<'a>(server: &'a Server, token: &'a str) -> User<'a> {
    User { server, path: "/home", token }
}

fn params(end: &Value) -> Value {
    assert_eq!(end["screen"], "SUCCESS", "{end}");
    end["data"]["extension_message_response"]["params"].clone()
}

#[test]
fn the_message_that_follows_joins_the_form_and_tells_whose_it_was() {
    let server = server(FLOW);
    let ann = user(&server, "ann");
    ann.sends("NAME", &json!({"name": "Ann"}));
    let params = params(&ann.sends("LAST", &json!({"plan": "big"})));
    assert_eq!(server.submissions()[0]["user"], Value::Null, "nothing at this door tells who it is");
    for _ in 0..2 {
        completes(&server, "wamid.1", "491511234567", &params);
        let rows = server.submissions();
        assert_eq!(rows.len(), 1);
        assert_eq!((&rows[0]["user"], &rows[0]["message_id"]), (&json!("DE.491511234567"), &json!("wamid.1")));
        assert_eq!(rows[0]["data"], json!({"name": "Ann", "plan": "big"}));
    }
    server.settled();
    assert_eq!(server.rows(&["leads", "list"]).len(), 1);
    server.row(&["check"]);
}

#[test]
fn a_message_that_comes_first_is_the_same_form() {
    let server = server(FLOW);
    let ann = user(&server, "ann");
    ann.sends("NAME", &json!({"name": "Ann"}));
    completes(&server, "wamid.1", "491511234567", &json!({"flow_token": "ann"}));
    assert_eq!(ann.sends("LAST", &json!({"plan": "big"})), success("ann"));
    assert_eq!(ann.sends("NAME", &json!({"name": "Ann"})), success("ann"), "the form is over");
    let rows = server.submissions();
    assert_eq!(rows.len(), 1);
    assert_eq!((&rows[0]["user"], &rows[0]["message_id"]), (&json!("DE.491511234567"), &json!("wamid.1")));
    assert_eq!(rows[0]["data"], json!({"name": "Ann", "flow_token": "ann"}), "what was answered before is in it");
    let whole = server.row(&["submissions", "show", &rows[0]["id"].to_string()]);
    assert_eq!(whole["later"][0]["differing"], json!({"plan": "big"}), "and what came later is kept beside it");
    assert!(server.rows(&["drafts"]).is_empty());
    server.settled();
    assert_eq!(server.rows(&["leads", "list"]).len(), 1);
    server.row(&["check"]);
}

#[test]
fn a_form_without_a_token_of_its_own_is_known_by_the_reference_in_its_end() {
    let mut server = server(FLOW);
    let end = |server: &Server, plan: &str| params(&user(server, "unused").sends("LAST", &json!({"plan": plan})));
    let (big, small) = (end(&server, "big"), end(&server, "small"));
    assert_eq!(big["flow_token"], "unused");
    assert_ne!(big["flowgate_ref"], small["flowgate_ref"]);
    completes(&server, "wamid.big", "491511111111", &big);
    server.kill9();
    server.start_again();
    completes(&server, "wamid.small", "491522222222", &small);
    completes(&server, "wamid.small", "491522222222", &small);
    let rows = server.submissions();
    assert_eq!(rows.len(), 2, "{rows:?}");
    for (plan, message, who) in [("big", "wamid.big", "DE.491511111111"), ("small", "wamid.small", "DE.491522222222")] {
        let row = rows.iter().find(|row| row["data"]["plan"] == plan).unwrap();
        assert_eq!((&row["message_id"], &row["user"]), (&json!(message), &json!(who)));
    }
    server.row(&["check"]);
}

#[test]
fn a_reference_that_is_made_up_or_names_no_form_makes_a_submission_of_its_own() {
    let server = server(FLOW);
    let ann = user(&server, "ann");
    ann.sends("NAME", &json!({"name": "Ann"}));
    params(&ann.sends("LAST", &json!({"plan": "big"})));
    let unused = user(&server, "unused");
    let taken = params(&unused.sends("LAST", &json!({"plan": "big"})));
    let real = taken["flowgate_ref"].as_str().unwrap();
    // The key of a request that was answered is one that the server remembers, too, and is no form.
    let init = unused.init();
    init.post(&server, "/home");
    let made_up = [
        json!("0".repeat(32)),
        json!(real.to_uppercase()),
        json!(format!("{real}0")),
        json!(&real[..31]),
        json!(""),
        json!(7),
        json!([real]),
        json!(init.reference()),
    ];
    for (number, reference) in made_up.iter().enumerate() {
        let from = format!("4915{number:08}");
        let answers = json!({"flow_token": "unused", "flowgate_ref": reference, "plan": "own"});
        completes(&server, &format!("wamid.{number}"), &from, &answers);
        let rows = server.submissions();
        assert_eq!(rows.len(), 3 + number, "{reference}");
        assert_eq!(rows[0]["user"], format!("DE.{from}"), "{reference}");
        assert_eq!(rows[0]["data"]["plan"], "own");
    }
    let joined = server.submissions().into_iter().filter(|row| row["channel"] == "encrypted");
    assert!(joined.clone().count() == 2 && joined.into_iter().all(|row| row["message_id"].is_null()));
    // With a token of its own, a form is that token's, whatever else its message says.
    let answers = json!({"flow_token": "new", "flowgate_ref": real});
    completes(&server, "wamid.new", "4917", &answers);
    assert_eq!(server.submissions()[0]["flow_token"], "new");
    server.row(&["check"]);
}
