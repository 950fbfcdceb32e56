//! Parses flow errors: error notifications of clients, and requests that the config can't serve.
//!
//! A form that is mistaken for a notification is lost. A request is therefore a notification only
//! if it has no field name of a form. A screen that declares a field with a name of a notification
//! reverses this: then all its requests with that name are forms. `flowgate config check` and
//! `flowgate flows check` warn about such fields.

use crate::domain::flow::Flow;
use crate::domain::ids::FlowToken;
use crate::domain::submission::flow_error::FlowError;

use crate::intake::json::{JsonFields, parse_object};

/// Parses an error notification. Returns `None` if the request is a form.
///
/// `data` must have at least one of the three names of a notification with a text that is not
/// empty. Each of these names must have a string value or null and must not be a field of the
/// screen. `data` must have no other name.
///
/// Meta may add names to notifications. Other names are therefore allowed if `error` or `error_key`
/// is present, the fields of the screen are known, and none of them is present. A form always has
/// all fields of its screen.
pub(super) fn parse_flow_error(
    flow: &Flow,
    screen: Option<&str>,
    fields: &JsonFields<'_>,
) -> Option<FlowError> {
    let data = fields.object("data");
    let screen_fields = || {
        screen
            .and_then(|screen| flow.find_screen(screen))
            .into_iter()
            .flat_map(|screen| &screen.fields)
    };
    let is_declared = |name: &str| screen_fields().any(|field| field.name == name);
    // Each name is looked up once. A stranger may send thousands of names, and each lookup reads
    // all of them.
    let is_text = FlowError::DATA_KEYS.map(|name| {
        let is_text = data.get(name).is_none() || data.text(name).is_some();
        is_text && !is_declared(name)
    });
    let is_error_key = |name: &str| {
        FlowError::DATA_KEYS
            .iter()
            .zip(is_text)
            .any(|(known, theirs)| *known == name && theirs)
    };
    let [error, error_key, message] =
        FlowError::DATA_KEYS.map(|name| data.text(name).filter(|text| !text.is_empty()));
    let error = error
        .filter(|_| is_error_key("error"))
        .or(error_key.filter(|_| is_error_key("error_key")));
    let has_only_error_keys =
        data.names().all(is_error_key) && (error.is_some() || message.is_some());
    let has_no_answers =
        screen_fields().next().is_some() && !data.names().any(is_declared) && error.is_some();
    if !has_only_error_keys && !has_no_answers {
        return None;
    }
    let (error, message) = (error.unwrap_or_default(), message.unwrap_or_default());
    Some(FlowError::new(
        flow.name.clone(),
        screen,
        parse_token(fields),
        &error,
        &message,
    ))
}

/// Creates the flow error for a decrypted request that can't be served. `error` is the error code,
/// and `reason` describes the necessary change.
#[must_use]
pub fn unserviceable_request(flow: &Flow, body: &[u8], error: &str, reason: &str) -> FlowError {
    let fields = parse_object(body).unwrap_or_default();
    let screen = fields.text("screen").filter(|screen| !screen.is_empty());
    FlowError::new(
        flow.name.clone(),
        screen.as_deref(),
        parse_token(&fields),
        error,
        reason,
    )
}

/// Returns the flow token. Returns `None` if the token is missing or invalid, because such a
/// request needs no token.
pub(super) fn parse_token(fields: &JsonFields<'_>) -> Option<FlowToken> {
    fields
        .text("flow_token")
        .and_then(|token| FlowToken::new(&token).ok())
}
