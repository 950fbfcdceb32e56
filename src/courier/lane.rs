//! The lane of one destination: begins what is due, each delivery once, within the destination's own concurrency, rate and
//! breaker. It knows by itself what is under way; what is due it has from [`super::shelf`].
//!
//! What was taken makes room for the next request at once; that it is noted is waited for beside that. Otherwise the disk would
//! set the pace: eight at once and a commit of four milliseconds are two thousand a second, however fast the destination is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::sleep;

use crate::domain::breaker::{Breaker, Change, Pass};
use crate::domain::delivery::Meaning;
use crate::domain::ids::{DestinationName, JobId};
use crate::domain::time::Timestamp;
use crate::store::StoreError;

use super::attempt::{Answered, Noted, Trial};
use super::shelf::{ASIDE, Shelf};
use super::way::Way;
use super::{Board, Orders, Recipient, Tools};

/// Deliveries that were taken and are not noted yet, at the most: after a crash, so many more may be sent again.
pub(super) const NOTING: usize = 64;

/// The schedule is looked at this often, whatever happens.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// A wish for quiet beyond this is looked at anew then.
const HELD_MAX: Duration = Duration::from_hours(1);

pub(super) struct Lane {
    name: DestinationName,
    told: watch::Receiver<Orders>,
    recipient: Arc<Recipient>,
    /// As in [`Orders`].
    resumed: u64,
    tools: Tools,
    board: Board,
    called: watch::Receiver<u64>,
    /// Under way, by the task that does it. The leave to make an attempt stays here: a task that panics takes it nowhere.
    out: HashMap<Id, (Vec<JobId>, Pass)>,
    /// Of these, the ones that were taken: all but noted.
    noting: HashSet<Id>,
    /// Tells which are, and hears of it.
    taken: (mpsc::UnboundedSender<Id>, mpsc::UnboundedReceiver<Id>),
    /// What is due, and not begun.
    shelf: Shelf,
    breaker: Breaker,
    way: Way,
    /// The destination asked for quiet until then, by the process clock.
    held_until: Duration,
}

impl Lane {
    pub(super) fn new(
        name: DestinationName,
        told: watch::Receiver<Orders>,
        tools: Tools,
        board: Board,
        called: watch::Receiver<u64>,
    ) -> Self {
        let Orders { recipient, resumed } = told.borrow().clone();
        let (breaker, way) = (Breaker::new(recipient.rule.breaker), tools.ways.of(&recipient.rule));
        let shelf = Shelf::new(name.clone(), &tools);
        // Shown from the beginning, also while there is nothing to do.
        board.show(&name);
        Self {
            name,
            told,
            recipient,
            resumed,
            tools,
            board,
            called,
            out: HashMap::new(),
            noting: HashSet::new(),
            taken: mpsc::unbounded_channel(),
            shelf,
            breaker,
            way,
            held_until: Duration::ZERO,
        }
    }

    /// Delivers until its destination is gone from the config or the server ends; then waits for what is under way.
    pub(super) async fn run(mut self) {
        let mut attempts = JoinSet::new();
        loop {
            // It may have waited for another one to end, and not be wanted any more.
            match self.told.has_changed() {
                Ok(false) => {}
                Ok(true) => self.renew(),
                Err(_) => break,
            }
            let mut pause = self.step(&mut attempts);
            if self.shelf.is_to_settle() {
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
        self.shelf.tidy(&self.recipient.rule);
        loop {
            let asking = self.out.len().saturating_sub(self.noting.len());
            if asking >= self.recipient.rule.concurrency || self.noting.len() >= NOTING {
                return LOOK;
            }
            if self.shelf.is_empty() {
                let out = self.out.values().flat_map(|(jobs, _)| jobs.iter().copied()).collect();
                match self.shelf.fill(&self.recipient.rule, &out) {
                    Ok(None) => {}
                    Ok(Some(pause)) => return pause,
                    Err(error) => return self.unreadable(&error),
                }
            }
            // Open, or its probe is out: the end of either ends the pause.
            let Some(pass) = self.breaker.enter(now) else { return self.breaker_pause(now) };
            // Asked last: what may not go for another reason is not to count as one that went.
            if let Err(wait) = self.way.pass(self.recipient.rule.rates(), now) {
                self.breaker.abandoned(pass);
                return wait.min(LOOK);
            }
            let Some(jobs) = self.shelf.take_next() else {
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

    /// Notes what is not to be sent now. Returns how long nothing else is to be done.
    pub(super) async fn settle(&mut self) -> Duration {
        match self.shelf.settle().await {
            Ok(expired) => {
                self.tell_expired(&expired);
                Duration::ZERO
            }
            Err(error) => self.unreadable(&error),
        }
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
        // That it panicked could not be noted either: the delivery is due as before, and is left alone for a while.
        let Some(result) = result else {
            self.breaker.abandoned(pass);
            self.shelf.put_aside(&jobs, ASIDE, true);
            return;
        };
        match result {
            Ok(Answered::Standstill) => {
                self.breaker.abandoned(pass);
                // What else is at hand is not told either.
                self.shelf.clear();
            }
            Ok(Answered::Unnoted(jobs, error)) => {
                self.breaker.answered(pass);
                tracing::error!(
                    destination = self.name.as_str(),
                    error = %error,
                    jobs = ?jobs,
                    "deliveries were sent and can't be noted: they are left alone until the next start"
                );
                self.shelf.put_aside(&jobs, Duration::MAX, false);
            }
            Ok(Answered::Rest(expired)) => {
                self.breaker.abandoned(pass);
                self.tell_expired(&expired);
                // Should its row still say that it is due, that is to cost next to nothing.
                self.shelf.put_aside(&jobs, LOOK, false);
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
                self.shelf.stumble(&jobs, &error);
                self.unreadable(&error);
            }
        }
    }

    /// Leaves the whole destination alone for as long as it asked to be.
    fn hold(&mut self, meaning: Meaning, now: Duration) {
        if let Meaning::Again { retry_after, holds_lane: true, .. } = meaning {
            let pause = retry_after.unwrap_or(self.recipient.rule.retry.first).to_duration().min(HELD_MAX);
            self.held_until = self.held_until.max(now.saturating_add(pause));
            let until = self.held_until;
            self.way.hold(until);
            self.board.note(&self.name, |lane| lane.held_until = Some(until));
        }
        if matches!(meaning, Meaning::Gone | Meaning::Stopped) {
            self.shelf.clear();
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
    pub(super) fn renew(&mut self) {
        let Orders { recipient: new, resumed } = self.told.borrow_and_update().clone();
        let (old, new_rule) = (&self.recipient.rule, &new.rule);
        // A new secret or proxy may be the remedy.
        let is_shown_more = self.recipient.credentials != new.credentials || self.recipient.proxy != new.proxy;
        let is_resumed = std::mem::replace(&mut self.resumed, resumed) != resumed;
        if old.breaker != new_rule.breaker || self.recipient.url() != new.url() || is_shown_more || is_resumed {
            self.breaker = Breaker::new(new_rule.breaker);
            self.held_until = Duration::ZERO;
            self.way.let_go();
            self.board.note(&self.name, |lane| (lane.open_until, lane.held_until) = (None, None));
        }
        let way = self.tools.ways.of(new_rule);
        if !way.is_of(&self.way) {
            self.way = way;
        } else if old.rates() != new_rule.rates() {
            self.way.begin_again();
        }
        self.recipient = new;
    }
}
