//! Tests an upstream that decides what an encrypted flow shows: its requests, and the effects of
//! its responses.
//!
//! See `program_fails` for an upstream that gives no response.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::http::Answer;
use crate::support::phone::{self, PUBLIC_KEY, Sealed};
use crate::support::request::Request;
use crate::support::upstream::{Behavior, SECRET, ScriptedServer, exchange, flow, serve};
use crate::support::user::ids;
use crate::support::{BOOKING_FLOW, Server, all_at_once, eventually, in_days};

/// Behavior of an upstream with two screens. Its completion contains a value that is unique for
/// each request.
fn clinic(asked: &Request) -> Behavior {
    let request = asked.json();
    Behavior::show(
        &match (request["action"].as_str(), request["screen"].as_str()) {
            (Some("INIT"), _) => json!({"screen": "NAME", "data": {"greeting": "Hello"}}),
            (Some("BACK"), _) => json!({"screen": "NAME", "data": {"left": request["screen"]}}),
            (_, Some("NAME")) => {
                json!({"version": "3.0", "screen": "TIME", "data": {"times": ["09:00"]}, "more": [1]})
            }
            _ => end(asked.header("webhook-id")),
        },
    )
}

/// Returns a completion as the upstream sends it.
fn end(visit: &str) -> Value {
    json!({"screen": "SUCCESS", "data": {"extension_message_response": {"params": {"visit": visit}}}})
}

/// Returns the same completion as the phone gets it.
fn ended(token: &str, visit: &str) -> Value {
    let params = json!({"visit": visit, "flow_token": token});
    json!({"screen": "SUCCESS", "data": {"extension_message_response": {"params": params}}})
}

fn ask(server: &Server, request: &Value) -> Value {
    phone::ask(server, "/home", request)
}

/// Returns `true` if the signature is valid by *Standard Webhooks*: HMAC-SHA256 over ID, time and
/// body.
fn is_signed(asked: &Request) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(SECRET).unwrap()).unwrap();
    mac.update(
        format!(
            "{}.{}.",
            asked.header("webhook-id"),
            asked.header("webhook-timestamp")
        )
        .as_bytes(),
    );
    mac.update(&asked.body);
    asked.header("webhook-signature")
        == format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[test]
fn request_reaches_upstream_unchanged_and_response_is_encrypted() {
    let program = ScriptedServer::start(clinic);
    let server =
        serve(&flow(&program.url(), "").replace("lead =", "token_signature = \"off\"\nlead ="));
    let texts = [
        r#"{"version":"3.0","action":"INIT","screen":"","data":{},"flow_token":"t","flow_token_signature":"a.b.c"}"#,
        r#"{"version":"3.0","action":"data_exchange","screen":"NAME","flow_token":"t","data":{"price":1.50, "id":123456789012345678901234567890}}"#,
        r#"{"version":"3.0","action":"BACK","screen":"TIME","flow_token":"t","new":{"odd":1e3}}"#,
    ];
    let answers = texts.map(|text| {
        let sealed = phone::seal_bytes(PUBLIC_KEY, text.as_bytes());
        sealed.open(&sealed.post(&server, "/home"))
    });
    assert_eq!(
        answers[0],
        json!({"screen": "NAME", "data": {"greeting": "Hello"}})
    );
    let time =
        json!({"version": "3.0", "screen": "TIME", "data": {"times": ["09:00"]}, "more": [1]});
    assert_eq!(answers[1], time, "with all that it holds");
    assert_eq!(
        answers[2],
        json!({"screen": "NAME", "data": {"left": "TIME"}})
    );
    let asked = program.asked();
    assert_eq!(asked.len(), 3);
    for (asked, text) in asked.iter().zip(texts) {
        assert_eq!(
            String::from_utf8_lossy(&asked.body),
            text,
            "as it came, to the byte"
        );
        assert!(is_signed(asked), "{asked:?}");
        assert_eq!(asked.header("content-type"), "application/json");
    }
}

