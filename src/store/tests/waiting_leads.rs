//! Leads that wait for an agent, in numbers, and with damage among them: each transaction moves a bounded number of leads,
//! and a damaged row holds up nothing but itself.

use crossbeam_channel::unbounded;

use crate::clock::Clock;
use crate::domain::arrival::{Arrival, Form};
use crate::domain::ids::{AgentName, Customer, JobId, LeadId, TeamName};
use crate::domain::lead::{Absence, Lead, Reason};
use crate::domain::submission::Submission;
use crate::domain::time::Millis;
use crate::store::leads::GIVEN_OUT;
use crate::store::{Accept, Accepted, AddAgent, AgentChange, ChangeAgent, CloseLead, Distribute, Finish, LeadOrder};

use super::stray::SpoilRow;
use super::support::{Bench, attempt, flow, form, rows, team};

const HOUR: Millis = Millis::from_secs(3600);

fn name(name: &str) -> AgentName {
    AgentName::new(name).unwrap()
}

fn change(bench: &Bench, agent: &str, change: AgentChange) {
    bench.store.ask(ChangeAgent { name: name(agent), change }).unwrap();
}

/// Makes leads for `team`, each for a form of the customer whom `customer` names.
fn make(bench: &Bench, count: usize, team: &TeamName, customer: impl Fn(usize) -> String) {
    let customers: Vec<Customer> = (0..count).map(|n| Customer::from_text(&customer(n))).collect();
    let mut jobs: Vec<JobId> = Vec::new();
    let before = bench.store.read().unwrap().counts().unwrap().submissions;
    let forms = customers.iter().enumerate().map(|(n, customer)| {
        let plain = form(&format!("t{before}-{n}"), "{}");
        let submission = Submission { customer: customer.clone(), ..plain.submission };
        Arrival::Form(Box::new(Form { submission, ..plain }))
    });
    let arrivals: Vec<Arrival> = forms.collect();
    for arrivals in arrivals.chunks(200) {
        for accepted in bench.store.ask(Accept { arrivals: arrivals.to_vec() }).unwrap() {
            let Accepted::New { job, .. } = accepted else { panic!("{accepted:?}") };
            jobs.push(job);
        }
    }
    let (done, finished) = unbounded();
    for (job, customer) in jobs.iter().zip(customers) {
        let order = LeadOrder { flow: flow(), team: team.clone(), sticky: true, customer, chosen: None };
        let done = done.clone();
        bench.store.send(Finish { job: *job, attempt: attempt(None), lead: Some(order) }, move |result, _| {
            done.send(result).unwrap();
        });
    }
    for _ in &jobs {
        finished.recv().unwrap().unwrap();
    }
}

fn leads(bench: &Bench) -> Vec<(LeadId, Lead)> {
    rows::<Lead>(&bench.store.read().unwrap()).into_iter().rev().collect()
}

fn unassigned(bench: &Bench) -> u64 {
    bench.store.read().unwrap().counts().unwrap().leads_unassigned
}

#[test]
fn ten_thousand_waiting_leads_of_known_customers_go_to_the_agent_who_knows_them_in_bounded_steps() {
    const LEADS: usize = 10_000;
    const CUSTOMERS: usize = 50;
    let bench = Bench::new();
    let customer = |n: usize| format!("4915100{:05}", n % CUSTOMERS);
    bench.add_agent("bob", None);
    make(&bench, CUSTOMERS, &team(), customer);
    // Less loaded than Bob, and known to nobody.
    bench.add_agent("ann", None);
    let from = bench.clock.now();
    for agent in ["ann", "bob"] {
        change(&bench, agent, AgentChange::Absent(Absence { from, to: from.plus(HOUR) }));
    }
    make(&bench, LEADS, &team(), customer);
    assert_eq!(unassigned(&bench), 10_000);

    bench.clock.advance(HOUR);
    let mut steps = 0;
    loop {
        let moved = bench.store.ask(Distribute).unwrap();
        if moved == 0 {
            break;
        }
        assert!(moved <= GIVEN_OUT, "{moved} leads in one transaction");
        steps += 1;
    }
    assert_eq!(steps, LEADS.div_ceil(GIVEN_OUT));
    let bob = leads(&bench)[0].1.agent;
    assert!(bob.is_some());
    for (id, lead) in leads(&bench).into_iter().skip(CUSTOMERS) {
        assert_eq!((lead.agent, lead.why.reason), (bob, Reason::KnownCustomer), "lead {id}");
    }
    bench.check();
}

