//! Defines the requests of an operator.
//!
//! See [`super::filters`] for the filters, [`super::responses`] for the rows of a response,
//! [`super::error`] for the errors, and [`crate::admin_server`] for the paths of the requests.

use jiff::civil::{Date, Time};
use serde::{Deserialize, Serialize};

use crate::domain::access::Role;
use crate::domain::calendar_feed::FeedTarget;
use crate::domain::event::EventKind;
use crate::domain::ids::{
    AccountName, AgentName, BookingId, Customer, DestinationName, FlowName, GatewayName, JobId,
    LeadId, SubmissionId, TeamName,
};
use crate::domain::phone_number::PhoneNumber;

use super::account_requests::{AccountInvite, AuditFilter};
pub(super) use super::filters::max_rows;
pub use super::filters::{
    CustomerFilter, JobSelector, LeadSelection, ListFilter, SearchLimits, SlotFilter,
};

/// Request of an operator. Its type decides where it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
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
#[serde(rename_all = "snake_case", deny_unknown_fields)]
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
    Trace {
        text: String,
        #[serde(default)]
        limits: SearchLimits,
    },
    /// Customers whose forms match, the newest form first.
    Customers(CustomerFilter),
    /// Everything about the customer with this phone number or ID.
    Customer {
        name: String,
        #[serde(default)]
        limits: SearchLimits,
    },
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
#[serde(rename_all = "snake_case", deny_unknown_fields)]
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
        #[serde(default)]
        settings: AgentSettings,
    },
    /// Changes the settings of an agent. Settings that are `None` stay unchanged.
    SetAgent {
        name: AgentName,
        /// New team of the agent. `None`: unchanged.
        team: Option<TeamName>,
        #[serde(default)]
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
        #[serde(default)]
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
        #[serde(default)]
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
#[serde(rename_all = "snake_case", deny_unknown_fields)]
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

/// Weight and limits of an agent. `None` leaves a setting unchanged; for a new agent it means the
/// default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentSettings {
    /// Weight, from 1 to 1000. Default for a new agent: 1.
    pub weight: Option<u32>,
    /// Maximum number of open leads. 0: no limit, the default for a new agent.
    pub max_leads: Option<u32>,
    /// Maximum number of leads per day, in the time zone of the business. 0: no limit, the default
    /// for a new agent.
    pub max_leads_per_day: Option<u32>,
}

/// Agent in a file to import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportedAgent {
    /// Line number in the file.
    pub line: u64,
    pub name: AgentName,
    pub team: TeamName,
    #[serde(default)]
    pub settings: AgentSettings,
}

/// Forms in a file to import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormImport {
    pub flow: FlowName,
    /// `true` if each form must book a slot.
    pub books: bool,
    pub rows: Vec<ImportedForm>,
    /// `true` if the request only checks the forms.
    #[serde(default)]
    pub dry_run: bool,
}

/// Form in a file to import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportedForm {
    /// Line number in the file.
    pub line: u64,
    /// Customer. May be unknown.
    pub customer: Customer,
    /// Flow token that identifies the row when the file is imported again.
    pub token: String,
    /// Answers as the text of a JSON object.
    pub data: String,
}
