//! The app secrets that signatures are made with: those of the config, or a development secret where none is set.
//!
//! A server never runs without one. A development secret lies beside the data file, for its owner alone, so that a
//! newcomer can try everything before there is an app at Meta; Meta itself never signs with it.

use std::io;
use std::path::{Path, PathBuf};

use super::private_file;
use crate::clock::Entropy;
use crate::config::{Config, ConfigError, Secret, SecretRef};

/// Its name, beside the data file.
const DEVELOPMENT: &str = "flowgate.dev-secret";

/// The secrets to run with. At least one.
#[derive(Clone, Debug)]
pub struct AppSecrets {
    /// The newest.
    pub newest: Secret,
    /// Those that are still good.
    pub older: Vec<Secret>,
    /// The file of the development secret, where that is the one.
    pub development: Option<PathBuf>,
}

/// No secret to run with.
#[derive(Debug, thiserror::Error)]
pub enum NoSecret {
    /// One that the config names can't be had.
    #[error(transparent)]
    Unreadable(#[from] ConfigError),
    /// The development secret can't be made.
    #[error("can't make a development secret in {}: {source}; set META_APP_SECRET instead", path.display())]
    NotMade {
        /// Where it was to be.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A running server had some, and is to have none.
    #[error(
        "meta.app_secrets: none is set ({0}); a running server sees variables as they were at its start: restart it, or \
         name a file"
    )]
    NoLonger(String),
}

impl AppSecrets {
    /// The secrets that the config names, or the development secret. A new development secret is not in its file before
    /// [`AppSecrets::keep`].
    ///
    /// # Errors
    /// [`NoSecret`].
    pub fn get_or_make(config: &Config, entropy: &dyn Entropy) -> Result<Self, NoSecret> {
        if let Some(secrets) = Self::configured(config)? {
            return Ok(secrets);
        }
        let path = config.data.with_file_name(DEVELOPMENT);
        let newest = if path.exists() { read(&path)? } else { Secret::new(random_hex(entropy)) };
        Ok(Self { newest, older: Vec::new(), development: Some(path) })
    }

    /// Puts a new development secret into its file, for the owner alone. A start that fails before leaves no file behind.
    ///
    /// # Errors
    /// [`NoSecret`].
    pub fn keep(&self) -> Result<(), NoSecret> {
        let Some(path) = &self.development else { return Ok(()) };
        let failed = |source| NoSecret::NotMade { path: path.clone(), source };
        match private_file::create(path, &format!("{}\n", self.newest.expose())) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let theirs = || failed(io::Error::new(error.kind(), "another server has just made one"));
                (read(path)? == self.newest).then_some(()).ok_or_else(theirs)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The secrets that the config names or, where none is set and none was, the development secret that `running` has.
    ///
    /// # Errors
    /// [`NoSecret`].
    pub fn get_or_keep(config: &Config, running: &Self) -> Result<Self, NoSecret> {
        match Self::configured(config)? {
            Some(secrets) => Ok(secrets),
            None if running.development.is_some() => Ok(running.clone()),
            // Meta's own signatures would not fit any more.
            None => {
                let places: Vec<String> = config.meta.app_secrets.iter().map(SecretRef::place).collect();
                Err(NoSecret::NoLonger(places.join(", ")))
            }
        }
    }

    /// All of them, newest first.
    pub fn all(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.newest).chain(&self.older)
    }

    fn configured(config: &Config) -> Result<Option<Self>, NoSecret> {
        let mut found = config.app_secrets()?.into_iter();
        Ok(found.next().map(|newest| Self { newest, older: found.collect(), development: None }))
    }
}

/// The development secret in its file.
fn read(path: &Path) -> Result<Secret, NoSecret> {
    let secret = SecretRef::File(path.to_owned()).resolve().map_err(ConfigError::from)?;
    // A file always gives one, or says why not.
    Ok(secret.unwrap_or_else(|| Secret::new(String::new())))
}

/// Thirty-two bytes that nobody can guess, in hexadecimal.
pub(super) fn random_hex(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 32];
    entropy.fill(&mut bytes);
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
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
    fn a_development_secret_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let config = "[meta]\napp_secrets = [\"env:FLOWGATE_NO_SUCH_SECRET\"]\n[flows.a]";
        let config = Config::parse(&folder.path().join("config.toml"), config).unwrap();
        let path = folder.path().join(DEVELOPMENT);
        let made = |seed| AppSecrets::get_or_make(&config, &SeededEntropy::new(seed)).unwrap();
        let (first, rival) = (made(1), made(2));
        assert!(!path.exists(), "a start may still fail");
        first.keep().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap().trim().len(), 64);
        first.keep().unwrap();
        assert!(
            matches!(rival.keep(), Err(NoSecret::NotMade { .. })),
            "two servers never have two secrets for one file"
        );
        let again = made(3);
        assert!(again.newest == first.newest && again.development.as_ref() == Some(&path));
    }

    #[test]
    fn a_crash_never_leaves_a_part_of_a_development_secret_under_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(DEVELOPMENT);
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&watch, folder.path(), inotify::WatchFlags::MODIFY).unwrap();
        let secret = Secret::new("a".repeat(64));
        AppSecrets { newest: secret, older: Vec::new(), development: Some(path.clone()) }.keep().unwrap();
        assert_eq!(fs::read_to_string(path).unwrap().len(), 65);

        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(watch, &mut buffer);
        let mut written = Vec::new();
        while let Ok(event) = events.next() {
            written.push(event.file_name().unwrap().to_str().unwrap().to_owned());
        }
        assert!(!written.is_empty() && written.iter().all(|name| name != DEVELOPMENT), "{written:?}");
    }
}