#[test]
fn the_leads_of_a_removed_agent_are_handed_over_in_slices_also_over_a_restart_and_none_is_told_to_wait_for_nothing() {
    const LEADS: usize = 1_000;
    let bench = Bench::new();
    bench.add_agent("ann", None);
    make(&bench, LEADS, &team(), |n| format!("4915100{n:05}"));
    bench.add_agent("bob", Some(600));
    bench.add_agent("cleo", Some(300));
    bench.tell(&["crm"], &[]);

    let moved = || {
        let leads = leads(&bench);
        leads.iter().filter(|(_, lead)| lead.agent != leads[0].1.agent).count()
    };
    assert_eq!(moved(), 0);
    let ann = leads(&bench)[0].1.agent;
    change(&bench, "ann", AgentChange::Remove);
    let with_ann = |bench: &Bench| leads(bench).iter().filter(|(_, lead)| lead.agent == ann).count();
    assert_eq!(with_ann(&bench), LEADS - GIVEN_OUT);
    assert!(bench.told().iter().all(|told| *told == "lead.assigned"), "Bob and Cleo have room");
    bench.check();

    let bench = bench.reopen();
    while bench.store.ask(Distribute).unwrap() > 0 {}
    assert_eq!((with_ann(&bench), unassigned(&bench)), (0, 100));
    let told = bench.told();
    let waiting = told.iter().filter(|told| **told == "lead.waiting").count();
    assert_eq!((told.len(), waiting), (LEADS, 100), "each lead is told of once, as what it is in the end");
    assert_eq!(bench.store.read().unwrap().counts().unwrap().agents_leaving, 0);
    bench.check();
}

fn spoil(bench: &Bench, table: &'static str, key: u64) {
    bench.store.ask(SpoilRow { table, key }).unwrap();
}

#[test]
fn a_damaged_waiting_lead_holds_up_neither_its_team_nor_the_teams_behind_it() {
    let bench = Bench::telling();
    let support = TeamName::new("support").unwrap();
    let customer = |n: usize| format!("4915100{n:05}");
    make(&bench, 3, &team(), customer);
    make(&bench, 1, &support, customer);
    let ids: Vec<LeadId> = leads(&bench).into_iter().map(|(id, _)| id).collect();
    let submission = bench.store.read().unwrap().lead(ids[1]).unwrap().unwrap().submission;
    spoil(&bench, "leads", ids[0].get());
    spoil(&bench, "submissions", submission.get());
    for (agent, team) in [("ann", team()), ("bob", support)] {
        let name = name(agent);
        bench.store.ask(AddAgent { name, team, weight: 1, max: None, max_per_day: None }).unwrap();
    }
    bench.store.ask(Distribute).unwrap();
    assert_eq!(unassigned(&bench), 0);
    let read = bench.store.read().unwrap();
    for id in &ids[1..] {
        assert!(read.lead(*id).unwrap().unwrap().agent.is_some(), "lead {id}");
    }
    assert!(bench.store.ask(CloseLead { lead: ids[0] }).is_err());

    // Nor do damaged leads of an agent who is removed.
    spoil(&bench, "leads", ids[1].get());
    change(&bench, "ann", AgentChange::Remove);
    let counts = bench.store.read().unwrap().counts().unwrap();
    assert_eq!((counts.leads_unassigned, counts.agents_leaving), (1, 0));
}
