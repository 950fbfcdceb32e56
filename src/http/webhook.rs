//! Meta's webhook: its verification, and its batches.
//!
//! Anything but a 200 makes Meta send a whole batch again for days (*Create a webhook endpoint*): only a wrong signature,
//! a body that is no JSON, and a store that can't commit get anything else.

mod apart;

use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use percent_encoding::percent_decode_str;
use subtle::ConstantTimeEq;

use crate::domain::flow::SignatureRule;
use crate::domain::health_event::{HealthEvent, Standing};
use crate::domain::verdict::Verdict;
use crate::intake::cloud_api;
use crate::store::{Accept, Accepted, Receive};

use super::respond::{self, Answer, Refusal};
use super::service::App;
use super::trace::Trace;

/// `GET /webhook`: Meta asks whether the address is ours (*Webhooks*, "Verification requests").
pub(super) fn verify(app: &App, query: &str, trace: &mut Trace<'_>) -> Result<Answer, Refusal> {
    let Some(expected) = &app.trust.verify_token else {
        return Err(Refusal::Verification("no verify_token is set: set the variable that meta.verify_token names"));
    };
    let mode = parameter(query, "hub.mode");
    let token = parameter(query, "hub.verify_token").unwrap_or_default();
    let fits = bool::from(token.ct_eq(expected.expose().as_bytes()));
    match parameter(query, "hub.challenge") {
        Some(challenge) if fits && mode.as_deref() == Some(b"subscribe") => {
            trace.outcome = "verified";
            Ok(respond::text(StatusCode::OK, challenge))
        }
        _ if !fits => Err(Refusal::Verification("hub.verify_token does not fit meta.verify_token of the config")),
        _ => Err(Refusal::Verification("hub.mode is not `subscribe`, or hub.challenge is missing")),
    }
}

/// The first parameter of that name, decoded. A form's `+` is a space.
fn parameter(query: &str, name: &str) -> Option<Vec<u8>> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).collect::<Vec<u8>>();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(known, _)| decode(known) == name.as_bytes()).map(|(_, value)| decode(value)).next()
}

/// `POST /webhook`: all that a body brought is one transaction, answered once.
pub(super) async fn post(
    app: &App,
    headers: &HeaderMap,
    body: Incoming,
    trace: &mut Trace<'_>,
) -> Result<Answer, Refusal> {
    let limit = app.limits.body;
    let (bytes, deadline) = app.signed_body(SignatureRule::Required, headers, body, limit, trace).await?;
    let delivery = cloud_api::read(&app.catalog, &bytes)?;
    for (kind, count) in [
        ("completed_flow", u64::try_from(delivery.arrivals.len()).unwrap_or(u64::MAX)),
        ("customer_change", u64::try_from(delivery.changes.len()).unwrap_or(u64::MAX)),
        ("other_message", delivery.other_messages),
        ("status", u64::try_from(delivery.statuses.len()).unwrap_or(u64::MAX)),
        ("other_status", delivery.other_statuses),
        ("health_event", u64::try_from(delivery.health_events.len()).unwrap_or(u64::MAX)),
        ("other_update", delivery.other_updates),
    ] {
        if count > 0 {
            metrics::counter!("flowgate_webhook_updates_total", "kind" => kind).increment(count);
        }
    }
    trace.hear(delivery.numbers);
    trace.outcome = "received";
    let receive = Receive {
        accept: Accept { arrivals: delivery.arrivals },
        events: delivery.health_events,
        statuses: delivery.statuses,
        flows: if delivery.changes.is_empty() { Vec::new() } else { app.catalog.flows.keys().cloned().collect() },
        changes: delivery.changes,
    };
    if !receive.is_empty() {
        let received = match super::flows::ask(app, receive, deadline, trace).await? {
            Ok(received) => received,
            Err(error) if error.is_of_one_change() => apart::take(app, &bytes, deadline, trace).await?,
            Err(_) => return Err(Refusal::NotStored),
        };
        received.accepted.iter().for_each(|accepted| tell(accepted, trace));
        received.events.into_iter().for_each(tell_event);
    }
    Ok(respond::json_answer(StatusCode::OK, bytes::Bytes::from_static(b"{\"status\":\"received\"}")))
}

/// Ties each message of a batch to what became of it.
fn tell(accepted: &Accepted, trace: &mut Trace<'_>) {
    match accepted {
        Accepted::New { submission, job, .. } => {
            (trace.submission, trace.job) = (Some(*submission), Some(*job));
            tracing::info!(submission.id = submission.get(), job.id = job.get(), "form accepted by webhook");
        }
        Accepted::Duplicate { of } => {
            tracing::debug!(submission.id = of.map(crate::domain::ids::SubmissionId::get), "message seen before");
        }
        Accepted::DeadLetter { job } => {
            tracing::warn!(job.id = job.get(), "a message can't be read: see `flowgate dead list`");
        }
        // Only what somebody waits for an answer to can be one of these.
        Accepted::TokenShared | Accepted::Replayed | Accepted::SlotRefused { .. } | Accepted::Unfit { .. } => {}
    }
}

/// Tells what Meta's monitoring says: loudly where something is wrong.
fn tell_event(event: HealthEvent) {
    metrics::counter!("flowgate_flow_health_events_total", "event" => event.kind()).increment(1);
    let stand = Standing::of(event);
    let (event, flow_id) = (&*stand.event.event, &*stand.event.flow_id);
    let (state, message) = (stand.state(), stand.said.message.as_deref());
    if stand.verdict() == Verdict::Ok {
        tracing::info!(
            meta.event = event,
            meta.flow_id = flow_id,
            state,
            message,
            "Meta's monitoring speaks of a flow"
        );
    } else {
        tracing::warn!(
            meta.event = event,
            meta.flow_id = flow_id,
            state,
            message,
            "Meta's monitoring warns of a flow: see `flowgate flows health`"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_in_any_order_and_decoded() {
        let query = "hub.challenge=1158%2B20&x&hub%2Emode=subscribe&hub.verify_token=let+me%20in&hub.mode=twice";
        assert_eq!(parameter(query, "hub.challenge").unwrap(), b"1158+20");
        assert_eq!(parameter(query, "hub.mode").unwrap(), b"subscribe");
        assert_eq!(parameter(query, "hub.verify_token").unwrap(), b"let me in");
        assert_eq!(parameter(query, "hub.nothing"), None);
    }
}
