//! Model test of all named transactions, with plain maps as the model.
//!
//! In any order of steps, the store matches the model, every invariant holds, and a restart changes
//! nothing.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::clock::Clock;
use crate::domain::ids::{AgentName, JobId};
use crate::domain::job::retry::RetryDecision;
use crate::domain::job::{Job, JobState};
use crate::domain::lead::{Absence, Lead, LeadState};
use crate::domain::time::Millis;
use crate::store::{
    AcceptInbound, AcceptOutcome, AgentChange, AgentOutcome, AssignLead, AssignWaitingLeads,
    ChangeAgent, CloseLead, DeadLetterOutcome, DiscardDeadLetter, FinishOutcome, LeadOutcome,
    MarkSuspect, SuspectAction, Transaction,
};

use super::corruptions::FailAfter;
use super::job_and_lead_steps::{Model, Step, UNREADABLE, steps};
use super::purge_rounds::hours;
use super::support::{StoreBench, form, inbound, rows, webhook_form};

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
            let (token_text, message_id) = (format!("t{token}"), format!("wamid.{message}"));
            let accepted = bench.accept(webhook_form(&token_text, &message_id, "{}"));
            model.accept(token, Some(message), &accepted);
        }
        Step::AcceptUnparsable { message } => accept_unparsable(bench, model, message),
        Step::Wait { hours: count } => {
            bench.clock.advance(hours(count.into()));
            model.hours += u64::from(count);
        }
        Step::FailAfterWrite { change, agent } => apply_failing_step(bench, change, agent),
        Step::Restart => unreachable!("done by the caller, who owns the bench"),
        Step::Finish { job }
        | Step::Fail { job, .. }
        | Step::FinishMessage { job }
        | Step::MarkSuspect { job }
        | Step::RetryDeadLetter { job }
        | Step::DiscardDeadLetter { job } => {
            if let Some(job) = model.choose_job(job) {
                apply_job_step(bench, model, step, job);
            }
        }
        _ => apply_lead_step(bench, model, step),
    }
}

fn accept_unparsable(bench: &StoreBench, model: &mut Model, message: u8) {
    // Unparsable messages have separate numbers, above those of parsable messages.
    let accepted = bench.accept_unparsable(&format!("wamid.odd-{message}"));
    let number = UNREADABLE + message;
    let is_known = model.known_message(number).is_some();
    match accepted {
        AcceptOutcome::DeadLetter { job_id: job } if !is_known => {
            model.messages.insert(number, (model.hours, 0));
            model.jobs.insert(job.get(), JobState::Dead);
            model.message_jobs.insert(job.get(), message);
        }
        AcceptOutcome::Duplicate { .. } if is_known => {}
        other => panic!("{other:?}"),
    }
}

/// Applies a transaction that fails after its first write. None of its changes may remain.
fn apply_failing_step(bench: &StoreBench, change: u8, agent: u8) {
    let newest = rows::<Lead>(&bench.read()).first().map(|(id, _)| *id);
    match (change, newest) {
        (0, _) => assert_fails(
            bench,
            AcceptInbound {
                inbound: vec![inbound(form("fails", "{}"))],
            },
        ),
        (1, Some(lead)) => assert_fails(bench, CloseLead { lead_id: lead }),
        (2, _) => assert_fails(
            bench,
            ChangeAgent {
                name: agent_name(agent),
                change: AgentChange::Remove,
            },
        ),
        _ => assert_fails(bench, AssignWaitingLeads),
    }
}

fn assert_fails(bench: &StoreBench, transaction: impl Transaction) {
    let failed = bench.store.execute_blocking(FailAfter(transaction));
    assert!(failed.is_err());
}

/// Applies a step that concerns `job`.
fn apply_job_step(bench: &StoreBench, model: &mut Model, step: &Step, job: JobId) {
    let is_scheduled = model.jobs[&job.get()] == JobState::Scheduled;
    match *step {
        Step::Finish { .. } => {
            if !model.message_jobs.contains_key(&job.get()) {
                finish_job(bench, model, job, is_scheduled);
            }
        }
        Step::Fail { is_final, .. } => {
            let decision = if is_final {
                RetryDecision::GiveUp
            } else {
                let at = bench.clock.now().plus(Millis::from_secs(5));
                RetryDecision::RetryAt { at }
            };
            let failed = bench.fail_job(job, "no", decision);
            assert_eq!(failed == FinishOutcome::AlreadyFinished, !is_scheduled);
            if is_scheduled {
                model.crashes.remove(&job.get());
            }
            if is_scheduled && is_final {
                model.jobs.insert(job.get(), JobState::Dead);
            }
        }
        Step::FinishMessage { .. } => {
            if let Some(message) = model.message_jobs.get(&job.get()).copied() {
                finish_message(bench, model, job, message, is_scheduled);
            }
        }
        Step::MarkSuspect { .. } => {
            let crashes = model.crashes.entry(job.get()).or_default();
            let expected = match (is_scheduled, *crashes) {
                (false, _) => SuspectAction::AlreadyFinished,
                (true, 3..) => SuspectAction::DeadLettered,
                (true, _) => SuspectAction::Run,
            };
            assert_eq!(bench.execute(MarkSuspect { job_id: job }), expected);
            *crashes += u8::from(expected == SuspectAction::Run);
            if expected == SuspectAction::DeadLettered {
                model.jobs.insert(job.get(), JobState::Dead);
            }
        }
        Step::RetryDeadLetter { .. } => {
            let outcome = bench.retry_dead_letter(job);
            if matches!(outcome, DeadLetterOutcome::Updated(_)) {
                model.crashes.remove(&job.get());
            }
            apply_dead_letter_outcome(model, job, &outcome, JobState::Scheduled);
        }
        Step::DiscardDeadLetter { .. } => {
            let outcome = bench.execute(DiscardDeadLetter { job_id: job });
            apply_dead_letter_outcome(model, job, &outcome, JobState::Discarded);
        }
        _ => unreachable!("not of a job"),
    }
}

