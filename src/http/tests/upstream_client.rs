//! Tests the upstream client against a healthy and a failing upstream.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::upstream_program::{ProgramAction, TestProgram, http, server_error, success};
use crate::clock::{ManualClock, timer_now};
use crate::config::{Config, SecretRef, UpstreamSettings};
use crate::domain::ids::FlowName;
use crate::domain::time::{Millis, Timestamp};
use crate::http::{UpstreamClient, UpstreamError};
use crate::webhook_signature::{self, SigningKey};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Timeout longer than any step of these tests.
const LONG_TIMEOUT: Duration = Duration::from_mins(1);

/// Returns the settings from a config: a breaker that opens for ten seconds after two failures.
fn settings(url: &str) -> UpstreamSettings {
    let config = Config::parse(
        std::path::Path::new("config.toml"),
        &format!(
            "[flows.form]\nencryption = \"required\"\nprivate_keys = [\"file:key\"]\n[flows.form.upstream]\n\
             url = \"{url}\"\nsecret = \"text:{SECRET}\"\nbreaker = {{ failure_threshold = 2, open_for = \"10s\" }}"
        ),
    );
    config.unwrap().upstreams.into_values().next().unwrap()
}

fn upstream_with(settings: &UpstreamSettings) -> (UpstreamClient, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(NOW));
    let SecretRef::Text(secret) = &settings.secret else {
        panic!("{settings:?}")
    };
    let key = SigningKey::parse(secret.expose()).unwrap();
    let flow = FlowName::new("form").unwrap();
    let upstream = UpstreamClient::new(flow, settings.clone(), key, clock.clone());
    (upstream, clock)
}

fn upstream(program: &TestProgram) -> (UpstreamClient, Arc<ManualClock>) {
    upstream_with(&settings(&format!("http://{}/flow?a=b", program.address)))
}

fn request_body() -> Value {
    json!({"action": "data_exchange", "screen": "FIRST", "data": {"name": "Ann"}})
}

async fn query(upstream: &UpstreamClient) -> Result<Value, UpstreamError> {
    let request = request_body().to_string();
    upstream
        .query(request.into(), "r1", timer_now() + LONG_TIMEOUT)
        .await
        .map(Value::Object)
}

/// Returns a valid response of this size in bytes.
fn screen_of_size(bytes: usize) -> String {
    let screen = r#"{"screen":"A"}"#;
    screen.to_owned() + &" ".repeat(bytes - screen.len())
}

/// Returns the outcome label of a query.
async fn outcome(upstream: &UpstreamClient) -> &'static str {
    let response = query(upstream).await;
    response
        .as_ref()
        .map_or_else(UpstreamError::outcome, |_| "success")
}

#[tokio::test]
async fn request_is_signed_and_response_returned() {
    let program = TestProgram::start(success).await;
    let (upstream, _) = upstream(&program);
    for _ in 0..2 {
        let response = query(&upstream).await.unwrap();
        assert_eq!(response, json!({"screen": "NEXT", "data": {"a": [1]}}));
    }
    let requests = program.requests();
    let connections: Vec<usize> = requests.iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 0], "the connection is kept");
    let request = &requests[0];
    let head = &request.head;
    assert!(head.starts_with("post /flow?a=b http/1.1\r\n"), "{head}");
    assert_eq!(request.header("host"), program.address.to_string());
    assert_eq!(request.header("content-type"), "application/json");
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body, request_body());
    let key = SigningKey::parse(SECRET).unwrap();
    for (name, value) in webhook_signature::signature_headers(&[key], "r1", NOW, &request.body) {
        assert_eq!(request.header(name), value.to_ascii_lowercase());
    }
}

#[tokio::test]
async fn localhost_reaches_ipv4_and_ipv6() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        // A machine may have no IPv6.
        let Ok(listener) = TcpListener::bind(address).await else {
            continue;
        };
        let program = TestProgram::on(listener, success);
        let url = format!("http://localhost:{}", program.address.port());
        let (by_name, _) = upstream_with(&settings(&url));
        assert!(query(&by_name).await.is_ok(), "{address}");
        let head = &program.requests()[0].head;
        assert!(head.starts_with("post / http/1.1\r\n"), "{head}");
    }
}

