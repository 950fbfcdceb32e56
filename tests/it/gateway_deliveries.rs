//! Tests texts through an unofficial gateway with a low rate limit: recipients, order, combined
//! messages, expired messages, and the send rate.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::form::Form;
use crate::support::gateway::{Gateway, KEY, KINDS, Kind};
use crate::support::graph::{Graph, RecordedRequest, json as answer};
use crate::support::{BOOKING_FLOW, PLAIN_FLOW, Server, eventually, in_days};

/// Returns the destination for booking confirmations to customers. `more` contains further keys
/// before its messages.
fn thanks(more: &str) -> String {
    let text = "See you on {booking.date} at {booking.time}, {submission.answers.name}.";
    format!(
        "\n[destinations.thanks]\nkind = \"gateway\"\ngateway = \"shop\"\nto = \"customer\"\n\
         retry = {{ initial_delay = \"10ms\", max_delay = \"200ms\", max_attempts = 999 }}\nbreaker = {{ failure_threshold = 999 }}\n{more}\n\
         messages = {{ \"booking.confirmed\" = {{ text = \"{text}\" }} }}\n"
    )
}

/// Returns the destination for lead messages to agents, each with its own number.
fn notes(agents: &[&str], more: &str) -> String {
    let numbers: Vec<String> = agents
        .iter()
        .zip(1..)
        .map(|(name, number)| format!("{name} = \"+49170000000{number}\""))
        .collect();
    let numbers = numbers.join(", ");
    format!(
        "\n[destinations.notes]\nkind = \"gateway\"\ngateway = \"shop\"\nto = \"agent\"\nagents = {{ {numbers} }}\n{more}\n\
         messages = {{ \"lead.assigned\" = {{ text = \"A lead: {{submission.flow_token}}\" }} }}\n"
    )
}

/// Starts a server with a flow that books and a flow that does not book. Both create leads and send
/// events to `destinations`.
fn serve(destinations: &str, agents: &[&str], tables: &str) -> Server {
    let deliver = format!("deliver = [{destinations}]\nlead =");
    let (books, asks) = (
        BOOKING_FLOW.replacen("lead =", &deliver, 1),
        PLAIN_FLOW.replacen("lead =", &deliver, 1),
    );
    let server = Server::start(&format!("{books}{asks}{tables}"));
    for agent in agents {
        server.add_agent(agent, &[]);
    }
    server
}

fn books(server: &Server, token: &str, date: &str, time: &str) {
    assert!(
        server
            .post(
                "/visit",
                &Form::new(token)
                    .by("+491511234567")
                    .with_slot_request(date, time)
            )
            .is_accepted()
    );
}

/// Sends a form without a slot request, which creates a lead and no booking.
fn asks(server: &Server, token: &str) {
    assert!(server.post("/form", &Form::new(token)).is_accepted());
}

fn deliveries(server: &Server, to: &str) -> Vec<Value> {
    server.rows(&["deliveries", "list", "--destination", to, "--limit", "0"])
}

fn wait_until_all_are(server: &Server, to: &str, count: usize, state: &str) -> Vec<Value> {
    eventually(&format!("{count} deliveries to {to} are {state}"), || {
        let rows = deliveries(server, to);
        (rows.len() == count && rows.iter().all(|row| row["state"] == state)).then_some(rows)
    })
}

#[test]
fn dropped_session_only_delays_confirmation() {
    for kind in KINDS {
        let shop = Gateway::start(kind);
        let server = serve(
            "\"thanks\"",
            &[],
            &format!("{}{}", shop.config("rate = \"1000/s\""), thanks("")),
        );
        let date = in_days(3);
        books(&server, "one", &date, "09:00");
        wait_until_all_are(&server, "thanks", 1, "done");
        let to = match kind {
            Kind::Wasender => "+491511234567",
            Kind::Waha => "491511234567@c.us",
            Kind::Evolution => "491511234567",
        };
        assert_eq!(
            shop.sent(),
            [(to.to_owned(), format!("See you on {date} at 09:00, Ann."))]
        );

        shop.disconnect_silently();
        books(&server, "two", &date, "10:00");
        let failed = eventually("it was tried, and nothing was given up", || {
            deliveries(&server, "thanks")
                .into_iter()
                .find(|row| row["attempts"].as_u64() > Some(1))
        });
        assert!(
            failed["state"] == "scheduled" || failed["state"] == "running",
            "{failed}"
        );
        let why = failed["last_error"].as_str().unwrap();
        assert!(
            why.to_lowercase().contains("session") || why.contains("Connection Closed"),
            "{why}"
        );
        assert!(!why.contains(KEY));
        shop.scan();
        wait_until_all_are(&server, "thanks", 2, "done");
        assert_eq!(shop.sent().len(), 2);
    }
}

