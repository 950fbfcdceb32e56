//! Parses Meta's webhooks: batches of messages, of which the completed flows become submissions.
//!
//! A body may contain up to a thousand updates (*Create a webhook endpoint*). After any status
//! other than 200, Meta sends the whole body again for days. One message that can't be parsed must
//! therefore not fail the others. The parser handles each layer on its own. A piece that can't be
//! parsed becomes a dead letter with its reason. Only a body that is not a JSON object is refused.

//!
//! See `batch` for the webhook fields in which messages arrive, and `message` for echoes.

mod batch;
mod contact;
mod customer_change;
mod form;
mod health_event;
mod message;
mod status;

use crate::domain::submission::inbound::{InboundSubmission, UnparsableMessage};

use super::json::{JsonFields, parse_object};
use super::{Catalog, IntakeError};
pub use batch::WebhookBatch;
use message::{MessageContext, MessageKind};

/// Parses a body. The caller has verified Meta's signature.
///
/// # Errors
/// [`IntakeError`] if the body is not a JSON object. Any error further inside becomes a dead
/// letter.
pub fn parse(catalog: &Catalog, body: &[u8]) -> Result<WebhookBatch, IntakeError> {
    parse_into(WebhookBatch::default(), catalog, body)
}

/// Parses a body as [`parse`] does, and returns each inbound item as a dead letter, in order. The
/// caller stores the dead letters of items that can't be accepted.
///
/// # Errors
/// The same errors as [`parse`].
pub fn parse_as_dead_letters(
    catalog: &Catalog,
    body: &[u8],
) -> Result<Vec<UnparsableMessage>, IntakeError> {
    let batch = WebhookBatch {
        dead_letters: Some(Vec::new()),
        ..WebhookBatch::default()
    };
    Ok(parse_into(batch, catalog, body)?
        .dead_letters
        .unwrap_or_default())
}

fn parse_into(
    mut batch: WebhookBatch,
    catalog: &Catalog,
    body: &[u8],
) -> Result<WebhookBatch, IntakeError> {
    let fields = parse_object(body)?;
    let Some(entries) = fields.items("entry") else {
        let whole = std::str::from_utf8(body).unwrap_or_default();
        batch.push_unparsable("`entry` is not an array", whole.to_owned());
        return Ok(batch);
    };
    for entry in entries {
        let fields = JsonFields::parse(entry.get()).ok();
        match fields.and_then(|fields| Some((fields.unix_time("time"), fields.items("changes")?))) {
            Some((sent_at, changes)) => {
                for change in changes {
                    batch.read_change(catalog, sent_at, change);
                }
            }
            None => batch.push_unparsable(
                "an item of `entry` has no valid `changes`",
                entry.get().to_owned(),
            ),
        }
    }
    Ok(batch)
}

/// Parses one stored message again. `payload` is the payload of a dead letter, as received or as
/// corrected by an admin.
///
/// # Errors
/// The reason why the payload is no submission.
pub fn reparse(catalog: &Catalog, payload: &str) -> Result<InboundSubmission, String> {
    let envelope = JsonFields::parse(payload)
        .map_err(|error| format!("the payload is not a JSON object ({error})"))?;
    let message = envelope
        .get("message")
        .ok_or("the payload has no `message`")?;
    match MessageContext::new(&envelope).classify(catalog, message) {
        MessageKind::Submission(form) => Ok(*form),
        MessageKind::CustomerChange(_) | MessageKind::Other => {
            Err("the message is not a completed flow".to_owned())
        }
        MessageKind::Unparsable(unparsable) => Err(unparsable.reason),
    }
}

#[cfg(test)]
mod tests;
