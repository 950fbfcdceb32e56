//! Tests that each error has its status, code and message, including errors that hyper creates.

use super::support::{JSON, STRICT, TestServer, form, get, post, signature, signed};

const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";

#[test]
fn protocol_errors_have_bodies() {
    let server = TestServer::start(STRICT);
    let many_headers = "x: 1\r\n".repeat(200);
    let long = format!("x: {}\r\n", "x".repeat(100_000));
    let long_path = "x".repeat(100_000);
    let bad_requests = [
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        "HELO example.com\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST /form HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        "POST /form HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    ];
    let bad_requests =
        bad_requests.map(|request| (request.as_bytes().to_vec(), 400, "bad_request"));
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    let long_heads = [
        format!("GET / HTTP/1.1\r\n{many_headers}\r\n"),
        format!("GET / HTTP/1.1\r\n{long}\r\n"),
        format!("GET /{long_path} HTTP/1.1\r\n\r\n"),
    ];
    let long_heads = long_heads.map(|request| (request.into_bytes(), 431, "head_too_large"));
    let cases = bad_requests
        .into_iter()
        .chain([(tls, 400, "bad_request")])
        .chain(long_heads);
    for (request, status, code) in cases {
        let mut connection = server.connect();
        connection.send(&request);
        let response = connection.receive();
        let response =
            response.unwrap_or_else(|kind| panic!("{kind:?} after {:?}", request.get(..40)));
        response.assert_error(status, code);
        assert!(response.is_connection_close(), "{response:?}");
        connection.assert_closed();
    }
}

#[test]
fn protocol_error_after_request_has_body() {
    let server = TestServer::start(STRICT);
    let mut connection = server.connect();
    connection.send(&[GET, GET, b"NONSENSE\r\n\r\n"].concat());
    connection.assert_ok();
    connection.assert_ok();
    let response = connection.receive().unwrap();
    response.assert_error(400, "bad_request");
    connection.assert_closed();
}

#[test]
fn slow_head_gets_408_and_idle_connection_closes() {
    let server = TestServer::start(STRICT);
    let mut silent = server.connect();
    let mut late = server.connect();
    late.send(b"POST /form HTTP/1.1\r\nhost: a\r\n");
    let mut late_second = server.connect();
    late_second.send(GET);
    late_second.assert_ok();
    late_second.send(b"GET /heal");
    // A head that arrives together with the previous request counts as idle time, because only
    // hyper has seen it.
    let mut together = server.connect();
    together.send(&[GET, b"GET /heal"].concat());
    together.assert_ok();

    for mut connection in [late, late_second, together] {
        connection.receive().unwrap().assert_error(408, "timeout");
        connection.assert_closed();
    }
    silent.assert_closed();
}

#[test]
fn slow_body_gets_408() {
    let server =
        TestServer::start(&STRICT.replace("[limits]", "[limits]\nrequest_timeout = \"300ms\""));
    let mut connection = server.connect();
    let request = signed("/form", &form("t"));
    connection.send(&request[..request.len() - 1]);
    let response = connection.receive().unwrap();
    response.assert_error(408, "timeout");
    assert!(response.is_connection_close());
    connection.assert_closed();
}

#[test]
fn head_errors_precede_body() {
    type Headers<'a> = Vec<(&'a str, &'a str)>;
    let server = TestServer::start(STRICT);
    let body = form("t");
    let right = signature(&body);
    let signed = ("x-hub-signature-256", right.as_str());
    let malformed = ("x-hub-signature-256", "sha256=zz");
    let text = ("content-type", "text/plain");
    let gzip = ("content-encoding", "gzip");
    let media_type = "unsupported_media_type";
    let cases: [(&str, Headers<'_>, u16, &str); 9] = [
        ("/nowhere", vec![JSON, signed], 404, "not_found"),
        ("/healthz", vec![JSON, signed], 405, "method_not_allowed"),
        ("/form", vec![JSON], 401, "bad_signature"),
        ("/form", vec![JSON, signed, signed], 401, "bad_signature"),
        ("/form", vec![JSON, malformed], 401, "bad_signature"),
        ("/form", vec![signed], 415, media_type),
        ("/form", vec![signed, text], 415, media_type),
        ("/form", vec![JSON, signed, gzip], 415, media_type),
        ("/webhook", vec![JSON], 401, "bad_signature"),
    ];
    for (path, headers, status, code) in cases {
        let request = post(path, &headers, &body);
        let mut connection = server.connect();
        // The last byte is missing: the response must not wait for it.
        connection.send(&request[..request.len() - 1]);
        let response = connection.receive().unwrap();
        response.assert_error(status, code);
        assert!(response.is_connection_close(), "{response:?}");
        let has_allow = response.head.contains("\r\nallow: ");
        assert_eq!(has_allow, status == 405, "{response:?}");
    }
    let too_long = format!(
        "POST /form HTTP/1.1\r\ncontent-type: application/json\r\nx-hub-signature-256: sha256={}\r\n\
         content-length: 1000000000000\r\n\r\n",
        "0".repeat(64)
    );
    let response = server.send_request(too_long.as_bytes());
    response.assert_error(413, "too_large");
    assert_eq!(server.submissions(), 0);
}

#[test]
fn oversized_body_gets_413() {
    let server = TestServer::start(STRICT);
    let big = vec![b'x'; 6 << 20];
    let response = server.send_request(&signed("/form", &big));
    response.assert_error(413, "too_large");
    assert!(response.is_connection_close());
}

#[test]
fn wrong_signature_keeps_connection() {
    let server = TestServer::start(STRICT);
    let mut connection = server.connect();
    let wrong = signature(b"other");
    let headers = [JSON, ("x-hub-signature-256", wrong.as_str())];
    connection.send(&post("/form", &headers, &form("t")));
    let response = connection.receive().unwrap();
    response.assert_error(401, "bad_signature");
    assert!(!response.is_connection_close());
    connection.send(&signed("/form", &form("t")));
    connection.assert_accepted();
}

#[test]
fn invalid_submission_gets_400() {
    let server = TestServer::start(STRICT);
    for (body, code) in [
        ("", "bad_json"),
        ("[]", "bad_json"),
        ("{}", "invalid_field"),
        (r#"{"action":"dance"}"#, "unknown_action"),
        (r#"{"action":"data_exchange","data":7}"#, "invalid_field"),
        (
            r#"{"action":"data_exchange","flow_token":{}}"#,
            "invalid_field",
        ),
    ] {
        let response = server.send_request(&signed("/form", body.as_bytes()));
        response.assert_error(400, code);
    }
}

#[test]
fn webhook_verification_checks_token() {
    let config = format!("[meta]\nverify_token = \"text:let me in+\"\n{STRICT}");
    let server = TestServer::start(&config);
    let send = |query: &str| server.send_request(&get(&format!("/webhook{query}")));
    let good =
        send("?hub.challenge=1158%2B201444&hub.verify_token=let%20me+in%2B&hub.mode=subscribe");
    assert_eq!(good.status, 200);
    assert_eq!(good.body, b"1158+201444");
    assert!(good.head.contains("\r\ncontent-type: text/plain"));
    for bad in [
        "",
        "?hub.mode=subscribe&hub.challenge=1&hub.verify_token=let",
        "?hub.mode=subscribe&hub.challenge=1",
        "?hub.mode=unsubscribe&hub.challenge=1&hub.verify_token=let+me+in%2B",
        "?hub.mode=subscribe&hub.verify_token=let+me+in%2B",
    ] {
        send(bad).assert_error(403, "verification_failed");
    }
}
