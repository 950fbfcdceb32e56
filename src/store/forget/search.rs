//! Finds the rows of one customer: the names of the customer in submissions and drafts first, then
//! the rows of all tables.

use std::collections::BTreeSet;

use crate::domain::customer_names::CustomerNames;
use crate::domain::delivery::Event;
use crate::domain::ids::{Customer, FlowName, FlowToken, JobId, SubmissionId};
use crate::domain::job::{Job, JobKind, JobState};
use crate::domain::submission::IdempotencyKey;

use super::visit::Forget;
use crate::store::engine::{Hash, ReadTxn, Rows};
use crate::store::rows::schema::{
    ATTEMPTS, COMPLETIONS, CUSTOMER_AGENTS, DEAD_LETTERS, DELIVERIES, DELIVERY_RESPONSES, DRAFTS,
    EVENTS, FLOW_ERRORS, HEALTH_EVENTS, JOBS, LATE_ARRIVALS, RENAMED_CUSTOMERS,
    RETRIED_DEAD_LETTERS, SUBMISSIONS, SUSPENSIONS, TOKEN_LOG,
};
use crate::store::rows::submissions::{StoredSubmission, list_late_arrivals, resolve_customer};
use crate::store::tx::forget::CustomerRow;
use crate::store::{StoreError, StoreResult};

/// Maximum number of rounds in which names lead to further names.
const ROUNDS_MAX: usize = 8;

/// Submissions of the customer, and all names and tokens in them.
pub(super) struct CustomerSearch {
    names: CustomerNames,
    submissions: BTreeSet<SubmissionId>,
    tokens: BTreeSet<(FlowName, FlowToken)>,
    /// Keys of the last agents of the customer.
    agent_keys: BTreeSet<Hash>,
    /// Keys of the names that the customer may have had.
    former_names: BTreeSet<Hash>,
}

impl CustomerSearch {
    fn new(names: CustomerNames) -> Self {
        Self {
            names,
            submissions: BTreeSet::new(),
            tokens: BTreeSet::new(),
            agent_keys: BTreeSet::new(),
            former_names: BTreeSet::new(),
        }
    }

    /// Returns `true` if the submission is of the customer, and records its names and token. A
    /// submission without any customer counts if an answer contains the customer's number.
    fn visit_submission(
        &mut self,
        txn: &ReadTxn,
        id: SubmissionId,
        row: &StoredSubmission,
    ) -> StoreResult<bool> {
        let submission = &row.submission;
        let mut named = vec![submission.customer.clone()];
        let late_arrivals = list_late_arrivals(&txn.open(LATE_ARRIVALS)?, id)?;
        named.extend(late_arrivals.into_iter().map(|(_, late)| late.customer));
        named.retain(|customer| !customer.is_unknown());
        let Some(first) = named.first() else {
            let is_theirs = self.names.are_mentioned_in(&submission.data);
            return Ok(is_theirs && self.record_submission(id, row));
        };
        let current = resolve_customer(&txn.open(RENAMED_CUSTOMERS)?, first.clone(), row)?;
        let given = self.names.given().clone();
        let is_theirs = self.names.matches(&current) || named.iter().any(|one| one.is_same(&given));
        self.names.learn(&current);
        if self.names.matches(&current) {
            // The number of a customer without an ID may belong to another customer since.
            let with_id = named.iter().filter(|customer| customer.id.is_some());
            with_id.for_each(|customer| {
                self.names.learn(customer);
            });
        }
        Ok(is_theirs && self.record_submission(id, row))
    }

    /// Returns all known names.
    pub(super) fn into_names(self) -> CustomerNames {
        self.names
    }

    fn record_submission(&mut self, id: SubmissionId, row: &StoredSubmission) -> bool {
        let submission = &row.submission;
        self.submissions.insert(id);
        self.record_token(&submission.flow, submission.flow_token.as_ref());
        true
    }

    fn record_token(&mut self, flow: &FlowName, token: Option<&FlowToken>) {
        let usable = token.filter(|token| token.is_usable());
        self.tokens
            .extend(usable.map(|token| (flow.clone(), token.clone())));
    }

    fn has_token(&self, flow: &FlowName, token: Option<&FlowToken>) -> bool {
        token.is_some_and(|token| self.tokens.contains(&(flow.clone(), token.clone())))
    }

    /// Returns `true` if data of this customer, with this text, is of the customer to forget.
    fn is_theirs(&self, customer: &Customer, text: &str) -> bool {
        self.names.matches(customer) || (customer.is_unknown() && self.names.are_mentioned_in(text))
    }

    fn set_keys(&mut self, flows: &BTreeSet<FlowName>) {
        for name in self.names.texts() {
            let former = IdempotencyKey::for_former_name(name);
            self.former_names.insert(*former.as_bytes());
            let keys = flows
                .iter()
                .map(|flow| *IdempotencyKey::for_customer(flow, name).as_bytes());
            self.agent_keys.extend(keys);
        }
    }

