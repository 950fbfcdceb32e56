//! Signs browsers in and out: invites, passwords, cookies and CSRF tokens.
//!
//! All functions of [`AccessService`] block. Callers on the runtime use its blocking threads.
//!
//! See [`crate::domain::access`] for the rules.

mod error;
mod password_hash;
mod service;

pub use error::AccessError;
pub use service::{AccessService, InviteView, NewSignInView, SignInView, SignedIn, new_secret};
