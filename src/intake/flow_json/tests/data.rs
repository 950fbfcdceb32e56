//! Tests the data of screens, and refresh requests for such data.

use super::*;

#[test]
fn choice_list_length_is_checked() {
    for component in ["RadioButtonsGroup", "CheckboxGroup", "ChipsSelector"] {
        let location = "error screens[1].APPOINTMENT.layout.children[1].data-source";
        let days = findings_with("/screens/1/layout/children/1/type", json!(component));
        assert_findings(
            &days,
            &[&format!(
                "{location}: a {component} takes 20 choices, and `days` can have 200…`limit = 20`"
            )],
        );
        let times = findings_with("/screens/1/layout/children/2/type", json!(component));
        assert_findings(&times, &[]);
    }
}

#[test]
fn declared_data_must_match_config() {
    let welcome =
        "error screens[0].SERVICE.data: lacks \"welcome\", a text that the config provides…";
    assert_findings(
        &findings_with("/screens/0/data/welcome", Value::Null),
        &[welcome],
    );
    assert_findings(&findings_with("/screens/0/data", Value::Null), &[welcome]);
    assert_findings(
        &findings_with("/screens/0/data", json!([])),
        &["error screens[0].SERVICE.data: must be an object…"],
    );
    let text = json!({"type": "string", "__example__": ""});
    assert_findings(
        &findings_with("/screens/1/data/hint", text.clone()),
        &["error screens[1].APPOINTMENT.data.hint: …`data = { hint = … }`"],
    );
    assert_findings(
        &findings_with("/screens/1/data/error_message", text.clone()),
        &[],
    );
    assert_findings(
        &findings_with("/screens/1/data/required", json!(["days"])),
        &[],
    );
    let handed_on = findings_after_change(|flow_json| {
        flow_json["screens"][1]["data"]["hint"] = text;
        let link = json!({"name": "navigate", "next": {"type": "screen", "name": "APPOINTMENT"}, "payload": {"hint": "x"}});
        let link = json!({"type": "EmbeddedLink", "on-click-action": link});
        flow_json["screens"][0]["layout"]["children"]
            .as_array_mut()
            .unwrap()
            .push(link);
    });
    assert_findings(&handed_on, &[]);
}

#[test]
fn data_types_must_match() {
    let wrong =
        |pointer: &str, schema: Value| findings_with(&format!("/screens/{pointer}"), schema);
    assert_findings(
        &wrong("0/data/welcome/type", json!("number")),
        &["error screens[0].SERVICE.data.welcome: …write \"string\""],
    );
    assert_findings(
        &wrong("1/data/days/type", Value::Null),
        &["error screens[1].APPOINTMENT.data.days: has no type…write \"array\""],
    );
    assert_findings(
        &wrong("1/data/days/items", Value::Null),
        &["error screens[1].APPOINTMENT.data.days.items: …\"id\": {\"type\": \"string\"}"],
    );
    assert_findings(
        &wrong("1/data/days/items/type", json!("string")),
        &["error screens[1].APPOINTMENT.data.days.items: …\"object\""],
    );
    let title = wrong("1/data/days/items/properties/title/type", json!("number"));
    assert_findings(
        &title,
        &[
            "error screens[1].APPOINTMENT.data.days.items: …with \"title\": {\"type\": \"string\"} in its properties",
        ],
    );
    let enabled = wrong("1/data/times/items/properties/enabled", Value::Null);
    assert_findings(
        &enabled,
        &[
            "error screens[1].APPOINTMENT.data.times.items: …with \"enabled\": {\"type\": \"boolean\"} in its properties",
        ],
    );
    let day = wrong("2/data/day/type", json!("number"));
    assert_findings(
        &day,
        &[
            "error screens[2].DETAILS.data.day: …the answer to \"day\", of type date: write \"string\"",
        ],
    );
    let head = "\n\n[flows.clinic.screens.fields]\n";
    let unsent = findings_with_config(
        &format!("{{ answer = \"day\" }} }}{head}"),
        &format!("{{ answer = \"note\" }} }}{head}note = {{}}\n"),
    );
    assert_findings(
        &unsent,
        &["error screens[2].DETAILS.data.day: …the answer to \"note\", but no payload sends it"],
    );
    let typed = |kind: &str| {
        let config = CONFIG.replace("{ answer = \"day\" }", "{ answer = \"service\" }");
        let config = config.replace("choices = [\"checkup\", \"cleaning\", \"pain\"], ", "");
        findings(
            &serde_json::from_str(FLOW_JSON).unwrap(),
            &flow(&config.replace("\"choice\", ", &format!("{kind:?}, "))),
        )
    };
    let number =
        "error screens[2].DETAILS.data.day: …of type integer: write \"number\" or \"integer\"";
    assert_findings(&typed("integer"), &[number]);
    assert_findings(
        &typed("boolean"),
        &["error screens[2].DETAILS.data.day: …of type boolean: write \"boolean\""],
    );
}