/// Returns the config of gateway `shop`, a WAHA gateway whose responses come from `graph`.
fn waha(graph: &Graph) -> String {
    format!(
        "\n[gateways.shop]\nkind = \"waha\"\nurl = \"http://{}\"\nallow_private = true\nsession = \"shop\"\n\
         api_key = \"text:{KEY}\"\nwebhook_secret = \"text:{KEY}\"\nprobe_interval = \"1h\"\nrate = \"1000/s\"\n",
        graph.address()
    )
}

#[test]
fn login_page_does_not_confirm_text() {
    let texts = AtomicUsize::new(0);
    let shop = Graph::answering(move |asked| {
        if !asked.line.starts_with("POST /api/sendText") {
            return answer(200, &json!({"status": "WORKING"}));
        }
        let page = if texts.fetch_add(1, Ordering::SeqCst) == 0 {
            "<html>Log in</html>"
        } else {
            ""
        };
        format!(
            "HTTP/1.1 201 X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{page}",
            page.len()
        )
        .into_bytes()
    });
    let server = serve("\"thanks\"", &[], &format!("{}{}", waha(&shop), thanks("")));
    books(&server, "one", &in_days(3), "09:00");
    let rows = wait_until_all_are(&server, "thanks", 1, "done");
    assert_eq!(rows[0]["attempts"], 2, "{rows:?}");
    let sent = shop
        .asked()
        .into_iter()
        .filter(|asked| asked.line.starts_with("POST /api/sendText"));
    assert_eq!(sent.count(), 2);
}

#[test]
fn refusal_in_late_body_is_recorded() {
    let is_refusal = |asked: &RecordedRequest| {
        let is_text = asked.line.starts_with("POST /api/sendText");
        answer(
            200,
            &if is_text {
                json!({"error": true, "message": "no"})
            } else {
                json!({"status": "WORKING"})
            },
        )
    };
    let shop = Graph::answering_slowly(Duration::from_millis(1500), is_refusal);
    let server = serve("\"thanks\"", &[], &format!("{}{}", waha(&shop), thanks("")));
    books(&server, "one", &in_days(3), "09:00");
    let row = eventually("the attempt is noted", || {
        deliveries(&server, "thanks")
            .into_iter()
            .find(|row| row["attempts"].as_u64() >= Some(1))
    });
    assert!(
        row["state"] == "scheduled" || row["state"] == "running",
        "{row}"
    );
    assert_eq!(row["last_error"], "responded with 200 OK: no");
}

#[test]
fn unknown_number_fails_message_wrong_key_disables_destination() {
    for kind in KINDS {
        let shop = Gateway::start(kind);
        shop.set_unknown_number("491511234567");
        let tables = format!("{}{}", shop.config("rate = \"1000/s\""), thanks(""));
        let mut server = serve("\"thanks\"", &[], &tables);
        books(&server, "one", &in_days(3), "09:00");
        let dead = wait_until_all_are(&server, "thanks", 1, "dead");
        assert_eq!(dead[0]["attempts"], 1, "{kind:?}");

        server.configure(&format!(
            "{}{}",
            BOOKING_FLOW.replacen("lead =", "deliver = [\"thanks\"]\nlead =", 1),
            tables.replace(KEY, "another-key")
        ));
        server.stop();
        server.start_again();
        books(&server, "two", &in_days(3), "10:00");
        let stopped = eventually("the destination is stopped", || {
            server
                .rows(&["destinations", "list"])
                .into_iter()
                .find(|row| row["state"] == "disabled")
        });
        assert!(
            stopped["disabled_reason"]
                .as_str()
                .unwrap()
                .starts_with("responded with 401"),
            "{stopped}"
        );
        assert_eq!(
            deliveries(&server, "thanks")[0]["state"],
            "scheduled",
            "what is for it waits"
        );
    }
}

