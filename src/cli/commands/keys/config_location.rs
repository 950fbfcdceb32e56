//! Builds the config value, `file:PATH`, that names the file of a new private key.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::bootstrap::private_file::parent_folder;

/// Returns the config value for `file`, `file:PATH`. The path is relative to the folder of `config`
/// if the file is inside that folder, and absolute otherwise.
///
/// # Errors
/// Returns the error of the system if a folder no longer exists.
pub(crate) fn config_location(file: &Path, config: Option<&Path>) -> io::Result<String> {
    let inside = config
        .map(|config| path_inside(file, parent_folder(config)))
        .transpose()?
        .flatten();
    let path = inside.map_or_else(|| std::path::absolute(file), Ok)?;
    Ok(format!("file:{}", path.display()))
}

fn path_inside(file: &Path, folder: &Path) -> io::Result<Option<PathBuf>> {
    let (theirs, ours) = (
        fs::canonicalize(parent_folder(file))?,
        fs::canonicalize(folder)?,
    );
    Ok(theirs
        .strip_prefix(ours)
        .ok()
        .zip(file.file_name())
        .map(|(folder, name)| folder.join(name)))
}
