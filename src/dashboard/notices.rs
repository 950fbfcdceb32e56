//! Results of actions, shown once on the page after the redirect. The address carries only the code
//! of a notice, so no text comes from a request.

use super::texts::Texts;
use crate::domain::named_enum;

named_enum! {
    /// Result of an action. The names are the values of the field in a query.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Notice {
        SignedOut = "signed-out",
        PasswordChanged = "password-changed",
        SignInEnded = "sign-in-ended",
        RoleChanged = "role-changed",
        AccountRemoved = "account-removed",
    }
}

impl Notice {
    /// Name of the field in a query.
    pub(super) const FIELD: &str = "notice";

    /// Returns the text of the notice.
    pub(super) const fn text(self, texts: &'static Texts) -> &'static str {
        match self {
            Self::SignedOut => texts.access.signed_out,
            Self::PasswordChanged => texts.access.password_changed,
            Self::SignInEnded => texts.access.sign_in_ended,
            Self::RoleChanged => texts.access.role_changed,
            Self::AccountRemoved => texts.access.account_removed,
        }
    }
}
