//! What the last screen sends along for forms without a token of their own.

use super::*;

const PAYLOAD: &str = "/screens/2/layout/children/4/on-click-action/payload";
const PLACE: &str = "note screens[2].DETAILS.layout.children[4].on-click-action.payload: lacks";

/// The clinic that shows an agent on this screen, who is to get the lead, and sends nothing along.
fn shows_agent(screen: usize) -> Vec<String> {
    let config = CONFIG.replace("sticky = true", "agent = \"adviser\"");
    let head = ["data = { welcome = {", "data = {}", "data = { day = {"][screen];
    let config = flow(&config.replace(head, &head.replacen('{', "{ adviser = { agent = \"reception\" },", 1)));
    let mut flow_json: Value = serde_json::from_str(FLOW_JSON).unwrap();
    flow_json["screens"][screen]["data"]["adviser"] = json!({"type": "string"});
    said(&flow_json, &config)
}

#[test]
fn the_slot_of_an_earlier_screen_is_sent_along_or_each_message_needs_a_token() {
    let without = json!({"name": "${form.name}", "email": "${form.email}"});
    let lacks = format!("{PLACE} \"slot\", which is asked for on APPOINTMENT…\"${{screen.APPOINTMENT.form.slot}}\"");
    assert_said(&with(PAYLOAD, without.clone()), &[&lacks]);
    // By webhook the form comes without its earlier screens, too.
    let ends = changed(|flow_json| {
        let action = json!({"name": "complete", "payload": without});
        *flow_json.pointer_mut("/screens/2/layout/children/4/on-click-action").unwrap() = action;
    });
    assert!(ends.iter().any(|line| line.starts_with(&format!("{PLACE} \"slot\""))), "{ends:?}");
}

#[test]
fn the_agent_who_was_shown_is_sent_along_or_each_message_needs_a_token() {
    for (screen, value) in [(0, "${screen.SERVICE.data.adviser}"), (2, "${data.adviser}")] {
        let said = shows_agent(screen);
        let lacks = format!("{PLACE} \"adviser\", the agent who is shown on …\"adviser\": \"{value}\"");
        assert_said(&said, &[&lacks]);
    }
}
