//! The lane of one destination: begins what is due, each delivery once, within the destination's own concurrency, rate and
//! breaker. It reads the schedule whenever it has nothing at hand, and knows by itself what is under way.
//!
//! What was taken makes room for the next request at once; that it is noted is waited for beside that. Otherwise the disk would
//! set the pace: eight at once and a commit of four milliseconds are two thousand a second, however fast the destination is.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::sleep;

use crate::domain::breaker::{Breaker, Change, Pass};
use crate::domain::delivery::Meaning;
use crate::domain::ids::{DestinationName, JobId};
use crate::domain::message::Recipient as Person;
use crate::domain::time::Timestamp;
use crate::store::{HoldDelivery, SettleDeliveries, StoreError};

use super::ahead::Ahead;
use super::attempt::{Answered, Noted, Trial};
use super::next::{self, Next};
use super::way::Way;
use super::{Board, Recipient, Tools};

/// Deliveries read from the schedule at once.
const CHUNK: usize = 256;

/// Deliveries that were taken and are not noted yet, at the most: after a crash, so many more may be sent again.
pub(super) const NOTING: usize = 64;

/// The schedule is looked at this often, whatever happens.
const LOOK: Duration = Duration::from_secs(1);

/// How long a delivery is left alone that can't be read or noted though the file is open: a row of it is damaged.
const ASIDE: Duration = Duration::from_mins(1);

/// What was found ready so long ago is read again where time may have made it something else: too late, or more of it.
const STALE: Duration = Duration::from_secs(10);

/// A wish for quiet beyond this is looked at anew then.
const HELD_MAX: Duration = Duration::from_hours(1);

pub(super) struct Lane {
    name: DestinationName,
    told: watch::Receiver<Arc<Recipient>>,
    recipient: Arc<Recipient>,
    tools: Tools,
    board: Board,
    called: watch::Receiver<u64>,
    /// Under way, by the task that does it. The leave to make an attempt stays here: a task that panics takes it nowhere.
    out: HashMap<Id, (Vec<JobId>, Pass)>,
    /// Of these, the ones that were taken: all but noted.
    noting: HashSet<Id>,
    /// Tells which are, and hears of it.
    taken: (mpsc::UnboundedSender<Id>, mpsc::UnboundedReceiver<Id>),
    /// Due, and not begun.
    ready: VecDeque<Ready>,
    /// When that was read, by the process clock.
    ready_since: Duration,
    /// Due, and not to be sent now: to be noted before anything else is read.
    settling: SettleDeliveries,
    /// Left alone, and until when, by the process clock.
    aside: HashMap<JobId, Aside>,
    /// Finds what should be due, though a clock that ran ahead says otherwise.
    ahead: Ahead,
    breaker: Breaker,
    way: Way,
    /// The destination asked for quiet until then, by the process clock.
    held_until: Duration,
}

/// What may begin.
struct Ready {
    job: JobId,
    /// Whom it is for, where all that is for them goes out together.
    together: Option<Person>,
}

/// Left alone for a while.
struct Aside {
    until: Duration,
    /// Something is wrong with it: it is looked for again then, as only a search may find it.
    is_broken: bool,
}

impl Lane {
    pub(super) fn new(
        name: DestinationName,
        told: watch::Receiver<Arc<Recipient>>,
        tools: Tools,
        board: Board,
        called: watch::Receiver<u64>,
    ) -> Self {
        let recipient = Arc::clone(&told.borrow());
        let (breaker, way) = (Breaker::new(recipient.rule.breaker), tools.ways.of(&recipient.rule));
        let ahead = Ahead::new(tools.clock.now(), tools.clock.elapsed());
        // Shown from the beginning, also while there is nothing to do.
        board.show(&name);
        Self {
            name,
            told,
            recipient,
            tools,
            board,
            called,
            out: HashMap::new(),
            noting: HashSet::new(),
            taken: mpsc::unbounded_channel(),
            ready: VecDeque::new(),
            ready_since: Duration::ZERO,
            settling: SettleDeliveries::default(),
            aside: HashMap::new(),
            ahead,
            breaker,
            way,
            held_until: Duration::ZERO,
        }
    }

