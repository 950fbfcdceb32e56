//! Creates a file that only its owner may read, for a key or a secret.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use tempfile::NamedTempFile;

/// Writes `text` to a new file with mode 0600. After a crash the whole file exists, or no file.
///
/// # Errors
/// Returns [`io::ErrorKind::AlreadyExists`] if a file of this name exists, and leaves that file
/// unchanged. Returns the error of the system otherwise. No file of this call remains after an
/// error.
pub(crate) fn create(file: &Path, text: &str) -> io::Result<()> {
    let folder = parent_folder(file);
    // The text goes to a temporary file with mode 0600, which is removed when `temporary` is
    // dropped. The file gets its final name only when its content is complete.
    let mut temporary = NamedTempFile::with_prefix_in(".new-", folder)?;
    temporary.write_all(text.as_bytes())?;
    temporary.as_file().sync_all()?;
    temporary
        .persist_noclobber(file)
        .map_err(|refused| refused.error)?;
    File::open(folder)?.sync_all()
}

/// Returns the folder of `file` as a path that can be opened: `.` if `file` has no folder part.
pub(crate) fn parent_folder(file: &Path) -> &Path {
    file.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}