#[test]
fn request_that_flowgate_cannot_parse_reaches_upstream() {
    let program = ScriptedServer::start(|_| Behavior::show(&json!({"screen": "NAME"})));
    let server = serve(&flow(&program.url(), ""));
    let half =
        r#"{"version":"3.0","action":"INIT","flow_token":"t","new":"half a character: \ud800"}"#;
    let sealed = phone::seal_bytes(PUBLIC_KEY, half.as_bytes());
    assert_eq!(
        sealed.open(&sealed.post(&server, "/home")),
        json!({"screen": "NAME"})
    );
    assert_eq!(String::from_utf8_lossy(&program.asked()[0].body), half);
}

#[test]
fn same_bytes_get_same_id_and_response() {
    let program = ScriptedServer::start(|asked| {
        Behavior::show(
            &json!({"screen": "NAME", "data": {"at": asked.header("webhook-timestamp"), "of": asked.body.len()}}),
        )
    });
    let server = serve(&flow(&program.url(), ""));
    let request = json!({"version": "3.0", "action": "INIT", "flow_token": "t"});
    let sealed = phone::seal(&request);
    let first = sealed.post(&server, "/home");
    assert_eq!(first.status, 200);
    program.set_behavior(|_| Behavior::show(&json!({"screen": "OTHER"})));
    assert_eq!(
        sealed.post(&server, "/home").text(),
        first.text(),
        "one key and IV never seal two answers"
    );
    assert_eq!(ask(&server, &request), json!({"screen": "OTHER"}));
    let ids: Vec<String> = program
        .asked()
        .iter()
        .map(|asked| asked.header("webhook-id").to_owned())
        .collect();
    assert!(
        ids[0] == ids[1] && ids[0] != ids[2] && ids.len() == 3,
        "{ids:?}"
    );
    assert!(
        ids.iter().all(|id| id.len() == 32 && !id.contains('.')),
        "{ids:?}"
    );
}

#[test]
fn ping_and_error_notification_never_reach_upstream() {
    let program = ScriptedServer::start(clinic);
    let server = serve(&flow(&program.url(), ""));
    assert_eq!(
        ask(&server, &json!({"version": "3.0", "action": "ping"})),
        json!({"data": {"status": "active"}})
    );
    let complaint = json!({"error": "invalid-screen-transition", "error_message": "no way"});
    assert_eq!(
        ask(&server, &exchange("NAME", "t", &complaint)),
        json!({"data": {"acknowledged": true}})
    );
    assert!(program.asked().is_empty(), "{:?}", program.asked());
    assert!(server.submissions().is_empty() && server.rows(&["drafts"]).is_empty());
    assert_eq!(server.rows(&["flows", "errors"]).len(), 1);
}

#[test]
fn completion_is_stored_once_and_repeated_without_upstream() {
    let program = ScriptedServer::start(clinic);
    let server = serve(&flow(&program.url(), ""));
    server.add_agent("ann", &[]);
    ask(
        &server,
        &exchange("NAME", "t", &json!({"name": "Ann", "phone": null})),
    );
    let draft = &server.rows(&["drafts"])[0];
    assert_eq!(
        (&draft["data"], &draft["screen"]),
        (&json!({"name": "Ann", "phone": null}), &json!("TIME"))
    );

    let last = phone::seal(&exchange("TIME", "t", &json!({"time": "09:00"})));
    let answer = last.post(&server, "/home");
    let id = program.asked()[1].header("webhook-id").to_owned();
    assert_eq!(last.open(&answer), ended("t", &id));
    assert_eq!(
        last.post(&server, "/home").text(),
        answer.text(),
        "the same bytes get the same bytes"
    );
    assert_eq!(
        ask(&server, &exchange("TIME", "t", &json!({"time": "09:00"}))),
        ended("t", &id),
        "a second press"
    );
    assert_eq!(
        ask(&server, &exchange("NAME", "t", &json!({"name": "Bob"}))),
        ended("t", &id),
        "and one on the way"
    );
    assert_eq!(
        program.asked().len(),
        2,
        "it was asked for each screen once"
    );

    let submissions = server.submissions();
    assert_eq!(submissions.len(), 1);
    assert_eq!(
        submissions[0]["data"],
        json!({"name": "Ann", "phone": null, "time": "09:00"})
    );
    eventually("it has become a lead", || {
        (server.submissions()[0]["agent"] == "ann").then_some(())
    });
    assert!(server.rows(&["drafts"]).is_empty());
    assert_eq!(
        ask(
            &server,
            &json!({"version": "3.0", "action": "INIT", "flow_token": "t"})
        )["screen"],
        "NAME"
    );
}

