//! The page of all accounts, for owners: invites, roles, new links and removals.

use std::borrow::Borrow;

use askama::Template;

use crate::admin::{
    AccountInvite, AccountRow, AdminCommand, AdminQuery, AgentRow, InviteRow, ListFilter,
};
use crate::dashboard::context::PageContext;
use crate::dashboard::notices::Notice;
use crate::dashboard::page::{Page, PageError};
use crate::dashboard::request::PageRequest;
use crate::dashboard::texts::fill;
use crate::dashboard::view::View;
use crate::domain::access::Role;
use crate::domain::ids::{AccountName, AgentName};

#[derive(Template)]
#[template(path = "accounts.html")]
struct AccountsPage<'a> {
    view: &'a View,
    accounts: Vec<AccountRow>,
    agents: Vec<AgentRow>,
}

#[derive(Template)]
#[template(path = "invite_link.html")]
struct InviteLinkPage<'a> {
    view: &'a View,
    hint: String,
    /// Complete address of the invite.
    url: String,
}

/// Choice of a role, as a part of a form.
#[derive(Template)]
#[template(path = "role_fields.html")]
struct RoleFields<'a> {
    view: &'a View,
    agents: &'a [AgentRow],
    /// Suffix that makes the IDs of the fields unique in the page.
    id: String,
    role: Role,
    agent: Option<&'a AgentName>,
}

impl AccountsPage<'_> {
    /// Returns the fields of a new account.
    fn new_role_fields(&self) -> RoleFields<'_> {
        RoleFields {
            view: self.view,
            agents: &self.agents,
            id: "new".to_owned(),
            role: Role::Viewer,
            agent: None,
        }
    }

    /// Returns the fields of an account.
    fn role_fields<'a>(
        &'a self,
        account: &'a AccountRow,
        id: impl Borrow<usize>,
    ) -> RoleFields<'a> {
        RoleFields {
            view: self.view,
            agents: &self.agents,
            id: id.borrow().to_string(),
            role: account.role,
            agent: account.agent.as_ref(),
        }
    }
}

impl RoleFields<'_> {
    /// Returns `true` if the account has the leads and bookings of this agent.
    fn is_agent(&self, name: &AgentName) -> bool {
        self.agent == Some(name)
    }
}

/// Shows the page.
pub(in crate::dashboard) fn show(
    context: &PageContext,
    _: &PageRequest,
) -> Result<Page, PageError> {
    Page::render(&AccountsPage {
        view: &context.view,
        accounts: context.rows(AdminQuery::Accounts)?,
        agents: context.rows(AdminQuery::Agents(ListFilter::default()))?,
    })
}

/// Invites a person and shows the link once.
pub(in crate::dashboard) fn invite(
    context: &PageContext,
    request: &PageRequest,
) -> Result<Page, PageError> {
    let (role, agent) = role_and_agent(request)?;
    let invite = AccountInvite {
        name: request.form.required("name")?,
        role,
        agent,
        expires_in: None,
    };
    show_link(context, &context.row(AdminCommand::InviteAccount(invite))?)
}

/// Changes the role of an account.
pub(in crate::dashboard) fn change_role(
    context: &PageContext,
    request: &PageRequest,
) -> Result<Page, PageError> {
    let (role, agent) = role_and_agent(request)?;
    let name = account_name(request)?;
    context.execute(AdminCommand::SetAccountRole { name, role, agent })?;
    Ok(Page::done("/accounts", Notice::RoleChanged))
}

/// Ends the password and all sign-ins of an account, and shows a new link once.
pub(in crate::dashboard) fn reset(
    context: &PageContext,
    request: &PageRequest,
) -> Result<Page, PageError> {
    let reset = AdminCommand::ResetAccount {
        name: account_name(request)?,
        expires_in: None,
    };
    show_link(context, &context.row(reset)?)
}

/// Removes an account.
pub(in crate::dashboard) fn remove(
    context: &PageContext,
    request: &PageRequest,
) -> Result<Page, PageError> {
    let name = account_name(request)?;
    context.execute(AdminCommand::RemoveAccount { name })?;
    Ok(Page::done("/accounts", Notice::AccountRemoved))
}

fn account_name(request: &PageRequest) -> Result<AccountName, PageError> {
    Ok(request.path_fields.required("name")?)
}

/// Reads the role of a form, and the agent if the role needs one.
fn role_and_agent(request: &PageRequest) -> Result<(Role, Option<AgentName>), PageError> {
    let name: String = request.form.required("role")?;
    let role = Role::from_name(&name);
    let role = role.ok_or_else(|| PageError::Invalid(format!("unknown role {name:?}")))?;
    let agent = match role {
        Role::Agent => Some(request.form.required("agent")?),
        Role::Owner | Role::Viewer => None,
    };
    Ok((role, agent))
}

fn show_link(context: &PageContext, invite: &InviteRow) -> Result<Page, PageError> {
    let view = &context.view;
    let ends_at = invite.expires_at.map(|at| view.day_and_time(at));
    Page::render(&InviteLinkPage {
        view,
        hint: fill(
            view.texts.access.link_hint,
            &[invite.name.as_str(), &ends_at.unwrap_or_default()],
        ),
        url: format!("{}{}", context.url, invite.path),
    })
}
