//! The clinic of `examples/`, which fits, changed in one place at a time.

mod given;
mod tokens;

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::config::Config;

const FLOW_JSON: &str = include_str!("../../../examples/clinic/flow.json");
const CONFIG: &str = include_str!("../../../examples/clinic/config.toml");

fn flow(config: &str) -> Arc<Flow> {
    Config::parse(Path::new("config.toml"), config).unwrap().flows.into_values().next().unwrap()
}

/// The findings, a line each: `error routing_model: is missing…`.
fn said(flow_json: &Value, flow: &Flow) -> Vec<String> {
    let findings = check(&flow_json.to_string(), flow).unwrap();
    let line = |finding: Finding| {
        let severity = if finding.severity == Severity::Error { "error" } else { "note" };
        format!("{severity} {}: {}", finding.place, finding.what)
    };
    findings.into_iter().map(line).collect()
}

/// What is said after the Flow JSON was changed.
fn changed(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut flow_json = serde_json::from_str(FLOW_JSON).unwrap();
    change(&mut flow_json);
    said(&flow_json, &flow(CONFIG))
}

/// What is said after something was put at a place of the Flow JSON. Null: what was there is gone.
fn with(pointer: &str, value: Value) -> Vec<String> {
    changed(|flow_json| {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = flow_json.pointer_mut(parent).unwrap();
        match (parent, value) {
            (Value::Object(fields), Value::Null) => assert!(fields.remove(name).is_some()),
            (Value::Object(fields), value) => assert_ne!(fields.insert(name.to_owned(), value.clone()), Some(value)),
            (Value::Array(items), value) => items[name.parse::<usize>().unwrap()] = value,
            (other, _) => panic!("{other}"),
        }
    })
}

/// What is said after the config was changed.
fn configured(from: &str, to: &str) -> Vec<String> {
    assert_eq!(CONFIG.matches(from).count(), 1, "{from}");
    said(&serde_json::from_str(FLOW_JSON).unwrap(), &flow(&CONFIG.replace(from, to)))
}

/// Exactly these are said, each beginning so and going on with the words behind the `…`.
#[track_caller]
fn assert_said(said: &[String], expected: &[&str]) {
    let fits = |(line, expected): (&String, &&str)| match expected.split_once('…') {
        Some((head, rest)) => line.starts_with(head) && line.contains(rest),
        None => line == expected,
    };
    assert!(said.len() == expected.len() && said.iter().zip(expected).all(fits), "{said:#?}\nis not {expected:#?}");
}

#[test]
fn the_clinic_fits() {
    assert_said(&changed(|_| ()), &[]);
}

#[test]
fn what_is_no_flow_json_is_told_apart_from_one_that_does_not_fit() {
    let flow = flow(CONFIG);
    assert!(matches!(check("{", &flow), Err(NotFlowJson::NotJson(_))));
    assert!(matches!(check("[]", &flow), Err(NotFlowJson::NotAnObject)));
    for screens in [Value::Null, json!([])] {
        assert_said(&with("/screens", screens), &["error screens: is missing or empty…Export it"]);
    }
}

#[test]
fn versions_and_the_endpoint_are_those_of_an_encrypted_flow() {
    assert_said(&with("/version", Value::Null), &["error version: …\"7.1\""]);
    assert_said(&with("/data_api_version", Value::Null), &["error data_api_version: is missing…\"3.0\""]);
    assert_said(&with("/data_api_version", json!(3.0)), &["error data_api_version: must be \"3.0\" or \"4.0\""]);
    assert_said(&with("/data_api_version", json!("4.0")), &["error data_api_version: …needs Flow JSON 7.3"]);
    let newer = changed(|flow_json| {
        flow_json["data_api_version"] = json!("4.0");
        flow_json["version"] = json!("7.3");
    });
    assert_said(&newer, &[]);
    let uri = json!("https://forms.example.com");
    assert_said(&with("/data_channel_uri", uri), &["error data_channel_uri: is refused…`endpoint_uri`"]);
    let plain = CONFIG.replace("\"required\" ", "\"none\" ").replace("private_keys", "# private_keys");
    let plain = said(&serde_json::from_str(FLOW_JSON).unwrap(), &flow(&plain));
    assert_said(&plain, &["error data_api_version: is there…`encryption = \"required\"`"]);
}

