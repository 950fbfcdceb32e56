//! The listener: connections, limits, deadlines, and the way of one request.
//!
//! ```text
//! listener ─▶ guard (deadlines of the head, errors with a body) ─▶ hyper ─▶ service ─▶ flows | webhook | health
//!                                                                          body (limit, budget, deadline) ─▶ intake ─▶ store
//! encrypted flows, between body and intake: replays (answered before?) ─▶ opener (RSA, in threads of its own)
//! ```
//!
//! Everything is bounded: connections, heads, bodies, all bodies together, time. At a bound the caller gets a clear
//! answer; `respond` alone picks status codes. What a body says is read in `crate::intake`, what becomes of it is
//! decided in `crate::store`. No input whatever gets a 500 or is let go without a word.

mod admin;
mod body;
mod encrypted;
mod flows;
mod guard;
mod health;
mod listener;
mod opener;
mod replays;
mod respond;
mod service;
mod trace;
mod upstream;
mod webhook;

pub use admin::AdminServer;
pub use listener::Server;
pub use service::{App, Limits, Trust};
pub use upstream::{Upstream, UpstreamError};

#[cfg(test)]
mod tests;
