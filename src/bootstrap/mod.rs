//! Builds the server from the config, runs it, reloads it and stops it.
//!
//! See [`serve`] for the order of start and stop, `resolve` for secrets, [`crate::cli`] for the
//! commands.

mod active_config;
pub(crate) mod banner;
pub(crate) mod components;
mod delivery_hooks;
pub(crate) mod destination_test;
pub(crate) mod error;
pub(crate) mod fd_limit;
pub mod follow;
mod inherited_sockets;
mod metrics;
pub(crate) mod private_file;
mod reload;
pub(crate) mod resolve;
pub mod serve;
pub(crate) mod serve_args;
mod server_hooks;
mod service_manager;
mod services;
mod signals;
pub(crate) mod store_options;
