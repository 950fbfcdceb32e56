//! Monitors whether the phone numbers that usually receive messages still receive them. A cancelled
//! subscription or a suspended account causes no error anywhere else.
//!
//! The traffic is stored in memory and written to the store every few minutes.
//!
//! See [`crate::domain::health::number_traffic`] for the decision about unusual silence.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Clock;
use crate::domain::health::number_traffic::{NumberTraffic, SAMPLE_INTERVAL};
use crate::domain::time::Millis;
use crate::store::{RecordTraffic, Store, StoreError};

use super::monitor::HealthMonitor;

/// Interval at which the traffic is written if there is no alert. After a crash, the lost part is
/// learned again.
const SAVE_INTERVAL: Duration = Duration::from_mins(5);
/// Maximum number of monitored phone numbers.
const NUMBERS_MAX: usize = 1000;

/// Traffic of the phone numbers, with the time of the last check.
pub(in crate::http) struct NumberMonitor {
    traffic: BTreeMap<Box<str>, NumberTraffic>,
    is_loaded: bool,
    checked_at: Duration,
    saved_at: Duration,
    /// Numbers whose silence is recorded in the store.
    silent_numbers: Vec<Box<str>>,
}

impl NumberMonitor {
    pub(in crate::http) const fn new(now: Duration) -> Self {
        Self {
            traffic: BTreeMap::new(),
            is_loaded: false,
            checked_at: now,
            saved_at: now,
            silent_numbers: Vec::new(),
        }
    }

    /// Runs a check if one is due, and records the changes.
    pub(in crate::http) async fn check(
        &mut self,
        monitor: &HealthMonitor,
        store: &Store,
        clock: &dyn Clock,
    ) {
        let elapsed = clock.elapsed();
        let since_check = elapsed.saturating_sub(self.checked_at);
        if since_check < SAMPLE_INTERVAL.to_duration() {
            return;
        }
        if let Err(error) = self.load_traffic(store) {
            tracing::debug!(error = %error, "the stored traffic of phone numbers can't be read");
            return;
        }
        self.checked_at = elapsed;
        // A process that was suspended for a while has monitored nothing in that time.
        let observed = if since_check < SAMPLE_INTERVAL.to_duration() * 2 {
            Millis::from_duration(since_check)
        } else {
            SAMPLE_INTERVAL
        };
        let (now, mut received) = (clock.now(), monitor.take_numbers());
        for (id, traffic) in &mut self.traffic {
            traffic.record_sample(now, observed, received.remove(id).as_deref());
        }
        let capacity = NUMBERS_MAX.saturating_sub(self.traffic.len());
        for (id, number) in received.into_iter().take(capacity) {
            let mut traffic = NumberTraffic::new(now);
            traffic.record_sample(now, observed, Some(&number));
            self.traffic.insert(id, traffic);
        }
        let silent = self.find_silent();
        if silent != self.silent_numbers || elapsed.saturating_sub(self.saved_at) >= SAVE_INTERVAL {
            self.save_traffic(silent, elapsed, store).await;
        }
    }

    fn load_traffic(&mut self, store: &Store) -> Result<(), StoreError> {
        if !self.is_loaded {
            let stored = store.read_with(|snapshot| snapshot.phone_numbers())?;
            self.traffic = stored.into_iter().collect();
            self.silent_numbers = self.find_silent();
            self.is_loaded = true;
        }
        Ok(())
    }

    fn find_silent(&self) -> Vec<Box<str>> {
        let silent = self.traffic.iter().filter(|(_, one)| one.is_silent());
        silent.map(|(id, _)| id.clone()).collect()
    }

