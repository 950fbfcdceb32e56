//! What gateways answer, their traps included.

use serde_json::json;

use super::*;
use crate::config::{Config, Secret};

fn access(kind: &str) -> Access {
    let keys = match kind {
        "wasender" => "session_key = \"text:k\"\naccess_token = \"text:t\"\nwebhook_secret = \"text:x\"",
        _ => "url = \"https://a.example\"\napi_key = \"text:k\"\nwebhook_secret = \"text:x\"",
    };
    let text = format!("[gateways.one]\nkind = \"{kind}\"\nsession = \"17\"\n{keys}");
    let config = Config::parse(std::path::Path::new("config.toml"), &text).unwrap();
    let rule = config.gateways.into_values().next().unwrap().rule;
    let key = HeaderValue::from_static("Bearer 0123456789");
    Access { rule, key, token: None, webhook_secret: Secret::new("abcdefghij".to_owned()) }
}

fn reply(status: u16, body: &Value) -> Reply {
    let status = StatusCode::from_u16(status).unwrap();
    Reply { status, headers: HeaderMap::new(), body: Bytes::from(body.to_string()) }
}

fn seen(kind: &str, status: u16, body: &Value) -> Look {
    match health_in(&access(kind), &reply(status, body)) {
        Health::Seen(look) => look,
        Health::Busy(wait) => panic!("busy for {wait:?}"),
    }
}

fn answer(kind: &str, status: u16, body: &Value) -> Answer {
    answer_in(&access(kind), &reply(status, body))
}

#[test]
fn each_kind_names_its_state_in_its_own_place() {
    for (kind, body) in [
        ("wasender", json!({"status": "connected"})),
        ("wasender", json!({"success": true, "data": {"status": "connected"}})),
        ("waha", json!({"name": "default", "status": "connected"})),
        ("evolution", json!({"instance": {"instanceName": "17", "state": "connected"}})),
    ] {
        assert_eq!(seen(kind, 200, &body), Look::State("connected".to_owned()), "{body}");
    }
    assert_eq!(seen("waha", 200, &json!([])), Look::Unanswered("its answer names no state".to_owned()));
}

#[test]
fn a_key_that_is_wrong_and_a_session_that_is_not_there_are_told_from_a_gateway_that_fails() {
    for status in [401, 403, 404] {
        assert!(matches!(seen("waha", status, &json!({})), Look::Refused(_)), "{status}");
    }
    let failed = seen("evolution", 502, &json!({"message": "no\u{7} upstream"}));
    assert_eq!(failed, Look::Unanswered("answered 502 Bad Gateway: no upstream".to_owned()));
}

#[test]
fn one_that_is_asked_too_often_says_for_how_long() {
    let busy = |body: &Value| match health_in(&access("wasender"), &reply(429, body)) {
        Health::Busy(wait) => wait.get(),
        Health::Seen(look) => panic!("{look:?}"),
    };
    assert_eq!(busy(&json!({"retry_after": 30})), 30_000);
    assert_eq!(busy(&json!({})), 0);
    assert_eq!(busy(&json!({"retry_after": 999_999_999})), WAIT_MAX.get());
}

#[test]
fn a_200_may_be_a_failure_all_the_same() {
    let error = "WhatsApp session is not connected. Cannot restart.";
    for (kind, body) in [
        ("wasender", json!({"success": false, "error": error})),
        ("evolution", json!({"error": true, "message": error})),
    ] {
        assert_eq!(answer(kind, 200, &body), Answer::Failed(format!("answered 200 OK: {error}")), "{body}");
    }
    assert_eq!(answer("evolution", 200, &json!({"error": false})), Answer::Taken);
    assert_eq!(answer("waha", 422, &json!({})), Answer::Failed("answered 422 Unprocessable Entity".to_owned()));
}

#[test]
fn a_code_means_that_somebody_is_needed_and_a_state_is_taken_at_its_word() {
    let state = |word: &str| Answer::State(word.to_owned());
    assert_eq!(
        answer("wasender", 200, &json!({"success": true, "data": {"status": "NEED_SCAN", "qrCode": "2@x"}})),
        state("NEED_SCAN")
    );
    assert_eq!(answer("waha", 201, &json!({"name": "default", "status": "STARTING"})), state("STARTING"));
    assert_eq!(
        answer("evolution", 200, &json!({"pairingCode": null, "code": "2@x", "base64": "data:image/png"})),
        Answer::Code
    );
    assert_eq!(answer("evolution", 200, &json!({"instance": {"state": "open"}})), state("open"));
}

#[test]
fn words_that_hold_a_key_are_not_repeated() {
    for secret in ["0123456789", "abcdefghij"] {
        let body = json!({"message": format!("no instance for {secret}")});
        assert_eq!(seen("waha", 401, &body), Look::Refused("answered 401 Unauthorized".to_owned()));
    }
}
