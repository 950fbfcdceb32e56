//! Ingests the items of a webhook body one by one if a damaged row fails the whole body.
//!
//! Only the items that need the damaged row are affected. Such a message becomes a dead letter with
//! the reason. Such a status, event or customer change is skipped. A message is skipped if its dead
//! letter can't be stored either.
//!
//! Without this, one damaged row would block all forms of its body each time Meta sends it again.

use crate::domain::customer_change::CustomerChange;
use crate::domain::delivery::receipt::StatusUpdate;
use crate::domain::health::meta_event::HealthEvent;
use crate::domain::ids::FlowName;
use crate::domain::submission::inbound::{Inbound, UnparsableMessage};
use crate::http::request::RequestContext;
use crate::http::response::HttpError;
use crate::intake::cloud_api;
use crate::store::{AcceptInbound, AcceptOutcome, IngestWebhook, IngestedWebhook, StoreError};

/// Item of a webhook body.
enum BatchItem {
    /// Message, with the dead letter that it becomes if it can't be stored.
    Message(Inbound, Box<UnparsableMessage>),
    HealthEvent(HealthEvent),
    Status(StatusUpdate),
    CustomerChange(CustomerChange),
}

/// Ingests the items of `body`. Halves a part that fails, until the part is stored or is one item.
pub(super) async fn ingest_separately(
    context: &mut RequestContext<'_>,
    body: &[u8],
) -> Result<IngestedWebhook, HttpError> {
    let app = context.app;
    let batch = cloud_api::parse(&app.config.catalog, body)?;
    let dead_letters = cloud_api::parse_as_dead_letters(&app.config.catalog, body)?;
    let messages = batch.inbound.into_iter().zip(dead_letters);
    let messages =
        messages.map(|(arrival, dead_letter)| BatchItem::Message(arrival, Box::new(dead_letter)));
    let statuses = batch.statuses.into_iter().map(BatchItem::Status);
    let events = batch.health_events.into_iter().map(BatchItem::HealthEvent);
    let changes = batch
        .customer_changes
        .into_iter()
        .map(BatchItem::CustomerChange);
    let items: Vec<BatchItem> = events
        .chain(statuses)
        .chain(messages)
        .chain(changes)
        .collect();
    let flows: Vec<FlowName> = app.config.catalog.flows.keys().cloned().collect();
    let mut ingested = IngestedWebhook {
        messages: Vec::new(),
        new_health_events: Vec::new(),
    };
    let mut slices: Vec<&[BatchItem]> = vec![&items];
    while let Some(slice) = slices.pop() {
        let part = build_transaction(slice, &flows);
        match (context.try_execute(part).await?, slice) {
            (Ok(ingested_slice), _) => {
                ingested.messages.extend(ingested_slice.messages);
                ingested
                    .new_health_events
                    .extend(ingested_slice.new_health_events);
            }
            (Err(error), [BatchItem::Message(_, dead_letter)]) if error.affects_one_row() => {
                let dead_letter = UnparsableMessage {
                    reason: error.to_string(),
                    ..UnparsableMessage::clone(dead_letter)
                };
                match store_dead_letter(context, dead_letter).await? {
                    Some(stored) => {
                        tracing::error!(
                            %error,
                            "a message needs a row that can't be read, and was stored as a dead \
                             letter: run `flowgate check`"
                        );
                        ingested.messages.extend(stored);
                    }
                    None => log_skipped(&error),
                }
            }
            (Err(error), [_]) if error.affects_one_row() => log_skipped(&error),
            (Err(error), _) if error.affects_one_row() => {
                let (first_half, second_half) = slice.split_at(slice.len() / 2);
                slices.extend([second_half, first_half]);
            }
            (Err(_), _) => return Err(HttpError::CommitFailed),
        }
    }
    Ok(ingested)
}

/// Stores the dead letter of a message.
///
/// The dead letter is stored without a key if its key can't be looked up. A copy of the message
/// may then get a second dead letter. Returns `None` if a damaged row also prevents the dead
/// letter without a key.
async fn store_dead_letter(
    context: &mut RequestContext<'_>,
    dead_letter: UnparsableMessage,
) -> Result<Option<Vec<AcceptOutcome>>, HttpError> {
    let without_keys = UnparsableMessage {
        message_key: None,
        cross_flow_keys: Vec::new(),
        late_arrival: None,
        ..dead_letter.clone()
    };
    for dead_letter in [dead_letter, without_keys] {
        let inbound = vec![Inbound::Unparsable(Box::new(dead_letter))];
        match context.try_execute(AcceptInbound { inbound }).await? {
            Ok(stored) => return Ok(Some(stored)),
            Err(error) if error.affects_one_row() => {}
            Err(_) => return Err(HttpError::CommitFailed),
        }
    }
    Ok(None)
}

fn build_transaction(slice: &[BatchItem], flows: &[FlowName]) -> IngestWebhook {
    let mut ingest = IngestWebhook {
        flows: flows.to_vec(),
        ..IngestWebhook::default()
    };
    for item in slice {
        match item {
            BatchItem::Message(arrival, _) => ingest.messages.inbound.push(arrival.clone()),
            BatchItem::HealthEvent(event) => ingest.health_events.push(event.clone()),
            BatchItem::Status(status) => ingest.statuses.push(status.clone()),
            BatchItem::CustomerChange(change) => ingest.customer_changes.push(change.clone()),
        }
    }
    ingest
}

fn log_skipped(error: &StoreError) {
    metrics::counter!("flowgate_webhook_updates_total", "kind" => "skipped").increment(1);
    tracing::error!(
        %error,
        "a webhook item (message, status, event or new phone number) needs a row that can't be \
         read, and was skipped: run `flowgate check`"
    );
}
