//! Accepts submissions: one transaction decides the duplicate, the slot and the job of each
//! submission.
//!
//! A webhook body may contain a thousand messages. A single [`AcceptInbound`] accepts all of them.
//!
//! See [`crate::domain::submission`] for the idempotency keys, and [`crate::store::writer::dedup`]
//! for the dedup index.
//! See [`super::duplicates`] for duplicates, and [`crate::domain::booking`] for free
//! slots.

use std::sync::Arc;

use jiff::civil::{Date, Time};

use crate::domain::booking::calendar::{Calendar, Slot, SlotRefused};
use crate::domain::flow::field::FieldError;
use crate::domain::ids::{BookingId, JobId, SubmissionId};
use crate::domain::job::{DeadLetter, Job, JobKind, JobState};
use crate::domain::submission::draft;
use crate::domain::submission::inbound::{Inbound, InboundSubmission, UnparsableMessage};
use crate::domain::submission::{IdempotencyKey, Submission, SubmissionChannel};

use super::duplicates::{self, DuplicateCheck, NewSubmissionKeys};
use super::late_arrivals::LateArrivalPlan;
use super::{
    attempts, bookings, completions, drafts, events, late_arrivals, response_cache, schedule,
};
use crate::store::StoreResult;
use crate::store::rows::submissions::StoredSubmission;
use crate::store::writer::dedup_index::{DedupMatch, DedupWindow, KeyLog};
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Accepts the inbound items of one request.
#[derive(Debug, Default)]
pub struct AcceptInbound {
    /// Inbound items, in the order of the request body.
    pub inbound: Vec<Inbound>,
}

/// Outcome of one inbound item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcceptOutcome {
    /// The store accepted the submission.
    New {
        /// Submission ID.
        submission_id: SubmissionId,
        /// ID of the job that processes the submission.
        job_id: JobId,
        /// ID of the booking. `None` if the submission got no slot.
        booking_id: Option<BookingId>,
    },
    /// The item arrived before and is already stored.
    Duplicate {
        /// ID of the original submission. `None` if the message became no submission.
        original: Option<SubmissionId>,
    },
    /// The slot is not available, and nothing was stored. The customer must choose another slot.
    SlotRefused {
        /// Reason of the refusal.
        reason: SlotRefused,
        /// Requested date.
        date: Date,
        /// Requested time.
        time: Time,
    },
    /// The fields do not name a valid slot, and nothing was stored. The customer must correct the
    /// fields.
    InvalidSlotFields {
        /// Error in the fields of the form, which include the fields of its earlier screens.
        error: FieldError,
    },
    /// The message was stored as a dead letter.
    DeadLetter {
        /// Job ID.
        job_id: JobId,
    },
    /// Nothing was stored: several customers use the flow token, and the form does not name its
    /// customer. The form must come again as a form without a token.
    TokenShared,
    /// Nothing was stored: the encrypted request already has a response. The same response is sent
    /// again.
    Replayed,
}

impl Transaction for AcceptInbound {
    type Outcome = Vec<AcceptOutcome>;

    fn weight(&self) -> usize {
        self.inbound.len()
    }

    fn bytes(&self) -> usize {
        let bytes = |item: &Inbound| match item {
            Inbound::Submission(form) => {
                let completion = form.custom_completion.as_deref().unwrap_or_default();
                let Submission {
                    data,
                    unknown_fields,
                    ..
                } = &form.submission;
                [data.len(), unknown_fields.len(), completion.len()]
                    .into_iter()
                    .sum()
            }
            Inbound::Unparsable(message) => message.payload.len(),
        };
        self.inbound.iter().map(bytes).sum()
    }

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<Self::Outcome> {
        self.inbound
            .iter()
            .map(|item| match item {
                Inbound::Submission(form) => {
                    let decision = decide(ctx, form, None)?;
                    write_decision(ctx, form, decision)
                }
                Inbound::Unparsable(message) => store_unparsable(ctx, message),
            })
            .collect()
    }
}

