//! What a webhook is told of an event: our own body, a message for a chat, or what a template of one's own gives.
//!
//! A body is made anew for each attempt, always the same. Our own is written once, by `super::event`; sending and signing are
//! `crate::courier`'s.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::chat;
use super::event::EventKind;
use super::notice::Notice;
use super::template::{Template, TemplateError};

/// How a destination is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BodyRule {
    /// As `docs/events` describes it.
    #[default]
    Event,
    /// A message for Slack's incoming webhooks, and for those who take the same.
    Slack,
    /// A message for Discord's webhooks.
    Discord,
    /// By these templates. Of events without one it is not told.
    Templates(BTreeMap<EventKind, Template>),
}

/// Why there is no body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBody {
    /// What was put in the place of an event's body is none.
    #[error("what is to be told is no JSON object")]
    NoEvent,
    /// The config has nothing to say.
    #[error("the destination has no body for {0}: write one into its `body`")]
    NoTemplate(EventKind),
    /// The template does not fit the event.
    #[error("its template for {kind} fails at {error}")]
    Unfit {
        /// The event.
        kind: EventKind,
        /// Where, and why.
        #[source]
        error: TemplateError,
    },
}

impl BodyRule {
    /// Whether it has something to say of such an event.
    #[must_use]
    pub fn tells_of(&self, kind: EventKind) -> bool {
        match self {
            Self::Templates(templates) => templates.contains_key(&kind),
            Self::Event | Self::Slack | Self::Discord => true,
        }
    }

    /// What is sent to tell of `kind` under `id`, where `event` is the event's own body.
    ///
    /// # Errors
    /// [`NoBody`], where nothing can be sent.
    pub fn render<'e>(&self, kind: EventKind, id: &str, event: &'e str) -> Result<Cow<'e, str>, NoBody> {
        let fields = || serde_json::from_str::<Map<String, Value>>(event).map_err(|_| NoBody::NoEvent);
        let body = match self {
            Self::Event => return Ok(Cow::Borrowed(event)),
            Self::Slack => chat::slack(&Notice::of(&fields()?)),
            Self::Discord => chat::discord(&Notice::of(&fields()?)),
            Self::Templates(templates) => {
                let template = templates.get(&kind).ok_or(NoBody::NoTemplate(kind))?;
                template.render(&seen(fields()?, id)).map_err(|error| NoBody::Unfit { kind, error })?
            }
        };
        Ok(Cow::Owned(body))
    }
}

/// What a template sees of `event`, which is told under `id`: its fields, `id`, and `summary`, which is all of it in words.
#[must_use]
pub fn seen(mut event: Map<String, Value>, id: &str) -> Map<String, Value> {
    let summary = Notice::of(&event).plain();
    event.insert("id".to_owned(), id.into());
    event.insert("summary".to_owned(), summary.into());
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::example::{Extent, example};
    use crate::domain::time::Timestamp;

    fn by(kind: EventKind, text: &str) -> BodyRule {
        BodyRule::Templates(BTreeMap::from([(kind, Template::parse(text).unwrap())]))
    }

    #[test]
    fn without_a_template_the_body_is_the_one_that_is_on_disk_to_the_byte() {
        let odd = "{ \"type\":\"job.dead\" }";
        assert_eq!(BodyRule::Event.render(EventKind::JobDead, "msg_1", odd), Ok(odd.into()));
    }

    #[test]
    fn every_event_can_be_told_in_a_chat() {
        for (kind, rule) in
            EventKind::ALL.into_iter().flat_map(|kind| [(kind, BodyRule::Slack), (kind, BodyRule::Discord)])
        {
            for extent in [Extent::Least, Extent::Usual, Extent::All] {
                let event = Value::Object(example(kind, Timestamp::ZERO, extent)).to_string();
                let body = rule.render(kind, "msg_1", &event).unwrap();
                let body: Value = serde_json::from_str(&body).unwrap();
                let field = if rule == BodyRule::Slack { "text" } else { "content" };
                assert!(body[field].as_str().is_some_and(|text| text.len() > 20), "{body}");
            }
        }
    }

    #[test]
    fn a_template_sees_the_event_its_id_and_all_of_it_in_words() {
        let rule = by(
            EventKind::LeadAssigned,
            "[{{ id }}, {{ type }}, {{ version }}, {{ timestamp }}, {{ data.lead.agent }}, {{ summary }}]",
        );
        let event = Value::Object(example(EventKind::LeadAssigned, Timestamp::ZERO, Extent::Least)).to_string();
        assert_eq!(
            rule.render(EventKind::LeadAssigned, "msg_1", &event).unwrap(),
            r#"["msg_1", "lead.assigned", 1, "1970-01-01T00:00:00.000Z", "Ann", "Lead 1 of appointment goes to Ann"]"#
        );
    }

    #[test]
    fn what_can_not_be_told_says_why() {
        let rule = by(EventKind::JobDead, "{}");
        let why = |kind, event: &str| rule.render(kind, "msg_1", event).unwrap_err().to_string();
        assert_eq!(
            why(EventKind::LeadWaiting, "{}"),
            "the destination has no body for lead.waiting: write one into its `body`"
        );
        assert_eq!(why(EventKind::JobDead, "[1]"), "what is to be told is no JSON object");
        let rule = by(EventKind::JobDead, "{\n{{ 1 / 0 }}");
        let why = rule.render(EventKind::JobDead, "msg_1", "{}").unwrap_err().to_string();
        assert_eq!(why, "its template for job.dead fails at line 2, column 4: this can't be calculated");
    }
}
