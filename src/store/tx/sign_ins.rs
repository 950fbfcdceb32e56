//! Records and ends sign-ins of browsers.
//!
//! See [`crate::domain::access::account`] for the time limits.

use crate::domain::access::account::{SignIn, SignInLimits};
use crate::domain::access::secret::AccessSecret;
use crate::domain::ids::AccountName;
use crate::domain::time::Timestamp;

use crate::store::StoreResult;
use crate::store::engine::{Hash, Rows};
use crate::store::rows::secrets::secret_key;
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Maximum number of sign-ins of one account. Beyond it, the one with the oldest request ends.
const SIGN_INS_MAX: usize = 20;

/// New sign-in of a browser.
#[derive(Clone, Debug)]
pub struct NewSignIn {
    /// Hash of the secret in the cookie.
    pub secret_hash: [u8; 32],
    /// Name of the browser.
    pub browser: String,
    /// Times after which sign-ins end.
    pub limits: SignInLimits,
}

/// Signs a browser in to an account.
#[derive(Debug)]
pub struct SignInBrowser {
    /// Account name.
    pub name: AccountName,
    /// Password hash that was verified. Another password meanwhile makes the sign-in fail.
    pub password_hash: String,
    /// New sign-in.
    pub sign_in: NewSignIn,
}

/// Records the time of the last request of a sign-in.
#[derive(Debug)]
pub struct RefreshSignIn {
    /// Secret of the cookie.
    pub secret: AccessSecret,
}

/// Ends one sign-in.
#[derive(Debug)]
pub struct EndSignIn {
    /// Account of the sign-in.
    pub name: AccountName,
    /// Key of the sign-in.
    pub key: Hash,
}

/// Ends all sign-ins of an account, or of all accounts.
#[derive(Debug)]
pub struct EndSignIns {
    /// Account name. `None`: all accounts.
    pub name: Option<AccountName>,
}

impl NewSignIn {
    /// Stores the sign-in. Removes ended sign-ins, and the oldest ones of an account with too many.
    pub(super) fn insert(&self, ctx: &mut WriteContext<'_>, name: &AccountName) -> StoreResult<()> {
        let mut ended = Vec::new();
        let mut own: Vec<(Timestamp, Hash)> = Vec::new();
        for row in ctx.tables.sign_ins.all_rows()? {
            let row = row?;
            let sign_in = row.value()?;
            if !sign_in.is_valid(ctx.now, self.limits) {
                ended.push(*row.key());
            } else if sign_in.account == *name {
                own.push((sign_in.last_seen_at, *row.key()));
            }
        }
        own.sort_unstable();
        let excess = own.len().saturating_sub(SIGN_INS_MAX - 1);
        ended.extend(own.into_iter().take(excess).map(|(_, key)| key));
        for key in ended {
            ctx.tables.sign_ins.remove(&key)?;
        }
        let sign_in = SignIn {
            account: name.clone(),
            secret_hash: self.secret_hash,
            created_at: ctx.now,
            last_seen_at: ctx.now,
            browser: self.browser.clone(),
        };
        let key = secret_key(&self.secret_hash);
        ctx.tables.sign_ins.put(&key, &sign_in)?;
        Ok(())
    }
}

impl Transaction for SignInBrowser {
    /// `false` if the password has changed meanwhile.
    type Outcome = bool;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<bool> {
        let account = ctx.tables.accounts.get(self.name.as_str())?;
        let hash = account.and_then(|account| account.password_hash);
        if hash.as_ref() != Some(&self.password_hash) {
            return Ok(false);
        }
        self.sign_in.insert(ctx, &self.name)?;
        Ok(true)
    }
}

impl Transaction for RefreshSignIn {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        let key = secret_key(&self.secret.hash());
        if let Some(mut sign_in) = ctx.tables.sign_ins.get(&key)?
            && sign_in.last_seen_at < ctx.now
        {
            sign_in.last_seen_at = ctx.now;
            ctx.tables.sign_ins.put(&key, &sign_in)?;
        }
        Ok(())
    }
}

impl Transaction for EndSignIn {
    /// `false` if the account has no such sign-in.
    type Outcome = bool;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<bool> {
        let sign_in = ctx.tables.sign_ins.get(&self.key)?;
        let is_own = sign_in.is_some_and(|sign_in| sign_in.account == self.name);
        if is_own {
            ctx.tables.sign_ins.remove(&self.key)?;
        }
        Ok(is_own)
    }
}

impl Transaction for EndSignIns {
    /// Number of ended sign-ins. `None` if there is no such account.
    type Outcome = Option<u64>;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<Option<u64>> {
        if let Some(name) = &self.name
            && !ctx.tables.accounts.contains(name.as_str())?
        {
            return Ok(None);
        }
        end_all(ctx, self.name.as_ref()).map(Some)
    }
}

/// Ends all sign-ins of `name`, or of all accounts. Returns their number.
pub(super) fn end_all(ctx: &mut WriteContext<'_>, name: Option<&AccountName>) -> StoreResult<u64> {
    let mut keys = Vec::new();
    for row in ctx.tables.sign_ins.all_rows()? {
        let row = row?;
        if name.is_none() || Some(&row.value()?.account) == name {
            keys.push(*row.key());
        }
    }
    for key in &keys {
        ctx.tables.sign_ins.remove(key)?;
    }
    Ok(u64::try_from(keys.len()).unwrap_or(u64::MAX))
}
