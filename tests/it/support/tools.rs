//! Programs of the machine that some tests use. A machine without a program skips these tests, but
//! CI must have all of them.

use std::env;
use std::path::PathBuf;

/// Returns the path of a program. Returns `None` after a line of output if the program is missing.
///
/// # Panics
/// Panics in CI (`CI=true`) if the program is missing.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var("PATH").unwrap_or_default();
    let found = path
        .split(':')
        .chain(["/usr/sbin", "/sbin"])
        .map(|folder| PathBuf::from(folder).join(program))
        .find(|path| path.is_file());
    if found.is_none() {
        let is_ci = env::var("CI").is_ok_and(|value| value == "true");
        assert!(!is_ci, "{program} is missing: .ci/run installs it");
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}
