//! Records late arrivals: items that belong to a stored submission.
//!
//! A late arrival is the message that follows a form from the flow's endpoint, or a copy with other
//! answers. Late arrivals are stored in their own table. The submission itself stays unchanged.
//!
//! See [`super::duplicates`] for the decision whether an arrival is the same form.

use crate::domain::ids::{Customer, SubmissionId};
use crate::domain::submission::{IdempotencyKey, Submission};

use super::duplicates::OtherCustomerSubmission;
use super::submission_history::{LATE_ARRIVALS_MAX, agrees_with};
use super::{events, leads, receipts};
use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::rows::submissions::{LateArrival, StoredSubmission, list_late_arrivals};
use crate::store::writer::dedup_index::KeyLog;
use crate::store::writer::write_context::WriteContext;

/// Decision about a late arrival: the rows to write.
pub struct LateArrivalPlan {
    id: SubmissionId,
    message_key: Option<IdempotencyKey>,
    /// Row to store. `None` if the arrival contains nothing new.
    arrival: Option<StoredArrival>,
}

/// Late arrival to be stored, with its row number.
struct StoredArrival {
    number: u64,
    late_arrival: LateArrival,
    /// The submission, if this arrival is the first that names its customer.
    newly_named_submission: Option<StoredSubmission>,
}

/// Decides which part of a late arrival is stored for submission `id`. Reads only.
pub fn decide(
    ctx: &WriteContext<'_>,
    id: SubmissionId,
    later: &Submission,
    message_key: Option<IdempotencyKey>,
) -> StoreResult<LateArrivalPlan> {
    // The retention of submissions may be shorter than that of message IDs.
    let arrival = match ctx.tables.submissions.get(id)? {
        Some(stored) => build_stored_arrival(ctx, id, stored, later, message_key)?,
        None => None,
    };
    Ok(LateArrivalPlan {
        id,
        message_key,
        arrival,
    })
}

/// Stores a late arrival. Returns its submission.
pub fn write(ctx: &mut WriteContext<'_>, plan: LateArrivalPlan) -> StoreResult<SubmissionId> {
    let id = plan.id;
    if let Some(arrival) = plan.arrival {
        let late_arrival = &arrival.late_arrival;
        ctx.tables
            .late_arrivals
            .put((id, arrival.number), late_arrival)?;
        if let Some(first) = arrival.newly_named_submission {
            name_customer(ctx, id, &first, &late_arrival.customer)?;
        }
    }
    if let Some(key) = plan.message_key {
        ctx.insert_key(KeyLog::Message, key, Some(id))?;
    }
    Ok(id)
}

/// Answers that an unnamed customer gave at the flow's endpoint, under a key that another customer
/// also used.
#[derive(Debug)]
pub struct UnclaimedAnswers {
    /// Answers as JSON text.
    pub data: Box<str>,
    /// Key of the late arrival row with the answers, stored for the submission of the other
    /// customer.
    pub row_key: Option<(SubmissionId, u64)>,
    /// Reason why the answers may be incomplete or may belong to another customer.
    pub warning: Option<&'static str>,
}

const AMBIGUOUS_ANSWERS: &str =
    "several customers submitted this flow_token: these answers may belong to another customer";
const MISSING_ANSWERS: &str = "another customer submitted this flow_token before: the answers of this customer were not stored";

/// Returns the stored answers that belong to `later`, a message that contains only the answers of
/// the last screen.
///
/// `has_drafts` is `true` if the flow has several screens.
pub fn unclaimed(
    ctx: &WriteContext<'_>,
    other: &OtherCustomerSubmission,
    later: &Submission,
    has_drafts: bool,
) -> StoreResult<Option<UnclaimedAnswers>> {
    let first = &other.first.submission;
    if !later.channel.is_message() || first.channel.is_message() || !first.customer.is_unknown() {
        return Ok(None);
    }
    if other.has_same_answers {
        return Ok(Some(UnclaimedAnswers {
            data: first.data.clone(),
            row_key: None,
            warning: None,
        }));
    }
    let rows = list_late_arrivals(&ctx.tables.late_arrivals, other.id)?;
    // Before the first claim, the store could not know whether the claiming customer sent the first
    // form or a copy.
    let claimed = rows
        .iter()
        .find(|(_, late_arrival)| late_arrival.claims())
        .map(|(number, _)| *number);
    let copies = rows.iter().filter_map(|(number, late_arrival)| {
        Some((*number, late_arrival.find_unclaimed_answers()?))
    });
    let copies: Vec<(u64, &str)> = copies.collect();
    let mut matching = copies
        .iter()
        .filter(|(_, data)| agrees_with(data, &later.data));
    if let Some(&(number, data)) = matching.next() {
        let is_ambiguous = copies.len() > 1 || claimed.is_some_and(|claimed| number < claimed);
        return Ok(Some(UnclaimedAnswers {
            data: data.into(),
            row_key: Some((other.id, number)),
            warning: is_ambiguous.then_some(AMBIGUOUS_ANSWERS),
        }));
    }
    // A copy that equals the first form leaves no row. On a flow of several screens, every copy has
    // a row, because its last screen alone has fewer fields than the first form. So a customer
    // without a row saw no more than the first screen.
    let (data, warning) = if has_drafts {
        ("{}".into(), Some(MISSING_ANSWERS))
    } else {
        let warning = (!copies.is_empty()).then_some(AMBIGUOUS_ANSWERS);
        (first.data.clone(), warning)
    };
    Ok(Some(UnclaimedAnswers {
        data,
        row_key: None,
        warning,
    }))
}

