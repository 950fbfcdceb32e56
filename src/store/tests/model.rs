//! Every named transaction against a model made of plain maps: whatever the order, the store says what the model says,
//! every invariant holds, and a restart changes nothing.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::domain::ids::{AgentName, JobId, LeadId};
use crate::domain::job::JobState;
use crate::domain::lead::LeadState;
use crate::domain::retry::Verdict;
use crate::domain::time::Millis;
use crate::store::{
    Accepted, AgentChange, AgentChanged, AssignLead, ChangeAgent, CloseLead, Discard, Fail, Finished, JobChanged,
    LeadChanged, Revive,
};

use super::support::{Bench, attempt, by_webhook, form};

/// What may happen. Numbers choose among what is there.
#[derive(Clone, Debug)]
enum Step {
    Plain { token: u8 },
    Webhook { token: u8, message: u8 },
    Finish { job: u8 },
    Fail { job: u8, dead: bool },
    Revive { job: u8 },
    Discard { job: u8 },
    AddAgent { name: u8, max: Option<u32> },
    Change { name: u8, change: u8 },
    Close { lead: u8 },
    Assign { lead: u8, name: u8 },
    Wait { hours: u8 },
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..12u8).prop_map(|token| Step::Plain { token }),
        3 => (0..12u8, 0..12u8).prop_map(|(token, message)| Step::Webhook { token, message }),
        5 => (0..30u8).prop_map(|job| Step::Finish { job }),
        2 => (0..30u8, any::<bool>()).prop_map(|(job, dead)| Step::Fail { job, dead }),
        1 => (0..30u8).prop_map(|job| Step::Revive { job }),
        1 => (0..30u8).prop_map(|job| Step::Discard { job }),
        2 => (0..4u8, proptest::option::of(0..3u32)).prop_map(|(name, max)| Step::AddAgent { name, max }),
        2 => (0..4u8, 0..3u8).prop_map(|(name, change)| Step::Change { name, change }),
        2 => (0..20u8).prop_map(|lead| Step::Close { lead }),
        1 => (0..20u8, 0..4u8).prop_map(|(lead, name)| Step::Assign { lead, name }),
        1 => (1..30u8).prop_map(|hours| Step::Wait { hours }),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..60)
}

#[derive(Default)]
struct Model {
    /// Hours on the clock.
    hours: u64,
    /// Token → hour of acceptance and submission.
    tokens: BTreeMap<u8, (u64, u64)>,
    messages: BTreeMap<u8, (u64, u64)>,
    submissions: u64,
    jobs: BTreeMap<u64, JobState>,
    /// Lead → whether it is open.
    leads: BTreeMap<u64, bool>,
    agents: Vec<u8>,
}

impl Model {
    /// The submission that the keys are known for.
    fn known(&self, token: u8, message: Option<u8>) -> Option<u64> {
        let message = message.and_then(|message| self.messages.get(&message));
        let message = message.filter(|(hour, _)| self.hours - hour < 8 * 24);
        let token = self.tokens.get(&token).filter(|(hour, _)| self.hours - hour < 24);
        message.or(token).map(|(_, submission)| *submission)
    }

    fn accept(&mut self, token: u8, message: Option<u8>, accepted: &Accepted) {
        let of = match (self.known(token, message), accepted) {
            (Some(known), Accepted::Duplicate { of: Some(of) }) => {
                assert_eq!(of.get(), known);
                let first_sight = message.is_some_and(|message| {
                    self.messages.get(&message).is_none_or(|(hour, _)| self.hours - hour >= 8 * 24)
                });
                if !first_sight {
                    return;
                }
                known
            }
            (None, Accepted::New { submission, job, .. }) => {
                self.submissions += 1;
                self.tokens.insert(token, (self.hours, submission.get()));
                assert!(self.jobs.insert(job.get(), JobState::Scheduled).is_none());
                submission.get()
            }
            (known, accepted) => panic!("known {known:?}, got {accepted:?}"),
        };
        if let Some(message) = message {
            self.messages.insert(message, (self.hours, of));
        }
    }

    fn job(&self, choice: u8) -> Option<JobId> {
        let place = usize::from(choice).checked_rem(self.jobs.len())?;
        self.jobs.keys().nth(place).copied().map(JobId::new)
    }

    fn lead(&self, choice: u8) -> Option<LeadId> {
        let place = usize::from(choice).checked_rem(self.leads.len())?;
        self.leads.keys().nth(place).copied().map(LeadId::new)
    }
}

fn name(of: u8) -> AgentName {
    AgentName::new(&format!("agent-{of}")).unwrap()
}