#[test]
fn multiple_choice_is_list_of_strings() {
    let config = CONFIG
        .replace("{ answer = \"day\" }", "{ answer = \"service\" }")
        .replace("\"choice\", ", "\"choices\", ");
    let findings_for_schema = |schema: Value| {
        let mut flow_json: Value = serde_json::from_str(FLOW_JSON).unwrap();
        flow_json["screens"][2]["data"]["day"] = schema;
        findings(&flow_json, &flow(&config))
    };
    assert_findings(
        &findings_for_schema(json!({"type": "array", "items": {"type": "string"}})),
        &[],
    );
    let location = "error screens[2].DETAILS.data.day";
    assert_findings(
        &findings_for_schema(json!({"type": "string"})),
        &[&format!("{location}: …of type choices: write \"array\"")],
    );
    let items = findings_for_schema(json!({"type": "array", "items": {"type": "object"}}));
    assert_findings(
        &items,
        &[&format!("{location}.items: …{{\"type\": \"string\"}}")],
    );
}

#[test]
fn agent_data_is_name_or_choice_list() {
    let agent_data = "{ day = { answer = \"who\" }, who = { agent = \"reception\" }, all = { agents = \"reception\", limit = 20 } }";
    let config = CONFIG.replace("{ day = { answer = \"day\" } }", agent_data);
    assert_ne!(config, CONFIG);
    let findings_for = |who: &str, change: fn(&mut Value)| {
        let mut flow_json: Value = serde_json::from_str(FLOW_JSON).unwrap();
        let all = flow_json["screens"][1]["data"]["days"].clone();
        flow_json["screens"][2]["data"]["who"] = json!({"type": who});
        flow_json["screens"][2]["data"]["all"] = all;
        change(&mut flow_json);
        findings(&flow_json, &flow(&config))
    };
    assert_findings(&findings_for("string", |_| ()), &[]);
    assert_findings(
        &findings_for("array", |_| ()),
        &["error screens[2].DETAILS.data.who: …provides a text: write \"string\""],
    );
    let all = findings_for("string", |flow_json| {
        flow_json["screens"][2]["data"]["all"]["type"] = json!("string");
    });
    assert_findings(
        &all,
        &["error screens[2].DETAILS.data.all: …a list of choices: write \"array\""],
    );
    let day = findings_for("string", |flow_json| {
        flow_json["screens"][2]["data"]["day"]["type"] = json!("array");
    });
    assert_findings(
        &day,
        &[
            "error screens[2].DETAILS.data.day: …the name of the agent who was shown: write \"string\"",
        ],
    );
}

