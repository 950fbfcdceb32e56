//! Finds the recipient of a message: the customer of the form, or the agent of the lead.

use std::collections::BTreeMap;

use serde_json::Value;

use super::error::MessageError;
use crate::domain::event::EventKind;
use crate::domain::ids::{AgentName, Customer};

/// Kind of recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientKind {
    /// Customer who filled in the form.
    Customer,
    /// Agent who has the lead, with the phone number of each agent.
    Agent(BTreeMap<AgentName, Box<str>>),
}

/// Recipient of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// Phone number.
    Phone(Box<str>),
    /// ID: business-scoped, or any other ID of the customer.
    Id(Box<str>),
}

impl RecipientKind {
    /// Returns `true` if events of this kind name such a recipient.
    #[must_use]
    pub const fn is_in_event(&self, kind: EventKind) -> bool {
        match self {
            Self::Customer => !kind.is_alert(),
            Self::Agent(_) => matches!(kind, EventKind::LeadAssigned),
        }
    }

    /// Returns the recipient of the message about `data`. `customer` is the customer who filled in
    /// the form, with the number and ID that are known now.
    ///
    /// # Errors
    /// [`MessageError`] if the message has no recipient.
    pub fn resolve_recipient(
        &self,
        data: &Value,
        customer: Option<&Customer>,
    ) -> Result<Recipient, MessageError> {
        match self {
            Self::Customer => {
                // An event contains the customer as known at that time. The customer may have
                // another number by now.
                let known = customer.filter(|known| !known.is_unknown()).cloned();
                recipient_of_customer(known.unwrap_or_else(|| customer_in_event(data)))
            }
            Self::Agent(numbers) => {
                let name = data
                    .pointer("/lead/agent")
                    .and_then(Value::as_str)
                    .ok_or(MessageError::NoAgent)?;
                let mut numbers = numbers.iter();
                let number = numbers.find(|(agent, _)| agent.as_str() == name);
                number
                    .map(|(_, number)| Recipient::Phone(number.clone()))
                    .ok_or_else(|| MessageError::NoAgentNumber(name.to_owned()))
            }
        }
    }
}

/// Returns the customer that an event names, in its submission or its draft.
fn customer_in_event(data: &Value) -> Customer {
    let customer = data
        .pointer("/submission/customer")
        .or_else(|| data.pointer("/draft/customer"));
    let text = |name| {
        customer
            .and_then(|customer| customer.get(name))
            .and_then(Value::as_str)
    };
    Customer::new(text("id"), text("phone"))
}

fn recipient_of_customer(customer: Customer) -> Result<Recipient, MessageError> {
    let phone = customer.phone.map(Recipient::Phone);
    phone
        .or(customer.id.map(Recipient::Id))
        .ok_or(MessageError::UnknownCustomer)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn recipient_is_number_or_id() {
        let phone = |number: &str| Ok(Recipient::Phone(number.into()));
        let id = |id: &str| Ok(Recipient::Id(id.into()));
        let unknown = Err(MessageError::UnknownCustomer);
        let nobody = || json!({"id": null, "phone": null});
        let known = Customer::from_text("491511234567");
        for (customer, known, expected) in [
            (json!({"id": "DE.1", "phone": "4915"}), None, phone("4915")),
            (json!({"id": "DE.1a", "phone": null}), None, id("DE.1a")),
            (json!({"id": "user-7", "phone": null}), None, id("user-7")),
            (nobody(), None, unknown.clone()),
            (nobody(), Some(&Customer::default()), unknown),
            (nobody(), Some(&known), phone("491511234567")),
        ] {
            let data = json!({"submission": {"customer": customer}});
            let recipient = RecipientKind::Customer.resolve_recipient(&data, known);
            assert_eq!(recipient, expected, "{data}");
        }
        let draft = json!({"draft": {"customer": {"id": "DE.2", "phone": null}}});
        let recipient = RecipientKind::Customer.resolve_recipient(&draft, None);
        assert_eq!(recipient, id("DE.2"));
    }

    #[test]
    fn agent_recipient_uses_configured_number() {
        let ann = AgentName::new("Ann").unwrap();
        let agents = RecipientKind::Agent(BTreeMap::from([(ann, "+491511234567".into())]));
        let no_number = MessageError::NoAgentNumber("Bob".to_owned());
        for (agent, expected) in [
            (json!("Ann"), Ok(Recipient::Phone("+491511234567".into()))),
            (json!("Bob"), Err(no_number)),
            (Value::Null, Err(MessageError::NoAgent)),
        ] {
            let data = json!({"lead": {"agent": agent}});
            assert_eq!(agents.resolve_recipient(&data, None), expected, "{data}");
        }
        let mut named = EventKind::ALL.to_vec();
        named.retain(|kind| agents.is_in_event(*kind));
        assert_eq!(named, [EventKind::LeadAssigned]);
        assert!(!RecipientKind::Customer.is_in_event(EventKind::JobDead));
    }
}
