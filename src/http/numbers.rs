//! Watches whether the numbers that usually receive messages still do: a subscription that was taken away, or an account that
//! was suspended, makes no error anywhere.
//!
//! What is unusual is decided in `crate::domain::traffic`. The traffic is kept in memory and written every few minutes.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Clock;
use crate::domain::time::Millis;
use crate::domain::traffic::{LOOK, Traffic};
use crate::store::{NoteTraffic, Store, StoreError};

use super::watch::Watch;

/// How often the traffic is written where nothing is to be told: what a crash loses is learned again.
const KEEP: Duration = Duration::from_mins(5);
/// Numbers watched at the most.
const NUMBERS_MAX: usize = 1000;

/// The numbers and when they were looked at.
pub(super) struct Numbers {
    traffic: BTreeMap<Box<str>, Traffic>,
    is_loaded: bool,
    looked_at: Duration,
    kept_at: Duration,
    /// Those whose silence is written.
    silent: Vec<Box<str>>,
}

impl Numbers {
    pub(super) const fn new(now: Duration) -> Self {
        Self { traffic: BTreeMap::new(), is_loaded: false, looked_at: now, kept_at: now, silent: Vec::new() }
    }

    /// Takes a look if it is time, and hands over what has changed.
    pub(super) async fn look(&mut self, watch: &Watch, store: &Store, clock: &dyn Clock) {
        let elapsed = clock.elapsed();
        let went_by = elapsed.saturating_sub(self.looked_at);
        if went_by < LOOK.to_duration() {
            return;
        }
        if let Err(error) = self.load(store) {
            tracing::debug!(error = %error, "the usual traffic of numbers can't be read");
            return;
        }
        self.looked_at = elapsed;
        // A process that did not run for a while has not watched.
        let watched = if went_by < LOOK.to_duration() * 2 { millis(went_by) } else { LOOK };
        let (now, mut heard) = (clock.now(), watch.take_heard());
        for (id, traffic) in &mut self.traffic {
            traffic.look(now, watched, heard.remove(id).as_deref());
        }
        let room = NUMBERS_MAX.saturating_sub(self.traffic.len());
        for (id, number) in heard.into_iter().take(room) {
            let mut traffic = Traffic::new(now);
            traffic.look(now, watched, Some(&number));
            self.traffic.insert(id, traffic);
        }
        let silent = self.traffic.iter().filter(|(_, traffic)| traffic.is_silent());
        let silent: Vec<Box<str>> = silent.map(|(id, _)| id.clone()).collect();
        if silent != self.silent || elapsed.saturating_sub(self.kept_at) >= KEEP {
            self.keep(silent, elapsed, store).await;
        }
    }

    fn load(&mut self, store: &Store) -> Result<(), StoreError> {
        if !self.is_loaded {
            self.traffic = store.look(|snapshot| snapshot.numbers())?.into_iter().collect();
            self.silent = self.traffic.iter().filter(|(_, one)| one.is_silent()).map(|(id, _)| id.clone()).collect();
            self.is_loaded = true;
        }
        Ok(())
    }

    async fn keep(&mut self, silent: Vec<Box<str>>, elapsed: Duration, store: &Store) {
        let (gone, numbers): (Vec<_>, Vec<_>) =
            self.traffic.iter().map(|(id, one)| (id.clone(), one.clone())).partition(|(_, one)| one.is_gone());
        if gone.is_empty() && numbers.is_empty() {
            return;
        }
        let gone: Vec<Box<str>> = gone.into_iter().map(|(id, _)| id).collect();
        match store.commit(NoteTraffic { numbers, gone: gone.clone() }).await {
            Ok(()) => {
                for id in silent.iter().filter(|id| !self.silent.contains(id)) {
                    tracing::warn!(
                        meta.phone_number_id = &**id,
                        "a number that usually receives messages receives none: see `flowgate status`"
                    );
                }
                self.traffic.retain(|id, _| !gone.contains(id));
                (self.silent, self.kept_at) = (silent, elapsed);
            }
            // It is handed over at the next look.
            Err(error) => tracing::debug!(error = %error, "the traffic of numbers could not be noted"),
        }
    }
}

