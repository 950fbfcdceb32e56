//! Handles Meta's webhook: the verification request and the batches of updates.
//!
//! After any status other than 200, Meta sends the whole batch again for days (*Create a webhook
//! endpoint*). Only three cases get another status: a wrong signature, a body that is not JSON, and
//! a store that can't commit.

mod item_ingest;

use hyper::Request;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use subtle::ConstantTimeEq;

use super::request::RequestContext;
use super::request_log::RequestLog;
use super::response::{self, HttpError, HttpResponse};
use crate::domain::flow::SignaturePolicy;
use crate::domain::health::assessment::Severity;
use crate::domain::health::meta_event::{ActiveEvent, HealthEvent};
use crate::domain::ids::SubmissionId;
use crate::intake::cloud_api::{self, WebhookBatch};
use crate::store::{AcceptInbound, AcceptOutcome, IngestWebhook};

/// Handles `GET /webhook`, by which Meta verifies the owner of the URL (*Webhooks*, "Verification
/// requests").
pub(super) fn handle_verification(
    context: &mut RequestContext<'_>,
    query: &str,
) -> Result<HttpResponse, HttpError> {
    let Some(expected) = &context.app.config.credentials.verify_token else {
        return Err(HttpError::VerificationFailed(
            "meta.verify_token has no value: set the environment variable that it refers to",
        ));
    };
    let mode = query_parameter(query, "hub.mode");
    let token = query_parameter(query, "hub.verify_token").unwrap_or_default();
    let fits = bool::from(token.ct_eq(expected.expose().as_bytes()));
    match query_parameter(query, "hub.challenge") {
        Some(challenge) if fits && mode.as_deref() == Some(b"subscribe") => {
            context.log.outcome = "verified";
            Ok(response::text(challenge))
        }
        _ if !fits => Err(HttpError::VerificationFailed(
            "hub.verify_token differs from meta.verify_token in the config",
        )),
        _ => Err(HttpError::VerificationFailed(
            "hub.mode is not `subscribe`, or hub.challenge is missing",
        )),
    }
}

/// Returns the first parameter with this name, decoded. `+` is decoded as a space, as in forms.
fn query_parameter(query: &str, name: &str) -> Option<Vec<u8>> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).collect::<Vec<u8>>();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(known, _)| decode(known) == name.as_bytes())
        .map(|(_, value)| decode(value))
        .next()
}

/// Handles `POST /webhook`. All items of a body are one transaction with one response.
pub(super) async fn handle_post(
    context: &mut RequestContext<'_>,
    request: Request<Incoming>,
) -> Result<HttpResponse, HttpError> {
    let app = context.app;
    let limit = app.config.limits.max_webhook_body;
    let read = context.read_signed_body(request, SignaturePolicy::Required, limit);
    let bytes = read.await?;
    let batch = cloud_api::parse(&app.config.catalog, &bytes)?;
    count_updates(&batch);
    context.log.record_numbers(batch.business_numbers);
    context.log.outcome = "received";
    let ingest = IngestWebhook {
        messages: AcceptInbound {
            inbound: batch.inbound,
        },
        health_events: batch.health_events,
        statuses: batch.statuses,
        flows: if batch.customer_changes.is_empty() {
            Vec::new()
        } else {
            app.config.catalog.flows.keys().cloned().collect()
        },
        customer_changes: batch.customer_changes,
    };
    if !ingest.is_empty() {
        let ingested = match context.try_execute(ingest).await? {
            Ok(ingested) => ingested,
            Err(error) if error.affects_one_row() => {
                item_ingest::ingest_separately(context, &bytes).await?
            }
            Err(_) => return Err(HttpError::CommitFailed),
        };
        for accepted in &ingested.messages {
            record_accepted(accepted, &mut context.log);
        }
        for event in ingested.new_health_events {
            log_health_event(event);
        }
    }
    Ok(response::json(response::RECEIVED))
}

/// Counts the items of a body by their kind.
fn count_updates(batch: &WebhookBatch) {
    let count = |items: usize| u64::try_from(items).unwrap_or(u64::MAX);
    for (kind, count) in [
        ("completed_flow", count(batch.inbound.len())),
        ("customer_change", count(batch.customer_changes.len())),
        ("other_message", batch.other_messages),
        ("status", count(batch.statuses.len())),
        ("other_status", batch.other_statuses),
        ("health_event", count(batch.health_events.len())),
        ("other_update", batch.other_updates),
    ] {
        if count > 0 {
            metrics::counter!("flowgate_webhook_updates_total", "kind" => kind).increment(count);
        }
    }
}

/// Writes the outcome of each message of a batch to the request log and to the log.
fn record_accepted(accepted: &AcceptOutcome, log: &mut RequestLog<'_>) {
    match accepted {
        AcceptOutcome::New {
            submission_id,
            job_id,
            ..
        } => {
            (log.submission_id, log.job_id) = (Some(*submission_id), Some(*job_id));
            tracing::info!(
                submission.id = submission_id.get(),
                job.id = job_id.get(),
                "form accepted by webhook"
            );
        }
        AcceptOutcome::Duplicate { original } => {
            tracing::debug!(
                submission.id = original.map(SubmissionId::get),
                "duplicate message"
            );
        }
        AcceptOutcome::DeadLetter { job_id } => {
            tracing::warn!(
                job.id = job_id.get(),
                "a message can't be parsed and is a dead letter now: \
                 see `flowgate dead-letters list`"
            );
        }
        // Only items whose sender waits for a response have these results.
        AcceptOutcome::TokenShared
        | AcceptOutcome::Replayed
        | AcceptOutcome::SlotRefused { .. }
        | AcceptOutcome::InvalidSlotFields { .. } => {}
    }
}

/// Logs an event of Meta's monitoring. An event that reports a problem is logged as a warning.
fn log_health_event(event: HealthEvent) {
    metrics::counter!("flowgate_flow_health_events_total", "event" => event.metric_label())
        .increment(1);
    let active = ActiveEvent::new(event);
    let (event, flow_id) = (&*active.event.name, &*active.event.meta_flow_id);
    let (state, message) = (active.state(), active.parsed.message.as_deref());
    if active.severity() == Severity::Ok {
        tracing::info!(
            meta.event = event,
            meta.flow_id = flow_id,
            state,
            message,
            "Meta's monitoring sent an event about a flow"
        );
    } else {
        tracing::warn!(
            meta.event = event,
            meta.flow_id = flow_id,
            state,
            message,
            "Meta's monitoring reports a problem with a flow: see `flowgate flows health`"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_parameters_are_order_independent_and_decoded() {
        let query = "hub.challenge=1158%2B20&x&hub%2Emode=subscribe&hub.verify_token=let+me%20in&hub.mode=twice";
        assert_eq!(query_parameter(query, "hub.challenge").unwrap(), b"1158+20");
        assert_eq!(query_parameter(query, "hub.mode").unwrap(), b"subscribe");
        let token = query_parameter(query, "hub.verify_token").unwrap();
        assert_eq!(token, b"let me in");
        assert_eq!(query_parameter(query, "hub.nothing"), None);
    }
}
