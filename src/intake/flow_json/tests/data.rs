//! Tests the data of screens, and refresh requests for such data.

use super::*;

#[test]
fn choice_list_length_is_checked() {
    for component in ["RadioButtonsGroup", "CheckboxGroup", "ChipsSelector"] {
        assert_changes(&format!(
            r#"
            /screens/1/layout/children/1/type = "{component}" | error screens[1].APPOINTMENT.layout.children[1].data-source: a {component} takes 20 choices, and `days` can have 200…`limit = 20`
            /screens/1/layout/children/2/type = "{component}"
            "#
        ));
    }
}

#[test]
fn declared_data_must_match_config() {
    assert_changes(
        r#"
        /screens/0/data/welcome = null | error screens[0].SERVICE.data: lacks "welcome", a text that the config provides…
        /screens/0/data = null | error screens[0].SERVICE.data: lacks "welcome", a text that the config provides…
        /screens/0/data = [] | error screens[0].SERVICE.data: must be an object…
        /screens/1/data/hint = {"type": "string", "__example__": ""} | error screens[1].APPOINTMENT.data.hint: …`data = { hint = … }`
        /screens/1/data/error_message = {"type": "string", "__example__": ""}
        /screens/1/data/required = ["days"]
        "#,
    );
    let handed_on = findings_after_change(|flow_json| {
        flow_json["screens"][1]["data"]["hint"] = json!({"type": "string", "__example__": ""});
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
    assert_changes(
        r#"
        /screens/0/data/welcome/type = "number" | error screens[0].SERVICE.data.welcome: …write "string"
        /screens/1/data/days/type = null | error screens[1].APPOINTMENT.data.days: has no type…write "array"
        /screens/1/data/days/items = null | error screens[1].APPOINTMENT.data.days.items: …"id": {"type": "string"}
        /screens/1/data/days/items/type = "string" | error screens[1].APPOINTMENT.data.days.items: …"object"
        /screens/1/data/days/items/properties/title/type = "number" | error screens[1].APPOINTMENT.data.days.items: …with "title": {"type": "string"} in its properties
        /screens/1/data/times/items/properties/enabled = null | error screens[1].APPOINTMENT.data.times.items: …with "enabled": {"type": "boolean"} in its properties
        /screens/2/data/day/type = "number" | error screens[2].DETAILS.data.day: …the answer to "day", of type date: write "string"
        "#,
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
    for (kind, types) in [
        ("integer", "\"number\" or \"integer\""),
        ("boolean", "\"boolean\""),
    ] {
        let wrong = format!("error screens[2].DETAILS.data.day: …of type {kind}: write {types}");
        assert_findings(&typed(kind), &[&wrong]);
    }
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
    let found = findings_for_schema(json!({"type": "array", "items": {"type": "string"}}));
    assert_findings(&found, &[]);
    for (schema, wrong) in [
        (
            json!({"type": "string"}),
            ": …of type choices: write \"array\"",
        ),
        (
            json!({"type": "array", "items": {"type": "object"}}),
            ".items: …{\"type\": \"string\"}",
        ),
    ] {
        let wrong = format!("error screens[2].DETAILS.data.day{wrong}");
        assert_findings(&findings_for_schema(schema), &[&wrong]);
    }
}

#[test]
fn agent_data_is_name_or_choice_list() {
    let agent_data = "{ day = { answer = \"who\" }, who = { agent = \"reception\" }, all = { agents = \"reception\", limit = 20 } }";
    let config = CONFIG.replace("{ day = { answer = \"day\" } }", agent_data);
    assert_ne!(config, CONFIG);
    for (pointer, kind, expected) in [
        ("who", "string", &[][..]),
        (
            "who",
            "array",
            &["error screens[2].DETAILS.data.who: …provides a text: write \"string\""],
        ),
        (
            "all",
            "string",
            &["error screens[2].DETAILS.data.all: …a list of choices: write \"array\""],
        ),
        (
            "day",
            "array",
            &[
                "error screens[2].DETAILS.data.day: …the name of the agent who was shown: write \"string\"",
            ],
        ),
    ] {
        let mut flow_json: Value = serde_json::from_str(FLOW_JSON).unwrap();
        let all = flow_json["screens"][1]["data"]["days"].clone();
        let data = &mut flow_json["screens"][2]["data"];
        data["who"] = json!({"type": "string"});
        data["all"] = all;
        data[pointer]["type"] = json!(kind);
        assert_findings(&findings(&flow_json, &flow(&config)), expected);
    }
}

#[test]
fn refresh_is_distinguished_from_submission() {
    let location = "screens[1].APPOINTMENT.layout.children[1].on-select-action";
    let select = "refresh_on = [\"day\"]  ";
    let mistaken = format!("error {location}: would count as the submission of APPOINTMENT…");
    for (config, suggestion) in [
        ("# ", "`refresh_on = [\"day\"]`"),
        (
            "refresh_on = [\"slot\"]  # ",
            "has slot, and no other field of the screen",
        ),
    ] {
        let found = findings_with_config(select, config);
        assert_findings(&found, &[&format!("{mistaken}{suggestion}")]);
    }
    let payload = "/screens/1/layout/children/1/on-select-action/payload";
    let all = json!({"day": "${form.day}", "slot": "${form.slot}"});
    let found = findings_with(payload, all.clone());
    assert_findings(&found, &[&format!("{mistaken}has day, and no other")]);

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
    assert_changes(
        r#"
        /screens/1/layout/children/3/on-click-action/payload = {"day": "${form.day}"} | error screens[1].APPOINTMENT.layout.children[3].on-click-action: …APPOINTMENT is never submitted
        /screens/1/layout/children/1/on-select-action = null | warning screens[1].APPOINTMENT: no action of this screen sends a selection that `refresh_on` expects…has day
        "#,
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
