//! Defines the requests that an operator sends to a server, the lines of a response, and the
//! errors.
//!
//! On the socket, a request is one line of JSON. The response is `{"row":…}` for each row, then
//! `{"done":true}` or `{"error":{"code":…,"message":…}}`.
//!
//! See [`super::responses`] for the rows.

use jiff::civil::{Date, Time};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::event::EventKind;
use crate::domain::ids::{
    AgentName, BookingId, CalendarName, DestinationName, FlowName, GatewayName, JobId, LeadId,
    SubmissionId, TeamName,
};
use crate::domain::phone_number::PhoneNumber;
use crate::domain::rate_limiter::Rate;
use crate::domain::time::Timestamp;
use crate::store::StoreError;

/// Maximum size of a request in bytes. Only a corrected payload can be large, at most as large as
/// the message.
pub(super) const REQUEST_BYTES_MAX: usize = 8 << 20;

/// Line of a response.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ResponseLine {
    /// Row with one object.
    Row(Value),
    /// End of a successful response.
    Done(bool),
    /// End of a response with an error.
    Error(AdminError),
}

/// Request of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum AdminRequest {
    /// Status of the server or file: one row.
    Status,
    /// Submissions, newest first.
    Submissions(ListFilter),
    /// Details of a submission.
    Submission {
        /// Submission ID.
        id: SubmissionId,
    },
    /// Drafts, the latest change first.
    Drafts(ListFilter),
    /// Jobs, newest first.
    Jobs(ListFilter),
    /// Details of a job, with its attempts.
    Job {
        /// Job ID.
        id: JobId,
    },
    /// Dead letters, newest first.
    DeadLetters(ListFilter),
    /// Details of a dead letter.
    DeadLetter {
        /// Job ID.
        id: JobId,
    },
    /// Retries dead letters: one row with the result.
    RetryDeadLetters(JobSelector),
    /// Discards dead letters: one row with the result.
    DiscardDeadLetters(JobSelector),
    /// Deliveries, newest first.
    Deliveries(ListFilter),
    /// Details of a delivery, with its body and the responses.
    Delivery {
        /// Job ID of the delivery.
        id: JobId,
    },
    /// Discards waiting deliveries: one row with the result.
    DiscardDeliveries(JobSelector),
    /// Destinations by name: those of the config, and others with waiting deliveries or a
    /// suspension.
    Destinations,
    /// Pauses a destination until an admin resumes it. Waiting deliveries stay stored.
    PauseDestination {
        /// Destination name.
        name: DestinationName,
    },
    /// Resumes a destination from any suspension.
    ResumeDestination {
        /// Destination name.
        name: DestinationName,
    },
    /// Sends a test to a destination: one row, and an error if the destination rejected the test.
    /// The store records nothing about the test.
    TestDestination {
        /// Destination name.
        name: DestinationName,
        /// Phone number that gets the test message, for destinations that write to people. `None`:
        /// no message; the test only queries the destination.
        #[serde(default)]
        to: Option<PhoneNumber>,
        /// Event of which a webhook gets an example. `None`: a test, or the event for which the
        /// destination has templates.
        #[serde(default)]
        event: Option<EventKind>,
    },
    /// Leads, newest first.
    Leads(ListFilter),
    /// Details of a lead, with the reason for its assignment.
    Lead {
        /// Lead ID.
        id: LeadId,
    },
    /// Closes a lead.
    CloseLead {
        /// Lead ID.
        id: LeadId,
    },
    /// Assigns a lead to an agent.
    AssignLead {
        /// Lead ID.
        id: LeadId,
        /// Agent who gets the lead.
        agent: AgentName,
    },
    /// Agents who have not been removed.
    Agents(ListFilter),
    /// Adds an agent.
    AddAgent {
        /// Agent name. No other agent may have it.
        name: AgentName,
        /// Team whose leads the agent gets.
        team: TeamName,
        /// Weight and limits.
        settings: AgentSettings,
    },
    /// Changes the settings of an agent. Settings that are `None` stay unchanged.
    SetAgent {
        /// Agent name.
        name: AgentName,
        /// New team of the agent. `None`: unchanged.
        team: Option<TeamName>,
        /// Weight and limits.
        settings: AgentSettings,
    },
    /// Pauses an agent, who gets no new leads until resumed.
    PauseAgent {
        /// Agent name.
        name: AgentName,
    },
    /// Resumes an agent, who gets new leads again.
    ResumeAgent {
        /// Agent name.
        name: AgentName,
    },
    /// Adds an absence, in which the agent gets no new leads.
    SetAgentAbsence {
        /// Agent name.
        name: AgentName,
        /// First day of the absence, in UTC.
        from: Date,
        /// Last day of the absence, in UTC, inclusive.
        to: Date,
    },
    /// Removes an agent. The open leads go to other agents.
    RemoveAgent {
        /// Agent name.
        name: AgentName,
    },
    /// Bookings, newest first.
    Bookings(ListFilter),
    /// Details of a booking.
    Booking {
        /// Booking ID.
        id: BookingId,
    },
    /// Cancels a booking, which frees its place in the slot.
    CancelBooking {
        /// Booking ID.
        id: BookingId,
    },
    /// Moves a booking to another slot.
    MoveBooking {
        /// Booking ID.
        id: BookingId,
        /// New date, in the time zone of the calendar.
        date: Date,
        /// New time, in the time zone of the calendar.
        time: Time,
    },
    /// Bookable slots with their number of taken places, in order of time.
    Slots {
        /// Calendar name. `None`: all calendars.
        calendar: Option<CalendarName>,
        /// First day. `None`: today.
        from: Option<Date>,
        /// Last day, inclusive. `None`: one week including the first day.
        to: Option<Date>,
        /// Maximum number of rows. 0: no limit.
        limit: usize,
    },
    /// Flows of the config, by name.
    Flows,
    /// Flow errors, newest first.
    FlowErrors(ListFilter),
    /// Endpoint health of encrypted flows, one row each; then the active events of Meta's
    /// monitoring.
    FlowHealth {
        /// Flow whose endpoint is shown. `None`: all flows. Meta's events are shown in both cases.
        flow: Option<FlowName>,
    },
    /// Unofficial gateways with the state of their sessions, by name.
    Gateways,
    /// Details of a gateway, with its history.
    Gateway {
        /// Gateway name.
        name: GatewayName,
    },
    /// Performs the recovery action that fits the current state of a gateway's session: one row.
    /// Only a running server can do this.
    RestartGateway {
        /// Gateway name.
        name: GatewayName,
    },
    /// Checks all invariants: one row for each violation, and one summary row.
    CheckIntegrity,
    /// Signs the body of a sample form as Meta does: one row. Only a running server can do this.
    SignBody {
        /// Body to sign. The signature covers its exact bytes.
        body: String,
    },
    /// Public key of a flow's newest key pair: one row. Only a running server can do this.
    FlowPublicKey {
        /// Flow name.
        flow: FlowName,
    },
    /// Reloads the config and all files that it names: one row. Only a running server can do this.
    ReloadConfig,
}

