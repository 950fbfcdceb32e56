//! Sends one e-mail to one mail server within one deadline: from the name lookup to the reply to
//! the e-mail itself (RFC 5321, 3.3).
//!
//! Each e-mail has its own connection. E-mails are few, and servers close idle connections. A
//! reused connection could break just when the e-mail has been sent. The result would be unknown,
//! and the e-mail would be sent twice.
//!
//! `lettre` speaks the protocol over a socket of this module. The socket is connected to a checked
//! address, uses the same TLS config as https, and limits the number of received bytes.
//!
//! See [`crate::domain::delivery::smtp_reply`] for the disposition of replies and
//! [`crate::domain::delivery::email`] for the content of e-mails.

mod client;
mod exchange;
mod server;
mod starttls;
mod stream;
mod submission;

pub use client::SmtpClient;
pub use exchange::SmtpOutcome;
pub use server::SmtpServer;

#[cfg(test)]
mod tests;