#[test]
fn routes_go_where_the_config_goes() {
    let missing = with("/routing_model", Value::Null);
    assert_said(
        &missing,
        &[r#"error routing_model: …{"SERVICE":["APPOINTMENT"],"APPOINTMENT":["DETAILS"],"DETAILS":[]}"#],
    );
    assert_said(&with("/routing_model", json!([])), &["error routing_model: must be an object…"]);
    assert_said(
        &with("/routing_model/APPOINTMENT", json!("DETAILS")),
        &["error routing_model.APPOINTMENT: must be a list…", "error routing_model.APPOINTMENT: lacks \"DETAILS\"…"],
    );
    assert_said(&with("/routing_model/DETAILS", json!(["END"])), &["error routing_model.DETAILS: names \"END\"…"]);
    assert_said(&with("/routing_model/END", json!([])), &["error routing_model.END: is a route from a screen…"]);
    assert_said(&with("/routing_model/DETAILS", json!(["DETAILS"])), &["error routing_model.DETAILS: …itself"]);
    assert_said(&with("/routing_model/DETAILS", json!(["APPOINTMENT"])), &["error routing_model.DETAILS: …backwards"]);
    assert_said(
        &with("/routing_model/DETAILS", json!(["SERVICE"])),
        &["error routing_model.DETAILS: leads to SERVICE, which the flow opens with…"],
    );
    let next =
        "name = \"SERVICE\"\nnext = { field = \"service\", is = { pain = \"DETAILS\" }, otherwise = \"APPOINTMENT\" }";
    let by_field = configured("name = \"SERVICE\"", next);
    assert_said(&by_field, &["error routing_model.SERVICE: lacks \"DETAILS\", which follows in the config…"]);
    // The route is there, in the one direction that is allowed, and both ends can be shown after each other.
    let turned = changed(|flow_json| {
        flow_json["routing_model"] = json!({"SERVICE": ["APPOINTMENT", "DETAILS"], "DETAILS": ["APPOINTMENT"]});
    });
    assert_said(&turned, &[]);
}

#[test]
fn a_screen_that_cannot_be_reached_is_an_error_only_where_nothing_connects_it() {
    let more = |route: (&'static str, Value)| {
        changed(move |flow_json| {
            let screen =
                json!({"id": "HELP", "title": "Help", "layout": {"type": "SingleColumnLayout", "children": []}});
            flow_json["screens"].as_array_mut().unwrap().push(screen);
            flow_json["routing_model"][route.0] = route.1;
        })
    };
    let fine = "note screens[3].HELP: the config does not have it…";
    assert_said(&more(("HELP", json!([]))), &["error screens[3].HELP: no route leads here from SERVICE…", fine]);
    assert_said(
        &more(("HELP", json!(["APPOINTMENT"]))),
        &["note screens[3].HELP: can't be reached from SERVICE…", fine],
    );
    assert_said(&more(("SERVICE", json!(["APPOINTMENT", "HELP"]))), &[fine]);
}

#[test]
fn a_lost_slot_leads_back_only_along_a_route() {
    let screens = "\n[[flows.clinic.screens]]\nname = \"CONFIRM\"\n[[flows.clinic.screens]]\nname = \"END\"\nfinal = true\n[calendars.visits]";
    let config = CONFIG.replace("final = true   ", "").replace("[calendars.visits]", screens);
    let mut flow_json: Value = serde_json::from_str(FLOW_JSON).unwrap();
    for (id, terminal) in [("CONFIRM", false), ("END", true)] {
        let payload = json!({"slot": "${screen.APPOINTMENT.form.slot}"});
        let footer = json!({"type": "Footer", "on-click-action": {"name": "data_exchange", "payload": payload}});
        let screen = json!({"id": id, "title": id, "terminal": terminal, "layout": {"children": [footer]}});
        flow_json["screens"].as_array_mut().unwrap().push(screen);
    }
    flow_json["screens"][2]["terminal"] = json!(false);
    flow_json["routing_model"] =
        json!({"SERVICE": ["APPOINTMENT"], "APPOINTMENT": ["DETAILS"], "DETAILS": ["CONFIRM"], "CONFIRM": ["END"]});
    assert_said(
        &said(&flow_json, &flow(&config)),
        &["error routing_model.APPOINTMENT: lacks \"END\": a slot that is gone…"],
    );
    flow_json["routing_model"]["APPOINTMENT"] = json!(["DETAILS", "END"]);
    assert_said(&said(&flow_json, &flow(&config)), &[]);
}

#[test]
fn both_sides_have_the_same_screens() {
    let renamed = changed(|flow_json| {
        flow_json["screens"][1]["id"] = json!("Appointment");
        flow_json["routing_model"] = json!({"SERVICE": ["Appointment"], "Appointment": ["DETAILS"]});
    });
    assert_said(
        &renamed,
        &[
            "error screens: \"APPOINTMENT\" of the config is not among them…",
            "error screens[1].Appointment.layout.children[1].on-select-action: asks flowgate, and the config has no screen \"Appointment\"…",
        ],
    );
    assert_said(&with("/screens/0/id", Value::Null)[..1], &["error screens[0]: has no `id`…"]);
    assert_said(
        &with("/screens/0/id", json!("APPOINTMENT"))[..1],
        &["error screens[1]: its id is \"APPOINTMENT\", as another…"],
    );
    assert_said(
        &with("/screens/0/id", json!("SUCCESS"))[..1],
        &["error screens[0]: its id is \"SUCCESS\", which Meta…"],
    );
}

#[test]
fn a_flow_without_declared_screens_takes_any() {
    let (head, rest) = CONFIG.split_once("[[flows.clinic.screens]]").unwrap();
    let (_, calendar) = rest.split_once("[calendars.visits]").unwrap();
    let any = flow(&format!("{head}[calendars.visits]{calendar}"));
    let said = said(&serde_json::from_str(FLOW_JSON).unwrap(), &any);
    assert_said(
        &said,
        &[
            "note screens: the config's flow declares none…",
            "error screens[1].APPOINTMENT.layout.children[1].on-select-action: completes the form as soon as…`select`",
        ],
    );
}

#[test]
fn the_form_ends_on_both_sides_and_through_us() {
    let place = "screens[2].DETAILS.layout.children[4].on-click-action";
    assert_said(&with("/screens/2/terminal", Value::Null), &["error screens[2].DETAILS.terminal: …`final = true`"]);
    assert_said(
        &with("/screens/1/terminal", json!(true)),
        &["error screens[1].APPOINTMENT.terminal: is true…goes on from here"],
    );
    let complete = with("/screens/2/layout/children/4/on-click-action/name", json!("complete"));
    assert_said(&complete, &[&format!("note {place}: …by Meta's webhook alone")]);
    let nothing = with("/screens/2/layout/children/4", json!({"type": "TextBody", "text": "End"}));
    assert_said(&nothing, &["error screens[2].DETAILS: nothing here sends the form…`data_exchange`"]);
    let navigates = json!({"name": "navigate", "next": {"type": "screen", "name": "APPOINTMENT"}, "payload": {}});
    let navigates = with("/screens/0/layout/children/3/on-click-action", navigates);
    assert_said(&navigates, &["note screens[0].SERVICE: nothing here asks flowgate…"]);
    let refreshed = with("/screens/2/refresh_on_back", json!(true));
    assert_said(&refreshed, &["note screens[2].DETAILS.refresh_on_back: …which shows APPOINTMENT anew"]);
}

#[test]
fn every_required_field_is_sent_by_the_button() {
    let payload = "/screens/2/layout/children/4/on-click-action/payload";
    let place = "screens[2].DETAILS.layout.children[4].on-click-action.payload";
    let lacks = with(payload, json!({"e-mail": "${form.email}", "slot": "x"}));
    assert_said(
        &lacks,
        &[
            &format!("error {place}: lacks \"name\"…\"name\": \"${{form.name}}\""),
            &format!("note {place}: sends \"e-mail\", which the config does not know…"),
        ],
    );
    let odd = with(payload, json!({"name": "${form.name}", "slot": "x", "error": "${form.email}"}));
    assert_said(
        &odd,
        &[&format!("note {place}: sends \"error\", as error…without the other fields it is taken for one")],
    );
    // What a choice sends on the way does not help: the button sends the screen.
    let on_select = changed(|flow_json| {
        *flow_json.pointer_mut("/screens/1/layout/children/3/on-click-action/payload").unwrap() =
            json!({"slot": "${form.slot}"});
    });
    let place = "screens[1].APPOINTMENT.layout.children[3].on-click-action.payload";
    assert_said(&on_select, &[&format!("error {place}: lacks \"day\"…")]);
    let no_slot = changed(|flow_json| {
        *flow_json.pointer_mut("/screens/1/layout/children/1/on-select-action/payload").unwrap() = json!({});
        *flow_json.pointer_mut("/screens/1/layout/children/3/on-click-action/payload").unwrap() = json!({});
        *flow_json.pointer_mut(payload).unwrap() = json!({});
    });
    assert!(
        no_slot
            .contains(&"error screens: no payload sends \"slot\", nor \"day\": the flow books a slot by it".to_owned())
    );
}

#[test]
fn a_form_that_looks_like_an_error_notification_is_told() {
    let sends = |flow: &str| {
        let payload = json!({"error_message": "${form.note}"});
        let click = json!({"name": "data_exchange", "payload": payload});
        let children = json!([{"type": "Footer", "label": "Send", "on-click-action": click}]);
        let screen =
            json!({"id": "A", "terminal": true, "layout": {"type": "SingleColumnLayout", "children": children}});
        let flow_json =
            json!({"version": "7.0", "data_api_version": "3.0", "routing_model": {"A": []}, "screens": [screen]});
        let config = format!("[flows.home]\n{flow}");
        said(&flow_json, &self::flow(&config)).into_iter().filter(|line| line.contains("sends")).collect::<Vec<_>>()
    };
    let encrypted = "encryption = \"required\"\nprivate_keys = [\"file:key.pem\"]\n";
    let place = "screens[0].A.layout.children[0].on-click-action.payload";
    let lost = format!("error {place}: sends \"error_message\", as error…and no form comes");
    assert_said(&sends(encrypted), &[&lost]);
    assert_said(&sends(&format!("{encrypted}screens = [{{ name = \"A\", final = true }}]")), &[&lost]);
    let declared = "screens = [{ name = \"A\", final = true, fields = { error_message = { type = \"text\" } } }]";
    assert_said(
        &sends(&format!("{encrypted}{declared}")),
        &[&format!("note {place}: sends \"error_message\", as error…taken for a form")],
    );
    assert_said(&sends(declared), &[]);
}
