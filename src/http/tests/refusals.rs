//! Each refusal has its status, its code and a sentence, also those that hyper makes by itself.

use super::support::{Running, STRICT, form, post, signature, signed};

const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";

#[test]
fn what_hyper_refuses_by_itself_has_a_body_too() {
    let server = Running::start(STRICT);
    let many = "x: 1\r\n".repeat(200);
    let long = format!("x: {}\r\n", "x".repeat(100_000));
    let cases: [(&[u8], u16, &str); 9] = [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 400, "bad_request"),
        (b"HELO example.com\r\n\r\n", 400, "bad_request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad_request"),
        (b"GET / HTTP/9.9\r\n\r\n", 400, "bad_request"),
        (b"POST /form HTTP/1.1\r\ncontent-length: x\r\n\r\n", 400, "bad_request"),
        (b"POST /form HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400, "bad_request"),
        (&[b"GET / HTTP/1.1\r\n", many.as_bytes(), b"\r\n"].concat(), 431, "head_too_large"),
        (&[b"GET / HTTP/1.1\r\n", long.as_bytes(), b"\r\n"].concat(), 431, "head_too_large"),
        (&[b"GET /", "x".repeat(100_000).as_bytes(), b" HTTP/1.1\r\n\r\n"].concat(), 431, "head_too_large"),
    ];
    for (request, status, code) in cases {
        let mut wire = server.connect();
        wire.send(request);
        let answer = wire.receive().unwrap_or_else(|end| panic!("{end:?} after {:?}", request.get(..40)));
        answer.must_be(status, code);
        assert!(answer.closes(), "{answer:?}");
        wire.must_end();
    }
}

#[test]
fn an_error_behind_a_good_request_has_a_body_too() {
    let server = Running::start(STRICT);
    let mut wire = server.connect();
    wire.send(&[GET, GET, b"NONSENSE\r\n\r\n"].concat());
    assert_eq!(wire.receive().unwrap().status, 200);
    assert_eq!(wire.receive().unwrap().status, 200);
    wire.receive().unwrap().must_be(400, "bad_request");
    wire.must_end();
}

#[test]
fn a_late_head_gets_its_408_and_a_silent_connection_is_closed_silently() {
    let server = Running::start(STRICT);
    let mut silent = server.connect();
    let mut late = server.connect();
    late.send(b"POST /form HTTP/1.1\r\nhost: a\r\n");
    let mut late_second = server.connect();
    late_second.send(GET);
    assert_eq!(late_second.receive().unwrap().status, 200);
    late_second.send(b"GET /heal");
    // What comes together with the request before it counts as silence, for only hyper knows that it is there.
    let mut together = server.connect();
    together.send(&[GET, b"GET /heal"].concat());
    assert_eq!(together.receive().unwrap().status, 200);

    late.receive().unwrap().must_be(408, "timeout");
    late.must_end();
    late_second.receive().unwrap().must_be(408, "timeout");
    late_second.must_end();
    together.receive().unwrap().must_be(408, "timeout");
    together.must_end();
    silent.must_end();
}

#[test]
fn a_late_body_gets_its_408() {
    let server = Running::start(&STRICT.replace("[limits]", "[limits]\nrequest = \"300ms\""));
    let mut wire = server.connect();
    let request = signed("/form", &form("t"));
    wire.send(&request[..request.len() - 1]);
    let answer = wire.receive().unwrap();
    answer.must_be(408, "timeout");
    assert!(answer.closes());
    wire.must_end();
}