fn finish_job(bench: &StoreBench, model: &mut Model, job: JobId, is_scheduled: bool) {
    match bench.finish_job(job) {
        FinishOutcome::Done {
            lead_id: Some(lead),
            ..
        } if is_scheduled => {
            model.jobs.insert(job.get(), JobState::Done);
            assert!(model.leads.insert(lead.get(), true).is_none());
        }
        FinishOutcome::AlreadyFinished if !is_scheduled => {}
        other => panic!("{other:?}"),
    }
}

fn finish_message(
    bench: &StoreBench,
    model: &mut Model,
    job: JobId,
    message: u8,
    is_scheduled: bool,
) {
    let (token, message_id) = (format!("odd-{message}"), format!("wamid.odd-{message}"));
    match bench.finish_message(job, webhook_form(&token, &message_id, "{}")) {
        FinishOutcome::Done {
            submission_id: Some(submission),
            ..
        } if is_scheduled => {
            model.jobs.insert(job.get(), JobState::Done);
            model.finish_message(message, submission.get(), bench);
        }
        FinishOutcome::AlreadyFinished if !is_scheduled => {}
        other => panic!("{other:?}"),
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

/// Applies a step that concerns leads or agents.
fn apply_lead_step(bench: &StoreBench, model: &mut Model, step: &Step) {
    match *step {
        Step::AddAgent { name, max } => {
            if !model.agents.contains(&name) {
                bench.add_agent(&format!("agent-{name}"), max);
                model.agents.push(name);
            }
        }
        Step::ChangeAgent { name, change } => {
            let changes = [AgentChange::Pause, AgentChange::Resume, AgentChange::Remove];
            let change = changes[usize::from(change)].clone();
            let removes = matches!(change, AgentChange::Remove);
            change_agent(bench, model, name, change);
            if removes {
                model.agents.retain(|known| *known != name);
            }
        }
        Step::AddAbsence { name, hours: count } => {
            let from = bench.clock.now();
            let to = from.plus(hours(count.into()));
            change_agent(
                bench,
                model,
                name,
                AgentChange::AddAbsence(Absence { from, to }),
            );
        }
        Step::AssignWaiting => {
            bench.execute(AssignWaitingLeads);
        }
        Step::CloseLead { lead } => {
            let Some(lead) = model.choose_lead(lead) else {
                return;
            };
            let closed = bench.execute(CloseLead { lead_id: lead });
            let was_open = model.leads.insert(lead.get(), false).unwrap();
            assert_eq!(matches!(closed, LeadOutcome::Updated(_)), was_open);
        }
        Step::AssignLead { lead, name } => {
            let Some(lead) = model.choose_lead(lead) else {
                return;
            };
            let assigned = bench.execute(AssignLead {
                lead_id: lead,
                agent: agent_name(name),
            });
            let possible = model.leads[&lead.get()] && model.agents.contains(&name);
            assert_eq!(
                matches!(assigned, LeadOutcome::Updated(_)),
                possible,
                "{assigned:?}"
            );
        }
        _ => unreachable!("not of a lead"),
    }
}

fn change_agent(bench: &StoreBench, model: &Model, agent: u8, change: AgentChange) {
    let changed = bench.execute(ChangeAgent {
        name: agent_name(agent),
        change,
    });
    let is_known = model.agents.contains(&agent);
    assert_eq!(changed == AgentOutcome::NotFound, !is_known);
}

fn assert_matches(bench: &StoreBench, model: &Model) {
    // The retention task requests this every second, because absences end by time.
    while bench.execute(AssignWaitingLeads) > 0 {}
    bench.assert_invariants();
    let read = bench.read();
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
            let now = bench.clock.now();
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
