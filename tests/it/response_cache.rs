//! A key and an IV never encrypt two different texts. The same encrypted request gets the same
//! response bytes again after any change, and has no effect the second time.

use serde_json::{Value, json};

use crate::support::http::Answer;
use crate::support::phone::{self, Sealed};
use crate::support::user::{User, ids, server, success};
use crate::support::{Server, all_at_once, assert_each_once, in_days};

/// Flow with a calendar of two slots a day, each with one place.
const FLOW: &str = r#"
[flows.visit]
path = "/visit"
encryption = "required"
private_keys = ["file:key.pem"]
booking = { calendar = "chair", date = "slot", time = "slot" }
screens = [
    { name = "CHOICE", data = { slots = { slots = "chair" } }, fields = { slot = { required = true }, note = {} } },
    { name = "CONFIRM", final = true, data = { slot = { answer = "slot" } }, fields = { name = {} } },
]

[calendars.chair]
timezone = "UTC"
hours = { mon = ["09:00-11:00"], tue = ["09:00-11:00"], wed = ["09:00-11:00"], thu = ["09:00-11:00"], fri = ["09:00-11:00"], sat = ["09:00-11:00"], sun = ["09:00-11:00"] }
slot_length = "1h"
capacity = 1
max_advance = "14d"
"#;

/// Request with its response.
struct RecordedExchange {
    what: &'static str,
    request: Sealed,
    answer: Answer,
}

impl RecordedExchange {
    fn of(what: &'static str, server: &Server, request: Sealed) -> Self {
        let answer = request.post(server, "/visit");
        Self {
            what,
            request,
            answer,
        }
    }

    fn opened(&self) -> Value {
        self.request.open(&self.answer)
    }

    #[track_caller]
    fn assert_same_response(&self, server: &Server) {
        let again = self.request.post(server, "/visit");
        assert_eq!(again.status, self.answer.status, "{}", self.what);
        assert_eq!(again.text(), self.answer.text(), "{}", self.what);
    }
}

fn user<'a>(server: &'a Server, token: &'a str) -> User<'a> {
    User {
        server,
        path: "/visit",
        token,
    }
}

/// Books a slot in two screens.
fn book(user: User<'_>, slot: &str) -> Value {
    user.sends("CHOICE", &json!({"slot": slot}));
    user.sends("CONFIRM", &json!({"name": user.token}))
}

/// Records each kind of response. Another customer books the slot of the first, whose booking is
/// then cancelled.
fn record_each_response_kind(server: &Server, slot: &str) -> Vec<RecordedExchange> {
    let (ann, bob) = (user(server, "ann"), user(server, "bob"));
    let offers_slot = |response: &Value| ids(&response["data"]["slots"]).contains(&slot.to_owned());
    let init = RecordedExchange::of("INIT with slots", server, ann.init());
    assert!(offers_slot(&init.opened()));
    let unfit = RecordedExchange::of(
        "a field that was refused",
        server,
        ann.answers("CHOICE", &json!({"slot": ""})),
    );
    assert!(unfit.opened()["data"]["error_message"].is_string());
    let chosen = RecordedExchange::of(
        "the next screen",
        server,
        ann.answers("CHOICE", &json!({"slot": slot})),
    );
    assert_eq!(
        chosen.opened(),
        json!({"screen": "CONFIRM", "data": {"slot": slot}})
    );
    assert_eq!(book(bob, slot), success("bob"));
    let refused = RecordedExchange::of(
        "a slot that was gone",
        server,
        ann.answers("CONFIRM", &json!({"name": "Ann"})),
    );
    assert_eq!(refused.opened()["screen"], "CHOICE");
    assert!(!offers_slot(&refused.opened()));

    // The slot is free again.
    let booking = server.rows(&["bookings", "list"]).remove(0);
    server.rows(&["bookings", "cancel", &booking["id"].to_string()]);
    refused.assert_same_response(server);
    assert!(
        offers_slot(&ann.opens()),
        "it is: another request is told so"
    );
    assert_eq!(
        server.submissions().len(),
        1,
        "and nothing was booked by the copy"
    );

    assert_eq!(
        ann.sends("CHOICE", &json!({"slot": slot}))["screen"],
        "CONFIRM"
    );
    let end = RecordedExchange::of(
        "the end",
        server,
        ann.answers("CONFIRM", &json!({"name": "Ann"})),
    );
    assert_eq!(end.opened(), success("ann"));
    let press = RecordedExchange::of(
        "a second press",
        server,
        ann.answers("CONFIRM", &json!({"name": "Ann"})),
    );
    assert_eq!(press.opened(), success("ann"));
    vec![init, unfit, chosen, refused, end, press]
}