#[test]
fn fifty_copies_at_once_are_one_submission() {
    let program = ScriptedServer::start(clinic);
    let server = serve(&flow(&program.url(), ""));
    ask(&server, &exchange("NAME", "t", &json!({"name": "Ann"})));
    let copies: Vec<Sealed> = (0..50)
        .map(|_| phone::seal(&exchange("TIME", "t", &json!({"time": "09:00"}))))
        .collect();
    let answers = all_at_once(copies.len(), |number| {
        let copy = &copies[number];
        copy.open(&copy.post(&server, "/home"))
    });
    for answer in &answers {
        assert_eq!(
            answer, &answers[0],
            "all have the end of the one that was taken"
        );
    }
    assert!(
        answers[0]["data"]["extension_message_response"]["params"]["visit"].is_string(),
        "{}",
        answers[0]
    );
    let submissions = server.submissions();
    assert_eq!(submissions.len(), 1);
    assert_eq!(
        submissions[0]["data"],
        json!({"name": "Ann", "time": "09:00"})
    );
}

#[test]
fn used_token_is_refused_if_configured() {
    let program = ScriptedServer::start(clinic);
    let server =
        serve(&flow(&program.url(), "").replace("lead =", "resubmit = \"refuse\"\nlead ="));
    assert_eq!(
        ask(&server, &exchange("TIME", "t", &json!({"time": "09:00"})))["screen"],
        "SUCCESS"
    );
    for request in [
        exchange("TIME", "t", &json!({"time": "09:00"})),
        json!({"version": "3.0", "action": "INIT", "flow_token": "t"}),
        json!({"version": "3.0", "action": "BACK", "screen": "TIME", "flow_token": "t"}),
    ] {
        let sealed = phone::seal(&request);
        let answer = sealed.post(&server, "/home");
        assert_eq!(answer.status, 427, "{request}");
        assert!(
            sealed.open(&Answer {
                status: 200,
                ..answer
            })["error_msg"]
                .is_string(),
            "{request}"
        );
    }
    assert_eq!(program.asked().len(), 1, "it is not asked again");
    assert_eq!(server.submissions().len(), 1);
}

/// Returns the config of [`flow`] with a booking of the slot in field `slot`. Each slot has one
/// place.
fn booking(program: &ScriptedServer) -> String {
    let (_, calendar) = BOOKING_FLOW.split_once("[calendars").unwrap();
    let booking = "booking = { calendar = \"chair\", date = \"slot\", time = \"slot\" }\nlead =";
    let tables = flow(&program.url(), "").replace("lead =", booking);
    format!(
        "{tables}[calendars{}",
        calendar.replace("capacity = 3", "capacity = 1")
    )
}

