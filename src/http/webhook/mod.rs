//! Handles Meta's webhook: the verification request and the batches of updates.
//!
//! After any status other than 200, Meta sends the whole batch again for days (*Create a webhook
//! endpoint*). Only three cases get another status: a wrong signature, a body that is not JSON, and
//! a store that can't commit.

mod item_ingest;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use percent_encoding::percent_decode_str;
use subtle::ConstantTimeEq;

use crate::domain::flow::SignaturePolicy;
use crate::domain::health::assessment::Severity;
use crate::domain::health::meta_event::{ActiveEvent, HealthEvent};
use crate::intake::cloud_api;
use crate::store::{AcceptInbound, AcceptOutcome, IngestWebhook};

use super::request_log::RequestLog;
use super::response::{self, HttpError, HttpResponse};
use super::state::AppState;

/// Handles `GET /webhook`, by which Meta verifies the owner of the URL (*Webhooks*, "Verification
/// requests").
pub(super) fn handle_verification(
    app: &AppState,
    query: &str,
    log: &mut RequestLog<'_>,
) -> Result<HttpResponse, HttpError> {
    let Some(expected) = &app.credentials.verify_token else {
        return Err(HttpError::VerificationFailed(
            "meta.verify_token has no value: set the environment variable that it refers to",
        ));
    };
    let mode = query_parameter(query, "hub.mode");
    let token = query_parameter(query, "hub.verify_token").unwrap_or_default();
    let fits = bool::from(token.ct_eq(expected.expose().as_bytes()));
    match query_parameter(query, "hub.challenge") {
        Some(challenge) if fits && mode.as_deref() == Some(b"subscribe") => {
            log.outcome = "verified";
            Ok(response::text_response(StatusCode::OK, challenge))
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
    app: &AppState,
    headers: &HeaderMap,
    body: Incoming,
    log: &mut RequestLog<'_>,
) -> Result<HttpResponse, HttpError> {
    let limit = app.limits.max_webhook_body;
    let (bytes, deadline) = app
        .read_signed_body(SignaturePolicy::Required, headers, body, limit, log)
        .await?;
    let batch = cloud_api::parse(&app.catalog, &bytes)?;
    for (kind, count) in [
        (
            "completed_flow",
            u64::try_from(batch.inbound.len()).unwrap_or(u64::MAX),
        ),
        (
            "customer_change",
            u64::try_from(batch.customer_changes.len()).unwrap_or(u64::MAX),
        ),
        ("other_message", batch.other_messages),
        (
            "status",
            u64::try_from(batch.statuses.len()).unwrap_or(u64::MAX),
        ),
        ("other_status", batch.other_statuses),
        (
            "health_event",
            u64::try_from(batch.health_events.len()).unwrap_or(u64::MAX),
        ),
        ("other_update", batch.other_updates),
    ] {
        if count > 0 {
            metrics::counter!("flowgate_webhook_updates_total", "kind" => kind).increment(count);
        }
    }
    log.record_numbers(batch.business_numbers);
    log.outcome = "received";
    let ingest = IngestWebhook {
        messages: AcceptInbound {
            inbound: batch.inbound,
        },
        health_events: batch.health_events,
        statuses: batch.statuses,
        flows: if batch.customer_changes.is_empty() {
            Vec::new()
        } else {
            app.catalog.flows.keys().cloned().collect()
        },
        customer_changes: batch.customer_changes,
    };
    if !ingest.is_empty() {
        let ingested = match super::flow::plain::try_execute(app, ingest, deadline, log).await? {
            Ok(ingested) => ingested,
            Err(error) if error.affects_one_row() => {
                item_ingest::ingest_separately(app, &bytes, deadline, log).await?
            }
            Err(_) => return Err(HttpError::CommitFailed),
        };
        ingested
            .messages
            .iter()
            .for_each(|accepted| record_accepted(accepted, log));
        ingested
            .new_health_events
            .into_iter()
            .for_each(log_health_event);
    }
    Ok(response::json_response(
        StatusCode::OK,
        bytes::Bytes::from_static(b"{\"status\":\"received\"}"),
    ))
}

/// Writes the outcome of each message of a batch to the request log and to the log.
fn record_accepted(accepted: &AcceptOutcome, log: &mut RequestLog<'_>) {
    match accepted {
        AcceptOutcome::New {
            submission_id: submission,
            job_id: job,
            ..
        } => {
            (log.submission_id, log.job_id) = (Some(*submission), Some(*job));
            tracing::info!(
                submission.id = submission.get(),
                job.id = job.get(),
                "form accepted by webhook"
            );
        }
        AcceptOutcome::Duplicate { original: of } => {
            tracing::debug!(
                submission.id = of.map(crate::domain::ids::SubmissionId::get),
                "duplicate message"
            );
        }
        AcceptOutcome::DeadLetter { job_id: job } => {
            tracing::warn!(
                job.id = job.get(),
                "a message can't be parsed and is a dead letter now: see `flowgate dead-letters list`"
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
        assert_eq!(
            query_parameter(query, "hub.verify_token").unwrap(),
            b"let me in"
        );
        assert_eq!(query_parameter(query, "hub.nothing"), None);
    }
}
