//! The listener: connections, limits, deadlines, and the way of one request.
//!
//! ```text
//! listener ─▶ guard (deadlines of the head, errors with a body) ─▶ hyper ─▶ service ─▶ flows | webhook | gateways | health
//!                                                                          body (limit, budget, deadline) ─▶ intake ─▶ store
//! encrypted flows, behind body: encrypted ─▶ opener (RSA, in threads of its own) ─▶ exchange ─▶ screens ─▶ sealed
//! ```
//!
//! Everything is bounded: connections, heads, bodies, all bodies together, time. At a bound the caller gets a clear
//! answer; `respond` alone picks status codes. What a body says is read in `crate::intake`, what becomes of it is
//! decided in `crate::store`. No input whatever gets a 500 or is let go without a word.

mod admin;
mod body;
mod complaints;
mod encrypted;
mod exchange;
mod flows;
mod gateways;
mod guard;
mod health;
mod listener;
mod numbers;
mod opener;
mod program;
mod respond;
mod screens;
mod service;
mod trace;
mod turns;
mod upstream;
mod vigil;
mod watch;
mod webhook;

pub use admin::AdminServer;
pub use listener::{Reserved, Server};
pub use service::{App, Limits, Trust};
pub use upstream::{Upstream, UpstreamError};
pub use vigil::Vigil;
pub use watch::Watch;

#[cfg(test)]
mod tests;
