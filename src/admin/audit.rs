//! Records every request that changes something in the audit log: an entry before the action, and
//! its outcome after.
//!
//! The object of an entry contains no personal data, so a forgotten customer is not in the log.

use std::fmt::Display;

use crate::domain::access::Principal;
use crate::domain::access::audit::{AuditEntry, AuditOutcome};
use crate::domain::ids::{AccountName, AgentName};
use crate::domain::time::Timestamp;
use crate::store::{BeginAudit, EndAudit, Store};

use super::error::{AdminError, ErrorCode};
use super::protocol::{
    AdminCommand, AdminRequest, JobSelector, LeadSelection, ListFilter, ServerCommand,
};

/// Name and object of an audited request.
pub(super) struct AuditedRequest {
    request: &'static str,
    object: String,
}

/// Describes a request that changes something. Returns `None` for a query.
pub(super) fn describe(request: &AdminRequest) -> Option<AuditedRequest> {
    match request {
        AdminRequest::Query(_) => None,
        AdminRequest::Command(command) => Some(describe_command(command)),
        AdminRequest::ServerCommand(command) => Some(describe_server_command(command)),
    }
}

/// Handles a request with `handle`, and records it if it changes something. Without a stored entry,
/// nothing is changed.
pub(super) fn record<T>(
    store: &Store,
    principal: &Principal,
    audited: Option<AuditedRequest>,
    handle: impl FnOnce() -> Result<T, AdminError>,
) -> Result<T, AdminError> {
    let Some(audited) = audited else {
        return handle();
    };
    let account = match principal {
        Principal::Shell => None,
        Principal::Account(account) => Some(account.name.clone()),
    };
    let AuditedRequest { request, object } = audited;
    let number = store.execute_blocking(BeginAudit {
        entry: new_entry(account, request, object),
    })?;
    let result = handle();
    let outcome = match &result {
        Ok(_) => AuditOutcome::Done,
        Err(error) if error.code == ErrorCode::Forbidden => AuditOutcome::Forbidden,
        Err(_) => AuditOutcome::Failed,
    };
    // The action has its own result. Without the outcome, the entry stays `started`.
    if let Err(error) = store.execute_blocking(EndAudit { number, outcome }) {
        tracing::error!(audit.id = number, %error, "the outcome of an action is not in the audit log");
    }
    result
}

/// Creates an entry. The store sets its time.
pub(super) fn new_entry(account: Option<AccountName>, request: &str, object: String) -> AuditEntry {
    AuditEntry {
        at: Timestamp::ZERO,
        account,
        request: request.to_owned(),
        object,
        outcome: AuditOutcome::Started,
    }
}

fn audited(request: &'static str, object: impl Display) -> AuditedRequest {
    AuditedRequest {
        request,
        object: format!("{object}"),
    }
}

