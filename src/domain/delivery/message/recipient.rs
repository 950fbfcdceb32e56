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
                let event_customer = customer_in_event(data);
                recipient_of_customer(
                    customer
                        .filter(|known| !known.is_unknown())
                        .unwrap_or(&event_customer),
                )
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

fn recipient_of_customer(customer: &Customer) -> Result<Recipient, MessageError> {
    match customer {
        Customer {
            phone: Some(phone), ..
        } => Ok(Recipient::Phone(phone.clone())),
        Customer { id: Some(id), .. } => Ok(Recipient::Id(id.clone())),
        Customer {
            id: None,
            phone: None,
        } => Err(MessageError::UnknownCustomer),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn recipient_is_number_or_id() {
        let to = |user: Value, known: Option<&Customer>| {
            RecipientKind::Customer
                .resolve_recipient(&json!({"submission": {"customer": user}}), known)
        };
        let phone = json!({"id": "DE.1", "phone": "491511234567"});
        assert_eq!(to(phone, None), Ok(Recipient::Phone("491511234567".into())));
        assert_eq!(
            to(json!({"id": "DE.1a", "phone": null}), None),
            Ok(Recipient::Id("DE.1a".into()))
        );
        let unknown_customer = json!({"id": null, "phone": null});
        assert_eq!(
            to(unknown_customer.clone(), None),
            Err(MessageError::UnknownCustomer)
        );
        assert_eq!(
            to(unknown_customer.clone(), Some(&Customer::default())),
            Err(MessageError::UnknownCustomer)
        );
        let known = Customer::from_text("491511234567");
        assert_eq!(
            to(unknown_customer, Some(&known)),
            Ok(Recipient::Phone("491511234567".into()))
        );
        let left = json!({"draft": {"customer": {"id": "DE.2", "phone": null}}});
        assert_eq!(
            RecipientKind::Customer.resolve_recipient(&left, None),
            Ok(Recipient::Id("DE.2".into()))
        );
    }

    #[test]
    fn agent_recipient_uses_configured_number() {
        let ann = AgentName::new("Ann").unwrap();
        let agents = RecipientKind::Agent(BTreeMap::from([(ann, "+491511234567".into())]));
        let to = |agent: Value| agents.resolve_recipient(&json!({"lead": {"agent": agent}}), None);
        assert_eq!(
            to(json!("Ann")),
            Ok(Recipient::Phone("+491511234567".into()))
        );
        assert_eq!(
            to(json!("Bob")),
            Err(MessageError::NoAgentNumber("Bob".to_owned()))
        );
        assert_eq!(to(Value::Null), Err(MessageError::NoAgent));
        let named: Vec<_> = EventKind::ALL
            .into_iter()
            .filter(|kind| agents.is_in_event(*kind))
            .collect();
        assert_eq!(named, [EventKind::LeadAssigned]);
        assert!(!RecipientKind::Customer.is_in_event(EventKind::JobDead));
    }
}
