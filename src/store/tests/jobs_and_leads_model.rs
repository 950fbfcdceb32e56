//! Model test of all named transactions, with plain maps as the model.
//!
//! In any order of steps, the store matches the model, every invariant holds, and a restart changes
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::domain::ids::{AgentName, JobId, LeadId, SubmissionId};
use crate::domain::job::retry::RetryDecision;
use crate::domain::job::{Job, JobState};
use crate::domain::lead::{Absence, Lead, LeadState};
use crate::domain::submission::inbound::Inbound;
use crate::domain::time::Millis;
use crate::store::{
    AcceptInbound, AcceptOutcome, AgentChange, AgentOutcome, AssignLead, AssignWaitingLeads,
    ChangeAgent, CloseLead, DeadLetterOutcome, DiscardDeadLetter, FailAttempt, FinishMessageJob,
    FinishOutcome, LeadOutcome, MarkSuspect, RetryDeadLetter, SuspectAction,
};

use super::corruptions::FailAfter;
use super::support::{StoreBench, attempt, form, rows, webhook_form};

/// First number of messages that are unparsable at first, and of their tokens.
const UNREADABLE: u8 = 100;

/// Step of the test. Numbers select among the existing rows.
#[derive(Clone, Debug)]
enum Step {
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

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..12u8).prop_map(|token| Step::AcceptPlain { token }),
        3 => (0..12u8, 0..12u8).prop_map(|(token, message)| Step::AcceptWebhook { token, message }),
        5 => (0..30u8).prop_map(|job| Step::Finish { job }),
        2 => (0..30u8, any::<bool>()).prop_map(|(job, dead)| Step::Fail { job, is_final: dead }),
        2 => (0..6u8).prop_map(|message| Step::AcceptUnparsable { message }),
        3 => (0..30u8).prop_map(|job| Step::FinishMessage { job }),
        5 => (0..2u8).prop_map(|job| Step::MarkSuspect { job }),
        3 => (0..30u8).prop_map(|job| Step::RetryDeadLetter { job }),
        1 => (0..30u8).prop_map(|job| Step::DiscardDeadLetter { job }),
        2 => (0..4u8, proptest::option::of(0..3u32)).prop_map(|(name, max)| Step::AddAgent { name, max }),
        2 => (0..4u8, 0..3u8).prop_map(|(name, change)| Step::ChangeAgent { name, change }),
        4 => (0..4u8, 1..30u8).prop_map(|(name, hours)| Step::AddAbsence { name, hours }),
        1 => Just(Step::AssignWaiting),
        2 => (0..20u8).prop_map(|lead| Step::CloseLead { lead }),
        1 => (0..20u8, 0..4u8).prop_map(|(lead, name)| Step::AssignLead { lead, name }),
        2 => (0..4u8, 0..4u8).prop_map(|(change, agent)| Step::FailAfterWrite { change, agent }),
        2 => (1..30u8).prop_map(|hours| Step::Wait { hours }),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..90)
}

#[derive(Default)]
struct Model {
    /// Time of the clock, in hours.
    hours: u64,
    /// Token → hour of acceptance and submission.
    tokens: BTreeMap<u8, (u64, u64)>,
    messages: BTreeMap<u8, (u64, u64)>,
    /// Submissions for which no message has arrived.
    awaiting: BTreeSet<u64>,
    submissions: u64,
    jobs: BTreeMap<u64, JobState>,
    /// Jobs that parse a message again → number of the message.
    message_jobs: BTreeMap<u64, u8>,
    /// Job → number of simulated crashes.
    crashes: BTreeMap<u64, u8>,
    /// Lead → `true` if open.
    leads: BTreeMap<u64, bool>,
    agents: Vec<u8>,
}

impl Model {
    /// Returns the submission that the store must find for the keys.
    fn find_submission(&self, token: u8, message: Option<u8>) -> Option<u64> {
        let by_message = message.is_some();
        let message = message.and_then(|message| self.messages.get(&message));
        let message = message.filter(|(hour, _)| self.hours - hour < 8 * 24);
        let token = self.tokens.get(&token).filter(|(hour, submission)| {
            let is_awaiting = by_message && self.awaiting.contains(submission);
            self.hours - hour < if is_awaiting { 8 * 24 } else { 24 }
        });
        message.or(token).map(|(_, submission)| *submission)
    }

