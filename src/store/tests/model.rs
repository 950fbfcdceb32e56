//! Every named transaction against a model made of plain maps: whatever the order, the store says what the model says,
//! every invariant holds, and a restart changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::domain::arrival::Arrival;
use crate::domain::ids::{AgentName, JobId, LeadId, SubmissionId};
use crate::domain::job::{Job, JobState};
use crate::domain::lead::{Absence, Lead, LeadState};
use crate::domain::retry::Verdict;
use crate::domain::time::Millis;
use crate::store::{
    Accept, Accepted, AgentChange, AgentChanged, AssignLead, ChangeAgent, CloseLead, Discard, Distribute, Fail,
    FinishMessage, Finished, JobChanged, LeadChanged, MarkSuspect, Revive, Suspect,
};

use super::stray::ThenFail;
use super::support::{Bench, attempt, by_webhook, form, rows};

/// Numbers of messages that can't be read at first, and of their tokens, begin here.
const UNREADABLE: u8 = 100;

/// What may happen. Numbers choose among what is there.
#[derive(Clone, Debug)]
enum Step {
    Plain {
        token: u8,
    },
    Webhook {
        token: u8,
        message: u8,
    },
    Finish {
        job: u8,
    },
    Fail {
        job: u8,
        dead: bool,
    },
    Unreadable {
        message: u8,
    },
    ReadAgain {
        job: u8,
    },
    Mark {
        job: u8,
    },
    Revive {
        job: u8,
    },
    Discard {
        job: u8,
    },
    AddAgent {
        name: u8,
        max: Option<u32>,
    },
    Change {
        name: u8,
        change: u8,
    },
    Absent {
        name: u8,
        hours: u8,
    },
    Distribute,
    Close {
        lead: u8,
    },
    Assign {
        lead: u8,
        name: u8,
    },
    /// A change that comes to nothing after it has written.
    Fails {
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
        4 => (0..12u8).prop_map(|token| Step::Plain { token }),
        3 => (0..12u8, 0..12u8).prop_map(|(token, message)| Step::Webhook { token, message }),
        5 => (0..30u8).prop_map(|job| Step::Finish { job }),
        2 => (0..30u8, any::<bool>()).prop_map(|(job, dead)| Step::Fail { job, dead }),
        2 => (0..6u8).prop_map(|message| Step::Unreadable { message }),
        3 => (0..30u8).prop_map(|job| Step::ReadAgain { job }),
        5 => (0..2u8).prop_map(|job| Step::Mark { job }),
        3 => (0..30u8).prop_map(|job| Step::Revive { job }),
        1 => (0..30u8).prop_map(|job| Step::Discard { job }),
        2 => (0..4u8, proptest::option::of(0..3u32)).prop_map(|(name, max)| Step::AddAgent { name, max }),
        2 => (0..4u8, 0..3u8).prop_map(|(name, change)| Step::Change { name, change }),
        4 => (0..4u8, 1..30u8).prop_map(|(name, hours)| Step::Absent { name, hours }),
        1 => Just(Step::Distribute),
        2 => (0..20u8).prop_map(|lead| Step::Close { lead }),
        1 => (0..20u8, 0..4u8).prop_map(|(lead, name)| Step::Assign { lead, name }),
        2 => (0..4u8, 0..4u8).prop_map(|(change, agent)| Step::Fails { change, agent }),
        2 => (1..30u8).prop_map(|hours| Step::Wait { hours }),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..90)
}

#[derive(Default)]
struct Model {
    /// Hours on the clock.
    hours: u64,
    /// Token → hour of acceptance and submission.
    tokens: BTreeMap<u8, (u64, u64)>,
    messages: BTreeMap<u8, (u64, u64)>,
    /// Submissions that no message has brought or joined.
    awaiting: BTreeSet<u64>,
    submissions: u64,
    jobs: BTreeMap<u64, JobState>,
    /// Jobs that read a message again, and which one.
    readers: BTreeMap<u64, u8>,
    /// How often the process is said to have died with a job.
    crashes: BTreeMap<u64, u8>,
    /// Lead → whether it is open.
    leads: BTreeMap<u64, bool>,
    agents: Vec<u8>,
}

