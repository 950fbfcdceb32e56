//! The questions that an operator may ask, and the errors. Answers are rows: see `super::views`.
//!
//! On the socket a question is one line of JSON; the answer is `{"row":…}` for each row, then `{"end":true}` or
//! `{"error":{"code":…,"message":…}}`.

use jiff::civil::{Date, Time};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::event::EventKind;
use crate::domain::ids::{
    AgentName, BookingId, CalendarName, DestinationName, FlowName, GatewayName, JobId, LeadId, SubmissionId, TeamName,
};
use crate::domain::pace::Rate;
use crate::domain::phone_number::PhoneNumber;
use crate::domain::time::Timestamp;
use crate::store::StoreError;

/// Bytes of one question at the most: a corrected payload may be as large as the message was, nothing else is large.
pub(super) const QUESTION_BYTES: usize = 8 << 20;

/// One line of an answer.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// One thing.
    Row(Value),
    /// That was all.
    End(bool),
    /// That is all, and not all is well.
    Error(AdminError),
}

/// Something an operator asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Question {
    /// How things stand: one row.
    Status,
    /// Submissions, newest first.
    Submissions(Filter),
    /// One submission, whole.
    Submission {
        /// Which.
        id: SubmissionId,
    },
    /// Forms in the making, the one that changed last first.
    Drafts(Filter),
    /// Jobs, newest first.
    Jobs(Filter),
    /// One job and its attempts.
    Job {
        /// Which.
        id: JobId,
    },
    /// Dead letters, newest first.
    DeadLetters(Filter),
    /// One dead letter, whole.
    DeadLetter {
        /// Which.
        id: JobId,
    },
    /// Runs dead letters again: a row each.
    Retry(Selection),
    /// Gives dead letters up: a row each.
    Discard(Selection),
    /// Deliveries, newest first.
    Deliveries(Filter),
    /// One delivery, with what is sent and what came back.
    Delivery {
        /// Its job.
        id: JobId,
    },
    /// Gives deliveries up that wait: a row each.
    DiscardDeliveries(Selection),
    /// Destinations, those of the config and others that something waits for, by name.
    Destinations,
    /// Tells a destination nothing until further notice; what waits for it is kept.
    PauseDestination {
        /// Which.
        name: DestinationName,
    },
    /// Tells it again, whatever stood against that.
    ResumeDestination {
        /// Which.
        name: DestinationName,
    },
    /// Sends a test to a destination: one row, and an error where it was not taken. Nothing of it is kept.
    TestDestination {
        /// Which.
        name: DestinationName,
        /// Whom to write to, where it writes to people. `None`: nobody; it is only asked about itself.
        #[serde(default)]
        to: Option<PhoneNumber>,
        /// What a webhook is sent an example of; `None`: a test, or what its templates are for.
        #[serde(default)]
        event: Option<EventKind>,
    },
    /// Leads, newest first.
    Leads(Filter),
    /// One lead, with why its agent has it.
    Lead {
        /// Which.
        id: LeadId,
    },
    /// Closes a lead.
    CloseLead {
        /// Which.
        id: LeadId,
    },
    /// Gives a lead to an agent.
    AssignLead {
        /// Which.
        id: LeadId,
        /// To whom.
        agent: AgentName,
    },
    /// Agents that have not been removed.
    Agents(Filter),
    /// Adds an agent.
    AddAgent {
        /// Not that of another agent.
        name: AgentName,
        /// Whose leads are theirs.
        team: TeamName,
        /// Weight and limits.
        settings: AgentSettings,
    },
    /// Changes an agent's settings; what is not given stays.
    SetAgent {
        /// Whom.
        name: AgentName,
        /// The new team.
        team: Option<TeamName>,
        /// Weight and limits.
        settings: AgentSettings,
    },
    /// No new leads for an agent until further notice.
    PauseAgent {
        /// Whom.
        name: AgentName,
    },
    /// New leads again.
    ResumeAgent {
        /// Whom.
        name: AgentName,
    },
    /// No new leads for a while.
    AgentAbsent {
        /// Whom.
        name: AgentName,
        /// The first day (UTC).
        from: Date,
        /// The last day (UTC).
        to: Date,
    },
    /// Removes an agent; their open leads go to others.
    RemoveAgent {
        /// Whom.
        name: AgentName,
    },
    /// Bookings, newest first.
    Bookings(Filter),
    /// One booking.
    Booking {
        /// Which.
        id: BookingId,
    },
    /// Frees the place of a booking.
    CancelBooking {
        /// Which.
        id: BookingId,
    },
    /// Moves a booking.
    MoveBooking {
        /// Which.
        id: BookingId,
        /// To this day,
        date: Date,
        /// at this time, on the calendar's clock.
        time: Time,
    },
    /// Slots that may be booked, with what is taken, in order.
    Slots {
        /// Of one calendar, or of all.
        calendar: Option<CalendarName>,
        /// From this day; today unless given.
        from: Option<Date>,
        /// Up to and with this day; a week from the first one unless given.
        to: Option<Date>,
        /// Rows at the most; 0: all.
        limit: usize,
    },
    /// The flows of the config, by name.
    Flows,
    /// What clients complained of, newest first.
    FlowErrors(Filter),
    /// How the endpoints of encrypted flows do, a row each; then what Meta's monitoring said and still stands.
    FlowHealth {
        /// Only this flow's endpoint; what Meta said is shown all the same.
        flow: Option<FlowName>,
    },
    /// How the unofficial gateways stand, by name.
    Gateways,
    /// How one stands, and what became of it.
    Gateway {
        /// Which.
        name: GatewayName,
    },
    /// Has the call made that brings a gateway's session back as it is now: one row. Only a running server can.
    RestartGateway {
        /// Which.
        name: GatewayName,
    },
    /// Looks at every invariant: a row for each that does not hold, and one that sums up.
    Check,
    /// Signs the body of a sample form as Meta does: one row. Only a running server can.
    Sign {
        /// The body, to the byte.
        body: String,
    },
    /// The public half of a flow's newest key: one row. Only a running server can.
    PublicKey {
        /// The flow.
        flow: FlowName,
    },
    /// Reads the config again, with all that it names: one row. Only a running server can.
    Reload,
}

