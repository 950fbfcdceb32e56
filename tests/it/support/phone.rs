//! A phone, as Meta's servers speak for it: requests in envelopes, answers out of them.
//!
//! Written on its own, so that it shares no mistake with the server.

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

/// The private key of the stories, and the public one that phones know.
pub const PRIVATE_KEY: &str = include_str!("../../vectors/key_private.pem");
pub const PUBLIC_KEY: &str = include_str!("../../vectors/key_public.pem");

/// Another pair, for flows whose keys change.
pub const OTHER_PRIVATE_KEY: &str = include_str!("../../vectors/other_private.pem");
pub const OTHER_PUBLIC_KEY: &str = include_str!("../../vectors/other_public.pem");

/// One request in its envelope.
pub struct Sealed {
    key: [u8; 16],
    iv: [u8; 16],
    pub body: Vec<u8>,
}

/// Puts `request` into an envelope under a fresh key.
pub fn seal(request: &Value) -> Sealed {
    seal_for(PUBLIC_KEY, request)
}

/// The same for the owner of another key.
pub fn seal_for(public_key: &str, request: &Value) -> Sealed {
    seal_bytes(public_key, request.to_string().as_bytes())
}

/// The same of anything at all, which need not be JSON.
pub fn seal_bytes(public_key: &str, request: &[u8]) -> Sealed {
    let (mut key, mut iv) = ([0; 16], [0; 16]);
    rand::fill(&mut key).unwrap();
    rand::fill(&mut iv).unwrap();
    let public = SubjectPublicKeyInfoDer::from_pem_slice(public_key.as_bytes()).unwrap();
    let public = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&public).unwrap()).unwrap();
    let mut wrapped = vec![0; public.ciphertext_size()];
    public.encrypt(&OAEP_SHA256_MGF1SHA256, &key, &mut wrapped, None).unwrap();
    let cipher = AesGcm::<Aes128, U16>::new(&key.into());
    let sealed = cipher.encrypt(&Nonce::<U16>::from(iv), request).unwrap();
    let body = json!({
        "encrypted_flow_data": STANDARD.encode(sealed),
        "encrypted_aes_key": STANDARD.encode(wrapped),
        "initial_vector": STANDARD.encode(iv),
    });
    Sealed { key, iv, body: body.to_string().into_bytes() }
}

/// What is in an answer to a request under this key and IV.
pub fn open(key: [u8; 16], iv: [u8; 16], answer: &Answer) -> Value {
    open_with_status(200, key, iv, answer)
}

fn open_with_status(status: u16, key: [u8; 16], iv: [u8; 16], answer: &Answer) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("text/plain"));
    let sealed = STANDARD.decode(answer.text()).unwrap();
    let cipher = AesGcm::<Aes128, U16>::new(&key.into());
    let opened = cipher.decrypt(&Nonce::<U16>::from(iv.map(|byte| !byte)), sealed.as_slice()).unwrap();
    serde_json::from_slice(&opened).unwrap()
}

impl Sealed {
    /// Sends it, signed.
    pub fn post(&self, server: &Server, path: &str) -> Answer {
        server.connect().exchange(&signed_post(path, &self.body)).unwrap()
    }

    /// A reference as the server's own look, to this request, which is no form.
    pub fn reference(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        let mut hash = Sha256::new();
        for part in ["encrypted_aes_key", "initial_vector", "encrypted_flow_data"] {
            hash.update(STANDARD.decode(body[part].as_str().unwrap()).unwrap());
        }
        hash.finalize().iter().take(16).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }

    /// What is in the answer to it.
    pub fn open(&self, answer: &Answer) -> Value {
        open(self.key, self.iv, answer)
    }

    /// What is told to a user whose token is no longer good.
    pub fn open_gone(&self, answer: &Answer) -> Value {
        open_with_status(427, self.key, self.iv, answer)
    }
}

/// Sends one request and opens its answer.
pub fn ask(server: &Server, path: &str, request: &Value) -> Value {
    let sealed = seal(request);
    let answer = sealed.post(server, path);
    sealed.open(&answer)
}
