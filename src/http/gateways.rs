//! Handles `POST /gateways/NAME`, the webhook of an unofficial gateway.
//!
//! The server responds after the commit. No gateway documents whether it sends a failed webhook
//! again.

use hyper::Request;
use hyper::body::Incoming;

use super::request::RequestContext;
use super::request_log::RequestLog;
use super::response::{self, HttpError, HttpResponse};
use crate::intake::GatewayWebhook;
use crate::store::{AcceptOutcome, IngestGatewayMessages};

pub(super) async fn handle_post(
    context: &mut RequestContext<'_>,
    webhook: &GatewayWebhook,
    request: Request<Incoming>,
) -> Result<HttpResponse, HttpError> {
    let bytes = context.read_gateway_body(request, webhook).await?;
    let events = webhook.parse(&context.app.config.catalog, &bytes)?;
    let (gateway, registry) = (webhook.name(), &context.app.gateway_registry);
    context.log.outcome = if events.is_other_session {
        "other_session"
    } else {
        "received"
    };
    if let Some(state) = events.state {
        registry.report_state(gateway, state);
    }
    if events.has_whatsapp_activity {
        let ingest = IngestGatewayMessages {
            gateway: gateway.clone(),
            submissions: events.forms,
            other_keys: events.other_keys,
        };
        let ingested = context.execute(ingest).await?;
        registry.report_activity(gateway);
        let outcomes = ingested.outcomes.iter();
        let new_forms = outcomes.filter(|form| matches!(form, AcceptOutcome::New { .. }));
        count_messages(gateway.as_str(), "message", ingested.new_messages);
        count_messages(gateway.as_str(), "form", new_forms.count());
        for accepted in &ingested.outcomes {
            record_accepted(accepted, &mut context.log);
        }
    }
    Ok(response::json(response::RECEIVED))
}

fn count_messages(gateway: &str, kind: &'static str, count: usize) {
    if count > 0 {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let labels = [("gateway", gateway.to_owned()), ("kind", kind.to_owned())];
        metrics::counter!("flowgate_gateway_messages_total", &labels).increment(count);
    }
}

/// Writes the outcome of a form text to the request log and to the log.
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
                "form accepted from a gateway"
            );
        }
        AcceptOutcome::Duplicate { original } => log.submission_id = *original,
        // Only items whose sender waits for a response, or items that can't be parsed, have these
        // results.
        AcceptOutcome::DeadLetter { .. }
        | AcceptOutcome::TokenShared
        | AcceptOutcome::Replayed
        | AcceptOutcome::SlotRefused { .. }
        | AcceptOutcome::InvalidSlotFields { .. } => {}
    }
}
