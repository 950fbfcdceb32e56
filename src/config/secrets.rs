//! Secrets: where they are, and how to get them without ever showing them.
//!
//! The config names a place (`env:NAME`, `file:PATH`), not the secret itself; `text:VALUE` is for tests. Comparing in
//! constant time is `crate::intake`'s, making a development secret is `crate::cli`'s.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::{Zeroize, Zeroizing};

/// A file with more than this is no secret.
const FILE_BYTES_MAX: u64 = 64 * 1024;
const FILE_TEXT_MAX: usize = 64 * 1024;

/// Others than the owner and the group may read the file.
const WORLD_READABLE: u32 = 0o004;

/// Something that is never shown: `Debug` prints `…`. Wiped from memory when it is dropped. Two are compared to see whether one
/// was changed; that takes no constant time.
#[derive(Clone, PartialEq)]
pub struct Secret<T: Zeroize = String>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Hides `value`.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value, for the one place that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Where a secret is.
#[derive(Clone, Debug)]
pub enum SecretRef {
    /// `env:NAME`: in this environment variable.
    Env(String),
    /// `file:PATH`: in this file, without its last line end.
    File(PathBuf),
    /// `text:VALUE`: here. For tests.
    Text(Secret),
}

/// A text that names no place of a secret. Never says what the text was: it may be the secret itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecretRef {
    /// Without a known beginning.
    #[error(
        "this says nowhere where the secret is (and is not shown, in case it is the secret): write \"env:NAME\", \
         \"file:PATH\" or, for tests, \"text:VALUE\""
    )]
    NoPrefix,
    /// `env:` and no name of a variable.
    #[error("\"env:\" needs the name of an environment variable: letters, digits and '_', no digit first")]
    NoName,
    /// `file:` and no path.
    #[error("\"file:\" needs the path of a file")]
    NoPath,
    /// `text:` and nothing.
    #[error("\"text:\" needs the secret behind it")]
    NoText,
}

/// A secret that is not where the config says.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can't be read.
    #[error("can't read the secret in {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is nothing in it.
    #[error("the secret file {} is empty", .0.display())]
    Empty(PathBuf),
    /// It is not text.
    #[error("the secret file {} is not text (UTF-8), or has more than one line", .0.display())]
    NotText(PathBuf),
    /// The variable's value is not text.
    #[error("the environment variable {0} is not text (UTF-8)")]
    VariableNotText(String),
}

impl SecretRef {
    /// Reads `env:NAME`, `file:PATH` (relative to `folder`) or `text:VALUE`.
    ///
    /// # Errors
    /// [`InvalidSecretRef`] for anything else, without repeating it.
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

    /// Gets the secret. `None` where its environment variable is not set, or empty.
    ///
    /// # Errors
    /// [`SecretError`] for a file that is missing, unreadable, empty or no line of text.
    pub fn resolve(&self) -> Result<Option<Secret>, SecretError> {
        self.resolve_in(|name| std::env::var_os(name))
    }

    /// Gets a secret of several lines, such as a private key. `None` where its environment variable is not set, or empty.
    ///
    /// # Errors
    /// [`SecretError`] for a file that is missing, unreadable, empty or no text.
    pub fn resolve_block(&self) -> Result<Option<Secret>, SecretError> {
        match self {
            Self::File(path) => match read_text(path)? {
                text if text.trim().is_empty() => Err(SecretError::Empty(path.clone())),
                text => Ok(Some(Secret(text))),
            },
            Self::Env(_) | Self::Text(_) => self.resolve(),
        }
    }

    fn resolve_in(&self, variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<Secret>, SecretError> {
        match self {
            Self::Env(name) => match variable(name).map(OsString::into_string) {
                Some(Ok(value)) => Ok(Some(value).filter(|value| !value.is_empty()).map(Secret::new)),
                Some(Err(_)) => Err(SecretError::VariableNotText(name.clone())),
                None => Ok(None),
            },
            Self::File(path) => read_file(path).map(Some),
            Self::Text(value) => Ok(Some(value.clone())),
        }
    }

    /// The place, for people: never the secret.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Env(name) => format!("env:{name}"),
            Self::File(path) => format!("file:{}", path.display()),
            Self::Text(_) => "text:…".to_owned(),
        }
    }

    /// What an operator should know about this place: a file that others may read, a secret in the config itself, a
    /// variable that is not set. One sentence without the secret, or nothing.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        self.note_in(|name| std::env::var_os(name))
    }

    fn note_in(&self, variable: impl Fn(&str) -> Option<OsString>) -> Option<String> {
        match self {
            Self::Env(name) => {
                let value = variable(name).map(|value| Zeroizing::new(value.into_vec()));
                match value.as_deref().filter(|value| !value.is_empty()) {
                    None => Some(format!("the environment variable {name} is not set")),
                    Some(value) => has_odd_ends(value).then(|| odd_ends(&self.place())),
                }
            }
            Self::File(path) => {
                let mode = path.metadata().ok()?.permissions().mode();
                if mode & WORLD_READABLE != 0 {
                    let path = path.display();
                    return Some(format!("everybody on this machine may read {path}: chmod 600 {path}"));
                }
                let secret = read_file(path).ok()?;
                has_odd_ends(secret.expose().as_bytes()).then(|| odd_ends(&self.place()))
            }
            Self::Text(_) => Some("a secret stands in the config itself: that is for tests".to_owned()),
        }
    }
}

