//! Defines the reasons why a message can't be sent.

use crate::domain::event::EventKind;

/// Reason why a message can't be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The customer is not known yet.
    #[error("the customer is unknown: no message with their number or id has arrived")]
    UnknownCustomer,
    /// The customer's only ID does not belong to WhatsApp.
    #[error("the only ID of the customer is neither a phone number nor a business-scoped ID")]
    NoWhatsappId,
    /// The customer's only ID is not known to gateways.
    #[error("the customer has no phone number, and a gateway can't send to the customer's ID")]
    NoGatewayId,
    /// The event names no agent.
    #[error("the event names no agent")]
    NoAgent,
    /// The config has no phone number for the agent.
    #[error("agent {0} has no phone number: add it to `agents` of the destination")]
    NoAgentNumber(String),
    /// The body is not valid JSON.
    #[error("the event is not a JSON object with `data`")]
    InvalidEvent,
    /// The config has no message for this kind of event.
    #[error("the destination has no message for {0}: add one to its `messages`")]
    MissingMessage(EventKind),
    /// The rendered text is empty.
    #[error("the text is empty: the event has no value for its placeholders")]
    EmptyText,
    /// The rendered parameter with this number, from 1, is empty.
    #[error("parameter {0} of the template is empty: the event has no value for it")]
    EmptyParameter(usize),
}
