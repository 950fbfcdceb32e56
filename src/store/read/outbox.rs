//! Reads deliveries from a snapshot: those that are due, their rows, their responses, suspensions.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

use crate::domain::delivery::receipt::Receipt;
use crate::domain::delivery::{Delivery, Event, ResponseRecord, Suspension};
use crate::domain::ids::{Customer, DestinationName, JobId, SubmissionId};
use crate::domain::job::{DeadLetter, Job, JobState};
use crate::domain::time::{Millis, Timestamp};

use super::{ByAttempt, Snapshot};
use crate::store::engine::Rows;
use crate::store::rows::schema::{
    DELIVERIES, DELIVERIES_DUE, DELIVERY_RESPONSES, EVENTS, LATE_ARRIVALS, ORDERED_QUEUE, RECEIPTS,
    RENAMED_CUSTOMERS, RETRIED_DEAD_LETTERS, SUSPENSIONS,
};
use crate::store::rows::submissions::{find_named_customer, resolve_customer};
use crate::store::rows::tallies::Tally;
use crate::store::{RowProblem, StoreResult};

/// Pending delivery, with all the data that an attempt needs.
#[derive(Clone, Debug)]
pub struct PendingDelivery {
    /// Job ID of the delivery.
    pub id: JobId,
    /// Job of the delivery, with its state and due time.
    pub job: Job,
    /// Delivery row, with the destination.
    pub delivery: Delivery,
    /// Event of the delivery.
    pub event: Event,
    /// Body to send: the body of the event, or the correction of an admin.
    pub body: Box<str>,
    /// Receipt of the message that the delivery became. `None` if no message can exist yet.
    pub receipt: Option<Receipt>,
    /// Customer who filled in the form, as far as known at the time of the read. `None` if the
    /// reader did not request the customer.
    pub customer: Option<Customer>,
}

/// Waiting deliveries of one destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Number of waiting deliveries.
    pub count: u64,
    /// Due time of the first delivery. `None` if no delivery is scheduled.
    pub first_due_at: Option<Timestamp>,
}

