//! A new key's file, named as a config names it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cli::private_file::folder_of;

/// The place of `file` as the config in `config` has to name it: from the config's own folder where it is in there, else
/// from the root.
///
/// # Errors
/// What the system says, for a folder that has gone.
pub(super) fn place(file: &Path, config: Option<&Path>) -> io::Result<String> {
    let inside = config.map(|config| relative(file, folder_of(config))).transpose()?.flatten();
    let path = inside.map_or_else(|| std::path::absolute(file), Ok)?;
    Ok(format!("file:{}", path.display()))
}

fn relative(file: &Path, folder: &Path) -> io::Result<Option<PathBuf>> {
    let (theirs, ours) = (fs::canonicalize(folder_of(file))?, fs::canonicalize(folder)?);
    Ok(theirs.strip_prefix(ours).ok().zip(file.file_name()).map(|(folder, name)| folder.join(name)))
}
