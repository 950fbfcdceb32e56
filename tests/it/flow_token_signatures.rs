//! Tests the check of flow tokens against Meta's signature. A wrong signature closes the form, and
//! a missing signature only if the config requires one. Admins see the reason. Without the real app
//! secret, the default is no check.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::Server;
use crate::support::http::{SECRET, post, signature};
use crate::support::phone;
use crate::support::user::{server, success};

const FLOWS: &str = r#"
[flows.checked]
path = "/checked"
encryption = "required"
private_keys = ["file:key.pem"]

[flows.strict]
path = "/strict"
encryption = "required"
private_keys = ["file:key.pem"]
token_signature = "require"
texts = { token_invalid = "Ask again, please." }
"#;

/// Returns the signature that Meta would create for the token.
fn jwt(secret: &str, token: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!(
        "{}.{}",
        part(&json!({"alg": "HS256"})),
        part(&json!({"flow_token": token, "iat": 1}))
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    format!(
        "{signed}.{}",
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    )
}

fn form(token: &str, signature: &Value) -> phone::Sealed {
    phone::seal(
        &json!({"version": "4.0", "action": "data_exchange", "screen": "A", "data": {"name": "Ann"},
        "flow_token": token, "flow_token_signature": signature}),
    )
}

#[test]
fn token_without_meta_signature_closes_form() {
    let server = server(FLOWS);
    let good = form("t-1", &jwt(SECRET, "t-1").into());
    assert_eq!(good.open(&good.post(&server, "/strict")), success("t-1"));
    let none = form("t-2", &Value::Null);
    assert_eq!(none.open(&none.post(&server, "/checked")), success("t-2"));

    for (path, signature) in [
        ("/checked", jwt("another secret", "t-3").into()),
        ("/checked", jwt(SECRET, "t-1").into()),
        ("/strict", jwt("another secret", "t-3").into()),
        ("/strict", Value::Null),
    ] {
        let refused = form("t-3", &signature);
        let answer = refused.post(&server, path);
        let response = refused.open_invalid_token(&answer);
        assert_eq!(
            response["error_msg"] == "Ask again, please.",
            path == "/strict",
            "{response}"
        );
        assert_eq!(
            refused.post(&server, path).text(),
            answer.text(),
            "the same bytes get the same bytes"
        );
    }
    let ping = phone::seal(&json!({"version": "4.0", "action": "ping"}));
    assert_eq!(
        ping.open(&ping.post(&server, "/strict")),
        json!({"data": {"status": "active"}})
    );
    assert_eq!(server.submissions().len(), 2);
    let errors = server.rows(&["flows", "errors"]);
    let counted = errors
        .iter()
        .filter(|error| error["error"] == "bad_token_signature")
        .count();
    assert_eq!(counted, 4, "{errors:?}");
}

/// A flow without a setting for token signatures, and a flow with the setting.
const BY_DEFAULT: &str = r#"
[flows.silent]
path = "/silent"
encryption = "required"
private_keys = ["file:key.pem"]

[flows.strict]
path = "/strict"
encryption = "required"
private_keys = ["file:key.pem"]
token_signature = "check"
"#;

#[test]
fn unsigned_flow_checks_no_tokens_by_default() {
    let server = server(&BY_DEFAULT.replace("encryption =", "signature = \"none\"\nencryption ="));
    let good = form(
        "t-1",
        &jwt("secret of an app that nobody named here", "t-1").into(),
    );
    assert_eq!(good.open(&good.post(&server, "/silent")), success("t-1"));
    let bad = form(
        "t-2",
        &jwt("secret of an app that nobody named here", "t-2").into(),
    );
    bad.open_invalid_token(&bad.post(&server, "/strict"));
}

#[test]
fn development_secret_checks_no_tokens_by_default() {
    let mut server = Server::stopped(BY_DEFAULT);
    fs::write(server.folder().join("key.pem"), phone::PRIVATE_KEY).unwrap();
    let file = server.folder().join("config.toml");
    let config = fs::read_to_string(&file).unwrap();
    let unset = config.replace(&format!("text:{SECRET}"), "env:META_APP_SECRET");
    assert_ne!(config, unset, "the config names the secret");
    fs::write(&file, unset).unwrap();
    server.start_again();

    let development = fs::read_to_string(server.folder().join("flowgate.dev-secret")).unwrap();
    let send = |path: &str, form: &phone::Sealed, secret: &str| {
        let signature = signature(secret, &form.body);
        let headers = [
            ("content-type", "application/json"),
            ("x-hub-signature-256", signature.as_str()),
        ];
        server
            .connect()
            .exchange(&post(path, &headers, &form.body))
            .unwrap()
    };
    let good = form("t-1", &jwt(SECRET, "t-1").into());
    assert_eq!(
        good.open(&send("/silent", &good, development.trim())),
        success("t-1")
    );
    let bad = form("t-2", &jwt(SECRET, "t-2").into());
    bad.open_invalid_token(&send("/strict", &bad, development.trim()));

    // The app secret is used as soon as it is set.
    fs::write(&file, &config).unwrap();
    assert_eq!(server.cli(&["reload"]).code, 0);
    let good = form("t-3", &jwt(SECRET, "t-3").into());
    assert_eq!(good.open(&send("/silent", &good, SECRET)), success("t-3"));
    let bad = form("t-4", &jwt("another secret", "t-4").into());
    bad.open_invalid_token(&send("/silent", &bad, SECRET));
}
