//! What snapshots show of the outbox: lanes, deliveries, what came back, and what stands still.

use std::collections::BTreeMap;

use redb::{ReadableTable, ReadableTableMetadata};

use crate::domain::delivery::{Delivery, Event, Exchange, Standstill};
use crate::domain::ids::{Customer, DestinationName, JobId, SubmissionId};
use crate::domain::job::{DeadLetter, Job, JobState};
use crate::domain::receipt::Receipt;
use crate::domain::time::{Millis, Timestamp};

use super::{ByAttempt, Snapshot};
use crate::store::accept::StoredSubmission;
use crate::store::tables::{DELIVERIES, EVENTS, EXCHANGES, LANES, QUEUES, RECEIPTS, RENAMED, REVIVED, STANDSTILLS};
use crate::store::tallies::Tally;
use crate::store::{RowProblem, StoreError, codec, customers};

/// A delivery, with all that is needed to make an attempt.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Its number.
    pub id: JobId,
    /// Its job.
    pub job: Job,
    /// Whom it tells.
    pub delivery: Delivery,
    /// What of.
    pub event: Event,
    /// What is sent: the event's body, or what an admin put in its place.
    pub body: Box<str>,
    /// What is known of the message that it became, if there may be one.
    pub receipt: Option<Receipt>,
    /// Who filled in the form, as far as that is known by now. `None` if the reader did not ask for the customer.
    pub customer: Option<Customer>,
}

/// What waits for one destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Deliveries.
    pub count: u64,
    /// When the one that is due soonest is due.
    pub first_due: Option<Timestamp>,
}

impl Snapshot {
    /// Deliveries to `destination` that are due by `until`, soonest first, `limit` at the most.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn lane(
        &self,
        destination: &DestinationName,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<JobId>, StoreError> {
        self.reading(|txn| {
            let table = txn.open_table(LANES)?;
            let name = destination.as_str();
            let due = table.range((name, 0, 0)..=(name, until.as_millis(), u64::MAX))?;
            due.take(limit).map(|row| Ok(JobId::new(row?.0.value().2))).collect()
        })
    }

