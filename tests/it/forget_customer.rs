//! A customer asks to be forgotten. No list shows the customer afterwards, no waiting delivery is
//! sent, and the place of an appointment is free. A kill in the middle does not stop the removal.

use std::process::Stdio;

use serde_json::Value;

use crate::support::fake_services::FakeReceiver;
use crate::support::form::Form;
use crate::support::http::signed_post;
use crate::support::{BOOKING_FLOW, Process, Server, eventually, flowgate, in_days};

const ANN: &str = "+491511111111";
const BOB: &str = "+491522222222";
const FORMS: usize = 400;

fn tables(receiver: &FakeReceiver) -> String {
    let flow = "\n[flows.form]\npath = \"/form\"\nencryption = \"none\"\nlead = { team = \"sales\" }\n\
                deliver = [{ to = \"crm\", events = [\"submission.accepted\"] }]\n";
    format!("{flow}{BOOKING_FLOW}{}", receiver.table("crm", ""))
}

fn of_customer(rows: &[Value], number: &str) -> usize {
    let rows = rows.iter();
    rows.filter(|row| row["customer"] == number[1..]).count()
}

fn waiting(server: &Server) -> u64 {
    let rows = server.rows(&["destinations"]);
    rows[0]["waiting"].as_u64().unwrap()
}

#[test]
fn customer_is_forgotten_in_all_lists_and_deliveries() {
    let receiver = FakeReceiver::down();
    let mut server = Server::start(&tables(&receiver));
    let day = in_days(3);
    for (token, customer) in [("a", ANN), ("b", BOB)] {
        let visit = Form::new(token)
            .by(customer)
            .with_slot_request(&day, "10:00");
        assert!(server.post("/visit", &visit).is_accepted());
        let form = Form::new(format!("form-{token}")).by(customer);
        assert!(server.post("/form", &form).is_accepted());
    }
    eventually("each form has its lead", || {
        (server.rows(&["leads", "--limit", "0"]).len() == 4).then_some(())
    });
    assert_eq!(server.slot(&day, "10:00")["taken"], 2);

    // Nobody is removed by accident, and the person at the terminal sees numbers only.
    let unasked = server.cli(&["forget", ANN]);
    assert!(
        unasked.code == 2 && unasked.err.contains("--yes"),
        "{unasked:?}"
    );
    assert_eq!(server.cli(&["forget", ""]).code, 2);
    assert_eq!(server.cli(&["forget", "+491533333333", "--yes"]).code, 3);
    let dry = server.row(&["forget", "+49 151 1111111", "--dry-run"]);
    assert_eq!(dry["submissions"], 2, "{dry}");
    assert_eq!(of_customer(&server.submissions(), ANN), 2);

    let removed = server.row(&["forget", ANN, "--yes"]);
    for (kind, rows) in [
        ("submissions", 2),
        ("bookings", 1),
        ("leads", 2),
        ("waiting_deliveries", 1),
        ("unreadable", 0),
    ] {
        assert_eq!(removed[kind], rows, "{kind}: {removed}");
    }
    let left = server.submissions();
    assert_eq!((of_customer(&left, ANN), of_customer(&left, BOB)), (0, 2));
    assert_eq!(server.slot(&day, "10:00")["taken"], 1);
    assert_eq!(waiting(&server), 1);
    assert!(server.log().contains("customer forgotten"));
    assert!(!server.log().contains(&ANN[1..]), "the log names nobody");

    // The same command works on the file of a stopped server.
    server.stop();
    let removed = server.row(&["forget", BOB, "--yes"]);
    assert_eq!(removed["submissions"], 2, "{removed}");
    assert_eq!(server.submissions(), [Value::Null; 0]);
    assert_eq!(server.cli(&["check"]).code, 0);
}

#[test]
fn removal_continues_after_a_kill() {
    let receiver = FakeReceiver::down();
    let mut server = Server::start(&tables(&receiver));
    let mut connection = server.connect();
    for number in 0..FORMS {
        let customer = if number % 8 == 0 { BOB } else { ANN };
        let form = Form::new(format!("form-{number}")).by(customer);
        let answer = connection.exchange(&signed_post("/form", &form.body()));
        assert!(answer.unwrap().is_accepted());
    }
    let before = u64::try_from(FORMS).unwrap();
    eventually("each delivery waits", || {
        (waiting(&server) == before).then_some(())
    });
    let mut command = flowgate(server.folder());
    command.args(["forget", ANN, "--yes"]);
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    let removal = Process(command.spawn().unwrap());
    eventually("the removal has begun", || {
        (waiting(&server) < before).then_some(())
    });
    server.kill9();
    drop(removal);

    server.start_again();
    eventually("nothing of the customer is left", || {
        (of_customer(&server.submissions(), ANN) == 0).then_some(())
    });
    eventually("no delivery about the customer waits", || {
        (waiting(&server) == u64::try_from(FORMS / 8).unwrap()).then_some(())
    });
    assert_eq!(of_customer(&server.submissions(), BOB), FORMS / 8);
    eventually("the removal is complete", || {
        server.log().contains("customer forgotten").then_some(())
    });
    server.stop();
    assert_eq!(server.cli(&["check"]).code, 0);
}
