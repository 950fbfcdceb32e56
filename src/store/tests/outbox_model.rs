//! Model test of the outbox, with plain maps as the model.
//!
//! The test emits events, records attempts, retries and discards deliveries, and pauses
//! destinations, in any order and with restarts. Each destination must get each of its events once.
//! Retention must remove all finished rows and no others.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::clock::Clock;
use crate::domain::ids::JobId;
use crate::domain::job::JobState;
use crate::domain::job::retry::RetryDecision;
use crate::domain::time::{Millis, Timestamp};
use crate::store::{DeadLetterOutcome, DiscardDeadLetter, FinishOutcome, RetryDeadLetter};

use super::purge_rounds::{days, hours};
use super::support::{StoreBench, destination};

const HOUR: Millis = hours(1);
/// Retention of deliveries, and of their failed attempts.
const DELIVERY_RETENTION: Millis = days(2);
const ATTEMPT_RETENTION: Millis = hours(12);

const DESTINATIONS: [&str; 3] = ["crm", "sheet", "ops"];
/// Subscribers of events and of alerts. The test switches between these sets, as changes of a
/// config do.
const SUBSCRIBERS: [(&[&str], &[&str]); 4] = [
    (&["crm", "sheet"], &["ops"]),
    (&["crm"], &["crm", "ops"]),
    (&[], &["ops"]),
    (&["sheet"], &[]),
];

/// Result of an attempt in the test.
#[derive(Clone, Copy, Debug, PartialEq)]
enum AttemptResult {
    Delivered,
    Retried,
    Dead,
    Disabled,
}

