//! The outbox against a model made of plain maps: whatever is announced, delivered, refused, run again, given up or paused,
//! in whatever order and over restarts, every destination is told what it is to be told, once each, and time takes what is
//! over and no more.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::clock::Clock;
use crate::domain::ids::JobId;
use crate::domain::job::JobState;
use crate::domain::retry::Verdict;
use crate::domain::time::{Millis, Timestamp};
use crate::store::{Discard, Finished, JobChanged, PauseDestination, Revive};

use super::support::{Bench, destination};

const HOUR: Millis = Millis::from_secs(60 * 60);
/// How long deliveries are kept, and their failed attempts.
const KEPT: Millis = Millis::from_secs(48 * 60 * 60);
const ATTEMPTS_KEPT: Millis = Millis::from_secs(12 * 60 * 60);

const DESTINATIONS: [&str; 3] = ["crm", "sheet", "ops"];
/// Who may be told of events, and of alerts: one after the other, as a config is changed.
const ROUTES: [(&[&str], &[&str]); 4] =
    [(&["crm", "sheet"], &["ops"]), (&["crm"], &["crm", "ops"]), (&[], &["ops"]), (&["sheet"], &[])];

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Taken,
    Again,
    Dead,
    Gone,
}

/// What may happen. Numbers choose among what is there.
#[derive(Clone, Debug)]
enum Step {
    Accept,
    Note { delivery: u8, end: End },
    Revive { delivery: u8, corrected: bool },
    Discard { delivery: u8 },
    Pause { destination: usize, paused: bool },
    Reroute { to: usize },
    Wait { hours: u8 },
    Sweep { most: usize },
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = prop_oneof![3 => Just(End::Taken), 2 => Just(End::Again), 3 => Just(End::Dead), 1 => Just(End::Gone)];
    let step = prop_oneof![
        4 => Just(Step::Accept),
        10 => (0..40u8, end).prop_map(|(delivery, end)| Step::Note { delivery, end }),
        3 => (0..40u8, any::<bool>()).prop_map(|(delivery, corrected)| Step::Revive { delivery, corrected }),
        3 => (0..40u8).prop_map(|delivery| Step::Discard { delivery }),
        1 => (0..3usize, any::<bool>()).prop_map(|(destination, paused)| Step::Pause { destination, paused }),
        1 => (0..4usize).prop_map(|to| Step::Reroute { to }),
        4 => (1..30u8).prop_map(|hours| Step::Wait { hours }),
        3 => (1..5usize).prop_map(|most| Step::Sweep { most }),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..60)
}

/// A delivery as it should be.
#[derive(Clone, Debug)]
struct Told {
    kind: &'static str,
    to: &'static str,
    /// The first delivery of its event.
    event: u64,
    message_id: Box<str>,
    state: JobState,
    due_at: Timestamp,
    /// When it was over.
    ended_at: Timestamp,
    attempts: u32,
    /// What came back from each attempt that is still shown: whether it failed.
    exchanges: BTreeMap<u32, bool>,
    corrected: Option<String>,
}

impl Told {
    fn is_over(&self) -> bool {
        self.state.is_over()
    }
}

