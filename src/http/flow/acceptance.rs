//! Sends completed forms to the writer, which decides about each form.

use crate::domain::submission::inbound::{Inbound, InboundSubmission};
use crate::http::request::RequestContext;
use crate::http::response::HttpError;
use crate::store::{AcceptInbound, AcceptOutcome};

/// Sends a completed form to the writer, and records the outcome for the log.
pub(super) async fn accept_form(
    context: &mut RequestContext<'_>,
    form: InboundSubmission,
) -> Result<AcceptOutcome, HttpError> {
    let inbound = vec![Inbound::Submission(Box::new(form))];
    let mut outcomes = context.execute(AcceptInbound { inbound }).await?;
    let outcome = outcomes.pop().ok_or(HttpError::CommitFailed)?;
    let log = &mut context.log;
    match &outcome {
        AcceptOutcome::New {
            submission_id,
            job_id,
            ..
        } => {
            (log.submission_id, log.job_id) = (Some(*submission_id), Some(*job_id));
            log.outcome = "accepted";
        }
        AcceptOutcome::Duplicate { original } => {
            (log.submission_id, log.outcome) = (*original, "duplicate");
        }
        AcceptOutcome::SlotRefused { reason, .. } => log.outcome = reason.as_str(),
        AcceptOutcome::InvalidSlotFields { .. }
        | AcceptOutcome::DeadLetter { .. }
        | AcceptOutcome::TokenShared
        | AcceptOutcome::Replayed => {}
    }
    Ok(outcome)
}
