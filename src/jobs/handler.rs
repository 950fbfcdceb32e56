//! Runs one job: reads its submission or message and decides the outcome. The store writes the
//! outcome.
//!
//! Fields and drafts were checked when the form arrived. A job only decides which team gets the
//! lead. The job of an unparsable message parses the message again, in the same manner as at its
//! arrival.
//!
//! See [`crate::intake`] for parsing.

use crate::domain::ids::{FlowName, JobId, SubmissionId};
use crate::domain::job::{Job, JobKind};
use crate::domain::submission::inbound::InboundSubmission;
use crate::intake::cloud_api;
use crate::reloadable::Reloadable;
use crate::store::{NewLead, Snapshot, StoreError};

use super::settings::JobSettings;

/// Outcome of a successful job.
#[derive(Debug)]
pub(crate) enum JobOutcome {
    /// The submission is processed. It becomes a lead if its flow creates leads.
    SubmissionProcessed { lead: Option<NewLead> },
    /// The message can be parsed now.
    MessageParsed { form: Box<InboundSubmission> },
}

/// Reason why an attempt failed. The error text is stored with the job.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    /// The flow was removed from the config after the form was accepted.
    #[error(
        "flow `{0}` is not in the config: add it again and reload the config, then the next attempt can succeed"
    )]
    UnknownFlow(FlowName),
    /// The job's submission has no row.
    #[error("submission {0} is missing: run `flowgate check`")]
    MissingSubmission(SubmissionId),
    /// The job has no submission and no message.
    #[error("the job has neither a submission nor a message: run `flowgate check`")]
    NothingToProcess,
    /// The message still can't be parsed.
    #[error("{0}")]
    Unparsable(String),
    /// The store can't be read. This includes an unreadable row.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The job panicked.
    #[error("the job panicked, which is a bug in flowgate: {0}")]
    Panicked(String),
}

impl JobError {
    /// Returns `true` if another attempt would fail in the same manner.
    pub(crate) const fn is_final(&self) -> bool {
        // The message and the parser do not change until an admin acts.
        matches!(self, Self::Unparsable(_))
    }
}

/// Work of a job, separate from its retries and results. Tests replace the handler.
pub(crate) trait JobHandler: Send + Sync {
    /// Runs `job`. The handler only reads and decides; the outcome contains all data to write.
    ///
    /// # Errors
    /// [`JobError`] with the reason why this attempt failed.
    fn run(&self, snapshot: &Snapshot, id: JobId, job: &Job) -> Result<JobOutcome, JobError>;
}

/// Runs the jobs of this server.
pub(crate) struct SubmissionHandler {
    pub(crate) settings: Reloadable<JobSettings>,
}

impl JobHandler for SubmissionHandler {
    fn run(&self, snapshot: &Snapshot, id: JobId, job: &Job) -> Result<JobOutcome, JobError> {
        match job.kind {
            JobKind::Process => self.process(
                snapshot,
                job.submission_id.ok_or(JobError::NothingToProcess)?,
            ),
            // Deliveries have a separate schedule, which no worker reads.
            JobKind::Deliver => Err(JobError::NothingToProcess),
            JobKind::Message => {
                let message = snapshot
                    .retried_payload(id)?
                    .ok_or(JobError::NothingToProcess)?;
                let form = cloud_api::reparse(&self.settings.load().catalog, &message)
                    .map_err(JobError::Unparsable)?;
                Ok(JobOutcome::MessageParsed {
                    form: Box::new(form),
                })
            }
        }
    }
}

impl SubmissionHandler {
    fn process(&self, snapshot: &Snapshot, id: SubmissionId) -> Result<JobOutcome, JobError> {
        let submission = snapshot
            .submission(id)?
            .ok_or(JobError::MissingSubmission(id))?
            .submission;
        let rules = self.settings.load();
        let Some(flow) = rules.catalog.flows.get(&submission.flow) else {
            return Err(JobError::UnknownFlow(submission.flow));
        };
        let lead = flow.lead.as_ref().map(|rule| NewLead {
            flow: submission.flow,
            team: rule.team.clone(),
            is_sticky: rule.is_sticky,
            customer: submission.customer,
            chosen_agent: rule
                .agent_field
                .as_ref()
                .and_then(|_| rule.chosen_agent(&serde_json::from_str(&submission.data).ok()?)),
        });
        Ok(JobOutcome::SubmissionProcessed { lead })
    }
}
