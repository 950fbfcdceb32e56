//! A customer who saw an agent gets this agent: on the first screen, on the only screen, or on a
//! screen to which the form returned. The tests also cover forms that no token distinguishes.

use serde_json::{Value, json};

use crate::support::user::{User, ids, server, success};
use crate::support::{Server, in_days};

/// Starts a server with one flow of these screens. Its leads go to Ann or Ben.
fn with_screens(settings: &str, screens: &str) -> Server {
    let server = server(&format!(
        r#"
[flows.home]
path = "/home"
encryption = "required"
private_keys = ["file:key.pem"]
lead = {{ team = "sales", agent = "adviser" }}
{settings}
screens = [
{screens}
]
[calendars.chair]
timezone = "UTC"
hours = {{ mon = ["09:00-10:00"], tue = ["09:00-10:00"], wed = ["09:00-10:00"], thu = ["09:00-10:00"], fri = ["09:00-10:00"], sat = ["09:00-10:00"], sun = ["09:00-10:00"] }}
slot_length = "1h"
capacity = 1
max_advance = "14d"
"#
    ));
    server.add_agent("Ann", &[]);
    server.add_agent("Ben", &[]);
    server
}

fn user<'a>(server: &'a Server, token: &'a str) -> User<'a> {
    User {
        server,
        path: "/home",
        token,
    }
}

/// Returns the agent and the reason of the lead for the form with this token.
fn lead(server: &Server, token: &str) -> (String, String) {
    server.settled();
    let form = server
        .submissions()
        .into_iter()
        .find(|row| row["flow_token"] == token)
        .unwrap();
    let lead = server.row(&["leads", "show", &form["lead_id"].to_string()]);
    let text = |name: &str| lead[name].as_str().unwrap().to_owned();
    (text("agent"), text("reason"))
}

fn chosen(agent: &str) -> (String, String) {
    (agent.to_owned(), "chosen".to_owned())
}

fn adviser(shown: &Value) -> &Value {
    &shown["data"]["adviser"]
}

#[test]
fn agent_shown_on_first_screen_gets_lead() {
    let server = with_screens(
        "",
        r#"
        { name = "START", data = { adviser = { agent = "sales" } }, fields = { name = {} } },
        { name = "LAST", final = true },
        "#,
    );
    let [one, two] = ["one", "two"].map(|token| user(&server, token));
    assert_eq!(
        (adviser(&one.opens()), adviser(&two.opens())),
        (&json!("Ann"), &json!("Ann"))
    );
    let draft = one.draft().unwrap();
    assert_eq!(
        (&draft["screen"], &draft["data"]),
        (&json!("START"), &json!({"adviser": "Ann"}))
    );
    two.sends("START", &json!({"name": "Two"}));
    assert_eq!(two.sends("LAST", &json!({})), success("two"));
    assert_eq!(lead(&server, "two"), chosen("Ann"));

    // Ben has fewer leads now.
    assert_eq!(adviser(&user(&server, "three").opens()), "Ben");
    assert_eq!(adviser(&one.opens()), "Ann", "who was shown stays");
    one.sends("START", &json!({"name": "One"}));
    assert_eq!(adviser(&one.leaves("LAST")), "Ann");
    assert_eq!(one.sends("LAST", &json!({})), success("one"));
    assert_eq!(lead(&server, "one"), chosen("Ann"));
    one.opens();
    assert!(
        one.draft().is_none(),
        "a form that was sent is not begun again"
    );
}

#[test]
fn agent_shown_on_only_screen_gets_lead() {
    let server = with_screens(
        "",
        r#"{ name = "FORM", final = true, data = { adviser = { agent = "sales" } }, fields = { name = {} } },"#,
    );
    let [one, two] = ["one", "two"].map(|token| user(&server, token));
    for user in [one, two] {
        assert_eq!(adviser(&user.opens()), "Ann");
    }
    for user in [two, one] {
        assert_eq!(
            user.sends("FORM", &json!({"name": user.token})),
            success(user.token)
        );
        assert_eq!(lead(&server, user.token), chosen("Ann"));
    }
    assert!(
        server.rows(&["drafts", "list", "--limit", "0"]).is_empty(),
        "they took it along"
    );
}

