//! Tests the transactions of the retention task and their times.

use std::sync::Arc;
use std::time::Duration;

use super::support::{JobHarness, START, add_agent, config, flow, lead_outcome, settings};
use crate::clock::Clock;
use crate::config::RetentionSettings;
use crate::domain::event::EventKind;
use crate::domain::event::subscriptions::{Subscription, Subscriptions};
use crate::domain::ids::{AgentName, Customer, DestinationName, MessageId};
use crate::domain::job::Job;
use crate::domain::lead::Absence;
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::draft::Draft;
use crate::domain::time::Millis;
use crate::jobs::JobSettings;
use crate::jobs::handler::JobOutcome;
use crate::jobs::retention_task::RetentionTask;
use crate::reloadable::Reloadable;
use crate::store::tests::support::rows;
use crate::store::{AgentChange, ChangeAgent, SaveDraft};

const DAY: Millis = Millis::from_secs(24 * 60 * 60);

fn task_with_retention(
    harness: &JobHarness,
    submissions: Millis,
    attempts: Millis,
) -> RetentionTask {
    let clock: Arc<dyn Clock> = harness.clock.clone();
    let config = config();
    let retention = RetentionSettings {
        submissions,
        attempt_history: attempts,
        ..config.retention.clone()
    };
    RetentionTask::new(
        harness.store.clone(),
        clock,
        Reloadable::new(JobSettings {
            retention,
            ..settings(&config)
        }),
    )
}

fn retention_task(harness: &JobHarness) -> RetentionTask {
    task_with_retention(harness, DAY, DAY)
}

/// Runs steps until the end of the round, when the next round is one minute away.
fn round(harness: &JobHarness, retention_task: &mut RetentionTask) {
    for _ in 0..1000 {
        let pause = retention_task.step();
        if pause > Duration::from_millis(100) {
            return;
        }
        harness
            .clock
            .advance(Millis::new(u64::try_from(pause.as_millis()).unwrap()));
    }
    panic!("the round does not end");
}

#[test]
fn round_removes_only_rows_past_retention() {
    let mut harness = JobHarness::with(|_, _| Ok(JobOutcome::SubmissionProcessed { lead: None }));
    harness.accept("old");
    harness.run_due();
    harness.clock.advance(DAY);
    harness.clock.advance(DAY);
    let recent = harness.accept("recent");
    harness.run_due();
    round(&harness, &mut retention_task(&harness));
    let left = rows::<Job>(&harness.read());
    assert_eq!(left.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [recent]);
}

#[test]
fn rounds_start_one_minute_apart() {
    let mut harness = JobHarness::with(|_, _| Ok(JobOutcome::SubmissionProcessed { lead: None }));
    let mut retention_task = task_with_retention(&harness, Millis::from_secs(1), DAY);
    round(&harness, &mut retention_task);
    harness.accept("a");
    harness.run_due();
    let is_there = |harness: &JobHarness| harness.read().counts().unwrap().submissions == 1;
    harness.advance_secs(55);
    round(&harness, &mut retention_task);
    assert!(is_there(&harness));
    harness.advance_secs(5);
    round(&harness, &mut retention_task);
    assert!(!is_there(&harness));
}

#[test]
fn waiting_lead_goes_to_agent_back_from_absence() {
    let mut harness = JobHarness::with(lead_outcome);
    add_agent(&harness.store, "ann");
    let name = AgentName::new("ann").unwrap();
    let absence = Absence {
        from: START,
        to: START.plus(Millis::from_secs(60)),
    };
    harness.execute(ChangeAgent {
        name,
        change: AgentChange::AddAbsence(absence),
    });
    let id = harness.accept("a");
    harness.run_due();
    let lead = harness.job(id).lead_id.unwrap();
    let agent = |harness: &JobHarness| harness.read().lead(lead).unwrap().unwrap().agent;
    let mut retention_task = retention_task(&harness);
    retention_task.step();
    assert_eq!(agent(&harness), None);
    harness.advance_secs(60);
    retention_task.step();
    assert!(agent(&harness).is_some());
}

#[test]
fn abandoned_draft_emits_event_after_timeout() {
    let harness = JobHarness::new();
    let crm = DestinationName::new("crm").unwrap();
    let route = Subscription {
        destination: crm.clone(),
        events: [EventKind::DraftAbandoned].into_iter().collect(),
    };
    harness.routes.store(Arc::new(Subscriptions {
        flows: [(flow(), vec![route])].into_iter().collect(),
        ..Subscriptions::default()
    }));
    let draft = Draft {
        flow: flow(),
        flow_token: None,
        customer: Customer::from_text("16505551234"),
        screen: "DATE".into(),
        data: "{}".into(),
        updated_at: START,
    };
    let key = IdempotencyKey::for_message(&MessageId::new("any").unwrap());
    harness.execute(SaveDraft {
        key,
        draft,
        encrypted_request_key: None,
        reject_resubmission: false,
    });
    let results = |harness: &JobHarness| {
        let due = harness.read().due_deliveries(&crm, harness.clock.now(), 10);
        due.unwrap().len()
    };
    let patience = config().flows[&flow()].abandoned_after;
    let mut retention_task = task_with_retention(&harness, Millis::new(100 * DAY.get()), DAY);
    harness.clock.advance(Millis::new(patience.get() - 60_000));
    round(&harness, &mut retention_task);
    assert_eq!(results(&harness), 0);
    for _ in 0..3 {
        harness.advance_secs(60);
        round(&harness, &mut retention_task);
        assert_eq!(results(&harness), 1);
    }
}
