//! Verifies that Meta signed the body of a request.
//!
//! The header is `X-Hub-Signature-256: sha256=` and 64 hex digits. The digits are the HMAC-SHA256
//! over the raw body, and are verified before any parsing (*Implementing Endpoint for Flows*;
//! *Webhooks*, "Validating payloads"). Each of several secrets is accepted, so that the admin can
//! replace a secret without losing a form.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

use crate::domain::hex::to_hex;

const DIGEST_BYTES: usize = 32;

/// Well-formed signature from a header. The signature is not verified yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureHeader([u8; DIGEST_BYTES]);

impl SignatureHeader {
    /// Creates a signature from bytes.
    pub(super) const fn from_bytes(bytes: [u8; DIGEST_BYTES]) -> Self {
        Self(bytes)
    }

    /// Parses `sha256=` and 64 hex digits.
    ///
    /// # Errors
    /// [`BadSignature::Malformed`] for any other text.
    pub fn parse(header: &[u8]) -> Result<Self, BadSignature> {
        header
            .strip_prefix(b"sha256=")
            .and_then(parse_hex_digest)
            .map(Self)
            .ok_or(BadSignature::Malformed)
    }
}

/// Keys that verify and create signatures: one HMAC key for each secret.
#[derive(Clone)]
pub struct SignatureVerifier(Vec<Hmac<Sha256>>);

/// Reason why a body is not trusted. The sender can distinguish only errors in the form of the
/// header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// The header is missing.
    #[error("X-Hub-Signature-256 is missing: the client must sign the body with the app secret")]
    Missing,
    /// The header occurs more than once, so the valid signature is ambiguous.
    #[error("X-Hub-Signature-256 occurs more than once")]
    Several,
    /// The header has the wrong form.
    #[error("X-Hub-Signature-256 is not `sha256=` and 64 hex digits")]
    Malformed,
    /// The signature matches none of the secrets.
    #[error(
        "X-Hub-Signature-256 does not match the body: compare the app secret in the config with the one in Meta's dashboard"
    )]
    Wrong,
}

impl SignatureVerifier {
    /// Creates the keys from the characters of the secrets. Hex digits in a secret are not decoded.
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        // HMAC accepts keys of any length, so no secret is skipped.
        Self(
            secrets
                .into_iter()
                .filter_map(|secret| Hmac::new_from_slice(secret.as_bytes()).ok())
                .collect(),
        )
    }

    /// Signs `body` with the newest secret and returns the value of the header. Returns `None` if
    /// there is no secret.
    #[must_use]
    pub fn sign(&self, body: &[u8]) -> Option<String> {
        let mut mac = self.0.first()?.clone();
        mac.update(body);
        Some(format!("sha256={}", to_hex(&mac.finalize().into_bytes())))
    }

    /// Compares `header` with the signature of `body` under each secret. All secrets are tried, in
    /// constant time.
    ///
    /// # Errors
    /// [`BadSignature::Wrong`] if no secret matches.
    pub fn verify(&self, header: SignatureHeader, body: &[u8]) -> Result<(), BadSignature> {
        let mut fits = Choice::from(0);
        for key in &self.0 {
            let mut mac = key.clone();
            mac.update(body);
            fits |= mac.finalize().into_bytes().as_slice().ct_eq(&header.0);
        }
        if bool::from(fits) {
            Ok(())
        } else {
            Err(BadSignature::Wrong)
        }
    }
}

impl std::fmt::Debug for SignatureVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignatureVerifier({} secrets)", self.0.len())
    }
}

/// Decodes 64 hex digits. Meta writes lower case. Upper case is accepted too.
fn parse_hex_digest(hex: &[u8]) -> Option<[u8; DIGEST_BYTES]> {
    let mut bytes = [0; DIGEST_BYTES];
    if hex.len() != 2 * DIGEST_BYTES {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = pair.iter().try_fold(0, |byte: u8, digit| {
            Some((byte << 4) | hex_digit_value(*digit)?)
        })?;
    }
    Some(bytes)
}

pub(super) const fn hex_digit_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[derive(serde::Deserialize)]
    struct Case {
        name: String,
        secret: String,
        body_b64: String,
        header: String,
    }

    fn cases() -> Vec<Case> {
        let file = include_str!("../../tests/vectors/hub_signature.json");
        let file: serde_json::Value = serde_json::from_str(file).unwrap();
        serde_json::from_value(file["cases"].clone()).unwrap()
    }

    #[test]
    fn signature_vectors_verify_and_changed_body_fails() {
        for Case {
            name,
            secret,
            body_b64,
            header,
        } in cases()
        {
            let mut body = STANDARD.decode(&body_b64).unwrap();
            let verifier = SignatureVerifier::new(["another", secret.as_str()]);
            let signature = SignatureHeader::parse(header.as_bytes()).unwrap();
            assert_eq!(verifier.verify(signature, &body), Ok(()), "{name}");
            body.push(b' ');
            let verdict = verifier.verify(signature, &body);
            assert_eq!(verdict, Err(BadSignature::Wrong), "{name}");
        }
    }

    #[test]
    fn malformed_signature_header_is_refused() {
        let long = format!("sha256={}", "0".repeat(66));
        let odd = format!("sha256={}g", "0".repeat(63));
        for header in ["", "sha256=", "sha1=00", &long, &odd, &"0".repeat(64)] {
            let parsed = SignatureHeader::parse(header.as_bytes());
            assert_eq!(parsed, Err(BadSignature::Malformed), "{header}");
        }
    }

    #[test]
    fn verification_without_secret_fails() {
        assert_eq!(
            SignatureVerifier::new([]).verify(SignatureHeader([0; DIGEST_BYTES]), b""),
            Err(BadSignature::Wrong)
        );
    }
}
