//! RSA private keys in all the forms that people have them in, and the one thing they are used for: unwrapping.
//!
//! The forms are those of *Flows Encryption* and of the tools it names: PKCS#8 and PKCS#1, each plain or behind a
//! passphrase. Their text around it is `super::pem`'s, where a key stands is `crate::config`'s, and what is unwrapped with
//! it is opened by `super::encryption`. All copies of a key that are made here are wiped.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use md5::{Digest, Md5};
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::spki::AlgorithmIdentifierRef;
use pkcs8::{EncryptedPrivateKeyInfoRef, ObjectIdentifier, PrivateKeyInfoRef, SecretDocument};
use zeroize::Zeroizing;

use super::pem::{self, Block};

/// `rsaEncryption` (RFC 8017, appendix A.1).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Meta takes keys of 2048 bits (*Flows Encryption*), so wrapped keys have as many bytes as these bits fill.
const KEY_BITS: usize = 2048;

/// Bytes of an AES-128 key.
pub(super) const AES_KEY_BYTES: usize = 16;

/// A private key of a flow. Never shown: `Debug` says only that there is one.
pub struct PrivateKey {
    private: OaepPrivateDecryptingKey,
    public: PublicKey,
    /// The public half as Meta takes it.
    public_pem: String,
    /// An AES key that nobody knows, to go on with where none could be unwrapped.
    stand_in: Zeroizing<[u8; AES_KEY_BYTES]>,
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

/// A text that gives no usable key. Never says what was in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// No PEM.
    #[error("it holds no PEM block (a text between `-----BEGIN … PRIVATE KEY-----` and `-----END …`)")]
    NotPem,
    /// Another kind of PEM.
    #[error("its PEM block is a {0:?}, not a private key of RSA")]
    OtherKind(String),
    /// Behind a passphrase that nobody gave.
    #[error("it is encrypted: set `passphrase` in the flow, for example \"env:FLOW_KEY_PASSPHRASE\"")]
    NeedsPassphrase,
    /// The passphrase does not open it, or it opens something else: a wrong one may do that, as the cipher tells them
    /// apart by no more than a few bytes of padding.
    #[error("wrong passphrase, or it is damaged or no key of RSA")]
    WrongPassphrase,
    /// A cipher that only old tools wrote.
    #[error("it is encrypted with {0}: convert it with `openssl pkcs8 -topk8 -in OLD -out NEW`")]
    OldCipher(String),
    /// Not RSA, or damaged.
    #[error("it is damaged, or no key of RSA")]
    Rejected,
    /// Too long or too short.
    #[error("it has {0} bits: Meta takes keys of 2048")]
    Size(usize),
}

impl PrivateKey {
    /// Reads a PEM text.
    ///
    /// # Errors
    /// [`InvalidKey`] says what is wrong, without the text.
    pub fn read(text: &str, passphrase: Option<&str>) -> Result<Self, InvalidKey> {
        let block = Block::first_of(text).ok_or(InvalidKey::NotPem)?;
        let document = pkcs8_of(&block, passphrase)?;
        let unread = if is_encrypted(&block) { InvalidKey::WrongPassphrase } else { InvalidKey::Rejected };
        let key = PrivateDecryptingKey::from_pkcs8(document.as_bytes()).map_err(|_| unread)?;
        match key.key_size_bits() {
            KEY_BITS => {}
            other => return Err(InvalidKey::Size(other)),
        }
        let public = key.public_key();
        let der: PublicKeyX509Der<'_> = public.as_der().map_err(|_| InvalidKey::Rejected)?;
        let public_pem = pem::text_of("PUBLIC KEY", der.as_ref()).to_string();
        let public = PublicKey(OaepPublicEncryptingKey::new(public).map_err(|_| InvalidKey::Rejected)?);
        let private = OaepPrivateDecryptingKey::new(key).map_err(|_| InvalidKey::Rejected)?;
        let mut stand_in = Zeroizing::new([0; AES_KEY_BYTES]);
        aws_lc_rs::rand::fill(stand_in.as_mut()).map_err(|_| InvalidKey::Rejected)?;
        Ok(Self { private, public, public_pem, stand_in })
    }

