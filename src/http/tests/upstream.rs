//! A flow's own program, well and unwell, and what becomes of what it is asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::clock::ManualClock;
use crate::config::{Config, SecretRef, UpstreamRule};
use crate::domain::ids::FlowName;
use crate::domain::time::{Millis, Timestamp};
use crate::http::{Upstream, UpstreamError};
use crate::signing::{self, SigningKey};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Longer than anything here takes.
const LONG: Duration = Duration::from_mins(1);

/// What the program does with a request.
enum Act {
    Say(String),
    SayAndClose(String),
    /// Says one part, and the other one so much later. The time between them is skipped.
    SayInParts([String; 2], Duration),
    Hang,
}

/// The same for every request.
type Acts = fn() -> Act;

/// One request as the program got it.
#[derive(Clone, Debug)]
struct Asked {
    /// In lower case.
    head: String,
    body: Vec<u8>,
    /// The connection it came on, from 0.
    connection: usize,
}

impl Asked {
    fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no {name} in {}", self.head)).1
    }
}

/// The owner's program: does with each request what it was told to do.
#[derive(Clone)]
struct Program {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    act: Arc<Mutex<Box<dyn Fn() -> Act + Send>>>,
}

impl Program {
    async fn start(act: impl Fn() -> Act + Send + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), act)
    }

    fn on(listener: TcpListener, act: impl Fn() -> Act + Send + 'static) -> Self {
        let act: Box<dyn Fn() -> Act + Send> = Box::new(act);
        let program =
            Self { address: listener.local_addr().unwrap(), asked: Arc::default(), act: Arc::new(Mutex::new(act)) };
        let running = program.clone();
        tokio::spawn(async move {
            for connection in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(running.clone().talk(socket, connection));
            }
        });
        program
    }

    fn now_does(&self, act: impl Fn() -> Act + Send + 'static) {
        *self.act.lock().unwrap() = Box::new(act);
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    async fn talk(self, mut socket: TcpStream, connection: usize) {
        while let Some((head, body)) = read_request(&mut socket).await {
            self.asked.lock().unwrap().push(Asked { head, body, connection });
            let act = (self.act.lock().unwrap())();
            match act {
                Act::Say(text) => socket.write_all(text.as_bytes()).await.unwrap(),
                Act::SayAndClose(text) => {
                    // The other side may have gone already: it was told too much.
                    let _ = socket.write_all(text.as_bytes()).await;
                    return;
                }
                Act::SayInParts([first, second], pause) => {
                    socket.write_all(first.as_bytes()).await.unwrap();
                    tokio::time::pause();
                    tokio::time::sleep(pause).await;
                    tokio::time::resume();
                    // The other side may have lost its patience.
                    let _ = socket.write_all(second.as_bytes()).await;
                }
                Act::Hang => std::future::pending().await,
            }
        }
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1)?.lines().next()?.parse().ok()?;
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn fine() -> Act {
    Act::Say(http("200 OK", r#"{"screen":"NEXT","data":{"a":[1]}}"#))
}

fn broken() -> Act {
    Act::Say(http("500 Internal Server Error", "Ann's form made a mess"))
}

/// As a config has it, with less patience: a breaker that opens after two failures for ten seconds.
fn rule(url: &str) -> UpstreamRule {
    let config = Config::parse(
        std::path::Path::new("config.toml"),
        &format!(
            "[flows.form]\nencryption = \"required\"\nprivate_keys = [\"file:key\"]\n[flows.form.upstream]\n\
             url = \"{url}\"\nsecret = \"text:{SECRET}\"\nbreaker = {{ failures = 2, pause = \"10s\" }}"
        ),
    );
    config.unwrap().upstreams.into_values().next().unwrap()
}

fn upstream_with(rule: &UpstreamRule) -> (Upstream, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(NOW));
    let SecretRef::Text(secret) = &rule.secret else { panic!("{rule:?}") };
    let key = SigningKey::read(secret.expose()).unwrap();
    (Upstream::new(FlowName::new("form").unwrap(), rule.clone(), key, clock.clone()), clock)
}

fn upstream(program: &Program) -> (Upstream, Arc<ManualClock>) {
    upstream_with(&rule(&format!("http://{}/flow?a=b", program.address)))
}

async fn ask(upstream: &Upstream) -> Result<Value, UpstreamError> {
    let request = json!({"action": "data_exchange", "screen": "FIRST", "data": {"name": "Ann"}});
    upstream.ask(request.to_string().into(), "r1", Instant::now() + LONG).await.map(Value::Object)
}

#[tokio::test]
async fn it_is_asked_with_a_signature_and_its_answer_comes_back_whole() {
    let program = Program::start(fine).await;
    let (upstream, _) = upstream(&program);
    for _ in 0..2 {
        assert_eq!(ask(&upstream).await.unwrap(), json!({"screen": "NEXT", "data": {"a": [1]}}));
    }
    let asked = program.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!((asked[0].connection, asked[1].connection), (0, 0), "the connection is kept");
    let asked = &asked[0];
    assert!(asked.head.starts_with("post /flow?a=b http/1.1\r\n"), "{}", asked.head);
    assert_eq!(asked.header("host"), program.address.to_string());
    assert_eq!(asked.header("content-type"), "application/json");
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!(body, json!({"action": "data_exchange", "screen": "FIRST", "data": {"name": "Ann"}}));
    let key = SigningKey::read(SECRET).unwrap();
    for (name, value) in signing::headers(&[key], "r1", NOW, &asked.body) {
        assert_eq!(asked.header(name), value.to_ascii_lowercase());
    }
}

#[tokio::test]
async fn localhost_is_this_machine_on_whichever_address_the_program_listens() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        // A machine may have no IPv6.
        let Ok(listener) = TcpListener::bind(address).await else { continue };
        let program = Program::on(listener, fine);
        let (by_name, _) = upstream_with(&rule(&format!("http://localhost:{}", program.address.port())));
        assert!(ask(&by_name).await.is_ok(), "{address}");
        assert!(program.asked()[0].head.starts_with("post / http/1.1\r\n"));
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_refused_with_what_is_wrong_and_without_what_was_said() {
    let cases: [(Acts, &str); 12] = [
        (broken, "answered with status 500 Internal Server Error, not 200"),
        (
            || Act::Say(http("302 Found\r\nlocation: http://127.0.0.1:1/", "")),
            "answered with status 302 Found, not 200",
        ),
        (|| Act::Say(http("201 Created", r#"{"screen":"Ann"}"#)), "answered with status 201 Created, not 200"),
        (|| Act::Say(http("200 OK", "{\n\"Ann\"")), "answered with no JSON (line 2, column 5)"),
        (|| Act::Say(http("200 OK", "")), "answered with no JSON (line 1, column 0)"),
        (|| Act::Say(http("200 OK", r#"["Ann"]"#)), "gave an answer that is no JSON object"),
        (|| Act::Say(http("200 OK", r#"{"data":{"Ann":1}}"#)), "gave an answer that names no `screen`"),
        (|| Act::Say(http("200 OK", r#"{"screen":"","Ann":1}"#)), "gave an answer that names no `screen`"),
        (
            || Act::Say(http("200 OK", r#"{"screen":"A","data":"Ann"}"#)),
            "gave an answer that has a `data` that is no object",
        ),
        (
            || Act::Say(http("200 OK", r#"{"screen":"A","data":{"error_message":["Ann"]}}"#)),
            "gave an answer that has an `error_message` that is no text",
        ),
        (|| Act::SayAndClose(http("200 OK", &" ".repeat((1 << 20) + 1))), "answered with more than 1048576 bytes"),
        (
            || Act::SayAndClose("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"Ann\":".to_owned()),
            "broke off, or does not speak HTTP/1.1: the body of its answer was not whole",
        ),
    ];
    let program = Program::start(fine).await;
    for (act, what) in cases {
        let (upstream, _) = upstream(&program);
        program.now_does(act);
        let said = ask(&upstream).await.unwrap_err().to_string();
        assert_eq!(said, format!("the program behind this flow {what}"));
    }
    let (upstream, _) = upstream(&program);
    program.now_does(|| Act::SayAndClose("what?\r\n\r\n".to_owned()));
    assert!(matches!(ask(&upstream).await, Err(UpstreamError::Broken(_))));
    program.now_does(|| {
        let body = r#"{"screen":"A"}"#;
        Act::Say(http("200 OK", &(body.to_owned() + &" ".repeat((1 << 20) - body.len()))))
    });
    assert!(ask(&upstream).await.is_ok(), "as large as may be");
}

#[tokio::test]
async fn nobody_there_is_said_at_once() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (upstream, _) = upstream_with(&rule(&format!("http://{free}")));
    let error = ask(&upstream).await.unwrap_err();
    assert!(matches!(&error, UpstreamError::Unreachable(why) if why.contains("refused")), "{error}");
}

#[tokio::test]
async fn an_id_that_no_header_can_carry_is_never_sent() {
    let program = Program::start(fine).await;
    let (upstream, _) = upstream(&program);
    let error = upstream.ask(Bytes::from("{}"), "a\nb", Instant::now() + LONG).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Request(_)), "{error}");
    assert!(program.asked().is_empty());
}

#[tokio::test]
async fn it_is_waited_for_as_long_as_the_rule_says_and_never_beyond_the_deadline() {
    let program = Program::start(|| Act::Hang).await;
    let mut rule = rule(&format!("http://{}", program.address));
    rule.timeout = Millis::new(20);
    let (impatient, _) = upstream_with(&rule);
    assert_eq!(
        ask(&impatient).await.unwrap_err().to_string(),
        "the program behind this flow gave no answer within 20 ms"
    );

    rule.timeout = Millis::from_secs(8);
    let (hurried, _) = upstream_with(&rule);
    for _ in 0..5 {
        let soon = Instant::now() + Duration::from_millis(20);
        let error = hurried.ask(Bytes::from("{}"), "r1", soon).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Late(_)), "who had no time has not failed: {error}");
    }

    // A head, and then nothing.
    program.now_does(|| Act::Say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_owned()));
    assert!(matches!(ask(&impatient).await, Err(UpstreamError::Late(waited)) if waited.as_millis() == 20));
    assert!(matches!(ask(&impatient).await, Err(UpstreamError::Open)), "twice late is twice failed");
}

#[tokio::test]
async fn a_large_answer_may_come_as_slowly_as_the_timeout_allows() {
    let program = Program::start(|| {
        let answer = http("200 OK", &(r#"{"screen":"A"}"#.to_owned() + &" ".repeat(200_000)));
        let (first, second) = answer.split_at(150_000);
        Act::SayInParts([first.to_owned(), second.to_owned()], Duration::from_secs(7))
    })
    .await;
    let mut rule = rule(&format!("http://{}", program.address));
    // Longer than any config allows: skipped time and a busy machine must not use it up.
    rule.timeout = Millis::new(60_000);
    let (upstream, _) = upstream_with(&rule);
    assert_eq!(ask(&upstream).await.unwrap(), json!({"screen": "A"}));
}

#[tokio::test]
async fn a_program_that_fails_is_left_alone_until_one_request_has_found_it_well() {
    let program = Program::start(broken).await;
    let (upstream, clock) = upstream(&program);
    for _ in 0..2 {
        assert!(matches!(ask(&upstream).await, Err(UpstreamError::Status(_))));
    }
    for _ in 0..3 {
        assert!(matches!(ask(&upstream).await, Err(UpstreamError::Open)));
    }
    assert_eq!(program.asked().len(), 2);

    clock.advance(Millis::from_secs(10));
    assert!(matches!(ask(&upstream).await, Err(UpstreamError::Status(_))), "one tries it");
    assert!(matches!(ask(&upstream).await, Err(UpstreamError::Open)), "and it has failed again");

    clock.advance(Millis::from_secs(10));
    program.now_does(fine);
    for _ in 0..3 {
        assert!(ask(&upstream).await.is_ok());
    }
    assert_eq!(program.asked().len(), 6);
}

#[tokio::test]
async fn a_probe_whose_user_has_gone_does_not_keep_others_out() {
    let program = Program::start(broken).await;
    let (upstream, clock) = upstream(&program);
    for _ in 0..2 {
        assert!(ask(&upstream).await.is_err());
    }
    program.now_does(|| Act::Hang);
    clock.advance(Millis::from_secs(10));
    {
        let mut probe = Box::pin(ask(&upstream));
        let asked = async {
            while program.asked().len() < 3 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            ended = &mut probe => panic!("{ended:?}"),
            () = asked => {}
        }
        assert!(matches!(ask(&upstream).await, Err(UpstreamError::Open)), "one at a time");
    }
    program.now_does(fine);
    assert!(ask(&upstream).await.is_ok());
}

#[tokio::test]
async fn one_that_answers_wrongly_lives_and_is_not_shut_off() {
    let program = Program::start(|| Act::Say(http("400 Bad Request", ""))).await;
    let (upstream, _) = upstream(&program);
    for _ in 0..5 {
        assert!(matches!(ask(&upstream).await, Err(UpstreamError::Status(_))));
    }
    program.now_does(|| Act::Say(http("429 Too Many Requests", "")));
    for _ in 0..2 {
        assert!(matches!(ask(&upstream).await, Err(UpstreamError::Status(_))));
    }
    assert!(matches!(ask(&upstream).await, Err(UpstreamError::Open)), "it asked to be left alone");
}

#[tokio::test]
async fn many_are_asked_at_once() {
    let program = Program::start(fine).await;
    let (upstream, _) = upstream(&program);
    let upstream = Arc::new(upstream);
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let upstream = Arc::clone(&upstream);
        asking.spawn(async move { ask(&upstream).await.unwrap() });
    }
    assert_eq!(asking.join_all().await.len(), 100);
    assert_eq!(program.asked().len(), 100);
}
