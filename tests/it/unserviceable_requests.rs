//! Tests requests to an encrypted flow that the config can't serve. The customer can continue, the
//! operator finds the request, and no request is mistaken for another kind.

use serde_json::{Value, json};

use crate::support::Server;
use crate::support::phone;
use crate::support::upstream::{Behavior, ScriptedServer, exchange, flow, serve};
use crate::support::user::server;

const FLOW: &str = r#"
[flows.home]
path = "/home"
encryption = "required"
private_keys = ["file:key.pem"]
screens = [
    { name = "START", data = { greeting = { value = "Welcome" } }, fields = { name = { type = "text" } } },
    { name = "END", final = true },
]
"#;

const SORRY: &str = "That did not work. Please try again in a moment.";

fn ask(server: &Server, request: &Value) -> Value {
    phone::ask(server, "/home", request)
}

fn try_again_on(screen: &str) -> Value {
    json!({"screen": screen, "data": {"error_message": SORRY}})
}

/// Returns code, screen and message of all rows of `flows errors`, newest first.
fn errors(server: &Server) -> Vec<(String, Value, String)> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let rows = server.rows(&["flows", "errors"]);
    rows.iter()
        .map(|row| {
            (
                text(row, "error"),
                row["screen"].clone(),
                text(row, "message"),
            )
        })
        .collect()
}

