//! Handles `POST /gateways/NAME`, the webhook of an unofficial gateway.
//!
//! The server responds after the commit. No gateway documents whether it sends a failed webhook
//! again.

use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::HeaderMap;

use crate::intake::GatewayWebhook;
use crate::store::{AcceptOutcome, IngestGatewayMessages};

use super::request_log::RequestLog;
use super::response::{self, HttpError, HttpResponse};
use super::state::AppState;

pub(super) async fn handle_post(
    app: &AppState,
    webhook: &GatewayWebhook,
    headers: &HeaderMap,
    body: Incoming,
    log: &mut RequestLog<'_>,
) -> Result<HttpResponse, HttpError> {
    let (bytes, deadline) = app.read_gateway_body(webhook, headers, body, log).await?;
    let events = webhook.parse(&app.catalog, &bytes)?;
    let gateway = webhook.name();
    log.outcome = if events.is_other_session {
        "other_session"
    } else {
        "received"
    };
    if let Some(state) = events.state {
        app.gateway_registry.report_state(gateway, state);
    }
    if events.has_whatsapp_activity {
        let ingest = IngestGatewayMessages {
            gateway: gateway.clone(),
            submissions: events.forms,
            other_keys: events.other_keys,
        };
        let ingested = super::flow::plain::execute(app, ingest, deadline, log).await?;
        app.gateway_registry.report_activity(gateway);
        count_messages(gateway.as_str(), "message", ingested.new_messages);
        count_messages(
            gateway.as_str(),
            "form",
            ingested.outcomes.iter().filter(|form| is_new(form)).count(),
        );
        ingested
            .outcomes
            .iter()
            .for_each(|accepted| record_accepted(accepted, log));
    }
    Ok(response::json_response(
        StatusCode::OK,
        bytes::Bytes::from_static(b"{\"status\":\"received\"}"),
    ))
}

const fn is_new(accepted: &AcceptOutcome) -> bool {
    matches!(accepted, AcceptOutcome::New { .. })
}

fn count_messages(gateway: &str, kind: &'static str, count: usize) {
    if count > 0 {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        metrics::counter!("flowgate_gateway_messages_total", "gateway" => gateway.to_owned(), "kind" => kind)
            .increment(count);
    }
}

/// Writes the outcome of a form text to the request log and to the log.
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
                "form accepted from a gateway"
            );
        }
        AcceptOutcome::Duplicate { original: of } => log.submission_id = *of,
        // Only items whose sender waits for a response, or items that can't be parsed, have these
        // results.
        AcceptOutcome::DeadLetter { .. }
        | AcceptOutcome::TokenShared
        | AcceptOutcome::Replayed
        | AcceptOutcome::SlotRefused { .. }
        | AcceptOutcome::InvalidSlotFields { .. } => {}
    }
}
