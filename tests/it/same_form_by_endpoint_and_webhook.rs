//! A form that completes at the endpoint of an encrypted flow also arrives by webhook as
//! `nfm_reply`. Both are one submission, in either order, and also if the sender of the flow set no
//! token.

use serde_json::{Value, json};

use crate::support::reply::{deliver, message, params};
use crate::support::user::{User, server, success};
use crate::support::{Server, in_days};

const FLOW: &str = r#"
[flows.home]
path = "/home"
encryption = "required"
private_keys = ["file:key.pem"]
lead = { team = "sales" }
screens = [
    { name = "NAME", fields = { name = {} } },
    { name = "LAST", final = true, fields = { plan = {} } },
]
"#;

/// Sends the completion message of a flow with these parameters.
fn completes(server: &Server, id: &str, from: &str, params: &Value) {
    deliver(server, &[message(from, id, params)]);
}

fn user<'a>(server: &'a Server, token: &'a str) -> User<'a> {
    User {
        server,
        path: "/home",
        token,
    }
}

#[test]
fn webhook_message_identifies_customer_of_stored_form() {
    let server = server(FLOW);
    let ann = user(&server, "ann");
    ann.sends("NAME", &json!({"name": "Ann"}));
    let params = params(&ann.sends("LAST", &json!({"plan": "big"})));
    assert_eq!(
        server.submissions()[0]["customer"],
        Value::Null,
        "nothing at this door tells who it is"
    );
    for _ in 0..2 {
        completes(&server, "wamid.1", "491511234567", &params);
        let rows = server.submissions();
        assert_eq!(rows.len(), 1);
        assert_eq!(
            (&rows[0]["customer"], &rows[0]["message_id"]),
            (&json!("DE.491511234567"), &json!("wamid.1"))
        );
        assert_eq!(rows[0]["data"], json!({"name": "Ann", "plan": "big"}));
    }
    server.settled();
    assert_eq!(server.rows(&["leads", "list"]).len(), 1);
    server.row(&["check"]);
}

#[test]
fn webhook_message_before_completion_is_same_submission() {
    let server = server(FLOW);
    let ann = user(&server, "ann");
    ann.sends("NAME", &json!({"name": "Ann"}));
    completes(
        &server,
        "wamid.1",
        "491511234567",
        &json!({"flow_token": "ann"}),
    );
    assert_eq!(ann.sends("LAST", &json!({"plan": "big"})), success("ann"));
    assert_eq!(
        ann.sends("NAME", &json!({"name": "Ann"})),
        success("ann"),
        "the form is over"
    );
    let rows = server.submissions();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (&rows[0]["customer"], &rows[0]["message_id"]),
        (&json!("DE.491511234567"), &json!("wamid.1"))
    );
    assert_eq!(
        rows[0]["data"],
        json!({"name": "Ann", "flow_token": "ann"}),
        "what was answered before is in it"
    );
    let whole = server.row(&["submissions", "show", &rows[0]["id"].to_string()]);
    assert_eq!(
        whole["late_arrivals"][0]["differing"],
        json!({"plan": "big"}),
        "and what came later is kept beside it"
    );
    assert!(server.rows(&["drafts"]).is_empty());
    server.settled();
    assert_eq!(server.rows(&["leads", "list"]).len(), 1);
    server.row(&["check"]);
}

#[test]
fn unused_token_form_is_matched_by_reference() {
    let mut server = server(FLOW);
    let end = |server: &Server, plan: &str| {
        params(&user(server, "unused").sends("LAST", &json!({"plan": plan})))
    };
    let (big, small) = (end(&server, "big"), end(&server, "small"));
    assert_eq!(big["flow_token"], "unused");
    assert_ne!(big["flowgate_ref"], small["flowgate_ref"]);
    completes(&server, "wamid.big", "491511111111", &big);
    server.kill9();
    server.start_again();
    completes(&server, "wamid.small", "491522222222", &small);
    completes(&server, "wamid.small", "491522222222", &small);
    let rows = server.submissions();
    assert_eq!(rows.len(), 2, "{rows:?}");
    for (plan, message, who) in [
        ("big", "wamid.big", "DE.491511111111"),
        ("small", "wamid.small", "DE.491522222222"),
    ] {
        let row = rows.iter().find(|row| row["data"]["plan"] == plan).unwrap();
        assert_eq!(
            (&row["message_id"], &row["customer"]),
            (&json!(message), &json!(who))
        );
    }
    server.row(&["check"]);
}

