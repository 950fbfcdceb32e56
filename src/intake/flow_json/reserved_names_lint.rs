//! Checks for fields with the names that error notifications of phones use.
//! [`crate::intake::flow_endpoint`] distinguishes forms and notifications only by these names.

use super::document::{ComponentAction, DATA_EXCHANGE, FlowJsonScreen};
use super::findings::Findings;
use crate::domain::flow::{EncryptionMode, Flow};
use crate::domain::submission::flow_error::FlowError;

/// Returns `true` if error notifications of this flow use the name.
pub(super) fn is_reserved_name(name: &str, flow: &Flow) -> bool {
    flow.encryption == EncryptionMode::Required && FlowError::DATA_KEYS.contains(&name)
}

pub(super) fn check(screens: &[FlowJsonScreen<'_>], flow: &Flow, report: &mut Findings) {
    for screen in screens {
        for action in screen.actions(DATA_EXCHANGE) {
            check_action(action, screen, flow, report);
        }
    }
}

/// Reports each field of this action that has a name of an error notification, with its
/// consequence.
fn check_action(
    action: &ComponentAction<'_>,
    screen: &FlowJsonScreen<'_>,
    flow: &Flow,
    report: &mut Findings,
) {
    let Some(payload) = action.payload else {
        return;
    };
    let is_declared = |name: &str| {
        flow.find_screen(screen.id)
            .is_some_and(|declared| declared.fields.iter().any(|field| field.name == name))
    };
    let has_only_reserved = payload
        .keys()
        .all(|name| is_reserved_name(name, flow) && !is_declared(name));
    for name in payload.keys().filter(|name| is_reserved_name(name, flow)) {
        let location = format!("{}.payload", action.location);
        let finding = format!("sends {name:?}, a field name of Meta's error notifications");
        let suggestion = "give the field another name";
        if is_declared(name) {
            let what = format!(
                "{finding}: an error notification from this screen would be stored as a form; {suggestion}"
            );
            report.add_warning(location, what);
        } else if has_only_reserved {
            report.add_error(location, format!("{finding}, and nothing else: it would be handled as an error notification, and no form is stored; {suggestion}"));
        } else {
            let what = format!(
                "{finding}: a request with this field alone would be handled as an error notification, not as a form; {suggestion}"
            );
            report.add_warning(location, what);
        }
    }
}
