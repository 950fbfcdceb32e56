//! Searches tables in slices, for questions that no index answers. The caller asks for one slice
//! after the other, each from a new snapshot.

use std::ops::Bound::{Excluded, Included, Unbounded};

use crate::domain::ids::{AgentId, Customer, FlowName, JobId, LeadId, SubmissionId};
use crate::domain::job::Job;
use crate::domain::submission::IdempotencyKey;

use super::{PAGE_BYTES_MAX, Snapshot};
use crate::store::StoreError;
use crate::store::engine::Rows;
use crate::store::rows::schema::{
    CUSTOMER_AGENTS, DELIVERIES, JOBS, LATE_ARRIVALS, RENAMED_CUSTOMERS, SUBMISSIONS, WAMIDS,
};
use crate::store::rows::submissions::{
    LateArrival, StoredSubmission, list_late_arrivals, resolve_customer,
};

/// Maximum rows of one slice. A slice of large rows has fewer.
const SLICE_ROWS_MAX: usize = 5000;

/// Submission with its later arrivals and the current names of its customer.
#[derive(Clone, Debug)]
pub struct FoundSubmission {
    /// Submission ID.
    pub id: SubmissionId,
    /// Stored row.
    pub stored: StoredSubmission,
    /// Late arrivals in order.
    pub late_arrivals: Vec<LateArrival>,
    /// Customer under the current names. Unknown if no arrival names the customer.
    pub customer: Customer,
}

impl FoundSubmission {
    /// Lists the customers that the form, its late arrivals and later changes name.
    pub fn customers(&self) -> impl Iterator<Item = &Customer> {
        let arrivals = self.late_arrivals.iter().map(|arrival| &arrival.customer);
        [&self.customer, &self.stored.submission.customer]
            .into_iter()
            .chain(arrivals)
    }
}

/// Slice of a search.
#[derive(Debug)]
pub struct SearchSlice<T, P> {
    /// Rows that match, in the order of the search.
    pub found: Vec<T>,
    /// Number of rows read.
    pub rows_read: u64,
    /// Position behind which the next slice begins. `None`: the search has ended.
    pub next: Option<P>,
}

impl<T, P> SearchSlice<T, P> {
    const fn new() -> Self {
        Self {
            found: Vec::new(),
            rows_read: 0,
            next: None,
        }
    }
}

impl Snapshot {
    /// Searches submissions before `before`, newest first. Unreadable rows are logged and skipped.
    ///
    /// # Errors
    /// [`StoreError`] if a table is unreadable.
    pub fn search_submissions(
        &self,
        before: Option<SubmissionId>,
        mut is_wanted: impl FnMut(&FoundSubmission) -> bool,
    ) -> Result<SearchSlice<FoundSubmission, SubmissionId>, StoreError> {
        self.with_read_txn(|txn| {
            let table = txn.open(SUBMISSIONS)?;
            let (arrivals, renamed) = (txn.open(LATE_ARRIVALS)?, txn.open(RENAMED_CUSTOMERS)?);
            let (has_arrivals, has_renamed) = (!arrivals.is_empty()?, !renamed.is_empty()?);
            let mut slice = SearchSlice::new();
            let mut bytes = 0_u64;
            let range = (Unbounded, before.map_or(Unbounded, Excluded));
            for row in table.range(range)?.rev() {
                let row = row?;
                let id = row.key();
                slice.rows_read += 1;
                bytes = bytes.saturating_add(row.stored_bytes());
                let read = || {
                    let stored = row.value()?;
                    let late_arrivals = if has_arrivals {
                        let rows = list_late_arrivals(&arrivals, id)?;
                        rows.into_iter().map(|(_, arrival)| arrival).collect()
                    } else {
                        Vec::new()
                    };
                    let named = named_customer(&stored, &late_arrivals);
                    let customer = if has_renamed {
                        resolve_customer(&renamed, named, &stored)?
                    } else {
                        named
                    };
                    Ok(FoundSubmission {
                        id,
                        stored,
                        late_arrivals,
                        customer,
                    })
                };
                match read() {
                    Ok(found) if is_wanted(&found) => slice.found.push(found),
                    Ok(_) => {}
                    Err(error) => skip_unreadable(error)?,
                }
                if is_full(slice.rows_read, bytes) {
                    slice.next = Some(id);
                    break;
                }
            }
            Ok(slice)
        })
    }

