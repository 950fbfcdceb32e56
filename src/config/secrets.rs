//! Reads secrets from their locations, and never shows a secret.
//!
//! The config has the location of a secret (`env:NAME`, `file:PATH`), not the secret itself.
//! `text:VALUE` is for tests. See [`crate::intake`] for the comparison in constant time,
//! [`crate::bootstrap`] for the development secret, and [`crate::domain::health::wrong_app_secret`]
//! for a wrong app secret.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hyper::header::HeaderValue;
use zeroize::{Zeroize, Zeroizing};

/// Maximum size of a secret file, in bytes. A larger file is refused.
const FILE_BYTES_MAX: usize = 64 * 1024;

/// Permission bit that lets users other than the owner and the group read the file.
const WORLD_READABLE: u32 = 0o004;

/// Secret value that is never shown: `Debug` prints `…`. The value is wiped from memory when it is
/// dropped. The comparison of two secrets only finds changes, and does not run in constant time.
#[derive(Clone, PartialEq)]
pub struct Secret<T: Zeroize = String>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Wraps `value`, so that it is never shown.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// Returns the value, for the code that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl Secret {
    /// Returns `prefix` and the secret as the value of an HTTP header, marked as sensitive.
    ///
    /// Returns `None` if the secret contains other characters than visible ASCII and spaces.
    /// Receivers decode such characters in different ways, and the redaction would not find them in
    /// a response that repeats them.
    #[must_use]
    pub fn to_header(&self, prefix: &str) -> Option<HeaderValue> {
        let text = Zeroizing::new(format!("{prefix}{}", self.expose()));
        let is_visible = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let mut value = HeaderValue::from_str(&text).ok().filter(|_| is_visible)?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Location of a secret.
#[derive(Clone, Debug, PartialEq)]
pub enum SecretRef {
    /// `env:NAME`: the value of this environment variable.
    Env(String),
    /// `file:PATH`: the content of this file, without the line break at its end.
    File(PathBuf),
    /// `text:VALUE`: the secret itself. For tests.
    Text(Secret),
}

/// Error for a text that is not the location of a secret. The message never contains the text,
/// because the text may be the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecretRef {
    /// The text has no known prefix.
    #[error(
        "must start with env:, file: or text: (value hidden): write \"env:NAME\", \
         \"file:PATH\" or, for tests, \"text:VALUE\""
    )]
    NoPrefix,
    /// `env:` is not followed by the name of a variable.
    #[error(
        "\"env:\" needs the name of an environment variable: letters, digits and '_', no digit first"
    )]
    NoName,
    /// `file:` is not followed by a path.
    #[error("\"file:\" needs the path of a file")]
    NoPath,
    /// `text:` is not followed by a value.
    #[error("\"text:\" needs the secret after it")]
    NoText,
}

/// Error for a secret that can't be read from its location.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can't be read.
    #[error("can't read the secret in {}: {source}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Reason of the failure.
        source: io::Error,
    },
    /// The file is empty.
    #[error("the secret file {} is empty", .0.display())]
    Empty(PathBuf),
    /// The file is not UTF-8 text, or has more than one line.
    #[error("the secret file {} is not text (UTF-8), or has more than one line", .0.display())]
    NotText(PathBuf),
    /// The value of the environment variable is not UTF-8 text.
    #[error("the environment variable {0} is not text (UTF-8)")]
    VariableNotText(String),
}

