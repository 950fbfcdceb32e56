//! A hundred customers at once want the first of ten places, and then the remaining ones. Each
//! place goes to one customer. All other customers return to the choice until nothing is free.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::user::{User, ids, server, success};
use crate::support::{Server, all_at_once, in_days};

/// Flow of three screens. The calendar has five slots a day, each with one place.
const FLOW: &str = r#"
[flows.visit]
path = "/visit"
encryption = "required"
private_keys = ["file:key.pem"]
booking = { calendar = "chair", date = "slot", time = "slot" }
lead = { team = "sales" }

[[flows.visit.screens]]
name = "SERVICE"
data = { greeting = { value = "Welcome" } }
fields = { service = { type = "choice", choices = ["cut", "colour"], required = true } }

[[flows.visit.screens]]
name = "DATE"
data = { days = { dates = "chair" }, service = { answer = "service" } }
fields = { day = { type = "date", required = true } }

[[flows.visit.screens]]
name = "SLOT"
final = true
data = { slots = { slots = "chair", day = "day" }, service = { answer = "service" }, day = { answer = "day" } }
fields = { slot = { required = true } }

[calendars.chair]
timezone = "UTC"
hours = { mon = ["09:00-14:00"], tue = ["09:00-14:00"], wed = ["09:00-14:00"], thu = ["09:00-14:00"], fri = ["09:00-14:00"], sat = ["09:00-14:00"], sun = ["09:00-14:00"] }
slot_length = "30m"
capacity = 1
max_advance = "60d"
"#;

const USERS: usize = 100;

/// Result of one customer.
struct BookingResult {
    /// Slot that the customer got. `None`: no slot.
    booked: Option<String>,
    /// Slots that the customer requested without success.
    lost: Vec<String>,
}

/// Goes through the form and chooses again until the customer has a slot or `day` has no free slot.
fn book(user: User<'_>, day: &str) -> BookingResult {
    assert_eq!(
        user.opens(),
        json!({"screen": "SERVICE", "data": {"greeting": "Welcome"}})
    );
    let dates = user.sends("SERVICE", &json!({"service": "cut"}));
    assert_eq!(
        (&dates["screen"], &dates["data"]["service"]),
        (&json!("DATE"), &json!("cut"))
    );
    let mut shown = user.sends("DATE", &json!({"day": day}));
    let mut lost: Vec<String> = Vec::new();
    loop {
        // After the last place of a day, the customer must choose another day.
        if shown["screen"] == "DATE" {
            assert!(
                !ids(&shown["data"]["days"]).contains(&day.to_owned()),
                "{shown}"
            );
            assert_eq!(shown["data"]["service"], "cut");
            return BookingResult { booked: None, lost };
        }
        assert_eq!(
            (&shown["screen"], &shown["data"]["day"]),
            (&json!("SLOT"), &json!(day)),
            "{shown}"
        );
        assert_eq!(
            shown["data"]["service"], "cut",
            "what was answered is still there"
        );
        let left = ids(&shown["data"]["slots"]);
        assert!(
            left.iter()
                .all(|slot| slot.starts_with(day) && !lost.contains(slot)),
            "{left:?}, without {lost:?}"
        );
        let Some(first) = left.first() else {
            panic!("a choice without anything to choose: {shown}")
        };
        shown = user.sends("SLOT", &json!({"slot": first}));
        if shown["screen"] == "SUCCESS" {
            assert_eq!(shown, success(user.token));
            return BookingResult {
                booked: Some(first.clone()),
                lost,
            };
        }
        assert!(
            shown["data"]["error_message"]
                .as_str()
                .is_some_and(|text| text.contains("taken")),
            "{shown}"
        );
        lost.push(first.clone());
    }
}

fn user<'a>(server: &'a Server, token: &'a str) -> User<'a> {
    User {
        server,
        path: "/visit",
        token,
    }
}

