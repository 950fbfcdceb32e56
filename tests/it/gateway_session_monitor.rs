//! Tests sessions of unofficial gateways that disconnect, report a wrong state, fall silent or need
//! a person.

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, KEY, KINDS, Kind};
use crate::support::upstream::{Behavior, ScriptedServer};
use crate::support::{Server, eventually};

/// Probe interval of 0.1 s.
const FREQUENT_CHECK: &str = "probe_interval = \"100ms\"";

/// Starts a server that sends alerts to `ops`.
fn serve(ops: &ScriptedServer, tables: &str) -> Server {
    let mut server = Server::stopped("");
    configure(&server, ops, tables);
    server.start_again();
    server
}

fn configure(server: &Server, ops: &ScriptedServer, tables: &str) {
    let ops = format!(
        "\n[destinations.ops]\nurl = \"{}\"\nallow_private = true\n",
        ops.url()
    );
    server.configure(&format!("{ops}{tables}"));
    let file = server.folder().join("config.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("alerts = [\"ops\"]\n{config}")).unwrap();
}

fn ops() -> ScriptedServer {
    ScriptedServer::start(|_| Behavior::show(&json!({})))
}

/// Returns the alerts that `ops` received, without their times.
fn alerts(ops: &ScriptedServer) -> Vec<(String, Value)> {
    let bodies = ops.asked().into_iter().map(|asked| asked.json());
    bodies
        .map(|body| {
            (
                body["type"].as_str().unwrap().to_owned(),
                body["data"]["gateway"].clone(),
            )
        })
        .collect()
}

fn alert_kinds(ops: &ScriptedServer) -> Vec<String> {
    alerts(ops).into_iter().map(|(kind, _)| kind).collect()
}

fn gateway(server: &Server) -> Value {
    server
        .rows(&["gateways", "list"])
        .into_iter()
        .next()
        .unwrap_or_default()
}

fn wait_for(server: &Server, field: &str, value: &str) -> Value {
    eventually(&format!("gateway shop has {field} {value}"), || {
        Some(gateway(server)).filter(|gateway| gateway[field] == value)
    })
}

/// Waits for this number of further probes.
fn wait_for_probes(gateway: &Gateway, many: usize) {
    let enough = gateway.looks() + many;
    eventually("it was looked at", || {
        (gateway.looks() >= enough).then_some(())
    });
}

#[test]
fn dropped_session_is_reconnected_with_one_alert() {
    for (kind, call) in [
        (Kind::Wasender, "connect"),
        (Kind::Waha, "restart"),
        (Kind::Evolution, "connect"),
    ] {
        let (shop, ops) = (Gateway::start(kind), ops());
        let server = serve(&ops, &shop.config(FREQUENT_CHECK));
        wait_for(&server, "health", "up");
        shop.drop_session();
        eventually("it is connected again", || {
            shop.is_connected().then_some(())
        });
        let row = eventually("its alert is over", || {
            Some(gateway(&server)).filter(|row| {
                row["health"] == "up" && row["alert"].is_null() && shop.calls().len() == 1
            })
        });
        assert_eq!(row["state"], kind.words()[0]);
        assert_eq!(shop.calls(), [call], "{kind:?}");
        eventually("ops is told", || (!ops.asked().is_empty()).then_some(()));
        wait_for_probes(&shop, 5);
        let alerts = alerts(&ops);
        assert_eq!(alerts.len(), 1, "{alerts:?}");
        let (event, data) = &alerts[0];
        assert_eq!(event, "gateway.down");
        assert_eq!(
            (&data["name"], &data["kind"], &data["state"]),
            (&json!("shop"), &json!(kind.name()), &json!(kind.words()[1]))
        );
        let shown = server.row(&["gateways", "show", "shop"]);
        let history = shown["history"].as_array().unwrap();
        assert!(
            history.iter().any(|line| line["action"] == call),
            "{history:?}"
        );
        assert_eq!(history[0]["detail"], "recovered");
    }
}