#[tokio::test]
async fn malformed_response_error_quotes_no_content() {
    let no_data = "sent a response that has a `data` that is not an object";
    let no_text = "sent a response that has an `error_message` that is not a text";
    let bodies = [
        (
            "{\n\"Ann\"",
            "responded with invalid JSON (line 2, column 5)",
        ),
        ("", "responded with invalid JSON (line 1, column 0)"),
        (r#"["Ann"]"#, "sent a response that is not a JSON object"),
        (
            r#"{"data":{"Ann":1}}"#,
            "sent a response that has no `screen`",
        ),
        (
            r#"{"screen":"","Ann":1}"#,
            "sent a response that has no `screen`",
        ),
        (r#"{"screen":"A","data":"Ann"}"#, no_data),
        (
            r#"{"screen":"A","data":{"error_message":["Ann"]}}"#,
            no_text,
        ),
    ];
    let program = TestProgram::start(success).await;
    for (body, what) in bodies {
        program.set_action(move || ProgramAction::Respond(http("200 OK", body)));
        assert_query_fails(&program, what).await;
    }
    for (status, headers, body) in [
        ("500 Internal Server Error", "", "Ann's form made a mess"),
        ("302 Found", "\r\nlocation: http://127.0.0.1:1/", ""),
        ("201 Created", "", r#"{"screen":"Ann"}"#),
    ] {
        let response = http(&format!("{status}{headers}"), body);
        program.set_action(move || ProgramAction::Respond(response.clone()));
        let what = format!("responded with status {status}, not 200");
        assert_query_fails(&program, &what).await;
    }
}

async fn assert_query_fails(program: &TestProgram, what: &str) {
    let (upstream, _) = upstream(program);
    let message = query(&upstream).await.unwrap_err().to_string();
    assert_eq!(message, format!("the upstream of this flow {what}"));
}

#[tokio::test]
async fn response_is_bounded_and_complete() {
    let program = TestProgram::start(|| {
        ProgramAction::RespondAndClose(http("200 OK", &" ".repeat((1 << 20) + 1)))
    })
    .await;
    assert_query_fails(&program, "responded with more than 1048576 bytes").await;
    program.set_action(|| {
        let part = "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"Ann\":";
        ProgramAction::RespondAndClose(part.to_owned())
    });
    let what = "closed the connection too early, or does not speak HTTP/1.1: the response body is incomplete";
    assert_query_fails(&program, what).await;
    let (upstream, _) = upstream(&program);
    program.set_action(|| ProgramAction::RespondAndClose("what?\r\n\r\n".to_owned()));
    assert_eq!(outcome(&upstream).await, "disconnected");
    program.set_action(|| ProgramAction::Respond(http("200 OK", &screen_of_size(1 << 20))));
    assert!(query(&upstream).await.is_ok(), "as large as may be");
}

#[tokio::test]
async fn closed_port_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = listener.local_addr().unwrap();
    drop(listener);
    let (upstream, _) = upstream_with(&settings(&format!("http://{free}")));
    let error = query(&upstream).await.unwrap_err();
    assert!(
        matches!(&error, UpstreamError::Unreachable(why) if why.contains("refused")),
        "{error}"
    );
}

#[tokio::test]
async fn invalid_header_id_is_not_sent() {
    let program = TestProgram::start(success).await;
    let (upstream, _) = upstream(&program);
    let deadline = timer_now() + LONG_TIMEOUT;
    let sent = upstream.query(Bytes::from("{}"), "a\nb", deadline).await;
    let error = sent.unwrap_err();
    assert!(matches!(error, UpstreamError::InvalidRequest(_)), "{error}");
    assert!(program.requests().is_empty());
}

#[tokio::test]
async fn query_respects_timeout_and_deadline() {
    let program = TestProgram::start(|| ProgramAction::Hang).await;
    let mut settings = settings(&format!("http://{}", program.address));
    settings.timeout = Millis::new(20);
    let (impatient, _) = upstream_with(&settings);
    assert_eq!(
        query(&impatient).await.unwrap_err().to_string(),
        "the upstream of this flow did not respond within 20 ms"
    );

    settings.timeout = Millis::from_secs(8);
    let (hurried, _) = upstream_with(&settings);
    for _ in 0..5 {
        let soon = timer_now() + Duration::from_millis(20);
        // Without the full timeout, the breaker counts no failure.
        let error = hurried.query(Bytes::from("{}"), "r1", soon).await;
        assert_eq!(error.unwrap_err().outcome(), "timeout");
    }

    // A head, and then an incomplete body.
    program.set_action(|| {
        ProgramAction::Respond("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_owned())
    });
    let error = query(&impatient).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Timeout(waited) if waited.as_millis() == 20));
    assert_eq!(outcome(&impatient).await, "open", "twice late");
}

#[tokio::test]
async fn large_response_may_be_slow() {
    let program = TestProgram::start(|| {
        let response = http("200 OK", &screen_of_size(200_000));
        let (first, second) = response.split_at(150_000);
        let parts = [first.to_owned(), second.to_owned()];
        ProgramAction::RespondInParts(parts, Duration::from_secs(7))
    })
    .await;
    let mut settings = settings(&format!("http://{}", program.address));
    // Longer than any config allows: skipped time and a busy machine must not use up the timeout.
    settings.timeout = Millis::new(60_000);
    let (upstream, _) = upstream_with(&settings);
    assert_eq!(query(&upstream).await.unwrap(), json!({"screen": "A"}));
}

#[tokio::test]
async fn breaker_opens_and_closes_after_probe() {
    let program = TestProgram::start(server_error).await;
    let (upstream, clock) = upstream(&program);
    for _ in 0..2 {
        assert_eq!(outcome(&upstream).await, "status");
    }
    for _ in 0..3 {
        assert_eq!(outcome(&upstream).await, "open");
    }
    assert_eq!(program.requests().len(), 2);

    clock.advance(Millis::from_secs(10));
    assert_eq!(outcome(&upstream).await, "status", "one tries it");
    assert_eq!(outcome(&upstream).await, "open", "it has failed again");

    clock.advance(Millis::from_secs(10));
    program.set_action(success);
    for _ in 0..3 {
        assert!(query(&upstream).await.is_ok());
    }
    assert_eq!(program.requests().len(), 6);
}

#[tokio::test]
async fn cancelled_probe_releases_permit() {
    let program = TestProgram::start(server_error).await;
    let (upstream, clock) = upstream(&program);
    for _ in 0..2 {
        assert!(query(&upstream).await.is_err());
    }
    program.set_action(|| ProgramAction::Hang);
    clock.advance(Millis::from_secs(10));
    {
        let mut probe = Box::pin(query(&upstream));
        let received = async {
            while program.requests().len() < 3 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            ended = &mut probe => panic!("{ended:?}"),
            () = received => {}
        }
        assert_eq!(outcome(&upstream).await, "open", "one at a time");
    }
    program.set_action(success);
    assert!(query(&upstream).await.is_ok());
}

#[tokio::test]
async fn client_errors_do_not_open_breaker() {
    let program = TestProgram::start(|| ProgramAction::Respond(http("400 Bad Request", ""))).await;
    let (upstream, _) = upstream(&program);
    for _ in 0..5 {
        assert_eq!(outcome(&upstream).await, "status");
    }
    program.set_action(|| ProgramAction::Respond(http("429 Too Many Requests", "")));
    for _ in 0..2 {
        assert_eq!(outcome(&upstream).await, "status");
    }
    assert_eq!(outcome(&upstream).await, "open", "asked for a pause");
}

#[tokio::test]
async fn concurrent_queries_succeed() {
    let program = TestProgram::start(success).await;
    let (upstream, _) = upstream(&program);
    let upstream = Arc::new(upstream);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let upstream = Arc::clone(&upstream);
        tasks.spawn(async move { query(&upstream).await.unwrap() });
    }
    assert_eq!(tasks.join_all().await.len(), 100);
    assert_eq!(program.requests().len(), 100);
}
