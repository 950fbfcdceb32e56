//! Steps of the model test of jobs and leads, and its model: plain maps of tokens, jobs and leads.
//!
//! `jobs_and_leads_model` applies the steps to a store.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::domain::ids::{JobId, LeadId};
use crate::domain::job::JobState;
use crate::store::AcceptOutcome;

use super::support::StoreBench;

/// First number of messages that are unparsable at first, and of their tokens.
pub const UNREADABLE: u8 = 100;

/// Step of the test. Numbers select among the existing rows.
#[derive(Clone, Debug)]
pub enum Step {
    AcceptPlain {
        token: u8,
    },
    AcceptWebhook {
        token: u8,
        message: u8,
    },
    Finish {
        job: u8,
    },
    Fail {
        job: u8,
        is_final: bool,
    },
    AcceptUnparsable {
        message: u8,
    },
    FinishMessage {
        job: u8,
    },
    MarkSuspect {
        job: u8,
    },
    RetryDeadLetter {
        job: u8,
    },
    DiscardDeadLetter {
        job: u8,
    },
    AddAgent {
        name: u8,
        max: Option<u32>,
    },
    ChangeAgent {
        name: u8,
        change: u8,
    },
    AddAbsence {
        name: u8,
        hours: u8,
    },
    AssignWaiting,
    CloseLead {
        lead: u8,
    },
    AssignLead {
        lead: u8,
        name: u8,
    },
    /// Transaction that fails after its first write.
    FailAfterWrite {
        change: u8,
        agent: u8,
    },
    Wait {
        hours: u8,
    },
    Restart,
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..12u8).prop_map(|token| Step::AcceptPlain { token }),
        3 => (0..12u8, 0..12u8)
            .prop_map(|(token, message)| Step::AcceptWebhook { token, message }),
        5 => (0..30u8).prop_map(|job| Step::Finish { job }),
        2 => (0..30u8, any::<bool>()).prop_map(|(job, is_final)| Step::Fail { job, is_final }),
        2 => (0..6u8).prop_map(|message| Step::AcceptUnparsable { message }),
        3 => (0..30u8).prop_map(|job| Step::FinishMessage { job }),
        5 => (0..2u8).prop_map(|job| Step::MarkSuspect { job }),
        3 => (0..30u8).prop_map(|job| Step::RetryDeadLetter { job }),
        1 => (0..30u8).prop_map(|job| Step::DiscardDeadLetter { job }),
        2 => (0..4u8, proptest::option::of(0..3u32))
            .prop_map(|(name, max)| Step::AddAgent { name, max }),
        2 => (0..4u8, 0..3u8).prop_map(|(name, change)| Step::ChangeAgent { name, change }),
        4 => (0..4u8, 1..30u8).prop_map(|(name, hours)| Step::AddAbsence { name, hours }),
        1 => Just(Step::AssignWaiting),
        2 => (0..20u8).prop_map(|lead| Step::CloseLead { lead }),
        1 => (0..20u8, 0..4u8).prop_map(|(lead, name)| Step::AssignLead { lead, name }),
        2 => (0..4u8, 0..4u8)
            .prop_map(|(change, agent)| Step::FailAfterWrite { change, agent }),
        2 => (1..30u8).prop_map(|hours| Step::Wait { hours }),
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
        let known = self.messages.get(&message);
        known
            .filter(|(hour, _)| self.hours - hour < 8 * 24)
            .copied()
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
                    submission_id: submission,
                    job_id: job,
                    ..
                },
            ) => {
                self.submissions += 1;
                self.tokens.insert(token, (self.hours, submission.get()));
                self.awaiting.insert(submission.get());
                assert!(self.jobs.insert(job.get(), JobState::Scheduled).is_none());
                submission.get()
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
                "another letter of the same message was read before"
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