#[test]
fn what_the_head_says_is_refused_before_the_body_is_read() {
    type Headers<'a> = Vec<(&'a str, &'a str)>;
    let server = Running::start(STRICT);
    let body = form("t");
    let right = signature(&body);
    let json = ("content-type", "application/json");
    let signed = ("x-hub-signature-256", right.as_str());
    let malformed = ("x-hub-signature-256", "sha256=zz");
    let cases: [(&str, Headers<'_>, u16, &str); 9] = [
        ("/nowhere", vec![json, signed], 404, "not_found"),
        ("/healthz", vec![json, signed], 405, "method_not_allowed"),
        ("/form", vec![json], 401, "bad_signature"),
        ("/form", vec![json, signed, signed], 401, "bad_signature"),
        ("/form", vec![json, malformed], 401, "bad_signature"),
        ("/form", vec![signed], 415, "unsupported_media_type"),
        ("/form", vec![signed, ("content-type", "text/plain")], 415, "unsupported_media_type"),
        ("/form", vec![json, signed, ("content-encoding", "gzip")], 415, "unsupported_media_type"),
        ("/webhook", vec![json], 401, "bad_signature"),
    ];
    for (path, headers, status, code) in cases {
        let request = post(path, &headers, &body);
        let mut wire = server.connect();
        // Without its last byte: the answer must not wait for it.
        wire.send(&request[..request.len() - 1]);
        let answer = wire.receive().unwrap();
        answer.must_be(status, code);
        assert!(answer.closes(), "{answer:?}");
        assert_eq!(answer.head.contains("\r\nallow: "), status == 405, "{answer:?}");
    }
    let too_long = b"POST /form HTTP/1.1\r\ncontent-type: application/json\r\nx-hub-signature-256: sha256=";
    let too_long = [too_long, "0".repeat(64).as_bytes(), b"\r\ncontent-length: 1000000000000\r\n\r\n"].concat();
    server.ask(&too_long).must_be(413, "too_large");
    assert_eq!(server.submissions(), 0);
}

#[test]
fn whoever_sends_far_too_much_sees_the_refusal() {
    let server = Running::start(STRICT);
    let big = vec![b'x'; 6 << 20];
    let answer = server.ask(&signed("/form", &big));
    answer.must_be(413, "too_large");
    assert!(answer.closes());
}

#[test]
fn a_wrong_signature_costs_the_form_and_not_the_connection() {
    let server = Running::start(STRICT);
    let mut wire = server.connect();
    let json = ("content-type", "application/json");
    wire.send(&post("/form", &[json, ("x-hub-signature-256", &signature(b"other"))], &form("t")));
    let answer = wire.receive().unwrap();
    answer.must_be(401, "bad_signature");
    assert!(!answer.closes());
    wire.send(&signed("/form", &form("t")));
    assert_eq!(wire.receive().unwrap().json()["screen"], "SUCCESS_SCREEN");
}

#[test]
fn what_is_no_submission_is_400_and_says_why() {
    let server = Running::start(STRICT);
    for (body, code) in [
        ("", "bad_json"),
        ("[]", "bad_json"),
        ("{}", "invalid_field"),
        (r#"{"action":"dance"}"#, "unknown_action"),
        (r#"{"action":"data_exchange","data":7}"#, "invalid_field"),
        (r#"{"action":"data_exchange","flow_token":{}}"#, "invalid_field"),
    ] {
        server.ask(&signed("/form", body.as_bytes())).must_be(400, code);
    }
}

#[test]
fn a_webhook_is_verified_by_its_token_alone() {
    let config = format!("[meta]\nverify_token = \"text:let me in+\"\n{STRICT}");
    let server = Running::start(&config);
    let ask = |query: &str| server.ask(format!("GET /webhook{query} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes());
    let good = ask("?hub.challenge=1158%2B201444&hub.verify_token=let%20me+in%2B&hub.mode=subscribe");
    assert_eq!((good.status, good.body.as_slice()), (200, b"1158+201444".as_slice()));
    assert!(good.head.contains("\r\ncontent-type: text/plain"));
    for bad in [
        "",
        "?hub.mode=subscribe&hub.challenge=1&hub.verify_token=let",
        "?hub.mode=subscribe&hub.challenge=1",
        "?hub.mode=unsubscribe&hub.challenge=1&hub.verify_token=let+me+in%2B",
        "?hub.mode=subscribe&hub.verify_token=let+me+in%2B",
    ] {
        ask(bad).must_be(403, "verification_failed");
    }
}
