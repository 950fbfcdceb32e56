//! Resolves the secrets that the config names into ready credentials and clients.
//!
//! See [`crate::config`] for the allowed locations of a secret.

pub mod app_secrets;
pub(crate) mod destinations;
pub mod flow_keys;
pub(crate) mod gateways;
pub mod lead_secrets;
pub mod upstreams;
