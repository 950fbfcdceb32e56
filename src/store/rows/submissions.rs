//! Rows of submissions and of their late arrivals, and the customer that both name.

use serde::{Deserialize, Serialize};

use crate::domain::customer_change::resolve_current;
use crate::domain::ids::{BookingId, Customer, JobId, MessageId, SubmissionId};
use crate::domain::submission::{IdempotencyKey, Submission, SubmissionChannel};
use crate::domain::time::Timestamp;

use crate::store::StoreResult;
use crate::store::engine::{Hash, Rows};

/// Submission as stored, with its job and booking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSubmission {
    /// Time when the submission was accepted, in UTC.
    pub received_at: Timestamp,
    /// Expiry clock when the submission was accepted.
    pub stamp: Timestamp,
    /// ID of the job that processes the submission.
    pub job_id: JobId,
    /// ID of the booking. `None` if the submission got no slot.
    pub booking_id: Option<BookingId>,
    /// Conflict: the reason why the submission did not get its slot although the customer could not
    /// be asked again. `None` if there is no conflict.
    pub conflict: Option<String>,
    /// Submission data as received, with the fields of the earlier screens.
    pub submission: Submission,
}

/// Late arrival for a stored submission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateArrival {
    /// Time of the arrival.
    pub at: Timestamp,
    /// Channel through which the arrival came.
    pub channel: SubmissionChannel,
    /// ID of the message that contained the form. `None` if no message contained the form.
    pub message_id: Option<MessageId>,
    /// Customer of the arrival.
    pub customer: Customer,
    /// Answers as JSON text. `None` if the answers equal the stored ones.
    pub differing_data: Option<Box<str>>,
}

impl LateArrival {
    /// Returns the answers if this arrival is a copy from a customer whom no arrival has named yet.
    /// Otherwise returns `None`.
    pub(in crate::store) fn find_unclaimed_answers(&self) -> Option<&str> {
        self.differing_data
            .as_deref()
            .filter(|_| self.customer.is_unknown() && self.message_id.is_none())
    }

    /// Returns `true` if the arrival names the customer of the submission, or is a message.
    pub(in crate::store) fn claims(&self) -> bool {
        self.channel.is_message() || !self.customer.is_unknown()
    }
}

/// Lists the late arrivals of submission `id` with their numbers, in order of arrival.
pub fn list_late_arrivals(
    late_arrivals: &impl Rows<Key = (SubmissionId, u64), Value = LateArrival>,
    id: SubmissionId,
) -> StoreResult<Vec<(u64, LateArrival)>> {
    late_arrivals
        .range((id, 0)..=(id, u64::MAX))?
        .map(|row| {
            let row = row?;
            Ok((row.key().1, row.value()?))
        })
        .collect()
}

/// Returns the customer whom a submission or its late arrivals name. The first late arrival that
/// names a customer decides if the form names none.
pub fn find_named_customer(
    late_arrivals: &impl Rows<Key = (SubmissionId, u64), Value = LateArrival>,
    id: SubmissionId,
    first: &Customer,
) -> StoreResult<Option<Customer>> {
    if !first.is_unknown() {
        return Ok(Some(first.clone()));
    }
    Ok(list_late_arrivals(late_arrivals, id)?
        .into_iter()
        .map(|(_, late_arrival)| late_arrival.customer)
        .find(|customer| !customer.is_unknown()))
}

/// Returns the current names of the customer of the submission in `row`. The given customer is from
/// the row or from a late arrival.
pub fn resolve_customer(
    renamed_customers: &impl Rows<Key = (Hash, Timestamp), Value = Customer>,
    known: Customer,
    row: &StoredSubmission,
) -> StoreResult<Customer> {
    let sent_at = row.submission.sent_at.unwrap_or(row.received_at);
    resolve_current(known, sent_at, |name, from| {
        let key = IdempotencyKey::for_former_name(name);
        let key = key.as_bytes();
        let mut rows = renamed_customers.range((key, from)..=(key, Timestamp::MAX))?;
        let Some(row) = rows.next().transpose()? else {
            return Ok(None);
        };
        match row.value() {
            Ok(customer) => Ok(Some((row.key().1, customer))),
            // The customer has the same names as before, and the form is processed.
            Err(error) => {
                tracing::error!(error = %error, "customer change is unreadable: run `flowgate check`");
                Ok(None)
            }
        }
    })
}
