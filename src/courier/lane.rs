//! The lane of one destination: begins what is due, each delivery once, within the destination's own concurrency, rate and
//! breaker. It reads the schedule whenever it has nothing at hand, and knows by itself what is under way.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::sleep;

use crate::domain::breaker::{Breaker, Change, Pass};
use crate::domain::delivery::Meaning;
use crate::domain::ids::{DestinationName, JobId};
use crate::domain::pace::Pace;
use crate::domain::time::Timestamp;
use crate::store::StoreError;

use super::ahead::Ahead;
use super::attempt::{Answered, Trial};
use super::{Board, Recipient, Tools};

/// Deliveries read from the schedule at once.
const CHUNK: usize = 256;

/// The schedule is looked at this often, whatever happens.
const LOOK: Duration = Duration::from_secs(1);

/// How long a delivery is left alone that can't be read or noted though the file is open: a row of it is damaged.
const ASIDE: Duration = Duration::from_mins(1);

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
    out: HashMap<Id, (JobId, Pass)>,
    /// Due, and not begun.
    ready: VecDeque<JobId>,
    /// Left alone, and until when, by the process clock.
    aside: HashMap<JobId, Duration>,
    /// Finds what should be due, though a clock that ran ahead says otherwise.
    ahead: Ahead,
    breaker: Breaker,
    pace: Pace,
    /// The destination asked for quiet until then, by the process clock.
    held_until: Duration,
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
        let (breaker, pace) = (Breaker::new(recipient.rule.breaker), Pace::new(recipient.rule.rate));
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
            ready: VecDeque::new(),
            aside: HashMap::new(),
            ahead,
            breaker,
            pace,
            held_until: Duration::ZERO,
        }
    }

    /// Delivers until its destination is gone from the config or the server ends; then waits for what is under way.
    pub(super) async fn run(mut self) {
        let mut attempts = JoinSet::new();
        loop {
            let pause = self.step(&mut attempts);
            tokio::select! {
                changed = self.told.changed() => match changed {
                    Ok(()) => self.renew(),
                    Err(_) => break,
                },
                Some(ended) = attempts.join_next_with_id() => self.note(ended),
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
        let aside = self.aside.len();
        self.aside.retain(|_, until| *until > now);
        if self.aside.len() < aside {
            // It may be one that only a search finds.
            self.ahead.begin_again(self.tools.clock.now());
        }
        loop {
            if self.out.len() >= self.recipient.rule.concurrency {
                return LOOK;
            }
            if self.ready.is_empty() {
                match self.refill() {
                    Ok(None) => {}
                    Ok(Some(pause)) => return pause,
                    Err(error) => return self.unreadable(&error),
                }
            }
            // Open, or its probe is out: the end of either ends the pause.
            let Some(pass) = self.breaker.enter(now) else { return self.breaker_pause(now) };
            // Asked last: what may not go for another reason is not to count as one that went.
            if let Err(wait) = self.pace.pass(now) {
                self.breaker.abandoned(pass);
                return wait.min(LOOK);
            }
            let Some(job) = self.ready.pop_front() else {
                self.breaker.abandoned(pass);
                return LOOK;
            };
            let trial = Trial {
                destination: self.name.clone(),
                recipient: Arc::clone(&self.recipient),
                tools: self.tools.clone(),
                job,
            };
            let id = attempts.spawn(trial.run()).id();
            self.out.insert(id, (job, pass));
            self.board.note(&self.name, |lane| {
                lane.out.insert(job);
            });
        }
    }

    /// Reads what is due. `Some`: nothing is, and will not be for so long.
    fn refill(&mut self) -> Result<Option<Duration>, StoreError> {
        let now = self.tools.clock.now();
        self.ahead.look_at(now, self.tools.clock.elapsed());
        let most = self.out.len().saturating_add(self.aside.len()).saturating_add(CHUNK);
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
        let is_free = |job: &JobId| !self.aside.contains_key(job) && !self.out.values().any(|(out, _)| out == job);
        self.ready.extend(due.into_iter().filter(is_free));
        if !self.ready.is_empty() {
            return Ok(None);
        }
        let pause = next.map_or(LOOK, |at| at.since(now).to_duration());
        Ok(Some(pause.clamp(Duration::from_millis(1), LOOK)))
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

    /// An attempt has ended.
    pub(super) fn note(&mut self, ended: Result<(Id, Result<Answered, StoreError>), JoinError>) {
        let (id, result) = match ended {
            Ok((id, result)) => (id, Some(result)),
            Err(error) => (error.id(), None),
        };
        let now = self.tools.clock.elapsed();
        let Some((job, pass)) = self.out.remove(&id) else { return };
        self.board.note(&self.name, |lane| {
            lane.out.remove(&job);
        });
        // It panicked, which its hook has told: the delivery is due as before, and is left alone for a while.
        let Some(result) = result else {
            self.breaker.abandoned(pass);
            self.aside.insert(job, now.saturating_add(ASIDE));
            return;
        };
        match result {
            Ok(Answered::Over) => {
                self.breaker.abandoned(pass);
                // What else is at hand may be as old.
                self.drop_ready();
            }
            Ok(Answered::Noted { meaning, at, why }) => {
                let change = match meaning {
                    Meaning::Again { is_failure: true, .. } | Meaning::Unknown => self.breaker.failed(pass, now),
                    _ => self.breaker.answered(pass),
                };
                self.hold(meaning, now);
                self.show(meaning, at, why, change);
            }
            Err(error) => {
                self.breaker.abandoned(pass);
                self.unreadable(&error);
                let until = now.saturating_add(if error.is_of_one_change() { ASIDE } else { LOOK });
                self.aside.insert(job, until);
            }
        }
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

    fn show(&self, meaning: Meaning, at: Timestamp, why: String, change: Option<Change>) {
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
                lane.delivered += 1;
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
        if old.rate != new_rule.rate {
            self.pace = Pace::new(new_rule.rate);
        }
        self.recipient = new;
    }
}
