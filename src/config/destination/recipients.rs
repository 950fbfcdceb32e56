//! Reads the recipients and messages of a destination that writes to people.

use std::collections::BTreeMap;

use crate::config::event_fields::{check_placeholders, parse_event_kind};
use crate::config::reader::TableReader;
use crate::config::reader::value::ValueReader;
use crate::config::units::{days, hours};
use crate::domain::delivery::message::{PlaceholderText, RecipientKind};
use crate::domain::event::EventKind;
use crate::domain::ids::AgentName;
use crate::domain::phone_number::PhoneNumber;
use crate::domain::time::Millis;

/// People who get the messages of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipients {
    /// Kind of recipient.
    pub kind: RecipientKind,
    /// Time to wait for the identity of an unknown customer. In an encrypted flow, only the message
    /// that follows the form identifies the customer. The message arrives within seconds or never.
    /// Default 1 h, maximum 1 d.
    pub customer_wait: Millis,
}

impl Recipients {
    pub(super) fn read(table: &TableReader<'_>) -> Option<Self> {
        let waits = Millis::new(100)..=days(1);
        let customer_wait = table.duration("customer_wait", hours(1), waits);
        Some(Self {
            kind: read_recipient_kind(table)?,
            customer_wait,
        })
    }
}

fn read_recipient_kind(table: &TableReader<'_>) -> Option<RecipientKind> {
    let to = table
        .require("to")
        .and_then(|item| item.one_of(&["customer", "agent"]));
    let agents = table.get("agents");
    if to? == "customer" {
        if let Some(agents) = agents {
            agents.error("is allowed only with `to = \"agent\"`");
        }
        return Some(RecipientKind::Customer);
    }
    let Some(agents) = agents else {
        table.error(
            "`agents` is missing: set the phone numbers of the agents, like agents = { Ann = \
             \"+491511234567\" }",
        );
        return None;
    };
    let read = |item: &ValueReader<'_>| {
        let name = item.parse_key(AgentName::new)?;
        Some((name, item.parse(PhoneNumber::parse)?.into()))
    };
    let numbers = agents.entries()?.iter().filter_map(read).collect();
    Some(RecipientKind::Agent(numbers))
}

/// Reads the messages by kind of event. `read` reads the content of each message.
pub(super) fn read_messages<T>(
    item: &ValueReader<'_>,
    to: Option<&RecipientKind>,
    read: impl Fn(&TableReader<'_>, Option<EventKind>) -> Option<T>,
) -> BTreeMap<EventKind, T> {
    let items = item.entries();
    if items.as_ref().is_some_and(Vec::is_empty) {
        item.error("is empty: add at least one event with its message");
    }
    let items = items.iter().flatten();
    items
        .filter_map(|item| read_message(item, to, &read))
        .collect()
}

fn read_message<T>(
    item: &ValueReader<'_>,
    to: Option<&RecipientKind>,
    read: impl Fn(&TableReader<'_>, Option<EventKind>) -> Option<T>,
) -> Option<(EventKind, T)> {
    let has_recipient = |kind: &EventKind| to.is_none_or(|to| to.is_in_event(*kind));
    let known = EventKind::ALL.into_iter().filter(has_recipient);
    let kind = item.parse_key(|name| parse_event_kind(name, known.clone()));
    let fits = kind.filter(has_recipient);
    if kind.is_some() && fits.is_none() {
        let names: Vec<&str> = known.map(EventKind::as_str).collect();
        item.key_error(format!(
            "{}: this event has no recipient: use one of {}",
            item.path,
            names.join(", ")
        ));
    }
    let content = item.read_table(|table| read(table, fits))?;
    Some((fits?, content?))
}

/// Reads a text whose placeholders an event of this kind can fill.
pub(super) fn read_placeholder_text(
    item: &ValueReader<'_>,
    kind: Option<EventKind>,
) -> Option<PlaceholderText> {
    let pattern = item.parse(PlaceholderText::parse)?;
    check_placeholders(item, &pattern, kind?);
    Some(pattern)
}
