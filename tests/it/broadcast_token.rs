//! A template broadcast with one `flow_token` gives it to all recipients, and Meta's default token `unused` is everybody's: a
//! form is a copy only of a form of the same customer.

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

/// Each of these customers has exactly one submission and one lead. Gives the submissions by customer.
fn each_has_one(server: &Server, customers: usize) -> BTreeMap<String, Value> {
    server.settled();
    let rows = server.submissions();
    let names: BTreeSet<&str> = rows.iter().filter_map(|row| row["user"].as_str()).collect();
    let expected: BTreeSet<String> = (0..customers).map(|customer| format!("DE.{}", number(customer))).collect();
    assert_eq!(rows.len(), customers);
    assert!(names.into_iter().eq(expected.iter()), "each customer once");
    let leads = server.rows(&["leads", "list", "--limit", "0"]);
    let of: BTreeSet<u64> = leads.iter().map(|lead| lead["submission_id"].as_u64().unwrap()).collect();
    assert_eq!((leads.len(), of.len()), (customers, customers));
    assert!(server.rows(&["dead", "list"]).is_empty());
    server.row(&["check"]);
    rows.into_iter().map(|row| (row["user"].as_str().unwrap().to_owned(), row)).collect()
}

#[test]
fn sixty_customers_who_answer_one_broadcast_are_sixty_submissions() {
    let mut server = Server::start(PLAIN_FLOW);
    let answers = |customer: usize| json!({"flow_token": "spring", "plan": customer});
    let send = |server: &Server, copy: &str| {
        for customer in 0..60 {
            let id = format!("wamid.{customer}.{copy}");
            deliver(server, &[message(&number(customer), &id, &answers(customer))]);
        }
    };
    send(&server, "first");
    send(&server, "first");
    server.kill9();
    server.start_again();
    send(&server, "second");
    let rows = each_has_one(&server, 60);
    for customer in 0..60 {
        assert_eq!(rows[&format!("DE.{}", number(customer))]["data"], answers(customer));
    }
}

