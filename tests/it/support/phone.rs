//! Encrypts requests and decrypts responses as a phone does through Meta's servers.
//!
//! This code is independent of the server's code, so that both can't share a mistake.

use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::aes::Aes128;
use aes_gcm::{AesGcm, Nonce};
use aws_lc_rs::rand;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Server;
use super::http::{Answer, signed_post};

/// Private key of the tests, and the public key that phones have.
pub const PRIVATE_KEY: &str = include_str!("../../vectors/key_private.pem");
pub const PUBLIC_KEY: &str = include_str!("../../vectors/key_public.pem");

/// Second key pair, for flows whose keys change.
pub const OTHER_PRIVATE_KEY: &str = include_str!("../../vectors/other_private.pem");
pub const OTHER_PUBLIC_KEY: &str = include_str!("../../vectors/other_public.pem");

/// Encrypted request.
pub struct Sealed {
    key: [u8; 16],
    iv: [u8; 16],
    pub body: Vec<u8>,
}

/// Encrypts `request` with a new random key.
pub fn seal(request: &Value) -> Sealed {
    seal_for(PUBLIC_KEY, request)
}

/// Encrypts `request` for the owner of another key.
pub fn seal_for(public_key: &str, request: &Value) -> Sealed {
    seal_bytes(public_key, request.to_string().as_bytes())
}

/// Encrypts any bytes. The bytes need not be JSON.
pub fn seal_bytes(public_key: &str, request: &[u8]) -> Sealed {
    let (mut key, mut iv) = ([0; 16], [0; 16]);
    rand::fill(&mut key).unwrap();
    rand::fill(&mut iv).unwrap();
    let public = SubjectPublicKeyInfoDer::from_pem_slice(public_key.as_bytes()).unwrap();
    let public =
        OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&public).unwrap()).unwrap();
    let mut wrapped = vec![0; public.ciphertext_size()];
    public
        .encrypt(&OAEP_SHA256_MGF1SHA256, &key, &mut wrapped, None)
        .unwrap();
    let cipher = AesGcm::<Aes128, U16>::new(&key.into());
    let sealed = cipher.encrypt(&Nonce::<U16>::from(iv), request).unwrap();
    let body = json!({
        "encrypted_flow_data": STANDARD.encode(sealed),
        "encrypted_aes_key": STANDARD.encode(wrapped),
        "initial_vector": STANDARD.encode(iv),
    });
    Sealed {
        key,
        iv,
        body: body.to_string().into_bytes(),
    }
}

/// Decrypts the response to a request with this key and IV.
pub fn open(key: [u8; 16], iv: [u8; 16], answer: &Answer) -> Value {
    open_with_status(200, key, iv, answer)
}

fn open_with_status(status: u16, key: [u8; 16], iv: [u8; 16], answer: &Answer) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("text/plain"));
    let sealed = STANDARD.decode(answer.text()).unwrap();
    let cipher = AesGcm::<Aes128, U16>::new(&key.into());
    let opened = cipher
        .decrypt(&Nonce::<U16>::from(iv.map(|byte| !byte)), sealed.as_slice())
        .unwrap();
    serde_json::from_slice(&opened).unwrap()
}

impl Sealed {
    /// Sends the request with a signature.
    pub fn post(&self, server: &Server, path: &str) -> Answer {
        server
            .connect()
            .exchange(&signed_post(path, &self.body))
            .unwrap()
    }

    /// Returns a reference in the format of the server that points to this request, which is not a
    /// form.
    pub fn reference(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        let mut hash = Sha256::new();
        for part in ["encrypted_aes_key", "initial_vector", "encrypted_flow_data"] {
            hash.update(STANDARD.decode(body[part].as_str().unwrap()).unwrap());
        }
        hash.finalize()
            .iter()
            .take(16)
            .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }

    /// Decrypts the response.
    pub fn open(&self, answer: &Answer) -> Value {
        open(self.key, self.iv, answer)
    }

    /// Decrypts the response to a customer whose token is no longer valid.
    pub fn open_invalid_token(&self, answer: &Answer) -> Value {
        open_with_status(427, self.key, self.iv, answer)
    }
}

/// Sends one request and decrypts its response.
pub fn ask(server: &Server, path: &str, request: &Value) -> Value {
    let sealed = seal(request);
    let answer = sealed.post(server, path);
    sealed.open(&answer)
}
