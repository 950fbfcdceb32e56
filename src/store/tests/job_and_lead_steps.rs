//! Steps of the model test of jobs and leads, and its model: plain maps of tokens, jobs and leads.
//!
//! `jobs_and_leads_model` applies the steps to a store.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::domain::ids::{JobId, LeadId};
use crate::domain::job::JobState;
use crate::store::{AcceptOutcome, AgentChange};

use super::support::StoreBench;

/// First number of messages that are unparsable at first, and of their tokens.
pub const UNREADABLE: u8 = 100;

/// Step of the test. Numbers select among the existing rows.
#[derive(Clone, Debug)]
pub enum Step {
    /// Accepts a form by this token, with this message or at the plain endpoint.
    Accept(u8, Option<u8>),
    AcceptUnparsable(u8),
    OnJob(u8, JobStep),
    /// Adds an agent with this name and this maximum number of leads.
    AddAgent(u8, Option<u32>),
    /// Applies a change to the agent with this name.
    ChangeAgent(u8, AgentChange),
    /// Adds an absence of this many hours to the agent with this name.
    AddAbsence(u8, u8),
    AssignWaiting,
    CloseLead(u8),
    /// Assigns a lead to the agent with this name.
    AssignLead(u8, u8),
    /// Applies a transaction that fails after its first write: this change, of this agent.
    FailAfterWrite(u8, u8),
    WaitHours(u8),
    Restart,
}

/// Step that concerns one job.
#[derive(Clone, Copy, Debug)]
pub enum JobStep {
    Finish,
    Retry,
    GiveUp,
    FinishMessage,
    MarkSuspect,
    RetryDeadLetter,
    DiscardDeadLetter,
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let job_step = prop_oneof![
        5 => Just(JobStep::Finish),
        1 => Just(JobStep::Retry),
        1 => Just(JobStep::GiveUp),
        3 => Just(JobStep::FinishMessage),
        3 => Just(JobStep::RetryDeadLetter),
        1 => Just(JobStep::DiscardDeadLetter),
    ];
    let change = prop::sample::select(vec![
        AgentChange::Pause,
        AgentChange::Resume,
        AgentChange::Remove,
    ]);
    let step = prop_oneof![
        4 => (0..12u8).prop_map(|token| Step::Accept(token, None)),
        3 => (0..12u8, 0..12u8).prop_map(|(token, message)| Step::Accept(token, Some(message))),
        2 => (0..6u8).prop_map(Step::AcceptUnparsable),
        14 => (0..30u8, job_step).prop_map(|(job, step)| Step::OnJob(job, step)),
        5 => (0..2u8).prop_map(|job| Step::OnJob(job, JobStep::MarkSuspect)),
        2 => (0..4u8, prop::option::of(0..3u32)).prop_map(|(name, max)| Step::AddAgent(name, max)),
        2 => (0..4u8, change).prop_map(|(name, change)| Step::ChangeAgent(name, change)),
        4 => (0..4u8, 1..30u8).prop_map(|(name, hours)| Step::AddAbsence(name, hours)),
        1 => Just(Step::AssignWaiting),
        2 => (0..20u8).prop_map(Step::CloseLead),
        1 => (0..20u8, 0..4u8).prop_map(|(lead, name)| Step::AssignLead(lead, name)),
        2 => (0..4u8, 0..4u8).prop_map(|(change, agent)| Step::FailAfterWrite(change, agent)),
        2 => (1..30u8).prop_map(Step::WaitHours),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..90)
}

#[derive(Default)]
pub struct Model {
    /// Time of the clock, in hours.
    pub hours: u64,
    /// Token → hour of acceptance and submission.
    pub tokens: BTreeMap<u8, (u64, u64)>,
    pub messages: BTreeMap<u8, (u64, u64)>,
    /// Submissions for which no message has arrived.
    pub awaiting: BTreeSet<u64>,
    pub submissions: u64,
    pub jobs: BTreeMap<u64, JobState>,
    /// Jobs that parse a message again → number of the message.
    pub message_jobs: BTreeMap<u64, u8>,
    /// Job → number of simulated crashes.
    pub crashes: BTreeMap<u64, u8>,
    /// Lead → `true` if open.
    pub leads: BTreeMap<u64, bool>,
    pub agents: Vec<u8>,
}

impl Model {
    /// Returns the hour and the submission of a message whose key has not expired.
    pub fn known_message(&self, message: u8) -> Option<(u64, u64)> {
        let known = self.messages.get(&message).copied();
        known.filter(|(hour, _)| self.hours - hour < 8 * 24)
    }

    /// Returns the submission that the store must find for the keys.
    pub fn find_submission(&self, token: u8, message: Option<u8>) -> Option<u64> {
        let by_message = message.is_some();
        let message = message.and_then(|message| self.known_message(message));
        let token = self
            .tokens
            .get(&token)
            .copied()
            .filter(|(hour, submission)| {
                let is_awaiting = by_message && self.awaiting.contains(submission);
                self.hours - hour < if is_awaiting { 8 * 24 } else { 24 }
            });
        message.or(token).map(|(_, submission)| submission)
    }

    pub fn accept(&mut self, token: u8, message: Option<u8>, accepted: &AcceptOutcome) {
        let of = match (self.find_submission(token, message), accepted) {
            (Some(known), AcceptOutcome::Duplicate { original: Some(of) }) => {
                assert_eq!(of.get(), known);
                if message.is_none_or(|message| self.known_message(message).is_some()) {
                    return;
                }
                known
            }
            (
                None,
                AcceptOutcome::New {
                    submission_id,
                    job_id,
                    ..
                },
            ) => {
                let id = submission_id.get();
                self.submissions += 1;
                self.tokens.insert(token, (self.hours, id));
                self.awaiting.insert(id);
                assert!(
                    self.jobs
                        .insert(job_id.get(), JobState::Scheduled)
                        .is_none()
                );
                id
            }
            (known, accepted) => panic!("known {known:?}, got {accepted:?}"),
        };
        if let Some(message) = message {
            self.awaiting.remove(&of);
            self.messages.insert(message, (self.hours, of));
        }
    }

    /// Updates the model after an unparsable message became `submission`, or a copy of it.
    pub fn finish_message(&mut self, message: u8, submission: u64, bench: &StoreBench) {
        let token = UNREADABLE + message;
        let earlier = self.known_message(token).filter(|(_, of)| *of != 0);
        if let Some((_, of)) = earlier {
            assert_eq!(
                submission, of,
                "another letter of the message was read before"
            );
            return;
        }
        if let Some(known) = self.find_submission(token, None) {
            assert_eq!(submission, known);
        } else {
            let job = bench.submission(submission).job_id;
            self.submissions += 1;
            self.tokens.insert(token, (self.hours, submission));
            assert!(self.jobs.insert(job.get(), JobState::Scheduled).is_none());
        }
        self.messages.insert(token, (self.hours, submission));
    }

    pub fn choose_job(&self, choice: u8) -> Option<JobId> {
        let index = usize::from(choice).checked_rem(self.jobs.len())?;
        self.jobs.keys().nth(index).copied().map(JobId::new)
    }

    pub fn choose_lead(&self, choice: u8) -> Option<LeadId> {
        let index = usize::from(choice).checked_rem(self.leads.len())?;
        self.leads.keys().nth(index).copied().map(LeadId::new)
    }
}
