//! Names the paths and addresses of the files of `flowgate init`.

/// Path of the config.
pub(super) const CONFIG_FILE: &str = "/etc/flowgate/config.toml";
/// Path of the data file.
pub(super) const DATA_FILE: &str = "/var/lib/flowgate/flowgate.redb";
/// Folder of the secrets.
pub(super) const CREDENTIALS: &str = "/etc/flowgate/credentials";
/// Name of the file that declares the user of the service.
pub(super) const SYSUSERS_FILE: &str = "flowgate.conf";
/// Address of the listener in the shipped files.
pub(super) const PACKAGED_LISTEN: &str = "127.0.0.1:8080";
