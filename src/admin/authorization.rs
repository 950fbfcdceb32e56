//! Decides which requests a principal may send, and limits the requests of agents to their own
//! leads and bookings.
//!
//! Each request is named here, so a new request does not compile without a decision.
//!
//! See [`crate::domain::access`] for the roles.

use crate::domain::access::{AccountPrincipal, Principal, Role};
use crate::domain::ids::{AgentName, BookingId, LeadId, SubmissionId};

use super::context::{AdminContext, AgentNames};
use super::error::AdminError;
use super::protocol::{AdminCommand, AdminQuery, AdminRequest, ListFilter, ServerCommand};

/// Request that the principal may send.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AuthorizedRequest {
    /// Request, limited to the rows of the agent.
    pub(super) request: AdminRequest,
    /// Object that must belong to the agent before the request is handled.
    pub(super) owned: Option<OwnedObject>,
}

/// Object of an agent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OwnedObject {
    agent: AgentName,
    id: ObjectId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ObjectId {
    Lead(LeadId),
    Booking(BookingId),
    Submission(SubmissionId),
}

/// Requests that an account may send without being an owner.
enum Access {
    /// Viewers may send the request.
    Read,
    /// Viewers and agents may send the request. It shows no personal data.
    ReadByAll,
    /// Only owners may send the request.
    Owner,
    /// Viewers may list all rows, agents their own.
    OwnRows(fn(ListFilter) -> AdminQuery, ListFilter),
    /// Viewers may read the object, agents if it is theirs.
    OwnObject(ObjectId),
    /// Agents may change the object if it is theirs.
    ChangeOwn(ObjectId),
    /// Agents may change themselves.
    ChangeAgent(AgentName),
}

/// Returns the request that the principal may send: the same one, or one with a filter for the
/// agent's own rows.
pub(super) fn authorize(
    principal: &Principal,
    request: AdminRequest,
) -> Result<AuthorizedRequest, AdminError> {
    let account = match principal {
        Principal::Shell => return Ok(unlimited(request)),
        Principal::Account(account) => account,
    };
    let access = match &request {
        AdminRequest::Query(query) => query_access(query),
        AdminRequest::Command(command) => command_access(command),
        AdminRequest::ServerCommand(command) => server_command_access(command),
    };
    match (account.role, &account.agent) {
        (Role::Owner, _) => Ok(unlimited(request)),
        (Role::Viewer, _) => match access {
            Access::Read | Access::ReadByAll | Access::OwnRows(..) | Access::OwnObject(_) => {
                Ok(unlimited(request))
            }
            Access::Owner | Access::ChangeOwn(_) | Access::ChangeAgent(_) => Err(refusal(account)),
        },
        (Role::Agent, Some(agent)) => authorize_agent(account, agent, access, request),
        (Role::Agent, None) => Err(refusal(account)),
    }
}

fn authorize_agent(
    account: &AccountPrincipal,
    agent: &AgentName,
    access: Access,
    request: AdminRequest,
) -> Result<AuthorizedRequest, AdminError> {
    match access {
        Access::Read | Access::Owner => Err(refusal(account)),
        Access::ReadByAll => Ok(unlimited(request)),
        Access::OwnRows(query, filter) => match &filter.agent {
            Some(other) if other != agent => Err(AdminError::missing("agent", other)),
            _ => Ok(unlimited(
                query(ListFilter {
                    agent: Some(agent.clone()),
                    ..filter
                })
                .into(),
            )),
        },
        Access::OwnObject(id) | Access::ChangeOwn(id) => Ok(AuthorizedRequest {
            request,
            owned: Some(OwnedObject {
                agent: agent.clone(),
                id,
            }),
        }),
        Access::ChangeAgent(name) if name == *agent => Ok(unlimited(request)),
        Access::ChangeAgent(other) => Err(AdminError::missing("agent", other)),
    }
}

const fn unlimited(request: AdminRequest) -> AuthorizedRequest {
    AuthorizedRequest {
        request,
        owned: None,
    }
}

fn refusal(account: &AccountPrincipal) -> AdminError {
    let (name, role) = (account.name.as_str(), account.role.as_str());
    AdminError::forbidden(format!(
        "the account {name} has the role {role}, which does not allow this request"
    ))
}