    /// A new key of 2048 bits: its PEM text, PKCS#8 without a passphrase.
    ///
    /// # Errors
    /// [`InvalidKey::Rejected`] where the system has no chance to give.
    pub fn generate() -> Result<Zeroizing<String>, InvalidKey> {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(|_| InvalidKey::Rejected)?;
        let der: Pkcs8V1Der<'_> = key.as_der().map_err(|_| InvalidKey::Rejected)?;
        Ok(pem::text_of("PRIVATE KEY", der.as_ref()))
    }

    /// The public half, as Meta takes it: PEM, `BEGIN PUBLIC KEY` (*Flows Encryption*).
    #[must_use]
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// Whether a PEM text is the public half. The same key can be written with other line ends.
    #[must_use]
    pub fn is_half_of(&self, public_pem: &str) -> bool {
        let der = |text: &str| Block::first_of(text)?.content();
        der(public_pem).is_some_and(|public| der(&self.public_pem).is_some_and(|ours| ours == public))
    }

    /// A key that fits nothing.
    pub(super) const fn stand_in(&self) -> &Zeroizing<[u8; AES_KEY_BYTES]> {
        &self.stand_in
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Unwraps an AES key: RSA-OAEP, SHA-256 as hash and in MGF1, empty label (*Implementing Endpoint for Flows*).
    /// Nothing where it was not wrapped for this key, or is no key of 16 bytes.
    pub(super) fn unwrap(&self, wrapped: &[u8]) -> Option<Zeroizing<[u8; AES_KEY_BYTES]>> {
        let mut room = Zeroizing::new(vec![0; self.private.min_output_size()]);
        let unwrapped = self.private.decrypt(&OAEP_SHA256_MGF1SHA256, wrapped, &mut room, None).ok()?;
        <[u8; AES_KEY_BYTES]>::try_from(&*unwrapped).ok().map(Zeroizing::new)
    }
}

/// The public half of a flow's key: what phones have of it.
pub struct PublicKey(OaepPublicEncryptingKey);

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PublicKey(…)")
    }
}

impl PublicKey {
    /// Reads a PEM text, `BEGIN PUBLIC KEY`.
    ///
    /// # Errors
    /// [`InvalidKey`] says what is wrong.
    pub fn read(text: &str) -> Result<Self, InvalidKey> {
        let content = Block::first_of(text).ok_or(InvalidKey::NotPem)?.content().ok_or(InvalidKey::NotPem)?;
        let key = PublicEncryptingKey::from_der(&content).map_err(|_| InvalidKey::Rejected)?;
        Ok(Self(OaepPublicEncryptingKey::new(key).map_err(|_| InvalidKey::Rejected)?))
    }

    /// Wraps an AES key as a phone does.
    pub(super) fn wrap(&self, key: &[u8; AES_KEY_BYTES]) -> Option<Vec<u8>> {
        let mut wrapped = vec![0; self.0.ciphertext_size()];
        self.0.encrypt(&OAEP_SHA256_MGF1SHA256, key, &mut wrapped, None).ok()?;
        Some(wrapped)
    }
}

fn is_encrypted(block: &Block<'_>) -> bool {
    block.label() == "ENCRYPTED PRIVATE KEY" || block.header("DEK-Info").is_some()
}

