//! A new file for its owner alone: a key, a secret.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use tempfile::NamedTempFile;

/// Puts `text` into a new file that nobody but its owner may read. After a crash the file is there as a whole, or not at all.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] where there is one of this name, which stays as it is; else what the system says.
/// Nothing is left behind then.
pub(super) fn create(file: &Path, text: &str) -> io::Result<()> {
    let folder = folder_of(file);
    // Under another name first, which goes with the value: a file that is there is whole. Made with 0600.
    let mut made = NamedTempFile::with_prefix_in(".new-", folder)?;
    made.write_all(text.as_bytes())?;
    made.as_file().sync_all()?;
    made.persist_noclobber(file).map_err(|refused| refused.error)?;
    File::open(folder)?.sync_all()
}

/// The folder that a file is in, in a form that can be opened.
pub(super) fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