/// Returns the part of a late arrival that must be stored. Returns `None` if the arrival adds
/// nothing new, or if the maximum number of late arrivals is reached.
fn build_stored_arrival(
    ctx: &WriteContext<'_>,
    id: SubmissionId,
    first: StoredSubmission,
    later: &Submission,
    message_key: Option<IdempotencyKey>,
) -> StoreResult<Option<StoredArrival>> {
    let differs = !is_same_json(&first.submission.data, &later.data);
    if !differs && message_key.is_none() {
        return Ok(None);
    }
    let earlier = list_late_arrivals(&ctx.tables.late_arrivals, id)?;
    let last = earlier.last().map_or(0, |(number, _)| *number);
    let number = last.saturating_add(1);
    let earlier: Vec<LateArrival> = earlier.into_iter().map(|(_, join)| join).collect();
    let late_arrival = LateArrival {
        at: ctx.now,
        channel: later.channel,
        message_id: later.message_id.clone(),
        customer: later.customer.clone(),
        differing_data: differs.then(|| later.data.clone()),
    };
    if earlier.iter().any(|known| {
        known.differing_data == late_arrival.differing_data
            && known.message_id == late_arrival.message_id
    }) {
        return Ok(None);
    }
    let is_first_message =
        late_arrival.message_id.is_some() && earlier.iter().all(|known| known.message_id.is_none());
    // All late arrivals that name a customer name the same one.
    let of_same = earlier
        .iter()
        .filter(|known| known.customer.is_unknown() == late_arrival.customer.is_unknown());
    if of_same.count() >= LATE_ARRIVALS_MAX && !is_first_message {
        tracing::warn!(
            submission.id = id.get(),
            maximum = LATE_ARRIVALS_MAX,
            "late arrival acknowledged but not stored: the submission already has the maximum"
        );
        return Ok(None);
    }
    let is_known = |customer: &Customer| !customer.is_unknown();
    let was_known =
        is_known(&first.submission.customer) || earlier.iter().any(|join| is_known(&join.customer));
    let names = (!was_known && is_known(&late_arrival.customer)).then_some(first);
    Ok(Some(StoredArrival {
        number,
        late_arrival,
        newly_named_submission: names,
    }))
}

/// Applies the name of the customer of submission `id` to the lead, the waiting messages and the
/// events.
///
/// The arrival is stored even if a row of the lead, the messages or the events is unreadable.
/// Without this, the damaged lead of a submission would cause the refusal of the message that
/// follows. None of the three updates can meet a damaged row after its first write.
fn name_customer(
    ctx: &mut WriteContext<'_>,
    id: SubmissionId,
    first: &StoredSubmission,
    customer: &Customer,
) -> StoreResult<()> {
    let named = leads::on_customer_named(ctx, id, &first.submission.flow, customer);
    unless_damaged(id, named)?;
    let released = receipts::release_awaiting_customer(ctx, id);
    unless_damaged(id, released)?;
    let emitted = events::emit_submission_updated(ctx, id, first);
    unless_damaged(id, emitted)
}

fn unless_damaged(id: SubmissionId, done: StoreResult<()>) -> StoreResult<()> {
    match done {
        Err(error) if error.affects_one_row() => {
            tracing::error!(%error, submission.id = id.get(), "the customer of a submission was not stored in a damaged row");
            Ok(())
        }
        done => done,
    }
}

/// Returns `true` if two texts are the same JSON value. The order of fields does not matter.
fn is_same_json(one: &str, other: &str) -> bool {
    let value = |text| serde_json::from_str::<serde_json::Value>(text).ok();
    one == other || value(one).is_some_and(|one| Some(one) == value(other))
}
