//! Signs outgoing webhooks, so that receivers can verify their origin: *Standard Webhooks*,
//! symmetric scheme.
//!
//! The callers decide about content, time and receiver. See [`crate::intake::signature`] for Meta's
//! signatures on incoming requests.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::domain::time::Timestamp;

/// Length of a secret, in bytes (*Standard Webhooks*, "Symmetric").
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

const SECRET_PREFIX: &str = "whsec_";

/// Key that signs messages, from one secret. Wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Zeroizing<Vec<u8>>);

/// Error for a text that is not a signing secret. The message never contains the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSigningKey {
    /// The text is not base64.
    #[error(
        "it is not valid base64 (a `whsec_` prefix is allowed): generate one with `openssl rand -base64 32`"
    )]
    NotBase64,
    /// The secret is too short or too long. The value is its length, in bytes.
    #[error(
        "it has {0} bytes, but must have 24 to 64: generate one with `openssl rand -base64 32`"
    )]
    Length(usize),
}

/// Signature headers of a message: name and value of each.
pub type SignatureHeaders = [(&'static str, String); 3];

impl SigningKey {
    /// Parses base64 of 24 to 64 bytes, with or without the prefix `whsec_`.
    ///
    /// # Errors
    /// [`InvalidSigningKey`] if the text is not base64 or has a wrong length.
    pub fn parse(text: &str) -> Result<Self, InvalidSigningKey> {
        let digits = text.strip_prefix(SECRET_PREFIX).unwrap_or(text);
        let bytes = STANDARD.decode(digits);
        let bytes = Zeroizing::new(bytes.map_err(|_| InvalidSigningKey::NotBase64)?);
        if KEY_BYTES.contains(&bytes.len()) {
            Ok(Self(bytes))
        } else {
            Err(InvalidSigningKey::Length(bytes.len()))
        }
    }

    /// Returns `v1,` and the HMAC in base64.
    fn signature(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).map(|mac| {
            mac.chain_update(format!("{id}.{seconds}."))
                .chain_update(body)
                .finalize()
                .into_bytes()
        });
        // HMAC accepts keys of any length, so this error can't occur.
        format!("v1,{}", STANDARD.encode(mac.unwrap_or_default()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// Returns the signature headers of a message. The headers have one signature for each of `keys`:
/// during a rotation, the receiver may know only the old or only the new secret.
///
/// `id` must be the same for all attempts of one message. It must have only visible ASCII
/// characters other than `.`. `now` must be the time of this attempt, because receivers refuse
/// signatures that are minutes old.
#[must_use]
pub fn signature_headers(
    keys: &[SigningKey],
    id: &str,
    now: Timestamp,
    body: &[u8],
) -> SignatureHeaders {
    let seconds = now.as_millis() / 1000;
    let signatures = keys.iter().map(|key| key.signature(id, seconds, body));
    let signatures: Vec<String> = signatures.collect();
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
    fn signatures_match_standard_webhooks_vectors() {
        let file = include_str!("../tests/vectors/standard_webhooks.json");
        let file: Value = serde_json::from_str(file).unwrap();
        let cases = file["cases"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let secrets = [&case["secret"], &case["old_secret"]];
            let texts = secrets.iter().filter_map(|secret| secret.as_str());
            let keys: Vec<_> = texts.map(|text| SigningKey::parse(text).unwrap()).collect();
            let expected = |name: &str| case["headers"][name].as_str().unwrap();
            let seconds: u64 = expected("webhook-timestamp").parse().unwrap();
            let now = Timestamp::from_millis(seconds * 1000 + 999);
            let (id, body) = (expected("webhook-id"), case["body"].as_str().unwrap());
            for (name, value) in signature_headers(&keys, id, now, body.as_bytes()) {
                assert_eq!(value, expected(name), "{}: {name}", case["name"]);
            }
        }
    }

    #[test]
    fn signing_key_length_and_prefix_are_validated() {
        let secret_of_length = |bytes: usize| STANDARD.encode(vec![7; bytes]);
        for bytes in [24, 64] {
            assert!(SigningKey::parse(&secret_of_length(bytes)).is_ok());
            assert!(SigningKey::parse(&format!("whsec_{}", secret_of_length(bytes))).is_ok());
        }
        for bytes in [0, 23, 65] {
            assert_eq!(
                SigningKey::parse(&secret_of_length(bytes)).unwrap_err(),
                InvalidSigningKey::Length(bytes)
            );
        }
        for text in ["hush hush", "whsk_AAAA", "whsec_whsec_AAAA"] {
            let error = SigningKey::parse(text).unwrap_err();
            assert_eq!(error, InvalidSigningKey::NotBase64);
            assert!(!error.to_string().contains(text));
        }
        assert_eq!(
            format!("{:?}", SigningKey::parse(&secret_of_length(32)).unwrap()),
            "SigningKey(…)"
        );
    }
}
