//! Tests of tallies and lists.
//!
//! A tally equals a count of all rows, at a cost that does not grow with the rows. Lists have no
//! gaps.

use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::domain::ids::{AgentId, AgentName};
use crate::domain::lead::Agent;
use crate::store::tx::schedule;
use crate::store::{StoreError, Transaction, WriteContext};

use super::corruptions::FailAfter;
use super::support::{StoreBench, destination, team};

const MANY_DELIVERIES: u64 = 50_000;

/// Schedules this many deliveries to three destinations.
#[derive(Debug)]
struct ScheduleDeliveries(u64);

impl Transaction for ScheduleDeliveries {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_>) -> Result<(), StoreError> {
        for _ in 0..self.0 {
            let id = ctx.state.counters.next_job();
            let name = ["crm", "sheet", "ops"][usize::try_from(id.get() % 3).unwrap()];
            schedule::schedule_job(ctx, Some(&destination(name)), ctx.now, id)?;
        }
        Ok(())
    }
}

/// Returns the shortest time of twenty reads.
fn fastest_read(bench: &StoreBench) -> Duration {
    let clock = SystemClock::new();
    let one = |_| {
        let began = clock.elapsed();
        let read = bench.read();
        let (queues, teams) = (
            read.delivery_queues().unwrap(),
            read.waiting_leads_by_team().unwrap(),
        );
        assert_eq!((queues.len(), teams.len()), (3, 0));
        clock.elapsed().saturating_sub(began)
    };
    (0..20).map(one).min().unwrap()
}

#[test]
fn statistics_cost_is_independent_of_waiting_deliveries() {
    let bench = StoreBench::new();
    bench.execute(ScheduleDeliveries(9));
    let few = fastest_read(&bench);
    for _ in 0..10 {
        bench.execute(ScheduleDeliveries(MANY_DELIVERIES / 10));
    }
    let many = fastest_read(&bench);
    let count: u64 = bench
        .read()
        .delivery_queues()
        .unwrap()
        .values()
        .map(|count| count.count)
        .sum();
    assert_eq!(count, MANY_DELIVERIES + 9);
    // A scan of the rows would take about a thousand times longer.
    assert!(
        many < few * 20,
        "{few:?} with 9 waiting, {many:?} with {MANY_DELIVERIES}"
    );
}

#[test]
fn aborted_transaction_leaves_tallies_unchanged() {
    let bench = StoreBench::new();
    bench.execute(ScheduleDeliveries(3));
    let counts = |bench: &StoreBench| -> Vec<u64> {
        bench
            .read()
            .delivery_queues()
            .unwrap()
            .values()
            .map(|queue| queue.count)
            .collect()
    };
    for _ in 0..3 {
        let (failing, beside) = (bench.store.clone(), bench.store.clone());
        let failing = std::thread::spawn(move || {
            failing
                .execute_blocking(FailAfter(ScheduleDeliveries(30)))
                .is_err()
        });
        beside.execute_blocking(ScheduleDeliveries(3)).unwrap();
        assert!(failing.join().unwrap());
    }
    assert_eq!(counts(&bench), [4, 4, 4]);
    let bench = bench.reopen();
    assert_eq!(counts(&bench), [4, 4, 4]);
}

#[test]
fn team_tallies_count_agents_and_waiting_leads() {
    let bench = StoreBench::new();
    for token in ["a", "b"] {
        bench.finish_job(bench.accept_new(token));
    }
    let teams = |bench: &StoreBench| {
        let read = bench.read();
        (
            read.waiting_leads_by_team().unwrap(),
            read.agents_by_team().unwrap(),
        )
    };
    assert_eq!(teams(&bench), (vec![(team(), 2)], vec![]));
    bench.add_agent("ann", Some(1));
    bench.add_agent("bob", Some(0));
    assert_eq!(teams(&bench), (vec![(team(), 1)], vec![(team(), 2)]));
    let bench = bench.reopen();
    assert_eq!(teams(&bench), (vec![(team(), 1)], vec![(team(), 2)]));
    bench.assert_invariants();
}

/// Corrupts the row of a suspension.
#[derive(Debug)]
struct CorruptSuspension;

impl Transaction for CorruptSuspension {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_>) -> Result<(), StoreError> {
        ctx.tables.suspensions.put_bytes("crm", b"damaged")?;
        Ok(())
    }
}

#[test]
fn unreadable_suspension_hides_no_other_and_is_repaired_by_resume() {
    let bench = StoreBench::new();
    for name in ["crm", "sheet"] {
        bench.pause_destination(name, true);
    }
    bench.execute(CorruptSuspension);
    let suspensions = bench.read().suspensions().unwrap();
    assert_eq!(
        (suspensions[0].0.as_str(), suspensions[1].0.as_str()),
        ("crm", "sheet")
    );
    let reason = suspensions[0]
        .1
        .disabled
        .as_ref()
        .map(|(_, reason)| reason.to_string())
        .unwrap();
    assert!(reason.contains("suspensions"), "{reason}");
    bench.pause_destination("crm", false);
    assert_eq!(bench.read().suspensions().unwrap().len(), 1);
    bench.assert_invariants();
}

/// Inserts this many agents with names of the maximum length.
#[derive(Debug)]
struct InsertAgents(u64);

impl Transaction for InsertAgents {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_>) -> Result<(), StoreError> {
        for number in 1..=self.0 {
            let name = AgentName::new(&format!("{number:060}")).unwrap();
            let agent = Agent::new(name, team(), 1, ctx.now);
            ctx.tables.agents.put(AgentId::new(number), &agent)?;
        }
        Ok(())
    }
}

#[test]
fn agent_list_is_complete_with_many_agents() {
    const AGENTS: u64 = 60_000;
    let bench = StoreBench::new();
    bench.execute(InsertAgents(AGENTS));
    let agents = bench.read().agents().unwrap();
    assert_eq!(
        (agents[0].0.get(), u64::try_from(agents.len()).unwrap()),
        (1, AGENTS)
    );
}
