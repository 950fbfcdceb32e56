//! Locates `credential:NAME`: a secret that the service manager passes to the service as a file.
//!
//! systemd sets `CREDENTIALS_DIRECTORY` for the service (`LoadCredential=` in its unit). A command
//! in a shell has no such variable. It reads the file that the unit of `flowgate init` names as the
//! source, in the folder `credentials` beside the config. Thus both find the same secret.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Name of the folder beside the config that contains the sources of credentials.
pub const CREDENTIALS_FOLDER: &str = "credentials";

/// Variable with the folder of the credentials that the service manager passes.
const FOLDER_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// Maximum length of a name, in bytes. The limit of file names.
const NAME_BYTES_MAX: usize = 255;

/// Credential of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialRef {
    /// Name of the credential.
    pub name: String,
    /// File outside the service.
    pub source: PathBuf,
}

impl CredentialRef {
    /// Creates a reference from a name, for the config in `folder`. Returns `None` if the name is
    /// no file name of letters, digits, `-`, `_` and `.`.
    pub(super) fn parse(name: &str, folder: &Path) -> Option<Self> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let is_valid = (1..=NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(fits)
            && !matches!(name, "." | "..");
        is_valid.then(|| Self {
            name: name.to_owned(),
            source: folder.join(CREDENTIALS_FOLDER).join(name),
        })
    }

    /// Returns the file that this process reads.
    pub(super) fn path(&self, variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
        match variable(FOLDER_VARIABLE).filter(|folder| !folder.is_empty()) {
            Some(folder) => Path::new(&folder).join(&self.name),
            None => self.source.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::config::{InvalidSecretRef, SecretRef};

    use super::*;

    #[test]
    fn credential_comes_from_service_manager_or_beside_config() {
        let folder = Path::new("/etc/flowgate");
        let credential = CredentialRef::parse("app-secret", folder).unwrap();
        let path = |folder: &'static str| {
            let found = credential.path(|name| {
                assert_eq!(name, "CREDENTIALS_DIRECTORY");
                Some(OsString::from(folder))
            });
            found.display().to_string()
        };
        assert_eq!(
            path("/run/credentials/flowgate.service"),
            "/run/credentials/flowgate.service/app-secret"
        );
        assert_eq!(path(""), "/etc/flowgate/credentials/app-secret");
        for name in ["", "a/b", "..", ".", "a b", "ü", &"x".repeat(256)] {
            assert_eq!(CredentialRef::parse(name, folder), None, "{name:?}");
            let refused = SecretRef::parse(&format!("credential:{name}"), folder).unwrap_err();
            assert_eq!(refused, InvalidSecretRef::NoCredential);
        }
    }

    #[test]
    fn missing_and_empty_credential_are_not_set() {
        let folder = tempfile::tempdir().unwrap();
        let secret = SecretRef::parse("credential:token", folder.path()).unwrap();
        let file = folder.path().join("credentials/token");
        assert!(secret.resolve().unwrap().is_none());
        let warning = secret.warning().unwrap();
        assert!(
            warning.starts_with("the credential token is not set: put it into "),
            "{warning}"
        );
        fs::create_dir(file.parent().unwrap()).unwrap();
        fs::write(&file, "\n").unwrap();
        assert!(secret.resolve().unwrap().is_none());
        assert!(secret.resolve_multiline().unwrap().is_none());
        fs::write(&file, "hush\n").unwrap();
        assert_eq!(secret.resolve().unwrap().unwrap().expose(), "hush");
        assert_eq!(secret.location(), "credential:token");
    }
}