    /// Delivers until its destination is gone from the config or the server ends; then waits for what is under way.
    pub(super) async fn run(mut self) {
        let mut attempts = JoinSet::new();
        loop {
            let mut pause = self.step(&mut attempts);
            if !self.settling.is_empty() {
                pause = self.settle().await;
            }
            tokio::select! {
                changed = self.told.changed() => match changed {
                    Ok(()) => self.renew(),
                    Err(_) => break,
                },
                Some(ended) = attempts.join_next_with_id() => self.note(ended),
                Some(id) = self.taken.1.recv() => self.make_room(id),
                _ = self.called.changed() => {}
                () = sleep(pause) => {}
            }
        }
        while let Some(ended) = attempts.join_next_with_id().await {
            self.note(ended);
        }
    }

    /// Begins what may begin now. Returns how long nothing is to be done, unless something happens.
    pub(super) fn step(&mut self, attempts: &mut JoinSet<Result<Answered, StoreError>>) -> Duration {
        let now = self.tools.clock.elapsed();
        let held = self.held_until.saturating_sub(now);
        if !held.is_zero() {
            return held.min(LOOK);
        }
        if !std::mem::take(&mut self.held_until).is_zero() {
            self.board.note(&self.name, |lane| lane.held_until = None);
        }
        let back: Vec<Aside> = self.aside.extract_if(|_, aside| aside.until <= now).map(|(_, aside)| aside).collect();
        if back.iter().any(|aside| aside.is_broken) {
            self.ahead.begin_again(self.tools.clock.now());
        }
        if self.recipient.rule.looks_inside() && now.saturating_sub(self.ready_since) >= STALE {
            self.drop_ready();
        }
        loop {
            let asking = self.out.len().saturating_sub(self.noting.len());
            if asking >= self.recipient.rule.concurrency || self.noting.len() >= NOTING {
                return LOOK;
            }
            if self.ready.is_empty() {
                // What is to be noted would be read again.
                if !self.settling.is_empty() {
                    return Duration::ZERO;
                }
                match self.refill() {
                    Ok(None) => {}
                    Ok(Some(pause)) => return pause,
                    Err(error) => return self.unreadable(&error),
                }
            }
            // Open, or its probe is out: the end of either ends the pause.
            let Some(pass) = self.breaker.enter(now) else { return self.breaker_pause(now) };
            // Asked last: what may not go for another reason is not to count as one that went.
            if let Err(wait) = self.way.pass(self.recipient.rule.limit(), now) {
                self.breaker.abandoned(pass);
                return wait.min(LOOK);
            }
            let Some(jobs) = self.take_next() else {
                self.breaker.abandoned(pass);
                return LOOK;
            };
            let trial = Trial {
                destination: self.name.clone(),
                recipient: Arc::clone(&self.recipient),
                tools: self.tools.clone(),
                jobs: jobs.clone(),
                taken: self.taken.0.clone(),
            };
            let id = attempts.spawn(trial.run()).id();
            self.board.note(&self.name, |lane| lane.out.extend(&jobs));
            self.out.insert(id, (jobs, pass));
        }
    }

    /// Takes the next one from what is ready and, where it goes out together with others, those.
    fn take_next(&mut self) -> Option<Vec<JobId>> {
        let Ready { job, together } = self.ready.pop_front()?;
        let mut jobs = vec![job];
        if together.is_some() {
            let (same, others) =
                std::mem::take(&mut self.ready).into_iter().partition(|ready| ready.together == together);
            let same: VecDeque<Ready> = same;
            jobs.extend(same.into_iter().map(|ready| ready.job));
            self.ready = others;
        }
        Some(jobs)
    }

    /// Notes what is not to be sent now. Returns how long nothing else is to be done.
    pub(super) async fn settle(&mut self) -> Duration {
        let settling = std::mem::take(&mut self.settling);
        let (expired, held) = (settling.expired.clone(), settling.held.iter().map(|hold| hold.job));
        let jobs: Vec<JobId> = held.chain(expired.iter().map(|(job, _)| *job)).collect();
        if let Err(error) = self.tools.store.commit(settling).await {
            return self.stumble(&jobs, &error);
        }
        self.tell_expired(&expired);
        Duration::ZERO
    }

    fn tell_expired(&self, expired: &[(JobId, String)]) {
        for (job, why) in expired {
            tracing::warn!(destination = self.name.as_str(), job.id = job.get(), error = why, "a delivery has expired");
        }
        if expired.is_empty() {
            return;
        }
        let (count, now) = (u64::try_from(expired.len()).unwrap_or(u64::MAX), self.tools.clock.now());
        let destination = self.name.to_string();
        metrics::counter!("flowgate_deliveries_expired_total", "destination" => destination).increment(count);
        self.board.note(&self.name, |lane| {
            lane.expired += count;
            lane.last_expired = Some(now);
        });
    }

