//! Invites, changes and removes accounts of the dashboard.
//!
//! The shell may also change the last owner, because it can always invite another one.

use crate::admin::access::new_secret;
use crate::admin::account_requests::AccountInvite;
use crate::admin::context::{AdminContext, RowSink, send_row};
use crate::admin::error::AdminError;
use crate::admin::responses::{AccountRow, InviteRow, SHELL, SignOutRow};
use crate::domain::access::account::{Account, check_role};
use crate::domain::access::{Principal, Role};
use crate::domain::ids::{AccountName, AgentName};
use crate::domain::time::Millis;
use crate::store::{
    AccountOutcome, EndSignIns, InviteAccount, RemoveAccount, ResetAccount, SetAccountRole,
};

/// Time after which the link of an invite ends, unless the request has another one.
const EXPIRES_IN: Millis = Millis::from_secs(3 * 24 * 60 * 60);
/// Shortest and longest time of a link.
const EXPIRY_RANGE: std::ops::RangeInclusive<Millis> =
    Millis::from_secs(60)..=Millis::from_secs(30 * 24 * 60 * 60);

pub(super) fn invite_account(
    context: &AdminContext,
    invite: AccountInvite,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let AccountInvite {
        name,
        role,
        agent,
        expires_in,
    } = invite;
    if name.as_str() == SHELL {
        return Err(AdminError::invalid(
            "the name shell means the command line in the audit log: choose another name",
        ));
    }
    check_agent(context, role, agent.as_ref())?;
    let secret = new_secret();
    let invited = context.store.execute_blocking(InviteAccount {
        name: name.clone(),
        role,
        agent,
        secret_hash: secret.hash(),
        expires_in: expiry(expires_in)?,
    })?;
    send_row(sink, InviteRow::new(&changed(&name, invited)?, &secret))
}

pub(super) fn reset_account(
    context: &AdminContext,
    principal: &Principal,
    name: &AccountName,
    expires_in: Option<u64>,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let secret = new_secret();
    let reset = context.store.execute_blocking(ResetAccount {
        name: name.clone(),
        secret_hash: secret.hash(),
        expires_in: expiry(expires_in)?,
        may_change_last_owner: *principal == Principal::Shell,
    })?;
    send_row(sink, InviteRow::new(&changed(name, reset)?, &secret))
}

pub(super) fn set_role(
    context: &AdminContext,
    principal: &Principal,
    name: &AccountName,
    role: Role,
    agent: Option<AgentName>,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    check_agent(context, role, agent.as_ref())?;
    let set = context.store.execute_blocking(SetAccountRole {
        name: name.clone(),
        role,
        agent,
        may_change_last_owner: *principal == Principal::Shell,
    })?;
    let row = AccountRow::new(&changed(name, set)?, &[], context.now());
    send_row(sink, row)
}

pub(super) fn remove_account(
    context: &AdminContext,
    principal: &Principal,
    name: &AccountName,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let removed = context.store.execute_blocking(RemoveAccount {
        name: name.clone(),
        may_change_last_owner: *principal == Principal::Shell,
    })?;
    let row = AccountRow::new(&changed(name, removed)?, &[], context.now());
    let state = "removed".to_owned();
    send_row(sink, AccountRow { state, ..row })
}

pub(super) fn sign_out(
    context: &AdminContext,
    name: Option<AccountName>,
    sink: &mut RowSink<'_>,
) -> Result<(), AdminError> {
    let ended = context
        .store
        .execute_blocking(EndSignIns { name: name.clone() })?;
    match (ended, name) {
        (Some(ended_sign_ins), _) => send_row(sink, SignOutRow { ended_sign_ins }),
        (None, Some(name)) => Err(not_found(&name)),
        (None, None) => send_row(sink, SignOutRow { ended_sign_ins: 0 }),
    }
}

fn expiry(expires_in: Option<u64>) -> Result<Millis, AdminError> {
    let expires_in = expires_in.map_or(EXPIRES_IN, Millis::new);
    if EXPIRY_RANGE.contains(&expires_in) {
        Ok(expires_in)
    } else {
        Err(AdminError::invalid("the link must end after 1m to 30d"))
    }
}

/// Checks that the role and the agent fit, and that the agent exists.
fn check_agent(
    context: &AdminContext,
    role: Role,
    agent: Option<&AgentName>,
) -> Result<(), AdminError> {
    check_role(role, agent).map_err(|error| AdminError::invalid(error.to_string()))?;
    agent.map_or(Ok(()), |name| context.require_agent(name))
}

fn changed(name: &AccountName, outcome: AccountOutcome) -> Result<Account, AdminError> {
    match outcome {
        AccountOutcome::Changed(account) => Ok(account),
        AccountOutcome::NotFound => Err(not_found(name)),
        AccountOutcome::NameTaken => Err(AdminError::failed(format!(
            "the account {name} exists: `flowgate admin reset {name}` makes a new link for it"
        ))),
        AccountOutcome::LastOwner => Err(AdminError::failed(format!(
            "{name} is the last owner who can sign in: invite another owner first"
        ))),
    }
}

fn not_found(name: &AccountName) -> AdminError {
    AdminError::not_found(format!(
        "there is no account {name}: `flowgate admin list` lists them"
    ))
}
