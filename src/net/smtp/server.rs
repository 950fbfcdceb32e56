//! Defines the mail server of an e-mail, and removes its password from texts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::domain::delivery::email::SmtpTls;
use crate::net::address_policy::AddressPolicy;
use crate::net::redact::redact_token;

/// Mail server with connection settings.
#[derive(Clone, Copy)]
pub struct SmtpServer<'a> {
    /// Name or address of the server. Its certificate must have the name.
    pub host: &'a str,
    /// TCP port of the server.
    pub port: u16,
    /// Encryption of the connection.
    pub tls: SmtpTls,
    /// User and password. `None`: no login.
    pub login: Option<(&'a str, &'a str)>,
    /// Allowed addresses of the server.
    pub address_policy: AddressPolicy,
}

impl SmtpServer<'_> {
    /// Returns host and port, for messages.
    pub(super) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Returns `text` without the password, in plain text or in the encodings sent to the server.
    pub(super) fn redact_password(&self, text: &str) -> String {
        let Some((username, password)) = self.login else {
            return text.to_owned();
        };
        let plain = STANDARD.encode(format!("\0{username}\0{password}"));
        let secrets = [plain, STANDARD.encode(password), password.to_owned()];
        secrets
            .iter()
            .fold(text.to_owned(), |text, secret| redact_token(&text, secret))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_redacted_in_all_encodings() {
        let server = SmtpServer {
            host: "a",
            port: 1,
            tls: SmtpTls::None,
            login: Some(("ann", "a long password")),
            address_policy: AddressPolicy::Any,
        };
        for form in [
            "a long password",
            "YSBsb25nIHBhc3N3b3Jk",
            "AGFubgBhIGxvbmcgcGFzc3dvcmQ=",
            "AGFubgBhIGxvbmc",
        ] {
            let redacted = server.redact_password(&format!("no <{form} is wrong"));
            assert_eq!(redacted, "no <… is wrong", "{form}");
        }
    }
}
