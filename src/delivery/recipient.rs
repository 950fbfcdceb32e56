//! Finds the recipient of a message to a customer or agent in the data of its event.

use serde_json::Value;

use crate::config::Recipients;
use crate::domain::delivery::message::{MessageError, Recipient};
use crate::store::PendingDelivery;

/// Returns the recipient of the message about the event of `pending`.
///
/// # Errors
/// [`MessageError`] if the message has no recipient.
pub(crate) fn resolve_recipient(
    recipients: &Recipients,
    pending: &PendingDelivery,
) -> Result<Recipient, MessageError> {
    let customer = pending.customer.as_ref();
    recipients
        .kind
        .resolve_recipient(&event_data(pending)?, customer)
}

/// Returns the data of the event.
///
/// # Errors
/// [`MessageError::InvalidEvent`] if the body is not a JSON object with data.
pub(crate) fn event_data(pending: &PendingDelivery) -> Result<Value, MessageError> {
    let mut body: Value =
        serde_json::from_str(&pending.body).map_err(|_| MessageError::InvalidEvent)?;
    let data = body.get_mut("data").map(Value::take);
    data.filter(Value::is_object)
        .ok_or(MessageError::InvalidEvent)
}
