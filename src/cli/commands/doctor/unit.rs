//! Reads the systemd unit of the service, with its drop-ins: the user, and where its secrets come
//! from.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Places of the unit: that of `flowgate init`, then those of packages.
const PATHS: [&str; 3] = [
    "/etc/systemd/system/flowgate.service",
    "/usr/lib/systemd/system/flowgate.service",
    "/lib/systemd/system/flowgate.service",
];

/// Folder with the units and drop-ins of the admin.
const ADMIN_FOLDER: &str = "/etc/systemd/system";

/// Settings of the unit that matter for the checks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ServiceUnit {
    pub(super) path: PathBuf,
    pub(super) user: Option<String>,
    /// Source files of credentials, by name.
    pub(super) credentials: BTreeMap<String, PathBuf>,
    /// Names of the variables of the service.
    variables: Vec<String>,
    pub(super) open_files: Option<u64>,
    pub(super) has_watchdog: bool,
}

impl ServiceUnit {
    /// Reads the unit `named`, or the unit at the first usual place. Returns `None` if there is
    /// none.
    pub(super) fn find(named: Option<&Path>) -> Option<Self> {
        match named {
            Some(path) => Self::read(path),
            None => PATHS.iter().find_map(|path| Self::read(Path::new(path))),
        }
    }

    fn read(path: &Path) -> Option<Self> {
        let mut unit = Self {
            path: path.to_owned(),
            ..Self::default()
        };
        unit.apply(&fs::read_to_string(path).ok()?);
        let mut folder_name = path.file_name()?.to_owned();
        folder_name.push(".d");
        let beside = path.with_file_name(&folder_name);
        let mut folders = vec![beside, Path::new(ADMIN_FOLDER).join(folder_name)];
        folders.dedup();
        let entries = folders
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok());
        let mut drop_ins: Vec<PathBuf> = entries
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "conf")
            })
            .collect();
        drop_ins.sort();
        for drop_in in drop_ins {
            unit.apply(&fs::read_to_string(drop_in).unwrap_or_default());
        }
        Some(unit)
    }

    /// Returns `true` if the service has a variable of this name.
    pub(super) fn has_variable(&self, name: &str) -> bool {
        self.variables.iter().any(|known| known == name)
    }

    fn apply(&mut self, text: &str) {
        for line in text.lines().map(str::trim) {
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let value = value.trim();
            match key.trim() {
                "User" => self.user = Some(value.to_owned()),
                "LoadCredential" => {
                    let (name, source) = value.split_once(':').unwrap_or((value, ""));
                    self.credentials.insert(name.to_owned(), source.into());
                }
                "Environment" => self
                    .variables
                    .extend(variable_name(value.trim_matches('"'))),
                "EnvironmentFile" => {
                    let file = value.trim_start_matches('-');
                    let text = fs::read_to_string(file).unwrap_or_default();
                    let lines = text.lines().map(str::trim);
                    let lines = lines.filter(|line| !line.starts_with(['#', ';']));
                    self.variables.extend(lines.filter_map(variable_name));
                }
                "LimitNOFILE" => {
                    let hard = value.rsplit(':').next().unwrap_or(value);
                    self.open_files = hard.parse().ok();
                }
                "WatchdogSec" => self.has_watchdog = !matches!(value, "" | "0"),
                _ => {}
            }
        }
    }
}

/// Returns the name of `NAME=VALUE`, if the value is not empty.
fn variable_name(line: &str) -> Option<String> {
    let (name, value) = line.split_once('=')?;
    let is_set = !value.trim_matches(['"', '\'']).is_empty();
    is_set.then(|| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_is_read_with_drop_ins_and_environment_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        };
        let variables = file("env", "# A=1\nMETA_APP_SECRET=hush\nEMPTY=\nQ=\"\"\n");
        let text = format!(
            "[Service]\nUser=flowgate\nLimitNOFILE=1024:65536\nWatchdogSec=60s\n\
             LoadCredential=app-secret:/etc/flowgate/credentials/app-secret\n\
             EnvironmentFile=-{}\nEnvironment=\"TZ=UTC\"\n",
            variables.display()
        );
        let path = file("flowgate.service", &text);
        file(
            "flowgate.service.d/override.conf",
            "[Service]\nLoadCredential=crm:/c\n",
        );
        let unit = ServiceUnit::read(&path).unwrap();
        assert_eq!(unit.user.as_deref(), Some("flowgate"));
        assert_eq!(unit.open_files, Some(65536));
        assert_eq!(unit.credentials.len(), 2);
        assert!(unit.has_watchdog && unit.has_variable("META_APP_SECRET"));
        assert!(unit.has_variable("TZ") && !unit.has_variable("EMPTY") && !unit.has_variable("A"));
        assert_eq!(ServiceUnit::read(&folder.path().join("none")), None);
    }
}
