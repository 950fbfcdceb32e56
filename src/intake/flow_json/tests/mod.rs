//! Tests the flow of `examples/clinic`, which has no findings, with one change at a time.

mod data;
mod tokens;

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::config::Config;

const FLOW_JSON: &str = include_str!("../../../../examples/clinic/flow.json");
const CONFIG: &str = include_str!("../../../../examples/clinic/config.toml");

fn flow(config: &str) -> Arc<Flow> {
    Config::parse(Path::new("config.toml"), config)
        .unwrap()
        .flows
        .into_values()
        .next()
        .unwrap()
}

/// Returns the findings, one line each: `error routing_model: is missing…`.
fn findings(flow_json: &Value, flow: &Flow) -> Vec<String> {
    let findings = check(&flow_json.to_string(), flow).unwrap();
    let line = |finding: LintFinding| {
        let severity = if finding.severity == LintSeverity::Error {
            "error"
        } else {
            "warning"
        };
        format!("{severity} {}: {}", finding.location, finding.message)
    };
    findings.into_iter().map(line).collect()
}

/// Returns the findings after a change of the Flow JSON.
fn findings_after_change(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut flow_json = serde_json::from_str(FLOW_JSON).unwrap();
    change(&mut flow_json);
    findings(&flow_json, &flow(CONFIG))
}

/// Returns the findings after a value was set in the Flow JSON. Null removes the value.
fn findings_with(pointer: &str, value: Value) -> Vec<String> {
    findings_after_change(|flow_json| {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = flow_json.pointer_mut(parent).unwrap();
        match (parent, value) {
            (Value::Object(fields), Value::Null) => assert!(fields.remove(name).is_some()),
            (Value::Object(fields), value) => {
                assert_ne!(fields.insert(name.to_owned(), value.clone()), Some(value));
            }
            (Value::Array(items), value) => items[name.parse::<usize>().unwrap()] = value,
            (other, _) => panic!("{other}"),
        }
    })
}

/// Returns the findings after a change of the config.
fn findings_with_config(from: &str, to: &str) -> Vec<String> {
    assert_eq!(CONFIG.matches(from).count(), 1, "{from}");
    findings(
        &serde_json::from_str(FLOW_JSON).unwrap(),
        &flow(&CONFIG.replace(from, to)),
    )
}

/// Asserts that the findings are exactly `expected`. Each expected text is the beginning of a
/// finding and, after `…`, a later part of it.
#[track_caller]
fn assert_findings(findings: &[String], expected: &[&str]) {
    assert_findings_of("the flow", findings, expected);
}

/// Asserts findings as [`assert_findings`]. A failure names the `case`.
#[track_caller]
fn assert_findings_of(case: &str, findings: &[String], expected: &[&str]) {
    let fits = |(line, expected): (&String, &&str)| match expected.split_once('…') {
        Some((head, rest)) => line.starts_with(head) && line.contains(rest),
        None => line == expected,
    };
    assert!(
        findings.len() == expected.len() && findings.iter().zip(expected).all(fits),
        "{case}: {findings:#?}\nis not {expected:#?}"
    );
}

/// Asserts the findings after one change of the Flow JSON. A change is `POINTER = VALUE`, with a
/// JSON value. Null removes the value.
#[track_caller]
fn assert_change(change: &str, expected: &[&str]) {
    let (pointer, value) = change.split_once(" = ").unwrap();
    let found = findings_with(pointer, serde_json::from_str(value).unwrap());
    assert_findings_of(change, &found, expected);
}

/// Asserts the findings of a table. Each line is one change, followed by its findings after ` | `.
#[track_caller]
fn assert_changes(table: &str) {
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut parts = line.split(" | ");
        let change = parts.next().unwrap();
        assert_change(change, &parts.collect::<Vec<_>>());
    }
}

#[test]
fn clinic_example_has_no_findings() {
    assert_findings(&findings_after_change(|_| ()), &[]);
}

