//! Writes the files of `flowgate init`: first checks that none would be overwritten, then writes
//! each as a whole, with its mode and owner.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::geteuid;
use serde::Serialize;
use tempfile::NamedTempFile;

use crate::bootstrap::private_file::parent_folder;
use crate::config::Secret;

/// User and group of the service.
pub(super) const SERVICE_USER: &str = "flowgate";

/// Folder that may be created, with its mode and owner.
pub(super) struct PlannedFolder {
    pub(super) path: &'static str,
    pub(super) mode: u32,
    pub(super) owner: Owner,
}

/// File to be written.
pub(super) struct PlannedFile {
    /// Absolute path on the machine that runs the service.
    pub(super) path: String,
    pub(super) text: Secret,
    pub(super) mode: u32,
    pub(super) owner: Owner,
    pub(super) on_existing: OnExisting,
}

/// Owner of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// User and group root.
    Root,
    /// User root, group of the service.
    RootAndServiceGroup,
}

/// Treatment of a file that exists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OnExisting {
    /// The command refuses to run. With `--force`, the file is replaced.
    Refuse,
    /// The file stays as it is.
    Retain,
}

/// Result for one file.
#[derive(Debug, Serialize)]
pub(super) struct FileRow {
    pub(super) path: PathBuf,
    /// Permission bits, as octal digits.
    pub(super) mode: String,
    /// `false` if the file existed and stays as it is.
    pub(super) written: bool,
}

/// Errors of the files.
#[derive(Debug, thiserror::Error)]
pub enum InitFileError {
    /// Files exist.
    #[error("{} exists already, and nothing was written: add --force to replace it", list(.0))]
    Exist(Vec<PathBuf>),
    /// A file or folder can't be written.
    #[error("can't write {}: {source}{}", path.display(), hint(source))]
    Write {
        /// Path of the file or folder.
        path: PathBuf,
        /// Error of the system.
        #[source]
        source: io::Error,
    },
    /// The user of the service can't be created.
    #[error("can't create the user {SERVICE_USER} with systemd-sysusers: {0}")]
    User(String),
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(" and ")
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; run the command as root, or add --root DIR to write below another folder"
        }
        _ => "",
    }
}

/// Root folder of the machine that is set up.
pub(super) struct TargetRoot {
    root: PathBuf,
    /// Group ID of the service. `None` if this process can't set owners.
    group: Option<u32>,
}

impl TargetRoot {
    pub(super) const fn new(root: PathBuf) -> Self {
        Self { root, group: None }
    }

    /// Returns `true` if owners can be set.
    pub(super) const fn has_owners(&self) -> bool {
        self.group.is_some()
    }

    /// Returns the path of a file of the machine as this process sees it.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Fails if one of the files exists.
    ///
    /// # Errors
    /// [`InitFileError::Exist`] with all files that exist.
    pub(super) fn refuse_existing<'a>(
        &self,
        files: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), InitFileError> {
        let paths = files.into_iter().map(|file| self.path(file));
        let existing: Vec<PathBuf> = paths
            .filter(|path| path.symlink_metadata().is_ok())
            .collect();
        if existing.is_empty() {
            Ok(())
        } else {
            Err(InitFileError::Exist(existing))
        }
    }

    /// Creates the user of the service if this process is root. `declaration` is the name of a
    /// file in `sysusers.d`.
    ///
    /// # Errors
    /// [`InitFileError::User`] if the user can't be created.
    pub(super) fn create_user(&mut self, declaration: &str) -> Result<(), InitFileError> {
        if !geteuid().is_root() {
            return Ok(());
        }
        if self.find_group().is_none() {
            // The name is searched in sysusers.d below the root.
            let output = Command::new("systemd-sysusers")
                .arg(format!("--root={}", self.root.display()))
                .arg(declaration)
                .output()
                .map_err(|error| InitFileError::User(error.to_string()))?;
            if !output.status.success() {
                let why = String::from_utf8_lossy(&output.stderr);
                return Err(InitFileError::User(why.trim().to_owned()));
            }
        }
        self.group = self.find_group();
        let missing = || InitFileError::User("the group was not created".to_owned());
        self.group.map(|_| ()).ok_or_else(missing)
    }

    /// Returns the ID of the service's group, from `/etc/group`.
    fn find_group(&self) -> Option<u32> {
        let groups = fs::read_to_string(self.path("/etc/group")).ok()?;
        let fields = groups.lines().map(|line| line.split(':').collect());
        fields.into_iter().find_map(|fields: Vec<&str>| {
            let is_ours = fields.first() == Some(&SERVICE_USER);
            fields.get(2).filter(|_| is_ours)?.parse().ok()
        })
    }

    /// Creates a folder, or sets the mode and the owner of an existing one.
    ///
    /// # Errors
    /// [`InitFileError::Write`] if the system refuses it.
    pub(super) fn create_folder(&self, folder: &PlannedFolder) -> Result<(), InitFileError> {
        let path = self.path(folder.path);
        let created = fs::create_dir_all(&path)
            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(folder.mode)))
            .and_then(|()| self.set_owner(&path, folder.owner));
        created.map_err(|source| InitFileError::Write { path, source })
    }

    /// Writes a file as a whole, unless it exists and must stay.
    ///
    /// # Errors
    /// [`InitFileError::Write`] if the system refuses it.
    pub(super) fn write(&self, file: &PlannedFile) -> Result<FileRow, InitFileError> {
        let path = self.path(&file.path);
        let is_retained = file.on_existing == OnExisting::Retain && path.exists();
        if !is_retained {
            self.replace(&path, file)
                .map_err(|source| InitFileError::Write {
                    path: path.clone(),
                    source,
                })?;
        }
        Ok(FileRow {
            path,
            mode: format!("{:04o}", file.mode),
            written: !is_retained,
        })
    }

    fn replace(&self, path: &Path, file: &PlannedFile) -> io::Result<()> {
        let folder = parent_folder(path);
        fs::create_dir_all(folder)?;
        let mut temporary = NamedTempFile::with_prefix_in(".new-", folder)?;
        temporary.write_all(file.text.expose().as_bytes())?;
        temporary
            .as_file()
            .set_permissions(Permissions::from_mode(file.mode))?;
        self.set_owner(temporary.path(), file.owner)?;
        temporary.as_file().sync_all()?;
        temporary.persist(path).map_err(|refused| refused.error)?;
        Ok(())
    }

    fn set_owner(&self, path: &Path, owner: Owner) -> io::Result<()> {
        let Some(group) = self.group else {
            return Ok(());
        };
        let group = match owner {
            Owner::Root => 0,
            Owner::RootAndServiceGroup => group,
        };
        chown(path, Some(0), Some(group))
    }
}