#[test]
fn stuck_session_sends_alert_and_preserves_code() {
    for kind in KINDS {
        let (shop, ops) = (Gateway::start(kind), ops());
        let server = serve(&ops, &shop.config(FREQUENT_CHECK));
        wait_for(&server, "health", "up");
        shop.stick_in_starting_state();
        wait_for(&server, "alert", "down");
        eventually("ops is told", || {
            (alert_kinds(&ops) == ["gateway.down"]).then_some(())
        });
        let hints = server.row(&["status"])["warnings"].to_string();
        assert!(hints.contains("a code may have to be scanned"), "{hints}");
        if kind == Kind::Evolution {
            wait_for(&server, "health", "needs_person");
            let calls = shop.calls();
            wait_for_probes(&shop, 50);
            assert_eq!(
                (calls.len(), shop.calls().len()),
                (3, 3),
                "each would replace the code"
            );
            eventually("ops is told", || {
                (alert_kinds(&ops).len() == 2).then_some(())
            });
            assert_eq!(alert_kinds(&ops)[1], "gateway.needs_person");
        }
        shop.scan();
        eventually("it is well again", || {
            Some(gateway(&server)).filter(|row| row["health"] == "up" && row["alert"].is_null())
        });
    }
}

#[test]
fn stopped_waha_session_is_started() {
    let (shop, ops) = (Gateway::start(Kind::Waha), ops());
    let server = serve(&ops, &shop.config(FREQUENT_CHECK));
    shop.drop_session();
    shop.reply_with("STOPPED");
    eventually("it is connected again", || {
        shop.is_connected().then_some(())
    });
    assert_eq!(shop.calls().last().unwrap(), "start");
    wait_for(&server, "health", "up");
}

#[test]
fn session_that_needs_scan_gets_one_recovery_action() {
    for kind in KINDS {
        let (shop, ops) = (Gateway::start(kind), ops());
        let mut server = serve(&ops, &shop.config(FREQUENT_CHECK));
        wait_for(&server, "health", "up");
        shop.unpair();
        wait_for(&server, "health", "needs_person");
        eventually("ops is told", || {
            alert_kinds(&ops)
                .contains(&"gateway.needs_person".to_owned())
                .then_some(())
        });
        // The session reports this state while the code waits, and after the code has expired.
        shop.reply_with(kind.words()[1]);
        wait_for_probes(&shop, 20);
        assert_eq!(shop.calls().len(), 1, "{kind:?}: {:?}", shop.calls());
        assert_eq!(alert_kinds(&ops), ["gateway.down", "gateway.needs_person"]);
        let hints = server.row(&["status"])["warnings"].to_string();
        assert!(
            hints.contains("gateway shop is ") && hints.contains("gateways restart shop"),
            "{hints}"
        );

        // A restart of the server sends no new alert and makes no recovery call.
        server.stop();
        let rows = server.rows(&["gateways", "list"]);
        assert_eq!(
            rows[0]["health"], "needs_person",
            "a stopped server's file says it too"
        );
        assert_eq!(server.cli(&["gateways", "restart", "shop"]).code, 4);
        server.start_again();
        wait_for_probes(&shop, 10);
        assert_eq!((shop.calls().len(), ops.asked().len()), (1, 2));

        // An admin requests a new code and scans it.
        let called = server.row(&["gateways", "restart", "shop"]);
        assert_eq!(
            (&called["action"], shop.calls().len()),
            (
                &json!(if kind == Kind::Waha {
                    "restart"
                } else {
                    "connect"
                }),
                2
            )
        );
        shop.scan();
        eventually("it is well again", || {
            Some(gateway(&server)).filter(|row| row["alert"].is_null())
        });
        assert_eq!(ops.asked().len(), 2, "its end is quiet");
    }
}

#[test]
fn silent_session_is_restarted_until_messages_arrive() {
    let (shop, ops) = (Gateway::start(Kind::Waha), ops());
    let server = serve(
        &ops,
        &shop.config("probe_interval = \"100ms\"\ninactivity_timeout = \"500ms\""),
    );
    eventually("it is restarted", || {
        (shop.calls() == ["restart"]).then_some(())
    });
    assert!(ops.asked().is_empty(), "the first time may be a quiet day");
    eventually("it is restarted again", || {
        (shop.calls().len() == 2).then_some(())
    });
    eventually("ops is told", || (!ops.asked().is_empty()).then_some(()));
    assert_eq!(alerts(&ops)[0].0, "gateway.down");
    assert_eq!(
        shop.send(&server, &shop.message("M1", false, "hello"))
            .status,
        200
    );
    let row = eventually("it is well again", || {
        Some(gateway(&server)).filter(|row| row["alert"].is_null() && row["silences"] == 0)
    });
    assert!(row["last_event_at"].is_string(), "{row}");
}