#[test]
fn hundred_customers_book_ten_places_exactly_once() {
    let server = server(FLOW);
    server.add_agent("Ann", &[]);
    let day = in_days(3);

    let stories = all_at_once(USERS, |number| {
        book(user(&server, &format!("u{number}")), &day)
    });

    let booked: Vec<&String> = stories
        .iter()
        .filter_map(|story| story.booked.as_ref())
        .collect();
    assert_eq!(
        (booked.len(), booked.iter().collect::<BTreeSet<_>>().len()),
        (10, 10),
        "{booked:?}"
    );
    let unlucky: Vec<&BookingResult> = stories
        .iter()
        .filter(|story| story.booked.is_none())
        .collect();
    assert!(
        unlucky.iter().any(|story| !story.lost.is_empty()),
        "they did want the same places"
    );

    server.settled();
    let bookings = server.rows(&["bookings", "list", "--limit", "0"]);
    let taken: BTreeSet<String> = bookings.iter().map(slot_of).collect();
    assert_eq!(
        (bookings.len(), taken),
        (10, booked.into_iter().cloned().collect())
    );
    let submissions = server.submissions();
    assert_eq!(submissions.len(), 10, "who got no place is no submission");
    let drafts = server.rows(&["drafts", "list", "--limit", "0"]);
    for (number, story) in stories.iter().enumerate() {
        let name = format!("u{number}");
        let of_token = |rows: &[Value]| rows.iter().find(|row| row["flow_token"] == *name).cloned();
        let (submission, draft) = (of_token(&submissions), of_token(&drafts));
        if let Some(slot) = &story.booked {
            let (submission, expected) = (
                submission.unwrap(),
                json!({"service": "cut", "day": day, "slot": slot}),
            );
            assert_eq!(submission["data"], expected, "all three screens are in it");
            let booking = bookings
                .iter()
                .find(|row| row["submission_id"] == submission["id"])
                .unwrap();
            assert_eq!((slot_of(booking), draft), (slot.clone(), None));
        } else {
            let draft = draft.unwrap();
            assert_eq!(
                (&draft["screen"], &draft["data"]["service"]),
                (&json!("DATE"), &json!("cut")),
                "it is kept"
            );
            assert!(submission.is_none());
        }
    }
    assert_eq!(drafts.len(), USERS - 10);
    server.row(&["check"]);
}

#[test]
fn full_day_leads_back_to_free_days() {
    let server = server(&FLOW.replace("09:00-14:00", "09:00-09:30"));
    let (day, other) = (in_days(3), in_days(4));
    let (first, second) = (user(&server, "first"), user(&server, "second"));
    for each in [first, second] {
        each.sends("SERVICE", &json!({"service": "colour"}));
        let choice = each.sends("DATE", &json!({"day": day}));
        assert_eq!(ids(&choice["data"]["slots"]), [format!("{day}T09:00")]);
    }
    assert_eq!(
        first.sends("SLOT", &json!({"slot": format!("{day}T09:00")})),
        success("first")
    );
    let back = second.sends("SLOT", &json!({"slot": format!("{day}T09:00")}));
    assert_eq!(
        (&back["screen"], &back["data"]["service"]),
        (&json!("DATE"), &json!("colour")),
        "{back}"
    );
    assert!(back["data"]["error_message"].is_string());
    assert!(!ids(&back["data"]["days"]).contains(&day));
    assert_eq!(second.draft().unwrap()["screen"], "DATE");

    assert_eq!(
        ids(&second.sends("DATE", &json!({"day": other}))["data"]["slots"]),
        [format!("{other}T09:00")]
    );
    assert_eq!(
        second.sends("SLOT", &json!({"slot": format!("{other}T09:00")})),
        success("second")
    );
    // The customer chose the day long ago, and the day is now full.
    let late = user(&server, "late");
    late.sends("SERVICE", &json!({"service": "cut"}));
    let nothing = late.sends("DATE", &json!({"day": day}));
    assert_eq!(
        nothing["screen"], "DATE",
        "a day that is full is not to be had: {nothing}"
    );
    assert!(
        nothing["data"]["error_message"].is_string()
            && !ids(&nothing["data"]["days"]).contains(&day),
        "{nothing}"
    );
    server.row(&["check"]);
}

fn slot_of(booking: &Value) -> String {
    format!(
        "{}T{}",
        booking["date"].as_str().unwrap(),
        booking["time"].as_str().unwrap()
    )
}
