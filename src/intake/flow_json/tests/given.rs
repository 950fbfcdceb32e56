//! What screens are given, and choices that ask for more of it.

use super::*;

#[test]
fn choices_are_no_more_than_the_component_takes() {
    for component in ["RadioButtonsGroup", "CheckboxGroup", "ChipsSelector"] {
        let place = "error screens[1].APPOINTMENT.layout.children[1].data-source";
        let days = with("/screens/1/layout/children/1/type", json!(component));
        assert_said(&days, &[&format!("{place}: a {component} takes 20 choices, and `days` can have 200…`most = 20`")]);
        let times = with("/screens/1/layout/children/2/type", json!(component));
        assert_said(&times, &[]);
    }
}

#[test]
fn each_screen_is_given_what_it_declares_and_declares_what_it_is_given() {
    let welcome = "error screens[0].SERVICE.data: lacks \"welcome\", a text that the config gives…";
    assert_said(&with("/screens/0/data/welcome", Value::Null), &[welcome]);
    assert_said(&with("/screens/0/data", Value::Null), &[welcome]);
    assert_said(&with("/screens/0/data", json!([])), &["error screens[0].SERVICE.data: must be an object…"]);
    let text = json!({"type": "string", "__example__": ""});
    assert_said(
        &with("/screens/1/data/hint", text.clone()),
        &["error screens[1].APPOINTMENT.data.hint: …`data = { hint = … }`"],
    );
    assert_said(&with("/screens/1/data/error_message", text.clone()), &[]);
    assert_said(&with("/screens/1/data/required", json!(["days"])), &[]);
    let handed_on = changed(|flow_json| {
        flow_json["screens"][1]["data"]["hint"] = text;
        let link =
            json!({"name": "navigate", "next": {"type": "screen", "name": "APPOINTMENT"}, "payload": {"hint": "x"}});
        let link = json!({"type": "EmbeddedLink", "on-click-action": link});
        flow_json["screens"][0]["layout"]["children"].as_array_mut().unwrap().push(link);
    });
    assert_said(&handed_on, &[]);
}

#[test]
fn what_is_given_has_the_declared_type() {
    let wrong = |pointer: &str, schema: Value| with(&format!("/screens/{pointer}"), schema);
    assert_said(
        &wrong("0/data/welcome/type", json!("number")),
        &["error screens[0].SERVICE.data.welcome: …write \"string\""],
    );
    assert_said(
        &wrong("1/data/days/type", Value::Null),
        &["error screens[1].APPOINTMENT.data.days: has no type…write \"array\""],
    );
    assert_said(
        &wrong("1/data/days/items", Value::Null),
        &["error screens[1].APPOINTMENT.data.days.items: …\"id\": {\"type\": \"string\"}"],
    );
    assert_said(
        &wrong("1/data/days/items/type", json!("string")),
        &["error screens[1].APPOINTMENT.data.days.items: …\"object\""],
    );
    let title = wrong("1/data/days/items/properties/title/type", json!("number"));
    assert_said(
        &title,
        &["error screens[1].APPOINTMENT.data.days.items: …with \"title\": {\"type\": \"string\"} in its properties"],
    );
    let enabled = wrong("1/data/times/items/properties/enabled", Value::Null);
    assert_said(
        &enabled,
        &[
            "error screens[1].APPOINTMENT.data.times.items: …with \"enabled\": {\"type\": \"boolean\"} in its properties",
        ],
    );
    let day = wrong("2/data/day/type", json!("number"));
    assert_said(&day, &["error screens[2].DETAILS.data.day: …the answer to \"day\", of type date: write \"string\""]);
    let head = "\n\n[flows.clinic.screens.fields]\n";
    let unsent = configured(
        &format!("{{ answer = \"day\" }} }}{head}"),
        &format!("{{ answer = \"note\" }} }}{head}note = {{}}\n"),
    );
    assert_said(&unsent, &["error screens[2].DETAILS.data.day: …the answer to \"note\", and no payload sends it"]);
    let typed = |kind: &str| {
        let config = CONFIG.replace("{ answer = \"day\" }", "{ answer = \"service\" }");
        let config = config.replace("choices = [\"checkup\", \"cleaning\", \"pain\"], ", "");
        said(&serde_json::from_str(FLOW_JSON).unwrap(), &flow(&config.replace("\"choice\", ", &format!("{kind:?}, "))))
    };
    let number = "error screens[2].DETAILS.data.day: …of type integer: write \"number\" or \"integer\"";
    assert_said(&typed("integer"), &[number]);
    assert_said(&typed("boolean"), &["error screens[2].DETAILS.data.day: …of type boolean: write \"boolean\""]);
}

#[test]
fn several_choices_are_given_as_a_list_of_texts() {
    let config =
        CONFIG.replace("{ answer = \"day\" }", "{ answer = \"service\" }").replace("\"choice\", ", "\"choices\", ");
    let said = |schema: Value| {
        let mut flow_json: Value = serde_json::from_str(FLOW_JSON).unwrap();
        flow_json["screens"][2]["data"]["day"] = schema;
        said(&flow_json, &flow(&config))
    };
    assert_said(&said(json!({"type": "array", "items": {"type": "string"}})), &[]);
    let place = "error screens[2].DETAILS.data.day";
    assert_said(&said(json!({"type": "string"})), &[&format!("{place}: …of type choices: write \"array\"")]);
    let items = said(json!({"type": "array", "items": {"type": "object"}}));
    assert_said(&items, &[&format!("{place}.items: …{{\"type\": \"string\"}}")]);
}

