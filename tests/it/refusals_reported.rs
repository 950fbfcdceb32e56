//! A server that refuses requests by mistake reports the refusals in the log and in `status`.

use serde_json::Value;

use crate::support::form::Form;
use crate::support::http::{post, signature, signed_post};
use crate::support::{PLAIN_FLOW, Server, eventually};

/// Subscription request with a wrong verify token.
const WRONG_SUBSCRIPTION: &str =
    "/webhook?hub.mode=subscribe&hub.challenge=1&hub.verify_token=not-the-token";

/// Returns the log lines of refused requests with their level.
fn refusals(server: &Server) -> Vec<(String, Value)> {
    let lines = server.log();
    let lines = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let refused = lines.filter(|line| line["error"].is_string());
    refused
        .map(|line| {
            (
                line["level"].as_str().unwrap_or_default().to_owned(),
                line.clone(),
            )
        })
        .collect()
}

fn hints(server: &Server) -> String {
    server.row(&["status"])["warnings"].to_string()
}

#[test]
fn wrong_app_secret_warns_until_signature_matches() {
    let server = Server::start(PLAIN_FLOW);
    let body = Form::new("lost").body();
    let wrong = signature("the secret of another app", &body);
    let json = ("content-type", "application/json");
    let forged = |path| {
        post(
            path,
            &[json, ("x-hub-signature-256", wrong.as_str())],
            &body,
        )
    };
    let suspects = |server: &Server| hints(server).contains("compare the app secret in the config");
    for path in ["/form", "/webhook", "/form", "/webhook"] {
        assert_eq!(
            server.connect().exchange(&forged(path)).unwrap().status,
            401
        );
        // A request without a signature does not indicate a wrong secret.
        assert_eq!(
            server
                .connect()
                .exchange(&post(path, &[json], &body))
                .unwrap()
                .status,
            401
        );
    }
    assert!(!suspects(&server), "four may be a stranger's");
    assert_eq!(
        server.connect().exchange(&forged("/form")).unwrap().status,
        401
    );

    eventually("the log warns", || {
        let log = server.log();
        log.lines()
            .any(|line| line.contains("WARN") && line.contains("compare the app secret"))
            .then_some(())
    });
    assert!(
        hints(&server).contains("the last 5 signed requests were all refused"),
        "{}",
        hints(&server)
    );
    assert_eq!(server.row(&["status"])["refused"]["bad_signature"], 9);
    let logged = server.cli(&["status"]).out;
    assert!(logged.contains("9 bad_signature"), "{logged}");
    let checks = |server: &Server| server.cli(&["config", "check"]).out;
    let warning = "the running server warns: the last 5 signed requests were all refused";
    assert!(checks(&server).contains(warning), "{}", checks(&server));

    assert!(server.post("/form", &Form::new("right")).is_accepted());
    assert!(
        !suspects(&server),
        "one that fits shows that the secret is right"
    );
    assert!(
        !checks(&server).contains("the running server"),
        "{}",
        checks(&server)
    );
}

#[test]
fn log_explains_refusals_and_warns_once_per_reason() {
    let server = Server::start(PLAIN_FLOW);
    assert_eq!(server.get(WRONG_SUBSCRIPTION).status, 403);
    let body = Form::new("t").with("name", "Ann Smith").body();
    let signature = signature(crate::support::http::SECRET, &body);
    let typed = post(
        "/form",
        &[
            ("content-type", "text/plain"),
            ("x-hub-signature-256", &signature),
        ],
        &body,
    );
    for _ in 0..3 {
        assert_eq!(server.connect().exchange(&typed).unwrap().status, 415);
    }
    let unsigned = post("/form", &[("content-type", "application/json")], &body);
    assert_eq!(server.connect().exchange(&unsigned).unwrap().status, 401);
    assert!(
        server
            .connect()
            .exchange(&signed_post("/form", &body))
            .unwrap()
            .is_accepted()
    );

    let logged = eventually("all five are in the log", || {
        Some(refusals(&server)).filter(|logged| logged.len() == 5)
    });
    let output: Vec<_> = logged
        .iter()
        .map(|(level, line)| (level.as_str(), line["http.status"].as_u64().unwrap()))
        .collect();
    assert_eq!(
        output,
        [
            ("WARN", 403),
            ("WARN", 415),
            ("INFO", 415),
            ("INFO", 415),
            ("INFO", 401)
        ],
        "one warning for each reason"
    );
    assert!(
        logged[0].1["error"]
            .as_str()
            .unwrap()
            .contains("hub.verify_token differs from"),
        "{logged:?}"
    );
    assert!(
        logged[4].1["error"]
            .as_str()
            .unwrap()
            .contains("X-Hub-Signature-256 is missing"),
        "{logged:?}"
    );
    eventually("what was taken has its status, too", || {
        server.log().contains("\"http.status\":200").then_some(())
    });
    let log = server.log();
    for secret in ["not-the-token", "Ann Smith", &signature] {
        assert!(!log.contains(secret), "{secret}");
    }
}

#[test]
fn missing_verify_token_is_warned_about() {
    let mut bare = Server::stopped(PLAIN_FLOW);
    let file = bare.folder().join("config.toml");
    let config = std::fs::read_to_string(&file)
        .unwrap()
        .replace("text:let me in", "env:NOT_SET_ANYWHERE");
    std::fs::write(file, config).unwrap();
    bare.start_again();
    assert_eq!(bare.get(WRONG_SUBSCRIPTION).status, 403);
    let logged = eventually("the refusal is in the log", || refusals(&bare).pop());
    assert_eq!(logged.0, "WARN");
    assert!(
        logged.1["error"]
            .as_str()
            .unwrap()
            .contains("meta.verify_token has no value"),
        "{logged:?}"
    );
}
