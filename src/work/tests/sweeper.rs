//! What the sweeper asks for, and when.

use std::sync::Arc;
use std::time::Duration;

use super::support::{Desk, START, add_agent, carry, config, flow};
use crate::clock::Clock;
use crate::config::Retention;
use crate::current::Current;
use crate::domain::draft::Draft;
use crate::domain::event::EventKind;
use crate::domain::ids::{AgentName, Customer, DestinationName, MessageId};
use crate::domain::job::Job;
use crate::domain::lead::Absence;
use crate::domain::routes::{Route, Routes};
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::Millis;
use crate::store::tests::support::rows;
use crate::store::{AgentChange, ChangeAgent, KeepDraft};
use crate::work::Rules;
use crate::work::process::Outcome;
use crate::work::sweeper::Sweeper;

const DAY: Millis = Millis::from_secs(24 * 60 * 60);

fn keeping(desk: &Desk, submissions: Millis, attempts: Millis) -> Sweeper {
    let clock: Arc<dyn Clock> = desk.clock.clone();
    let config = config();
    let retention = Retention { submissions, attempts, ..config.retention.clone() };
    Sweeper::new(desk.store.clone(), clock, Current::new(Rules { retention, ..Rules::from(&config) }))
}

fn sweeper(desk: &Desk) -> Sweeper {
    keeping(desk, DAY, DAY)
}

/// Steps until the next round is a minute away.
fn round(desk: &Desk, sweeper: &mut Sweeper) {
    for _ in 0..1000 {
        let pause = sweeper.step();
        if pause > Duration::from_millis(100) {
            return;
        }
        desk.clock.advance(Millis::new(u64::try_from(pause.as_millis()).unwrap()));
    }
    panic!("the round does not end");
}

#[test]
fn a_round_takes_away_what_is_past_its_retention_and_nothing_else() {
    let mut desk = Desk::with(|_, _| Ok(Outcome::Carried { lead: None }));
    desk.accept("old");
    desk.work();
    desk.clock.advance(DAY);
    desk.clock.advance(DAY);
    let recent = desk.accept("recent");
    desk.work();
    round(&desk, &mut sweeper(&desk));
    let left = rows::<Job>(&desk.store.read().unwrap());
    assert_eq!(left.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [recent]);
}

#[test]
fn rounds_are_a_minute_apart() {
    let mut desk = Desk::with(|_, _| Ok(Outcome::Carried { lead: None }));
    let mut sweeper = keeping(&desk, Millis::from_secs(1), DAY);
    round(&desk, &mut sweeper);
    desk.accept("a");
    desk.work();
    let is_there = |desk: &Desk| desk.store.read().unwrap().counts().unwrap().submissions == 1;
    desk.clock.advance(Millis::from_secs(55));
    round(&desk, &mut sweeper);
    assert!(is_there(&desk));
    desk.clock.advance(Millis::from_secs(5));
    round(&desk, &mut sweeper);
    assert!(!is_there(&desk));
}

#[test]
fn a_lead_that_waits_goes_to_an_agent_whose_absence_is_over() {
    let mut desk = Desk::with(carry);
    add_agent(&desk.store, "ann");
    let name = AgentName::new("ann").unwrap();
    let absence = Absence { from: START, to: START.plus(Millis::from_secs(60)) };
    desk.store.ask(ChangeAgent { name, change: AgentChange::Absent(absence) }).unwrap();
    let id = desk.accept("a");
    desk.work();
    let lead = desk.job(id).lead.unwrap();
    let agent = |desk: &Desk| desk.store.read().unwrap().lead(lead).unwrap().unwrap().agent;
    let mut sweeper = sweeper(&desk);
    sweeper.step();
    assert_eq!(agent(&desk), None);
    desk.clock.advance(Millis::from_secs(60));
    sweeper.step();
    assert!(agent(&desk).is_some());
}

#[test]
fn a_form_that_was_left_is_told_a_round_after_its_flow_has_waited_long_enough() {
    let desk = Desk::new();
    let crm = DestinationName::new("crm").unwrap();
    let route = Route { to: crm.clone(), events: [EventKind::DraftAbandoned].into_iter().collect() };
    desk.routes.set(Routes { flows: [(flow(), vec![route])].into_iter().collect(), ..Routes::default() });
    let draft = Draft {
        flow: flow(),
        flow_token: None,
        customer: Customer::from_text("16505551234"),
        screen: "DATE".into(),
        data: "{}".into(),
        updated_at: START,
    };
    let key = IdempotencyKey::of_message(&MessageId::new("any").unwrap());
    desk.store.ask(KeepDraft { key, draft, request: None, for_good: false }).unwrap();
    let told = |desk: &Desk| desk.store.read().unwrap().lane(&crm, desk.clock.now(), 10).unwrap().len();
    let patience = config().flows[&flow()].abandoned_after;
    let mut sweeper = keeping(&desk, Millis::new(100 * DAY.get()), DAY);
    desk.clock.advance(Millis::new(patience.get() - 60_000));
    round(&desk, &mut sweeper);
    assert_eq!(told(&desk), 0);
    for _ in 0..3 {
        desk.clock.advance(Millis::from_secs(60));
        round(&desk, &mut sweeper);
        assert_eq!(told(&desk), 1);
    }
}
