//! Tests an upstream that fails. Customers see the fallback, their answers are stored, and the
//! circuit breaker stops calls until the upstream has recovered.

use std::fs;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::signed_post;
use crate::support::phone;
use crate::support::request::Request;
use crate::support::upstream::{Behavior, ScriptedServer, exchange, flow, serve};
use crate::support::{Server, assert_each_once, eventually, get};

/// Text of the flow if the upstream gives no response.
const TRY_AGAIN: &str = "Gleich noch einmal, bitte.";

fn ask(server: &Server, request: &Value) -> Value {
    phone::ask(server, "/home", request)
}

fn send(server: &Server, token: &str) -> Value {
    ask(server, &exchange("NAME", token, &json!({"name": token})))
}

fn fallback() -> Value {
    json!({"screen": "NAME", "data": {"error_message": TRY_AGAIN}})
}

fn well(_: &Request) -> Behavior {
    Behavior::show(&json!({"screen": "TIME"}))
}

fn broken(_: &Request) -> Behavior {
    Behavior::Respond(500, "Ann's form made a mess".to_owned())
}

/// Behavior of the upstream.
type UpstreamBehavior = fn(&Request) -> Behavior;

#[test]
fn upstream_failure_shows_fallback_and_stores_answers() {
    let acts: [(&str, UpstreamBehavior); 6] = [
        ("hangs", |_| Behavior::Hang),
        ("is broken", broken),
        ("hangs up", |_| Behavior::Break("")),
        ("closes mid-body", |_| {
            Behavior::Break("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"screen\":\"TI")
        }),
        ("talks nonsense", |_| {
            Behavior::Respond(200, "<html>hello</html>".to_owned())
        }),
        ("names no screen", |_| Behavior::show(&json!({"data": {}}))),
    ];
    let program = ScriptedServer::start(well);
    let patient = "timeout = \"300ms\"\nbreaker = { failure_threshold = 1000 }";
    let server = serve(&flow(&program.url(), patient));
    for (how, act) in acts {
        program.set_behavior(act);
        assert_eq!(send(&server, how), fallback(), "{how}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    server.configure(&flow(&format!("http://{nobody}"), patient));
    assert_eq!(server.cli(&["reload"]).code, 0);
    assert_eq!(send(&server, "is down"), fallback());

    let drafts = server.rows(&["drafts"]);
    assert_eq!(drafts.len(), acts.len() + 1);
    assert!(
        drafts
            .iter()
            .all(|draft| draft["data"]["name"] == draft["flow_token"]),
        "{drafts:?}"
    );
    let is_warning = |line: &&str| {
        line.contains("WARN") && line.contains("the upstream of a flow gave no valid response")
    };
    assert_eq!(
        server.log().lines().filter(is_warning).count(),
        acts.len() + 1,
        "{}",
        server.log()
    );
    for secret in ["made a mess", "hello"] {
        assert!(
            !server.log().contains(secret),
            "what it said may be anybody's data"
        );
    }
}

#[test]
fn fallback_shows_configured_screen_text_and_earlier_answers() {
    let program = ScriptedServer::start(broken);
    let screens = "screens = [{ name = \"NAME\" }, { name = \"SORRY\", final = true, data = { name = { answer = \"name\" } } }]\nlead =";
    let fallback = "fallback = { screen = \"SORRY\", message = \"Call us.\" }";
    let server = serve(&flow(&program.url(), fallback).replace("lead =", screens));
    let sorry = |name: Value| json!({"screen": "SORRY", "data": {"name": name, "error_message": "Call us."}});
    let init = json!({"version": "3.0", "action": "INIT", "flow_token": "t"});
    let opened = ask(&server, &init);
    assert_eq!(
        (&opened["screen"], &opened["data"]["error_message"]),
        (&json!("SORRY"), &json!("Call us."))
    );
    assert_eq!(send(&server, "t"), sorry(json!("t")));
    assert_eq!(
        server.rows(&["drafts"])[0]["screen"],
        "SORRY",
        "where its user is"
    );
    assert_eq!(
        ask(&server, &exchange("SORRY", "t", &json!({"note": "x"}))),
        sorry(json!("t")),
        "of all screens so far"
    );
    assert_eq!(
        ask(&server, &init),
        opened,
        "who opens it may be another with the same token"
    );
    let back = json!({"version": "3.0", "action": "BACK", "screen": "SORRY", "flow_token": "t"});
    assert_eq!(ask(&server, &back), sorry(json!("t")));
}

#[test]
fn circuit_breaker_opens_and_closes_after_recovery() {
    let program = ScriptedServer::start(|_| Behavior::Hang);
    let server = serve(&flow(
        &program.url(),
        "timeout = \"2s\"\nbreaker = { failure_threshold = 2, open_for = \"6s\" }",
    ));
    for token in ["a", "b"] {
        assert_eq!(send(&server, token), fallback());
    }
    let opened = Instant::now();
    program.set_behavior(broken);
    for token in ["c", "d", "e"] {
        assert_eq!(send(&server, token), fallback());
    }
    assert!(
        opened.elapsed() < Duration::from_secs(2),
        "nobody waits for it"
    );
    assert_eq!(program.asked().len(), 2);
    let is_logged = |level: &str, what: &str| {
        server
            .log()
            .lines()
            .any(|line| line.contains(level) && line.contains(what))
    };
    assert!(
        is_logged("WARN", "circuit breaker of an upstream opened"),
        "{}",
        server.log()
    );
    let figures = get(server.admin_address(), "/metrics").text().to_owned();
    for (outcome, count) in [("timeout", 2), ("open", 3)] {
        let figure = format!(
            "flowgate_upstream_requests_total{{flow=\"home\",outcome=\"{outcome}\"}} {count}\n"
        );
        assert!(figures.contains(&figure), "{figure} is not in {figures}");
    }

    program.set_behavior(well);
    eventually("it is asked again", || {
        (send(&server, "f") == json!({"screen": "TIME"})).then_some(())
    });
    assert_eq!(send(&server, "g"), json!({"screen": "TIME"}));
    assert!(
        is_logged("INFO", "circuit breaker of an upstream closed"),
        "{}",
        server.log()
    );
    assert_eq!(server.rows(&["drafts"]).len(), 7, "all were kept");
}

#[test]
fn reload_preserves_open_breaker_unless_upstream_changes() {
    let program = ScriptedServer::start(broken);
    let breaker = "breaker = { failure_threshold = 1, open_for = \"10m\" }";
    let server = serve(&flow(&program.url(), breaker));
    let reload = |changed: &[&str]| {
        assert_eq!(server.row(&["reload"])["changed"], json!(changed));
    };
    // The upstream is called once after each restart of the breaker, and then no more.
    let is_asked_once_more = |so_far: usize| {
        for token in ["a", "b"] {
            assert_eq!(send(&server, token), fallback());
        }
        assert_eq!(program.asked().len(), so_far + 1);
    };
    is_asked_once_more(0);
    reload(&[]);
    server
        .configure(&flow(&program.url(), breaker).replace("path = ", "language = \"de\"\npath = "));
    reload(&["flows.home changed"]);
    assert_eq!(send(&server, "c"), fallback());
    assert_eq!(program.asked().len(), 1, "it is still left alone");

    server.configure(&flow(
        &program.url(),
        &format!("{breaker}\ntimeout = \"3s\""),
    ));
    reload(&["flows.home changed", "flows.home.upstream changed"]);
    is_asked_once_more(1);
    fs::write(
        server.folder().join("upstream.secret"),
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    )
    .unwrap();
    reload(&["flows.home.upstream changed"]);
    is_asked_once_more(2);
}

#[test]
fn kill_before_response_creates_one_submission() {
    let end = json!({"screen": "SUCCESS", "data": {"extension_message_response": {"params": {"visit": 17}}}});
    let program = ScriptedServer::start(|_| Behavior::Hang);
    let mut server = serve(&flow(&program.url(), ""));
    let tokens: Vec<String> = (0..6).map(|round| format!("t{round}")).collect();
    for (round, token) in tokens.iter().enumerate() {
        let (go, wait) = mpsc::channel::<()>();
        let (wait, answer) = (Arc::new(Mutex::new(wait)), end.clone());
        // In every second round the kill comes while the upstream still works. In the other rounds
        // the kill comes directly after its response.
        let thinks = round % 2 == 0;
        program.set_behavior(move |_| {
            if thinks {
                let _ = wait.lock().unwrap().recv();
            }
            Behavior::show(&answer)
        });
        let (asked, output) = (program.asked().len(), program.response_count());
        let mut phone = server.connect();
        let request = exchange("TIME", token, &json!({"time": "09:00"}));
        phone
            .send(&signed_post("/home", &phone::seal(&request).body))
            .unwrap();
        if thinks {
            eventually("it is asked", || {
                (program.asked().len() > asked).then_some(())
            });
        } else {
            eventually("it has answered", || {
                (program.response_count() > output).then_some(())
            });
        }
        server.kill9();
        drop(go);
        server.start_again();
        let again = ask(&server, &request);
        assert_eq!(
            again["data"]["extension_message_response"]["params"]["visit"], 17,
            "{again}"
        );
        assert_eq!(ask(&server, &request), again);
    }
    assert_each_once(&server.submissions(), &tokens);
}

#[test]
fn copy_that_times_out_during_original_gets_503() {
    let program = ScriptedServer::start(|_| Behavior::Hang);
    let server = serve(&format!(
        "[limits]\nrequest_timeout = \"3s\"\n{}",
        flow(&program.url(), "timeout = \"2s\"")
    ));
    let request = phone::seal(&exchange("NAME", "t", &json!({"name": "Ann"})));
    let post = signed_post("/home", &request.body);
    let (begin, rest) = post.split_at(post.len() - 1);
    // The deadline of the copy starts here. Another request uses two seconds of it.
    let mut copy = server.connect();
    copy.send(begin).unwrap();
    assert_eq!(send(&server, "other"), fallback());
    let mut first = server.connect();
    first.send(&post).unwrap();
    eventually("the first is asked about", || {
        (program.asked().len() > 1).then_some(())
    });
    let late = copy.exchange(rest).unwrap();
    assert_eq!(
        (late.status, late.code()),
        (503, "busy".to_owned()),
        "{}",
        late.text()
    );
    assert!(
        late.text()
            .contains("the same encrypted request is still being answered"),
        "{}",
        late.text()
    );
    assert_eq!(late.header("retry-after"), Some("1"));
    let answer = first.receive().unwrap();
    assert_eq!(request.open(&answer), fallback());
    assert_eq!(
        copy.exchange(&post).unwrap().text(),
        answer.text(),
        "later it gets the answer of the first"
    );
}
