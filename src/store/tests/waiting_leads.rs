//! Tests of many leads that wait for an agent, some of them damaged.
//!
//! Each transaction moves a limited number of leads, and a damaged row blocks no other row.

use crossbeam_channel::unbounded;

use crate::clock::Clock;
use crate::domain::ids::{Customer, JobId, LeadId, TeamName};
use crate::domain::lead::{Absence, AssignmentReason, Lead};
use crate::domain::submission::inbound::Inbound;
use crate::domain::time::Millis;
use crate::store::tx::lead_queue::MOVED_LEADS_MAX;
use crate::store::{AcceptOutcome, AgentChange, AssignWaitingLeads, CloseLead, FinishJob, NewLead};

use super::corruptions::CorruptRow;
use super::support::{StoreBench, attempt, form, inbound, new_lead, rows, team};

const HOUR: Millis = Millis::from_secs(3600);

/// Creates leads for `team`, each for a form of the customer that `customer` returns.
fn create_leads(
    bench: &StoreBench,
    count: usize,
    team: &TeamName,
    customer: impl Fn(usize) -> String,
) {
    let customers: Vec<Customer> = (0..count)
        .map(|n| Customer::from_text(&customer(n)))
        .collect();
    let mut jobs: Vec<JobId> = Vec::new();
    let before = bench.counts().submissions;
    let forms = customers.iter().enumerate().map(|(n, customer)| {
        let mut form = form(&format!("t{before}-{n}"), "{}");
        form.submission.customer = customer.clone();
        inbound(form)
    });
    let arrivals: Vec<Inbound> = forms.collect();
    for arrivals in arrivals.chunks(200) {
        for accepted in bench.accept_all(arrivals.to_vec()) {
            let AcceptOutcome::New { job_id, .. } = accepted else {
                panic!("{accepted:?}")
            };
            jobs.push(job_id);
        }
    }
    let (done, finished) = unbounded();
    for (job, customer) in jobs.iter().zip(customers) {
        let lead = NewLead {
            team: team.clone(),
            ..new_lead(customer)
        };
        let finish = FinishJob {
            job_id: *job,
            attempt: attempt(None),
            lead: Some(lead),
        };
        let done = done.clone();
        bench
            .store
            .submit(finish, move |result, _| done.send(result).unwrap());
    }
    for _ in &jobs {
        finished.recv().unwrap().unwrap();
    }
}

fn all_leads(bench: &StoreBench) -> Vec<(LeadId, Lead)> {
    rows::<Lead>(&bench.read()).into_iter().rev().collect()
}

fn unassigned_count(bench: &StoreBench) -> u64 {
    bench.counts().leads_unassigned
}

#[test]
fn waiting_leads_of_known_customers_are_assigned_in_bounded_steps() {
    const LEADS: usize = 10_000;
    const CUSTOMERS: usize = 50;
    let bench = StoreBench::new();
    let customer = |n: usize| format!("4915100{:05}", n % CUSTOMERS);
    bench.add_agent("bob", None);
    create_leads(&bench, CUSTOMERS, &team(), customer);
    // Ann has fewer leads than Bob, and no customer had a lead with Ann before.
    bench.add_agent("ann", None);
    let from = bench.clock.now();
    for agent in ["ann", "bob"] {
        let to = from.plus(HOUR);
        bench.change_agent(agent, AgentChange::AddAbsence(Absence { from, to }));
    }
    create_leads(&bench, LEADS, &team(), customer);
    assert_eq!(unassigned_count(&bench), 10_000);

    bench.clock.advance(HOUR);
    let mut steps = 0;
    loop {
        let moved = bench.execute(AssignWaitingLeads);
        if moved == 0 {
            break;
        }
        assert!(moved <= MOVED_LEADS_MAX, "{moved} leads in one transaction");
        steps += 1;
    }
    assert_eq!(steps, LEADS.div_ceil(MOVED_LEADS_MAX));
    let bob = all_leads(&bench)[0].1.agent;
    assert!(bob.is_some());
    for (id, lead) in all_leads(&bench).into_iter().skip(CUSTOMERS) {
        let expected = (bob, AssignmentReason::KnownCustomer);
        assert_eq!((lead.agent, lead.assignment.reason), expected, "lead {id}");
    }
    bench.assert_invariants();
}

#[test]
fn leads_of_removed_agent_are_handed_over_in_slices() {
    const LEADS: usize = 1_000;
    let bench = StoreBench::new();
    bench.add_agent("ann", None);
    create_leads(&bench, LEADS, &team(), |n| format!("4915100{n:05}"));
    bench.add_agent("bob", Some(600));
    bench.add_agent("cleo", Some(300));
    bench.subscribe(&["crm"], &[]);

    let ann = all_leads(&bench)[0].1.agent;
    let with_ann = |bench: &StoreBench| {
        let leads = all_leads(bench).into_iter();
        leads.filter(|(_, lead)| lead.agent == ann).count()
    };
    assert_eq!(with_ann(&bench), LEADS);
    bench.change_agent("ann", AgentChange::Remove);
    assert_eq!(with_ann(&bench), LEADS - MOVED_LEADS_MAX);
    // Bob and Cleo have room.
    let mut kinds = bench.event_kinds().into_iter();
    assert!(kinds.all(|kind| kind == "lead.assigned"));
    bench.assert_invariants();

    let bench = bench.reopen();
    while bench.execute(AssignWaitingLeads) > 0 {}
    assert_eq!((with_ann(&bench), unassigned_count(&bench)), (0, 100));
    let kinds = bench.event_kinds();
    let waiting = kinds.iter().filter(|kind| **kind == "lead.waiting").count();
    // Each lead emits one event, with its final agent.
    assert_eq!((kinds.len(), waiting), (LEADS, 100));
    assert_eq!(bench.counts().pending_handovers, 0);
    bench.assert_invariants();
}

fn corrupt_row(bench: &StoreBench, table: &'static str, key: u64) {
    bench.execute(CorruptRow { table, key });
}

#[test]
fn damaged_waiting_lead_blocks_no_other_lead() {
    let bench = StoreBench::with_subscribers();
    let support = TeamName::new("support").unwrap();
    let customer = |n: usize| format!("4915100{n:05}");
    create_leads(&bench, 3, &team(), customer);
    create_leads(&bench, 1, &support, customer);
    let ids: Vec<LeadId> = all_leads(&bench).into_iter().map(|(id, _)| id).collect();
    let submission = bench.read().lead(ids[1]).unwrap().unwrap().submission_id;
    corrupt_row(&bench, "leads", ids[0].get());
    corrupt_row(&bench, "submissions", submission.get());
    bench.add_agent("ann", None);
    bench.add_agent_to(support, "bob", None);
    bench.execute(AssignWaitingLeads);
    assert_eq!(unassigned_count(&bench), 0);
    let read = bench.read();
    for id in &ids[1..] {
        let lead = read.lead(*id).unwrap().unwrap();
        assert!(lead.agent.is_some(), "lead {id}");
    }
    let closed = bench.store.execute_blocking(CloseLead { lead_id: ids[0] });
    closed.unwrap_err();

    // Damaged leads of a removed agent also block no other lead.
    corrupt_row(&bench, "leads", ids[1].get());
    bench.change_agent("ann", AgentChange::Remove);
    let counts = bench.counts();
    assert_eq!((counts.leads_unassigned, counts.pending_handovers), (1, 0));
}
