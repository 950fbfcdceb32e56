//! Reads `[backup]`: continuous backups off the machine, and copies in a folder.

use std::path::{Path, PathBuf};

use hyper::Uri;

use crate::config::reader::TableReader;
use crate::config::secrets::SecretRef;
use crate::config::units::{MIB, TIB, days};
use crate::domain::ip_range::is_loopback_host;
use crate::domain::time::Millis;

/// Minimum of all intervals.
const INTERVAL_MIN: Millis = Millis::from_secs(60);

/// Settings of backups.
#[derive(Clone, Debug, PartialEq)]
pub struct BackupSettings {
    /// Place of continuous backups. `None`: no continuous backups.
    pub location: Option<BackupLocation>,
    /// Access to an S3-compatible store.
    pub s3: S3Settings,
    /// Time between two bases. Default 1 d.
    pub base_interval: Millis,
    /// Time in the past that can be restored. Default 14 d.
    pub keep: Millis,
    /// Maximum size of the commits that wait for their upload, in bytes. Default 1 GiB.
    pub max_change_log: u64,
    /// Copies in a folder. `None`: no copies.
    pub copies: Option<CopySettings>,
}

/// Place of continuous backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupLocation {
    /// A folder.
    Folder(PathBuf),
    /// A bucket of an S3-compatible store.
    Bucket {
        /// Bucket name.
        bucket: String,
        /// Beginning of the names of all objects. May be empty.
        prefix: String,
    },
}

/// Access to an S3-compatible store.
#[derive(Clone, Debug, PartialEq)]
pub struct S3Settings {
    /// URL of the store. `None`: AWS.
    pub endpoint: Option<String>,
    /// Region. Default `us-east-1`.
    pub region: String,
    /// Access key ID. Default `env:BACKUP_ACCESS_KEY_ID`.
    pub access_key_id: SecretRef,
    /// Secret access key. Default `env:BACKUP_SECRET_ACCESS_KEY`.
    pub secret_access_key: SecretRef,
}

/// Copies of the data file in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopySettings {
    /// Folder of the copies. The server creates a missing one.
    pub folder: PathBuf,
    /// Time between two copies. Default 1 d.
    pub every: Millis,
    /// Number of copies to keep. Default 7.
    pub keep: usize,
}

impl BackupLocation {
    /// Parses `s3://BUCKET/PREFIX`, `file:///FOLDER` or the path of a folder, which is relative to
    /// `folder`.
    ///
    /// # Errors
    /// The problem of the text.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        const EXAMPLES: &str = "write \"s3://BUCKET/PREFIX\" or the path of a folder";
        let Some((scheme, rest)) = text.split_once("://") else {
            return match text {
                "" => Err(format!("is empty: {EXAMPLES}")),
                path => Ok(Self::Folder(folder.join(path))),
            };
        };
        match scheme {
            "file" if rest.starts_with('/') => Ok(Self::Folder(PathBuf::from(rest))),
            "s3" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
                if bucket.is_empty() || !bucket.bytes().all(is_name) {
                    return Err(format!("{text:?} names no bucket: {EXAMPLES}"));
                }
                if !prefix.bytes().all(|byte| is_name(byte) || byte == b'/') {
                    return Err(format!(
                        "{text:?} has a prefix with other characters than letters, digits, '.', '-', '_' and '/'"
                    ));
                }
                Ok(Self::Bucket {
                    bucket: bucket.to_owned(),
                    prefix: prefix.trim_matches('/').to_owned(),
                })
            }
            _ => Err(format!("{text:?} is no place for backups: {EXAMPLES}")),
        }
    }
}

