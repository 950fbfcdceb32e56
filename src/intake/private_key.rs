//! Holds the RSA keys of a flow, and wraps and unwraps AES keys with them.
//!
//! See `super::key_format` for the formats of keys, `super::pem` for the PEM text and
//! [`crate::config`] for the source of a key. See [`super::encryption`] for the decryption with the
//! unwrapped keys.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
use zeroize::Zeroizing;

use super::key_format::{InvalidKey, is_encrypted, to_pkcs8};
use super::pem::{self, PemBlock};

/// Required key size in bits. Meta accepts keys of 2048 bits (*Flows Encryption*), so a wrapped key
/// is as long as these bits.
const KEY_BITS: usize = 2048;

/// Length of an AES-128 key in bytes.
pub(super) const AES_KEY_BYTES: usize = 16;

/// Private key of a flow. `Debug` never shows the key.
pub struct PrivateKey {
    private: OaepPrivateDecryptingKey,
    public: PublicKey,
    /// Public key as PEM text, the format that Meta accepts.
    public_pem: String,
    /// Random AES key that nobody knows. Replaces the AES key if none could be unwrapped.
    decoy_key: Zeroizing<[u8; AES_KEY_BYTES]>,
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

impl PrivateKey {
    /// Parses a PEM text.
    ///
    /// # Errors
    /// [`InvalidKey`] names the reason without the text.
    pub fn parse(text: &str, passphrase: Option<&str>) -> Result<Self, InvalidKey> {
        let block = PemBlock::first_of(text).ok_or(InvalidKey::NotPem)?;
        let document = to_pkcs8(&block, passphrase)?;
        let parse_error = if is_encrypted(&block) {
            InvalidKey::WrongPassphrase
        } else {
            InvalidKey::Rejected
        };
        let key = PrivateDecryptingKey::from_pkcs8(document.as_bytes()).map_err(|_| parse_error)?;
        if key.key_size_bits() != KEY_BITS {
            return Err(InvalidKey::Size(key.key_size_bits()));
        }
        let public = key.public_key();
        let der: PublicKeyX509Der<'_> = public.as_der().map_err(|_| InvalidKey::Rejected)?;
        let public_pem = pem::encode("PUBLIC KEY", der.as_ref()).to_string();
        let public =
            PublicKey(OaepPublicEncryptingKey::new(public).map_err(|_| InvalidKey::Rejected)?);
        let private = OaepPrivateDecryptingKey::new(key).map_err(|_| InvalidKey::Rejected)?;
        let mut decoy_key = Zeroizing::new([0; AES_KEY_BYTES]);
        aws_lc_rs::rand::fill(decoy_key.as_mut()).map_err(|_| InvalidKey::Rejected)?;
        Ok(Self {
            private,
            public,
            public_pem,
            decoy_key,
        })
    }

    /// Generates a new key of 2048 bits and returns its PEM text: PKCS#8 without a passphrase.
    ///
    /// # Errors
    /// [`InvalidKey::Rejected`] if the system provides no random bytes.
    pub fn generate() -> Result<Zeroizing<String>, InvalidKey> {
        let key =
            PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(|_| InvalidKey::Rejected)?;
        let der: Pkcs8V1Der<'_> = key.as_der().map_err(|_| InvalidKey::Rejected)?;
        Ok(pem::encode("PRIVATE KEY", der.as_ref()))
    }

    /// Returns the public key in the format that Meta accepts: PEM, `BEGIN PUBLIC KEY` (*Flows
    /// Encryption*).
    #[must_use]
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// Returns `true` if a PEM text is the public key of this private key. Different line endings
    /// do not matter.
    #[must_use]
    pub fn matches_public_pem(&self, public_pem: &str) -> bool {
        let der = |text: &str| PemBlock::first_of(text)?.content();
        der(public_pem)
            .is_some_and(|public| der(&self.public_pem).is_some_and(|ours| ours == public))
    }

    /// Returns the decoy key, which decrypts nothing.
    pub(super) const fn decoy_key(&self) -> &Zeroizing<[u8; AES_KEY_BYTES]> {
        &self.decoy_key
    }

    /// Returns the public key.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Unwraps an AES key with RSA-OAEP: SHA-256 as hash and in MGF1, empty label (*Implementing
    /// Endpoint for Flows*). Returns `None` if the AES key was wrapped for another key or does not
    /// have 16 bytes.
    pub(super) fn unwrap(&self, wrapped: &[u8]) -> Option<Zeroizing<[u8; AES_KEY_BYTES]>> {
        let mut buffer = Zeroizing::new(vec![0; self.private.min_output_size()]);
        let unwrapped = self
            .private
            .decrypt(&OAEP_SHA256_MGF1SHA256, wrapped, &mut buffer, None)
            .ok()?;
        <[u8; AES_KEY_BYTES]>::try_from(&*unwrapped)
            .ok()
            .map(Zeroizing::new)
    }
}

/// Public key of a flow. Phones encrypt requests with it.
pub struct PublicKey(OaepPublicEncryptingKey);

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PublicKey(…)")
    }
}

