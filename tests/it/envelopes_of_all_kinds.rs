//! Whatever comes in an envelope, or as one: it has a clear answer, the connection lives, and the server works on. A flood of
//! junk holds up nobody who can sign, and what is not signed never costs an RSA operation.

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

/// Two screens and a booking, and a flow that takes anything.
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
next = { field = "plan", is = { big = "APPOINTMENT" } }
select = ["plan"]
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
open = { mon = ["09:00-17:00"], tue = ["09:00-17:00"], wed = ["09:00-17:00"], thu = ["09:00-17:00"], fri = ["09:00-17:00"] }
slot = "1h"
capacity = 3
ahead = "60d"
"#;

/// One connection that is used again as long as the server lets it.
struct Line {
    to: SocketAddr,
    open: Option<Connection>,
}

impl Line {
    fn to(server: &Server) -> Self {
        Self { to: server.address(), open: None }
    }

    /// Sends a body, signed. It must be answered, and with one of the statuses that fit.
    fn send(&mut self, path: &str, body: &[u8]) -> Result<Answer, TestCaseError> {
        let connection = self.open.get_or_insert_with(|| Connection::open(self.to).unwrap());
        let answer = connection
            .exchange(&signed_post(path, body))
            .map_err(|why| TestCaseError::fail(format!("the connection was dropped: {why}")))?;
        if answer.header("connection") == Some("close") {
            self.open = None;
        }
        prop_assert!([200, 400, 413, 421, 427].contains(&answer.status), "{answer:?}");
        match answer.status {
            200 | 427 => prop_assert!(STANDARD.decode(answer.text()).is_ok(), "{answer:?}"),
            421 => prop_assert!(answer.body.is_empty(), "{answer:?}"),
            _ => prop_assert!(answer.json()["error"]["message"].is_string() && answer.body.len() < 2000, "{answer:?}"),
        }
        Ok(answer)
    }
}

/// Runs a property against a server, so many times.
fn holds<S: Strategy>(cases: u32, strategy: &S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 256, ..Config::default() };
    TestRunner::new(config).run(strategy, property).unwrap_or_else(|why| panic!("{why}"));
}

