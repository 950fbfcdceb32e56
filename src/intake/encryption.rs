//! The envelope of an encrypted flow: the wrapped key, the IV and the ciphertext of a request, and the seal of its answer.
//!
//! Source: *Implementing Endpoint for Flows*, "Request Decryption and Encryption". Whatever fails behind a well-formed
//! envelope fails alike: whether the key, the tag or the length was wrong is nobody's business outside. Signatures are
//! checked before any of this, by `super::signature`.

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
use super::flow_endpoint::object;
use super::private_key::{AES_KEY_BYTES, PrivateKey, PublicKey};

/// AES-128-GCM under an IV of 16 bytes, not the usual 12.
type Cipher = AesGcm<Aes128, U16>;

const WRAPPED_KEY_BYTES: usize = 256;
const IV_BYTES: usize = 16;
const TAG_BYTES: usize = 16;

/// A request as it came: nothing is opened yet.
#[derive(Debug)]
pub struct Envelope {
    wrapped_key: Vec<u8>,
    iv: [u8; IV_BYTES],
    sealed: Vec<u8>,
}

/// It can't be opened: the sender used another key, or the bytes were changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it can't be decrypted")]
pub struct CannotOpen;

/// An opened request.
pub struct Opened {
    /// The text inside.
    pub text: String,
    /// Closes its answer.
    pub seal: Seal,
}

/// Closes one answer, and only one: one key and IV must never seal two different texts.
pub struct Seal {
    key: Zeroizing<[u8; AES_KEY_BYTES]>,
    iv: [u8; IV_BYTES],
}

impl Envelope {
    /// Reads a body. `Ok(Err(…))`: it is an envelope that nothing can be in.
    ///
    /// # Errors
    /// [`IntakeError`] for a body that is no JSON object with the three texts.
    pub fn read(body: &[u8]) -> Result<Result<Self, CannotOpen>, IntakeError> {
        let fields = object(body)?;
        let text = |name: &str| fields.text(name).ok_or_else(|| IntakeError::field(name, "is missing, or not a text"));
        let wrapped_key = text("encrypted_aes_key")?;
        let iv = text("initial_vector")?;
        let sealed = text("encrypted_flow_data")?;
        Ok(Self::decode(&wrapped_key, &iv, &sealed).ok_or(CannotOpen))
    }

    fn decode(wrapped_key: &str, iv: &str, sealed: &str) -> Option<Self> {
        let wrapped_key = STANDARD.decode(wrapped_key).ok().filter(|bytes| bytes.len() == WRAPPED_KEY_BYTES)?;
        let iv = STANDARD.decode(iv).ok()?.try_into().ok()?;
        let sealed = STANDARD.decode(sealed).ok().filter(|bytes| bytes.len() >= TAG_BYTES)?;
        Some(Self { wrapped_key, iv, sealed })
    }

    /// The key under which its answer is kept: it depends on what the three parts hold, however their JSON is written.
    ///
    /// Neither part can be changed by anybody who does not know the AES key: OAEP gives no second wrapping of it, GCM no
    /// second text. Whoever uses one key and IV for two requests has given those away before they are answered.
    #[must_use]
    pub fn key(&self) -> IdempotencyKey {
        let mut hash = Sha256::new();
        // The first two have fixed lengths: no other parts give the same bytes.
        hash.update(&self.wrapped_key);
        hash.update(self.iv);
        hash.update(&self.sealed);
        let mut key = [0; 16];
        for (to, from) in key.iter_mut().zip(hash.finalize()) {
            *to = from;
        }
        IdempotencyKey::from_bytes(key)
    }

    /// Opens it with the first of `keys` that fits. Costs one RSA operation for each key tried.
    ///
    /// # Errors
    /// [`CannotOpen`], whatever the reason.
    pub fn open(&self, keys: &[PrivateKey]) -> Result<Opened, CannotOpen> {
        keys.iter().find_map(|key| self.open_with(key.unwrap(&self.wrapped_key), key.stand_in())).ok_or(CannotOpen)
    }

