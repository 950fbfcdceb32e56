//! Tests of tallies and lists.
//!
//! A tally equals a count of all rows, at a cost that does not grow with the rows. Lists have no
//! gaps.

use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::domain::ids::{AgentId, AgentName};
use crate::domain::lead::Agent;
use crate::store::tx::schedule;
use crate::store::{Transaction, WriteContext};

use super::corruptions::{EditTables, FailAfter};
use super::support::{StoreBench, destination, team};

const MANY_DELIVERIES: u64 = 50_000;

/// Schedules this many deliveries to three destinations.
fn schedule_deliveries(count: u64) -> impl Transaction<Outcome = ()> {
    EditTables(move |ctx: &mut WriteContext<'_>| {
        (0..count).try_for_each(|_| {
            let id = ctx.state.counters.next_job();
            let name = ["crm", "sheet", "ops"][usize::try_from(id.get() % 3).unwrap()];
            schedule::schedule_job(ctx, Some(&destination(name)), ctx.now, id)
        })
    })
}

/// Returns the numbers of waiting deliveries, by destination.
fn queue_lengths(bench: &StoreBench) -> Vec<u64> {
    let queues = bench.read().delivery_queues().unwrap();
    queues.values().map(|queue| queue.count).collect()
}

/// Returns the shortest time of twenty reads.
fn fastest_read(bench: &StoreBench) -> Duration {
    let clock = SystemClock::new();
    let one = |_| {
        let began = clock.elapsed();
        let read = bench.read();
        assert_eq!(read.delivery_queues().unwrap().len(), 3);
        assert_eq!(read.waiting_leads_by_team().unwrap(), []);
        clock.elapsed().saturating_sub(began)
    };
    (0..20).map(one).min().unwrap()
}

#[test]
fn statistics_cost_is_independent_of_waiting_deliveries() {
    let bench = StoreBench::new();
    bench.execute(schedule_deliveries(9));
    let few = fastest_read(&bench);
    for _ in 0..10 {
        bench.execute(schedule_deliveries(MANY_DELIVERIES / 10));
    }
    let many = fastest_read(&bench);
    assert_eq!(
        queue_lengths(&bench).iter().sum::<u64>(),
        MANY_DELIVERIES + 9
    );
    // A scan of the rows would take about a thousand times longer.
    assert!(
        many < few * 20,
        "{few:?} with 9 waiting, {many:?} with {MANY_DELIVERIES}"
    );
}

#[test]
fn aborted_transaction_leaves_tallies_unchanged() {
    let bench = StoreBench::new();
    bench.execute(schedule_deliveries(3));
    for _ in 0..3 {
        let (failing, beside) = (bench.store.clone(), bench.store.clone());
        let failing = std::thread::spawn(move || {
            let failed = failing.execute_blocking(FailAfter(schedule_deliveries(30)));
            failed.is_err()
        });
        beside.execute_blocking(schedule_deliveries(3)).unwrap();
        assert!(failing.join().unwrap());
    }
    assert_eq!(queue_lengths(&bench), [4, 4, 4]);
    let bench = bench.reopen();
    assert_eq!(queue_lengths(&bench), [4, 4, 4]);
}

#[test]
fn team_tallies_count_agents_and_waiting_leads() {
    let bench = StoreBench::new();
    for token in ["a", "b"] {
        bench.finish_job(bench.accept_new(token));
    }
    let teams = |bench: &StoreBench| {
        let read = bench.read();
        let waiting = read.waiting_leads_by_team().unwrap();
        (waiting, read.agents_by_team().unwrap())
    };
    assert_eq!(teams(&bench), (vec![(team(), 2)], vec![]));
    bench.add_agent("ann", Some(1));
    bench.add_agent("bob", Some(0));
    assert_eq!(teams(&bench), (vec![(team(), 1)], vec![(team(), 2)]));
    let bench = bench.reopen();
    assert_eq!(teams(&bench), (vec![(team(), 1)], vec![(team(), 2)]));
    bench.assert_invariants();
}

#[test]
fn unreadable_suspension_hides_no_other_and_is_repaired_by_resume() {
    let bench = StoreBench::new();
    for name in ["crm", "sheet"] {
        bench.pause_destination(name, true);
    }
    bench.execute(EditTables(|ctx: &mut WriteContext<'_>| {
        ctx.tables
            .suspensions
            .put_bytes("crm", b"damaged")
            .map(|_| ())
    }));
    let suspensions = bench.read().suspensions().unwrap();
    assert_eq!(suspensions[0].0.as_str(), "crm");
    assert_eq!(suspensions[1].0.as_str(), "sheet");
    let (_, reason) = suspensions[0].1.disabled.as_ref().unwrap();
    assert!(reason.contains("suspensions"), "{reason}");
    bench.pause_destination("crm", false);
    assert_eq!(bench.read().suspensions().unwrap().len(), 1);
    bench.assert_invariants();
}

#[test]
fn agent_list_is_complete_with_many_agents() {
    const AGENTS: u64 = 60_000;
    let bench = StoreBench::new();
    bench.execute(EditTables(|ctx: &mut WriteContext<'_>| {
        (1..=AGENTS).try_for_each(|number| {
            // The names have the maximum length.
            let name = AgentName::new(&format!("{number:060}")).unwrap();
            let agent = Agent::new(name, team(), 1, ctx.now);
            ctx.tables
                .agents
                .put(AgentId::new(number), &agent)
                .map(|_| ())
        })
    }));
    let agents = bench.read().agents().unwrap();
    assert_eq!(agents[0].0.get(), 1);
    assert_eq!(u64::try_from(agents.len()).unwrap(), AGENTS);
}