#[derive(Default)]
struct Model {
    deliveries: BTreeMap<u64, Told>,
    /// Destination → whether it is paused, and whether it wants no more.
    standstills: BTreeMap<&'static str, (bool, bool)>,
    routes: usize,
    forms: usize,
    /// What a step has made true, and whom it is told: yet to be found in the store.
    announced: Vec<(&'static str, &'static [&'static str])>,
}

impl Model {
    fn choose(&self, choice: u8) -> Option<u64> {
        let place = usize::from(choice).checked_rem(self.deliveries.len())?;
        self.deliveries.keys().nth(place).copied()
    }

    fn alert(&mut self, kind: &'static str) {
        self.announced.push((kind, ROUTES[self.routes].1));
    }

    fn note(&mut self, id: u64, end: End, now: Timestamp, later: Timestamp) {
        let told = self.deliveries.get_mut(&id).unwrap();
        told.attempts += 1;
        told.exchanges.insert(told.attempts, end != End::Taken);
        (told.state, told.due_at) = match end {
            End::Taken => (JobState::Done, now),
            End::Again | End::Gone => (JobState::Scheduled, later),
            End::Dead => (JobState::Dead, now),
        };
        told.ended_at = now;
        let (kind, to) = (told.kind, told.to);
        if end == End::Dead && kind != "job.dead" {
            self.alert("job.dead");
        }
        if end == End::Gone && !std::mem::replace(&mut self.standstills.entry(to).or_default().1, true) {
            self.alert("destination.stopped");
        }
    }

    fn sweep(&mut self, now: Timestamp) {
        let (before, attempts_before) = (now.minus(KEPT), now.minus(ATTEMPTS_KEPT));
        self.deliveries.retain(|_, told| !told.is_over() || told.ended_at >= before);
        let ended = |told: &&mut Told| told.is_over() && told.ended_at < attempts_before;
        for told in self.deliveries.values_mut().filter(ended) {
            told.exchanges.retain(|_, failed| !*failed);
        }
    }

    /// Takes in what was announced: it must be in the store, in order and for nobody else.
    fn learn(&mut self, bench: &Bench) {
        let read = bench.store.read().unwrap();
        let found = bench.deliveries().into_iter().filter(|(id, ..)| !self.deliveries.contains_key(&id.get()));
        let mut new: Vec<_> = found.collect();
        for (kind, destinations) in std::mem::take(&mut self.announced) {
            let mut event = None;
            for to in destinations {
                let (id, _, delivery) = new.remove(0);
                let event = *event.get_or_insert(id.get());
                assert_eq!((delivery.destination.as_str(), delivery.event.get()), (*to, event));
                assert_eq!(read.event(delivery.event).unwrap().unwrap().kind.as_str(), kind);
                assert!(
                    self.deliveries.values().all(|told| told.message_id != delivery.message_id),
                    "an id of its own"
                );
                let told = Told {
                    kind,
                    to,
                    event,
                    message_id: delivery.message_id,
                    state: JobState::Scheduled,
                    due_at: bench.clock.now(),
                    ended_at: Timestamp::ZERO,
                    attempts: 0,
                    exchanges: BTreeMap::new(),
                    corrected: None,
                };
                self.deliveries.insert(id.get(), told);
            }
        }
        assert_eq!(new, []);
    }
}

fn run(bench: &Bench, model: &mut Model, step: &Step) {
    let now = bench.clock.now();
    match *step {
        Step::Accept => {
            model.forms += 1;
            bench.accept_new(&format!("t{}", model.forms));
            model.announced.push(("submission.accepted", ROUTES[model.routes].0));
        }
        Step::Note { delivery, end } => {
            let Some(id) = model.choose(delivery) else { return };
            let later = now.plus(HOUR);
            let failed = match end {
                End::Taken => None,
                End::Again | End::Gone => Some(Verdict::Again { at: later }),
                End::Dead => Some(Verdict::Dead),
            };
            let noted = bench.note(JobId::new(id), failed, (end == End::Gone).then_some("gone"));
            let waits = model.deliveries[&id].state == JobState::Scheduled;
            assert_eq!(noted != Finished::AlreadyOver, waits);
            if waits {
                model.note(id, end, now, later);
            }
        }
        Step::Revive { delivery, corrected } => {
            let Some(id) = model.choose(delivery) else { return };
            let payload = corrected.then(|| format!("{{\"corrected\":{id}}}"));
            let revived = bench.store.ask(Revive { job: JobId::new(id), payload: payload.clone() }).unwrap();
            let told = model.deliveries.get_mut(&id).unwrap();
            assert_eq!(revived == JobChanged::Now(JobState::Scheduled), told.state == JobState::Dead);
            if told.state == JobState::Dead {
                (told.state, told.due_at) = (JobState::Scheduled, now);
                told.corrected = payload.or(told.corrected.take());
            }
        }
        Step::Discard { delivery } => {
            let Some(id) = model.choose(delivery) else { return };
            let discarded = bench.store.ask(Discard { job: JobId::new(id) }).unwrap();
            let told = model.deliveries.get_mut(&id).unwrap();
            assert_eq!(discarded == JobChanged::Now(JobState::Discarded), told.state == JobState::Dead);
            if told.state == JobState::Dead {
                (told.state, told.ended_at) = (JobState::Discarded, now);
            }
        }
        Step::Pause { destination: place, paused } => {
            let name = DESTINATIONS[place];
            bench.store.ask(PauseDestination { destination: destination(name), paused }).unwrap();
            let standstill = model.standstills.entry(name).or_default();
            *standstill = if paused { (true, standstill.1) } else { (false, false) };
        }
        Step::Reroute { to } => {
            model.routes = to;
            bench.tell(ROUTES[to].0, ROUTES[to].1);
        }
        Step::Wait { hours } => bench.clock.advance(Millis::from_secs(3600 * u64::from(hours))),
        Step::Sweep { most } => {
            bench.sweep(most, KEPT, ATTEMPTS_KEPT, HOUR);
            model.sweep(now);
        }
        Step::Restart => unreachable!("done by the caller, who owns the bench"),
    }
}

fn compare(bench: &Bench, model: &Model) {
    bench.check();
    let read = bench.store.read().unwrap();
    let found = bench.deliveries();
    assert_eq!(
        found.iter().map(|(id, ..)| id.get()).collect::<Vec<_>>(),
        model.deliveries.keys().copied().collect::<Vec<_>>()
    );
    for ((id, job, delivery), told) in found.into_iter().zip(model.deliveries.values()) {
        let has = (job.state, job.attempts, delivery.event.get(), &delivery.message_id);
        assert_eq!(has, (told.state, told.attempts, told.event, &told.message_id), "{id}");
        let numbers = read.exchanges(id).unwrap().into_iter().map(|(number, _)| number);
        assert_eq!(numbers.collect::<Vec<_>>(), told.exchanges.keys().copied().collect::<Vec<_>>(), "{id}");
        let outgoing = read.outgoing(id).unwrap();
        assert_eq!(outgoing.is_some(), told.state == JobState::Scheduled);
        if let Some(outgoing) = outgoing {
            let corrected = told.corrected.as_deref();
            assert_eq!(&*outgoing.body, corrected.unwrap_or(&outgoing.event.body), "{id}");
        }
    }
    for name in DESTINATIONS {
        let mut lane: Vec<_> = model.deliveries.iter().filter(|(_, told)| told.to == name).collect();
        lane.retain(|(_, told)| told.state == JobState::Scheduled);
        lane.sort_by_key(|(id, told)| (told.due_at, **id));
        let expected: Vec<_> = lane.into_iter().map(|(id, _)| JobId::new(*id)).collect();
        let far = bench.clock.now().plus(KEPT);
        assert_eq!(read.lane(&destination(name), far, usize::MAX).unwrap(), expected, "{name}");
        let standstill = read.standstill(&destination(name)).unwrap();
        let stands = (standstill.paused_at.is_some(), standstill.disabled.is_some());
        assert_eq!(stands, model.standstills.get(name).copied().unwrap_or_default(), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_outbox_does_what_the_model_does(steps in steps()) {
        let mut bench = Bench::new();
        let mut model = Model::default();
        bench.tell(ROUTES[0].0, ROUTES[0].1);
        for step in &steps {
            if matches!(step, Step::Restart) {
                bench = bench.reopen();
            } else {
                run(&bench, &mut model, step);
            }
            model.learn(&bench);
            compare(&bench, &model);
        }
    }
}
