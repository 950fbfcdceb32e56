//! Tests the cross-screen fields that the final screen sends for forms without a token of their
//! own.

use super::*;

const PAYLOAD: &str = "/screens/2/layout/children/4/on-click-action/payload";
const LOCATION: &str =
    "warning screens[2].DETAILS.layout.children[4].on-click-action.payload: lacks";

/// Returns the findings if this screen shows the agent who will get the lead, and the final screen
/// does not send the agent.
fn findings_with_shown_agent(screen: usize) -> Vec<String> {
    let config = CONFIG.replace("sticky = true", "agent = \"adviser\"");
    let head = ["data = { welcome = {", "data = {}", "data = { day = {"][screen];
    let config = flow(&config.replace(
        head,
        &head.replacen('{', "{ adviser = { agent = \"reception\" },", 1),
    ));
    let mut flow_json: Value = serde_json::from_str(FLOW_JSON).unwrap();
    flow_json["screens"][screen]["data"]["adviser"] = json!({"type": "string"});
    findings(&flow_json, &config)
}

#[test]
fn slot_of_earlier_screen_must_be_resent() {
    let without = json!({"name": "${form.name}", "email": "${form.email}"});
    let lacks = format!(
        "{LOCATION} \"slot\", a field of screen APPOINTMENT…\"${{screen.APPOINTMENT.form.slot}}\""
    );
    assert_findings(&findings_with(PAYLOAD, without.clone()), &[&lacks]);
    // A form that arrives by webhook also lacks its earlier screens.
    let after_complete = findings_after_change(|flow_json| {
        let action = json!({"name": "complete", "payload": without});
        *flow_json
            .pointer_mut("/screens/2/layout/children/4/on-click-action")
            .unwrap() = action;
    });
    assert!(
        after_complete
            .iter()
            .any(|line| line.starts_with(&format!("{LOCATION} \"slot\""))),
        "{after_complete:?}"
    );
}

#[test]
fn shown_agent_must_be_resent() {
    for (screen, value) in [
        (0, "${screen.SERVICE.data.adviser}"),
        (2, "${data.adviser}"),
    ] {
        let findings = findings_with_shown_agent(screen);
        let lacks =
            format!("{LOCATION} \"adviser\", the agent shown on screen …\"adviser\": \"{value}\"");
        assert_findings(&findings, &[&lacks]);
    }
}
