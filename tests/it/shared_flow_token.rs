//! Tests tokens that several customers share: the one `flow_token` of a template broadcast, and
//! Meta's default token `unused`. A form is a duplicate only of a form of the same customer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::form::Form;
use crate::support::http::{Connection, signed_post};
use crate::support::reply::{body, deliver, message, params};
use crate::support::user::{User, server, success};
use crate::support::{PLAIN_FLOW, Server, eventually};

fn number(customer: usize) -> String {
    format!("4915{customer:08}")
}

/// Asserts that each of these customers has exactly one submission and one lead. Returns the
/// submissions by customer.
fn assert_one_submission_each(server: &Server, customers: usize) -> BTreeMap<String, Value> {
    server.settled();
    let rows = server.submissions();
    let names: BTreeSet<&str> = rows
        .iter()
        .filter_map(|row| row["customer"].as_str())
        .collect();
    let expected: BTreeSet<String> = (0..customers)
        .map(|customer| format!("DE.{}", number(customer)))
        .collect();
    assert_eq!(rows.len(), customers);
    assert!(names.into_iter().eq(expected.iter()), "each customer once");
    let leads = server.rows(&["leads", "list", "--limit", "0"]);
    let of: BTreeSet<u64> = leads
        .iter()
        .map(|lead| lead["submission_id"].as_u64().unwrap())
        .collect();
    assert_eq!((leads.len(), of.len()), (customers, customers));
    assert!(server.rows(&["dead-letters", "list"]).is_empty());
    server.row(&["check"]);
    rows.into_iter()
        .map(|row| (row["customer"].as_str().unwrap().to_owned(), row))
        .collect()
}

#[test]
fn sixty_customers_with_one_token_make_sixty_submissions() {
    let mut server = Server::start(PLAIN_FLOW);
    let answers = |customer: usize| json!({"flow_token": "spring", "plan": customer});
    let send = |server: &Server, copy: &str| {
        for customer in 0..60 {
            let id = format!("wamid.{customer}.{copy}");
            deliver(
                server,
                &[message(&number(customer), &id, &answers(customer))],
            );
        }
    };
    send(&server, "first");
    send(&server, "first");
    server.kill9();
    server.start_again();
    send(&server, "second");
    let rows = assert_one_submission_each(&server, 60);
    for customer in 0..60 {
        assert_eq!(
            rows[&format!("DE.{}", number(customer))]["data"],
            answers(customer)
        );
    }
}

#[test]
fn plain_flow_deduplicates_shared_token_per_customer() {
    let server = Server::start(PLAIN_FLOW);
    let send = |customer: usize| server.post("/form", &Form::new("spring").by(&number(customer)));
    assert!((0..20).all(|customer| send(customer).is_accepted()));
    assert!((0..20).all(|customer| send(customer).is_duplicate()));
    for customer in 0..20 {
        let params = json!({"flow_token": "spring", "name": "Ann"});
        deliver(
            &server,
            &[message(
                &number(customer),
                &format!("wamid.{customer}"),
                &params,
            )],
        );
    }
    server.settled();
    let rows = server.submissions();
    assert_eq!(rows.len(), 20);
    assert!(
        rows.iter()
            .all(|row| row["channel"] == "plain" && row["message_id"].is_string()),
        "{rows:?}"
    );
    assert!(send(3).is_duplicate());
    let with_plus = server.post("/form", &Form::new("spring").by(&format!("+{}", number(3))));
    assert!(
        with_plus.is_duplicate(),
        "a number with a plus is the same customer"
    );
    server.row(&["check"]);
}

const CONFIRMED: &str = r#"
[flows.home]
path = "/home"
encryption = "required"
private_keys = ["file:key.pem"]
lead = { team = "sales" }
screens = [
    { name = "NAME", fields = { name = {} } },
    { name = "LAST", final = true, fields = { agree = {} } },
]
"#;

const ONE_SCREEN: &str = r#"
[flows.home]
path = "/home"
encryption = "required"
private_keys = ["file:key.pem"]
lead = { team = "sales" }
screens = [{ name = "LAST", final = true, fields = { plan = {} } }]
"#;