#[test]
fn unserviceable_request_is_answered_and_listed() {
    let server = server(FLOW);
    let cases = [
        (
            exchange("ELSEWHERE", "t", &json!({"a": 1})),
            try_again_on("ELSEWHERE"),
        ),
        (
            json!({"action": "BACK", "screen": "ELSEWHERE", "flow_token": "t"}),
            try_again_on("ELSEWHERE"),
        ),
        (
            json!({"action": "navigate", "screen": "END", "flow_token": "t"}),
            try_again_on("END"),
        ),
        (
            exchange("END", "t", &json!(["a list"])),
            try_again_on("END"),
        ),
        (
            json!({"action": "navigate", "flow_token": "t"}),
            json!({"screen": "START", "data": {"greeting": "Welcome", "error_message": SORRY}}),
        ),
    ];
    for (request, expected) in &cases {
        assert_eq!(ask(&server, request), *expected, "{request}");
    }
    let has = "screen \"ELSEWHERE\" is not a screen of this flow: it has START, END";
    let knows = "action: \"navigate\" is not one of data_exchange, INIT, BACK, ping";
    let row = |code: &str, screen: Value, why: &str| (code.to_owned(), screen, why.to_owned());
    assert_eq!(
        errors(&server),
        [
            row("unknown_action", json!(null), knows),
            row("invalid_field", json!("END"), "data: is not an object"),
            row("unknown_action", json!("END"), knows),
            row("unknown_screen", json!("ELSEWHERE"), has),
            row("unknown_screen", json!("ELSEWHERE"), has),
        ]
    );
    let log = server.log();
    let is_warning = |line: &&str| {
        line.contains("WARN") && line.contains("a request of this flow can't be served")
    };
    assert_eq!(log.lines().filter(is_warning).count(), cases.len(), "{log}");
    assert!(log.contains(r#""outcome":"unknown_screen""#), "{log}");
    assert!(server.submissions().is_empty() && server.rows(&["drafts"]).is_empty());
    let health = server.row(&["flows", "health", "--flow", "home"]);
    assert_eq!(
        (&health["errors"], &health["flow_errors"]),
        (&json!(0), &json!(5)),
        "Meta has its answers"
    );
}

#[test]
fn repeated_unserviceable_request_is_listed_once() {
    let server = server(FLOW);
    let sealed = phone::seal(&exchange("ELSEWHERE", "t", &json!({})));
    let first = sealed.post(&server, "/home");
    assert_eq!(sealed.open(&first), try_again_on("ELSEWHERE"));
    server.configure(&FLOW.replace("path =", "texts = { try_again = \"Later!\" }\npath ="));
    assert_eq!(server.cli(&["reload"]).code, 0);
    assert_eq!(
        sealed.post(&server, "/home").text(),
        first.text(),
        "one key and IV never seal two answers"
    );
    assert_eq!(
        ask(&server, &exchange("ELSEWHERE", "u", &json!({})))["data"]["error_message"],
        "Later!"
    );
    assert_eq!(errors(&server).len(), 2);
}

#[test]
fn flow_without_screens_answers_with_text_only() {
    let server = server(
        "[flows.home]\npath = \"/home\"\nencryption = \"required\"\nprivate_keys = [\"file:key.pem\"]\n",
    );
    assert_eq!(
        ask(&server, &json!({"action": "navigate"})),
        json!({"data": {"error_message": SORRY}})
    );
    assert_eq!(errors(&server)[0].0, "unknown_action");
}

#[test]
fn form_field_named_error_is_stored() {
    let server = server(FLOW);
    let own = json!({"error": "the lift is stuck", "error_message": "since noon", "floor": "3"});
    let end = ask(&server, &exchange("END", "t", &own));
    assert_eq!(end["screen"], "SUCCESS");
    assert_eq!(server.submissions()[0]["data"], own);
    assert!(errors(&server).is_empty());

    // Data with only such names are not a form. Their text is stored all the same.
    let alone = exchange("END", "u", &json!({"error_message": "no such screen"}));
    assert_eq!(
        ask(&server, &alone),
        json!({"data": {"acknowledged": true}})
    );
    assert_eq!(
        errors(&server),
        [(String::new(), json!("END"), "no such screen".to_owned())]
    );
    assert_eq!(server.submissions().len(), 1);
}

#[test]
fn undeclared_screens_and_actions_reach_upstream() {
    let program = ScriptedServer::start(|asked| {
        let request = asked.json();
        Behavior::show(&match request["screen"].as_str() {
            Some("LAST") => json!({"screen": "SUCCESS", "data": {}}),
            _ => json!({"screen": "LAST", "data": {"after": request["action"]}}),
        })
    });
    let screens = "screens = [{ name = \"NAME\", fields = { name = { type = \"email\" } } }, { name = \"DONE\", final = true }]";
    let server = serve(&flow(&program.url(), "").replace("lead =", &format!("{screens}\nlead =")));
    let last = |action: &str| json!({"screen": "LAST", "data": {"after": action}});
    for action in ["navigate", "BACK"] {
        let request =
            json!({"version": "3.0", "action": action, "screen": "ELSEWHERE", "flow_token": "t"});
        assert_eq!(ask(&server, &request), last(action));
    }
    let elsewhere = exchange("ELSEWHERE", "t", &json!({"wish": "a garden"}));
    assert_eq!(ask(&server, &elsewhere), last("data_exchange"));
    assert_eq!(program.asked()[2].json(), elsewhere);
    let unfit = ask(&server, &exchange("NAME", "t", &json!({"name": "nowhere"})));
    assert_eq!(
        (&unfit["screen"], program.asked().len()),
        (&json!("NAME"), 3),
        "what is declared is checked"
    );
    assert_eq!(
        ask(&server, &exchange("LAST", "t", &json!({"floor": 3})))["screen"],
        "SUCCESS"
    );
    assert_eq!(
        server.submissions()[0]["data"],
        json!({"wish": "a garden", "floor": 3})
    );
    assert!(errors(&server).is_empty());

    program.set_behavior(|_| Behavior::Respond(500, String::new()));
    let later = json!({"action": "navigate", "screen": "ELSEWHERE", "flow_token": "u"});
    assert_eq!(
        ask(&server, &later)["screen"],
        "ELSEWHERE",
        "its user stays there"
    );
    assert_eq!(
        ask(
            &server,
            &json!({"action": "data_exchange", "flow_token": "u"})
        )["screen"],
        "NAME"
    );
}

#[test]
fn request_for_success_screen_completes_no_form() {
    let server = server(FLOW);
    let welcome =
        json!({"screen": "START", "data": {"greeting": "Welcome", "error_message": SORRY}});
    assert_eq!(
        ask(&server, &exchange("SUCCESS", "t", &json!({"name": "Ann"}))),
        welcome
    );
    assert!(server.submissions().is_empty());
}