/// The key as unencrypted PKCS#8, which is all that the cipher library reads.
fn pkcs8_of(block: &Block<'_>, passphrase: Option<&str>) -> Result<SecretDocument, InvalidKey> {
    let content = || block.content().ok_or(InvalidKey::Rejected);
    let given = || passphrase.ok_or(InvalidKey::NeedsPassphrase);
    match block.label() {
        "PRIVATE KEY" => SecretDocument::try_from(content()?.as_slice()).map_err(|_| InvalidKey::Rejected),
        "ENCRYPTED PRIVATE KEY" => {
            let content = content()?;
            let info = EncryptedPrivateKeyInfoRef::try_from(content.as_slice()).map_err(|_| InvalidKey::Rejected)?;
            info.decrypt(given()?).map_err(|_| InvalidKey::WrongPassphrase)
        }
        "RSA PRIVATE KEY" => match block.header("DEK-Info") {
            None => wrap_pkcs1(&content()?),
            Some(info) => wrap_pkcs1(&decrypt_pkcs1(info, content()?, given()?)?),
        },
        other => Err(InvalidKey::OtherKind(other.to_owned())),
    }
}

/// A PKCS#1 key inside PKCS#8 (RFC 5958, section 2).
fn wrap_pkcs1(key: &[u8]) -> Result<SecretDocument, InvalidKey> {
    let algorithm = AlgorithmIdentifierRef { oid: RSA, parameters: Some(pkcs8::der::asn1::AnyRef::NULL) };
    let key = <&OctetStringRef>::try_from(key).map_err(|_| InvalidKey::Rejected)?;
    SecretDocument::try_from(PrivateKeyInfoRef::new(algorithm, key)).map_err(|_| InvalidKey::Rejected)
}

