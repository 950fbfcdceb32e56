//! Data and functions that each page gets: its view, the account of the reader, and the requests to
//! the admin handler.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::cookies::SetCookie;
use super::page::PageError;
use super::view::View;
use crate::admin::access::{AccessService, NewSignInView, SignedIn};
use crate::admin::{AdminHandler, AdminRequest};

/// Context of one request.
pub(super) struct PageContext {
    pub(super) view: View,
    pub(super) admin: AdminHandler,
    pub(super) access: AccessService,
    /// Sign-in of the browser. `None`: nobody has signed in.
    pub(super) signed_in: Option<SignedIn>,
    /// URL of the dashboard, without a slash at its end.
    pub(super) url: String,
    /// Lifetime of the cookie of a sign-in, in seconds.
    pub(super) sign_in_seconds: u64,
}

/// Cookie with the secret of a sign-in. The prefix binds the cookie to the host and to encrypted
/// connections (*RFC 6265bis*, 4.1.3).
pub(super) const SIGN_IN_COOKIE: &str = "__Host-flowgate";

impl PageContext {
    /// Returns the sign-in of the reader.
    ///
    /// # Errors
    /// [`PageError::SignInRequired`] if nobody has signed in.
    pub(super) fn signed_in(&self) -> Result<&SignedIn, PageError> {
        self.signed_in.as_ref().ok_or(PageError::SignInRequired)
    }

    /// Returns the cookie of a new sign-in.
    pub(super) fn sign_in_cookie(&self, new: &NewSignInView) -> SetCookie {
        SetCookie::secret(SIGN_IN_COOKIE, &new.cookie, self.sign_in_seconds)
    }

    /// Sends a request as the reader and returns its rows.
    ///
    /// # Errors
    /// The error of the request.
    pub(super) fn rows<T: DeserializeOwned>(
        &self,
        request: impl Into<AdminRequest>,
    ) -> Result<Vec<T>, PageError> {
        Ok(self.admin.rows(&self.signed_in()?.principal(), request)?)
    }

    /// Sends a request that has one row as the reader, and returns the row.
    ///
    /// # Errors
    /// The error of the request.
    pub(super) fn row<T: DeserializeOwned>(
        &self,
        request: impl Into<AdminRequest>,
    ) -> Result<T, PageError> {
        Ok(self.admin.row(&self.signed_in()?.principal(), request)?)
    }

    /// Sends a command as the reader. Its row is not needed.
    ///
    /// # Errors
    /// The error of the command.
    pub(super) fn execute(&self, command: impl Into<AdminRequest>) -> Result<(), PageError> {
        self.rows::<Value>(command).map(drop)
    }
}