/// Decision on a form, made before the first write.
pub enum Decision {
    /// The form changes no row: the outcome is known already.
    Unchanged(AcceptOutcome),
    /// Several customers use the flow token. The key of the token is not yet marked as shared.
    MarkShared(IdempotencyKey),
    /// The form is a copy of a stored submission.
    AddLateArrival(Box<LateArrivalPlan>),
    /// The form is accepted as a new submission.
    Accept(Box<AcceptPlan>),
}

/// Decides on one form. Only reads: if a row is damaged, the function fails before the first write.
/// If an admin retries a message, `carrier` is the job of the message. This job then finishes
/// together with the form.
pub fn decide(
    ctx: &WriteContext<'_>,
    form: &InboundSubmission,
    carrier: Option<JobId>,
) -> StoreResult<Decision> {
    if response_cache::is_replayed_request(ctx, form.encrypted_request_key)? {
        return Ok(Decision::Unchanged(AcceptOutcome::Replayed));
    }
    let known = match find_message(ctx, form.message_key) {
        // An admin retries the message. Without this, a damaged key would make every retry of the
        // dead letter fail.
        Err(error) if carrier.is_some() && error.affects_one_row() => None,
        known => known?,
    };
    match known {
        None => {}
        // A gateway reports one message in several events. The first event may lack the part that
        // makes the message a form.
        Some(DedupMatch::NoSubmission) if form.submission.channel == SubmissionChannel::Gateway => {
        }
        Some(found) => return Ok(Decision::Unchanged(duplicate_outcome(found))),
    }
    let new_keys = match duplicates::check_duplicate(ctx, form)? {
        DuplicateCheck::Copy(id) => {
            return late_arrivals::decide(ctx, id, &form.submission, form.message_key)
                .map(Box::new)
                .map(Decision::AddLateArrival);
        }
        // The customer then sends the form again without the token, and the form gets a reference.
        // The duplicate check uses the reference only if the token is marked as shared.
        DuplicateCheck::Shared => {
            return Ok(match form.form_key {
                Some(key) if !duplicates::is_shared_key(ctx, key)? => Decision::MarkShared(key),
                _ => Decision::Unchanged(AcceptOutcome::TokenShared),
            });
        }
        DuplicateCheck::New(new_keys) => new_keys,
    };
    let mut merged = form.submission.clone();
    let draft = match form.draft_key {
        Some(key) => {
            drafts::find_customer_draft(ctx, key, &merged.customer, new_keys.shared_key.is_some())?
        }
        None => None,
    };
    if let Some((_, earlier)) = &draft {
        merged.data = draft::merge_answers(&earlier.data, &merged.data);
    }
    let unclaimed = match &new_keys.other_customer {
        Some(beside) => late_arrivals::unclaimed(ctx, beside, &merged, form.draft_key.is_some())?,
        None => None,
    };
    if let Some(unclaimed) = &unclaimed {
        merged.data = draft::merge_answers(&unclaimed.data, &merged.data);
        merged.problems.extend(unclaimed.warning.map(str::to_owned));
    }
    let slot_decision = match decide_slot(ctx, form, &mut merged)? {
        Ok(slot_decision) => slot_decision,
        Err(refusal) => return Ok(Decision::Unchanged(refusal)),
    };
    let unclaimed_row = unclaimed.and_then(|unclaimed| unclaimed.row_key);
    Ok(Decision::Accept(Box::new(AcceptPlan {
        merged,
        slot_decision,
        new_keys,
        draft_key: draft.map(|(key, _)| key),
        unclaimed_row,
    })))
}