    /// Reads what is due. `Some`: nothing is, and will not be for so long.
    fn refill(&mut self) -> Result<Option<Duration>, StoreError> {
        let now = self.tools.clock.now();
        self.ahead.look_at(now, self.tools.clock.elapsed());
        let out: usize = self.out.values().map(|(jobs, _)| jobs.len()).sum();
        let most = out.saturating_add(self.aside.len()).saturating_add(CHUNK);
        let longest = self.recipient.rule.retry.overdue_horizon();
        let (name, ahead) = (&self.name, &mut self.ahead);
        let (due, next) = self.tools.store.look(|snapshot| {
            if !snapshot.standstill(name)?.is_over() {
                return Ok((Vec::new(), None));
            }
            let mut due = snapshot.lane(name, now, most)?;
            due.extend(ahead.search(&snapshot, name, now, longest)?);
            let next = if ahead.is_under_way() { Some(now) } else { snapshot.lane_next(name, now)? };
            Ok((due, next))
        })?;
        let is_free =
            |job: &JobId| !self.aside.contains_key(job) && !self.out.values().any(|(out, _)| out.contains(job));
        let due: Vec<JobId> = due.into_iter().filter(is_free).collect();
        self.ready_since = self.tools.clock.elapsed();
        self.sort_out(due, now)?;
        if !self.ready.is_empty() {
            return Ok(None);
        }
        if !self.settling.is_empty() {
            return Ok(Some(Duration::ZERO));
        }
        let pause = next.map_or(LOOK, |at| at.since(now).to_duration());
        Ok(Some(pause.clamp(Duration::from_millis(1), LOOK)))
    }

    /// Makes ready what is to be sent. Where a look into it may say otherwise (it is too late, its customer is not known yet),
    /// that is noted apart: it is to use up nothing of the destination's rate.
    fn sort_out(&mut self, due: Vec<JobId>, now: Timestamp) -> Result<(), StoreError> {
        let rule = &self.recipient.rule;
        if !rule.looks_inside() {
            self.ready.extend(due.into_iter().map(|job| Ready { job, together: None }));
            return Ok(());
        }
        let (ready, settling) = (&mut self.ready, &mut self.settling);
        self.tools.store.look(|snapshot| {
            for job in due {
                // What can't be read is told by whoever delivers it.
                let Ok(Some(outgoing)) = snapshot.outgoing(job) else {
                    ready.push_back(Ready { job, together: None });
                    continue;
                };
                match next::look(rule, &outgoing, now) {
                    Next::Expire(why) => settling.expired.push((job, why)),
                    Next::Hold { at, until } => settling.held.push(HoldDelivery { job, at, until }),
                    Next::Send(_) | Next::Refuse(_) => {
                        ready.push_back(Ready { job, together: next::together(rule, &outgoing) });
                    }
                }
            }
            Ok(())
        })
    }

    /// Drops what is at hand: it is read again.
    fn drop_ready(&mut self) {
        self.ready.clear();
        self.ahead.begin_again(self.tools.clock.now());
    }

    fn unreadable(&self, error: &StoreError) -> Duration {
        // A store that is closed for a while tells why itself.
        if !error.is_of_closed_store() {
            tracing::error!(destination = self.name.as_str(), error = %error, "its deliveries can't be read");
        }
        LOOK
    }

    fn breaker_pause(&self, now: Duration) -> Duration {
        let pause = self.breaker.open_until().map_or(LOOK, |until| until.saturating_sub(now));
        pause.clamp(Duration::from_millis(1), LOOK)
    }

    /// A delivery was taken; its attempt ends once that is noted, and may have ended before this is heard.
    fn make_room(&mut self, id: Id) {
        if self.out.contains_key(&id) {
            self.noting.insert(id);
        }
    }