/// White space at an end of a secret: most likely a mistake. A text of several lines, such as a key, may have it.
fn has_odd_ends(secret: &[u8]) -> bool {
    let trimmed = secret.trim_ascii();
    trimmed.len() != secret.len() && !trimmed.contains(&b'\n')
}

fn odd_ends(place: &str) -> String {
    format!("what is in {place} begins or ends with white space, which counts as a part of it")
}

fn is_variable_name(name: &str) -> bool {
    let fits = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    fits && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

fn read_text(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    let failed = |source| SecretError::Read { path: path.to_owned(), source };
    // All of it at once: a buffer that grows would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(FILE_TEXT_MAX));
    match File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text)) {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(SecretError::NotText(path.to_owned())),
        Err(error) => Err(failed(error)),
    }
}

fn read_file(path: &Path) -> Result<Secret, SecretError> {
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

    fn parsed(text: &str) -> SecretRef {
        SecretRef::parse(text, Path::new("/etc/flowgate")).unwrap()
    }

    fn refused(text: &str) -> InvalidSecretRef {
        SecretRef::parse(text, Path::new("")).unwrap_err()
    }

    fn value(secret: &SecretRef) -> Option<String> {
        secret.resolve().unwrap().map(|secret| secret.expose().clone())
    }

    #[test]
    fn a_secret_is_never_shown() {
        let shown = format!("{:?} {:?}", Secret::new("hush".to_owned()), parsed("text:hush"));
        assert_eq!(shown, "… Text(…)");
        assert!(!refused("hush:hush").to_string().contains("hush"));
    }

    #[test]
    fn a_place_begins_with_its_kind() {
        assert!(matches!(parsed("env:META_APP_SECRET"), SecretRef::Env(name) if name == "META_APP_SECRET"));
        assert!(matches!(parsed("file:secret"), SecretRef::File(path) if path == Path::new("/etc/flowgate/secret")));
        assert!(matches!(parsed("file:/run/secret"), SecretRef::File(path) if path == Path::new("/run/secret")));
        assert_eq!(value(&parsed("text:a:b")).as_deref(), Some("a:b"));
        for hidden in ["0123456789abcdef", "ENV:A", "", "vault:x"] {
            assert_eq!(refused(hidden), InvalidSecretRef::NoPrefix, "{hidden}");
        }
        assert_eq!(refused("env:0123"), InvalidSecretRef::NoName);
        assert_eq!(refused("env:"), InvalidSecretRef::NoName);
        assert_eq!(refused("file:"), InvalidSecretRef::NoPath);
        assert_eq!(refused("text:"), InvalidSecretRef::NoText);
    }

    #[test]
    fn a_variable_that_is_not_set_or_empty_is_no_secret_but_a_note() {
        let secret = parsed("env:KEY");
        let with = |value: &'static str| move |_: &str| Some(OsString::from(value));
        assert!(secret.resolve_in(|_| None).unwrap().is_none());
        assert!(secret.resolve_in(with("")).unwrap().is_none());
        assert_eq!(secret.resolve_in(with("hush")).unwrap().unwrap().expose(), "hush");
        assert_eq!(secret.note_in(with("")).unwrap(), "the environment variable KEY is not set");
        assert_eq!(secret.note_in(with("hush")), None);
        let odd = "what is in env:KEY begins or ends with white space, which counts as a part of it";
        for value in [" hush", "hush\n", "hush\t"] {
            assert_eq!(secret.note_in(with(value)).as_deref(), Some(odd));
        }
        assert_eq!(secret.note_in(with("BEGIN\nhush\nEND\n")), None, "a key");
    }

    #[test]
    fn a_file_is_one_line_of_text() {
        let folder = tempfile::tempdir().unwrap();
        let secret = SecretRef::parse("file:secret", folder.path()).unwrap();
        assert!(matches!(secret.resolve(), Err(SecretError::Read { .. })), "missing");
        let path = folder.path().join("secret");
        for (content, expected) in [("hush\n", "hush"), ("hush\r\n", "hush"), (" hush", " hush")] {
            fs::write(&path, content).unwrap();
            assert_eq!(value(&secret).as_deref(), Some(expected));
        }
        fs::write(&path, "\n").unwrap();
        assert!(matches!(secret.resolve(), Err(SecretError::Empty(_))));
        for content in [&b"\xff\xfe"[..], b"two\nlines"] {
            fs::write(&path, content).unwrap();
            assert!(matches!(secret.resolve(), Err(SecretError::NotText(_))));
        }
    }

    #[test]
    fn a_file_that_everybody_may_read_is_noted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "hush").unwrap();
        let secret = SecretRef::parse("file:secret", folder.path()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(secret.note(), None);
        fs::write(&path, "hush \n").unwrap();
        assert!(secret.note().unwrap().ends_with("begins or ends with white space, which counts as a part of it"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(secret.note().unwrap().contains("chmod 600"));
    }
}