    /// Opens it with an unwrapped key. Where none could be unwrapped, one that nobody knows takes its place: time must not
    /// tell whether it was the key or the tag that did not fit.
    fn open_with(
        &self,
        unwrapped: Option<Zeroizing<[u8; AES_KEY_BYTES]>>,
        stand_in: &Zeroizing<[u8; AES_KEY_BYTES]>,
    ) -> Option<Opened> {
        let fits = unwrapped.is_some();
        let key = unwrapped.unwrap_or_else(|| stand_in.clone());
        let opened = cipher(&key).decrypt(&Nonce::<U16>::from(self.iv), self.sealed.as_slice()).ok()?;
        let text = String::from_utf8(opened).ok().filter(|_| fits)?;
        Some(Opened { text, seal: Seal { key, iv: self.iv } })
    }
}

impl Seal {
    /// The body of the answer: base64 of `answer` under the same key and the IV with every bit inverted.
    ///
    /// # Errors
    /// [`CannotOpen`] for an answer beyond what the cipher takes (64 GiB).
    pub fn close(self, answer: &str) -> Result<String, CannotOpen> {
        let iv = self.iv.map(|byte| !byte);
        let sealed = cipher(&self.key).encrypt(&Nonce::<U16>::from(iv), answer.as_bytes());
        sealed.map(|bytes| STANDARD.encode(bytes)).map_err(|_| CannotOpen)
    }
}

/// The other end: a request that is put into an envelope as a phone does it, and what its answer is opened with.
pub struct Request {
    key: Zeroizing<[u8; AES_KEY_BYTES]>,
    iv: [u8; IV_BYTES],
    /// What is posted.
    pub body: String,
}

impl Request {
    /// Puts `text` into an envelope for whoever has `recipient`. `chance` must be fresh for every request: the AES key,
    /// then the IV.
    ///
    /// # Errors
    /// [`CannotOpen`] where the ciphers refuse, which no text of a form makes them do.
    pub fn seal(recipient: &PublicKey, chance: [u8; 32], text: &str) -> Result<Self, CannotOpen> {
        let (mut key, mut iv) = (Zeroizing::new([0; AES_KEY_BYTES]), [0; IV_BYTES]);
        for (index, byte) in chance.into_iter().enumerate() {
            let place = if index < AES_KEY_BYTES { key.get_mut(index) } else { iv.get_mut(index - AES_KEY_BYTES) };
            if let Some(place) = place {
                *place = byte;
            }
        }
        let sealed = cipher(&key).encrypt(&Nonce::<U16>::from(iv), text.as_bytes()).map_err(|_| CannotOpen)?;
        let wrapped = recipient.wrap(&key).ok_or(CannotOpen)?;
        let body = serde_json::json!({
            "encrypted_flow_data": STANDARD.encode(sealed),
            "encrypted_aes_key": STANDARD.encode(wrapped),
            "initial_vector": STANDARD.encode(iv),
        });
        Ok(Self { key, iv, body: body.to_string() })
    }

    /// What is in the answer to it.
    ///
    /// # Errors
    /// [`CannotOpen`] where it is not sealed with this request's key.
    pub fn open(&self, answer: &[u8]) -> Result<String, CannotOpen> {
        let sealed = STANDARD.decode(answer).map_err(|_| CannotOpen)?;
        let iv = self.iv.map(|byte| !byte);
        let opened = cipher(&self.key).decrypt(&Nonce::<U16>::from(iv), sealed.as_slice()).map_err(|_| CannotOpen)?;
        String::from_utf8(opened).map_err(|_| CannotOpen)
    }
}

