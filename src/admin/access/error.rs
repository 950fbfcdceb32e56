//! Defines the errors of sign-ins and invites. Their texts tell nothing about other accounts.

use crate::admin::error::AdminError;
use crate::domain::access::password::PasswordProblem;
use crate::domain::time::Millis;
use crate::store::StoreError;

/// Reason why a browser is not signed in.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The account or the password is wrong.
    #[error("the name or the password is wrong")]
    WrongCredentials,
    /// Too many attempts failed.
    #[error("too many attempts: try again in {} s", retry_after.get().div_ceil(1000))]
    TooManyAttempts {
        /// Time until the next attempt is allowed.
        retry_after: Millis,
    },
    /// The link is unknown, used or expired.
    #[error("this link was used already, or has ended: ask for a new one")]
    InvalidInvite,
    /// The new password is refused.
    #[error(transparent)]
    Password(#[from] PasswordProblem),
    /// The store failed.
    #[error(transparent)]
    Admin(#[from] AdminError),
}

impl From<StoreError> for AccessError {
    fn from(error: StoreError) -> Self {
        Self::Admin(error.into())
    }
}
