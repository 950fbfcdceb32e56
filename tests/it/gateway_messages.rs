//! Tests the messages of unofficial gateways: only authenticated messages are accepted, each
//! message once, and some texts are forms.

use serde_json::json;

use crate::support::gateway::{Gateway, KEY, KINDS, Kind, SECRET, TOKEN, hmac};
use crate::support::http::post;
use crate::support::{BOOKING_FLOW, Server, in_days};

const FORM: &str = r#"probe_interval = "1h"
forms = [{ flow = "visit", pattern = '(?i)book (?<date>\S+) (?<time>\S+)' }]"#;

#[test]
fn matching_text_is_one_submission_with_slot() {
    for kind in KINDS {
        let shop = Gateway::start(kind);
        let server = Server::start(&format!("{BOOKING_FLOW}{}", shop.config(FORM)));
        let day = in_days(7);
        let text = format!("Book {day} 09:00");
        for _ in 0..3 {
            let answer = shop.send(&server, &shop.message("M1", false, &text));
            assert_eq!(
                (answer.status, answer.text()),
                (200, r#"{"status":"received"}"#),
                "{kind:?}"
            );
        }
        shop.send(&server, &shop.message("M2", true, &text));
        shop.send(&server, &shop.message("M3", false, "do you have time?"));
        let all = server.submissions();
        assert_eq!(all.len(), 1, "{kind:?}: {all:?}");
        let one = &all[0];
        assert_eq!(
            (&one["flow"], &one["channel"], &one["customer"]),
            (&json!("visit"), &json!("gateway"), &json!("4915112345678"))
        );
        assert_eq!(one["data"], json!({"date": day, "time": "09:00"}));
        assert_eq!(server.slot(&day, "09:00")["taken"], 1);
        let settled = server.settled();
        assert_eq!(
            (&settled["jobs"]["dead"], &settled["leads"]["open"]),
            (&json!(0), &json!(1))
        );
    }
}

#[test]
fn message_id_deduplicates_text_after_kill() {
    let shop = Gateway::start(Kind::Waha);
    let mut server = Server::start(&format!("{BOOKING_FLOW}{}", shop.config(FORM)));
    let text = format!("book {} 10:00", in_days(7));
    shop.send(&server, &shop.message("M1", false, &text));
    server.kill9();
    server.start_again();
    shop.send(&server, &shop.message("M1", false, &text));
    shop.send(&server, &shop.message("M2", false, &text));
    assert_eq!(server.submissions().len(), 2);
    assert_eq!(server.cli(&["check"]).code, 0);
}

#[test]
fn lost_slot_is_conflict() {
    let shop = Gateway::start(Kind::Evolution);
    let server = Server::start(&format!("{BOOKING_FLOW}{}", shop.config(FORM)));
    let text = format!("book {} 11:00", in_days(7));
    for id in ["M1", "M2", "M3", "M4"] {
        shop.send(&server, &shop.message(id, false, &text));
    }
    let states: Vec<_> = server
        .submissions()
        .into_iter()
        .map(|row| row["state"].clone())
        .collect();
    assert_eq!(
        states.iter().filter(|state| *state == "conflict").count(),
        1,
        "{states:?}"
    );
}

#[test]
fn unauthenticated_message_is_refused_without_logging_secrets() {
    for kind in KINDS {
        let shop = Gateway::start(kind);
        let server = Server::start(&format!("{BOOKING_FLOW}{}", shop.config(FORM)));
        let mut message = shop.message("M1", false, &format!("book {} 09:00", in_days(7)));
        message["apikey"] = json!("another-key-11aa");
        message["sessionId"] = json!(KEY);
        let body = message.to_string().into_bytes();
        let json_type = ("content-type", "application/json");
        let other = hmac("another secret", &body);
        let wrong: Vec<Vec<(&str, &str)>> = match kind {
            Kind::Wasender => vec![
                vec![json_type],
                vec![json_type, ("x-webhook-signature", "wrong")],
                vec![
                    json_type,
                    ("x-webhook-signature", SECRET),
                    ("x-webhook-signature", SECRET),
                ],
            ],
            Kind::Waha => vec![
                vec![json_type],
                vec![json_type, ("x-webhook-hmac", &other)],
                vec![json_type, ("x-webhook-hmac", SECRET)],
            ],
            Kind::Evolution => vec![vec![json_type], vec![json_type, ("apikey", KEY)]],
        };
        for headers in wrong {
            let answer = server
                .connect()
                .exchange(&post("/gateways/shop", &headers, &body))
                .unwrap();
            assert_eq!(
                (answer.status, answer.code()),
                (401, "bad_signature".to_owned()),
                "{kind:?} {headers:?}"
            );
        }
        assert!(server.submissions().is_empty());
        assert_eq!(shop.send(&server, &message).status, 200);
        for path in ["/gateways/other", "/gateways/", "/gateways/shop/x"] {
            let answer = server
                .connect()
                .exchange(&post(path, &[json_type], &body))
                .unwrap();
            assert_eq!(answer.status, 404, "{path}");
        }
        assert_eq!(server.get("/gateways/shop").status, 405);
        server.settled();
        let log = server.log();
        for secret in [KEY, TOKEN, SECRET, "another-key-11aa"] {
            assert!(!log.contains(secret), "{secret}");
        }
        let output = server.cli(&["config", "check"]);
        assert!(
            output
                .out
                .contains(&format!("gateway shop ({})", kind.name())),
            "{}",
            output.out
        );
        assert!(
            output.out.contains("/gateways/shop") && !output.out.contains(KEY),
            "{}",
            output.out
        );
    }
}

#[test]
fn unknown_gateway_event_is_acknowledged_and_ignored() {
    let shop = Gateway::start(Kind::Evolution);
    let server = Server::start(&format!("{BOOKING_FLOW}{}", shop.config(FORM)));
    for event in [
        json!({}),
        json!({"event": "messages.upsert", "instance": "shop"}),
        json!({"event": "messages.upsert", "instance": "shop", "data": [1, null, {"key": 5}]}),
        json!({"event": "something.new", "instance": "shop", "data": {"deep": [[[]]]}}),
        json!({"event": 5}),
    ] {
        assert_eq!(shop.send(&server, &event).status, 200, "{event}");
    }
    let mut foreign = shop.message("M1", false, &format!("book {} 09:00", in_days(7)));
    foreign["instance"] = json!("another");
    assert_eq!(shop.send(&server, &foreign).status, 200);
    assert!(server.submissions().is_empty());
}