#[test]
fn every_response_kind_is_repeated_byte_for_byte() {
    let mut server = server(FLOW);
    let slot = format!("{}T09:00", in_days(3));
    let recorded = record_each_response_kind(&server, &slot);
    let again = |server: &Server| {
        for response in &recorded {
            response.assert_same_response(server);
        }
    };
    again(&server);
    for number in 0..20 {
        user(&server, &format!("other-{number}")).opens();
    }
    again(&server);
    server.kill9();
    server.start_again();
    again(&server);
    server.stop();
    server.start_again();
    again(&server);
    assert_each_once(&server.submissions(), ["ann", "bob"]);
    assert_eq!(
        server.rows(&["drafts"]).len(),
        0,
        "a copy of an earlier screen begins no new draft"
    );
    server.row(&["check"]);
}

#[test]
fn refused_token_leaves_first_completion_unchanged() {
    let mut server = server(&FLOW.replace(
        "screens = [",
        "resubmit = \"refuse\"\nlanguage = \"de\"\nscreens = [",
    ));
    let slot = format!("{}T09:00", in_days(3));
    let recorded = {
        let ann = user(&server, "ann");
        ann.sends("CHOICE", &json!({"slot": slot}));
        let end = RecordedExchange::of(
            "the end",
            &server,
            ann.answers("CONFIRM", &json!({"name": "Ann"})),
        );
        assert_eq!(end.opened(), success("ann"));
        let mut recorded = vec![end];
        let repeated =
            json!({"error_msg": "Sie haben dieses Formular bereits gesendet. Vielen Dank."});
        for (what, request) in [
            (
                "another press",
                ann.answers("CONFIRM", &json!({"name": "Ann"})),
            ),
            (
                "an earlier screen",
                ann.answers("CHOICE", &json!({"slot": slot})),
            ),
            ("the form opened again", ann.init()),
        ] {
            let gone = RecordedExchange::of(what, &server, request);
            assert_eq!(
                gone.request.open_invalid_token(&gone.answer),
                repeated,
                "{what}"
            );
            recorded.push(gone);
        }
        recorded
    };
    for is_first in [true, false] {
        for recorded in &recorded {
            recorded.assert_same_response(&server);
        }
        if is_first {
            server.kill9();
            server.start_again();
        }
    }
    assert_each_once(&server.submissions(), ["ann"]);
}

#[test]
fn fifty_copies_at_once_get_same_response_bytes() {
    for resubmit in ["success", "refuse"] {
        let server = server(&FLOW.replace(
            "screens = [",
            &format!("resubmit = \"{resubmit}\"\nscreens = ["),
        ));
        for round in 0..4 {
            let (token, slot) = (format!("t{round}"), format!("{}T09:00", in_days(2 + round)));
            let copies = |request: &Sealed| {
                let answers = all_at_once(50, |_| request.post(&server, "/visit"));
                let first = answers[0].clone();
                for answer in answers {
                    assert_eq!(
                        (answer.status, answer.text()),
                        (first.status, first.text()),
                        "{resubmit}"
                    );
                }
                request.open(&first)
            };
            let ann = user(&server, &token);
            assert_eq!(copies(&ann.init())["screen"], "CHOICE");
            assert_eq!(
                copies(&ann.answers("CHOICE", &json!({"slot": slot})))["screen"],
                "CONFIRM"
            );
            assert_eq!(
                copies(&ann.answers("CONFIRM", &json!({"name": "Ann"}))),
                success(&token),
                "{resubmit}"
            );
        }
        assert_each_once(&server.submissions(), ["t0", "t1", "t2", "t3"]);
        assert_eq!(server.rows(&["bookings", "list"]).len(), 4);
        server.row(&["check"]);
    }
}