#[test]
fn refresh_is_distinguished_from_submission() {
    let location = "screens[1].APPOINTMENT.layout.children[1].on-select-action";
    let select = "refresh_on = [\"day\"]  ";
    let mistaken = format!("error {location}: would count as the submission of APPOINTMENT…");
    assert_findings(
        &findings_with_config(select, "# "),
        &[&format!("{mistaken}`refresh_on = [\"day\"]`")],
    );
    assert_findings(
        &findings_with_config(select, "refresh_on = [\"slot\"]  # "),
        &[&format!(
            "{mistaken}has slot, and no other field of the screen"
        )],
    );
    let payload = "/screens/1/layout/children/1/on-select-action/payload";
    let all = json!({"day": "${form.day}", "slot": "${form.slot}"});
    assert_findings(
        &findings_with(payload, all.clone()),
        &[&format!("{mistaken}has day, and no other")],
    );

    // A marker value distinguishes the requests here.
    let marked = |config: &str, mark: Option<&str>| {
        let mut flow_json: Value = serde_json::from_str(FLOW_JSON).unwrap();
        let mut all = all.clone();
        if let Some(mark) = mark {
            all["step"] = json!(mark);
        }
        *flow_json.pointer_mut(payload).unwrap() = all;
        findings(&flow_json, &flow(&CONFIG.replace(select, config)))
    };
    assert_findings(
        &marked("# ", None),
        &[&format!("{mistaken}`refresh_on = {{ step = \"choice\" }}`")],
    );
    let by_mark = "refresh_on = { step = [\"choice\", \"more\"] }  # ";
    assert_findings(&marked(by_mark, Some("choice")), &[]);
    assert_findings(&marked(by_mark, Some("${data.step}")), &[]);
    assert_findings(
        &marked(by_mark, Some("other")),
        &[&format!("{mistaken}has step = [\"choice\", \"more\"]")],
    );
}

#[test]
fn button_taken_for_refresh_is_error() {
    let button = findings_with(
        "/screens/1/layout/children/3/on-click-action/payload",
        json!({"day": "${form.day}"}),
    );
    assert_findings(
        &button,
        &[
            "error screens[1].APPOINTMENT.layout.children[3].on-click-action: …APPOINTMENT is never submitted",
        ],
    );
    let no_choice = findings_after_change(|flow_json| {
        let dropdown = flow_json
            .pointer_mut("/screens/1/layout/children/1")
            .unwrap();
        dropdown
            .as_object_mut()
            .unwrap()
            .remove("on-select-action")
            .unwrap();
    });
    assert_findings(
        &no_choice,
        &["warning screens[1].APPOINTMENT: no request from here counts as a selection…has day"],
    );
    // Without a button, the selection of a choice submits the screen.
    let no_button = findings_after_change(|flow_json| {
        flow_json["screens"][0]["layout"]["children"][2]["on-select-action"] =
            json!({"name": "data_exchange", "payload": {"service": "${form.service}"}});
        flow_json["screens"][0]["layout"]["children"]
            .as_array_mut()
            .unwrap()
            .pop();
    });
    assert_findings(&no_button, &[]);
}

#[test]
fn flow_with_upstream_checks_fields_only() {
    let program = "[flows.clinic.upstream]\nurl = \"http://127.0.0.1:3000\"\nsecret = \"text:c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0\"\n";
    let config = CONFIG.replace(
        "[calendars.visits]\n",
        &format!("{program}[calendars.visits]\n"),
    );
    let mut flow_json: Value = serde_json::from_str(FLOW_JSON).unwrap();
    flow_json["routing_model"] =
        json!({"SERVICE": ["DETAILS"], "APPOINTMENT": ["SERVICE", "DETAILS"]});
    flow_json["screens"][0]["data"]["more"] = json!({"type": "number"});
    flow_json["screens"][1]["terminal"] = json!(true);
    flow_json["screens"][1]["refresh_on_back"] = json!(true);
    let refreshed = "warning screens[1].APPOINTMENT.refresh_on_back: …shows the screen that your upstream names again";
    assert_findings(&findings(&flow_json, &flow(&config)), &[refreshed]);
    *flow_json
        .pointer_mut("/screens/1/layout/children/1/on-select-action/payload")
        .unwrap() = json!({"slot": "x"});
    let choice = "error screens[1].APPOINTMENT.layout.children[1].on-select-action: would count…";
    assert_findings(&findings(&flow_json, &flow(&config))[..1], &[choice]);

    let (head, rest) = config.split_once("[[flows.clinic.screens]]").unwrap();
    let (_, rest) = rest.split_once(program).unwrap();
    let any = flow(&format!("{head}{program}{rest}"));
    assert_findings(&findings(&flow_json, &any), &[refreshed]);
}
