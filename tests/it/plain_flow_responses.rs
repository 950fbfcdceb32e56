//! Tests the responses of the plain flow byte by byte, because senders compare them.

use crate::support::form::Form;
use crate::support::http::{Answer, post, signature, signed_post};
use crate::support::{PLAIN_FLOW, Server, eventually};

const APPOINTMENT: &[u8] = include_bytes!("../vectors/plain_appointment.json");

const FLOW_WITHOUT_BOOKING: &str = r#"
[flows.appointment]
path = "/whatsapp-flow-webhook"
encryption = "none"
screens = [{ name = "APPOINTMENT_SCREEN", final = true, fields = { user_email = { type = "email" } } }]
lead = { team = "sales" }
"#;

#[test]
fn plain_response_is_exact_byte_for_byte() {
    let server = Server::start(FLOW_WITHOUT_BOOKING);
    let send = || {
        server
            .connect()
            .exchange(&signed_post("/whatsapp-flow-webhook", APPOINTMENT))
            .unwrap()
    };

    let first = send();
    assert_eq!(first.status, 200);
    assert_eq!(first.header("content-type"), Some("application/json"));
    let expected =
        r#"{"version":"3.0","screen":"SUCCESS_SCREEN","data":{"message":"Submission received"}}"#;
    assert_eq!(first.text(), expected);

    let second = send();
    assert_eq!(
        (second.status, second.text()),
        (200, r#"{"status":"already_processed"}"#)
    );

    server.settled();
    let submission = server.row(&["submissions", "list"]);
    assert_eq!(submission["flow"], "appointment");
    assert_eq!(submission["flow_token"], "unique_token_98765");
    assert_eq!(submission["customer"], "1234567890");
    assert_eq!(submission["data"]["user_email"], "user@example.com");
    assert_eq!(submission["data"]["appointment_slot"], "14:00");
}

fn refusal(answer: &Answer) -> (u16, String) {
    let body = answer.json();
    let message = body["error"]["message"].as_str().unwrap_or_default();
    assert!(!message.is_empty(), "a refusal says why: {answer:?}");
    (answer.status, answer.code())
}

#[test]
fn invalid_field_is_named_with_reason() {
    let server = Server::start(FLOW_WITHOUT_BOOKING);
    let form = Form::new("t")
        .on_screen("APPOINTMENT_SCREEN")
        .with("user_email", "not an address");
    let answer = server.post("/whatsapp-flow-webhook", &form);
    assert_eq!(refusal(&answer), (400, "invalid_field".to_owned()));
    assert!(answer.text().contains("user_email"), "{answer:?}");
    assert!(server.submissions().is_empty());
}

#[test]
fn malformed_submission_gets_400() {
    let server = Server::start(PLAIN_FLOW);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let bodies = [
        "",
        "{",
        "[]",
        "null",
        "\"a\"",
        "0",
        "{}",
        &deep,
        "{\"data\":[]}",
        "{\"action\":\"data_exchange\",\"data\":\"x\"}",
        "{\"action\":\"dance\",\"data\":{}}",
        "{\"action\":7}",
        "\u{feff}{}",
        "{\"action\":\"data_exchange\",\"flow_token\":7}",
        "{\"data\":{\"a\":1e999}}",
    ];
    for body in bodies {
        let answer = server
            .connect()
            .exchange(&signed_post("/form", body.as_bytes()))
            .unwrap();
        assert_eq!(
            answer.status,
            400,
            "{}: {answer:?}",
            &body[..body.len().min(60)]
        );
        refusal(&answer);
    }
    let not_utf8 = server
        .connect()
        .exchange(&signed_post("/form", b"{\"data\":{\"a\":\"\xff\xfe\"}}"))
        .unwrap();
    assert_eq!(not_utf8.status, 400);
    assert!(server.submissions().is_empty());
}

#[test]
fn missing_null_and_unknown_fields_are_preserved() {
    let server = Server::start(PLAIN_FLOW);
    let body = br#"{"version":"4.0","action":"data_exchange","screen":"ANY","flow_token":"t","new_field":{"a":1},
        "data":{"name":null,"emoji":"\ud83c\udfe1","big":12345678901234567890,"nested":{"b":[1,null]}}}"#;
    assert!(
        server
            .connect()
            .exchange(&signed_post("/form", body))
            .unwrap()
            .is_accepted()
    );
    let data = &server.row(&["submissions", "list"])["data"];
    assert!(
        data["name"].is_null() && data.get("name").is_some(),
        "{data}"
    );
    assert_eq!(data["emoji"], "🏡");
    assert_eq!(data["big"].to_string(), "12345678901234567890");
    assert_eq!(data["nested"]["b"][0], 1);
}