/// Step of the test. Numbers select among the existing rows.
#[derive(Clone, Debug)]
enum Step {
    Accept,
    RecordAttempt { delivery: u8, result: AttemptResult },
    RetryDeadLetter { delivery: u8, is_corrected: bool },
    DiscardDeadLetter { delivery: u8 },
    Pause { destination: usize, is_paused: bool },
    ChangeSubscribers { to: usize },
    Wait { hours: u8 },
    Purge { max_rows: usize },
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let result = prop_oneof![
        3 => Just(AttemptResult::Delivered),
        2 => Just(AttemptResult::Retried),
        3 => Just(AttemptResult::Dead),
        1 => Just(AttemptResult::Disabled),
    ];
    let step = prop_oneof![
        4 => Just(Step::Accept),
        10 => (0..40u8, result)
            .prop_map(|(delivery, result)| Step::RecordAttempt { delivery, result }),
        3 => (0..40u8, any::<bool>())
            .prop_map(|(delivery, is_corrected)| Step::RetryDeadLetter { delivery, is_corrected }),
        3 => (0..40u8).prop_map(|delivery| Step::DiscardDeadLetter { delivery }),
        1 => (0..3usize, any::<bool>())
            .prop_map(|(destination, is_paused)| Step::Pause { destination, is_paused }),
        1 => (0..4usize).prop_map(|to| Step::ChangeSubscribers { to }),
        4 => (1..30u8).prop_map(|hours| Step::Wait { hours }),
        3 => (1..5usize).prop_map(|max_rows| Step::Purge { max_rows }),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Expected state of a delivery.
#[derive(Clone, Debug)]
struct ExpectedDelivery {
    kind: &'static str,
    to: &'static str,
    /// Job ID of the first delivery of the event.
    event: u64,
    message_id: Box<str>,
    state: JobState,
    due_at: Timestamp,
    /// Time at which the delivery finished.
    ended_at: Timestamp,
    attempts: u32,
    /// Attempt number → `true` if the attempt failed. Contains each attempt with a stored response.
    responses: BTreeMap<u32, bool>,
    corrected: Option<String>,
}

impl ExpectedDelivery {
    fn is_over(&self) -> bool {
        self.state.is_terminal()
    }
}

#[derive(Default)]
struct Model {
    deliveries: BTreeMap<u64, ExpectedDelivery>,
    /// Destination → (`true` if paused, `true` if disabled).
    suspensions: BTreeMap<&'static str, (bool, bool)>,
    subscribers: usize,
    forms: usize,
    /// Events of the last step with their subscribers, before the test has found them in the store.
    announced: Vec<(&'static str, &'static [&'static str])>,
}

impl Model {
    fn choose(&self, choice: u8) -> Option<u64> {
        let index = usize::from(choice).checked_rem(self.deliveries.len())?;
        self.deliveries.keys().nth(index).copied()
    }

    fn announce_alert(&mut self, kind: &'static str) {
        self.announced.push((kind, SUBSCRIBERS[self.subscribers].1));
    }

    fn record_attempt(&mut self, id: u64, result: AttemptResult, now: Timestamp, later: Timestamp) {
        let expected = self.deliveries.get_mut(&id).unwrap();
        expected.attempts += 1;
        expected
            .responses
            .insert(expected.attempts, result != AttemptResult::Delivered);
        (expected.state, expected.due_at) = match result {
            AttemptResult::Delivered => (JobState::Done, now),
            AttemptResult::Retried | AttemptResult::Disabled => (JobState::Scheduled, later),
            AttemptResult::Dead => (JobState::Dead, now),
        };
        expected.ended_at = now;
        let (kind, to) = (expected.kind, expected.to);
        if result == AttemptResult::Dead && kind != "job.dead" {
            self.announce_alert("job.dead");
        }
        if result == AttemptResult::Disabled
            && !std::mem::replace(&mut self.suspensions.entry(to).or_default().1, true)
        {
            self.announce_alert("destination.stopped");
        }
    }

    fn purge(&mut self, now: Timestamp) {
        let (before, attempts_before) =
            (now.minus(DELIVERY_RETENTION), now.minus(ATTEMPT_RETENTION));
        self.deliveries
            .retain(|_, expected| !expected.is_over() || expected.ended_at >= before);
        let ended = |expected: &&mut ExpectedDelivery| {
            expected.is_over() && expected.ended_at < attempts_before
        };
        for expected in self.deliveries.values_mut().filter(ended) {
            expected.responses.retain(|_, failed| !*failed);
        }
    }

    /// Adds the announced events to the model. The store must contain these events in order and
    /// with no other subscribers.
    fn match_announced(&mut self, bench: &StoreBench) {
        let read = bench.read();
        let mut new = bench.deliveries();
        new.retain(|(id, ..)| !self.deliveries.contains_key(&id.get()));
        for (kind, destinations) in std::mem::take(&mut self.announced) {
            let mut event = None;
            for to in destinations {
                let (id, _, delivery) = new.remove(0);
                let event = *event.get_or_insert(id.get());
                assert_eq!(delivery.destination.as_str(), *to);
                assert_eq!(delivery.event_id.get(), event);
                let found = read.event(delivery.event_id).unwrap().unwrap();
                assert_eq!(found.kind.as_str(), kind);
                let mut others = self.deliveries.values();
                let is_unique = others.all(|other| other.message_id != delivery.webhook_id);
                assert!(is_unique, "an id of its own");
                let expected = ExpectedDelivery {
                    kind,
                    to,
                    event,
                    message_id: delivery.webhook_id,
                    state: JobState::Scheduled,
                    due_at: bench.clock.now(),
                    ended_at: Timestamp::ZERO,
                    attempts: 0,
                    responses: BTreeMap::new(),
                    corrected: None,
                };
                self.deliveries.insert(id.get(), expected);
            }
        }
        assert_eq!(new, []);
    }
}

fn apply_step(bench: &StoreBench, model: &mut Model, step: &Step) {
    match *step {
        Step::Accept => {
            model.forms += 1;
            bench.accept_new(&format!("t{}", model.forms));
            let subscribers = SUBSCRIBERS[model.subscribers].0;
            model.announced.push(("submission.accepted", subscribers));
        }
        Step::RecordAttempt { delivery, result } => {
            if let Some(id) = model.choose(delivery) {
                record_attempt(bench, model, id, result);
            }
        }
        Step::RetryDeadLetter {
            delivery,
            is_corrected,
        } => {
            if let Some(id) = model.choose(delivery) {
                retry_dead_letter(bench, model, id, is_corrected);
            }
        }
        Step::DiscardDeadLetter { delivery } => {
            if let Some(id) = model.choose(delivery) {
                discard_dead_letter(bench, model, id);
            }
        }
        Step::Pause {
            destination,
            is_paused,
        } => {
            let name = DESTINATIONS[destination];
            bench.pause_destination(name, is_paused);
            let suspension = model.suspensions.entry(name).or_default();
            *suspension = (is_paused, is_paused && suspension.1);
        }
        Step::ChangeSubscribers { to } => {
            model.subscribers = to;
            bench.subscribe(SUBSCRIBERS[to].0, SUBSCRIBERS[to].1);
        }
        Step::Wait { hours: count } => bench.clock.advance(hours(count.into())),
        Step::Purge { max_rows } => {
            bench.purge(max_rows, DELIVERY_RETENTION, ATTEMPT_RETENTION, HOUR);
            model.purge(bench.clock.now());
        }
        Step::Restart => unreachable!("done by the caller, who owns the bench"),
    }
}

fn record_attempt(bench: &StoreBench, model: &mut Model, id: u64, result: AttemptResult) {
    let now = bench.clock.now();
    let later = now.plus(HOUR);
    let failure = match result {
        AttemptResult::Delivered => None,
        AttemptResult::Retried | AttemptResult::Disabled => {
            Some(RetryDecision::RetryAt { at: later })
        }
        AttemptResult::Dead => Some(RetryDecision::GiveUp),
    };
    let disable_reason = (result == AttemptResult::Disabled).then_some("gone");
    let outcome = bench.record_attempt(JobId::new(id), failure, disable_reason);
    let is_scheduled = model.deliveries[&id].state == JobState::Scheduled;
    assert_eq!(outcome != FinishOutcome::AlreadyFinished, is_scheduled);
    if is_scheduled {
        model.record_attempt(id, result, now, later);
    }
}

fn retry_dead_letter(bench: &StoreBench, model: &mut Model, id: u64, is_corrected: bool) {
    let payload = is_corrected.then(|| format!("{{\"corrected\":{id}}}"));
    let outcome = bench.execute(RetryDeadLetter {
        job_id: JobId::new(id),
        payload: payload.clone(),
    });
    let expected = model.deliveries.get_mut(&id).unwrap();
    let is_dead = expected.state == JobState::Dead;
    let is_updated = outcome == DeadLetterOutcome::Updated(JobState::Scheduled);
    assert_eq!(is_updated, is_dead);
    if is_dead {
        (expected.state, expected.due_at) = (JobState::Scheduled, bench.clock.now());
        expected.corrected = payload.or(expected.corrected.take());
    }
}

fn discard_dead_letter(bench: &StoreBench, model: &mut Model, id: u64) {
    let job_id = JobId::new(id);
    let outcome = bench.execute(DiscardDeadLetter { job_id });
    let expected = model.deliveries.get_mut(&id).unwrap();
    let is_dead = expected.state == JobState::Dead;
    let is_updated = outcome == DeadLetterOutcome::Updated(JobState::Discarded);
    assert_eq!(is_updated, is_dead);
    if is_dead {
        (expected.state, expected.ended_at) = (JobState::Discarded, bench.clock.now());
    }
}

fn assert_matches(bench: &StoreBench, model: &Model) {
    bench.assert_invariants();
    let read = bench.read();
    let found = bench.deliveries();
    let found_ids: Vec<u64> = found.iter().map(|(id, ..)| id.get()).collect();
    let expected_ids: Vec<u64> = model.deliveries.keys().copied().collect();
    assert_eq!(found_ids, expected_ids);
    for ((id, job, delivery), expected) in found.into_iter().zip(model.deliveries.values()) {
        assert_eq!(job.state, expected.state, "{id}");
        assert_eq!(job.attempts, expected.attempts, "{id}");
        assert_eq!(delivery.event_id.get(), expected.event, "{id}");
        assert_eq!(delivery.webhook_id, expected.message_id, "{id}");
        let responses = read.delivery_responses(id).unwrap();
        let numbers: Vec<u32> = responses.into_iter().map(|(number, _)| number).collect();
        let expected_numbers: Vec<u32> = expected.responses.keys().copied().collect();
        assert_eq!(numbers, expected_numbers, "{id}");
        let pending = read.pending_delivery(id).unwrap();
        assert_eq!(pending.is_some(), expected.state == JobState::Scheduled);
        if let Some(pending) = pending {
            let corrected = expected.corrected.as_deref();
            let body = corrected.unwrap_or(&pending.event.body);
            assert_eq!(&*pending.body, body, "{id}");
        }
    }
    for name in DESTINATIONS {
        assert_destination_matches(bench, model, name);
    }
}

/// Asserts that the schedule and the suspension of a destination match the model.
fn assert_destination_matches(bench: &StoreBench, model: &Model, name: &str) {
    let read = bench.read();
    let mut expected_due: Vec<(Timestamp, JobId)> = model
        .deliveries
        .iter()
        .filter(|(_, expected)| expected.to == name && expected.state == JobState::Scheduled)
        .map(|(id, expected)| (expected.due_at, JobId::new(*id)))
        .collect();
    expected_due.sort_unstable();
    let expected_ids: Vec<JobId> = expected_due.into_iter().map(|(_, id)| id).collect();
    let far = bench.clock.now().plus(DELIVERY_RETENTION);
    let due = read.due_deliveries(&destination(name), far, usize::MAX);
    assert_eq!(due.unwrap(), expected_ids, "{name}");
    let suspension = read.suspension(&destination(name)).unwrap();
    let stands = (
        suspension.paused_at.is_some(),
        suspension.disabled.is_some(),
    );
    let expected = model.suspensions.get(name).copied();
    assert_eq!(stands, expected.unwrap_or_default(), "{name}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn outbox_matches_the_model(steps in steps()) {
        let mut bench = StoreBench::new();
        let mut model = Model::default();
        bench.subscribe(SUBSCRIBERS[0].0, SUBSCRIBERS[0].1);
        for step in &steps {
            if matches!(step, Step::Restart) {
                bench = bench.reopen();
            } else {
                apply_step(&bench, &mut model, step);
            }
            model.match_announced(&bench);
            assert_matches(&bench, &model);
        }
    }
}