/// After all that: it works, its file is sound, and lists show everything.
fn is_well(server: &Server) {
    server.add_agent("Ann", &[]);
    let ann = User { server, path: "/any", token: "after all" };
    assert_eq!(ann.sends("ANY", &json!({"name": "Ann"})), success("after all"));
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
        let said = server.cli(list);
        assert_eq!(said.code, 0, "{said:?}");
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// What is done to the body of a good request.
#[derive(Debug, Clone)]
enum Change {
    /// A byte put in the place of another, or between others; or the rest cut off.
    Byte(Index, u8, u8),
    /// A field that holds something else: any JSON text.
    Field(usize, String),
    /// A field that decodes to these bytes.
    Holds(usize, Vec<u8>),
    /// The base64 of a field written in another way.
    Base64(usize, u8),
    /// A field more, before or behind the others: its name, and any JSON text.
    More(bool, String, String),
    /// One less.
    Less(usize),
    /// The whole in something else.
    Wrapped(String, String),
}

const PARTS: [&str; 3] = ["encrypted_aes_key", "initial_vector", "encrypted_flow_data"];

fn change() -> impl Strategy<Value = Change> {
    let lengths = prop_oneof![4 => vec(any::<u8>(), 0..300), 1 => vec(any::<u8>(), 12), 1 => vec(any::<u8>(), 16), 1 => vec(any::<u8>(), 256)];
    let name = prop_oneof![select(PARTS.map(str::to_owned).to_vec()), "[a-z\\\\\"]{0,8}", Just("x".repeat(5000))];
    prop_oneof![
        3 => (any::<Index>(), prop_oneof![b'+'..=b'z', any::<u8>()], 0..6u8).prop_map(|(at, byte, how)| Change::Byte(at, byte, how)),
        3 => (0..3usize, lengths).prop_map(|(part, bytes)| Change::Holds(part, bytes)),
        2 => (0..3usize, 0..7u8).prop_map(|(part, how)| Change::Base64(part, how)),
        2 => (0..3usize, json_text()).prop_map(|(part, text)| Change::Field(part, text)),
        1 => (any::<bool>(), name, json_text()).prop_map(|(first, name, text)| Change::More(first, name, text)),
        1 => (0..3usize).prop_map(Change::Less),
        1 => select(vec![("[", "]"), ("{\"a\":", "}"), ("", ","), ("\u{feff}", ""), (" \n", "\n"), ("", "}"), ("\"", "\"")])
            .prop_map(|(before, behind)| Change::Wrapped(before.to_owned(), behind.to_owned())),
    ]
}

/// The body with all that was done to it.
fn changed(body: &str, changes: Vec<Change>) -> Vec<u8> {
    let good: Value = serde_json::from_str(body).unwrap();
    let text = |name: &str| good[name].as_str().unwrap().to_owned();
    let mut fields: Vec<(String, String)> =
        PARTS.iter().map(|name| ((*name).to_owned(), json!(text(name)).to_string())).collect();
    let (mut bytes, mut around) = (Vec::new(), Vec::new());
    for change in changes {
        match change {
            Change::Field(part, text) => fields.push((PARTS[part].to_owned(), text)),
            Change::Holds(part, held) => {
                fields.push((PARTS[part].to_owned(), json!(STANDARD.encode(held)).to_string()));
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
    let fields: Vec<String> = fields.iter().map(|(name, text)| format!("{}:{text}", json!(name))).collect();
    let whole = around
        .iter()
        .fold(format!("{{{}}}", fields.join(",")), |text, (before, behind)| format!("{before}{text}{behind}"));
    let mut body = whole.into_bytes();
    for (at, byte, how) in bytes {
        let at = at.index(body.len().max(1));
        match how {
            0 => body.insert(at, byte),
            1 => body.truncate(at),
            _ => body.iter_mut().skip(at).take(1).for_each(|place| *place = byte),
        }
    }
    body
}

/// Text that looks like JSON: values of all kinds, such that no parser reads among them.
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
                let fields: Vec<String> = fields.iter().map(|(name, text)| format!("\"{name}\":{text}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

/// What a client may send, and with it what none would.
fn request() -> impl Strategy<Value = String> {
    let one_of = |texts: &[&str]| {
        let texts: Vec<String> = texts.iter().map(|text| json!(text).to_string()).collect();
        prop_oneof![6 => select(texts).prop_map(Some), 1 => json_text().prop_map(Some), 1 => Just(None)]
    };
    let data = prop_oneof![4 => good_data().prop_map(Some), 3 => json_text().prop_map(Some), 1 => Just(None)];
    let fields = (
        one_of(&["data_exchange", "data_exchange", "data_exchange", "INIT", "BACK", "ping", "navigate", ""]),
        one_of(&["LEAD_FORM", "APPOINTMENT", "", "NOWHERE"]),
        data,
        one_of(&["t1", "t2", "t3", "unused", "", "\u{0}"]),
        one_of(&["3.0", "4.0"]),
        proptest::option::of(json_text()),
    );
    let text = fields.prop_map(|(action, screen, data, token, version, more)| {
        let names = ["action", "screen", "data", "flow_token", "version", "flow_token_signature"];
        let fields = names.iter().zip([action, screen, data, token, version, more]);
        let fields: Vec<String> = fields.filter_map(|(name, text)| Some(format!("\"{name}\":{}", text?))).collect();
        format!("{{{}}}", fields.join(","))
    });
    prop_oneof![12 => text, 1 => json_text()]
}

/// Fields of the screens, most with something in them that fits.
fn good_data() -> impl Strategy<Value = String> {
    let field = |name: &'static str, values: &[&str]| {
        let values: Vec<String> = values.iter().map(|value| format!("\"{name}\":{value}")).collect();
        proptest::option::of(select(values))
    };
    let fields = (
        field("name", &["\"Ann\"", "\"\\u0000\"", "[]"]),
        field("plan", &["\"big\"", "\"small\"", "null"]),
        field("slot", &["\"2027-01-04T09:00\"", "\"2026-01-04T09:00\"", "\"9999-12-31T23:59\"", "\"-001\"", "\"\""]),
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
fn whatever_is_done_to_an_envelope_it_has_a_clear_answer() {
    let server = server(FLOWS);
    let file: Value = serde_json::from_str(include_str!("../vectors/flow_good.json")).unwrap();
    let bodies: Vec<String> =
        file["cases"].as_array().unwrap().iter().map(|case| case["body"].as_str().unwrap().to_owned()).collect();
    let line = std::cell::RefCell::new(Line::to(&server));
    holds(400, &(select(bodies), vec(change(), 1..4), select(vec!["/home", "/any"])), |(body, changes, path)| {
        line.borrow_mut().send(path, &changed(&body, changes)).map(|_| ())
    });
    is_well(&server);
}

#[test]
fn whatever_an_envelope_holds_it_has_a_clear_answer() {
    let server = server(FLOWS);
    let line = std::cell::RefCell::new(Line::to(&server));
    holds(400, &(request(), select(vec!["/home", "/any"])), |(text, path)| {
        let sealed = phone::seal_bytes(PUBLIC_KEY, text.as_bytes());
        let answer = line.borrow_mut().send(path, &sealed.body)?;
        if answer.status == 200 {
            prop_assert!(sealed.open(&answer).is_object());
        }
        Ok(())
    });
    is_well(&server);
}

#[test]
fn what_is_nested_as_deep_as_is_read_can_still_be_listed() {
    let server = server(FLOWS);
    let mut line = Line::to(&server);
    let mut taken = 0;
    for deep in [1, 60, 100].into_iter().chain(110..132).chain([10_000, 90_000]) {
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
            // Where the whole can't be read, the phone asks again.
            let is_taken = answer.status == 200 && sealed.open(&answer)["screen"] == "SUCCESS";
            taken += usize::from(is_taken && path == "/any");
        }
    }
    assert_eq!(server.submissions().len(), taken);
    assert!(taken > 20, "{taken}");
    is_well(&server);
}

#[test]
fn bodies_up_to_the_limit_are_answered_and_larger_ones_are_too_large() {
    let server = server(FLOWS);
    let mut line = Line::to(&server);
    // Base64 and the two other fields: about four thirds.
    for (bytes, status) in [(190_000, 200), (200_000, 413), (1_000_000, 413)] {
        let text = json!({"action": "data_exchange", "screen": "ANY", "data": {"x": "y".repeat(bytes)}, "flow_token": bytes.to_string()});
        let sealed = phone::seal(&text);
        assert_eq!(line.send("/any", &sealed.body).unwrap().status, status, "{bytes}");
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
                assert!(answer.text().len() < 3000, "no more of what came than is worth repeating: {field}");
                assert!(sealed.open(&answer)["data"]["error_message"].is_string(), "{field}");
            }
        }
    }
    is_well(&server);
}

/// Envelopes of the right shape with nothing in them, made once: to make one must cost less than to refuse it.
fn junk(many: u8) -> Vec<Vec<u8>> {
    let one = |number: u8| {
        let noise = |length: u32, salt: u32| -> Vec<u8> {
            let step =
                |at: u32| at.wrapping_add(u32::from(number)).wrapping_mul(2_654_435_761).wrapping_add(salt) >> 11;
            // The first byte small: a number below the key's modulus, as a real one is.
            (0..length).map(|at| if at == 0 { 1 } else { u8::try_from(step(at) & 0xff).unwrap() }).collect()
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

/// How many envelopes went through RSA.
fn opened(server: &Server) -> u64 {
    let metrics = get(server.admin_address(), "/metrics");
    let line = metrics.text().lines().find(|line| line.starts_with("flowgate_request_decrypt_seconds_count"));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[test]
fn a_flood_of_junk_does_not_hold_up_what_is_plain_and_signed() {
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
                    // Too many at once are told so; they are not left waiting.
                    assert!([421, 503].contains(&answer.status), "{answer:?}");
                    refused.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        eventually("the flood has begun", || (refused.load(Ordering::SeqCst) > 100).then_some(()));
        let before = refused.load(Ordering::SeqCst);
        let mut connection = server.connect();
        for number in 0..FORMS {
            let form = Form::new(format!("form-{number}"));
            assert!(connection.exchange(&signed_post("/form", &form.body())).unwrap().is_accepted());
        }
        let during = refused.load(Ordering::SeqCst) - before;
        over.store(true, Ordering::SeqCst);
        assert!(during > 100, "the flood went on meanwhile: {during}");
    });
    assert_eq!(server.submissions().len(), FORMS);
    eventually("the junk is counted", || (opened(&server) >= refused.load(Ordering::SeqCst) / 2).then_some(()));
}

#[test]
fn junk_without_a_signature_that_fits_never_reaches_rsa() {
    let server = server(FLOWS);
    let junk = junk(4);
    let good = phone::seal(&json!({"action": "ping"}));
    assert_eq!(good.post(&server, "/home").status, 200);
    eventually("it is counted", || (opened(&server) == 1).then_some(()));
    let forged = format!("sha256={}", "0".repeat(64));
    let mut connection = server.connect();
    for body in junk.iter().chain([&good.body]).cycle().take(200) {
        let headers = [("content-type", "application/json"), ("x-hub-signature-256", forged.as_str())];
        assert_eq!(connection.exchange(&post("/home", &headers, body)).unwrap().status, 432);
    }
    // One that is signed but can't be opened is counted: the figure tells.
    assert_eq!(connection.exchange(&signed_post("/home", &junk[0])).unwrap().status, 421);
    eventually("it is counted", || (opened(&server) == 2).then_some(()));
}
