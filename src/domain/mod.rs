//! Contains the business rules of the server: pure functions and plain types, without I/O, clock,
//! threads or types of the store.
//!
//! Every function takes its inputs as arguments: the time as a [`time::Timestamp`],
//! randomness as a number, stored data as values. The caller reads before the call and writes after
//! the call.

#[macro_use]
mod named_enum;
pub(crate) use named_enum::named_enum;

pub mod access;
pub mod backup;
pub mod booking;
pub mod calendar_feed;
pub mod circuit_breaker;
pub mod contact;
pub mod customer;
pub mod customer_change;
pub mod customer_names;
pub mod customer_search;
pub mod day_range;
pub mod delivery;
pub mod event;
pub mod flow;
pub mod full_regex;
pub mod gateway;
pub(crate) mod health;
pub mod hex;
pub mod ids;
pub mod ip_range;
pub mod job;
pub mod lead;
pub mod phone_number;
pub mod rate;
pub mod rate_limiter;
pub mod submission;
pub mod time;
pub mod timeline;
pub(crate) mod truncation;
pub mod url_text;