    /// Returns `true` if the event is about the customer. Used for events whose submission does not
    /// exist.
    fn is_event_theirs(&self, event: &Event) -> bool {
        match find_event_customer(&event.body) {
            Some(customer) if !customer.is_unknown() => self.names.matches(&customer),
            _ => self.names.are_mentioned_in(&event.body),
        }
    }

    /// Returns `true` if a delivery whose submission does not exist is about the customer.
    fn is_delivery_theirs(&self, txn: &ReadTxn, id: JobId, job: &Job) -> StoreResult<bool> {
        if let Some(submission) = job.submission_id
            && txn.open(SUBMISSIONS)?.contains(submission)?
        {
            return Ok(false);
        }
        let delivery = txn.open(DELIVERIES)?.require(id)?;
        Ok(self.is_event_theirs(&txn.open(EVENTS)?.require(delivery.event_id)?))
    }

    /// Returns the row of a job that is removed or changed. The job of a submission is removed with
    /// the submission.
    fn find_job(&self, txn: &ReadTxn, id: JobId, job: &Job) -> Found {
        let is_of_submission = (job.submission_id).is_some_and(|id| self.submissions.contains(&id));
        let is_theirs = match job.kind {
            JobKind::Process if is_of_submission => return Ok(None),
            JobKind::Process => false,
            _ if is_of_submission => true,
            JobKind::Deliver => self.is_delivery_theirs(txn, id, job)?,
            JobKind::Message => {
                let dead = txn.open(DEAD_LETTERS)?.get(id)?;
                let retried = txn.open(RETRIED_DEAD_LETTERS)?.get(id)?;
                dead.into_iter().chain(retried).any(|letter| {
                    let corrected = letter.corrected_payload.as_deref().unwrap_or_default();
                    [&letter.payload, corrected]
                        .into_iter()
                        .any(|text| self.names.are_mentioned_in(text))
                })
            }
        };
        Ok(match job.kind {
            JobKind::Deliver if is_theirs => Some(CustomerRow::Delivery(id)),
            JobKind::Message if is_theirs => Some(CustomerRow::Message(id)),
            _ if self.is_named(job.last_error.as_deref()) => Some(CustomerRow::JobError(id)),
            _ => None,
        })
    }

    fn is_named(&self, text: Option<&str>) -> bool {
        text.is_some_and(|text| self.names.are_mentioned_in(text))
    }
}

type Found = StoreResult<Option<CustomerRow>>;

/// Returns the customer whom an event names.
fn find_event_customer(body: &str) -> Option<Customer> {
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    let parts = ["/data/submission/customer", "/data/draft/customer"];
    let customer = parts.into_iter().find_map(|part| body.pointer(part))?;
    let name = |field: &str| customer.get(field).and_then(serde_json::Value::as_str);
    Some(Customer::new(name("id"), name("phone")))
}

