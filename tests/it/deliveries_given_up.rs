//! What waits for a destination that is gone can be given up: then nothing of it is told, kept or pointed at any more.

use crate::support::form::Form;
use crate::support::world::{World, flow};
use crate::support::{Server, eventually};

const ORDERED: &str = "ordered = true\nretry = { first = \"1h\", ceiling = \"1h\" }";

fn waiting(server: &Server) -> u64 {
    let rows = server.rows(&["destinations"]);
    rows.iter().find(|row| row["name"] == "gone").map_or(0, |row| row["waiting"].as_u64().unwrap())
}

#[test]
fn what_waits_for_a_destination_that_left_the_config_is_given_up_and_no_longer_pointed_at() {
    let (gone, stays) = (World::down(), World::well());
    let tables = [gone.table("gone", ORDERED), stays.table("stays", "")].concat();
    let mut server = Server::start(&format!("{}{tables}", flow(&["gone", "stays"])));
    for number in 0..12 {
        // Of some customers several wait for their turn.
        let form = Form::new(format!("form-{number}")).by(["+491511111111", "+491522222222"][number % 2]);
        assert!(server.post("/form", &form).is_accepted());
    }
    eventually("all wait", || (waiting(&server) == 12).then_some(()));
    stays.until_taken(12);
    server.configure(&format!("{}{}", flow(&["stays"]), stays.table("stays", "")));
    assert_eq!(server.cli(&["reload"]).code, 0);
    let all = ["deliveries", "discard", "--all", "--destination", "gone"];
    let hints = server.row(&["status"])["hints"].to_string();
    assert!(hints.contains("12 deliveries wait") && hints.contains(&format!("flowgate {}", all.join(" "))), "{hints}");

    // One, by its number.
    let one = |rows: Vec<serde_json::Value>, state: &str| {
        rows.into_iter().find(|row| row["destination"] == "gone" && row["state"] == state).unwrap()["id"].to_string()
    };
    let list = || server.rows(&["deliveries", "--limit", "0"]);
    let id = one(list(), "scheduled");
    assert_eq!(server.row(&["deliveries", "discard", &id])["state"], "discarded");
    let again = server.cli(&["deliveries", "discard", &id]);
    assert!(again.code == 1 && again.err.contains("is discarded, and does not wait"), "{again:?}");
    assert_eq!(server.cli(&["deliveries", "discard", "99999"]).code, 3);

    // Nothing by accident.
    assert_eq!(server.cli(&["deliveries", "discard", "--all"]).code, 2);
    let unasked = server.cli(&all);
    assert!(unasked.code == 2 && unasked.err.contains("--yes"), "{unasked:?}");
    let dry = server.row(&[&all[..], &["--dry-run"]].concat());
    assert_eq!((&dry["would_change"], dry["samples"].as_array().unwrap().len()), (&11.into(), 3));
    assert_eq!(waiting(&server), 11);

    assert_eq!(server.row(&[&all[..], &["--yes"]].concat())["changed"], 11);
    assert_eq!(waiting(&server), 0);
    let hints = server.row(&["status"])["hints"].to_string();
    assert!(!hints.contains("gone"), "{hints}");
    let rows = server.rows(&["deliveries", "--destination", "gone", "--limit", "0"]);
    assert!(rows.len() == 12 && rows.iter().all(|row| row["state"] == "discarded"), "{rows:?}");
    assert_eq!(gone.times_asked(), 0);

    // The same on the file of a stopped server: nothing is left of them in any table.
    server.stop();
    assert_eq!(server.cli(&["check"]).code, 0);
    assert_eq!(server.row(&[&all[..], &["--yes"]].concat())["changed"], 0);
}
