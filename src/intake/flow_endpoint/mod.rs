//! Parses requests to the endpoint of a flow: plain JSON, or the decrypted text of an envelope.
//!
//! The body has `version`, `action`, `screen`, `data`, `flow_token` and `context.user_id` (protocol
//! of the data endpoint, *Implementing Endpoint for Flows*). All fields except the action may be
//! missing. Unknown fields are stored.
//!
//! See [`crate::http`] for the responses and [`super::encryption`] for the envelopes. See
//! `self::flow_error` for requests that are not a form. See
//! `self::screen_request` for the screen after an opening or a step back, and
//! `self::screen_submission` for submitted screens.

mod flow_error;
mod screen_request;
mod screen_submission;

use crate::domain::flow::{EncryptionMode, Flow};
use crate::domain::submission::flow_error::FlowError;
use crate::domain::truncation::truncate_name;

use super::IntakeError;
use super::json::parse_object;
pub use flow_error::unserviceable_request;
pub use screen_request::ScreenRequest;
use screen_request::Transition;
pub use screen_submission::ScreenSubmission;

/// Parsed request.
#[derive(Debug)]
pub enum FlowRequest<'a> {
    /// Health check of the endpoint.
    Ping,
    /// Request for a screen.
    ScreenRequest(ScreenRequest<'a>),
    /// Error notification: the client rejected our last response and gives the reason. Never a
    /// submission (encrypted flows only).
    FlowError(FlowError),
    /// Submission of a screen.
    ScreenSubmission(ScreenSubmission<'a>),
}

impl<'a> FlowRequest<'a> {
    /// Parses the body of a `POST` to `flow`.
    ///
    /// # Errors
    /// [`IntakeError`] names the field and the reason.
    pub fn parse(flow: &'a Flow, body: &[u8]) -> Result<Self, IntakeError> {
        let fields = parse_object(body)?;
        fields.optional_text("version")?;
        let screen = fields
            .optional_text("screen")?
            .filter(|screen| !screen.is_empty());
        // This check runs before all checks of the flow's fields: the same bytes are a ping for
        // every flow.
        if fields.text("action").as_deref() == Some("ping") {
            return Ok(Self::Ping);
        }
        // The data identify an error notification, before the action, which may have any value
        // (*Implementing Endpoint for Flows*, "Error Notification").
        if flow.encryption == EncryptionMode::Required
            && let Some(flow_error) = flow_error::parse_flow_error(flow, screen.as_deref(), &fields)
        {
            return Ok(Self::FlowError(flow_error));
        }
        let Some(action) = fields.optional_text("action")? else {
            return Err(IntakeError::invalid_field(
                "action",
                "is missing: to submit a form, send \"action\": \"data_exchange\"",
            ));
        };
        let transition = match action.as_str() {
            "data_exchange" => {
                return ScreenSubmission::parse(flow, &fields, screen).map(Self::ScreenSubmission);
            }
            "INIT" => Transition::Open,
            "BACK" => Transition::Back,
            // Meta may add actions, and an upstream may know them.
            _ if flow.has_upstream => Transition::Unknown,
            _ => return Err(IntakeError::UnknownAction(truncate_name(&action))),
        };
        // The screen may be missing (*Implementing Endpoint for Flows*). A named screen must exist,
        // unless the flow has an upstream that may know the screen.
        if transition == Transition::Back
            && screen.is_some()
            && !flow.screens.is_empty()
            && !flow.has_upstream
        {
            flow.require_screen(screen.as_deref())?;
        }
        Ok(Self::ScreenRequest(ScreenRequest {
            flow,
            requested_screen: screen,
            token: flow_error::parse_token(&fields),
            transition,
        }))
    }
}

#[cfg(test)]
mod tests;
