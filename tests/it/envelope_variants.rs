//! Any request with or as an envelope gets a clear response, the connection stays usable, and the
//! server continues. A flood of invalid requests does not block senders with a valid signature. A
//! request without a valid signature never costs an RSA operation.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};

use crate::support::form::Form;
use crate::support::http::{Answer, Connection, post, signed_post};
use crate::support::phone::{self, PUBLIC_KEY};
use crate::support::user::{User, server, success};
use crate::support::{PLAIN_FLOW, Server, eventually, get};

/// Flow with two screens and a booking, and a flow that accepts anything.
const FLOWS: &str = r#"
[flows.home]
path = "/home"
encryption = "required"
private_keys = ["file:key.pem"]
booking = { calendar = "chair", date = "slot", time = "slot" }
lead = { team = "sales", agent = "adviser" }
webhook = { token_prefix = "home" }

[[flows.home.screens]]
name = "LEAD_FORM"
next = { field = "plan", cases = { big = "APPOINTMENT" } }
refresh_on = ["plan"]
data = { slots = { slots = "chair", day = "day" }, plan = { answer = "plan" } }
fields = { name = {}, plan = {}, day = {}, slot = {} }

[[flows.home.screens]]
name = "APPOINTMENT"
final = true
data = { days = { dates = "chair" }, adviser = { agent = "sales" }, name = { answer = "name" } }
fields = { slot = {}, age = { type = "integer" }, extras = { type = "choices", choices = ["a"] } }

[flows.any]
path = "/any"
encryption = "required"
private_keys = ["file:key.pem"]

[calendars.chair]
timezone = "UTC"
hours = { mon = ["09:00-17:00"], tue = ["09:00-17:00"], wed = ["09:00-17:00"], thu = ["09:00-17:00"], fri = ["09:00-17:00"] }
slot_length = "1h"
capacity = 3
max_advance = "60d"
"#;

/// Connection that is reused until the server closes it.
struct Line {
    to: SocketAddr,
    open: Option<Connection>,
}

impl Line {
    fn to(server: &Server) -> Self {
        Self {
            to: server.address(),
            open: None,
        }
    }

    /// Sends a signed body. The server must respond with one of the allowed statuses.
    fn send(&mut self, path: &str, body: &[u8]) -> Result<Answer, TestCaseError> {
        let connection = self
            .open
            .get_or_insert_with(|| Connection::open(self.to).unwrap());
        let answer = connection
            .exchange(&signed_post(path, body))
            .map_err(|why| TestCaseError::fail(format!("the connection was dropped: {why}")))?;
        if answer.header("connection") == Some("close") {
            self.open = None;
        }
        prop_assert!(
            [200, 400, 413, 421, 427].contains(&answer.status),
            "{answer:?}"
        );
        match answer.status {
            200 | 427 => prop_assert!(STANDARD.decode(answer.text()).is_ok(), "{answer:?}"),
            421 => prop_assert!(answer.body.is_empty(), "{answer:?}"),
            _ => prop_assert!(
                answer.json()["error"]["message"].is_string() && answer.body.len() < 2000,
                "{answer:?}"
            ),
        }
        Ok(answer)
    }
}

/// Checks a property in this number of cases.
fn holds<S: Strategy>(
    cases: u32,
    strategy: &S,
    property: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 256,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(strategy, property)
        .unwrap_or_else(|why| panic!("{why}"));
}

