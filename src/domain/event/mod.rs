//! Defines the events that destinations can receive.
//!
//! See `docs/events/` for the description of each body.

pub mod alert_data;
pub mod body;
pub mod data;
pub mod kind;
pub mod samples;
pub mod subscriptions;
pub mod summary;

pub use body::{BODY_VERSION, render_body, render_test_body, test_message};
pub use kind::{EventKind, UnknownEvent};
