//! Tests responses of gateways, including errors with status 200.

use serde_json::json;

use super::*;
use crate::config::{Config, Secret};

fn credentials(kind: &str) -> GatewayCredentials {
    let keys = match kind {
        "wasender" => "session_key = \"text:k\"\naccess_token = \"text:t\"",
        _ => "url = \"https://a.example\"\napi_key = \"text:k\"",
    };
    let text = format!(
        "[gateways.one]\nkind = \"{kind}\"\nsession = \"17\"\nwebhook_secret = \"text:x\"\n{keys}"
    );
    let config = Config::parse(std::path::Path::new("config.toml"), &text).unwrap();
    let settings = config.gateways.into_values().next().unwrap().settings;
    GatewayCredentials {
        settings,
        key: HeaderValue::from_static("Bearer 0123456789"),
        token: None,
        webhook_secret: Secret::new("abcdefghij".to_owned()),
    }
}

fn response(status: u16, body: &Value) -> FullResponse {
    FullResponse {
        status: StatusCode::from_u16(status).unwrap(),
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

#[test]
fn state_is_found_for_each_kind() {
    let nested = json!({"success": true, "data": {"status": "connected"}});
    let instance = json!({"instance": {"instanceName": "17", "state": "connected"}});
    let state = || Probe::State("connected".to_owned());
    let no_state = Probe::Unanswered("the response contains no session state".to_owned());
    for (kind, body, probe) in [
        ("wasender", json!({"status": "connected"}), state()),
        ("wasender", nested, state()),
        (
            "waha",
            json!({"name": "default", "status": "connected"}),
            state(),
        ),
        ("evolution", instance, state()),
        ("waha", json!([]), no_state),
    ] {
        assert_eq!(probe_of(kind, 200, &body), probe, "{body}");
    }
}

#[test]
fn refused_probe_differs_from_failed_gateway() {
    for status in [401, 403, 404] {
        let probe = probe_of("waha", status, &json!({}));
        assert!(matches!(probe, Probe::Refused(_)), "{status}");
    }
    let failed = probe_of("evolution", 502, &json!({"message": "no\u{7} upstream"}));
    let why = "responded with 502 Bad Gateway: no upstream";
    assert_eq!(failed, Probe::Unanswered(why.to_owned()));
}

#[test]
fn rate_limited_probe_has_retry_after() {
    let busy = |body: &Value| match parse_probe(&credentials("wasender"), &response(429, body)) {
        ProbeResult::RateLimited(wait) => wait.get(),
        ProbeResult::Probed(probe) => panic!("{probe:?}"),
    };
    assert_eq!(busy(&json!({"retry_after": 30})), 30_000);
    assert_eq!(busy(&json!({})), 0);
    let too_long = json!({"retry_after": 999_999_999});
    assert_eq!(busy(&too_long), RETRY_AFTER_MAX.get());
}

#[test]
fn action_result_depends_on_status_and_body() {
    let error = "WhatsApp session is not connected. Cannot restart.";
    let refused = || ActionResult::Failed(format!("responded with 200 OK: {error}"));
    let unprocessable = "responded with 422 Unprocessable Entity".to_owned();
    let state = |name: &str| ActionResult::State(name.to_owned());
    let qr_code = json!({"success": true, "data": {"status": "NEED_SCAN", "qrCode": "2@x"}});
    let pairing = json!({"pairingCode": null, "code": "2@x", "base64": "data:image/png"});
    for (kind, status, body, result) in [
        // Errors with status 200.
        (
            "wasender",
            200,
            json!({"success": false, "error": error}),
            refused(),
        ),
        (
            "evolution",
            200,
            json!({"error": true, "message": error}),
            refused(),
        ),
        (
            "evolution",
            200,
            json!({"error": false}),
            ActionResult::Accepted,
        ),
        ("waha", 422, json!({}), ActionResult::Failed(unprocessable)),
        // States and pairing codes.
        ("wasender", 200, qr_code, state("NEED_SCAN")),
        (
            "waha",
            201,
            json!({"name": "default", "status": "STARTING"}),
            state("STARTING"),
        ),
        ("evolution", 200, pairing, ActionResult::NeedsScan),
        (
            "evolution",
            200,
            json!({"instance": {"state": "open"}}),
            state("open"),
        ),
    ] {
        let response = response(status, &body);
        let parsed = parse_action_result(&credentials(kind), &response);
        assert_eq!(parsed, result, "{kind}: {body}");
    }
}

#[test]
fn failure_reason_hides_keys() {
    for secret in ["0123456789", "abcdefghij"] {
        let body = json!({"message": format!("no instance for {secret}")});
        let why = "responded with 401 Unauthorized".to_owned();
        assert_eq!(probe_of("waha", 401, &body), Probe::Refused(why));
    }
}