/// OpenSSL's old way with passphrases: DES-EDE3-CBC under a key that MD5 makes of the passphrase and the first 8 bytes
/// of the IV (`EVP_BytesToKey`, one round).
fn decrypt_pkcs1(
    info: &str,
    mut sealed: Zeroizing<Vec<u8>>,
    passphrase: &str,
) -> Result<Zeroizing<Vec<u8>>, InvalidKey> {
    let (name, iv) = info.split_once(',').ok_or(InvalidKey::Rejected)?;
    if name.trim() != "DES-EDE3-CBC" {
        return Err(InvalidKey::OldCipher(name.trim().to_owned()));
    }
    let iv = u64::from_str_radix(iv.trim(), 16).map_err(|_| InvalidKey::Rejected)?.to_be_bytes();
    let hash = |before: &[u8]| {
        let mut digest = Zeroizing::new([0; 16]);
        let hash = Md5::new().chain_update(before).chain_update(passphrase).chain_update(iv);
        hash.finalize_into((&mut *digest).into());
        digest
    };
    let first = hash(&[]);
    let second = hash(&*first);
    let mut key = Zeroizing::new([0; 24]);
    for (byte, made) in key.iter_mut().zip(first.iter().chain(second.iter())) {
        *byte = *made;
    }
    let cipher = cbc::Decryptor::<des::TdesEde3>::new_from_slices(&*key, &iv).map_err(|_| InvalidKey::Rejected)?;
    let length =
        cipher.decrypt_padded::<Pkcs7>(&mut sealed).map_err(|_| InvalidKey::WrongPassphrase).map(<[u8]>::len)?;
    sealed.truncate(length);
    Ok(sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSPHRASE: &str = "correct horse battery staple";
    const PKCS8: &str = include_str!("../../tests/vectors/key_private.pem");
    const FORMS: [(&str, Option<&str>); 4] = [
        (PKCS8, None),
        (include_str!("../../tests/vectors/key_private_pkcs1.pem"), None),
        (include_str!("../../tests/vectors/key_private_encrypted.pem"), Some(PASSPHRASE)),
        (include_str!("../../tests/vectors/key_private_encrypted_pkcs1.pem"), Some(PASSPHRASE)),
    ];

    fn document(text: &str, passphrase: Option<&str>) -> Vec<u8> {
        pkcs8_of(&Block::first_of(text).unwrap(), passphrase).unwrap().as_bytes().to_vec()
    }

    #[test]
    fn every_form_is_the_same_key() {
        for (text, passphrase) in FORMS {
            assert_eq!(document(text, passphrase), document(PKCS8, None));
            PrivateKey::read(text, passphrase).unwrap();
            PrivateKey::read(&text.replace('\n', "\\n"), passphrase).unwrap();
            PrivateKey::read(&text.replace('\n', "\r\n"), passphrase).unwrap();
        }
    }

    #[test]
    fn without_the_passphrase_or_with_another_an_encrypted_key_is_refused() {
        for (text, _) in FORMS.iter().skip(2) {
            assert_eq!(PrivateKey::read(text, None).unwrap_err(), InvalidKey::NeedsPassphrase);
            // The last two open the PKCS#1 key to noise that happens to end like padding.
            for wrong in ["", "wrong", "correct horse battery stapl", "wrong 881", "wrong 1002"] {
                assert_eq!(PrivateKey::read(text, Some(wrong)).unwrap_err(), InvalidKey::WrongPassphrase);
            }
        }
    }

    #[test]
    fn a_key_that_is_damaged_behind_its_passphrase_is_not_told_from_a_wrong_one() {
        for (text, passphrase) in FORMS.iter().skip(2) {
            let (head, _) = text.rsplit_once("\n-----END").unwrap();
            let last = head.lines().last().unwrap();
            let damaged = text.replace(last, &last.replace(|c: char| c != '=', "A"));
            assert_ne!(damaged, *text);
            let error = PrivateKey::read(&damaged, *passphrase).unwrap_err();
            assert_eq!(error, InvalidKey::WrongPassphrase);
            assert!(error.to_string().contains("wrong passphrase, or it is damaged"));
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_what_it_is() {
        let refused = |text: &str| PrivateKey::read(text, None).unwrap_err();
        assert_eq!(refused(""), InvalidKey::NotPem);
        assert_eq!(refused("hunter2"), InvalidKey::NotPem);
        let public = include_str!("../../tests/vectors/key_public.pem");
        assert_eq!(refused(public), InvalidKey::OtherKind("PUBLIC KEY".to_owned()));
        assert_eq!(refused(&PKCS8.replace("PRIVATE KEY", "RSA PRIVATE KEY")), InvalidKey::Rejected);
        let aes = FORMS[3].0.replace("DES-EDE3-CBC", "AES-256-CBC");
        let error = PrivateKey::read(&aes, Some(PASSPHRASE)).unwrap_err();
        assert_eq!(error, InvalidKey::OldCipher("AES-256-CBC".to_owned()));
    }

    #[test]
    fn the_public_half_is_the_one_that_others_derive() {
        for (text, passphrase) in FORMS {
            let key = PrivateKey::read(text, passphrase).unwrap();
            assert_eq!(key.public_pem(), include_str!("../../tests/vectors/key_public.pem"));
        }
    }

    #[test]
    fn a_public_half_is_known_however_its_lines_end() {
        let key = PrivateKey::read(PKCS8, None).unwrap();
        let public = include_str!("../../tests/vectors/key_public.pem");
        let one_line = public.replace('\n', "").replace("KEY-----M", "KEY-----\nM").replace("=-----END", "=\n-----END");
        for text in [public, public.trim(), &public.replace('\n', "\r\n"), &public.replace('\n', "\\n"), &one_line] {
            assert!(key.is_half_of(text), "{text:?}");
        }
        for text in ["", "noise", PKCS8, include_str!("../../tests/vectors/other_public.pem")] {
            assert!(!key.is_half_of(text), "{text:?}");
        }
    }

    #[test]
    fn a_new_key_can_be_read_and_is_another_each_time() {
        let (one, other) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
        assert_ne!(*one, *other);
        assert_ne!(
            PrivateKey::read(&one, None).unwrap().public_pem(),
            PrivateKey::read(&other, None).unwrap().public_pem()
        );
    }

    #[test]
    fn a_key_is_never_shown() {
        assert_eq!(format!("{:?}", PrivateKey::read(PKCS8, None).unwrap()), "PrivateKey(…)");
    }
}