/// Asserts that the server works, its file passes the check, and lists show all rows.
fn assert_server_works(server: &Server) {
    server.add_agent("Ann", &[]);
    let ann = User {
        server,
        path: "/any",
        token: "after all",
    };
    assert_eq!(
        ann.sends("ANY", &json!({"name": "Ann"})),
        success("after all")
    );
    assert_eq!(server.get("/readyz").status, 200);
    server.settled();
    server.row(&["check"]);
    for row in server.submissions() {
        server.row(&["submissions", "show", &row["id"].to_string()]);
    }
    for list in [
        &["drafts", "list", "--limit", "0"][..],
        &["flows", "errors", "--limit", "0"],
        &["leads", "list", "--limit", "0"],
    ] {
        server.rows(list);
        let output = server.cli(list);
        assert_eq!(output.code, 0, "{output:?}");
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// Change of the body of a valid request.
#[derive(Debug, Clone)]
enum Change {
    /// Replaces a byte, inserts a byte, or truncates the body.
    Byte(Index, u8, u8),
    /// Replaces the value of a field with any JSON text.
    Field(usize, String),
    /// Replaces the value of a field with the base64 of these bytes.
    Holds(usize, Vec<u8>),
    /// Changes the base64 encoding of a field.
    Base64(usize, u8),
    /// Adds a field before or after the other fields: its name, and any JSON text.
    More(bool, String, String),
    /// Removes a field.
    Less(usize),
    /// Wraps the body in other text.
    Wrapped(String, String),
}

const PARTS: [&str; 3] = ["encrypted_aes_key", "initial_vector", "encrypted_flow_data"];

fn change() -> impl Strategy<Value = Change> {
    let lengths = prop_oneof![
        4 => vec(any::<u8>(), 0..300),
        1 => vec(any::<u8>(), 12),
        1 => vec(any::<u8>(), 16),
        1 => vec(any::<u8>(), 256),
    ];
    let name = prop_oneof![
        select(PARTS.map(str::to_owned).to_vec()),
        "[a-z\\\\\"]{0,8}",
        Just("x".repeat(5000))
    ];
    prop_oneof![
        3 => (any::<Index>(), prop_oneof![b'+'..=b'z', any::<u8>()], 0..6u8)
            .prop_map(|(at, byte, how)| Change::Byte(at, byte, how)),
        3 => (0..3usize, lengths).prop_map(|(part, bytes)| Change::Holds(part, bytes)),
        2 => (0..3usize, 0..7u8).prop_map(|(part, how)| Change::Base64(part, how)),
        2 => (0..3usize, json_text()).prop_map(|(part, text)| Change::Field(part, text)),
        1 => (any::<bool>(), name, json_text())
            .prop_map(|(first, name, text)| Change::More(first, name, text)),
        1 => (0..3usize).prop_map(Change::Less),
        1 => select(vec![("[", "]"), ("{\"a\":", "}"), ("", ","), ("\u{feff}", ""), (" \n", "\n"), ("", "}"), ("\"", "\"")])
            .prop_map(|(before, behind)| Change::Wrapped(before.to_owned(), behind.to_owned())),
    ]
}

/// Returns the body after all changes.
fn changed(body: &str, changes: Vec<Change>) -> Vec<u8> {
    let good: Value = serde_json::from_str(body).unwrap();
    let text = |name: &str| good[name].as_str().unwrap().to_owned();
    let mut fields: Vec<(String, String)> = PARTS
        .iter()
        .map(|name| ((*name).to_owned(), json!(text(name)).to_string()))
        .collect();
    let (mut bytes, mut around) = (Vec::new(), Vec::new());
    for change in changes {
        match change {
            Change::Field(part, text) => fields.push((PARTS[part].to_owned(), text)),
            Change::Holds(part, held) => {
                fields.push((
                    PARTS[part].to_owned(),
                    json!(STANDARD.encode(held)).to_string(),
                ));
            }
            Change::Base64(part, how) => {
                let good = text(PARTS[part]);
                let other = match how {
                    0 => good.replace('+', "-").replace('/', "_"),
                    1 => good.trim_end_matches('=').to_owned(),
                    2 => format!("{good}="),
                    3 => good.replacen(|_: char| true, "\n", 1),
                    4 => format!("{good}\r\n"),
                    5 => format!(" {good}"),
                    _ => good.to_ascii_uppercase(),
                };
                fields.push((PARTS[part].to_owned(), json!(other).to_string()));
            }
            Change::More(true, name, text) => fields.insert(0, (name, text)),
            Change::More(false, name, text) => fields.push((name, text)),
            Change::Less(part) => fields.retain(|(name, _)| name != PARTS[part]),
            Change::Byte(at, byte, how) => bytes.push((at, byte, how)),
            Change::Wrapped(before, behind) => around.push((before, behind)),
        }
    }
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, text)| format!("{}:{text}", json!(name)))
        .collect();
    let whole = around.iter().fold(
        format!("{{{}}}", fields.join(",")),
        |text, (before, behind)| format!("{before}{text}{behind}"),
    );
    let mut body = whole.into_bytes();
    for (at, byte, how) in bytes {
        let at = at.index(body.len().max(1));
        match how {
            0 => body.insert(at, byte),
            1 => body.truncate(at),
            _ => body
                .iter_mut()
                .skip(at)
                .take(1)
                .for_each(|place| *place = byte),
        }
    }
    body
}

