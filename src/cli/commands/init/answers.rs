//! Defines the choices from which `flowgate init` makes the config.

use crate::config::Secret;

/// Choices for the first config.
pub(super) struct Answers {
    pub(super) domain: String,
    pub(super) listen: String,
    pub(super) admin_listen: String,
    pub(super) flow: String,
    /// `true` if the flow has an endpoint, which needs encryption.
    pub(super) is_encrypted: bool,
    pub(super) language: String,
    pub(super) team: String,
    /// `None` if the flow books nothing.
    pub(super) calendar: Option<CalendarAnswers>,
    /// `None` if the secret is not known yet.
    pub(super) app_secret: Option<Secret>,
    pub(super) verify_token: Secret,
    /// `true` if the verify token was made by this command.
    pub(super) is_new_verify_token: bool,
    pub(super) access_token: Option<Secret>,
}

/// Choices for the first calendar.
pub(super) struct CalendarAnswers {
    pub(super) name: String,
    pub(super) time_zone: String,
    pub(super) hours: String,
    pub(super) slot_length: String,
}
