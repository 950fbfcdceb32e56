//! Tests of leads that are closed by their age and in bulk.

use crate::domain::flow::FlowTimeouts;
use crate::domain::ids::{FlowName, LeadId};
use crate::domain::lead::{CloseReason, Lead, LeadState};
use crate::domain::time::Millis;
use crate::store::{CloseLeads, PurgeCursor, PurgeResult, PurgeSlice, RetentionQueue};

use super::corruptions::CorruptRow;
use super::purge_rounds::{DAY, days, hours, just_under, purge_slice};
use super::support::{START, StoreBench, flow, rows};

/// Closes one slice of leads, with this age for `flow` only.
fn close_slice(bench: &StoreBench, flow: FlowName, age: Millis) -> PurgeResult {
    let close_timeouts: FlowTimeouts = [(flow, age)].into_iter().collect();
    bench.execute(PurgeSlice {
        close_timeouts,
        ..purge_slice(PurgeCursor::Queue(RetentionQueue::OpenLeads), 1000)
    })
}

fn accept_lead(bench: &StoreBench, token: &str) {
    bench.finish_job(bench.accept_new(token));
}

fn lead(bench: &StoreBench, id: u64) -> Lead {
    bench.read().lead(LeadId::new(id)).unwrap().unwrap()
}

fn closed_count(bench: &StoreBench) -> usize {
    let leads = rows::<Lead>(&bench.read());
    let closed = leads
        .iter()
        .filter(|(_, lead)| lead.state == LeadState::Closed);
    closed.count()
}

#[test]
fn lead_closes_at_its_age_and_makes_room() {
    let bench = StoreBench::with_subscribers();
    bench.add_agent("ann", Some(1));
    accept_lead(&bench, "a");
    bench.clock.advance(hours(1));
    accept_lead(&bench, "b");
    bench.clock.advance(just_under(hours(14 * 24 - 1)));
    close_slice(&bench, flow(), days(14));
    assert_eq!(lead(&bench, 1).state, LeadState::Open);
    bench.clock.advance(Millis::new(1));
    close_slice(&bench, flow(), days(14));
    let first = lead(&bench, 1);
    assert_eq!(first.state, LeadState::Closed);
    assert_eq!(first.close_reason, Some(CloseReason::Age));
    assert_eq!(
        bench.last_event_data("lead.closed")["lead"]["close_reason"],
        "age"
    );
    assert!(lead(&bench, 2).agent.is_some(), "the agent has room");
    // A second slice, and one after a restart, emit nothing.
    close_slice(&bench, flow(), days(14));
    let bench = bench.reopen();
    close_slice(&bench, flow(), days(14));
    let kinds = bench.event_kinds();
    let closed = kinds.iter().filter(|kind| **kind == "lead.closed").count();
    assert_eq!(closed, 1);
    bench.assert_invariants();
}

#[test]
fn wrong_wall_clock_closes_no_lead() {
    let bench = StoreBench::new();
    accept_lead(&bench, "a");
    bench.clock.jump_to(START.plus(days(400)));
    close_slice(&bench, flow(), days(14));
    assert_eq!(lead(&bench, 1).state, LeadState::Open);
}

#[test]
fn age_set_later_closes_earlier_leads() {
    let bench = StoreBench::new();
    for token in ["a", "b"] {
        accept_lead(&bench, token);
    }
    bench.close_lead(1);
    bench.clock.advance(DAY);
    // Another flow has an age, so the entry is read and postponed by a day.
    close_slice(&bench, FlowName::new("other").unwrap(), hours(1));
    assert_eq!(closed_count(&bench), 1);
    bench.clock.advance(DAY);
    close_slice(&bench, flow(), hours(1));
    assert_eq!(closed_count(&bench), 2);
    assert_eq!(
        lead(&bench, 1).close_reason,
        Some(CloseReason::Command),
        "the first reason stays"
    );
}

#[test]
fn slice_closes_limited_number_of_leads() {
    let bench = StoreBench::new();
    for number in 0..70 {
        accept_lead(&bench, &format!("t{number}"));
    }
    bench.clock.advance(DAY);
    let first = close_slice(&bench, flow(), hours(1));
    assert!(first.next.is_some() && closed_count(&bench) == 64);
    close_slice(&bench, flow(), hours(1));
    assert_eq!(closed_count(&bench), 70);
    bench.assert_invariants();
}

#[test]
fn bulk_close_skips_closed_and_unreadable_leads() {
    let bench = StoreBench::with_subscribers();
    bench.add_agent("ann", None);
    for token in ["a", "b", "c", "d"] {
        accept_lead(&bench, token);
    }
    bench.close_lead(1);
    bench.execute(CorruptRow {
        table: "leads",
        key: 2,
    });
    let ids = [1, 2, 3, 99].map(LeadId::new);
    let result = bench.execute(CloseLeads {
        lead_ids: ids.to_vec(),
        reason: CloseReason::Command,
    });
    assert_eq!(result.closed, 1);
    let skipped: Vec<u64> = result.unreadable.iter().map(|(id, _)| id.get()).collect();
    assert_eq!(skipped, [2]);
    assert_eq!(lead(&bench, 3).state, LeadState::Closed);
    assert_eq!(lead(&bench, 4).state, LeadState::Open);
}