fn cipher(key: &[u8; AES_KEY_BYTES]) -> Cipher {
    Cipher::new(&(*key).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const KEY: &str = include_str!("../../tests/vectors/key_private.pem");
    const OTHER: &str = include_str!("../../tests/vectors/other_private.pem");

    fn keys(texts: &[&str]) -> Vec<PrivateKey> {
        texts.iter().map(|text| PrivateKey::read(text, None).unwrap()).collect()
    }

    fn cases(text: &str) -> Vec<Value> {
        let file: Value = serde_json::from_str(text).unwrap();
        file["cases"].as_array().unwrap().clone()
    }

    fn good() -> Vec<Value> {
        cases(include_str!("../../tests/vectors/flow_good.json"))
    }

    #[test]
    fn every_good_vector_opens_and_its_answer_is_sealed_byte_for_byte() {
        for keys in [keys(&[KEY]), keys(&[OTHER, KEY]), keys(&[KEY, OTHER])] {
            for case in good() {
                let name = &case["name"];
                let envelope = Envelope::read(case["body"].as_str().unwrap().as_bytes()).unwrap().unwrap();
                let opened = envelope.open(&keys).unwrap();
                assert_eq!(opened.text, case["request_plaintext"], "{name}");
                let sealed = opened.seal.close(case["response_plaintext"].as_str().unwrap()).unwrap();
                assert_eq!(sealed, case["response_body"], "{name}");
            }
        }
    }

    #[test]
    fn no_bad_vector_opens_to_a_json_object() {
        let keys = keys(&[KEY]);
        for case in cases(include_str!("../../tests/vectors/flow_bad.json")) {
            let expected: Vec<u64> =
                case["expect_status"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
            if expected == [432] {
                continue;
            }
            let opened = match Envelope::read(case["body"].as_str().unwrap().as_bytes()) {
                Ok(read) => read.and_then(|envelope| envelope.open(&keys)),
                Err(_) => continue,
            };
            let is_object = opened.is_ok_and(|opened| object(opened.text.as_bytes()).is_ok());
            assert!(!is_object && expected.contains(&421), "{}", case["name"]);
        }
    }

    #[test]
    fn what_a_phone_seals_is_opened_and_answered_under_another_iv() {
        let keys = keys(&[KEY]);
        let request =
            Request::seal(keys[0].public(), std::array::from_fn(|n| u8::try_from(n).unwrap()), "Zoë").unwrap();
        let opened = Envelope::read(request.body.as_bytes()).unwrap().unwrap().open(&keys).unwrap();
        assert_eq!(opened.text, "Zoë");
        let answer = opened.seal.close("hello").unwrap();
        assert_eq!(request.open(answer.as_bytes()).unwrap(), "hello");
        assert_eq!(request.open(b"AAAA"), Err(CannotOpen));
    }

    #[test]
    fn a_request_is_told_by_its_parts_and_not_by_how_its_json_is_written() {
        let key = |case: &Value| {
            let body = case["body"].as_str().unwrap();
            Envelope::read(body.as_bytes()).unwrap().unwrap().key()
        };
        let good = good();
        let of = |name: &str| key(good.iter().find(|case| case["name"] == name).unwrap());
        assert_eq!(of("data_exchange"), of("data_exchange_escaped_slashes"));
        assert_ne!(of("data_exchange"), of("data_exchange_error"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_done_to_an_envelope_it_is_opened_whole_or_not_at_all(
            case in 0..12usize,
            changes in proptest::collection::vec((any::<prop::sample::Index>(), prop_oneof![4 => b'0'..=b'z', 1 => any::<u8>()], 0..10u8), 1..4),
        ) {
            let case = &good()[case];
            let mut body = case["body"].as_str().unwrap().as_bytes().to_vec();
            for (place, byte, kind) in changes {
                let place = place.index(body.len());
                match kind {
                    // Most often a letter for another, so that the envelope is still one.
                    0..8 => body[place] = byte,
                    8 => body.insert(place, byte),
                    _ => body.truncate(place.max(1)),
                }
            }
            let opened = Envelope::read(&body).map(|read| read.and_then(|envelope| envelope.open(&keys(&[KEY]))));
            if let Ok(Ok(opened)) = opened {
                assert_eq!(opened.text, case["request_plaintext"], "only the writing of the JSON was changed");
            }
        }
    }
}
