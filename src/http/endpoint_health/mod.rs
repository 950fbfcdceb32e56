//! Measures the health of flow endpoints and phone numbers, and raises alerts.
//!
//! See [`crate::domain::health`] for the assessment, also of a wrong app secret.

pub(in crate::http) mod alerter;
pub(in crate::http) mod monitor;
pub(in crate::http) mod number_monitor;
