//! Handles a `POST` to the path of a plain flow: body → intake → writer → response.
//!
//! See [`super::encrypted`] for encrypted flows.

use std::sync::atomic::Ordering;

use hyper::body::Incoming;
use hyper::header::HeaderMap;
use serde_json::Map;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::domain::flow::ScreenStage;
use crate::domain::ids::Customer;
use crate::domain::submission::inbound::{Inbound, InboundSubmission};
use crate::intake::IntakeError;
use crate::intake::flow_endpoint::{FlowRequest, ScreenSubmission};
use crate::store::{
    AcceptInbound, AcceptOutcome, DraftOutcome, SaveDraft, StoreError, Timing, Transaction,
};

use super::encrypted;
use super::screens::{draft_answers, merged_answers, nearest_free_slots};
use crate::http::request_log::RequestLog;
use crate::http::response::{self, HttpError, HttpResponse};
use crate::http::state::{AppState, FlowRoute};

pub(in crate::http) async fn handle_post(
    app: &AppState,
    route: &FlowRoute,
    headers: &HeaderMap,
    body: Incoming,
    log: &mut RequestLog<'_>,
) -> Result<HttpResponse, HttpError> {
    if let Some(keys) = &route.private_keys {
        return encrypted::handle_post(app, route, keys, headers, body, log).await;
    }
    let flow = &route.flow;
    let limit = app.limits.max_flow_body;
    let (bytes, deadline) = app
        .read_signed_body(flow.signature, headers, body, limit, log)
        .await?;
    match FlowRequest::parse(flow, &bytes)? {
        FlowRequest::Ping => {
            log.outcome = "ping";
            Ok(response::pong())
        }
        FlowRequest::ScreenRequest(shown) => {
            log.outcome = "shown";
            let answers = draft_answers(app, shown.draft_key(), &Customer::default())?;
            Ok(response::next_screen(&shown.resolve_screen(&answers)))
        }
        // Only encrypted flows have error notifications.
        FlowRequest::FlowError(_) => Err(HttpError::CommitFailed),
        FlowRequest::ScreenSubmission(sent) => {
            if sent.has_no_token() {
                warn_missing_token(route);
            }
            match sent.stage {
                ScreenStage::Draft | ScreenStage::Refresh => {
                    handle_draft(app, route, &sent, deadline, log).await
                }
                ScreenStage::Final => {
                    let screen = sent.screen_name().to_owned();
                    let now = app.clock.now();
                    let mut accepted =
                        accept_form(app, sent.to_inbound(&app.catalog, now), deadline, log).await?;
                    if accepted == AcceptOutcome::TokenShared {
                        warn_shared_token(route);
                        let form = sent.to_inbound_without_token(&app.catalog, now);
                        accepted = accept_form(app, form, deadline, log).await?;
                    }
                    match accepted {
                        AcceptOutcome::New { .. } => Ok(response::accepted()),
                        AcceptOutcome::Duplicate { .. } => Ok(response::duplicate()),
                        AcceptOutcome::SlotRefused {
                            reason: why,
                            date,
                            time,
                        } => {
                            let free = nearest_free_slots(app, flow, (date, time))?;
                            Ok(response::slot_refused(&screen, why, &free))
                        }
                        AcceptOutcome::InvalidSlotFields { error: problem } => {
                            Err(IntakeError::ValidationFailed {
                                screen,
                                error: problem,
                            }
                            .into())
                        }
                        // A parsed plain form never has these results.
                        AcceptOutcome::DeadLetter { .. }
                        | AcceptOutcome::TokenShared
                        | AcceptOutcome::Replayed => Err(HttpError::CommitFailed),
                    }
                }
            }
        }
    }
}