    /// Returns one submission with its late arrivals and its customer.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn found_submission(
        &self,
        id: SubmissionId,
    ) -> Result<Option<FoundSubmission>, StoreError> {
        let Some(stored) = self.submission(id)? else {
            return Ok(None);
        };
        let late_arrivals = self.late_arrivals(id)?;
        let named = named_customer(&stored, &late_arrivals);
        let customer = self.renamed_customer(id)?.unwrap_or(named);
        Ok(Some(FoundSubmission {
            id,
            stored,
            late_arrivals,
            customer,
        }))
    }

    /// Searches jobs from `first` on, oldest first. Unreadable rows are logged and skipped.
    ///
    /// # Errors
    /// [`StoreError`] if the table is unreadable.
    pub fn search_jobs(
        &self,
        first: JobId,
        mut is_wanted: impl FnMut(&Job) -> bool,
    ) -> Result<SearchSlice<JobId, JobId>, StoreError> {
        self.with_read_txn(|txn| {
            let table = txn.open(JOBS)?;
            let mut slice = SearchSlice::new();
            let mut bytes = 0_u64;
            for row in table.range((Included(first), Unbounded))? {
                let row = row?;
                let id = row.key();
                if is_full(slice.rows_read, bytes) {
                    slice.next = Some(id);
                    break;
                }
                slice.rows_read += 1;
                bytes = bytes.saturating_add(row.stored_bytes());
                match row.value() {
                    Ok(job) if is_wanted(&job) => slice.found.push(id),
                    Ok(_) => {}
                    Err(error) => skip_unreadable(error)?,
                }
            }
            Ok(slice)
        })
    }

    /// Searches deliveries by their webhook ID before `before`, newest first.
    ///
    /// # Errors
    /// [`StoreError`] if the table is unreadable.
    pub fn search_webhook_id(
        &self,
        webhook_id: &str,
        before: Option<JobId>,
    ) -> Result<SearchSlice<JobId, JobId>, StoreError> {
        self.with_read_txn(|txn| {
            let table = txn.open(DELIVERIES)?;
            let mut slice = SearchSlice::new();
            let range = (Unbounded, before.map_or(Unbounded, Excluded));
            for row in table.range(range)?.rev() {
                let row = row?;
                let id = row.key();
                slice.rows_read += 1;
                match row.value() {
                    Ok(delivery) if &*delivery.webhook_id == webhook_id => {
                        slice.found.push(id);
                        break;
                    }
                    Ok(_) => {}
                    Err(error) => skip_unreadable(error)?,
                }
                if is_full(slice.rows_read, 0) {
                    slice.next = Some(id);
                    break;
                }
            }
            Ok(slice)
        })
    }

    /// Returns the delivery that became the WhatsApp message `wamid`.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn delivery_of_message(&self, wamid: &str) -> Result<Option<JobId>, StoreError> {
        self.get_row(WAMIDS, wamid)
    }

    /// Returns the last agent of a customer in a flow with `lead.sticky`, and the last lead.
    ///
    /// # Errors
    /// As [`Snapshot::submission`].
    pub fn customer_agent(
        &self,
        flow: &FlowName,
        customer: &Customer,
    ) -> Result<Option<(AgentId, LeadId)>, StoreError> {
        self.with_read_txn(|txn| {
            let table = txn.open(CUSTOMER_AGENTS)?;
            for name in customer.names() {
                let key = IdempotencyKey::for_customer(flow, name);
                if let Some((agent, lead, _)) = table.get(key.as_bytes())? {
                    return Ok(Some((agent, lead)));
                }
            }
            Ok(None)
        })
    }
}

/// Returns the customer whom the form or the first late arrival names.
fn named_customer(stored: &StoredSubmission, late_arrivals: &[LateArrival]) -> Customer {
    let arrivals = late_arrivals.iter().map(|arrival| &arrival.customer);
    std::iter::once(&stored.submission.customer)
        .chain(arrivals)
        .find(|customer| !customer.is_unknown())
        .cloned()
        .unwrap_or_default()
}

fn is_full(rows_read: u64, bytes: u64) -> bool {
    usize::try_from(rows_read).unwrap_or(usize::MAX) >= SLICE_ROWS_MAX || bytes >= PAGE_BYTES_MAX
}

fn skip_unreadable(error: StoreError) -> Result<(), StoreError> {
    if error.affects_one_row() {
        tracing::warn!(error = %error, "unreadable row skipped: run `flowgate check`");
        Ok(())
    } else {
        Err(error)
    }
}
