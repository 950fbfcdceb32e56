//! Health of flow endpoints and phone numbers: measurement, probes and alerts.
//!
//! See [`crate::domain::health`] for the assessment.

pub(in crate::http) mod alerter;
pub(in crate::http) mod monitor;
pub(in crate::http) mod number_monitor;
