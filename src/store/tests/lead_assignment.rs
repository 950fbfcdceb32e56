//! Tests of the assignment of leads: known customers, waiting leads and absences.

use crate::clock::Clock;
use crate::domain::ids::LeadId;
use crate::domain::lead::{Absence, Lead};
use crate::domain::time::Millis;
use crate::store::{AgentChange, AssignWaitingLeads};

use super::customer_forms::unnamed_form;
use super::support::{StoreBench, assigned_agent, rows, webhook_form};

#[test]
fn customer_named_later_returns_to_the_agent_of_the_lead() {
    for message_first in [false, true] {
        let bench = StoreBench::new();
        for name in ["ann", "bob", "cyd"] {
            bench.add_agent(name, None);
        }
        let finish = |job| assigned_agent(bench.finish_job(job)).unwrap();
        let first = bench.accept_job(unnamed_form("one", "{}"));
        let accept_message = || bench.accept(webhook_form("one", "wamid.1", "{}"));
        let agent = if message_first {
            accept_message();
            finish(first)
        } else {
            let agent = finish(first);
            accept_message();
            agent
        };
        finish(bench.accept_job(unnamed_form("two", "{}")));
        // The same customer again, named by the form or by the message that follows.
        let again = bench.accept_job(unnamed_form("three", "{}"));
        bench.accept(webhook_form("three", "wamid.3", "{}"));
        assert_eq!(finish(again), agent, "message first: {message_first}");
        bench.assert_invariants();
    }
}

#[test]
fn recent_lead_moves_to_known_agent_and_older_lead_stays() {
    let bench = StoreBench::new();
    let finish = |job| assigned_agent(bench.finish_job(job));
    // No agent exists yet, so the lead waits. Meanwhile its customer is named, and then Ann gets
    // the lead.
    assert_eq!(finish(bench.accept_job(unnamed_form("one", "{}"))), None);
    bench.accept(webhook_form("one", "wamid.1", "{}"));
    bench.add_agent("ann", None);
    bench.add_agent("bob", None);
    let agent_of = |lead| {
        let read = bench.read();
        read.lead(LeadId::new(lead)).unwrap().unwrap().agent
    };
    let ann = agent_of(1);
    finish(bench.accept_job(unnamed_form("two", "{}")));
    finish(bench.accept_job(unnamed_form("three", "{}")));
    assert_ne!(agent_of(2), ann);
    bench.clock.advance(Millis::from_secs(9 * 60));
    bench.accept(webhook_form("two", "wamid.2", "{}"));
    assert_eq!(agent_of(2), ann, "she knows this customer");
    finish(bench.accept_job(unnamed_form("four", "{}")));
    let (before, lead) = (agent_of(4), 4);
    assert_ne!(before, ann);
    bench.clock.advance(Millis::from_secs(11 * 60));
    bench.accept(webhook_form("four", "wamid.4", "{}"));
    assert_eq!(agent_of(lead), before, "too late to take it away");
    bench.assert_invariants();
}

#[test]
fn waiting_leads_are_assigned_oldest_first() {
    let bench = StoreBench::new();
    let jobs: Vec<_> = (0..3).map(|n| bench.accept_new(&format!("t{n}"))).collect();
    for job in jobs {
        bench.finish_job(job);
    }
    assert_eq!(bench.counts().leads_unassigned, 3);
    bench.add_agent("ann", Some(2));
    bench.assert_invariants();
    let leads = rows::<Lead>(&bench.read()).into_iter().rev();
    let with_agent: Vec<_> = leads.map(|(_, lead)| lead.agent.is_some()).collect();
    assert_eq!(with_agent, [true, true, false]);
}

#[test]
fn waiting_lead_is_assigned_when_an_absence_ends() {
    let bench = StoreBench::new();
    bench.add_agent("ann", None);
    let from = bench.clock.now();
    let to = from.plus(Millis::from_secs(3600));
    let absence = AgentChange::AddAbsence(Absence { from, to });
    bench.change_agent("ann", absence);
    let job = bench.accept_new("a");
    bench.finish_job(job);

    assert_eq!(bench.execute(AssignWaitingLeads), 0);
    bench.clock.advance(Millis::from_secs(3600));
    assert_eq!(bench.execute(AssignWaitingLeads), 1);
    assert_eq!(bench.counts().leads_unassigned, 0);
    bench.assert_invariants();
}