/// Returns a customer who saw Ann to a screen that shows Ben, and completes the form. At that time
/// Ann would be next.
fn return_to_screen(
    screens: &str,
    return_to_screen: impl FnOnce(User<'_>, &str) -> Value,
    on: &str,
    goes_on: &[(&str, &str)],
) {
    let server = with_screens(
        "booking = { calendar = \"chair\", date = \"slot\", time = \"slot\" }",
        screens,
    );
    let one = user(&server, "one");
    assert_eq!(adviser(&one.opens()), "Ann");
    server.rows(&["agents", "pause", "Ann"]);
    let shown = return_to_screen(one, &in_days(2));
    assert_eq!(
        (&shown["screen"], adviser(&shown)),
        (&json!(on), &json!("Ben")),
        "{shown}"
    );
    let draft = one.draft().unwrap();
    assert_eq!(
        (&draft["screen"], &draft["data"]["adviser"]),
        (&json!(on), &json!("Ben"))
    );
    server.rows(&["agents", "resume", "Ann"]);
    for (screen, field) in goes_on {
        let value = if *field == "day" {
            in_days(3)
        } else {
            format!("{}T09:00", in_days(3))
        };
        let answer = one.sends(screen, &json!({*field: value}));
        assert!(answer["data"].get("error_message").is_none(), "{answer}");
    }
    assert_eq!(lead(&server, "one"), chosen("Ben"));
}

/// Another customer takes the only time of this day.
fn book_slot_for_other(one: User<'_>, day: &str, screens: [&str; 2]) {
    let two = User {
        token: "two",
        ..one
    };
    two.sends(screens[0], &json!({"slot": format!("{day}T09:00")}));
    assert_eq!(
        two.sends(screens[1], &json!({"slot": format!("{day}T09:00")})),
        success("two")
    );
}

const PICK: &str = r#"
{ name = "PICK", data = { slots = { slots = "chair" }, adviser = { agent = "sales" } }, fields = { slot = {} } },
{ name = "LAST", final = true, fields = { note = {} } },
"#;

#[test]
fn agent_shown_after_lost_slot_gets_lead() {
    let loses = |one: User<'_>, day: &str| {
        let slot = format!("{day}T09:00");
        assert_eq!(one.sends("PICK", &json!({"slot": slot}))["screen"], "LAST");
        book_slot_for_other(one, day, ["PICK", "LAST"]);
        let shown = one.sends("LAST", &json!({}));
        assert!(!ids(&shown["data"]["slots"]).contains(&slot), "{shown}");
        shown
    };
    return_to_screen(PICK, loses, "PICK", &[("PICK", "slot"), ("LAST", "note")]);
}

#[test]
fn agent_shown_after_missing_field_gets_lead() {
    let forgets = |one: User<'_>, _: &str| {
        one.sends("PICK", &json!({}));
        let shown = one.sends("LAST", &json!({"note": "early, please"}));
        assert_eq!(shown["data"]["error_message"], "Please fill in: slot.");
        assert_eq!(
            one.draft().unwrap()["data"]["note"],
            "early, please",
            "what was answered meanwhile stays"
        );
        shown
    };
    return_to_screen(PICK, forgets, "PICK", &[("PICK", "slot"), ("LAST", "note")]);
}

#[test]
fn agent_shown_after_full_day_gets_lead() {
    let screens = r#"
        { name = "DAY", data = { days = { dates = "chair" }, adviser = { agent = "sales" } }, fields = { day = {} } },
        { name = "SLOT", final = true, data = { slots = { slots = "chair", day = "day" } }, fields = { slot = {} } },
        "#;
    let comes_late = |one: User<'_>, day: &str| {
        book_slot_for_other(one, day, ["DAY", "SLOT"]);
        one.sends("DAY", &json!({"day": day}))
    };
    return_to_screen(
        screens,
        comes_late,
        "DAY",
        &[("DAY", "day"), ("SLOT", "slot")],
    );
}

#[test]
fn unused_token_form_uses_resent_cross_screen_fields() {
    let server = with_screens(
        "booking = { calendar = \"chair\", date = \"slot\", time = \"slot\" }",
        PICK,
    );
    let one = user(&server, "unused");
    assert_eq!(adviser(&one.opens()), "Ann");
    let slot = format!("{}T09:00", in_days(2));
    assert_eq!(one.sends("PICK", &json!({"slot": slot}))["screen"], "LAST");
    assert!(one.draft().is_none(), "nothing tells whose it is");
    let lacks = one.sends("LAST", &json!({"note": "x"}));
    assert_eq!(
        (&lacks["screen"], &lacks["data"]["error_message"]),
        (&json!("PICK"), &json!("Please fill in: slot."))
    );

    // The payload contains `"slot": "${screen.PICK.form.slot}", "adviser":
    // "${screen.PICK.data.adviser}"`.
    let ended = one.sends(
        "LAST",
        &json!({"note": "x", "slot": slot, "adviser": "Ben"}),
    );
    assert_eq!(ended["screen"], "SUCCESS", "{ended}");
    assert_eq!(server.slot(&in_days(2), "09:00")["taken"], 1);
    assert_eq!(lead(&server, "unused"), chosen("Ben"));
}