    fn accept(&mut self, token: u8, message: Option<u8>, accepted: &AcceptOutcome) {
        let of = match (self.find_submission(token, message), accepted) {
            (Some(known), AcceptOutcome::Duplicate { original: Some(of) }) => {
                assert_eq!(of.get(), known);
                let first_sight = message.is_some_and(|message| {
                    self.messages
                        .get(&message)
                        .is_none_or(|(hour, _)| self.hours - hour >= 8 * 24)
                });
                if !first_sight {
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
    fn finish_message(&mut self, message: u8, submission: u64, bench: &StoreBench) {
        let token = UNREADABLE + message;
        let earlier = self
            .messages
            .get(&token)
            .filter(|(hour, of)| *of != 0 && self.hours - hour < 8 * 24);
        if let Some((_, of)) = earlier {
            assert_eq!(
                submission, *of,
                "another letter of the same message was read before"
            );
            return;
        }
        if let Some(known) = self.find_submission(token, None) {
            assert_eq!(submission, known);
        } else {
            let read = bench.store.read().unwrap();
            let stored = read
                .submission(SubmissionId::new(submission))
                .unwrap()
                .unwrap();
            self.submissions += 1;
            self.tokens.insert(token, (self.hours, submission));
            assert!(
                self.jobs
                    .insert(stored.job_id.get(), JobState::Scheduled)
                    .is_none()
            );
        }
        self.messages.insert(token, (self.hours, submission));
    }

    fn choose_job(&self, choice: u8) -> Option<JobId> {
        let index = usize::from(choice).checked_rem(self.jobs.len())?;
        self.jobs.keys().nth(index).copied().map(JobId::new)
    }

    fn choose_lead(&self, choice: u8) -> Option<LeadId> {
        let index = usize::from(choice).checked_rem(self.leads.len())?;
        self.leads.keys().nth(index).copied().map(LeadId::new)
    }
}

fn agent_name(of: u8) -> AgentName {
    AgentName::new(&format!("agent-{of}")).unwrap()
}

fn apply_step(bench: &StoreBench, model: &mut Model, step: &Step) {
    match *step {
        Step::AcceptPlain { token } => {
            let accepted = bench.accept(form(&format!("t{token}"), "{}"));
            model.accept(token, None, &accepted);
        }
        Step::AcceptWebhook { token, message } => {
            let accepted = bench.accept(webhook_form(
                &format!("t{token}"),
                &format!("wamid.{message}"),
                "{}",
            ));
            model.accept(token, Some(message), &accepted);
        }
        Step::AcceptUnparsable { message } => {
            // Unparsable messages have separate numbers, above those of parsable messages.
            let accepted = bench.accept_unparsable(&format!("wamid.odd-{message}"));
            let number = UNREADABLE + message;
            let known = model
                .messages
                .get(&number)
                .is_some_and(|(hour, _)| model.hours - hour < 8 * 24);
            match accepted {
                AcceptOutcome::DeadLetter { job_id: job } if !known => {
                    model.messages.insert(number, (model.hours, 0));
                    model.jobs.insert(job.get(), JobState::Dead);
                    model.message_jobs.insert(job.get(), message);
                }
                AcceptOutcome::Duplicate { .. } if known => {}
                other => panic!("{other:?}"),
            }
        }
        Step::Wait { hours } => {
            bench
                .clock
                .advance(Millis::from_secs(3600 * u64::from(hours)));
            model.hours += u64::from(hours);
        }
        Step::FailAfterWrite { change, agent } => apply_failing_step(bench, change, agent),
        Step::Restart => unreachable!("done by the caller, who owns the bench"),
        Step::Finish { .. }
        | Step::Fail { .. }
        | Step::FinishMessage { .. }
        | Step::MarkSuspect { .. }
        | Step::RetryDeadLetter { .. }
        | Step::DiscardDeadLetter { .. } => apply_job_step(bench, model, step),
        _ => apply_lead_step(bench, model, step),
    }
}

/// Applies a transaction that fails after its first write. None of its changes may remain.
fn apply_failing_step(bench: &StoreBench, change: u8, agent: u8) {
    let store = &bench.store;
    let newest = rows::<Lead>(&store.read().unwrap())
        .first()
        .map(|(id, _)| *id);
    let failed = match (change, newest) {
        (0, _) => {
            let arrivals = vec![Inbound::Submission(Box::new(form("fails", "{}")))];
            store
                .execute_blocking(FailAfter(AcceptInbound { inbound: arrivals }))
                .is_err()
        }
        (1, Some(lead)) => store
            .execute_blocking(FailAfter(CloseLead { lead_id: lead }))
            .is_err(),
        (2, _) => store
            .execute_blocking(FailAfter(ChangeAgent {
                name: agent_name(agent),
                change: AgentChange::Remove,
            }))
            .is_err(),
        _ => store
            .execute_blocking(FailAfter(AssignWaitingLeads))
            .is_err(),
    };
    assert!(failed);
}

/// Applies a step that concerns a job.
#[expect(clippy::too_many_lines, reason = "one arm for each step")]
fn apply_job_step(bench: &StoreBench, model: &mut Model, step: &Step) {
    let store = &bench.store;
    match *step {
        Step::Finish { job } => {
            let Some(job) = model
                .choose_job(job)
                .filter(|job| !model.message_jobs.contains_key(&job.get()))
            else {
                return;
            };
            let allowed = model.jobs[&job.get()] == JobState::Scheduled;
            match bench.finish_job(job) {
                FinishOutcome::Done {
                    lead_id: Some(lead),
                    ..
                } if allowed => {
                    model.jobs.insert(job.get(), JobState::Done);
                    assert!(model.leads.insert(lead.get(), true).is_none());
                }
                FinishOutcome::AlreadyFinished if !allowed => {}
                other => panic!("{other:?}"),
            }
        }
        Step::Fail { job, is_final } => {
            let Some(job) = model.choose_job(job) else {
                return;
            };
            let at = crate::clock::Clock::now(&*bench.clock).plus(Millis::from_secs(5));
            let verdict = if is_final {
                RetryDecision::GiveUp
            } else {
                RetryDecision::RetryAt { at }
            };
            let failed = store
                .execute_blocking(FailAttempt {
                    job_id: job,
                    attempt: attempt(Some("no")),
                    decision: verdict,
                })
                .unwrap();
            let allowed = model.jobs[&job.get()] == JobState::Scheduled;
            assert_eq!(failed == FinishOutcome::AlreadyFinished, !allowed);
            if allowed {
                model.crashes.remove(&job.get());
            }
            if allowed && is_final {
                model.jobs.insert(job.get(), JobState::Dead);
            }
        }
        Step::FinishMessage { job } => {
            let Some(job) = model.choose_job(job) else {
                return;
            };
            let Some(message) = model.message_jobs.get(&job.get()).copied() else {
                return;
            };
            let reread = webhook_form(
                &format!("odd-{message}"),
                &format!("wamid.odd-{message}"),
                "{}",
            );
            let finish = FinishMessageJob {
                job_id: job,
                attempt: attempt(None),
                form: Box::new(reread),
            };
            let finished = store.execute_blocking(finish).unwrap();
            let allowed = model.jobs[&job.get()] == JobState::Scheduled;
            match finished {
                FinishOutcome::Done {
                    submission_id: Some(submission),
                    ..
                } if allowed => {
                    model.jobs.insert(job.get(), JobState::Done);
                    model.finish_message(message, submission.get(), bench);
                }
                FinishOutcome::AlreadyFinished if !allowed => {}
                other => panic!("{other:?}"),
            }
        }
        Step::MarkSuspect { job } => {
            let Some(job) = model.choose_job(job) else {
                return;
            };
            let is_scheduled = model.jobs[&job.get()] == JobState::Scheduled;
            let crashes = model.crashes.entry(job.get()).or_default();
            let expected = match (is_scheduled, *crashes) {
                (false, _) => SuspectAction::AlreadyFinished,
                (true, 3..) => SuspectAction::DeadLettered,
                (true, _) => SuspectAction::Run,
            };
            assert_eq!(
                store.execute_blocking(MarkSuspect { job_id: job }).unwrap(),
                expected
            );
            *crashes += u8::from(expected == SuspectAction::Run);
            if expected == SuspectAction::DeadLettered {
                model.jobs.insert(job.get(), JobState::Dead);
            }
        }
        Step::RetryDeadLetter { job } => {
            let Some(job) = model.choose_job(job) else {
                return;
            };
            let outcome = store
                .execute_blocking(RetryDeadLetter {
                    job_id: job,
                    payload: None,
                })
                .unwrap();
            if matches!(outcome, DeadLetterOutcome::Updated(_)) {
                model.crashes.remove(&job.get());
            }
            apply_dead_letter_outcome(model, job, &outcome, JobState::Scheduled);
        }
        Step::DiscardDeadLetter { job } => {
            let Some(job) = model.choose_job(job) else {
                return;
            };
            let outcome = store
                .execute_blocking(DiscardDeadLetter { job_id: job })
                .unwrap();
            apply_dead_letter_outcome(model, job, &outcome, JobState::Discarded);
        }
        _ => unreachable!("not of a job"),
    }
}

/// Applies a step that concerns leads or agents.
fn apply_lead_step(bench: &StoreBench, model: &mut Model, step: &Step) {
    let store = &bench.store;
    match *step {
        Step::AddAgent { name, max } => {
            if model.agents.contains(&name) {
                return;
            }
            bench.add_agent(&format!("agent-{name}"), max);
            model.agents.push(name);
        }
        Step::ChangeAgent {
            name: agent,
            change,
        } => {
            let change = [AgentChange::Pause, AgentChange::Resume, AgentChange::Remove]
                [usize::from(change)]
            .clone();
            let removes = matches!(change, AgentChange::Remove);
            let changed = store
                .execute_blocking(ChangeAgent {
                    name: agent_name(agent),
                    change,
                })
                .unwrap();
            assert_eq!(
                changed == AgentOutcome::NotFound,
                !model.agents.contains(&agent)
            );
            if removes {
                model.agents.retain(|known| *known != agent);
            }
        }
        Step::AddAbsence { name: agent, hours } => {
            let from = crate::clock::Clock::now(&*bench.clock);
            let to = from.plus(Millis::from_secs(3600 * u64::from(hours)));
            let change = AgentChange::AddAbsence(Absence { from, to });
            let changed = store
                .execute_blocking(ChangeAgent {
                    name: agent_name(agent),
                    change,
                })
                .unwrap();
            assert_eq!(
                changed == AgentOutcome::NotFound,
                !model.agents.contains(&agent)
            );
        }
        Step::AssignWaiting => {
            store.execute_blocking(AssignWaitingLeads).unwrap();
        }
        Step::CloseLead { lead } => {
            let Some(lead) = model.choose_lead(lead) else {
                return;
            };
            let closed = store.execute_blocking(CloseLead { lead_id: lead }).unwrap();
            let was_open = model.leads.insert(lead.get(), false).unwrap();
            assert_eq!(matches!(closed, LeadOutcome::Updated(_)), was_open);
        }
        Step::AssignLead { lead, name: agent } => {
            let Some(lead) = model.choose_lead(lead) else {
                return;
            };
            let assigned = store
                .execute_blocking(AssignLead {
                    lead_id: lead,
                    agent: agent_name(agent),
                })
                .unwrap();
            let possible = model.leads[&lead.get()] && model.agents.contains(&agent);
            assert_eq!(
                matches!(assigned, LeadOutcome::Updated(_)),
                possible,
                "{assigned:?}"
            );
        }
        _ => unreachable!("not of a lead"),
    }
}

fn apply_dead_letter_outcome(
    model: &mut Model,
    job: JobId,
    outcome: &DeadLetterOutcome,
    to: JobState,
) {
    let allowed = model.jobs[&job.get()] == JobState::Dead;
    assert_eq!(
        *outcome == DeadLetterOutcome::Updated(to),
        allowed,
        "{outcome:?}"
    );
    if allowed {
        model.jobs.insert(job.get(), to);
    }
}

fn assert_matches(bench: &StoreBench, model: &Model) {
    // The retention task requests this every second, because absences end by time.
    while bench.store.execute_blocking(AssignWaitingLeads).unwrap() > 0 {}
    bench.assert_invariants();
    let read = bench.store.read().unwrap();
    let counts = read.counts().unwrap();
    assert_eq!(counts.submissions, model.submissions);
    let jobs: BTreeMap<_, _> = rows::<Job>(&read)
        .into_iter()
        .map(|(id, job)| (id.get(), job.state))
        .collect();
    assert_eq!(jobs, model.jobs);
    let leads: BTreeMap<_, _> = rows::<Lead>(&read)
        .into_iter()
        .map(|(id, lead)| (id.get(), lead.state == LeadState::Open))
        .collect();
    assert_eq!(leads, model.leads);
    if counts.leads_unassigned > 0 {
        // While leads wait, no agent may be available.
        for (_, agent) in read.agents().unwrap() {
            let full = agent
                .max_leads
                .is_some_and(|max| agent.current_leads >= max);
            let now = crate::clock::Clock::now(&*bench.clock);
            let absent = agent
                .absences
                .iter()
                .any(|absence| absence.from <= now && now < absence.to);
            assert!(
                agent.is_removed || !agent.is_active || full || absent,
                "{agent:?} is free while leads wait"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn store_matches_the_model(steps in steps()) {
        let mut bench = StoreBench::new();
        let mut model = Model::default();
        for step in &steps {
            if matches!(step, Step::Restart) {
                bench = bench.reopen();
            } else {
                apply_step(&bench, &mut model, step);
            }
        }
        assert_matches(&bench, &model);
        let bench = bench.reopen();
        assert_matches(&bench, &model);
    }
}
