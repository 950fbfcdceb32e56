//! Defines the requests of an operator and the lines of a response.
//!
//! On the socket, a request is one line of JSON. The response is `{"row":…}` for each row, then
//! `{"done":true}` or `{"error":{"code":…,"message":…}}`.
//!
//! See [`super::responses`] for the rows, and [`super::error`] for the errors.

use jiff::civil::{Date, Time};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::delivery::{Delivery, Event};
use crate::domain::event::EventKind;
use crate::domain::ids::{
    AgentName, BookingId, CalendarName, DestinationName, FlowName, GatewayName, JobId, LeadId,
    SubmissionId, TeamName,
};
use crate::domain::phone_number::PhoneNumber;
use crate::domain::rate_limiter::Rate;
use crate::domain::time::Timestamp;

use super::error::AdminError;

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

/// Request of an operator. Its type decides where it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "no such request, or wrong fields")]
pub enum AdminRequest {
    /// Reads rows. Also runs on the file of a stopped server.
    Query(AdminQuery),
    /// Changes rows with named transactions. Also runs on the file of a stopped server.
    Command(AdminCommand),
    /// Needs a running server.
    ServerCommand(ServerCommand),
}

impl From<AdminQuery> for AdminRequest {
    fn from(query: AdminQuery) -> Self {
        Self::Query(query)
    }
}

impl From<AdminCommand> for AdminRequest {
    fn from(command: AdminCommand) -> Self {
        Self::Command(command)
    }
}

impl From<ServerCommand> for AdminRequest {
    fn from(command: ServerCommand) -> Self {
        Self::ServerCommand(command)
    }
}

/// Request that reads rows of a snapshot and changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum AdminQuery {
    /// Status of the server or file: one row.
    Status,
    /// Submissions, newest first.
    Submissions(ListFilter),
    /// Details of a submission.
    Submission { id: SubmissionId },
    /// Drafts, the latest change first.
    Drafts(ListFilter),
    /// Jobs, newest first.
    Jobs(ListFilter),
    /// Details of a job, with its attempts.
    Job { id: JobId },
    /// Dead letters, newest first.
    DeadLetters(ListFilter),
    /// Details of a dead letter.
    DeadLetter { id: JobId },
    /// Deliveries, newest first.
    Deliveries(ListFilter),
    /// Details of a delivery, with its body and the responses.
    Delivery { id: JobId },
    /// Destinations by name: those of the config, and others with waiting deliveries or a
    /// suspension.
    Destinations,
    /// Leads, newest first.
    Leads(ListFilter),
    /// Details of a lead, with the reason for its assignment.
    Lead { id: LeadId },
    /// Agents who have not been removed.
    Agents(ListFilter),
    /// Bookings, newest first.
    Bookings(ListFilter),
    /// Details of a booking.
    Booking { id: BookingId },
    /// Bookable slots with their number of taken places, in order of time.
    Slots(SlotFilter),
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
    Gateway { name: GatewayName },
    /// Copies all rows, for a backup: changes in the order in which they must be applied.
    CopyData,
    /// Checks all invariants: one row for each violation, and one summary row.
    CheckIntegrity,
}

