//! Tests responses of gateways, including errors with status 200.

use serde_json::json;

use super::*;
use crate::config::{Config, Secret};

fn credentials(kind: &str) -> GatewayCredentials {
    let keys = match kind {
        "wasender" => {
            "session_key = \"text:k\"\naccess_token = \"text:t\"\nwebhook_secret = \"text:x\""
        }
        _ => "url = \"https://a.example\"\napi_key = \"text:k\"\nwebhook_secret = \"text:x\"",
    };
    let text = format!("[gateways.one]\nkind = \"{kind}\"\nsession = \"17\"\n{keys}");
    let config = Config::parse(std::path::Path::new("config.toml"), &text).unwrap();
    let settings = config.gateways.into_values().next().unwrap().settings;
    let key = HeaderValue::from_static("Bearer 0123456789");
    GatewayCredentials {
        settings,
        key,
        token: None,
        webhook_secret: Secret::new("abcdefghij".to_owned()),
    }
}

fn response(status: u16, body: &Value) -> FullResponse {
    let status = StatusCode::from_u16(status).unwrap();
    FullResponse {
        status,
        headers: HeaderMap::new(),
        body: Bytes::from(body.to_string()),
    }
}

fn probe_of(kind: &str, status: u16, body: &Value) -> Probe {
    match parse_probe(&credentials(kind), &response(status, body)) {
        ProbeResult::Probed(probe) => probe,
        ProbeResult::RateLimited(wait) => panic!("busy for {wait:?}"),
    }
}

fn result_of(kind: &str, status: u16, body: &Value) -> ActionResult {
    parse_action_result(&credentials(kind), &response(status, body))
}

#[test]
fn state_is_found_for_each_kind() {
    for (kind, body) in [
        ("wasender", json!({"status": "connected"})),
        (
            "wasender",
            json!({"success": true, "data": {"status": "connected"}}),
        ),
        ("waha", json!({"name": "default", "status": "connected"})),
        (
            "evolution",
            json!({"instance": {"instanceName": "17", "state": "connected"}}),
        ),
    ] {
        assert_eq!(
            probe_of(kind, 200, &body),
            Probe::State("connected".to_owned()),
            "{body}"
        );
    }
    assert_eq!(
        probe_of("waha", 200, &json!([])),
        Probe::Unanswered("the response contains no session state".to_owned())
    );
}

#[test]
fn refused_probe_differs_from_failed_gateway() {
    for status in [401, 403, 404] {
        assert!(
            matches!(probe_of("waha", status, &json!({})), Probe::Refused(_)),
            "{status}"
        );
    }
    let failed = probe_of("evolution", 502, &json!({"message": "no\u{7} upstream"}));
    assert_eq!(
        failed,
        Probe::Unanswered("responded with 502 Bad Gateway: no upstream".to_owned())
    );
}

#[test]
fn rate_limited_probe_has_retry_after() {
    let busy = |body: &Value| match parse_probe(&credentials("wasender"), &response(429, body)) {
        ProbeResult::RateLimited(wait) => wait.get(),
        ProbeResult::Probed(probe) => panic!("{probe:?}"),
    };
    assert_eq!(busy(&json!({"retry_after": 30})), 30_000);
    assert_eq!(busy(&json!({})), 0);
    assert_eq!(
        busy(&json!({"retry_after": 999_999_999})),
        RETRY_AFTER_MAX.get()
    );
}

#[test]
fn status_200_with_error_body_is_failure() {
    let error = "WhatsApp session is not connected. Cannot restart.";
    for (kind, body) in [
        ("wasender", json!({"success": false, "error": error})),
        ("evolution", json!({"error": true, "message": error})),
    ] {
        assert_eq!(
            result_of(kind, 200, &body),
            ActionResult::Failed(format!("responded with 200 OK: {error}")),
            "{body}"
        );
    }
    assert_eq!(
        result_of("evolution", 200, &json!({"error": false})),
        ActionResult::Accepted
    );
    assert_eq!(
        result_of("waha", 422, &json!({})),
        ActionResult::Failed("responded with 422 Unprocessable Entity".to_owned())
    );
}

#[test]
fn pairing_code_and_state_are_parsed() {
    let state = |name: &str| ActionResult::State(name.to_owned());
    assert_eq!(
        result_of(
            "wasender",
            200,
            &json!({"success": true, "data": {"status": "NEED_SCAN", "qrCode": "2@x"}})
        ),
        state("NEED_SCAN")
    );
    assert_eq!(
        result_of(
            "waha",
            201,
            &json!({"name": "default", "status": "STARTING"})
        ),
        state("STARTING")
    );
    assert_eq!(
        result_of(
            "evolution",
            200,
            &json!({"pairingCode": null, "code": "2@x", "base64": "data:image/png"})
        ),
        ActionResult::NeedsScan
    );
    assert_eq!(
        result_of("evolution", 200, &json!({"instance": {"state": "open"}})),
        state("open")
    );
}

#[test]
fn failure_reason_hides_keys() {
    for secret in ["0123456789", "abcdefghij"] {
        let body = json!({"message": format!("no instance for {secret}")});
        assert_eq!(
            probe_of("waha", 401, &body),
            Probe::Refused("responded with 401 Unauthorized".to_owned())
        );
    }
}