#[test]
fn equal_forms_with_unused_token_stay_separate() {
    let server = server(CONFIRMED);
    let user = User {
        server: &server,
        path: "/home",
        token: "unused",
    };
    let ends: Vec<Value> = (0..4)
        .map(|_| params(&user.sends("LAST", &json!({"agree": true}))))
        .collect();
    assert_eq!(
        server.submissions().len(),
        1,
        "nothing told them apart so far"
    );
    for copy in ["first", "first", "second"] {
        for (customer, end) in ends.iter().enumerate() {
            deliver(
                &server,
                &[message(
                    &number(customer),
                    &format!("wamid.{customer}.{copy}"),
                    end,
                )],
            );
        }
    }
    for row in assert_one_submission_each(&server, 4).values() {
        assert_eq!(row["data"]["agree"], true, "{row}");
    }
}

#[test]
fn encrypted_flow_separates_answers_under_shared_token() {
    let server = server(ONE_SCREEN);
    let user = User {
        server: &server,
        path: "/home",
        token: "spring",
    };
    let sends = |customer: usize| params(&user.sends("LAST", &json!({"plan": customer})));
    let comes = |customer: usize, end: &Value| {
        for copy in ["first", "first", "second"] {
            deliver(
                &server,
                &[message(
                    &number(customer),
                    &format!("wamid.{customer}.{copy}"),
                    end,
                )],
            );
        }
    };
    // Two customers are active before anything identifies one of them.
    let early: Vec<Value> = (0..2).map(sends).collect();
    assert_eq!(early[0], params(&success("spring")));
    for (customer, end) in early.iter().enumerate() {
        comes(customer, end);
    }
    // From now on the token is known as a shared token.
    let late: Vec<Value> = (2..8).map(sends).collect();
    for (customer, end) in (2..8).zip(&late).rev() {
        comes(customer, end);
    }
    let rows = assert_one_submission_each(&server, 8);
    for customer in 0..8 {
        assert_eq!(
            rows[&format!("DE.{}", number(customer))]["data"]["plan"],
            customer
        );
    }
    assert_eq!(
        server
            .log()
            .matches("several customers use the same flow_token")
            .count(),
        1
    );
    let warning = "Until then, a form with this token and without a customer contains only the fields that its final screen sends";
    assert!(server.log().contains(warning), "{}", server.log());
}

#[test]
fn shared_token_leaks_no_answers_between_customers() {
    let server = server(CONFIRMED);
    for customer in 0..2 {
        let params = json!({"flow_token": "spring", "name": "Ann", "agree": true});
        deliver(
            &server,
            &[message(
                &number(customer),
                &format!("wamid.{customer}"),
                &params,
            )],
        );
    }
    let user = User {
        server: &server,
        path: "/home",
        token: "spring",
    };
    assert_eq!(
        user.sends("NAME", &json!({"name": "Cyd"}))["screen"],
        "LAST",
        "the form is not over for a third"
    );
    assert!(
        user.draft().is_none(),
        "nobody is named whose answers these are"
    );
    let end = params(&user.sends("LAST", &json!({"agree": true})));
    deliver(&server, &[message(&number(2), "wamid.2", &end)]);
    let rows = assert_one_submission_each(&server, 3);
    let third = &rows[&format!("DE.{}", number(2))];
    assert_eq!(
        (&third["data"]["agree"], &third["data"]["name"]),
        (&json!(true), &Value::Null),
        "{third}"
    );
}

/// Two flows, each with its own flow matcher.
const CLAIMING: &str = r#"
[flows.intake]
path = "/intake"
encryption = "none"
webhook = { field = { kind = "intake" } }
lead = { team = "sales" }

[flows.feedback]
path = "/feedback"
encryption = "none"
webhook = { field = { stars = "5" } }
lead = { team = "sales" }
"#;

/// Flow for messages that no other flow matches.
const OTHER: &str = r#"
[flows.other]
path = "/other"
encryption = "none"
webhook = "default"
lead = { team = "sales" }
"#;

#[test]
fn flow_matcher_separates_same_token_of_two_flows() {
    let server = Server::start(CLAIMING);
    let from = number(0);
    deliver(
        &server,
        &[message(
            &from,
            "wamid.1",
            &json!({"flow_token": "crm-7", "kind": "intake"}),
        )],
    );
    deliver(
        &server,
        &[message(
            &from,
            "wamid.2",
            &json!({"flow_token": "crm-7", "stars": 5}),
        )],
    );
    server.settled();
    let flows: Vec<Value> = server
        .submissions()
        .iter()
        .map(|row| row["flow"].clone())
        .collect();
    assert_eq!(flows, ["feedback", "intake"]);
    assert_eq!(server.rows(&["leads", "list"]).len(), 2);
    server.row(&["check"]);
}

