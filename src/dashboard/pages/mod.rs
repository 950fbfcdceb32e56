//! The pages, one file each, with the functions of their forms.

pub(super) mod account;
pub(super) mod accounts;
pub(super) mod error;
pub(super) mod invite;
pub(super) mod preferences;
pub(super) mod sign_in;
pub(super) mod today;
