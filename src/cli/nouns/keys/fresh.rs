//! A new key's file: there as a whole or not at all, never in the place of another, and named as a config names it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Puts `text` into a new file that nobody but its owner may read.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] where there is one of this name, which stays as it is; else what the system says.
/// Nothing is left behind then.
pub(super) fn keep(file: &Path, text: &str) -> io::Result<()> {
    let folder = folder_of(file);
    // Under another name first, which goes with the value: a key that is there is whole. Made with 0600.
    let mut made = NamedTempFile::with_prefix_in(".new_key-", folder)?;
    made.write_all(text.as_bytes())?;
    made.as_file().sync_all()?;
    made.persist_noclobber(file).map_err(|refused| refused.error)?;
    File::open(folder)?.sync_all()
}

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

/// The folder that a file is in, in a form that can be opened.
fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
