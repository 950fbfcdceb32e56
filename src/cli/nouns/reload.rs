//! `flowgate reload`: what has changed, in words.

use std::io::{self, Write};

use crate::admin::ReloadView;

/// Tells a reload to `out`.
///
/// # Errors
/// Where `out` can't be written to.
pub fn tell(reload: &ReloadView, out: &mut impl Write) -> io::Result<()> {
    let nothing = if reload.changed.is_empty() { ": nothing that counts now has changed" } else { "" };
    writeln!(out, "the config was reloaded{nothing}")?;
    reload.changed.iter().try_for_each(|change| writeln!(out, "  {change}"))?;
    reload.after_restart.iter().try_for_each(|key| writeln!(out, "! {key} changed: takes effect after a restart"))
}