    async fn save_traffic(&mut self, silent: Vec<Box<str>>, elapsed: Duration, store: &Store) {
        let (expired, numbers): (Vec<_>, Vec<_>) = self
            .traffic
            .iter()
            .map(|(id, one)| (id.clone(), one.clone()))
            .partition(|(_, one)| one.is_expired());
        if expired.is_empty() && numbers.is_empty() {
            return;
        }
        let expired: Vec<Box<str>> = expired.into_iter().map(|(id, _)| id).collect();
        let record = RecordTraffic {
            numbers,
            removed: expired.clone(),
        };
        match store.execute(record).await {
            Ok(()) => {
                for id in silent.iter().filter(|id| !self.silent_numbers.contains(id)) {
                    tracing::warn!(
                        meta.phone_number_id = &**id,
                        "a phone number that usually receives messages receives none now: \
                         see `flowgate status`"
                    );
                }
                self.traffic.retain(|id, _| !expired.contains(id));
                (self.silent_numbers, self.saved_at) = (silent, elapsed);
            }
            // The next check tries again.
            Err(error) => {
                tracing::debug!(error = %error, "the traffic of phone numbers could not be stored");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::event::EventKind;
    use crate::domain::event::subscriptions::{Subscription, Subscriptions};
    use crate::domain::health::number_traffic::tests::{ObservedNumber, office_hours};
    use crate::domain::ids::DestinationName;
    use crate::domain::time::Timestamp;
    use crate::reloadable::Reloadable;
    use crate::store::StoreOptions;

    const DAY: u64 = 24 * 60;

    /// Creates a store in which number `1` has four weeks of usual traffic, then silent minutes.
    fn store_with_history(silent: u64) -> (tempfile::TempDir, Arc<ManualClock>, Store) {
        let mut number = ObservedNumber::new();
        number.observe(4 * 7 * DAY, office_hours);
        number.observe(silent, |_| false);
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(number.now()));
        let route = Subscription {
            destination: DestinationName::new("ops").unwrap(),
            events: EventKind::ALL.into(),
        };
        let routes = Reloadable::new(Subscriptions {
            alerts: vec![route],
            ..Subscriptions::default()
        });
        let mut options = StoreOptions::new(folder.path().join("data.redb"));
        (options.min_free_bytes, options.subscriptions) = (0, routes);
        let as_clock: Arc<dyn Clock> = clock.clone();
        let store = Store::start(options, as_clock).unwrap();
        store.wait_open().unwrap();
        let history = RecordTraffic {
            numbers: vec![("1".into(), number.traffic)],
            removed: Vec::new(),
        };
        store.execute_blocking(history).unwrap();
        (folder, clock, store)
    }

    /// Returns the alerts so far.
    fn sent_alerts(store: &Store) -> Vec<String> {
        let read = store.read().unwrap();
        let ops = DestinationName::new("ops").unwrap();
        let due = read.due_deliveries(&ops, Timestamp::MAX, 100);
        due.unwrap()
            .into_iter()
            .map(|id| read.pending_delivery(id).unwrap().unwrap().body.into())
            .collect()
    }

    fn phone_numbers(store: &Store) -> Vec<(Box<str>, NumberTraffic)> {
        store.read_with(|read| read.phone_numbers()).unwrap()
    }

    #[test]
    fn silence_alerts_once_across_restarts() {
        // The night before a working day.
        let (_folder, clock, store) = store_with_history(0);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let monitor = HealthMonitor::default();
        let mut numbers = NumberMonitor::new(clock.elapsed());
        let minutes = |numbers: &mut NumberMonitor, count: u64| {
            for _ in 0..count {
                clock.advance(SAMPLE_INTERVAL);
                runtime.block_on(numbers.check(&monitor, &store, &*clock));
            }
        };
        minutes(&mut numbers, 8 * 60);
        assert_eq!(sent_alerts(&store), [""; 0], "its night");
        minutes(&mut numbers, 4 * 60);
        let alerts = sent_alerts(&store);
        assert_eq!(alerts.len(), 1, "{alerts:?}");
        for part in ["number.silent", "15550783881"] {
            assert!(alerts[0].contains(part), "{alerts:?}");
        }
        assert!(phone_numbers(&store)[0].1.is_silent());

        let mut numbers = NumberMonitor::new(clock.elapsed());
        minutes(&mut numbers, 60);
        assert_eq!(sent_alerts(&store).len(), 1, "a restart repeats no alert");
        monitor.record_numbers([("1".into(), "15550783881".into())].into());
        minutes(&mut numbers, 1);
        assert!(!phone_numbers(&store)[0].1.is_silent());
        minutes(&mut numbers, 4 * 60);
        assert_eq!(sent_alerts(&store).len(), 2, "the next silence");
        store.close().unwrap();
    }

    #[test]
    fn new_number_is_added_and_expired_one_removed() {
        let (_folder, clock, store) = store_with_history(28 * DAY - 30);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let monitor = HealthMonitor::default();
        let mut numbers = NumberMonitor::new(clock.elapsed());
        monitor.record_numbers([("2".into(), "".into())].into());
        for _ in 0..60 {
            clock.advance(SAMPLE_INTERVAL);
            runtime.block_on(numbers.check(&monitor, &store, &*clock));
        }
        let ids: Vec<_> = phone_numbers(&store)
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        assert_eq!(ids, ["2".into()]);
        store.close().unwrap();
    }
}