impl Forget<'_> {
    /// Reads submissions and drafts until no new name of the customer is found.
    pub(super) fn survey(&mut self) -> StoreResult<CustomerSearch> {
        let mut search = CustomerSearch::new(self.names.clone());
        let mut flows = self.flows.clone();
        for _ in 0..ROUNDS_MAX {
            let before = search.names.clone();
            self.counts.unreadable = 0;
            self.visit_table(SUBMISSIONS, |txn, row, _| {
                let stored = row.value()?;
                search.visit_submission(txn, row.key(), &stored)?;
                flows.insert(stored.submission.flow);
                Ok(None)
            })?;
            // The removal of drafts counts unreadable ones.
            let unreadable = self.counts.unreadable;
            self.visit_table(DRAFTS, |_, row, _| {
                let draft = row.value()?.draft;
                search.names.learn(&draft.customer);
                if search.is_theirs(&draft.customer, &draft.data) {
                    search.record_token(&draft.flow, draft.flow_token.as_ref());
                }
                flows.insert(draft.flow);
                Ok(None)
            })?;
            self.counts.unreadable = unreadable;
            if search.names == before {
                break;
            }
        }
        search.set_keys(&flows);
        Ok(search)
    }

    /// Visits the tables whose rows do not depend on jobs or submissions.
    pub(super) fn visit_outer_rows(&mut self, search: &CustomerSearch) -> StoreResult<()> {
        self.visit_table(DRAFTS, |_, row, counts| {
            let draft = row.value()?.draft;
            let is_theirs = search.is_theirs(&draft.customer, &draft.data)
                || (draft.customer.is_unknown()
                    && search.has_token(&draft.flow, draft.flow_token.as_ref()));
            counts.drafts += usize::from(is_theirs);
            Ok(is_theirs.then(|| CustomerRow::Draft(*row.key())))
        })?;
        self.visit_table(COMPLETIONS, |txn, row, counts| {
            let key = txn.open(TOKEN_LOG)?.get(row.key())?;
            let submission = key.map(|key| SubmissionId::new(key.submission));
            let is_theirs = submission.is_some_and(|id| search.submissions.contains(&id));
            counts.completions += usize::from(is_theirs);
            Ok(is_theirs.then(|| CustomerRow::Completion(row.key())))
        })?;
        self.visit_table(FLOW_ERRORS, |_, row, counts| {
            let error = row.value()?;
            let is_theirs = search.has_token(&error.flow, error.flow_token.as_ref())
                || search.names.are_mentioned_in(&error.message);
            counts.flow_errors += usize::from(is_theirs);
            Ok(is_theirs.then(|| CustomerRow::FlowError(row.key())))
        })?;
        self.visit_table(HEALTH_EVENTS, |_, row, counts| {
            let is_theirs = search.names.are_mentioned_in(&row.value()?.payload);
            counts.health_events += usize::from(is_theirs);
            Ok(is_theirs.then(|| CustomerRow::HealthEvent(row.key())))
        })?;
        self.visit_table(RENAMED_CUSTOMERS, |_, row, counts| {
            let (key, at) = row.key();
            let is_theirs =
                search.former_names.contains(key) || search.names.matches(&row.value()?);
            counts.name_changes += usize::from(is_theirs);
            Ok(is_theirs.then_some(CustomerRow::NameChange(*key, at)))
        })?;
        self.visit_table(CUSTOMER_AGENTS, |_, row, counts| {
            let is_theirs = search.agent_keys.contains(row.key());
            counts.last_agents += usize::from(is_theirs);
            Ok(is_theirs.then(|| CustomerRow::LastAgent(*row.key())))
        })?;
        self.visit_texts(search)
    }

    /// Visits texts of destinations, which may repeat what they received.
    fn visit_texts(&mut self, search: &CustomerSearch) -> StoreResult<()> {
        self.visit_table(SUSPENSIONS, |_, row, counts| {
            let disabled = row.value()?.disabled;
            let is_named = search.is_named(disabled.as_ref().map(|(_, reason)| &**reason));
            counts.texts += usize::from(is_named);
            Ok(is_named.then(|| CustomerRow::Suspension(row.key().into())))
        })?;
        // The texts of the customer's own jobs are removed with the jobs.
        let is_of_other = |txn: &ReadTxn, id| {
            let job = txn.open(JOBS)?.get(id)?;
            let submission = job.and_then(|job| job.submission_id);
            Ok::<_, StoreError>(submission.is_none_or(|id| !search.submissions.contains(&id)))
        };
        self.visit_table(ATTEMPTS, |txn, row, counts| {
            let (id, number) = row.key();
            let is_named = search.is_named(row.value()?.error.as_deref()) && is_of_other(txn, id)?;
            counts.texts += usize::from(is_named);
            Ok(is_named.then_some(CustomerRow::AttemptError(id, number)))
        })?;
        self.visit_table(DELIVERY_RESPONSES, |txn, row, counts| {
            let (id, number) = row.key();
            let is_named =
                search.is_named(Some(&row.value()?.body_excerpt)) && is_of_other(txn, id)?;
            counts.texts += usize::from(is_named);
            Ok(is_named.then_some(CustomerRow::Response(id, number)))
        })
    }

    /// Visits deliveries, messages, and errors of other jobs.
    pub(super) fn visit_jobs(&mut self, search: &CustomerSearch) -> StoreResult<()> {
        self.visit_table(JOBS, |txn, row, counts| {
            let job = row.value()?;
            let found = search.find_job(txn, row.key(), &job)?;
            match &found {
                Some(CustomerRow::Delivery(_)) => {
                    counts.deliveries += 1;
                    counts.waiting_deliveries += usize::from(job.state == JobState::Scheduled);
                }
                Some(CustomerRow::Message(_)) => counts.messages += 1,
                Some(_) => counts.texts += 1,
                None => return Ok(None),
            }
            let is_removed = !matches!(found, Some(CustomerRow::JobError(_)));
            counts.dead_letters += usize::from(is_removed && job.state == JobState::Dead);
            Ok(found)
        })
    }

    /// Visits the submissions of the customer, with their leads and bookings.
    pub(super) fn visit_submissions(&mut self, search: &CustomerSearch) -> StoreResult<()> {
        self.visit_table(SUBMISSIONS, |txn, row, counts| {
            let id = row.key();
            if !search.submissions.contains(&id) {
                return Ok(None);
            }
            let stored = row.value()?;
            let job = txn.open(JOBS)?.get(stored.job_id)?;
            counts.submissions += 1;
            counts.bookings += usize::from(stored.booking_id.is_some());
            counts.leads += usize::from(job.as_ref().is_some_and(|job| job.lead_id.is_some()));
            counts.dead_letters += usize::from(job.is_some_and(|job| job.state == JobState::Dead));
            Ok(Some(CustomerRow::Submission(id)))
        })
    }
}
