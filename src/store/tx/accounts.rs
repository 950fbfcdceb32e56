//! Invites, changes and removes accounts of the dashboard.
//!
//! Each change of a role or of the credentials ends all sign-ins of the account.
//!
//! See [`crate::domain::access`] for the rules.

use crate::domain::access::Role;
use crate::domain::access::account::{Account, Invite};
use crate::domain::access::secret::AccessSecret;
use crate::domain::ids::{AccountName, AgentName};
use crate::domain::time::{Millis, Timestamp};

use super::sign_ins::{self, NewSignIn};
use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Makes an account whose password the invited person sets. An invite that was not used is
/// replaced.
#[derive(Debug)]
pub struct InviteAccount {
    /// Account name.
    pub name: AccountName,
    /// Role of the account.
    pub role: Role,
    /// Agent of an account with the role `agent`.
    pub agent: Option<AgentName>,
    /// Hash of the secret in the link.
    pub secret_hash: [u8; 32],
    /// Time after which the link ends.
    pub expires_in: Millis,
}

/// Removes the password and all sign-ins of an account, and makes a new invite.
#[derive(Debug)]
pub struct ResetAccount {
    /// Account name.
    pub name: AccountName,
    /// Hash of the secret in the link.
    pub secret_hash: [u8; 32],
    /// Time after which the link ends.
    pub expires_in: Millis,
    /// `true` if the last owner may be reset.
    pub may_change_last_owner: bool,
}

/// Changes the role of an account.
#[derive(Debug)]
pub struct SetAccountRole {
    /// Account name.
    pub name: AccountName,
    /// New role.
    pub role: Role,
    /// Agent of an account with the role `agent`.
    pub agent: Option<AgentName>,
    /// `true` if the last owner may get another role.
    pub may_change_last_owner: bool,
}

/// Removes an account.
#[derive(Debug)]
pub struct RemoveAccount {
    /// Account name.
    pub name: AccountName,
    /// `true` if the last owner may be removed.
    pub may_change_last_owner: bool,
}

/// Sets the password of an invited account and signs the browser in.
#[derive(Debug)]
pub struct RedeemInvite {
    /// Secret of the link.
    pub secret: AccessSecret,
    /// Hash of the password as PHC text.
    pub password_hash: String,
    /// Sign-in of the browser.
    pub sign_in: NewSignIn,
}

/// Changes the password of an account, ends all its sign-ins and signs the browser in anew.
#[derive(Debug)]
pub struct ChangePassword {
    /// Account name.
    pub name: AccountName,
    /// Hash that was verified. Another change meanwhile makes this one fail.
    pub old_hash: String,
    /// Hash of the new password as PHC text.
    pub new_hash: String,
    /// Sign-in of the browser.
    pub sign_in: NewSignIn,
}

/// Outcome of a change of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountOutcome {
    /// The account after the change, or before its removal.
    Changed(Account),
    /// An account with this name exists and has a password.
    NameTaken,
    /// There is no such account, invite or password.
    NotFound,
    /// No other owner could sign in after the change.
    LastOwner,
}

impl Transaction for InviteAccount {
    type Outcome = AccountOutcome;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<AccountOutcome> {
        let existing = ctx.tables.accounts.get(self.name.as_str())?;
        if existing.is_some_and(|account| account.password_hash.is_some()) {
            return Ok(AccountOutcome::NameTaken);
        }
        let account = Account {
            name: self.name.clone(),
            role: self.role,
            agent: self.agent.clone(),
            password_hash: None,
            invite: Some(invite(self.secret_hash, self.expires_in, ctx.now)),
            created_at: ctx.now,
        };
        put(ctx, account)
    }
}

impl Transaction for ResetAccount {
    type Outcome = AccountOutcome;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<AccountOutcome> {
        change(
            ctx,
            &self.name,
            self.may_change_last_owner,
            |account, now| {
                account.password_hash = None;
                account.invite = Some(invite(self.secret_hash, self.expires_in, now));
            },
        )
    }
}

