//! Sessions of unofficial gateways that drop, lie, fall silent and need somebody.

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, KEY, KINDS, Kind};
use crate::support::program::{Act, Program};
use crate::support::{Server, eventually};

/// Looked at every tenth of a second.
const OFTEN: &str = "check = \"100ms\"";

/// A server that tells `ops` of alerts.
fn serve(ops: &Program, tables: &str) -> Server {
    let mut server = Server::stopped("");
    configure(&server, ops, tables);
    server.start_again();
    server
}

fn configure(server: &Server, ops: &Program, tables: &str) {
    let ops = format!("\n[destinations.ops]\nurl = \"{}\"\nallow_private = true\n", ops.url());
    server.configure(&format!("{ops}{tables}"));
    let file = server.folder().join("config.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("alerts = [\"ops\"]\n{config}")).unwrap();
}

fn ops() -> Program {
    Program::start(|_| Act::show(&json!({})))
}

/// The alerts that `ops` was told, without their times.
fn told(ops: &Program) -> Vec<(String, Value)> {
    let bodies = ops.asked().into_iter().map(|asked| asked.json());
    bodies.map(|body| (body["type"].as_str().unwrap().to_owned(), body["data"]["gateway"].clone())).collect()
}

fn kinds_told(ops: &Program) -> Vec<String> {
    told(ops).into_iter().map(|(kind, _)| kind).collect()
}

fn gateway(server: &Server) -> Value {
    server.rows(&["gateways", "list"]).into_iter().next().unwrap_or_default()
}

fn wait_for(server: &Server, field: &str, value: &str) -> Value {
    eventually(&format!("gateway shop has {field} {value}"), || {
        Some(gateway(server)).filter(|gateway| gateway[field] == value)
    })
}

/// Waits until it was looked at so many times more.
fn more_looks(gateway: &Gateway, many: usize) {
    let enough = gateway.looks() + many;
    eventually("it was looked at", || (gateway.looks() >= enough).then_some(()));
}

#[test]
fn a_session_that_drops_is_brought_back_by_the_call_that_fits_and_told_of_once() {
    for (kind, call) in [(Kind::Wasender, "connect"), (Kind::Waha, "restart"), (Kind::Evolution, "connect")] {
        let (shop, ops) = (Gateway::start(kind), ops());
        let server = serve(&ops, &shop.config(OFTEN));
        wait_for(&server, "condition", "up");
        shop.drop_session();
        eventually("it is connected again", || shop.is_connected().then_some(()));
        let row = eventually("its alert is over", || {
            Some(gateway(&server))
                .filter(|row| row["condition"] == "up" && row["alert"].is_null() && shop.calls().len() == 1)
        });
        assert_eq!(row["state"], kind.words()[0]);
        assert_eq!(shop.calls(), [call], "{kind:?}");
        eventually("ops is told", || (!ops.asked().is_empty()).then_some(()));
        more_looks(&shop, 5);
        let told = told(&ops);
        assert_eq!(told.len(), 1, "{told:?}");
        let (event, data) = &told[0];
        assert_eq!(event, "gateway.down");
        assert_eq!(
            (&data["name"], &data["kind"], &data["state"]),
            (&json!("shop"), &json!(kind.name()), &json!(kind.words()[1]))
        );
        let shown = server.row(&["gateways", "show", "shop"]);
        let history = shown["history"].as_array().unwrap();
        assert!(history.iter().any(|line| line["did"] == call), "{history:?}");
        assert_eq!(history[0]["note"], "well again");
    }
}

#[test]
fn a_session_that_starts_for_ever_is_told_of_and_no_code_is_taken_away_for_ever() {
    for kind in KINDS {
        let (shop, ops) = (Gateway::start(kind), ops());
        let server = serve(&ops, &shop.config(OFTEN));
        wait_for(&server, "condition", "up");
        shop.stick();
        wait_for(&server, "alert", "down");
        eventually("ops is told", || (kinds_told(&ops) == ["gateway.down"]).then_some(()));
        let hints = server.row(&["status"])["hints"].to_string();
        assert!(hints.contains("a code may wait there to be scanned"), "{hints}");
        if kind == Kind::Evolution {
            wait_for(&server, "condition", "needs_person");
            let calls = shop.calls();
            more_looks(&shop, 50);
            assert_eq!((calls.len(), shop.calls().len()), (3, 3), "each would replace the code");
            eventually("ops is told", || (kinds_told(&ops).len() == 2).then_some(()));
            assert_eq!(kinds_told(&ops)[1], "gateway.needs_person");
        }
        shop.scan();
        eventually("it is well again", || {
            Some(gateway(&server)).filter(|row| row["condition"] == "up" && row["alert"].is_null())
        });
    }
}

#[test]
fn a_stopped_waha_session_is_started() {
    let (shop, ops) = (Gateway::start(Kind::Waha), ops());
    let server = serve(&ops, &shop.config(OFTEN));
    shop.drop_session();
    shop.say("STOPPED");
    eventually("it is connected again", || shop.is_connected().then_some(()));
    assert_eq!(shop.calls().last().unwrap(), "start");
    wait_for(&server, "condition", "up");
}

