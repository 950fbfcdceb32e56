//! Measures errors and latency of endpoints over a sliding window, and compares them with Meta's
//! thresholds.
//!
//! Also learns the usual traffic of phone numbers, counts refused requests, detects a wrong app
//! secret ([`wrong_app_secret`]), and parses Meta's own events about health.
//! `http::endpoint_health` takes the samples and raises the alerts.

pub mod assessment;
pub mod disk_sync;
pub mod meta_event;
pub mod number_traffic;
pub mod refusal_counters;
pub mod window;
pub mod wrong_app_secret;