impl PublicKey {
    /// Parses a PEM text, `BEGIN PUBLIC KEY`.
    ///
    /// # Errors
    /// [`InvalidKey`] names the reason.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let content = PemBlock::first_of(text)
            .ok_or(InvalidKey::NotPem)?
            .content()
            .ok_or(InvalidKey::NotPem)?;
        let key = PublicEncryptingKey::from_der(&content).map_err(|_| InvalidKey::Rejected)?;
        Ok(Self(
            OaepPublicEncryptingKey::new(key).map_err(|_| InvalidKey::Rejected)?,
        ))
    }

    /// Wraps an AES key in the same format as a phone.
    pub(super) fn wrap(&self, key: &[u8; AES_KEY_BYTES]) -> Option<Vec<u8>> {
        let mut wrapped = vec![0; self.0.ciphertext_size()];
        self.0
            .encrypt(&OAEP_SHA256_MGF1SHA256, key, &mut wrapped, None)
            .ok()?;
        Some(wrapped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSPHRASE: &str = "correct horse battery staple";
    const PKCS8: &str = include_str!("../../tests/vectors/key_private.pem");
    const PKCS1: &str = include_str!("../../tests/vectors/key_private_pkcs1.pem");
    const ENCRYPTED: [&str; 2] = [
        include_str!("../../tests/vectors/key_private_encrypted.pem"),
        include_str!("../../tests/vectors/key_private_encrypted_pkcs1.pem"),
    ];
    const KEY_FORMS: [(&str, Option<&str>); 4] = [
        (PKCS8, None),
        (PKCS1, None),
        (ENCRYPTED[0], Some(PASSPHRASE)),
        (ENCRYPTED[1], Some(PASSPHRASE)),
    ];
    const PUBLIC: &str = include_str!("../../tests/vectors/key_public.pem");

    fn document(text: &str, passphrase: Option<&str>) -> Vec<u8> {
        to_pkcs8(&PemBlock::first_of(text).unwrap(), passphrase)
            .unwrap()
            .as_bytes()
            .to_vec()
    }

    #[test]
    fn every_key_form_is_parsed() {
        for (text, passphrase) in KEY_FORMS {
            assert_eq!(document(text, passphrase), document(PKCS8, None));
            PrivateKey::parse(text, passphrase).unwrap();
            PrivateKey::parse(&text.replace('\n', "\\n"), passphrase).unwrap();
            PrivateKey::parse(&text.replace('\n', "\r\n"), passphrase).unwrap();
        }
    }

    #[test]
    fn missing_or_wrong_passphrase_is_refused() {
        for text in ENCRYPTED {
            let error_with = |passphrase| PrivateKey::parse(text, passphrase).unwrap_err();
            assert_eq!(error_with(None), InvalidKey::NeedsPassphrase);
            // The last two passphrases decrypt the PKCS#1 key to random bytes that have valid
            // padding by accident.
            let shortened = &PASSPHRASE[..PASSPHRASE.len() - 1];
            for wrong in ["", "wrong", shortened, "wrong 881", "wrong 1002"] {
                assert_eq!(error_with(Some(wrong)), InvalidKey::WrongPassphrase);
            }
        }
    }

    #[test]
    fn damaged_encrypted_key_is_reported_as_wrong_passphrase() {
        for text in ENCRYPTED {
            let (head, _) = text.rsplit_once("\n-----END").unwrap();
            let last = head.lines().last().unwrap();
            let damaged = text.replace(last, &last.replace(|c: char| c != '=', "A"));
            assert_ne!(damaged, text);
            let error = PrivateKey::parse(&damaged, Some(PASSPHRASE)).unwrap_err();
            assert_eq!(error, InvalidKey::WrongPassphrase);
            let why = "wrong passphrase, or the key is damaged";
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn invalid_key_error_names_kind() {
        let error_of = |text: &str| PrivateKey::parse(text, None).unwrap_err();
        let mislabeled = PKCS8.replace("PRIVATE KEY", "RSA PRIVATE KEY");
        for (text, error) in [
            ("", InvalidKey::NotPem),
            ("hunter2", InvalidKey::NotPem),
            (PUBLIC, InvalidKey::OtherKind("PUBLIC KEY".to_owned())),
            (&mislabeled, InvalidKey::Rejected),
        ] {
            assert_eq!(error_of(text), error, "{text}");
        }
        let aes = ENCRYPTED[1].replace("DES-EDE3-CBC", "AES-256-CBC");
        let error = PrivateKey::parse(&aes, Some(PASSPHRASE)).unwrap_err();
        assert_eq!(error, InvalidKey::OldCipher("AES-256-CBC".to_owned()));
    }

    #[test]
    fn public_pem_matches_openssl() {
        for (text, passphrase) in KEY_FORMS {
            let key = PrivateKey::parse(text, passphrase).unwrap();
            assert_eq!(key.public_pem(), PUBLIC);
        }
    }

    #[test]
    fn public_pem_is_compared_without_line_ends() {
        let key = PrivateKey::parse(PKCS8, None).unwrap();
        let one_line = PUBLIC
            .replace('\n', "")
            .replace("KEY-----M", "KEY-----\nM")
            .replace("=-----END", "=\n-----END");
        for text in [
            PUBLIC,
            PUBLIC.trim(),
            &PUBLIC.replace('\n', "\r\n"),
            &PUBLIC.replace('\n', "\\n"),
            &one_line,
        ] {
            assert!(key.matches_public_pem(text), "{text:?}");
        }
        let other = include_str!("../../tests/vectors/other_public.pem");
        for text in ["", "noise", PKCS8, other] {
            assert!(!key.matches_public_pem(text), "{text:?}");
        }
    }

    #[test]
    fn generated_keys_are_valid_and_distinct() {
        let [one, other] = [(), ()].map(|()| PrivateKey::generate().unwrap());
        assert_ne!(*one, *other);
        let parsed = [&one, &other].map(|key| PrivateKey::parse(key, None).unwrap());
        assert_ne!(parsed[0].public_pem(), parsed[1].public_pem());
    }

    #[test]
    fn private_key_debug_is_hidden() {
        let key = PrivateKey::parse(PKCS8, None).unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey(…)");
    }
}