#[test]
fn lost_slot_overrides_completion_of_upstream() {
    let program = ScriptedServer::start(clinic);
    let server = serve(&booking(&program));
    let free = server
        .rows(&["slots", "list", "--calendar", "chair", "--limit", "1"])
        .remove(0);
    let slot = format!(
        "{}T{}",
        free["date"].as_str().unwrap(),
        free["time"].as_str().unwrap()
    );
    assert_eq!(
        ask(&server, &exchange("TIME", "a", &json!({"slot": slot})))["screen"],
        "SUCCESS"
    );

    let gone = ask(
        &server,
        &exchange("TIME", "b", &json!({"slot": slot, "name": "Bob"})),
    );
    assert_eq!(gone["screen"], "TIME");
    assert!(gone["data"]["error_message"].is_string(), "{gone}");
    let left = gone["data"]["slots"].as_array().unwrap();
    assert!(
        !left.is_empty() && left.iter().all(|other| other["id"] != slot.as_str()),
        "{left:?}"
    );
    assert_eq!(
        server.rows(&["drafts"])[0]["data"]["name"],
        "Bob",
        "what was answered stays"
    );
    assert_eq!(server.submissions().len(), 1);

    let id = || {
        program
            .asked()
            .last()
            .unwrap()
            .header("webhook-id")
            .to_owned()
    };
    let done = ask(
        &server,
        &exchange("TIME", "b", &json!({"slot": left[0]["id"]})),
    );
    assert_eq!(
        done,
        ended("b", &id()),
        "the end that the program said last"
    );
    assert_eq!(
        ask(
            &server,
            &exchange("TIME", "b", &json!({"slot": left[0]["id"]}))
        ),
        done
    );
    assert_eq!(server.submissions()[0]["data"]["name"], "Bob");
}

#[test]
fn completion_without_slot_is_not_accepted() {
    let program = ScriptedServer::start(clinic);
    let server = serve(&booking(&program));
    let back = ask(&server, &exchange("TIME", "t", &json!({"name": "Ann"})));
    assert_eq!(back["screen"], "TIME");
    assert!(
        back["data"]["error_message"]
            .as_str()
            .unwrap()
            .contains("slot"),
        "{back}"
    );
    assert!(server.submissions().is_empty());
    assert_eq!(server.rows(&["drafts"])[0]["data"], json!({"name": "Ann"}));
    let is_warning = |line: &&str| {
        line.contains("WARN") && line.contains("completed a form that can't be accepted")
    };
    assert_eq!(
        server.log().lines().filter(is_warning).count(),
        1,
        "its owner is told: {}",
        server.log()
    );
}

#[test]
fn completion_without_slot_leads_back_to_chosen_day() {
    let program = ScriptedServer::start(|asked| {
        Behavior::show(&match asked.json()["screen"].as_str() {
            Some("LAST") => end("v"),
            _ => json!({"screen": "LAST", "data": {}}),
        })
    });
    let screens = r#"screens = [
    { name = "DAY", fields = { day = { type = "date" } } },
    { name = "SLOT", data = { slots = { slots = "chair", day = "day" } }, fields = { slot = {} } },
    { name = "LAST", final = true, fields = { name = {} } },
]
booking ="#;
    let server = serve(&booking(&program).replace("booking =", screens));
    let day = in_days(5);
    ask(&server, &exchange("DAY", "t", &json!({"day": day})));
    let back = ask(&server, &exchange("LAST", "t", &json!({"name": "Ann"})));
    assert_eq!(back["screen"], "SLOT", "where it is asked for: {back}");
    let slots = ids(&back["data"]["slots"]);
    assert!(
        !slots.is_empty() && slots.iter().all(|slot| slot.starts_with(&day)),
        "{slots:?}"
    );
    assert_eq!(
        server.rows(&["drafts"])[0]["data"],
        json!({"day": day, "name": "Ann"})
    );
}

#[test]
fn completion_without_form_contains_flow_token() {
    let program = ScriptedServer::start(|_| Behavior::show(&end("closed")));
    let server = serve(&flow(&program.url(), ""));
    for action in ["INIT", "BACK"] {
        let request =
            json!({"version": "3.0", "action": action, "screen": "NAME", "flow_token": "t"});
        assert_eq!(ask(&server, &request), ended("t", "closed"), "{action}");
        let request = json!({"version": "3.0", "action": action, "screen": "NAME"});
        assert_eq!(
            ask(&server, &request),
            ended("unused", "closed"),
            "{action}"
        );
    }
    assert!(server.submissions().is_empty() && server.rows(&["drafts"]).is_empty());
}

