//! Decrypts the requests of encrypted flows and encrypts the responses. A request has a wrapped
//! key, an IV and a ciphertext.
//!
//! Source: *Implementing Endpoint for Flows*, "Request Decryption and Encryption". All errors
//! behind a well-formed envelope look the same. The sender must not learn whether the key, the tag
//! or the length was wrong.
//!
//! See [`super::signature`] for the signature check, which runs before the decryption.

use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::aes::Aes128;
use aes_gcm::{AesGcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::domain::submission::IdempotencyKey;

use super::IntakeError;
use super::json::parse_object;
use super::private_key::{AES_KEY_BYTES, PrivateKey, PublicKey};

/// AES-128-GCM with an IV of 16 bytes instead of the usual 12 bytes.
type Cipher = AesGcm<Aes128, U16>;

const WRAPPED_KEY_BYTES: usize = 256;
const IV_BYTES: usize = 16;
const TAG_BYTES: usize = 16;

/// Encrypted request as received. No part is decrypted yet.
#[derive(Debug)]
pub struct Envelope {
    wrapped_key: Vec<u8>,
    iv: [u8; IV_BYTES],
    ciphertext: Vec<u8>,
}

/// Decryption failed: the sender used another key, or the bytes were changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request can't be decrypted")]
pub struct DecryptError;

/// Decrypted request.
pub struct DecryptedRequest {
    /// Decrypted text of the request.
    pub plaintext: String,
    /// Key that encrypts the response.
    pub response_key: ResponseKey,
}

/// Key for exactly one response. One key and IV must never encrypt two different texts.
pub struct ResponseKey {
    key: Zeroizing<[u8; AES_KEY_BYTES]>,
    iv: [u8; IV_BYTES],
}

impl Envelope {
    /// Parses a body. `Ok(Err(…))`: the body has all fields, but they can't contain a ciphertext.
    ///
    /// # Errors
    /// [`IntakeError`] if the body is not a JSON object with the three string fields.
    pub fn parse(body: &[u8]) -> Result<Result<Self, DecryptError>, IntakeError> {
        let fields = parse_object(body)?;
        let text = |name: &str| {
            fields
                .text(name)
                .ok_or_else(|| IntakeError::invalid_field(name, "is missing or not a text"))
        };
        let wrapped_key = text("encrypted_aes_key")?;
        let iv = text("initial_vector")?;
        let ciphertext = text("encrypted_flow_data")?;
        Ok(Self::decode(&wrapped_key, &iv, &ciphertext).ok_or(DecryptError))
    }

    fn decode(wrapped_key: &str, iv: &str, ciphertext: &str) -> Option<Self> {
        let wrapped_key = STANDARD
            .decode(wrapped_key)
            .ok()
            .filter(|bytes| bytes.len() == WRAPPED_KEY_BYTES)?;
        let iv = STANDARD.decode(iv).ok()?.try_into().ok()?;
        let ciphertext = STANDARD
            .decode(ciphertext)
            .ok()
            .filter(|bytes| bytes.len() >= TAG_BYTES)?;
        Some(Self {
            wrapped_key,
            iv,
            ciphertext,
        })
    }

    /// Returns the idempotency key under which the response is stored. The key depends on the
    /// contents of the three parts, not on the formatting of their JSON.
    ///
    /// Without knowledge of the AES key, nobody can change a part: OAEP gives no second wrapping of
    /// the key, and GCM gives no second ciphertext. A sender that uses one key and IV for two
    /// requests has exposed both texts before any response.
    #[must_use]
    pub fn idempotency_key(&self) -> IdempotencyKey {
        let mut hash = Sha256::new();
        // The first two parts have fixed lengths, so no other parts give the same bytes.
        hash.update(&self.wrapped_key);
        hash.update(self.iv);
        hash.update(&self.ciphertext);
        IdempotencyKey::from_hash(hash)
    }

    /// Decrypts the request with the first of `keys` that matches. Each tried key costs one RSA
    /// operation.
    ///
    /// # Errors
    /// [`DecryptError`] for any reason.
    pub fn decrypt(&self, keys: &[PrivateKey]) -> Result<DecryptedRequest, DecryptError> {
        keys.iter()
            .find_map(|key| self.decrypt_with(key.unwrap(&self.wrapped_key), key.decoy_key()))
            .ok_or(DecryptError)
    }

    /// Decrypts the request with an unwrapped key. If no key could be unwrapped, a random decoy key
    /// is used. Without the decoy, the response time would show whether the key or the tag was
    /// wrong.
    fn decrypt_with(
        &self,
        unwrapped: Option<Zeroizing<[u8; AES_KEY_BYTES]>>,
        decoy_key: &Zeroizing<[u8; AES_KEY_BYTES]>,
    ) -> Option<DecryptedRequest> {
        let fits = unwrapped.is_some();
        let key = unwrapped.unwrap_or_else(|| decoy_key.clone());
        let plaintext = cipher(&key)
            .decrypt(&Nonce::<U16>::from(self.iv), self.ciphertext.as_slice())
            .ok()?;
        let text = String::from_utf8(plaintext).ok().filter(|_| fits)?;
        Some(DecryptedRequest {
            plaintext: text,
            response_key: ResponseKey { key, iv: self.iv },
        })
    }
}

impl ResponseKey {
    /// Returns the response body: `response` encrypted with the same key and the IV with every bit
    /// inverted, in base64.
    ///
    /// # Errors
    /// [`DecryptError`] if the response exceeds the limit of the cipher (64 GiB).
    pub fn encrypt(self, response: &str) -> Result<String, DecryptError> {
        let iv = self.iv.map(|byte| !byte);
        let ciphertext = cipher(&self.key).encrypt(&Nonce::<U16>::from(iv), response.as_bytes());
        ciphertext
            .map(|bytes| STANDARD.encode(bytes))
            .map_err(|_| DecryptError)
    }
}

/// Encrypted request as a phone creates it, with the key that decrypts the response. Only clients
/// use this type.
pub struct EncryptedRequest {
    key: Zeroizing<[u8; AES_KEY_BYTES]>,
    iv: [u8; IV_BYTES],
    /// Body of the POST request.
    pub body: String,
}

impl EncryptedRequest {
    /// Encrypts `text` for the owner of `public_key`. `random` contains the AES key, then the IV,
    /// and must be new random bytes for every request.
    ///
    /// # Errors
    /// [`DecryptError`] if the ciphers refuse the text. Texts of forms are never refused.
    pub fn encrypt(
        public_key: &PublicKey,
        random: [u8; 32],
        text: &str,
    ) -> Result<Self, DecryptError> {
        let (mut key, mut iv) = (Zeroizing::new([0; AES_KEY_BYTES]), [0; IV_BYTES]);
        for (index, byte) in random.into_iter().enumerate() {
            let target = if index < AES_KEY_BYTES {
                key.get_mut(index)
            } else {
                iv.get_mut(index - AES_KEY_BYTES)
            };
            if let Some(byte_slot) = target {
                *byte_slot = byte;
            }
        }
        let ciphertext = cipher(&key)
            .encrypt(&Nonce::<U16>::from(iv), text.as_bytes())
            .map_err(|_| DecryptError)?;
        let wrapped_key = public_key.wrap(&key).ok_or(DecryptError)?;
        let body = serde_json::json!({
            "encrypted_flow_data": STANDARD.encode(ciphertext),
            "encrypted_aes_key": STANDARD.encode(wrapped_key),
            "initial_vector": STANDARD.encode(iv),
        });
        Ok(Self {
            key,
            iv,
            body: body.to_string(),
        })
    }

    /// Decrypts the response to this request.
    ///
    /// # Errors
    /// [`DecryptError`] if the response is not encrypted with the key of this request.
    pub fn decrypt_response(&self, response: &[u8]) -> Result<String, DecryptError> {
        let ciphertext = STANDARD.decode(response).map_err(|_| DecryptError)?;
        let iv = self.iv.map(|byte| !byte);
        let plaintext = cipher(&self.key)
            .decrypt(&Nonce::<U16>::from(iv), ciphertext.as_slice())
            .map_err(|_| DecryptError)?;
        String::from_utf8(plaintext).map_err(|_| DecryptError)
    }
}

fn cipher(key: &[u8; AES_KEY_BYTES]) -> Cipher {
    Cipher::new(&(*key).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const KEY: &str = include_str!("../../tests/vectors/key_private.pem");
    const OTHER: &str = include_str!("../../tests/vectors/other_private.pem");

    fn keys(texts: &[&str]) -> Vec<PrivateKey> {
        texts
            .iter()
            .map(|text| PrivateKey::parse(text, None).unwrap())
            .collect()
    }

    fn cases(text: &str) -> Vec<Value> {
        let file: Value = serde_json::from_str(text).unwrap();
        file["cases"].as_array().unwrap().clone()
    }

    fn envelope_of(case: &Value) -> Envelope {
        let body = case["body"].as_str().unwrap();
        Envelope::parse(body.as_bytes()).unwrap().unwrap()
    }

    fn good_vectors() -> Vec<Value> {
        cases(include_str!("../../tests/vectors/flow_good.json"))
    }

    #[test]
    fn good_vectors_decrypt_and_encrypt_exactly() {
        for keys in [keys(&[KEY]), keys(&[OTHER, KEY]), keys(&[KEY, OTHER])] {
            for case in good_vectors() {
                let name = &case["name"];
                let decrypted = envelope_of(&case).decrypt(&keys).unwrap();
                assert_eq!(decrypted.plaintext, case["request_plaintext"], "{name}");
                let plaintext = case["response_plaintext"].as_str().unwrap();
                let response = decrypted.response_key.encrypt(plaintext).unwrap();
                assert_eq!(response, case["response_body"], "{name}");
            }
        }
    }

    #[test]
    fn bad_vectors_do_not_decrypt() {
        let keys = keys(&[KEY]);
        for case in cases(include_str!("../../tests/vectors/flow_bad.json")) {
            let expected: Vec<u64> = serde_json::from_value(case["expect_status"].clone()).unwrap();
            if expected == [432] {
                continue;
            }
            let decrypted = match Envelope::parse(case["body"].as_str().unwrap().as_bytes()) {
                Ok(read) => read.and_then(|envelope| envelope.decrypt(&keys)),
                Err(_) => continue,
            };
            let is_object =
                decrypted.is_ok_and(|opened| parse_object(opened.plaintext.as_bytes()).is_ok());
            assert!(!is_object && expected.contains(&421), "{}", case["name"]);
        }
    }

    #[test]
    fn client_request_round_trips_with_inverted_iv() {
        let keys = keys(&[KEY]);
        let seed = std::array::from_fn(|n| u8::try_from(n).unwrap());
        let request = EncryptedRequest::encrypt(keys[0].public(), seed, "Zoë").unwrap();
        let envelope = envelope_of(&json!({"body": request.body}));
        let decrypted = envelope.decrypt(&keys).unwrap();
        assert_eq!(decrypted.plaintext, "Zoë");
        let response = decrypted.response_key.encrypt("hello").unwrap();
        let decrypted = request.decrypt_response(response.as_bytes());
        assert_eq!(decrypted.unwrap(), "hello");
        assert_eq!(request.decrypt_response(b"AAAA"), Err(DecryptError));
    }

    #[test]
    fn envelope_key_ignores_json_formatting() {
        let good = good_vectors();
        let key_of = |name: &str| {
            let case = good.iter().find(|case| case["name"] == name).unwrap();
            envelope_of(case).idempotency_key()
        };
        let key = key_of("data_exchange");
        assert_eq!(key, key_of("data_exchange_escaped_slashes"));
        assert_ne!(key, key_of("data_exchange_error"));
    }

    /// Changes of a body: the place, the new character, and the kind of change.
    fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, u8)>> {
        let byte = prop_oneof![4 => b'0'..=b'z', 1 => any::<u8>()];
        proptest::collection::vec((any::<prop::sample::Index>(), byte, 0..10u8), 1..4)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

        #[test]
        fn modified_envelope_never_decrypts_to_other_text(
            case in 0..12usize,
            changes in changes(),
        ) {
            let case = &good_vectors()[case];
            let mut body = case["body"].as_str().unwrap().as_bytes().to_vec();
            for (index, byte, kind) in changes {
                let position = index.index(body.len());
                match kind {
                    // Most changes replace a character, so that the envelope usually remains valid.
                    0..8 => body[position] = byte,
                    8 => body.insert(position, byte),
                    _ => body.truncate(position.max(1)),
                }
            }
            let decrypted = Envelope::parse(&body)
                .map(|read| read.and_then(|envelope| envelope.decrypt(&keys(&[KEY]))));
            if let Ok(Ok(opened)) = decrypted {
                assert_eq!(opened.plaintext, case["request_plaintext"], "only the writing of the JSON was changed");
            }
        }
    }
}
