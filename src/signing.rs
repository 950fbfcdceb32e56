//! Signing what we send, so that its receiver can tell that it came from here: *Standard Webhooks*, symmetric scheme.
//!
//! What is sent, when and to whom is for the callers to say; Meta's own signatures, which come in, are
//! `crate::intake::signature`'s.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::domain::time::Timestamp;

/// Bytes of a secret (*Standard Webhooks*, "Symmetric").
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

const MARK: &str = "whsec_";

/// What one secret signs with. Wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Zeroizing<Vec<u8>>);

/// A text that is no secret to sign with. Never says what the text was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSigningKey {
    /// Not base64.
    #[error("it is no base64 (with or without `whsec_` in front); `openssl rand -base64 32` makes one")]
    NotBase64,
    /// Too short or too long.
    #[error("it has {0} bytes, and needs 24 to 64; `openssl rand -base64 32` makes one")]
    Length(usize),
}

/// The three headers of a message, name and value.
pub type Headers = [(&'static str, String); 3];

impl SigningKey {
    /// Reads base64 of 24 to 64 bytes, with or without `whsec_` in front.
    ///
    /// # Errors
    /// [`InvalidSigningKey`].
    pub fn read(text: &str) -> Result<Self, InvalidSigningKey> {
        let digits = text.strip_prefix(MARK).unwrap_or(text);
        let bytes = Zeroizing::new(STANDARD.decode(digits).map_err(|_| InvalidSigningKey::NotBase64)?);
        if KEY_BYTES.contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(InvalidSigningKey::Length(bytes.len())) }
    }

    /// `v1,` and the HMAC in base64.
    fn signature(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0)
            .map(|mac| mac.chain_update(format!("{id}.{seconds}.")).chain_update(body).finalize().into_bytes());
        // HMAC takes keys of any length: the error that the type allows for can't come.
        format!("v1,{}", STANDARD.encode(mac.unwrap_or_default()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// What a message `id` with this body is sent with at `now`, signed with each of `keys`: while a secret is changed, the
/// receiver may know the one or the other.
///
/// `id` is the same for all attempts of one message and has visible ASCII characters other than `.` only; `now` is the
/// time of this attempt, as receivers refuse what was signed minutes ago.
#[must_use]
pub fn headers(keys: &[SigningKey], id: &str, now: Timestamp, body: &[u8]) -> Headers {
    let seconds = now.as_millis() / 1000;
    let signatures: Vec<String> = keys.iter().map(|key| key.signature(id, seconds, body)).collect();
    [
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", seconds.to_string()),
        ("webhook-signature", signatures.join(" ")),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_vector_is_signed_to_the_byte() {
        let file = include_str!("../tests/vectors/standard_webhooks.json");
        let file: Value = serde_json::from_str(file).unwrap();
        let cases = file["cases"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let secrets = [&case["secret"], &case["old_secret"]];
            let keys: Vec<SigningKey> = secrets
                .iter()
                .filter_map(|secret| secret.as_str())
                .map(|text| SigningKey::read(text).unwrap())
                .collect();
            let expected = |name: &str| case["headers"][name].as_str().unwrap();
            let seconds: u64 = expected("webhook-timestamp").parse().unwrap();
            let now = Timestamp::from_millis(seconds * 1000 + 999);
            for (name, value) in headers(&keys, expected("webhook-id"), now, case["body"].as_str().unwrap().as_bytes())
            {
                assert_eq!(value, expected(name), "{}: {name}", case["name"]);
            }
        }
    }

    #[test]
    fn a_secret_is_base64_of_24_to_64_bytes_with_or_without_its_mark() {
        let of = |bytes: usize| STANDARD.encode(vec![7; bytes]);
        for bytes in [24, 64] {
            assert!(SigningKey::read(&of(bytes)).is_ok());
            assert!(SigningKey::read(&format!("whsec_{}", of(bytes))).is_ok());
        }
        for bytes in [0, 23, 65] {
            assert_eq!(SigningKey::read(&of(bytes)).unwrap_err(), InvalidSigningKey::Length(bytes));
        }
        for text in ["hush hush", "whsk_AAAA", "whsec_whsec_AAAA"] {
            let error = SigningKey::read(text).unwrap_err();
            assert_eq!(error, InvalidSigningKey::NotBase64);
            assert!(!error.to_string().contains(text));
        }
        assert_eq!(format!("{:?}", SigningKey::read(&of(32)).unwrap()), "SigningKey(…)");
    }
}