/// Request that changes rows. Each consists of one or more named transactions of the store, and the
/// response is one row with the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum AdminCommand {
    /// Retries dead letters.
    RetryDeadLetters(JobSelector),
    /// Discards dead letters.
    DiscardDeadLetters(JobSelector),
    /// Discards waiting deliveries.
    DiscardDeliveries(JobSelector),
    /// Pauses a destination until an admin resumes it. Waiting deliveries stay stored.
    PauseDestination { name: DestinationName },
    /// Resumes a destination from any suspension.
    ResumeDestination { name: DestinationName },
    /// Closes a lead.
    CloseLead { id: LeadId },
    /// Assigns a lead to an agent.
    AssignLead { id: LeadId, agent: AgentName },
    /// Adds an agent.
    AddAgent {
        /// Agent name. No other agent may have it.
        name: AgentName,
        /// Team whose leads the agent gets.
        team: TeamName,
        settings: AgentSettings,
    },
    /// Changes the settings of an agent. Settings that are `None` stay unchanged.
    SetAgent {
        name: AgentName,
        /// New team of the agent. `None`: unchanged.
        team: Option<TeamName>,
        settings: AgentSettings,
    },
    /// Pauses an agent, who gets no new leads until resumed.
    PauseAgent { name: AgentName },
    /// Resumes an agent, who gets new leads again.
    ResumeAgent { name: AgentName },
    /// Adds an absence, in which the agent gets no new leads.
    SetAgentAbsence {
        name: AgentName,
        /// First day of the absence, in UTC.
        from: Date,
        /// Last day of the absence, in UTC, inclusive.
        to: Date,
    },
    /// Removes an agent. The open leads go to other agents.
    RemoveAgent { name: AgentName },
    /// Cancels a booking, which frees its place in the slot.
    CancelBooking { id: BookingId },
    /// Moves a booking to another slot.
    MoveBooking {
        id: BookingId,
        /// New date, in the time zone of the calendar.
        date: Date,
        /// New time, in the time zone of the calendar.
        time: Time,
    },
}

/// Request that only a running server can execute: one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum ServerCommand {
    /// Sends a test to a destination. After the row, an error follows if the destination rejected
    /// the test. The store records nothing about the test. If no server runs, the command line
    /// sends the test itself.
    TestDestination {
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
    /// Performs the recovery action that fits the current state of a gateway's session.
    RestartGateway { name: GatewayName },
    /// Signs the body of a sample form as Meta does.
    SignBody {
        /// Body to sign. The signature covers its exact bytes.
        body: String,
    },
    /// Public key of a flow's newest key pair.
    FlowPublicKey { flow: FlowName },
    /// Reloads the config and all files that it names.
    ReloadConfig,
    /// Ends following a backup, and makes the process serve.
    Promote,
}

/// Calendar and days of a list of slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotFilter {
    /// Calendar name. `None`: all calendars.
    pub calendar: Option<CalendarName>,
    /// First day. `None`: today.
    pub from: Option<Date>,
    /// Last day, inclusive. `None`: one week including the first day.
    pub to: Option<Date>,
    /// Maximum number of rows. 0: no limit.
    pub limit: usize,
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
    /// Returns `true` if rows of the time `at` are too old for the filter.
    pub(super) fn starts_after(&self, at: Timestamp) -> bool {
        self.since.is_some_and(|since| at < since)
    }

    /// Returns `true` if rows in this state match.
    pub(super) fn matches_state(&self, state: &str) -> bool {
        self.state.as_ref().is_none_or(|wanted| wanted == state)
    }

    /// Returns `true` if rows of this flow match.
    pub(super) fn matches_flow(&self, flow: Option<&FlowName>) -> bool {
        self.flow.is_none() || self.flow.as_ref() == flow
    }

    /// Returns `true` if rows of this agent match.
    pub(super) fn matches_agent(&self, agent: Option<&str>) -> bool {
        self.agent.is_none() || self.agent.as_ref().map(AgentName::as_str) == agent
    }

    /// Returns `true` if this delivery of this event matches by destination, event and flow.
    pub(super) fn matches_delivery(&self, delivery: &Delivery, event: &Event) -> bool {
        let is_to = |wanted: &DestinationName| delivery.destination == *wanted;
        self.destination.as_ref().is_none_or(is_to)
            && self.event.is_none_or(|wanted| event.kind == wanted)
            && self.matches_flow(event.flow.as_ref())
    }
}

/// Converts the limit of a request to a number of rows: 0 is no limit.
pub(super) const fn max_rows(limit: usize) -> usize {
    if limit == 0 { usize::MAX } else { limit }
}

/// Selection of dead letters or waiting deliveries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobSelector {
    /// Single job, selected by its ID.
    One {
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

impl JobSelector {
    /// Returns the dry run of the same selection. A single job has none.
    #[must_use]
    pub fn to_dry_run(&self) -> Self {
        match self {
            Self::One { .. } => self.clone(),
            Self::All { filter, .. } => Self::All {
                filter: filter.clone(),
                dry_run: true,
                rate: None,
            },
        }
    }
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
