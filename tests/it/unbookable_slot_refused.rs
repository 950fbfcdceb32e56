//! A time that can't be booked is refused with a text for the customer, and nothing is stored.

use crate::support::form::Form;
use crate::support::{BOOKING_FLOW, Server, in_days};

#[test]
fn past_slot_is_refused_with_free_slots() {
    let server = Server::start(BOOKING_FLOW);
    let answer = server.post(
        "/visit",
        &Form::new("late").with_slot_request("2025-10-15", "14:00"),
    );
    let body = answer.json();
    assert_eq!(
        (answer.status, &body["screen"]),
        (200, &"FORM".into()),
        "{body}"
    );
    let text = body["data"]["error_message"].as_str().unwrap();
    assert!(text.contains("past"), "{text}");
    assert!(!body["data"]["slots"].as_array().unwrap().is_empty());
    assert!(server.submissions().is_empty());
}

#[test]
fn time_outside_calendar_is_refused_with_text() {
    let server = Server::start(BOOKING_FLOW);
    for (date, time) in [
        (in_days(3), "10:17"),
        (in_days(90), "10:00"),
        (in_days(3), "03:00"),
    ] {
        let answer = server.post("/visit", &Form::new("t").with_slot_request(&date, time));
        assert_eq!(answer.status, 200);
        assert!(
            answer.json()["data"]["error_message"].is_string(),
            "{date} {time}: {answer:?}"
        );
    }
    assert!(server.submissions().is_empty());
}

#[test]
fn invalid_date_or_time_is_invalid_field() {
    let server = Server::start(BOOKING_FLOW);
    for (date, time) in [
        ("tomorrow", "10:00"),
        ("2027-02-30", "10:00"),
        ("2027-02-01", "25:00"),
    ] {
        let answer = server.post("/visit", &Form::new("t").with_slot_request(date, time));
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "invalid_field"),
            "{date} {time}: {answer:?}"
        );
    }
}
