//! Two hundred customers want the same slot with three places at the same moment. Three get a
//! place, and the others get a list of free slots.

use crate::support::form::Form;
use crate::support::{BOOKING_FLOW, Server, all_at_once, in_days};

#[test]
fn two_hundred_requests_for_three_places_book_three() {
    let server = Server::start(BOOKING_FLOW);
    server.add_agent("Ann", &[]);
    let date = in_days(3);

    let answers = all_at_once(200, |customer| {
        server.post(
            "/visit",
            &Form::new(format!("c-{customer}")).with_slot_request(&date, "10:00"),
        )
    });

    let (winners, losers): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.is_accepted());
    assert_eq!(winners.len(), 3);
    for loser in losers {
        let body = loser.json();
        assert_eq!(
            (loser.status, &body["screen"]),
            (200, &"FORM".into()),
            "{body}"
        );
        assert!(!body["data"]["error_message"].as_str().unwrap().is_empty());
        let offered = body["data"]["slots"].as_array().unwrap();
        assert!(!offered.is_empty());
        assert!(
            offered
                .iter()
                .all(|slot| slot["id"] != format!("{date}T10:00")),
            "{body}"
        );
    }

    let slot = server.slot(&date, "10:00");
    assert_eq!((&slot["capacity"], &slot["taken"]), (&3.into(), &3.into()));
    let bookings = server.rows(&["bookings", "list", "--limit", "0"]);
    assert_eq!(bookings.len(), 3);
    server.settled();
    let submissions = server.submissions();
    assert_eq!(submissions.len(), 3, "who was refused is no submission");
    for booking in &bookings {
        assert!(
            submissions
                .iter()
                .any(|row| row["id"] == booking["submission_id"]
                    && row["booking_id"] == booking["id"])
        );
    }
}

#[test]
fn refused_customer_can_choose_another_time() {
    let server = Server::start(&BOOKING_FLOW.replace("capacity = 3", "capacity = 1"));
    let date = in_days(3);
    let form = |token: &str, time: &str| Form::new(token).with_slot_request(&date, time);
    assert!(server.post("/visit", &form("first", "10:00")).is_accepted());
    let refused = server.post("/visit", &form("second", "10:00"));
    assert!(
        !refused.is_accepted() && !refused.is_duplicate(),
        "{refused:?}"
    );
    assert!(
        server
            .post("/visit", &form("second", "11:00"))
            .is_accepted()
    );
    assert!(
        server
            .post("/visit", &form("second", "11:00"))
            .is_duplicate()
    );
}
