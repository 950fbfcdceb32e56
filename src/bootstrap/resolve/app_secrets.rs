//! Resolves the app secrets that verify signatures: those of the config, or a development secret if
//! the config has none.
//!
//! A server never runs without a secret. The development secret is stored beside the data file and
//! only its owner can read it. New users can try everything with it before they have an app at
//! Meta. Meta never signs with it.
//!
//! See [`crate::domain::health::wrong_app_secret`] for a secret that does not fit.

use std::io;
use std::path::{Path, PathBuf};

use crate::bootstrap::private_file;
use crate::clock::Entropy;
use crate::config::{Config, ConfigError, Secret, SecretRef};
use crate::domain::hex::to_hex;

/// File name of the development secret, in the folder of the data file.
const DEVELOPMENT_SECRET_FILE: &str = "flowgate.dev-secret";

/// App secrets of a server. There is at least one.
#[derive(Clone, Debug)]
pub struct AppSecrets {
    /// Newest secret.
    pub newest: Secret,
    /// Older secrets that are still valid.
    pub older: Vec<Secret>,
    /// File of the development secret. `None` if the secrets come from the config.
    pub development: Option<PathBuf>,
}

/// Errors of the app secrets.
#[derive(Debug, thiserror::Error)]
pub enum AppSecretError {
    /// A secret of the config can't be read.
    #[error(transparent)]
    Unreadable(#[from] ConfigError),
    /// The file of the development secret can't be created.
    #[error("can't create the development secret {}: {source}; set META_APP_SECRET instead", path.display())]
    NotCreated {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        #[source]
        source: io::Error,
    },
    /// A running server had app secrets, and the new config has none. The text lists their
    /// locations.
    #[error(
        "meta.app_secrets: no app secret is set ({0}); a server reads environment variables only at its start: restart it, or \
         use `file:`"
    )]
    Removed(String),
}

impl AppSecrets {
    /// Returns the app secrets of the config, or a development secret. [`AppSecrets::persist`]
    /// writes a new development secret to its file.
    ///
    /// # Errors
    /// Returns [`AppSecretError`] if a secret can't be read.
    pub fn load_or_create(config: &Config, entropy: &dyn Entropy) -> Result<Self, AppSecretError> {
        if let Some(secrets) = Self::configured(config)? {
            return Ok(secrets);
        }
        let path = config.data.with_file_name(DEVELOPMENT_SECRET_FILE);
        let newest = if path.exists() {
            read_development_secret(&path)?
        } else {
            Secret::new(random_hex(entropy))
        };
        Ok(Self {
            newest,
            older: Vec::new(),
            development: Some(path),
        })
    }

    /// Writes a new development secret to its file with mode 0600. An earlier failure of the start
    /// leaves no file.
    ///
    /// # Errors
    /// Returns [`AppSecretError`] if the file can't be created, or if it exists with another
    /// secret.
    pub fn persist(&self) -> Result<(), AppSecretError> {
        let Some(path) = &self.development else {
            return Ok(());
        };
        let failed = |source| AppSecretError::NotCreated {
            path: path.clone(),
            source,
        };
        match private_file::create(path, &format!("{}\n", self.newest.expose())) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if read_development_secret(path)? == self.newest {
                    return Ok(());
                }
                let theirs = "another server has just created it";
                Err(failed(io::Error::new(error.kind(), theirs)))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Returns the app secrets of the config. If none is set and `running` has a development
    /// secret, returns that one.
    ///
    /// # Errors
    /// Returns [`AppSecretError`] if a secret can't be read, or if `running` had app secrets and
    /// the config has none.
    pub fn reload_or_retain(config: &Config, running: &Self) -> Result<Self, AppSecretError> {
        match Self::configured(config)? {
            Some(secrets) => Ok(secrets),
            None if running.development.is_some() => Ok(running.clone()),
            // With a development secret, the signatures of Meta would fail.
            None => {
                let locations = config.meta.app_secrets.iter().map(SecretRef::location);
                let locations: Vec<String> = locations.collect();
                Err(AppSecretError::Removed(locations.join(", ")))
            }
        }
    }

    /// Returns all secrets, newest first.
    pub fn all(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.newest).chain(&self.older)
    }

    fn configured(config: &Config) -> Result<Option<Self>, AppSecretError> {
        let mut found = config.resolve_app_secrets()?.into_iter();
        Ok(found.next().map(|newest| Self {
            newest,
            older: found.collect(),
            development: None,
        }))
    }
}

/// Reads the development secret from its file.
fn read_development_secret(path: &Path) -> Result<Secret, AppSecretError> {
    let secret = SecretRef::File(path.to_owned())
        .resolve()
        .map_err(ConfigError::from)?;
    // A file always resolves to a secret or an error, so this default is never used.
    Ok(secret.unwrap_or_else(|| Secret::new(String::new())))
}

/// Returns 32 random bytes as 64 hexadecimal digits. They are unpredictable if `entropy` is.
pub(crate) fn random_hex(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 32];
    entropy.fill(&mut bytes);
    to_hex(&bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::mem::MaybeUninit;
    use std::os::unix::fs::PermissionsExt;

    use rustix::fs::inotify;

    use super::*;
    use crate::clock::SeededEntropy;

    #[test]
    fn development_secret_is_created_once_with_mode_0600() {
        let folder = tempfile::tempdir().unwrap();
        let config = "[meta]\napp_secrets = [\"env:FLOWGATE_NO_SUCH_SECRET\"]\n[flows.a]";
        let config = Config::parse(&folder.path().join("config.toml"), config).unwrap();
        let path = folder.path().join(DEVELOPMENT_SECRET_FILE);
        let made = |seed| AppSecrets::load_or_create(&config, &SeededEntropy::new(seed)).unwrap();
        let (first, rival) = (made(1), made(2));
        assert!(!path.exists(), "a start may still fail");
        first.persist().unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_to_string(&path).unwrap().trim().len(), 64);
        first.persist().unwrap();
        assert!(
            matches!(rival.persist(), Err(AppSecretError::NotCreated { .. })),
            "two servers never have two secrets for one file"
        );
        let again = made(3);
        assert!(again.newest == first.newest && again.development.as_ref() == Some(&path));
    }

    #[test]
    fn development_secret_is_written_atomically() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(DEVELOPMENT_SECRET_FILE);
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&watch, folder.path(), inotify::WatchFlags::MODIFY).unwrap();
        let secret = Secret::new("a".repeat(64));
        AppSecrets {
            newest: secret,
            older: Vec::new(),
            development: Some(path.clone()),
        }
        .persist()
        .unwrap();
        assert_eq!(fs::read_to_string(path).unwrap().len(), 65);

        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(watch, &mut buffer);
        let mut written = Vec::new();
        while let Ok(event) = events.next() {
            written.push(event.file_name().unwrap().to_str().unwrap().to_owned());
        }
        assert!(
            !written.is_empty() && written.iter().all(|name| name != DEVELOPMENT_SECRET_FILE),
            "{written:?}"
        );
    }
}
