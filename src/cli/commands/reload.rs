//! Formats the output of `flowgate reload`: the changes that the reload made.

use std::io::{self, Write};

use crate::admin::ReloadRow;

/// Writes the changes of a reload to `output`.
///
/// # Errors
/// Returns the error of `output` if a write fails.
pub fn write_reload(reload: &ReloadRow, output: &mut impl Write) -> io::Result<()> {
    let nothing = if reload.changed.is_empty() {
        ": no active setting has changed"
    } else {
        ""
    };
    writeln!(output, "the config was reloaded{nothing}")?;
    reload
        .changed
        .iter()
        .try_for_each(|change| writeln!(output, "  {change}"))?;
    reload
        .after_restart
        .iter()
        .try_for_each(|key| writeln!(output, "! {key} changed: takes effect after a restart"))
}
