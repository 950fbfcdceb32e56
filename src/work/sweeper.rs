//! The sweeper: sees to it that time gets its due. Each minute a round takes away what is past its retention and tells of
//! drafts that their users have left; each second leads that wait go to agents who have become free by the clock.
//!
//! What may be taken away is decided by `crate::store`'s sweep, who is free by `crate::domain::roster`. This file decides
//! when to ask: in slices, with pauses between them, so that no submission waits for a sweep.

use std::convert::Infallible;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::clock::Clock;
use crate::config::Retention;
use crate::current::Current;
use crate::store::{Distribute, Place, Store, StoreError, Sweep};

use super::rules::Rules;

/// From the end of one round to the beginning of the next.
const ROUND: Duration = Duration::from_mins(1);

/// Shortest and longest pause between two slices. A pause is as long as the slice before it took: half of the writer's
/// time stays free for others.
const PAUSE: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(20)];

/// Fewest and most rows that one slice reads. What a row costs depends on how much of the file is in memory: from 10 µs to
/// half a millisecond. So each slice is sized by the time that the one before took.
const SLICE: [usize; 2] = [8, 1000];

/// Time that a slice should take, with its commit: about that of a commit under load.
const SLICE_TIME: Duration = Duration::from_millis(8);

/// How often waiting leads are looked after. An agent's closed lead or new limit needs no waiting: those transactions
/// give out leads themselves.
const DISTRIBUTE: Duration = Duration::from_secs(1);

/// Asks the store to sweep and to give out waiting leads.
pub(super) struct Sweeper {
    store: Store,
    clock: Arc<dyn Clock>,
    /// How long submissions are kept, and Meta's health events; and the attempts of jobs that are done, and complaints.
    rules: Current<Rules>,
    /// Where the round goes on.
    place: Place,
    /// Maximum of rows of the next slice.
    slice: usize,
    /// Rows that the round could not read.
    unreadable: usize,
    /// The first of these errors.
    first_error: Option<String>,
    /// When it does, by the process clock.
    sweep_at: Duration,
    distribute_at: Duration,
}

impl Sweeper {
    /// A sweeper whose first round begins at once.
    pub(super) fn new(store: Store, clock: Arc<dyn Clock>, rules: Current<Rules>) -> Self {
        let now = clock.elapsed();
        Self {
            store,
            clock,
            rules,
            place: Place::Keys,
            slice: 64,
            unreadable: 0,
            first_error: None,
            sweep_at: now,
            distribute_at: now,
        }
    }

    /// Sweeps until `stop` closes.
    pub(super) fn run(mut self, stop: &Receiver<Infallible>) {
        while stop.recv_timeout(self.step()) == Err(RecvTimeoutError::Timeout) {}
    }

    /// Does what is to be done now, and waits for the commits. Returns how long there is nothing to do.
    pub(super) fn step(&mut self) -> Duration {
        let now = self.clock.elapsed();
        if now >= self.distribute_at {
            let pause = match self.distribute() {
                Ok(0) => DISTRIBUTE,
                Ok(_) => PAUSE[1],
                Err(error) => later("waiting leads could not be given out", &error, DISTRIBUTE),
            };
            self.distribute_at = now.saturating_add(pause);
        }
        if now >= self.sweep_at {
            let began = self.clock.elapsed();
            let pause = match self.sweep() {
                Ok(Some(place)) => {
                    self.place = place;
                    let took = self.clock.elapsed().saturating_sub(began);
                    self.slice = next_slice(self.slice, took);
                    took.clamp(PAUSE[0], PAUSE[1])
                }
                Ok(None) => {
                    self.place = Place::Keys;
                    self.tell_of_unreadable();
                    ROUND
                }
                Err(error) => later("a sweep came to nothing", &error, ROUND),
            };
            self.sweep_at = now.saturating_add(pause);
        }
        self.distribute_at.min(self.sweep_at).saturating_sub(self.clock.elapsed())
    }

    /// Gives out leads that wait and hands over those of removed agents. Returns how many; more may be left unless it is
    /// none.
    fn distribute(&self) -> Result<usize, StoreError> {
        // Most of the time there are none, and the writer needs not be woken.
        let counts = self.store.look(|snapshot| snapshot.counts())?;
        if counts.leads_unassigned == 0 && counts.agents_leaving == 0 {
            return Ok(0);
        }
        self.store.ask(Distribute)
    }

    /// Takes away one slice. Returns where the next one begins; `None`: the round is over.
    fn sweep(&mut self) -> Result<Option<Place>, StoreError> {
        let rules = self.rules.get();
        let Retention { submissions, attempts, .. } = rules.retention;
        let patience = rules.patience.clone();
        let swept = self.store.ask(Sweep { from: self.place, most: self.slice, submissions, attempts, patience })?;
        metrics::counter!("flowgate_swept_rows_total").increment(u64::try_from(swept.removed).unwrap_or(u64::MAX));
        self.unreadable = self.unreadable.saturating_add(swept.unreadable);
        self.first_error = self.first_error.take().or(swept.first_error);
        Ok(swept.next)
    }

    /// Says once for the round that rows could not be read.
    fn tell_of_unreadable(&mut self) {
        if let Some(error) = self.first_error.take() {
            let rows = mem::take(&mut self.unreadable);
            tracing::error!(
                rows,
                first_error = error,
                "rows past their retention can't be read and stay; `flowgate check` lists all such rows"
            );
        }
    }
}

/// The size of the slice after one of `rows` rows at most that took `took`.
fn next_slice(rows: usize, took: Duration) -> usize {
    // Growth in small steps: a slice of twice the rows could take twice the time.
    let rows = if took > SLICE_TIME { rows / 2 } else { rows + rows / 4 };
    rows.clamp(SLICE[0], SLICE[1])
}

/// Says what went wrong, unless the store itself tells why it is not open.
fn later(what: &'static str, error: &StoreError, pause: Duration) -> Duration {
    if error.is_of_closed_store() {
        tracing::debug!(error = %error, "{what}");
    } else {
        tracing::error!(error = %error, "{what}");
    }
    pause
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slice_size_follows_the_time_that_the_last_slice_took() {
        let sizes = |took: u64| {
            let took = Duration::from_millis(took);
            std::iter::successors(Some(64), move |rows| Some(next_slice(*rows, took)))
                .skip(1)
                .take(5)
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(9), [32, 16, 8, 8, 8]);
        assert_eq!(sizes(8), [80, 100, 125, 156, 195]);
        assert_eq!(next_slice(900, SLICE_TIME), 1000);
    }
}
