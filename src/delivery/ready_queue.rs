//! Reads the due deliveries of one destination and classifies them.
//!
//! Deliveries to be sent wait here. Deferred and expired deliveries are recorded. A delivery that
//! can't be read or recorded is quarantined for a while.
//!
//! See [`super::eligibility`] for the classification and
//! [`super::destination_worker`] for the start of deliveries.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::clock_skew::SkewScanner;
use super::context::DeliveryContext;
use super::eligibility::{self, Eligibility, ProcessStart};
use super::target::DeliveryTarget;
use crate::clock::Clock;
use crate::domain::delivery::message::Recipient;
use crate::domain::ids::{DestinationName, JobId};
use crate::store::{DeferOrExpire, Store, StoreError};

/// Maximum time between two reads of the schedule.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum number of deliveries read from the schedule at once.
const CHUNK_ROWS: usize = 256;

/// Quarantine of a delivery that can't be read or recorded although the file is open. One of its
/// rows is damaged.
pub(crate) const QUARANTINE: Duration = Duration::from_mins(1);

/// Maximum age of prefetched deliveries whose content is checked. Older deliveries are read again:
/// a delivery may have expired, or more deliveries for its recipient may be due.
const PREFETCH_TTL: Duration = Duration::from_secs(10);

pub(crate) struct ReadyQueue {
    name: DestinationName,
    store: Store,
    clock: Arc<dyn Clock>,
    process_start: ProcessStart,
    ready: VecDeque<ReadyDelivery>,
    /// Time of the last prefetch, by the process clock.
    prefetched_at: Duration,
    /// Deliveries to defer or expire. They must be committed before the next prefetch.
    deferrals: DeferOrExpire,
    quarantine: HashMap<JobId, Quarantined>,
    /// Scanner for deliveries that should be due, but were scheduled by a fast clock.
    skew_scanner: SkewScanner,
}

/// Delivery that can be sent now.
struct ReadyDelivery {
    job: JobId,
    /// Recipient, if deliveries for this recipient are merged. `None`: the delivery is sent alone.
    merge_key: Option<Recipient>,
}

/// Quarantine of one delivery.
struct Quarantined {
    /// End of the quarantine, by the process clock.
    until: Duration,
    /// `true` if the delivery has failed. After the quarantine the scanner must search again,
    /// because only a scan may find the delivery.
    has_failed: bool,
}

impl ReadyDelivery {
    /// Returns a delivery that is not merged.
    const fn alone(job: JobId) -> Self {
        Self {
            job,
            merge_key: None,
        }
    }
}

impl ReadyQueue {
    pub(crate) fn new(name: DestinationName, context: &DeliveryContext) -> Self {
        Self {
            name,
            store: context.store.clone(),
            clock: Arc::clone(&context.clock),
            process_start: context.process_start,
            ready: VecDeque::new(),
            prefetched_at: Duration::ZERO,
            deferrals: DeferOrExpire::default(),
            quarantine: HashMap::new(),
            skew_scanner: SkewScanner::new(context.clock.now(), context.clock.elapsed()),
        }
    }

    /// Returns `true` if no delivery is ready.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// Returns `true` if deliveries wait for [`ReadyQueue::commit_deferred`].
    pub(crate) fn has_deferrals(&self) -> bool {
        !self.deferrals.is_empty()
    }

    /// Removes the next delivery from the queue, together with all deliveries that are merged with
    /// it.
    pub(crate) fn take_next_batch(&mut self) -> Option<Vec<JobId>> {
        let ReadyDelivery { job, merge_key } = self.ready.pop_front()?;
        let mut jobs = vec![job];
        if merge_key.is_some() {
            let all = std::mem::take(&mut self.ready);
            let (same, others): (VecDeque<ReadyDelivery>, _) = all
                .into_iter()
                .partition(|ready| ready.merge_key == merge_key);
            jobs.extend(same.into_iter().map(|ready| ready.job));
            self.ready = others;
        }
        Some(jobs)
    }

    /// Releases deliveries whose quarantine is over, and drops prefetched deliveries that are too
    /// old.
    pub(crate) fn release_expired(&mut self, target: &DeliveryTarget) {
        let now = self.clock.elapsed();
        let released: Vec<Quarantined> = self
            .quarantine
            .extract_if(|_, quarantined| quarantined.until <= now)
            .map(|(_, quarantined)| quarantined)
            .collect();
        if released.iter().any(|quarantined| quarantined.has_failed) {
            self.skew_scanner.restart(self.clock.now());
        }
        if target.needs_content_check() && now.saturating_sub(self.prefetched_at) >= PREFETCH_TTL {
            self.clear();
        }
    }

    /// Drops the prefetched deliveries. The next [`ReadyQueue::prefetch`] reads the deliveries
    /// again.
    pub(crate) fn clear(&mut self) {
        self.ready.clear();
        self.skew_scanner.restart(self.clock.now());
    }

