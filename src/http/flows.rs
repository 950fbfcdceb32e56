//! A `POST` to a flow's path: body → intake → writer → answer.

use std::sync::atomic::Ordering;

use hyper::body::Incoming;
use hyper::header::HeaderMap;
use serde_json::Map;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::domain::arrival::{Arrival, Form};
use crate::domain::flow::Stage;
use crate::domain::ids::Customer;
use crate::intake::IntakeError;
use crate::intake::flow_endpoint::{Request, Sent};
use crate::store::{Accept, Accepted, DraftKept, KeepDraft, StoreError, Timing, Transaction};

use super::encrypted;
use super::respond::{self, Answer, Refusal};
use super::screens::{answers_so_far, answers_with, free_near};
use super::service::{App, Route};
use super::trace::Trace;

pub(super) async fn post(
    app: &App,
    route: &Route,
    headers: &HeaderMap,
    body: Incoming,
    trace: &mut Trace<'_>,
) -> Result<Answer, Refusal> {
    if let Some(keys) = &route.keys {
        return encrypted::post(app, route, keys, headers, body, trace).await;
    }
    let flow = &route.flow;
    let limit = app.limits.flow_body;
    let (bytes, deadline) = app.signed_body(flow.signature, headers, body, limit, trace).await?;
    match Request::read(flow, &bytes)? {
        Request::Ping => {
            trace.outcome = "ping";
            Ok(respond::pong())
        }
        Request::Show(shown) => {
            trace.outcome = "shown";
            let answers = answers_so_far(app, shown.draft_key(), &Customer::default())?;
            Ok(respond::screen(&shown.screen(&answers)))
        }
        // Known in encrypted flows only.
        Request::Complaint(_) => Err(Refusal::NotStored),
        Request::Sent(sent) => {
            if sent.lacks_token() {
                warn_of_tokens(route);
            }
            match sent.stage {
                Stage::Draft | Stage::Choice => keep_draft(app, route, &sent, deadline, trace).await,
                Stage::Final => {
                    let screen = sent.screen().to_owned();
                    let now = app.clock.now();
                    let mut accepted = accept(app, sent.form(&app.catalog, now), deadline, trace).await?;
                    if accepted == Accepted::TokenShared {
                        warn_of_sharing(route);
                        let form = sent.form_without_token(&app.catalog, now);
                        accepted = accept(app, form, deadline, trace).await?;
                    }
                    match accepted {
                        Accepted::New { .. } => Ok(respond::accepted()),
                        Accepted::Duplicate { .. } => Ok(respond::duplicate()),
                        Accepted::SlotRefused { why, date, time } => {
                            let free = free_near(app, flow, (date, time))?;
                            Ok(respond::slot_refused(&screen, why, &free))
                        }
                        Accepted::Unfit { problem } => Err(IntakeError::Unfit { screen, problem }.into()),
                        // A plain form that was read is never one of these.
                        Accepted::DeadLetter { .. } | Accepted::TokenShared | Accepted::Replayed => {
                            Err(Refusal::NotStored)
                        }
                    }
                }
            }
        }
    }
}

async fn keep_draft(
    app: &App,
    route: &Route,
    sent: &Sent<'_>,
    deadline: Instant,
    trace: &mut Trace<'_>,
) -> Result<Answer, Refusal> {
    let answers = answers_with(app, sent)?;
    let next = sent.next(&answers);
    let (key, draft) = sent.draft(next, &Map::new(), app.clock.now())?;
    trace.outcome = "draft";
    match store(app, KeepDraft { key, draft, request: None, for_good: false }, deadline, trace).await? {
        DraftKept::Kept => Ok(respond::screen(next)),
        DraftKept::TokenShared => {
            warn_of_sharing(route);
            trace.outcome = "shown";
            Ok(respond::screen(next))
        }
        DraftKept::AlreadySubmitted => {
            trace.outcome = "duplicate";
            Ok(respond::duplicate())
        }
        DraftKept::TooLarge => Err(Refusal::DraftTooLarge),
        // Known of encrypted requests only.
        DraftKept::Replayed => Err(Refusal::NotStored),
    }
}

/// Lets the writer decide on a completed form.
pub(super) async fn accept(
    app: &App,
    form: Form,
    deadline: Instant,
    trace: &mut Trace<'_>,
) -> Result<Accepted, Refusal> {
    let arrivals = vec![Arrival::Form(Box::new(form))];
    let accepted = store(app, Accept { arrivals }, deadline, trace).await?.pop().ok_or(Refusal::NotStored)?;
    match &accepted {
        Accepted::New { submission, job, .. } => {
            (trace.submission, trace.job, trace.outcome) = (Some(*submission), Some(*job), "accepted");
        }
        Accepted::Duplicate { of } => (trace.submission, trace.outcome) = (*of, "duplicate"),
        Accepted::SlotRefused { why, .. } => trace.outcome = why.as_str(),
        Accepted::Unfit { .. } | Accepted::DeadLetter { .. } | Accepted::TokenShared | Accepted::Replayed => {}
    }
    Ok(accepted)
}

/// Hands `change` to the writer and waits for the commit.
pub(super) async fn store<T: Transaction>(
    app: &App,
    change: T,
    deadline: Instant,
    trace: &mut Trace<'_>,
) -> Result<T::Outcome, Refusal> {
    ask(app, change, deadline, trace).await?.map_err(|_| Refusal::NotStored)
}

/// As [`store`], with the error of a change that could not be made.
pub(super) async fn ask<T: Transaction>(
    app: &App,
    change: T,
    deadline: Instant,
    trace: &mut Trace<'_>,
) -> Result<Result<T::Outcome, StoreError>, Refusal> {
    let (tell, told) = oneshot::channel::<(Result<T::Outcome, StoreError>, Timing)>();
    // What waits for the writer counts as long as it waits, also where nobody waits for the answer any more.
    let share = trace.share.clone();
    app.store.offer(change, move |outcome, timing| {
        drop(share);
        // Nobody listens any more where the sender has hung up: what is stored stays stored.
        let _ = tell.send((outcome, timing));
    })?;
    // Late is not the same as not stored; either way nothing was promised, and a second try is safe.
    let Ok(Ok((outcome, timing))) = timeout_at(deadline, told).await else { return Err(Refusal::NotStored) };
    trace.timing = Some(timing);
    Ok(outcome)
}

/// Says once for each flow that its sender sets no token: two forms of one user then look alike if they say the same.
pub(super) fn warn_of_tokens(route: &Route) {
    if !route.told.of_no_token.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            flow = %route.flow.name,
            "a form came without a flow_token of its own: set one in each flow message, so that every form is told from \
             every other; until then the user and the answers are the key, and an encrypted form has only what its last \
             screen sends"
        );
    }
}

/// Says once for each flow that its sender gives one token to several customers.
pub(super) fn warn_of_sharing(route: &Route) {
    if !route.told.of_shared_token.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            flow = %route.flow.name,
            "several customers use one flow_token: set one of its own in each flow message. Until then a form of this token \
             that names no user has only what its last screen sends"
        );
    }
}
