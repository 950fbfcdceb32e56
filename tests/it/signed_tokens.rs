//! The token of an encrypted request is held against Meta's signature of it: a wrong one closes the form, a missing one only
//! where the config says so, and admins see why. Where the app secret is not known, nothing is checked by default.

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

/// What Meta would make of the token.
fn jwt(secret: &str, token: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({"alg": "HS256"})), part(&json!({"flow_token": token, "iat": 1})));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

fn form(token: &str, signature: &Value) -> phone::Sealed {
    phone::seal(&json!({"version": "4.0", "action": "data_exchange", "screen": "A", "data": {"name": "Ann"},
        "flow_token": token, "flow_token_signature": signature}))
}

#[test]
fn a_token_that_meta_did_not_sign_closes_the_form() {
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
        let told = refused.open_gone(&answer);
        assert_eq!(told["error_msg"] == "Ask again, please.", path == "/strict", "{told}");
        assert_eq!(refused.post(&server, path).text(), answer.text(), "the same bytes get the same bytes");
    }
    let ping = phone::seal(&json!({"version": "4.0", "action": "ping"}));
    assert_eq!(ping.open(&ping.post(&server, "/strict")), json!({"data": {"status": "active"}}));
    assert_eq!(server.submissions().len(), 2);
    let errors = server.rows(&["flows", "errors"]);
    let counted = errors.iter().filter(|error| error["error"] == "bad_token_signature").count();
    assert_eq!(counted, 4, "{errors:?}");
}

/// A flow that says nothing of signatures of tokens, and one that does.
const BY_DEFAULT: &str = r#"
[flows.silent]
path = "/silent"
encryption = "required"
private_keys = ["file:key.pem"]

[flows.told]
path = "/told"
encryption = "required"
private_keys = ["file:key.pem"]
token_signature = "check"
"#;

#[test]
fn a_flow_without_signatures_checks_none_of_its_tokens_unless_the_config_says_so() {
    let server = server(&BY_DEFAULT.replace("encryption =", "signature = \"none\"\nencryption ="));
    let good = form("t-1", &jwt("secret of an app that nobody named here", "t-1").into());
    assert_eq!(good.open(&good.post(&server, "/silent")), success("t-1"));
    let bad = form("t-2", &jwt("secret of an app that nobody named here", "t-2").into());
    bad.open_gone(&bad.post(&server, "/told"));
}

#[test]
fn on_a_development_secret_no_tokens_are_checked_unless_the_config_says_so() {
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
        let headers = [("content-type", "application/json"), ("x-hub-signature-256", signature.as_str())];
        server.connect().exchange(&post(path, &headers, &form.body)).unwrap()
    };
    let good = form("t-1", &jwt(SECRET, "t-1").into());
    assert_eq!(good.open(&send("/silent", &good, development.trim())), success("t-1"));
    let bad = form("t-2", &jwt(SECRET, "t-2").into());
    bad.open_gone(&send("/told", &bad, development.trim()));

    // Once the app secret is there, it counts.
    fs::write(&file, &config).unwrap();
    assert_eq!(server.cli(&["reload"]).code, 0);
    let good = form("t-3", &jwt(SECRET, "t-3").into());
    assert_eq!(good.open(&send("/silent", &good, SECRET)), success("t-3"));
    let bad = form("t-4", &jwt("another secret", "t-4").into());
    bad.open_gone(&send("/silent", &bad, SECRET));
}