#[test]
fn where_somebody_must_scan_a_code_one_alert_goes_out_and_nothing_is_hammered() {
    for kind in KINDS {
        let (shop, ops) = (Gateway::start(kind), ops());
        let mut server = serve(&ops, &shop.config(OFTEN));
        wait_for(&server, "condition", "up");
        shop.forget();
        wait_for(&server, "condition", "needs_person");
        eventually("ops is told", || kinds_told(&ops).contains(&"gateway.needs_person".to_owned()).then_some(()));
        // What it says of itself while the code waits, and after it has run out.
        shop.say(kind.words()[1]);
        more_looks(&shop, 20);
        assert_eq!(shop.calls().len(), 1, "{kind:?}: {:?}", shop.calls());
        assert_eq!(kinds_told(&ops), ["gateway.down", "gateway.needs_person"]);
        let hints = server.row(&["status"])["hints"].to_string();
        assert!(hints.contains("gateway shop is ") && hints.contains("gateways restart shop"), "{hints}");

        // A new start of ours tells nobody again, and leaves it alone as well.
        server.stop();
        let rows = server.rows(&["gateways", "list"]);
        assert_eq!(rows[0]["condition"], "needs_person", "a stopped server's file says it too");
        assert_eq!(server.cli(&["gateways", "restart", "shop"]).code, 4);
        server.start_again();
        more_looks(&shop, 10);
        assert_eq!((shop.calls().len(), ops.asked().len()), (1, 2));

        // Somebody asks for a new code, and scans it.
        let called = server.row(&["gateways", "restart", "shop"]);
        assert_eq!(
            (&called["call"], shop.calls().len()),
            (&json!(if kind == Kind::Waha { "restart" } else { "connect" }), 2)
        );
        shop.scan();
        eventually("it is well again", || Some(gateway(&server)).filter(|row| row["alert"].is_null()));
        assert_eq!(ops.asked().len(), 2, "its end is quiet");
    }
}

#[test]
fn a_session_that_is_connected_and_silent_is_restarted_and_what_comes_keeps_it_in_peace() {
    let (shop, ops) = (Gateway::start(Kind::Waha), ops());
    let server = serve(&ops, &shop.config("check = \"100ms\"\nsilent_after = \"500ms\""));
    eventually("it is restarted", || (shop.calls() == ["restart"]).then_some(()));
    assert!(ops.asked().is_empty(), "the first time may be a quiet day");
    eventually("it is restarted again", || (shop.calls().len() == 2).then_some(()));
    eventually("ops is told", || (!ops.asked().is_empty()).then_some(()));
    assert_eq!(told(&ops)[0].0, "gateway.down");
    assert_eq!(shop.send(&server, &shop.message("M1", false, "hello")).status, 200);
    let row = eventually("it is well again", || {
        Some(gateway(&server)).filter(|row| row["alert"].is_null() && row["silences"] == 0)
    });
    assert!(row["last_event_at"].is_string(), "{row}");
}

#[test]
fn one_that_says_it_is_connected_and_refuses_a_restart_is_connected() {
    for kind in [Kind::Wasender, Kind::Evolution] {
        let (shop, ops) = (Gateway::start(kind), ops());
        let _server = serve(&ops, &shop.config("check = \"100ms\"\nsilent_after = \"500ms\""));
        shop.lie();
        eventually("it is connected again", || shop.is_connected().then_some(()));
        assert_eq!(shop.calls()[..2], ["restart", "connect"], "a 200 was no yes: {kind:?}");
    }
}

#[test]
fn what_its_webhook_says_of_the_session_counts_at_once() {
    for kind in KINDS {
        let (shop, ops) = (Gateway::start(kind), ops());
        let server = serve(&ops, &shop.config("check = \"1h\""));
        wait_for(&server, "condition", "up");
        shop.drop_session();
        // Upper case or lower, whoever writes it.
        let word = kind.words()[1];
        let word = if kind == Kind::Waha { word.to_lowercase() } else { word.to_uppercase() };
        assert_eq!(shop.send(&server, &shop.status(&word)).status, 200);
        eventually("it is connected again", || shop.is_connected().then_some(()));
    }
}

#[test]
fn a_gateway_that_refuses_our_key_needs_somebody_and_one_that_is_gone_is_down() {
    let (shop, ops) = (Gateway::start(Kind::Evolution), ops());
    let config = shop.config(OFTEN);
    let server = serve(&ops, &config.replace(KEY, "wrong"));
    let row = wait_for(&server, "condition", "refused");
    assert!(row["advice"].as_str().unwrap().contains("check the keys"), "{row}");
    eventually("ops is told", || (kinds_told(&ops) == ["gateway.needs_person"]).then_some(()));
    assert!(shop.calls().is_empty());

    // With the right key, by a reload, it is well.
    configure(&server, &ops, &config);
    let changed = server.row(&["reload"])["changed"].to_string();
    assert!(changed.contains("gateways.shop changed"), "{changed}");
    wait_for(&server, "condition", "up");

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = Gateway::start(Kind::Evolution).config(OFTEN);
    let url = gone.lines().find(|line| line.starts_with("url")).unwrap().to_owned();
    configure(&server, &ops, &gone.replace(&url, &format!("url = \"http://{nobody}\"")));
    server.row(&["reload"]);
    wait_for(&server, "condition", "unreachable");
    let said = server.cli(&["gateways", "restart", "shop"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("nothing was called"), "{}", said.err);
    let counted = crate::support::get(server.admin_address(), "/metrics");
    assert!(counted.text().contains("flowgate_gateway_up{gateway=\"shop\"} 0"), "{}", counted.text());

    configure(&server, &ops, "");
    server.row(&["reload"]);
    assert!(server.rows(&["gateways", "list"]).is_empty());
    // It is no longer down, as an alert rule would find it for ever.
    eventually("its figure is gone", || {
        let counted = crate::support::get(server.admin_address(), "/metrics");
        (!counted.text().contains("flowgate_gateway_up{gateway=\"shop\"} 0")).then_some(())
    });
    assert_eq!(server.cli(&["gateways", "show", "shop"]).code, 3);
    assert_eq!(server.cli(&["gateways", "restart", "shop"]).code, 3);
}