/// Generates text that looks like JSON: values of all kinds, including values that no parser
/// accepts.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => select(vec![
            "null", "true", "0", "-0", "1.50", "1e999", "-1e400", "1e-999", "123456789012345678901234567890", "01", "NaN", "",
            "\"\"", "\"\\u0000\"", "\"a\\u0000b\"", "\"\\ud800\"", "\"\\udc00\\ud800\"", "\"\\ud83d\\ude00\"", "\"\\x\"", "\"big\"",
            "\"2027-01-04T09:00\"", "\"2027-01-04\"", "\"unused\"", "\"SUCCESS\"", "\"\u{202e}\u{7f}\"", "{}", "[]",
        ]).prop_map(str::to_owned),
        1 => any::<String>().prop_map(|text| json!(text).to_string()),
        1 => any::<f64>().prop_map(|number| number.to_string()),
        1 => (1..40_000usize).prop_map(|many| format!("\"{}\"", "ä".repeat(many))),
        1 => (select(vec![("[", "]"), ("{\"a\":", "}")]), prop_oneof![1..140usize, 1..20_000usize])
            .prop_map(|((open, close), deep)| format!("{}0{}", open.repeat(deep), close.repeat(deep))),
    ];
    let name = select(vec![
        "name",
        "plan",
        "slot",
        "day",
        "age",
        "extras",
        "adviser",
        "error",
        "error_message",
        "trigger",
        "",
        "\\u0000",
        "\\ud800",
    ]);
    leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(|items| format!("[{}]", items.join(","))),
            vec((name.clone(), inner), 0..6).prop_map(|fields| {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(name, text)| format!("\"{name}\":{text}"))
                    .collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

/// Generates requests that clients send, and requests that no client would send.
fn request() -> impl Strategy<Value = String> {
    let one_of = |texts: &[&str]| {
        let texts: Vec<String> = texts.iter().map(|text| json!(text).to_string()).collect();
        prop_oneof![
            6 => select(texts).prop_map(Some),
            1 => json_text().prop_map(Some),
            1 => Just(None),
        ]
    };
    let data = prop_oneof![
        4 => good_data().prop_map(Some),
        3 => json_text().prop_map(Some),
        1 => Just(None),
    ];
    let fields = (
        one_of(&[
            "data_exchange",
            "data_exchange",
            "data_exchange",
            "INIT",
            "BACK",
            "ping",
            "navigate",
            "",
        ]),
        one_of(&["LEAD_FORM", "APPOINTMENT", "", "NOWHERE"]),
        data,
        one_of(&["t1", "t2", "t3", "unused", "", "\u{0}"]),
        one_of(&["3.0", "4.0"]),
        proptest::option::of(json_text()),
    );
    let text = fields.prop_map(|(action, screen, data, token, version, more)| {
        let names = [
            "action",
            "screen",
            "data",
            "flow_token",
            "version",
            "flow_token_signature",
        ];
        let fields = names
            .iter()
            .zip([action, screen, data, token, version, more]);
        let fields: Vec<String> = fields
            .filter_map(|(name, text)| Some(format!("\"{name}\":{}", text?)))
            .collect();
        format!("{{{}}}", fields.join(","))
    });
    prop_oneof![12 => text, 1 => json_text()]
}

/// Generates fields of the screens, mostly with valid values.
fn good_data() -> impl Strategy<Value = String> {
    let field = |name: &'static str, values: &[&str]| {
        let values: Vec<String> = values
            .iter()
            .map(|value| format!("\"{name}\":{value}"))
            .collect();
        proptest::option::of(select(values))
    };
    let fields = (
        field("name", &["\"Ann\"", "\"\\u0000\"", "[]"]),
        field("plan", &["\"big\"", "\"small\"", "null"]),
        field(
            "slot",
            &[
                "\"2027-01-04T09:00\"",
                "\"2026-01-04T09:00\"",
                "\"9999-12-31T23:59\"",
                "\"-001\"",
                "\"\"",
            ],
        ),
        field("age", &["7", "\"7\"", "1e300", "7.5"]),
        field("extras", &["[\"a\"]", "\"a\"", "[[]]"]),
        field("adviser", &["\"Ann\"", "\"\"", "{}"]),
    );
    fields.prop_map(|(a, b, c, d, e, f)| {
        let given: Vec<String> = [a, b, c, d, e, f].into_iter().flatten().collect();
        format!("{{{}}}", given.join(","))
    })
}