impl SecretRef {
    /// Parses `env:NAME`, `file:PATH` (relative to `folder`) or `text:VALUE`.
    ///
    /// # Errors
    /// [`InvalidSecretRef`] for any other text. The error does not repeat the text.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, InvalidSecretRef> {
        match text.split_once(':') {
            Some(("env", name)) if is_variable_name(name) => Ok(Self::Env(name.to_owned())),
            Some(("env", _)) => Err(InvalidSecretRef::NoName),
            Some(("file", "")) => Err(InvalidSecretRef::NoPath),
            Some(("file", path)) => Ok(Self::File(folder.join(path))),
            Some(("text", "")) => Err(InvalidSecretRef::NoText),
            Some(("text", value)) => Ok(Self::Text(Secret::new(value.to_owned()))),
            _ => Err(InvalidSecretRef::NoPrefix),
        }
    }

    /// Returns the secret. `None`: its environment variable is unset or empty.
    ///
    /// # Errors
    /// [`SecretError`] if the file is missing, unreadable, empty or not one line of text, or if the
    /// variable is not text.
    pub fn resolve(&self) -> Result<Option<Secret>, SecretError> {
        self.resolve_in(|name| std::env::var_os(name))
    }

    /// Returns a secret that may have several lines, such as a private key. `None`: its environment
    /// variable is unset or empty.
    ///
    /// # Errors
    /// [`SecretError`] if the file is missing, unreadable, empty or not text, or if the variable is
    /// not text.
    pub fn resolve_multiline(&self) -> Result<Option<Secret>, SecretError> {
        match self {
            Self::File(path) => match read_text(path)? {
                text if text.trim().is_empty() => Err(SecretError::Empty(path.clone())),
                text => Ok(Some(Secret(text))),
            },
            Self::Env(_) | Self::Text(_) => self.resolve(),
        }
    }

    fn resolve_in(
        &self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Secret>, SecretError> {
        match self {
            Self::Env(name) => match variable(name).map(OsString::into_string) {
                Some(Ok(value)) => Ok(Some(value)
                    .filter(|value| !value.is_empty())
                    .map(Secret::new)),
                Some(Err(_)) => Err(SecretError::VariableNotText(name.clone())),
                None => Ok(None),
            },
            Self::File(path) => read_single_line(path).map(Some),
            Self::Text(value) => Ok(Some(value.clone())),
        }
    }

    /// Returns the location, for display. Never returns the secret.
    #[must_use]
    pub fn location(&self) -> String {
        match self {
            Self::Env(name) => format!("env:{name}"),
            Self::File(path) => format!("file:{}", path.display()),
            Self::Text(_) => "text:…".to_owned(),
        }
    }

    /// Returns a warning about the location or the secret, or `None`. The warning is one sentence
    /// without the secret. Reasons are a file that everybody may read, a secret in the config
    /// itself, an unset variable, and white space at an end.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.warning_in(|name| std::env::var_os(name))
    }

    /// Returns the result of [`SecretRef::warning`] with the config key before it.
    pub(super) fn labelled_warning(&self, key: impl fmt::Display) -> Option<String> {
        self.warning().map(|warning| format!("{key}: {warning}"))
    }

    fn warning_in(&self, variable: impl Fn(&str) -> Option<OsString>) -> Option<String> {
        let is_padded = match self {
            Self::Env(name) => {
                let value = variable(name).map(|value| Zeroizing::new(value.into_vec()));
                match value.filter(|value| !value.is_empty()) {
                    None => return Some(format!("the environment variable {name} is not set")),
                    Some(value) => has_outer_whitespace(&value),
                }
            }
            Self::File(path) => {
                let mode = path.metadata().ok()?.permissions().mode();
                if mode & WORLD_READABLE != 0 {
                    let path = path.display();
                    return Some(format!(
                        "every user of this machine can read {path}: chmod 600 {path}"
                    ));
                }
                has_outer_whitespace(read_single_line(path).ok()?.expose().as_bytes())
            }
            Self::Text(_) => {
                let warning = "the secret is in the config itself: use this only for tests";
                return Some(warning.to_owned());
            }
        };
        is_padded.then(|| {
            let location = self.location();
            format!("the secret in {location} begins or ends with white space, which is part of the secret")
        })
    }
}

/// Returns `true` if the secret begins or ends with white space, which is most likely a mistake.
/// Returns `false` for a secret of several lines, such as a key.
fn has_outer_whitespace(secret: &[u8]) -> bool {
    let trimmed = secret.trim_ascii();
    trimmed.len() != secret.len() && !trimmed.contains(&b'\n')
}

fn is_variable_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !name.is_empty() && name.bytes().all(fits) && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn read_text(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    let read_error = |source| SecretError::Read {
        path: path.to_owned(),
        source,
    };
    // The whole capacity is allocated at once: a buffer that grows would leave copies of the secret
    // in memory.
    let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX));
    let limit = u64::try_from(FILE_BYTES_MAX + 1).unwrap_or(u64::MAX);
    match File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text)) {
        // A truncated secret would be a wrong secret.
        Ok(bytes) if bytes > FILE_BYTES_MAX => Err(read_error(io::ErrorKind::FileTooLarge.into())),
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(SecretError::NotText(path.to_owned()))
        }
        Err(error) => Err(read_error(error)),
    }
}