/// Which rows of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Only those in this state, by its name.
    pub state: Option<String>,
    /// Only those of this flow.
    pub flow: Option<FlowName>,
    /// Only those since then.
    pub since: Option<Timestamp>,
    /// Only those of this agent.
    pub agent: Option<AgentName>,
    /// Only those to this destination.
    pub destination: Option<DestinationName>,
    /// Only those that tell of this event.
    pub event: Option<EventKind>,
    /// Rows at the most; 0: all.
    pub limit: usize,
}

impl Filter {
    /// How many rows may come.
    #[must_use]
    pub const fn most(&self) -> usize {
        if self.limit == 0 { usize::MAX } else { self.limit }
    }
}

/// Which dead letters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// This one.
    One {
        /// Its job.
        id: JobId,
        /// A corrected payload (JSON text), for messages and deliveries.
        payload: Option<String>,
    },
    /// All that a filter lets through.
    All {
        /// The filter.
        filter: Filter,
        /// Only count, and show the first three.
        dry_run: bool,
        /// So many at a time, where they are run again; unless given, all at once.
        rate: Option<Rate>,
    },
}

/// Weight and limits of an agent; what is `None` stays, or is the default of a new agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSettings {
    /// 1 to 1000; a new agent has 1.
    pub weight: Option<u32>,
    /// Open leads at the most; 0: no limit, as a new agent has it.
    pub max: Option<u32>,
    /// Leads in one day (UTC) at the most; 0: no limit.
    pub max_per_day: Option<u32>,
}

/// What kind of an error it is: decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// It can't be done as things stand.
    Failed,
    /// The question makes no sense.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// The server or the file can't be reached.
    Unreachable,
    /// The server is starting, or another process has the file: a later try may succeed.
    Busy,
    /// The disk can't be trusted.
    Untrusted,
    /// The file is damaged.
    Damaged,
}

/// Why an answer could not be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct AdminError {
    /// What kind it is.
    pub code: ErrorCode,
    /// What was wrong, and what to type.
    pub message: String,
}

impl AdminError {
    /// It can't be done as things stand.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { code: ErrorCode::Failed, message: message.into() }
    }

    /// The question makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { code: ErrorCode::Invalid, message: message.into() }
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self { code: ErrorCode::NotFound, message: message.into() }
    }

    /// Only a running server can do it.
    #[must_use]
    pub fn no_server() -> Self {
        Self::unreachable("no server runs on this file, or it is not ready yet: `flowgate serve` starts one")
    }

    /// The server is starting.
    #[must_use]
    pub fn starting(verified_percent: u8) -> Self {
        let verified = if verified_percent == 0 { String::new() } else { format!(", {verified_percent} %") };
        Self { code: ErrorCode::Busy, message: format!("the server is starting (verifying the data file{verified})") }
    }

    /// There is no such destination.
    #[must_use]
    pub fn no_destination(name: &DestinationName) -> Self {
        Self::not_found(format!("there is no destination {name}: `flowgate destinations` lists them"))
    }

    /// The server or the file can't be reached.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self { code: ErrorCode::Unreachable, message: message.into() }
    }
}

impl From<&StoreError> for ErrorCode {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::InUse(_) => Self::Busy,
            StoreError::Missing(_)
            | StoreError::NotOpen
            | StoreError::File { .. }
            | StoreError::Foreign { .. }
            | StoreError::UnknownFormat { .. } => Self::Unreachable,
            StoreError::SecretMissing(_) => Self::Invalid,
            StoreError::Damaged(_) => Self::Damaged,
            StoreError::Untrusted(_) => Self::Untrusted,
            // The rest of the file is well.
            StoreError::Row { .. } | StoreError::NoSpace | StoreError::NoRoom { .. } | StoreError::Engine(_) => {
                Self::Failed
            }
        }
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        Self { code: ErrorCode::from(&error), message: error.to_string() }
    }
}