#[test]
fn a_plain_flow_takes_each_users_form_under_one_token_and_knows_its_copies() {
    let server = Server::start(PLAIN_FLOW);
    let send = |customer: usize| server.post("/form", &Form::new("spring").by(&number(customer)));
    assert!((0..20).all(|customer| send(customer).is_accepted()));
    assert!((0..20).all(|customer| send(customer).is_duplicate()));
    for customer in 0..20 {
        let params = json!({"flow_token": "spring", "name": "Ann"});
        deliver(&server, &[message(&number(customer), &format!("wamid.{customer}"), &params)]);
    }
    server.settled();
    let rows = server.submissions();
    assert_eq!(rows.len(), 20);
    assert!(rows.iter().all(|row| row["channel"] == "plain" && row["message_id"].is_string()), "{rows:?}");
    assert!(send(3).is_duplicate());
    let with_plus = server.post("/form", &Form::new("spring").by(&format!("+{}", number(3))));
    assert!(with_plus.is_duplicate(), "a number with a plus is the same customer");
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
fn customers_whose_last_screens_are_equal_each_have_a_submission_though_no_token_tells_them_apart() {
    let server = server(CONFIRMED);
    let user = User { server: &server, path: "/home", token: "unused" };
    let ends: Vec<Value> = (0..4).map(|_| params(&user.sends("LAST", &json!({"agree": true})))).collect();
    assert_eq!(server.submissions().len(), 1, "nothing told them apart so far");
    for copy in ["first", "first", "second"] {
        for (customer, end) in ends.iter().enumerate() {
            deliver(&server, &[message(&number(customer), &format!("wamid.{customer}.{copy}"), end)]);
        }
    }
    for row in each_has_one(&server, 4).values() {
        assert_eq!(row["data"]["agree"], true, "{row}");
    }
}

#[test]
fn customers_of_an_encrypted_flow_with_one_token_each_have_their_own_answers() {
    let server = server(ONE_SCREEN);
    let user = User { server: &server, path: "/home", token: "spring" };
    let sends = |customer: usize| params(&user.sends("LAST", &json!({"plan": customer})));
    let comes = |customer: usize, end: &Value| {
        for copy in ["first", "first", "second"] {
            deliver(&server, &[message(&number(customer), &format!("wamid.{customer}.{copy}"), end)]);
        }
    };
    // Two are at it before anything names one of them.
    let early: Vec<Value> = (0..2).map(sends).collect();
    assert_eq!(early[0], params(&success("spring")));
    for (customer, end) in early.iter().enumerate() {
        comes(customer, end);
    }
    // From then on the token is known to be many customers'.
    let late: Vec<Value> = (2..8).map(sends).collect();
    for (customer, end) in (2..8).zip(&late).rev() {
        comes(customer, end);
    }
    let rows = each_has_one(&server, 8);
    for customer in 0..8 {
        assert_eq!(rows[&format!("DE.{}", number(customer))]["data"]["plan"], customer);
    }
    assert_eq!(server.log().matches("several customers use one flow_token").count(), 1);
    let warning = "Until then a form of this token that names no user has only what its last screen sends";
    assert!(server.log().contains(warning), "{}", server.log());
}

#[test]
fn answers_of_one_customer_are_never_shown_to_another_once_a_token_is_known_to_be_many_customers() {
    let server = server(CONFIRMED);
    for customer in 0..2 {
        let params = json!({"flow_token": "spring", "name": "Ann", "agree": true});
        deliver(&server, &[message(&number(customer), &format!("wamid.{customer}"), &params)]);
    }
    let user = User { server: &server, path: "/home", token: "spring" };
    assert_eq!(user.sends("NAME", &json!({"name": "Cyd"}))["screen"], "LAST", "the form is not over for a third");
    assert!(user.draft().is_none(), "nobody is named whose answers these are");
    let end = params(&user.sends("LAST", &json!({"agree": true})));
    deliver(&server, &[message(&number(2), "wamid.2", &end)]);
    let rows = each_has_one(&server, 3);
    let third = &rows[&format!("DE.{}", number(2))];
    assert_eq!((&third["data"]["agree"], &third["data"]["name"]), (&json!(true), &Value::Null), "{third}");
}

/// Two flows, each with a rule of its own.
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

/// A flow that takes what no other claims.
const OTHER: &str = r#"
[flows.other]
path = "/other"
encryption = "none"
webhook = "default"
lead = { team = "sales" }
"#;

#[test]
fn a_form_that_its_own_flow_claims_is_no_copy_of_another_flows_form_with_the_same_token() {
    let server = Server::start(CLAIMING);
    let from = number(0);
    deliver(&server, &[message(&from, "wamid.1", &json!({"flow_token": "crm-7", "kind": "intake"}))]);
    deliver(&server, &[message(&from, "wamid.2", &json!({"flow_token": "crm-7", "stars": 5}))]);
    server.settled();
    let flows: Vec<Value> = server.submissions().iter().map(|row| row["flow"].clone()).collect();
    assert_eq!(flows, ["feedback", "intake"]);
    assert_eq!(server.rows(&["leads", "list"]).len(), 2);
    server.row(&["check"]);
}

#[test]
fn a_form_that_fits_one_flow_only_never_joins_the_form_of_another_flow_that_waits_for_its_message() {
    let server = Server::start(&format!("{CLAIMING}{OTHER}"));
    let from = number(0);
    for path in ["/intake", "/other"] {
        assert!(server.post(path, &Form::new("crm-7").by(&from)).is_accepted());
    }
    let stars = json!({"flow_token": "crm-7", "stars": 5});
    for _ in 0..2 {
        deliver(&server, &[message(&from, "wamid.1", &stars)]);
    }
    server.settled();
    let rows = server.submissions();
    let flows: Vec<&str> = rows.iter().map(|row| row["flow"].as_str().unwrap()).collect();
    assert_eq!(flows, ["feedback", "other", "intake"]);
    assert_eq!(rows[0]["data"], stars);
    // The message of the first form is late, and joins it all the same.
    deliver(&server, &[message(&from, "wamid.2", &json!({"flow_token": "crm-7", "kind": "intake"}))]);
    let rows = server.submissions();
    assert_eq!((rows.len(), &rows[2]["message_id"]), (3, &json!("wamid.2")));
    server.row(&["check"]);
}

/// Customers of the storm. `FLOWGATE_BROADCAST_CUSTOMERS=10000` makes it a full one, which takes a debug build on two busy
/// cores more than a minute.
const CUSTOMERS: usize = 3_000;
/// Messages of one body.
const BODY: usize = 500;
/// Connections that deliver at once.
const CONNECTIONS: usize = 4;

/// Bodies that Meta still has to deliver, and where.
struct Meta {
    bodies: Mutex<VecDeque<Vec<u8>>>,
    server: Mutex<Option<SocketAddr>>,
    delivered: AtomicUsize,
}

impl Meta {
    /// Delivers one body after the other. One that is not answered with 200 comes again.
    fn deliver(&self) {
        loop {
            let Some(body) = self.bodies.lock().unwrap().pop_front() else { return };
            let request = signed_post("/webhook", &body);
            let is_taken = || {
                let server = (*self.server.lock().unwrap())?;
                let answer = Connection::open(server).and_then(|mut connection| connection.exchange(&request)).ok()?;
                (answer.status == 200).then_some(())
            };
            eventually("a body is taken", is_taken);
            self.delivered.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[test]
fn thousands_of_customers_of_one_broadcast_have_a_submission_and_a_lead_each_whatever_is_killed() {
    let customers = std::env::var("FLOWGATE_BROADCAST_CUSTOMERS").ok().and_then(|many| many.parse().ok());
    let customers: usize = customers.unwrap_or(CUSTOMERS);
    let mut server = Server::start(PLAIN_FLOW);
    for agent in ["ann", "bob", "cyd"] {
        server.add_agent(agent, &[]);
    }
    // Three copies of each, in three orders: the message, the message again, and the form sent a second time.
    let copies = [("a", 1), ("a", 7), ("b", 13)].into_iter().flat_map(|(copy, step)| {
        (0..customers).map(move |at| {
            let customer = at * step % customers.max(1);
            let params = json!({"flow_token": "spring", "plan": customer});
            message(&number(customer), &format!("wamid.{customer}.{copy}"), &params)
        })
    });
    let messages: Vec<Value> = copies.collect();
    let bodies: VecDeque<Vec<u8>> = messages.chunks(BODY).map(body).collect();
    let all = bodies.len();
    let meta =
        Meta { bodies: Mutex::new(bodies), server: Mutex::new(Some(server.address())), delivered: AtomicUsize::new(0) };
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
    // Jobs that a kill may have interrupted run one at a time: as long as they become fewer, the server is at work.
    let mut left = u64::MAX;
    while left > 0 {
        left = eventually("jobs become fewer", || {
            let jobs = &server.row(&["status"])["jobs"];
            let open = jobs["scheduled"].as_u64().unwrap() + jobs["running"].as_u64().unwrap();
            (open < left).then_some(open)
        });
    }
    each_has_one(&server, customers);
}
