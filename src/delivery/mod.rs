//! Sends deliveries. Each destination has its own worker, so a broken destination blocks no other.
//!
//! ```text
//! file ── due deliveries ──▶ destination worker (tokio task) ──▶ attempt ──▶ destination
//!                                   ▲                              │
//!                                   └──── recorded and on disk ◀───┘
//! ```
//!
//! | file | responsibility |
//! |---|---|
//! | `service` | starts, updates and stops the workers |
//! | `destination_worker` | starts deliveries: each once, within concurrency, rate and breaker |
//! | `ready_queue` | reads due deliveries and classifies them: send, defer, expire |
//! | `clock_skew` | finds deliveries that should be due, but were scheduled by a fast clock |
//! | `attempt` | makes one attempt and records its result |
//! | `eligibility` | decides whether a due delivery is sent, deferred or expired |
//! | `suspect_deliveries` | stops a delivery that would crash the process again and again |
//! | `shared_rate_limit` | order and rate of destinations that share a gateway or phone number |
//! | `channel` | a kind of destination: payload, request, meaning of a response, test |
//! | `recipient` | the person who gets a message |
//! | `target` | a destination with its secrets; the only list of the channels |
//! | `secret_resolver` | secrets from their locations, with all errors |
//! | `context` | dependencies that the workers share |
//! | `stats` | statistics of the workers |
//!
//! As with jobs, the start of a delivery is not recorded on disk. Only its worker knows which
//! deliveries are in flight. After a crash, such a delivery is still due. It is sent again with the
//! same ID.
//!
//! See [`crate::domain::delivery`] for the disposition of a response, [`crate::domain::job::retry`]
//! for the time of the next attempt, and [`crate::domain::circuit_breaker`] for pauses after
//! failures.

mod attempt;
mod channel;
mod clock_skew;
mod context;
mod destination_worker;
mod eligibility;
mod ready_queue;
mod recipient;
mod secret_resolver;
mod service;
mod shared_rate_limit;
mod stats;
mod suspect_deliveries;
mod target;
#[cfg(test)]
mod tests;

pub use channel::test_send::{TestError, TestReport, TestRequest};
pub use secret_resolver::DestinationError;
pub use service::DeliveryService;
pub use stats::{DeliveryStats, DestinationStats};
pub use target::{DeliveryTarget, DeliveryTargets};
