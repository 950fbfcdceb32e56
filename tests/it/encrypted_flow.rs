//! Tests an encrypted flow from the view of phones: screens, a completion, and statuses for invalid
//! requests.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::http::{Answer, post};
use crate::support::phone::{self, PRIVATE_KEY};
use crate::support::{Server, eventually};

/// Flow of two screens. The last screen completes the form.
const FLOW: &str = r#"
[flows.home]
path = "/home"
encryption = "required"
private_keys = ["file:other.pem", "file:key.pem"]
lead = { team = "sales" }
screens = [
    { name = "LEAD_FORM", fields = { name = { type = "text", required = true }, email = { type = "email" } } },
    { name = "APPOINTMENT", final = true, fields = { slot = { type = "text" } } },
]
"#;

/// Flow that books a place for three customers per slot. The first screen asks for the slot, and
/// the second confirms it.
const BOOKING: &str = r#"
[flows.visit]
path = "/visit"
encryption = "required"
private_keys = ["file:key.pem"]
booking = { calendar = "chair", date = "slot", time = "slot" }
screens = [
    { name = "CHOICE", fields = { slot = { type = "text" } } },
    { name = "CONFIRM", final = true, fields = { name = { type = "text" } } },
]

[calendars.chair]
timezone = "Europe/Berlin"
hours = { mon = ["09:00-17:00"], tue = ["09:00-17:00"], wed = ["09:00-17:00"], thu = ["09:00-17:00"], fri = ["09:00-17:00"], sat = ["09:00-17:00"], sun = ["09:00-17:00"] }
slot_length = "1h"
capacity = 3
max_advance = "60d"
"#;

fn server(tables: &str) -> Server {
    let mut server = Server::stopped(tables);
    fs::write(server.folder().join("key.pem"), PRIVATE_KEY).unwrap();
    fs::write(
        server.folder().join("other.pem"),
        include_str!("../vectors/other_private.pem"),
    )
    .unwrap();
    server.start_again();
    server
}

fn vectors(text: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(text).unwrap();
    file["cases"].as_array().unwrap().clone()
}

