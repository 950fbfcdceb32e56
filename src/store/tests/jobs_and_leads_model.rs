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
use super::job_and_lead_steps::{JobStep, Model, Step, UNREADABLE, steps};
use super::purge_rounds::hours;
use super::support::{StoreBench, form, inbound, rows, webhook_form};

fn agent_name(of: u8) -> AgentName {
    AgentName::new(&format!("agent-{of}")).unwrap()
}

fn apply_step(bench: &StoreBench, model: &mut Model, step: &Step) {
    match *step {
        Step::Accept(token, message) => {
            let text = format!("t{token}");
            let form = match message {
                Some(message) => webhook_form(&text, &format!("wamid.{message}"), "{}"),
                None => form(&text, "{}"),
            };
            model.accept(token, message, &bench.accept(form));
        }
        Step::AcceptUnparsable(message) => accept_unparsable(bench, model, message),
        Step::WaitHours(count) => {
            bench.clock.advance(hours(count.into()));
            model.hours += u64::from(count);
        }
        Step::FailAfterWrite(change, agent) => apply_failing_step(bench, change, agent),
        Step::Restart => unreachable!("done by the caller, who owns the bench"),
        Step::OnJob(job, step) => {
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
        AcceptOutcome::DeadLetter { job_id } if !is_known => {
            model.messages.insert(number, (model.hours, 0));
            model.jobs.insert(job_id.get(), JobState::Dead);
            model.message_jobs.insert(job_id.get(), message);
        }
        AcceptOutcome::Duplicate { .. } if is_known => {}
        other => panic!("{other:?}"),
    }
}

/// Applies a transaction that fails after its first write. None of its changes may remain.
fn apply_failing_step(bench: &StoreBench, change: u8, agent: u8) {
    let newest = rows::<Lead>(&bench.read()).first().map(|(id, _)| *id);
    match (change, newest) {
        (0, _) => {
            let inbound = vec![inbound(form("fails", "{}"))];
            assert_fails(bench, AcceptInbound { inbound });
        }
        (1, Some(lead_id)) => assert_fails(bench, CloseLead { lead_id }),
        (2, _) => {
            let (name, change) = (agent_name(agent), AgentChange::Remove);
            assert_fails(bench, ChangeAgent { name, change });
        }
        _ => assert_fails(bench, AssignWaitingLeads),
    }
}

fn assert_fails(bench: &StoreBench, transaction: impl Transaction) {
    let failed = bench.store.execute_blocking(FailAfter(transaction));
    assert!(failed.is_err());
}

/// Applies a step that concerns `job`.
fn apply_job_step(bench: &StoreBench, model: &mut Model, step: JobStep, job: JobId) {
    let is_scheduled = model.jobs[&job.get()] == JobState::Scheduled;
    let message = model.message_jobs.get(&job.get()).copied();
    match (step, message) {
        (JobStep::Finish, None) => finish_job(bench, model, job, is_scheduled),
        (JobStep::Retry | JobStep::GiveUp, _) => {
            let at = bench.clock.now().plus(Millis::from_secs(5));
            let (decision, state) = match step {
                JobStep::Retry => (RetryDecision::RetryAt { at }, JobState::Scheduled),
                _ => (RetryDecision::GiveUp, JobState::Dead),
            };
            let failed = bench.fail_job(job, "no", decision);
            assert_eq!(failed == FinishOutcome::AlreadyFinished, !is_scheduled);
            if is_scheduled {
                model.crashes.remove(&job.get());
                model.jobs.insert(job.get(), state);
            }
        }
        (JobStep::FinishMessage, Some(message)) => {
            finish_message(bench, model, job, message, is_scheduled);
        }
        (JobStep::Finish | JobStep::FinishMessage, _) => {}
        (JobStep::MarkSuspect, _) => {
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
        (JobStep::RetryDeadLetter, _) => {
            let outcome = bench.retry_dead_letter(job);
            if matches!(outcome, DeadLetterOutcome::Updated(_)) {
                model.crashes.remove(&job.get());
            }
            apply_dead_letter_outcome(model, job, &outcome, JobState::Scheduled);
        }
        (JobStep::DiscardDeadLetter, _) => {
            let outcome = bench.execute(DiscardDeadLetter { job_id: job });
            apply_dead_letter_outcome(model, job, &outcome, JobState::Discarded);
        }
    }
}

fn finish_job(bench: &StoreBench, model: &mut Model, job: JobId, is_scheduled: bool) {
    match bench.finish_job(job) {
        FinishOutcome::Done { lead_id, .. } if is_scheduled => {
            model.jobs.insert(job.get(), JobState::Done);
            assert!(model.leads.insert(lead_id.unwrap().get(), true).is_none());
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
        FinishOutcome::Done { submission_id, .. } if is_scheduled => {
            model.jobs.insert(job.get(), JobState::Done);
            model.finish_message(message, submission_id.unwrap().get(), bench);
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
    let is_updated = *outcome == DeadLetterOutcome::Updated(to);
    assert_eq!(is_updated, allowed, "{outcome:?}");
    if allowed {
        model.jobs.insert(job.get(), to);
    }
}

/// Applies a step that concerns leads or agents.
fn apply_lead_step(bench: &StoreBench, model: &mut Model, step: &Step) {
    match *step {
        Step::AddAgent(name, max) => {
            if !model.agents.contains(&name) {
                bench.add_agent(&format!("agent-{name}"), max);
                model.agents.push(name);
            }
        }
        Step::ChangeAgent(name, ref change) => {
            change_agent(bench, model, name, change.clone());
            if matches!(change, AgentChange::Remove) {
                model.agents.retain(|known| *known != name);
            }
        }
        Step::AddAbsence(name, count) => {
            let from = bench.clock.now();
            let to = from.plus(hours(count.into()));
            let absence = Absence { from, to };
            change_agent(bench, model, name, AgentChange::AddAbsence(absence));
        }
        Step::AssignWaiting => {
            bench.execute(AssignWaitingLeads);
        }
        Step::CloseLead(lead) => {
            let Some(lead_id) = model.choose_lead(lead) else {
                return;
            };
            let closed = bench.execute(CloseLead { lead_id });
            let was_open = model.leads.insert(lead_id.get(), false).unwrap();
            assert_eq!(matches!(closed, LeadOutcome::Updated(_)), was_open);
        }
        Step::AssignLead(lead, name) => {
            let Some(lead_id) = model.choose_lead(lead) else {
                return;
            };
            let agent = agent_name(name);
            let assigned = bench.execute(AssignLead { lead_id, agent });
            let possible = model.leads[&lead_id.get()] && model.agents.contains(&name);
            let is_updated = matches!(assigned, LeadOutcome::Updated(_));
            assert_eq!(is_updated, possible, "{assigned:?}");
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
            let mut absences = agent.absences.iter();
            let absent = absences.any(|absence| absence.from <= now && now < absence.to);
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
