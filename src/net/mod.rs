//! Sends HTTP requests to other programs, over https or plain, and e-mails ([`SmtpClient`]). Each
//! request gets its complete response within limits.
//!
//! ```text
//! HttpClients ─▶ HttpClient (deadline, address policy) ─▶ connector ─▶ happy_eyeballs ─▶ socket
//!                  │                                          └─▶ proxy (tunnel) ─▶ socket
//!                  └─▶ response (size, memory)
//! ```
//!
//! Every outgoing HTTP request of the program uses an [`HttpClient`]. A client reuses connections
//! of each destination and is cheap to clone. It runs on the tokio runtime of its caller. The
//! callers decide about the content, the destination, retries and the meaning of responses.
//! Redirects are not followed. Following one could send a token to the host that the redirect
//! names. Proxies of the environment are not used, only those of the config ([`Proxy`]).

mod address_policy;
mod client;
mod clients;
mod connector;
mod error;
mod happy_eyeballs;
mod proxy;
mod redact;
mod response;
mod smtp;
mod tls;

pub use address_policy::AddressPolicy;
pub use client::{HttpClient, PRODUCT_TOKEN, PoolLimits};
pub use clients::{HttpClients, Proxy};
pub use error::NetError;
pub use proxy::InvalidProxyAuth;
pub use redact::{printable_excerpt, redact_token};
pub use response::{DecidedBy, FullResponse, PendingResponse, ResponsePrefix};
pub use smtp::{SmtpClient, SmtpOutcome, SmtpServer};
pub use tls::TlsConfig;

#[cfg(test)]
mod tests;