#[test]
fn message_never_attaches_to_submission_of_another_flow() {
    let server = Server::start(&format!("{CLAIMING}{OTHER}"));
    let from = number(0);
    for path in ["/intake", "/other"] {
        assert!(
            server
                .post(path, &Form::new("crm-7").by(&from))
                .is_accepted()
        );
    }
    let stars = json!({"flow_token": "crm-7", "stars": 5});
    for _ in 0..2 {
        deliver(&server, &[message(&from, "wamid.1", &stars)]);
    }
    server.settled();
    let rows = server.submissions();
    let flows: Vec<&str> = rows
        .iter()
        .map(|row| row["flow"].as_str().unwrap())
        .collect();
    assert_eq!(flows, ["feedback", "other", "intake"]);
    assert_eq!(rows[0]["data"], stars);
    // The message of the first form is late and is still stored as its late arrival.
    deliver(
        &server,
        &[message(
            &from,
            "wamid.2",
            &json!({"flow_token": "crm-7", "kind": "intake"}),
        )],
    );
    let rows = server.submissions();
    assert_eq!((rows.len(), &rows[2]["message_id"]), (3, &json!("wamid.2")));
    server.row(&["check"]);
}

/// Number of customers of the load test. `FLOWGATE_BROADCAST_CUSTOMERS=10000` runs the full test,
/// which takes a debug build on two busy cores more than a minute.
const CUSTOMERS: usize = 3_000;
/// Messages per body.
const BODY: usize = 500;
/// Number of parallel connections.
const CONNECTIONS: usize = 4;

/// Bodies that Meta still has to deliver, and the server that gets them.
struct Meta {
    bodies: Mutex<VecDeque<Vec<u8>>>,
    server: Mutex<Option<SocketAddr>>,
    delivered: AtomicUsize,
}

impl Meta {
    /// Delivers one body after another. Repeats a body if its response is not 200.
    fn deliver(&self) {
        loop {
            let Some(body) = self.bodies.lock().unwrap().pop_front() else {
                return;
            };
            let request = signed_post("/webhook", &body);
            let is_taken = || {
                let server = (*self.server.lock().unwrap())?;
                let answer = Connection::open(server)
                    .and_then(|mut connection| connection.exchange(&request))
                    .ok()?;
                (answer.status == 200).then_some(())
            };
            eventually("a body is taken", is_taken);
            self.delivered.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[test]
fn broadcast_under_kills_creates_one_lead_per_customer() {
    let customers = std::env::var("FLOWGATE_BROADCAST_CUSTOMERS")
        .ok()
        .and_then(|many| many.parse().ok());
    let customers: usize = customers.unwrap_or(CUSTOMERS);
    let mut server = Server::start(PLAIN_FLOW);
    for agent in ["ann", "bob", "cyd"] {
        server.add_agent(agent, &[]);
    }
    // Each form has three copies, in three orders: the message, the same message again, and the
    // form sent a second time.
    let copies = [("a", 1), ("a", 7), ("b", 13)]
        .into_iter()
        .flat_map(|(copy, step)| {
            (0..customers).map(move |at| {
                let customer = at * step % customers.max(1);
                let params = json!({"flow_token": "spring", "plan": customer});
                message(
                    &number(customer),
                    &format!("wamid.{customer}.{copy}"),
                    &params,
                )
            })
        });
    let messages: Vec<Value> = copies.collect();
    let bodies: VecDeque<Vec<u8>> = messages.chunks(BODY).map(body).collect();
    let all = bodies.len();
    let meta = Meta {
        bodies: Mutex::new(bodies),
        server: Mutex::new(Some(server.address())),
        delivered: AtomicUsize::new(0),
    };
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| meta.deliver());
        }
        for kill in 1..=4 {
            eventually("some bodies are delivered", || {
                (meta.delivered.load(Ordering::SeqCst) >= all * kill / 5).then_some(())
            });
            *meta.server.lock().unwrap() = None;
            server.kill9();
            server.start_again();
            *meta.server.lock().unwrap() = Some(server.address());
        }
    });
    // Jobs that a kill may have interrupted run one at a time. The server is working as long as
    // their number decreases.
    let mut left = u64::MAX;
    while left > 0 {
        left = eventually("jobs become fewer", || {
            let jobs = &server.row(&["status"])["jobs"];
            let open = jobs["scheduled"].as_u64().unwrap() + jobs["running"].as_u64().unwrap();
            (open < left).then_some(open)
        });
    }
    assert_one_submission_each(&server, customers);
}