impl Transaction for SetAccountRole {
    type Outcome = AccountOutcome;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<AccountOutcome> {
        change(ctx, &self.name, self.may_change_last_owner, |account, _| {
            account.role = self.role;
            account.agent.clone_from(&self.agent);
        })
    }
}

impl Transaction for RemoveAccount {
    type Outcome = AccountOutcome;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<AccountOutcome> {
        let Some(account) = ctx.tables.accounts.get(self.name.as_str())? else {
            return Ok(AccountOutcome::NotFound);
        };
        if !self.may_change_last_owner && is_last_owner(ctx, &account)? {
            return Ok(AccountOutcome::LastOwner);
        }
        sign_ins::end_all(ctx, Some(&self.name))?;
        ctx.tables.accounts.remove(self.name.as_str())?;
        Ok(AccountOutcome::Changed(account))
    }
}

impl Transaction for RedeemInvite {
    type Outcome = AccountOutcome;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<AccountOutcome> {
        let Some(mut account) = find_invited(ctx, &self.secret)? else {
            return Ok(AccountOutcome::NotFound);
        };
        account.password_hash = Some(self.password_hash.clone());
        account.invite = None;
        sign_ins::end_all(ctx, Some(&account.name))?;
        self.sign_in.insert(ctx, &account.name)?;
        put(ctx, account)
    }
}

impl Transaction for ChangePassword {
    type Outcome = AccountOutcome;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<AccountOutcome> {
        let account = ctx.tables.accounts.get(self.name.as_str())?;
        let is_current = |account: &Account| account.password_hash.as_ref() == Some(&self.old_hash);
        let Some(mut account) = account.filter(is_current) else {
            return Ok(AccountOutcome::NotFound);
        };
        account.password_hash = Some(self.new_hash.clone());
        sign_ins::end_all(ctx, Some(&self.name))?;
        self.sign_in.insert(ctx, &self.name)?;
        put(ctx, account)
    }
}

const fn invite(secret_hash: [u8; 32], expires_in: Millis, now: Timestamp) -> Invite {
    Invite {
        secret_hash,
        expires_at: now.plus(expires_in),
    }
}

/// Changes an account and ends its sign-ins.
fn change(
    ctx: &mut WriteContext<'_>,
    name: &AccountName,
    may_change_last_owner: bool,
    apply: impl FnOnce(&mut Account, Timestamp),
) -> StoreResult<AccountOutcome> {
    let Some(before) = ctx.tables.accounts.get(name.as_str())? else {
        return Ok(AccountOutcome::NotFound);
    };
    let mut account = before.clone();
    apply(&mut account, ctx.now);
    let loses_owner = !account.is_usable_owner() && is_last_owner(ctx, &before)?;
    if loses_owner && !may_change_last_owner {
        return Ok(AccountOutcome::LastOwner);
    }
    sign_ins::end_all(ctx, Some(name))?;
    put(ctx, account)
}

fn put(ctx: &mut WriteContext<'_>, account: Account) -> StoreResult<AccountOutcome> {
    ctx.tables.accounts.put(account.name.as_str(), &account)?;
    Ok(AccountOutcome::Changed(account))
}

/// Returns `true` if the account is the only owner who can sign in.
fn is_last_owner(ctx: &WriteContext<'_>, account: &Account) -> StoreResult<bool> {
    if !account.is_usable_owner() {
        return Ok(false);
    }
    for row in ctx.tables.accounts.all_rows()? {
        let other = row?.value()?;
        if other.name != account.name && other.is_usable_owner() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn find_invited(ctx: &WriteContext<'_>, secret: &AccessSecret) -> StoreResult<Option<Account>> {
    let mut found = None;
    for row in ctx.tables.accounts.all_rows()? {
        let account = row?.value()?;
        let opens = |invite: &Invite| invite.opens_with(secret, ctx.now);
        if account.invite.as_ref().is_some_and(opens) {
            found = Some(account);
        }
    }
    Ok(found)
}
