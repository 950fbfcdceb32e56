//! Defines background jobs: their states, and the one table of state transitions.
//!
//! No row records that a job is running. Only the dispatcher has this information. After a crash, a
//! job that was running is still due. See [`self::retry`] for the time of the next attempt and
//! [`crate::jobs`] for running jobs.

pub mod retry;
use serde::{Deserialize, Serialize};

use super::ids::{LeadId, SubmissionId};
use super::time::{Millis, Timestamp};

/// Maximum time over which dead letters are spread when an admin retries them at a rate. A due time
/// after that comes from a clock that ran ahead.
pub const RETRY_SPREAD_MAX: Millis = Millis::from_secs(7 * 24 * 60 * 60);

named_enum! {
    /// Kind of work that a job does.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum JobKind {
        /// Processes a submission and assigns its lead.
        Process = "process",
        /// Parses again a webhook message that could not be parsed, or that no flow accepted.
        Message = "message",
        /// Sends an event to a destination.
        Deliver = "deliver",
    }
}

named_enum! {
    /// Stored state of a job.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum JobState {
        /// The job waits until it is due, or is running.
        Scheduled = "scheduled",
        /// The job succeeded.
        Done = "done",
        /// Dead letter: the job has used up its attempts or can't succeed.
        Dead = "dead",
        /// An admin discarded the dead letter or the scheduled delivery.
        Discarded = "discarded",
        /// The delivery waited too long and is not sent, unless an admin retries it. Only
        /// deliveries have this state.
        Expired = "expired",
    }
}

impl JobState {
    /// Returns `true` if the job is done, discarded or expired. Only a later report that a
    /// delivered message did not arrive can reopen such a job. A dead letter is not terminal,
    /// because it waits for an admin.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Done | Self::Discarded | Self::Expired)
    }
}

/// Event that changes the state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEvent {
    /// An attempt succeeded.
    Finish,
    /// An attempt failed, and another will follow.
    Retry,
    /// The job can't succeed, or has used up its attempts.
    MarkDead,
    /// An admin retries a dead letter or an expired delivery.
    RetryManually,
    /// An admin discards a dead letter.
    Discard,
    /// A message that the destination had accepted did not arrive.
    Reopen,
    /// The delivery waited too long.
    Expire,
    /// An admin discards a scheduled delivery.
    DiscardScheduled,
}

/// Error for an event that the current state of a job does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {} can't {}", state.as_str(), event.describe())]
pub struct IllegalTransition {
    /// Current state of the job.
    pub state: JobState,
    /// Event that was refused.
    pub event: JobEvent,
}

impl JobEvent {
    const fn describe(self) -> &'static str {
        match self {
            Self::Finish => "finish",
            Self::Retry => "be retried after a failure",
            Self::MarkDead => "become a dead letter",
            Self::RetryManually => "be retried by an admin",
            Self::Discard => "be discarded",
            Self::Reopen => "be reopened",
            Self::Expire => "expire",
            Self::DiscardScheduled => "be discarded before its end",
        }
    }
}

impl JobState {
    /// Returns the state after `event`.
    ///
    /// # Errors
    /// [`IllegalTransition`] if the table has no transition for this state and event.
    pub const fn transition(self, event: JobEvent) -> Result<Self, IllegalTransition> {
        match (self, event) {
            (Self::Scheduled, JobEvent::Finish) => Ok(Self::Done),
            (Self::Scheduled, JobEvent::Retry)
            | (Self::Dead | Self::Expired, JobEvent::RetryManually)
            | (Self::Done, JobEvent::Reopen) => Ok(Self::Scheduled),
            (Self::Scheduled, JobEvent::MarkDead) => Ok(Self::Dead),
            (Self::Dead, JobEvent::Discard) | (Self::Scheduled, JobEvent::DiscardScheduled) => {
                Ok(Self::Discarded)
            }
            (Self::Scheduled, JobEvent::Expire) => Ok(Self::Expired),
            (state, event) => Err(IllegalTransition { state, event }),
        }
    }
}

/// Attempt of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Number of the attempt, from 1, over the whole life of the job.
    pub number: u32,
    /// Start of the attempt, in UTC.
    pub started_at: Timestamp,
    /// Duration of the attempt.
    pub duration: Millis,
    /// Reason of the failure. `None` if the attempt succeeded.
    pub error: Option<String>,
}

/// Unit of background work, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Kind of work.
    pub kind: JobKind,
    /// State of the job.
    pub state: JobState,
    /// Submission that the job processes or reports. For a message job, the submission that the
    /// message became.
    pub submission_id: Option<SubmissionId>,
    /// Time when the job was created, in UTC.
    pub created_at: Timestamp,
    /// Due time of a scheduled job, or time when the job ended, in UTC.
    pub due_at: Timestamp,
    /// Number of attempts over the whole life of the job.
    pub attempts: u32,
    /// Number of attempts since the job was created or last retried by an admin. The retry policy
    /// counts these.
    pub attempts_since_manual_retry: u32,
    /// Number of times the process died while only this job was running.
    pub crashes: u8,
    /// Error of the last failed attempt.
    pub last_error: Option<String>,
    /// Successful attempt. Failed attempts are in a separate table, because most jobs have none.
    pub success: Option<Attempt>,
    /// Lead that the job created. `None` if there is no lead.
    pub lead_id: Option<LeadId>,
}

