//! Finds the executable that the service runs.

use std::env;
use std::path::PathBuf;

/// Path of the executable if it is in no folder of programs.
pub(super) const INSTALLED_EXECUTABLE: &str = "/usr/local/bin/flowgate";
/// Folders whose programs a service may run.
const EXECUTABLE_FOLDERS: [&str; 4] = ["/usr/local/bin", "/usr/bin", "/opt", "/usr/local/sbin"];

/// Executable of flowgate.
pub(super) struct Executable {
    /// Path in the unit.
    pub(super) service_path: PathBuf,
    /// Path from which the executable must be copied first.
    pub(super) copy_from: Option<PathBuf>,
}

impl Executable {
    /// Returns this executable, if a service may run it from its folder. Services can't run
    /// programs in home folders.
    pub(super) fn find() -> Self {
        let this = env::current_exe().unwrap_or_else(|_| PathBuf::from(INSTALLED_EXECUTABLE));
        if EXECUTABLE_FOLDERS
            .iter()
            .any(|folder| this.starts_with(folder))
        {
            return Self {
                service_path: this,
                copy_from: None,
            };
        }
        Self {
            service_path: PathBuf::from(INSTALLED_EXECUTABLE),
            copy_from: Some(this),
        }
    }
}