#[test]
fn falsely_connected_session_is_reconnected_after_refused_restart() {
    for kind in [Kind::Wasender, Kind::Evolution] {
        let (shop, ops) = (Gateway::start(kind), ops());
        let _server = serve(
            &ops,
            &shop.config("probe_interval = \"100ms\"\ninactivity_timeout = \"500ms\""),
        );
        shop.disconnect_silently();
        eventually("it is connected again", || {
            shop.is_connected().then_some(())
        });
        assert_eq!(
            shop.calls()[..2],
            ["restart", "connect"],
            "a 200 was no yes: {kind:?}"
        );
    }
}

#[test]
fn session_state_webhook_takes_effect_at_once() {
    for kind in KINDS {
        let (shop, ops) = (Gateway::start(kind), ops());
        let server = serve(&ops, &shop.config("probe_interval = \"1h\""));
        wait_for(&server, "health", "up");
        shop.drop_session();
        // Upper case and lower case count equally.
        let word = kind.words()[1];
        let word = if kind == Kind::Waha {
            word.to_lowercase()
        } else {
            word.to_uppercase()
        };
        assert_eq!(shop.send(&server, &shop.status(&word)).status, 200);
        eventually("it is connected again", || {
            shop.is_connected().then_some(())
        });
    }
}

#[test]
fn refused_key_and_unreachable_gateway_are_distinguished() {
    let (shop, ops) = (Gateway::start(Kind::Evolution), ops());
    let config = shop.config(FREQUENT_CHECK);
    let server = serve(&ops, &config.replace(KEY, "wrong"));
    let row = wait_for(&server, "health", "refused");
    assert!(
        row["suggestion"]
            .as_str()
            .unwrap()
            .contains("check the keys"),
        "{row}"
    );
    eventually("ops is told", || {
        (alert_kinds(&ops) == ["gateway.needs_person"]).then_some(())
    });
    assert!(shop.calls().is_empty());

    // After a reload with the right key, the gateway is up.
    configure(&server, &ops, &config);
    let changed = server.row(&["reload"])["changed"].to_string();
    assert!(changed.contains("gateways.shop changed"), "{changed}");
    wait_for(&server, "health", "up");

    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let gone = Gateway::start(Kind::Evolution).config(FREQUENT_CHECK);
    let url = gone
        .lines()
        .find(|line| line.starts_with("url"))
        .unwrap()
        .to_owned();
    configure(
        &server,
        &ops,
        &gone.replace(&url, &format!("url = \"http://{nobody}\"")),
    );
    server.row(&["reload"]);
    wait_for(&server, "health", "unreachable");
    let output = server.cli(&["gateways", "restart", "shop"]);
    assert_eq!(output.code, 1);
    assert!(output.err.contains("no action was taken"), "{}", output.err);
    let counted = crate::support::get(server.admin_address(), "/metrics");
    assert!(
        counted
            .text()
            .contains("flowgate_gateway_up{gateway=\"shop\"} 0"),
        "{}",
        counted.text()
    );

    configure(&server, &ops, "");
    server.row(&["reload"]);
    assert!(server.rows(&["gateways", "list"]).is_empty());
    // The metric is removed. Without this, an alert rule would report the gateway as down forever.
    eventually("its figure is gone", || {
        let counted = crate::support::get(server.admin_address(), "/metrics");
        (!counted
            .text()
            .contains("flowgate_gateway_up{gateway=\"shop\"} 0"))
        .then_some(())
    });
    assert_eq!(server.cli(&["gateways", "show", "shop"]).code, 3);
    assert_eq!(server.cli(&["gateways", "restart", "shop"]).code, 3);
}