/// Sends a vector unchanged, with its own headers.
fn send(server: &Server, case: &Value) -> Answer {
    let headers: Vec<(&str, &str)> = case["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    server
        .connect()
        .exchange(&post(
            "/home",
            &headers,
            case["body"].as_str().unwrap().as_bytes(),
        ))
        .unwrap()
}

fn bytes_16(hex: &Value) -> [u8; 16] {
    u128::from_str_radix(hex.as_str().unwrap(), 16)
        .unwrap()
        .to_be_bytes()
}

fn exchange(screen: &str, token: &str, data: &Value) -> Value {
    json!({"version": "3.0", "action": "data_exchange", "screen": screen, "flow_token": token, "data": data})
}

fn success(token: &str) -> Value {
    json!({"screen": "SUCCESS", "data": {"extension_message_response": {"params": {"flow_token": token}}}})
}

#[test]
fn every_valid_vector_gets_encrypted_response() {
    let server = server(FLOW);
    let screen = |name: &str| json!({"screen": name, "data": {}});
    for case in vectors(include_str!("../vectors/flow_good.json")) {
        let name = case["name"].as_str().unwrap();
        let answer = send(&server, &case);
        let opened = phone::open(
            bytes_16(&case["aes_key_hex"]),
            bytes_16(&case["iv_hex"]),
            &answer,
        );
        let token = "flow-3f1d0c52-7a5e-4d0b-9a34-5d2f5b8a7c10";
        match name {
            "init" | "init_sparse" | "back" | "token_gone_427" => {
                assert_eq!(opened, screen("LEAD_FORM"), "{name}");
            }
            "data_exchange" => assert_eq!(opened, screen("APPOINTMENT")),
            "data_exchange_error" => {
                let expected = json!({"screen": "LEAD_FORM", "data": {"error_message": "email: please enter a valid e-mail address."}});
                assert_eq!(opened, expected);
            }
            // The second vector arrives after the completion of the form with the same token.
            "data_exchange_final" | "token_signature_v4" => assert_eq!(opened, success(token)),
            "ping" | "error_notification" | "error_notification_key" => {
                assert_eq!(answer.text(), case["response_body"], "to the byte");
            }
            // The same request with other JSON escapes.
            "data_exchange_escaped_slashes" => {
                assert_eq!(opened, screen("APPOINTMENT"), "the same bytes as before");
            }
            other => panic!("{other} is new"),
        }
    }
    let submissions = server.submissions();
    assert_eq!(submissions.len(), 1);
    assert_eq!(submissions[0]["channel"], "encrypted");
    assert_eq!(
        submissions[0]["data"]["name"], "Zoë Ñandú 王小明 🏡",
        "the first screen's answers are in it"
    );
    assert_eq!(submissions[0]["data"]["slot"], "2027-01-04T09:00");
}

#[test]
fn every_invalid_vector_gets_its_status_only() {
    // One vector is encrypted for the other key, which is an older key of the flow in the other
    // tests.
    let server = server(&FLOW.replace("\"file:other.pem\", ", ""));
    for case in vectors(include_str!("../vectors/flow_bad.json")) {
        let (name, answer) = (&case["name"], send(&server, &case));
        let expected = case["expect_status"].as_array().unwrap();
        assert!(
            expected.contains(&json!(answer.status)),
            "{name}: {} {}",
            answer.status,
            answer.text()
        );
        if [421, 432].contains(&answer.status) {
            assert_eq!(answer.text(), "", "{name}");
        }
    }
    assert!(server.submissions().is_empty());
}

#[test]
fn repeated_completion_creates_one_submission() {
    let server = server(FLOW);
    server.add_agent("ann", &[]);
    let ask = |request: &Value| phone::ask(&server, "/home", request);
    let first = ask(&exchange("LEAD_FORM", "t", &json!({"name": "Ann"})));
    assert_eq!(first, json!({"screen": "APPOINTMENT", "data": {}}));
    assert_eq!(server.rows(&["drafts"])[0]["data"], json!({"name": "Ann"}));

    let last = phone::seal(&exchange("APPOINTMENT", "t", &json!({"slot": "any"})));
    let answer = last.post(&server, "/home");
    assert_eq!(last.open(&answer), success("t"));
    assert_eq!(
        last.post(&server, "/home").text(),
        answer.text(),
        "the same bytes get the same bytes"
    );
    assert_eq!(
        ask(&exchange("APPOINTMENT", "t", &json!({"slot": "any"}))),
        success("t"),
        "a second press"
    );
    assert_eq!(
        ask(&exchange("LEAD_FORM", "t", &json!({"name": "Ann"}))),
        success("t"),
        "and one on the way"
    );

    let submissions = server.submissions();
    assert_eq!(submissions.len(), 1);
    assert_eq!(
        submissions[0]["data"],
        json!({"name": "Ann", "slot": "any"})
    );
    eventually("it has become a lead", || {
        (server.submissions()[0]["agent"] == "ann").then_some(())
    });
    assert!(server.rows(&["drafts"]).is_empty());
}

#[test]
fn unused_token_separates_forms_by_answers() {
    let server = server(FLOW);
    let mut ends = Vec::new();
    for name in ["Ann", "Bob", "Ann"] {
        let answer = phone::ask(
            &server,
            "/home",
            &exchange("APPOINTMENT", "unused", &json!({"name": name})),
        );
        let params = &answer["data"]["extension_message_response"]["params"];
        assert_eq!(params["flow_token"], "unused");
        ends.push(params["flowgate_ref"].as_str().unwrap().to_owned());
    }
    assert_eq!(
        server.submissions().len(),
        2,
        "the same answers within minutes are a second press"
    );
    assert_eq!(
        (ends[0] == ends[2], ends[0] == ends[1]),
        (true, false),
        "the stored success again"
    );
    let next = phone::ask(
        &server,
        "/home",
        &exchange("LEAD_FORM", "unused", &json!({"name": "Cid"})),
    );
    assert_eq!(next, json!({"screen": "APPOINTMENT", "data": {}}));
    assert!(
        server.rows(&["drafts"]).is_empty(),
        "nothing tells whose draft it would be"
    );
}

#[test]
fn lost_slot_leads_back_to_free_slots() {
    let server = server(BOOKING);
    let free = server
        .rows(&["slots", "list", "--calendar", "chair", "--limit", "1"])
        .remove(0);
    let slot = format!(
        "{}T{}",
        free["date"].as_str().unwrap(),
        free["time"].as_str().unwrap()
    );
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let phones: Vec<_> = (0..20)
            .map(|number| {
                let (server, slot) = (&server, &slot);
                scope.spawn(move || {
                    let token = format!("t{number}");
                    phone::ask(
                        server,
                        "/visit",
                        &exchange("CHOICE", &token, &json!({"slot": slot})),
                    );
                    phone::ask(
                        server,
                        "/visit",
                        &exchange("CONFIRM", &token, &json!({"name": "Ann"})),
                    )
                })
            })
            .collect();
        phones
            .into_iter()
            .map(|phone| phone.join().unwrap())
            .collect()
    });
    let (booked, refused): (Vec<_>, Vec<_>) = answers
        .iter()
        .partition(|answer| answer["screen"] == "SUCCESS");
    assert_eq!((booked.len(), refused.len()), (3, 17));
    for answer in refused {
        assert_eq!(answer["screen"], "CHOICE");
        assert!(answer["data"]["error_message"].is_string());
        let left = answer["data"]["slots"].as_array().unwrap();
        assert!(
            !left.is_empty() && left.iter().all(|other| other["id"] != slot.as_str()),
            "{left:?}"
        );
    }
}