#[test]
fn replayed_old_screen_leaves_newer_draft_unchanged() {
    let mut server = server(FLOW);
    let [early, late] = ["09:00", "10:00"].map(|time| format!("{}T{time}", in_days(3)));
    let (old, back, newer) = {
        let ann = user(&server, "ann");
        let old = RecordedExchange::of(
            "an old choice",
            &server,
            ann.answers("CHOICE", &json!({"slot": early, "note": "old"})),
        );
        let back = RecordedExchange::of("an old way back", &server, {
            phone::seal(
                &json!({"version": "3.0", "action": "BACK", "screen": "CONFIRM", "flow_token": "ann"}),
            )
        });
        assert_eq!(back.opened()["screen"], "CHOICE");
        assert_eq!(
            ann.draft().unwrap()["screen"],
            "CHOICE",
            "the draft tells where its user is"
        );
        ann.sends("CHOICE", &json!({"slot": late, "note": null}));
        (old, back, ann.draft().unwrap())
    };
    assert_eq!(newer["data"], json!({"slot": late, "note": null}));
    assert_eq!(newer["screen"], "CONFIRM");
    for is_again in [false, true] {
        old.assert_same_response(&server);
        back.assert_same_response(&server);
        assert_eq!(user(&server, "ann").draft().unwrap(), newer);
        if !is_again {
            server.kill9();
            server.start_again();
        }
    }
    assert_eq!(
        user(&server, "ann").sends("CONFIRM", &json!({"name": "Ann"})),
        success("ann")
    );
    assert_eq!(
        server.submissions()[0]["data"],
        json!({"slot": late, "note": null, "name": "Ann"})
    );
}

/// Two flows with one key. Data that one flow reads as an error notification are a field of the
/// other flow.
const TWO_FLOWS: &str = r#"
[flows.open]
path = "/open"
encryption = "required"
private_keys = ["file:key.pem"]

[flows.report]
path = "/report"
encryption = "required"
private_keys = ["file:key.pem"]
screens = [{ name = "WHAT", next = "END", fields = { error = {} } }, { name = "END", final = true }]
"#;

#[test]
fn same_bytes_on_other_path_get_same_response() {
    let mut server = server(TWO_FLOWS);
    let report = |error: &str| {
        phone::seal(
            &json!({"version": "3.0", "action": "data_exchange", "screen": "WHAT", "flow_token": "t",
            "data": {"error": error}}),
        )
    };
    let ping = phone::seal(
        &json!({"version": "3.0", "action": "ping", "screen": "WHAT", "data": {"error": "none"}}),
    );
    let texts = [
        json!({"data": {"acknowledged": true}}),
        json!({"screen": "END", "data": {}}),
    ];
    let requests = [
        ("/open", report("one"), &texts[0]),
        ("/report", report("two"), &texts[1]),
    ];
    let alive = ping.post(&server, "/open").text().to_owned();
    let mut answers = Vec::new();
    for (path, request, text) in &requests {
        let answer = request.post(&server, path);
        assert_eq!(request.open(&answer), **text);
        answers.push(answer.text().to_owned());
    }
    for is_restarted in [false, true] {
        for path in ["/open", "/report"] {
            for ((_, request, _), answer) in requests.iter().zip(&answers) {
                assert_eq!(request.post(&server, path).text(), answer, "{path}");
            }
            assert_eq!(ping.post(&server, path).text(), alive, "{path}");
        }
        if !is_restarted {
            server.configure(&TWO_FLOWS.replace(
                "path = \"/report\"",
                "path = \"/report\"\nlanguage = \"de\"",
            ));
            server.row(&["reload"]);
            server.kill9();
            server.start_again();
        }
    }
    assert_eq!(
        server.rows(&["flows", "errors"]).len(),
        1,
        "a complaint that comes again is the same one"
    );
}

#[test]
fn oversized_answers_are_reported_before_lost_slot() {
    let server = server(FLOW);
    let slot = format!("{}T09:00", in_days(3));
    let ann = user(&server, "ann");
    ann.sends("CHOICE", &json!({"slot": slot}));
    let part = |number: u8| json!({"slot": slot, format!("part{number}"): "x".repeat(180_000)});
    for number in 0..5 {
        assert_eq!(ann.sends("CHOICE", &part(number))["screen"], "CONFIRM");
    }
    assert_eq!(book(user(&server, "bob"), &slot), success("bob"));
    let repeated = ann.sends("CONFIRM", &part(5));
    assert_eq!(
        repeated["screen"], "CONFIRM",
        "what was sent is not kept, so it is not left behind: {repeated}"
    );
    assert!(repeated["data"]["error_message"].is_string(), "{repeated}");
    assert_eq!(
        ann.sends("CONFIRM", &json!({"name": "Ann"}))["screen"],
        "CHOICE"
    );
}