#[test]
fn waiting_leads_of_agent_become_one_message() {
    let shop = Gateway::start(Kind::Waha);
    let server = serve(
        "\"notes\"",
        &["Ann"],
        &format!(
            "{}{}",
            shop.config("rate = \"60/m\""),
            notes(&["Ann"], "concurrency = 1")
        ),
    );
    server.row(&["destinations", "pause", "notes"]);
    for number in 0..30 {
        asks(&server, &format!("t{number}"));
    }
    eventually("all leads are made", || {
        (deliveries(&server, "notes").len() == 30).then_some(())
    });
    server.row(&["destinations", "resume", "notes"]);
    let rows = wait_until_all_are(&server, "notes", 30, "done");
    assert!(rows.iter().all(|row| row["attempts"] == 1), "{rows:?}");
    let sent = shop.sent();
    assert_eq!(sent.len(), 1, "{sent:?}");
    let mut sent_texts: Vec<&str> = sent[0].1.split("\n\n").collect();
    sent_texts.sort_unstable();
    let mut expected: Vec<String> = (0..30).map(|number| format!("A lead: t{number}")).collect();
    expected.sort_unstable();
    assert_eq!(sent_texts, expected);
    assert_eq!(sent[0].0, "491700000001@c.us");
}

#[test]
fn suspect_lead_messages_are_sent_one_by_one() {
    let shop = Gateway::start(Kind::Waha);
    let tables = format!(
        "{}{}",
        shop.config("rate = \"1000/s\""),
        notes(&["Ann"], "")
    );
    let mut server = serve("\"notes\"", &["Ann"], &tables);
    let wait_for_resume = |server: &Server, before: usize| {
        server.row(&["destinations", "pause", "notes"]);
        for number in before..before + 3 {
            asks(server, &format!("t{number}"));
        }
        eventually("all leads are made", || {
            (deliveries(server, "notes").len() == before + 3).then_some(())
        });
    };
    wait_for_resume(&server, 0);
    server.kill9();
    server.start_again();
    server.row(&["destinations", "resume", "notes"]);
    wait_until_all_are(&server, "notes", 3, "done");
    assert_eq!(
        shop.sent().len(),
        3,
        "any of them may have taken it down: {:?}",
        shop.sent()
    );

    wait_for_resume(&server, 3);
    server.row(&["destinations", "resume", "notes"]);
    wait_until_all_are(&server, "notes", 6, "done");
    assert_eq!(shop.sent().len(), 4, "{:?}", shop.sent());
}

#[test]
fn combined_messages_are_per_agent_and_length_limited() {
    let shop = Gateway::start(Kind::Waha);
    let tables = format!(
        "{}{}",
        shop.config("rate = \"1000/s\""),
        notes(&["Ann", "Bob"], "concurrency = 1")
    );
    let server = serve("\"notes\"", &["Ann", "Bob"], &tables);
    server.row(&["destinations", "pause", "notes"]);
    let long = "x".repeat(600);
    for number in 0..20 {
        asks(&server, &format!("{long}{number}"));
    }
    eventually("all leads are made", || {
        (deliveries(&server, "notes").len() == 20).then_some(())
    });
    server.row(&["destinations", "resume", "notes"]);
    wait_until_all_are(&server, "notes", 20, "done");
    let sent = shop.sent();
    assert_eq!(
        sent.len(),
        4,
        "six fit into one message, and each agent has ten"
    );
    assert!(sent.iter().all(|(_, text)| text.chars().count() <= 4096));
    for agent in ["491700000001@c.us", "491700000002@c.us"] {
        let leads: usize = sent
            .iter()
            .filter(|(to, _)| to == agent)
            .map(|(_, text)| text.matches("A lead:").count())
            .sum();
        assert_eq!(leads, 10, "{agent}");
    }
}

#[test]
fn confirmations_precede_waiting_agent_messages() {
    let agents = ["Ann", "Bob", "Cem", "Dua", "Eva", "Fay", "Gil", "Hal"];
    let shop = Gateway::start(Kind::Waha);
    let tables = format!(
        "{}{}{}",
        shop.config("rate = \"2/s\""),
        thanks(""),
        notes(&agents, "")
    );
    let server = serve("\"notes\", \"thanks\"", &agents, &tables);
    for number in 0..8 {
        asks(&server, &format!("t{number}"));
    }
    eventually("the first note is out", || {
        (!shop.sent().is_empty()).then_some(())
    });
    let before = shop.sent().len();
    for time in ["09:00", "10:00", "11:00", "12:00", "13:00"] {
        books(&server, time, &in_days(3), time);
    }
    wait_until_all_are(&server, "thanks", 5, "done");
    let sent = shop.sent();
    let notes = sent[before..]
        .iter()
        .filter(|(_, text)| text.starts_with("A lead"))
        .count();
    assert!(notes <= 3, "{notes} notes went out meanwhile: {sent:?}");
    wait_until_all_are(&server, "notes", 13, "done");
}