    /// When the next delivery to `destination` is due that is not due by `after`.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn lane_next(&self, destination: &DestinationName, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.lane_next_from(destination, after.plus(Millis::new(1)))
    }

    fn lane_next_from(&self, destination: &DestinationName, from: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.reading(|txn| {
            let table = txn.open_table(LANES)?;
            let name = destination.as_str();
            let from = (name, from.as_millis(), 0);
            let next = table.range(from..=(name, u64::MAX, u64::MAX))?.next().transpose()?;
            Ok(next.map(|(key, _)| Timestamp::from_millis(key.value().1)))
        })
    }

    /// Deliveries to `destination` that are due behind `after`, soonest first, `limit` at the most.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn lane_behind(
        &self,
        destination: &DestinationName,
        after: (Timestamp, JobId),
        limit: usize,
    ) -> Result<Vec<(Timestamp, JobId)>, StoreError> {
        self.reading(|txn| {
            let table = txn.open_table(LANES)?;
            let name = destination.as_str();
            let (at, id) = (after.0.as_millis(), after.1.get());
            let later = table.range((name, at, id)..=(name, u64::MAX, u64::MAX))?;
            let later = later.map(|row| {
                let (_, at, id) = row?.0.value();
                Ok((Timestamp::from_millis(at), JobId::new(id)))
            });
            later.filter(|row| row.as_ref().is_ok_and(|row| *row != after) || row.is_err()).take(limit).collect()
        })
    }

    /// Destinations that deliveries wait for, whether the config knows them or not, by name. Those that wait for their turn
    /// count. Costs a look-up for each destination, however many deliveries wait.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn lanes(&self) -> Result<BTreeMap<DestinationName, Waiting>, StoreError> {
        let mut lanes = BTreeMap::new();
        for (name, count) in self.tally(Tally::Deliveries)? {
            let Ok(name) = DestinationName::new(&name) else { continue };
            let first_due = self.lane_next_from(&name, Timestamp::ZERO)?;
            lanes.insert(name, Waiting { count, first_due });
        }
        Ok(lanes)
    }

    /// All deliveries that wait for `destination`, those that wait for their turn among them, newest first.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn waiting_for(&self, destination: &DestinationName) -> Result<Vec<JobId>, StoreError> {
        let name = destination.as_str();
        let mut waiting = self.reading(|txn| {
            let (lanes, queues) = (txn.open_table(LANES)?, txn.open_table(QUEUES)?);
            let mut waiting = Vec::new();
            for row in lanes.range((name, 0, 0)..=(name, u64::MAX, u64::MAX))? {
                waiting.push(JobId::new(row?.0.value().2));
            }
            for row in queues.range((name, &[0; 16], 0)..=(name, &[u8::MAX; 16], u64::MAX))? {
                waiting.push(JobId::new(row?.0.value().2));
            }
            Ok(waiting)
        })?;
        waiting.sort_unstable_by(|one, other| other.cmp(one));
        Ok(waiting)
    }

    /// What the job `id` delivers.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn delivery(&self, id: JobId) -> Result<Option<Delivery>, StoreError> {
        self.row(DELIVERIES, id.get())
    }

    /// The event whose first delivery is `id`.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn event(&self, id: JobId) -> Result<Option<Event>, StoreError> {
        self.row(EVENTS, id.get())
    }

    /// What an admin put in the place of the body of delivery `id`, whatever became of it since.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn correction(&self, id: JobId) -> Result<Option<String>, StoreError> {
        let letter: Option<DeadLetter> = match self.dead(id)? {
            None => self.row(REVIVED, id.get())?,
            dead => dead,
        };
        Ok(letter.and_then(|letter| letter.corrected))
    }

    /// The delivery of the job `id`, without the customer; `None` if the delivery does not wait any more. Reads no
    /// row of the submission: a damaged one fails no delivery that does not need the customer.
    ///
    /// # Errors
    /// As [`Snapshot::submission`]; also where a part of it is missing.
    pub fn outgoing(&self, id: JobId) -> Result<Option<Outgoing>, StoreError> {
        let Some(job) = self.job(id)?.filter(|job| job.state == JobState::Scheduled) else { return Ok(None) };
        let missing = || StoreError::row::<Delivery>(&id.to_string(), RowProblem::Missing);
        let delivery = self.delivery(id)?.ok_or_else(missing)?;
        let event = self.event(delivery.event)?.ok_or_else(missing)?;
        let corrected = self.message(id)?;
        let body = corrected.map_or_else(|| event.body.clone(), Box::from);
        let receipt = self.delivery_status(id)?;
        Ok(Some(Outgoing { id, job, delivery, event, body, receipt, customer: None }))
    }

    /// The delivery of the job `id`, with the customer; `None` if the delivery does not wait any more.
    ///
    /// # Errors
    /// As [`Snapshot::outgoing`].
    pub fn outgoing_with_customer(&self, id: JobId) -> Result<Option<Outgoing>, StoreError> {
        let Some(outgoing) = self.outgoing(id)? else { return Ok(None) };
        let customer = outgoing.job.submission.map(|submission| self.customer(submission)).transpose()?.flatten();
        Ok(Some(Outgoing { customer, ..outgoing }))
    }

    /// What is known of the message that the delivery `id` became: how far Meta's statuses say it has come.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn delivery_status(&self, id: JobId) -> Result<Option<Receipt>, StoreError> {
        self.row(RECEIPTS, id.get())
    }

    /// The customer of `id` by their new names; `None` if no customer has changed theirs.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn renamed_customer(&self, id: SubmissionId) -> Result<Option<Customer>, StoreError> {
        if self.reading(|txn| Ok(txn.open_table(RENAMED)?.is_empty()?))? {
            return Ok(None);
        }
        self.customer(id)
    }

    /// Who filled in a form: as it said itself or, where it did not, as the first later arrival says that does; by the names that
    /// this customer has now.
    fn customer(&self, id: SubmissionId) -> Result<Option<Customer>, StoreError> {
        let Some(row) = self.submission(id)? else { return Ok(None) };
        let first = row.submission.customer.clone();
        let told = if first.is_unknown() {
            self.joins(id)?.into_iter().map(|join| join.customer).find(|customer| !customer.is_unknown())
        } else {
            Some(first)
        };
        told.map(|told| self.current_customer(&row, told)).transpose()
    }

    fn current_customer(&self, row: &StoredSubmission, known: Customer) -> Result<Customer, StoreError> {
        self.reading(|txn| customers::follow_in(&txn.open_table(RENAMED)?, known, row))
    }

    /// The stored responses to attempts of the job `id`, by attempt. A row that can't be read keeps nobody from the
    /// others.
    ///
    /// # Errors
    /// [`StoreError`] if the table can't be walked.
    pub fn exchanges(&self, id: JobId) -> Result<ByAttempt<Exchange>, StoreError> {
        self.reading(|txn| {
            let table = txn.open_table(EXCHANGES)?;
            let rows = table.range((id.get(), 0)..=(id.get(), u32::MAX))?;
            rows.map(|row| {
                let (key, bytes) = row?;
                Ok((key.value().1, codec::decode(key.value(), bytes.value())))
            })
            .collect()
        })
    }

    /// What came back from the last attempt of the job `id`; `None`: there was none, or it is not kept any more.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn last_exchange(&self, id: JobId) -> Result<Option<Exchange>, StoreError> {
        self.reading(|txn| {
            let table = txn.open_table(EXCHANGES)?;
            let last = table.range((id.get(), 0)..=(id.get(), u32::MAX))?.next_back().transpose()?;
            last.map(|(key, bytes)| codec::decode(key.value(), bytes.value())).transpose()
        })
    }

    /// Destinations that something stands against, by name. One whose row can't be read is shown as left alone because of
    /// that.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn standstills(&self) -> Result<Vec<(DestinationName, Standstill)>, StoreError> {
        self.reading(|txn| {
            let table = txn.open_table(STANDSTILLS)?;
            let rows = table.iter()?.map(|row| {
                let (key, bytes) = row?;
                let name = DestinationName::new(key.value())
                    .map_err(|_| StoreError::row::<Standstill>(key.value(), RowProblem::Fields))?;
                let standstill = codec::decode(&name, bytes.value()).unwrap_or_else(|error| Standstill {
                    paused_at: None,
                    disabled: Some((Timestamp::ZERO, error.to_string().into())),
                });
                Ok((name, standstill))
            });
            rows.collect()
        })
    }

    /// What stands against telling `destination`.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn standstill(&self, destination: &DestinationName) -> Result<Standstill, StoreError> {
        self.reading(|txn| {
            let table = txn.open_table(STANDSTILLS)?;
            let row = table.get(destination.as_str())?;
            Ok(row.map(|row| codec::decode(destination, row.value())).transpose()?.unwrap_or_default())
        })
    }
}