#[test]
fn screens_show_free_slots_and_earlier_answers() {
    let screens = r#"
    { name = "DAY", data = { days = { dates = "chair" }, greeting = { value = "Welcome" } }, fields = { day = { type = "date" } } },
    { name = "CHOICE", data = { times = { slots = "chair", day = "day" } }, fields = { slot = { type = "text" } } },
    { name = "CONFIRM", final = true, data = { slot = { answer = "slot" } }, fields = { name = { type = "text" } } },
]"#;
    let (head, rest) = BOOKING.split_once("screens = [").unwrap();
    let (_, tail) = rest.split_once("]\n").unwrap();
    let server = server(&format!("{head}screens = [{screens}\n{tail}"));
    let ask = |request: &Value| phone::ask(&server, "/visit", request);
    let init = ask(&json!({"version": "3.0", "action": "INIT", "flow_token": "t"}));
    assert_eq!(
        (&init["screen"], &init["data"]["greeting"]),
        (&json!("DAY"), &json!("Welcome"))
    );
    let day = init["data"]["days"][1]["id"].as_str().unwrap();

    let choice = ask(&exchange("DAY", "t", &json!({"day": day})));
    assert_eq!(choice["screen"], "CHOICE");
    let slots = choice["data"]["times"].as_array().unwrap().clone();
    assert_eq!(slots.len(), 8, "all of a day from nine to five");
    assert!(
        slots
            .iter()
            .all(|slot| slot["id"].as_str().unwrap().starts_with(day)),
        "{slots:?}"
    );

    let slot = &slots[2]["id"];
    let confirm = ask(&exchange("CHOICE", "t", &json!({"slot": slot})));
    assert_eq!(
        confirm,
        json!({"screen": "CONFIRM", "data": {"slot": slot}})
    );
    let back =
        ask(&json!({"version": "3.0", "action": "BACK", "screen": "CONFIRM", "flow_token": "t"}));
    assert_eq!(
        (&back["screen"], &back["data"]["times"]),
        (&json!("CHOICE"), &json!(slots)),
        "of the day chosen before"
    );

    // Three other customers take the slot in the meantime.
    for other in ["a", "b", "c"] {
        ask(&exchange("DAY", other, &json!({"day": day})));
        ask(&exchange("CHOICE", other, &json!({"slot": slot})));
        assert_eq!(
            ask(&exchange("CONFIRM", other, &json!({"name": other}))),
            success(other)
        );
    }
    let gone = ask(&exchange("CONFIRM", "t", &json!({"name": "Ann"})));
    assert_eq!(gone["screen"], "CHOICE");
    assert!(
        gone["data"]["error_message"].is_string() && gone["data"].get("slots").is_none(),
        "{gone}"
    );
    let left = gone["data"]["times"].as_array().unwrap();
    assert!(left.len() == 7 && !left.contains(&slots[2]), "{left:?}");
    ask(&exchange("CHOICE", "t", &json!({"slot": left[0]["id"]})));
    assert_eq!(
        ask(&exchange("CONFIRM", "t", &json!({"name": "Ann"}))),
        success("t")
    );
}

