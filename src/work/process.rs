//! What one job does: reads what it carries, decides what is to become of it, and leaves the writing to the store.
//!
//! Fields and drafts were looked at when the form came in: what is left for a job is to say which team gets the lead.
//! A message that could not be read is read once more, as `crate::intake` reads all of them.

use crate::current::Current;
use crate::domain::arrival::Form;
use crate::domain::ids::{FlowName, JobId, SubmissionId};
use crate::domain::job::{Job, JobKind};
use crate::intake::cloud_api;
use crate::store::{LeadOrder, Snapshot, StoreError};

use super::rules::Rules;
use super::worker::Handler;

/// What a job that succeeds leads to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Its submission is carried to the end: with a lead, if its flow makes any.
    Carried { lead: Option<LeadOrder> },
    /// The message can be read now.
    Read { form: Box<Form> },
}

/// Why an attempt failed. The texts are kept with the job.
#[derive(Debug, thiserror::Error)]
pub(super) enum JobError {
    /// The flow was taken out of the config after the form was accepted.
    #[error("flow `{0}` is not in the config: put it back, and the job runs at its next try")]
    FlowGone(FlowName),
    /// The row that the job points at is not there.
    #[error("submission {0} is not there: `flowgate check` tells more")]
    SubmissionGone(SubmissionId),
    /// The job points at nothing.
    #[error("the job carries nothing: `flowgate check` tells more")]
    Empty,
    /// The message still can't be read.
    #[error("{0}")]
    Unreadable(String),
    /// A row can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The job panicked.
    #[error("the job panicked, which is a bug in flowgate: {0}")]
    Panicked(String),
}

impl JobError {
    /// Whether another attempt would end in the same way.
    pub(super) const fn is_final(&self) -> bool {
        // A message and its reader stay the same until an admin does something.
        matches!(self, Self::Unreadable(_))
    }
}

/// Runs the jobs of this server.
pub(super) struct Carrier {
    pub(super) rules: Current<Rules>,
}

impl Handler for Carrier {
    fn run(&self, snapshot: &Snapshot, id: JobId, job: &Job) -> Result<Outcome, JobError> {
        match job.kind {
            JobKind::Process => self.carry(snapshot, job.submission.ok_or(JobError::Empty)?),
            // Those have a schedule of their own, which no worker reads.
            JobKind::Deliver => Err(JobError::Empty),
            JobKind::Message => {
                let message = snapshot.message(id)?.ok_or(JobError::Empty)?;
                let form = cloud_api::reread(&self.rules.get().catalog, &message).map_err(JobError::Unreadable)?;
                Ok(Outcome::Read { form: Box::new(form) })
            }
        }
    }
}

impl Carrier {
    fn carry(&self, snapshot: &Snapshot, id: SubmissionId) -> Result<Outcome, JobError> {
        let submission = snapshot.submission(id)?.ok_or(JobError::SubmissionGone(id))?.submission;
        let rules = self.rules.get();
        let Some(flow) = rules.catalog.flows.get(&submission.flow) else {
            return Err(JobError::FlowGone(submission.flow));
        };
        let lead = flow.lead.as_ref().map(|rule| LeadOrder {
            flow: submission.flow,
            team: rule.team.clone(),
            sticky: rule.sticky,
            customer: submission.customer,
            chosen: rule.agent.as_ref().and_then(|_| rule.chosen(&serde_json::from_str(&submission.data).ok()?)),
        });
        Ok(Outcome::Carried { lead })
    }
}