impl Job {
    /// Creates a job that is due at once.
    #[must_use]
    pub const fn new(kind: JobKind, submission_id: Option<SubmissionId>, now: Timestamp) -> Self {
        Self {
            kind,
            state: JobState::Scheduled,
            submission_id,
            created_at: now,
            due_at: now,
            attempts: 0,
            attempts_since_manual_retry: 0,
            crashes: 0,
            last_error: None,
            success: None,
            lead_id: None,
        }
    }

    /// Returns `true` if an admin retried the job after it was dead or had expired.
    #[must_use]
    pub const fn was_retried_manually(&self) -> bool {
        self.attempts_since_manual_retry < self.attempts
    }

    /// Returns `true` if a clock that ran ahead, and was set back since, wrote the due time.
    /// Waiting until the clock reaches that time again could take days. `max_delay` is the longest
    /// delay of a retry.
    #[must_use]
    pub fn has_future_skew(&self, now: Timestamp, max_delay: Millis) -> bool {
        if self.attempts_since_manual_retry > 0 {
            return self.due_at > now.plus(max_delay);
        }
        let was_created_ahead = self.created_at > now && self.due_at >= self.created_at;
        // A job that was created in the past may also be due later than a retry. An admin retries
        // dead letters at a rate, or the job waits for its customer.
        was_created_ahead || self.due_at > now.plus(RETRY_SPREAD_MAX.max(max_delay))
    }
}

/// Dead letter, as stored. The row contains everything, so it does not depend on the rows from
/// which the job came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Time when the job became a dead letter, in UTC.
    pub died_at: Timestamp,
    /// Reason of the failure.
    pub reason: String,
    /// Payload of the job, as JSON text.
    pub payload: String,
    /// Payload that an admin provided for the next attempt (messages only), as JSON text. `None` if
    /// the payload was not edited.
    pub corrected_payload: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn future_skew_is_detected_only_without_other_explanation() {
        const HOUR: u64 = 60 * 60 * 1000;
        let at = |hours: u64| Timestamp::from_millis(hours * HOUR);
        let has_skew = |created: u64, due: u64, attempts_since_revival, now: u64| {
            let job = Job {
                created_at: at(created),
                due_at: at(due),
                attempts_since_manual_retry: attempts_since_revival,
                ..Job::new(JobKind::Process, None, at(0))
            };
            job.has_future_skew(at(now), Millis::new(24 * HOUR))
        };
        assert!(!has_skew(1000, 1000, 0, 1000), "due now");
        assert!(has_skew(1001, 1001, 0, 1000), "made in an hour, as it says");
        assert!(has_skew(1001, 1003, 0, 1000), "and waited for its customer");
        // An admin retries dead letters at a rate, spread over a week.
        assert!(!has_skew(1000, 1168, 0, 1000));
        // The same for a job that was created while the clock was ahead.
        assert!(!has_skew(1100, 1050, 0, 1000));
        assert!(has_skew(1000, 1169, 0, 1000), "no rate goes so far");
        assert!(!has_skew(1000, 1024, 1, 1000), "a retry");
        assert!(has_skew(1000, 1025, 1, 1000), "no retry waits so long");
    }

    #[test]
    fn state_table_is_exhaustive() {
        use JobEvent::{
            Discard, DiscardScheduled, Expire, Finish, MarkDead, Reopen, Retry, RetryManually,
        };
        use JobState::{Dead, Discarded, Done, Expired, Scheduled};
        // The states after these events, in this order. `None`: not allowed.
        let attempt_events = [Finish, Retry, MarkDead, Expire];
        let later_events = [RetryManually, Discard, Reopen, DiscardScheduled];
        let none = [None; 4];
        let scheduled = [Some(Done), Some(Scheduled), Some(Dead), Some(Expired)];
        let discarded = [None, None, None, Some(Discarded)];
        for (state, attempt_states, later_states) in [
            (Scheduled, scheduled, discarded),
            (Done, none, [None, None, Some(Scheduled), None]),
            (Dead, none, [Some(Scheduled), Some(Discarded), None, None]),
            (Discarded, none, none),
            (Expired, none, [Some(Scheduled), None, None, None]),
        ] {
            let next = |event| state.transition(event).ok();
            assert_eq!(attempt_events.map(next), attempt_states, "{state:?}");
            assert_eq!(later_events.map(next), later_states, "{state:?}");
        }
    }

    #[test]
    fn illegal_transition_error_is_a_sentence() {
        let refused = JobState::Done.transition(JobEvent::RetryManually);
        let expected = "a job that is done can't be retried by an admin";
        assert_eq!(refused.unwrap_err().to_string(), expected);
    }
}
