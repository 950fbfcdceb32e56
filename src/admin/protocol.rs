//! Defines the requests of an operator and the lines of a response.
//!
//! On the socket, a request is one line of JSON. The response is `{"row":…}` for each row, then
//! `{"done":true}` or `{"error":{"code":…,"message":…}}`.
//!
//! See [`super::responses`] for the rows, and [`super::error`] for the errors.

use jiff::civil::{Date, Time};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::access::Role;
use crate::domain::calendar_feed::FeedTarget;
use crate::domain::day_range::DayRange;
use crate::domain::delivery::{Delivery, Event};
use crate::domain::event::EventKind;
use crate::domain::ids::{
    AccountName, AgentName, BookingId, CalendarName, Customer, DestinationName, FlowName,
    GatewayName, JobId, LeadId, SubmissionId, TeamName,
};
use crate::domain::phone_number::PhoneNumber;
use crate::domain::rate_limiter::Rate;
use crate::domain::time::Timestamp;

use super::account_requests::{AccountInvite, AuditFilter};
use super::error::AdminError;
use super::import_requests::{AgentSettings, FormImport, ImportedAgent};

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
    /// Timelines of everything that a text means: an ID, a token, or a customer.
    Trace { text: String, limits: SearchLimits },
    /// Customers whose forms match, the newest form first.
    Customers(CustomerFilter),
    /// Everything about the customer with this phone number or ID.
    Customer { name: String, limits: SearchLimits },
    /// Bookable slots with their number of taken places, in order of time.
    Slots(SlotFilter),
    /// Calendars of the config, by name.
    Calendars,
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
    /// Accounts of the dashboard, by name.
    Accounts,
    /// Audit log, newest first.
    AuditLog(AuditFilter),
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
    /// Closes all open leads that match a selection.
    CloseLeads(LeadSelection),
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
        /// First day of the absence, in the time zone of the business.
        from: Date,
        /// Last day of the absence, inclusive.
        to: Date,
    },
    /// Removes an agent. The open leads go to other agents.
    RemoveAgent { name: AgentName },
    /// Adds agents, and changes agents with the same names.
    ImportAgents {
        agents: Vec<ImportedAgent>,
        /// `true` if the request only counts the changes.
        dry_run: bool,
    },
    /// Stores forms of another program.
    ImportForms(FormImport),
    /// Makes a secret address of a calendar feed. The previous address becomes invalid.
    CreateFeed { target: FeedTarget },
    /// Revokes the secret address of a calendar feed.
    RevokeFeed { target: FeedTarget },
    /// Removes a customer from all tables.
    ForgetCustomer {
        /// Known name of the customer.
        customer: Customer,
        /// `true` if the request only counts the rows.
        dry_run: bool,
    },
    /// Makes an account of the dashboard, and a one-time link with which its password is set.
    InviteAccount(AccountInvite),
    /// Removes the password and all sign-ins of an account, and makes a new one-time link.
    ResetAccount {
        name: AccountName,
        /// Time after which the link ends, in milliseconds. `None`: 3 days.
        expires_in: Option<u64>,
    },
    /// Changes the role of an account, and ends its sign-ins.
    SetAccountRole {
        name: AccountName,
        role: Role,
        /// Agent of an account with the role `agent`.
        agent: Option<AgentName>,
    },
    /// Removes an account with all its sign-ins.
    RemoveAccount { name: AccountName },
    /// Ends the sign-ins of an account. `None`: of all accounts.
    SignOutAccounts { name: Option<AccountName> },
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
    /// Shows the filter of the log, or changes it until the next start.
    LogLevel {
        /// New filter. `None`: unchanged.
        filter: Option<String>,
    },
    /// Reloads the config and all files that it names.
    ReloadConfig,
    /// Ends following a backup, and makes the process serve.
    Promote,
}

/// Limits of a request that searches tables without an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchLimits {
    /// Maximum number of results. 0: no limit.
    pub rows: usize,
    /// Maximum number of rows read in each table. 0: no limit.
    pub scan: u64,
}

/// Filter of a search for customers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerFilter {
    /// Part of a phone number, ID, name or answer. `None`: all customers.
    pub text: Option<String>,
    /// Flow of the forms. `None`: all flows.
    pub flow: Option<FlowName>,
    /// Time of the oldest form, in UTC. `None`: no limit.
    pub since: Option<Timestamp>,
    pub limits: SearchLimits,
}

/// Calendar and days of a list of slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotFilter {
    /// Calendar name. `None`: all calendars.
    pub calendar: Option<CalendarName>,
    /// Days by name, instead of `from` and `to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<DayRange>,
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
    /// Calendar of the rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<CalendarName>,
    /// Days of the rows, in the time zone of their calendar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<DayRange>,
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

/// Selection of open leads. A lead must match all fields that are set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeadSelection {
    /// Agent of the leads.
    pub agent: Option<AgentName>,
    /// Flow of the leads.
    pub flow: Option<FlowName>,
    /// Time before which the leads were created, in UTC.
    pub created_before: Option<Timestamp>,
    /// `true` if the request only counts the leads and shows the first three.
    pub dry_run: bool,
}