/// Filter of a list. A row must match all fields that are set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListFilter {
    /// State of the rows, by its name.
    pub state: Option<String>,
    /// Flow of the rows.
    pub flow: Option<FlowName>,
    /// Time of the oldest row, in UTC.
    pub since: Option<Timestamp>,
    /// Agent of the rows.
    pub agent: Option<AgentName>,
    /// Destination of the rows.
    pub destination: Option<DestinationName>,
    /// Event of the rows.
    pub event: Option<EventKind>,
    /// Maximum number of rows. 0: no limit.
    pub limit: usize,
}

impl ListFilter {
    /// Returns the maximum number of rows.
    #[must_use]
    pub const fn max_rows(&self) -> usize {
        if self.limit == 0 {
            usize::MAX
        } else {
            self.limit
        }
    }
}

/// Selection of dead letters or waiting deliveries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobSelector {
    /// Single job, selected by its ID.
    One {
        /// Job ID.
        id: JobId,
        /// Corrected payload as JSON text, for messages and deliveries. `None`: the payload stays
        /// unchanged.
        payload: Option<String>,
    },
    /// All jobs that match a filter.
    All {
        /// Filter for the jobs.
        filter: ListFilter,
        /// `true` if the request only counts the jobs and shows the first three.
        dry_run: bool,
        /// Rate at which the jobs become due, if they are retried. `None`: all at once.
        rate: Option<Rate>,
    },
}