fn query_access(query: &AdminQuery) -> Access {
    match query {
        AdminQuery::Status
        | AdminQuery::Submissions(_)
        | AdminQuery::Drafts(_)
        | AdminQuery::Jobs(_)
        | AdminQuery::Job { .. }
        | AdminQuery::DeadLetters(_)
        | AdminQuery::DeadLetter { .. }
        | AdminQuery::Deliveries(_)
        | AdminQuery::Delivery { .. }
        | AdminQuery::Destinations
        | AdminQuery::Trace { .. }
        | AdminQuery::Customers(_)
        | AdminQuery::Customer { .. }
        | AdminQuery::Flows
        | AdminQuery::FlowErrors(_)
        | AdminQuery::FlowHealth { .. }
        | AdminQuery::Gateways
        | AdminQuery::Gateway { .. }
        | AdminQuery::Accounts
        | AdminQuery::AuditLog(_)
        | AdminQuery::CheckIntegrity => Access::Read,
        AdminQuery::Slots(_) | AdminQuery::Calendars => Access::ReadByAll,
        AdminQuery::Leads(filter) => Access::OwnRows(AdminQuery::Leads, filter.clone()),
        AdminQuery::Agents(filter) => Access::OwnRows(AdminQuery::Agents, filter.clone()),
        AdminQuery::Bookings(filter) => Access::OwnRows(AdminQuery::Bookings, filter.clone()),
        AdminQuery::Lead { id } => Access::OwnObject(ObjectId::Lead(*id)),
        AdminQuery::Booking { id } => Access::OwnObject(ObjectId::Booking(*id)),
        AdminQuery::Submission { id } => Access::OwnObject(ObjectId::Submission(*id)),
        // The copy contains the hashes of passwords and secrets.
        AdminQuery::CopyData => Access::Owner,
    }
}

fn command_access(command: &AdminCommand) -> Access {
    match command {
        AdminCommand::CloseLead { id } => Access::ChangeOwn(ObjectId::Lead(*id)),
        AdminCommand::PauseAgent { name } | AdminCommand::ResumeAgent { name } => {
            Access::ChangeAgent(name.clone())
        }
        AdminCommand::RetryDeadLetters(_)
        | AdminCommand::DiscardDeadLetters(_)
        | AdminCommand::DiscardDeliveries(_)
        | AdminCommand::PauseDestination { .. }
        | AdminCommand::ResumeDestination { .. }
        | AdminCommand::CloseLeads(_)
        | AdminCommand::AssignLead { .. }
        | AdminCommand::AddAgent { .. }
        | AdminCommand::SetAgent { .. }
        | AdminCommand::SetAgentAbsence { .. }
        | AdminCommand::RemoveAgent { .. }
        | AdminCommand::ImportAgents { .. }
        | AdminCommand::ImportForms(_)
        | AdminCommand::CreateFeed { .. }
        | AdminCommand::RevokeFeed { .. }
        | AdminCommand::ForgetCustomer { .. }
        | AdminCommand::InviteAccount(_)
        | AdminCommand::ResetAccount { .. }
        | AdminCommand::SetAccountRole { .. }
        | AdminCommand::RemoveAccount { .. }
        | AdminCommand::SignOutAccounts { .. }
        | AdminCommand::CancelBooking { .. }
        | AdminCommand::MoveBooking { .. } => Access::Owner,
    }
}

const fn server_command_access(command: &ServerCommand) -> Access {
    match command {
        ServerCommand::TestDestination { .. }
        | ServerCommand::RestartGateway { .. }
        | ServerCommand::SignBody { .. }
        | ServerCommand::FlowPublicKey { .. }
        | ServerCommand::LogLevel { .. }
        | ServerCommand::ReloadConfig
        | ServerCommand::Promote => Access::Owner,
    }
}

/// Refuses an object of another agent with the same error as an object that does not exist.
pub(super) fn check_owned(context: &AdminContext, object: &OwnedObject) -> Result<(), AdminError> {
    let snapshot = context.snapshot()?;
    let agent_id = match object.id {
        ObjectId::Lead(id) => snapshot.lead(id)?.and_then(|lead| lead.agent),
        ObjectId::Booking(id) => match snapshot.booking(id)? {
            Some(booking) => snapshot.agent_of_submission(booking.submission_id)?,
            None => None,
        },
        ObjectId::Submission(id) => snapshot.agent_of_submission(id)?,
    };
    let name = AgentNames::default().lookup(&snapshot, agent_id);
    if name.as_deref() == Some(object.agent.as_str()) {
        return Ok(());
    }
    Err(match object.id {
        ObjectId::Lead(id) => AdminError::missing("lead", id),
        ObjectId::Booking(id) => AdminError::missing("booking", id),
        ObjectId::Submission(id) => AdminError::missing("submission", id),
    })
}
