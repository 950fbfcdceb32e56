//! What is due for one destination and not begun: read from the schedule, and sorted. What is to be sent waits here for its
//! turn; what has to wait, or is too late, is noted as such; what can't be read or noted is left alone for a while.
//!
//! Whether something is sent now is decided in [`super::next`]. When its turn comes, and what is under way, is
//! [`super::lane`]'s.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::Destination;
use crate::domain::ids::{DestinationName, JobId};
use crate::domain::message::Recipient;
use crate::store::{HoldDelivery, SettleDeliveries, Store, StoreError};

use super::Tools;
use super::ahead::Ahead;
use super::lane::LOOK;
use super::next::{self, Since, When};

/// Deliveries read from the schedule at once.
const CHUNK: usize = 256;

/// How long a delivery is left alone that can't be read or noted though the file is open: a row of it is damaged.
pub(super) const ASIDE: Duration = Duration::from_mins(1);

/// What was found ready so long ago is read again where time may have made it something else: too late, or more of it.
const STALE: Duration = Duration::from_secs(10);

pub(super) struct Shelf {
    name: DestinationName,
    store: Store,
    clock: Arc<dyn Clock>,
    since: Since,
    ready: VecDeque<Ready>,
    /// When that was read, by the process clock.
    ready_since: Duration,
    /// Due, and not to be sent now: to be noted before anything else is read.
    settling: SettleDeliveries,
    aside: HashMap<JobId, Aside>,
    /// Finds what should be due, though a clock that ran ahead says otherwise.
    ahead: Ahead,
}

/// What may begin.
struct Ready {
    job: JobId,
    /// Whom it is for, where all that is for them goes out together.
    together: Option<Recipient>,
}

/// Left alone for a while.
struct Aside {
    /// Until when, by the process clock.
    until: Duration,
    /// Something is wrong with it: it is looked for again then, as only a search may find it.
    is_broken: bool,
}

impl Shelf {
    pub(super) fn new(name: DestinationName, tools: &Tools) -> Self {
        Self {
            name,
            store: tools.store.clone(),
            clock: Arc::clone(&tools.clock),
            since: tools.since,
            ready: VecDeque::new(),
            ready_since: Duration::ZERO,
            settling: SettleDeliveries::default(),
            aside: HashMap::new(),
            ahead: Ahead::new(tools.clock.now(), tools.clock.elapsed()),
        }
    }

    /// Whether nothing is ready.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// Whether there is something for [`Shelf::settle`].
    pub(super) fn is_to_settle(&self) -> bool {
        !self.settling.is_empty()
    }

    /// Takes the next one from what is ready and, where it goes out together with others, those.
    pub(super) fn take_next(&mut self) -> Option<Vec<JobId>> {
        let Ready { job, together } = self.ready.pop_front()?;
        let mut jobs = vec![job];
        if together.is_some() {
            let all = std::mem::take(&mut self.ready);
            let (same, others): (VecDeque<Ready>, _) = all.into_iter().partition(|ready| ready.together == together);
            jobs.extend(same.into_iter().map(|ready| ready.job));
            self.ready = others;
        }
        Some(jobs)
    }

    /// Gives back what was left alone for long enough, and what time may have changed.
    pub(super) fn tidy(&mut self, rule: &Destination) {
        let now = self.clock.elapsed();
        let back: Vec<Aside> = self.aside.extract_if(|_, aside| aside.until <= now).map(|(_, aside)| aside).collect();
        if back.iter().any(|aside| aside.is_broken) {
            self.ahead.begin_again(self.clock.now());
        }
        if rule.looks_inside() && now.saturating_sub(self.ready_since) >= STALE {
            self.clear();
        }
    }

    /// Drops what is ready: it is read again.
    pub(super) fn clear(&mut self) {
        self.ready.clear();
        self.ahead.begin_again(self.clock.now());
    }