impl Snapshot {
    /// Lists at most `limit` deliveries to `destination` that are due at or before `until`, soonest
    /// first.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn due_deliveries(
        &self,
        destination: &DestinationName,
        until: Timestamp,
        limit: usize,
    ) -> StoreResult<Vec<JobId>> {
        self.with_read_txn(|txn| {
            let table = txn.open(DELIVERIES_DUE)?;
            let name = destination.as_str();
            let first = (name, Timestamp::ZERO, JobId::MIN);
            let due = table.range(first..=(name, until, JobId::MAX))?;
            due.take(limit).map(|row| Ok(row?.key().2)).collect()
        })
    }

    /// Returns the due time of the first delivery to `destination` that is due later than `after`.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn next_delivery_due(
        &self,
        destination: &DestinationName,
        after: Timestamp,
    ) -> StoreResult<Option<Timestamp>> {
        self.next_delivery_due_from(destination, after.plus(Millis::new(1)))
    }

    fn next_delivery_due_from(
        &self,
        destination: &DestinationName,
        from: Timestamp,
    ) -> StoreResult<Option<Timestamp>> {
        self.with_read_txn(|txn| {
            let table = txn.open(DELIVERIES_DUE)?;
            let name = destination.as_str();
            let last = (name, Timestamp::MAX, JobId::MAX);
            let mut later = table.range((name, from, JobId::MIN)..=last)?;
            Ok(later.next().transpose()?.map(|row| row.key().1))
        })
    }

    /// Lists at most `limit` deliveries to `destination` behind position `after`, soonest first.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn deliveries_after(
        &self,
        destination: &DestinationName,
        after: (Timestamp, JobId),
        limit: usize,
    ) -> StoreResult<Vec<(Timestamp, JobId)>> {
        self.with_read_txn(|txn| {
            let table = txn.open(DELIVERIES_DUE)?;
            let name = destination.as_str();
            let first = Excluded((name, after.0, after.1));
            let last = Included((name, Timestamp::MAX, JobId::MAX));
            let later = table.range((first, last))?.take(limit);
            later
                .map(|row| {
                    let (_, at, id) = row?.key();
                    Ok((at, id))
                })
                .collect()
        })
    }

    /// Returns the queue statistics of each destination with waiting deliveries, by name. A
    /// destination does not need to be in the config.
    ///
    /// The counts include deliveries in ordered queues. The cost is one look-up per destination,
    /// however many deliveries wait.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn delivery_queues(&self) -> StoreResult<BTreeMap<DestinationName, QueueStats>> {
        let mut queues = BTreeMap::new();
        for (name, count) in self.read_tally(Tally::Deliveries)? {
            let Ok(name) = DestinationName::new(&name) else {
                continue;
            };
            let first_due_at = self.next_delivery_due_from(&name, Timestamp::ZERO)?;
            let stats = QueueStats {
                count,
                first_due_at,
            };
            queues.insert(name, stats);
        }
        Ok(queues)
    }

    /// Lists all waiting deliveries to `destination`, newest first, including those in ordered
    /// queues.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn waiting_deliveries(&self, destination: &DestinationName) -> StoreResult<Vec<JobId>> {
        let name = destination.as_str();
        let mut waiting = self.with_read_txn(|txn| {
            let (scheduled, queued) = (txn.open(DELIVERIES_DUE)?, txn.open(ORDERED_QUEUE)?);
            let scheduled = scheduled
                .range((name, Timestamp::ZERO, JobId::MIN)..=(name, Timestamp::MAX, JobId::MAX))?;
            let queued =
                queued.range((name, &[0; 16], JobId::MIN)..=(name, &[u8::MAX; 16], JobId::MAX))?;
            let scheduled = scheduled.map(|row| Ok(row?.key().2));
            scheduled
                .chain(queued.map(|row| Ok(row?.key().2)))
                .collect::<StoreResult<Vec<_>>>()
        })?;
        waiting.sort_unstable_by(|one, other| other.cmp(one));
        Ok(waiting)
    }

    /// Returns the delivery of job `id`.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn delivery(&self, id: JobId) -> StoreResult<Option<Delivery>> {
        self.get_row(DELIVERIES, id)
    }

    /// Returns the event whose first delivery is `id`.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn event(&self, id: JobId) -> StoreResult<Option<Event>> {
        self.get_row(EVENTS, id)
    }

    /// Returns the body with which an admin replaced the body of delivery `id`, in any state of the
    /// delivery.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn corrected_body(&self, id: JobId) -> StoreResult<Option<String>> {
        let dead_letter: Option<DeadLetter> = match self.dead_letter(id)? {
            None => self.get_row(RETRIED_DEAD_LETTERS, id)?,
            current => current,
        };
        Ok(dead_letter.and_then(|dead_letter| dead_letter.corrected_payload))
    }

    /// Returns the pending delivery of job `id` without the customer. Returns `None` if the
    /// delivery does not wait any more.
    ///
    /// Reads no row of the submission. So a damaged submission does not affect deliveries that do
    /// not need the customer.
    ///
    /// # Errors
    /// As [`Snapshot::submission`], or if a row of the delivery is missing.
    pub fn pending_delivery(&self, id: JobId) -> StoreResult<Option<PendingDelivery>> {
        let Some(job) = self.job(id)?.filter(|job| job.state == JobState::Scheduled) else {
            return Ok(None);
        };
        let (delivery, event) = self.with_read_txn(|txn| {
            let delivery = txn.open(DELIVERIES)?.require(id)?;
            let event = txn.open(EVENTS)?.require(delivery.event_id)?;
            Ok((delivery, event))
        })?;
        let corrected = self.retried_payload(id)?;
        let body = corrected.map_or_else(|| event.body.clone(), Box::from);
        let receipt = self.receipt(id)?;
        Ok(Some(PendingDelivery {
            id,
            job,
            delivery,
            event,
            body,
            receipt,
            customer: None,
        }))
    }

    /// Returns the pending delivery of job `id` with the customer. Returns `None` if the delivery
    /// does not wait any more.
    ///
    /// # Errors
    /// As [`Snapshot::pending_delivery`].
    pub fn pending_delivery_with_customer(
        &self,
        id: JobId,
    ) -> StoreResult<Option<PendingDelivery>> {
        let Some(mut outgoing) = self.pending_delivery(id)? else {
            return Ok(None);
        };
        if let Some(submission) = outgoing.job.submission_id {
            outgoing.customer = self.submission_customer(submission)?;
        }
        Ok(Some(outgoing))
    }

    /// Returns the receipt of delivery `id`: the progress of its message by Meta's statuses.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn receipt(&self, id: JobId) -> StoreResult<Option<Receipt>> {
        self.get_row(RECEIPTS, id)
    }

    /// Returns the customer of submission `id` under their current names. Returns `None` if no
    /// customer has changed their names.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn renamed_customer(&self, id: SubmissionId) -> StoreResult<Option<Customer>> {
        if self.with_read_txn(|txn| txn.open(RENAMED_CUSTOMERS)?.is_empty())? {
            return Ok(None);
        }
        self.submission_customer(id)
    }

    /// Returns the customer of a submission under their current names.
    ///
    /// The first late arrival that names a customer decides if the form names none.
    fn submission_customer(&self, id: SubmissionId) -> StoreResult<Option<Customer>> {
        let Some(row) = self.submission(id)? else {
            return Ok(None);
        };
        self.with_read_txn(|txn| {
            let first = &row.submission.customer;
            let named = find_named_customer(&txn.open(LATE_ARRIVALS)?, id, first)?;
            named
                .map(|named| resolve_customer(&txn.open(RENAMED_CUSTOMERS)?, named, &row))
                .transpose()
        })
    }

    /// Lists the stored responses to the attempts of job `id`, by attempt number. An unreadable row
    /// does not affect the other rows.
    ///
    /// # Errors
    /// [`crate::store::StoreError`] if the table is unreadable.
    pub fn delivery_responses(&self, id: JobId) -> StoreResult<ByAttempt<ResponseRecord>> {
        self.with_read_txn(|txn| {
            let table = txn.open(DELIVERY_RESPONSES)?;
            let rows = table.range((id, 0)..=(id, u32::MAX))?;
            rows.map(|row| {
                let row = row?;
                Ok((row.key().1, row.value()))
            })
            .collect()
        })
    }

    /// Returns the response to the last attempt of job `id`. Returns `None` if no response exists,
    /// or if the response is not stored any more.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn last_delivery_response(&self, id: JobId) -> StoreResult<Option<ResponseRecord>> {
        self.with_read_txn(|txn| {
            let table = txn.open(DELIVERY_RESPONSES)?;
            let last = table.range((id, 0)..=(id, u32::MAX))?.next_back();
            last.map(|row| row?.value()).transpose()
        })
    }

    /// Lists the suspended destinations by name. A destination with an unreadable row is listed as
    /// disabled, with the error as the reason.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn suspensions(&self) -> StoreResult<Vec<(DestinationName, Suspension)>> {
        self.with_read_txn(|txn| {
            let table = txn.open(SUSPENSIONS)?;
            let rows = table.all_rows()?.map(|row| {
                let row = row?;
                let name = DestinationName::new(row.key())
                    .map_err(|_| SUSPENSIONS.row_error(row.key(), RowProblem::InvalidFields))?;
                let suspension = row.value().unwrap_or_else(|error| Suspension {
                    paused_at: None,
                    disabled: Some((Timestamp::ZERO, error.to_string().into())),
                });
                Ok((name, suspension))
            });
            rows.collect()
        })
    }

    /// Returns the suspension of `destination`. The default value means no suspension.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn suspension(&self, destination: &DestinationName) -> StoreResult<Suspension> {
        let row = self.get_row(SUSPENSIONS, destination.as_str())?;
        Ok(row.unwrap_or_default())
    }
}
