//! Deliveries that wait for a removed destination can be discarded. They are then never sent, leave
//! no data behind, and disappear from the hints.

use crate::support::fake_services::{FakeReceiver, flow};
use crate::support::form::Form;
use crate::support::{Server, eventually};

const ORDERED: &str = "ordered = true\nretry = { initial_delay = \"1h\", max_delay = \"1h\" }";

fn waiting(server: &Server) -> u64 {
    let rows = server.rows(&["destinations"]);
    rows.iter()
        .find(|row| row["name"] == "gone")
        .map_or(0, |row| row["waiting"].as_u64().unwrap())
}

#[test]
fn deliveries_of_removed_destination_can_be_discarded() {
    let (gone, stays) = (FakeReceiver::down(), FakeReceiver::well());
    let tables = [gone.table("gone", ORDERED), stays.table("stays", "")].concat();
    let mut server = Server::start(&format!("{}{tables}", flow(&["gone", "stays"])));
    for number in 0..12 {
        // Some customers have several deliveries that wait for their turn.
        let form =
            Form::new(format!("form-{number}")).by(["+491511111111", "+491522222222"][number % 2]);
        assert!(server.post("/form", &form).is_accepted());
    }
    eventually("all wait", || (waiting(&server) == 12).then_some(()));
    stays.wait_for_accepted(12);
    server.configure(&format!("{}{}", flow(&["stays"]), stays.table("stays", "")));
    assert_eq!(server.cli(&["reload"]).code, 0);
    let all = ["deliveries", "discard", "--all", "--destination", "gone"];
    let hints = server.row(&["status"])["warnings"].to_string();
    assert!(
        hints.contains("12 deliveries queued")
            && hints.contains(&format!("flowgate {}", all.join(" "))),
        "{hints}"
    );

    // Discard one by its ID.
    let one = |rows: Vec<serde_json::Value>, state: &str| {
        rows.into_iter()
            .find(|row| row["destination"] == "gone" && row["state"] == state)
            .unwrap()["id"]
            .to_string()
    };
    let list = || server.rows(&["deliveries", "--limit", "0"]);
    let id = one(list(), "scheduled");
    assert_eq!(
        server.row(&["deliveries", "discard", &id])["state"],
        "discarded"
    );
    let again = server.cli(&["deliveries", "discard", &id]);
    assert!(
        again.code == 1 && again.err.contains(&format!("delivery {id} is discarded")),
        "{again:?}"
    );
    assert_eq!(server.cli(&["deliveries", "discard", "99999"]).code, 3);

    // Nothing is discarded by accident.
    assert_eq!(server.cli(&["deliveries", "discard", "--all"]).code, 2);
    let unasked = server.cli(&all);
    assert!(
        unasked.code == 2 && unasked.err.contains("--yes"),
        "{unasked:?}"
    );
    let dry = server.row(&[&all[..], &["--dry-run"]].concat());
    assert_eq!(
        (
            &dry["would_change"],
            dry["samples"].as_array().unwrap().len()
        ),
        (&11.into(), 3)
    );
    assert_eq!(waiting(&server), 11);

    assert_eq!(server.row(&[&all[..], &["--yes"]].concat())["changed"], 11);
    assert_eq!(waiting(&server), 0);
    let hints = server.row(&["status"])["warnings"].to_string();
    assert!(!hints.contains("gone"), "{hints}");
    let rows = server.rows(&["deliveries", "--destination", "gone", "--limit", "0"]);
    assert!(
        rows.len() == 12 && rows.iter().all(|row| row["state"] == "discarded"),
        "{rows:?}"
    );
    assert_eq!(gone.request_count(), 0);

    // The same command works on the file of a stopped server. No table has leftovers of the
    // deliveries.
    server.stop();
    assert_eq!(server.cli(&["check"]).code, 0);
    assert_eq!(server.row(&[&all[..], &["--yes"]].concat())["changed"], 0);
}
