//! Adapters of the kinds of destinations: each makes the request of its kind and interprets the
//! response.
//!
//! See [`crate::delivery::client`] for sending, [`crate::domain::delivery`] for what follows from a
//! response.

pub(crate) mod gateway;
pub(crate) mod smtp;
pub(crate) mod whatsapp;
