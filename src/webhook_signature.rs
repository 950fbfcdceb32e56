//! Signs outgoing webhooks, so that receivers can verify their origin, and verifies incoming ones:
//! *Standard Webhooks*, symmetric scheme.
//!
//! The callers decide about content, time and receiver. See [`crate::intake::signature`] for Meta's
//! signatures on incoming requests.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::domain::time::{Millis, Timestamp};

/// Length of a secret, in bytes (*Standard Webhooks*, "Symmetric").
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

const SECRET_PREFIX: &str = "whsec_";

/// Names of the signature headers: ID, timestamp, signatures.
pub const HEADERS: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];

/// Maximum difference between the timestamp of a received message and the clock. An older message
/// may be a replay (*Standard Webhooks*, "Verifying webhook authenticity").
const TOLERANCE: Millis = Millis::from_secs(5 * 60);

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
    let [id_header, timestamp_header, signature_header] = HEADERS;
    [
        (id_header, id.to_owned()),
        (timestamp_header, seconds.to_string()),
        (signature_header, signatures.join(" ")),
    ]
}

/// Reason why a received message is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWebhookSignature {
    /// A header is missing, or occurs more than once.
    #[error(
        "the header {0} is missing, or occurs more than once: sign the request as Standard Webhooks describes"
    )]
    Header(&'static str),
    /// The timestamp is not a number of seconds.
    #[error("webhook-timestamp is not a time in Unix seconds")]
    Timestamp,
    /// The timestamp is too far from the clock. The value is the difference in seconds.
    #[error(
        "webhook-timestamp differs from the time of the server by {0} s, the maximum is 300 s: check the clocks of both machines, and sign each attempt anew"
    )]
    Expired(u64),
    /// No signature matches any of the keys.
    #[error(
        "webhook-signature does not match: compare the secrets, and sign id.timestamp.body with the exact bytes of the body"
    )]
    Wrong,
}

/// Verifies a received message. `header` returns the value of a header that occurs exactly once.
/// The header with the signatures may have several, and each of `keys` is accepted: during a
/// rotation, the sender may know only the old or only the new secret.
///
/// # Errors
/// [`BadWebhookSignature`] with the reason.
pub fn verify_message<'h>(
    keys: &[SigningKey],
    header: impl Fn(&'static str) -> Option<&'h str>,
    now: Timestamp,
    body: &[u8],
) -> Result<(), BadWebhookSignature> {
    let required = |name| header(name).ok_or(BadWebhookSignature::Header(name));
    let [id, timestamp, signatures] = HEADERS.map(required);
    let (id, timestamp, signatures) = (id?, timestamp?, signatures?);
    let seconds: u64 = timestamp
        .parse()
        .map_err(|_| BadWebhookSignature::Timestamp)?;
    let sent_at = Timestamp::from_millis(seconds.saturating_mul(1000));
    let difference = now.since(sent_at).max(sent_at.since(now));
    if difference > TOLERANCE {
        return Err(BadWebhookSignature::Expired(difference.get() / 1000));
    }
    let is_known = keys.iter().any(|key| {
        let expected = key.signature(id, seconds, body);
        signatures
            .split(' ')
            .any(|given| bool::from(given.as_bytes().ct_eq(expected.as_bytes())))
    });
    if is_known {
        Ok(())
    } else {
        Err(BadWebhookSignature::Wrong)
    }
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
    fn received_message_is_verified() {
        use BadWebhookSignature::{Expired, Header, Wrong};
        let key = |byte: u8| SigningKey::parse(&STANDARD.encode([byte; 32])).unwrap();
        let sent_at = Timestamp::from_millis(1_800_000_000_000);
        let verify =
            |keys: &[SigningKey], changed: Option<(&str, Option<&str>)>, late: i64, body| {
                let headers = signature_headers(&[key(1), key(2)], "msg-1", sent_at, b"{}");
                let header = |name| match changed {
                    Some((other, value)) if other == name => value,
                    _ => headers
                        .iter()
                        .find(|(known, _)| *known == name)
                        .map(|(_, value)| value.as_str()),
                };
                let now = sent_at.as_millis().checked_add_signed(late * 1000).unwrap();
                verify_message(keys, header, Timestamp::from_millis(now), body)
            };
        let ours = [key(2), key(3)];
        assert_eq!(verify(&ours, None, 300, b"{}"), Ok(()));
        assert_eq!(verify(&ours, None, -300, b"{}"), Ok(()));
        for (late, seconds) in [(301, 301), (-301, 301)] {
            assert_eq!(verify(&ours, None, late, b"{}"), Err(Expired(seconds)));
        }
        assert_eq!(verify(&[key(3)], None, 0, b"{}"), Err(Wrong));
        assert_eq!(verify(&[], None, 0, b"{}"), Err(Wrong));
        assert_eq!(verify(&ours, None, 0, b"{} "), Err(Wrong));
        for name in HEADERS {
            let missing = verify(&ours, Some((name, None)), 0, b"{}");
            assert_eq!(missing, Err(Header(name)));
        }
        let [id, timestamp, signature] = HEADERS;
        let changed = |name, value| verify(&ours, Some((name, Some(value))), 0, b"{}");
        assert_eq!(changed(id, "msg-2"), Err(Wrong));
        assert_eq!(changed(timestamp, "1800000001"), Err(Wrong));
        for text in ["", "now", "-5", "1e9"] {
            assert_eq!(
                changed(timestamp, text),
                Err(BadWebhookSignature::Timestamp)
            );
        }
        assert_eq!(
            changed(timestamp, "99999999999999999999"),
            Err(BadWebhookSignature::Timestamp)
        );
        for text in ["", "v1,", "v1a,AAAA", " "] {
            assert_eq!(changed(signature, text), Err(Wrong));
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
