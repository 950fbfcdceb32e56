//! Is this body from the sender we trust?
//!
//! `X-Hub-Signature-256: sha256=` and 64 hex digits: HMAC-SHA256 over the bytes as they came, before anything else
//! touches them (*Implementing Endpoint for Flows*; *Webhooks*, "Validating payloads"). Any of several secrets may have
//! made it, so that one can be changed without losing a form.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

const DIGEST_BYTES: usize = 32;

/// What a header claims: well-formed, and not compared with anything yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim([u8; DIGEST_BYTES]);

impl Claim {
    /// A signature that came as bytes.
    pub(super) const fn of(bytes: [u8; DIGEST_BYTES]) -> Self {
        Self(bytes)
    }

    /// Reads `sha256=` and 64 hex digits.
    ///
    /// # Errors
    /// [`BadSignature::Malformed`].
    pub fn read(header: &[u8]) -> Result<Self, BadSignature> {
        header.strip_prefix(b"sha256=").and_then(digest).map(Self).ok_or(BadSignature::Malformed)
    }
}

/// Whoever may sign: one key for each secret.
#[derive(Clone)]
pub struct Signers(Vec<Hmac<Sha256>>);

/// Why a body is not trusted. All look alike from outside but for the form of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// There is no signature.
    #[error("X-Hub-Signature-256 is missing: the sender must sign the body with the app secret")]
    Missing,
    /// There are several: which one counts would be a guess.
    #[error("X-Hub-Signature-256 is there more than once")]
    Several,
    /// It has not the form of one.
    #[error("X-Hub-Signature-256 is not `sha256=` and 64 hex digits")]
    Malformed,
    /// None of the secrets made it.
    #[error("X-Hub-Signature-256 does not fit the body: is the app secret in the config the one of Meta's dashboard?")]
    Wrong,
}

impl Signers {
    /// Takes the secrets' characters as they are, not as hex digits.
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        // HMAC takes keys of any length: no secret is left out.
        Self(secrets.into_iter().filter_map(|secret| Hmac::new_from_slice(secret.as_bytes()).ok()).collect())
    }

    /// Signs `body` with the newest secret, as the header has it; `None` where there is no secret.
    #[must_use]
    pub fn sign(&self, body: &[u8]) -> Option<String> {
        let mut mac = self.0.first()?.clone();
        mac.update(body);
        let bytes = mac.finalize().into_bytes();
        Some(bytes.iter().fold(String::from("sha256="), |text, byte| format!("{text}{byte:02x}")))
    }

    /// Compares `claim` with what each secret would have made of `body`; every secret is tried, in constant time.
    ///
    /// # Errors
    /// [`BadSignature::Wrong`].
    pub fn verify(&self, claim: Claim, body: &[u8]) -> Result<(), BadSignature> {
        let mut fits = Choice::from(0);
        for key in &self.0 {
            let mut mac = key.clone();
            mac.update(body);
            fits |= mac.finalize().into_bytes().as_slice().ct_eq(&claim.0);
        }
        if bool::from(fits) { Ok(()) } else { Err(BadSignature::Wrong) }
    }
}

impl std::fmt::Debug for Signers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signers({} secrets)", self.0.len())
    }
}

/// The bytes of 64 hex digits. Meta writes lower case; upper case says the same.
fn digest(hex: &[u8]) -> Option<[u8; DIGEST_BYTES]> {
    let mut bytes = [0; DIGEST_BYTES];
    if hex.len() != 2 * DIGEST_BYTES {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = pair.iter().try_fold(0, |byte: u8, digit| Some((byte << 4) | nibble(*digit)?))?;
    }
    Some(bytes)
}

pub(super) const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
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

    /// Standard base64 with padding, for the vectors alone.
    fn base64(text: &str) -> Vec<u8> {
        let value = |c: u8| match c {
            b'A'..=b'Z' => u32::from(c - b'A'),
            b'a'..=b'z' => u32::from(c - b'a') + 26,
            b'0'..=b'9' => u32::from(c - b'0') + 52,
            b'+' => 62,
            _ => 63,
        };
        let mut bytes = Vec::new();
        for four in text.as_bytes().chunks(4) {
            let bits = four.iter().take_while(|c| **c != b'=').fold(0, |bits, c| (bits << 6) | value(*c));
            let kept = four.iter().filter(|c| **c != b'=').count();
            let bits = bits << (6 * (4 - kept));
            bytes.extend(bits.to_be_bytes().into_iter().skip(1).take(kept - 1));
        }
        bytes
    }

    #[test]
    fn every_vector_fits_and_one_flipped_bit_does_not() {
        for Case { name, secret, body_b64, header } in cases() {
            let mut body = base64(&body_b64);
            let signers = Signers::new(["another", secret.as_str()]);
            let claim = Claim::read(header.as_bytes()).unwrap();
            assert_eq!(signers.verify(claim, &body), Ok(()), "{name}");
            body.push(b' ');
            assert_eq!(signers.verify(claim, &body), Err(BadSignature::Wrong), "{name}");
        }
    }

    #[test]
    fn what_has_not_the_form_of_a_signature_is_refused() {
        let long = format!("sha256={}", "0".repeat(66));
        let odd = format!("sha256={}g", "0".repeat(63));
        for header in ["", "sha256=", "sha1=00", &long, &odd, &"0".repeat(64)] {
            assert_eq!(Claim::read(header.as_bytes()), Err(BadSignature::Malformed), "{header}");
        }
    }

    #[test]
    fn nobody_fits_where_there_is_no_secret() {
        assert_eq!(Signers::new([]).verify(Claim([0; DIGEST_BYTES]), b""), Err(BadSignature::Wrong));
    }
}