/// Formats the place as in the config.
impl std::fmt::Display for BackupLocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// Reads `[backup]`.
pub fn read_backup(root: &TableReader<'_>) -> BackupSettings {
    root.read_table_or_empty("backup", |table| {
        let folder = table.folder();
        let secret = |key, variable: &str| {
            let given = table.secret(key);
            given.unwrap_or_else(|| SecretRef::Env(variable.to_owned()))
        };
        let interval = |key, default| table.duration(key, days(default), INTERVAL_MIN..=days(3650));
        BackupSettings {
            location: table.parse("url", |text| BackupLocation::parse(text, folder)),
            s3: S3Settings {
                endpoint: table.parse("endpoint", parse_endpoint),
                region: table
                    .text("region")
                    .unwrap_or_else(|| "us-east-1".to_owned()),
                access_key_id: secret("access_key_id", "BACKUP_ACCESS_KEY_ID"),
                secret_access_key: secret("secret_access_key", "BACKUP_SECRET_ACCESS_KEY"),
            },
            base_interval: interval("base_interval", 1),
            keep: interval("keep", 14),
            max_change_log: table.size("max_change_log", 1024 * MIB, MIB..=TIB),
            copies: table
                .read_table("copies", |copies| read_copies(copies))
                .flatten(),
        }
    })
}

fn read_copies(table: &TableReader<'_>) -> Option<CopySettings> {
    let path = table
        .require("folder")
        .and_then(|item| item.non_empty_text());
    Some(CopySettings {
        every: table.duration("every", days(1), INTERVAL_MIN..=days(3650)),
        keep: table.integer("keep", 7, 1..=100_000),
        folder: table.folder().join(path?),
    })
}

/// Parses the URL of an S3-compatible store. The data of customers must not go over a network
/// unencrypted.
fn parse_endpoint(text: &str) -> Result<String, String> {
    let problem = match text.parse::<Uri>() {
        Ok(uri) => match (uri.scheme_str(), uri.host()) {
            (Some("https"), Some(host)) if !host.is_empty() => None,
            (Some("http"), Some(host)) if is_loopback_host(host) => None,
            (Some("http"), Some(_)) => {
                Some("would send the data unencrypted, which is allowed only to this machine")
            }
            _ => Some("is not a URL that begins with https://"),
        },
        Err(_) => Some("is not a valid URL"),
    };
    match problem {
        None => Ok(text.trim_end_matches('/').to_owned()),
        Some(problem) => Err(format!("{text:?} {problem}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{assert_errors, parse_valid};

    #[test]
    fn backup_is_off_by_default() {
        let backup = parse_valid("").backup;
        assert_eq!((backup.location, backup.copies), (None, None));
        assert_eq!((backup.base_interval, backup.keep), (days(1), days(14)));
        assert_eq!(backup.max_change_log, 1 << 30);
    }

    #[test]
    fn locations_are_parsed() {
        let location = |text| BackupLocation::parse(text, Path::new("/etc")).unwrap();
        let bucket = |bucket: &str, prefix: &str| BackupLocation::Bucket {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        };
        assert_eq!(location("s3://shop"), bucket("shop", ""));
        assert_eq!(location("s3://shop/a/b/"), bucket("shop", "a/b"));
        assert_eq!(location("s3://shop/a/b/").to_string(), "s3://shop/a/b");
        assert_eq!(location("nas"), BackupLocation::Folder("/etc/nas".into()));
        assert_eq!(
            location("file:///mnt"),
            BackupLocation::Folder("/mnt".into())
        );
    }

    #[test]
    fn wrong_settings_are_refused() {
        assert_errors(
            "[backup]",
            r#"
            url = "s3:///a"
            => 2:7: backup.url: "s3:///a" names no bucket: write "s3://BUCKET/PREFIX" or the path of a folder
            url = "s3://a/ü"
            => 2:7: backup.url: "s3://a/ü" has a prefix with other characters than letters, digits, '.', '-', '_' and '/'
            url = "ftp://a"
            => 2:7: backup.url: "ftp://a" is no place for backups: write "s3://BUCKET/PREFIX" or the path of a folder
            url = ""
            => 2:7: backup.url: is empty: write "s3://BUCKET/PREFIX" or the path of a folder
            endpoint = "http://s3.example"
            => 2:12: backup.endpoint: "http://s3.example" would send the data unencrypted, which is allowed only to this machine
            endpoint = "s3.example"
            => 2:12: backup.endpoint: "s3.example" is not a URL that begins with https://
            copies = { every = "1h" }
            => 2:10: backup.copies: `folder` is missing
            copies = { folder = "a", keep = 0 }
            => 2:33: backup.copies.keep: must be from 1 to 100000, and is 0
            "#,
        );
    }
}
