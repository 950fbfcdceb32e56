//! Where nothing can be booked any more, users read so, in the list itself and in the bar: no list of a phone's may be empty.

use serde_json::{Value, json};

use crate::support::Server;
use crate::support::user::{User, ids, server, success};

/// A flow in German whose lists of times are `full` or not, on one screen with the days.
fn booking_server(full: &str) -> Server {
    server(&format!(
        r#"
[flows.home]
path = "/home"
encryption = "required"
private_keys = ["file:key.pem"]
language = "de"
booking = {{ calendar = "chair", date = "slot", time = "slot" }}
[[flows.home.screens]]
name = "PICK"
data = {{ days = {{ dates = "chair", full = "{full}" }}, slots = {{ slots = "chair", full = "{full}" }} }}
fields = {{ slot = {{ required = true, label = "Termin" }} }}
[[flows.home.screens]]
name = "LAST"
final = true
[calendars.chair]
timezone = "UTC"
open = {{ mon = ["09:00-10:00"], tue = ["09:00-10:00"], wed = ["09:00-10:00"], thu = ["09:00-10:00"], fri = ["09:00-10:00"], sat = ["09:00-10:00"], sun = ["09:00-10:00"] }}
slot = "1h"
capacity = 1
ahead = "3d"
"#
    ))
}

fn user<'a>(server: &'a Server, token: &'a str) -> User<'a> {
    User { server, path: "/home", token }
}

const NOTHING: &str = "Zurzeit ist kein Termin frei.";

/// Books one slot after the other, until the screen says that none is left; gives that screen.
fn book_all(server: &Server) -> Value {
    for number in 0.. {
        let token = format!("user {number}");
        let user = user(server, &token);
        let shown = user.opens();
        if shown["data"].get("error_message").is_some() {
            return shown;
        }
        let free = shown["data"]["slots"].as_array().unwrap().iter().find(|slot| slot["enabled"] != false).unwrap();
        user.sends("PICK", &json!({"slot": free["id"]}));
        assert_eq!(user.sends("LAST", &json!({})), success(&token));
    }
    unreachable!()
}

#[test]
fn lists_without_anything_to_choose_say_so_until_something_is_free_again() {
    let server = booking_server("hidden");
    let late = user(&server, "late");
    let slot = ids(&late.opens()["data"]["slots"]).remove(0);
    assert_eq!(late.sends("PICK", &json!({"slot": slot}))["screen"], "LAST");

    let line = json!([{"id": "none", "title": NOTHING}]);
    let booked_out = json!({"screen": "PICK", "data": {"days": line, "slots": line, "error_message": NOTHING}});
    assert_eq!(book_all(&server), booked_out);
    assert_eq!(late.sends("LAST", &json!({})), booked_out, "nobody is asked to choose another where there is none");

    // Whoever chooses that line has chosen nothing that could be booked.
    late.sends("PICK", &json!({"slot": "none"}));
    let refused = late.sends("LAST", &json!({}));
    assert_eq!((&refused["screen"], &refused["data"]["slots"]), (&json!("PICK"), &line), "{refused}");
    assert_eq!(refused["data"]["error_message"], "Bitte ausfüllen: Termin.");

    let booking = server.rows(&["bookings"]).remove(0);
    server.rows(&["bookings", "cancel", &booking["id"].to_string()]);
    let again = late.opens();
    assert!(again["data"].get("error_message").is_none(), "{again}");
    assert_eq!(ids(&again["data"]["slots"]).len(), 1);
}

#[test]
fn where_all_that_is_shown_is_full_the_bar_says_so() {
    let server = booking_server("shown");
    let shown = book_all(&server);
    let slots = shown["data"]["slots"].as_array().unwrap();
    assert_eq!(shown["data"]["error_message"], NOTHING);
    assert!(slots.len() > 1 && slots.iter().all(|slot| slot["enabled"] == false && slot["id"] != "none"), "{shown}");
}