#[test]
fn late_message_expires_unsent() {
    let shop = Gateway::start(Kind::Evolution);
    let tables = format!(
        "{}{}",
        shop.config("rate = \"1000/s\""),
        thanks("max_age = \"1s\"")
    );
    let server = serve("\"thanks\"", &[], &tables);
    shop.disconnect_silently();
    books(&server, "one", &in_days(3), "09:00");
    let expired = wait_until_all_are(&server, "thanks", 1, "expired");
    let why = expired[0]["last_error"].as_str().unwrap();
    assert!(
        why.starts_with("not sent within the maximum age of 1s; earlier error: responded with 400"),
        "{why}"
    );
    shop.scan();
    books(&server, "two", &in_days(3), "10:00");
    let rows = eventually("the next one is sent", || {
        Some(deliveries(&server, "thanks")).filter(|rows| rows[0]["state"] == "done")
    });
    assert_eq!(rows[1]["state"], "expired");
    assert_eq!(shop.sent().len(), 1);
    assert_eq!(
        server
            .rows(&["deliveries", "list", "--state", "expired"])
            .len(),
        1
    );
    let hints = server.row(&["status"])["warnings"].to_string();
    assert!(
        hints.contains("1 delivery to thanks expired without being sent"),
        "{hints}"
    );

    let id = rows[1]["id"].to_string();
    server.row(&["dead-letters", "retry", &id]);
    wait_until_all_are(&server, "thanks", 2, "done");
    assert!(
        shop.sent()[1].1.contains("09:00"),
        "an admin wants it sent, however late"
    );
}

#[test]
fn rate_limit_of_gateway_is_never_exceeded() {
    let shop = Gateway::start(Kind::Wasender);
    // At the default rate before any rate limit header, 18 messages would take longer than any wait
    // here.
    shop.allow(8, 2);
    let server = serve(
        "\"thanks\"",
        &[],
        &format!("{}{}", shop.config(""), thanks("")),
    );
    let times = ["09:00", "10:00", "11:00", "12:00", "13:00", "14:00"];
    for (number, time) in times.iter().enumerate() {
        books(&server, &format!("a{number}"), &in_days(3), time);
        books(&server, &format!("b{number}"), &in_days(4), time);
        books(&server, &format!("c{number}"), &in_days(5), time);
    }
    wait_until_all_are(&server, "thanks", 18, "done");
    assert_eq!((shop.sent().len(), shop.too_many()), (18, 0));
}

#[test]
fn resume_clears_exhausted_rate_limit() {
    let shop = Gateway::start(Kind::Wasender);
    shop.allow(1, 3300);
    let tables = format!("{}{}", shop.config("rate = \"1000/s\""), thanks(""));
    let server = serve("\"thanks\"", &[], &tables);
    books(&server, "one", &in_days(3), "09:00");
    wait_until_all_are(&server, "thanks", 1, "done");
    // The customer bought a larger plan, for example. The gateway reports it only in its next
    // response.
    shop.allow(100, 3300);
    books(&server, "two", &in_days(3), "10:00");
    eventually("the second confirmation waits", || {
        (deliveries(&server, "thanks").len() == 2).then_some(())
    });
    server.row(&["destinations", "resume", "thanks"]);
    wait_until_all_are(&server, "thanks", 2, "done");
    assert_eq!((shop.sent().len(), shop.too_many()), (2, 0));
}

#[test]
fn destination_test_writes_only_to_given_number() {
    for kind in KINDS {
        let shop = Gateway::start(kind);
        let mut server = serve(
            "\"thanks\"",
            &[],
            &format!("{}{}", shop.config(""), thanks("")),
        );
        for is_running in [true, false] {
            if !is_running {
                server.stop();
            }
            let refused = server.cli(&["destinations", "test", "thanks"]);
            assert_eq!(refused.code, 2, "{refused:?}");
            assert!(
                refused.err.contains("--to NUMBER") && refused.err.contains("gateways show shop"),
                "{refused:?}"
            );
            let test = server.row(&["destinations", "test", "thanks", "--to", "+4915100000001"]);
            assert_eq!(test["delivered"], true, "{test}");
            assert!(!test.to_string().contains(KEY), "{test}");
        }
        let sent = shop.sent();
        assert_eq!(sent.len(), 2, "{sent:?}");
        assert!(
            sent.iter()
                .all(|(to, text)| to.contains("4915100000001") && text.contains("test")),
            "{sent:?}"
        );
        shop.disconnect_silently();
        let failed = server.cli(&["destinations", "test", "thanks", "--to", "+4915100000001"]);
        assert!(
            failed.code == 1 && failed.err.contains("rejected the test"),
            "{failed:?}"
        );
    }
}