    /// An attempt has ended.
    pub(super) fn note(&mut self, ended: Result<(Id, Result<Answered, StoreError>), JoinError>) {
        let (id, result) = match ended {
            Ok((id, result)) => (id, Some(result)),
            Err(error) => (error.id(), None),
        };
        let now = self.tools.clock.elapsed();
        self.noting.remove(&id);
        let Some((jobs, pass)) = self.out.remove(&id) else { return };
        self.board.note(&self.name, |lane| lane.out.retain(|job| !jobs.contains(job)));
        // It panicked, which its hook has told: the delivery is due as before, and is left alone for a while.
        let Some(result) = result else {
            self.breaker.abandoned(pass);
            self.put_aside(&jobs, now.saturating_add(ASIDE), true);
            return;
        };
        match result {
            Ok(Answered::Standstill) => {
                self.breaker.abandoned(pass);
                // What else is at hand is not told either.
                self.drop_ready();
            }
            Ok(Answered::Rest) => {
                self.breaker.abandoned(pass);
                // Should its row still say that it is due, that is to cost next to nothing.
                self.put_aside(&jobs, now.saturating_add(LOOK), false);
            }
            Ok(Answered::Noted(Noted { count, meaning, at, why, quota })) => {
                if let Some(quota) = quota {
                    self.way.learn(quota, now);
                }
                let change = match meaning {
                    Meaning::Again { is_failure: true, .. } | Meaning::Unknown => self.breaker.failed(pass, now),
                    _ => self.breaker.answered(pass),
                };
                self.hold(meaning, now);
                self.show(count, meaning, at, why, change);
            }
            Err(error) => {
                self.breaker.abandoned(pass);
                self.stumble(&jobs, &error);
            }
        }
    }

    /// Leaves alone what could not be read or noted. Returns how long nothing else is to be done.
    fn stumble(&mut self, jobs: &[JobId], error: &StoreError) -> Duration {
        let pause = if error.is_of_one_change() { ASIDE } else { LOOK };
        self.put_aside(jobs, self.tools.clock.elapsed().saturating_add(pause), true);
        self.unreadable(error)
    }

    fn put_aside(&mut self, jobs: &[JobId], until: Duration, is_broken: bool) {
        self.aside.extend(jobs.iter().map(|job| (*job, Aside { until, is_broken })));
    }

    /// Leaves the whole destination alone for as long as it asked to be.
    fn hold(&mut self, meaning: Meaning, now: Duration) {
        if let Meaning::Again { retry_after, holds_lane: true, .. } = meaning {
            let pause = retry_after.unwrap_or(self.recipient.rule.retry.first).to_duration().min(HELD_MAX);
            self.held_until = self.held_until.max(now.saturating_add(pause));
            let until = self.held_until;
            self.board.note(&self.name, |lane| lane.held_until = Some(until));
        }
        if matches!(meaning, Meaning::Gone | Meaning::Stopped) {
            self.drop_ready();
            tracing::error!(
                destination = self.name.as_str(),
                "a destination is told nothing any more until somebody lets it go on: what is for it waits"
            );
        }
    }

    fn show(&self, count: usize, meaning: Meaning, at: Timestamp, why: String, change: Option<Change>) {
        match change {
            Some(Change::Opened) => {
                tracing::warn!(
                    destination = self.name.as_str(),
                    error = why,
                    "a destination fails: it is left alone, and tried from time to time"
                );
            }
            Some(Change::Closed) => tracing::info!(destination = self.name.as_str(), "a destination answers again"),
            None => {}
        }
        let open_until = self.breaker.open_until();
        self.board.note(&self.name, |lane| {
            lane.open_until = open_until;
            if meaning == Meaning::Delivered {
                lane.delivered += u64::try_from(count).unwrap_or(u64::MAX);
                lane.last_success = Some(at);
            } else {
                lane.failed += 1;
                lane.last_failure = Some((at, why));
            }
        });
    }

    /// Goes by what the config says now. What is known of how the destination does is kept, unless it is another one.
    fn renew(&mut self) {
        let new = Arc::clone(&self.told.borrow_and_update());
        let (old, new_rule) = (&self.recipient.rule, &new.rule);
        if old.breaker != new_rule.breaker || self.recipient.url() != new.url() {
            self.breaker = Breaker::new(new_rule.breaker);
            self.held_until = Duration::ZERO;
            self.board.note(&self.name, |lane| lane.open_until = None);
        }
        let way = self.tools.ways.of(new_rule);
        if !way.is_of(&self.way) {
            self.way = way;
        } else if old.limit() != new_rule.limit() {
            self.way.begin_again();
        }
        self.recipient = new;
    }
}
