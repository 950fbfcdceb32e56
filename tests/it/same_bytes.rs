//! One key and IV never seal two different texts: the same encrypted request gets the very same bytes again, whatever has
//! happened meanwhile, and does nothing a second time.

use serde_json::{Value, json};

use crate::support::http::Answer;
use crate::support::phone::{self, Sealed};
use crate::support::user::{User, ids, server, success};
use crate::support::{Server, all_at_once, assert_each_once, in_days};

/// A day and one of its two starts, each for one.
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
open = { mon = ["09:00-11:00"], tue = ["09:00-11:00"], wed = ["09:00-11:00"], thu = ["09:00-11:00"], fri = ["09:00-11:00"], sat = ["09:00-11:00"], sun = ["09:00-11:00"] }
slot = "1h"
capacity = 1
ahead = "14d"
"#;

/// What was sent, and what came back.
struct Kept {
    what: &'static str,
    request: Sealed,
    answer: Answer,
}

impl Kept {
    fn of(what: &'static str, server: &Server, request: Sealed) -> Self {
        let answer = request.post(server, "/visit");
        Self { what, request, answer }
    }

    fn opened(&self) -> Value {
        self.request.open(&self.answer)
    }

    #[track_caller]
    fn comes_again(&self, server: &Server) {
        let again = self.request.post(server, "/visit");
        assert_eq!(again.status, self.answer.status, "{}", self.what);
        assert_eq!(again.text(), self.answer.text(), "{}", self.what);
    }
}

fn user<'a>(server: &'a Server, token: &'a str) -> User<'a> {
    User { server, path: "/visit", token }
}

/// Books a slot in two screens.
fn book(user: User<'_>, slot: &str) -> Value {
    user.sends("CHOICE", &json!({"slot": slot}));
    user.sends("CONFIRM", &json!({"name": user.token}))
}

#[test]
fn every_kind_of_answer_comes_again_to_the_byte_whatever_happened_meanwhile() {
    let mut server = server(FLOW);
    let slot = format!("{}T09:00", in_days(3));
    let kept = {
        let (ann, bob) = (user(&server, "ann"), user(&server, "bob"));
        let init = Kept::of("INIT with slots", &server, ann.init());
        assert!(ids(&init.opened()["data"]["slots"]).contains(&slot));
        let unfit = Kept::of("a field that was refused", &server, ann.answers("CHOICE", &json!({"slot": ""})));
        assert!(unfit.opened()["data"]["error_message"].is_string());
        let chosen = Kept::of("the next screen", &server, ann.answers("CHOICE", &json!({"slot": slot})));
        assert_eq!(chosen.opened(), json!({"screen": "CONFIRM", "data": {"slot": slot}}));
        assert_eq!(book(bob, &slot), success("bob"));
        let refused = Kept::of("a slot that was gone", &server, ann.answers("CONFIRM", &json!({"name": "Ann"})));
        assert_eq!(refused.opened()["screen"], "CHOICE");
        assert!(!ids(&refused.opened()["data"]["slots"]).contains(&slot));

        // The slot is free again.
        let booking = server.rows(&["bookings", "list"]).remove(0);
        server.rows(&["bookings", "cancel", &booking["id"].to_string()]);
        refused.comes_again(&server);
        assert!(ids(&ann.opens()["data"]["slots"]).contains(&slot), "it is: another request is told so");
        assert_eq!(server.submissions().len(), 1, "and nothing was booked by the copy");

        assert_eq!(ann.sends("CHOICE", &json!({"slot": slot}))["screen"], "CONFIRM");
        let end = Kept::of("the end", &server, ann.answers("CONFIRM", &json!({"name": "Ann"})));
        assert_eq!(end.opened(), success("ann"));
        let press = Kept::of("a second press", &server, ann.answers("CONFIRM", &json!({"name": "Ann"})));
        assert_eq!(press.opened(), success("ann"));
        vec![init, unfit, chosen, refused, end, press]
    };
    let again = |server: &Server| kept.iter().for_each(|kept| kept.comes_again(server));
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
    assert_eq!(server.rows(&["drafts"]).len(), 0, "a copy of an earlier screen begins no new draft");
    server.row(&["check"]);
}

#[test]
fn a_token_that_is_refused_leaves_the_first_success_as_it_was() {
    let mut server = server(&FLOW.replace("screens = [", "resubmit = \"refuse\"\nlanguage = \"de\"\nscreens = ["));
    let slot = format!("{}T09:00", in_days(3));
    let kept = {
        let ann = user(&server, "ann");
        ann.sends("CHOICE", &json!({"slot": slot}));
        let end = Kept::of("the end", &server, ann.answers("CONFIRM", &json!({"name": "Ann"})));
        assert_eq!(end.opened(), success("ann"));
        let mut kept = vec![end];
        let told = json!({"error_msg": "Sie haben dieses Formular bereits gesendet. Vielen Dank."});
        for (what, request) in [
            ("another press", ann.answers("CONFIRM", &json!({"name": "Ann"}))),
            ("an earlier screen", ann.answers("CHOICE", &json!({"slot": slot}))),
            ("the form opened again", ann.init()),
        ] {
            let gone = Kept::of(what, &server, request);
            assert_eq!(gone.request.open_gone(&gone.answer), told, "{what}");
            kept.push(gone);
        }
        kept
    };
    for is_first in [true, false] {
        for kept in &kept {
            kept.comes_again(&server);
        }
        if is_first {
            server.kill9();
            server.start_again();
        }
    }
    assert_each_once(&server.submissions(), ["ann"]);
}