    /// Reads the due deliveries that are not in flight. Returns `Some` if none can be sent, with
    /// the time until the next read.
    pub(crate) fn prefetch(
        &mut self,
        target: &DeliveryTarget,
        in_flight: &HashSet<JobId>,
    ) -> Result<Option<Duration>, StoreError> {
        // Uncommitted deferrals would be read again.
        if self.has_deferrals() {
            return Ok(Some(Duration::ZERO));
        }
        let now = self.clock.now();
        self.skew_scanner.observe(now, self.clock.elapsed());
        let max = in_flight
            .len()
            .saturating_add(self.quarantine.len())
            .saturating_add(CHUNK_ROWS);
        let longest = target.policy.retry.longest_delay();
        let (name, skew_scanner) = (&self.name, &mut self.skew_scanner);
        let (due, next) = self.store.read_with(|snapshot| {
            if !snapshot.suspension(name)?.is_lifted() {
                return Ok((Vec::new(), None));
            }
            let mut due = snapshot.due_deliveries(name, now, max)?;
            due.extend(skew_scanner.scan(&snapshot, name, now, longest)?);
            let next = if skew_scanner.is_scanning() {
                Some(now)
            } else {
                snapshot.next_delivery_due(name, now)?
            };
            Ok((due, next))
        })?;
        let is_free = |job: &JobId| !self.quarantine.contains_key(job) && !in_flight.contains(job);
        let due: Vec<JobId> = due.into_iter().filter(is_free).collect();
        self.prefetched_at = self.clock.elapsed();
        self.classify(target, due)?;
        if !self.is_empty() {
            return Ok(None);
        }
        if self.has_deferrals() {
            return Ok(Some(Duration::ZERO));
        }
        let pause = next.map_or(POLL_INTERVAL, |at| at.since(now).to_duration());
        Ok(Some(pause.clamp(Duration::from_millis(1), POLL_INTERVAL)))
    }

    /// Adds the deliveries to be sent to the queue. Deferred and expired deliveries are collected
    /// separately, because they must not use up the destination's rate.
    fn classify(&mut self, target: &DeliveryTarget, due: Vec<JobId>) -> Result<(), StoreError> {
        if !target.needs_content_check() {
            self.ready.extend(due.into_iter().map(ReadyDelivery::alone));
            return Ok(());
        }
        let (ready, deferrals) = (&mut self.ready, &mut self.deferrals);
        let reading = self.process_start.read_clock(&*self.clock);
        self.store.read_with(|snapshot| {
            for job in due {
                // The attempt reports an unreadable delivery.
                let Ok(Some(pending)) = eligibility::read(&snapshot, target, job) else {
                    ready.push_back(ReadyDelivery::alone(job));
                    continue;
                };
                match eligibility::check_eligibility(target, &pending, reading) {
                    Eligibility::Expire(why) => deferrals.expired.push((job, why)),
                    Eligibility::Defer(deferral) => deferrals.deferred.push(deferral),
                    Eligibility::Send => ready.push_back(ReadyDelivery {
                        job,
                        merge_key: target.channel.merge_key(&pending),
                    }),
                }
            }
            Ok(())
        })
    }

    /// Commits the deferred and expired deliveries. Returns the expired ones with the reasons.
    pub(crate) async fn commit_deferred(&mut self) -> Result<Vec<(JobId, String)>, StoreError> {
        let deferrals = std::mem::take(&mut self.deferrals);
        let (jobs, expired) = (deferrals.job_ids(), deferrals.expired.clone());
        match self.store.execute(deferrals.clone()).await {
            Ok(()) => Ok(expired),
            Err(error) if error.affects_one_row() && jobs.len() > 1 => {
                self.commit_each(deferrals).await
            }
            Err(error) => {
                self.quarantine_failed(&jobs, &error);
                Err(error)
            }
        }
    }

    /// Commits the deferred and expired deliveries one by one. A damaged row then blocks no other
    /// delivery.
    async fn commit_each(
        &mut self,
        deferrals: DeferOrExpire,
    ) -> Result<Vec<(JobId, String)>, StoreError> {
        let (mut expired, mut failed) = (Vec::new(), None);
        for single in deferrals.split() {
            let (jobs, closed) = (single.job_ids(), single.expired.clone());
            match self.store.execute(single).await {
                Ok(()) => expired.extend(closed),
                Err(error) => {
                    self.quarantine_failed(&jobs, &error);
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) if expired.is_empty() => Err(error),
            _ => Ok(expired),
        }
    }

    /// Quarantines deliveries that could not be read or recorded.
    pub(crate) fn quarantine_failed(&mut self, jobs: &[JobId], error: &StoreError) {
        self.quarantine(
            jobs,
            if error.affects_one_row() {
                QUARANTINE
            } else {
                POLL_INTERVAL
            },
            true,
        );
    }

    /// Quarantines `jobs` for `length`.
    pub(crate) fn quarantine(&mut self, jobs: &[JobId], length: Duration, has_failed: bool) {
        let until = self.clock.elapsed().saturating_add(length);
        self.quarantine.extend(
            jobs.iter()
                .map(|job| (*job, Quarantined { until, has_failed })),
        );
    }
}