fn run(bench: &Bench, model: &mut Model, step: &Step) {
    let store = &bench.store;
    match *step {
        Step::Plain { token } => {
            let accepted = bench.accept(form(&format!("t{token}"), "{}"));
            model.accept(token, None, &accepted);
        }
        Step::Webhook { token, message } => {
            let accepted = bench.accept(by_webhook(&format!("t{token}"), &format!("wamid.{message}"), "{}"));
            model.accept(token, Some(message), &accepted);
        }
        Step::Finish { job } => {
            let Some(job) = model.job(job) else { return };
            let allowed = model.jobs[&job.get()] == JobState::Scheduled;
            match bench.finish(job) {
                Finished::Done { lead: Some(lead), .. } if allowed => {
                    model.jobs.insert(job.get(), JobState::Done);
                    assert!(model.leads.insert(lead.get(), true).is_none());
                }
                Finished::AlreadyOver if !allowed => {}
                other => panic!("{other:?}"),
            }
        }
        Step::Fail { job, dead } => {
            let Some(job) = model.job(job) else { return };
            let at = crate::clock::Clock::now(&*bench.clock).plus(Millis::from_secs(5));
            let verdict = if dead { Verdict::Dead } else { Verdict::Again { at } };
            let failed = store.ask(Fail { job, attempt: attempt(Some("no")), verdict }).unwrap();
            let allowed = model.jobs[&job.get()] == JobState::Scheduled;
            assert_eq!(failed == Finished::AlreadyOver, !allowed);
            if allowed && dead {
                model.jobs.insert(job.get(), JobState::Dead);
            }
        }
        Step::Revive { job } => {
            let Some(job) = model.job(job) else { return };
            let revived = store.ask(Revive { job, payload: None }).unwrap();
            change_dead(model, job, &revived, JobState::Scheduled);
        }
        Step::Discard { job } => {
            let Some(job) = model.job(job) else { return };
            let discarded = store.ask(Discard { job }).unwrap();
            change_dead(model, job, &discarded, JobState::Discarded);
        }
        Step::AddAgent { name, max } => {
            if model.agents.contains(&name) {
                return;
            }
            bench.add_agent(&format!("agent-{name}"), max);
            model.agents.push(name);
        }
        Step::Change { name: agent, change } => {
            let change = [AgentChange::Pause, AgentChange::Resume, AgentChange::Remove][usize::from(change)].clone();
            let removes = matches!(change, AgentChange::Remove);
            let changed = store.ask(ChangeAgent { name: name(agent), change }).unwrap();
            assert_eq!(changed == AgentChanged::Unknown, !model.agents.contains(&agent));
            if removes {
                model.agents.retain(|known| *known != agent);
            }
        }
        Step::Close { lead } => {
            let Some(lead) = model.lead(lead) else { return };
            let closed = store.ask(CloseLead { lead }).unwrap();
            let was_open = model.leads.insert(lead.get(), false).unwrap();
            assert_eq!(matches!(closed, LeadChanged::Now(_)), was_open);
        }
        Step::Assign { lead, name: agent } => {
            let Some(lead) = model.lead(lead) else { return };
            let assigned = store.ask(AssignLead { lead, agent: name(agent) }).unwrap();
            let possible = model.leads[&lead.get()] && model.agents.contains(&agent);
            assert_eq!(matches!(assigned, LeadChanged::Now(_)), possible, "{assigned:?}");
        }
        Step::Wait { hours } => {
            bench.clock.advance(Millis::from_secs(3600 * u64::from(hours)));
            model.hours += u64::from(hours);
        }
        Step::Restart => unreachable!("done by the caller, who owns the bench"),
    }
}

fn change_dead(model: &mut Model, job: JobId, changed: &JobChanged, to: JobState) {
    let allowed = model.jobs[&job.get()] == JobState::Dead;
    assert_eq!(*changed == JobChanged::Now(to), allowed, "{changed:?}");
    if allowed {
        model.jobs.insert(job.get(), to);
    }
}

fn compare(bench: &Bench, model: &Model) {
    bench.check();
    let read = bench.store.read().unwrap();
    let counts = read.counts().unwrap();
    assert_eq!(counts.submissions, model.submissions);
    let jobs: BTreeMap<_, _> =
        read.jobs(None, usize::MAX).unwrap().into_iter().map(|(id, job)| (id.get(), job.state)).collect();
    assert_eq!(jobs, model.jobs);
    let leads: BTreeMap<_, _> = read
        .leads(None, usize::MAX)
        .unwrap()
        .into_iter()
        .map(|(id, lead)| (id.get(), lead.state == LeadState::Open))
        .collect();
    assert_eq!(leads, model.leads);
    if counts.leads_unassigned > 0 {
        // Somebody waits: then nobody can take another one.
        for (_, agent) in read.agents().unwrap() {
            let full = agent.max.is_some_and(|max| agent.current >= max);
            assert!(agent.removed || !agent.active || full, "{agent:?} is free while leads wait");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does(steps in steps()) {
        let mut bench = Bench::new();
        let mut model = Model::default();
        for step in &steps {
            if matches!(step, Step::Restart) {
                bench = bench.reopen();
            } else {
                run(&bench, &mut model, step);
            }
        }
        compare(&bench, &model);
        let bench = bench.reopen();
        compare(&bench, &model);
    }
}
