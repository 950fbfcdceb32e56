//! What an operator may ask, of a running server through a Unix socket or of a stopped server's file, with the same
//! code.
//!
//! `protocol` has the questions, `views` the shape of the answers, `desk` the answers themselves, `socket` and `client`
//! the two ends of the way between two processes. How answers look on a terminal is `crate::cli`'s; rules are in
//! `crate::domain`.

mod changes;
mod client;
mod desk;
mod destinations;
mod flow_health;
mod gateways;
mod lists;
mod numbers;
mod protocol;
mod socket;
#[cfg(test)]
mod tests;
mod views;

pub use client::Client;
pub use desk::{Desk, Live};
pub use destinations::tell_test;
pub use protocol::{AdminError, AgentSettings, ErrorCode, Filter, Question, Selection};
pub use socket::{Reception, SocketServer, socket_path};
pub use views::{
    DeadView, DestinationView, HeaderView, JobView, LaneView, LeadView, ReloadView, StatusView, SubmissionView,
    TestView,
};