#[test]
fn fifty_exact_copies_at_once_get_one_answer_and_make_one_submission() {
    for resubmit in ["success", "refuse"] {
        let server = server(&FLOW.replace("screens = [", &format!("resubmit = \"{resubmit}\"\nscreens = [")));
        for round in 0..4 {
            let (token, slot) = (format!("t{round}"), format!("{}T09:00", in_days(2 + round)));
            let copies = |request: &Sealed| {
                let answers = all_at_once(50, |_| request.post(&server, "/visit"));
                let first = answers[0].clone();
                for answer in answers {
                    assert_eq!((answer.status, answer.text()), (first.status, first.text()), "{resubmit}");
                }
                request.open(&first)
            };
            let ann = user(&server, &token);
            assert_eq!(copies(&ann.init())["screen"], "CHOICE");
            assert_eq!(copies(&ann.answers("CHOICE", &json!({"slot": slot})))["screen"], "CONFIRM");
            assert_eq!(copies(&ann.answers("CONFIRM", &json!({"name": "Ann"}))), success(&token), "{resubmit}");
        }
        assert_each_once(&server.submissions(), ["t0", "t1", "t2", "t3"]);
        assert_eq!(server.rows(&["bookings", "list"]).len(), 4);
        server.row(&["check"]);
    }
}

#[test]
fn an_old_screen_that_is_replayed_changes_nothing_in_the_newer_draft() {
    let mut server = server(FLOW);
    let [early, late] = ["09:00", "10:00"].map(|time| format!("{}T{time}", in_days(3)));
    let (old, back, newer) = {
        let ann = user(&server, "ann");
        let old = Kept::of("an old choice", &server, ann.answers("CHOICE", &json!({"slot": early, "note": "old"})));
        let back = Kept::of("an old way back", &server, {
            phone::seal(&json!({"version": "3.0", "action": "BACK", "screen": "CONFIRM", "flow_token": "ann"}))
        });
        assert_eq!(back.opened()["screen"], "CHOICE");
        assert_eq!(ann.draft().unwrap()["screen"], "CHOICE", "the draft tells where its user is");
        ann.sends("CHOICE", &json!({"slot": late, "note": null}));
        (old, back, ann.draft().unwrap())
    };
    assert_eq!(newer["data"], json!({"slot": late, "note": null}));
    assert_eq!(newer["screen"], "CONFIRM");
    for is_again in [false, true] {
        old.comes_again(&server);
        back.comes_again(&server);
        assert_eq!(user(&server, "ann").draft().unwrap(), newer);
        if !is_again {
            server.kill9();
            server.start_again();
        }
    }
    assert_eq!(user(&server, "ann").sends("CONFIRM", &json!({"name": "Ann"})), success("ann"));
    assert_eq!(server.submissions()[0]["data"], json!({"slot": late, "note": null, "name": "Ann"}));
}

/// Two flows with one key. What one takes for a complaint of the phone is a field of the other's.
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
fn the_same_bytes_get_the_same_answer_on_another_flows_path_whatever_it_would_have_said() {
    let mut server = server(TWO_FLOWS);
    let report = |error: &str| {
        phone::seal(&json!({"version": "3.0", "action": "data_exchange", "screen": "WHAT", "flow_token": "t",
            "data": {"error": error}}))
    };
    let ping = phone::seal(&json!({"version": "3.0", "action": "ping", "screen": "WHAT", "data": {"error": "none"}}));
    let texts = [json!({"data": {"acknowledged": true}}), json!({"screen": "END", "data": {}})];
    let requests = [("/open", report("one"), &texts[0]), ("/report", report("two"), &texts[1])];
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
            server.configure(&TWO_FLOWS.replace("path = \"/report\"", "path = \"/report\"\nlanguage = \"de\""));
            server.row(&["reload"]);
            server.kill9();
            server.start_again();
        }
    }
    assert_eq!(server.rows(&["flows", "errors"]).len(), 1, "a complaint that comes again is the same one");
}

#[test]
fn a_slot_that_is_gone_is_not_told_over_answers_that_could_not_be_kept() {
    let server = server(FLOW);
    let slot = format!("{}T09:00", in_days(3));
    let ann = user(&server, "ann");
    ann.sends("CHOICE", &json!({"slot": slot}));
    let part = |number: u8| json!({"slot": slot, format!("part{number}"): "x".repeat(180_000)});
    for number in 0..5 {
        assert_eq!(ann.sends("CHOICE", &part(number))["screen"], "CONFIRM");
    }
    assert_eq!(book(user(&server, "bob"), &slot), success("bob"));
    let told = ann.sends("CONFIRM", &part(5));
    assert_eq!(told["screen"], "CONFIRM", "what was sent is not kept, so it is not left behind: {told}");
    assert!(told["data"]["error_message"].is_string(), "{told}");
    assert_eq!(ann.sends("CONFIRM", &json!({"name": "Ann"}))["screen"], "CHOICE");
}