#[test]
fn altered_envelope_gets_clear_response() {
    let server = server(FLOWS);
    let file: Value = serde_json::from_str(include_str!("../vectors/flow_good.json")).unwrap();
    let bodies: Vec<String> = file["cases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| case["body"].as_str().unwrap().to_owned())
        .collect();
    let line = std::cell::RefCell::new(Line::to(&server));
    holds(
        400,
        &(
            select(bodies),
            vec(change(), 1..4),
            select(vec!["/home", "/any"]),
        ),
        |(body, changes, path)| {
            line.borrow_mut()
                .send(path, &changed(&body, changes))
                .map(|_| ())
        },
    );
    assert_server_works(&server);
}

#[test]
fn arbitrary_decrypted_content_gets_clear_response() {
    let server = server(FLOWS);
    let line = std::cell::RefCell::new(Line::to(&server));
    holds(
        400,
        &(request(), select(vec!["/home", "/any"])),
        |(text, path)| {
            let sealed = phone::seal_bytes(PUBLIC_KEY, text.as_bytes());
            let answer = line.borrow_mut().send(path, &sealed.body)?;
            if answer.status == 200 {
                prop_assert!(sealed.open(&answer).is_object());
            }
            Ok(())
        },
    );
    assert_server_works(&server);
}

#[test]
fn deepest_accepted_nesting_can_be_listed() {
    let server = server(FLOWS);
    let mut line = Line::to(&server);
    let mut taken = 0;
    for deep in [1, 60, 100]
        .into_iter()
        .chain(110..132)
        .chain([10_000, 90_000])
    {
        let nested = format!("{}1{}", "[".repeat(deep), "]".repeat(deep));
        for (part, path) in [("data", "/any"), ("extra", "/any"), ("data", "/home")] {
            let (data, extra) = if part == "data" {
                (format!("{{\"x\":{nested}}}"), "1".to_owned())
            } else {
                ("{}".to_owned(), nested.clone())
            };
            let text = format!(
                r#"{{"action":"data_exchange","screen":"LEAD_FORM","flow_token":"{part}{deep}","data":{data},"extra":{extra}}}"#
            );
            let sealed = phone::seal_bytes(PUBLIC_KEY, text.as_bytes());
            let answer = line.send(path, &sealed.body).unwrap();
            // If the request can't be parsed, the phone must ask again.
            let is_taken = answer.status == 200 && sealed.open(&answer)["screen"] == "SUCCESS";
            taken += usize::from(is_taken && path == "/any");
        }
    }
    assert_eq!(server.submissions().len(), taken);
    assert!(taken > 20, "{taken}");
    assert_server_works(&server);
}

#[test]
fn body_over_limit_gets_413() {
    let server = server(FLOWS);
    let mut line = Line::to(&server);
    // Base64 and the two other fields increase the size by about one third.
    for (bytes, status) in [(190_000, 200), (200_000, 413), (1_000_000, 413)] {
        let text = json!({"action": "data_exchange", "screen": "ANY", "data": {"x": "y".repeat(bytes)}, "flow_token": bytes.to_string()});
        let sealed = phone::seal(&text);
        assert_eq!(
            line.send("/any", &sealed.body).unwrap().status,
            status,
            "{bytes}"
        );
        for (field, long) in [
            ("screen", json!("z".repeat(bytes))),
            ("action", json!("z".repeat(bytes))),
            ("data", json!("z".repeat(bytes))),
            ("flow_token", json!("z".repeat(bytes))),
            ("version", json!(["z".repeat(bytes)])),
        ] {
            let mut text = json!({"action": "data_exchange", "screen": "LEAD_FORM", "data": {}, "flow_token": "t"});
            text[field] = long;
            let sealed = phone::seal(&text);
            let answer = line.send("/home", &sealed.body).unwrap();
            assert_eq!(answer.status, status, "{field}, {bytes}");
            if status == 200 {
                assert!(
                    answer.text().len() < 3000,
                    "no more of what came than is worth repeating: {field}"
                );
                assert!(
                    sealed.open(&answer)["data"]["error_message"].is_string(),
                    "{field}"
                );
            }
        }
    }
    assert_server_works(&server);
}

/// Creates envelopes with the right form and random content. They are created in advance, because
/// their creation must cost less than their refusal.
fn junk(many: u8) -> Vec<Vec<u8>> {
    let one = |number: u8| {
        let noise = |length: u32, salt: u32| -> Vec<u8> {
            let step = |at: u32| {
                at.wrapping_add(u32::from(number))
                    .wrapping_mul(2_654_435_761)
                    .wrapping_add(salt)
                    >> 11
            };
            // With a small first byte, the number is below the modulus of the key, as in a real
            // envelope.
            (0..length)
                .map(|at| {
                    if at == 0 {
                        1
                    } else {
                        u8::try_from(step(at) & 0xff).unwrap()
                    }
                })
                .collect()
        };
        json!({
            "encrypted_aes_key": STANDARD.encode(noise(256, 1)),
            "initial_vector": STANDARD.encode(noise(16, 2)),
            "encrypted_flow_data": STANDARD.encode(noise(200, 3)),
        })
        .to_string()
        .into_bytes()
    };
    (0..many).map(one).collect()
}

/// Returns the number of envelopes that cost an RSA operation.
fn opened(server: &Server) -> u64 {
    let metrics = get(server.admin_address(), "/metrics");
    let line = metrics
        .text()
        .lines()
        .find(|line| line.starts_with("flowgate_request_decrypt_duration_seconds_count"));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[test]
fn junk_flood_does_not_block_plain_flow() {
    const SENDERS: usize = 8;
    const FORMS: usize = 200;
    let server = server(&format!("{FLOWS}{PLAIN_FLOW}"));
    let junk = junk(16);
    let (over, refused) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (server, junk, over, refused) = (&server, &junk, &over, &refused);
            scope.spawn(move || {
                let mut connection = server.connect();
                for body in junk.iter().cycle().skip(sender) {
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    let answer = connection.exchange(&signed_post("/home", body)).unwrap();
                    // Excess requests are refused and do not wait.
                    assert!([421, 503].contains(&answer.status), "{answer:?}");
                    refused.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        eventually("the flood has begun", || {
            (refused.load(Ordering::SeqCst) > 100).then_some(())
        });
        let before = refused.load(Ordering::SeqCst);
        let mut connection = server.connect();
        for number in 0..FORMS {
            let form = Form::new(format!("form-{number}"));
            assert!(
                connection
                    .exchange(&signed_post("/form", &form.body()))
                    .unwrap()
                    .is_accepted()
            );
        }
        let during = refused.load(Ordering::SeqCst) - before;
        over.store(true, Ordering::SeqCst);
        assert!(during > 100, "the flood went on meanwhile: {during}");
    });
    assert_eq!(server.submissions().len(), FORMS);
    eventually("the junk is counted", || {
        (opened(&server) >= refused.load(Ordering::SeqCst) / 2).then_some(())
    });
}

#[test]
fn request_with_wrong_signature_never_reaches_rsa() {
    let server = server(FLOWS);
    let junk = junk(4);
    let good = phone::seal(&json!({"action": "ping"}));
    assert_eq!(good.post(&server, "/home").status, 200);
    eventually("it is counted", || (opened(&server) == 1).then_some(()));
    let forged = format!("sha256={}", "0".repeat(64));
    let mut connection = server.connect();
    for body in junk.iter().chain([&good.body]).cycle().take(200) {
        let headers = [
            ("content-type", "application/json"),
            ("x-hub-signature-256", forged.as_str()),
        ];
        assert_eq!(
            connection
                .exchange(&post("/home", &headers, body))
                .unwrap()
                .status,
            432
        );
    }
    // A signed request that can't be decrypted is counted, so the counter works.
    assert_eq!(
        connection
            .exchange(&signed_post("/home", &junk[0]))
            .unwrap()
            .status,
        421
    );
    eventually("it is counted", || (opened(&server) == 2).then_some(()));
}
