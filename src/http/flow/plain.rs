//! Handles a `POST` to the path of a plain flow: body → intake → writer → response.
//!
//! See [`super::encrypted`] for encrypted flows.

use hyper::Request;
use hyper::body::Incoming;
use serde_json::Map;

use super::acceptance::accept_form;
use super::screens::{draft_answers, merged_answers, nearest_free_slots};
use crate::domain::flow::ScreenStage;
use crate::domain::ids::Customer;
use crate::http::request::RequestContext;
use crate::http::response::{self, HttpError, HttpResponse};
use crate::http::state::FlowRoute;
use crate::intake::IntakeError;
use crate::intake::flow_endpoint::{FlowRequest, ScreenSubmission};
use crate::store::{AcceptOutcome, DraftOutcome, SaveDraft};

pub(in crate::http) async fn handle_post(
    context: &mut RequestContext<'_>,
    route: &FlowRoute,
    request: Request<Incoming>,
) -> Result<HttpResponse, HttpError> {
    let (app, flow) = (context.app, &*route.flow);
    let bytes = context
        .read_signed_body(request, flow.signature, app.config.limits.max_flow_body)
        .await?;
    match FlowRequest::parse(flow, &bytes)? {
        FlowRequest::Ping => {
            context.log.outcome = "ping";
            Ok(response::json(response::PONG))
        }
        FlowRequest::ScreenRequest(shown) => {
            context.log.outcome = "shown";
            let answers = draft_answers(app, shown.draft_key(), &Customer::default())?;
            Ok(response::next_screen(&shown.resolve_screen(&answers)))
        }
        // Only encrypted flows have error notifications.
        FlowRequest::FlowError(_) => Err(HttpError::CommitFailed),
        FlowRequest::ScreenSubmission(sent) => {
            if sent.has_no_token() {
                route.warnings.warn_missing_token(&flow.name);
            }
            match sent.stage {
                ScreenStage::Draft | ScreenStage::Refresh => {
                    handle_draft(context, route, &sent).await
                }
                ScreenStage::Final => handle_form(context, route, &sent).await,
            }
        }
    }
}

async fn handle_draft(
    context: &mut RequestContext<'_>,
    route: &FlowRoute,
    sent: &ScreenSubmission<'_>,
) -> Result<HttpResponse, HttpError> {
    let app = context.app;
    let answers = merged_answers(app, sent)?;
    let next = sent.next_screen(&answers);
    let (key, draft) = sent.draft(next, &Map::new(), app.clock.now())?;
    context.log.outcome = "draft";
    let change = SaveDraft {
        key,
        draft,
        encrypted_request_key: None,
        reject_resubmission: false,
    };
    match context.execute(change).await? {
        DraftOutcome::Saved => Ok(response::next_screen(next)),
        DraftOutcome::TokenShared => {
            route.warnings.warn_shared_token(&route.flow.name);
            context.log.outcome = "shown";
            Ok(response::next_screen(next))
        }
        DraftOutcome::AlreadySubmitted => {
            context.log.outcome = "duplicate";
            Ok(response::json(response::DUPLICATE))
        }
        DraftOutcome::TooLarge => Err(HttpError::DraftTooLarge),
        // Only encrypted requests can be replayed.
        DraftOutcome::Replayed => Err(HttpError::CommitFailed),
    }
}

async fn handle_form(
    context: &mut RequestContext<'_>,
    route: &FlowRoute,
    sent: &ScreenSubmission<'_>,
) -> Result<HttpResponse, HttpError> {
    let (app, now) = (context.app, context.app.clock.now());
    let mut accepted = accept_form(context, sent.to_inbound(&app.config.catalog, now)).await?;
    if accepted == AcceptOutcome::TokenShared {
        route.warnings.warn_shared_token(&route.flow.name);
        let form = sent.to_inbound_without_token(&app.config.catalog, now);
        accepted = accept_form(context, form).await?;
    }
    match accepted {
        AcceptOutcome::New { .. } => Ok(response::json(response::ACCEPTED)),
        AcceptOutcome::Duplicate { .. } => Ok(response::json(response::DUPLICATE)),
        AcceptOutcome::SlotRefused { reason, date, time } => {
            let free = nearest_free_slots(app, &route.flow, date, time)?;
            Ok(response::slot_refused(sent.screen_name(), reason, &free))
        }
        AcceptOutcome::InvalidSlotFields { error } => Err(IntakeError::ValidationFailed {
            screen: sent.screen_name().to_owned(),
            error,
        }
        .into()),
        // A parsed plain form never has these results.
        AcceptOutcome::DeadLetter { .. } | AcceptOutcome::TokenShared | AcceptOutcome::Replayed => {
            Err(HttpError::CommitFailed)
        }
    }
}