/// Decides on the slot that a form requests. Returns a refusal if the customer can choose again.
/// Otherwise, an error in the fields becomes a problem of the submission.
fn decide_slot(
    ctx: &WriteContext<'_>,
    form: &InboundSubmission,
    merged: &mut Submission,
) -> StoreResult<Result<SlotDecision, AcceptOutcome>> {
    let request = form
        .slot_selector
        .as_ref()
        .map(|selector| selector.slot_request(&merged.data, form.allows_new_choice));
    let request = match request {
        None | Some(Ok(None)) => return Ok(Ok(SlotDecision::NotRequested)),
        Some(Ok(Some(request))) => request,
        Some(Err(error)) if form.allows_new_choice => {
            return Ok(Err(AcceptOutcome::InvalidSlotFields { error }));
        }
        Some(Err(error)) => {
            merged.problems.push(error.to_string());
            return Ok(Ok(SlotDecision::NotRequested));
        }
    };
    Ok(match bookings::find_slot(ctx, &request, None)? {
        Ok(slot) => Ok(SlotDecision::Available(request.calendar, slot)),
        Err(reason) if form.allows_new_choice => Err(AcceptOutcome::SlotRefused {
            reason,
            date: request.date,
            time: request.time,
        }),
        Err(reason) => Ok(SlotDecision::Unavailable(reason)),
    })
}

/// Writes the decision on a form.
pub fn write_decision(
    ctx: &mut WriteContext<'_>,
    form: &InboundSubmission,
    decision: Decision,
) -> StoreResult<AcceptOutcome> {
    match decision {
        Decision::Unchanged(accepted) => Ok(accepted),
        Decision::MarkShared(key) => {
            mark_token_shared(ctx, key)?;
            Ok(AcceptOutcome::TokenShared)
        }
        Decision::AddLateArrival(plan) => {
            let original = Some(late_arrivals::write(ctx, *plan)?);
            Ok(AcceptOutcome::Duplicate { original })
        }
        Decision::Accept(plan) => write_accepted(ctx, form, *plan),
    }
}

/// Marks a token as used by several customers.
fn mark_token_shared(ctx: &mut WriteContext<'_>, key: IdempotencyKey) -> StoreResult<()> {
    ctx.insert_key(KeyLog::Token, key.for_shared_token(), None)?;
    drafts::remove_unnamed_draft(ctx, key)
}

/// Data of a form that is accepted.
pub struct AcceptPlan {
    /// Submission, merged with the fields of its earlier screens.
    merged: Submission,
    slot_decision: SlotDecision,
    new_keys: NewSubmissionKeys,
    /// Key of the draft with the earlier screens. `None` if there is no draft.
    draft_key: Option<IdempotencyKey>,
    /// Key of the late-arrival row that stores the answers of this form beside another customer's
    /// submission. `None` if there is no such row.
    unclaimed_row: Option<(SubmissionId, u64)>,
}

/// Decision on the slot that a form requests.
enum SlotDecision {
    /// The form requests no slot.
    NotRequested,
    /// The slot is available and becomes occupied.
    Available(Arc<Calendar>, Slot),
    /// The slot is not available, and the customer can't be asked again.
    Unavailable(SlotRefused),
}

/// Writes a form that is accepted.
fn write_accepted(
    ctx: &mut WriteContext<'_>,
    form: &InboundSubmission,
    plan: AcceptPlan,
) -> StoreResult<AcceptOutcome> {
    let submission_id = ctx.state.counters.next_submission();
    let (mut booking_id, mut conflict) = (None, None);
    match plan.slot_decision {
        SlotDecision::Available(calendar, slot) => {
            let id = bookings::create_booking(ctx, &calendar, &slot, submission_id)?;
            booking_id = Some(id);
        }
        SlotDecision::Unavailable(reason) => conflict = Some(reason.to_string()),
        SlotDecision::NotRequested => {}
    }
    let job_id = schedule_new_job(ctx, submission_id)?;
    let row = StoredSubmission {
        received_at: ctx.now,
        stamp: ctx.expiry_now,
        job_id,
        booking_id,
        conflict,
        submission: plan.merged,
    };
    if let Some(key) = plan.draft_key {
        // The submission now contains the answers of the draft.
        drafts::remove_draft(ctx, key.as_bytes())?;
    }
    if let Some(key) = plan.unclaimed_row {
        ctx.tables.late_arrivals.remove(key)?;
    }
    ctx.tables.submissions.put(submission_id, &row)?;
    if let Some(key) = plan.new_keys.shared_key {
        mark_token_shared(ctx, key)?;
    }
    for key in plan.new_keys.form_keys {
        let row = ctx.insert_key(KeyLog::Token, key, Some(submission_id))?;
        if let Some(completion) = &form.custom_completion {
            // The completion is stored in the same commit. Without this, a repeated press or a
            // crash could find the form without its completion.
            completions::put_completion(ctx, row, completion)?;
        }
    }
    if let Some(key) = form.message_key {
        ctx.insert_key(KeyLog::Message, key, Some(submission_id))?;
    }
    events::emit_submission_accepted(ctx, submission_id, &row)?;
    Ok(AcceptOutcome::New {
        submission_id,
        job_id,
        booking_id,
    })
}

