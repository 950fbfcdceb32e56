//! The rules: pure functions and plain types, no I/O, no clock, no threads, no store types.
//!
//! Everything that decides something stands here and takes what it needs as arguments: the time as a
//! [`time::Timestamp`], chance as a number, what the file holds as values. Whoever calls does the reading before and
//! the writing after.

pub mod address;
pub mod arrival;
pub mod body;
pub mod booking;
pub mod booking_rule;
pub mod breaker;
pub mod calendar;
pub mod carried;
pub mod chat;
pub mod claim;
pub mod cloud_error;
pub mod complaint;
pub mod customer_change;
pub mod delivery;
pub mod draft;
pub mod event;
pub mod field;
pub mod flaw;
pub mod flow;

pub mod gateway;
pub mod gauge;
pub mod health_event;
pub mod ids;
pub mod job;
pub mod lead;
pub mod mail;
pub mod mail_reply;
pub mod message;
pub mod notice;
pub mod pace;
pub mod pattern;
pub mod phone_number;
pub mod receipt;
pub mod refusals;
pub mod retry;
pub mod roster;
pub mod routes;
pub mod screen;
pub mod screen_data;
pub mod submission;
pub mod template;
pub mod texts;
pub mod time;
pub mod traffic;
pub mod verdict;