#[test]
fn non_json_text_is_an_error() {
    let flow = flow(CONFIG);
    assert!(matches!(check("{", &flow), Err(FlowJsonError::NotJson(_))));
    assert!(matches!(
        check("[]", &flow),
        Err(FlowJsonError::NotAnObject)
    ));
    assert_changes(
        "/screens = null | error screens: is missing or empty…Export it
         /screens = [] | error screens: is missing or empty…Export it",
    );
}

#[test]
fn version_and_endpoint_are_checked() {
    assert_changes(
        r#"
        /version = null | error version: …"7.1"
        /data_api_version = null | error data_api_version: is missing…"3.0"
        /data_api_version = 3.0 | error data_api_version: must be "3.0" or "4.0"
        /data_api_version = "4.0" | error data_api_version: …needs Flow JSON 7.3
        /data_channel_uri = "https://forms.example.com" | error data_channel_uri: is not allowed…`endpoint_uri`
        "#,
    );
    let newer = findings_after_change(|flow_json| {
        flow_json["data_api_version"] = json!("4.0");
        flow_json["version"] = json!("7.3");
    });
    assert_findings(&newer, &[]);
    let plain = CONFIG
        .replace("\"required\" ", "\"none\" ")
        .replace("private_keys", "# private_keys");
    let plain = findings(&serde_json::from_str(FLOW_JSON).unwrap(), &flow(&plain));
    assert_findings(
        &plain,
        &["error data_api_version: is set…`encryption = \"required\"`"],
    );
}

#[test]
fn routing_model_matches_config() {
    assert_changes(
        r#"
        /routing_model = null | error routing_model: …{"SERVICE":["APPOINTMENT"],"APPOINTMENT":["DETAILS"],"DETAILS":[]}
        /routing_model = [] | error routing_model: must be an object…
        /routing_model/APPOINTMENT = "DETAILS" | error routing_model.APPOINTMENT: must be a list… | error routing_model.APPOINTMENT: lacks "DETAILS"…
        /routing_model/DETAILS = ["END"] | error routing_model.DETAILS: names "END"…
        /routing_model/END = [] | error routing_model.END: is a route from a screen…
        /routing_model/DETAILS = ["DETAILS"] | error routing_model.DETAILS: …itself
        /routing_model/DETAILS = ["APPOINTMENT"] | error routing_model.DETAILS: …backwards
        /routing_model/DETAILS = ["SERVICE"] | error routing_model.DETAILS: leads to SERVICE, the first screen of the flow…
        "#,
    );
    let next = "name = \"SERVICE\"\nnext = { field = \"service\", cases = { pain = \"DETAILS\" }, default = \"APPOINTMENT\" }";
    let by_field = findings_with_config("name = \"SERVICE\"", next);
    assert_findings(
        &by_field,
        &["error routing_model.SERVICE: lacks \"DETAILS\", a next screen in the config…"],
    );
    // The route exists in the only allowed direction, and both screens can follow each other.
    let turned = findings_after_change(|flow_json| {
        flow_json["routing_model"] =
            json!({"SERVICE": ["APPOINTMENT", "DETAILS"], "DETAILS": ["APPOINTMENT"]});
    });
    assert_findings(&turned, &[]);
}

#[test]
fn unreachable_screen_is_error_only_when_disconnected() {
    let more = |from: &'static str, to: Value| {
        findings_after_change(move |flow_json| {
            let screen = json!({"id": "HELP", "title": "Help", "layout": {"type": "SingleColumnLayout", "children": []}});
            flow_json["screens"].as_array_mut().unwrap().push(screen);
            flow_json["routing_model"][from] = to;
        })
    };
    let fine = "warning screens[3].HELP: the config does not declare this screen…";
    let alone = "error screens[3].HELP: no route leads here from SERVICE…";
    let unreachable = "warning screens[3].HELP: can't be reached from SERVICE…";
    assert_findings(&more("HELP", json!([])), &[alone, fine]);
    assert_findings(&more("HELP", json!(["APPOINTMENT"])), &[unreachable, fine]);
    assert_findings(&more("SERVICE", json!(["APPOINTMENT", "HELP"])), &[fine]);
}