impl Model {
    /// The submission that the keys are known for.
    fn known(&self, token: u8, message: Option<u8>) -> Option<u64> {
        let by_message = message.is_some();
        let message = message.and_then(|message| self.messages.get(&message));
        let message = message.filter(|(hour, _)| self.hours - hour < 8 * 24);
        let token = self.tokens.get(&token).filter(|(hour, submission)| {
            let waits = by_message && self.awaiting.contains(submission);
            self.hours - hour < if waits { 8 * 24 } else { 24 }
        });
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

    /// A message that could not be read became `submission`, or a copy of it.
    fn read_again(&mut self, message: u8, submission: u64, bench: &Bench) {
        let token = UNREADABLE + message;
        let earlier = self.messages.get(&token).filter(|(hour, of)| *of != 0 && self.hours - hour < 8 * 24);
        if let Some((_, of)) = earlier {
            assert_eq!(submission, *of, "another letter of the same message was read before");
            return;
        }
        if let Some(known) = self.known(token, None) {
            assert_eq!(submission, known);
        } else {
            let read = bench.store.read().unwrap();
            let stored = read.submission(SubmissionId::new(submission)).unwrap().unwrap();
            self.submissions += 1;
            self.tokens.insert(token, (self.hours, submission));
            assert!(self.jobs.insert(stored.job.get(), JobState::Scheduled).is_none());
        }
        self.messages.insert(token, (self.hours, submission));
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
    match *step {
        Step::Plain { token } => {
            let accepted = bench.accept(form(&format!("t{token}"), "{}"));
            model.accept(token, None, &accepted);
        }
        Step::Webhook { token, message } => {
            let accepted = bench.accept(by_webhook(&format!("t{token}"), &format!("wamid.{message}"), "{}"));
            model.accept(token, Some(message), &accepted);
        }
        Step::Unreadable { message } => {
            // Messages of their own: a number above those that can be read.
            let kept = bench.accept_unreadable(&format!("wamid.odd-{message}"));
            let number = UNREADABLE + message;
            let known = model.messages.get(&number).is_some_and(|(hour, _)| model.hours - hour < 8 * 24);
            match kept {
                Accepted::DeadLetter { job } if !known => {
                    model.messages.insert(number, (model.hours, 0));
                    model.jobs.insert(job.get(), JobState::Dead);
                    model.readers.insert(job.get(), message);
                }
                Accepted::Duplicate { .. } if known => {}
                other => panic!("{other:?}"),
            }
        }
        Step::Wait { hours } => {
            bench.clock.advance(Millis::from_secs(3600 * u64::from(hours)));
            model.hours += u64::from(hours);
        }
        Step::Fails { change, agent } => fail(bench, change, agent),
        Step::Restart => unreachable!("done by the caller, who owns the bench"),
        Step::Finish { .. }
        | Step::Fail { .. }
        | Step::ReadAgain { .. }
        | Step::Mark { .. }
        | Step::Revive { .. }
        | Step::Discard { .. } => run_job(bench, model, step),
        _ => run_lead(bench, model, step),
    }
}

/// A change of some kind that fails after it was made: nothing is left of it.
fn fail(bench: &Bench, change: u8, agent: u8) {
    let store = &bench.store;
    let newest = rows::<Lead>(&store.read().unwrap()).first().map(|(id, _)| *id);
    let failed = match (change, newest) {
        (0, _) => {
            let arrivals = vec![Arrival::Form(Box::new(form("fails", "{}")))];
            store.ask(ThenFail(Accept { arrivals })).is_err()
        }
        (1, Some(lead)) => store.ask(ThenFail(CloseLead { lead })).is_err(),
        (2, _) => store.ask(ThenFail(ChangeAgent { name: name(agent), change: AgentChange::Remove })).is_err(),
        _ => store.ask(ThenFail(Distribute)).is_err(),
    };
    assert!(failed);
}

/// What happens to a job.
fn run_job(bench: &Bench, model: &mut Model, step: &Step) {
    let store = &bench.store;
    match *step {
        Step::Finish { job } => {
            let Some(job) = model.job(job).filter(|job| !model.readers.contains_key(&job.get())) else { return };
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
            if allowed {
                model.crashes.remove(&job.get());
            }
            if allowed && dead {
                model.jobs.insert(job.get(), JobState::Dead);
            }
        }
        Step::ReadAgain { job } => {
            let Some(job) = model.job(job) else { return };
            let Some(message) = model.readers.get(&job.get()).copied() else { return };
            let read = by_webhook(&format!("odd-{message}"), &format!("wamid.odd-{message}"), "{}");
            let finish = FinishMessage { job, attempt: attempt(None), form: Box::new(read) };
            let finished = store.ask(finish).unwrap();
            let allowed = model.jobs[&job.get()] == JobState::Scheduled;
            match finished {
                Finished::Done { submission: Some(submission), .. } if allowed => {
                    model.jobs.insert(job.get(), JobState::Done);
                    model.read_again(message, submission.get(), bench);
                }
                Finished::AlreadyOver if !allowed => {}
                other => panic!("{other:?}"),
            }
        }
        Step::Mark { job } => {
            let Some(job) = model.job(job) else { return };
            let waits = model.jobs[&job.get()] == JobState::Scheduled;
            let crashes = model.crashes.entry(job.get()).or_default();
            let expected = match (waits, *crashes) {
                (false, _) => Suspect::Over,
                (true, 3..) => Suspect::Buried,
                (true, _) => Suspect::Run,
            };
            assert_eq!(store.ask(MarkSuspect { job }).unwrap(), expected);
            *crashes += u8::from(expected == Suspect::Run);
            if expected == Suspect::Buried {
                model.jobs.insert(job.get(), JobState::Dead);
            }
        }
        Step::Revive { job } => {
            let Some(job) = model.job(job) else { return };
            let revived = store.ask(Revive { job, payload: None }).unwrap();
            if matches!(revived, JobChanged::Now(_)) {
                model.crashes.remove(&job.get());
            }
            change_dead(model, job, &revived, JobState::Scheduled);
        }
        Step::Discard { job } => {
            let Some(job) = model.job(job) else { return };
            let discarded = store.ask(Discard { job }).unwrap();
            change_dead(model, job, &discarded, JobState::Discarded);
        }
        _ => unreachable!("not of a job"),
    }
}

/// What happens to leads and to those who take them.
fn run_lead(bench: &Bench, model: &mut Model, step: &Step) {
    let store = &bench.store;
    match *step {
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
        Step::Absent { name: agent, hours } => {
            let from = crate::clock::Clock::now(&*bench.clock);
            let to = from.plus(Millis::from_secs(3600 * u64::from(hours)));
            let change = AgentChange::Absent(Absence { from, to });
            let changed = store.ask(ChangeAgent { name: name(agent), change }).unwrap();
            assert_eq!(changed == AgentChanged::Unknown, !model.agents.contains(&agent));
        }
        Step::Distribute => {
            store.ask(Distribute).unwrap();
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
        _ => unreachable!("not of a lead"),
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
    // What the sweeper asks for every second: absences end by themselves.
    while bench.store.ask(Distribute).unwrap() > 0 {}
    bench.check();
    let read = bench.store.read().unwrap();
    let counts = read.counts().unwrap();
    assert_eq!(counts.submissions, model.submissions);
    let jobs: BTreeMap<_, _> = rows::<Job>(&read).into_iter().map(|(id, job)| (id.get(), job.state)).collect();
    assert_eq!(jobs, model.jobs);
    let leads: BTreeMap<_, _> =
        rows::<Lead>(&read).into_iter().map(|(id, lead)| (id.get(), lead.state == LeadState::Open)).collect();
    assert_eq!(leads, model.leads);
    if counts.leads_unassigned > 0 {
        // Somebody waits: then nobody can take another one.
        for (_, agent) in read.agents().unwrap() {
            let full = agent.max.is_some_and(|max| agent.current >= max);
            let now = crate::clock::Clock::now(&*bench.clock);
            let absent = agent.absences.iter().any(|absence| absence.from <= now && now < absence.to);
            assert!(agent.removed || !agent.active || full || absent, "{agent:?} is free while leads wait");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

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