async fn handle_draft(
    app: &AppState,
    route: &FlowRoute,
    sent: &ScreenSubmission<'_>,
    deadline: Instant,
    log: &mut RequestLog<'_>,
) -> Result<HttpResponse, HttpError> {
    let answers = merged_answers(app, sent)?;
    let next = sent.next_screen(&answers);
    let (key, draft) = sent.draft(next, &Map::new(), app.clock.now())?;
    log.outcome = "draft";
    match execute(
        app,
        SaveDraft {
            key,
            draft,
            encrypted_request_key: None,
            reject_resubmission: false,
        },
        deadline,
        log,
    )
    .await?
    {
        DraftOutcome::Saved => Ok(response::next_screen(next)),
        DraftOutcome::TokenShared => {
            warn_shared_token(route);
            log.outcome = "shown";
            Ok(response::next_screen(next))
        }
        DraftOutcome::AlreadySubmitted => {
            log.outcome = "duplicate";
            Ok(response::duplicate())
        }
        DraftOutcome::TooLarge => Err(HttpError::DraftTooLarge),
        // Only encrypted requests can be replayed.
        DraftOutcome::Replayed => Err(HttpError::CommitFailed),
    }
}

/// Sends a completed form to the writer, which decides about the form.
pub(in crate::http) async fn accept_form(
    app: &AppState,
    form: InboundSubmission,
    deadline: Instant,
    log: &mut RequestLog<'_>,
) -> Result<AcceptOutcome, HttpError> {
    let arrivals = vec![Inbound::Submission(Box::new(form))];
    let accepted = execute(app, AcceptInbound { inbound: arrivals }, deadline, log)
        .await?
        .pop()
        .ok_or(HttpError::CommitFailed)?;
    match &accepted {
        AcceptOutcome::New {
            submission_id: submission,
            job_id: job,
            ..
        } => {
            (log.submission_id, log.job_id, log.outcome) =
                (Some(*submission), Some(*job), "accepted");
        }
        AcceptOutcome::Duplicate { original: of } => {
            (log.submission_id, log.outcome) = (*of, "duplicate");
        }
        AcceptOutcome::SlotRefused { reason: why, .. } => log.outcome = why.as_str(),
        AcceptOutcome::InvalidSlotFields { .. }
        | AcceptOutcome::DeadLetter { .. }
        | AcceptOutcome::TokenShared
        | AcceptOutcome::Replayed => {}
    }
    Ok(accepted)
}

/// Sends a transaction to the writer and waits for the commit.
pub(in crate::http) async fn execute<T: Transaction>(
    app: &AppState,
    transaction: T,
    deadline: Instant,
    log: &mut RequestLog<'_>,
) -> Result<T::Outcome, HttpError> {
    try_execute(app, transaction, deadline, log)
        .await?
        .map_err(|_| HttpError::CommitFailed)
}

/// Like [`execute`], but returns the error of a transaction that failed.
pub(in crate::http) async fn try_execute<T: Transaction>(
    app: &AppState,
    transaction: T,
    deadline: Instant,
    log: &mut RequestLog<'_>,
) -> Result<Result<T::Outcome, StoreError>, HttpError> {
    let (result_tx, result_rx) = oneshot::channel::<(Result<T::Outcome, StoreError>, Timing)>();
    // The body memory stays reserved until the writer has finished, even after the client has
    // disconnected or the deadline has passed.
    let permit = log.body_permit.clone();
    app.store.try_submit(transaction, move |outcome, timing| {
        drop(permit);
        // The client may have disconnected. The data stays stored in this case.
        let _ = result_tx.send((outcome, timing));
    })?;
    // After a timeout the transaction may still be committed. No success was acknowledged, so the
    // client can safely retry.
    let Ok(Ok((outcome, timing))) = timeout_at(deadline, result_rx).await else {
        return Err(HttpError::CommitFailed);
    };
    log.timing = Some(timing);
    Ok(outcome)
}

/// Warns once per flow that its messages set no flow token.
///
/// Without a token, two forms of one customer look alike if their answers are equal.
pub(in crate::http) fn warn_missing_token(route: &FlowRoute) {
    if !route.warnings.missing_token.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            flow = %route.flow.name,
            "a form arrived without a unique flow_token: set a different one in each flow message. Until then, duplicates are \
             found by customer and answers, and an encrypted form contains only the fields that its final \
             screen sends"
        );
    }
}

/// Warns once per flow that several customers use one flow token.
pub(in crate::http) fn warn_shared_token(route: &FlowRoute) {
    if !route.warnings.shared_token.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            flow = %route.flow.name,
            "several customers use the same flow_token: set a different one in each flow message. Until then, a form with this token \
             and without a customer contains only the fields that its final screen sends"
        );
    }
}