#[test]
fn return_to_slot_screen_needs_route() {
    let screens = "\n[[flows.clinic.screens]]\nname = \"CONFIRM\"\n[[flows.clinic.screens]]\nname = \"END\"\nfinal = true\n[calendars.visits]";
    let config = CONFIG
        .replace("final = true   ", "")
        .replace("[calendars.visits]", screens);
    let mut flow_json: Value = serde_json::from_str(FLOW_JSON).unwrap();
    for (id, terminal) in [("CONFIRM", false), ("END", true)] {
        let payload = json!({"slot": "${screen.APPOINTMENT.form.slot}"});
        let footer = json!({"type": "Footer", "on-click-action": {"name": "data_exchange", "payload": payload}});
        let screen =
            json!({"id": id, "title": id, "terminal": terminal, "layout": {"children": [footer]}});
        flow_json["screens"].as_array_mut().unwrap().push(screen);
    }
    flow_json["screens"][2]["terminal"] = json!(false);
    flow_json["routing_model"] = json!({"SERVICE": ["APPOINTMENT"], "APPOINTMENT": ["DETAILS"], "DETAILS": ["CONFIRM"], "CONFIRM": ["END"]});
    assert_findings(
        &findings(&flow_json, &flow(&config)),
        &["error routing_model.APPOINTMENT: lacks \"END\": if the slot is no longer free…"],
    );
    flow_json["routing_model"]["APPOINTMENT"] = json!(["DETAILS", "END"]);
    assert_findings(&findings(&flow_json, &flow(&config)), &[]);
}

#[test]
fn screens_must_match_config() {
    let renamed = findings_after_change(|flow_json| {
        flow_json["screens"][1]["id"] = json!("Appointment");
        flow_json["routing_model"] =
            json!({"SERVICE": ["Appointment"], "Appointment": ["DETAILS"]});
    });
    assert_findings(
        &renamed,
        &[
            "error screens: \"APPOINTMENT\" of the config is missing…",
            "error screens[1].Appointment.layout.children[1].on-select-action: sends a request to flowgate, but the config has no screen \"Appointment\"…",
        ],
    );
    for (id, expected) in [
        (Value::Null, "error screens[0]: has no `id`…"),
        (
            json!("APPOINTMENT"),
            "error screens[1]: its id is \"APPOINTMENT\", which another…",
        ),
        (
            json!("SUCCESS"),
            "error screens[0]: its id is \"SUCCESS\", which Meta…",
        ),
    ] {
        assert_findings(&findings_with("/screens/0/id", id)[..1], &[expected]);
    }
}

#[test]
fn flow_without_screens_accepts_any() {
    let (head, rest) = CONFIG.split_once("[[flows.clinic.screens]]").unwrap();
    let (_, calendar) = rest.split_once("[calendars.visits]").unwrap();
    let any = flow(&format!("{head}[calendars.visits]{calendar}"));
    let findings = findings(&serde_json::from_str(FLOW_JSON).unwrap(), &any);
    assert_findings(
        &findings,
        &[
            "warning screens: the config declares no screens for this flow…",
            "error screens[1].APPOINTMENT.layout.children[1].on-select-action: completes the form at the first selection…`refresh_on`",
        ],
    );
}

