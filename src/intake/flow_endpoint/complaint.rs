//! What comes to an encrypted flow and is no form: error notifications of phones, and requests that do not fit the config.
//!
//! A form that is taken for a notification is lost, so only what has none of a form's own names is one. It is the other way
//! round for a screen that declares a field of such a name: there all of them are forms, which
//! `flowgate config check` and `flowgate flows check` warn of.

use crate::domain::complaint::Complaint;
use crate::domain::flow::Flow;
use crate::domain::ids::FlowToken;

use super::super::json::Fields;
use super::object;

/// What the client complains of: `data` has at least one of the three names of a notification with words in it, each a text,
/// none of them a field of the screen, and nothing else. More names will come to notifications: `error` and `error_key` tell
/// one also beside others where the screen's own fields are known and none of them is there, as all of a form's are.
pub(super) fn read(flow: &Flow, screen: Option<&str>, fields: &Fields<'_>) -> Option<Complaint> {
    let data = fields.object("data");
    let screen_fields = || screen.and_then(|screen| flow.screen(screen)).into_iter().flat_map(|screen| &screen.fields);
    let is_declared = |name: &str| screen_fields().any(|field| field.name == name);
    // Looked up once: a stranger may send thousands of names, and each look-up reads them all.
    let theirs = Complaint::NAMES.map(|name| {
        let is_text = data.get(name).is_none() || data.text(name).is_some();
        is_text && !is_declared(name)
    });
    let is_theirs = |name: &str| Complaint::NAMES.iter().zip(theirs).any(|(known, theirs)| *known == name && theirs);
    let [error, error_key, message] = Complaint::NAMES.map(|name| data.text(name).filter(|text| !text.is_empty()));
    let error = error.filter(|_| is_theirs("error")).or(error_key.filter(|_| is_theirs("error_key")));
    let has_only_theirs = data.names().all(is_theirs) && (error.is_some() || message.is_some());
    let has_no_answers = screen_fields().next().is_some() && !data.names().any(is_declared) && error.is_some();
    if !has_only_theirs && !has_no_answers {
        return None;
    }
    let (error, message) = (error.unwrap_or_default(), message.unwrap_or_default());
    Some(Complaint::new(flow.name.clone(), screen, token(fields), &error, &message))
}

/// What is kept of a request that was opened and does not fit: `error` is the code of its kind, `why` says what to change.
#[must_use]
pub fn misfit(flow: &Flow, body: &[u8], error: &str, why: &str) -> Complaint {
    let fields = object(body).unwrap_or_default();
    let screen = fields.text("screen").filter(|screen| !screen.is_empty());
    Complaint::new(flow.name.clone(), screen.as_deref(), token(&fields), error, why)
}

/// The token of a request that goes on without one that can be used.
pub(super) fn token(fields: &Fields<'_>) -> Option<FlowToken> {
    fields.text("flow_token").and_then(|token| FlowToken::new(&token).ok())
}