#[test]
fn invalid_reference_creates_separate_submission() {
    let server = server(FLOW);
    let ann = user(&server, "ann");
    ann.sends("NAME", &json!({"name": "Ann"}));
    params(&ann.sends("LAST", &json!({"plan": "big"})));
    let unused = user(&server, "unused");
    let taken = params(&unused.sends("LAST", &json!({"plan": "big"})));
    let real = taken["flowgate_ref"].as_str().unwrap();
    // The store also has a key for an encrypted request that was answered, but that request is not
    // a form.
    let init = unused.init();
    init.post(&server, "/home");
    let made_up = [
        json!("0".repeat(32)),
        json!(real.to_uppercase()),
        json!(format!("{real}0")),
        json!(&real[..31]),
        json!(""),
        json!(7),
        json!([real]),
        json!(init.reference()),
    ];
    for (number, reference) in made_up.iter().enumerate() {
        let from = format!("4915{number:08}");
        let answers = json!({"flow_token": "unused", "flowgate_ref": reference, "plan": "own"});
        completes(&server, &format!("wamid.{number}"), &from, &answers);
        let rows = server.submissions();
        assert_eq!(rows.len(), 3 + number, "{reference}");
        assert_eq!(rows[0]["customer"], format!("DE.{from}"), "{reference}");
        assert_eq!(rows[0]["data"]["plan"], "own");
    }
    let joined = server
        .submissions()
        .into_iter()
        .filter(|row| row["channel"] == "encrypted");
    assert!(
        joined.clone().count() == 2 && joined.into_iter().all(|row| row["message_id"].is_null())
    );
    // A form with a unique token belongs to this token. Other contents of its message do not change
    // that.
    let answers = json!({"flow_token": "new", "flowgate_ref": real});
    completes(&server, "wamid.new", "4917", &answers);
    assert_eq!(server.submissions()[0]["flow_token"], "new");
    server.row(&["check"]);
}

const VISIT: &str = r#"
[flows.home]
path = "/home"
encryption = "required"
private_keys = ["file:key.pem"]
booking = { calendar = "chair", date = "slot", time = "slot" }
lead = { team = "sales", sticky = true }
screens = [
    { name = "WHEN", fields = { slot = { required = true } } },
    { name = "WHO", final = true, fields = { name = {} } },
]

[calendars.chair]
timezone = "UTC"
hours = { mon = ["09:00-12:00"], tue = ["09:00-12:00"], wed = ["09:00-12:00"], thu = ["09:00-12:00"], fri = ["09:00-12:00"], sat = ["09:00-12:00"], sun = ["09:00-12:00"] }
slot_length = "1h"
capacity = 1
max_advance = "14d"
"#;

#[test]
fn earlier_screen_slot_is_booked_on_webhook_completion() {
    let server = server(VISIT);
    let slot = format!("{}T10:00", in_days(3));
    for name in ["ann", "bob"] {
        assert_eq!(
            user(&server, name).sends("WHEN", &json!({"slot": slot}))["screen"],
            "WHO"
        );
    }
    completes(
        &server,
        "wamid.1",
        "491511111111",
        &json!({"flow_token": "ann", "name": "Ann"}),
    );
    completes(
        &server,
        "wamid.2",
        "491522222222",
        &json!({"flow_token": "bob", "name": "Bob"}),
    );
    let [bob, ann] = &server.submissions()[..] else {
        panic!("two")
    };
    assert_eq!(
        (&ann["booking_id"], &bob["booking_id"], &bob["state"]),
        (&json!(1), &Value::Null, &json!("conflict"))
    );
    assert_eq!(
        bob["data"]["slot"],
        slot.as_str(),
        "what was asked for is in it"
    );
    let bookings = server.rows(&["bookings", "list"]);
    assert_eq!((bookings.len(), &bookings[0]["time"]), (1, &json!("10:00")));
    assert!(server.rows(&["drafts"]).is_empty());
    server.row(&["check"]);
}

#[test]
fn customer_identified_by_message_gets_previous_agent() {
    let server = server(VISIT);
    for name in ["ann", "bob", "cyd"] {
        server.add_agent(name, &[]);
    }
    let fills_in = |token: &str, time: &str, from: &str| {
        let user = user(&server, token);
        user.sends("WHEN", &json!({"slot": format!("{}T{time}", in_days(3))}));
        let params = params(&user.sends("WHO", &json!({"name": token})));
        completes(&server, &format!("wamid.{token}"), from, &params);
        server.settled();
        server.rows(&["leads", "list"])[0]["agent"].clone()
    };
    let first = fills_in("first", "09:00", "491511111111");
    assert_ne!(fills_in("other", "10:00", "491522222222"), first);
    // The agent with the fewest leads had this lead until the message identified the customer.
    assert_eq!(fills_in("again", "11:00", "491511111111"), first);
    let lead = server.row(&["leads", "show", "3"]);
    assert_eq!(lead["reason"], "known_customer", "{lead}");
    server.row(&["check"]);
}