fn describe_command(command: &AdminCommand) -> AuditedRequest {
    match command {
        AdminCommand::RetryDeadLetters(jobs) => audited("retry_dead_letters", job_text(jobs)),
        AdminCommand::DiscardDeadLetters(jobs) => audited("discard_dead_letters", job_text(jobs)),
        AdminCommand::DiscardDeliveries(jobs) => audited("discard_deliveries", job_text(jobs)),
        AdminCommand::PauseDestination { name } => audited("pause_destination", name),
        AdminCommand::ResumeDestination { name } => audited("resume_destination", name),
        AdminCommand::CloseLead { id } => audited("close_lead", id),
        AdminCommand::CloseLeads(selection) => audited("close_leads", selection_text(selection)),
        AdminCommand::AssignLead { id, agent } => {
            audited("assign_lead", format!("{id} to {agent}"))
        }
        AdminCommand::AddAgent { name, .. } => audited("add_agent", name),
        AdminCommand::SetAgent { name, .. } => audited("set_agent", name),
        AdminCommand::PauseAgent { name } => audited("pause_agent", name),
        AdminCommand::ResumeAgent { name } => audited("resume_agent", name),
        AdminCommand::SetAgentAbsence { name, from, to } => {
            audited("set_agent_absence", format!("{name} from {from} to {to}"))
        }
        AdminCommand::RemoveAgent { name } => audited("remove_agent", name),
        AdminCommand::ImportAgents { agents, dry_run } => {
            let text = format!("{} agents", agents.len());
            audited("import_agents", with_dry_run(text, *dry_run))
        }
        AdminCommand::ImportForms(import) => {
            let text = format!("{} forms of {}", import.rows.len(), import.flow);
            audited("import_forms", with_dry_run(text, import.dry_run))
        }
        AdminCommand::CreateFeed { target } => audited("create_feed", target.name()),
        AdminCommand::RevokeFeed { target } => audited("revoke_feed", target.name()),
        // The customer must not be in the log after this request.
        AdminCommand::ForgetCustomer { dry_run, .. } => {
            audited("forget_customer", with_dry_run(String::new(), *dry_run))
        }
        AdminCommand::InviteAccount(invite) => {
            let (name, role) = (&invite.name, invite.role);
            audited(
                "invite_account",
                role_text(name, role.as_str(), invite.agent.as_ref()),
            )
        }
        AdminCommand::ResetAccount { name, .. } => audited("reset_account", name),
        AdminCommand::SetAccountRole { name, role, agent } => audited(
            "set_account_role",
            role_text(name, role.as_str(), agent.as_ref()),
        ),
        AdminCommand::RemoveAccount { name } => audited("remove_account", name),
        AdminCommand::SignOutAccounts { name } => audited(
            "sign_out_accounts",
            name.as_ref().map_or("all", AccountName::as_str),
        ),
        AdminCommand::CancelBooking { id } => audited("cancel_booking", id),
        AdminCommand::MoveBooking { id, date, time } => {
            audited("move_booking", format!("{id} to {date} {time}"))
        }
    }
}

fn describe_server_command(command: &ServerCommand) -> AuditedRequest {
    match command {
        ServerCommand::TestDestination { name, .. } => audited("test_destination", name),
        ServerCommand::RestartGateway { name } => audited("restart_gateway", name),
        ServerCommand::SignBody { .. } => audited("sign_body", ""),
        ServerCommand::FlowPublicKey { flow } => audited("flow_public_key", flow),
        ServerCommand::LogLevel { filter } => {
            audited("log_level", filter.as_deref().unwrap_or_default())
        }
        ServerCommand::ReloadConfig => audited("reload_config", ""),
        ServerCommand::Promote => audited("promote", ""),
    }
}

fn role_text(name: &AccountName, role: &str, agent: Option<&AgentName>) -> String {
    match agent {
        Some(agent) => format!("{name}: {role} {agent}"),
        None => format!("{name}: {role}"),
    }
}

fn job_text(selector: &JobSelector) -> String {
    match selector {
        JobSelector::One { id, payload: None } => id.to_string(),
        JobSelector::One { id, payload: _ } => format!("{id} with a corrected payload"),
        JobSelector::All {
            filter, dry_run, ..
        } => with_dry_run(filter_text(filter), *dry_run),
    }
}

fn filter_text(filter: &ListFilter) -> String {
    let parts = [
        filter.state.clone(),
        filter.flow.as_ref().map(ToString::to_string),
        filter.destination.as_ref().map(ToString::to_string),
        filter.event.map(|event| event.as_str().to_owned()),
        filter.since.map(|since| format!("since {since}")),
    ];
    all_of(parts)
}

fn selection_text(selection: &LeadSelection) -> String {
    let parts = [
        selection.agent.as_ref().map(ToString::to_string),
        selection.flow.as_ref().map(ToString::to_string),
        selection.created_before.map(|end| format!("before {end}")),
    ];
    with_dry_run(all_of(parts), selection.dry_run)
}

/// Describes a selection by the parts that are set.
fn all_of(parts: impl IntoIterator<Item = Option<String>>) -> String {
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        "all".to_owned()
    } else {
        format!("all of {}", parts.join(", "))
    }
}

fn with_dry_run(text: String, dry_run: bool) -> String {
    match (text.is_empty(), dry_run) {
        (_, false) => text,
        (true, true) => "dry run".to_owned(),
        (false, true) => format!("{text}, dry run"),
    }
}