/// Weight and limits of an agent. `None` leaves a setting unchanged; for a new agent it means the
/// default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSettings {
    /// Weight, from 1 to 1000. Default for a new agent: 1.
    pub weight: Option<u32>,
    /// Maximum number of open leads. 0: no limit, the default for a new agent.
    pub max_leads: Option<u32>,
    /// Maximum number of leads per day (UTC). 0: no limit, the default for a new agent.
    pub max_leads_per_day: Option<u32>,
}

/// Kind of an error. The kind decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The current state does not allow the request.
    Failed,
    /// The request is invalid.
    Invalid,
    /// The object does not exist.
    NotFound,
    /// The server or the file can't be reached.
    Unreachable,
    /// The server is starting, or another process uses the file. A later attempt may succeed.
    Busy,
    /// The disk failed, and its content is unknown.
    Untrusted,
    /// The file is damaged.
    Damaged,
}

/// Error of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct AdminError {
    /// Kind of the error.
    pub code: ErrorCode,
    /// Problem, with a command to type.
    pub message: String,
}

impl AdminError {
    /// Creates an error for a request that the current state does not allow.
    pub fn failed(message: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::Failed,
            message: message.into(),
        }
    }

    /// Creates an error for an invalid request.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::Invalid,
            message: message.into(),
        }
    }

    /// Creates an error for an object that does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::NotFound,
            message: message.into(),
        }
    }

    /// Creates an error for a request that only a running server can answer.
    #[must_use]
    pub fn server_required() -> Self {
        Self::unreachable(
            "no server runs on this data file, or it is not ready yet: start it with `flowgate serve`",
        )
    }

    /// Creates an error for a server that is starting. `verified_percent` is the verified part of
    /// the data file, in percent.
    #[must_use]
    pub fn starting(verified_percent: u8) -> Self {
        let verified = if verified_percent == 0 {
            String::new()
        } else {
            format!(", {verified_percent} %")
        };
        Self {
            code: ErrorCode::Busy,
            message: format!("the server is starting (verifying the data file{verified})"),
        }
    }

    /// Creates an error for a destination that does not exist.
    #[must_use]
    pub fn destination_not_found(name: &DestinationName) -> Self {
        Self::not_found(format!(
            "there is no destination {name}: `flowgate destinations` lists them"
        ))
    }

    /// Creates an error for a server or file that can't be reached.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::Unreachable,
            message: message.into(),
        }
    }
}

impl From<&StoreError> for ErrorCode {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::InUse(_) => Self::Busy,
            StoreError::FileMissing(_)
            | StoreError::NotOpen
            | StoreError::File { .. }
            | StoreError::NotADataFile { .. }
            | StoreError::UnknownFormat { .. } => Self::Unreachable,
            StoreError::SecretMissing(_) => Self::Invalid,
            StoreError::Damaged(_) => Self::Damaged,
            StoreError::Untrusted(_) => Self::Untrusted,
            // The other parts of the file are intact.
            StoreError::Row { .. }
            | StoreError::NoSpace
            | StoreError::InsufficientSpace { .. }
            | StoreError::Engine(_) => Self::Failed,
        }
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        Self {
            code: ErrorCode::from(&error),
            message: error.to_string(),
        }
    }
}
