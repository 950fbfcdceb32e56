//! Background work: its states, and the one table of what leads where.
//!
//! When the next try comes is `super::retry`'s; who runs it is `crate::work`'s. That a job runs right now is known to the
//! feeder alone and never stored: after a crash, what was running is simply still due.

use serde::{Deserialize, Serialize};

use super::ids::{LeadId, SubmissionId};
use super::time::{Millis, Timestamp};

/// Dead letters that run again at a rate are spread over so long at the most. What is due later still was written by a clock that
/// ran ahead.
pub const SPREAD_MAX: Millis = Millis::from_secs(7 * 24 * 60 * 60);

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Carries a submission to its lead.
    Process,
    /// Reads a webhook message that could not be read, or that no flow claimed, once more.
    Message,
    /// Tells a destination of an event.
    Deliver,
}

impl JobKind {
    /// The name that lists and logs show.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Message => "message",
            Self::Deliver => "deliver",
        }
    }
}

/// Where a job stands, as the file has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits until it is due; may be running.
    Scheduled,
    /// Has succeeded.
    Done,
    /// A dead letter: has used up its attempts or cannot succeed.
    Dead,
    /// A dead letter, or a delivery that waited, that an admin gave up.
    Discarded,
    /// Waited too long to be of use: it is not sent any more, unless an admin says so (deliveries only).
    Expired,
}

impl JobState {
    /// The name that lists and logs show.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Discarded => "discarded",
            Self::Expired => "expired",
        }
    }

    /// Whether nothing will come of it by itself, unless what was taken turns out not to have arrived. A dead letter waits for an
    /// admin.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Discarded | Self::Expired)
    }
}

/// What can happen to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEvent {
    /// An attempt succeeded.
    Finish,
    /// An attempt failed and another will follow.
    Retry,
    /// It cannot succeed, or has used up its attempts.
    Bury,
    /// An admin runs a dead letter again.
    Revive,
    /// An admin gives a dead letter up.
    Discard,
    /// What was taken turns out not to have arrived.
    Reopen,
    /// It has waited too long.
    Expire,
    /// An admin gives up a delivery that waits.
    GiveUp,
}

/// An event that a job in this state can't take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {} can't {}", state.as_str(), event.verb())]
pub struct NotAllowed {
    /// The state it is in.
    pub state: JobState,
    /// What was asked of it.
    pub event: JobEvent,
}

impl JobEvent {
    const fn verb(self) -> &'static str {
        match self {
            Self::Finish => "finish",
            Self::Retry => "be retried after a failure",
            Self::Bury => "become a dead letter",
            Self::Revive => "be run again",
            Self::Discard => "be discarded",
            Self::Reopen => "be taken up again",
            Self::Expire => "expire",
            Self::GiveUp => "be given up before its end",
        }
    }
}

impl JobState {
    /// The state after `event`.
    ///
    /// # Errors
    /// [`NotAllowed`] for everything that is not in the table.
    pub const fn after(self, event: JobEvent) -> Result<Self, NotAllowed> {
        match (self, event) {
            (Self::Scheduled, JobEvent::Finish) => Ok(Self::Done),
            (Self::Scheduled, JobEvent::Retry)
            | (Self::Dead | Self::Expired, JobEvent::Revive)
            | (Self::Done, JobEvent::Reopen) => Ok(Self::Scheduled),
            (Self::Scheduled, JobEvent::Bury) => Ok(Self::Dead),
            (Self::Dead, JobEvent::Discard) | (Self::Scheduled, JobEvent::GiveUp) => Ok(Self::Discarded),
            (Self::Scheduled, JobEvent::Expire) => Ok(Self::Expired),
            (state, event) => Err(NotAllowed { state, event }),
        }
    }
}

/// One run of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which one it is, from 1, over the whole life of the job.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub took: Millis,
    /// Why it failed; `None`: it succeeded.
    pub error: Option<String>,
}

/// A unit of background work, as the file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// What it does.
    pub kind: JobKind,
    /// Where it stands.
    pub state: JobState,
    /// The submission it carries, or tells of; for a message, the one it became.
    pub submission: Option<SubmissionId>,
    /// When it came to be.
    pub created_at: Timestamp,
    /// When it is to run (scheduled), or when it ended.
    pub due_at: Timestamp,
    /// Runs so far, over its whole life.
    pub attempts: u32,
    /// Of these, those since it was made or last revived: what the retry policy counts.
    pub attempts_since_revival: u32,
    /// How often the process died while this job alone was running.
    pub crashes: u8,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// The attempt that succeeded. Failed ones are kept apart: most jobs have none.
    pub success: Option<Attempt>,
    /// The lead it led to.
    pub lead: Option<LeadId>,
}