fn millis(length: Duration) -> Millis {
    Millis::new(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;
    use crate::current::Current;
    use crate::domain::event::EventKind;
    use crate::domain::ids::DestinationName;
    use crate::domain::routes::{Route, Routes};
    use crate::domain::traffic::tests::{Watched, office};
    use crate::store::StoreOptions;

    const DAY: u64 = 24 * 60;

    /// A store in which `1` is a number with four usual weeks and then so many silent minutes behind it.
    fn prepared(silent: u64) -> (tempfile::TempDir, Arc<ManualClock>, Store) {
        let mut number = Watched::new();
        number.watch(4 * 7 * DAY, office);
        number.watch(silent, |_| false);
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(number.now()));
        let route = Route { to: DestinationName::new("ops").unwrap(), events: EventKind::ALL.into() };
        let routes = Current::new(Routes { alerts: vec![route], ..Routes::default() });
        let mut options = StoreOptions::new(folder.path().join("data.redb"));
        (options.free_space_min, options.routes) = (0, routes);
        let as_clock: Arc<dyn Clock> = clock.clone();
        let store = Store::start(options, as_clock).unwrap();
        store.wait_open().unwrap();
        store.ask(NoteTraffic { numbers: vec![("1".into(), number.traffic)], gone: Vec::new() }).unwrap();
        (folder, clock, store)
    }

    /// The alerts so far.
    fn told(store: &Store) -> Vec<String> {
        let read = store.read().unwrap();
        let lane = read.lane(&DestinationName::new("ops").unwrap(), crate::domain::time::Timestamp::MAX, 100).unwrap();
        lane.into_iter().map(|id| read.outgoing(id).unwrap().unwrap().body.into()).collect()
    }

    #[test]
    fn a_silence_is_told_once_over_restarts_until_messages_come_again() {
        // The night before a working day.
        let (_folder, clock, store) = prepared(0);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let watch = Watch::default();
        let mut numbers = Numbers::new(clock.elapsed());
        let minutes = |numbers: &mut Numbers, many: u64| {
            for _ in 0..many {
                clock.advance(LOOK);
                runtime.block_on(numbers.look(&watch, &store, &*clock));
            }
        };
        minutes(&mut numbers, 8 * 60);
        assert_eq!(told(&store), [""; 0], "its night");
        minutes(&mut numbers, 4 * 60);
        let alerts = told(&store);
        assert_eq!(alerts.len(), 1, "{alerts:?}");
        assert!(alerts[0].contains("number.silent") && alerts[0].contains("15550783881"), "{alerts:?}");
        assert!(store.read().unwrap().numbers().unwrap()[0].1.is_silent());

        let mut numbers = Numbers::new(clock.elapsed());
        minutes(&mut numbers, 60);
        assert_eq!(told(&store).len(), 1, "a restart tells nothing again");
        watch.hear([("1".into(), "15550783881".into())].into());
        minutes(&mut numbers, 1);
        assert!(!store.read().unwrap().numbers().unwrap()[0].1.is_silent());
        minutes(&mut numbers, 4 * 60);
        assert_eq!(told(&store).len(), 2, "the next silence is told");
        store.close().unwrap();
    }

    #[test]
    fn a_new_number_is_learned_and_one_that_is_gone_is_forgotten() {
        let (_folder, clock, store) = prepared(28 * DAY - 30);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let watch = Watch::default();
        let mut numbers = Numbers::new(clock.elapsed());
        watch.hear([("2".into(), "".into())].into());
        for _ in 0..60 {
            clock.advance(LOOK);
            runtime.block_on(numbers.look(&watch, &store, &*clock));
        }
        let ids: Vec<_> = store.read().unwrap().numbers().unwrap().into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, ["2".into()]);
        store.close().unwrap();
    }
}
