//! Measures the health of endpoints, phone numbers and requests in windows of samples, and assesses
//! it.

pub mod assessment;
pub mod meta_event;
pub mod number_traffic;
pub mod refusal_counters;
pub mod window;