#[test]
fn final_screen_must_match_and_use_data_exchange() {
    assert_changes(
        r#"
        /screens/2/terminal = null | error screens[2].DETAILS.terminal: …`final = true`
        /screens/1/terminal = true | error screens[1].APPOINTMENT.terminal: is true…is not final in the config
        /screens/2/layout/children/4/on-click-action/name = "complete" | warning screens[2].DETAILS.layout.children[4].on-click-action: …only by Meta's webhook
        /screens/2/layout/children/4 = {"type": "TextBody", "text": "End"} | error screens[2].DETAILS: nothing here sends the form…`data_exchange`
        /screens/0/layout/children/3/on-click-action = {"name": "navigate", "next": {"type": "screen", "name": "APPOINTMENT"}, "payload": {}} | warning screens[0].SERVICE: nothing here sends a request to flowgate…
        /screens/2/refresh_on_back = true | warning screens[2].DETAILS.refresh_on_back: …which shows APPOINTMENT again
        "#,
    );
}

#[test]
fn required_fields_must_be_sent() {
    assert_changes(
        r#"
        /screens/2/layout/children/4/on-click-action/payload = {"e-mail": "${form.email}", "slot": "x"} | error screens[2].DETAILS.layout.children[4].on-click-action.payload: lacks "name"…"name": "${form.name}" | warning screens[2].DETAILS.layout.children[4].on-click-action.payload: sends "e-mail", which the config does not declare…
        /screens/2/layout/children/4/on-click-action/payload = {"name": "${form.name}", "slot": "x", "error": "${form.email}"} | warning screens[2].DETAILS.layout.children[4].on-click-action.payload: sends "error", a field name of Meta's error…a request with this field alone would be handled as an error notification, not as a form
        "#,
    );
    // Fields that a refresh sends do not count: the button submits the screen.
    assert_change(
        r#"/screens/1/layout/children/3/on-click-action/payload = {"slot": "${form.slot}"}"#,
        &[
            "error screens[1].APPOINTMENT.layout.children[3].on-click-action.payload: lacks \"day\"…",
        ],
    );
    let no_slot = findings_after_change(|flow_json| {
        for action in [
            "1/layout/children/1/on-select-action",
            "1/layout/children/3/on-click-action",
            "2/layout/children/4/on-click-action",
        ] {
            let action = flow_json.pointer_mut(&format!("/screens/{action}"));
            action.unwrap()["payload"] = json!({});
        }
    });
    assert!(no_slot.contains(
        &"error screens: no payload sends \"slot\", nor \"day\", which the booking of the flow needs".to_owned()
    ));
}

#[test]
fn reserved_field_names_are_reported() {
    let findings_of_flow = |flow: &str| {
        let payload = json!({"error_message": "${form.note}"});
        let click = json!({"name": "data_exchange", "payload": payload});
        let children = json!([{"type": "Footer", "label": "Send", "on-click-action": click}]);
        let screen = json!({"id": "A", "terminal": true, "layout": {"type": "SingleColumnLayout", "children": children}});
        let flow_json = json!({"version": "7.0", "data_api_version": "3.0", "routing_model": {"A": []}, "screens": [screen]});
        let config = format!("[flows.home]\n{flow}");
        findings(&flow_json, &self::flow(&config))
            .into_iter()
            .filter(|line| line.contains("sends"))
            .collect::<Vec<_>>()
    };
    let encrypted = "encryption = \"required\"\nprivate_keys = [\"file:key.pem\"]\n";
    let location = "screens[0].A.layout.children[0].on-click-action.payload";
    let lost = format!(
        "error {location}: sends \"error_message\", a field name of Meta's error…and no form is stored"
    );
    assert_findings(&findings_of_flow(encrypted), &[&lost]);
    let screen = "screens = [{ name = \"A\", final = true }]";
    assert_findings(&findings_of_flow(&format!("{encrypted}{screen}")), &[&lost]);
    let declared = "screens = [{ name = \"A\", final = true, fields = { error_message = { type = \"text\" } } }]";
    let accepted = format!(
        "warning {location}: sends \"error_message\", a field name of Meta's error…stored as a form"
    );
    assert_findings(
        &findings_of_flow(&format!("{encrypted}{declared}")),
        &[&accepted],
    );
    assert_findings(&findings_of_flow(declared), &[]);
}