#[test]
fn only_signature_over_exact_bytes_is_accepted() {
    let server = Server::start(PLAIN_FLOW);
    let body = Form::new("t").body();
    let json = ("content-type", "application/json");
    let right = signature(crate::support::http::SECRET, &body);
    let wrong = signature("another secret", &body);
    let other_bytes = signature(crate::support::http::SECRET, b"{}");
    let send = |headers: &[(&str, &str)]| {
        server
            .connect()
            .exchange(&post("/form", headers, &body))
            .unwrap()
    };
    let name = "x-hub-signature-256";
    for header in [
        &wrong,
        &other_bytes,
        &right[7..],
        &right[..70],
        "",
        "sha256=",
        "sha256=zz",
        "sha1=abc",
    ] {
        assert_eq!(refusal(&send(&[json, (name, header)])).0, 401, "{header}");
    }
    assert_eq!(refusal(&send(&[json])).0, 401, "none at all");
    assert!(
        !send(&[json, (name, &right), (name, &wrong)]).is_accepted(),
        "two of them"
    );
    assert!(server.submissions().is_empty());
    assert!(send(&[json, (name, &right)]).is_accepted());
}

#[test]
fn older_listed_app_secret_is_accepted() {
    let server = Server::stopped("");
    let config = std::fs::read_to_string(server.folder().join("config.toml")).unwrap();
    let both = config.replace(
        "[\"text:",
        "[\"text:a newer one, thirty-two bytes long\", \"text:",
    );
    std::fs::write(server.folder().join("config.toml"), both + PLAIN_FLOW).unwrap();
    let mut server = server;
    server.start_again();
    assert!(server.post("/form", &Form::new("old secret")).is_accepted());
}

#[test]
fn ping_init_and_back_create_no_submission() {
    let screens =
        "screens = [{ name = \"ONE\", next = \"TWO\" }, { name = \"TWO\", final = true }]\n";
    let server = Server::start(&PLAIN_FLOW.replace("lead =", &format!("{screens}lead =")));
    let ask = |body: &str| {
        server
            .connect()
            .exchange(&signed_post("/form", body.as_bytes()))
            .unwrap()
    };
    let ping = ask(r#"{"version":"3.0","action":"ping"}"#);
    assert_eq!(
        (ping.status, ping.text()),
        (200, r#"{"data":{"status":"active"}}"#)
    );
    assert_eq!(
        ask(r#"{"version":"3.0","action":"INIT","screen":"","data":{},"flow_token":"T"}"#).json()["screen"],
        "ONE"
    );
    let back =
        ask(r#"{"version":"3.0","action":"BACK","screen":"TWO","data":{},"flow_token":"T"}"#);
    assert_eq!(
        (back.status, &back.json()["screen"]),
        (200, &"ONE".into()),
        "the screen before the one that is left"
    );
    assert!(server.submissions().is_empty());
}

#[test]
fn draft_of_earlier_screen_is_added_to_submission() {
    let screens =
        "screens = [{ name = \"ONE\", next = \"TWO\" }, { name = \"TWO\", final = true }]\n";
    let server = Server::start(&PLAIN_FLOW.replace("lead =", &format!("{screens}lead =")));
    server.add_agent("Ann", &[]);
    let one = server.post(
        "/form",
        &Form::new("t").on_screen("ONE").with("street", "Elm"),
    );
    assert_eq!(one.json()["screen"], "TWO");
    let draft = server.row(&["drafts", "list"]);
    assert_eq!(
        (&draft["flow_token"], &draft["screen"]),
        (&"t".into(), &"TWO".into())
    );
    assert_eq!(draft["data"]["street"], "Elm");
    assert!(server.submissions().is_empty() && server.rows(&["leads", "list"]).is_empty());

    assert!(
        server
            .post(
                "/form",
                &Form::new("t").on_screen("TWO").with("town", "Ulm")
            )
            .is_accepted()
    );
    let data = eventually("the submission is there", || server.submissions().pop())["data"].clone();
    assert_eq!(
        (&data["street"], &data["town"]),
        (&"Elm".into(), &"Ulm".into()),
        "{data}"
    );
    assert!(server.rows(&["drafts", "list"]).is_empty());
}