#[test]
fn try_completes_encrypted_form_screen_by_screen() {
    let server = server(&format!("{FLOW}{BOOKING}"));
    server.add_agent("Ann", &[]);
    let output = server.cli(&["try", "--flow", "home"]);
    assert_eq!(output.code, 0, "{output:?}");
    for part in [
        "INIT",
        "LEAD_FORM",
        "APPOINTMENT",
        "SUCCESS",
        "Ann is its agent",
    ] {
        assert!(output.out.contains(part), "{part} is not in {}", output.out);
    }
    let tried = server.row(&["try", "--flow", "visit", "--data", r#"{"name":"Bob"}"#]);
    assert_eq!(tried["response"]["body"]["screen"], "SUCCESS");
    assert_eq!(tried["submission"]["data"]["name"], "Bob");
    assert!(tried["booking"]["id"].is_u64(), "{tried}");

    let refused = server.cli(&["try", "--flow", "home", "--data", r#"{"email":"nowhere"}"#]);
    assert_eq!(refused.code, 1);
    assert!(
        refused
            .err
            .contains("email: please enter a valid e-mail address."),
        "{refused:?}"
    );
}

#[test]
fn new_key_file_is_private_and_never_overwritten() {
    let mut server =
        Server::stopped(&FLOW.replace("file:other.pem\", \"file:key.pem", "file:new.pem"));
    let made = server.cli(&["keys", "new", "new.pem"]);
    assert_eq!(made.code, 0, "{made:?}");
    let file = server.folder().join("new.pem");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let private = fs::read_to_string(&file).unwrap();
    assert!(
        !made.out.contains(private.lines().nth(1).unwrap()),
        "the private half is never shown"
    );

    let again = server.cli(&["keys", "new", "new.pem"]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("already exists"), "{again:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), private);

    let shown = server.row(&["keys", "show", "--flow", "home"]);
    assert_eq!(
        shown["private_key"]
            .as_str()
            .map(|place| place.ends_with("new.pem")),
        Some(true)
    );
    assert!(
        made.out.contains(shown["public_key"].as_str().unwrap()),
        "{made:?}"
    );
    assert_eq!(server.cli(&["keys", "show", "--flow", "away"]).code, 3);

    server.start_again();
    assert_eq!(server.cli(&["try"]).code, 0);
}

#[test]
fn unusable_key_is_refused_before_listening() {
    let server = Server::stopped(FLOW);
    let refused = |why: &str| {
        for command in [&["serve"][..], &["config", "check"]] {
            let output = server.cli(command);
            assert_eq!(output.code, 2, "{output:?}");
            assert!(
                output.err.contains("flow home") && output.err.contains(why),
                "{output:?}"
            );
        }
    };
    refused("other.pem");
    fs::write(server.folder().join("other.pem"), "").unwrap();
    refused("is empty");
    fs::write(
        server.folder().join("other.pem"),
        include_str!("../vectors/key_public.pem"),
    )
    .unwrap();
    refused("is a \"PUBLIC KEY\", not an RSA private key");
    fs::write(
        server.folder().join("other.pem"),
        include_str!("../vectors/key_private_encrypted.pem"),
    )
    .unwrap();
    refused("set `passphrase`");
}
