//! Finds the contact of a sender among the contacts of a change.

use serde_json::value::RawValue;

use crate::domain::ids::Customer;
use crate::intake::json::JsonFields;

/// Contact of a sender. Each contact is parsed once, because a batch may have a thousand messages.
pub(super) struct Contact<'a> {
    /// Contact as received.
    pub(super) text: &'a RawValue,
    number: Option<String>,
    id: Option<String>,
}

impl<'a> Contact<'a> {
    /// Parses a contact. A contact that can't be parsed names nobody, because contacts only add to
    /// the data of the messages.
    pub(super) fn parse(text: &'a RawValue) -> Self {
        let fields = JsonFields::parse(text.get()).unwrap_or_default();
        Self {
            text,
            number: fields.text("wa_id"),
            id: fields.text("user_id"),
        }
    }

    /// Returns `true` if the number or the ID of the contact differs from these.
    fn conflicts_with(&self, number: Option<&str>, id: Option<&str>) -> bool {
        let differs = |own: &Option<String>, other: Option<&str>| {
            own.as_deref()
                .zip(other)
                .is_some_and(|(own, other)| own != other)
        };
        differs(&self.number, number) || differs(&self.id, id)
    }
}

/// Returns the contact of the sender: the contact with the same number or ID. A single contact also
/// counts as the sender, unless its number or ID differs.
pub(super) fn find_contact<'c, 'a>(
    contacts: &'c [Contact<'a>],
    message: &JsonFields<'_>,
) -> Option<&'c Contact<'a>> {
    let (number, id) = (message.text("from"), message.text("from_user_id"));
    let is_sender = |contact: &&Contact<'_>| {
        (id.is_some() && contact.id == id) || (number.is_some() && contact.number == number)
    };
    let only = match contacts {
        [only] if !only.conflicts_with(number.as_deref(), id.as_deref()) => Some(only),
        _ => None,
    };
    contacts.iter().find(is_sender).or(only)
}

/// Returns the sender of the message: phone number, business-scoped ID, or both (*Business-scoped
/// user IDs*).
pub(super) fn sender(contacts: &[Contact<'_>], message: &JsonFields<'_>) -> Customer {
    let contact = find_contact(contacts, message);
    let id = message.text("from_user_id").or_else(|| contact?.id.clone());
    let phone = message.text("from").or_else(|| contact?.number.clone());
    Customer::new(id.as_deref(), phone.as_deref())
}
