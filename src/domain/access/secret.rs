//! Secrets of invites and sign-ins: 32 random bytes as text.
//!
//! The store keeps only the hash of a secret. So a reader of the data file can't use one.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Label that separates CSRF tokens from other uses of a secret.
const CSRF_LABEL: &[u8] = b"flowgate csrf token 1";

/// Secret of an invite, of a sign-in, or of a browser that has not signed in.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessSecret([u8; 32]);

impl AccessSecret {
    /// Creates a secret from random bytes.
    #[must_use]
    pub const fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// Parses the text of a secret. Returns `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// Returns the text for a cookie or a link: 43 letters, digits, `-` and `_`.
    #[must_use]
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Returns the hash that is stored.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }

    /// Returns `true` if `hash` is the hash of this secret. Compares in constant time.
    #[must_use]
    pub fn has_hash(&self, hash: &[u8; 32]) -> bool {
        self.hash().ct_eq(hash).into()
    }

    /// Returns the CSRF token of the browser with this secret.
    #[must_use]
    pub fn csrf_token(&self) -> String {
        // HMAC accepts keys of any length, so there is always a result.
        let mac = Hmac::<Sha256>::new_from_slice(&self.0)
            .map(|mac| mac.chain_update(CSRF_LABEL).finalize().into_bytes());
        URL_SAFE_NO_PAD.encode(mac.unwrap_or_default())
    }

    /// Returns `true` if `token` is the CSRF token of this secret. Compares in constant time.
    #[must_use]
    pub fn has_csrf_token(&self, token: &str) -> bool {
        let expected = self.csrf_token();
        expected.as_bytes().ct_eq(token.as_bytes()).into()
    }
}

impl fmt::Debug for AccessSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_found_by_its_hash_only() {
        let secret = AccessSecret::new([7; 32]);
        let text = secret.to_text();
        assert_eq!(text.len(), 43);
        assert_eq!(AccessSecret::parse(&text), Some(secret.clone()));
        assert!(secret.has_hash(&secret.hash()));
        assert!(!secret.has_hash(&AccessSecret::new([8; 32]).hash()));
        for other in ["", "x", &text[1..], &format!("{text}A"), "ä"] {
            assert_eq!(AccessSecret::parse(other), None, "{other}");
        }
        assert!(!format!("{secret:?}").contains(&text));
    }

    #[test]
    fn csrf_token_belongs_to_one_secret() {
        let secret = AccessSecret::new([7; 32]);
        let token = secret.csrf_token();
        assert!(secret.has_csrf_token(&token));
        assert!(!AccessSecret::new([8; 32]).has_csrf_token(&token));
        assert!(!secret.has_csrf_token(""));
        assert!(!secret.has_csrf_token(&secret.to_text()));
        assert_ne!(
            token,
            secret.to_text(),
            "a page shows the token, not the secret"
        );
    }
}
