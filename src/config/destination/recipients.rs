//! Reads the recipients and messages of a destination that writes to people.

use std::collections::BTreeMap;

use crate::config::event_fields::check_placeholders;
use crate::config::reader::TableReader;
use crate::config::reader::value::ValueReader;
use crate::config::suggest::suggestion;
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
        let customer_wait = table.duration(
            "customer_wait",
            Millis::from_secs(3600),
            Millis::new(100)..=Millis::from_secs(24 * 3600),
        );
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
    let numbers = agents.read_named_table(|table| {
        let read = |item: &ValueReader<'_>| {
            Some((
                item.parse_key(AgentName::new)?,
                item.parse(PhoneNumber::parse)?.into(),
            ))
        };
        table.entries().iter().filter_map(read).collect()
    });
    numbers.map(RecipientKind::Agent)
}

/// Reads the messages by kind of event. `read` reads the content of each message.
pub(super) fn read_messages<T>(
    item: &ValueReader<'_>,
    to: Option<&RecipientKind>,
    read: impl Fn(&TableReader<'_>, Option<EventKind>) -> Option<T>,
) -> BTreeMap<EventKind, T> {
    let all = item.read_named_table(|table| {
        let items = table.entries();
        if items.is_empty() {
            item.error("is empty: add at least one event with its message");
        }
        items
            .iter()
            .filter_map(|item| read_message(item, to, &read))
            .collect()
    });
    all.unwrap_or_default()
}

fn read_message<T>(
    item: &ValueReader<'_>,
    to: Option<&RecipientKind>,
    read: impl Fn(&TableReader<'_>, Option<EventKind>) -> Option<T>,
) -> Option<(EventKind, T)> {
    let known = EventKind::ALL
        .into_iter()
        .filter(|kind| to.is_none_or(|to| to.is_in_event(*kind)));
    let kind = EventKind::from_name(item.key);
    let fits = kind.filter(|kind| to.is_none_or(|to| to.is_in_event(*kind)));
    if kind.is_none() {
        let suggestion = suggestion(item.key, known.map(EventKind::as_str));
        item.key_error(format!(
            "{}: there is no event {:?}{suggestion}",
            item.path, item.key
        ));
    } else if fits.is_none() {
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