fn read_single_line(path: &Path) -> Result<Secret, SecretError> {
    let text = read_text(path)?;
    let line = text.trim_end_matches(['\r', '\n']);
    match line {
        "" => Err(SecretError::Empty(path.to_owned())),
        line if line.contains(['\r', '\n']) => Err(SecretError::NotText(path.to_owned())),
        line => Ok(Secret::new(line.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn parse_ref(text: &str) -> SecretRef {
        SecretRef::parse(text, Path::new("/etc/flowgate")).unwrap()
    }

    fn parse_error(text: &str) -> InvalidSecretRef {
        SecretRef::parse(text, Path::new("")).unwrap_err()
    }

    fn resolved_value(secret: &SecretRef) -> Option<String> {
        let secret = secret.resolve().unwrap();
        secret.map(|secret| secret.expose().clone())
    }

    #[test]
    fn secret_debug_is_hidden() {
        let secret = Secret::new("hush".to_owned());
        let shown = format!("{secret:?} {:?}", parse_ref("text:hush"));
        assert_eq!(shown, "… Text(…)");
        assert!(!parse_error("hush:hush").to_string().contains("hush"));
    }

    #[test]
    fn secret_header_accepts_visible_ascii_only() {
        let header = |text: &str| Secret::new(text.to_owned()).to_header("Bearer ");
        assert!(header("a~b").is_some_and(|value| value.is_sensitive() && value == "Bearer a~b"));
        for text in ["schlüssel-123", "two\nlines", "a\tb", "\u{7f}"] {
            assert!(header(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn secret_ref_needs_known_prefix() {
        let file = |path: &str| SecretRef::File(path.into());
        for (text, expected) in [
            ("env:META_SECRET", SecretRef::Env("META_SECRET".to_owned())),
            ("file:secret", file("/etc/flowgate/secret")),
            ("file:/run/secret", file("/run/secret")),
            ("text:a:b", SecretRef::Text(Secret::new("a:b".to_owned()))),
        ] {
            assert_eq!(parse_ref(text), expected, "{text}");
        }
        for hidden in ["0123456789abcdef", "ENV:A", "", "vault:x"] {
            assert_eq!(parse_error(hidden), InvalidSecretRef::NoPrefix, "{hidden}");
        }
        assert_eq!(parse_error("env:0123"), InvalidSecretRef::NoName);
        assert_eq!(parse_error("env:"), InvalidSecretRef::NoName);
        assert_eq!(parse_error("file:"), InvalidSecretRef::NoPath);
        assert_eq!(parse_error("text:"), InvalidSecretRef::NoText);
    }

    #[test]
    fn unset_variable_resolves_to_none_with_warning() {
        let secret = parse_ref("env:KEY");
        let with = |value: &'static str| move |_: &str| Some(OsString::from(value));
        assert!(secret.resolve_in(|_| None).unwrap().is_none());
        assert!(secret.resolve_in(with("")).unwrap().is_none());
        let found = secret.resolve_in(with("hush")).unwrap().unwrap();
        assert_eq!(found.expose(), "hush");
        let unset = secret.warning_in(with("")).unwrap();
        assert_eq!(unset, "the environment variable KEY is not set");
        assert_eq!(secret.warning_in(with("hush")), None);
        let expected =
            "the secret in env:KEY begins or ends with white space, which is part of the secret";
        for value in [" hush", "hush\n", "hush\t"] {
            assert_eq!(secret.warning_in(with(value)).as_deref(), Some(expected));
        }
        assert_eq!(secret.warning_in(with("BEGIN\nhush\nEND\n")), None, "a key");
    }

    #[test]
    fn oversized_secret_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let secret = SecretRef::File(path.clone());
        fs::write(&path, "x".repeat(FILE_BYTES_MAX)).unwrap();
        assert_eq!(resolved_value(&secret).unwrap().len(), FILE_BYTES_MAX);
        fs::write(&path, "x".repeat(FILE_BYTES_MAX + 1)).unwrap();
        let error = secret.resolve().unwrap_err().to_string();
        assert!(error.contains("too large"), "{error}");
    }

    #[test]
    fn secret_file_is_single_line() {
        let folder = tempfile::tempdir().unwrap();
        let secret = SecretRef::parse("file:secret", folder.path()).unwrap();
        assert!(
            matches!(secret.resolve(), Err(SecretError::Read { .. })),
            "missing"
        );
        let path = folder.path().join("secret");
        for (content, expected) in [("hush\n", "hush"), ("hush\r\n", "hush"), (" hush", " hush")] {
            fs::write(&path, content).unwrap();
            assert_eq!(resolved_value(&secret).as_deref(), Some(expected));
        }
        fs::write(&path, "\n").unwrap();
        assert!(matches!(secret.resolve(), Err(SecretError::Empty(_))));
        for content in [&b"\xff\xfe"[..], b"two\nlines"] {
            fs::write(&path, content).unwrap();
            assert!(matches!(secret.resolve(), Err(SecretError::NotText(_))));
        }
    }

    #[test]
    fn world_readable_file_gets_warning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "hush").unwrap();
        let secret = SecretRef::parse("file:secret", folder.path()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(secret.warning(), None);
        fs::write(&path, "hush \n").unwrap();
        let padded = "begins or ends with white space, which is part of the secret";
        assert!(secret.warning().unwrap().ends_with(padded));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(secret.warning().unwrap().contains("chmod 600"));
    }
}