#[test]
fn invalid_field_is_answered_without_upstream() {
    let program = ScriptedServer::start(clinic);
    let screens = "screens = [{ name = \"NAME\", fields = { email = { type = \"email\" } } }, { name = \"TIME\", final = true }]\nlead =";
    let server = serve(&flow(&program.url(), "").replace("lead =", screens));
    let back = ask(
        &server,
        &exchange("NAME", "t", &json!({"email": "nowhere"})),
    );
    assert_eq!(back["screen"], "NAME");
    assert!(back["data"]["error_message"].is_string(), "{back}");
    assert!(program.asked().is_empty());
    assert_eq!(
        ask(
            &server,
            &exchange("NAME", "t", &json!({"email": "ann@example.com"}))
        )["screen"],
        "TIME"
    );
}

#[test]
fn oversized_draft_is_refused_on_its_screen() {
    let program = ScriptedServer::start(|_| Behavior::show(&json!({"screen": "NAME"})));
    let server = serve(&flow(&program.url(), ""));
    let answers: Vec<Value> = (0..6)
        .map(|number| {
            let part = json!({format!("part{number}"): "x".repeat(180_000)});
            ask(&server, &exchange("NAME", "t", &part))
        })
        .collect();
    assert_eq!(answers[4], json!({"screen": "NAME"}));
    assert_eq!(
        answers[5],
        json!({"screen": "NAME", "data": {"error_message": "Das ist zu viel."}})
    );
    let stored_draft = server.rows(&["drafts"]).remove(0);
    assert_eq!(
        stored_draft["data"].as_object().unwrap().len(),
        5,
        "what was there stays"
    );
}

#[test]
fn largest_upstream_response_is_encrypted_and_cached() {
    let frame = json!({"screen": "NAME", "data": {"image": ""}})
        .to_string()
        .len();
    let program = ScriptedServer::start(move |_| {
        Behavior::show(&json!({"screen": "NAME", "data": {"image": "x".repeat((1 << 20) - frame)}}))
    });
    let server = serve(&flow(&program.url(), ""));
    let sealed = phone::seal(&json!({"version": "3.0", "action": "INIT", "flow_token": "t"}));
    let answer = sealed.post(&server, "/home");
    assert_eq!(
        sealed.open(&answer)["data"]["image"]
            .as_str()
            .unwrap()
            .len(),
        (1 << 20) - frame
    );
    assert!(
        sealed.post(&server, "/home").text() == answer.text(),
        "the same bytes get the same bytes"
    );
}

/// Flow whose upstream is never called.
const FLOW: &str = r#"
[flows.home]
encryption = "required"
private_keys = ["file:key.pem"]

[flows.home.upstream]
url = "http://127.0.0.1:9"
secret = "file:upstream.secret"
"#;

#[test]
fn unusable_upstream_secret_is_refused_before_listening() {
    let mut server = Server::stopped(FLOW);
    fs::write(
        server.folder().join("key.pem"),
        include_str!("../vectors/key_private.pem"),
    )
    .unwrap();
    let secret = server.folder().join("upstream.secret");
    let refused = |server: &Server, why: &str| {
        for command in [&["serve"][..], &["config", "check"]] {
            let output = server.cli(command);
            assert_eq!(output.code, 2, "{output:?}");
            assert!(
                output.err.contains("flow home") && output.err.contains(why),
                "{output:?}"
            );
            assert!(!output.err.contains("hush"), "{output:?}");
        }
    };
    refused(&server, "can't read the secret in");
    fs::write(&secret, "").unwrap();
    refused(&server, "is empty");
    fs::write(&secret, "hush hush\n").unwrap();
    refused(&server, "it is not valid base64");
    fs::write(&secret, "aHVzaA==\n").unwrap();
    refused(&server, "it has 4 bytes, but must have 24 to 64");
    server.configure(&FLOW.replace("file:upstream.secret", "env:UPSTREAM_SECRET_OF_NOBODY"));
    refused(&server, "env:UPSTREAM_SECRET_OF_NOBODY is not set");

    server.configure(FLOW);
    fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    let output = server.cli(&["config", "check"]);
    assert!(
        output.code == 0 && output.out.contains("upstream      http://127.0.0.1:9"),
        "{output:?}"
    );
    server.start_again();
}
