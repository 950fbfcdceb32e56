//! Tests every limit of the listener from outside. Each limit has its own clear response, and no
//! sender waits without a response.

use std::time::{Duration, Instant};

use crate::support::form::Form;
use crate::support::http::{Answer, Connection, SECRET, post, signature, signed_post};
use crate::support::{PLAIN_FLOW, Server, eventually};

/// Starts a server with short deadlines and small body limits.
fn strict() -> Server {
    let limits = "\n[limits]\nmax_flow_body = \"2KiB\"\nmax_webhook_body = \"8KiB\"\nheader_timeout = \"300ms\"\nrequest_timeout = \"600ms\"\n";
    Server::start(&format!("{PLAIN_FLOW}{limits}"))
}

fn send(server: &Server, bytes: &[u8]) -> Answer {
    server.connect().exchange(bytes).unwrap()
}

fn assert_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{answer:?}"
    );
    assert!(
        answer.json()["error"]["message"]
            .as_str()
            .is_some_and(|text| text.len() > 10),
        "{answer:?}"
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[test]
fn unknown_path_gets_404_and_wrong_method_405() {
    let server = strict();
    assert_refused(&server.get("/nowhere"), 404, "not_found");
    for (method, path, allow) in [
        ("GET", "/form", "POST"),
        ("PUT", "/webhook", "GET, POST"),
        ("POST", "/healthz", "GET"),
    ] {
        let answer = send(
            &server,
            format!("{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").as_bytes(),
        );
        assert_refused(&answer, 405, "method_not_allowed");
        let allowed = answer.header("allow").unwrap();
        assert!(
            allow.split(", ").all(|method| allowed.contains(method)),
            "{method} {path}: {allowed}"
        );
    }
}

#[test]
fn oversized_body_is_refused_before_its_end() {
    let server = strict();
    let big = Form::new("big").with("text", "x".repeat(3000)).body();
    assert_refused(
        &send(&server, &signed_post("/form", &big)),
        413,
        "too_large",
    );

    let signed = format!("x-hub-signature-256: sha256={}\r\n", "0".repeat(64));
    let head =
        format!("POST /form HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n{signed}");

    // The length is announced, and the body is never sent. The server refuses the request at once.
    assert_refused(
        &send(
            &server,
            format!("{head}content-length: 1000000000000\r\n\r\n").as_bytes(),
        ),
        413,
        "too_large",
    );

    // The length is not announced. The server refuses the body as soon as it exceeds the limit,
    // long before its end.
    let piece = format!("bb8\r\n{}\r\n", "x".repeat(3000));
    let endless = format!("{head}transfer-encoding: chunked\r\n\r\n{piece}");
    assert_refused(&send(&server, endless.as_bytes()), 413, "too_large");
    assert!(send(&server, &signed_post("/form", &Form::new("small").body())).is_accepted());
}

#[test]
fn chunked_body_within_limit_is_accepted() {
    let server = strict();
    let body = Form::new("chunked").body();
    let head = format!(
        "POST /form HTTP/1.1\r\nhost: a\r\ncontent-type: application/json; charset=utf-8\r\nx-hub-signature-256: {}\r\n\
         transfer-encoding: chunked\r\n\r\n{:x}\r\n",
        signature(SECRET, &body),
        body.len()
    );
    let request = [head.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    assert!(send(&server, &request).is_accepted());
}

#[test]
fn only_unencoded_json_is_accepted() {
    let server = strict();
    let body = Form::new("t").body();
    let signature = signature(SECRET, &body);
    let signed = ("x-hub-signature-256", signature.as_str());
    for headers in [
        &[signed][..],
        &[signed, ("content-type", "text/plain")],
        &[signed, ("content-type", "application/jsonp")],
        &[
            signed,
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
        ],
    ] {
        assert_refused(
            &send(&server, &post("/form", headers, &body)),
            415,
            "unsupported_media_type",
        );
    }
    assert!(
        send(
            &server,
            &post(
                "/form",
                &[signed, ("content-type", "Application/JSON ; charset=UTF-8")],
                &body
            )
        )
        .is_accepted()
    );
}

#[test]
fn oversized_head_gets_431() {
    let server = strict();
    let answer = send(
        &server,
        &post("/form", &[("x-padding", &"x".repeat(200_000))], b"{}"),
    );
    assert_eq!(answer.status, 431, "{answer:?}");
    let many: Vec<(String, String)> = (0..500)
        .map(|number| (format!("x-{number}"), "1".to_owned()))
        .collect();
    let many: Vec<(&str, &str)> = many
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(send(&server, &post("/form", &many, b"{}")).status, 431);
}

#[test]
fn slow_head_closes_and_slow_body_gets_408() {
    let server = strict();
    let begun = Instant::now();
    let mut slow_head = server.connect();
    slow_head
        .send(b"POST /form HTTP/1.1\r\nhost: a\r\n")
        .unwrap();
    let mut slow_body = server.connect();
    let request = signed_post("/form", &Form::new("slow").body());
    slow_body.send(&request[..request.len() - 1]).unwrap();

    assert_refused(&slow_body.receive().unwrap(), 408, "timeout");
    assert!(slow_body.closes_silently());
    // hyper closes the connection of a late head. If hyper sends a response first, the status is
    // 408.
    match slow_head.receive() {
        Ok(answer) => assert_eq!(answer.status, 408, "{answer:?}"),
        Err(why) => assert!(
            why.kind() != std::io::ErrorKind::WouldBlock,
            "still waiting"
        ),
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(server.submissions().is_empty());
}

#[test]
fn expect_100_continue_is_answered_before_the_body() {
    let server = strict();
    let body = Form::new("expected").body();
    let signature = signature(SECRET, &body);
    let headers = [
        ("content-type", "application/json"),
        ("x-hub-signature-256", &signature),
        ("expect", "100-continue"),
    ];
    let request = post("/form", &headers, &body);
    let mut connection = server.connect();
    connection
        .send(&request[..request.len() - body.len()])
        .unwrap();
    assert_eq!(connection.receive().unwrap().status, 100);
    connection.send(&body).unwrap();
    assert!(connection.receive().unwrap().is_accepted());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = strict();
    let requests: Vec<u8> = ["a", "b", "a", "c"]
        .iter()
        .flat_map(|token| signed_post("/form", &Form::new(*token).body()))
        .collect();
    let mut connection = server.connect();
    connection.send(&requests).unwrap();
    let answers: Vec<Answer> = (0..4).map(|_| connection.receive().unwrap()).collect();
    let accepted: Vec<bool> = answers.iter().map(Answer::is_accepted).collect();
    assert_eq!(accepted, [true, true, false, true]);
    assert!(answers[2].is_duplicate());
}

#[test]
fn connection_survives_refused_request() {
    let server = strict();
    let mut connection = server.connect();
    let unsigned = post("/form", &[("content-type", "application/json")], b"{}");
    assert_eq!(connection.exchange(&unsigned).unwrap().status, 401);
    // The connection stays open, or the server closes it after a response. The server never closes
    // it without one.
    match connection.exchange(&signed_post("/form", &Form::new("next").body())) {
        Ok(answer) => assert!(answer.is_accepted()),
        Err(_) => {
            assert!(send(&server, &signed_post("/form", &Form::new("next").body())).is_accepted());
        }
    }
}

#[test]
fn non_http_input_gets_400_or_close() {
    let server = strict();
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"HELO example.com\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ] {
        let mut connection = server.connect();
        connection.send(garbage).unwrap();
        connection.finish_sending();
        if let Ok(answer) = connection.receive() {
            assert!(
                (400..506).contains(&answer.status) && answer.status != 500,
                "{answer:?}"
            );
        }
    }
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn connections_above_limit_wait_or_get_503() {
    let server = Server::start(&format!("{PLAIN_FLOW}\n[limits]\nmax_connections = 2\n"));
    let hold: Vec<Connection> = (0..2)
        .map(|_| {
            let mut connection = server.connect();
            assert_eq!(
                connection
                    .exchange(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
                    .unwrap()
                    .status,
                200
            );
            connection
        })
        .collect();
    let mut third = server.connect();
    third
        .send(&signed_post("/form", &Form::new("third").body()))
        .unwrap();
    drop(hold);
    match third.receive() {
        Ok(answer) if answer.is_accepted() => {}
        Ok(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
        Err(why) => panic!("let go without a word: {why}"),
    }
    eventually("there is room", || {
        let answer = server
            .connect()
            .exchange(&signed_post("/form", &Form::new("later").body()))
            .ok()?;
        (answer.status == 200).then_some(())
    });
}

#[test]
fn total_body_memory_is_limited() {
    let limits = "\n[limits]\nmax_flow_body = \"64KiB\"\nmax_webhook_body = \"64KiB\"\nmax_body_memory = \"64KiB\"\nrequest_timeout = \"60s\"\n";
    let server = Server::start(&format!("{PLAIN_FLOW}{limits}"));
    let body = |number: usize| {
        Form::new(format!("form-{number}"))
            .with("text", "x".repeat(10_000))
            .body()
    };
    // Eight bodies of ten kilobytes, each without its last byte.
    let mut senders: Vec<Connection> = (0..8)
        .map(|number| {
            let (mut connection, request) = (server.connect(), signed_post("/form", &body(number)));
            connection.send(&request[..request.len() - 1]).unwrap();
            connection
        })
        .collect();
    let refused = eventually("somebody is refused", || {
        senders.iter().position(Connection::is_answered)
    });
    let refused = senders.remove(refused).receive().unwrap();
    assert_refused(&refused, 503, "busy");
    assert!(refused.header("retry-after").is_some());
    for sender in &mut senders {
        // A refused sender may be gone.
        let _ = sender.send(b"}");
        let answer = sender.receive().unwrap();
        // On a slow machine, a sender may be slower than the server allows when memory is short.
        assert!(
            answer.is_accepted() || [408, 503].contains(&answer.status),
            "{answer:?}"
        );
    }
    // The memory budget is completely free again.
    assert!(
        server
            .post("/form", &Form::new("late").with("text", "x".repeat(50_000)))
            .is_accepted()
    );
}

#[test]
fn slow_forged_webhooks_do_not_block_forms() {
    let server = Server::start(&format!(
        "{PLAIN_FLOW}\n[limits]\nrequest_timeout = \"60s\"\nmax_body_memory = \"4MiB\"\nmax_webhook_body = \"1MiB\"\n"
    ));
    let signature = format!("sha256={}", "0".repeat(64));
    let headers = [
        ("content-type", "application/json"),
        ("x-hub-signature-256", signature.as_str()),
    ];
    let request = post("/webhook", &headers, &vec![b' '; 1 << 20]);
    // The bodies need more memory than the budget. Their last bytes are never sent.
    let mut slow: Vec<Connection> = (0..8)
        .map(|_| {
            let mut connection = server.connect();
            // The server may not read the complete body of a refused request.
            let _ = connection.send(&request[..request.len() - 100]);
            connection
        })
        .collect();
    eventually("some are refused", || {
        slow.iter().any(Connection::is_answered).then_some(())
    });
    assert!(
        server
            .post(
                "/form",
                &Form::new("meanwhile").with("text", "x".repeat(50_000))
            )
            .is_accepted()
    );
    let statuses: Vec<u16> = slow
        .iter_mut()
        .filter_map(|connection| Some(connection.receive().ok()?.status))
        .collect();
    assert!(
        statuses.contains(&408),
        "those that were let in must keep a pace: {statuses:?}"
    );
    assert!(
        statuses.iter().all(|status| [408, 503].contains(status)),
        "{statuses:?}"
    );
    let hints = server.row(&["status"])["warnings"].to_string();
    assert!(
        hints.contains("refused in the last hour") && hints.contains(" busy"),
        "{hints}"
    );
}

#[test]
fn slow_small_bodies_time_out_under_memory_pressure() {
    let limits = "[limits]\nrequest_timeout = \"5m\"\nmax_body_memory = \"1MiB\"\nmax_webhook_body = \"1MiB\"\nmax_flow_body = \"64KiB\"";
    let server = Server::start(&format!("{PLAIN_FLOW}\n{limits}\n"));
    let body = Form::new("slow").with("text", "x".repeat(60_000)).body();
    let request = signed_post("/form", &body);
    // The bodies use two thirds of the memory. Each is too small for the usual minimum rate.
    let mut slow: Vec<Connection> = (0..12)
        .map(|_| {
            let mut connection = server.connect();
            connection.send(&request[..request.len() - 1]).unwrap();
            connection
        })
        .collect();
    assert!(
        server
            .post(
                "/form",
                &Form::new("meanwhile").with("text", "x".repeat(50_000))
            )
            .is_accepted()
    );
    let first = eventually("one is let go", || {
        slow.iter().position(Connection::is_answered)
    });
    assert_refused(&slow[first].receive().unwrap(), 408, "timeout");
    assert!(
        server
            .post(
                "/form",
                &Form::new("after").with("text", "x".repeat(50_000))
            )
            .is_accepted()
    );
}

#[test]
fn idle_connection_is_closed() {
    let server = Server::start(&format!(
        "{PLAIN_FLOW}\n[limits]\nidle_timeout = \"300ms\"\n"
    ));
    let mut used = server.connect();
    assert!(
        used.exchange(&signed_post("/form", &Form::new("t").body()))
            .unwrap()
            .is_accepted()
    );
    assert!(used.closes_silently());
    assert!(server.connect().closes_silently(), "never used");
}

#[test]
fn health_readiness_and_metrics_are_served() {
    let server = strict();
    assert!(server.post("/form", &Form::new("counted")).is_accepted());
    server.settled();
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.get("/readyz").status, 200);
    let metrics = crate::support::get(server.admin_address(), "/metrics");
    assert_eq!(metrics.status, 200);
    let lines: Vec<&str> = metrics.text().lines().collect();
    let types = lines
        .iter()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let missing: Vec<&str> = types
        .filter(|name| !metrics.text().contains(&format!("# HELP {name} ")))
        .collect();
    assert!(
        missing.is_empty() && lines.contains(&"flowgate_ready 1"),
        "without help: {missing:?}\n{}",
        metrics.text()
    );
    assert_eq!(
        server.get("/metrics").status,
        404,
        "not for the world outside"
    );
}