    /// Reads what is due and not `out` yet. `Some`: nothing is to be sent, and will not be for so long.
    pub(super) fn fill(&mut self, rule: &Destination, out: &HashSet<JobId>) -> Result<Option<Duration>, StoreError> {
        // What is to be noted would be read again.
        if self.is_to_settle() {
            return Ok(Some(Duration::ZERO));
        }
        let now = self.clock.now();
        self.ahead.look_at(now, self.clock.elapsed());
        let most = out.len().saturating_add(self.aside.len()).saturating_add(CHUNK);
        let longest = rule.retry.overdue_horizon();
        let (name, ahead) = (&self.name, &mut self.ahead);
        let (due, next) = self.store.look(|snapshot| {
            if !snapshot.standstill(name)?.is_over() {
                return Ok((Vec::new(), None));
            }
            let mut due = snapshot.lane(name, now, most)?;
            due.extend(ahead.search(&snapshot, name, now, longest)?);
            let next = if ahead.is_under_way() { Some(now) } else { snapshot.lane_next(name, now)? };
            Ok((due, next))
        })?;
        let is_free = |job: &JobId| !self.aside.contains_key(job) && !out.contains(job);
        let due: Vec<JobId> = due.into_iter().filter(is_free).collect();
        self.ready_since = self.clock.elapsed();
        self.sort(rule, due)?;
        if !self.is_empty() {
            return Ok(None);
        }
        if self.is_to_settle() {
            return Ok(Some(Duration::ZERO));
        }
        let pause = next.map_or(LOOK, |at| at.since(now).to_duration());
        Ok(Some(pause.clamp(Duration::from_millis(1), LOOK)))
    }

    /// Makes ready what is to be sent. Where a look into it may say otherwise (it is too late, its customer is not known yet),
    /// that is noted apart: it is to use up nothing of the destination's rate.
    fn sort(&mut self, rule: &Destination, due: Vec<JobId>) -> Result<(), StoreError> {
        if !rule.looks_inside() {
            self.ready.extend(due.into_iter().map(|job| Ready { job, together: None }));
            return Ok(());
        }
        let (ready, settling, moment) = (&mut self.ready, &mut self.settling, self.since.moment(&*self.clock));
        self.store.look(|snapshot| {
            for job in due {
                // What can't be read is told by whoever delivers it.
                let Ok(Some(outgoing)) = next::read(&snapshot, rule, job) else {
                    ready.push_back(Ready { job, together: None });
                    continue;
                };
                match next::when(rule, &outgoing, moment) {
                    When::Never(why) => settling.expired.push((job, why)),
                    When::Hold { at, until } => settling.held.push(HoldDelivery { job, at, until }),
                    When::Now => ready.push_back(Ready { job, together: next::together(rule, &outgoing) }),
                }
            }
            Ok(())
        })
    }

    /// Notes what is not to be sent now. Gives what has expired, and why.
    pub(super) async fn settle(&mut self) -> Result<Vec<(JobId, String)>, StoreError> {
        let settling = std::mem::take(&mut self.settling);
        let (jobs, expired) = (settling.jobs(), settling.expired.clone());
        match self.store.commit(settling.clone()).await {
            Ok(()) => Ok(expired),
            Err(error) if error.is_of_one_change() && jobs.len() > 1 => self.settle_each(settling).await,
            Err(error) => {
                self.stumble(&jobs, &error);
                Err(error)
            }
        }
    }

    /// The same, one by one: a damaged row among them holds up no other.
    async fn settle_each(&mut self, settling: SettleDeliveries) -> Result<Vec<(JobId, String)>, StoreError> {
        let (mut expired, mut failed) = (Vec::new(), None);
        for one in settling.each() {
            let (jobs, closed) = (one.jobs(), one.expired.clone());
            match self.store.commit(one).await {
                Ok(()) => expired.extend(closed),
                Err(error) => {
                    self.stumble(&jobs, &error);
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) if expired.is_empty() => Err(error),
            _ => Ok(expired),
        }
    }

    /// Leaves alone what could not be read or noted.
    pub(super) fn stumble(&mut self, jobs: &[JobId], error: &StoreError) {
        self.put_aside(jobs, if error.is_of_one_change() { ASIDE } else { LOOK }, true);
    }

    /// Leaves `jobs` alone for `length`.
    pub(super) fn put_aside(&mut self, jobs: &[JobId], length: Duration, is_broken: bool) {
        let until = self.clock.elapsed().saturating_add(length);
        self.aside.extend(jobs.iter().map(|job| (*job, Aside { until, is_broken })));
    }
}
