//! Renders the payload of a webhook: the event itself, a chat message, or the output of a template
//! of the owner.
//!
//! The payload is rendered again for each attempt and is the same each time. The event body is
//! written once.
//!
//! See [`crate::domain::event`] for the event body and [`crate::delivery`] for sending and signing.

pub mod chat;
pub mod template;
use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::domain::event::EventKind;
use crate::domain::event::summary::EventSummary;
use template::{Template, TemplateError};

/// Format of the payload that a destination receives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PayloadFormat {
    /// The event body as `docs/events` describes it.
    #[default]
    Event,
    /// A message for Slack's incoming webhooks and for services that accept the same format.
    Slack,
    /// A message for Discord's webhooks.
    Discord,
    /// Templates by event kind. The destination receives no events of a kind without a template.
    Templates(BTreeMap<EventKind, Template>),
}

/// Reason why a payload can't be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The replacement for the body of an event is not a JSON object.
    #[error("the event is not a JSON object")]
    InvalidEvent,
    /// The config has no template for this event kind.
    #[error("the destination has no payload for {0}: add one to its `payload`")]
    MissingTemplate(EventKind),
    /// The template can't be rendered with the event.
    #[error("the destination's payload template for {kind} fails at {error}")]
    TemplateFailed {
        /// Kind of the event.
        kind: EventKind,
        /// Position and cause of the failure in the template.
        #[source]
        error: TemplateError,
    },
}

impl PayloadFormat {
    /// Returns `true` if the format can render events of this kind.
    #[must_use]
    pub fn supports(&self, kind: EventKind) -> bool {
        match self {
            Self::Templates(templates) => templates.contains_key(&kind),
            Self::Event | Self::Slack | Self::Discord => true,
        }
    }

    /// Renders the payload for an event of `kind` with the webhook ID `id`. `event` is the event
    /// body.
    ///
    /// # Errors
    /// [`PayloadError`] if no payload can be rendered.
    pub fn render<'e>(
        &self,
        kind: EventKind,
        id: &str,
        event: &'e str,
    ) -> Result<Cow<'e, str>, PayloadError> {
        let fields = || {
            serde_json::from_str::<Map<String, Value>>(event)
                .map_err(|_| PayloadError::InvalidEvent)
        };
        let body = match self {
            Self::Event => return Ok(Cow::Borrowed(event)),
            Self::Slack => chat::slack_payload(&EventSummary::from_event(&fields()?)),
            Self::Discord => chat::discord_payload(&EventSummary::from_event(&fields()?)),
            Self::Templates(templates) => {
                let template = templates
                    .get(&kind)
                    .ok_or(PayloadError::MissingTemplate(kind))?;
                template
                    .render(&template_scope(fields()?, id))
                    .map_err(|error| PayloadError::TemplateFailed { kind, error })?
            }
        };
        Ok(Cow::Owned(body))
    }
}

/// Returns the variables of a template: the fields of `event`, its webhook ID as `id`, and a
/// plain-text summary of the event as `summary`.
#[must_use]
pub fn template_scope(mut event: Map<String, Value>, id: &str) -> Map<String, Value> {
    let summary = EventSummary::from_event(&event).to_plain_text();
    event.insert("id".to_owned(), id.into());
    event.insert("summary".to_owned(), summary.into());
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::samples::{Completeness, sample_event};
    use crate::domain::time::Timestamp;

    fn template_format(kind: EventKind, text: &str) -> PayloadFormat {
        PayloadFormat::Templates(BTreeMap::from([(kind, Template::parse(text).unwrap())]))
    }

    #[test]
    fn event_format_returns_stored_body_unchanged() {
        let reordered = "{ \"type\":\"job.dead\" }";
        assert_eq!(
            PayloadFormat::Event.render(EventKind::JobDead, "msg_1", reordered),
            Ok(reordered.into())
        );
    }

    fn sample(kind: EventKind, completeness: Completeness) -> String {
        Value::Object(sample_event(kind, Timestamp::ZERO, completeness)).to_string()
    }

    #[test]
    fn chat_formats_render_every_event() {
        use Completeness::{Full, Minimal, Typical};
        for kind in EventKind::ALL {
            for event in [Minimal, Typical, Full].map(|level| sample(kind, level)) {
                let formats = [PayloadFormat::Slack, PayloadFormat::Discord];
                for (format, field) in formats.iter().zip(["text", "content"]) {
                    let body = format.render(kind, "msg_1", &event).unwrap();
                    let body: Value = serde_json::from_str(&body).unwrap();
                    let text = body[field].as_str();
                    assert!(text.is_some_and(|text| text.len() > 20), "{body}");
                }
            }
        }
    }

    #[test]
    fn template_scope_has_event_id_and_summary() {
        let kind = EventKind::LeadAssigned;
        let format = template_format(
            kind,
            "[{{ id }}, {{ type }}, {{ version }}, {{ timestamp }}, {{ data.lead.agent }}, {{ summary }}]",
        );
        let event = sample(kind, Completeness::Minimal);
        assert_eq!(
            format.render(kind, "msg_1", &event).unwrap(),
            r#"["msg_1", "lead.assigned", 1, "1970-01-01T00:00:00.000Z", "Ann", "Lead 1 of appointment is assigned to Ann"]"#
        );
    }

    #[test]
    fn payload_errors_name_the_cause() {
        let format = template_format(EventKind::JobDead, "{}");
        let why = |kind, event: &str| format.render(kind, "msg_1", event).unwrap_err().to_string();
        assert_eq!(
            why(EventKind::LeadWaiting, "{}"),
            "the destination has no payload for lead.waiting: add one to its `payload`"
        );
        let no_object = why(EventKind::JobDead, "[1]");
        assert_eq!(no_object, "the event is not a JSON object");
        let format = template_format(EventKind::JobDead, "{\n{{ 1 / 0 }}");
        let failure = format
            .render(EventKind::JobDead, "msg_1", "{}")
            .unwrap_err();
        assert_eq!(
            failure.to_string(),
            "the destination's payload template for job.dead fails at line 2, column 4: this can't be calculated"
        );
    }
}
