//! Customers read in the list itself and in the error bar that nothing can be booked. A list on a
//! phone must not be empty.

use serde_json::{Value, json};

use crate::support::Server;
use crate::support::user::{User, ids, server, success};

/// Starts a server with a flow in German. Its lists of times and days are on one screen.
/// `show_full` is their setting for full slots.
fn booking_server(show_full: &str) -> Server {
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
data = {{ days = {{ dates = "chair", show_full = {show_full} }}, slots = {{ slots = "chair", show_full = {show_full} }} }}
fields = {{ slot = {{ required = true, label = "Termin" }} }}
[[flows.home.screens]]
name = "LAST"
final = true
[calendars.chair]
timezone = "UTC"
hours = {{ mon = ["09:00-10:00"], tue = ["09:00-10:00"], wed = ["09:00-10:00"], thu = ["09:00-10:00"], fri = ["09:00-10:00"], sat = ["09:00-10:00"], sun = ["09:00-10:00"] }}
slot_length = "1h"
capacity = 1
max_advance = "3d"
"#
    ))
}

fn user<'a>(server: &'a Server, token: &'a str) -> User<'a> {
    User {
        server,
        path: "/home",
        token,
    }
}

const NO_FREE_SLOT: &str = "Zurzeit ist kein Termin frei.";

/// Books one slot after another until the screen reports that none is free. Returns this screen.
fn book_all(server: &Server) -> Value {
    for number in 0.. {
        let token = format!("user {number}");
        let user = user(server, &token);
        let shown = user.opens();
        if shown["data"].get("error_message").is_some() {
            return shown;
        }
        let free = shown["data"]["slots"]
            .as_array()
            .unwrap()
            .iter()
            .find(|slot| slot["enabled"] != false)
            .unwrap();
        user.sends("PICK", &json!({"slot": free["id"]}));
        assert_eq!(user.sends("LAST", &json!({})), success(&token));
    }
    unreachable!()
}

#[test]
fn empty_list_shows_text_until_slot_is_free() {
    let server = booking_server("false");
    let late = user(&server, "late");
    let slot = ids(&late.opens()["data"]["slots"]).remove(0);
    assert_eq!(late.sends("PICK", &json!({"slot": slot}))["screen"], "LAST");

    let line = json!([{"id": "none", "title": NO_FREE_SLOT}]);
    let booked_out = json!({"screen": "PICK", "data": {"days": line, "slots": line, "error_message": NO_FREE_SLOT}});
    assert_eq!(book_all(&server), booked_out);
    assert_eq!(
        late.sends("LAST", &json!({})),
        booked_out,
        "nobody is asked to choose another where there is none"
    );

    // The selection of that line is not a slot that could be booked.
    late.sends("PICK", &json!({"slot": "none"}));
    let refused = late.sends("LAST", &json!({}));
    assert_eq!(
        (&refused["screen"], &refused["data"]["slots"]),
        (&json!("PICK"), &line),
        "{refused}"
    );
    assert_eq!(refused["data"]["error_message"], "Bitte ausfüllen: Termin.");

    let booking = server.rows(&["bookings"]).remove(0);
    server.rows(&["bookings", "cancel", &booking["id"].to_string()]);
    let again = late.opens();
    assert!(again["data"].get("error_message").is_none(), "{again}");
    assert_eq!(ids(&again["data"]["slots"]).len(), 1);
}

#[test]
fn fully_booked_list_shows_error_message() {
    let server = booking_server("true");
    let shown = book_all(&server);
    let slots = shown["data"]["slots"].as_array().unwrap();
    assert_eq!(shown["data"]["error_message"], NO_FREE_SLOT);
    assert!(
        slots.len() > 1
            && slots
                .iter()
                .all(|slot| slot["enabled"] == false && slot["id"] != "none"),
        "{shown}"
    );
}