#[test]
fn agents_are_given_as_a_name_or_a_list_of_choices() {
    let given =
        "{ day = { answer = \"who\" }, who = { agent = \"reception\" }, all = { agents = \"reception\", most = 20 } }";
    let config = CONFIG.replace("{ day = { answer = \"day\" } }", given);
    assert_ne!(config, CONFIG);
    let said = |who: &str, change: fn(&mut Value)| {
        let mut flow_json: Value = serde_json::from_str(FLOW_JSON).unwrap();
        let all = flow_json["screens"][1]["data"]["days"].clone();
        flow_json["screens"][2]["data"]["who"] = json!({"type": who});
        flow_json["screens"][2]["data"]["all"] = all;
        change(&mut flow_json);
        said(&flow_json, &flow(&config))
    };
    assert_said(&said("string", |_| ()), &[]);
    assert_said(&said("array", |_| ()), &["error screens[2].DETAILS.data.who: …gives a text: write \"string\""]);
    let all = said("string", |flow_json| flow_json["screens"][2]["data"]["all"]["type"] = json!("string"));
    assert_said(&all, &["error screens[2].DETAILS.data.all: …a list of choices: write \"array\""]);
    let day = said("string", |flow_json| flow_json["screens"][2]["data"]["day"]["type"] = json!("array"));
    assert_said(&day, &["error screens[2].DETAILS.data.day: …the name of the agent who was shown: write \"string\""]);
}

#[test]
fn a_choice_is_told_from_the_sending_of_its_screen() {
    let place = "screens[1].APPOINTMENT.layout.children[1].on-select-action";
    let select = "select = [\"day\"]  ";
    let mistaken = format!("error {place}: would be taken for the sending of APPOINTMENT…");
    assert_said(&configured(select, "# "), &[&format!("{mistaken}`select = [\"day\"]`")]);
    assert_said(
        &configured(select, "select = [\"slot\"]  # "),
        &[&format!("{mistaken}has slot, and no other field of the screen")],
    );
    let payload = "/screens/1/layout/children/1/on-select-action/payload";
    let all = json!({"day": "${form.day}", "slot": "${form.slot}"});
    assert_said(&with(payload, all.clone()), &[&format!("{mistaken}has day, and no other")]);

    // Then a mark tells.
    let marked = |config: &str, mark: Option<&str>| {
        let mut flow_json: Value = serde_json::from_str(FLOW_JSON).unwrap();
        let mut all = all.clone();
        if let Some(mark) = mark {
            all["step"] = json!(mark);
        }
        *flow_json.pointer_mut(payload).unwrap() = all;
        said(&flow_json, &flow(&CONFIG.replace(select, config)))
    };
    assert_said(&marked("# ", None), &[&format!("{mistaken}`select = {{ step = \"choice\" }}`")]);
    let by_mark = "select = { step = [\"choice\", \"more\"] }  # ";
    assert_said(&marked(by_mark, Some("choice")), &[]);
    assert_said(&marked(by_mark, Some("${data.step}")), &[]);
    assert_said(&marked(by_mark, Some("other")), &[&format!("{mistaken}has step = [\"choice\", \"more\"]")]);
}

#[test]
fn a_screen_whose_button_is_taken_for_a_choice_is_never_sent() {
    let button = with("/screens/1/layout/children/3/on-click-action/payload", json!({"day": "${form.day}"}));
    assert_said(
        &button,
        &["error screens[1].APPOINTMENT.layout.children[3].on-click-action: …APPOINTMENT is never sent"],
    );
    let no_choice = changed(|flow_json| {
        let dropdown = flow_json.pointer_mut("/screens/1/layout/children/1").unwrap();
        dropdown.as_object_mut().unwrap().remove("on-select-action").unwrap();
    });
    assert_said(&no_choice, &["note screens[1].APPOINTMENT: nothing that is sent from here is a choice…has day"]);
    // Where there is no button, choosing is sending.
    let no_button = changed(|flow_json| {
        flow_json["screens"][0]["layout"]["children"][2]["on-select-action"] =
            json!({"name": "data_exchange", "payload": {"service": "${form.service}"}});
        flow_json["screens"][0]["layout"]["children"].as_array_mut().unwrap().pop();
    });
    assert_said(&no_button, &[]);
}

#[test]
fn where_a_program_says_what_is_shown_only_fields_and_choices_are_the_configs() {
    let program = "[flows.clinic.upstream]\nurl = \"http://127.0.0.1:3000\"\nsecret = \"text:c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0\"\n";
    let config = CONFIG.replace("[calendars.visits]\n", &format!("{program}[calendars.visits]\n"));
    let mut flow_json: Value = serde_json::from_str(FLOW_JSON).unwrap();
    flow_json["routing_model"] = json!({"SERVICE": ["DETAILS"], "APPOINTMENT": ["SERVICE", "DETAILS"]});
    flow_json["screens"][0]["data"]["more"] = json!({"type": "number"});
    flow_json["screens"][1]["terminal"] = json!(true);
    flow_json["screens"][1]["refresh_on_back"] = json!(true);
    let refreshed = "note screens[1].APPOINTMENT.refresh_on_back: …shows the screen that your program says anew";
    assert_said(&said(&flow_json, &flow(&config)), &[refreshed]);
    *flow_json.pointer_mut("/screens/1/layout/children/1/on-select-action/payload").unwrap() = json!({"slot": "x"});
    let choice = "error screens[1].APPOINTMENT.layout.children[1].on-select-action: would be taken…";
    assert_said(&said(&flow_json, &flow(&config))[..1], &[choice]);

    let (head, rest) = config.split_once("[[flows.clinic.screens]]").unwrap();
    let (_, rest) = rest.split_once(program).unwrap();
    let any = flow(&format!("{head}{program}{rest}"));
    assert_said(&said(&flow_json, &any), &[refreshed]);
}
