//! Results of actions, shown once on the page after the redirect. The address carries only the code
//! of a notice, so no text comes from a request.

use super::texts::Texts;

/// Result of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    SignedOut,
    PasswordChanged,
    SignInEnded,
    RoleChanged,
    AccountRemoved,
}

impl Notice {
    /// Name of the field in a query.
    pub(super) const FIELD: &str = "notice";
    const ALL: [Self; 5] = [
        Self::SignedOut,
        Self::PasswordChanged,
        Self::SignInEnded,
        Self::RoleChanged,
        Self::AccountRemoved,
    ];

    /// Returns the value of the field in a query.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::SignedOut => "signed-out",
            Self::PasswordChanged => "password-changed",
            Self::SignInEnded => "sign-in-ended",
            Self::RoleChanged => "role-changed",
            Self::AccountRemoved => "account-removed",
        }
    }

    /// Returns the notice with a code.
    pub(super) fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|notice| notice.code() == code)
    }

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