impl Job {
    /// A job that is due at once.
    #[must_use]
    pub const fn new(kind: JobKind, submission: Option<SubmissionId>, now: Timestamp) -> Self {
        Self {
            kind,
            state: JobState::Scheduled,
            submission,
            created_at: now,
            due_at: now,
            attempts: 0,
            attempts_since_revival: 0,
            crashes: 0,
            last_error: None,
            success: None,
            lead: None,
        }
    }

    /// Whether an admin has run it again since it was a dead letter, or had expired.
    #[must_use]
    pub const fn was_revived(&self) -> bool {
        self.attempts_since_revival < self.attempts
    }

    /// Whether its time was written by a clock that ran ahead and was set back since: waiting for that clock to get there again
    /// could take days. `longest`: no retry is further away.
    #[must_use]
    pub fn is_of_clock_ahead(&self, now: Timestamp, longest: Millis) -> bool {
        if self.attempts_since_revival > 0 {
            return self.due_at > now.plus(longest);
        }
        let was_made_ahead = self.created_at > now && self.due_at >= self.created_at;
        // Made right, and due later than that: an admin runs dead letters again at a rate, or it waits for somebody.
        was_made_ahead || self.due_at > now.plus(SPREAD_MAX.max(longest))
    }
}

/// A dead letter, as the file has it: all of it, whatever happens to the rows that it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// When it died.
    pub died_at: Timestamp,
    /// Why.
    pub reason: String,
    /// What it was to carry: JSON text.
    pub payload: String,
    /// What an admin put in its place for the next run (messages only): JSON text.
    pub corrected: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_taken_for_one_of_a_clock_that_ran_ahead_where_nothing_else_explains_it() {
        const HOUR: u64 = 60 * 60 * 1000;
        let at = |hours: u64| Timestamp::from_millis(hours * HOUR);
        let is_ahead = |created: u64, due: u64, attempts_since_revival, now: u64| {
            let job = Job {
                created_at: at(created),
                due_at: at(due),
                attempts_since_revival,
                ..Job::new(JobKind::Process, None, at(0))
            };
            job.is_of_clock_ahead(at(now), Millis::new(24 * HOUR))
        };
        assert!(!is_ahead(1000, 1000, 0, 1000), "due now");
        assert!(is_ahead(1001, 1001, 0, 1000), "made in an hour, as it says");
        assert!(is_ahead(1001, 1003, 0, 1000), "and waited for its customer");
        assert!(!is_ahead(1000, 1168, 0, 1000), "one of many that an admin spread over a week");
        assert!(!is_ahead(1100, 1050, 0, 1000), "the same, of a job that the clock which ran ahead had made");
        assert!(is_ahead(1000, 1169, 0, 1000), "no rate goes so far");
        assert!(!is_ahead(1000, 1024, 1, 1000), "a retry");
        assert!(is_ahead(1000, 1025, 1, 1000), "no retry waits so long");
    }

    #[test]
    fn the_table_of_states_is_all_there_is() {
        use JobEvent::{Bury, Discard, Expire, Finish, GiveUp, Reopen, Retry, Revive};
        use JobState::{Dead, Discarded, Done, Expired, Scheduled};
        let allowed = [
            (Scheduled, Finish, Done),
            (Scheduled, Retry, Scheduled),
            (Scheduled, Bury, Dead),
            (Dead, Revive, Scheduled),
            (Dead, Discard, Discarded),
            (Done, Reopen, Scheduled),
            (Scheduled, Expire, Expired),
            (Scheduled, GiveUp, Discarded),
            (Expired, Revive, Scheduled),
        ];
        for state in [Scheduled, Done, Dead, Discarded, Expired] {
            for event in [Finish, Retry, Bury, Revive, Discard, Reopen, Expire, GiveUp] {
                let expected = allowed.iter().find(|(s, e, _)| (*s, *e) == (state, event)).map(|(_, _, to)| *to);
                assert_eq!(state.after(event).ok(), expected, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn a_refusal_reads_as_a_sentence() {
        let refused = JobState::Done.after(JobEvent::Revive).unwrap_err();
        assert_eq!(refused.to_string(), "a job that is done can't be run again");
    }
}
