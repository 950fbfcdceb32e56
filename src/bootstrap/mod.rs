//! Builds the server from the config, runs it, reloads it and stops it.
//!
//! See [`serve`] for the order of start and stop, `resolve` for secrets, [`crate::cli`] for the
//! commands.

pub(crate) mod banner;
pub(crate) mod components;
pub(crate) mod delivery_hooks;
pub(crate) mod destination_test;
pub(crate) mod fd_limit;
mod hook_sources;
pub(crate) mod inherited_sockets;
pub(crate) mod metrics;
pub(crate) mod private_file;
pub(crate) mod reload;
pub(crate) mod resolve;
pub mod serve;
pub(crate) mod store_options;