/// Stores a message that can't be parsed as a dead letter, once. If the message comes again and can
/// be parsed, it is accepted. A later retry of the dead letter is then a duplicate.
fn store_unparsable(
    ctx: &mut WriteContext<'_>,
    message: &UnparsableMessage,
) -> StoreResult<AcceptOutcome> {
    let letter_key = message.message_key.map(IdempotencyKey::for_dead_letter);
    for key in [message.message_key, letter_key] {
        if let Some(found) = find_message(ctx, key)? {
            return Ok(duplicate_outcome(found));
        }
    }
    // Meta sends a message again for days. Without a message ID, a repetition can't be recognized
    // for that long, so the window of forms applies.
    let window = if message.message_key.is_some() {
        DedupWindow::Message
    } else {
        DedupWindow::Form
    };
    if let Some(later) = &message.late_arrival
        && let Some(id) = duplicates::find_awaiting_message(
            ctx,
            window,
            &message.cross_flow_keys,
            &later.customer,
        )?
    {
        let plan = late_arrivals::decide(ctx, id, later, message.message_key)?;
        let original = Some(late_arrivals::write(ctx, plan)?);
        return Ok(AcceptOutcome::Duplicate { original });
    }
    let job = ctx.state.counters.next_job();
    let row = Job {
        state: JobState::Dead,
        last_error: Some(message.reason.clone()),
        ..Job::new(JobKind::Message, None, ctx.now)
    };
    let dead_letter = DeadLetter {
        died_at: ctx.now,
        reason: message.reason.clone(),
        payload: message.payload.clone(),
        corrected_payload: None,
    };
    ctx.tables.jobs.put(job, &row)?;
    ctx.tables.dead_letters.put(job, &dead_letter)?;
    if let Some(key) = letter_key {
        ctx.insert_key(KeyLog::Message, key, None)?;
    }
    attempts::emit_dead_letter_event(ctx, job, &row, &message.reason)?;
    Ok(AcceptOutcome::DeadLetter { job_id: job })
}

/// Creates the job of a submission. The job is due at once.
fn schedule_new_job(ctx: &mut WriteContext<'_>, submission: SubmissionId) -> StoreResult<JobId> {
    let id = ctx.state.counters.next_job();
    let job = Job::new(JobKind::Process, Some(submission), ctx.now);
    ctx.tables.jobs.put(id, &job)?;
    schedule::schedule_job(ctx, None, job.due_at, id)?;
    Ok(id)
}

const fn duplicate_outcome(found: DedupMatch) -> AcceptOutcome {
    let original = match found {
        DedupMatch::Submission(id) => Some(id),
        DedupMatch::NoSubmission => None,
    };
    AcceptOutcome::Duplicate { original }
}

/// Finds the result of an earlier message with this key. Returns `None` if the key is `None` or not
/// known.
pub fn find_message(
    ctx: &WriteContext<'_>,
    key: Option<IdempotencyKey>,
) -> StoreResult<Option<DedupMatch>> {
    match key {
        Some(key) => ctx.find_key(DedupWindow::Message, key),
        None => Ok(None),
    }
}
