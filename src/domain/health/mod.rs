//! Health of endpoints, numbers and requests: windows of samples and their assessment.

pub mod assessment;
pub mod meta_event;
pub mod number_traffic;
pub mod refusal_counters;
pub mod window;
