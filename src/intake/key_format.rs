//! Converts RSA private keys in all common formats to one format.
//!
//! The formats are those of *Flows Encryption* and of the tools that it names: PKCS#8 and PKCS#1,
//! each plain or with a passphrase. All copies of a key that are made here are wiped.

use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use md5::{Digest, Md5};
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::spki::AlgorithmIdentifierRef;
use pkcs8::{EncryptedPrivateKeyInfoRef, ObjectIdentifier, PrivateKeyInfoRef, SecretDocument};
use zeroize::Zeroizing;

use super::pem::PemBlock;

/// OID of `rsaEncryption` (RFC 8017, appendix A.1).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Reason why a text is not a usable key. The error never contains the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// The text has no PEM block.
    #[error(
        "it contains no PEM block (a text between `-----BEGIN … PRIVATE KEY-----` and `-----END …`)"
    )]
    NotPem,
    /// The PEM block has another kind.
    #[error("its PEM block is a {0:?}, not an RSA private key")]
    OtherKind(String),
    /// The key is encrypted, and no passphrase is set.
    #[error(
        "it is encrypted: set `passphrase` in the flow, for example \"env:FLOW_KEY_PASSPHRASE\""
    )]
    NeedsPassphrase,
    /// The passphrase does not decrypt the key, or the decrypted content is not an RSA key. A wrong
    /// passphrase can have either result, because the cipher detects an error only by a few bytes
    /// of padding.
    #[error("wrong passphrase, or the key is damaged or not an RSA key")]
    WrongPassphrase,
    /// The key is encrypted with a cipher that only old tools used.
    #[error("it is encrypted with {0}: convert it with `openssl pkcs8 -topk8 -in OLD -out NEW`")]
    OldCipher(String),
    /// The key is damaged or not RSA.
    #[error("it is damaged or not an RSA key")]
    Rejected,
    /// The key has the wrong size. The number is its size in bits.
    #[error("it has {0} bits: Meta requires 2048 bits")]
    Size(usize),
}

/// Returns `true` if the key has a passphrase.
pub(super) fn is_encrypted(block: &PemBlock<'_>) -> bool {
    block.label() == "ENCRYPTED PRIVATE KEY" || block.header("DEK-Info").is_some()
}

/// Converts the key to unencrypted PKCS#8, the only format that the crypto library reads.
pub(super) fn to_pkcs8(
    block: &PemBlock<'_>,
    passphrase: Option<&str>,
) -> Result<SecretDocument, InvalidKey> {
    let content = || block.content().ok_or(InvalidKey::Rejected);
    let required_passphrase = || passphrase.ok_or(InvalidKey::NeedsPassphrase);
    match block.label() {
        "PRIVATE KEY" => {
            SecretDocument::try_from(content()?.as_slice()).map_err(|_| InvalidKey::Rejected)
        }
        "ENCRYPTED PRIVATE KEY" => {
            let content = content()?;
            let info = EncryptedPrivateKeyInfoRef::try_from(content.as_slice())
                .map_err(|_| InvalidKey::Rejected)?;
            info.decrypt(required_passphrase()?)
                .map_err(|_| InvalidKey::WrongPassphrase)
        }
        "RSA PRIVATE KEY" => match block.header("DEK-Info") {
            None => wrap_pkcs1(&content()?),
            Some(info) => wrap_pkcs1(&decrypt_pkcs1(info, content()?, required_passphrase()?)?),
        },
        other => Err(InvalidKey::OtherKind(other.to_owned())),
    }
}

/// Wraps a PKCS#1 key in PKCS#8 (RFC 5958, section 2).
fn wrap_pkcs1(key: &[u8]) -> Result<SecretDocument, InvalidKey> {
    let algorithm = AlgorithmIdentifierRef {
        oid: RSA,
        parameters: Some(pkcs8::der::asn1::AnyRef::NULL),
    };
    let key = <&OctetStringRef>::try_from(key).map_err(|_| InvalidKey::Rejected)?;
    SecretDocument::try_from(PrivateKeyInfoRef::new(algorithm, key))
        .map_err(|_| InvalidKey::Rejected)
}

/// Decrypts a key in OpenSSL's old passphrase format, DES-EDE3-CBC. MD5 derives the cipher key from
/// the passphrase and the first 8 bytes of the IV (`EVP_BytesToKey`, one round).
fn decrypt_pkcs1(
    info: &str,
    mut sealed: Zeroizing<Vec<u8>>,
    passphrase: &str,
) -> Result<Zeroizing<Vec<u8>>, InvalidKey> {
    let (name, iv) = info.split_once(',').ok_or(InvalidKey::Rejected)?;
    if name.trim() != "DES-EDE3-CBC" {
        return Err(InvalidKey::OldCipher(name.trim().to_owned()));
    }
    let iv = u64::from_str_radix(iv.trim(), 16)
        .map_err(|_| InvalidKey::Rejected)?
        .to_be_bytes();
    let hash = |before: &[u8]| {
        let mut digest = Zeroizing::new([0; 16]);
        let hash = Md5::new()
            .chain_update(before)
            .chain_update(passphrase)
            .chain_update(iv);
        hash.finalize_into((&mut *digest).into());
        digest
    };
    let first = hash(&[]);
    let second = hash(&*first);
    let mut key = Zeroizing::new([0; 24]);
    for (byte, made) in key.iter_mut().zip(first.iter().chain(second.iter())) {
        *byte = *made;
    }
    let cipher = cbc::Decryptor::<des::TdesEde3>::new_from_slices(&*key, &iv)
        .map_err(|_| InvalidKey::Rejected)?;
    let length = cipher
        .decrypt_padded::<Pkcs7>(&mut sealed)
        .map_err(|_| InvalidKey::WrongPassphrase)
        .map(<[u8]>::len)?;
    sealed.truncate(length);
    Ok(sealed)
}
